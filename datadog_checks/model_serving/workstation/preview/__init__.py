"""Dashboards drawn as one page, filled with what the real check submits about simulated systems or a user's own."""
