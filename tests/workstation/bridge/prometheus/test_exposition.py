"""The exposition of what runs have given."""

from __future__ import annotations

import gzip
import http.client
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from datadog_checks.model_serving.catalog.loader import builtin_catalog
from datadog_checks.model_serving.errors import OptionError
from datadog_checks.model_serving.workstation.bridge.prometheus import exposition as module
from datadog_checks.model_serving.workstation.bridge.prometheus.entries import ExposeSettings
from datadog_checks.model_serving.workstation.bridge.prometheus.exposition import MetricsExposition
from datadog_checks.model_serving.workstation.bridge.prometheus.names import family_name, labels_of
from datadog_checks.model_serving.workstation.bridge.prometheus.server import MetricsServer
from datadog_checks.model_serving.workstation.standin.aggregation import Commit, Context, Distribution, SeriesPoint
from datadog_checks.model_serving.workstation.standin.recorder import ServiceCheck, ServiceStatus
from datadog_checks.model_serving.workstation.standin.sketch import Sketch

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
CATALOG = builtin_catalog()


class Exposed:
    """An exposition, and the clock that it reads."""

    def __init__(self, **options: Any) -> None:
        self.now = 0.0
        self.all = MetricsExposition(CATALOG, lambda: self.now, **options)

    def run(self, *points: tuple[str, str, float], source: str = "a", tags: tuple[str, ...] = ("m:x",)) -> None:
        self.all.record(
            source,
            Commit(
                [SeriesPoint(Context(f"model_serving.{name}", tags, ""), kind, value) for name, kind, value in points]
            ),
        )

    def samples(self, later: float = 1000.0, accept: str = "") -> dict[str, float]:
        """What is exposed then, without labels but `le`, and without what is said of the exposition."""
        self.now += later
        text, _ = self.all.render(accept)
        parse = parse_openmetrics if accept else parse_text
        found = {}
        for family in parse(text.decode()):
            for sample in family.samples:
                if "_bridge_exposition_" not in sample.name:
                    le = sample.labels.get("le")
                    found[sample.name.removeprefix("model_serving_") + (f" {le}" if le else "")] = sample.value
        return found


def series_of(points: Iterable[tuple[str, str, float]], tags: tuple[str, ...], host: str = "") -> list[SeriesPoint]:
    return [SeriesPoint(Context(f"model_serving.{name}", tags, host), kind, value) for name, kind, value in points]


@pytest.fixture
def exposed() -> Exposed:
    return Exposed()


def sketch_of(*values: float) -> Sketch:
    sketch = Sketch()
    for value in values:
        sketch.insert_bucket(value, value, 1)
    return sketch


def test_counts_add_up_over_runs_and_gauges_are_of_the_last(exposed: Exposed) -> None:
    exposed.run(("request.count", "count", 4.0), ("request.in_flight", "gauge", 2.0))
    exposed.run(("request.count", "count", 3.0), ("request.in_flight", "gauge", 5.0))
    assert exposed.samples() == {"request_count_total": 7.0, "request_in_flight": 5.0}


def test_what_a_run_does_not_give_any_more_vanishes_but_counters_go_on(exposed: Exposed) -> None:
    exposed.run(("request.count", "count", 4.0), ("request.in_flight", "gauge", 2.0))
    exposed.run(("cpu.utilization", "gauge", 9.0), source="b")
    exposed.run()
    assert exposed.samples() == {"request_count_total": 4.0, "cpu_utilization_percent": 9.0}


def test_instances_that_count_the_same_context_add_up(exposed: Exposed) -> None:
    exposed.run(("request.count", "count", 4.0), source="a")
    exposed.run(("request.count", "count", 3.0), source="b")
    assert exposed.samples() == {"request_count_total": 7.0}


def test_a_new_counter_is_seen_at_zero_by_who_scrapes_once_a_minute(exposed: Exposed) -> None:
    """`increase()` counts what has come since a first sample: an XID must not be that."""
    exposed.now = 5000.0
    exposed.run(("gpu.xid.count", "count", 1.0))
    assert exposed.samples(later=0.0) == {"gpu_xid_count_total": 0.0}
    assert exposed.samples(later=60.0) == {"gpu_xid_count_total": 0.0}
    assert exposed.samples(later=60.0) == {"gpu_xid_count_total": 1.0}
    exposed.run(("gpu.xid.count", "count", 1.0))
    assert exposed.samples(later=0.0) == {"gpu_xid_count_total": 2.0}


