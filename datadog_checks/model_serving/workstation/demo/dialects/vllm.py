"""vLLM's server, V1 engine. It writes its metrics with the Prometheus client for Python, and so does this."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from ..exposition import Buckets
from ..llm import REASONS, LlmEngine

CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8"
VERSION = "0.33.0"


class VLLM:
    """The server of one engine."""

    def __init__(self, engine: LlmEngine) -> None:
        self.engine = engine
        self.ready = True
        """Whether `/health` says so. That of a hung engine does."""
        self._labels = {"model_name": engine.model.name, "engine": "0"}
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def render(self) -> str:
        """Return the payload of `/metrics`."""
        return generate_latest(self._registry).decode()

    def models(self) -> dict[str, object]:
        """Return the answer of `GET /v1/models`."""
        model = self.engine.model
        entry = {"id": model.name, "object": "model", "owned_by": "vllm", "max_model_len": model.longest}
        return {"object": "list", "data": [entry]}

    def describe(self) -> list[Metric]:
        """Return nothing: the client asks for the names when the collector is registered, and there is no clash."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families, as the Prometheus client for Python asks a collector to do."""
        engine, totals = self.engine, self.engine.totals
        yield self._gauge("num_requests_running", "Number of requests in model execution batches.", engine.running)
        yield self._gauge("num_requests_waiting", "Number of requests waiting to be processed.", engine.waiting)
        reasons = GaugeMetricFamily(
            "vllm:num_requests_waiting_by_reason",
            "Number of waiting requests by reason.",
            labels=(*self._labels, "reason"),
        )
        for reason, waiting in (("capacity", engine.waiting), ("deferred", 0)):
            reasons.add_metric((*self._labels.values(), reason), waiting)
        yield reasons
        yield self._gauge("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", engine.cache_used)
        for name, text, value in (
            (
                "prefix_cache_queries",
                "Prefix cache queries, in terms of number of queried tokens.",
                totals.prefix_queries,
            ),
            ("prefix_cache_hits", "Prefix cache hits, in terms of number of cached tokens.", totals.prefix_hits),
            ("num_preemptions", "Cumulative number of preemption from the engine.", totals.preemptions),
            ("prompt_tokens", "Number of prefill tokens processed.", totals.prompt),
            ("prompt_tokens_cached", "Number of cached prompt tokens.", totals.cached),
            ("generation_tokens", "Number of generation tokens processed.", totals.generated),
        ):
            yield self._counter(name, text, {"": value})
        finished = {reason: totals.finished[reason] for reason in REASONS}
        yield self._counter("request_success", "Count of successfully processed requests.", finished, "finished_reason")
        if engine.model.queue_limit is not None:
            refused = CounterMetricFamily(
                "vllm:admission_rejections", "Requests that were refused.", labels=("model_name", "reason")
            )
            refused.add_metric((engine.model.name, "queue_full"), totals.refused)
            yield refused
        times = engine.times
        for name, text, buckets in (
            ("iteration_tokens_total", "Histogram of number of tokens per engine_step.", times.iteration),
            ("request_prompt_tokens", "Number of prefill tokens processed.", times.prompt),
            ("request_generation_tokens", "Number of generation tokens processed.", times.output),
            ("time_to_first_token_seconds", "Histogram of time to first token in seconds.", times.first_token),
            ("inter_token_latency_seconds", "Histogram of inter-token latency in seconds.", times.inter_token),
            ("request_time_per_output_token_seconds", "Mean time per output token of a request.", times.per_token),
            ("e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.", times.latency),
            ("request_queue_time_seconds", "Time spent in WAITING phase for request.", times.queue),
            ("request_inference_time_seconds", "Time spent in RUNNING phase for request.", times.inference),
            ("request_prefill_time_seconds", "Time spent in PREFILL phase for request.", times.prefill),
            ("request_decode_time_seconds", "Time spent in DECODE phase for request.", times.decode),
        ):
            yield self._histogram(name, text, buckets)

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"vllm:{name}", text, labels=tuple(self._labels))
        family.add_metric(tuple(self._labels.values()), value)
        return family

    def _counter(self, name: str, text: str, values: dict[str, int], label: str = "") -> Metric:
        family = CounterMetricFamily(f"vllm:{name}", text, labels=(*self._labels, *filter(None, (label,))))
        for key, value in values.items():
            family.add_metric((*self._labels.values(), *filter(None, (key,))), value)
        return family

    def _histogram(self, name: str, text: str, buckets: Buckets) -> Metric:
        family = HistogramMetricFamily(f"vllm:{name}", text, labels=tuple(self._labels))
        family.add_metric(tuple(self._labels.values()), buckets.for_client(), buckets.sum)
        return family
