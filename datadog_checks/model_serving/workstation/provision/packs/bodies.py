"""Bodies of monitors and SLOs, as the API's create calls take them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..query import parse_metric_expression, render
from ..query.monitors import monitor_type
from ..values import SloValues, Values
from . import SloEntry
from .messages import message
from .queries import anomalies_of, read_condition, scoped, window_of
from .settle import Settled

INTEGRATION_TAG = "integration:model-serving"
NEW_GROUP_DELAY = 300
"""Seconds that a new endpoint or model is left alone, for it may still be starting."""


def monitor_body(monitor: Settled, prefix: str, routing: str = "") -> dict[str, Any]:
    """The body of a monitor. `routing` is what its message ends with."""
    options: dict[str, Any] = {
        "thresholds": {name: _number(value) for name, value in monitor.thresholds.items()},
        "include_tags": True,
        "notify_audit": False,
        "notify_no_data": monitor.no_data is not None,
    }
    if monitor.no_data is not None:
        options["no_data_timeframe"] = monitor.no_data
    if monitor.entry.form != "slo":
        options["new_group_delay"] = NEW_GROUP_DELAY
        options["timeout_h"] = monitor.auto_resolve or 0
    if monitor.entry.form == "metric":
        options["require_full_window"] = monitor.entry.full_window
        if monitor.evaluation_delay is not None:
            options["evaluation_delay"] = monitor.evaluation_delay
    if anomalies_of(monitor.query) is not None:
        window = window_of(monitor.query)
        options["threshold_windows"] = {"trigger_window": window, "recovery_window": window}
    if monitor.renotify is not None:
        options["renotify_interval"] = monitor.renotify
    return {
        "name": f"{prefix}{monitor.entry.title}",
        "type": monitor_type(monitor.query),
        "query": render(monitor.query),
        "message": message(monitor, routing),
        "tags": monitor_tags(monitor),
        "priority": monitor.priority,
        "options": options,
    }


def monitor_tags(monitor: Settled) -> list[str]:
    """Tags of a monitor, by which notifications are routed, without those of ownership."""
    team = [f"team:{monitor.team}"] if monitor.team else []
    own = [INTEGRATION_TAG, f"pack:{monitor.entry.pack}", f"severity:{monitor.severity}", *team]
    return list(dict.fromkeys((*own, *monitor.tags)))


def slo_body(entry: SloEntry, values: Values) -> dict[str, Any]:
    """The body of a settled SLO."""
    said = values.slos.get(entry.key, SloValues())
    scope = said.scope or values.everywhere.scope
    team = said.team or values.teams.get(entry.pack) or values.everywhere.team or entry.team
    # Half of what the target leaves, unless the user says otherwise.
    warning = said.warning if said.warning is not None else round((entry.target + 100) / 2, 4)
    tags = [INTEGRATION_TAG, f"pack:{entry.pack}", *([f"team:{team}"] if team else [])]
    return {
        "name": f"{values.prefix}{entry.title}",
        "description": entry.description,
        "type": entry.type,
        **(_counts(entry, scope) if entry.type == "metric" else _slices(entry, scope)),
        "thresholds": [
            {"timeframe": entry.timeframe, "target": _number(entry.target), "warning": _number(warning)},
        ],
        "timeframe": entry.timeframe,
        "target_threshold": _number(entry.target),
        "warning_threshold": _number(warning),
        "tags": list(dict.fromkeys((*tags, *(values.everywhere.tags or ()), *said.tags))),
    }


def _counts(entry: SloEntry, scope: str | None) -> Mapping[str, Any]:
    return {"query": {"numerator": _scoped(entry.good, scope), "denominator": _scoped(entry.total, scope)}}


def _slices(entry: SloEntry, scope: str | None) -> Mapping[str, Any]:
    query = {"data_source": "metrics", "name": "query1", "query": _scoped(entry.query, scope)}
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


def _scoped(query: str, scope: str | None) -> str:
    expression = parse_metric_expression(query)
    return render(scoped(expression, read_condition(scope)) if scope else expression)


def _number(value: float) -> int | float:
    """Whole numbers as such: JSON that people read."""
    return int(value) if float(value).is_integer() else value
