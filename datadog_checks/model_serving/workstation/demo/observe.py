"""The golden signals in what the check sends.

Nothing here looks into the simulator: the numbers are those that the stand-in for the Agent would send to Datadog.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from statistics import fmean
from typing import NamedTuple

from ..standin.aggregation import Commit, Context
from ..standin.sketch import Sketch

NAMESPACE = "model_serving."
LATENCIES = ("request.latency", "request.inference.latency")
"""What may stand for the latency of a row, best first."""

COMBINE: Mapping[str, Callable[[list[float]], float]] = {
    "request.in_flight": sum,
    "request.queue.size": sum,
    "concurrency.provisioned": sum,
    "model.feature_drift": max,
    "kv_cache.utilization": max,
}


class Row(NamedTuple):
    """What a line of the table is about; the model is empty where a metric has none."""

    system: str
    endpoint: str
    model: str


class GpuRow(NamedTuple):
    """A GPU, or a MIG instance as `index/instance`, and the system that tells of it."""

    source: str
    gpu: str


@dataclass
class Signals:
    """Sums and sketches by row or GPU over some runs, and the last value of every gauge."""

    counts: Counter[tuple[Row, str]] = field(default_factory=Counter)
    sketches: dict[tuple[Row, str], Sketch] = field(default_factory=dict)
    gauges: dict[tuple[Row, str], float] = field(default_factory=dict)
    gpu_gauges: dict[tuple[GpuRow, str], float] = field(default_factory=dict)
    gpu_counts: Counter[tuple[GpuRow, str]] = field(default_factory=Counter)
    xids: Counter[tuple[GpuRow, str]] = field(default_factory=Counter)
    """XID errors by GPU and code."""

    def add(self, commit: Commit) -> None:
        """Take what one run of one instance sent."""
        summed: dict[tuple[Row, str], list[float]] = {}
        processes: Counter[GpuRow] = Counter()
        for series in commit.series:
            name, tags = _plain(series.context)
            if name.startswith("gpu.") and "gpu_uuid" in tags:
                gpu = _gpu_row(tags)
                if name == "gpu.process.running":
                    processes[gpu] += series.value  # type: ignore[assignment]
                elif name == "gpu.xid.count":
                    self.xids[gpu, tags.get("xid", "?")] += round(series.value)
                elif series.type == "count":
                    self.gpu_counts[gpu, name] += series.value  # type: ignore[assignment]
                else:
                    self.gpu_gauges[gpu, name] = series.value
            elif series.type == "count":
                self.counts[_row(tags), name] += series.value  # type: ignore[assignment]
            else:
                summed.setdefault((_row(tags), name), []).append(series.value)
        # Series that differ only in tags which the table does not show become one number.
        for key, values in summed.items():
            self.gauges[key] = COMBINE.get(key[1], fmean)(values)
        self.gpu_gauges |= {(gpu, "gpu.process.running"): value for gpu, value in processes.items()}
        for distribution in commit.distributions:
            name, tags = _plain(distribution.context)
            self.sketches.setdefault((_row(tags), name), Sketch()).merge(distribution.sketch)

    def rows(self) -> list[Row]:
        """List the rows that had requests, a latency or a queue, in alphabetical order."""
        return sorted(
            {row for row, name in (*self.counts, *self.sketches) if name.startswith("request.") and row.system}
        )

    def scope(self, row: Row) -> list[Row]:
        """List the rows that a row speaks for: without a model, all of its endpoint."""
        return [row] if row.model else [other for other in self.rows() if other[:2] == row[:2]]

    def total(self, name: str, rows: Iterable[Row]) -> float:
        """Return the sum of a count over rows."""
        return sum(self.counts[row, name] for row in rows)

    def of_endpoint(self, name: str, system: str, endpoint: str) -> float:
        """Return the sum of a count over all that came of an endpoint, whatever models it is about."""
        return sum(
            value for (row, told), value in self.counts.items() if told == name and row[:2] == (system, endpoint)
        )

    def error_percent(self, row: Row) -> float | None:
        """Return the share of failed requests in percent, None without requests."""
        scope = self.scope(row)
        requests = self.total("request.count", scope)
        return 100 * self.total("request.error.count", scope) / requests if requests else None

    def latency(self, row: Row) -> Sketch | None:
        """Return the sketch of the row's latency in seconds, None where its system tells no distribution."""
        return self.sketch(row, *LATENCIES)

    def sketch(self, row: Row, *names: str) -> Sketch | None:
        """Return what came of the first of some distributions with observations, over all that the row speaks for."""
        for name in names:
            merged = Sketch()
            for each in self.scope(row):
                if (sketch := self.sketches.get((each, name))) is not None:
                    merged.merge(sketch)
            if merged.count:
                return merged
        return None

    def mean(self, row: Row, *names: str) -> float | None:
        """Return the mean of the first of some distributions with observations: the row's own, else its scope's."""
        for name, rows in product(names, ([row], self.scope(row))):
            if count := self.total(f"{name}.count", rows):
                return self.total(f"{name}.sum", rows) / count
        return None


class History:
    """The signals of the whole run, and those of the last few rounds."""

    def __init__(self, rounds: int) -> None:
        self.whole = Signals()
        self._recent: deque[list[Commit]] = deque(maxlen=rounds)

    def add(self, commits: list[Commit]) -> None:
        """Take one round."""
        self._recent.append(commits)
        for commit in commits:
            self.whole.add(commit)

    def recent(self) -> Signals:
        """Return the signals of the last rounds; gauges are those of the last one, so what vanished is absent."""
        signals = Signals()
        for commits in self._recent:
            signals.gauges.clear()
            signals.gpu_gauges.clear()
            for commit in commits:
                signals.add(commit)
        return signals


def tag_values(tags: Iterable[str]) -> Mapping[str, str]:
    """Return the tags that have a value, by name."""
    return {name: value for name, colon, value in (tag.partition(":") for tag in tags) if colon}


def _plain(context: Context) -> tuple[str, Mapping[str, str]]:
    return context.name.removeprefix(NAMESPACE), tag_values(context.tags)


def _row(tags: Mapping[str, str]) -> Row:
    return Row(tags.get("serving_system", ""), tags.get("endpoint_name", ""), tags.get("model_name", ""))


def _gpu_row(tags: Mapping[str, str]) -> GpuRow:
    instance = tags.get("mig_instance")
    return GpuRow(tags.get("serving_system", ""), tags.get("gpu", "?") + (f"/{instance}" if instance else ""))
