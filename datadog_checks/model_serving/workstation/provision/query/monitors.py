"""Checks the body of a monitor: its type, its query, and the options that must agree with the query."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ....errors import QueryError
from .algorithms import check_algorithms
from .catalog import check_service_check
from .expressions import parse_metric_expression
from .known import Known
from .numbers import check_missing, check_numbers, check_rollups
from .options import check_message, check_options, check_thresholds
from .parse import parse_monitor
from .problems import Place, Problem, mappings, nearest
from .rules import check_expression, group_tags, metrics_of
from .tree import (
    And,
    Comparison,
    CompositeMonitor,
    Condition,
    EventMonitor,
    FormulaMonitor,
    FunctionCall,
    In,
    MetricMonitor,
    MonitorQuery,
    Name,
    Or,
    ServiceCheckMonitor,
    SloMonitor,
    Tag,
    Window,
    leaves,
    seconds,
    walk,
)
from .windows import check_shift, check_window
from .words import grammar

FORMS: dict[type[object], str] = {
    MetricMonitor: "metric",
    FormulaMonitor: "metric",
    ServiceCheckMonitor: "service check",
    SloMonitor: "slo",
    CompositeMonitor: "composite",
    EventMonitor: "event",
}
UNCOMPARED = ("process alert", "synthetics alert")
"""Types whose query may have no comparison."""
COMPARISON = re.compile(r"(<=|>=|==|!=|<|>)\s*(-?\d+(?:\.\d+)?|threshold)\s*$")
MOST_RUNS = 100
MOST_MONITORS = 10
MOST_BURN = 10_000
LONGEST_BURN_WINDOW = 48 * 3600


def check_monitor(
    body: Mapping[str, Any],
    known: Known | None = None,
    path: str = "",
    variables: Mapping[str, str | None] | None = None,
) -> list[Problem]:
    """What is wrong with the body of a monitor, as the API takes it. `path` leads to the body in its file; `variables`
    are the template variables of a recommended monitor of an integration, each with its tag."""
    return list(_monitor(body, Place(path, known or Known(), variables=variables)))


def monitor_type(query: MonitorQuery) -> str:
    """The type that a monitor with this query has: `query alert`, `service check`, `slo alert`, `composite`."""
    types: dict[str, list[str]] = grammar()["monitor_types"]
    return types[FORMS[type(query)]][0]


def _monitor(body: Mapping[str, Any], place: Place) -> Iterator[Problem]:
    kind, text = body.get("type"), body.get("query")
    types = {name: form for form, names in grammar()["monitor_types"].items() for name in names}
    options = body.get("options") if isinstance(body.get("options"), Mapping) else {}
    assert isinstance(options, Mapping)
    if isinstance(kind, str) and kind in grammar()["unchecked_monitor_types"]:
        yield from _of_another_source(kind, body, options, place)
        return
    if not isinstance(kind, str) or kind not in types:
        near = nearest(str(kind), [*types, *grammar()["unchecked_monitor_types"]])
        said = "has no type" if kind is None else f"`{kind}` is no type of a monitor"
        yield place.within("type").error("monitor/type", f"{said}: write `query alert` for metrics{near}")
    if not isinstance(text, str):
        yield place.within("query").error("query/syntax", "a monitor needs a query, a text")
        return
    at = place.within("query", text=text)
    try:
        query = parse_monitor(text)
    except QueryError as error:
        yield at.unreadable(error)
        return
    if isinstance(kind, str) and kind in types and types[kind] != FORMS[type(query)]:
        yield place.within("type").error(
            "monitor/type", f"the query is that of a `{monitor_type(query)}` monitor, the type is `{kind}`"
        )
    below = place.within("options")
    groups: list[str] | None = None
    match query:
        case MetricMonitor():
            groups = list(group_tags(query.expression))
            yield from _metric(query, options, at, below)
        case FormulaMonitor():
            groups = []
            yield from _formula(query, options, at, below, groups)
            groups = groups if _is_grouped_by_metrics(query, options, below) else None
        case ServiceCheckMonitor():
            groups = [tag.value for tag in query.by]
            yield from _service_check(query, options, at)
        case EventMonitor():
            groups = [tag.value for tag in query.by]
            yield from check_window(query.window, at)
        case SloMonitor():
            yield from _slo(query, at)
        case CompositeMonitor():
            yield from _composite(query, at)
    if groups is not None and any(tag == "*" or "$" in tag for tag in groups):
        groups = None
    yield from check_thresholds(getattr(query, "comparison", None), FORMS[type(query)], options, below)
    yield from check_options(query, body, options, groups, place)
    yield from check_message(body.get("message"), groups, frozenset(_filtered(query)), options, place)


def _of_another_source(
    kind: str, body: Mapping[str, Any], options: Mapping[str, Any], place: Place
) -> Iterator[Problem]:
    """A monitor of logs, traces and the like: what can be said without reading the search in its query."""
    yield place.within("type").hint(
        "monitor/type",
        f"the query of a `{kind}` isn't read: only comparison, thresholds and options are checked",
    )
    text = body.get("query")
    comparison = None
    source = grammar()["unchecked_monitor_types"][kind]
    if isinstance(text, str) and source and not text.lstrip().startswith((source, "formula(")):
        yield place.within("query", text=text).error(
            "query/syntax", f"the query of a `{kind}` starts with `{source}(` or `formula(`", 0
        )
    if isinstance(text, str) and (found := COMPARISON.search(text)):
        comparison = Comparison(found.group(1), found.group(2), at=found.start(1), threshold_at=found.start(2))
    elif isinstance(text, str) and kind not in UNCOMPARED:
        yield place.within("query", text=text).error(
            "query/syntax", "expected a comparison such as `> 5` at the end", len(text.rstrip())
        )
    yield from check_thresholds(comparison, kind, options, place.within("options"))
    yield from check_options(None, body, options, None, place)
    yield from check_message(body.get("message"), None, frozenset(), options, place)


def _filtered(query: MonitorQuery) -> Iterator[str]:
    """Tags of which the query takes chosen values alone, so that a message may name them."""
    match query:
        case MetricMonitor():
            for metric in metrics_of(query.expression):
                yield from _chosen(metric.scope)
        case ServiceCheckMonitor():
            yield from (tag.value.partition(":")[0] for tag in query.over)


def _chosen(scope: Condition | None) -> Iterator[str]:
    match scope:
        case Tag() | In(negated=False):
            yield scope.key
        case And() | Or():
            for operand in scope.operands:
                yield from _chosen(operand)


def _metric(query: MetricMonitor, options: Mapping[str, Any], at: Place, below: Place) -> Iterator[Problem]:
    yield from check_window(query.window, at)
    if query.shift is not None:
        yield from check_shift(query.shift, at)
    aggregator = "" if query.change else query.aggregator
    yield from check_expression(query.expression, at, time_aggregator=aggregator)
    metrics = metrics_of(query.expression)
    if query.change and query.aggregator != "sum" and any(metric.has("as_count") for metric in metrics):
        yield at.warning(
            "query/as-count",
            f"`.as_count()` goes with `sum` over time: write `{query.change}(sum({query.window.text}),...)`",
            query.at,
        )
    if query.aggregator == "percentile":
        for metric in metrics:
            if not metric.aggregator.startswith("p"):
                yield at.warning(
                    "query/percentile",
                    f"`percentile(...)` goes with a percentile: `p99:{metric.name}`",
                    metric.at,
                )
    if not metrics and not any(isinstance(part, Name) for part in walk(query.expression)):
        yield at.warning("query/scope", "the query names no metric", query.at)
    yield from check_algorithms(query, options, at, below)
    yield from check_numbers(query, options, at)
    yield from check_rollups(query, at)
    yield from check_missing(query, options, below)


def _formula(
    query: FormulaMonitor, options: Mapping[str, Any], at: Place, below: Place, groups: list[str]
) -> Iterator[Problem]:
    window = Window(f"last_{query.window.text}", at=query.window.at)
    yield from check_window(window if seconds(query.window.text) else query.window, at)
    names: set[str] = set()
    for variable, where in mappings(options.get("variables"), below.within("variables")):
        name = variable.get("name")
        if isinstance(name, str):
            names.add(name)
        text = variable.get("query")
        if variable.get("data_source") != "metrics" or not isinstance(text, str):
            continue
        inner = where.within("query", text=text)
        try:
            expression = parse_metric_expression(text)
        except QueryError as error:
            yield inner.unreadable(error)
            continue
        groups += group_tags(expression)
        yield from check_expression(expression, inner)
    if not names:
        yield below.within("variables").error(
            "query/variable", "a formula needs its queries in `options.variables`, each with a name"
        )
    yield from check_expression(query.expression, at, names=frozenset(names))


def _is_grouped_by_metrics(query: FormulaMonitor, options: Mapping[str, Any], place: Place) -> bool:
    """Whether the queries of metrics are all that says how a formula is grouped."""
    variables = mappings(options.get("variables"), place)
    regrouped = any(isinstance(part, FunctionCall) and part.by is not None for part in walk(query.expression))
    return not regrouped and all(variable.get("data_source") == "metrics" for variable, _ in variables)


def _service_check(query: ServiceCheckMonitor, options: Mapping[str, Any], at: Place) -> Iterator[Problem]:
    id = "monitor/service-check"
    if query.last is None:
        yield at.error(id, "`.last()` is missing: write `.last(3)`, at least the largest threshold and one", query.at)
    elif not 1 <= query.last <= MOST_RUNS:
        yield at.error(id, f"`.last({query.last})` is not between 1 and {MOST_RUNS}", query.last_at)
    else:
        thresholds = options.get("thresholds")
        for name, value in (thresholds if isinstance(thresholds, Mapping) else {}).items():
            if query.status == "count_by_status" and isinstance(value, int | float) and value > query.last:
                yield at.error(
                    id,
                    f"{query.last} runs are too few for the threshold {name}: {value}; write `.last({int(value) + 1})`",
                    query.last_at,
                )
    if not query.over or not all(tag.value for tag in query.over):
        yield at.warning(id, 'the scope is missing: write `.over("*")`', query.at)
    if not query.by:
        yield at.hint(id, 'no groups are named: write `.by("endpoint")` for an alert of each', query.at)
    yield from check_service_check(query.check, query.at + 1, (*query.over, *query.exclude), query.by, at)


def _slo(query: SloMonitor, at: Place) -> Iterator[Problem]:
    id, timeframes = "monitor/slo", grammar()["slo"]["timeframes"]
    if query.over.value not in timeframes:
        yield at.error(
            id, f"`{query.over.value}` is no timeframe of an SLO: write {', '.join(timeframes)}", query.over.at
        )
    if query.comparison.operator not in (">", ">="):
        yield at.error(id, f"write > or >=, not `{query.comparison.operator}`", query.comparison.at)
    if query.kind == "burn_rate" and float(query.comparison.threshold) > MOST_BURN:
        yield at.error(
            id,
            f"nothing burns {query.comparison.threshold} times as fast: where all fails, an SLO of 99.9 % burns 1000 "
            "times; usual are 14.4, 6, 3 and 1",
            query.comparison.threshold_at,
        )
    elif query.kind == "error_budget" and 0 < float(query.comparison.threshold) < 1:
        part = query.comparison.threshold
        yield at.warning(
            id,
            f"{part} is {part} % of the budget: write {float(part) * 100:g} for a share",
            query.comparison.threshold_at,
        )
    lengths = []
    for text in (query.long_window, query.short_window):
        if text is None:
            continue
        length = seconds(text.value)
        if length is None or not 0 < length <= LONGEST_BURN_WINDOW:
            yield at.error(id, f"`{text.value}` is no window: write one such as `1h` or `5m`, at most `48h`", text.at)
        else:
            lengths.append(length)
    if len(lengths) == 2 and query.short_window is not None and lengths[0] <= lengths[1]:
        yield at.error(id, "the short window is not shorter than the long one", query.short_window.at)


def _composite(query: CompositeMonitor, at: Place) -> Iterator[Problem]:
    monitors = list(leaves(query.condition))
    if len(monitors) > MOST_MONITORS:
        yield at.error(
            "monitor/composite",
            f"combines {len(monitors)} monitors; at most {MOST_MONITORS} are allowed",
            monitors[MOST_MONITORS].at,
        )
    elif len(monitors) < 2:
        yield at.warning("monitor/composite", "combines a single monitor", query.at)
