"""What is said of metrics that nobody maps: once, what is worth knowing of it, and only what helps."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from datadog_checks.model_serving.catalog.loader import builtin_catalog
from datadog_checks.model_serving.scrape.inventory import families

from ..conftest import Endpoint, make_check, submissions

PAYLOADS = Path(__file__).parents[1] / "fixtures" / "payloads"
PROCESS = ("process_cpu_seconds_total", "python_info", "go_goroutines")
MLSERVER = "model_infer_request_success_total{model='m'} 3\n".replace("'", '"')


def page(*names: str) -> str:
    return "".join(f"{name} 1\n" for name in names)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.INFO and "nobody maps" in record.getMessage()
    ]


def test_summary(endpoint: Endpoint, aggregator: Any, datadog_agent: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Those like the system's own come first, then those that speak of requests, last those of the process."""
    caplog.set_level(logging.INFO)
    check = make_check(openmetrics_endpoint=endpoint.url, serving_system="databricks", readiness=False)
    names = ("zebra_width", *PROCESS, "app_token_total", "request_shiny_total", "aardvark_size")
    endpoint.serve("request_count_total 5\n" + page(*names))
    for _ in range(3):
        assert check.run() == ""
        assert check.warnings == []
    (line,) = told(caplog)
    assert line == (
        f"{endpoint.url}: nobody maps 6 metric(s) of the payload, for example request_shiny_total, "
        "app_token_total, aardvark_size, zebra_width, go_goroutines. To send some, name them in `extra_metrics` or "
        "describe them in a `catalog` file"
    )


