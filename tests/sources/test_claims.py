"""Two instances of one Agent that read the same URL are told of it, for as long as both do."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from datadog_checks.model_serving import ModelServingCheck

from ..conftest import Endpoint, make_check

PAGE = "cpu_usage_percentage 7\n"


def reader(url: str, **options: Any) -> ModelServingCheck:
    return make_check(openmetrics_endpoint=url, serving_system="databricks", readiness=False, **options)


def run(check: ModelServingCheck) -> list[str]:
    """The warnings of a run, which has to succeed."""
    check.warnings.clear()
    assert check.run() == ""
    return list(check.warnings)


def test_two_instances(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """The later one is warned at each run, until the earlier one ends."""
    endpoint.serve(PAGE)
    first, second = reader(endpoint.url), reader(endpoint.url, tags=["a:b"])
    for _ in range(2):
        assert run(first) == []
        (warning,) = run(second)
        assert warning.startswith(f"{endpoint.url} is also read by another instance")
        assert "keep one of them" in warning
    first.cancel()
    assert run(second) == []
    # As after a reload: what is no more can't be cancelled either.
    del second
    gc.collect()
    assert run(reader(endpoint.url)) == []


def test_one_of_several(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """URLs of a list count one by one, and secrets in them are not shown."""
    for path in "abc":
        endpoint.serve(PAGE, f"/{path}?token=geheim")
    urls = [f"http://127.0.0.1:{endpoint.port}/{path}?token=geheim" for path in "abc"]
    options = {"serving_system": "databricks", "readiness": False}
    first = make_check(openmetrics_endpoints=urls[:2], **options)
    second = make_check(openmetrics_endpoints=urls, **options)
    try:
        assert run(first) == []
        (warning,) = run(second)
        assert warning.startswith(f"http://127.0.0.1:{endpoint.port}/a and 1 more URLs are also read")
        assert "geheim" not in warning
    finally:
        first.cancel()
        second.cancel()


def test_other_urls(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Another query, or another virtual host, is another source."""
    for path in ("/metrics", "/metrics?a=1"):
        endpoint.serve(PAGE, path)
    checks = [
        reader(endpoint.url),
        reader(f"{endpoint.url}?a=1"),
        reader(endpoint.url, headers={"Host": "other.example"}),
    ]
    assert [run(check) for check in checks] == [[], [], []]


@pytest.mark.parametrize(
    ("options", "interval", "warned"),
    [
        ({"serving_system": "databricks"}, 300, True),
        ({"serving_system": "databricks"}, 60, False),
        ({"serving_system": "databricks"}, None, False),
        ({"serving_system": "mlserver"}, 300, False),
    ],
)
def test_interval(
    options: dict[str, Any], interval: int | None, warned: bool, endpoint: Endpoint, aggregator: Any, datadog_agent: Any
) -> None:
    """An interval that misses minutes of Databricks is a warning."""
    endpoint.serve(PAGE)
    if interval is not None:
        options = {**options, "min_collection_interval": interval}
    check = make_check(openmetrics_endpoint=endpoint.url, readiness=False, **options)
    assert check.run() == ""
    told = [warning for warning in check.warnings if "`min_collection_interval: 300` misses minutes" in warning]
    assert len(told) == warned
