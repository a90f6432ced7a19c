"""`model-serving versions`: which versions of models nobody calls, so that they can be unloaded."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...errors import OptionError
from ...http.redact import printable, without_secrets
from ..standin.configuration import Configuration, load_configuration
from ..standin.console import is_coloured
from ..standin.install import standing_in
from ..standin.profiles import with_profile
from ..standin.standin import StandIn
from .common import INSTANCES, SECRET, with_options
from .exit import ExitStatus
from .provision_support import ACCOUNT, ProvisionOptions, connected, credentials_of

if TYPE_CHECKING:
    from ..versions.inventory import Inventory
    from ..versions.traffic import TrafficSource

LONGEST = 31 * 24
FILE = click.Path(path_type=Path)


@click.command(short_help="Which versions of models does nobody call?")
@click.argument("urls", nargs=-1, metavar="[URL]...")
@click.option("-c", "--config", "path", metavar="FILE", type=FILE, help="Configuration of the Agent: its instances.")
@INSTANCES
@SECRET
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME",
    help="A model to ask TensorFlow Serving for, which tells of none that nobody has called. May be repeated.",
)
@click.option("--prometheus", metavar="URL", help="Take calls from this Prometheus, or what speaks its HTTP API.")
@click.option("--prometheus-token-file", metavar="FILE", type=FILE, help="Log in there with the token in this file.")
@click.option("--datadog", is_flag=True, help="Take calls from Datadog, where the check has sent them.")
@click.option(
    "--where",
    default="",
    metavar="TEXT",
    help='Which servers: labels of their targets in Prometheus (job="tfs"), or tags in Datadog (env:prod).',
)
@click.option(
    "--hours", default=24, show_default=True, metavar="N", type=click.IntRange(1, LONGEST), help="How far to look back."
)
@click.option(
    "--idle-below",
    default=0.0,
    show_default=True,
    metavar="RATE",
    type=click.FloatRange(min=0),
    help="Take a version for idle up to so many calls per second in its busiest hour.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@with_options(*ACCOUNT)
def versions(
    urls: tuple[str, ...],
    path: Path | None,
    numbers: tuple[int, ...],
    secrets: tuple[str, ...],
    models: tuple[str, ...],
    prometheus: str | None,
    prometheus_token_file: Path | None,
    datadog: bool,
    where: str,
    hours: int,
    idle_below: float,
    as_json: bool,
    **account: Any,
) -> None:
    """List the versions of models that are loaded, and which of them nobody has called.

    What is loaded the systems tell: TensorFlow Serving by the status of its models, MLServer by its repository,
    Databricks by the served entities of a workspace. A URL is one of metrics, as in openmetrics_endpoint; a FILE has
    the Agent's instances. Who was called Prometheus tells, or Datadog.

    A version is "idle: safe to unload" only if its server was seen in each hour, the version was loaded all along, and
    no call came that is, or may be, one of it, at any replica. All else is to keep, or unknown, with the reason.

    \b
    Examples:
      model-serving versions -c conf.yaml --datadog
      model-serving versions -c conf.yaml --prometheus http://prometheus:9090 --where 'job="tfs"'
      model-serving versions http://tfs:8501/monitoring/prometheus/metrics --model ranking \\
        --prometheus http://prometheus:9090 --hours 168 --json

    Exit status: 0 when no version is idle; 3 when one is; 1 when something could not be asked; 2 for a mistake in the
    options or the configuration.
    """
    configuration = _configuration(urls, path, numbers, secrets)
    if bool(prometheus) is datadog:
        raise OptionError("Say where calls are counted: give --prometheus URL or --datadog, one of the two.")
    if prometheus is not None and not prometheus.startswith(("http://", "https://")):
        raise OptionError(f"--prometheus {without_secrets(prometheus)}: write all of the URL, as http://HOST:PORT.")
    options = ProvisionOptions(**account)
    # Late: nothing of this is needed for a mistake in the options.
    from ..versions.shown import summary, table, to_json
    from ..versions.verdict import IDLE, judge

    inventory = _inventory(configuration, models)
    listed = list(dict.fromkeys(inventory.listed))
    for problem in inventory.problems:
        click.echo(printable(f"Error: {problem}", lines=True), err=True)
    for note in inventory.notes:
        click.echo(printable(f"Note: {note}", lines=True), err=True)
    with _source(inventory, prometheus, prometheus_token_file, where, options) as source:
        traffic = source.observe(listed, hours)
    judged = judge(listed, traffic, idle_below)
    if as_json:
        click.echo(json.dumps(to_json(judged, traffic.period, source.name), allow_nan=False))
    else:
        coloured = is_coloured(sys.stdout)
        for line, colour in table(judged, traffic.period):
            click.echo(click.style(line, fg=colour) if colour else line, color=coloured)
        click.echo(summary(judged, traffic.period))
    if inventory.misconfigured:
        sys.exit(ExitStatus.USAGE)
    if inventory.problems or not listed:
        sys.exit(ExitStatus.FAILED)
    if any(one.verdict == IDLE for one in judged):
        sys.exit(ExitStatus.FOUND)


def _configuration(
    urls: tuple[str, ...], path: Path | None, numbers: tuple[int, ...], secrets: tuple[str, ...]
) -> Configuration:
    """The instances of the file, and one for each URL."""
    if path is None and not urls:
        raise OptionError("Nothing to look at: give -c FILE, a configuration of the Agent, or the URL of metrics.")
    found = Configuration("URL", {}, ())
    if path is not None:
        found = load_configuration(path, secrets, os.environ)
        found = found.only(numbers) if numbers else found
    first = max((number for number, _ in found.instances), default=0) + 1
    more = tuple((first + at, {"openmetrics_endpoint": url}) for at, url in enumerate(urls))
    whole, profiles = with_profile(replace(found, instances=(*found.instances, *more)), os.environ)
    for number, profile in profiles.items():
        click.echo(f"instance {number} logs in to Databricks with {profile}", err=True)
    return whole


def _inventory(configuration: Configuration, models: tuple[str, ...]) -> Inventory:
    with standing_in(StandIn()) as stand_in:
        # Imported here so that the base package finds the stand-in, where it was not loaded before.
        from ... import ModelServingCheck
        from ..versions.inventory import take_inventory

        return take_inventory(ModelServingCheck, configuration, stand_in, models)


@contextmanager
def _source(
    inventory: Inventory, prometheus: str | None, token_file: Path | None, where: str, options: ProvisionOptions
) -> Iterator[TrafficSource]:
    if prometheus is None:
        from ..versions.datadog import DatadogTraffic

        with connected(options, credentials_of(options)) as client:
            yield DatadogTraffic(client, inventory.systems, where)
        return
    from ..versions.prometheus import PrometheusApi, PrometheusTraffic

    api = PrometheusApi(prometheus, _token(token_file), options.timeout)
    try:
        yield PrometheusTraffic(api, inventory.systems, where)
    finally:
        api.close()


def _token(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise OptionError(f"--prometheus-token-file {path}: can't be read: {reason}") from None
    if not token or not token.isascii() or len(token.split()) != 1:
        raise OptionError(f"--prometheus-token-file {path}: must hold one token, without blanks")
    return token
