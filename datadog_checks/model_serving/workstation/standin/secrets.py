"""Secrets for a run without an Agent: what stands for the `ENC[handle]` of a configuration.

An Agent fetches a handle from its secrets backend. Here its value comes from a file or from a variable of the
environment, never from the command line, which everybody on the machine can read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ...errors import OptionError
from ..files import is_there

PREFIX = "MODEL_SERVING_SECRET_"
FROM_VARIABLE = "env:"
LONGEST = 64 * 1024
"""Bytes of a file with a secret; the keys and certificates of any system are smaller."""

_HANDLE = re.compile(r"\s*ENC\[(.*)\]\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Handle:
    """A text that is `ENC[name]` and nothing else, and where it stands, such as `instances[1].databricks_token`."""

    name: str
    place: str

    @property
    def variable(self) -> str:
        """The variable that its value is looked for in, unless an option names another source."""
        return PREFIX + re.sub(r"[^A-Z0-9]+", "_", self.name.upper()).strip("_")


def handles_in(node: Any, place: str = "") -> Iterator[Handle]:
    """Every handle of a configuration, in the order of the file."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from handles_in(value, f"{place}.{key}" if place else str(key))
    elif isinstance(node, list):
        for number, value in enumerate(node, 1):
            yield from handles_in(value, f"{place}[{number}]")
    elif isinstance(node, str) and (found := _HANDLE.fullmatch(node)):
        yield Handle(found[1], place)


def filled(node: Any, values: Mapping[str, str]) -> Any:
    """The configuration with the value of each handle in its place."""
    if isinstance(node, dict):
        return {key: filled(value, values) for key, value in node.items()}
    if isinstance(node, list):
        return [filled(value, values) for value in node]
    if isinstance(node, str) and (found := _HANDLE.fullmatch(node)):
        return values[found[1]]
    return node


def values_of(
    where: str, handles: Sequence[Handle], given: Sequence[str], environ: Mapping[str, str]
) -> dict[str, str]:
    """The value of each handle, by its name.

    `where` is what messages call the configuration, `given` the `NAME=FILE` and `NAME=env:VARIABLE` of the option
    `--secret`. Raises OptionError for a source that can't be used, one of no handle, and for handles without a value.
    """
    names = {handle.name for handle in handles}
    values = {}
    for text in given:
        name, source = _split(text)
        if name not in names:
            close = get_close_matches(name, names, 1)
            there = f"did you mean {close[0]}?" if close else f"there is {_listed(names)}."
            raise OptionError(f"--secret {name}: {where} has no ENC[{name}]; {there}")
        values[name] = _read(name, source, environ)
    missing: dict[str, Handle] = {}
    for handle in handles:
        if handle.name not in values and environ.get(handle.variable):
            values[handle.name] = environ[handle.variable]
        if handle.name not in values:
            missing.setdefault(handle.name, handle)
    if missing:
        raise OptionError("\n".join(_missing(where, handle) for handle in missing.values()))
    return values


def _split(text: str) -> tuple[str, str]:
    name, equals, source = text.partition("=")
    if not (name and equals and source):
        # What stands there may be the secret itself, so it is not repeated.
        raise OptionError(
            "--secret takes NAME=FILE or NAME=env:VARIABLE, where NAME is what stands in ENC[NAME]; one of yours is "
            "not of this form."
        )
    return name, source


def _read(name: str, source: str, environ: Mapping[str, str]) -> str:
    # No message repeats the source as long as it may be the secret itself.
    if source.startswith(FROM_VARIABLE):
        variable = source.removeprefix(FROM_VARIABLE)
        value = environ.get(variable)
        if value is None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", variable):
            raise OptionError(f"--secret {name}: what follows `env:` is no name of a variable: {_INSTEAD}")
        if not value:
            raise OptionError(f"--secret {name}: the variable {variable} is {'empty' if value == '' else 'not set'}.")
        return value
    path = Path(source)
    try:
        with path.open("rb") as file:
            data = file.read(LONGEST + 1)
    except (OSError, ValueError) as error:
        if not is_there(path):
            raise OptionError(f"--secret {name}: what follows the `=` names no file: {_INSTEAD}") from None
        raise OptionError(f"--secret {name}: {path} can't be read: {getattr(error, 'strerror', error)}.") from None
    if len(data) > LONGEST:
        raise OptionError(f"--secret {name}: {path} is larger than {LONGEST // 1024} KiB: is it the right file?")
    try:
        value = data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise OptionError(f"--secret {name}: {path} is not text in UTF-8: is it the right file?") from None
    if not value:
        raise OptionError(f"--secret {name}: {path} is empty.")
    return value


_INSTEAD = (
    "give NAME=FILE or NAME=env:VARIABLE. A secret itself does not belong on the command line, where every user of "
    "this machine can read it."
)


def _missing(where: str, handle: Handle) -> str:
    return (
        f"{where}, {handle.place}: ENC[{handle.name}] is a secret that an Agent fetches from its secrets backend. Give "
        f"it here with `--secret {handle.name}=FILE` or `--secret {handle.name}=env:VARIABLE`, or set "
        f"{handle.variable}."
    )


def _listed(names: set[str]) -> str:
    return ", ".join(f"ENC[{name}]" for name in sorted(names)) or "no ENC[...] at all"
