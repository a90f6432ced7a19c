"""`model-serving bridge`: the check without an Agent, to Datadog."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

import click

from ...http.redact import mask, printable, secrets_of
from ..bridge.deliverer import Deliverer
from ..bridge.engine import Engine, SpoolingStandIn
from ..bridge.intake import Intake
from ..bridge.process import Bridge, log
from ..bridge.settings import BridgeSettings, load_settings
from ..bridge.spool import Spool
from ..standin.builtins import log_output
from ..standin.install import standing_in
from .exit import ExitStatus


@click.command(short_help="Run the check without an Agent and send what it gives to Datadog.")
@click.option(
    "-c",
    "--config",
    "path",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="What to watch and where to send it: docs/bridge.md.",
)
@click.option("--once", is_flag=True, help="Run every instance once, deliver, and end: for a cron job.")
@click.option("--url", envvar="MODEL_SERVING_DATADOG_URL", hidden=True)
def bridge(path: Path, once: bool, url: str | None) -> None:
    """Run the check without an Agent and send what it gives to Datadog.

    The instances of the file are the Agent's. The API key is in DD_API_KEY or in the file that `datadog.api_key_file`
    names. What is not delivered yet, and what was counted last, is kept in the file that `spool.path` names.

    \b
    Examples:
      model-serving bridge -c bridge.yaml
      model-serving bridge -c bridge.yaml --once

    Exit status: 0 when it was told to stop, or with --once when all was delivered; 1 when Datadog refuses the key, the
    spool can't be used, or with --once something could not be run or delivered; 2 for a mistake in the options or the
    file.
    """
    settings = load_settings(path, url=url)
    assert settings.credentials is not None
    with ExitStack() as stack:
        stack.enter_context(_logs(settings))
        spool = Spool(settings.spool.path, settings.spool.max_bytes)
        stack.callback(spool.close)
        stand_in = SpoolingStandIn(spool=spool, hostname=settings.host, config={"log_level": "info"})
        stack.enter_context(standing_in(stand_in))
        # Imported here so that the base package finds the stand-in, where it was not loaded before.
        from ... import ModelServingCheck

        intake = Intake(settings.credentials)
        stack.callback(intake.close)
        engine = Engine(ModelServingCheck, settings, spool, stand_in)
        running = Bridge(settings, spool, engine, Deliverer(spool, intake, settings.spool.max_age))
        stack.enter_context(_stopped_by_signals(running))
        if not once:
            running.run()
            return
        try:
            delivered = running.run_once()
        finally:
            engine.close()
    failed = any(watched.error is not None for watched in engine.watched)
    if failed or not delivered:
        sys.exit(ExitStatus.FAILED)


@contextmanager
def _stopped_by_signals(running: Bridge) -> Iterator[None]:
    """SIGTERM and Ctrl-C end the bridge in good order; a second one ends it at once."""

    def handle(number: int, frame: FrameType | None) -> None:
        running.stop()
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


@contextmanager
def _logs(settings: BridgeSettings) -> Iterator[None]:
    """What the bridge and its checks say, without secrets and printable, to standard error."""
    configuration = settings.configuration
    secrets = secrets_of([configuration.init_config, *(instance for _, instance in configuration.instances)])
    if settings.credentials is not None:
        secrets = (*secrets, *settings.credentials.secrets())

    class MaskedLines(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return printable(mask(super().format(record), secrets), lines=True)

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(MaskedLines("%(asctime)s %(levelname)s %(message)s"))
    # The Agent's own log: its level is that of the stand-in.
    for logger in (log, log_output):
        logger.addHandler(handler)
        logger.setLevel(os.environ.get("MODEL_SERVING_LOG_LEVEL", "INFO").upper())
    log.propagate = False
    try:
        yield
    finally:
        for logger in (log, log_output):
            logger.removeHandler(handler)
