"""What a person is told of each family of a payload: one case for each state that there is."""

from __future__ import annotations

from typing import Any

import pytest

from datadog_checks.model_serving.scrape import inventory
from datadog_checks.model_serving.scrape.inventory import FamilyState, families

from ..conftest import Endpoint, make_check

SUCCESS = 'model_infer_request_success_total{model="m"} 4'
"""What proves MLServer."""

CASES: dict[str, tuple[str, dict[str, Any], FamilyState]] = {
    "mapped": (
        f'{SUCCESS}\nmodel_infer_request_success_total{{model="n"}} 5',
        {},
        FamilyState(
            "model_infer_request_success_total",
            inventory.MAPPED,
            ("request.count",),
            2,
            raw="model_infer_request_success",
        ),
    ),
    "mapped, behind a prefix": (
        f"acme:{SUCCESS}\nacme:parallel_request_queue_count 1",
        {},
        FamilyState(
            "acme:model_infer_request_success_total",
            inventory.MAPPED,
            ("request.count",),
            1,
            raw="model_infer_request_success",
        ),
    ),
    "mapped, in pieces without a type": (
        f"{SUCCESS}\nmodel_infer_request_duration_sum 2\nmodel_infer_request_duration_count 4",
        {},
        FamilyState(
            "model_infer_request_duration",
            inventory.MAPPED,
            ("request.inference.latency",),
            1,
            raw="model_infer_request_duration",
        ),
    ),
    "mapped, without its quantiles": (
        f'{SUCCESS}\n# TYPE model_infer_request_duration summary\nmodel_infer_request_duration{{quantile="0.9"}} 1\n'
        "model_infer_request_duration_sum 2\nmodel_infer_request_duration_count 4",
        {},
        FamilyState(
            "model_infer_request_duration",
            inventory.MAPPED,
            ("request.inference.latency",),
            1,
            why=inventory.QUANTILES,
            raw="model_infer_request_duration",
        ),
    ),
    "mapped, with a sample that is refused": (
        f'{SUCCESS}\nrest_server_requests_in_progress{{method="GET"}} 1\nrest_server_requests_in_progress NaN',
        {},
        FamilyState(
            "rest_server_requests_in_progress",
            inventory.MAPPED,
            ("request.in_flight",),
            1,
            (("non_finite", 1),),
            raw="rest_server_requests_in_progress",
        ),
    ),
    "declared": (
        f"# TYPE model_infer_request_failure counter\n{SUCCESS}",
        {},
        FamilyState(
            "model_infer_request_failure",
            inventory.MAPPED,
            ("request.count", "request.error.count"),
            why="declared, without a series yet",
            raw="model_infer_request_failure",
        ),
    ),
    "named by the instance alone": (
        f"{SUCCESS}\nfraud_score 3",
        {"extra_metrics": [{"fraud_score": {"name": "fraud.score", "type": "gauge"}}]},
        FamilyState("fraud_score", inventory.NAMED, why="`metrics` or `extra_metrics`"),
    ),
    "unknown": (f"{SUCCESS}\nfraud_score 3", {}, FamilyState("fraud_score", inventory.UNKNOWN)),
    "unknown, in pieces without a type": (
        f"{SUCCESS}\nfraud_score_sum 3\nfraud_score_count 3",
        {},
        FamilyState("fraud_score", inventory.UNKNOWN),
    ),
    "of the process": (
        f"{SUCCESS}\ngo_goroutines 3",
        {},
        FamilyState("go_goroutines", inventory.UNKNOWN, why="of the process itself"),
    ),
    "not sure": (
        "model_accuracy 0.9\nprediction_mean 3",
        {},
        FamilyState("model_accuracy", inventory.UNPROVEN, why="perhaps of Custom ML exporter"),
    ),
    "ignored by the catalog": (
        f"{SUCCESS}\npython_info 1",
        {},
        FamilyState(
            "python_info",
            inventory.IGNORED,
            why="of the process itself",
        ),
    ),
    "a time of creation": (
        f"{SUCCESS}\nfraud_score_created 1.7e9",
        {},
        FamilyState("fraud_score_created", inventory.IGNORED, why="the time of creation is no measurement"),
    ),
    "a bare value that carries nothing": (
        ":tensorflow:serving:request_count 1\n:tensorflow:serving:batching_session:padding_size 0",
        {},
        FamilyState(
            ":tensorflow:serving:batching_session:padding_size",
            inventory.IGNORED,
            why="a bare value, where a histogram would say something",
            raw=":tensorflow:serving:batching_session:padding_size",
        ),
    ),
    "wrong type": (
        f"{SUCCESS}\nparallel_request_queue 3",
        {},
        FamilyState(
            "parallel_request_queue",
            inventory.WRONG_TYPE,
            refused=(("wrong_type", 1),),
            why="comes as a plain value, but is a histogram of mlserver",
            raw="parallel_request_queue",
        ),
    ),
    "refused": (
        f"{SUCCESS}\nrest_server_requests_in_progress NaN",
        {},
        FamilyState(
            "rest_server_requests_in_progress",
            inventory.REFUSED,
            refused=(("non_finite", 1),),
            raw="rest_server_requests_in_progress",
        ),
    ),
    "excluded": (
        f"{SUCCESS}\nrest_server_requests_in_progress 3",
        {"exclude_metrics": ["rest_server_requests_in_progress"]},
        FamilyState("rest_server_requests_in_progress", inventory.EXCLUDED, why="`exclude_metrics`"),
    ),
    "excluded by the name of the whole": (
        f"{SUCCESS}\nparallel_request_queue_sum 3\nparallel_request_queue_count 3",
        {"exclude_metrics": ["parallel_request_queue"]},
        FamilyState("parallel_request_queue", inventory.EXCLUDED, why="`exclude_metrics`"),
    ),
    "excluded by its labels": (
        f'{SUCCESS}\nrest_server_requests_in_progress{{method="GET"}} 3',
        {"exclude_metrics_by_labels": {"method": ["GET"]}},
        FamilyState(
            "rest_server_requests_in_progress",
            inventory.EXCLUDED,
            why="`exclude_metrics_by_labels`",
            raw="rest_server_requests_in_progress",
        ),
    ),
    "excluded by the name that it has in Datadog": (
        f"{SUCCESS}\nrest_server_requests_in_progress 3",
        {"metric_patterns": {"exclude": ["in_flight"]}},
        FamilyState(
            "rest_server_requests_in_progress",
            inventory.EXCLUDED,
            ("request.in_flight",),
            1,
            why="`metric_patterns`",
            raw="rest_server_requests_in_progress",
        ),
    ),
    "not used": (
        f'{SUCCESS}\nrest_server_requests_total{{app_name="other"}} 3',
        {},
        FamilyState(
            "rest_server_requests_total",
            inventory.UNUSED,
            (),
            1,
            why="the catalog has a use only for series with other labels, or beside other metrics",
            raw="rest_server_requests",
        ),
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("scrapes", [1, 3])
def test_state(case: str, scrapes: int, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """A family's state is the same whether its lines were parsed or known from the scrape before."""
    text, options, expected = CASES[case]
    endpoint.serve(f"{text}\n")
    check = make_check(openmetrics_endpoint=endpoint.url, readiness=False, **options)
    for _ in range(scrapes):
        assert check.run() == ""
    [scraper] = check.source.scrapers.values()
    found = {state.name: state for state in families(scraper)}
    assert found[expected.name] == expected


def test_every_state_has_a_case() -> None:
    """But that of two systems, which needs a catalog file."""
    assert {state.state for _, _, state in CASES.values()} == set(inventory.STATES) - {inventory.AMBIGUOUS}


def test_what_two_systems_have(endpoint: Endpoint, aggregator: Any, datadog_agent: Any, tmp_path: Any) -> None:
    """With `serving_system: auto` a name that two systems of the payload have is of neither."""
    own = tmp_path / "own.yaml"
    own.write_text(
        "system: twin\nmetrics:\n  - {raw: model_infer_request_success_total, type: counter, to: request.count}\n",
        "utf-8",
    )
    endpoint.serve(f"{SUCCESS}\nparallel_request_queue_count 1\n")
    check = make_check(openmetrics_endpoint=endpoint.url, catalog=str(own), readiness=False)
    assert check.run() == ""
    [scraper] = check.source.scrapers.values()
    [state] = [state for state in families(scraper) if state.name == "model_infer_request_success_total"]
    assert state.state == inventory.AMBIGUOUS
    assert "twin" in state.why
    assert "MLServer" in state.why


def test_a_broken_line_and_a_failed_scrape_are_no_families(
    endpoint: Endpoint, aggregator: Any, datadog_agent: Any
) -> None:
    endpoint.serve(f"{SUCCESS}\nfoo bar baz\n")
    check = make_check(openmetrics_endpoint=endpoint.url, readiness=False)
    check.run()
    [scraper] = check.source.scrapers.values()
    assert [state.name for state in families(scraper)] == ["model_infer_request_success_total"]
    endpoint.serve("", status=500)
    assert check.run()
    assert families(scraper) == []
