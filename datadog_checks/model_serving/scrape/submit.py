"""Hands the readings of a complete scrape to the Agent, as increments, gauges and distributions."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any

from ..catalog.model import NAMESPACE, CanonicalMetric, Catalog, Derived
from .collect import Collector
from .histograms import as_buckets, as_distribution
from .series import Increment, Output, Series, whole_window

CACHE_KEY = "scrape"
XID_METRIC = "gpu.xid.count"


class Submitter:
    """Turns what a Collector has read into submissions of one check.

    `distributions` false gives stock buckets, `separate` true de-cumulates these, `totals` adds
    `.sum` and `.count`, `buckets` false leaves stock buckets out. Minutes counted and error codes
    seen are kept in the Agent's persistent cache, so that a restart neither counts a minute twice nor
    repeats an event.
    """

    def __init__(
        self, check: Any, catalog: Catalog, distributions: bool, separate: bool, totals: bool, buckets: bool
    ) -> None:
        self.check = check
        self.derived = _derivations(catalog)
        self.distributions = distributions
        self.separate = separate
        self.totals = totals
        self.buckets = distributions or buckets
        self.contexts: set[tuple[str, tuple[str, ...]]] = set()
        self._scrapes = 0
        self._groups: dict[str, int] = {}
        self._starts: dict[str, float] = {}
        self._gauges: dict[tuple[CanonicalMetric, tuple[str, ...], str], list[float]] = {}
        self._memory: dict[str, dict[str, float]] = {}
        self._remembered = False

    def submit(self, collector: Collector, agent_start: float | None) -> None:
        """Submit everything that `collector` read. `agent_start` set means that a process that
        started after the Agent counts from zero at the first scrape (`use_process_start_time`)."""
        self._recall()
        self._scrapes += 1
        self.contexts = set()
        self._gauges = {}
        now = time.time()
        restarted = {
            group: self._starts[group] != start
            for group, start in collector.process_start.items()
            if group in self._starts
        }
        self._starts.update(collector.process_start)
        fresh = {
            group for group, start in collector.process_start.items() if agent_start is not None and start > agent_start
        }
        groups = {series.group for series in collector.frame}
        for series in collector.frame:
            group = series.group
            # A target that was there a scrape ago and shows a new series started it since then.
            known = self._groups.get(group) == self._scrapes - 1 if group else self._scrapes > 1
            # Counters older than their series neither start at zero nor with the process that shows them.
            own = series.starts_at_zero
            again = restarted.get(group) if own else None
            self._series(series, own and (known or group in fresh), again, collector.families, now)
        self._groups = dict.fromkeys(groups, self._scrapes)
        self._flush_gauges()
        self._remember()

    def _series(self, series: Series, from_zero: bool, restarted: bool | None, families: set[str], now: float) -> None:
        kind = series.raw.type
        if kind == "gauge":
            for output in self._outputs(series, families):
                self._gauge(output.target.metric, output.tags, series.hostname, series.current.value * output.scale)
            return
        if kind == "last_code":
            for output in self._outputs(series, families):
                self._code(series, output, from_zero)
            return
        if kind.startswith("window"):
            increment = self._window(series, now)
            if increment is None:
                return
        else:
            increment = series.increment(from_zero, restarted)
        for output in self._outputs(series, families):
            self._increment(series, output, increment)

    def _outputs(self, series: Series, families: set[str]) -> Iterable[Output]:
        for output in series.outputs:
            target = output.target
            if (target.present is None or _has(families, target.present)) and (
                target.absent is None or not _has(families, target.absent)
            ):
                yield output

    def _increment(self, series: Series, output: Output, increment: Increment) -> None:
        metric, scale, host = output.target.metric, output.scale, series.hostname
        if output.target.value == "count":
            if increment.count is not None:
                self._count(output.name, increment.count, output.tags, host)
            return
        if output.target.value == "mean":
            if increment.sum is not None and increment.count:
                self._gauge(metric, output.tags, host, increment.sum * scale / increment.count)
            return
        if metric.type == "gauge":
            if increment.value is not None:
                self._gauge(metric, output.tags, host, increment.value * scale)
            return
        if metric.type == "count":
            if increment.value is not None:
                self._count(output.name, increment.value * scale, output.tags, host)
            return
        if self.totals:
            if increment.sum is not None:
                self._count(f"{output.name}.sum", increment.sum * scale, output.tags, host)
            if increment.count is not None:
                self._count(f"{output.name}.count", increment.count, output.tags, host)
        if not increment.buckets or not self.buckets:
            return
        if self.distributions:
            self.contexts.add((output.name, output.tags))
            tags = list(output.tags)
            as_distribution(
                increment.buckets,
                scale,
                lambda lower, upper, count: self.check.submit_histogram_bucket(
                    output.name, count, lower, upper, False, host, tags, raw=True
                ),
            )
        else:
            as_buckets(
                increment.buckets,
                scale,
                self.separate,
                lambda count, bounds: self._count(f"{output.name}.bucket", count, (*output.tags, *bounds), host),
            )

    def _window(self, series: Series, now: float) -> Increment | None:
        minutes = self._memory["minutes"]
        if series.minute is None and series.key in minutes:
            series.minute = int(minutes[series.key])
        if not series.new_minute(now):
            return None
        minutes[series.key] = float(series.minute or 0)
        return whole_window(series.current)

    def _code(self, series: Series, output: Output, from_zero: bool) -> None:
        """One count and one event for a code that is not the one seen before on the same device."""
        code = int(series.current.value)
        codes = self._memory["codes"]
        key = f"{output.name}{','.join(output.tags)}"
        last = codes.get(key, 0 if from_zero else None)
        codes[key] = code
        if last is None or code == last or code == 0:
            return
        tags = (*output.tags, f"xid:{code}")
        self._count(output.name, 1, tags, series.hostname)
        device = _value(output.tags, "gpu_uuid") or _value(output.tags, "gpu")
        self.check.event(
            {
                "timestamp": int(time.time()),
                "event_type": "gpu_xid",
                "source_type_name": NAMESPACE,
                "msg_title": f"GPU {_value(output.tags, 'gpu') or device}: XID {code}",
                "msg_text": (
                    f"The NVIDIA driver reports XID error {code} on GPU {device}. Look the code up in NVIDIA's XID "
                    "catalog (https://docs.nvidia.com/deploy/xid-errors/), and the driver's own lines in the kernel "
                    "log (`dmesg | grep -i xid`)."
                ),
                "alert_type": "error",
                "priority": "normal",
                "aggregation_key": f"gpu-xid-{device}",
                "host": series.hostname or self.check.hostname,
                "tags": list(tags),
            }
        )

    def _count(self, name: str, value: float, tags: tuple[str, ...], host: str) -> None:
        self.contexts.add((name, tags))
        self.check.count(name, value, tags=list(tags), hostname=host, raw=True)

    def _gauge(self, metric: CanonicalMetric, tags: tuple[str, ...], host: str, value: float) -> None:
        self._gauges.setdefault((metric, tags, host), []).append(value)

    def _flush_gauges(self) -> None:
        values: dict[tuple[tuple[str, ...], str], dict[str, float]] = {}
        for (metric, tags, host), readings in self._gauges.items():
            value = _combined(readings, metric.combine)
            values.setdefault((tags, host), {})[metric.name] = value
            self._send_gauge(metric, value, tags, host)
        for (tags, host), known in values.items():
            for derived in self.derived:
                if derived.metric.name not in known and all(name in known for name in derived.required):
                    total = sum(known[name] for name in (*derived.required, *derived.optional) if name in known)
                    if derived.numerator is None:
                        self._send_gauge(derived.metric, total, tags, host)
                    elif total > 0:
                        self._send_gauge(derived.metric, known[derived.numerator] / total * 100, tags, host)

    def _send_gauge(self, metric: CanonicalMetric, value: float, tags: tuple[str, ...], host: str) -> None:
        self.contexts.add((metric.full_name, tags))
        self.check.gauge(metric.full_name, value, tags=list(tags), hostname=host, raw=True)

    def _recall(self) -> None:
        if self._remembered:
            return
        self._remembered = True
        try:
            memory = json.loads(self.check.read_persistent_cache(CACHE_KEY) or "{}")
        except ValueError:
            memory = {}
        self._memory = {
            part: {str(key): float(value) for key, value in memory.get(part, {}).items()}
            for part in ("codes", "minutes")
        }
        self._written = json.dumps(self._memory)

    def _remember(self) -> None:
        minutes = self._memory["minutes"]
        if minutes:
            oldest = max(minutes.values()) - 24 * 60
            self._memory["minutes"] = {key: minute for key, minute in minutes.items() if minute > oldest}
        text = json.dumps(self._memory)
        if text != self._written:
            self.check.write_persistent_cache(CACHE_KEY, text)
            self._written = text


def _derivations(catalog: Catalog) -> tuple[Derived, ...]:
    unique: dict[str, Derived] = {}
    for system in catalog.systems.values():
        for derived in system.derived:
            unique.setdefault(derived.metric.name, derived)
    return tuple(unique.values())


def _has(families: set[str], name: str) -> bool:
    """Whether a raw metric is in the payload, whole or in pieces. The parser takes `_total` from counters."""
    base = name.removesuffix("_total")
    return any(f"{base}{suffix}" in families for suffix in ("", "_bucket", "_count", "_total"))


def _combined(values: list[float], how: str) -> float:
    if how == "sum":
        return sum(values)
    if how == "mean":
        return sum(values) / len(values)
    return max(values) if how == "max" else values[-1]


def _value(tags: Iterable[str], name: str) -> str:
    return next((tag.partition(":")[2] for tag in tags if tag.startswith(f"{name}:")), "")
