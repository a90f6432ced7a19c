"""The command `model-serving`. Its subcommands live in one module each and are imported when they are called."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from io import TextIOWrapper

from .exit import ExitStatus

NEEDED = ("click", "rich")
INSTALL = "`pip install '.[cli]'` in a checkout, or `pip install 'PATH[cli]'` with the path of the wheel"
"""How to get what is missing. No index has a package of ours, so that a name alone might bring somebody else's."""


def main() -> None:
    """Run the command; the entry point of the installed script."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        sys.stderr.write(f"model-serving needs {' and '.join(missing)}, which this Python lacks: {INSTALL}\n")
        raise SystemExit(ExitStatus.FAILED)
    # What an encoding lacks, such as the ASCII of an old locale, is spelt out rather than an error.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")
    from .root import root

    root(prog_name="model-serving")
