"""LiteLLM's proxy. It writes its metrics with the Prometheus client for Python, with labels that say who asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from ..exposition import Buckets
from ..llm_gateway import Deployment, LlmFailure, LlmGateway

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
NONE = "None"
Row = tuple[Mapping[str, str], float]

KEY = {"api_key_alias": "chat-app", "hashed_api_key": "88dc28d0f030c55ed4ab77ed8faf098196cb1c05"}
TEAM = {"team": "7f3c", "team_alias": "support"}
WHO = {**KEY, **TEAM, "end_user": "someone", "org_alias": NONE, "org_id": NONE, "user": "default_user_id"}
CALLER = {"client_ip": "10.0.3.7", "user_agent": "chat-app/2.1"}
EMAIL = {"user_email": "someone@example.com"}
ROUTE = {"route": "/v1/chat/completions"}


class LiteLLM:
    """The metrics page of a gateway."""

    def __init__(self, gateway: LlmGateway) -> None:
        self.gateway = gateway
        self._model = gateway.own.model
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def render(self) -> str:
        """Return the payload of `/metrics/`."""
        return generate_latest(self._registry).decode()

    def describe(self) -> list[Metric]:
        """Return nothing: the client asks for the names when the collector is registered, and there is no clash."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families, as the Prometheus client for Python asks a collector to do."""
        yield from self._proxy()
        yield from self._answers()
        yield from self._attempts()

    def _proxy(self) -> Iterator[Metric]:
        gateway = self.gateway
        caller = {**WHO, **CALLER, **EMAIL, **ROUTE, "requested_model": self._model}
        yield _counter(
            "litellm_proxy_failed_requests_metric",
            "Total number of failed responses from proxy - the client did not get a success response",
            [({**caller, **_of(at), **_why(failure)}, count) for (at, failure), count in gateway.failed.items()],
        )
        yield _counter(
            "litellm_proxy_total_requests_metric",
            "Total number of requests made to the proxy server - track number of client side requests",
            [({**caller, **_of(at), "status_code": status}, n) for (at, status), n in gateway.answered.items()],
        )
        yield _gauge("litellm_in_flight_requests", "HTTP requests being answered", [({}, gateway.in_flight)])

    def _answers(self) -> Iterator[Metric]:
        answered = [(at, totals) for at, totals in self.gateway.deployments.items() if totals.succeeded]
        timed = {**WHO, "requested_model": self._model, "service_tier": NONE}
        for name, text, part in (
            ("litellm_request_total_latency_metric", "Total latency (seconds) for a request to LiteLLM", "latency"),
            ("litellm_llm_api_latency_metric", "Total latency (seconds) for a models LLM API call", "upstream"),
            (
                "litellm_llm_api_time_to_first_token_metric",
                "Time to first token for a models LLM API call",
                "first_token",
            ),
        ):
            rows = [({**timed, **_of(at), **self._named(at)}, getattr(totals, part)) for at, totals in answered]
            yield _histogram(name, text, rows)
        counted = {**WHO, **EMAIL, "requested_model": self._model}
        for name, text, part in (
            ("litellm_input_tokens_metric", "Total number of input tokens from LLM requests", "prompt"),
            ("litellm_output_tokens_metric", "Total number of output tokens from LLM requests", "output"),
            ("litellm_spend_metric", "Total spend on LLM requests", "dollars"),
        ):
            more = {**CALLER, "service_tier": NONE} if part == "dollars" else {}
            yield _counter(
                name,
                text,
                [({**counted, **more, **_of(at), "model": at.model}, getattr(totals, part)) for at, totals in answered],
            )

    def _attempts(self) -> Iterator[Metric]:
        gateway = self.gateway
        tried = [(at, totals) for at, totals in gateway.deployments.items() if totals.tried]
        caller = {**KEY, **TEAM, **CALLER, "requested_model": self._model}
        yield _gauge(
            "litellm_deployment_state",
            "State of the deployment: 0 = healthy, 1 = partial outage, 2 = complete outage",
            [({**_of(at), "api_base": at.base, "litellm_model_name": at.model}, totals.down) for at, totals in tried],
        )
        yield _counter(
            "litellm_deployment_total_requests",
            "Total number of LLM API calls via litellm - success + failure",
            [({**caller, **self._at(at)}, totals.tried) for at, totals in tried],
        )
        yield _counter(
            "litellm_deployment_success_responses",
            "Total number of successful LLM API calls via litellm",
            [({**caller, **self._at(at)}, totals.succeeded) for at, totals in tried if totals.succeeded],
        )
        yield _counter(
            "litellm_deployment_failure_responses",
            "Total number of failed LLM API calls for a deployment",
            [
                ({**caller, **self._at(at), **_why(failure)}, count)
                for at, totals in tried
                for failure, count in totals.failures.items()
            ],
        )
        yield _histogram(
            "litellm_deployment_latency_per_output_token",
            "Latency per output token",
            [
                ({**KEY, **TEAM, "org_alias": NONE, "org_id": NONE, **self._at(at)}, totals.per_token)
                for at, totals in tried
                if totals.succeeded
            ],
        )
        if gateway.fallback is None:
            return
        for result in ("successful", "failed"):
            yield _counter(
                f"litellm_deployment_{result}_fallbacks",
                f"Total number of {result} fallback requests from primary model -> fallback model",
                [
                    (
                        {
                            **KEY,
                            **TEAM,
                            **_why(failure),
                            "fallback_model": gateway.fallback.model,
                            "model_id": NONE,
                            "requested_model": self._model,
                        },
                        count,
                    )
                    for (kind, failure), count in gateway.fallbacks.items()
                    if kind == result
                ],
            )
        remaining = gateway.remaining_tokens
        if remaining is not None and gateway.deployments[gateway.fallback].succeeded:
            yield _gauge(
                "litellm_remaining_tokens_metric",
                "remaining tokens for model, returned from LLM API Provider",
                [({**KEY, **self._at(gateway.fallback)}, remaining)],
            )

    def _named(self, at: Deployment) -> dict[str, str]:
        return {"model": at.model, "model_group": self._model if at == self.gateway.own else at.model}

    def _at(self, at: Deployment) -> dict[str, str]:
        named = self._named(at)
        place = {"api_base": at.base, "litellm_model_name": named["model"], "model_group": named["model_group"]}
        return {**_of(at), **place}


