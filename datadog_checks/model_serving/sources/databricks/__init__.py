"""Databricks Model Serving: a workspace, its serving endpoints and what they say about themselves."""

from __future__ import annotations

from .state import SOURCE

__all__ = ["SOURCE"]
