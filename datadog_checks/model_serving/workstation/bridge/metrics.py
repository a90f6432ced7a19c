"""What the bridge says about itself, as series among the others."""

from __future__ import annotations

from collections.abc import Mapping

from ...catalog.model import NAMESPACE
from ..standin.aggregation import Commit, Context, SeriesPoint
from .spool import Held

PREFIX = f"{NAMESPACE}.bridge."

KINDS = ("series", "distributions", "service_checks", "events")


def own_commit(held: Held, totals: Mapping[str, float], now: float) -> Commit:
    """What waits, as gauges, and what has become of points since the last time, as counts.

    `totals` are those of the spool: `sent KIND`, `resent KIND`, `dropped KIND REASON`, `thinned METRIC`.
    """
    commit = Commit()

    def add(name: str, kind: str, value: float, *tags: str) -> None:
        commit.series.append(SeriesPoint(Context(PREFIX + name, tags, ""), kind, value))

    add("spool.size", "gauge", float(held.bytes))
    add("spool.batches", "gauge", float(held.batches))
    add("lag", "gauge", 0.0 if held.oldest is None else max(0.0, now - held.oldest))
    # A monitor needs them to be there while all is well.
    counts = {f"sent {kind}": 0.0 for kind in KINDS} | {"resent distributions": 0.0} | dict(totals)
    for name, value in sorted(counts.items()):
        what, kind, *reason = name.split(" ")
        if what == "thinned":
            add("thinned", "count", value, f"metric:{kind}")
        else:
            add(what, "count", value, f"kind:{kind}", *(f"reason:{one}" for one in reason))
    commit.series.sort(key=lambda point: point.context)
    return commit
