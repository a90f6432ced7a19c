"""Ports that stay free until they are used."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

CHOICE = range(10_000, 32_768)
"""Below what systems give to connections and to servers that ask for any port: tests that run beside take none here."""


def free_ports(count: int) -> list[int]:
    """`count` different TCP ports at which nothing listens on 127.0.0.1."""
    # A seed set by a test or by hypothesis would have all processes choose the same.
    choose = random.SystemRandom()
    found: list[int] = []
    with ExitStack() as stack:
        while len(found) < count:
            port = choose.choice(CHOICE)
            bound = stack.enter_context(socket.socket())
            try:
                bound.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    return found


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]
