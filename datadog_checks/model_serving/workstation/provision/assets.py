"""Files for `assets/`: monitors and dashboards in the form of an integration of Datadog."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .desired import desired
from .model import Resource
from .packs import builtin_packs
from .packs.bodies import INTEGRATION_TAG, monitor_bodies
from .packs.settle import settle
from .values import Values

AUTHOR = "model_serving maintainers"


def assets() -> dict[str, str]:
    """Files for `assets/` in the form of an integration, by their path: monitors and dashboards without values.

    What needs the id of another resource, such as an alert on a burn rate, can't be an asset. A monitor that others
    keep still is one without them.
    """
    files = {}
    values = Values(prefix="")
    entries = {entry.key: entry for pack in builtin_packs().values() for entry in pack.monitors}
    bodies = {one.address: one for one in desired(None, values, optional=True)}
    for key, entry in entries.items():
        if entry.unless and not entry.guards:
            alone = dict(monitor_bodies(settle(entry, values, None), values.prefix))
            bodies[f"monitor:{key}"] = Resource("monitor", key, alone[key])
    for resource in bodies.values():
        body = dict(resource.body)
        name = resource.key.replace(".", "_")
        if resource.kind == "monitor" and resource.key in entries and not resource.references():
            entry = entries[resource.key]
            monitor = {
                "version": 2,
                "created_at": entry.created,
                "last_updated_at": entry.created,
                "title": entry.title,
                "description": entry.watches,
                "tags": [INTEGRATION_TAG],
                "definition": body,
            }
            files[f"assets/monitors/{name}.json"] = _json(monitor)
        elif resource.kind == "dashboard":
            files[f"assets/dashboards/{name}.json"] = _json({**without_references(body), "author_name": AUTHOR})
    return files


def without_references(body: Mapping[str, Any]) -> dict[str, Any]:
    """A dashboard without the widgets that show resources whose ids are known only within an account."""
    groups = []
    for group in body["widgets"]:
        inner = [widget for widget in group["definition"]["widgets"] if "${" not in json.dumps(widget)]
        groups.append({**group, "definition": {**group["definition"], "widgets": inner}})
    return {**body, "widgets": groups}


def _json(value: Any) -> str:
    return json.dumps(value, indent=4, ensure_ascii=False) + "\n"
