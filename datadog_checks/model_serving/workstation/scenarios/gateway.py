"""An exporter that counts requests by status code, as gateways do."""

from __future__ import annotations

from ..demo.exposition import Buckets, histogram, sample
from ..demo.scenario import Model
from ..demo.traffic import InferenceRequest

CONTENT_TYPE = "text/plain; version=0.0.4"
CODES = {"ok": "200", "client": "400", "invalid": "422", "server": "500", "unavailable": "429"}
LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
MODEL = Model(name="ranker", version="v1", rate=1, service_ms=60, sigma=0.2, workers=4)


class Gateway:
    """The metrics page of a gateway before one model."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(("200", "500"), 0)
        self._latency = Buckets(LATENCY)

    def record(self, request: InferenceRequest) -> None:
        """Add one finished request."""
        code = CODES[request.outcome]
        self._counts[code] = self._counts.get(code, 0) + 1
        self._latency.observe(request.latency)

    def render(self) -> str:
        """Return the payload."""
        name, labels = "inference_requests_total", {"model": MODEL.name}
        lines = [f"# TYPE {name} counter"]
        lines += [sample(name, {**labels, "status": code}, str(count)) for code, count in self._counts.items()]
        lines.append("# TYPE prediction_latency_seconds histogram")
        lines += histogram("prediction_latency_seconds", labels, self._latency, repr(self._latency.sum))
        return "\n".join(lines) + "\n"