def test_a_distribution_is_a_histogram_whose_totals_are_exact(exposed: Exposed) -> None:
    context = Context("model_serving.request.latency", ("m:x",), "")
    exposed.all.record(
        "a",
        Commit(
            [
                SeriesPoint(context._replace(name=f"{context.name}.count"), "count", 3.0),
                SeriesPoint(context._replace(name=f"{context.name}.sum"), "count", 900.123),
            ],
            [Distribution(context, sketch_of(0.05, 0.3, 899.0))],
        ),
    )
    found = exposed.samples()
    assert found["request_latency_seconds_sum"] == 900.123
    assert [
        found[f"request_latency_seconds_bucket {le}"] for le in ("0.025", "0.05", "0.25", "0.5", "500.0", "+Inf")
    ] == [*(0, 1, 1, 2, 2, 3)]
    assert found["request_latency_seconds_count"] == 3


def test_totals_without_buckets_are_a_histogram_of_one(exposed: Exposed) -> None:
    """As of a system that accumulates time and counts, and knows no distribution."""
    exposed.run(("request.latency.count", "count", 3.0), ("request.latency.sum", "count", 1.5))
    found = exposed.samples(accept=OPENMETRICS)
    assert (found["request_latency_seconds_count"], found["request_latency_seconds_bucket +Inf"]) == (3, 3)
    assert found["request_latency_seconds_sum"] == 1.5


def test_buckets_without_totals_make_them(exposed: Exposed) -> None:
    exposed.all.record("a", Commit([], [Distribution(Context("model_serving.own", (), ""), sketch_of(1.0, 3.0))]))
    found = exposed.samples(accept=OPENMETRICS)
    assert (found["own_count"], found["own_bucket 1.0"], found["own_bucket +Inf"]) == (2, 1, 2)


def test_values_below_zero_have_buckets_and_no_sum_that_falls(exposed: Exposed) -> None:
    context = Context("model_serving.model.prediction", (), "")
    exposed.all.record("a", Commit([], [Distribution(context, sketch_of(-2.5, -0.5, 3.0))]))
    found = exposed.samples(accept=OPENMETRICS)
    assert [found[f"model_prediction_bucket {le}"] for le in ("-1.0", "-0.5", "0.0", "10.0", "+Inf")] == [1, 2, 2, 3, 3]
    assert not [name for name in found if "_bucket" not in name]


def test_services_are_gauges_of_their_state(exposed: Exposed) -> None:
    check = ServiceCheck("a", "model_serving.endpoint.ready", ServiceStatus.CRITICAL, ("m:x",), "", "why")
    exposed.all.record("a", Commit(), [check])
    assert exposed.samples() == {"endpoint_ready_status": 2.0}
    exposed.run()
    assert exposed.samples() == {}


def test_more_contexts_than_may_be_are_left_out_and_counted() -> None:
    exposed = Exposed(most=2)
    for tag in ("a:1", "a:2", "a:3"):
        exposed.run(("request.count", "count", 1.0), tags=(tag,))
    text, _ = exposed.all.render()
    assert "model_serving_bridge_exposition_left_out_total 1.0" in text.decode()
    exposed.now += module.FORGOTTEN + 1
    exposed.run(("request.count", "count", 1.0), tags=("a:3",))
    assert '{a="3"}' in exposed.all.render()[0].decode()


NAMES = st.sampled_from(
    ["request.count", "request.latency.count", "request.latency.sum", "in_flight", "in_flight_total", "é.x", "9"]
)
POINTS = st.tuples(NAMES, st.sampled_from(["count", "gauge", "rate"]), st.integers(0, 2**40).map(float))
TAGS = st.lists(
    st.sampled_from(["le:1", "a:1", "a:2", 'b-c:x\n"\\', "b_c:y", "plain", ":", "__x:1", "ü:é"]), max_size=4
)


