"""The configuration of an instance: what is wrong is told with its mend, and what documents show works as meant."""

from __future__ import annotations

import ast
import inspect
import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from datadog_checks.base import AgentCheck
from datadog_checks.base.utils.http import DEFAULT_REMAPPED_FIELDS, STANDARD_FIELDS

from datadog_checks.model_serving import ModelServingCheck
from datadog_checks.model_serving.config_models.instance import InstanceConfig
from datadog_checks.model_serving.settings import Problems, check_option_names

from .conftest import Endpoint, in_buckets, make_check, submissions
from .scrape.generated import Clock

URL = "http://127.0.0.1:9/metrics"
PLACE = f"instance `{URL}`: "


def complaint(instance: dict[str, Any]) -> str:
    """The message of the first run, which has to fail before anything is asked of the network."""
    report = make_check(**instance).run()
    assert report, "the instance was taken"
    message: str = json.loads(report)[0]["message"]
    return message


V1 = {
    "prometheus_url": "`openmetrics_endpoint`",
    "send_histograms_buckets": "`collect_histogram_buckets`",
    "non_cumulative_buckets": "`non_cumulative_histogram_buckets`",
    "prometheus_metrics_prefix": "`raw_metric_prefix`",
    "label_to_hostname": "`hostname_label`",
    "label_to_hostname_suffix": "`hostname_format: <HOSTNAME>suffix`",
    "labels_mapper": "`rename_labels`",
    "labels_rename": "`rename_labels`",
    "ignore_metrics": "`exclude_metrics`",
    "ignore_metrics_by_labels": "`exclude_metrics_by_labels`",
    "ignored_tags": "`ignore_tags`",
    "label_joins": "`share_labels`",
    "type_overrides": "`type`",
    "health_service_check": "`enable_health_service_check`",
    "metadata_metric_name": "`type: metadata`",
    "metadata_label_map": "`type: metadata`",
    "bearer_token_auth": "`auth_token`",
    "bearer_token_path": "`auth_token`",
    "prometheus_timeout": "`timeout`",
    "ssl_verify": "`tls_verify`",
    "ssl_cert": "`tls_cert`",
    "ssl_private_key": "`tls_private_key`",
    "ssl_ca_cert": "`tls_ca_cert`",
    "send_monotonic_counter": "remove it",
    "send_monotonic_with_gauge": "remove it",
    "send_distribution_counts_as_monotonic": "remove it",
    "send_distribution_sums_as_monotonic": "remove it",
}


