"""An examination in a terminal: a fact a line, names whole, at any width."""

from __future__ import annotations

from rich.console import Console

from .model import Examination


def show(examination: Examination, console: Console, all_: bool = False) -> None:
    """Print the summary; with `all_` everything that it counts, too."""
    console.print(examination.label, soft_wrap=True)
