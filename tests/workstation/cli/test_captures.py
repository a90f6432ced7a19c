"""What a terminal shows of real runs, at 80 and 120 columns, is what captures/ holds.

    python -m tests.workstation.cli.test_captures

writes them again, and those in docs/command.md and README.md.
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
PAGES = (ROOT / "docs" / "command.md", ROOT / "README.md")
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
    """The page with the captures that it names, each in a fenced block below its name.

    One may end before a line: `<!-- capture: NAME, before To have more -->`.
    """

    def block(found: re.Match[str]) -> str:
        shown = (FOLDER / f"{found[1]}.txt").read_text(encoding="utf-8")
        if found[2]:
            shown = f"{shown[: shown.index(f'{chr(10)}{found[3]}')]}\n...\n"
        command = f"model-serving check {' '.join(CAPTURES[found[1].rpartition('_')[0]])}"
        return f"<!-- capture: {found[1]}{found[2]} -->\n\n```text\n$ {command}\n{shown}```\n"

    return re.sub(r"<!-- capture: (\w+)((?:, before (.+?))?) -->\n\n```text\n.*?```\n", block, text, flags=re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_page_shows_what_is_held(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "<!-- capture: " in text
    assert with_captures(text) == text


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for case in CAPTURES:
        for columns in WIDTHS:
            (FOLDER / f"{case}_{columns}.txt").write_text(capture(case, columns), encoding="utf-8")
    for path in PAGES:
        path.write_text(with_captures(path.read_text(encoding="utf-8")), encoding="utf-8")
