"""`model-serving bridge`: the check without an Agent, to Datadog."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

import click

from ..bridge.process import Bridge, log, opened
from ..bridge.settings import load_settings
from ..standin.builtins import log_output
from .common import SECRET, logs_to_stderr
from .exit import ExitStatus

LEVELS = ("debug", "info", "warning", "error")


@click.command(short_help="Run the check without an Agent and send what it gives to Datadog.")
@click.option(
    "-c",
    "--config",
    "path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="What to watch and where to send it: docs/bridge.md.",
)
@SECRET
@click.option("--once", is_flag=True, help="Run every instance once, deliver, and end: for a cron job.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Run every instance twice, print what would be sent as JSON lines, and send and remember nothing.",
)
@click.option(
    "--log-level",
    default="info",
    show_default=True,
    type=click.Choice(LEVELS, case_sensitive=False),
    help="What goes to standard error of what the bridge and the check log.",
)
@click.option("--demo", is_flag=True, help="Without a file: send what simulated endpoints give to a simulated intake.")
@click.option("--url", envvar="MODEL_SERVING_DATADOG_URL", hidden=True)
def bridge(
    path: Path | None,
    secrets: tuple[str, ...],
    once: bool,
    dry_run: bool,
    log_level: str,
    demo: bool,
    url: str | None,
) -> None:
    """Run the check without an Agent and send what it gives to Datadog.

    The instances of the file are the Agent's. The API key is in DD_API_KEY or in the file that `datadog.api_key_file`
    names. What is not delivered yet, and what was counted last, is kept in the file that `spool.path` names.

    \b
    Examples:
      model-serving bridge --demo
      model-serving bridge -c bridge.yaml
      model-serving bridge -c bridge.yaml --once
      model-serving bridge -c bridge.yaml --dry-run | jq 'select(.path == "/api/v2/series")'

    Exit status: 0 when it was told to stop, or with --once when all was delivered; 1 when Datadog refuses the key, the
    spool can't be used, or with --once something could not be run or delivered; 2 for a mistake in the options or the
    file.
    """
    if demo:
        from .bridge_demo import run_demo

        if path is not None or once or dry_run:
            raise click.UsageError("--demo stands alone")
        if not run_demo(click.echo):
            sys.exit(ExitStatus.FAILED)
        return
    if path is None:
        raise click.UsageError("Missing option '-c' / '--config': the file that says what to watch, or --demo")
    settings = load_settings(path, secrets=secrets, sends=not dry_run, url=url)
    if once:
        # Nobody asks what is over in a moment, and a bridge that goes on may listen there.
        settings = replace(settings, expose=None, health=None)
    # The root logger's handler, if there is one, would show it once more, and its secrets.
    log.propagate = False
    hidden = settings.credentials.secrets() if settings.credentials is not None else ()
    with (
        logs_to_stderr(log_level, settings.configuration, [log, log_output], secrets=hidden),
        opened(settings, click.echo if dry_run else None, log_level=log_level) as running,
        _stopped_by_signals(running),
    ):
        if dry_run:
            # Counts are what changed between two runs.
            delivered = running.run_once() and _waited(running) and running.run_once()
        elif once:
            delivered = running.run_once()
        else:
            running.run()
            return
    watched = running.engine.watched
    if any(one.misconfigured for one in watched):
        sys.exit(ExitStatus.USAGE)
    if any(one.error is not None for one in watched) or not delivered:
        sys.exit(ExitStatus.FAILED)


def _waited(running: Bridge) -> bool:
    """Whether the longest interval has passed, and nobody asked to stop."""
    return not running.pause(max(watched.interval for watched in running.engine.watched))


@contextmanager
def _stopped_by_signals(running: Bridge) -> Iterator[None]:
    """SIGTERM and Ctrl-C end the bridge in good order; a second one ends it at once."""

    def handle(number: int, frame: FrameType | None) -> None:
        running.interrupted = True
        for one in before:
            signal.signal(one, signal.SIG_DFL)

    before: dict[signal.Signals, object] = {}
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)  # type: ignore[arg-type]
