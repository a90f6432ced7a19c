"""The exit statuses, the same in every subcommand. docs/command.md says what each means where."""

from __future__ import annotations

from enum import IntEnum

from ...errors import ConfigError, UserError


class ExitStatus(IntEnum):
    """How a subcommand ends."""

    DONE = 0
    FAILED = 1
    """Something that was asked for could not be done."""
    USAGE = 2
    """The options, or a file that they name, have to be mended first; also click's own status for this."""
    FOUND = 3
    """It is done, and found something to act on."""


def status_of(error: UserError) -> ExitStatus:
    """What an error that ends a subcommand ends it with."""
    return ExitStatus.USAGE if isinstance(error, ConfigError) else ExitStatus.FAILED
