"""Dashboards drawn as one page, filled with what the real check submits about simulated serving systems."""
