"""Per system, from payload to exact submissions: every case of tests/tables/*.yaml, scrape by scrape."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from datadog_checks.model_serving.scrape import submit

from ..conftest import Endpoint, make_check, submissions

TABLES = Path(__file__).parents[1] / "tables"
ALWAYS = ("serving_system", "endpoint_name")


def cases() -> list[Any]:
    """Each case as (table, case).

    A table is `{instance, cases}`; a case is `{name, instance, show, scrapes}`; a scrape is
    `{payload, content_type, at, status, restart, expect, events, error, warns}`. `at` is the clock
    of the scrape in seconds, `restart` starts the Agent anew with its persistent cache, and `expect`
    lists every submission but telemetry, without the tags serving_system and endpoint_name unless
    these are in `show`.
    """
    found = []
    for path in sorted(TABLES.glob("*.yaml")):
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
        found += [pytest.param(table, case, id=f"{path.stem}: {case['name']}") for case in table["cases"]]
    return found


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
    for number, scrape in enumerate(case["scrapes"], 1):
        where = f"scrape {number}"
        aggregator.reset()
        if scrape.get("restart"):
            check = make_check(**instance)
        if "at" in scrape:
            monkeypatch.setattr(submit, "time", Clock(float(scrape["at"])))
        options = {key: scrape[key] for key in ("content_type", "status") if key in scrape}
        endpoint.serve(scrape.get("payload", ""), **options)
        report = check.run()
        if "error" in scrape:
            assert scrape["error"] in report, where
        else:
            assert report == "", where
        for text in scrape.get("warns", ()):
            assert any(text in warning for warning in check.warnings), (where, check.warnings)
        check.warnings.clear()
        assert submissions(aggregator, hidden) == sorted(scrape.get("expect") or []), where
        events = [event["msg_title"] for event in aggregator.events]
        assert events == scrape.get("events", []), where


class Clock:
    """Stands in for the module `time`, with a clock that the table sets."""

    monotonic = staticmethod(time.monotonic)

    def __init__(self, now: float) -> None:
        self.now = now

    def time(self) -> float:
        return self.now
