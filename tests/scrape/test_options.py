"""Every stock option of the V2 check means the same, for metrics of the catalog and for those that the user names."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from datadog_checks.model_serving import ModelServingCheck

from ..conftest import KINDS, Endpoint, gathered, make_check

HEALTH = "model_serving.openmetrics.health"


def body(number: int, prefix: str = "") -> str:
    """Metrics of MLServer and of one's own. Every total is `number`."""
    return f"""\
# TYPE {prefix}ours_build gauge
{prefix}ours_build{{zone="a",site="x",release="2.3.4"}} 1
# TYPE {prefix}model_infer_request_success_total counter
{prefix}model_infer_request_success_total{{model="m",version="1"}} {number}
# TYPE {prefix}rest_server_requests_in_progress gauge
{prefix}rest_server_requests_in_progress{{method="POST",path="/infer",zone="a"}} 3
# TYPE {prefix}batch_request_queue histogram
{prefix}batch_request_queue_bucket{{model_name="m",le="1.0"}} {number // 2}
{prefix}batch_request_queue_bucket{{model_name="m",le="+Inf"}} {number}
{prefix}batch_request_queue_count{{model_name="m"}} {number}
{prefix}batch_request_queue_sum{{model_name="m"}} {number * 3}
# TYPE {prefix}ours_requests_total counter
{prefix}ours_requests_total{{model="m",zone="a"}} {number}
# TYPE {prefix}ours_size gauge
{prefix}ours_size{{model="m",zone="a"}} 7
{prefix}ours_size{{model="k",zone="b"}} 8
# TYPE {prefix}ours_seconds histogram
{prefix}ours_seconds_bucket{{zone="a",le="0.5"}} {number // 2}
{prefix}ours_seconds_bucket{{zone="a",le="+Inf"}} {number}
{prefix}ours_seconds_sum{{zone="a"}} {number * 2}
{prefix}ours_seconds_count{{zone="a"}} {number}
# TYPE {prefix}ours_times summary
{prefix}ours_times{{zone="a",quantile="0.5"}} 2
{prefix}ours_times_sum{{zone="a"}} {number * 5}
{prefix}ours_times_count{{zone="a"}} {number}
"""


OURS = [{"ours_requests": "ours.requests"}, "ours_size", {"ours_seconds": {"name": "ours.seconds"}}, "ours_times"]

COUNT = "count request.count 20 model_name:m model_version:1"
IN_FLIGHT = "gauge request.in_flight 3 method:POST zone:a"
DEPTH = "distribution request.queue.depth 0..1:10,1..inf:10 model_name:m queue:batching"
DEPTH_TOTALS = [
    "count request.queue.depth.count 20 model_name:m queue:batching",
    "count request.queue.depth.sum 60 model_name:m queue:batching",
]
REQUESTS = "monotonic_count ours.requests.count 30 model:m zone:a"
SIZE_A = "gauge ours_size 7 model:m zone:a"
SIZE_B = "gauge ours_size 8 model:k zone:b"
SECONDS = [
    "monotonic_distribution ours.seconds 0..0.5:15 lower_bound:0 upper_bound:0.5 zone:a",
    "monotonic_distribution ours.seconds 0.5..inf:15 lower_bound:0.5 upper_bound:inf zone:a",
]
SECONDS_TOTALS = ["monotonic_count ours.seconds.count 30 zone:a", "monotonic_count ours.seconds.sum 60 zone:a"]
TIMES = [
    "gauge ours_times.quantile 2 quantile:0.5 zone:a",
    "monotonic_count ours_times.count 30 zone:a",
    "monotonic_count ours_times.sum 150 zone:a",
]
DEFAULT = [COUNT, IN_FLIGHT, DEPTH, *DEPTH_TOTALS, REQUESTS, SIZE_A, SIZE_B, *SECONDS, *SECONDS_TOTALS, *TIMES]
BUCKETS_GONE = [DEPTH, *SECONDS]


