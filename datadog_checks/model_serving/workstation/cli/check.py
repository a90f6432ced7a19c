"""`model-serving check`: one configuration file, run as the Agent would."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.status import Status
from rich.text import Text

from ...catalog.model import BILLED_PER_DISTRIBUTION
from ...http.redact import mask, printable, secrets_of
from ..standin.builtins import TRACE, log_output
from ..standin.configuration import Configuration, load_configuration
from ..standin.console import is_terminal, make_console
from ..standin.install import standing_in
from ..standin.profiles import with_profile
from ..standin.runner import Round, Runner
from ..standin.sinks import Units, combined, to_json
from ..standin.standin import StandIn
from ..standin.units import unit_of
from .exit import ExitStatus

NAME = "model_serving"
Tell = Callable[[str], None]
LEVELS = ("trace", "debug", "info", "warning", "error")


@click.command(short_help="Run the check without an Agent and print what it would send.")
@click.option(
    "-c",
    "--config",
    "path",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Configuration as the Agent reads it: init_config and instances.",
)
@click.option(
    "-i",
    "--instance",
    "numbers",
    multiple=True,
    metavar="N",
    type=click.IntRange(min=1),
    help="Run only this instance of the file, counted from 1. May be given more than once.",
)
@click.option(
    "-n",
    "--times",
    default=2,
    show_default=True,
    metavar="N",
    type=click.IntRange(min=1),
    help="How often to run every instance. Counts are what changed between runs, so one run shows none.",
)
@click.option(
    "--interval",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    help="Time between runs.  [default: the longest min_collection_interval of the instances, or 15]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per run, each on a line of its own.")
@click.option(
    "--log-level",
    type=click.Choice(LEVELS, case_sensitive=False),
    help="Also print what the check logs at this level or above, as it happens, to standard error.",
)
def check(
    path: Path, numbers: tuple[int, ...], times: int, interval: float | None, as_json: bool, log_level: str | None
) -> None:
    """Run the check on a configuration file and print what the Agent would send to Datadog.

    The file is the Agent's, conf.d/model_serving.d/conf.yaml. All instances run once per round, each on its own.
    The table shows all rounds together: counts and distributions add up, gauges are the last.

    An instance of a Databricks workspace without a login takes a profile of ~/.databrickscfg, as Databricks' own tools
    do: the one that DATABRICKS_CONFIG_PROFILE names, or the default one where no host is given either.

    \b
    Examples:
      model-serving check -c conf.yaml
      model-serving check -c conf.yaml --instance 2 --times 5 --interval 3
      model-serving check -c conf.yaml --json | jq '.metrics[] | select(.type == "count")'
      model-serving check -c conf.yaml --log-level debug

    Exit status: 0 when all is well; 1 when a run failed or a service check is CRITICAL; 2 for a mistake in the
    options or the configuration.
    """
    configuration = load_configuration(path)
    if numbers:
        configuration = configuration.only(numbers)
    configuration, profiles = with_profile(configuration, os.environ)
    for number, profile in profiles.items():
        click.echo(f"instance {number} logs in to Databricks with {profile}", err=True)
    pause = configuration.interval() if interval is None else interval
    with standing_in(StandIn(config={"log_level": log_level or "info"})) as stand_in:
        # Imported here so that the base package finds the stand-in, where it was not loaded before.
        from ... import ModelServingCheck

        with _logs_to_stderr(log_level, configuration):
            rounds = _run(ModelServingCheck, configuration, stand_in, times, pause, as_json)
    if not as_json:
        _show(rounds, configuration, pause)
    if any(round_.misconfigured for round_ in rounds):
        sys.exit(ExitStatus.USAGE)
    if not all(round_.healthy for round_ in rounds):
        sys.exit(ExitStatus.FAILED)


def _run(
    check_class: type[Any],
    configuration: Configuration,
    stand_in: StandIn,
    times: int,
    pause: float,
    as_json: bool,
) -> list[Round]:
    runner = Runner(check_class, NAME, configuration.init_config, configuration.instances, stand_in)
    rounds: list[Round] = []
    due = time.monotonic()
    try:
        with _progress() as tell:
            for number in range(1, times + 1):
                if number > 1:
                    due += pause
                    tell(f"run {number} of {times} follows in {max(0.0, due - time.monotonic()):.0f} s")
                    time.sleep(max(0.0, due - time.monotonic()))
                rounds.append(runner.run(partial(_tell_run, tell, number, times)))
                if as_json:
                    click.echo(json.dumps(to_json(rounds[-1], _units(configuration)), allow_nan=False))
    finally:
        runner.close()
    return rounds


def _tell_run(tell: Tell, number: int, times: int, label: str) -> None:
    tell(f"run {number} of {times}: {label}")


def _show(rounds: list[Round], configuration: Configuration, pause: float) -> None:
    # Late: the machine-readable output does without it.
    from ..standin.terminal import show

    console = make_console()
    whole = combined(rounds)
    show(whole, _units(configuration), console)
    runs = f"{len(rounds)} run{'s' if len(rounds) > 1 else ''}"
    failed = sum(run.error is not None for run in whole.runs)
    series = sum(len(run.commit.series) for run in whole.runs)
    distributions = sum(len(run.commit.distributions) for run in whole.runs)
    console.print(
        f"{runs}{f', {pause:g} s apart' if len(rounds) > 1 else ''}: {series + distributions} metrics with their tags "
        f"({series + BILLED_PER_DISTRIBUTION * distributions} custom metrics) from "
        f"{len(whole.runs)} instance{'s' if len(whole.runs) > 1 else ''}"
        + (f", [bold red]{failed} failed[/]" if failed else "")
    )


def _units(configuration: Configuration) -> Units:
    files: list[str] = []
    for _, instance in configuration.instances:
        own = instance.get("catalog") or []
        files += [own] if isinstance(own, str) else [str(path) for path in own]
    return partial(unit_of, catalog_files=tuple(dict.fromkeys(files)))


@contextmanager
def _progress() -> Iterator[Tell]:
    """A function that says on standard error what goes on, as long as that is a terminal."""
    if not is_terminal(sys.stderr):
        yield lambda text: None
        return
    with Status("", console=make_console(stderr=True)) as status:
        yield lambda text: status.update(Text(text))


@contextmanager
def _logs_to_stderr(level: str | None, configuration: Configuration) -> Iterator[None]:
    """Print what goes to the Agent's log, without secrets and printable, to standard error."""
    if level is None:
        yield
        return
    secrets = secrets_of([configuration.init_config, *(instance for _, instance in configuration.instances)])

    class Masking(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return printable(mask(super().format(record), secrets), lines=True)

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Masking("%(asctime)s %(levelname)s %(message)s"))
    log_output.addHandler(handler)
    log_output.setLevel(TRACE if level.lower() == "trace" else level.upper())
    try:
        yield
    finally:
        log_output.removeHandler(handler)
