"""The sketch gives the keys, counts and quantiles that the Agent's gives."""

from __future__ import annotations

import ctypes
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from datadog_checks.model_serving.workstation.standin.sketch import (
    EPSILON,
    GAMMA,
    MAX_BINS,
    MAX_KEY,
    Sketch,
    key_of,
    value_of,
)

# Bounds, count and resulting bins of the Agent's own tests of its interpolation.
KNOWN_BUCKETS = [
    (0, 10, 2, {0: 1, 1442: 1}),
    (10, 20, 4, {1487: 1, 1502: 1, 1514: 1, 1524: 1}),
    (-10, 10, 4, {-1487: 1, -1442: 1, -1067: 1, 1442: 1}),
]

VECTORS = json.loads((Path(__file__).parents[2] / "fixtures" / "sketch" / "agent.json").read_text())


def bucket(lower: float, upper: float, count: int) -> Sketch:
    sketch = Sketch()
    sketch.insert_bucket(lower, upper, count)
    return sketch


def insert(sketch: Sketch, value: float, count: int = 1) -> None:
    """Count a value, `count` times: what the Agent does with a value that comes by itself."""
    one = Sketch()
    one.bins, one.count, one.sum = {key_of(value): count}, count, value * count
    one.min = one.max = value
    sketch.merge(one)


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{number}-{case['kind']}") for number, case in enumerate(VECTORS["cases"])]
)
def test_the_sketch_is_the_agents(case: dict[str, Any]) -> None:
    """The bins, the summary and the quantiles that the Agent's own code gave for the same buckets."""
    sketch = Sketch()
    for lower, upper, count in case["buckets"]:
        sketch.insert_bucket(ctypes.c_float(lower).value, ctypes.c_float(upper).value, count)
    assert dict(sorted(sketch.bins.items())) == dict(zip(case["keys"], case["counts"], strict=True))
    assert sketch.count == case["count"]
    summary = sketch.sum, sketch.avg, sketch.min, sketch.max
    assert summary == pytest.approx([case[name] for name in ("sum", "avg", "min", "max")], rel=1e-9)
    quantiles = [sketch.quantile(share) for share in VECTORS["shares"]]
    assert quantiles == pytest.approx(case["quantiles"], rel=1e-9)
    # An Agent whose bins are narrower splits the fullest; its quantiles are still within the sketch's error.
    assert quantiles == pytest.approx(case.get("quantiles_16bit_bins", quantiles), rel=EPSILON)


@pytest.mark.parametrize(("lower", "upper", "count", "bins"), KNOWN_BUCKETS)
def test_known_buckets(lower: float, upper: float, count: int, bins: dict[int, int]) -> None:
    assert bucket(lower, upper, count).bins == bins


def test_a_large_bucket_has_the_counts_of_the_agent() -> None:
    """Spot checks over 297 keys whose shares all leave fractions to carry."""
    bins = bucket(1e3, 1e5, 999_999).bins
    assert len(bins) == 297
    assert {key: bins[key] for key in (1784, 1785, 1790, 2078, 2079, 2080)} == {
        1784: 158,
        1785: 162,
        1790: 175,
        2078: 15167,
        2079: 15403,
        2080: 8942,
    }


def test_ten_requests_between_a_half_and_one_average_0_742() -> None:
    sketch = bucket(0.5, 1, 10)
    assert sketch.avg == pytest.approx(0.742, abs=0.0005)
    assert sketch.count == sum(sketch.bins.values()) == 10


@pytest.mark.parametrize(("lower", "upper"), [(0.5, 1), (0, 0.005), (2.5, 2.5), (0, 0)])
def test_a_single_request_lands_at_the_lower_bound(lower: float, upper: float) -> None:
    sketch = bucket(lower, upper, 1)
    assert sketch.bins == {key_of(lower): 1}
    assert sketch.max == pytest.approx(lower, rel=0.01)


def test_bounds_must_ascend() -> None:
    with pytest.raises(ValueError, match="must ascend, not 2 to 1"):
        bucket(2, 1, 5)


