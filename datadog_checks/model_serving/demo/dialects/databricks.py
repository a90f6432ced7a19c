"""Databricks Model Serving: one endpoint's export of the last finished minute, and its description.

Names, labels, units and the meaning of the minute follow Databricks' page on exporting endpoint metrics; the bucket
bounds between 5 and 600000 ms are our choice, since no page tells them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from ..exposition import Buckets, histogram, sample
from ..scenario import MINUTE, Service
from ..traffic import Load, Request

LATENCY_MS = (5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000)
CONTENT_TYPE = "text/plain; charset=utf-8"
_ERROR_CLASS = {"client": "4xx", "invalid": "4xx", "unavailable": "4xx", "server": "5xx"}


class _Minute:
    """What happened within one minute."""

    def __init__(self) -> None:
        self.requests = 0
        self.errors = {"4xx": 0, "5xx": 0}
        self.latency = Buckets(LATENCY_MS)
        self.queue = Buckets(LATENCY_MS)
        self.cpu = 0.0
        self.peak = 0


class Databricks:
    """One serving endpoint. It publishes nothing about a minute before that minute is over."""

    def __init__(self, service: Service, epoch: float, seed: int) -> None:
        self.service = service
        self.ready = True
        self._epoch = epoch
        self._random = random.Random(f"{seed}/{service.endpoint}")
        self._current = _Minute()
        self._published = _Minute()
        self._published_at = epoch - MINUTE
        self._memory = 31.0

    def record(self, request: Request) -> None:
        """Add one finished request to the current minute."""
        minute = self._current
        minute.requests += 1
        if request.outcome in _ERROR_CLASS:
            minute.errors[_ERROR_CLASS[request.outcome]] += 1
        minute.latency.observe(request.latency * 1000)
        if request.served:
            minute.queue.observe((request.start - request.arrival) * 1000)
        minute.peak = max(minute.peak, request.in_flight + 1)

    def observe(self, now: float, loads: Mapping[str, Load], ready: Mapping[str, bool]) -> None:
        """Take the state at `now` (simulated seconds); at the end of a minute, publish that minute."""
        self.ready = all(ready.values())
        busy = sum(load.busy for load in loads.values()) / len(loads)
        self._current.cpu = max(self._current.cpu, busy)
        if now % MINUTE == 0 and now > 0:
            self._published, self._current = self._current, _Minute()
            self._published_at = self._epoch + now - MINUTE
            self._memory = min(92.0, self._memory + self._random.uniform(-0.4, 0.9))

    def render(self) -> str:
        """Return the payload of `/metrics`."""
        minute, stamp = self._published, int(self._published_at) * 1000
        labels = {"endpoint_name": self.service.endpoint}
        lines: list[str] = []

        def gauge(name: str, text: str, value: float, extra: Mapping[str, str] | None = None) -> None:
            lines.extend((f"# HELP {name} {text}", f"# TYPE {name} gauge"))
            lines.append(sample(name, {**labels, **(extra or {})}, repr(float(value)), stamp))

        def spread(name: str, text: str, buckets: Buckets) -> None:
            lines.extend((f"# HELP {name} {text}", f"# TYPE {name} histogram"))
            lines.extend(histogram(name, labels, buckets, repr(buckets.sum), stamp))

        gauge("request_count_total", "Requests within the minute", minute.requests)
        gauge("request_4xx_count_total", "Client errors within the minute", minute.errors["4xx"])
        gauge("request_5xx_count_total", "Server errors within the minute", minute.errors["5xx"])
        spread("request_latency_ms", "Round trip within the platform, in milliseconds", minute.latency)
        # An idle endpoint shows no replicas, hence nothing that is measured on replicas.
        if minute.requests:
            spread("model_queue_time_ms", "Wait before the model starts, in milliseconds", minute.queue)
            gauge("cpu_usage_percentage", "Mean CPU of the replicas", round(6 + 88 * minute.cpu, 2))
            gauge("mem_usage_percentage", "Mean memory of the replicas", round(self._memory, 2))
            units = max(4, -(-minute.peak // 4) * 4)
            gauge("provisioned_concurrent_requests_total", "Parallel requests provisioned for", min(units, 16))
            if self.service.workload.startswith(("GPU", "MULTIGPU")):
                gpu = {"gpu": "gpu0"}
                gauge("gpu_usage_percentage", "Mean GPU utilization", round(95 * minute.cpu, 2), gpu)
                gauge("gpu_memory_usage_percentage", "Mean GPU memory", round(38 + 20 * minute.cpu, 2), gpu)
        return "\n".join(lines) + "\n"

    def description(self) -> dict[str, object]:
        """Return the endpoint as `GET /api/2.0/serving-endpoints/<name>` describes it."""
        deployment = "DEPLOYMENT_READY" if self.ready else "DEPLOYMENT_RECOVERING"
        created = int(self._epoch - 86_400 * 30) * 1000
        entities = [
            {
                "name": f"{model.name}-{model.version}",
                "entity_name": f"main.models.{model.name.replace('-', '_')}",
                "entity_version": model.version,
                "workload_size": "Small",
                "workload_type": self.service.workload,
                "scale_to_zero_enabled": True,
                "state": {"deployment": deployment, "deployment_state_message": ""},
            }
            for model in self.service.models
        ]
        share = 100 // len(entities)
        return {
            "name": self.service.endpoint,
            "id": f"demo-{self.service.endpoint}",
            "task": "llm/v1/embeddings" if self.service.workload != "CPU" else "",
            "creation_timestamp": created,
            "last_updated_timestamp": created,
            "state": {"ready": "READY" if self.ready else "NOT_READY", "config_update": "NOT_UPDATING"},
            "config": {
                "served_entities": entities,
                "traffic_config": {
                    "routes": [{"served_entity_name": item["name"], "traffic_percentage": share} for item in entities]
                },
                "config_version": 1,
            },
            "permission_level": "CAN_QUERY",
        }
