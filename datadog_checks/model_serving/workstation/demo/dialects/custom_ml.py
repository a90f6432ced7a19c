"""A custom exporter built on the Prometheus client for Python, the way a data scientist would write one."""

from __future__ import annotations

import random
from collections import Counter as Tally
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary

from ..scenario import Scenario, Service, Timeline
from ..traffic import InferenceRequest, Load

LATENCY = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
BASE_DRIFT = 0.06


class CustomML:
    """The exporter of one scoring service, with a registry of its own. Latency and values are those of predictions
    that succeed."""

    def __init__(self, service: Service, scenario: Scenario, timeline: Timeline, seed: int) -> None:
        self.service = service
        self.registry = CollectorRegistry()
        self._scenario = scenario
        self._timeline = timeline
        self._random = random.Random(f"{seed}/{service.endpoint}")
        self._hits: Tally[str] = Tally()
        self._lookups: Tally[str] = Tally()
        registry = self.registry
        self._accuracy = Gauge(
            "model_accuracy", "Accuracy on the validation set", ["model_name", "model_version"], registry=registry
        )
        self._latency = Histogram(
            "prediction_latency_seconds",
            "Time spent on a prediction",
            ["model_name", "batch_size"],
            buckets=LATENCY,
            registry=registry,
        )
        self._requests = Counter(
            "inference_requests_total", "Predictions asked for", ["model", "status"], registry=registry
        )
        self._drift = Gauge(
            "feature_drift_score", "Drift of a feature (PSI)", ["model_name", "feature_name"], registry=registry
        )
        self._values = Summary(
            "prediction_values", "Predictions made", ["model_name", "class_label"], registry=registry
        )
        self._cache = Gauge("model_cache_hit_ratio", "Share answered from the cache", ["model_name"], registry=registry)
        for model in service.models:
            self._requests.labels(model.name, "ok")
            self._requests.labels(model.name, "error")
            self._latency.labels(model.name, str(model.rows[0]))
            for label in model.classes:
                self._values.labels(model.name, label)
        self.observe(0.0, {}, {})

    def record(self, request: InferenceRequest) -> None:
        """Add one finished request."""
        model, rng = request.model, self._random
        self._requests.labels(model.name, "ok" if request.outcome == "ok" else "error").inc()
        if request.outcome != "ok":
            return
        self._latency.labels(model.name, str(request.rows)).observe(request.latency)
        self._lookups[model.name] += 1
        self._hits[model.name] += rng.random() < model.cache
        for label, (mean, spread) in model.classes.items():
            self._values.labels(model.name, label).observe(rng.gauss(mean, spread))

    def observe(self, now: float, loads: Mapping[str, Load], ready: Mapping[str, bool]) -> None:
        """Take the state at `now`: evaluate the models and compare the features with those of training."""
        del loads, ready
        percent = self._timeline.percent(now)
        for model in self.service.models:
            if model.accuracy is not None:
                change = sum(self._scenario.effects("accuracy", model.name, percent))
                self._accuracy.labels(model.name, model.version).set(round(model.accuracy + change, 4))
            drift = sum(self._scenario.effects("drift", model.name, percent))
            for place, feature in enumerate(model.features):
                # The first feature is the one that drifts.
                score = BASE_DRIFT + self._random.uniform(-0.02, 0.02) + (0 if place else drift)
                self._drift.labels(model.name, feature).set(round(score, 4))
            if lookups := self._lookups[model.name]:
                self._cache.labels(model.name).set(round(self._hits[model.name] / lookups, 4))
