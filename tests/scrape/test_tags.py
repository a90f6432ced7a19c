"""Tags: one value per key, that of the subject; which labels give none; what everything has."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.model_serving.catalog.labels import GENERIC_TAGS, dropped_everywhere
from datadog_checks.model_serving.catalog.loader import builtin_catalog
from datadog_checks.model_serving.catalog.model import Target
from datadog_checks.model_serving.scrape.tags import TagRules

from ..conftest import Endpoint, make_check, serving, submissions

CATALOG = builtin_catalog()
HEALTH = "model_serving.openmetrics.health"
TARGET = {"job": "prom", "instance": "prom:9090", "pod": "prom-0", "namespace": "monitoring", "container": "prometheus"}
"""Labels that Prometheus gives what it scrapes."""


def tags_of(system: str, labels: dict[str, str], rules: TagRules, metric: str = "request.count") -> list[str]:
    """Tags of one series, without the `serving_system`."""
    found = CATALOG.systems[system]
    said = rules.workload(found.labels, labels)
    tags = rules.tags(system, found.labels, Target(CATALOG.metrics[metric]), said)
    return [tag for tag in tags if tag != f"serving_system:{system}"]


STATIC = ("pod_name:exporter", "kube_namespace:gpu-operator", "env:prod", "gpus")
CASES: dict[str, tuple[str, dict[str, Any], dict[str, str], str]] = {
    # what is held: (system, rules, labels, tags)
    "a label before a static tag": (
        "dcgm",
        {"static": STATIC},
        {"pod": "job-1", "namespace": "team-a"},
        "endpoint_name:here env:prod gpus kube_namespace:team-a pod_name:job-1",
    ),
    "a static tag where the label says nothing": (
        "dcgm",
        {"static": STATIC},
        {"pod": "", "gpu": "0"},
        "endpoint_name:here env:prod gpu:0 gpus kube_namespace:gpu-operator pod_name:exporter",
    ),
    "a static tag in capitals": ("mlserver", {"static": ("Zone:a",)}, {"zone": "b"}, "endpoint_name:here zone:b"),
    "several values of a static tag": (
        "mlserver",
        {"static": ("team:a", "team:b")},
        {"model": "m"},
        "endpoint_name:here model_name:m team:a team:b",
    ),
    "a renamed label before a static tag": (
        "mlserver",
        {"static": ("env:prod",), "rename": {"stage": "env"}},
        {"stage": "dev"},
        "endpoint_name:here env:dev",
    ),
    "endpoint_name as a static tag": ("mlserver", {"static": ("endpoint_name:x",)}, {}, "endpoint_name:x"),
    "endpoint_name as a label": ("databricks", {"static": ("endpoint_name:x",)}, {"endpoint": "y"}, "endpoint_name:y"),
    "endpoint_name as an option": (
        "databricks",
        {"static": ("endpoint_name:x",), "endpoint_name": "z"},
        {"endpoint": "y"},
        "endpoint_name:z",
    ),
    "reserved names": (
        "mlserver",
        {},
        {"Host": "h", "ENV": "e", "Service": "s", "cluster_Name": "c"},
        "endpoint_name:here model_serving_cluster_name:c model_serving_env:e model_serving_host:h "
        "model_serving_service:s",
    ),
    "labels of the catalog in capitals": (
        "mlserver",
        {},
        {"Model": "m", "Version": "3", "ID": "i", "Grpc_Code": "OK"},
        "endpoint_name:here model_name:m model_version:3 status_class:2xx status_code:OK",
    ),
    "a gRPC code as Go spells it": (
        "mlserver",
        {},
        {"grpc_code": "DeadlineExceeded"},
        "endpoint_name:here status_class:5xx status_code:DeadlineExceeded",
    ),
    "an absent value of a label in capitals": (
        "mlserver",
        {},
        {"MODEL": "m", "VERSION": "None"},
        "endpoint_name:here model_name:m",
    ),
    "a label as the catalog spells it before one in capitals": (
        "mlserver",
        {},
        {"Model": "loud", "model": "m"},
        "endpoint_name:here model_name:m",
    ),
    "a label kept, in the spelling of the payload": (
        "mlserver",
        {"keep": frozenset(("PATH",))},
        {"PATH": "/a", "path": "/b"},
        "PATH:/a endpoint_name:here",
    ),
    "the workload's labels behind Prometheus": (
        "dcgm",
        {},
        {
            **TARGET,
            "exported_pod": "job-1",
            "exported_namespace": "team-a",
            "exported_container": "train",
            "exported_job": "gpus",
            "exported_instance": "node:9400",
        },
        "endpoint_name:gpus instance:node:9400 job:gpus kube_container_name:train kube_namespace:team-a pod_name:job-1",
    ),
    "the workload's labels where the target's were dropped": (
        "dcgm",
        {},
        {"exported_pod": "job-1"},
        "endpoint_name:here pod_name:job-1",
    ),
    "no label of the workload": (
        "dcgm",
        {},
        {"pod": "p", "exported_pod": "", "exported_": "x"},
        "endpoint_name:here exported_:x pod_name:p",
    ),
    "a Prometheus between": (
        "mlserver",
        {},
        {"job": "outer", "exported_exported_job": "inner", "exported_job": "work", "instance": "a:1"},
        "endpoint_name:work exported_exported_job:inner instance:a:1 job:work",
    ),
    "an exported label that the user renames": (
        "mlserver",
        {"rename": {"exported_zone": "their_zone"}},
        {"zone": "a", "exported_zone": "b"},
        "endpoint_name:here their_zone:b zone:a",
    ),
    "an exported label that the user excludes": (
        "mlserver",
        {"exclude": frozenset(("exported_zone",))},
        {"zone": "a", "exported_zone": "b"},
        "endpoint_name:here zone:a",
    ),
    "labels of processes": (
        "custom_ml",
        {},
        {"model": "m", "pid": "17", "worker_id": "2", "Process_ID": "3"},
        "endpoint_name:here model_name:m",
    ),
    "labels of processes that the user keeps": (
        "custom_ml",
        {"keep": frozenset(("pid",))},
        {"model": "m", "pid": "17", "worker_id": "2"},
        "endpoint_name:here model_name:m pid:17",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    """A table of what becomes of labels and static tags."""
    system, options, labels, expected = CASES[name]
    rules = TagRules(**{"default_endpoint_name": "here", **options})
    assert tags_of(system, labels, rules) == expected.split()


SPELLINGS = (
    *("pod", "model", "Model", "model_name", "version", "zone", "Zone", "host", "HOST", "endpoint_name", "job"),
    *("instance", "pid", "UUID", "uuid", "serving_system", "exported_pod", "exported_job"),
)
NAMES = st.sampled_from(SPELLINGS)
VALUES = st.sampled_from(["a", "b", "", "1"])
LABELS = st.dictionaries(NAMES, VALUES, max_size=6)
SYSTEMS = st.sampled_from(sorted(CATALOG.systems))


@given(
    SYSTEMS, LABELS, st.lists(st.builds("{}:{}".format, NAMES, VALUES) | st.just("plain")), st.sampled_from(["", "e"])
)
def test_a_line_and_the_tags_of_the_instance_never_give_two_values(
    system: str, labels: dict[str, str], static: list[str], endpoint_name: str
) -> None:
    """Whatever comes together: what a sample says of itself stays, and no static tag speaks against it."""
    bare = TagRules(endpoint_name=endpoint_name, default_endpoint_name="here")
    full = TagRules(static=tuple(static), endpoint_name=endpoint_name, default_endpoint_name="here")
    said, tags = tags_of(system, labels, bare), tags_of(system, labels, full)
    added = set(tags) - set(said)
    assert added <= set(static)
    assert ("plain" in tags) == ("plain" in static)
    keys = {tag.partition(":")[0].lower() for tag in said if tag != "endpoint_name:here"}
    assert keys.isdisjoint(tag.partition(":")[0].lower() for tag in added if tag.partition(":")[2])
    assert sum(tag.startswith("endpoint_name:") for tag in tags if tag not in static) <= 1


@given(SYSTEMS, st.dictionaries(st.sampled_from(sorted(GENERIC_TAGS)), VALUES, max_size=4), st.data())
def test_no_spelling_of_a_label_gives_a_reserved_tag(system: str, labels: dict[str, str], data: st.DataObject) -> None:
    """Datadog would take `Host` for `host`."""
    shouted = {
        "".join(data.draw(st.sampled_from([char, char.upper()])) for char in label): value
        for label, value in labels.items()
    }
    keys = {tag.partition(":")[0] for tag in tags_of(system, shouted, TagRules(default_endpoint_name="here"))}
    assert keys.isdisjoint(GENERIC_TAGS)
    assert not {key.lower() for key in keys} & GENERIC_TAGS


@given(
    st.sampled_from(["mlserver", "dcgm", "tensorflow_serving"]),
    st.dictionaries(st.sampled_from([*TARGET, "model", "zone", "gpu"]), st.sampled_from(["a", "b"]), max_size=6),
    st.dictionaries(st.sampled_from([*TARGET, "zone"]), st.sampled_from(["x", "y"]), max_size=6),
)
def test_what_prometheus_renames_is_the_workloads(system: str, own: dict[str, str], target: dict[str, str]) -> None:
    """A series behind Prometheus has the tags that it has without, and those of its target that it has no word for."""
    rules = TagRules(endpoint_name="here")
    scraped = {**target, **{f"exported_{label}" if label in target else label: value for label, value in own.items()}}
    assert tags_of(system, scraped, rules) == tags_of(system, {**target, **own}, rules)


BEHIND = """\
# TYPE process_start_time_seconds gauge
process_start_time_seconds{{job="j",instance="a:1",exported_job="fraud"}} {start}
process_start_time_seconds{{job="j",instance="b:1",exported_job="fraud"}} 1700000000
# TYPE rest_server_requests_in_progress gauge
rest_server_requests_in_progress{{job="j",instance="a:1",app_name="p",exported_app_name="mlserver"}} 3
# TYPE model_infer_request_success_total counter
model_infer_request_success_total{{job="j",instance="a:1",exported_job="fraud",model="p",exported_model="m"}} {calls}
model_infer_request_success_total{{job="j",instance="b:1",exported_job="fraud",model="p",exported_model="m"}} {calls}
"""


def test_behind_prometheus(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Tags and conditions see the workload's labels; which process a series is of says the target's."""
    check = make_check(
        openmetrics_endpoint=endpoint.url,
        serving_system="mlserver",
        tag_by_endpoint=False,
        readiness=False,
        keep_labels=["app_name"],
    )
    # The process at the one target has begun anew. That at the other has not, so what it lacks can't be known.
    for start, calls in ((1700000000, 100), (time.time(), 60)):
        aggregator.reset()
        endpoint.serve(BEHIND.format(start=start, calls=calls))
        assert check.run() == ""
    assert submissions(aggregator, ("serving_system",)) == [
        "count request.count 60 endpoint_name:fraud instance:a:1 job:fraud model_name:m",
        "gauge request.in_flight 3 app_name:mlserver endpoint_name:j instance:a:1 job:j",
    ]