@given(st.lists(st.tuples(st.lists(POINTS, max_size=4), TAGS, st.lists(st.floats(1e-6, 1e6), max_size=3)), max_size=5))
def test_whatever_runs_give_is_an_exposition(runs: list[tuple[list[Any], list[str], list[float]]]) -> None:
    """In both formats, by the strict parser of OpenMetrics, without a series twice, with buckets that only rise."""
    exposed = Exposed()
    for points, tags, values in runs:
        context = Context("model_serving.request.latency", tuple(tags), "")
        exposed.all.record(
            "a",
            Commit(
                [
                    SeriesPoint(Context(f"model_serving.{name}", tuple(tags), "h"), kind, value)
                    for name, kind, value in points
                ],
                [Distribution(context, sketch_of(*values))] if values else [],
            ),
        )
    exposed.now += 1000
    for accept, parse in (("", parse_text), (OPENMETRICS, parse_openmetrics)):
        text, content_type = exposed.all.render(accept)
        assert ("openmetrics" in content_type) == bool(accept)
        seen = set()
        for family in parse(text.decode()):
            for sample in family.samples:
                key = sample.name, frozenset(sample.labels.items())
                assert key not in seen
                seen.add(key)


def test_moments_of_a_gauge_are_left_out(exposed: Exposed) -> None:
    """Their sum may fall, and a counter that falls was reset to whoever reads it."""
    name = "model.prediction.mean"
    exposed.run((name, "gauge", -2.0), (f"{name}.sum", "count", -2.0), (f"{name}.count", "count", 1.0))
    assert exposed.samples() == {"model_prediction_mean": -2.0}


def test_every_metric_of_the_catalog_has_a_name_of_its_own() -> None:
    """One that says its unit, with the characters that Prometheus has, and no suffix that only a type may have."""
    names = {}
    for metric in CATALOG.metrics.values():
        unit = f"{metric.unit}/{metric.per_unit}" if metric.per_unit else metric.unit
        name = family_name(metric.full_name, unit) + {"count": "_total"}.get(metric.type, "")
        assert name not in names, f"{metric.name} and {names[name]} are both {name}"
        assert not name.endswith(("_sum", "_bucket", "_created", "_info")), name
        assert metric.type == "count" or not name.endswith("_total"), name
        # A gauge may be a number of things, as long as it is not what a distribution of that name has beside its sum.
        assert metric.type in ("count", "gauge") or not name.endswith("_count"), name
        names[name] = metric.name
    assert not [name for name in names if name.removesuffix("_count") != name and name.removesuffix("_count") in names]


def test_tags_become_labels() -> None:
    assert labels_of(("b:2", "a:x:y", "b:1", "flag"), "node") == (
        ("a", "x:y"),
        ("b", "1,2"),
        ("flag", "true"),
        ("host", "node"),
    )


@pytest.fixture
def server(exposed: Exposed) -> Iterator[MetricsServer]:
    for number in range(100):
        exposed.run(("request.in_flight", "gauge", 1.0), source=str(number), tags=(f"m:{number}",))
    server = MetricsServer(exposed.all, ExposeSettings("127.0.0.1", 0, "hidden-word"))
    server.start()
    yield server
    server.close()


@pytest.mark.parametrize(
    ("path", "headers", "status", "encoding"),
    [
        ("/metrics", {"Authorization": "Bearer hidden-word"}, 200, None),
        ("/metrics", {"Authorization": "Bearer hidden-word", "Accept-Encoding": "gzip"}, 200, "gzip"),
        ("/", {"Authorization": "Bearer hidden-word"}, 404, None),
        ("/metrics", {}, 401, None),
        ("/metrics", {"Authorization": "Bearer hidden"}, 401, None),
    ],
)
def test_it_is_served(
    server: MetricsServer, path: str, headers: dict[str, str], status: int, encoding: str | None
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", path, headers={**headers, "Accept": OPENMETRICS})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert (answer.status, answer.headers["Content-Encoding"]) == (status, encoding)
    if status == 200:
        text = (gzip.decompress(body) if encoding else body).decode()
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        assert text.count("model_serving_request_in_flight{") == 100


def test_a_port_that_is_taken_is_told(server: MetricsServer, exposed: Exposed) -> None:
    other = MetricsServer(exposed.all, ExposeSettings("127.0.0.1", server.port))
    with pytest.raises(OptionError, match=r"`expose.listen`: 127.0.0.1:\d+ can't be listened on"):
        other.start()
