"""Resources as files: JSON for a person, and a Terraform configuration around it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...errors import ProvisionError
from ..files import json_text
from .model import KEY_TAG, REFERENCE, Resource, attributes, enveloped
from .schedules import to_send
from .state import metric_of
from .writes import FRESH_PERCENTILES, UNUSED_TAG

FOLDERS = {
    "percentiles": "percentiles",
    "slo": "slos",
    "monitor": "monitors",
    "dashboard": "dashboards",
    "notification_rule": "notification_rules",
    "downtime": "downtimes",
}
STACK_TAG = "model_serving_stack"
TERRAFORM = "model_serving.tf.json"
TYPES = {
    "percentiles": "datadog_metric_tag_configuration",
    "slo": "datadog_service_level_objective",
    "monitor": "datadog_monitor_json",
    "dashboard": "datadog_dashboard_json",
    "notification_rule": "datadog_monitor_notification_rule",
    "downtime": "datadog_downtime_schedule",
}
"""Resource types of Terraform's provider DataDog/datadog."""

PERCENTILES = {**FRESH_PERCENTILES, "tags": [UNUSED_TAG]}
"""Nobody is there to try another form where an empty list of tags to hide is refused."""


def export_files(resources: Iterable[Resource], stack: str = "") -> dict[str, str]:
    """Texts by path: one JSON file per resource, in the form that the API's create call and, for monitors and
    dashboards, the import of the user interface take, and one Terraform configuration that makes all of them.

    A reference stays as `${slo:key}` in the JSON; Terraform puts the id there, a person has to. What is of a `stack`
    bears no mark, but a tag by which its notification rules and downtimes leave monitors of other stacks alone. A
    downtime that has begun starts at once, or where it recurs the next time, since Datadog plans none in the past.
    """
    files = {}
    blocks: dict[str, dict[str, Any]] = {}
    for resource in (_of_stack(one, stack) if stack else one for one in map(_importable, resources)):
        path = f"{FOLDERS[resource.kind]}/{resource.key}.json"
        files[path] = json_text(_whole(resource))
        block = _BLOCKS[resource.kind](resource, path)
        blocks.setdefault(TYPES[resource.kind], {})[label(resource.key)] = block
    provider = {"required_providers": {"datadog": {"source": "DataDog/datadog"}}}
    return {**files, TERRAFORM: json_text({"terraform": [provider], "resource": blocks})}


def left_over(directory: Path, files: Collection[str]) -> list[str]:
    """Paths below the directory that look like those of another export, and are none of these files: whoever imports
    the folder would import them, too. A folder that is a symbolic link can't be written to, and isn't looked into."""
    folders = [one for name in FOLDERS.values() if not (one := directory / name).is_symlink()]
    there = (path for folder in folders for path in folder.glob("*.json"))
    return sorted(name for path in there if (name := path.relative_to(directory).as_posix()) not in files)


def _importable(resource: Resource) -> Resource:
    """A downtime of one monitor names it by its id: what is exported has no tag with a key. It starts when Datadog can
    still plan it."""
    if resource.kind != "downtime":
        return resource
    own = dict(attributes(resource.body))
    own["schedule"] = to_send(own["schedule"], datetime.now(UTC))
    tags = [str(tag) for tag in own["monitor_identifier"]["monitor_tags"]]
    keys = [tag.partition(":")[2] for tag in tags if tag.startswith(f"{KEY_TAG}:")]
    identifier = {"monitor_id": f"${{monitor:{keys[0]}}}"} if keys else {"monitor_tags": tags}
    return replace(resource, body={**own, "monitor_identifier": identifier})


def _of_stack(resource: Resource, stack: str) -> Resource:
    tag = f"{STACK_TAG}:{stack}"
    if resource.kind == "notification_rule":
        own = attributes(resource.body)
        wanted = own["filter"]
        return replace(resource, body={**own, "filter": {**wanted, "scope": f"{tag} AND {wanted['scope']}"}})
    if resource.kind == "downtime" and "monitor_tags" in resource.body["monitor_identifier"]:
        tags = [tag, *resource.body["monitor_identifier"]["monitor_tags"]]
        return replace(resource, body={**resource.body, "monitor_identifier": {"monitor_tags": tags}})
    if resource.kind == "monitor":
        return replace(resource, body={**resource.body, "tags": [*resource.body["tags"], tag]})
    return resource


