"""TensorFlow Serving: names with colons, microseconds, no HELP lines, six significant digits, strings printed as 0.

Follows tensorflow_serving/util/prometheus_exporter.cc: a TYPE line for every metric, with samples or without, and
`name{}` for one that has no labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from ..exposition import Buckets, histogram, sample
from ..scenario import Service
from ..traffic import InferenceRequest, Load

CONTENT_TYPE = "text/plain"
LATENCY_US = tuple(10 * 1.8**power for power in range(33))
QUEUING_US = tuple(100 * 1.2**power for power in range(52))
ROWS = tuple(float(2**power) for power in range(11))
BATCH_SIZES = (1, 2, 4, 8, 16, 32)
STATUS = {
    "ok": "OK",
    "client": "INVALID_ARGUMENT",
    "invalid": "INVALID_ARGUMENT",
    "server": "INTERNAL",
    "unavailable": "UNAVAILABLE",
}
SERVING = ":tensorflow:serving:"
_Labels = tuple[tuple[str, str], ...]


class TensorFlowServing:
    """One model server. Latency is measured on requests that succeed only; all of them are counted."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.ready = {model.name: True for model in service.models}
        self._requests: Counter[_Labels] = Counter()
        self._examples: Counter[str] = Counter()
        self._latency: dict[_Labels, Buckets] = {}
        self._runtime: dict[_Labels, Buckets] = {}
        self._example_counts: dict[_Labels, Buckets] = {}
        self._queuing = Buckets(QUEUING_US)
        self._input = Buckets(ROWS)
        self._processed = Buckets(ROWS)
        self._padding: dict[_Labels, Buckets] = {}

    def record(self, request: InferenceRequest) -> None:
        """Add one finished request."""
        model = request.model
        self._requests[(("model_name", model.name), ("status", STATUS[request.outcome]))] += 1
        if request.outcome != "ok":
            return
        api = model.api.capitalize() if request.grpc else model.api
        labels = (("model_name", model.name), ("API", api))
        entry = ("entrypoint", "GRPC" if request.grpc else "REST")
        busy = (request.end - request.start) * 1e6
        _of(self._latency, (*labels, entry), LATENCY_US).observe(request.latency * 1e6)
        _of(self._runtime, (*labels, ("runtime", "TF1")), LATENCY_US).observe(busy)
        if model.api != "predict":
            self._examples[model.name] += request.rows
            _of(self._example_counts, (("model", model.name),), ROWS).observe(request.rows)
        batch = next(size for size in BATCH_SIZES if size >= request.rows)
        self._queuing.observe((request.start - request.arrival) * 1e6)
        self._input.observe(request.rows)
        self._processed.observe(batch)
        _of(self._padding, (("execution_batch_size", str(batch)),), ROWS).observe(batch - request.rows)

    def polled(self, model: str) -> None:
        """Count a look at a model's status: TensorFlow Serving counts it as a request, with an empty API."""
        self._requests[(("model_name", model), ("status", "OK"))] += 1
        labels = (("model_name", model), ("API", ""), ("entrypoint", "REST"))
        _of(self._latency, labels, LATENCY_US).observe(40.0)

    def observe(self, now: float, loads: Mapping[str, Load], ready: Mapping[str, bool]) -> None:
        """Take the state at `now`."""
        del now, loads
        self.ready = dict(ready)

    def status(self, model: str) -> dict[str, object] | None:
        """Return the answer of `GET /v1/models/<model>`, None for a model that is not served."""
        for known in self.service.models:
            if known.name == model:
                state = "AVAILABLE" if self.ready[model] else "LOADING"
                return {
                    "model_version_status": [
                        {"version": known.version, "state": state, "status": {"error_code": "OK", "error_message": ""}}
                    ]
                }
        return None

    def render(self) -> str:
        """Return the payload of `/monitoring/prometheus/metrics`."""
        session = f"{SERVING}batching_session:"
        paths = {model.name: {"model_path": f"/models/{model.name}/{model.version}"} for model in self.service.models}
        loads = [({**path, "status": "success"}, 1) for path in paths.values()]
        mlmd = [({"model_name": model.name, "version": model.version}, 0) for model in self.service.models]
        lines = [
            *_counters(":tensorflow:cc:saved_model:load_attempt_count", loads),
            *_counters(":tensorflow:cc:saved_model:load_latency", [(path, 812_345) for path in paths.values()]),
            *_counters(f"{SERVING}mlmd_map", mlmd, kind="gauge"),
            *_counters(f"{SERVING}request_count", [(dict(key), count) for key, count in self._requests.items()]),
            *_counters(
                f"{SERVING}request_example_count_total",
                [({"model": name}, count) for name, count in self._examples.items()],
            ),
            *_histograms(f"{SERVING}request_example_counts", self._example_counts),
            *_histograms(f"{SERVING}request_latency", self._latency),
            *_histograms(f"{SERVING}runtime_latency", self._runtime),
            *_histograms(f"{session}queuing_latency", {(("thread_pool_name", "batch_threads"),): self._queuing}),
            *_counters(f"{session}wrapped_run_count", [({}, self._processed.count)]),
            *_histograms(f"{session}input_batch_size", {(): self._input}),
            *_histograms(f"{session}processed_batch_size", {(): self._processed}),
            *_histograms(f"{session}padding_size", self._padding),
        ]
        return "\n".join(lines) + "\n"


def _of(series: dict[_Labels, Buckets], labels: _Labels, bounds: tuple[float, ...]) -> Buckets:
    if labels not in series:
        series[labels] = Buckets(bounds)
    return series[labels]


def _counters(name: str, series: Iterable[tuple[Mapping[str, str], int]], kind: str = "counter") -> Iterable[str]:
    yield f"# TYPE {name} {kind}"
    for labels, count in series:
        yield sample(name, labels, str(count), braces=True)


def _histograms(name: str, series: Mapping[_Labels, Buckets]) -> Iterable[str]:
    yield f"# TYPE {name} histogram"
    for labels, buckets in series.items():
        yield from histogram(name, dict(labels), buckets, f"{buckets.sum:g}", braces=True)