@pytest.mark.parametrize("option", V1)
def test_v1_options(option: str, datadog_agent: Any) -> None:
    """An option of the V1 check is refused with its present spelling."""
    message = complaint({"openmetrics_endpoint": URL, option: True})
    assert message.startswith(f"{PLACE}option `{option}` belongs to the V1 OpenMetrics check; ")
    assert V1[option] in message


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ("openmetrics_endpont", "`openmetrics_endpoint`"),
        ("serving_sytem", "`serving_system`"),
        ("namespce", "`namespace`"),
        ("extra_metric", "`extra_metrics`"),
        ("Tags", "`tags`"),
        ("databricks_tokn", "`databricks_token`"),
        ("readyness", "`readiness`"),
        ("exclude_label", "`exclude_labels`"),
        ("max_payload_byte", "`max_payload_bytes`"),
        ("histogram_buckets_as_distribution", "`histogram_buckets_as_distributions`"),
        ("keeplabels", "`keep_labels`"),
        ("qwertz", "remove it"),
    ],
)
def test_unknown_options(option: str, meant: str, datadog_agent: Any) -> None:
    """An unknown option is refused with the nearest known one."""
    message = complaint({"openmetrics_endpoint": URL, option: "x"})
    assert message.startswith(f"{PLACE}unknown option `{option}`; ")
    assert meant in message


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("timeout", "soon", "valid number"),
        ("timeout", 0, "more than 0"),
        ("read_timeout", -1, "more than 0"),
        ("tags", "team:x", "list"),
        ("tags", [1], "string"),
        ("readiness", "maybe", "boolean"),
        ("models", "fraud", "list"),
        ("keep_labels", "id", "list"),
        ("max_payload_bytes", 0, "greater than or equal to 1"),
        ("stale_after", -1, "greater than or equal to 0"),
        ("stale_after", "1h", "number"),
        ("max_payload_bytes", "64 MB", "integer"),
        ("readiness_interval", -1, "greater than or equal to 0"),
        ("headers", "Authorization: Bearer x", "mapping"),
        ("rename_labels", ["a"], "mapping"),
        ("serving_system", 5, "string, or else input should be a list"),
        ("serving_system", "mlserv", "did you mean `mlserver`?"),
        ("serving_system", ["mlserver", "tensorflow"], "did you mean `tensorflow_serving`?"),
        ("serving_system", "nvidia", "Known: auto, "),
        ("serving_system", ["auto", "mlserver"], "stands alone"),
        ("metrics", {"a": "b"}, "list"),
        ("metrics", [{"a": {"name": "b", "type": "gaug"}}], "metric `a`: unknown type `gaug`; did you mean `gauge`?"),
        ("metrics", [{"a": {"name": "b", "type": "service_check"}}], "`status_map`"),
        ("extra_metrics", [{"a": 5}], "entry `a`"),
        ("exclude_metrics", ["("], "option `exclude_metrics`: '(' is not a valid regular expression"),
        ("raw_line_filters", ["["], "option `raw_line_filters`: '[' is not a valid regular expression"),
        ("ignore_tags", ["a", "*"], "option `ignore_tags`: '*' is not a valid regular expression"),
        ("share_labels", {"a": 5}, "`share_labels`"),
        ("catalog", "/no/such/file.yaml", "Catalog file /no/such/file.yaml cannot be read"),
        ("tls_ca_cert", "/no/such.pem", "there is no file /no/such.pem"),
        ("tls_cert", "/no/such.pem", "there is no file /no/such.pem"),
        ("send_distribution_buckets", "sometimes", "boolean"),
        ("auth_token", {"reader": {"type": "fil"}, "writer": {"type": "header"}}, "reader type"),
        ("headers", {"Authorization": "Bearer [PAT]"}, "placeholder [PAT]"),
        ("extra_headers", {"Authorization": "Bearer <TOKEN>"}, "placeholder <TOKEN>"),
        ("headers", {"Authorization": "Bearer ENC[pat]"}, "the whole value"),
    ],
)
def test_wrong_values(option: str, value: Any, words: str, datadog_agent: Any) -> None:
    """A value that can't be used is refused, naming the instance, the option and what it should be."""
    message = complaint({"openmetrics_endpoint": URL, option: value})
    assert message.startswith(PLACE)
    assert words in message
    assert option in message or option in ("extra_metrics", "metrics", "auth_token")
    assert "\n" not in message


def test_metric_patterns(datadog_agent: Any) -> None:
    """What the constructor of the base check refuses names the instance too."""
    with pytest.raises(Exception, match="option `metric_patterns`: '\\('") as raised:
        make_check(openmetrics_endpoint=URL, metric_patterns={"include": ["("]})
    assert str(raised.value).startswith(PLACE)


