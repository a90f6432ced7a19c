"""Anomalies, forecasts and outliers: their arguments, and what the monitor around them has to say as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .problems import Place, Problem, nearest
from .tree import Argument, FunctionCall, Metric, MetricMonitor, Number, Setting, Text, Window, walk
from .words import grammar

IDS = {"anomalies": "query/anomaly", "forecast": "query/forecast", "outliers": "query/outlier"}
ALERT_WINDOWS_PER_INTERVAL = 5


def _arguments(call: FunctionCall, place: Place) -> Iterator[Problem]:
    """The algorithm, the number behind it and the names of the settings."""
    id, words = IDS[call.name], grammar()[call.name]
    plain = [argument for argument in call.arguments if not isinstance(argument, Setting)]
    known = ", ".join(words["algorithms"])
    if len(plain) < 3:
        example = f"{call.name}(..., {_example(call)})"
        yield place.error(id, f"takes a query, an algorithm ({known}) and a number: `{example}`", call.at)
        return
    algorithm = plain[1]
    if not isinstance(algorithm, Text) or algorithm.value.lower() not in words["algorithms"]:
        said = f"`{algorithm.value}`" if isinstance(algorithm, Text) else "this"
        near = nearest(algorithm.value, words["algorithms"]) if isinstance(algorithm, Text) else ""
        yield place.error(id, f"{said} is no algorithm of `{call.name}`: known are {known}{near}", algorithm.at)
    if not isinstance(plain[2], Number):
        yield place.warning(id, f"expected a number behind the algorithm, as in `{_example(call)}`", plain[2].at)
    for argument in call.arguments:
        if isinstance(argument, Setting) and argument.name not in words["settings"]:
            near = nearest(argument.name, words["settings"])
            yield place.warning(id, f"`{argument.name}` isn't known as a setting of `{call.name}`{near}", argument.at)


def _example(call: FunctionCall) -> str:
    return {"anomalies": "'agile', 3", "forecast": "'linear', 1", "outliers": "'DBSCAN', 3"}[call.name]


def _anomalies(call: FunctionCall, place: Place) -> Iterator[Problem]:
    yield from _arguments(call, place)
    words, settings = grammar()["anomalies"], _settings(call)
    for name in ("direction", "seasonality"):
        value = settings.get(name)
        if value is not None and _said(value) not in words[name]:
            yield place.error(
                "query/anomaly", f"`{name}` is one of {', '.join(words[name])}, not `{_said(value)}`", value.at
            )
    algorithm = call.arguments[1] if len(call.arguments) > 1 else None
    seasonality = settings.get("seasonality")
    if seasonality is not None and isinstance(algorithm, Text) and algorithm.value == "basic":
        yield place.warning(
            "query/anomaly", "`basic` knows no seasonality: leave it out, or write 'agile' or 'robust'", seasonality.at
        )
    window = alert_window(call)
    interval = settings.get("interval")
    if window is not None and interval is not None and _said(interval).isdigit():
        longest = window.seconds // ALERT_WINDOWS_PER_INTERVAL
        if window.kind == "last" and int(_said(interval)) > longest:
            yield place.error(
                "query/anomaly",
                f"an interval of {_said(interval)} s is too long for `{window.text}`: at most a fifth, {longest} s",
                interval.at,
            )


def _outliers(call: FunctionCall, place: Place) -> Iterator[Problem]:
    yield from _arguments(call, place)
    metrics = [part for part in walk(call) if isinstance(part, Metric)]
    if metrics and not any(metric.by for metric in metrics):
        yield place.warning("query/outlier", "without groups there is nothing to compare: add `by {tag}`", call.at)


ALGORITHMS: dict[str, Callable[[FunctionCall, Place], Iterator[Problem]]] = {
    "anomalies": _anomalies,
    "forecast": _arguments,
    "outliers": _outliers,
}
"""What checks the arguments, by the name of the function."""


def alert_window(call: FunctionCall) -> Window | None:
    """The window in which anomalies are counted, None where the call names none."""
    text = _settings(call).get("alert_window")
    return Window(text.value, at=text.at) if isinstance(text, Text) else None


def check_algorithms(monitor: MetricMonitor, options: Mapping[str, Any], place: Place, at: Place) -> Iterator[Problem]:
    """What a monitor must say so that the algorithm in it works. `at` is the place of the options."""
    calls = [part for part in walk(monitor.expression) if isinstance(part, FunctionCall) and part.name in ALGORITHMS]
    forecasts = any(call.name == "forecast" for call in calls)
    if forecasts and monitor.window.kind != "next":
        yield place.warning(
            "query/forecast", f"a forecast looks ahead: write `next_1d`, not `{monitor.window.text}`", monitor.window.at
        )
    if monitor.window.kind == "next" and not forecasts:
        yield place.error(
            "query/forecast",
            f"only a forecast looks ahead: write `last_1d`, not `{monitor.window.text}`",
            monitor.window.at,
        )
    for call in calls:
        if call.name == "anomalies":
            yield from _anomaly_monitor(call, monitor, options, place, at)


def _anomaly_monitor(
    call: FunctionCall, monitor: MetricMonitor, options: Mapping[str, Any], place: Place, at: Place
) -> Iterator[Problem]:
    window = alert_window(call)
    if window is None:
        yield place.warning("query/anomaly", "a monitor of anomalies names its `alert_window='last_15m'`", call.at)
        return
    if window.kind != "last":
        yield place.error("query/window", f"`{window.text}` is no window: write one such as `last_15m`", window.at)
        return
    if monitor.window.kind == "last" and monitor.window.seconds < window.seconds:
        yield place.error(
            "query/anomaly",
            f"the monitor looks at `{monitor.window.text}`, less than its alert window `{window.text}`: "
            f"write at least `({window.text})`",
            monitor.window.at,
        )
    windows = options.get("threshold_windows")
    trigger = windows.get("trigger_window") if isinstance(windows, Mapping) else None
    if trigger is None:
        yield at.error(
            "query/anomaly", f'a monitor of anomalies needs `threshold_windows: {{"trigger_window": "{window.text}"}}`'
        )
    elif trigger != window.text:
        yield at.within("threshold_windows", "trigger_window").error(
            "query/anomaly", f"`{trigger}` is not the alert window of the query: write `{window.text}`"
        )


def _settings(call: FunctionCall) -> dict[str, Argument]:
    return {argument.name: argument.value for argument in call.arguments if isinstance(argument, Setting)}


def _said(value: Argument) -> str:
    match value:
        case Text():
            return value.value
        case Number():
            return value.text
        case _:
            return str(getattr(value, "name", ""))
