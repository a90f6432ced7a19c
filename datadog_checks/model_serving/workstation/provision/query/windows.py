"""Which windows a monitor of metrics may have."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .problems import Place, Problem
from .tree import UNITS, Window, seconds
from .words import grammar

LONGEST = 31 * UNITS["d"]


def check_window(window: Window, place: Place) -> Iterator[Problem]:
    """A window that Datadog refuses, or whose acceptance isn't documented."""
    text, kind = window.text, window.kind
    number, unit = _split(text)
    known = grammar()["windows"]
    if kind not in ("last", "current", "next") or not window.seconds or unit in ("s", "y"):
        yield place.error("query/window", f"`{text}` is no window: write {_suggestion(text)}", window.at)
    elif kind == "last":
        if window.seconds > LONGEST:
            yield place.error("query/window", f"`{text}` is longer than a month, the longest window", window.at)
        elif number > known["last"].get(unit, 0):
            yield place.warning(
                "query/window",
                f"`{text}` isn't documented: write minutes up to `last_10080m`, hours up to `last_168h`, "
                "`last_1d` or `last_1w`",
                window.at,
            )
    elif kind == "current" and text not in known["current"]:
        yield place.warning(
            "query/window", f"`{text}` isn't documented: write {', '.join(known['current'])}", window.at
        )


def check_shift(shift: Window, place: Place) -> Iterator[Problem]:
    """With what a change monitor compares."""
    length = shift.text.removeprefix("last_").removesuffix("_ago")
    known = grammar()["windows"]["shifts"]
    if shift.kind not in ("last", "ago"):
        yield place.error(
            "query/window", f"`{shift.text}` is nothing to compare with: write one such as `last_1d`", shift.at
        )
    elif length not in known:
        yield place.warning(
            "query/window",
            f"comparing with `{shift.text}` isn't documented: write `last_` and one of {', '.join(known)}",
            shift.at,
        )


def _split(text: str) -> tuple[int, str]:
    match = re.fullmatch(r"[a-z]+_(\d+)([a-z]+)", text)
    return (int(match.group(1)), match.group(2)) if match else (0, "")


def _suggestion(text: str) -> str:
    match = re.fullmatch(r"(?:[a-z]+[_ ]?)??(\d+)\s*([a-z]*)", text.lower())
    if match is None or int(match.group(1)) == 0:
        return "one such as `last_5m`"
    number, unit = int(match.group(1)), match.group(2)
    if unit.startswith("s"):
        return f"`last_{max(1, number // 60)}m`"
    short = next((each for each in ("mo", "m", "h", "d", "w") if unit.startswith(each)), "m")
    return f"`last_{number}{short}`" if seconds(f"{number}{short}") else "one such as `last_5m`"
