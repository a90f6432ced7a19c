"""What several subcommands have: options, and a log on standard error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from ...http.redact import mask, printable, secrets_of
from ..standin.builtins import TRACE
from ..standin.configuration import Configuration

Command = TypeVar("Command", bound=Callable[..., Any])

SECRET = click.option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="NAME=FILE|env:VARIABLE",
    help="Where the value of ENC[NAME] is: a file, or a variable of the environment.  "
    "[default: MODEL_SERVING_SECRET_NAME of the environment]",
)

INSTANCES = click.option(
    "-i",
    "--instance",
    "numbers",
    multiple=True,
    metavar="N",
    type=click.IntRange(min=1),
    help="Take only this instance of the configuration, counted from 1. May be given more than once.",
)


def with_options(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Give a command several options, in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


class _MaskedLines(logging.Formatter):
    """Lines without `secrets`, and printable."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        return printable(mask(super().format(record), self._secrets), lines=True)


@contextmanager
def logs_to_stderr(
    level: str, configuration: Configuration, loggers: Iterable[logging.Logger], secrets: Iterable[str] = ()
) -> Iterator[None]:
    """Print what goes to `loggers` to standard error, without `secrets` and those of the configuration."""
    options = [configuration.init_config, *(instance for _, instance in configuration.instances)]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_MaskedLines((*secrets, *configuration.secrets, *secrets_of(options))))
    loggers = tuple(loggers)
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(TRACE if level.lower() == "trace" else level.upper())
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
