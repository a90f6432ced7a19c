"""What a check may leave behind when it is cancelled, and waiting for that to be gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def threads() -> set[threading.Thread]:
    """The threads of checks that are alive."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("model-serving")}


def sockets() -> set[str]:
    """The sockets that this process holds."""
    links = set()
    for number in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            links.add(str(number.readlink()))
    return {link for link in links if link.startswith("socket:")}


def wait_until(true: Callable[[], bool]) -> None:
    """Wait for something that is to come soon."""
    until = time.monotonic() + 60
    while not true():
        assert time.monotonic() < until
        time.sleep(0.005)
