"""Where inside its buckets a histogram's observations are put, so that the Agent's sketch tells the truth.

The Agent spreads the count of a bucket evenly from its lower bound upward and places whole counts only, so a single
request lands on the lower bound, and everything beyond the last bound on that bound: quiet models read a bucket low,
slow outliers vanish. What a histogram also tells is the sum. Here each bucket is cut into spans that follow the
neighbouring counts (a monotone cubic through the cumulative counts, Fritsch and Carlson 1980), and the spans are then
moved, within their buckets, until they add up to that sum. A span without width puts its count on exactly one key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import fsum, inf, log

POINTS = 12
"""Up to so many observations in a bucket are placed one by one; more are cut into SPANS spans."""

SPANS = 6
TAIL_POINTS = 8
STEEPEST = 3.0
"""Bound on the cubic's slopes, in multiples of the bucket's mean slope, that keeps it monotone."""

CELLS = 1 << 14
NEWTON = 3
FLAT = 0.05
"""Share of the mean slope below which Newton's method would leap."""

NARROW = 1e-100
"""A bucket no wider than this is a point."""

CONTRADICTION = 1.01
"""How far a sum may lie outside of what the buckets allow before it is not believed."""

INSIDE = 1e-4
"""By how much an observation stays clear of its bucket's lower bound, as a share of the bound."""

Span = tuple[float, float, int]
"""Lower bound, upper bound, observations. Equal bounds are a point."""


def place_between(bounds: Sequence[float], cumulative: Sequence[float], total: float | None) -> list[Span]:
    """Spans for the new observations of one histogram, from their cumulative counts in the order of the sorted bounds.

    `total` is the sum of the new observations, None where it isn't known. Every observation is in exactly one span,
    and none is outside of the bucket that it was counted in. Bounds and spans are in the histogram's own unit.
    """
    counts = _counts(cumulative)
    if not any(counts):
        return []
    finite = [(bound, count) for bound, count in zip(bounds, counts, strict=True) if bound != inf]
    beyond = counts[-1] if bounds[-1] == inf else 0
    if not finite:
        # One bucket without bounds tells a mean at best.
        mean = (total or 0.0) / beyond
        return [(mean, mean, beyond)]
    cells = list(_cells(finite))
    last = finite[-1][0]
    just_beyond = last + INSIDE * abs(last)
    if total is None:
        return [*_spans(cells, 0.0), *([(just_beyond, just_beyond, beyond)] if beyond else [])]
    inside = fsum(count * (low + high) / 2 for low, high, _, _, count in cells)
    if beyond:
        mean = (total - inside) / beyond
        if mean > last:
            return [*_spans(cells, 0.0), *_tail(last, mean, beyond)]
        inside += just_beyond * beyond
        return [*_spans(cells, _shift(cells, total - inside)), (just_beyond, just_beyond, beyond)]
    return list(_spans(cells, _shift(cells, total - inside)))


Cell = tuple[float, float, float, float, int]
"""A span with the bounds of its bucket: lower, upper, bucket's lower, bucket's upper, observations."""


def _counts(cumulative: Sequence[float]) -> list[int]:
    counts, below = [], 0
    for count in cumulative:
        here = max(below, round(count))
        counts.append(here - below)
        below = here
    return counts


def _cells(finite: list[tuple[float, int]]) -> Iterator[Cell]:
    """Cut every bucket that has observations along the curve through the cumulative counts."""
    # The formats leave the lowest bound unsaid. What is measured here is not negative, or starts at its first bound.
    edges = [min(0.0, finite[0][0]), *(bound for bound, _ in finite)]
    densities = [
        count / (right - left) if right - left > NARROW else 0.0
        for (left, right), (_, count) in zip(pairwise(edges), finite, strict=True)
    ]
    slopes = _slopes(edges, densities)
    for number, (upper, count) in enumerate(finite):
        lower = edges[number]
        if not count:
            continue
        if upper - lower <= NARROW:
            yield upper, upper, upper, upper, count
            continue
        density = densities[number]
        rise, fall = min(slopes[number] / density, STEEPEST), min(slopes[number + 1] / density, STEEPEST)
        parts = count if count <= POINTS else SPANS
        if count <= POINTS:
            for part in range(count):
                point = lower + _inverse((part + 0.5) / parts, rise, fall) * (upper - lower)
                yield point, point, lower, upper, 1
            continue
        cuts = [lower + _inverse(part / parts, rise, fall) * (upper - lower) for part in range(1, parts)]
        for part, (low, high) in enumerate(pairwise([lower, *cuts, upper])):
            yield low, high, lower, upper, count * (part + 1) // parts - count * part // parts


