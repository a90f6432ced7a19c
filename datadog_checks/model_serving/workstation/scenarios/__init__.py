"""Scenarios of simulated serving systems that the real check reads, for tests of monitors."""