def label(key: str) -> str:
    """A key as a name in Terraform, where dots separate."""
    name = re.sub(r"[^a-z0-9_-]", "_", key)
    return name if re.match(r"[a-z_]", name) else f"_{name}"


def _whole(resource: Resource) -> Mapping[str, Any]:
    """The body of the API's create call."""
    if resource.kind == "percentiles":
        return enveloped("manage_tags", PERCENTILES, metric_of(resource))
    if resource.kind == "notification_rule":
        return enveloped("monitor-notification-rule", attributes(resource.body))
    if resource.kind == "downtime":
        return enveloped("downtime", resource.body)
    return resource.body


def _identity(address: str) -> str:
    kind, _, key = address.partition(":")
    return f"{TYPES[kind]}.{label(key)}.id"


def _file(resource: Resource, path: str) -> str:
    """An expression for the text of the file, with ids in place of references."""
    text = f'file("${{path.module}}/{path}")'
    for address in sorted(resource.references()):
        text = f'replace({text}, "$${{{address}}}", {_identity(address)})'
    return f"${{{text}}}"


def _literal(value: Any) -> Any:
    """A value for Terraform's JSON, where `${` and `%{` begin an expression: only references become one."""
    if isinstance(value, str):
        parts = []
        last = 0
        for match in REFERENCE.finditer(value):
            parts += [_escaped(value[last : match.start()]), f"${{{_identity(match.group(1))}}}"]
            last = match.end()
        return "".join(parts) + _escaped(value[last:])
    if isinstance(value, Mapping):
        return {key: _literal(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_literal(item) for item in value]
    return value


def _escaped(text: str) -> str:
    return text.replace("${", "$${").replace("%{", "%%{")


def _picked(body: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: _literal(body[name]) for name in names if body.get(name) not in (None, [], "")}


def _percentiles(resource: Resource, path: str) -> dict[str, Any]:
    return {"metric_name": metric_of(resource), **PERCENTILES}


def _slo(resource: Resource, path: str) -> dict[str, Any]:
    body = resource.body
    block = _picked(body, "name", "type", "description", "tags", "query", "monitor_ids", "groups")
    block["thresholds"] = [_picked(one, "timeframe", "target", "warning") for one in body["thresholds"]]
    specification = body.get("sli_specification")
    if specification is None:
        return block
    if set(specification) != {"time_slice"}:
        raise ProvisionError(
            f"{resource.address}: Terraform has no form for sli_specification.{next(iter(specification))}"
        )
    part = specification["time_slice"]
    block["sli_specification"] = {
        "time_slice": {
            **_picked(part, "comparator", "threshold", "query_interval_seconds"),
            "query": {
                "formula": [{"formula_expression": _literal(one["formula"])} for one in part["query"]["formulas"]],
                "query": [
                    {"metric_query": _picked(one, "name", "query", "data_source")} for one in part["query"]["queries"]
                ],
            },
        }
    }
    return block


def _monitor(resource: Resource, path: str) -> dict[str, Any]:
    return {"monitor": _file(resource, path)}


def _dashboard(resource: Resource, path: str) -> dict[str, Any]:
    return {"dashboard": _file(resource, path)}


def _rule(resource: Resource, path: str) -> dict[str, Any]:
    own = attributes(resource.body)
    return _picked(own, "name", "recipients", "filter", "conditional_recipients")


def _downtime(resource: Resource, path: str) -> dict[str, Any]:
    own = resource.body
    schedule = own["schedule"]
    block = _picked(own, "scope", "message", "monitor_identifier", "display_timezone")
    if "recurrences" in schedule:
        return {
            **block,
            "recurring_schedule": {"timezone": schedule["timezone"], "recurrence": schedule["recurrences"]},
        }
    # The provider takes the moment in this form alone.
    times = {name: value.replace("+00:00", "Z") for name, value in schedule.items()}
    return {**block, "one_time_schedule": times}


_BLOCKS = {
    "percentiles": _percentiles,
    "slo": _slo,
    "monitor": _monitor,
    "dashboard": _dashboard,
    "notification_rule": _rule,
    "downtime": _downtime,
}
