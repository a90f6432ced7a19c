"""What the specification of the API doesn't allow is found without a call."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from datadog_checks.model_serving.workstation.provision.desired import desired
from datadog_checks.model_serving.workstation.provision.mistakes import checked
from datadog_checks.model_serving.workstation.provision.model import Resource, mark
from datadog_checks.model_serving.workstation.provision.specification import violation

from .resources import availability, composite, dashboard, downtime, every_kind, rule


def otherwise(resource: Resource, **fields: Any) -> Resource:
    return replace(resource, body={**resource.body, **fields})


@pytest.mark.parametrize("resource", checked(every_kind()), ids=lambda one: one.address)
def test_what_is_right_is_taken(resource: Resource) -> None:
    assert violation(resource) == ""


def test_the_slos_that_ship_are_right() -> None:
    assert [violation(one) for one in checked(desired(["slo"])) if one.kind == "slo"] == ["", ""]


PRESET = {"name": "all", "template_variables": [{"name": "env", "values": []}]}
WRONG: list[tuple[str, Resource, str]] = [
    ("a type", otherwise(composite(), priority="high"), "'priority'"),
    ("a type far inside", otherwise(composite(), options={"renotify_interval": "5"}), "'renotify_interval'"),
    ("a value of an enumeration", otherwise(composite(), type="nope"), "body.type"),
    ("one far inside", otherwise(composite(), options={"on_missing_data": "nope"}), "body.options.on_missing_data"),
    ("a widget", dashboard(widgets=[{"definition": {"type": "nope"}}]), "body.widgets[0]"),
    ("too few values", dashboard(template_variable_presets=[PRESET]), "greater than or equal to `1`"),
    ("a layout", dashboard(layout_type="nope"), "body.layout_type"),
    ("an SLO", availability(type="nope"), "body.type"),
    ("something missing", replace(composite(), body={"name": "x", "type": "composite"}), "query must be there"),
    ("a downtime", downtime(schedule={"starts": "2026-01-01T00:00"}), "schedule"),
    ("how long it is", downtime(schedule={"recurrences": [{"rrule": "FREQ=DAILY"}]}), "schedule"),
    ("a rule", otherwise(rule(), data={"type": "nope", "attributes": {}}), "name must be there"),
]


@pytest.mark.parametrize(("resource", "words"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_what_is_wrong_is_named(resource: Resource, words: str) -> None:
    assert words in violation(mark(resource) if resource.kind == "downtime" else resource)
