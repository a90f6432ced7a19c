"""Readiness of serving systems, one file per system."""
