"""What the server refuses in a monitor, and what it makes of one that it takes."""

from __future__ import annotations

import re
from typing import Any

from .account import MONITOR_OPTIONS, Account, Json, Refusal, recipients
from .queries import METRIC_TYPES, Query, invalid, read

READ_ONLY = ("created", "creator", "deleted", "id", "modified", "multi", "overall_state", "state", "matching_downtimes")
CHECK_STATUSES = {"ok", "warning", "critical", "unknown"}
LIMITS = {"evaluation_delay": 86400, "timeout_h": 24, "new_group_delay": None, "renotify_interval": None}
HANDLE = re.compile(r"(?<![\w.])@([A-Za-z][\w.@-]*[\w-])")


def check(account: Account, body: Json) -> None:
    """Refuse a monitor, with the words of the API where they are known."""
    options = body.get("options") or {}
    query = read(body["type"], body["query"], options.get("variables") or ())
    _references(account, body, query)
    _thresholds(body["type"], options.get("thresholds") or {}, query)
    _windows(options, query)
    priority = body.get("priority")
    if priority is not None and not 1 <= priority <= 5:
        raise Refusal(400, "The value provided for parameter 'priority' is invalid")
    for name, most in LIMITS.items():
        value = options.get(name)
        if value is not None and (value < 0 or (most is not None and value > most)):
            raise Refusal(400, f"The value provided for parameter '{name}' is invalid")
    if options.get("on_missing_data") and body["type"] in account.policy.no_missing_data:
        # Believed: that it is refused is known, not in which words.
        raise Refusal(400, f"The value provided for parameter 'on_missing_data' is invalid for a {body['type']}")
    if options.get("new_group_delay") and body["type"] in METRIC_TYPES and not query.groups:
        raise Refusal(400, "The new_group_delay option can only be used for multi-alert monitors")
    if (options.get("notify_no_data") or options.get("no_data_timeframe")) and options.get("on_missing_data"):
        raise Refusal(400, "notify_no_data and on_missing_data cannot be used together")
    outside = [tag for tag in options.get("notify_by") or () if tag != "*" and tag not in query.groups]
    if outside:
        raise Refusal(400, f"The value provided for parameter 'notify_by' is invalid: {', '.join(outside)}")
    missing = sorted(account.policy.required_tags - {tag.partition(":")[0] for tag in body.get("tags") or ()})
    if missing:
        raise Refusal(400, f"Missing required tag key(s): {', '.join(missing)}")
    text = f"{body.get('message') or ''} {options.get('escalation_message') or ''}"
    recipients(account.policy, HANDLE.findall(text))


def _references(account: Account, body: Json, query: Query) -> None:
    for number in query.monitors:
        part = account.state.monitors.get(number)
        if part is None or part["type"] == "composite":
            raise invalid(f"monitor {number} cannot be part of a composite monitor")
    if query.slo is None:
        return
    slo = account.state.slos.get(query.slo)
    target = next((one["target"] for one in (slo or {}).get("thresholds", ()) if one["timeframe"] == query.over), None)
    if target is None:
        raise invalid(f"SLO {query.slo} has no target over {query.over}")
    most = round(100 / (100 - target), 2)
    if "burn_rate" in body["query"] and query.threshold is not None and not 0 < query.threshold <= most:
        raise Refusal(
            400,
            f"Alert threshold ({query.threshold}) must be in range 0 to {most} for burn rate alerts "
            "(max threshold = 1/1-slo target).",
        )


def _thresholds(kind: str, given: Json, query: Query) -> None:
    values = {name: float(value) for name, value in given.items() if isinstance(value, int | float)}
    if kind == "composite":
        if values:
            raise Refusal(400, f"Invalid threshold statuses found: {', '.join(sorted(values))}.")
        return
    if kind == "service check":
        strange = sorted(set(values) - CHECK_STATUSES)
        if strange:
            raise Refusal(400, f"Invalid threshold statuses found: {', '.join(strange)}.")
        if query.last is not None and values and max(values.values()) > query.last:
            raise Refusal(400, "Last field should be larger than or equal to max threshold defined in monitor options")
        return
    if "critical" not in values:
        if values:
            raise Refusal(400, "Alert status is required.")
        return
    if values["critical"] != query.threshold:
        raise Refusal(
            400, f"Alert threshold ({values['critical']}) does not match that used in the query ({query.threshold})."
        )
    if kind in METRIC_TYPES:
        _order(values, query.operator or "")


def _order(values: dict[str, float], operator: str) -> None:
    """Whatever is calmer than another must lie on its calm side: recovery, warning, recovery from the warning."""
    sign = {">": 1, ">=": 1, "<": -1, "<=": -1}.get(operator)
    if sign is None:
        return
    for state, words in (("critical", "alert"), ("warning", "warning")):
        level, recovery = values.get(state), values.get(f"{state}_recovery")
        if recovery is None:
            continue
        if level is None or sign * recovery > sign * level:
            raise Refusal(
                400,
                f"{words} and {words} recovery criteria are such that the monitor can be simultaneously in {words} "
                f"and {words} recovery states",
            )
    if "warning" in values and sign * values["warning"] >= sign * values["critical"]:
        raise Refusal(
            400,
            f"Warning threshold ({values['warning']}) must be reached before alert threshold ({values['critical']}).",
        )


def _windows(options: Json, query: Query) -> None:
    windows = options.get("threshold_windows") or {}
    if query.anomaly_window is None:
        if windows:
            raise Refusal(400, "threshold_windows is only for anomaly monitors")
        return
    if windows.get("trigger_window") != query.anomaly_window:
        raise Refusal(400, f"trigger_window must be the alert_window of the query ({query.anomaly_window})")


def same_type(kind: str) -> str:
    """The type, with `metric alert` and `query alert` as one."""
    return "query alert" if kind in METRIC_TYPES else kind


def normalise(body: Json) -> Json:
    """The monitor as the server keeps it. Fields that only it may set are dropped."""
    options = {**MONITOR_OPTIONS, **(body.get("options") or {})}
    if options.get("new_group_delay") is not None and "new_host_delay" not in (body.get("options") or {}):
        del options["new_host_delay"]
    if options.get("on_missing_data") == "default":
        del options["on_missing_data"]
    query = read(body["type"], body["query"], options.get("variables") or ())
    options["thresholds"] = {
        name: float(value) if isinstance(value, int | float) else value
        for name, value in (options.get("thresholds") or {}).items()
        if value is not None
    }
    if query.threshold is not None:
        options["thresholds"].setdefault("critical", query.threshold)
    if not options["thresholds"]:
        del options["thresholds"]
    text = body["query"].strip()
    kept: dict[str, Any] = {name: value for name, value in body.items() if name not in READ_ONLY}
    return {
        **kept,
        "name": (body.get("name") or f"`{text}`").strip(),
        "query": text,
        "message": (body.get("message") or "").strip(),
        "tags": list(body.get("tags") or ()),
        "type": ("metric alert" if query.simple else "query alert") if body["type"] in METRIC_TYPES else body["type"],
        "options": options,
    }
