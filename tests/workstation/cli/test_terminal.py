"""Colour, animation, width and encoding: what the environment asks of the commands, and what a terminal takes."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.padding import Padding
from rich.status import Status
from rich.table import Table
from rich.text import Text

from datadog_checks.model_serving.http.redact import printable
from datadog_checks.model_serving.workstation.cli.exit import ExitStatus
from datadog_checks.model_serving.workstation.standin.console import is_coloured, is_terminal, make_console

from ..provision.standin import Standin
from .conftest import Endpoint, model_serving, on_a_terminal

COLOUR = re.compile(r"\x1b\[[\d;]*m")
Shell = Mapping[str, str]
Run = Callable[[Shell], str]
Command = tuple[list[str], Shell, ExitStatus]


class Stream(io.StringIO):
    """A file, or what takes itself for a terminal."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return super().isatty() or self._terminal


@pytest.mark.parametrize(
    ("variables", "in_file", "on_terminal"),
    [
        ({}, False, True),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": ""}, False, True),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, False, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False, False),
        ({"NO_COLOR": "", "FORCE_COLOR": "1"}, True, True),
        ({"TERM": "dumb"}, False, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True, True),
    ],
)
def test_colour(variables: Shell, in_file: bool, on_terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR wins over FORCE_COLOR, which wins over what the output is; neither makes a terminal of a file."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for stream, coloured in ((Stream(False), in_file), (Stream(True), on_terminal)):
        assert is_coloured(stream) is coloured
        monkeypatch.setattr("sys.stdout", stream)
        make_console().print("[red]x[/]", end="")
        assert stream.getvalue() == ("\x1b[31mx\x1b[0m" if coloured else "x")
    assert not is_terminal(Stream(False))
    assert is_terminal(Stream(True)) is (variables.get("TERM") != "dumb")


def test_a_stream_that_is_closed_is_no_terminal() -> None:
    stream = Stream(True)
    stream.close()
    assert not is_terminal(stream)


def bare(text: str) -> str:
    """Without colour, and without what is by time: another number in each run, in a column as wide as it is."""
    return re.sub(" +", " ", re.sub(r"\S+ requests/s", "requests/s", COLOUR.sub("", text)))


@pytest.fixture
def account() -> Iterator[Standin]:
    with Standin() as standin:
        yield standin


@pytest.fixture
def broken(tmp_path: Path) -> str:
    """A monitor whose query is wrong, in letters that ASCII lacks."""
    path = tmp_path / "monitor.json"
    path.write_text(json.dumps({"type": "query alert", "name": "a", "query": "avg(5m):avg:größe{*} > 5"}), "utf-8")
    return str(path)


@pytest.fixture(params=["check", "lint", "provision"])
def arguments(
    request: pytest.FixtureRequest, conf: Callable[..., str], endpoint: Endpoint, account: Standin, broken: str
) -> Command:
    """A command that prints in colour and shows what goes on, what it needs in its environment, and its exit status."""
    if request.param == "check":
        path = conf(f"openmetrics_endpoint: {endpoint.url}, tags: ['team:größer']", "openmetrics_endpoint: http://::1")
        return ["check", "-c", path, "--interval", "0"], {}, ExitStatus.USAGE
    if request.param == "lint":
        return ["lint", broken], {}, ExitStatus.FOUND
    keys = {"DD_API_KEY": account.api_key, "DD_APP_KEY": account.app_key, "MODEL_SERVING_DATADOG_URL": account.url}
    return ["provision", "plan"], keys, ExitStatus.DONE


@pytest.fixture
def run(arguments: Command, endpoint: Endpoint) -> Run:
    """Run it with its output in a file, and return what was written, the errors last."""
    command, variables, expected = arguments

    def run(shell: Shell) -> str:
        # Each run finds the same numbers.
        endpoint.scrapes = 0
        done = model_serving(*command, environment={**variables, **shell})
        assert done.returncode == expected
        return done.stdout + done.stderr

    return run


def test_in_a_file(run: Run) -> None:
    """No codes, however wide the terminal is and whatever the locale; colours, and no other code, when asked for."""
    plain = run({})
    quiet = run({"COLUMNS": "20", "LC_ALL": "C", "NO_COLOR": "1", "FORCE_COLOR": "1"})
    assert "\x1b" not in plain + quiet
    assert bare(quiet) == bare(plain)
    coloured = run({"FORCE_COLOR": "1"})
    assert COLOUR.search(coloured)
    assert "\x1b" not in COLOUR.sub("", coloured)
    assert bare(coloured) == bare(plain)
    # An encoding that lacks letters is no error: all that it has letters for is there.
    words = {word for word in bare(plain).split() if word.isascii()}
    for shell in ({"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        assert words <= set(bare(run(shell)).split())


@pytest.mark.parametrize(
    ("shell", "coloured", "moves"),
    [({}, True, True), ({"NO_COLOR": "1"}, False, True), ({"TERM": "dumb"}, False, False)],
    ids=["as it is", "without colour", "dumb"],
)
def test_on_a_terminal(arguments: Command, shell: Shell, coloured: bool, moves: bool) -> None:
    """Colour unless it is not wanted; what goes on is drawn over as long as the terminal can do that."""
    command, variables, expected = arguments
    status, shown = on_a_terminal(*command, environment={**variables, **shell})
    assert status == expected
    assert "Traceback" not in shown
    assert bool(COLOUR.search(shown)) is coloured
    if command[0] == "check":
        assert ("\x1b" in COLOUR.sub("", shown)) is moves
    else:
        assert "\x1b" not in COLOUR.sub("", shown)


STEERING = "a\x1b]0;OWNED\x07\x1b[2J\x9b8m\u202eb\u2066\r\u200b\u2028"


def test_a_console_prints_nothing_that_steers_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is given: a text, a table, a line of progress."""
    stream = Stream(True)
    monkeypatch.setattr("sys.stdout", stream)
    console = make_console()
    table = Table(STEERING)
    table.add_row(Text(STEERING, "red"))
    console.print(STEERING, Text(STEERING), table, Padding(Text(f"x\n{STEERING}"), (0, 2)), markup=False)
    with Status(Text(STEERING), console=console):
        pass
    # What is left are codes of the console's own: for colours, and for the cursor of the progress.
    own = re.sub(r"\x1b\[(?:[\d;]*m|\?25[lh]|[012]?[KA])|\r(?=\x1b|$)", "", stream.getvalue())
    assert [char for char in own if not char.isprintable() and char != "\n"] == []
    assert r"\x1b[2J" in own


@given(st.text(), st.booleans())
def test_printable_is_printable_and_says_what_was_there(text: str, lines: bool) -> None:
    shown = printable(text, lines=lines)
    assert all(char.isprintable() or (lines and char == "\n") for char in shown)
    assert printable(shown, lines=lines) == shown
    shown.encode("utf-8")
    if text.isprintable():
        assert shown == text