def replaced(old: str, new: str, lines: list[str]) -> list[str]:
    return [line.replace(old, new) for line in lines]


def having(text: str, lines: list[str]) -> list[str]:
    return [line for line in lines if text in line]


CASES: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    # option: (instance, what is gone compared with the default, what has come)
    "defaults": ({}, [], []),
    "metrics": ({"metrics": OURS, "extra_metrics": []}, [], []),
    "metrics and extra_metrics": ({"metrics": OURS[:2], "extra_metrics": OURS[2:]}, [], []),
    "a pattern": (
        {"extra_metrics": ["^ours_s.*"]},
        [REQUESTS, *SECONDS, *SECONDS_TOTALS, *TIMES],
        replaced("ours.seconds", "ours_seconds", [*SECONDS, *SECONDS_TOTALS]),
    ),
    "a pattern that isn't remembered": (
        {"extra_metrics": ["^ours_size$"], "cache_metric_wildcards": False},
        [REQUESTS, *SECONDS, *SECONDS_TOTALS, *TIMES],
        [],
    ),
    "a type": (
        {
            "extra_metrics": [
                {"ours_requests": {"name": "now", "type": "gauge"}},
                {"ours_size": {"type": "counter_gauge"}},
            ]
        },
        [REQUESTS, SIZE_A, SIZE_B, *SECONDS, *SECONDS_TOTALS, *TIMES],
        [
            "gauge now 30 model:m zone:a",
            "gauge ours_size.total 7 model:m zone:a",
            "gauge ours_size.total 8 model:k zone:b",
            "monotonic_count ours_size.count 7 model:m zone:a",
            "monotonic_count ours_size.count 8 model:k zone:b",
        ],
    ),
    "rates": (
        {
            "extra_metrics": [
                {"ours_requests": {"name": "busy", "type": "temporal_percent", "scale": "second"}},
                {"ours_size": {"name": "speed", "type": "rate"}},
                {"ours_times": {"type": "native_dynamic"}},
            ]
        },
        [REQUESTS, SIZE_A, SIZE_B, *SECONDS, *SECONDS_TOTALS],
        ["rate busy 3000 model:m zone:a", "rate speed 7 model:m zone:a", "rate speed 8 model:k zone:b"],
    ),
    "a metric of the catalog under a name of one's own": (
        {
            "extra_metrics": [
                *OURS,
                {"model_infer_request_success": "calls"},
                {"rest_server_requests_in_progress": "busy"},
            ],
            "exclude_labels": ["version", "path"],
        },
        [COUNT],
        [
            "count request.count 20 model_name:m",
            "monotonic_count calls.count 30 model:m",
            "gauge busy 3 method:POST zone:a",
        ],
    ),
    "namespace": (
        {"namespace": "mine"},
        having("ours", DEFAULT),
        replaced(" ours", " mine.ours", having("ours", DEFAULT)),
    ),
    "exclude_metrics, exact": (
        {"exclude_metrics": ["model_infer_request_success", "batch_request_queue", "ours_size"]},
        [COUNT, DEPTH, *DEPTH_TOTALS, SIZE_A, SIZE_B],
        [],
    ),
    "exclude_metrics, patterns": (
        {"exclude_metrics": ["^batch_.+", "_in_progress$", "ours_(size|times)"]},
        [IN_FLIGHT, DEPTH, *DEPTH_TOTALS, SIZE_A, SIZE_B, *TIMES],
        [],
    ),
    "exclude_metrics, all but": (
        {"exclude_metrics": ["^(?!ours_size|batch_).*$"]},
        [line for line in DEFAULT if line not in (SIZE_A, SIZE_B, DEPTH, *DEPTH_TOTALS)],
        [],
    ),
    "exclude_metrics_by_labels, values": (
        {"exclude_metrics_by_labels": {"zone": ["b", "c"], "model": ["^m$"]}},
        [COUNT, REQUESTS, SIZE_A, SIZE_B],
        [],
    ),
    "exclude_metrics_by_labels, any value": (
        {"exclude_metrics_by_labels": {"zone": True}},
        having("zone", DEFAULT),
        [],
    ),
    "exclude_labels": (
        {"exclude_labels": ["model", "zone", "model_name"]},
        having(" model:", DEFAULT)
        + having("zone:", [line for line in DEFAULT if " model:" not in line])
        + [COUNT, DEPTH, *DEPTH_TOTALS],
        [
            "count request.count 20 model_version:1",
            "gauge request.in_flight 3 method:POST",
            *replaced(" model_name:m", "", [DEPTH, *DEPTH_TOTALS]),
            "monotonic_count ours.requests.count 30",
            "gauge ours_size 7",
            "gauge ours_size 8",
            *replaced(" zone:a", "", [*SECONDS, *SECONDS_TOTALS, *TIMES]),
        ],
    ),
    "include_labels": (
        {"include_labels": ["model", "le", "upper_bound"]},
        [COUNT, IN_FLIGHT, DEPTH, *DEPTH_TOTALS, *having("zone:", having("ours", DEFAULT))],
        [
            "count request.count 20 model_name:m",
            "gauge request.in_flight 3",
            *replaced(" model_name:m", "", [DEPTH, *DEPTH_TOTALS]),
            *replaced(" quantile:0.5", "", replaced(" zone:a", "", having("zone:a", having("ours", DEFAULT)))),
            "gauge ours_size 8 model:k",
        ],
    ),
    "rename_labels": (
        {"rename_labels": {"model": "who", "zone": "place", "version": "release"}},
        [COUNT, IN_FLIGHT, *having("zone:", having("ours", DEFAULT))],
        [
            "count request.count 20 release:1 who:m",
            "gauge request.in_flight 3 method:POST place:a",
            *replaced("model:", "who:", replaced("zone:", "place:", having("zone:", having("ours", DEFAULT)))),
        ],
    ),
    "share_labels": (
        {"share_labels": {"ours_build": {"labels": ["site"]}}},
        DEFAULT,
        [f"{line} site:x" for line in DEFAULT],
    ),
    "share_labels, where others match": (
        {"share_labels": {"ours_build": {"labels": ["site", "release"], "match": ["zone"], "values": [1]}}},
        having("zone:a", DEFAULT),
        [f"{line} release:2.3.4 site:x" for line in having("zone:a", DEFAULT)],
    ),
    "share_labels, not cached": (
        {"share_labels": {"ours_build": {"labels": ["site"], "match": ["zone"]}}, "cache_shared_labels": False},
        having("zone:a", DEFAULT),
        [f"{line} site:x" for line in having("zone:a", DEFAULT)],
    ),
    "tags": ({"tags": ["team:x", "stage:y"]}, DEFAULT, [f"{line} stage:y team:x" for line in DEFAULT]),
    "ignore_tags": (
        {"tags": ["team:x", "stage:y"], "ignore_tags": ["^team:.*", "model"]},
        DEFAULT,
        [f"{line} stage:y" for line in DEFAULT],
    ),
    "raw_line_filters": (
        {"raw_line_filters": ["^ours_size", "model_infer", 'quantile="']},
        [COUNT, SIZE_A, SIZE_B, TIMES[0]],
        [],
    ),
    "histogram_buckets_as_distributions false": (
        {"histogram_buckets_as_distributions": False},
        BUCKETS_GONE,
        [
            "count request.queue.depth.bucket 10 model_name:m queue:batching upper_bound:1.0",
            "monotonic_count ours.seconds.bucket 15 upper_bound:0.5 zone:a",
        ],
    ),
    "non_cumulative_histogram_buckets": (
        {"non_cumulative_histogram_buckets": True},
        BUCKETS_GONE,
        [
            "count request.queue.depth.bucket 10 lower_bound:0 model_name:m queue:batching upper_bound:1.0",
            "monotonic_count ours.seconds.bucket 15 lower_bound:0 upper_bound:0.5 zone:a",
        ],
    ),
    "collect_histogram_buckets false": ({"collect_histogram_buckets": False}, BUCKETS_GONE, []),
    "neither buckets nor distributions": (
        {"collect_histogram_buckets": False, "histogram_buckets_as_distributions": False},
        BUCKETS_GONE,
        [],
    ),
    "distributions before buckets": (
        {"collect_histogram_buckets": False, "histogram_buckets_as_distributions": True},
        [],
        [],
    ),
    "collect_counters_with_distributions false": (
        {"collect_counters_with_distributions": False},
        [*DEPTH_TOTALS, *SECONDS_TOTALS],
        [],
    ),
    "collect_counters_with_distributions brings distributions": (
        {"collect_counters_with_distributions": True, "histogram_buckets_as_distributions": False},
        [],
        [],
    ),
    "metric_patterns": (
        {"metric_patterns": {"include": ["request", "ours_size"], "exclude": ["in_flight", "depth"]}},
        [IN_FLIGHT, DEPTH, *DEPTH_TOTALS, *SECONDS, *SECONDS_TOTALS, *TIMES],
        [],
    ),
    "keep_labels": (
        {"keep_labels": ["path"]},
        [IN_FLIGHT],
        ["gauge request.in_flight 3 method:POST path:/infer zone:a"],
    ),
    "min_collection_interval": (
        {"min_collection_interval": 60, "service": "s", "empty_default_hostname": True},
        [],
        [],
    ),
}


