"""Scenarios of simulated serving systems that the real check reads, and what every shipped monitor does in each."""

from __future__ import annotations

from pathlib import Path

MATRIX = Path(__file__).with_name("matrix.yaml")
"""The tests that ship."""
