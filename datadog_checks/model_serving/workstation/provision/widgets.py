"""Dashboards from the short form that packs have them in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .packs import DashboardEntry, SloEntry
from .packs.queries import joined, mapped, number_text, read_condition
from .packs.settle import Settled
from .query import parse_metric_expression, render
from .query.tree import Condition, Everything, Expression, Metric, MetricMonitor, Variable, conjuncts
from .vocabulary import Vocabulary, builtin_vocabulary

COLUMNS = 12
USER_TAGS = frozenset(("env", "host"))
"""Tags of variables that every metric may have, whatever the catalog says."""

ROWS = 20
EVENT_SIZE = "s"
LEGEND = ["avg", "max", "value"]
UNITS = {"degree celsius": "degree_celsius"}
"""Names of units in number formats, where they differ from those of the catalog."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What dashboards show beside their own queries: the monitors and SLOs that there are, by key, and the numbers that
    the values file gives. A widget that `needs` one of these is there only with it. `words` are the metrics that there
    are, by whose tags a query follows a template variable."""

    prefix: str
    scope: str | None
    monitors: Mapping[str, Settled]
    slos: Mapping[str, SloEntry]
    numbers: Mapping[str, float] = field(default_factory=dict)
    words: Vocabulary = field(default_factory=builtin_vocabulary)


def dashboard_body(entry: DashboardEntry, shown: Shown) -> dict[str, Any]:
    """The body of a dashboard: groups below one another, widgets from left to right within them."""
    groups, top = [], 0
    for group in entry.groups:
        widgets, height = _placed([widget for widget in group["widgets"] if _applies(widget, shown)], entry, shown)
        definition = {
            "type": "group",
            "layout_type": "ordered",
            "title": group["title"],
            "background_color": group["color"],
            "show_title": True,
            "widgets": widgets,
        }
        groups.append({"definition": definition, "layout": {"x": 0, "y": top, "width": COLUMNS, "height": height + 1}})
        top += height + 1
    return {
        "title": f"{shown.prefix}{entry.title}",
        "description": entry.description,
        "layout_type": "ordered",
        "reflow_type": "fixed",
        "template_variables": [
            {"name": name, "prefix": tag, "available_values": [], "defaults": ["*"]}
            for name, tag in entry.variables.items()
        ],
        "widgets": groups,
    }


def places_of(entry: DashboardEntry, shown: Shown) -> dict[str, str]:
    """Places in the file that has the dashboard, by what paths in its body begin with."""
    places = {"": f"dashboards.{entry.key}"}
    for number, group in enumerate(entry.groups):
        there = [(at, widget) for at, widget in enumerate(group["widgets"]) if _applies(widget, shown)]
        for position, (at, widget) in enumerate(there):
            path = f"widgets[{number}].definition.widgets[{position}].definition"
            place = f"dashboards.{entry.key}.groups[{number}].widgets[{at}]"
            places |= {path: place, f"{path}.requests[0].q": f"{place}.expression", f"{path}.check": f"{place}.check"}
            for key, part in (("queries", "queries"), ("show", "formulas")):
                for index, name in enumerate(widget.get(key, ())):
                    places[f"{path}.requests[0].{part}[{index}]"] = f"{place}.{key}.{name}"
    return places


def _applies(widget: Mapping[str, Any], shown: Shown) -> bool:
    if "needs" in widget:
        return widget["needs"] in shown.numbers
    return widget["type"] != "slo" or widget["slo"] in shown.slos


def _placed(widgets: list[Mapping[str, Any]], entry: DashboardEntry, shown: Shown) -> tuple[list[dict[str, Any]], int]:
    """The widgets with their layout, and the height of all of them."""
    found, x, y, row = [], 0, 0, 0
    for widget in widgets:
        width, height = widget.get("size", (4, 3))
        if x + width > COLUMNS:
            x, y, row = 0, y + row, 0
        definition = DEFINITIONS[widget["type"]](widget, _with_variables(widget, entry), shown)
        found.append({"definition": definition, "layout": {"x": x, "y": y, "width": width, "height": height}})
        x, row = x + width, max(row, height)
    return found, y + row


def _with_variables(widget: Mapping[str, Any], entry: DashboardEntry) -> DashboardEntry:
    """The dashboard with those of its variables that the widget follows: all, unless it names some."""
    names = widget.get("variables", entry.variables)
    return replace(entry, variables={name: entry.variables[name] for name in names})


def _timeseries(widget: Mapping[str, Any], entry: DashboardEntry, shown: Shown) -> dict[str, Any]:
    request: dict[str, Any] = {"display_type": widget.get("display", "line")}
    if "expression" in widget:
        request["q"] = _query(widget["expression"], entry, shown)
    else:
        request |= {"response_format": "timeseries", **_queries(widget, entry, shown)}
    return {
        "type": "timeseries",
        "title": widget["title"],
        "show_legend": True,
        "legend_layout": "auto",
        "legend_columns": LEGEND,
        "requests": [request],
        **({"markers": markers} if (markers := _markers(widget, shown)) else {}),
        **({"events": [{"q": entry.overlay, "tags_execution": "and"}]} if entry.overlay else {}),
    }


def _value(widget: Mapping[str, Any], entry: DashboardEntry, shown: Shown) -> dict[str, Any]:
    request: dict[str, Any]
    if "expression" in widget:
        request = {"q": _query(widget["expression"], entry, shown), "aggregator": widget["aggregate"]}
    else:
        request = {"response_format": "scalar", **_queries(widget, entry, shown)}
    colors = _colors(widget, shown)
    return {
        "type": "query_value",
        "title": widget["title"],
        "autoscale": True,
        "precision": 2,
        "requests": [{**request, **({"conditional_formats": colors} if colors else {})}],
    }


def _list(widget: Mapping[str, Any], entry: DashboardEntry, shown: Shown) -> dict[str, Any]:
    request = _queries(widget, entry, shown)
    limit = {"count": widget.get("rows", ROWS), "order": widget.get("order", "desc")}
    request["formulas"][0]["limit"] = limit
    kind = {"top": "toplist", "table": "query_table"}[widget["type"]]
    return {
        "type": kind,
        "title": widget["title"],
        "requests": [{"response_format": "scalar", **request}],
        **({"time": {"live_span": widget["time"]}} if "time" in widget else {}),
    }


def _check(widget: Mapping[str, Any], entry: DashboardEntry, shown: Shown) -> dict[str, Any]:
    return {
        "type": "check_status",
        "title": widget["title"],
        "check": widget["check"],
        "grouping": "cluster",
        "group_by": widget["group_by"],
        "tags": ["*"],
    }


def _slo(widget: Mapping[str, Any], entry: DashboardEntry, shown: Shown) -> dict[str, Any]:
    return {
        "type": "slo",
        "title": widget["title"],
        "slo_id": f"${{slo:{widget['slo']}}}",
        "view_type": "detail",
        "view_mode": "both",
        "show_error_budget": True,
        "time_windows": [shown.slos[widget["slo"]].timeframe],
    }


def _monitors(widget: Mapping[str, Any], entry: DashboardEntry, shown: Shown) -> dict[str, Any]:
    return {
        "type": "manage_status",
        "title": widget["title"],
        "query": widget["query"],
        "summary_type": "monitors",
        "display_format": "countsAndList",
        "color_preference": "text",
        "sort": "status,asc",
        "hide_zero_counts": True,
        "show_last_triggered": True,
    }


def _events(widget: Mapping[str, Any], entry: DashboardEntry, shown: Shown) -> dict[str, Any]:
    return {"type": "event_stream", "title": widget["title"], "query": widget["query"], "event_size": EVENT_SIZE}


def _note(widget: Mapping[str, Any], entry: DashboardEntry, shown: Shown) -> dict[str, Any]:
    return {"type": "note", "content": widget["text"], "background_color": "gray", "font_size": "14"}


DEFINITIONS = {
    "timeseries": _timeseries,
    "value": _value,
    "top": _list,
    "table": _list,
    "check": _check,
    "slo": _slo,
    "monitors": _monitors,
    "events": _events,
    "note": _note,
}


def _queries(widget: Mapping[str, Any], entry: DashboardEntry, shown: Shown) -> dict[str, Any]:
    """Named queries, and the formulas over them."""
    aggregate = {"aggregator": widget["aggregate"]} if "aggregate" in widget else {}
    queries = [
        {"data_source": "metrics", "name": name, "query": _query(query, entry, shown), **aggregate}
        for name, query in widget["queries"].items()
    ]
    unit = widget.get("unit")
    shape = {"unit": {"type": "canonical_unit", "unit_name": UNITS.get(unit, unit)}} if unit else None
    formulas = [
        {"formula": formula, "alias": alias, **({"number_format": shape} if shape else {})}
        for alias, formula in widget["show"].items()
    ]
    return {"queries": queries, "formulas": formulas}


def _query(text: str, entry: DashboardEntry, shown: Shown) -> str:
    """A query, each metric of which follows the user's scope and those variables whose tag it can have: one that the
    check gives it, or one of the user's, which anything may have."""
    scope = read_condition(shown.scope) if shown.scope else Everything()
    for name, number in shown.numbers.items():
        text = text.replace(f"${{{name}}}", number_text(number))
    expression: Expression = parse_metric_expression(" ".join(text.split()))

    def narrowed(metric: Metric) -> Metric:
        tags, own = shown.words.tags_of(metric.name) | USER_TAGS, metric.scope or Everything()
        variables: list[Condition] = [
            Variable(name)
            for name, tag in entry.variables.items()
            if (tag in tags or tag not in shown.words.all_tags()) and Variable(name) not in conjuncts(own)
        ]
        return replace(metric, scope=joined(scope, own, *variables))

    return render(mapped(expression, narrowed))


