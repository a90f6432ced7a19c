"""A small set of resources with every kind and every sort of reference, and runs over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datadog_checks.model_serving.workstation.provision.access import check_access
from datadog_checks.model_serving.workstation.provision.api import Client
from datadog_checks.model_serving.workstation.provision.apply import Outcome, apply
from datadog_checks.model_serving.workstation.provision.mistakes import checked
from datadog_checks.model_serving.workstation.provision.model import Resource
from datadog_checks.model_serving.workstation.provision.plan import Plan, PlanChoices, make_plan
from datadog_checks.model_serving.workstation.provision.state import read_account

from .standin import Standin

LATENCY = "model_serving.request.latency"
COUNT = "sum:model_serving.request.count{*}.as_count()"


def monitor(key: str, query: str, critical: float | None, kind: str = "query alert", **body: Any) -> Resource:
    options = {"include_tags": True, **({"thresholds": {"critical": critical}} if critical is not None else {})}
    options |= body.pop("options", {})
    fields = {
        "name": f"Monitor {key}",
        "type": kind,
        "query": query,
        "message": f"{key} is wrong.",
        "tags": ["team:ml"],
    }
    return Resource("monitor", key, {**fields, "options": options, **body})


def latency(threshold: float = 2, **body: Any) -> Resource:
    query = f"avg(last_5m):avg:{LATENCY}{{*}} by {{endpoint_name}} > {threshold:g}"
    return monitor("latency.mean", query, threshold, **{"priority": 2, **body})


def errors(threshold: float = 0.01, scope: str = "*", **body: Any) -> Resource:
    query = (
        f"sum(last_5m):sum:model_serving.request.error.count{{{scope}}} by {{endpoint_name}}.as_count() / "
        f"sum:model_serving.request.count{{{scope}}} by {{endpoint_name}}.as_count() > {threshold:g}"
    )
    return monitor("errors.share", query, threshold, **body)


def availability(target: float = 99.9, **body: Any) -> Resource:
    fields = {
        "name": "Availability",
        "description": "Requests that did not fail.",
        "type": "metric",
        "query": {"numerator": COUNT, "denominator": COUNT},
        "thresholds": [{"timeframe": "30d", "target": target}],
        "tags": ["team:ml", "env:prod"],
    }
    return Resource("slo", "availability", {**fields, **body})


def burn(rate: float = 14.4) -> Resource:
    query = f'burn_rate("${{slo:availability}}").over("30d").long_window("1h").short_window("5m") > {rate}'
    return monitor("slo.fast", query, rate, "slo alert")


def composite(key: str = "both") -> Resource:
    return monitor(key, "${monitor:latency.mean} && ${monitor:errors.share}", None, "composite")


def dashboard(*titles: str, **body: Any) -> Resource:
    widgets = [{"definition": {"type": "note", "content": title}} for title in titles or ("Overview",)]
    widgets.append(
        {"definition": {"type": "slo", "slo_id": "${slo:availability}", "view_type": "detail", "time_windows": ["30d"]}}
    )
    fields = {"title": "Overview", "description": "The golden signals.", "layout_type": "ordered", "widgets": widgets}
    return Resource("dashboard", "overview", {**fields, **body})


def rule(*recipients: str) -> Resource:
    own = {"name": "Critical", "filter": {"scope": "team:ml"}, "recipients": list(recipients or ("slack-ml",))}
    return Resource("notification_rule", "critical", {"data": {"type": "monitor-notification-rule", "attributes": own}})


def downtime(key: str = "nights", **body: Any) -> Resource:
    """Of the monitors of a team, every night."""
    schedule = recurring("2026-01-05T22:00:00")
    own = {
        "scope": "*",
        "message": "Nobody is there.",
        "monitor_identifier": {"monitor_tags": ["team:ml"]},
        "display_timezone": "Europe/Berlin",
        "schedule": schedule,
    }
    return Resource("downtime", key, {**own, **body})


def recurring(start: str, rule: str = "FREQ=DAILY", duration: str = "8h") -> dict[str, Any]:
    """A schedule in Berlin."""
    return {"timezone": "Europe/Berlin", "recurrences": [{"start": start, "duration": duration, "rrule": rule}]}


def percentiles(metric: str = LATENCY) -> Resource:
    own = {"metric_type": "distribution", "include_percentiles": True, "tags": [], "exclude_tags_mode": True}
    return Resource("percentiles", metric, {"data": {"type": "manage_tags", "id": metric, "attributes": own}})


def every_kind() -> list[Resource]:
    return [percentiles(), availability(), latency(), errors(), burn(), composite(), dashboard(), rule(), downtime()]


def planned(client: Client, resources: Sequence[Resource], prune: bool = False, **options: Any) -> Plan:
    """What a run would do. The options are those of `PlanChoices`."""
    choices = PlanChoices(prune=prune, **options)
    ready = checked(resources, stack=choices.stack)
    return make_plan(ready, read_account(client, ready, choices.stack, choices.source, choices.adopt), choices)


def applied(client: Client, resources: Sequence[Resource], prune: bool = False) -> list[Outcome]:
    """A whole run, as the command makes it."""
    check_access(client, ())
    return apply(client, planned(client, resources, prune))


def told(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """How every step ended, and with what words."""
    return {one.step.address: f"{one.result} {one.text}".strip() for one in outcomes}


def actions(plan: Plan) -> dict[str, str]:
    return {step.address: str(step.action) for step in plan.steps}


def numbers(dd: Standin) -> dict[str, int]:
    """How many resources of each kind the account holds."""
    state = dd.state
    switched = sum(bool((metric.configuration or {}).get("include_percentiles")) for metric in state.metrics.values())
    return {
        "percentiles": switched,
        "slo": len(state.slos),
        "monitor": len(state.monitors),
        "dashboard": len(state.dashboards),
        "notification_rule": len(state.rules),
        "downtime": sum(one["attributes"]["canceled"] is None for one in state.downtimes.values()),
    }


def copied(dd: Standin, name: str) -> tuple[int, int]:
    """Have somebody clone a monitor of ours in the user interface, tags and all; both ids."""
    number, original = next((number, one) for number, one in dd.state.monitors.items() if one["name"] == name)
    clone = {field: value for field, value in original.items() if field not in ("id", "org_id")}
    return number, dd.state.add_monitor({**clone, "name": "A copy"}, original["created"])["id"]


WHOLE = {"percentiles": 1, "slo": 1, "monitor": 4, "dashboard": 1, "notification_rule": 1, "downtime": 1}
"""What `every_kind` makes of an empty account."""
