"""Databricks Model Serving: one endpoint's export of the last finished minute, and what it serves.

Names, labels, units and the meaning of the minute follow Databricks' page on exporting endpoint metrics; the bucket
bounds between 5 and 600000 ms are our choice, since no page tells them.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import cycle, islice

from ..exposition import Buckets, histogram, sample
from ..scenario import MINUTE, Service
from ..traffic import InferenceRequest, Load

LATENCY_MS = (5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000)
CONTENT_TYPE = "text/plain; charset=utf-8"
_ERROR_CLASS = {"client": "4xx", "invalid": "4xx", "unavailable": "4xx", "server": "5xx"}


@dataclass
class Minute:
    """What happened at one endpoint within one minute. CPU and memory are percent; `peak` is requests at once."""

    requests: int = 0
    errors_4xx: int = 0
    errors_5xx: int = 0
    latency: Buckets = field(default_factory=lambda: Buckets(LATENCY_MS))
    queue: Buckets = field(default_factory=lambda: Buckets(LATENCY_MS))
    cpu: float = 6.0
    memory: float = 31.0
    peak: int = 0
    gpu: tuple[float, float] | None = None
    """Utilization and memory of `gpu0` in percent; None without a GPU."""
    idle: bool = False
    """No replicas are there, hence nothing that is measured on replicas."""


def page(endpoint: str, start_ms: int, minute: Minute) -> str:
    """Return the export of one endpoint: the minute that began at that time, in epoch milliseconds."""
    labels = {"endpoint_name": endpoint}
    lines: list[str] = []

    def gauge(name: str, text: str, value: float, extra: Mapping[str, str] | None = None) -> None:
        lines.extend((f"# HELP {name} {text}", f"# TYPE {name} gauge"))
        lines.append(sample(name, {**labels, **(extra or {})}, repr(float(value)), start_ms))

    def spread(name: str, text: str, buckets: Buckets) -> None:
        lines.extend((f"# HELP {name} {text}", f"# TYPE {name} histogram"))
        lines.extend(histogram(name, labels, buckets, repr(buckets.sum), start_ms))

    gauge("request_count_total", "Requests within the minute", minute.requests)
    gauge("request_4xx_count_total", "Client errors within the minute", minute.errors_4xx)
    gauge("request_5xx_count_total", "Server errors within the minute", minute.errors_5xx)
    spread("request_latency_ms", "Round trip within the platform, in milliseconds", minute.latency)
    if not minute.idle:
        spread("model_queue_time_ms", "Wait before the model starts, in milliseconds", minute.queue)
        gauge("cpu_usage_percentage", "Mean CPU of the replicas", round(minute.cpu, 2))
        gauge("mem_usage_percentage", "Mean memory of the replicas", round(minute.memory, 2))
        units = max(4, -(-minute.peak // 4) * 4)
        gauge("provisioned_concurrent_requests_total", "Parallel requests provisioned for", min(units, 16))
        if minute.gpu is not None:
            gpu = {"gpu": "gpu0"}
            gauge("gpu_usage_percentage", "Mean GPU utilization", round(minute.gpu[0], 2), gpu)
            gauge("gpu_memory_usage_percentage", "Mean GPU memory", round(minute.gpu[1], 2), gpu)
    return "\n".join(lines) + "\n"


def minute_page(
    endpoint_name: str,
    minute_start_ms: int,
    requests: int,
    *,
    errors_4xx: int = 0,
    errors_5xx: int = 0,
    latencies_ms: Iterable[float] = (80.0,),
    idle: bool = False,
) -> str:
    """Return the export of one finished minute with that many requests. Each error is one of them.

    The requests take `latencies_ms` in turn, from the first again after the last. An idle endpoint has no replicas,
    and so can have no requests. Raises ValueError for a minute that cannot have been.
    """
    if idle and requests:
        raise ValueError("an idle endpoint has no requests: leave `idle` or `requests` out")
    if errors_4xx + errors_5xx > requests:
        raise ValueError(f"{errors_4xx} + {errors_5xx} errors in {requests} requests: more errors than requests")
    if minute_start_ms % (MINUTE * 1000):
        raise ValueError(f"no minute starts at {minute_start_ms} ms: give a multiple of {MINUTE * 1000}")
    minute = Minute(requests, errors_4xx, errors_5xx, idle=idle)
    for latency in islice(cycle(latencies_ms), requests):
        minute.latency.observe(latency)
        minute.queue.observe(0.0)
    return page(endpoint_name, minute_start_ms, minute)


class Databricks:
    """One serving endpoint. It publishes nothing about a minute before that minute is over."""

    def __init__(self, service: Service, epoch: float, seed: int) -> None:
        self.service = service
        self.ready = True
        self._epoch = epoch
        self._random = random.Random(f"{seed}/{service.endpoint}")
        self._current = Minute()
        self._published = Minute(idle=True)
        self._published_at = epoch - MINUTE
        self._memory, self._busy = 31.0, 0.0

    def record(self, request: InferenceRequest) -> None:
        """Add one finished request to the current minute."""
        minute = self._current
        minute.requests += 1
        match _ERROR_CLASS.get(request.outcome):
            case "4xx":
                minute.errors_4xx += 1
            case "5xx":
                minute.errors_5xx += 1
        minute.latency.observe(request.latency * 1000)
        if request.served:
            minute.queue.observe((request.start - request.arrival) * 1000)
        minute.peak = max(minute.peak, request.in_flight + 1)

    def observe(self, now: float, loads: Mapping[str, Load], ready: Mapping[str, bool]) -> None:
        """Take the state at `now` (simulated seconds); at the end of a minute, publish that minute."""
        self.ready = all(ready.values())
        busy = sum(load.busy for load in loads.values()) / len(loads)
        self._busy = max(self._busy, busy)
        if now % MINUTE == 0 and now > 0:
            self._publish(now)

    def _publish(self, now: float) -> None:
        minute, busy = self._current, self._busy
        self._memory = min(92.0, self._memory + self._random.uniform(-0.4, 0.9))
        minute.idle = not minute.requests
        minute.cpu, minute.memory = 6 + 88 * busy, self._memory
        if self.service.workload.startswith(("GPU", "MULTIGPU")):
            minute.gpu = 95 * busy, 38 + 20 * busy
        self._published, self._published_at = minute, self._epoch + now - MINUTE
        self._current, self._busy = Minute(), 0.0

    def render(self) -> str:
        """Return the payload of `/metrics`."""
        return page(self.service.endpoint, int(self._published_at) * 1000, self._published)

    def entities(self, versions: Iterable[str]) -> list[dict[str, object]]:
        """Return the served entities, one per model in that version, as the REST API describes them."""
        return [
            {
                "entity_name": f"main.models.{model.name.replace('-', '_')}",
                "entity_version": version,
                "name": f"{model.name}-{version}",
                "workload_type": self.service.workload,
            }
            for model, version in zip(self.service.models, versions, strict=True)
        ]