def _of(at: Deployment) -> dict[str, str]:
    return {"api_provider": at.provider, "model_id": at.id}


def _why(failure: LlmFailure) -> dict[str, str]:
    return {"exception_class": failure.exception, "exception_status": failure.status}


def _counter(name: str, text: str, rows: Iterable[Row]) -> Metric:
    return _filled(CounterMetricFamily, name, text, rows)


def _gauge(name: str, text: str, rows: Iterable[Row]) -> Metric:
    return _filled(GaugeMetricFamily, name, text, rows)


def _filled(kind: Any, name: str, text: str, rows: Iterable[Row]) -> Metric:
    rows = [({key: labels[key] for key in sorted(labels)}, value) for labels, value in rows]
    family: Metric = kind(name, text, labels=tuple(rows[0][0]) if rows else ())
    for labels, value in rows:
        family.add_metric(tuple(labels.values()), value)  # type: ignore[attr-defined]
    return family


def _histogram(name: str, text: str, rows: Iterable[tuple[Mapping[str, str], Buckets]]) -> Metric:
    rows = [({key: labels[key] for key in sorted(labels)}, buckets) for labels, buckets in rows]
    family = HistogramMetricFamily(name, text, labels=tuple(rows[0][0]) if rows else ())
    for labels, buckets in rows:
        family.add_metric(tuple(labels.values()), buckets.for_client(), buckets.sum)
    return family