@pytest.mark.parametrize("seed", range(20))
def test_a_bucket_is_spread_evenly(seed: int) -> None:
    """At every key the count so far is the share of the width so far, give or take the fractions in hand."""
    dice = random.Random(seed)
    lower = dice.choice([0.0, dice.uniform(1e-6, 10)])
    upper = lower + dice.uniform(0.001, 100)
    count = dice.randint(1, 100_000)
    sketch = bucket(lower, upper, count)
    first, last = key_of(lower), key_of(upper)
    assert sketch.count == count
    assert first <= min(sketch.bins) <= max(sketch.bins) <= last
    placed = 0
    for key in range(first, last):
        placed += sketch.bins.get(key, 0)
        if placed == count:
            break
        ideal = (value_of(key + 1) - value_of(first)) / (upper - lower) * count
        # The key in hand may hold the whole of what its neighbours above are too narrow for.
        assert ideal - 2 <= placed <= ideal + 1


@pytest.mark.parametrize("key", [1, 2, 100, 1337, 1338, 5000, MAX_KEY - 1])
def test_keys_and_values_are_inverse(key: int) -> None:
    assert key_of(value_of(key)) == key
    assert key_of(-value_of(key)) == -key
    assert key_of(value_of(key) * GAMMA**0.49) == key


@pytest.mark.parametrize(
    ("value", "key"),
    [(0.0, 0), (1e-10, 0), (-1e-10, 0), (1e-9, 1), (1.0, 1338), (math.inf, MAX_KEY), (-math.inf, -MAX_KEY)],
)
def test_keys_at_the_ends(value: float, key: int) -> None:
    assert key_of(value) == key


@pytest.mark.parametrize("seed", range(10))
def test_quantiles_agree_with_sorted_values(seed: int) -> None:
    """Each quantile is within the width of one and a half keys of the value at its rank."""
    dice = random.Random(seed)
    values = [dice.lognormvariate(0, 2) for _ in range(dice.randint(1, 2000))]
    sketch = Sketch()
    for value in values:
        insert(sketch, value)
    values.sort()
    for percent in range(101):
        exact = values[round(percent / 100 * (len(values) - 1))]
        assert sketch.quantile(percent / 100) == pytest.approx(exact, rel=GAMMA**1.5 - 1)
    assert (sketch.min, sketch.max, sketch.count) == (values[0], values[-1], len(values))
    assert sketch.sum == pytest.approx(math.fsum(values))


@pytest.mark.parametrize("seed", range(5))
def test_quantiles_never_fall_and_stay_near_the_extremes(seed: int) -> None:
    """From the smallest value on, and past the largest by less than a key's width."""
    dice = random.Random(seed)
    sketch = Sketch()
    for _ in range(300):
        insert(sketch, dice.lognormvariate(0, 2), dice.randint(1, 5))
    quantiles = [sketch.quantile(step / 1000) for step in range(1000)]
    assert quantiles == sorted(quantiles)
    assert quantiles[0] == sketch.min
    assert quantiles[-1] < value_of(max(sketch.bins)) * GAMMA
    assert sketch.quantile(1) == sketch.max


def test_an_empty_sketch_is_all_zero() -> None:
    sketch = Sketch()
    assert (sketch.quantile(0.5), sketch.avg, sketch.count) == (0, 0, 0)


def test_merging_is_inserting_both() -> None:
    left, right, both = Sketch(), Sketch(), Sketch()
    for number in range(1, 100):
        insert(left if number % 3 else right, number / 7)
        insert(both, number / 7)
    left.merge(right)
    left.merge(Sketch())
    assert left.bins == both.bins
    assert (left.count, left.min, left.max) == (both.count, both.min, both.max)
    assert left.sum == pytest.approx(both.sum)
    assert left.quantile(0.5) == both.quantile(0.5)


def test_too_many_keys_fold_at_the_low_end() -> None:
    """No count is lost, and high quantiles keep their precision."""
    sketch = Sketch()
    for key in range(1, MAX_BINS + 101):
        insert(sketch, value_of(key))
    assert len(sketch.bins) == MAX_BINS
    assert min(sketch.bins) == 101
    assert sketch.bins[101] == 101
    assert sum(sketch.bins.values()) == sketch.count == MAX_BINS + 100
