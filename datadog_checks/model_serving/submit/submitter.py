"""Hands the readings of a complete scrape to the Agent, as increments, gauges and distributions."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from ..catalog.model import CanonicalMetric, Catalog, Target
from .histograms import as_buckets, as_distribution
from .persisted import Memory
from .sender import Sender
from .series import Increment, Output, Series, whole

DEVICE_TAGS = ("gpu:", "gpu_uuid:", "gpu_host:", "mig_instance:")
Present = set[tuple[str, str]]


class Readings(Protocol):
    """A complete scrape: series with a reading that counts, and with one that was refused.

    `present` are the raw metrics of the payload as (federated target, name without `_total`), `process_start` is when
    the process of a target started, in epoch seconds.
    """

    @property
    def frame(self) -> Sequence[Series]: ...

    @property
    def refused(self) -> Sequence[Series]: ...

    @property
    def present(self) -> Present: ...

    @property
    def process_start(self) -> Mapping[str, float]: ...

    def surely_new(self, series: Series) -> bool:
        """Whether a series without a past would have been seen, had it been in an earlier payload."""

    def failed(self, family: str) -> None:
        """An exception, which is being handled, came of a series of a family: it costs nothing else."""


class Submitter:
    """Turns the readings of one source into submissions of a check.

    `distributions` false gives stock buckets, which always come with `.sum` and `.count`, `separate` true
    de-cumulates these, `totals` adds `.sum` and `.count` to distributions, `buckets` false leaves stock
    buckets out. `memory` is shared by the sources of the check, in which `prefix` tells them apart: empty for an only
    one.
    """

    def __init__(
        self,
        check: Any,
        catalog: Catalog,
        memory: Memory,
        *,
        prefix: str,
        distributions: bool,
        separate: bool,
        totals: bool,
        buckets: bool,
    ) -> None:
        self.check = check
        self.memory = memory
        self.prefix = prefix
        self.derived = {name: system.derived for name, system in catalog.systems.items()}
        self.distributions = distributions
        self.separate = separate
        self.totals = totals
        self.buckets = distributions or buckets
        self.sender = Sender(check)
        self._scrapes = 0
        self._groups: dict[str, int] = {}
        self._holders: dict[tuple[int, tuple[str, ...]], str] = {}
        self._gauges: dict[tuple[str, tuple[str, ...], str], tuple[CanonicalMetric, list[float]]] = {}

    def submit(self, readings: Readings, agent_start: float | None) -> None:
        """Submit everything that `readings` hold. `agent_start` set means that a process that
        started after the Agent counts from zero at the first scrape (`use_process_start_time`)."""
        self.memory.recall()
        self._scrapes += 1
        self.sender.begin()
        self._gauges = {}
        now = time.time()
        fresh = {
            group for group, start in readings.process_start.items() if agent_start is not None and start > agent_start
        }
        groups = {series.group for series in readings.frame}
        for series in readings.refused:
            series.older = series.older or not self._from_zero(series, readings, fresh)
        for series in readings.frame:
            try:
                self._series(series, readings, fresh, now)
            except Exception:
                readings.failed(series.raw.names[0])
        self._groups = dict.fromkeys(groups, self._scrapes)
        self._flush_gauges()

    def _from_zero(self, series: Series, readings: Readings, fresh: set[str]) -> bool:
        """Whether all that a series without a past shows has come since the scrape before."""
        if not series.starts_at_zero or series.group in fresh:
            return series.starts_at_zero
        # A target that was there a scrape ago and shows a new series started it since then.
        known = self._groups.get(series.group) == self._scrapes - 1 if series.group else self._scrapes > 1
        return known and readings.surely_new(series)

    def _series(self, series: Series, readings: Readings, fresh: set[str], now: float) -> None:
        kind, present = series.raw.type, readings.present
        if kind == "gauge":
            for output in self._outputs(series, present):
                self._gauge(output, series.hostname, series.current.value * output.scale)
            return
        if kind == "last_code":
            from_zero = self._from_zero(series, readings, fresh)
            for output in self._outputs(series, present):
                self._code(series, output, from_zero)
            return
        if kind.startswith("window"):
            increment = self._window(series, now)
            if increment is None:
                return
        else:
            start = None
            if series.starts_at_zero:
                # Counters older than their series do not start with the process that shows them either.
                start = readings.process_start.get(series.group)
            else:
                self._hand_over(series)
            increment = series.increment(series.last is None and self._from_zero(series, readings, fresh), start)
        for output in self._outputs(series, present):
            self._increment(series, output, increment)

    def _hand_over(self, series: Series) -> None:
        """A counter of a device goes on while its series, which names who holds the device, is away.

        When another series showed it meanwhile, what came since is that one's.
        """
        tags = series.outputs[0].tags if series.outputs else ()
        device = (id(series.raw), tuple(tag for tag in tags if tag.startswith(DEVICE_TAGS)))
        if series.counted != self._scrapes - 1 and self._holders.get(device, series.key) != series.key:
            series.last = None
        series.counted = self._scrapes
        self._holders[device] = series.key

    def _outputs(self, series: Series, present: Present) -> Iterable[Output]:
        return [output for output in series.outputs if _applies(output.target, present, series.group)]

    def _increment(self, series: Series, output: Output, increment: Increment) -> None:
        metric, scale, host = output.target.metric, output.scale, series.hostname
        if output.target.value == "count":
            if increment.count is not None:
                self.sender.count(output.name, increment.count, output.tags, host)
            return
        if output.target.value == "mean":
            if increment.sum is not None and increment.count:
                self._gauge(output, host, increment.sum * scale / increment.count)
            return
        if metric.type == "gauge":
            if increment.value is not None:
                self._gauge(output, host, increment.value * scale)
            return
        if metric.type == "count":
            if increment.value is not None:
                self.sender.count(output.name, increment.value * scale, output.tags, host)
            return
        if self.totals or not self.distributions:
            if increment.sum is not None:
                self.sender.count(output.sum_name, increment.sum * scale, output.tags, host)
            if increment.count is not None:
                self.sender.count(output.count_name, increment.count, output.tags, host)
        if not increment.bounds or not self.buckets:
            return
        if self.distributions:
            spans = as_distribution(increment.bounds, increment.counts, increment.sum, scale)
            self.sender.distribution(output.name, spans, output.tags, host)
            return
        for count, bounds in as_buckets(increment.bounds, increment.counts, scale, self.separate):
            self.sender.count(f"{output.name}.bucket", count, (*output.tags, *bounds), host)

    def _window(self, series: Series, now: float) -> Increment | None:
        newest, counted, key = self.memory.minutes, self.memory.counted, f"{self.prefix}{series.key}"
        if series.minute is None and key in newest:
            series.minute, series.minutes = int(newest[key]), int(counted.get(key, 1))
        if not series.new_minute(now):
            return None
        newest[key], counted[key] = float(series.minute or 0), float(series.minutes)
        return whole(series.current)

    def _code(self, series: Series, output: Output, from_zero: bool) -> None:
        """One count and one event for a code that is not the one seen before on the same device."""
        code = int(series.current.value)
        codes = self.memory.codes
        key = f"{self.prefix}{output.name}{','.join(output.tags)}"
        last = codes.pop(key, 0 if from_zero else None)
        codes[key] = code
        if last is None or code == last or code == 0:
            return
        kind = series.raw.codes
        tags = output.tags if kind is None else (*output.tags, f"{kind.tag}:{code}")
        self.sender.count(output.name, 1, tags, series.hostname)
        host = series.hostname or self.check.hostname
        event = None if kind is None else kind.event_of(code, tags, host, time.time())
        if event is not None:
            self.check.event(event)

    def _gauge(self, output: Output, host: str, value: float) -> None:
        gauge = self._gauges.get((output.name, output.tags, host))
        if gauge is None:
            gauge = self._gauges[output.name, output.tags, host] = (output.target.metric, [])
        gauge[1].append(value)

    def _flush_gauges(self) -> None:
        values: dict[tuple[tuple[str, ...], str], dict[str, float]] = {}
        for (name, tags, host), (metric, readings) in self._gauges.items():
            value = _combined(readings, metric.combine)
            values.setdefault((tags, host), {})[metric.name] = value
            self.sender.gauge(name, value, tags, host)
        for (tags, host), known in values.items():
            for derived in self.derived.get(_value(tags, "serving_system"), ()):
                if derived.follows_from(known):
                    total = sum(known[name] for name in (*derived.required, *derived.optional) if name in known)
                    if derived.numerator is None:
                        self.sender.gauge(derived.metric.full_name, total, tags, host)
                    elif total > 0:
                        self.sender.gauge(derived.metric.full_name, known[derived.numerator] / total * 100, tags, host)


def _applies(target: Target, present: Present, group: str) -> bool:
    """Whether the raw metrics that a target asks for are in the payload, and those that it rules out are not."""
    if target.present and not _any(present, group, target.present):
        return False
    return not target.absent or not _any(present, group, target.absent)


def _any(present: Present, group: str, names: tuple[str, ...]) -> bool:
    """Whether one of some raw metrics is in the payload, from the same target."""
    return any((group, name.removesuffix("_total")) in present for name in names)


def _combined(values: list[float], how: str) -> float:
    if how == "sum":
        return sum(values)
    if how == "mean":
        return sum(values) / len(values)
    return max(values) if how == "max" else values[-1]


def _value(tags: Iterable[str], name: str) -> str:
    return next((tag.partition(":")[2] for tag in tags if tag.startswith(f"{name}:")), "")