def test_new_ones(endpoint: Endpoint, aggregator: Any, datadog_agent: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Metrics that a new version of the server brings are told, but names without end are not."""
    caplog.set_level(logging.INFO)
    check = make_check(openmetrics_endpoint=endpoint.url, serving_system="mlserver", readiness=False)
    endpoint.serve(MLSERVER + page("first_total", *PROCESS))
    for number in range(20):
        assert check.run() == ""
        endpoint.serve(MLSERVER + page("first_total", f"token_{number}_total"))
    lines = told(caplog)
    assert len(lines) == 5
    assert "nobody maps 2 metric(s) of the payload, for example first_total, go_goroutines" in lines[0]
    assert "token_0_total" in lines[1]


@pytest.mark.parametrize(
    "options",
    [
        {"extra_metrics": ["mine_requests", {"mine_size": "mine.size"}]},
        {"extra_metrics": [{"mine_.+": {"type": "gauge"}}]},
        {"exclude_metrics": ["mine_.*"]},
    ],
    ids=["named", "matched", "excluded"],
)
def test_what_the_instance_speaks_of(
    options: dict[str, Any],
    endpoint: Endpoint,
    aggregator: Any,
    datadog_agent: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What an instance names or excludes is not told, nor is what the system ignores or the process has."""
    caplog.set_level(logging.INFO)
    body = "# TYPE mine_requests counter\n" + page("mine_requests_total", "mine_size", *PROCESS)
    endpoint.serve(MLSERVER + body)
    check = make_check(openmetrics_endpoint=endpoint.url, serving_system="mlserver", readiness=False, **options)
    assert check.run() == ""
    assert told(caplog) == []
    assert check.warnings == []


@pytest.mark.parametrize(
    ("system", "body"),
    [
        ("mlserver", page("python_info", "process_cpu_seconds_total")),
        ("mlserver", "# TYPE model_infer_request_success_total counter\n" + page("python_info")),
        ("mlserver", page("go_goroutines", "promhttp_metric_handler_requests_total")),
        ("custom_ml", page("python_info")),
        ("dcgm", page(*PROCESS)),
    ],
)
def test_before_the_first_request(
    system: str, body: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that shows only its process yet is no mistake where the system is named."""
    caplog.set_level(logging.INFO)
    endpoint.serve(body)
    check = make_check(openmetrics_endpoint=endpoint.url, serving_system=system, readiness=False)
    assert check.run() == ""
    assert check.warnings == []
    assert told(caplog) == []


@pytest.mark.parametrize(
    ("options", "body", "said", "unsaid"),
    [
        ({}, page("a_total", "b_token"), "example b_token, a_total. Set `serving_system` (one of", "set already"),
        ({}, page("python_info"), "all metrics are of the process itself, such as python_info", "`serving_system`"),
        (
            {"serving_system": "mlserver"},
            page("foo_size"),
            "is of MLServer, also under Cloud.ru Model RUN, for example foo_size. Name them in `extra_metrics`, or",
            "`serving_system`",
        ),
        (
            {"serving_system": "dcgm"},
            MLSERVER,
            "these look like MLServer, also under Cloud.ru Model RUN, for example model_infer_request_success_total. "
            "If they are, write `serving_system: mlserver`",
            "(one of",
        ),
        (
            {"serving_system": "mine", "catalog": "FILE"},
            page("foo_size"),
            "none of the 1 metrics is of Mine, for example foo_size. Name them in `extra_metrics`, or describe them in "
            "your `catalog` file",
            "a `catalog` file",
        ),
    ],
    ids=["nothing known", "process", "of another kind", "of another system", "own catalog"],
)
def test_nothing_is_mapped(
    options: dict[str, Any],
    body: str,
    said: str,
    unsaid: str,
    endpoint: Endpoint,
    tmp_path: Path,
    aggregator: Any,
    datadog_agent: Any,
) -> None:
    """Where nothing is mapped the Agent's status says so at each run, with what helps and is not set yet."""
    if "catalog" in options:
        file = tmp_path / "mine.yaml"
        file.write_text(
            "system: mine\ntitle: Mine\nmetrics:\n  - {raw: mine_size, type: gauge, to: request.in_flight}\n"
        )
        options = {**options, "catalog": str(file)}
    endpoint.serve(body)
    check = make_check(openmetrics_endpoint=endpoint.url, readiness=False, **options)
    for _ in range(2):
        assert check.run() == ""
        (warning,) = check.warnings
        assert said in warning
        assert unsaid not in warning
        check.warnings.clear()


SAVED = {"kserve": "kserve/0.21.txt", "litellm": "litellm/1.106.txt", "ray_serve": "ray_serve/2.60_serve.txt"}


@pytest.mark.parametrize("system", SAVED)
def test_the_rest(system: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any, tmp_path: Path) -> None:
    """A file of three lines passes on what nobody maps, beside what is mapped, and nothing that is ignored."""
    file = tmp_path / "rest.yaml"
    file.write_text(f"system: {system}\nextends: {system}\nrest: own\n", encoding="utf-8")
    payload = (PAYLOADS / SAVED[system]).read_text(encoding="utf-8")
    own = 'ours_seconds_bucket{le="1"} 2\nours_seconds_bucket{le="+Inf"} 3\nours_seconds_sum 2\nours_seconds_count 3\n'
    payload += f"# TYPE ours_seconds histogram\n{own}# TYPE ours:total counter\nours:total 4\nundeclared 1\n"
    sent = []
    for options in ({}, {"catalog": str(file)}):
        check = make_check(openmetrics_endpoint=endpoint.url, serving_system=system, readiness=False, **options)
        for line in ("", "# TYPE ours_late gauge\nours_late 1\n", "# TYPE ours_late gauge\nours_late 2\n"):
            aggregator.reset()
            endpoint.serve(payload + line)
            assert check.run() == ""
        sent.append({line for line in submissions(aggregator) if " scrape." not in line})
    mapped, all_ = sent
    assert mapped < all_
    names = {line.split()[1] for line in all_ - mapped}
    assert all(name.startswith(f"{system}.") for name in names)
    own_names = {metric.name for metric in builtin_catalog().systems[system].own_metrics}
    assert names.isdisjoint(own_names)
    ours = {f"{system}.ours_seconds{part}" for part in (".sum", ".count")} | {f"{system}.ours_total.count"}
    assert {name for name in names if ".ours" in name} == ours | {f"{system}.ours_late"}
    assert not [name for name in names if "python_" in name or "undeclared" in name]
    states = {state.name: state.state for state in families(next(iter(check.source.scrapers.values())))}
    assert (states["ours_seconds"], states["undeclared"]) == ("mapped", "unknown")


def test_the_rest_beside_other_systems(endpoint: Endpoint, aggregator: Any, datadog_agent: Any, tmp_path: Path) -> None:
    """So is what another system would have that is not there; behind a federation only targets of the system."""
    file = tmp_path / "gateway.yaml"
    entry = "{raw: gateway_active, type: gauge, to: request.in_flight}"
    file.write_text(f"system: gateway\nrest: own\nmetrics:\n  - {entry}\n", encoding="utf-8")
    check = make_check(openmetrics_endpoint=endpoint.url, catalog=str(file), readiness=False)
    ours, others = '{job="gateway",instance="a"}', '{job="node",instance="b"}'
    for value in (1, 2, 3):
        aggregator.reset()
        endpoint.serve(
            f"# TYPE gateway_active gauge\ngateway_active{ours} {value}\n# TYPE model_accuracy gauge\n"
            f"model_accuracy {value}\n# TYPE pool gauge\npool{ours} {value}\npool{others} 7\n"
        )
        assert check.run() == ""
        sent = [line.split()[1:3] for line in submissions(aggregator) if " scrape." not in line]
        assert sorted(sent) == [
            ["gateway.model_accuracy", str(value)],
            ["gateway.pool", str(value)],
            ["request.in_flight", str(value)],
        ]
