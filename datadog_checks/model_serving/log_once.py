"""A log in which nothing is said twice: a check runs every few seconds, and what is wrong stays wrong for hours."""

from __future__ import annotations

import logging
from typing import Any

MAX_KEYS = 100
"""Different messages that are logged. What comes after that is left out: no log may grow with what a payload holds."""


class LogOnce:
    """Logs what comes for the first time. `log` is the logger of a check."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._keys: set[str] = set()

    def first(self, key: str) -> bool:
        """Whether this key comes for the first time, and there is room for it."""
        if key in self._keys or len(self._keys) >= MAX_KEYS:
            return False
        self._keys.add(key)
        return True

    def log(self, message: str, key: str = "", level: int = logging.WARNING) -> None:
        """Log a message, unless one with its key, or without a key the very same, was logged before."""
        if self.first(key or message):
            self._log.log(level, "%s", message)

    def forget(self, key: str) -> None:
        """What was logged with this key is over: it is worth a line when it comes again."""
        self._keys.discard(key)
