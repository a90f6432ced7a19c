"""Verdicts as a table for people, and as JSON for scripts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from rich.cells import cell_len

from ...http.redact import printable
from .traffic import HOUR, Period
from .verdict import IDLE, KEEP, UNKNOWN, Judged

HEADS = ("model", "version", "state", "loaded", "busiest hour", "last call", "seen", "verdict")
COLOURS = {KEEP: "green", IDLE: "yellow", UNKNOWN: "cyan"}
SAFE = "idle: safe to unload"


def to_json(judged: Iterable[Judged], period: Period, source: str) -> dict[str, Any]:
    """One object. Times are in UTC; `last_call` is when the hour of the last call began."""
    return {
        "source": source,
        "hours": period.hours,
        "from": _time(period.start),
        "to": _time(period.end),
        "versions": [
            {
                "serving_system": one.listed.system,
                "endpoint": one.listed.endpoint,
                "model": one.listed.loaded.model,
                "version": one.listed.loaded.version or None,
                "state": one.listed.loaded.state,
                "loaded_since": _since(one, period),
                "busiest_hour_rate": one.peak,
                "last_call": None if one.last is None else _time(period.beginning(one.last)),
                "hours_seen": len(one.seen),
                "verdict": one.verdict,
                "reason": one.reason or None,
            }
            for one in judged
        ],
    }


def table(judged: Sequence[Judged], period: Period) -> Iterator[tuple[str, str]]:
    """Lines, each with the colour that it may have or an empty text. An endpoint is a heading, a version a line.

    Names are never cut: the columns are as wide as they need.
    """
    rows = {id(one): _cells(one, period) for one in judged}
    widths = [max(cell_len(cells[at]) for cells in (HEADS, *rows.values())) for at in range(len(HEADS) - 1)]
    ordered = sorted(judged, key=lambda one: (one.listed.endpoint, one.listed.system))
    for (endpoint, system), some in groupby(ordered, key=lambda one: (one.listed.endpoint, one.listed.system)):
        yield printable(f"{endpoint} ({system})"), ""
        yield _line(HEADS, widths), ""
        for one in sorted(some, key=_order):
            yield _line(rows[id(one)], widths), COLOURS[one.verdict]
        yield "", ""


def summary(judged: Sequence[Judged], period: Period) -> str:
    """How many there are of each verdict, and what the idle ones are called."""
    by = {verdict: [one for one in judged if one.verdict == verdict] for verdict in (KEEP, IDLE, UNKNOWN)}
    total = f"{len(judged)} version{'' if len(judged) == 1 else 's'} loaded"
    text = f"{total}, last {period.hours} hours: {len(by[KEEP])} keep, {len(by[IDLE])} idle, {len(by[UNKNOWN])} unknown"
    blind = sum(one.since is None for one in by[IDLE])
    if blind:
        text += (
            f"\nOf {blind} idle one{'' if blind == 1 else 's'} nobody tells since when it is loaded: make sure that it "
            "is not new."
        )
    return text


def _cells(one: Judged, period: Period) -> tuple[str, ...]:
    loaded = one.listed.loaded
    verdict = {KEEP: KEEP, IDLE: SAFE}.get(one.verdict, f"{one.verdict}: {one.reason}")
    cells = (
        loaded.model,
        loaded.version or "-",
        loaded.state,
        _loaded(one, period),
        f"{one.peak:.3g}/s" if one.peak else "0",
        _last(one, period),
        f"{len(one.seen)}/{period.hours}",
        verdict,
    )
    return tuple(map(printable, cells))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [f"{cell}{' ' * (width - cell_len(cell))}" for cell, width in zip(cells, widths, strict=False)]
    return "  ".join(("", *padded, cells[-1]))


def _order(one: Judged) -> tuple[Any, ...]:
    return (IDLE, UNKNOWN, KEEP).index(one.verdict), one.peak, one.listed.loaded.model, one.listed.loaded.version


def _loaded(one: Judged, period: Period) -> str:
    if one.since is None:
        return "?"
    hours = (period.end - one.since) / HOUR
    if hours >= 48:
        return f"{hours / 24:.0f} d"
    return f">{period.hours} h" if one.since <= period.start else f"<{max(1, math.ceil(hours))} h"


def _last(one: Judged, period: Period) -> str:
    if one.last is None:
        return "-"
    hours = period.hours - one.last
    return "this hour" if hours <= 0 else f"<{hours} h ago"


def _since(one: Judged, period: Period) -> str | None:
    """When it was loaded; None also where all that is known is that it was before the period."""
    return None if one.since is None or one.since == period.start else _time(one.since)


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
