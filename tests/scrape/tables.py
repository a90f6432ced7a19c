"""Reads tests/tables/*.yaml: per system, from payload to exact submissions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

TABLES = Path(__file__).parents[1] / "tables"
SHARED = ("process.", "scrape.")
"""Beginnings of metrics that are of no system, and so without the constant tags of one."""

PAYLOADS = Path(__file__).parents[1] / "fixtures" / "payloads"


def cases() -> list[Any]:
    """Each case as (table, case).

    A table is `{instance, constant, cases}`, where `constant` are tags that all submissions of its system
    have; a case is `{name, instance, show, scrapes}`; a scrape is
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


def submissions_of(expect: list[Any] | None, constant: Sequence[str] = ()) -> Iterator[str]:
    """Each line of `expect` as `submissions` writes it, with the `constant` tags of its table."""
    for entry in expect or ():
        if isinstance(entry, str):
            # A value may have spaces.
            start, *tags = re.split(r" (?=\w+:)", entry)
            shared = start.split(" ")[1].startswith(SHARED)
            yield " ".join([start, *sorted([*tags, *(() if shared else constant)])])
            continue
        for line in entry["lines"]:
            kind, name, value, *tags = line.split(" ")
            shared = name.startswith(SHARED)
            yield " ".join([kind, name, value, *sorted([*tags, *entry["with"], *(() if shared else constant)])])
