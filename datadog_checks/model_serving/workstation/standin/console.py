"""Consoles: colour where it is wanted, and codes that move the cursor only where there is one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from ...http.redact import printable


class PrintableConsole(Console):
    """Prints nothing that steers the terminal but its own codes, whatever it is given and wherever that comes from.

    Text is to be made printable before it is laid out: what has to be spelt out here takes more room than was counted.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            shown = segment.text if segment.control else printable(segment.text, lines=True)
            yield segment if shown == segment.text else Segment(shown, segment.style)


def is_terminal(stream: TextIO) -> bool:
    """Whether a person sees the stream at once and codes can move the cursor there."""
    try:
        return stream.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")
    except ValueError:
        # It is closed.
        return False


def is_coloured(stream: TextIO) -> bool:
    """Whether to write colours: not with NO_COLOR, else with FORCE_COLOR, else on a terminal. Empty is as unset."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or is_terminal(stream)


def make_console(*, stderr: bool = False) -> Console:
    """A console on standard output, or on standard error. Its lines are as long as need be where nothing wraps them.

    Ask `is_terminal`, not the console, before anything is drawn over: for rich, FORCE_COLOR makes a terminal of a file.
    """
    stream = sys.stderr if stderr else sys.stdout
    terminal, coloured = is_terminal(stream), is_coloured(stream)
    return PrintableConsole(
        stderr=stderr,
        highlight=False,
        force_terminal=terminal or coloured,
        color_system=("auto" if terminal else "standard") if coloured else None,
        width=None if terminal else 1000,
    )