def run(check: ModelServingCheck, aggregator: Any) -> list[str]:
    """What one run submits, without telemetry and the tags that everything has."""
    aggregator.reset()
    assert check.run() == ""
    return shown(aggregator)


def shown(aggregator: Any) -> list[str]:
    lines = []
    for name in aggregator.metric_names:
        if not name.startswith("model_serving.scrape."):
            lines += [line(KINDS[m.type], name, f"{m.value:.10g}", m.tags) for m in aggregator.metrics(name)]
    for name, buckets in aggregator._histogram_buckets.items():
        whole: dict[tuple[str, ...], list[str]] = {}
        for bucket in buckets:
            span = f"{bucket.lower_bound:g}..{bucket.upper_bound:g}:{bucket.value}"
            if bucket.monotonic:
                lines.append(line("monotonic_distribution", name, span, bucket.tags))
            else:
                whole.setdefault(tuple(bucket.tags), []).append(span)
        lines += [
            line("distribution", name, gathered(",".join(spans), "0..1:0,1..inf:0"), tags)
            for tags, spans in whole.items()
        ]
    return sorted(lines)


def line(kind: str, name: str, value: str, tags: Any) -> str:
    kept = sorted(tag for tag in tags if tag.partition(":")[0] not in ("serving_system", "endpoint_name"))
    return " ".join([kind, name.removeprefix("model_serving."), value, *kept])


