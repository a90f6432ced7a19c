"""Values over time as promtool writes them: `1+2x3` is 1 3 5 7, `4x2` is 4 4 4, `_x2` leaves two out."""

from __future__ import annotations

import re
from typing import Any

from ....errors import InternalSignal
from .observations import STATUSES

NUMBER = r"[+-]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?"
VALUES = re.compile(rf"(?P<first>{NUMBER})(?:(?P<step>[+-](?:\d+(?:\.\d+)?))?x(?P<more>\d+))?")
NOTHING = re.compile(r"_(?:x(?P<more>\d+))?|stale")
STATUS = re.compile(rf"(?P<first>{'|'.join(STATUSES)})(?:x(?P<more>\d+))?")
MOST = 100_000


class UnreadableValues(InternalSignal):
    """A part of a text of values that can't be read. The text says which and what to write."""


def read_numbers(text: str) -> list[float | None]:
    """Numbers over time, None for those left out. Raises UnreadableValues.

    >>> read_numbers("1+2x3 _ 4x1 stale")
    [1.0, 3.0, 5.0, 7.0, None, 4.0, 4.0, None]
    """
    found: list[float | None] = []
    for part in text.split():
        if nothing := NOTHING.fullmatch(part):
            found += [None] * _times(nothing["more"] or "1", part)
        elif values := VALUES.fullmatch(part):
            first, step = float(values["first"]), float(values["step"] or 0)
            found += [first + step * number for number in range(_times(values["more"] or "0", part) + 1)]
        else:
            raise UnreadableValues(f"`{part}` is no value: write 5, 5x10, 0+10x30, _x5 or stale")
    return _bounded(found)


def read_statuses(text: str) -> list[str | None]:
    """Statuses over time, None for those left out. Raises UnreadableValues.

    >>> read_statuses("okx1 critical _")
    ['ok', 'ok', 'critical', None]
    """
    found: list[str | None] = []
    for part in text.split():
        if nothing := NOTHING.fullmatch(part):
            found += [None] * _times(nothing["more"] or "1", part)
        elif status := STATUS.fullmatch(part.lower()):
            found += [status["first"]] * (_times(status["more"] or "0", part) + 1)
        else:
            raise UnreadableValues(f"`{part}` is no status: write {', '.join(STATUSES)}, okx10 or _x5")
    return _bounded(found)


def _times(text: str, part: str) -> int:
    if len(text) > len(str(MOST)) or int(text) > MOST:
        raise UnreadableValues(f"`{part}` are more than {MOST:,} values")
    return int(text)


def _bounded(found: list[Any]) -> list[Any]:
    if len(found) > MOST:
        raise UnreadableValues(f"these are more than {MOST:,} values")
    return found
