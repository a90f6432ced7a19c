"""Fixtures that the tests of `model-serving versions` share."""

from .fleet import account

__all__ = ["account"]
