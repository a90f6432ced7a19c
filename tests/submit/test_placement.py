"""Observations stay in their buckets, none is lost, and the average is what the sum says."""

from __future__ import annotations

from itertools import accumulate, islice, pairwise
from math import inf, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.distributions import LATENCIES, SCRAPE_SIZES, measure, place
from datadog_checks.model_serving.submit.placement import Span, place_between

BOUNDS = st.lists(st.floats(-5, 1000), min_size=1, max_size=8, unique=True).map(sorted)
MILLIS = st.lists(st.integers(-5000, 10**6), min_size=1, max_size=8, unique=True).map(
    lambda bounds: [bound / 1000 for bound in sorted(bounds)]
)
ANY_BOUNDS = st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=8, unique=True).map(sorted)
FEW_OR_MANY = st.integers(0, 3) | st.integers(0, 20) | st.integers(0, 100_000)
TENTH_OF_A_KEY = 1 / 1280
"""The Agent's sketch tells values apart that differ by 1/128."""


def placed(counts: list[int], edges: list[float], total: float | None) -> list[Span]:
    return place_between(edges, [float(count) for count in accumulate(counts)], total)


@given(st.data(), BOUNDS | ANY_BOUNDS, st.booleans(), st.floats(allow_nan=False, allow_infinity=False) | st.none())
def test_every_observation_is_in_one_span_of_its_bucket(
    data: st.DataObject, bounds: list[float], overflow: bool, total: float | None
) -> None:
    """Whatever the buckets hold and the sum says, counts are exact and nobody leaves a bucket."""
    edges = [*bounds, inf] if overflow else bounds
    counts = data.draw(st.lists(FEW_OR_MANY, min_size=len(edges), max_size=len(edges)))
    spans = placed(counts, edges, total)
    assert all(lower <= upper and count > 0 for lower, upper, count in spans)
    below, there = 0, iter(spans)
    for lower, upper, held in zip([min(0.0, edges[0]), *edges], edges, counts, strict=False):
        inside = 0
        while inside < held:
            low, high, count = next(there)
            assert lower <= low <= high <= upper
            assert high < inf
            # A bound belongs to the bucket below it.
            assert low > lower or lower < 1e-300 or lower == upper
            inside += count
        assert inside == held
        below += held
    assert sum(count for _, _, count in spans) == below


@given(st.data(), MILLIS)
def test_observations_are_where_the_curve_through_the_counts_says(data: st.DataObject, bounds: list[float]) -> None:
    """Without a sum each is where a monotone cubic through the cumulative counts reaches its share of the bucket.

    The cubic is Fritsch and Carlson's, written down here from its definition, and never inverted. Up to twelve
    observations are points in the middle of their shares, more are six spans. Off by less than what a sketch can tell.
    """
    counts = data.draw(st.lists(FEW_OR_MANY, min_size=len(bounds), max_size=len(bounds)))
    edges = [min(0.0, bounds[0]), *bounds]
    widths = [upper - lower for lower, upper in pairwise(edges)]
    there = iter(placed(counts, bounds, None))
    for number, (lower, width, count) in enumerate(zip(edges, widths, counts, strict=False)):
        if not width or not count:
            assert not count or next(there) == (lower, lower, count)
            continue
        mean = count / width
        slopes = [mean, mean]
        for side, (one, other) in enumerate(((number - 1, number), (number, number + 1))):
            if one >= 0 and other < len(counts):
                slopes[side] = slope(widths[one], counts[one], widths[other], counts[other])
        rise, fall = (slope / mean for slope in slopes)

        def reached(at: float, rise: float = rise, fall: float = fall) -> float:
            """The cubic with values 0 and 1, and slopes `rise` and `fall`, at 0 and 1."""
            at = min(max(at, 0.0), 1.0)
            return at**2 * (3 - 2 * at) + rise * at * (1 - at) ** 2 - fall * at**2 * (1 - at)

        if count <= 12:
            shares = [(part + 0.5) / count for part in range(count)]
            places = [low for low, high, held in islice(there, count) if low == high and held == 1]
        else:
            shares = [part / 6 for part in range(7)]
            spans = list(islice(there, 6))
            assert max(held for *_, held in spans) - min(held for *_, held in spans) <= 1
            places = [spans[0][0], *(high for _, high, _ in spans)]
        for share, edge in zip(shares, places, strict=True):
            at = (edge - lower) / width
            off = TENTH_OF_A_KEY + 1e-4 * abs(lower) / width
            assert reached(at - off) - 1e-9 <= share <= reached(at + off) + 1e-9


