"""How the buckets of one histogram, as increments, become submissions. The one place that knows the mechanism.

A distribution is submitted bucket by bucket with `monotonic=False` under one tag set: the Agent then
inserts each increment as it is, so a histogram costs one context (with `monotonic=True` the Agent
keeps the last value per name and tags, not per bound, and needs a tag per bound).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from math import inf

from .placement import place

SubmitBucket = Callable[[float, float, int], None]
"""Takes lower bound, upper bound and the count of new observations between them."""

SubmitCount = Callable[[float, tuple[str, ...]], None]


def spans(increments: Mapping[float, float]) -> Iterator[tuple[float, float, float]]:
    """(lower, upper, observations) per bucket, from cumulative increments by upper bound.

    The first bucket starts at 0 when its bound is not negative, as the exposition formats leave the
    lowest bound unsaid and what is measured here is not negative.
    """
    lower: float | None = None
    below = 0.0
    for upper in sorted(increments):
        if lower is None:
            lower = 0.0 if upper >= 0 else upper
        yield lower, upper, increments[upper] - below
        lower, below = upper, increments[upper]


def as_distribution(increments: Mapping[float, float], total: float | None, scale: float, submit: SubmitBucket) -> None:
    """Hand the new observations to `submit`, placed within their buckets, bounds in the canonical unit.

    `total` is the increment of the histogram's sum, None where it isn't known.
    """
    for lower, upper, observations in place(increments, total):
        submit(lower * scale, upper * scale, observations)


def as_buckets(increments: Mapping[float, float], scale: float, separate: bool, submit: SubmitCount) -> None:
    """Stock buckets: one count per bound, tagged `upper_bound`, and `lower_bound` when `separate`.

    As in the stock check the bucket without an upper bound is left out: cumulative, it is the `.count`.
    """
    for lower, upper, observations in spans(increments):
        if upper == inf:
            continue
        tags = (f"upper_bound:{_bound(upper, scale)}",)
        if separate:
            submit(observations, (*tags, f"lower_bound:{_bound(lower, scale)}"))
        else:
            submit(increments[upper], tags)


def consistent(buckets: Mapping[float, float]) -> bool:
    """Whether cumulative bucket counts never fall from one bound to the next."""
    counts: Sequence[float] = [buckets[bound] for bound in sorted(buckets)]
    return all(first <= second for first, second in pairwise(counts))


def _bound(value: float, scale: float) -> str:
    # Scaling in binary would print 0.1 * 0.001 as 0.00010000000000000002.
    return str(float(f"{value * scale:.12g}") or 0)