def instance(endpoint: Endpoint, **options: Any) -> dict[str, Any]:
    return {
        "openmetrics_endpoint": endpoint.url,
        "serving_system": "mlserver",
        "readiness": False,
        "tag_by_endpoint": False,
        "extra_metrics": OURS,
        **options,
    }


def ordered(lines: list[str]) -> list[str]:
    """Lines with their tags in order, in order."""
    return sorted(" ".join([*line.split(" ")[:3], *sorted(line.split(" ")[3:])]) for line in lines)


@pytest.mark.parametrize("name", CASES)
def test_option(name: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """An option changes what its table says, and nothing else."""
    options, gone, come = CASES[name]
    check = make_check(**instance(endpoint, **options))
    endpoint.serve(body(10))
    run(check, aggregator)
    endpoint.serve(body(30))
    assert set(gone) <= set(DEFAULT), "the table names what never was"
    assert run(check, aggregator) == ordered([*(line for line in DEFAULT if line not in gone), *come])


def test_raw_metric_prefix(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """A prefix is gone before anything else looks at a name; names without it stay."""
    check = make_check(**instance(endpoint, raw_metric_prefix="their:x"))
    endpoint.serve(body(10, "their:x"))
    run(check, aggregator)
    endpoint.serve(body(30, "their:x") + "# TYPE rest_server_requests_total counter\n")
    assert run(check, aggregator) == ordered(DEFAULT)


def test_target_info(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """With `target_info` its labels are on everything; when they change, on everything after it."""
    check = make_check(**instance(endpoint, target_info=True))
    for number, region in ((10, "north"), (30, "north"), (50, "south")):
        endpoint.serve(f'# TYPE target_info gauge\ntarget_info{{region="{region}"}} 1\n{body(number)}')
        lines = run(check, aggregator)
        if number == 30:
            assert lines == ordered([f"{line} region:north" for line in DEFAULT])
    assert all("region:south" in line for line in lines)


def test_tag_by_endpoint(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """The URL is a tag of everything, the health check included, unless told otherwise."""
    options = instance(endpoint)
    del options["tag_by_endpoint"]
    check = make_check(**options)
    endpoint.serve(body(10))
    run(check, aggregator)
    endpoint.serve(body(30))
    assert run(check, aggregator) == ordered([f"{line} endpoint:{endpoint.url}" for line in DEFAULT])
    assert f"endpoint:{endpoint.url}" in aggregator.service_checks(HEALTH)[0].tags
    assert all(f"endpoint:{endpoint.url}" in m.tags for m in aggregator.metrics("model_serving.scrape.samples"))


@pytest.mark.parametrize(("form", "expected"), [(None, "host-1"), ("<HOSTNAME>.example", "host-1.example")])
def test_hostname(form: str | None, expected: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """The host name comes from a label, where there is one."""
    options = {"hostname_label": "node", **({"hostname_format": form} if form else {})}
    check = make_check(**instance(endpoint, **options))
    for number in (10, 30):
        endpoint.serve(
            body(number)
            .replace('model="m"', 'model="m",node="host-1"')
            .replace('model_name="m"', 'model_name="m",node="host-1"')
        )
        run(check, aggregator)
    for name in ("request.count", "request.queue.depth.sum", "ours.requests.count"):
        assert [m.hostname for m in aggregator.metrics(f"model_serving.{name}")] == [expected]
    assert {bucket.hostname for bucket in aggregator.histogram_bucket("model_serving.request.queue.depth")} == {
        expected
    }
    assert sorted(m.hostname for m in aggregator.metrics("model_serving.ours_size")) == ["", expected]
    assert [m.hostname for m in aggregator.metrics("model_serving.request.in_flight")] == [""]


CREATED = """\
# TYPE model_infer_request_success counter
model_infer_request_success_total{{model="m"}} {number}
model_infer_request_success_created{{model="m"}} 1.7e9
# TYPE batch_request_queue histogram
batch_request_queue_bucket{{model_name="m",le="1.0"}} {number}
batch_request_queue_bucket{{model_name="m",le="+Inf"}} {number}
batch_request_queue_count{{model_name="m"}} {number}
batch_request_queue_sum{{model_name="m"}} {number}
batch_request_queue_created{{model_name="m"}} 1.7e9
# TYPE ours_requests counter
ours_requests_total{{zone="a"}} {number}
ours_requests_created{{zone="a"}} 1.7e9
# TYPE ours_times summary
ours_times_count{{zone="a"}} {number}
ours_times_sum{{zone="a"}} {number}
ours_times_created{{zone="a"}} 1.7e9
# EOF
"""


@pytest.mark.parametrize("content_type", ["text/plain", "application/openmetrics-text; version=1.0.0"])
def test_use_latest_spec(content_type: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """OpenMetrics is asked for and read, and the time of creation is never part of a count."""
    check = make_check(**instance(endpoint, use_latest_spec=True))
    for number in (10, 30):
        endpoint.serve(CREATED.format(number=number), content_type=content_type)
        lines = run(check, aggregator)
    assert lines == ordered(
        [
            "count request.count 20 model_name:m",
            "distribution request.queue.depth 0..1:20 model_name:m queue:batching",
            "count request.queue.depth.count 20 model_name:m queue:batching",
            "count request.queue.depth.sum 20 model_name:m queue:batching",
            "monotonic_count ours.requests.count 30 zone:a",
            "monotonic_count ours_times.count 30 zone:a",
            "monotonic_count ours_times.sum 30 zone:a",
        ]
    )
    assert endpoint.requests[-1][2]["Accept"].startswith("application/openmetrics-text;version=1.0.0")


def test_accept(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Without `use_latest_spec` plain text is asked for."""
    endpoint.serve(body(1))
    run(make_check(**instance(endpoint)), aggregator)
    assert endpoint.requests[-1][2]["Accept"] == "text/plain"


@pytest.mark.parametrize(
    ("use", "started", "expected"),
    [(True, 100, True), (True, -100, False), (False, 100, False)],
    ids=["started after the Agent", "started before the Agent", "not used"],
)
def test_use_process_start_time(
    use: bool, started: int, expected: bool, endpoint: Endpoint, aggregator: Any, datadog_agent: Any
) -> None:
    """A process younger than the Agent has counted nothing that the Agent could have seen before its first scrape."""
    now = time.time()
    datadog_agent.set_process_start_time(now)
    check = make_check(**instance(endpoint, use_process_start_time=use))
    endpoint.serve(f"# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds {now + started}\n{body(10)}")
    lines = run(check, aggregator)
    assert ("count request.count 10 model_name:m model_version:1" in lines) is expected
    flushed = {m.flush_first_value for m in aggregator.metrics("model_serving.ours.requests.count")}
    assert {bool(each) for each in flushed} == {expected}


def test_first_values(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """After the first scrape, totals that appear count in full, those the user names too."""
    check = make_check(**instance(endpoint))
    endpoint.serve("ours_size 1\n")
    run(check, aggregator)
    endpoint.serve(body(10))
    lines = run(check, aggregator)
    assert "count request.count 10 model_name:m model_version:1" in lines
    assert [m.flush_first_value for m in aggregator.metrics("model_serving.ours.requests.count")] == [True]


def test_telemetry(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """The stock telemetry counts samples read, used and ignored, lines filtered, and bytes."""
    options = {"telemetry": True, "exclude_metrics": ["ours_size"], "raw_line_filters": ["^ours_build"]}
    check = make_check(**instance(endpoint, **options))
    text = body(10)
    endpoint.serve(text)
    run(check, aggregator)
    read = sum(not line.startswith(("#", "ours_build")) for line in text.splitlines())

    def total(name: str) -> float:
        return float(sum(m.value for m in aggregator.metrics(f"model_serving.telemetry.{name}")))

    assert total("payload.size") == len(text)
    assert total("metrics.input.count") == read
    assert total("metrics.ignored.count") == 2
    assert total("metrics.blacklist.count") == 1
    assert total("metrics.processed.count") == read - 2
    endpoint.serve(text, length=False)
    run(check, aggregator)
    assert total("payload.size") == len(text), "also where no header tells it"

    quiet = make_check(**instance(endpoint))
    assert not [line for line in run(quiet, aggregator) if "telemetry" in line]


def test_enable_health_service_check(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """No health check where none is wanted, whether the scrape works or not."""
    check = make_check(**instance(endpoint, enable_health_service_check=False))
    endpoint.serve(body(1))
    run(check, aggregator)
    endpoint.serve("", status=500)
    assert check.run()
    assert aggregator.service_checks(HEALTH) == []


def test_max_returned_metrics(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """The limit on contexts holds for everything that is counted as one."""
    check = make_check(**instance(endpoint, max_returned_metrics=3, extra_metrics=[]))
    endpoint.serve("".join(f'rest_server_requests_in_progress{{method="M{n}"}} 1\n' for n in range(10)))
    run(check, aggregator)
    sent = [name for name in aggregator.metric_names for _ in aggregator.metrics(name)]
    assert len(sent) == 3
    unlimited = make_check(**instance(endpoint, extra_metrics=[]))
    assert len(run(unlimited, aggregator)) == 10


def test_types_of_their_own(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Stock types that are no metrics: service checks, metadata, time since."""
    check = make_check(
        **instance(
            endpoint,
            namespace="mine",
            extra_metrics=[
                {"ours_state": {"name": "state", "type": "service_check", "status_map": {"0": "OK", "3": "CRITICAL"}}},
                {"ours_build": {"name": "version", "type": "metadata", "label": "release"}},
                {"ours_started": {"name": "uptime", "type": "time_elapsed"}},
            ],
        )
    )
    endpoint.serve(f'ours_state 3\nours_build{{release="2.3.4"}} 1\nours_started {time.time() - 1000}\n')
    run(check, aggregator)
    assert [found.status for found in aggregator.service_checks("mine.state")] == [2]
    datadog_agent.assert_metadata("model_serving:test", {"version.raw": "2.3.4", "version.major": "2"})
    assert aggregator.metrics("mine.uptime")[0].value >= 1000


@pytest.mark.parametrize(
    ("options", "header", "value"),
    [
        ({"headers": {"X-One": "1", "Accept": "a/b"}}, "X-One", "1"),
        ({"headers": {"X-One": "1", "Accept": "a/b"}}, "Accept", "a/b"),
        ({"extra_headers": {"X-Two": "2"}}, "X-Two", "2"),
        ({"extra_headers": {"X-Two": "2"}}, "Accept", "text/plain"),
        ({"username": "me", "password": "secret"}, "Authorization", "Basic bWU6c2VjcmV0"),
        ({"auth_token": "FILE"}, "Authorization", "Bearer abc123"),
        ({"auth_token": "OWN"}, "X-Token", "abc123"),
    ],
    ids=[
        "headers",
        "headers before ours",
        "extra_headers",
        "extra_headers beside ours",
        "basic",
        "file",
        "file, own header",
    ],
)
def test_authentication(
    options: dict[str, Any],
    header: str,
    value: str,
    endpoint: Endpoint,
    aggregator: Any,
    datadog_agent: Any,
    tmp_path: Path,
) -> None:
    """What the connection options say arrives at the server."""
    token = tmp_path / "token"
    token.write_text("abc123\n")
    reader = {"type": "file", "path": str(token)}
    writers = {
        "FILE": {"type": "header", "name": "Authorization", "value": "Bearer <TOKEN>"},
        "OWN": {"type": "header", "name": "X-Token"},
    }
    if "auth_token" in options:
        options = {"auth_token": {"reader": reader, "writer": writers[options["auth_token"]]}}
    endpoint.serve(body(1))
    run(make_check(**instance(endpoint, **options)), aggregator)
    assert endpoint.requests[-1][2][header] == value


def test_rotated_token(endpoint: Endpoint, aggregator: Any, datadog_agent: Any, tmp_path: Path) -> None:
    """A token file is read again when the server refuses the token it held."""
    token = tmp_path / "token"
    token.write_text("old")
    reader = {"type": "file", "path": str(token)}
    writer = {"type": "header", "name": "Authorization", "value": "Bearer <TOKEN>"}
    check = make_check(**instance(endpoint, auth_token={"reader": reader, "writer": writer}))
    endpoint.serve(body(1))
    run(check, aggregator)
    token.write_text("new")
    endpoint.serve("", status=401)
    assert "credentials are refused" in check.run()
    assert endpoint.requests[-1][2]["Authorization"] == "Bearer new"
