"""Per system, from payload to exact submissions: every case of tests/tables/*.yaml, scrape by scrape."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from datadog_checks.model_serving.scrape import submit

from ..conftest import Endpoint, in_buckets, make_check, submissions

TABLES = Path(__file__).parents[1] / "tables"
PAYLOADS = Path(__file__).parents[1] / "fixtures" / "payloads"
NOTHING_WRONG: dict[str, list[str]] = {"missing": [], "unexpected": []}
ALWAYS = ("serving_system", "endpoint_name")


def cases() -> list[Any]:
    """Each case as (table, case).

    A table is `{instance, cases}`; a case is `{name, instance, show, scrapes}`; a scrape is
    `{payload, file, content_type, at, status, restart, expect, events, error, warns}`. `file` names a
    payload of the fixtures, `at` is the clock of the scrape in seconds, `restart` starts the Agent anew
    with its persistent cache, and `expect` lists every submission but telemetry, without the tags
    serving_system and endpoint_name unless these are in `show`. `{with, lines}` in place of a submission
    adds the tags `with` to each of `lines`. `events` gives of each event the fields to compare.

    A case for many raw metrics has `rows` in place of `scrapes`, see `spelt_out`.
    """
    found = []
    for path in sorted(TABLES.glob("*.yaml")):
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
        found += [pytest.param(table, case, id=f"{path.stem}: {case['name']}") for case in table["cases"]]
    return found


def spelt_out(case: dict[str, Any]) -> list[dict[str, Any]]:
    """The scrapes of a case.

    A row reads `name value -> submission` or `name before after -> submission`: two scrapes of untyped
    samples, all with the case's `labels`. The first holds every value or `before` and owes only the
    submissions of rows with one value; the second holds `after` and owes them all. Each submission also
    has the tags in `with`; a row without one must submit nothing.
    """
    if "rows" not in case:
        return list(case["scrapes"])
    scrapes: list[dict[str, Any]] = [{"payload": "", "expect": []}, {"payload": "", "expect": []}]
    for row in case["rows"]:
        sample, _, submission = row.partition("->")
        name, *values = sample.split()
        for scrape, value in zip(scrapes, (values[0], values[-1]), strict=True):
            scrape["payload"] += f"{name}{{{case['labels']}}} {value}\n"
            if submission.strip() and (scrape is scrapes[1] or len(values) == 1):
                scrape["expect"].append({"with": case["with"], "lines": [submission.strip()]})
    return scrapes


def payload_of(scrape: dict[str, Any]) -> str:
    if "file" in scrape:
        return (PAYLOADS / scrape["file"]).read_text(encoding="utf-8")
    return str(scrape.get("payload", ""))


def submissions_of(expect: list[Any] | None) -> Iterator[str]:
    """Each line of `expect` as `submissions` writes it."""
    for entry in expect or ():
        if isinstance(entry, str):
            yield entry
            continue
        for line in entry["lines"]:
            kind, name, value, *tags = line.split(" ")
            yield " ".join([kind, name, value, *sorted([*tags, *entry["with"]])])


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
            monkeypatch.setattr(submit, "time", Clock(float(scrape["at"])))
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
        lines = list(submissions_of(scrape.get("expect")))
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


class Clock:
    """Stands in for the module `time`, with a clock that the table sets."""

    monotonic = staticmethod(time.monotonic)

    def __init__(self, now: float) -> None:
        self.now = now

    def time(self) -> float:
        return self.now
