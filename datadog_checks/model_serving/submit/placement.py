"""Where inside its buckets a histogram's observations are put, so that the Agent's sketch tells the truth.

The Agent spreads the count of a bucket evenly from its lower bound upward and places whole counts only, so a single
request lands on the lower bound, and everything beyond the last bound on that bound: quiet models read a bucket low,
slow outliers vanish. What a histogram also tells is the sum. Here each bucket is cut into spans that follow the
neighbouring counts (a monotone cubic through the cumulative counts, Fritsch and Carlson 1980), and the spans are then
moved, within their buckets, until they add up to that sum. A span without width puts its count on exactly one key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise, repeat
from math import fsum, inf, log

POINTS = 12
"""Up to so many observations in a bucket are placed one by one; more are cut into SPANS spans."""

SPANS = 6
TAIL_POINTS = 8
CELLS = 1 << 14
NEWTON = 3
FLAT = 0.05
"""Share of the mean slope below which Newton's method would leap."""

NARROW, WIDE = 1e-100, 1e100
"""A bucket that is not wider than the one, or not narrower than the other, is a point: beyond lie numbers that nobody
measures and that arithmetic does not survive."""

CONTRADICTION = 1.01
"""How far a sum may lie outside of what the buckets allow before it is not believed."""

INSIDE = 1e-4
"""By how much an observation stays clear of its bucket's lower bound, as a share of the bound."""

REMEMBERED = 4096
"""Curves through buckets that are remembered, of some 500 bytes each. Few new observations come in the same few
patterns again and again, in all histograms with the same bounds."""

Span = tuple[float, float, int]
"""Lower bound, upper bound, observations. Equal bounds are a point."""

Places = tuple[tuple[float, ...], tuple[int, ...], float]
"""Where the observations of a bucket are by the curve alone, and what they add up to there. Without counts it is a
point for each of them; with counts the edges of adjoining spans, which hold so many."""

Bucket = tuple[float, float, int, Places]
"""Lower bound, upper bound, observations, and where these are."""


def place_between(bounds: Sequence[float], cumulative: Sequence[float], total: float | None) -> list[Span]:
    """Spans for the new observations of one histogram, from their cumulative counts at the sorted upper bounds.

    `total` is the sum of the new observations, None where it isn't known. Every observation is in exactly one span,
    and none is outside of the bucket that it was counted in. Bounds and spans are in the histogram's own unit.
    """
    counts = _counts(cumulative)
    beyond = counts.pop() if bounds[-1] == inf else 0
    if not counts:
        # One bucket without bounds tells a mean at best.
        mean = (total or 0.0) / beyond if beyond else 0.0
        return [(mean, mean, beyond)] if beyond else []
    buckets = _buckets(bounds, counts)
    inside = sum([places[2] for *_, places in buckets])
    missing = 0.0 if total is None else total - inside
    tail: list[Span] = []
    if beyond:
        last, mean = bounds[len(counts) - 1], missing / beyond
        if total is not None and 0 < mean - last < WIDE:
            return [*_spans(buckets, 0.0), *_tail(last, mean, beyond)]
        just_beyond = last + INSIDE * abs(last)
        tail = [(just_beyond, just_beyond, beyond)]
        if total is not None:
            missing -= just_beyond * beyond
    return _spans(buckets, _shift(buckets, inside, missing)) + tail


def _counts(cumulative: Sequence[float]) -> list[int]:
    counts, below = [], 0
    for count in cumulative:
        # Rounding costs more than to see that a bucket has nothing new, as most of them have.
        here = below if count <= below else round(count)
        counts.append(here - below)
        below = here
    return counts


