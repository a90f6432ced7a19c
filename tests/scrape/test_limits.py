"""Limits on a payload: what is beyond one is refused as a whole, and nothing of it is remembered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ..conftest import Endpoint, make_check, submissions

NAME = "model_infer_request_success_total"


def lines(count: int, label: str = "m") -> str:
    """So many samples, among lines that are none."""
    samples = [f'{NAME}{{model="{label}{number}"}} {number}\n' for number in range(count)]
    return f"# HELP {NAME} text\n# TYPE {NAME} counter\n\n" + "\n# a comment\n".join(samples)


def check_of(endpoint: Endpoint, **options: Any) -> Any:
    return make_check(openmetrics_endpoint=endpoint.url, serving_system="mlserver", readiness=False, **options)


def message(check: Any) -> str:
    report = check.run()
    return str(json.loads(report)[0]["message"]) if report else ""


@pytest.mark.parametrize(
    ("options", "within", "beyond", "words"),
    [
        ({"sample_limit": 10}, lines(10), lines(11), "more samples than `sample_limit` (10)"),
        (
            {"label_limit": 2},
            f'{NAME}{{model="m",a="1"}} 1\n',
            lines(3) + f'{NAME}{{model="m",a="1",b="2"}} 1\n',
            "has 3 labels, more than `label_limit` (2)",
        ),
        (
            {"label_value_length_limit": 5},
            f'{NAME}{{model="12345"}} 1\n',
            lines(3) + f'{NAME}{{model="123456"}} 1\n',
            "a label 'model' of 6 characters, more than `label_value_length_limit` (5)",
        ),
    ],
    ids=["samples", "labels", "values"],
)
def test_a_limit(
    options: dict[str, int],
    within: str,
    beyond: str,
    words: str,
    endpoint: Endpoint,
    aggregator: Any,
    datadog_agent: Any,
) -> None:
    """At the limit all is well. Beyond it nothing is submitted, nothing kept, and what was known goes on."""
    check = check_of(endpoint, **options)
    endpoint.serve(within)
    assert message(check) == ""
    (scraper,) = check.scrapers.values()
    known = set(scraper.collector.series)
    assert known
    endpoint.serve(beyond.replace('model="m', 'model="n'))
    aggregator.reset()
    found = message(check)
    assert words in found
    assert "raise the option" in found
    assert [line for line in submissions(aggregator) if ".rejected" not in line] == []
    assert set(scraper.collector.series) == known
    endpoint.serve(within)
    aggregator.reset()
    assert message(check) == ""
    assert [line for line in submissions(aggregator) if "request.count" in line]


def test_no_more_series_are_remembered_than_a_payload_may_have(
    endpoint: Endpoint, aggregator: Any, datadog_agent: Any
) -> None:
    """With new series in every scrape those that were seen last are kept."""
    check = check_of(endpoint, sample_limit=10)
    for number in range(6):
        endpoint.serve(lines(4, f"{number}-"))
        assert message(check) == ""
        (scraper,) = check.scrapers.values()
        assert len(scraper.collector.series) <= 10
    models = {dict(identity)["model"] for _, identity in scraper.collector.series}
    assert {f"5-{number}" for number in range(4)} <= models


def test_tags_are_as_long_as_datadog_keeps_them(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    endpoint.serve(f'{NAME}{{model="m",a="{"x" * 1000}"}} 1\n')
    check = check_of(endpoint)
    assert message(check) == ""
    endpoint.serve(f'{NAME}{{model="m",a="{"x" * 1000}"}} 3\n')
    assert message(check) == ""
    (line,) = [line for line in submissions(aggregator) if "request.count" in line]
    assert f" a:{'x' * 198} " in line