def slope(left: float, before: int, right: float, after: int) -> float:
    """Between two buckets: the harmonic mean of their densities, weighted by their widths, 0 beside an empty one."""
    if not left or not right or not before or not after:
        return 0.0
    weights = 2 * right + left, right + 2 * left
    return sum(weights) / (weights[0] / (before / left) + weights[1] / (after / right))


@given(st.integers(1, 100), st.sampled_from([-2.0, 0.0, 10.0]), st.floats(0.1, 1000))
def test_the_tail_is_an_exponential_with_the_mean_that_the_sum_leaves(count: int, last: float, excess: float) -> None:
    """Each point beyond the last bound is the exponential's quantile in the middle of the share that it stands for."""
    spans = placed([0, count], [last, inf], (last + excess) * count)
    parts = min(count, 8)
    assert len(spans) == parts
    assert all(low == high > last for low, high, _ in spans)
    assert sum(low * held for low, _, held in spans) == pytest.approx((last + excess) * count)
    assert max(held for *_, held in spans) - min(held for *_, held in spans) <= 1
    middles = [-log(1 - (part + 0.5) / parts) for part in range(parts)]
    scales = [(low - last) / middle for (low, _, _), middle in zip(spans, middles, strict=True)]
    assert scales == pytest.approx([scales[0]] * parts)


@given(st.lists(st.floats(0.001, 50), min_size=1, max_size=60))
def test_average_is_that_of_the_sum(latencies: list[float]) -> None:
    """The spans' middles add up to the sum of what was observed, within the share by which they stay off a bound."""
    bounds = [0.01, 0.1, 1.0, 10.0, inf]
    cumulative = {bound: float(sum(latency <= bound for latency in latencies)) for bound in bounds}
    placed = sum((low + high) / 2 * count for low, high, count in place(cumulative, sum(latencies)))
    assert placed == pytest.approx(sum(latencies), rel=1e-3)


@pytest.mark.parametrize(
    ("cumulative", "total", "expected"),
    [
        ({1.0: 0, inf: 0}, 0.0, []),
        ({1.0: 1, 2.0: 1, inf: 1}, 0.25, [(0.25, 0.25, 1)]),
        ({0.0: 3, 1.0: 3, inf: 3}, 0.0, [(0.0, 0.0, 3)]),
        ({-1.0: 2, 1.0: 2}, -4.0, [(-1.0, -1.0, 2)]),
        ({1.0: 0, inf: 1}, 9.0, [(9.0, 9.0, 1)]),
        ({inf: 2}, 6.0, [(3.0, 3.0, 2)]),
        ({inf: 2}, None, [(0.0, 0.0, 2)]),
        ({1.0: 0, inf: 2}, None, [(1.0001, 1.0001, 2)]),
        ({-1.0: 0, inf: 2}, None, [(-0.9999, -0.9999, 2)]),
        ({1.0: 1, inf: 2}, 1.4, [(0.3999, 0.3999, 1), (1.0001, 1.0001, 1)]),
        ({1.0: 0.9999999, 2.0: 1.0000001}, 0.25, [(0.25, 0.25, 1)]),
        ({-1.0: 2, 1.0: 3}, -1.5, [(-1.0, -1.0, 2), (0.5, 0.5, 1)]),
        ({-1.5e308: 0, inf: 1}, 1e308, [(-1.49985e308, -1.49985e308, 1)]),
        ({1.0: 1}, 1.004, [(1.0, 1.0, 1)]),
        ({1.0: 1}, 1.006, [(0.4999695, 0.4999695, 1)]),
        ({1.0: 1}, -0.004, [(0.0, 0.0, 1)]),
        ({1.0: 1}, -0.006, [(0.4999695, 0.4999695, 1)]),
    ],
)
def test_known_places(
    cumulative: dict[float, float], total: float | None, expected: list[tuple[float, float, int]]
) -> None:
    """One request is where the sum says; what no sum tells of stands just beyond the last bound.

    Counts are rounded, and a sum that lies by more than 1 % of the way to the bound beyond it is not believed.
    """
    assert place(cumulative, total) == [pytest.approx(span) for span in expected]


@pytest.mark.parametrize("size", SCRAPE_SIZES)
@pytest.mark.parametrize("name", LATENCIES)
def test_truth_of_the_sketch(name: str, size: int) -> None:
    """Counts are exact, the average is within 1 %, and the percentiles together are nearer than the stock check's."""
    (stock, stock_average, _), (ours, average, count) = measure(name, size)
    assert count == 0
    assert abs(average) < 0.01
    assert abs(average) <= abs(stock_average) + 0.01
    assert sum(map(abs, ours)) < sum(map(abs, stock))
    if size == 1:
        assert max(map(abs, ours)) < 0.02
