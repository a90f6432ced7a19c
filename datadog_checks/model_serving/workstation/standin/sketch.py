"""The Agent's quantile sketch, so that a workstation sees the quantiles that Datadog would compute.

A value is counted under a key, the nearest power of gamma: that keeps every quantile within a relative error of
`EPSILON`. The behaviour, down to how the count of a histogram bucket is spread over keys, is that of the Agent's
`quantile` package (github.com/DataDog/opentelemetry-mapping-go, pkg/quantile) with 32-bit bins; its own answers are
held by a test.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate

EPSILON = 1 / 128
GAMMA = 1 + 2 * EPSILON
SMALLEST = 1e-9
"""Values nearer to zero than about this share the key 0."""
MAX_BINS = 4096
MAX_KEY = 32767
"""Keys are 16 bits wide; this one stands for infinity."""

_LOG_GAMMA = math.log1p(2 * EPSILON)
_BIAS = 1 - math.floor(math.log(SMALLEST) / _LOG_GAMMA)
_MIN = GAMMA ** (1 - _BIAS)


def key_of(value: float) -> int:
    """The key of a value: 0 around zero, negative for negative values, saturated at +-`MAX_KEY`."""
    if value < 0:
        return -key_of(-value)
    if value < _MIN:
        return 0
    if math.isinf(value):
        return MAX_KEY
    return max(1, min(MAX_KEY, round(math.log(value) / _LOG_GAMMA) + _BIAS))


@lru_cache(maxsize=2 * MAX_BINS)
def value_of(key: int) -> float:
    """The value that a key stands for: a power of gamma, infinite for `MAX_KEY`."""
    if key < 0:
        return -value_of(-key)
    if key == 0:
        return 0.0
    return math.inf if key >= MAX_KEY else float(GAMMA ** (key - _BIAS))


class Sketch:
    """Counts per key, with the exact count, sum, smallest and largest of what was inserted.

    `bins` maps keys to counts. A histogram bucket is inserted as the values of its keys, so there the summary
    describes those, not what was observed: that is what Datadog receives, too.
    """

    __slots__ = ("bins", "count", "max", "min", "sum")

    def __init__(self) -> None:
        self.bins: dict[int, int] = {}
        self.count = 0
        self.sum = 0.0
        self.min = 0.0
        self.max = 0.0

    @property
    def avg(self) -> float:
        """Mean of the inserted values, 0 when there are none."""
        return self.sum / self.count if self.count else 0.0

    def insert_bucket(self, lower: float, upper: float, count: int) -> None:
        """Spread the count of a histogram bucket evenly between its bounds.

        Every key between the bounds has a share of the count in proportion to its width, but only whole counts are
        placed: a key whose share is below one joins the next, and fractions of larger shares are carried until they
        make a whole. What is left over at the upper bound goes to the last key that was begun, so a bucket that
        holds one request counts it at the lower bound.

        Raises ValueError when the upper bound lies below the lower one.
        """
        first, last = key_of(lower), key_of(upper)
        if last < first:
            raise ValueError(f"bucket bounds must ascend, not {lower:g} to {upper:g}")
        width = upper - lower
        left, carried, start = count, 0.0, first
        for following in range(first + 1, last + 1):
            if left <= 0:
                break
            share = (value_of(following) - value_of(start)) / width * count
            whole = int(share) if math.isfinite(share) else left
            if share > 1:
                carried += share - whole
            if carried > 1:
                whole += 1
                carried -= 1
            if whole > 0:
                whole = min(whole, left)
                self._add(start, value_of(start), whole)
                left -= whole
                start = following
        if left > 0:
            self._add(start, value_of(start), left)
        self._trim()

    def merge(self, other: Sketch) -> None:
        """Add everything that another sketch holds."""
        for key, count in other.bins.items():
            self.bins[key] = self.bins.get(key, 0) + count
        if other.count:
            self.min = min(self.min, other.min) if self.count else other.min
            self.max = max(self.max, other.max) if self.count else other.max
        self.count += other.count
        self.sum += other.sum
        self._trim()

    def quantile(self, share: float) -> float:
        """The value below which `share` (0 to 1) of the inserted values lie; 0 for an empty sketch.

        As in the Agent the values of a key count as spread evenly from the value of the key towards that of the next
        one, and those of the first key from the smallest value. So a quantile may lie above the largest value, by
        less than a key's width, and quantiles of negative values fall within a key.
        """
        if not self.count:
            return 0.0
        if share <= 0:
            return self.min
        if share >= 1:
            return self.max
        wanted = round(share * (self.count - 1))
        keys = sorted(self.bins)
        reached = list(accumulate(self.bins[key] for key in keys))
        at = bisect_right(reached, wanted)
        low, high = value_of(keys[at]) if at else self.min, value_of(keys[at]) * GAMMA
        weight = (reached[at] - wanted) / self.bins[keys[at]]
        return low * weight + high * (1 - weight)

    def _add(self, key: int, value: float, count: int) -> None:
        self.bins[key] = self.bins.get(key, 0) + count
        self.min = min(self.min, value) if self.count else value
        self.max = max(self.max, value) if self.count else value
        self.count += count
        self.sum += value * count

    def _trim(self) -> None:
        """Fold the lowest keys into the next one above when there are more than `MAX_BINS`."""
        if len(self.bins) <= MAX_BINS:
            return
        keys = sorted(self.bins)
        surplus = keys[: len(keys) - MAX_BINS]
        self.bins[keys[len(surplus)]] += sum(self.bins.pop(key) for key in surplus)