def _buckets(bounds: Sequence[float], counts: list[int]) -> list[Bucket]:
    """The buckets that have observations, with where these are."""
    # The formats leave the lowest bound unsaid. What is measured here is not negative, or starts at its first bound.
    edges = [min(0.0, bounds[0]), *bounds]
    last = len(counts) - 1
    buckets: list[Bucket] = []
    for number, count in enumerate(counts):
        if not count:
            continue
        lower, upper = edges[number], edges[number + 1]
        if not NARROW < upper - lower < WIDE:
            buckets.append((upper, upper, count, ((upper, upper), (count,), upper * count)))
            continue
        # The curve goes on beyond the first and the last bucket as it is in these.
        left, before = (lower - edges[number - 1], counts[number - 1]) if number else (upper - lower, count)
        right, after = (edges[number + 2] - upper, counts[number + 1]) if number < last else (upper - lower, count)
        buckets.append((lower, upper, count, _places(lower, upper, count, left, before, right, after)))
    return buckets


@lru_cache(REMEMBERED)
def _places(lower: float, upper: float, count: int, left: float, before: int, right: float, after: int) -> Places:
    """Cut a bucket along the curve through the cumulative counts.

    `before` and `after` are the observations in the buckets below and above, `left` and `right` the widths of these.
    """
    width = upper - lower
    density = count / width
    rise = _slope(before, left, count, width) / density
    fall = _slope(count, width, after, right) / density
    if count <= POINTS:
        points = tuple([lower + _inverse((part + 0.5) / count, rise, fall) * width for part in range(count)])
        return points, (), fsum(points)
    cuts = [lower + _inverse(part / SPANS, rise, fall) * width for part in range(1, SPANS)]
    edges, numbers = (lower, *cuts, upper), _split(count, SPANS)
    return edges, numbers, fsum((low + high) / 2 * n for (low, high), n in zip(pairwise(edges), numbers, strict=True))


def _split(count: int, parts: int) -> tuple[int, ...]:
    """Whole numbers, as equal as they can be, that add up to `count`."""
    return tuple([count * (part + 1) // parts - count * part // parts for part in range(parts)])


def _slope(before: int, left: float, after: int, right: float) -> float:
    """Slope of the cumulative curve between two buckets: a harmonic mean of their densities, weighted by width.

    It is never above three times the lower density, up to where a cubic stays monotone.
    """
    if not before or not after or not NARROW < left < WIDE or not NARROW < right < WIDE:
        return 0.0
    return 3 * (left + right) / ((2 * right + left) * left / before + (right + 2 * left) * right / after)


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


def _shift(buckets: list[Bucket], inside: float, missing: float) -> float:
    """By which share of its way to the bucket's upper (positive) or lower (negative) bound every span moves.

    None of it where the sum contradicts the buckets, as when it was read a moment later than they were.
    """
    if missing > 0:
        room = sum([upper * count for _, upper, count, _ in buckets]) - inside
    else:
        room = inside - sum([lower * count for lower, _, count, _ in buckets])
    share = missing / room if room > 0 else 0.0
    return max(-1.0, min(1.0, share)) if abs(share) < CONTRADICTION else 0.0


def _spans(buckets: list[Bucket], shift: float) -> list[Span]:
    spans: list[Span] = []
    stays = 1 - abs(shift)
    for lower, upper, _, (edges, counts, _) in buckets:
        moves = shift * upper if shift >= 0 else -shift * lower
        # A bound belongs to the bucket below it.
        least = min(lower * (1 + INSIDE), upper) if lower > 0 else lower
        moved = []
        for edge in edges:
            edge = edge * stays + moves
            # Two comparisons cost a quarter of what min() and max() do, and this is done for every observation.
            moved.append(least if edge < least else upper if edge > upper else edge)
        # Of edges there is one more than there are spans; `repeat` has no end.
        ends, held = (moved[1:], counts) if counts else (moved, repeat(1))
        spans += zip(moved, ends, held, strict=False)
    return spans


def _tail(last: float, mean: float, count: int) -> Iterator[Span]:
    """Observations beyond the last bound: an exponential tail with the mean that the sum leaves for them."""
    parts = min(count, TAIL_POINTS)
    shares = [-log(1 - (part + 0.5) / parts) for part in range(parts)]
    numbers = _split(count, parts)
    average = fsum(share * number for share, number in zip(shares, numbers, strict=True)) / count
    for share, number in zip(shares, numbers, strict=True):
        point = last + (mean - last) * share / average
        yield point, point, number