@pytest.mark.parametrize(
    ("instance", "words"),
    [
        ({}, ("instance without `openmetrics_endpoint`", "name a source", "`databricks_host`")),
        ({"openmetrics_endpoint": ""}, ("name a source",)),
        ({"openmetrics_endpoint": 5}, ("`openmetrics_endpoint`", "string")),
        ({"openmetrics_endpoint": "host:8082/metrics"}, ("instance `host:8082/metrics`", "http://")),
        ({"openmetrics_endpoint": "ftp://me:pw@h/m"}, ("instance `ftp://h/m`", "http://")),
        ({"openmetrics_endpoint": "http://"}, ("not a valid URL",)),
        ({"openmetrics_endpoint": "http://h:99999/m"}, ("not a valid URL", "port")),
        ({"openmetrics_endpoint": "http://[::1/m"}, ("not a valid URL",)),
        (
            {"openmetrics_endpoint": "https://[DATABRICKS_HOST]/api/2.0/serving-endpoints/e/metrics"},
            ("`openmetrics_endpoint`", "placeholder [DATABRICKS_HOST]"),
        ),
        ({"openmetrics_endpoint": "http://<HOST>:8082/metrics"}, ("placeholder <HOST>",)),
        (
            {"openmetrics_endpoint": "http://<HOST>:[PORT]/metrics"},
            ("`openmetrics_endpoint`", "placeholders <HOST> and [PORT]"),
        ),
        ({"openmetrics_endpoint": "http://%%host%%:8082/metrics"}, ("placeholder %%host%%", "only the Agent's Auto")),
        ({"openmetrics_endpoints": URL}, (PLACE, "`openmetrics_endpoints`", "begins with `- `")),
        ({"openmetrics_endpoints": ["http://h:0/m"]}, ("`openmetrics_endpoints` is not a valid URL",)),
        ({"databricks_host": "h:x", "databricks_token": "t"}, ("`databricks_host` is not a valid URL",)),
        (
            {"databricks_host": "h", "endpoint_name": "e"},
            ("instance `https://h` (endpoint e)", "no credentials", "`databricks_token`", "DATABRICKS_TOKEN"),
        ),
        ({"databricks_host": "https://h/?o=1"}, ("instance `https://h`:", "no credentials")),
        ({"databricks_host": "https://", "databricks_token": "t"}, ("`databricks_host` is empty",)),
        ({"serving_system": "databricks"}, ("`databricks_host`", "DATABRICKS_HOST")),
        ({"databricks_token": "t", "endpoint_name": "e"}, ("`databricks_token` needs `databricks_host`",)),
        ({"openmetrics_endpoint": URL, "databricks_tags": ["team"]}, ("`databricks_tags` needs `databricks_host`",)),
        (
            {"databricks_host": "h", "databricks_token": "t", "serving_endpoints": {"include": ["("]}},
            ("`include`", "'('"),
        ),
        (
            {"databricks_host": "h", "databricks_token": "t", "serving_endpoints": {"includes": ["a"]}},
            ("`serving_endpoints` has no option `includes`", "include, exclude"),
        ),
        ({"databricks_host": "h", "databricks_token": "t", "serving_endpoints": {"limit": 0}}, ("limit",)),
        (
            {"databricks_host": "h", "databricks_token": "t", "endpoint_name": "e", "serving_endpoints": {"limit": 5}},
            ("`endpoint_name` names one", "keep one"),
        ),
        ({"databricks_host": "h", "databricks_token": "t", "openmetrics_endpoints": [URL]}, ("not both",)),
        ({"openmetrics_endpoints": []}, ("`openmetrics_endpoints` is empty",)),
        ({"openmetrics_endpoints": [URL, "host:1"]}, (f"instance `{URL}` and 1 more", "http://")),
        ({"openmetrics_endpoints": [URL, URL]}, ("twice",)),
        ({"openmetrics_endpoints": [URL], "openmetrics_endpoint": URL}, ("keep one",)),
        ({"openmetrics_endpoints": [URL], "endpoint_name": "e"}, ("`endpoint_name` is of one endpoint",)),
        ({"openmetrics_endpoints": [URL], "endpoint_deadline": 0}, ("`endpoint_deadline` must be more than 0",)),
        ({"openmetrics_endpoints": [URL], "max_connections": 0}, ("max_connections",)),
        ({"openmetrics_endpoints": [URL], "gpu": "nvml"}, ("two sources",)),
        (
            {"databricks_host": "h", "endpoint_name": "[ENDPOINT_NAME]", "databricks_token": "t"},
            ("`endpoint_name`", "placeholder"),
        ),
        ({"databricks_host": "h", "endpoint_name": "e", "databricks_token": "<DATABRICKS_TOKEN>"}, ("placeholder",)),
        (
            {"databricks_host": "h", "endpoint_name": "e", "databricks_token": "t", "openmetrics_endpoint": URL},
            ("either `openmetrics_endpoint` or `databricks_host`",),
        ),
    ],
)
def test_sources(instance: dict[str, Any], words: tuple[str, ...], datadog_agent: Any) -> None:
    """A source that is missing, twice, or not filled in is refused, saying what is needed."""
    message = complaint(instance)
    assert all(word in message for word in words), message
    assert "pw" not in message