PROCESSES = """\
# TYPE inference_requests counter
inference_requests_total{{model="m",pid="1"}} {first}
inference_requests_total{{model="m",pid="2"}} {second}
# TYPE inference_latency_seconds histogram
inference_latency_seconds_bucket{{model="m",worker_id="1",le="1"}} {first}
inference_latency_seconds_bucket{{model="m",worker_id="1",le="+Inf"}} {first}
inference_latency_seconds_sum{{model="m",worker_id="1"}} {first}
inference_latency_seconds_count{{model="m",worker_id="1"}} {first}
inference_latency_seconds_bucket{{model="m",worker_id="2",le="1"}} {second}
inference_latency_seconds_bucket{{model="m",worker_id="2",le="+Inf"}} {second}
inference_latency_seconds_sum{{model="m",worker_id="2"}} {second}
inference_latency_seconds_count{{model="m",worker_id="2"}} {second}
# TYPE model_accuracy gauge
model_accuracy{{model="m",pid="1"}} 0.5
model_accuracy{{model="m",pid="2"}} 0.75
"""


def test_processes_fall_together(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Counters and histograms of several processes add up, each by its own increase; gauges become one."""
    check = make_check(openmetrics_endpoint=endpoint.url, serving_system="custom_ml", tag_by_endpoint=False)
    # The second process began anew, the first went on.
    for first, second in ((100, 50), (103, 4)):
        aggregator.reset()
        endpoint.serve(PROCESSES.format(first=first, second=second))
        assert check.run() == ""
    totals: Counter[str] = Counter()
    for line in submissions(aggregator, ("serving_system", "endpoint_name")):
        kind, name, value, *tags = line.split()
        assert tags == ["model_name:m"], line
        if kind == "count":
            totals[name] += float(value)
    assert totals == {"request.count": 7, "request.latency.count": 7, "request.latency.sum": 7}
    assert sum(bucket.value for bucket in aggregator.histogram_bucket("model_serving.request.latency")) == 7
    how = CATALOG.metrics["model.accuracy"].combine
    assert [metric.value for metric in aggregator.metrics("model_serving.model.accuracy")] == [
        {"mean": 62.5, "max": 75, "last": 75, "sum": 125}[how]
    ]


def test_every_system_drops_the_labels_of_processes() -> None:
    """One list, in data, for the shipped systems and for those of users."""
    assert dropped_everywhere()
    for system in CATALOG.systems.values():
        assert dropped_everywhere() <= system.labels.drop, system.name


OWN = """\
# TYPE ours_size gauge
ours_size{zone="a"} 1
# TYPE ours_requests_total counter
ours_requests_total{zone="a"} 5
# TYPE ours_seconds histogram
ours_seconds_bucket{zone="a",le="1"} 3
ours_seconds_bucket{zone="a",le="+Inf"} 4
ours_seconds_sum{zone="a"} 5
ours_seconds_count{zone="a"} 4
"""
NAMED = ["ours_size", "ours_requests", "ours_seconds"]


def contexts(aggregator: Any) -> list[tuple[str, frozenset[str]]]:
    """Everything that was submitted, by name and tags, metrics, buckets and service checks."""
    found = [(name, frozenset(m.tags)) for name in aggregator.metric_names for m in aggregator.metrics(name)]
    for name, buckets in aggregator._histogram_buckets.items():
        found += sorted({(name, frozenset(bucket.tags)) for bucket in buckets}, key=str)
    return found + [(HEALTH, frozenset(check.tags)) for check in aggregator.service_checks(HEALTH)]


@pytest.mark.parametrize("form", ["two instances", "one instance", "one is down"])
def test_two_endpoints_never_overwrite_each_other(form: str, aggregator: Any, datadog_agent: Any) -> None:
    """With `tag_by_endpoint: false` everything still says which endpoint it is of, what the user names included."""
    with serving() as one, serving() as other:
        options = {"tag_by_endpoint": False, "serving_system": "mlserver", "readiness": False, "extra_metrics": NAMED}
        if form == "one instance":
            checks = [make_check(openmetrics_endpoints=[one.url, other.url], **options)]
        else:
            checks = [make_check(openmetrics_endpoint=each.url, **options) for each in (one, other)]
        one.serve(OWN + 'model_infer_request_success_total{model="m"} 5\n')
        other.serve(one.answers["/metrics"].body, status=500 if form == "one is down" else 200)  # type: ignore[union-attr]
        for check in checks:
            check.run()
            check.cancel()
        sent = contexts(aggregator)
        assert max(Counter(sent).values()) == 1
        names = {f"endpoint_name:127.0.0.1:{each.port}" for each in (one, other)}
        for name, tags in sent:
            assert len(tags & names) == 1, name
            assert "serving_system:mlserver" in tags, name
        assert {tag for name, tags in sent if name == HEALTH for tag in tags & names} == names


@pytest.mark.parametrize(
    ("options", "payload", "expected"),
    [
        ({"serving_system": "mlserver"}, "", "mlserver"),
        ({}, "", ""),
        ({}, 'model_infer_request_success_total{model="m"} 5\n', "mlserver"),
        ({"serving_system": ["mlserver", "custom_ml"]}, "", ""),
        ({"serving_system": ["mlserver", "custom_ml"], "tags": ["serving_system:mine"]}, "", "mine"),
        ({"serving_system": "mlserver", "tags": ["serving_system:mine"]}, "", "mlserver"),
    ],
    ids=["one", "none known", "recognised behind it", "several", "several, and a tag", "one, and a tag"],
)
def test_the_system_of_what_the_user_names(
    options: dict[str, Any], payload: str, expected: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any
) -> None:
    """It is the one that the payload is of, wherever in the payload that shows, and left out where it can't be told."""
    check = make_check(openmetrics_endpoint=endpoint.url, readiness=False, extra_metrics=NAMED, **options)
    endpoint.serve(OWN + payload)
    assert check.run() == ""
    for name, tags in contexts(aggregator):
        if name.startswith("model_serving.ours") or name == HEALTH:
            assert {tag for tag in tags if tag.startswith("serving_system:")} == (
                {f"serving_system:{expected}"} if expected else set()
            ), name


def test_a_metric_of_the_catalog_under_a_name_of_ones_own(
    endpoint: Endpoint, aggregator: Any, datadog_agent: Any
) -> None:
    """Of several systems it is of the one that has it, and what it says of itself counts before the static tags."""
    check = make_check(
        openmetrics_endpoint=endpoint.url,
        serving_system=["mlserver", "custom_ml"],
        tag_by_endpoint=False,
        readiness=False,
        tags=["zone:static", "Model:static", "plain", "stage:x"],
        extra_metrics=[{"rest_server_requests_in_progress": "busy"}],
    )
    name = "rest_server_requests_in_progress"
    endpoint.serve(f'# TYPE {name} gauge\n{name}{{zone="a",model="m",job="j",instance="i"}} 3\n')
    assert check.run() == ""
    (busy,) = aggregator.metrics("model_serving.busy")
    expected = "endpoint_name:j instance:i job:j model:m plain serving_system:mlserver stage:x zone:a"
    assert sorted(busy.tags) == expected.split()


def test_a_payload_that_breaks_off_submits_nothing_that_the_user_named(
    endpoint: Endpoint, aggregator: Any, datadog_agent: Any
) -> None:
    """As with the metrics of the catalog: what is missing behind it can't be told."""
    check = make_check(openmetrics_endpoint=endpoint.url, serving_system="mlserver", extra_metrics=NAMED)
    endpoint.serve(OWN, headers={"Content-Length": "9999"}, length=False)
    assert "nothing of it was used" in check.run()
    assert [name for name, _ in contexts(aggregator)] == ["model_serving.scrape.duration", HEALTH]


COSTS = (
    OWN
    + """\
# TYPE model_infer_request_success counter
model_infer_request_success_total{model="m"} NUMBER
# TYPE batch_request_queue histogram
batch_request_queue_bucket{model_name="m",le="1"} NUMBER
batch_request_queue_bucket{model_name="m",le="+Inf"} NUMBER
batch_request_queue_sum{model_name="m"} NUMBER
batch_request_queue_count{model_name="m"} NUMBER
"""
)
ALL = {
    *("request.count", "request.queue.depth", "request.queue.depth.sum", "request.queue.depth.count"),
    *("ours_size", "ours_requests.count", "ours_seconds", "ours_seconds.sum", "ours_seconds.count"),
}
DISTRIBUTIONS = {"request.queue.depth", "ours_seconds"}


def cost(check: Any, endpoint: Endpoint, aggregator: Any) -> list[str]:
    """The names that the second of two scrapes has sent, once for each context."""
    for number in (10, 30):
        aggregator.reset()
        endpoint.serve(COSTS.replace("NUMBER", str(number)))
        assert check.run() == ""
    names = [name.removeprefix("model_serving.") for name, _ in contexts(aggregator) if name != HEALTH]
    return [name for name in names if not name.startswith("scrape.")]


def costing(endpoint: Endpoint, **options: Any) -> Any:
    own = {"serving_system": "mlserver", "readiness": False, "extra_metrics": NAMED}
    return make_check(openmetrics_endpoint=endpoint.url, **{**own, **options})


@pytest.mark.parametrize(
    ("options", "gone"),
    [
        ({}, set()),
        ({"metric_patterns": {"exclude": ["depth$"]}}, {"request.queue.depth"}),
        ({"metric_patterns": {"exclude": ["seconds$", "size"]}}, {"ours_seconds", "ours_size"}),
        ({"metric_patterns": {"include": ["scrape"]}}, ALL),
        ({"extra_metrics": []}, {name for name in ALL if name.startswith("ours")}),
    ],
    ids=["everything", "not a distribution", "not what the user named", "nothing", "nothing is named"],
)
@pytest.mark.parametrize("patched", [False, True], ids=["straight", "through the methods of the check"])
def test_what_is_sent_and_what_it_costs(
    options: dict[str, Any], gone: set[str], patched: bool, endpoint: Endpoint, aggregator: Any, datadog_agent: Any
) -> None:
    """Patterns are for distributions as well, and contexts and custom metrics are those that were sent."""
    check = costing(endpoint, **options)
    if patched:
        check.count = check.count
    sent = cost(check, endpoint, aggregator)
    assert set(sent) == ALL - gone
    expected = {"contexts": len(sent), "custom_metrics": sum(5 if name in DISTRIBUTIONS else 1 for name in sent)}
    said = {name: aggregator.metrics(f"model_serving.scrape.{name}")[0].value for name in expected}
    assert said == expected


@pytest.mark.parametrize("patched", [False, True], ids=["straight", "through the methods of the check"])
@pytest.mark.parametrize("limit", range(1, 11))
def test_the_limit_on_contexts(
    limit: int,
    patched: bool,
    endpoint: Endpoint,
    aggregator: Any,
    datadog_agent: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A distribution is a context as everything else is, and what is cut off costs nothing."""
    check = costing(endpoint, max_returned_metrics=limit)
    if patched:
        check.count = check.count
    cost(check, endpoint, aggregator)
    # With the limit reached, what the check says of itself is cut off as well: it is read where it is made.
    said: list[Any] = []
    report = next(iter(check.scrapers.values())).report
    monkeypatch.setattr(report, "telemetry", lambda seconds, sent: said.append(sent))
    sent = cost(check, endpoint, aggregator)
    assert len(sent) == min(limit, 10)
    assert said[-1].contexts == len(sent)
    assert said[-1].custom_metrics == sum(5 if name in DISTRIBUTIONS else 1 for name in sent)
