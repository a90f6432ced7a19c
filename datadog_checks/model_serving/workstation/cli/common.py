"""Options that several subcommands have."""

from __future__ import annotations

import click

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
