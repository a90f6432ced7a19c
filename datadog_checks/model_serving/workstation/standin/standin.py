"""The stand-in's settings and memory, and which stand-in the builtin modules answer for."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .recorder import Recorder

UNREADABLE = "failed to read data"
"""What rtloader says of a cache file that is there and can't be read."""

_ODD = re.compile(r"[^a-zA-Z0-9_-]")

DEFAULT_CONFIG: Mapping[str, Any] = {"enable_metadata_collection": True, "log_level": "info", "logs_enabled": False}


@dataclass(slots=True)
class StandIn:
    """What the builtin modules answer from, and the recorder that they feed.

    `config` stands for `datadog.yaml`, on top of `DEFAULT_CONFIG`. `start_time` is when the Agent started, in
    seconds since the epoch. `cache_dir` keeps the persistent cache in files; without it, it lives in memory. With
    `cache_broken` it can neither be read nor written, as where its files belong to somebody else.
    """

    recorder: Recorder = field(default_factory=Recorder)
    config: Mapping[str, Any] = field(default_factory=dict)
    hostname: str = field(default_factory=socket.gethostname)
    version: str = "0.0.0"
    start_time: float = field(default_factory=time.time)
    host_tags: tuple[str, ...] = ()
    entity_tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cache_dir: Path | None = None
    cache_broken: bool = False
    _cache: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.config = {**DEFAULT_CONFIG, **self.config}

    def read_cache(self, key: str) -> str:
        """What was last written under a key, empty where nothing was. Raises RuntimeError where it can't be read."""
        if self.cache_broken:
            raise RuntimeError(UNREADABLE)
        if self.cache_dir is None:
            return self._cache.get(key, "")
        try:
            return self._cache_file(key).read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeError):
            raise RuntimeError(UNREADABLE) from None

    def write_cache(self, key: str, value: str) -> None:
        """Keep a value under a key. What can't be written is not, and only the Agent's own log says so."""
        if self.cache_broken:
            return
        if self.cache_dir is None:
            self._cache[key] = value
            return
        path = self._cache_file(key)
        with suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # In place, as the Agent does it: what is cut short there is torn, and the old text is gone.
            place = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(place, "w", encoding="utf-8") as file:
                file.write(value)

    def _cache_file(self, key: str) -> Path:
        """Where the Agent puts it: what is before the first colon names a directory, odd characters are left out."""
        assert self.cache_dir is not None
        return self.cache_dir.joinpath(*(_ODD.sub("", part) for part in key.split(":", 1)))


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
