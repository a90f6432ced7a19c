"""What `check` and `provision preview` run: the options that say it, and the configuration that they come to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from ...errors import OptionError
from ...http.redact import printable
from ..standin.configuration import Configuration, load_configuration, with_secrets
from ..standin.replay import replayed
from ..standin.targets import PLACE, ScrapeTargets, instance_of, read_targets, replayed_configuration
from .common import INSTANCES, SECRET
from .trial_runs import Schedule, schedule_of

OF_TARGETS = ("serving_system", "endpoint_name", "catalog", "headers")
"""The options that stand for those of an instance."""
WRITTEN = {
    "numbers": "--instance",
    "serving_system": "--serving-system",
    "endpoint_name": "--endpoint-name",
    "catalog": "--catalog",
    "headers": "--header",
    "secrets": "--secret",
    "times": "--times",
    "interval": "--interval",
}
"""How a person writes the options that say how something is run, by their names here."""

TARGETS = click.argument("targets", nargs=-1, metavar="[TARGET]...")
WHAT_RUNS = (
    click.option(
        "-c",
        "--config",
        "path",
        metavar="FILE",
        type=click.Path(path_type=Path, allow_dash=True),
        help="Configuration as the Agent reads it: init_config and instances; - for standard input.",
    ),
    INSTANCES,
    click.option("--serving-system", metavar="NAME", help="What serves at the target, where that is not recognised."),
    click.option("--endpoint-name", metavar="NAME", help="The tag endpoint_name of a target."),
    click.option(
        "--catalog", "catalog", multiple=True, metavar="FILE", help="Try a catalog file of your own on the targets."
    ),
    click.option(
        "--header",
        "headers",
        multiple=True,
        metavar="'NAME: VALUE'",
        help="A header of the requests to the targets; a secret one as 'Authorization: ENC[login]'.",
    ),
    SECRET,
)


def when(times: str, interval: str, least: float = 0) -> tuple[Callable[[Any], Any], ...]:
    """The options that say how many runs there are, and when. The texts tell what holds without the option."""
    return (
        click.option(
            "-n",
            "--times",
            metavar="N",
            type=click.IntRange(min=1),
            help="How often to run every instance. Counts are what changed between runs, so one run shows none.  "
            f"[default: {times}]",
        ),
        click.option(
            "--interval",
            metavar="SECONDS",
            type=click.FloatRange(min=least),
            help=f"Time between runs, or between the answers that saved payloads are.  [default: {interval}]",
        ),
    )


@dataclass(frozen=True, slots=True)
class TrialOptions:
    """What a command is to run, as it was asked for."""

    targets: tuple[str, ...] = ()
    path: Path | None = None
    numbers: tuple[int, ...] = ()
    serving_system: str | None = None
    endpoint_name: str | None = None
    catalog: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    times: int | None = None
    interval: float | None = None

    @property
    def is_given(self) -> bool:
        """Whether there is anything to run."""
        return bool(self.targets) or self.path is not None

    def given(self, names: Iterable[str] = WRITTEN) -> str:
        """The first of these options that is given, by its name here; empty where none is."""
        return next((name for name in names if getattr(self, name) not in (None, ())), "")


def prepared(
    options: TrialOptions, stack: ExitStack, *, usual_times: int, url_interval: float
) -> tuple[Configuration, Schedule]:
    """What is to run, and when. A server for saved payloads runs until the stack ends. Raises UserError.

    What was made of what a person wrote is told on standard error.
    """
    # Late, for help and completion do without all that it loads.
    from ..standin.profiles import with_profile

    found = read_targets(options.targets)
    for note in found.notes:
        click.echo(printable(note), err=True)
    configuration = _configuration(found, options, stack)
    if options.numbers:
        if options.path is None:
            raise OptionError("--instance chooses among the instances of a configuration: give -c FILE.")
        configuration = configuration.only(options.numbers)
    configuration, profiles = with_profile(configuration, os.environ)
    for number, profile in profiles.items():
        click.echo(f"instance {number} logs in to Databricks with {profile}", err=True)
    schedule = schedule_of(
        found,
        configuration,
        options.times,
        options.interval,
        usual_times=usual_times,
        url_interval=url_interval,
    )
    return configuration, schedule


def _configuration(found: ScrapeTargets, options: TrialOptions, stack: ExitStack) -> Configuration:
    """The file, or instances for the targets."""
    targets = bool(found.urls or found.payloads)
    if options.path is not None:
        if targets:
            raise OptionError("A target and -c are two things to check: give one of them.")
        if name := options.given(OF_TARGETS):
            raise OptionError(f"{WRITTEN[name]} is for targets: with -c write `{name}` into the file.")
        return load_configuration(options.path, options.secrets, os.environ)
    if not targets:
        raise OptionError(
            "Nothing to check: give the URL of an endpoint, such as http://localhost:8082/metrics, a file with a saved "
            "payload, or -c FILE for a configuration. `model-serving check --help` has examples."
        )
    trial = {name: getattr(options, name) for name in OF_TARGETS}
    written = [instance_of(url, **trial) for url in found.urls or (PLACE,)]
    configuration = replace(with_secrets("the command line", {}, written, options.secrets, os.environ), is_trial=True)
    if found.payloads:
        url = stack.enter_context(replayed([payload.data for payload in found.payloads]))
        configuration = replayed_configuration(configuration, url, found.payloads)
    return configuration
