"""MLServer with inference workers, adaptive batching, REST and gRPC.

MLServer writes its metrics with the Prometheus client for Python, so does this: as a collector that builds families.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.metrics_core import Metric

from ..exposition import Buckets
from ..scenario import Service
from ..traffic import InferenceRequest, Load

CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8"
DEFAULT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
INFER = "/v2/models/{model_name}/infer"
RPC = {"grpc_type": "UNARY", "grpc_service": "inference.GRPCInferenceService", "grpc_method": "ModelInfer"}
APP = "mlserver"
_STATUS = {"ok": "200", "client": "400", "invalid": "422", "server": "500", "unavailable": "503"}


class MLServer:
    """One server with its models. A request that fails validation never reaches a model's own counters."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.ready = {model.name: True for model in service.models}
        self._waiting = 0
        self._success: Counter[tuple[str, str]] = Counter()
        self._failure: Counter[tuple[str, str]] = Counter()
        self._seconds: Counter[tuple[str, str]] = Counter()
        self._rest: dict[tuple[str, str, str], Buckets] = {}
        self._rpc = Buckets(DEFAULT_BUCKETS)
        self._rpc_ok = 0
        self._dispatch = Buckets(DEFAULT_BUCKETS)
        self._batch = {model.name: Buckets(DEFAULT_BUCKETS) for model in service.models}
        for model in service.models:
            self._success[model.name, "None"] = self._failure[model.name, "None"] = 0
            # Loading a model sends a message to each of its workers.
            for message in range(model.workers):
                self._dispatch.observe(message + 1)
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def record(self, request: InferenceRequest) -> None:
        """Add one finished request."""
        name = request.model.name
        if request.grpc:
            self._rpc.observe(request.latency)
            self._rpc_ok += request.outcome == "ok"
        else:
            self.answered("POST", INFER, _STATUS[request.outcome], request.latency)
        if request.outcome == "invalid":
            return
        key = name, "" if request.grpc else "None"
        (self._success if request.outcome == "ok" else self._failure)[key] += 1
        self._seconds[key] += request.latency  # type: ignore[assignment]
        if request.served:
            self._batch[name].observe(request.depth)
            self._dispatch.observe(request.in_flight + 1)

    def answered(self, method: str, route: str, status: str, seconds: float) -> None:
        """Count one answer of the REST server, by route template."""
        self._rest.setdefault((method, route, status), Buckets(DEFAULT_BUCKETS)).observe(seconds)

    def observe(self, now: float, loads: Mapping[str, Load], ready: Mapping[str, bool]) -> None:
        """Take the state at `now`."""
        del now
        self.ready = dict(ready)
        self._waiting = sum(load.waiting + load.serving for load in loads.values())

    def render(self) -> str:
        """Return the payload of the metrics port."""
        return generate_latest(self._registry).decode()

    def index(self) -> list[dict[str, str]]:
        """Return the models as `POST /v2/repository/index` lists them."""
        return [
            {
                "name": model.name,
                "version": model.version,
                "state": "READY" if self.ready[model.name] else "LOADING",
                "reason": "",
            }
            for model in self.service.models
        ]

    def describe(self) -> list[Metric]:
        """Return nothing: the client asks for the names when the collector is registered, and there is no clash."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families, as the Prometheus client for Python asks a collector to do."""
        # One number for both methods: only inference takes long enough to be seen.
        progress = GaugeMetricFamily(
            "rest_server_requests_in_progress",
            "HTTP requests being answered",
            labels=("app_name", "method"),
        )
        progress.add_metric((APP, "POST"), self._waiting)
        progress.add_metric((APP, "GET"), 0)
        yield progress
        for word, counts in (("failure", self._failure), ("success", self._success)):
            family = CounterMetricFamily(
                f"model_infer_request_{word}", f"Inference requests, {word}", labels=("model", "version")
            )
            for key, count in counts.items():
                family.add_metric(key, count)
            yield family
        summary = SummaryMetricFamily(
            "model_infer_request_duration", "Time of inference requests in seconds", labels=("model", "version")
        )
        for key, seconds in self._seconds.items():
            summary.add_metric(key, self._success[key] + self._failure[key], seconds)
        yield summary
        yield from self._http()
        yield from self._grpc()
        yield self._depths(
            "parallel_request_queue", "Messages under way to the workers, at each dispatch", {(): self._dispatch}
        )
        yield self._depths(
            "batch_request_queue",
            "Requests waiting for a batch, at each arrival",
            {(name, ""): buckets for name, buckets in self._batch.items()},
            ("model_name", "model_version"),
        )

    def _http(self) -> Iterator[Metric]:
        labels = ("app_name", "method", "path", "status_code")
        count = CounterMetricFamily("rest_server_requests", "HTTP requests answered", labels=labels)
        for key, buckets in self._rest.items():
            count.add_metric((APP, *key), buckets.count)
        yield count
        yield self._depths(
            "rest_server_request_duration_seconds",
            "Time of HTTP requests in seconds",
            {(APP, *key): buckets for key, buckets in self._rest.items()},
            labels,
        )

    def _grpc(self) -> Iterator[Metric]:
        labels, values = tuple(RPC), tuple(RPC.values())
        yield self._counter("grpc_server_started", "Calls begun", RPC, self._rpc.count)
        # As seen on a real server: only the calls that succeed are counted as handled.
        yield self._counter(
            "grpc_server_handled",
            "Calls that ended",
            {"grpc_code": "OK", **RPC},
            self._rpc_ok,
        )
        yield self._depths(
            "grpc_server_handling_seconds",
            "Time of calls in seconds",
            {values: self._rpc} if self._rpc.count else {},
            labels,
        )

    @staticmethod
    def _counter(name: str, text: str, labels: Mapping[str, str], count: int) -> Metric:
        family = CounterMetricFamily(name, text, labels=tuple(labels))
        if count:
            family.add_metric(tuple(labels.values()), count)
        return family

    @staticmethod
    def _depths(
        name: str, text: str, series: Mapping[tuple[str, ...], Buckets], labels: tuple[str, ...] = ()
    ) -> Metric:
        family = HistogramMetricFamily(name, text, labels=labels)
        for values, buckets in series.items():
            family.add_metric(values, buckets.for_client(), buckets.sum)
        return family
