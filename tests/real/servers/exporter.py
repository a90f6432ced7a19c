"""A prometheus_client exporter whose values change only on request.

Writes {"port": n} once it serves, then reads one JSON request a line from standard input and answers each with one
JSON line, after the change is visible to the next scrape:

{"do": "set" | "inc" | "observe", "metric": name, "labels": {label: value}, "values": [number, ...]}
    applies the values one after the other and answers {}
{"do": "served"}
    answers {"content_types": [...]}: the Content-Type of each scrape answered since the last such request

Ends when standard input ends.
"""

import argparse
import json
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Summary, make_wsgi_app

LATENCY_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def metrics(optional: bool) -> dict[str, Any]:
    """The metrics by name; `optional` adds those that alert rules ask for and few exporters have."""
    declared: list[Any] = [
        Gauge("model_accuracy", "Share of right answers on the validation set", ["model_name", "model_version"]),
        Histogram(
            "prediction_latency_seconds", "Time of a prediction", ["model_name", "batch_size"], buckets=LATENCY_BUCKETS
        ),
        Gauge("feature_drift_score", "Drift of a feature", ["model_name", "feature_name"]),
        Summary("prediction_values", "Values predicted", ["model_name", "class_label"]),
        Gauge("model_cache_hit_ratio", "Share of answers from the cache", ["model_name"]),
    ]
    if optional:
        declared += [
            Counter("inference_requests", "Requests", ["model", "status"]),
            Histogram("inference_latency_seconds", "Time of a request", ["model"], buckets=LATENCY_BUCKETS),
            Gauge("prediction_mean", "Mean of the predicted values"),
        ]
    names = [family.name for metric in declared for family in metric.describe()]
    return dict(zip(names, declared, strict=True))


def answer(reply: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()


def change(metric: Any, do: str, labels: dict[str, str], values: list[float]) -> None:
    """Applies `values` to the series of `metric` that has `labels`, with an exemplar where the type takes one."""
    series = metric.labels(**labels) if labels else metric
    with_exemplar = isinstance(metric, (Counter, Histogram)) and do != "set"
    for number, value in enumerate(values):
        if with_exemplar:
            getattr(series, do)(value, exemplar={"trace_id": f"{number:032x}"})
        else:
            getattr(series, do)(value)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--optional", action="store_true")
    options = parser.parse_args()
    by_name = metrics(options.optional)
    served: list[str] = []
    answer_scrape = make_wsgi_app(REGISTRY)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def noting(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            served.extend(value for key, value in headers if key.lower() == "content-type")
            return start_response(status, headers, *rest)

        result: Iterable[bytes] = answer_scrape(environ, noting)
        return result

    server = make_server("127.0.0.1", options.port, app, handler_class=QuietHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    answer({"port": server.server_port})
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "served":
            answer({"content_types": served})
            served.clear()
            continue
        change(by_name[request["metric"]], request["do"], request["labels"], request["values"])
        answer({})


if __name__ == "__main__":
    main()