def _limits(widget: Mapping[str, Any], shown: Shown) -> dict[str, float]:
    """Thresholds of the monitor that a widget marks, if there is one."""
    monitor = shown.monitors.get(widget.get("mark", ""))
    if monitor is None:
        return {}
    return {name: monitor.thresholds[name] for name in ("warning", "critical") if name in monitor.thresholds}


def _operator(widget: Mapping[str, Any], shown: Shown) -> str:
    query = shown.monitors[widget["mark"]].query
    assert isinstance(query, MetricMonitor)
    return query.comparison.operator


def _markers(widget: Mapping[str, Any], shown: Shown) -> list[dict[str, Any]]:
    names = {"warning": ("warning dashed", "warns"), "critical": ("error dashed", "alerts")}
    return [
        {"value": f"y = {number_text(value)}", "display_type": names[name][0], "label": names[name][1]}
        for name, value in _limits(widget, shown).items()
    ]


def _colors(widget: Mapping[str, Any], shown: Shown) -> list[dict[str, Any]]:
    limits = _limits(widget, shown)
    if not limits:
        return []
    operator = _operator(widget, shown)
    palettes = {"critical": "white_on_red", "warning": "white_on_yellow"}
    return [
        {"comparator": operator, "value": limits[name], "palette": palettes[name]}
        for name in ("critical", "warning")
        if name in limits
    ]
