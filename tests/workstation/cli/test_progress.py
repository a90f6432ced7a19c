"""What goes on is said in a terminal alone, and never where something else is read."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout

import pytest

from datadog_checks.model_serving.workstation.cli.progress import progress
from datadog_checks.model_serving.workstation.standin.console import make_console


class Screen(io.StringIO):
    """Takes itself for a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    with redirect_stdout(io.StringIO()) as output, redirect_stderr(Screen()) as error, progress() as tell:
        tell("run 1 of 2")
        tell("")
        # Between two texts the output is its own.
        make_console().print("what was found")
        tell("run 2 of [2]")
    assert output.getvalue() == "what was found\n"
    assert "run 1 of 2" in error.getvalue()
    assert "run 2 of [2]" in error.getvalue()
    assert "what was found" not in error.getvalue()


def test_a_pipe_has_nothing_of_it() -> None:
    with redirect_stdout(io.StringIO()) as output, redirect_stderr(io.StringIO()) as error, progress() as tell:
        tell("run 1 of 2")
    assert (output.getvalue(), error.getvalue()) == ("", "")
