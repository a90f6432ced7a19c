"""Which readings are taken: what is no number, impossible, or outside of a metric's range is refused."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite

from .histograms import rising
from .series import Series, finite

CLAMP = 1.01
"""A share may overshoot 100 % by rounding; up to 1 % over is taken as 100 %, more is refused."""

EXACT = 2.0**53
"""Beyond it a float is not exactly the count that was meant, and from 2**63 on the Agent takes none."""

Reject = Callable[[str, str], None]
"""Takes a reason and the name of a raw metric."""


def sound(series: Series, reject: Reject) -> bool:
    """Whether the current reading of a series is fit to be counted. It is completed, and `reject` told why it isn't."""
    reading, raw = series.current, series.raw
    if raw.grouped:
        for part in ("count", "sum"):
            number = getattr(reading, part)
            if number is not None and not isfinite(number):
                reject("non_finite", raw.names[0])
                setattr(reading, part, None)
        reading.complete()
        if reading == series.last:
            # What was sound is, and nobody needs to look for what has come since.
            series.current = series.last
            return True
        if reading.count is None and reading.sum is None and not reading.bounds:
            return False
        if not finite(reading):
            reject("non_finite", raw.names[0])
            return False
        count, counts = reading.count or 0, reading.counts
        if not 0 <= count <= EXACT or not rising(counts) or (counts and counts[-1] > EXACT):
            reject("out_of_range", raw.names[0])
            return False
        return _sum_in_range(series, reject)
    if not isfinite(reading.value):
        reject("non_finite", raw.names[0])
        return False
    for output in series.outputs:
        metric, value = output.target.metric, reading.value * output.scale
        if metric.high is not None and metric.high < value <= metric.high * CLAMP:
            reading.value = metric.high / output.scale
        elif metric.excludes(value):
            reject("out_of_range", raw.names[0])
            return False
    return True


def _sum_in_range(series: Series, reject: Reject) -> bool:
    total = series.current.sum
    if total is not None and any(
        output.target.metric.low is not None and total < output.target.metric.low for output in series.outputs
    ):
        reject("out_of_range", series.raw.names[0])
        return False
    return True
