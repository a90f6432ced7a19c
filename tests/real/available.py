"""How a server that cannot be had becomes a skip."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeVar

import pytest

from .servers.environments import Unavailable

Server = TypeVar("Server")


@contextmanager
def or_skip(server: AbstractContextManager[Server]) -> Iterator[Server]:
    """Enters `server`; skips the test, with the reason, where the program cannot be had on this machine."""
    with ExitStack() as stack:
        try:
            entered = stack.enter_context(server)
        except Unavailable as reason:
            pytest.skip(str(reason))
        yield entered
