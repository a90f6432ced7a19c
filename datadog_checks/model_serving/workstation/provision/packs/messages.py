"""The text of a monitor's notification: what is wrong, for whom, since when, and what to look at first."""

from __future__ import annotations

from collections.abc import Iterator

from ..query.tree import UNITS, EventMonitor, MetricMonitor, ServiceCheckMonitor, SloMonitor, Text, Window, seconds
from .queries import groups_of, number_text, window_of
from .settle import Settled

NAMES = {
    "serving_system": "system",
    "endpoint_name": "endpoint",
    "endpoint": "metrics endpoint",
    "host": "host",
    "model_name": "model",
    "model_version": "version",
    "gpu": "GPU",
    "gpu_uuid": "UUID",
    "xid": "XID",
    "queue": "queue",
    "reason": "reason",
    "path": "path",
    "status_code": "status code",
    "class_label": "class",
    "feature_name": "feature",
    "raw_metric": "raw metric",
    "model_path": "path of the model",
    "driver_version": "driver",
    "databricks_host": "workspace",
    "change": "change",
    "api_provider": "provider",
}
"""What a group is called in a message."""

SPANS = {"w": "week", "d": "day", "h": "hour", "m": "minute"}


def message(monitor: Settled, routing: str = "", composite: bool = False) -> str:
    """The message with its sections for alert, warning, missing data and recovery; `routing` ends it, if anything.

    A `composite` knows the values of its parts by their letters, and has no thresholds of its own.
    """
    parts = [_section(state, text) for state, text in _states(monitor, composite)]
    parts += [_for_whom(monitor), _help(monitor)]
    if monitor.entry.note:
        parts.append(f"How this is measured: {monitor.entry.note}")
    window = window_of(monitor.query)
    text = "\n\n".join(part for part in (*parts, routing) if part)
    text = text.replace("{window}", span(Window(window).seconds // 60) if window else "")
    return text.replace("{no_data}", _length(monitor.no_data) if monitor.no_data else "").strip()


def span(minutes: int) -> str:
    """A length of time in words.

    >>> span(5), span(60), span(1440), span(90)
    ('5 minutes', 'hour', 'day', '90 minutes')
    """
    for unit, name in SPANS.items():
        number, rest = divmod(minutes, UNITS[unit] // 60)
        if not rest:
            return name if number == 1 else f"{number} {name}s"
    raise AssertionError("any number of minutes has a name")


def of_part(title: str) -> str:
    """The message of a part of a composite monitor, which nobody gets."""
    return f"A part of the composite monitor of this name, which notifies: {title}. This one notifies nobody."


def _section(state: str, text: str) -> str:
    return f"{{{{#{state}}}}}\n{text}\n{{{{/{state}}}}}"


def _states(monitor: Settled, composite: bool) -> Iterator[tuple[str, str]]:
    """What each state of the monitor says."""
    entry, warns = monitor.entry, "warning" in monitor.thresholds
    subject = entry.subject[0].upper() + entry.subject[1:]
    match monitor.query:
        case ServiceCheckMonitor():
            yield "is_alert", entry.alert or f"{subject}: {{{{check_message}}}}"
            if warns:
                yield "is_warning", entry.warning or f"{subject}, warning: {{{{check_message}}}}"
            recovered = f"{subject} is OK again."
        case SloMonitor(long_window=Text(value=long), short_window=Text(value=short)):
            hours, minutes = (_length((seconds(text) or 0) // 60) for text in (long, short))
            windows = f"over {hours} and over {minutes}"
            if composite:
                limits = {name: number_text(value) for name, value in monitor.thresholds.items()}
                alert, warning = (f"{subject} is above {limits.get(name)}" for name in ("critical", "warning"))
                end = f", {windows}; in {hours}, {{{{b.value}}}} requests failed."
            else:
                text = (
                    f"{subject} is {{{{long_window_burn_rate}}}} and {{{{short_window_burn_rate}}}}, {windows}, above "
                )
                alert, warning = f"{text}{{{{threshold}}}}", f"{text}the warning limit of {{{{warn_threshold}}}}"
                end = "."
            yield "is_alert", entry.alert or f"{alert}{end}"
            if warns:
                yield "is_warning", entry.warning or f"{warning}{end}"
            recovered = f"{subject} is below its limit again."
        case EventMonitor():
            yield "is_alert", entry.alert
            recovered = entry.recovered
        case _ if composite:
            unit = entry.unit if entry.unit in ("", "%") else f" {entry.unit}"
            is_now, side, when = f"{subject} is {{{{a.value}}}}{unit}", _side(monitor), _when(monitor)
            limit = f"{number_text(monitor.thresholds['critical'])}{unit}"
            yield "is_alert", entry.alert or f"{is_now}, {side} {limit}, {when}."
            if warns:
                limit = f"{number_text(monitor.thresholds['warning'])}{unit}"
                yield "is_warning", entry.warning or f"{is_now}, {side} the warning limit of {limit}, {when}."
            recovered = f"{subject} is on the right side of its limit again."
        case _:
            unit = entry.unit if entry.unit in ("", "%") else f" {entry.unit}"
            is_now, side, when = f"{subject} is {{{{value}}}}{unit}", _side(monitor), _when(monitor)
            yield "is_alert", entry.alert or f"{is_now}, {side} {{{{threshold}}}}{unit}, {when}."
            if warns:
                text = f"{is_now}, {side} the warning limit of {{{{warn_threshold}}}}{unit}, {when}."
                yield "is_warning", entry.warning or text
            recovered = f"{is_now}."
    if monitor.no_data is not None:
        yield "is_no_data", entry.no_data_text or f"No data about {entry.subject} for {{no_data}}."
    yield "is_recovery", f"Recovered. {entry.recovered or recovered}"


def _side(monitor: Settled) -> str:
    query = monitor.query
    assert isinstance(query, MetricMonitor)
    return {">": "above", ">=": "at or above", "<": "below", "<=": "at or below"}[query.comparison.operator]


def _when(monitor: Settled) -> str:
    query = monitor.query
    assert isinstance(query, MetricMonitor)
    whole = (query.aggregator, query.comparison.operator[0]) in (("min", ">"), ("max", "<"))
    return f"{'throughout' if whole else 'over'} the last {{window}}"


def _length(minutes: int) -> str:
    text = span(minutes)
    return text if text[0].isdigit() else f"1 {text}"


def _for_whom(monitor: Settled) -> str:
    whom = ", ".join(f"{NAMES.get(tag, tag)} {{{{{_bracketed(tag)}.name}}}}" for tag in groups_of(monitor.query))
    if monitor.entry.slo:
        whom = f"all of `{monitor.entry.within}`" if monitor.entry.within else "all endpoints of the SLO"
        whom = f"endpoint {monitor.entry.endpoint}" if monitor.entry.endpoint else whom
    lines = [f"For: {whom or 'everything'}"]
    lines.append("{{^is_recovery}}Since: {{first_triggered_at}}{{/is_recovery}}")
    return "\n".join(lines)


def _bracketed(tag: str) -> str:
    """The name of a tag as a variable takes it: one with a dot stands in brackets."""
    return f"[{tag}]" if "." in tag else tag


def _help(monitor: Settled) -> str:
    steps = "\n".join(f"{number}. {step}" for number, step in enumerate(monitor.entry.look, 1))
    runbook = f"\n\nRunbook: {monitor.runbook}" if monitor.runbook else ""
    return f"{{{{^is_recovery}}}}\nLook first at:\n{steps}\n{{{{/is_recovery}}}}{runbook}"
