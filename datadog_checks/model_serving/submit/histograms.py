"""How the buckets of one histogram, as increments, become submissions. The one place that knows the mechanism.

A distribution is submitted bucket by bucket with `monotonic=False` under one tag set: the Agent then
inserts each increment as it is, so a histogram costs one context (with `monotonic=True` the Agent
keeps the last value per name and tags, not per bound, and needs a tag per bound).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf

from .placement import Span, place_between


def as_distribution(bounds: Sequence[float], counts: Sequence[float], total: float | None, scale: float) -> list[Span]:
    """The new observations, placed within their buckets, with bounds in the canonical unit.

    `counts` are cumulative, `total` is the increment of the histogram's sum, None where it isn't known.
    """
    if not counts[-1]:
        return []
    spans = place_between(bounds, counts, total)
    return spans if scale == 1 else [(lower * scale, upper * scale, count) for lower, upper, count in spans]


def as_buckets(
    bounds: Sequence[float], counts: Sequence[float], scale: float, separate: bool
) -> Iterator[tuple[float, tuple[str, ...]]]:
    """Stock buckets: a count per bound, tagged `upper_bound`, and `lower_bound` when `separate`.

    As in the stock check the bucket without an upper bound is left out: cumulative, it is the `.count`. The first
    bucket starts at 0 when its bound is not negative, as the exposition formats leave the lowest bound unsaid and
    what is measured here is not negative.
    """
    lower, below = min(0.0, bounds[0]), 0.0
    for upper, count in zip(bounds, counts, strict=True):
        if upper == inf:
            continue
        tags = (f"upper_bound:{_bound(upper, scale)}",)
        yield (count - below, (*tags, f"lower_bound:{_bound(lower, scale)}")) if separate else (count, tags)
        lower, below = upper, count


def rising(counts: list[float]) -> bool:
    """Whether the counts of a histogram, or what has come since, never fall from one bound to the next.

    Nor below the first bound, where there are none.
    """
    return counts == sorted(counts) and (not counts or counts[0] >= 0)


def _bound(value: float, scale: float) -> str:
    # Scaling in binary would print 0.1 * 0.001 as 0.00010000000000000002.
    return str(float(f"{value * scale:.12g}") or 0)
