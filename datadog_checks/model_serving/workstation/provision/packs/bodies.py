"""Bodies of monitors and SLOs, as the API's create calls take them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..query import parse_metric_expression, render
from ..query.monitors import monitor_type
from ..query.tree import Condition, MetricMonitor, MonitorQuery, ServiceCheckMonitor
from ..values import SloValues, Values
from . import SloEntry
from .messages import message, of_part
from .queries import groups_of, mapped, scoped
from .settle import Settled
from .slos import slo_conditions, slo_values

INTEGRATION_TAG = "integration:model-serving"
NEW_GROUP_DELAY = 300
"""Seconds that a new endpoint or model is left alone, for it may still be starting."""


def monitor_bodies(
    monitor: Settled, prefix: str, routing: str = "", unless: Sequence[str] = (), silent_tags: Sequence[str] = ()
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Bodies by their key. `routing` is what the message ends with.

    `unless` are the keys of the monitors that keep this one still. With them or with guards it is a composite, which
    alone notifies: its parts bear no handles, and of tags only `silent_tags`, by which no route goes.
    """
    if not monitor.guards and not unless:
        yield monitor.entry.key, _single(monitor, prefix, routing)
        return
    title, key = monitor.entry.title, monitor.entry.key
    parts = {monitor.entry.part: _condition_options(monitor, monitor.query, monitor.thresholds)}
    queries: dict[str, MonitorQuery] = {monitor.entry.part: monitor.query}
    for name, query in monitor.guards.items():
        part = f"{key}.part.{name}"
        queries[part] = query
        parts[part] = _condition_options(monitor, query, {"critical": float(query.comparison.threshold)})
    for number, (part, options) in enumerate(parts.items(), 1):
        yield (
            part,
            {
                "name": f"{prefix}{title} (part {number} of {len(parts)})",
                "type": monitor_type(queries[part]),
                "query": render(queries[part]),
                "message": of_part(title),
                "tags": list(silent_tags),
                "priority": None,
                "options": options,
            },
        )
    wanted, unwanted = (f"${{monitor:{part}}}" for part in parts), (f"!${{monitor:{other}}}" for other in unless)
    own: dict[str, Any] = {"include_tags": True, "notify_audit": False, "notify_no_data": False}
    if monitor.renotify is not None:
        own["renotify_interval"] = monitor.renotify
    yield (
        key,
        {
            "name": f"{prefix}{title}",
            "type": "composite",
            "query": " && ".join((*wanted, *unwanted)),
            "message": message(monitor, routing, composite=True),
            "tags": monitor_tags(monitor),
            "priority": monitor.priority,
            "options": own,
        },
    )


def _single(monitor: Settled, prefix: str, routing: str) -> dict[str, Any]:
    options = _condition_options(monitor, monitor.query, monitor.thresholds)
    if monitor.renotify is not None:
        options["renotify_interval"] = monitor.renotify
    if monitor.notify_by is not None:
        options["notify_by"] = list(monitor.notify_by)
    return {
        "name": f"{prefix}{monitor.entry.title}",
        "type": monitor_type(monitor.query),
        "query": render(monitor.query),
        "message": message(monitor, routing),
        "tags": monitor_tags(monitor),
        "priority": monitor.priority,
        "options": options,
    }


def _condition_options(monitor: Settled, query: MonitorQuery, thresholds: Mapping[str, float]) -> dict[str, Any]:
    """The options that decide about the state, not about who hears of it."""
    entry = monitor.entry
    options: dict[str, Any] = {
        "thresholds": {name: _number(value) for name, value in thresholds.items()},
        "include_tags": True,
        "notify_audit": False,
    }
    if entry.on_missing_data:
        # It excludes the options that it succeeds.
        options["on_missing_data"] = entry.on_missing_data
    else:
        options["notify_no_data"] = monitor.no_data is not None
    if monitor.no_data is not None:
        options["no_data_timeframe"] = monitor.no_data
    if isinstance(query, MetricMonitor | ServiceCheckMonitor):
        if groups_of(query):
            # Refused on monitors without groups.
            options["new_group_delay"] = NEW_GROUP_DELAY
        options["timeout_h"] = monitor.auto_resolve or 0
    if isinstance(query, MetricMonitor):
        options["require_full_window"] = entry.full_window
        if monitor.evaluation_delay is not None:
            options["evaluation_delay"] = monitor.evaluation_delay
    return options


def monitor_tags(monitor: Settled) -> list[str]:
    """Tags of a monitor, by which notifications are routed, without those of ownership."""
    team = [f"team:{monitor.team}"] if monitor.team else []
    own = [INTEGRATION_TAG, f"pack:{monitor.entry.pack}", f"severity:{monitor.severity}", *team]
    return list(dict.fromkeys((*own, *monitor.tags)))


def slo_body(entry: SloEntry, values: Values) -> dict[str, Any]:
    """The body of a settled SLO."""
    said = slo_values(entry, values)[0] or SloValues()
    conditions = slo_conditions(entry, values)
    team = said.team or values.teams.get(entry.pack) or values.everywhere.team or entry.team
    # Half of what the target leaves, unless the user says otherwise.
    warning = said.warning if said.warning is not None else round((entry.target + 100) / 2, 4)
    own = [f"endpoint_name:{entry.endpoint}"] if entry.endpoint else []
    tags = [INTEGRATION_TAG, f"pack:{entry.pack}", *([f"team:{team}"] if team else []), *own]
    return {
        "name": f"{values.prefix}{entry.title}",
        "description": entry.description,
        "type": entry.type,
        **(_counts(entry, conditions) if entry.type == "metric" else _slices(entry, conditions)),
        "thresholds": [
            {"timeframe": entry.timeframe, "target": _number(entry.target), "warning": _number(warning)},
        ],
        "timeframe": entry.timeframe,
        "target_threshold": _number(entry.target),
        "warning_threshold": _number(warning),
        "tags": list(dict.fromkeys((*tags, *(values.everywhere.tags or ()), *said.tags))),
    }


def _counts(entry: SloEntry, conditions: Sequence[Condition]) -> Mapping[str, Any]:
    good, total = (_scoped(entry, query, conditions) for query in (entry.good, entry.total))
    return {"query": {"numerator": good, "denominator": total}}


def _slices(entry: SloEntry, conditions: Sequence[Condition]) -> Mapping[str, Any]:
    query = {"data_source": "metrics", "name": "query1", "query": _scoped(entry, entry.query, conditions)}
    return {
        "sli_specification": {
            "time_slice": {
                "comparator": entry.comparator,
                "threshold": _number(entry.threshold or 0),
                "query_interval_seconds": entry.slice,
                "query": {"formulas": [{"formula": "query1"}], "queries": [query]},
            }
        }
    }


def _scoped(entry: SloEntry, query: str, conditions: Sequence[Condition]) -> str:
    """The query narrowed. That of a single endpoint needs no groups; of a variant, a slice would be bad as soon as one
    group is, and the alerts are about all of it."""
    expression = parse_metric_expression(query)
    if entry.endpoint or (entry.variant and entry.type == "time_slice"):
        expression = mapped(expression, lambda metric: replace(metric, by=()))
    return render(scoped(expression, *conditions) if conditions else expression)


def _number(value: float) -> int | float:
    """Whole numbers as such: JSON that people read."""
    return int(value) if float(value).is_integer() else value
