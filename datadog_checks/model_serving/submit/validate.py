"""Which readings are taken: what is no number, impossible, or outside of a metric's range is refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import isfinite

from .histograms import rising
from .series import Series, finite

EARLIEST = 946_684_800.0
"""The year 2000 in epoch seconds. A timestamp before it is a 0 that stands for never, or is of another unit."""

AHEAD = 300.0
"""Seconds by which the clock of a target may be ahead of ours. What is yet to come by more has no age."""

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
    if reading.value in raw.blanks:
        reject("out_of_range", raw.names[0])
        return False
    if raw.type == "timestamp":
        elapsed = age(reading.value * raw.scale, time.time())
        if elapsed is None:
            reject("out_of_range", raw.names[0])
            return False
        reading.value = elapsed / raw.scale
    for output in series.outputs:
        metric, value = output.target.metric, reading.value * output.scale
        if metric.high is not None and metric.high < value <= metric.high * raw.overshoot:
            reading.value = metric.high / output.scale
        elif metric.excludes(value):
            reject("out_of_range", raw.names[0])
            return False
    return True


def age(moment: float, now: float) -> float | None:
    """Seconds since a moment, both in epoch seconds. None for one that can't be meant."""
    return max(0.0, now - moment) if EARLIEST <= moment <= now + AHEAD else None


def _sum_in_range(series: Series, reject: Reject) -> bool:
    total = series.current.sum
    if total is not None and any(
        output.target.metric.low is not None and total < output.target.metric.low for output in series.outputs
    ):
        reject("out_of_range", series.raw.names[0])
        return False
    return True
