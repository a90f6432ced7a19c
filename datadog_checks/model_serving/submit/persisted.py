"""What a check must remember over a restart of the Agent, in the Agent's persistent cache."""

from __future__ import annotations

import json

from .agent_cache import AgentCache
from .journal import Journal
from .series import CLOCK_PUT_RIGHT

CACHE_KEY = "scrape"
PARTS = ("codes", "minutes", "counted")
MAX_CODES = 5000
"""Devices whose last code is remembered. Their tags may name pods, which come and go."""


class Memory:
    """Minutes counted and error codes seen, so that a restart neither counts a minute twice nor repeats an event.

    `codes` is the last code by device, `minutes` the newest minute counted by series, `counted` the bits that
    `Series.minutes` holds. All sources of one check share a memory; it is read with the first use of `recall`
    and written by `keep`, where something has changed. `restart_bytes` is what the journals of all its endpoints may
    write in a run.
    """

    def __init__(self, cache: AgentCache) -> None:
        self.codes: dict[str, float] = {}
        self.minutes: dict[str, float] = {}
        self.counted: dict[str, float] = {}
        self.restart_bytes = 0
        self._cache = cache
        self._journals: dict[str, Journal] = {}
        self._written: str | None = None

    def journal(self, prefix: str) -> Journal:
        """A new journal for the readings of one endpoint, which goes on from the one that it had before."""
        self._journals[prefix] = journal = Journal(self._cache, prefix, self._share)
        return journal

    def _share(self) -> int:
        return self.restart_bytes // len(self._journals)

    def recall(self) -> None:
        """Read what was kept, once. What can't be read is forgotten."""
        if self._written is not None:
            return
        try:
            kept = json.loads(self._cache.read(CACHE_KEY) or "{}")
            parts = [{key: float(value) for key, value in dict(kept.get(part, {})).items()} for part in PARTS]
        except (ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            self._cache.broken(CACHE_KEY, error)
            parts = [{}, {}, {}]
        self.codes, self.minutes, self.counted = parts
        self._written = self._text()

    def exchange(self, key: str, code: float) -> float | None:
        """Remember a code, or a count of late, under a key. What was there before, None where that is nothing."""
        before = self.codes.pop(key, None)
        # Those that were seen last come last.
        self.codes[key] = code
        return before

    def keep(self) -> None:
        """Forget what is too old to matter, and write the rest where it has changed."""
        if self._written is None:
            return
        if self.minutes:
            oldest = max(self.minutes.values()) - CLOCK_PUT_RIGHT
            self.minutes = {key: minute for key, minute in self.minutes.items() if minute > oldest}
            self.counted = {key: self.counted[key] for key in self.minutes}
        self.codes = dict(list(self.codes.items())[-MAX_CODES:])
        text = self._text()
        if text != self._written and self._cache.write(CACHE_KEY, text):
            self._written = text

    def _text(self) -> str:
        return json.dumps({part: getattr(self, part) for part in PARTS})
