"""What a terminal shows of real runs, at 80 and 120 columns, is what captures/ holds.

    python -m tests.workstation.cli.test_captures

writes them again, and those in docs/command.md.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import datadog_checks.base.checks.openmetrics.v2.base  # noqa: F401  (with its stubs, as other tests expect it)
import pytest

from datadog_checks.model_serving.workstation.cli.root import root

from .conftest import ROOT

FOLDER = Path(__file__).with_name("captures")
PAGE = ROOT / "docs" / "command.md"
PAYLOADS = ROOT / "tests" / "fixtures" / "payloads"
CAPTURES = {
    "gpus": ["dcgm/default_4.8.2.txt"],
    "two_scrapes": ["saved/before.txt", "saved/after.txt", "--interval", "60"],
    "unknown": ["foreign/generic_app.prom"],
}
"""What follows `model-serving check`, in the folder of the payloads."""

WIDTHS = (80, 120)


class Screen(io.StringIO):
    """Takes itself for a terminal."""

    def isatty(self) -> bool:
        return True


@contextmanager
def terminal(width: int) -> Iterator[Screen]:
    """A terminal of this width, in the folder of the payloads."""
    folder, before = Path.cwd(), dict(os.environ)
    os.chdir(PAYLOADS)
    os.environ.update(TERM="xterm", NO_COLOR="1", COLUMNS=str(width), LINES="24")
    os.environ.pop("FORCE_COLOR", None)
    try:
        with redirect_stdout(Screen()) as screen:
            yield screen
    finally:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(before)


def capture(name: str, width: int) -> str:
    """What the command prints, without the codes for bold type."""
    with terminal(width) as screen, pytest.raises(SystemExit):
        root(["check", *CAPTURES[name]], prog_name="model-serving")
    return re.sub(r"\x1b\[[\d;]*m", "", screen.getvalue())


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", CAPTURES)
def test_the_terminal_shows_what_is_held(name: str, width: int) -> None:
    shown = capture(name, width)
    assert shown == (FOLDER / f"{name}_{width}.txt").read_text(encoding="utf-8")
    for line in shown.splitlines():
        assert line == line.rstrip()
        assert len(line) <= width or " " not in line.strip(), line


def with_captures(text: str) -> str:
    """The page with the captures that it names, each in a fenced block below its name."""

    def block(found: re.Match[str]) -> str:
        shown = (FOLDER / f"{found[1]}.txt").read_text(encoding="utf-8")
        command = f"model-serving check {' '.join(CAPTURES[found[1].rpartition('_')[0]])}"
        return f"<!-- capture: {found[1]} -->\n\n```text\n$ {command}\n{shown}```\n"

    return re.sub(r"<!-- capture: (\w+) -->\n\n```text\n.*?```\n", block, text, flags=re.DOTALL)


def test_the_page_shows_what_is_held() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert "<!-- capture: " in text
    assert with_captures(text) == text


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for case in CAPTURES:
        for columns in WIDTHS:
            (FOLDER / f"{case}_{columns}.txt").write_text(capture(case, columns), encoding="utf-8")
    PAGE.write_text(with_captures(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
