"""Per system, from payload to exact submissions: every case of tests/tables/*.yaml, scrape by scrape."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from datadog_checks.model_serving.scrape import collector
from datadog_checks.model_serving.submit import submitter, validate

from ..conftest import Endpoint, in_buckets, make_check, submissions
from .generated import Clock
from .tables import cases, payload_of, spelt_out, submissions_of

NOTHING_WRONG: dict[str, list[str]] = {"missing": [], "unexpected": []}
ALWAYS = ("serving_system", "endpoint_name")


@pytest.mark.parametrize(("table", "case"), cases())
def test_case(
    table: dict[str, Any],
    case: dict[str, Any],
    endpoint: Endpoint,
    aggregator: Any,
    datadog_agent: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A case's scrapes submit exactly what its table says, no more and no less."""
    instance = {
        "openmetrics_endpoint": endpoint.url,
        "tag_by_endpoint": False,
        "readiness": False,
        **table.get("instance", {}),
        **case.get("instance", {}),
    }
    hidden = tuple(tag for tag in ALWAYS if tag not in case.get("show", ()))
    check = make_check(**instance)
    for number, scrape in enumerate(spelt_out(case), 1):
        where = f"scrape {number}"
        aggregator.reset()
        if scrape.get("restart"):
            check = make_check(**instance)
        if "at" in scrape:
            for module in (collector, submitter, validate):
                monkeypatch.setattr(module, "time", Clock(float(scrape["at"])))
        options = {key: scrape[key] for key in ("content_type", "status") if key in scrape}
        endpoint.serve(payload_of(scrape), **options)
        report = check.run()
        if "error" in scrape:
            assert scrape["error"] in report, where
        else:
            assert report == "", where
        for text in scrape.get("warns", ()):
            assert any(text in warning for warning in check.warnings), (where, check.warnings)
        check.warnings.clear()
        lines = list(submissions_of(scrape.get("expect"), table.get("constant", ())))
        got, due = (Counter(in_buckets(found, lines)) for found in (submissions(aggregator, hidden), lines))
        assert {"missing": [*(due - got).elements()], "unexpected": [*(got - due).elements()]} == NOTHING_WRONG, where
        wanted = scrape.get("events", [])
        events = [shown(event, hidden) for event in aggregator.events]
        assert [event["msg_title"] for event in events] == [event["msg_title"] for event in wanted], where
        for event, fields in zip(events, wanted, strict=True):
            assert {field: event[field] for field in fields} == fields, where


def shown(event: dict[str, Any], hidden: tuple[str, ...]) -> dict[str, Any]:
    """An event with its tags as one text, sorted, without the hidden ones."""
    tags = sorted(tag for tag in event["tags"] if tag.partition(":")[0] not in hidden)
    return {**event, "tags": " ".join(tags)}
