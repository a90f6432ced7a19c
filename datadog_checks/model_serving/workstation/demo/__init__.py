"""Embedded serving endpoints with simulated traffic: what `model-serving demo` runs the check against."""