# -- options of the stock check

STOCK = Path(inspect.getfile(AgentCheck)).parent
NESTED = {"labels", "match", "values", "__memory_profiling_tags"}
"""What is read from the value of an option, or is no option of an instance."""


def stock_options() -> set[str]:
    """Every option that the installed base package reads from an instance of a V2 check."""
    found = {*STANDARD_FIELDS, *DEFAULT_REMAPPED_FIELDS}
    for path in (STOCK / "base.py", *(STOCK / "openmetrics" / "v2").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
                place, key = node.func.value, node.args[0] if node.args else None
            elif isinstance(node, ast.Subscript):
                place, key = node.value, node.slice
            else:
                continue
            called = place.id if isinstance(place, ast.Name) else getattr(place, "attr", "")
            options = ("config", "instance", "check_config", "global_options")
            if called in options and isinstance(key, ast.Constant) and isinstance(key.value, str):
                found.add(key.value)
    return found - NESTED


def test_stock_options(datadog_agent: Any) -> None:
    """No option that the installed base package reads is refused as unknown."""
    options = stock_options()
    assert {"tags", "timeout", "metric_patterns", "share_labels", "raw_line_filters"} <= options
    problems = Problems("x")
    check_option_names(dict.fromkeys(options), InstanceConfig.model_fields, problems)
    problems.check()


@pytest.mark.parametrize("option", ["omit_histogram_bound_tags", "histogram_bound_tag_prefixes"])
def test_moot_options(option: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """What there is nothing to do for is taken, and the Agent's status says so."""
    endpoint.serve("cpu_usage_percentage 7\n")
    check = make_check(
        openmetrics_endpoint=endpoint.url, serving_system="databricks", readiness=False, **{option: True}
    )
    assert check.run() == ""
    (warning,) = check.warnings
    assert warning.startswith(f"instance `{endpoint.url}`: option `{option}` has no effect: ")


# -- all at once

SINGLE: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": ({"readyness": True}, "unknown option `readyness`; did you mean `readiness`?"),
    "another unknown": ({"qwertz": 1}, "unknown option `qwertz`; remove it"),
    "V1": ({"ssl_verify": False}, "option `ssl_verify` belongs to the V1 OpenMetrics check; write `tls_verify`"),
    "another V1": ({"prometheus_timeout": 3}, "option `prometheus_timeout` belongs to the V1"),
    "type": ({"tags": "team:x"}, "option `tags`: Input should be a list, each entry of which begins with `- `"),
    "number": ({"max_payload_bytes": 0}, "option `max_payload_bytes`: Input should be greater"),
    "one of two types": ({"serving_system": 5}, "option `serving_system`: Input should be a valid string, or else"),
    "URL": ({"openmetrics_endpoint": "http://%%host%%:1/m"}, "`openmetrics_endpoint` still holds the placeholder"),
    "time": ({"timeout": 0}, "option `timeout` must be more than 0 seconds, not 0"),
    "deadline": ({"endpoint_deadline": -1}, "option `endpoint_deadline` must be more than 0 seconds"),
    "file": ({"tls_ca_cert": "/no/such.pem"}, "option `tls_ca_cert`: there is no file /no/such.pem"),
    "pattern": ({"exclude_metrics": ["("]}, "option `exclude_metrics`: '(' is not a valid regular expression"),
    "metric": ({"extra_metrics": [{"a": {"type": "countr"}}]}, "unknown type `countr`; did you mean `counter`?"),
    "header": ({"headers": {"X-Token": "[PAT]"}}, "header `X-Token` of `headers` still holds the placeholder [PAT]"),
    "handle": ({"extra_headers": {"A": "Bearer ENC[x]"}}, "header `A` of `extra_headers` still holds an ENC[...]"),
    "character": ({"password": "a\u20ac"}, "`password` has a character that ISO 8859-1 lacks"),
    "system": ({"serving_system": "mlserv"}, "`serving_system: mlserv` is not known; did you mean `mlserver`?"),
    "catalog": ({"catalog": "/no/such.yaml"}, "option `catalog`: Catalog file /no/such.yaml cannot be read"),
    "two sources": ({"gpu": "nvml"}, "`gpu` and `openmetrics_endpoint` are two sources"),
    "more sources": ({"openmetrics_endpoints": []}, "`openmetrics_endpoints` is empty"),
    "no workspace": ({"databricks_tags": ["team"]}, "`databricks_tags` needs `databricks_host`"),
    "login": ({"databricks_host": "h", "databricks_token": "<PAT>"}, "`databricks_token` still holds a placeholder"),
    "choice": ({"databricks_host": "h", "serving_endpoints": {"includ": []}}, "`serving_endpoints` has no option"),
    "two ways": (
        {"databricks_host": "h", "databricks_client_id": "a", "databricks_token_path": "/t"},
        "`databricks_token_path` and `databricks_client_id` are different ways",
    ),
}
"""Options that spoil an instance that is right, each with what is said of it."""

MEANINGLESS = [
    ("catalog", "system"),
    ("no workspace", "login"),
    ("no workspace", "choice"),
    ("no workspace", "two ways"),
]
"""The first takes the ground from under the second, or the other way round."""

PAIRS = [
    (one, other)
    for one, other in combinations(SINGLE, 2)
    if SINGLE[one][0].keys().isdisjoint(SINGLE[other][0])
    and not {(one, other), (other, one)} & {*MEANINGLESS}
    and len({"login", "two ways"} & {one, other}) < 2
]


@pytest.mark.parametrize("name", SINGLE)
def test_one_fault(name: str, datadog_agent: Any) -> None:
    """A single fault is told alone."""
    options, said = SINGLE[name]
    message = complaint({"openmetrics_endpoint": URL, **options})
    assert said in message
    if "databricks_host" not in options:
        assert "problems:" not in message, message


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_two_faults(one: str, other: str, datadog_agent: Any) -> None:
    """Of two faults of one instance both are told, on one line that says how many there are."""
    message = complaint({"openmetrics_endpoint": URL, **SINGLE[one][0], **SINGLE[other][0]})
    assert SINGLE[one][1] in message, message
    assert SINGLE[other][1] in message, message
    assert re.match(r"instance `[^`]*`(?: \(.*?\))?: \d problems: \(1\) ", message), message
    assert "\n" not in message


def test_all_faults(datadog_agent: Any) -> None:
    """However many there are, all are told, each once."""
    names = [name for name in SINGLE if name not in ("system", "no workspace", "two ways", "choice")]
    options: dict[str, Any] = {"openmetrics_endpoint": URL}
    for name in names:
        options.update(SINGLE[name][0])
    message = complaint(options)
    assert [message.count(SINGLE[name][1]) for name in names] == [1] * len(names), message
    assert "a\u20ac" not in message


@pytest.mark.parametrize(
    ("instance", "only"),
    [
        ({"openmetrics_endpont": URL}, "unknown option `openmetrics_endpont`"),
        ({"prometheus_url": URL}, "option `prometheus_url` belongs to the V1"),
        ({"openmetrics_endpoint": 5}, "option `openmetrics_endpoint`: Input should be a valid string"),
        ({"databricks_host": "h", "databricks_tokn": "t"}, "unknown option `databricks_tokn`"),
        ({"databricks_hst": "h", "databricks_token": "t"}, "unknown option `databricks_hst`"),
        ({"databricks_host": "https://<HOST>", "databricks_token": "t"}, "`databricks_host` still holds a placeholder"),
        ({"gpu": "nvmll"}, "option `gpu`: Input should be 'nvml' or 'auto'"),
        ({"openmetrics_endpoint": URL, "catalog": "/no.yaml", "serving_system": "mine"}, "option `catalog`: Catalog"),
    ],
)
def test_what_follows_is_not_told(instance: dict[str, Any], only: str, datadog_agent: Any) -> None:
    """What is wrong only because something else is wrong is no complaint of its own."""
    message = complaint(instance)
    assert only in message
    assert "problems:" not in message, message


def test_a_mended_file_is_found(tmp_path: Path, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """What is wrong outside of the instance may be mended between two runs."""
    catalog = tmp_path / "mine.yaml"
    endpoint.serve("cpu_usage_percentage 7\n")
    check = make_check(openmetrics_endpoint=endpoint.url, catalog=str(catalog), readiness=False)
    assert "cannot be read" in check.run()
    catalog.write_text(
        "system: mine\ntitle: Mine\nmetrics:\n  - {raw: cpu_usage_percentage, type: gauge, to: cpu.utilization}\n"
    )
    assert check.run() == ""


def test_other_instances(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """A wrong instance stays wrong at each run, and another works beside it."""
    wrong = make_check(openmetrics_endpoint=endpoint.url, nonsense=1)
    right = make_check(openmetrics_endpoint=endpoint.url, serving_system="databricks", readiness=False)
    endpoint.serve("cpu_usage_percentage 7\n")
    for _ in range(2):
        assert "unknown option `nonsense`" in wrong.run()
        assert right.run() == ""
    assert len(endpoint.requests) == 2


# -- Databricks, short form


@pytest.mark.parametrize(
    ("host", "name", "path"),
    [
        ("http://127.0.0.1:{port}", "fraud", "/api/2.0/serving-endpoints/fraud/metrics"),
        ("http://127.0.0.1:{port}/", "fraud", "/api/2.0/serving-endpoints/fraud/metrics"),
        ("http://127.0.0.1:{port}/?o=123#setting", "fraud", "/api/2.0/serving-endpoints/fraud/metrics"),
        ("HTTP://127.0.0.1:{port}", "Fraud 2/x", "/api/2.0/serving-endpoints/Fraud%202%2Fx/metrics"),
    ],
)
def test_databricks_short_form(
    host: str, name: str, path: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any
) -> None:
    """Host, endpoint and token become URL and header; a header of one's own stays."""
    check = make_check(
        databricks_host=host.format(port=endpoint.port),
        endpoint_name=name,
        databricks_token="dapi-123",
        extra_headers={"X-Mine": "1"},
        readiness=False,
    )
    endpoint.serve("cpu_usage_percentage 41\n", path)
    assert check.run() == ""
    ((method, asked, headers),) = endpoint.requests
    assert (method, asked) == ("GET", path)
    assert headers["Authorization"] == "Bearer dapi-123"
    assert headers["X-Mine"] == "1"
    (metric,) = aggregator.metrics("model_serving.cpu.utilization")
    assert {f"endpoint_name:{name}", "serving_system:databricks"} <= set(metric.tags)
    assert f"endpoint:http://127.0.0.1:{endpoint.port}{path}" in metric.tags


def test_databricks_scheme(datadog_agent: Any) -> None:
    """A host without a scheme is asked over TLS."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ModelServingCheck, "check", lambda self, _: None)
        check = make_check(databricks_host="h.example", endpoint_name="e", databricks_token="token")
        assert check.run() == ""
    assert list(check.scrapers) == ["https://h.example/api/2.0/serving-endpoints/e/metrics"]


def test_databricks_url(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """The URL of a Databricks endpoint tells the system and the endpoint's name."""
    path = "/api/2.0/serving-endpoints/my%20model/metrics"
    endpoint.serve("cpu_usage_percentage 41\n", path)
    check = make_check(openmetrics_endpoint=f"http://127.0.0.1:{endpoint.port}{path}", readiness=False)
    assert check.run() == ""
    (metric,) = aggregator.metrics("model_serving.cpu.utilization")
    assert "endpoint_name:my model" in metric.tags


# -- the configuration of the Databricks documentation

DOCUMENTED = """
openmetrics_endpoint: http://127.0.0.1:{port}/api/2.0/serving-endpoints/fraud/metrics
metrics:
  - cpu_usage_percentage:
      name: cpu_usage_percentage
      type: gauge
  - mem_usage_percentage:
      name: mem_usage_percentage
      type: gauge
  - provisioned_concurrent_requests_total:
      name: provisioned_concurrent_requests_total
      type: gauge
  - request_4xx_count_total:
      name: request_4xx_count_total
      type: gauge
  - request_5xx_count_total:
      name: request_5xx_count_total
      type: gauge
  - request_count_total:
      name: request_count_total
      type: gauge
  - request_latency_ms:
      name: request_latency_ms
      type: histogram
tag_by_endpoint: false
send_distribution_buckets: true
headers:
  Authorization: Bearer dapi-secret
  Content-Type: application/openmetrics-text
"""

MINUTE = 1788718020
DIALECT = """\
# TYPE request_count_total gauge
request_count_total{{endpoint_name="fraud"}} {count} {time}
# TYPE request_4xx_count_total gauge
request_4xx_count_total{{endpoint_name="fraud"}} 3 {time}
# TYPE request_5xx_count_total gauge
request_5xx_count_total{{endpoint_name="fraud"}} 1 {time}
# TYPE request_latency_ms histogram
request_latency_ms_bucket{{endpoint_name="fraud",le="5"}} 0 {time}
request_latency_ms_bucket{{endpoint_name="fraud",le="50"}} {count} {time}
request_latency_ms_bucket{{endpoint_name="fraud",le="+Inf"}} {count} {time}
request_latency_ms_sum{{endpoint_name="fraud"}} 900 {time}
request_latency_ms_count{{endpoint_name="fraud"}} {count} {time}
# TYPE cpu_usage_percentage gauge
cpu_usage_percentage{{endpoint_name="fraud"}} 41.5 {time}
# TYPE mem_usage_percentage gauge
mem_usage_percentage{{endpoint_name="fraud"}} 63 {time}
# TYPE provisioned_concurrent_requests_total gauge
provisioned_concurrent_requests_total{{endpoint_name="fraud"}} 16 {time}
"""


def counted(requests: int) -> list[str]:
    return [
        f"count request.count {requests}",
        "count request.error.count 3 error_type:4xx status_class:4xx",
        "count request.error.count 1 error_type:5xx status_class:5xx",
        f"distribution request.latency 0.005..0.05:{requests}",
        "count request.latency.sum 0.9",
        f"count request.latency.count {requests}",
    ]


def named(requests: int, first: bool, namespace: str) -> list[str]:
    """What the author of the documented configuration wanted to see."""
    latency = [
        f"distribution {namespace}request_latency_ms 5..50:{requests}",
        f"count {namespace}request_latency_ms.sum 900",
        f"count {namespace}request_latency_ms.count {requests}",
    ]
    return [
        f"gauge {namespace}request_count_total {requests}",
        f"gauge {namespace}request_4xx_count_total 3",
        f"gauge {namespace}request_5xx_count_total 1",
        f"gauge {namespace}cpu_usage_percentage 41.5",
        f"gauge {namespace}mem_usage_percentage 63",
        f"gauge {namespace}provisioned_concurrent_requests_total 16",
        *(latency if first else []),
    ]


GAUGES = ["gauge cpu.utilization 41.5", "gauge memory.utilization 63", "gauge concurrency.provisioned 16"]


@pytest.mark.parametrize(
    ("content_type", "unit"),
    [
        ("text/plain; version=0.0.4", 1000),
        ("application/openmetrics-text", 1),
        ("text/plain", 1),
        ("application/openmetrics-text", 1000),
    ],
    ids=["text", "OpenMetrics", "OpenMetrics called text", "text called OpenMetrics"],
)
@pytest.mark.parametrize("namespace", ["", "mine."])
def test_documented_configuration(
    namespace: str, content_type: str, unit: int, endpoint: Endpoint, aggregator: Any, datadog_agent: Any
) -> None:
    """The configuration of the Databricks page gives its gauges and its histogram, minute by minute, and ours."""
    instance = yaml.safe_load(DOCUMENTED.format(port=endpoint.port))
    instance["readiness"] = False
    if namespace:
        instance["namespace"] = namespace.rstrip(".")
    check = make_check(**instance)
    path = "/api/2.0/serving-endpoints/fraud/metrics"
    for requests, minute, first in ((120, 0, True), (120, 0, False), (7, 1, True), (7, 1, False), (300, 3, True)):
        aggregator.reset()
        text = DIALECT.format(count=requests, time=(MINUTE + 60 * minute) * unit)
        endpoint.serve(text + ("# EOF\n" if unit == 1 else ""), path, content_type=content_type)
        assert check.run() == ""
        expected = [*GAUGES, *named(requests, first, namespace), *(counted(requests) if first else [])]
        found = submissions(aggregator, ("endpoint_name", "serving_system"))
        assert in_buckets(found, expected) == sorted(expected)
        (warning,) = [text for text in check.warnings if "send_distribution_buckets" in text]
        assert "`histogram_buckets_as_distributions`" in warning
        check.warnings.clear()
    assert endpoint.requests[-1][2]["Authorization"] == "Bearer dapi-secret"


def test_documented_configuration_without_times(
    endpoint: Endpoint, aggregator: Any, datadog_agent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without timestamps the user's histogram too counts once for each minute of the clock."""
    from datadog_checks.model_serving.submit import submitter

    check = make_check(**yaml.safe_load(DOCUMENTED.format(port=endpoint.port)), readiness=False)
    endpoint.serve(DIALECT.format(count=9, time=""), "/api/2.0/serving-endpoints/fraud/metrics")
    totals = []
    for now in (600, 615, 659, 660, 700):
        monkeypatch.setattr(submitter, "time", Clock(now))
        aggregator.reset()
        assert check.run() == ""
        totals.append(len(aggregator.metrics("model_serving.request_latency_ms.count")))
    assert totals == [1, 0, 0, 1, 0]


def test_old_spelling_false(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """`send_distribution_buckets: false` is honoured as well, unless the present option says something else."""
    path = "/api/2.0/serving-endpoints/fraud/metrics"
    url = f"http://127.0.0.1:{endpoint.port}{path}"
    endpoint.serve(DIALECT.format(count=9, time=MINUTE * 1000), path)
    check = make_check(openmetrics_endpoint=url, send_distribution_buckets=False, readiness=False)
    assert check.run() == ""
    assert aggregator.histogram_bucket("model_serving.request.latency") == []
    assert aggregator.metrics("model_serving.request.latency.bucket")
    datadog_agent.reset()
    check = make_check(
        openmetrics_endpoint=url,
        send_distribution_buckets=False,
        histogram_buckets_as_distributions=True,
        readiness=False,
    )
    assert check.run() == ""
    assert aggregator.histogram_bucket("model_serving.request.latency")
