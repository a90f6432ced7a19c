"""Hands the readings of a complete scrape to the Agent, as increments, gauges and distributions."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Protocol

from ..catalog.model import MOMENTS, CanonicalMetric, Catalog, Target, Things, device_of
from .histograms import as_buckets, as_distribution
from .journal import ACCUMULATING
from .persisted import Memory
from .processes import Process, Processes
from .sender import Sender
from .series import Increment, Output, Reading, Series, state_tags, tag_value, whole

TOLD_TWICE = 4
"""Scrapes within which two metrics that count the same errors show the same one."""

MANY_DEVICES = 500
"""Devices that may be remembered beyond twice those of a scrape."""

Present = set[tuple[str, str]]
Tags = tuple[str, ...]


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
        self.journal = memory.journal(prefix)
        self.derived = {name: system.derived for name, system in catalog.systems.items()}
        # Of systems that tell what a series is about: the gauges that others follow from.
        self.inputs = {
            name: frozenset(chain.from_iterable(derived.all_names for derived in system.derived))
            for name, system in catalog.systems.items()
            if any(raw.identity is not None for raw in system.metrics)
        }
        self.distributions = distributions
        self.separate = separate
        self.totals = totals
        self.buckets = distributions or buckets
        self.sender = Sender(check)
        self.processes = Processes()
        self.suspected: set[str] = set()
        self._scrapes = 0
        self._groups: dict[str, int] = {}
        self._devices: set[Things] = set()
        self._told: dict[tuple[Things, int], int] = {}
        self._gauges: dict[tuple[str, Tags, str], tuple[CanonicalMetric, list[float]]] = {}
        self._of_things: dict[tuple[str, Things, str], dict[str, tuple[float, Tags]]] = {}

    def submit(self, readings: Readings, agent_start: float | None) -> None:
        """Submit everything that `readings` hold. `agent_start` set means that a process that
        started after the Agent counts from zero at the first scrape (`use_process_start_time`)."""
        self.memory.recall()
        self._scrapes += 1
        self.sender.begin()
        self._gauges, self._of_things = {}, {}
        now = time.time()
        fresh = {
            group for group, start in readings.process_start.items() if agent_start is not None and start > agent_start
        }
        groups = {series.group for series in readings.frame}
        for target, process_starts, at in self.journal.recall(readings.frame, now):
            self.processes.remember(target, process_starts, at)
        told = self._meet(readings, now)
        # Before the first submission: what a crash from here on leaves unsaid is lost, and never said twice.
        self.journal.begin(readings.frame, {target: process.start for target, process in told.items()}, now)
        for series in readings.refused:
            series.past.older = series.past.older or not self._from_zero(series, readings, fresh, told)
        devices: set[Things] = set()
        for series in readings.frame:
            if series.thing:
                devices.add(device_of(series.thing))
            try:
                self._series(series, readings, fresh, told, now)
            except Exception:
                readings.failed(series.raw.names[0])
        self._groups = dict.fromkeys(groups, self._scrapes)
        self._devices |= devices
        if len(self._devices) > MANY_DEVICES + 2 * len(devices):
            self._devices = devices
        self.processes.forget(readings.process_start)
        self.suspected &= groups
        self._flush_gauges()

    def _meet(self, readings: Readings, now: float) -> dict[str, Process]:
        """The processes that this scrape tells, by target."""

        def fell(group: str) -> bool:
            return any(
                series.group == group and series.starts_at_zero and series.raw.type in ACCUMULATING and series.fell()
                for series in readings.frame
            )

        return {
            group: self.processes.meet(group, start, now, self._scrapes, lambda group=group: fell(group))  # type: ignore[misc]
            for group, start in readings.process_start.items()
        }

    def _from_zero(self, series: Series, readings: Readings, fresh: set[str], told: Mapping[str, Process]) -> bool:
        """Whether all that a series without a past shows has come since the scrape before."""
        if not series.starts_at_zero or series.group in fresh:
            return series.starts_at_zero
        process = told.get(series.group)
        if process is not None and process.answers == 1 and not process.began:
            return False
        # A target that was there a scrape ago and shows a new series started it since then.
        known = self._groups.get(series.group) == self._scrapes - 1 if series.group else self._scrapes > 1
        return known and readings.surely_new(series)

    def _series(
        self, series: Series, readings: Readings, fresh: set[str], told: Mapping[str, Process], now: float
    ) -> None:
        kind, outputs = series.raw.type, self.outputs(series, readings.present)
        # Counters older than their series do not start with the process that shows them either.
        process = told.get(series.group) if series.starts_at_zero else None
        if series.raw.states:
            for output in outputs:
                tags = state_tags(output.tags, series.raw.states, series.current.value)
                self._add(output.target.metric, output.name, tags, series.hostname, 1.0)
        elif kind in ("gauge", "timestamp"):
            for output in outputs:
                self._gauge(series, output, self._level(series, output, process) * output.scale)
        elif kind == "last_code":
            if series.thing:
                # A device that was there without a code had none.
                new = device_of(series.thing) in self._devices and readings.surely_new(series)
            else:
                new = self._from_zero(series, readings, fresh, told)
            self._code(series, outputs, new)
        elif kind == "recent_count":
            rise = self._rise(series, self._from_zero(series, readings, fresh, told), readings)
            for output in outputs:
                if output.target.metric.type == "gauge":
                    self._gauge(series, output, series.current.value * output.scale)
            self._counted(series, outputs, rise)
        elif kind.startswith("window"):
            minute = self._window(series, now)
            if minute is not None:
                self._counted(series, outputs, minute)
        elif not self.journal.waiting or not self._waits(series, process):
            from_zero = same = False
            if process is not None:
                same = process.exact and series.past.start is not None
                if series.past.start != process.start:
                    from_zero = series.meet(process, self.processes.known(series.group))
            if series.past.last is None:
                from_zero = from_zero or self._from_zero(series, readings, fresh, told)
            increment = series.increment(from_zero, same)
            if series.turns > 1:
                self.suspected.add(series.group)
            self._counted(series, outputs, increment)

    def _waits(self, series: Series, process: Process | None) -> bool:
        if process is None:
            return self.journal.holds(series, None, False)
        return self.journal.holds(series, process.start, process.began)

    def _level(self, series: Series, output: Output, process: Process | None) -> float:
        """The value of a gauge, over all processes that answer at the address in turn."""
        value = series.current.value
        if process is None:
            return value
        levels = series.levels
        if levels is None or (process.start in levels and len(levels) == 1):
            series.levels = {process.start: value}
            return value
        alive = self.processes.alive(series.group, self._scrapes)
        others = {start: level for start, level in levels.items() if start in alive and start != process.start}
        series.levels = {**others, process.start: value}
        if not self.processes.several(series.group):
            return value
        return _combined(list(series.levels.values()), output.target.metric.combine)

    def _rise(self, series: Series, from_zero: bool, readings: Readings) -> Increment:
        """What has come in a window that slides: as many as there are more of, at least."""
        last, current, past = series.last, series.current, series.past
        before = self.memory.exchange(f"{self.prefix}{series.key}", current.value)
        if last is None and before is not None:
            last = Reading(before)
        elif last is not None and series.counted < self._scrapes - 1 and readings.surely_new(series):
            # The window was empty, and a series that counts nothing is not printed.
            last = Reading(0.0)
        series.counted, past.last = self._scrapes, current
        if last is None:
            return whole(current) if from_zero and not past.older else Increment()
        return Increment(value=max(0.0, current.value - last.value))

    def _counted(self, series: Series, outputs: Sequence[Output], increment: Increment) -> None:
        """Submit what has come. Where it has a code, there is an event with it."""
        codes = series.raw.codes
        if codes is None:
            for output in outputs:
                self._increment(series, output, increment)
            return
        for output in outputs:
            if output.target is not series.raw.targets[0]:
                self._increment(series, output, increment)
            elif increment.value:
                code = tag_value(output.tags, codes.tag)
                number = int(code) if code.isdecimal() else -1
                new = increment.value
                if self._told.pop((series.thing, number), -TOLD_TWICE) > self._scrapes - TOLD_TWICE:
                    new -= 1
                if new > 0 and number:
                    self.sender.count(output.name, new * output.scale, output.tags, series.hostname)
                    self._event(series, number, output.tags)

    def outputs(self, series: Series, present: Present) -> list[Output]:
        """What a series is sent as, in a payload that has these raw metrics."""
        if series.outdone:
            return []
        return [output for output in series.outputs if _applies(output.target, present, series.group)]

    def _increment(self, series: Series, output: Output, increment: Increment) -> None:
        metric, scale, host = output.target.metric, output.scale, series.hostname
        if output.target.value == "zero":
            # What is known of the series tells nothing more, but where nothing is known of it nor is this.
            if increment.value is not None or increment.count is not None:
                self.sender.count(output.name, 0, output.tags, host)
            return
        if output.target.value == "count":
            if increment.count is not None:
                self.sender.count(output.name, increment.count, output.tags, host)
            return
        if output.target.value == "sum":
            if increment.sum is not None:
                self.sender.count(output.name, increment.sum * scale, output.tags, host)
            return
        if output.target.value == "mean":
            if increment.sum is not None and increment.count:
                self._gauge(series, output, increment.sum * scale / increment.count)
            return
        if metric.type == "gauge":
            if increment.value is not None and series.raw.type != "recent_count":
                self._gauge(series, output, increment.value * scale)
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

    def _code(self, series: Series, outputs: Sequence[Output], from_zero: bool) -> None:
        """One count and one event for a code that is not the one seen before on the same device."""
        code, kind = int(series.current.value), series.raw.codes
        last = self.memory.exchange(f"{self.prefix}{series.key}", code)
        if last is None and from_zero:
            last = 0
        if last is None or code in (last, 0) or kind is None:
            return
        for output in outputs:
            tags = (*output.tags, f"{kind.tag}:{code}")
            self.sender.count(output.name, 1, tags, series.hostname)
            self._event(series, code, tags)
            self._told = {of: scrape for of, scrape in self._told.items() if scrape > self._scrapes - TOLD_TWICE}
            self._told[series.thing, code] = self._scrapes

    def _event(self, series: Series, code: int, tags: Tags) -> None:
        kind = series.raw.codes
        host = series.hostname or self.check.hostname
        event = None if kind is None else kind.event_of(code, tags, host, time.time())
        if event is not None:
            self.check.event(event)

    def _gauge(self, series: Series, output: Output, value: float) -> None:
        metric, tags, host = output.target.metric, output.tags, series.hostname
        self._add(metric, output.name, tags, host, value)
        if metric.name in self.inputs.get(series.raw.system, ()):
            thing = series.thing or tuple((tag, "") for tag in tags)
            self._of_things.setdefault((series.raw.system, thing, host), {})[metric.name] = value, tags

    def _add(self, metric: CanonicalMetric, name: str, tags: Tags, host: str, value: float) -> None:
        gauge = self._gauges.get((name, tags, host))
        if gauge is None:
            gauge = self._gauges[name, tags, host] = (metric, [])
        gauge[1].append(value)

    def _flush_gauges(self) -> None:
        """Submit the gauges, and those that follow from others of the same thing."""
        for (system, _, host), known in self._of_things.items():
            shared = set.intersection(*(set(tags) for _, tags in known.values()))
            values = {name: value for name, (value, _) in known.items()}
            self._derive(system, values, tuple(sorted(shared)), host)
        together: dict[tuple[Tags, str], dict[str, float]] = {}
        for (name, tags, host), (metric, readings) in self._gauges.items():
            value = _combined(readings, metric.combine)
            together.setdefault((tags, host), {})[metric.name] = value
            self._send(metric, name, value, tags, host)
        self._gauges = {}
        for (tags, host), values in together.items():
            system = tag_value(tags, "serving_system")
            if system not in self.inputs:
                self._derive(system, values, tags, host)
        for (name, tags, host), (metric, readings) in self._gauges.items():
            self._send(metric, name, _combined(readings, metric.combine), tags, host)

    def _send(self, metric: CanonicalMetric, name: str, value: float, tags: Tags, host: str) -> None:
        self.sender.gauge(name, value, tags, host)
        if metric.moments:
            for part, moment in MOMENTS.items():
                self.sender.count(f"{name}.{part}", moment(value), tags, host)

    def _derive(self, system: str, known: Mapping[str, float], tags: Tags, host: str) -> None:
        for derived in self.derived.get(system, ()):
            if derived.follows_from(known):
                total = sum(known[name] for name in (*derived.required, *derived.optional) if name in known)
                if derived.numerator is None:
                    self._add(derived.metric, derived.metric.full_name, tags, host, total)
                elif total > 0:
                    share = known[derived.numerator] / total * 100
                    self._add(derived.metric, derived.metric.full_name, tags, host, share)


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
