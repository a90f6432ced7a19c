"""`model-serving demo` as a person runs it."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import threading

import pytest
from click.testing import CliRunner
from rich.console import Console

from datadog_checks.model_serving.workstation.cli import demo as command
from datadog_checks.model_serving.workstation.cli.demo import demo
from datadog_checks.model_serving.workstation.demo import report
from datadog_checks.model_serving.workstation.demo.observe import Signals
from datadog_checks.model_serving.workstation.demo.report import NumberComparison
from datadog_checks.model_serving.workstation.demo.world import World

from ...leftovers import sockets

COMMAND = [sys.executable, "-m", "datadog_checks.model_serving", "demo", "--plain"]
PORT = re.compile(r"https?://127\.0\.0\.1:(\d+)")


def check_summary(output: str) -> None:
    """The summary compares every number, and all agree."""
    assert "DIFFERS" not in output
    simulated = re.search(r"^  nvml +gpu-node-1, GPU 1 +XID errors +\d+ +\d+ +agrees$", output, re.MULTILINE)
    assert simulated or "The GPUs of this host, read through NVML: GPU 0" in output
    assert f"All {33 if simulated else 29} numbers agree." in output
    assert "model-serving check http://localhost:8082/metrics" in output


def test_a_short_run_ends_by_itself_and_its_numbers_agree() -> None:
    done = subprocess.run(
        [*COMMAND, "--duration", "6"], capture_output=True, encoding="utf-8", timeout=300, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    check_summary(done.stdout)
    for part in (
        "simulator: error burst",
        "event from dcgm",
        ": GPU 1: XID 79: the GPU fell",
        "requests/s",
        'event "GPU 1: XID 79"',
    ):
        assert part in done.stdout
    assert "\x1b[" not in done.stdout


def test_forced_colour_makes_no_terminal_of_a_file() -> None:
    """Nothing is drawn over what was written before."""
    command = [part for part in COMMAND if part != "--plain"]
    environment = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": "40"}
    done = subprocess.run(
        [*command, "--duration", "2"], capture_output=True, encoding="utf-8", timeout=300, check=False, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")
    check_summary(done.stdout)
    assert "\x1b" not in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="signals of this kind cannot be sent to a process on Windows")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watching_goes_on_until_it_is_interrupted_and_then_sums_up(number: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [*COMMAND, "--watch", "--duration", "2"], stdout=subprocess.PIPE, encoding="utf-8", env=environment
    )
    try:
        assert process.stdout is not None
        ramps = 0
        lines = []
        # The story of one minute has begun again: the demo outlives its duration.
        while ramps < 2:
            lines.append(process.stdout.readline())
            assert lines[-1], "".join(lines)
            ramps += "simulator: morning ramp" in lines[-1]
        process.send_signal(number)
        rest, _ = process.communicate(timeout=300)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    check_summary(rest)
    # What is told of a phase is told of all its rounds.
    assert re.search(r"the extremes of all [23] rounds of the story:\n", rest)
    assert re.search(r"^  08:00 \([12] times more, last at 08:0[12]\) morning ramp: ", rest, re.MULTILINE)


def test_nothing_is_left_running() -> None:
    threads, module, held = set(threading.enumerate()), sys.modules.get("pynvml"), sockets()
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    result = CliRunner().invoke(demo, ["--duration", "2", "--seed", "5"], catch_exceptions=False)
    assert result.exit_code == 0
    check_summary(result.output)
    assert not [thread for thread in set(threading.enumerate()) - threads if thread.join(60) or thread.is_alive()]
    assert module is None or sys.modules.get("pynvml") is module
    assert "simulated" not in (getattr(sys.modules.get("pynvml"), "__doc__", None) or "")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert len(set(PORT.findall(result.output))) == 7
    # Nobody listens there any longer, or only a process that has been given the same port since.
    assert sockets() <= held


def test_a_number_that_differs_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that runs the demo is told without reading its output."""

    def less(world: World, signals: Signals) -> list[NumberComparison]:
        first, *others = report.compare(world, signals)
        return [first._replace(arrived=first.arrived - 1), *others]

    monkeypatch.setattr(command, "compare", less)
    result = CliRunner().invoke(demo, ["--duration", "2"])
    assert result.exit_code == 1
    assert result.output.count("DIFFERS") == 1
    assert re.search(r"^1 of \d+ numbers differ: please report this", result.output, re.MULTILINE)


def test_a_terminal_gets_no_line_that_it_would_break(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are folded between words, URLs stay whole, and the numbers keep their columns."""
    monkeypatch.setattr(command, "is_terminal", lambda stream: True)
    monkeypatch.setattr(command, "make_console", lambda: Console(file=io.StringIO(), width=80))
    result = CliRunner().invoke(demo, ["--duration", "2", "--plain"])
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= 80
    assert re.search(r"^ +http://127\.0\.0\.1:\d+/monitoring/prometheus/metrics$", result.output, re.MULTILINE)
    check_summary(result.output)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--duration", "1"], "Invalid value for '--duration'"),
        (["--seed", "x"], "Invalid value for '--seed'"),
        (["--loud"], "No such option"),
    ],
)
def test_a_mistake_in_the_options_is_a_message(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(demo, arguments)
    assert (result.exit_code, "Traceback" in result.output) == (2, False)
    assert message in result.output


def test_help_has_examples() -> None:
    result = CliRunner().invoke(demo, ["--help"])
    assert result.exit_code == 0
    assert "model-serving demo --watch" in result.output
