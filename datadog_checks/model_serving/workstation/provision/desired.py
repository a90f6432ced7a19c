"""Everything that an account should have: the packs that were chosen, with the user's values and routing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import OptionError
from .document import suggestion
from .model import OWNER_TAG, Resource
from .packs import MonitorEntry, Pack, SloEntry, builtin_packs
from .packs.bodies import INTEGRATION_TAG, monitor_body, monitor_tags, slo_body
from .packs.settle import Settled, settle, settle_slo
from .routing import Routing, check_routing, handles, notification_rules
from .values import OWN_TAGS, SloValues, Values, read_values
from .widgets import Shown, dashboard_body

AUTHOR = "model_serving maintainers"
PERCENTILE = re.compile(r"\bp\d+(?:\.\d+)?:(model_serving\.[\w.]+)")


def load_values(path: str | Path) -> Values:
    """Read a values file and try it on every pack. Raises DocumentError with the file, the key and the mend."""
    values = read_values(path)
    # Whatever of the packs is chosen later: a value that can't be is wrong now.
    desired(list(builtin_packs()), values)
    return values


def desired(
    packs: Sequence[str] | None, values: Values | None = None, routing: Routing | None = None, optional: bool = False
) -> list[Resource]:
    """The resources of the packs, or without any of those that the values name, or else of all.

    Monitors that are for those who ask for them are there where the values do, or with `optional`.

    Raises OptionError about a pack that does not exist, DocumentError about values and routes that are impossible.
    """
    values = values or Values()
    chosen = _chosen(packs, values)
    slos = {
        entry.key: settle_slo(entry, values)
        for pack in chosen
        for entry in pack.slos
        if values.slos.get(entry.key, SloValues()).enabled
    }
    monitors = [
        settle(entry, values, slos.get(entry.slo))
        for pack in chosen
        for entry in pack.monitors
        if _is_wanted(entry, values, optional) and (not entry.slo or entry.slo in slos)
    ]
    if routing is not None:
        check_routing(routing, _routable(monitors, values))
    resources = [
        *(Resource("slo", key, slo_body(slo, values)) for key, slo in slos.items()),
        *(Resource("monitor", one.entry.key, _monitor(one, values, routing)) for one in monitors),
        *_dashboards(chosen, values, monitors, slos),
    ]
    rules = notification_rules(routing) if routing is not None and routing.form == "rules" else []
    return [*percentiles(resources), *resources, *rules]


def percentiles(resources: Iterable[Resource]) -> list[Resource]:
    """One resource for each distribution of which any of the resources asks for a percentile."""
    text = json.dumps([resource.body for resource in resources])
    body = {"metric_type": "distribution", "include_percentiles": True}
    return [Resource("percentiles", metric, dict(body)) for metric in sorted(set(PERCENTILE.findall(text)))]


def assets() -> dict[str, str]:
    """Files for `assets/` in the form of an integration, by their path: monitors and dashboards without values.

    What needs the id of another resource, such as an alert on a burn rate, can't be an asset.
    """
    files = {}
    dates = {entry.key: entry for pack in builtin_packs().values() for entry in pack.monitors}
    for resource in desired(None, Values(prefix=""), optional=True):
        body = dict(resource.body)
        name = resource.key.replace(".", "_")
        if resource.kind == "monitor" and not resource.references():
            entry = dates[resource.key]
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


def _chosen(packs: Sequence[str] | None, values: Values) -> list[Pack]:
    known = builtin_packs()
    names = packs if packs is not None else values.packs if values.packs is not None else tuple(known)
    for name in names:
        if name not in known:
            raise OptionError(f"there is no pack `{name}`; {suggestion(name, known)}")
    return [pack for name, pack in known.items() if name in names]


def _is_wanted(entry: MonitorEntry, values: Values, optional: bool) -> bool:
    said, _ = values.own(entry, "enabled")
    # Who writes how a monitor is to be wants it.
    return entry.enabled or optional or entry.key in values.monitors if said is None else bool(said)


def _monitor(monitor: Settled, values: Values, routing: Routing | None) -> dict[str, Any]:
    ending = ""
    if routing is not None and routing.form == "handles":
        tags = [*monitor_tags(monitor), OWNER_TAG]
        ending = handles(routing, tags, monitor.entry.groups)
    body = monitor_body(monitor, values.prefix, ending)
    own, _ = values.said(monitor.entry, "renotify")
    if own is None and routing is not None and routing.repeat is not None:
        body["options"]["renotify_interval"] = routing.repeat
    return body


def _routable(monitors: Iterable[Settled], values: Values) -> set[str]:
    """Tags that a monitor or one of its groups can have."""
    everywhere = {tag.partition(":")[0] for tag in values.everywhere.tags or ()}
    own = {tag.partition(":")[0] for monitor in monitors for tag in monitor.tags}
    groups = {tag for monitor in monitors for tag in monitor.entry.groups}
    return {*OWN_TAGS, *everywhere, *own, *groups}


def _dashboards(
    chosen: Iterable[Pack], values: Values, monitors: Iterable[Settled], slos: Mapping[str, SloEntry]
) -> Iterable[Resource]:
    shown = Shown(values.prefix, values.everywhere.scope, {one.entry.key: one for one in monitors}, slos)
    for pack in chosen:
        for entry in pack.dashboards:
            if values.dashboards.get(entry.key, True):
                body = dashboard_body(entry, shown)
                team = values.teams.get(pack.name) or values.everywhere.team
                yield Resource("dashboard", entry.key, {**body, "tags": [f"team:{team}"]} if team else body)


def _json(value: Any) -> str:
    return json.dumps(value, indent=4, ensure_ascii=False) + "\n"
