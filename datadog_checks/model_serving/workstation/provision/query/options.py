"""Thresholds, options and message of a monitor, against its query."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .algorithms import alert_window
from .problems import Place, Problem, nearest, number
from .tree import Comparison, CompositeMonitor, FormulaMonitor, FunctionCall, MetricMonitor, MonitorQuery, walk
from .words import grammar

THRESHOLD = "monitor/threshold"
PRIORITIES = ("0", "1", "2", "3", "4", "5")
RANGES = {
    "evaluation_delay": (0, 86400, "seconds"),
    "new_group_delay": (0, None, "seconds"),
    "new_host_delay": (0, None, "seconds"),
    "timeout_h": (0, 24, "hours"),
    "min_failure_duration": (0, 7200, "seconds"),
}
"""Lowest and highest value of options, None where open."""


def check_thresholds(
    comparison: Comparison | None, form: str, options: Mapping[str, Any], place: Place
) -> Iterator[Problem]:
    """Thresholds that contradict the query or one another, or that a monitor of this form has not. `place` is that of
    the options; `comparison` is the one in the query, None where there is none."""
    thresholds = options.get("thresholds")
    if not isinstance(thresholds, Mapping):
        thresholds = {}
    below = place.within("thresholds")
    values: dict[str, float] = {}
    names = grammar()["thresholds"].get(form, grammar()["thresholds"]["other"])
    for name, value in thresholds.items():
        if value is None:
            continue
        if name not in names:
            near = nearest(str(name), names) or f"; it has {', '.join(names) or 'none'}"
            yield below.within(name).error(THRESHOLD, f"`{name}` is no threshold of such a monitor{near}")
            continue
        if name.endswith("_query"):
            continue
        parsed = number(value)
        if parsed is None:
            yield below.within(name).error(THRESHOLD, f"must be a number, not {value!r}")
        else:
            values[name] = parsed
    if comparison is None:
        return
    written = comparison.threshold
    if written == "threshold":
        if "critical_query" not in thresholds:
            yield below.error(THRESHOLD, "`threshold` in the query needs a `critical_query` here")
        return
    critical = values.get("critical")
    if critical is None:
        if "warning" in values:
            yield below.error(THRESHOLD, f"a warning needs a critical threshold: write `critical: {written}` as well")
        critical = float(written)
    elif critical != float(written):
        said = f"{comparison.operator} {written}"
        yield below.within("critical").error(
            THRESHOLD,
            f"{_shown(critical)} does not match the query, which says `{said}`: write {written} here",
        )
        return
    if "warning_recovery" in values and "warning" not in values:
        yield below.within("warning_recovery").warning(
            THRESHOLD, "does nothing without a `warning`: write both, or leave it out"
        )
    values["critical"] = critical
    yield from _order(comparison.operator, values, below)
    # Anomalies recover by a window of their own, so that the numbers of alert and recovery don't compare.
    if not options.get("threshold_windows"):
        yield from _outlasting(comparison.operator, values, below)


def _order(operator: str, values: Mapping[str, float], place: Place) -> Iterator[Problem]:
    if operator[0] not in "<>":
        return
    sign = 1 if operator[0] == ">" else -1
    side = "below" if sign > 0 else "above"
    # Of each pair the first comes before the second on the way to the alert.
    for name, beyond in (("warning", "critical"), ("critical_recovery", "critical"), ("warning_recovery", "warning")):
        if name not in values or beyond not in values:
            continue
        distance = (values[beyond] - values[name]) * sign
        if distance < 0:
            yield place.within(name).error(
                THRESHOLD,
                f"{_shown(values[name])} is beyond {beyond}: {_shown(values[beyond])}; write a number {side} it",
            )
        elif distance == 0:
            yield place.within(name).warning(
                THRESHOLD, f"is the same as {beyond}, so it does nothing: write a number {side} it or leave it out"
            )


def _outlasting(operator: str, values: Mapping[str, float], place: Place) -> Iterator[Problem]:
    recovery, warning = values.get("critical_recovery"), values.get("warning")
    if operator[0] not in "<>" or recovery is None or warning is None:
        return
    if (recovery < warning) if operator[0] == ">" else (recovery > warning):
        yield place.within("critical_recovery").warning(
            THRESHOLD,
            f"{_shown(recovery)} is past warning: {_shown(warning)}, so the alert outlasts the warning; "
            "write a number between the two thresholds",
        )


def check_options(
    query: MonitorQuery | None,
    body: Mapping[str, Any],
    options: Mapping[str, Any],
    groups: list[str] | None,
    place: Place,
) -> Iterator[Problem]:
    """Options that Datadog refuses, and no-data settings that come too soon. `place` is that of the body; `groups` are
    those of the query, None where they can't be told; `query` is None where it isn't read."""
    below = place.within("options")
    priority = body.get("priority")
    if priority is not None and str(priority) not in PRIORITIES:
        yield place.within("priority").error(
            "monitor/option", f"must be 1 (highest) to 5, or 0 for none, not {priority!r}"
        )
    for name, (low, high, unit) in RANGES.items():
        value = options.get(name)
        if value is None:
            continue
        parsed = number(value)
        if parsed is None or parsed < low or (high is not None and parsed > high):
            span = f"at least {low}" if high is None else f"{low} to {high}"
            yield below.within(name).error("monitor/option", f"must be {span} {unit}, not {value!r}")
    notify_by = options.get("notify_by")
    if isinstance(notify_by, list) and notify_by != ["*"] and groups is not None:
        for index, tag in enumerate(notify_by):
            if tag not in groups:
                near = nearest(str(tag), groups) or f"; the query groups by {', '.join(groups) or 'nothing'}"
                yield below.within("notify_by", index).error(
                    "monitor/notify-by", f"`{tag}` is no group of the query{near}"
                )
    yield from _words(options, below)
    yield from _without_effect(query, options, groups, below)
    yield from _no_data(query, options, below)


def _words(options: Mapping[str, Any], place: Place) -> Iterator[Problem]:
    """Names of options that look misspelt, and values that are none of the words that an option takes."""
    known: dict[str, list[str]] = grammar()["monitor_options"]
    for name, value in options.items():
        if name not in known:
            # An option that is like none of these may be a new one.
            if near := nearest(str(name), known, 0.8):
                yield place.within(name).warning("monitor/option", f"isn't known as an option{near}")
            continue
        words = known[name]
        for said in value if isinstance(value, list) else [] if value is None else [value]:
            if words and said not in words:
                yield place.within(name).error("monitor/option", f"must be one of {', '.join(words)}, not {said!r}")


def _without_effect(
    query: MonitorQuery | None, options: Mapping[str, Any], groups: list[str] | None, place: Place
) -> Iterator[Problem]:
    """Options that Datadog refuses since nothing is there for them to work on."""
    if groups == [] and (number(options.get("new_group_delay")) or 0) > 0:
        yield place.within("new_group_delay").error(
            "monitor/option", "is only for monitors with groups: leave it out, or group the query with `by {tag}`"
        )
    if options.get("renotify_occurrences") is not None and options.get("renotify_interval") is None:
        yield place.within("renotify_occurrences").error(
            "monitor/option", "needs a `renotify_interval`: write how many minutes lie between two notifications"
        )
    if options.get("on_missing_data") is not None and isinstance(query, CompositeMonitor):
        yield place.within("on_missing_data").error(
            "monitor/option", "is nothing for a composite monitor: leave it out, its parts have their own"
        )
    windows = options.get("threshold_windows")
    used = isinstance(windows, Mapping) and any(value is not None for value in windows.values())
    if used and query is not None and not _anomalies(query):
        yield place.within("threshold_windows").error(
            "monitor/option", "is only for monitors of anomalies: leave it out, the window stands in the query"
        )


def _anomalies(query: MonitorQuery) -> list[FunctionCall]:
    if not isinstance(query, MetricMonitor):
        return []
    calls = (part for part in walk(query.expression) if isinstance(part, FunctionCall))
    return [call for call in calls if call.name == "anomalies"]


def _no_data(query: MonitorQuery | None, options: Mapping[str, Any], place: Place) -> Iterator[Problem]:
    if options.get("notify_no_data") is not True:
        return
    if options.get("on_missing_data") is not None:
        yield place.within("on_missing_data").warning(
            "monitor/no-data", "`on_missing_data` and `notify_no_data` exclude each other: keep one"
        )
    frame = number(options.get("no_data_timeframe"))
    if frame is None or not isinstance(query, MetricMonitor | FormulaMonitor) or query.window.kind == "current":
        return
    # The window around anomalies is for the algorithm to learn from; what they are looked for in is another.
    window = next((found for call in _anomalies(query) if (found := alert_window(call))), query.window)
    minutes = window.seconds / 60
    if frame < 2 * minutes:
        yield place.within("no_data_timeframe").warning(
            "monitor/no-data",
            f"{_shown(frame)} minutes are less than twice the window `{window.text}`: "
            f"write at least {_shown(2 * minutes)}",
        )


def check_message(
    message: Any, groups: list[str] | None, filters: frozenset[str], options: Mapping[str, Any], place: Place
) -> Iterator[Problem]:
    """Variables of a message that stay empty, and blocks that are never closed. `groups` None: can't be told; `filters`
    are the tags that the query filters by."""
    if not isinstance(message, str):
        return
    at = place.within("message", text=message)
    if not message.strip():
        yield at.warning("monitor/message", "is empty: say what happened and what to do")
    quiet = options.get("notify_no_data") is not True and options.get("on_missing_data") in (None, "default")
    if quiet and (block := re.search(r"\{\{#is_no_data\}\}", message)):
        yield at.warning(
            "monitor/message",
            "is never sent: the monitor has neither `notify_no_data` nor `on_missing_data`",
            block.start(),
        )
    opened: list[tuple[str, int]] = []
    for match in re.finditer(r"\{\{([^{}\n]*)\}\}", message):
        inside = match.group(1).strip()
        mark, inside = (inside[0], inside[1:].strip()) if inside[:1] in ("#", "^", "/") else ("", inside)
        name = inside.partition(" ")[0]
        if mark in ("#", "^"):
            opened.append((name, match.start()))
        elif mark == "/":
            if not opened or opened[-1][0] != name:
                yield at.warning("monitor/message", f"`{{{{/{name}}}}}` closes nothing", match.start())
            else:
                opened.pop()
        for tag in _tags(inside):
            if groups is not None and tag not in groups and tag not in filters:
                near = nearest(tag, groups) or f": the query groups by {', '.join(groups) or 'nothing'}"
                yield at.warning("monitor/message", f"`{tag}` stays empty{near}", match.start())
    for name, start in opened:
        yield at.warning("monitor/message", f"`{{{{#{name}}}}}` is never closed: write `{{{{/{name}}}}}`", start)


def _tags(inside: str) -> Iterator[str]:
    """Tags that a variable such as `model_name.name` or `[dotted.tag].name` stands for."""
    for match in re.finditer(r"(?:\[([\w./-]+)\]|(?<![\w.\]])([A-Za-z][\w-]*))\.name\b", inside):
        yield match.group(1) or match.group(2)


def _shown(value: float) -> str:
    return f"{value:.10g}"
