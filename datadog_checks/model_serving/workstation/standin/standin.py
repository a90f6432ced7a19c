"""The stand-in's settings and memory, and which stand-in the builtin modules answer for."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .recorder import Recorder

DEFAULT_CONFIG: Mapping[str, Any] = {"enable_metadata_collection": True, "log_level": "info", "logs_enabled": False}


@dataclass(slots=True)
class StandIn:
    """What the builtin modules answer from, and the recorder that they feed.

    `config` stands for `datadog.yaml`, on top of `DEFAULT_CONFIG`. `start_time` is when the Agent started, in
    seconds since the epoch. `cache_dir` keeps the persistent cache in files; without it, it lives in memory.
    """

    recorder: Recorder = field(default_factory=Recorder)
    config: Mapping[str, Any] = field(default_factory=dict)
    hostname: str = field(default_factory=socket.gethostname)
    version: str = "0.0.0"
    start_time: float = field(default_factory=time.time)
    host_tags: tuple[str, ...] = ()
    entity_tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cache_dir: Path | None = None
    _cache: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.config = {**DEFAULT_CONFIG, **self.config}

    def read_cache(self, key: str) -> str:
        """What was last written under a key, empty where nothing was."""
        if self.cache_dir is None:
            return self._cache.get(key, "")
        try:
            return self._cache_file(key).read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def write_cache(self, key: str, value: str) -> None:
        """Keep a value under a key. A file is replaced as a whole, so that a reader never sees half of it."""
        if self.cache_dir is None:
            self._cache[key] = value
            return
        path = self._cache_file(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(value, encoding="utf-8")
        draft.replace(path)

    def _cache_file(self, key: str) -> Path:
        # Keys hold colons and whatever a check puts there, so they cannot name files themselves.
        assert self.cache_dir is not None
        return self.cache_dir / hashlib.sha256(key.encode()).hexdigest()


_active: StandIn | None = None


def active() -> StandIn | None:
    """The stand-in that the builtin modules serve now, if any."""
    return _active


@contextmanager
def activated(stand_in: StandIn) -> Iterator[None]:
    """Make the builtin modules serve this stand-in, in all threads."""
    global _active
    previous, _active = _active, stand_in
    try:
        yield
    finally:
        _active = previous
