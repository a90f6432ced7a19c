"""Observations stay in their buckets, none is lost, and the average is what the sum says."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.distributions import LATENCIES, SCRAPE_SIZES, measure, place

BOUNDS = st.lists(st.floats(-5, 1000, allow_nan=False), min_size=1, max_size=8, unique=True).map(sorted)


@given(st.data(), BOUNDS, st.booleans(), st.floats(-1e6, 1e6) | st.none())
def test_every_observation_is_in_one_span_of_its_bucket(
    data: st.DataObject, bounds: list[float], overflow: bool, total: float | None
) -> None:
    """Whatever the buckets hold and the sum says, counts are exact and nobody leaves a bucket."""
    edges = [*bounds, inf] if overflow else bounds
    counts = data.draw(st.lists(st.integers(0, 200), min_size=len(edges), max_size=len(edges)))
    cumulative, below = {}, 0
    for edge, count in zip(edges, counts, strict=True):
        below += count
        cumulative[edge] = float(below)
    spans = place(cumulative, total)
    assert sum(count for _, _, count in spans) == below
    assert all(lower <= upper and count > 0 for lower, upper, count in spans)
    buckets = list(zip([min(0.0, edges[0]), *edges], edges, counts, strict=False))
    for low, high, _ in spans:
        assert any(lower <= low and high <= upper and held for lower, upper, held in buckets)


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
    ],
)
def test_known_places(
    cumulative: dict[float, float], total: float | None, expected: list[tuple[float, float, int]]
) -> None:
    """One request is where the sum says; what no sum tells of stands just beyond the last bound."""
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
