"""`model-serving check`: endpoints, saved payloads or a configuration file, run as the Agent would."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from ...catalog.model import BILLED_PER_DISTRIBUTION
from ...http.redact import printable
from ..standin.builtins import log_output
from ..standin.configuration import Configuration
from ..standin.console import is_terminal, make_console
from ..standin.install import standing_in
from ..standin.sinks import combined
from ..standin.standin import StandIn
from .common import logs_to_stderr, with_options
from .exit import ExitStatus
from .trial import TARGETS, WHAT_RUNS, TrialOptions, prepared, when
from .trial_runs import Schedule, TrialRun, examined, interruption, run, units

if TYPE_CHECKING:
    from ..examine import Examination

DEFAULT_TIMES = 2
URL_INTERVAL = 5.0
"""Seconds between the runs of a URL: a person waits, and no file says otherwise."""

LEVELS = ("trace", "debug", "info", "warning", "error")


@click.command(short_help="Run the check without an Agent and print what it would send.")
@with_options(
    TARGETS,
    *WHAT_RUNS,
    *when(
        "2, or 1 where the first gives nothing",
        "5 for URLs; else the longest min_collection_interval of the instances, or 15",
    ),
)
@click.option("--all", "full", is_flag=True, help="Print every metric with its tags, not only those that tell most.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per run, each on a line of its own.")
@click.option(
    "--log-level",
    type=click.Choice(LEVELS, case_sensitive=False),
    help="Also print what the check logs at this level or above, as it happens, to standard error.",
)
def check(full: bool, as_json: bool, log_level: str | None, **options: Any) -> None:
    """Run the check on endpoints, saved payloads or a configuration, and print what the Agent would send to Datadog.

    A TARGET is the URL of an endpoint, or a file with what one has answered (- for standard input). Several URLs are
    several instances; several files are successive answers of one endpoint, since counts are what changed between two.
    With -c, all instances of the Agent's conf.d/model_serving.d/conf.yaml run, each on its own.

    What is shown is all runs together: counts and distributions add up, gauges are the last.

    A secret comes from a file or the environment, never from the command line: write ENC[NAME] where its value goes.
    An instance of a Databricks workspace without a login takes a profile of ~/.databrickscfg, as Databricks' own tools
    do: the one that DATABRICKS_CONFIG_PROFILE names, or the default one where no host is given either.

    \b
    Examples:
      model-serving check http://localhost:8082/metrics
      model-serving check http://localhost:9000/metrics --catalog gateway.yaml
      model-serving check https://host/metrics --header 'Authorization: ENC[login]' --secret login=FILE
      curl -s http://localhost:8082/metrics | model-serving check -
      model-serving check before.txt after.txt --all
      model-serving check -c conf.yaml --instance 2 --times 5 --interval 3
      model-serving check -c conf.yaml --json | jq '.metrics[] | select(.type == "count")'

    Exit status: 0 when all is well; 1 when a run failed, a service check is CRITICAL, nothing of an endpoint is mapped,
    or Ctrl-C ended it; 2 for a mistake in the options or the configuration.
    """
    with ExitStack() as stack:
        configuration, schedule = prepared(
            TrialOptions(**options), stack, usual_times=DEFAULT_TIMES, url_interval=URL_INTERVAL
        )
        stand_in = stack.enter_context(standing_in(StandIn(config={"log_level": log_level or "info"})))
        # Imported here so that the base package finds the stand-in, where it was not loaded before.
        from ... import ModelServingCheck

        if log_level is not None:
            stack.enter_context(logs_to_stderr(log_level, configuration, [log_output]))
        done = run(ModelServingCheck, configuration, stand_in, schedule, as_json)
    told = examined(done, configuration, schedule)
    if as_json:
        for doubt in done.doubts:
            click.echo(printable(doubt), err=True)
    elif done.rounds:
        _show(done, told, configuration, schedule, full)
    sys.exit(_status(done, told, configuration, schedule))


def _show(
    done: TrialRun, told: Sequence[Examination], configuration: Configuration, schedule: Schedule, full: bool
) -> None:
    # Late: the machine-readable output does without it.
    from ..examine import show as summary
    from ..standin.terminal import flow, show

    console = make_console()
    whole = combined(done.rounds)
    width = console.width if is_terminal(sys.stdout) else None
    for examination in told:
        summary.show(examination, console, full)
        console.print()
    show(whole, units(configuration), console, width=width, full=full, summarised=True)
    if configuration.is_trial:
        for examination in told:
            summary.show_configuration(examination, console)
    runs = f"{len(done.rounds)} run{'s' if len(done.rounds) > 1 else ''}"
    failed = sum(run.error is not None for run in whole.runs)
    series = sum(len(run.commit.series) for run in whole.runs)
    distributions = sum(len(run.commit.distributions) for run in whole.runs)
    instances = f"{len(whole.runs)} instance{'s' if len(whole.runs) > 1 else ''}"
    closing: list[tuple[str, str]] = [
        (f"{runs}{f', {schedule.interval:g} s apart' if len(done.rounds) > 1 else ''}:", ""),
        (f"{series + distributions} series", ""),
        (f"({series + BILLED_PER_DISTRIBUTION * distributions} custom metrics)", ""),
        (f"from {instances}{',' if failed else ''}", ""),
        *([(f"{failed} failed", "bold red")] if failed else []),
    ]
    lines = [*flow(closing, width, hang=0, gap=" ")]
    if len(done.rounds) == 1 and any(examination.mapped for examination in told):
        lines += flow([(word, "") for word in _ONE_RUN.split()], width, hang=0, gap=" ")
    for line in lines:
        console.print(line, soft_wrap=True)


_ONE_RUN = (
    "One scrape has no counts and no distributions: those are what changed between two. Run twice, or save a second "
    "answer and give both files."
)


def _status(
    done: TrialRun, told: Sequence[Examination], configuration: Configuration, schedule: Schedule
) -> ExitStatus:
    """How it ended, which is told where what was shown does not tell it."""
    if done.is_interrupted:
        click.echo(interruption(done, schedule), err=True)
    useless = [one.label for one in told if one.families and not one.mapped and not one.error]
    for label in useless:
        click.echo(f"{label}: none of its metrics is mapped, so none of them would reach Datadog.", err=True)
    if configuration.is_trial and (unsure := [one.name for each in told for one in each.systems if not one.sure]):
        click.echo(f"If that is what it is, add `--serving-system {unsure[0]}`.", err=True)
    if any(round_.misconfigured for round_ in done.rounds):
        return ExitStatus.USAGE
    if done.is_interrupted or useless or not all(round_.healthy for round_ in done.rounds):
        return ExitStatus.FAILED
    return ExitStatus.DONE
