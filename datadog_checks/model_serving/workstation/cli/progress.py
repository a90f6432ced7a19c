"""What goes on, said in a terminal while a person waits."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.status import Status
from rich.text import Text

from ..standin.console import is_terminal, make_console

Tell = Callable[[str], None]


@contextmanager
def progress() -> Iterator[Tell]:
    """A function that says on standard error what goes on, as long as that is a terminal.

    An empty text takes the line away until the next, so that something else can be printed.
    """
    if not is_terminal(sys.stderr):
        yield lambda text: None
        return
    status = Status("", console=make_console(stderr=True))

    def tell(text: str) -> None:
        status.update(Text(text))
        if text:
            status.start()
        else:
            status.stop()

    try:
        yield tell
    finally:
        status.stop()