def _slopes(edges: list[float], densities: list[float]) -> list[float]:
    """Slope of the cumulative curve at each edge: a harmonic mean of the densities beside it, weighted by width."""
    slopes = [densities[0]]
    for number in range(1, len(densities)):
        before, after = densities[number - 1], densities[number]
        if before <= 0 or after <= 0:
            slopes.append(0.0)
            continue
        left, right = edges[number] - edges[number - 1], edges[number + 1] - edges[number]
        slopes.append(3 * (left + right) / ((2 * right + left) / before + (right + 2 * left) / after))
    return [*slopes, densities[-1]]


def _inverse(share: float, rise: float, fall: float) -> float:
    """Where in a bucket, 0 to 1, the share of its observations is reached: the middle of one of CELLS cells, which
    Newton's method finds nearly always, and bisection otherwise.

    `rise` and `fall` are the curve's slopes at the bucket's ends, in multiples of its mean slope.
    """
    slope, bend = 3 - 2 * rise - fall, rise + fall - 2
    x = share
    for _ in range(NEWTON):
        steepness = rise + x * (2 * slope + 3 * x * bend)
        if steepness < FLAT:
            break
        x -= (x * (rise + x * (slope + x * bend)) - share) / steepness
    cell = min(max(int(x * CELLS), 0), CELLS - 1)
    low, high = cell / CELLS, (cell + 1) / CELLS
    if low * (rise + low * (slope + low * bend)) < share <= high * (rise + high * (slope + high * bend)):
        return (low + high) / 2
    low, high = 0.0, 1.0
    while high - low > 1 / CELLS:
        x = (low + high) / 2
        if x * (rise + x * (slope + x * bend)) < share:
            low = x
        else:
            high = x
    return (low + high) / 2


def _shift(cells: list[Cell], missing: float) -> float:
    """By which share of its way to the bucket's upper (positive) or lower (negative) bound every span moves.

    None of it where the sum contradicts the buckets, as when it was read a moment later than they were.
    """
    if missing > 0:
        room = fsum(count * (upper - (low + high) / 2) for low, high, _, upper, count in cells)
    else:
        room = fsum(count * ((low + high) / 2 - lower) for low, high, lower, _, count in cells)
    share = missing / room if room > 0 else 0.0
    return max(-1.0, min(1.0, share)) if abs(share) < CONTRADICTION else 0.0


def _spans(cells: list[Cell], shift: float) -> Iterator[Span]:
    for low, high, lower, upper, count in cells:
        if not count:
            continue
        low += shift * (upper - low if shift >= 0 else low - lower)
        high += shift * (upper - high if shift >= 0 else high - lower)
        # A bound belongs to the bucket below it.
        least = lower * (1 + INSIDE) if lower > 0 else lower
        low = min(max(low, least), upper)
        yield low, min(max(high, low), upper), count


def _tail(last: float, mean: float, count: int) -> Iterator[Span]:
    """Observations beyond the last bound: an exponential tail with the mean that the sum leaves for them."""
    parts = min(count, TAIL_POINTS)
    shares = [-log(1 - (part + 0.5) / parts) for part in range(parts)]
    numbers = [count * (part + 1) // parts - count * part // parts for part in range(parts)]
    average = fsum(share * number for share, number in zip(shares, numbers, strict=True)) / count
    for share, number in zip(shares, numbers, strict=True):
        point = last + (mean - last) * share / average
        yield point, point, number
