"""Everything that checks hand to the Agent, in the order in which they do, until someone takes it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol, TypeVar


class MetricType(IntEnum):
    """The metric types of the Agent's `aggregator` module."""

    GAUGE = 0
    RATE = 1
    COUNT = 2
    MONOTONIC_COUNT = 3
    COUNTER = 4
    HISTOGRAM = 5
    HISTORATE = 6


class ServiceStatus(IntEnum):
    """The states of a service check."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Sample:
    """One call of `aggregator.submit_metric`; `timestamp` is seconds since the epoch."""

    check_id: str
    type: MetricType
    name: str
    value: float
    tags: tuple[str, ...]
    host: str
    flush_first_value: bool
    timestamp: float


@dataclass(frozen=True, slots=True)
class Bucket:
    """One call of `aggregator.submit_histogram_bucket`; the bounds are as the check gave them.

    `by_bound` marks a call of `submit_histogram_bucket_multi`, whose buckets are told apart by their bounds.
    """

    check_id: str
    name: str
    value: int
    lower: float
    upper: float
    monotonic: bool
    tags: tuple[str, ...]
    host: str
    flush_first_value: bool
    timestamp: float
    by_bound: bool = False


@dataclass(frozen=True, slots=True)
class ServiceCheck:
    """One call of `aggregator.submit_service_check`."""

    check_id: str
    name: str
    status: ServiceStatus
    tags: tuple[str, ...]
    host: str
    message: str


@dataclass(frozen=True, slots=True)
class Event:
    """One call of `aggregator.submit_event`; `fields` is the event as the check built it."""

    check_id: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that went through `datadog_agent.log`; `level` is a level of the logging module."""

    level: int
    message: str


@dataclass(slots=True)
class Batch:
    """What was recorded between two calls of `Recorder.take`.

    `metadata` is by check id and name. `other` holds submissions that have no place in metrics: logs for Datadog's
    log intake ("log"), event platform events ("event_platform"), telemetry of the Agent ("telemetry"), external
    host tags ("external_tags") and health issues ("issue"), each with its arguments.
    """

    samples: list[Sample] = field(default_factory=list)
    buckets: list[Bucket] = field(default_factory=list)
    service_checks: list[ServiceCheck] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    metadata: dict[tuple[str, str], str] = field(default_factory=dict)
    logs: list[LogLine] = field(default_factory=list)
    other: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)


class Recorder:
    """Collects submissions from any thread. `clock` gives the time of a submission, in seconds since the epoch."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self._lock = threading.Lock()
        self._batch = Batch()

    def sample(
        self,
        check_id: str,
        kind: MetricType,
        name: str,
        value: float,
        tags: tuple[str, ...] = (),
        host: str = "",
        flush_first_value: bool = False,
    ) -> None:
        """Record one sample of a metric."""
        sample = Sample(check_id, kind, name, value, tags, host, flush_first_value, self.clock())
        with self._lock:
            self._batch.samples.append(sample)

    def bucket(
        self,
        check_id: str,
        name: str,
        value: int,
        lower: float,
        upper: float,
        monotonic: bool = False,
        tags: tuple[str, ...] = (),
        host: str = "",
        flush_first_value: bool = False,
        by_bound: bool = False,
    ) -> None:
        """Record one histogram bucket."""
        bucket = Bucket(
            check_id, name, value, lower, upper, monotonic, tags, host, flush_first_value, self.clock(), by_bound
        )
        with self._lock:
            self._batch.buckets.append(bucket)

    def service_check(self, service_check: ServiceCheck) -> None:
        """Record the state of a service."""
        with self._lock:
            self._batch.service_checks.append(service_check)

    def event(self, event: Event) -> None:
        """Record an event."""
        with self._lock:
            self._batch.events.append(event)

    def metadata(self, check_id: str, name: str, value: str) -> None:
        """Record a piece of metadata; a later value of the same name replaces it."""
        with self._lock:
            self._batch.metadata[check_id, name] = value

    def log(self, level: int, message: str) -> None:
        """Record a log line."""
        with self._lock:
            self._batch.logs.append(LogLine(level, message))

    def other(self, kind: str, *arguments: Any) -> None:
        """Record a submission that is no metric; see `Batch.other`."""
        with self._lock:
            self._batch.other.append((kind, arguments))

    def take(self) -> Batch:
        """Hand over what was recorded since the last call."""
        with self._lock:
            batch, self._batch = self._batch, Batch()
        return batch

    def take_of(self, check_id: str) -> Batch:
        """Hand over what one check has submitted, and leave the rest. Logs and what is no metric have no owner: all of
        these go.
        """
        with self._lock:
            batch, self._batch = self._batch, Batch()
            kept = self._batch
            batch.samples, kept.samples = _shared_out(batch.samples, check_id)
            batch.buckets, kept.buckets = _shared_out(batch.buckets, check_id)
            batch.service_checks, kept.service_checks = _shared_out(batch.service_checks, check_id)
            batch.events, kept.events = _shared_out(batch.events, check_id)
            for key in [key for key in batch.metadata if key[0] != check_id]:
                kept.metadata[key] = batch.metadata.pop(key)
        return batch


class _Owned(Protocol):
    @property
    def check_id(self) -> str: ...


_Submission = TypeVar("_Submission", bound=_Owned)


def _shared_out(submissions: list[_Submission], check_id: str) -> tuple[list[_Submission], list[_Submission]]:
    """Those of one check, and those of others."""
    if all(one.check_id == check_id for one in submissions):
        return submissions, []
    return (
        [one for one in submissions if one.check_id == check_id],
        [one for one in submissions if one.check_id != check_id],
    )
