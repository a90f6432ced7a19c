"""The sketch gives the keys, counts and quantiles that the Agent's gives."""

from __future__ import annotations

import math
import random

import pytest

from datadog_checks.model_serving.workstation.standin.sketch import GAMMA, MAX_BINS, MAX_KEY, Sketch, key_of, value_of

# Bounds, count and resulting bins of the Agent's own tests of its interpolation.
KNOWN_BUCKETS = [
    (0, 10, 2, {0: 1, 1442: 1}),
    (10, 20, 4, {1487: 1, 1502: 1, 1514: 1, 1524: 1}),
    (-10, 10, 4, {-1487: 1, -1442: 1, -1067: 1, 1442: 1}),
]


def bucket(lower: float, upper: float, count: int) -> Sketch:
    sketch = Sketch()
    sketch.insert_bucket(lower, upper, count)
    return sketch


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
        sketch.insert(value)
    values.sort()
    for percent in range(101):
        exact = values[round(percent / 100 * (len(values) - 1))]
        assert sketch.quantile(percent / 100) == pytest.approx(exact, rel=GAMMA**1.5 - 1)
    assert (sketch.min, sketch.max, sketch.count) == (values[0], values[-1], len(values))
    assert sketch.sum == pytest.approx(math.fsum(values))


@pytest.mark.parametrize("seed", range(5))
def test_quantiles_never_fall_and_stay_within_the_extremes(seed: int) -> None:
    dice = random.Random(seed)
    sketch = Sketch()
    for _ in range(300):
        sketch.insert(dice.gauss(0, 10), dice.randint(1, 5))
    quantiles = [sketch.quantile(step / 1000) for step in range(1001)]
    assert quantiles == sorted(quantiles)
    assert (quantiles[0], quantiles[-1]) == (sketch.min, sketch.max)


def test_quantiles_of_the_outer_keys_are_bounded_by_the_extremes() -> None:
    """Ten values 0.5 % below the value of one key, and ten 0.3 % above that of another."""
    low, high = value_of(1338) * 0.995, value_of(1400) * 1.003
    sketch = Sketch()
    sketch.insert(low, 10)
    sketch.insert(high, 10)
    assert sketch.quantile(0.01) == low
    assert sketch.quantile(0.99) == pytest.approx(value_of(1400) * 0.1 + high * 0.9)
    assert sketch.quantile(0.5) == pytest.approx(value_of(1400))


def test_one_value_is_every_quantile() -> None:
    sketch = Sketch()
    sketch.insert(0.123, 7)
    assert {sketch.quantile(share) for share in (0, 0.01, 0.5, 0.99, 1)} == {0.123}


def test_an_empty_sketch_is_all_zero() -> None:
    sketch = Sketch()
    assert (sketch.quantile(0.5), sketch.avg, sketch.count) == (0, 0, 0)


def test_merging_is_inserting_both() -> None:
    left, right, both = Sketch(), Sketch(), Sketch()
    for number in range(1, 100):
        (left if number % 3 else right).insert(number / 7)
        both.insert(number / 7)
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
        sketch.insert(value_of(key))
    assert len(sketch.bins) == MAX_BINS
    assert min(sketch.bins) == 101
    assert sketch.bins[101] == 101
    assert sum(sketch.bins.values()) == sketch.count == MAX_BINS + 100
