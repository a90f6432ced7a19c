"""Which readings are taken: what is no number, impossible, or outside of a metric's range is refused."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite

from .histograms import rising
from .series import Series, finite

NOT_CUMULATIVE = "not_cumulative"
"""The reason of buckets that fall from one bound to the next: those of a histogram count all that is below."""

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
        if (reading.count or 0) < 0 or min(reading.counts, default=0) < 0:
            reject("out_of_range", raw.names[0])
            return False
        if not rising(reading.counts):
            reject(NOT_CUMULATIVE, raw.names[0])
            return False
        return _sum_in_range(series, reject)
    if not isfinite(reading.value):
        reject("non_finite", raw.names[0])
        return False
    if reading.value in raw.blanks:
        reject("out_of_range", raw.names[0])
        return False
    for output in series.outputs:
        metric, value = output.target.metric, reading.value * output.scale
        if metric.high is not None and metric.high < value <= metric.high * raw.overshoot:
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
