"""Reads the query of a monitor, whichever of the forms it has."""

from __future__ import annotations

import re
from functools import lru_cache

from ....errors import QueryError
from .expressions import NOT_A_NUMBER, read_expression
from .reader import PARSED, WORD, QueryReader
from .tree import (
    And,
    Comparison,
    CompositeMonitor,
    Condition,
    EventMonitor,
    FormulaMonitor,
    MetricMonitor,
    Monitor,
    MonitorQuery,
    Not,
    Or,
    ServiceCheckMonitor,
    SloMonitor,
    Text,
    Window,
)
from .words import grammar

TIME_AGGREGATORS = ("avg", "sum", "min", "max", "percentile")
RARE_AGGREGATORS = ("last", "mean", "area", "l2norm", "stddev", "count_unique")
"""Known from formulas; whether a monitor may start with them isn't documented."""
CHANGES = ("change", "pct_change")
UNCHECKED = re.compile(
    r"(logs|processes|rum|trace-analytics|audits|ci-pipelines|ci-tests|error-tracking|error-tracking-\w+|"
    r"network|network-path|database-monitoring|cost|spans|llm-observability|formula-and-functions)\s*\("
)
WINDOW = re.compile(r"[\w.-]+")
THRESHOLD = re.compile(r"-?\s*\d+(?:\.\d+)?(?![\w.])|threshold\b")


@lru_cache(maxsize=PARSED)
def parse_monitor(query: str) -> MonitorQuery:
    """What the query of a monitor says. Raises QueryError with the column of what can't be read."""
    reader = QueryReader(query)
    with reader.bounded():
        found = _form(reader)
        reader.finish("at the end of the query")
    return found


def _form(reader: QueryReader) -> MonitorQuery:
    if reader.done():
        raise reader.fail("the query is empty")
    if other := reader.peek(UNCHECKED):
        raise reader.fail(f"queries of the form `{other.group(1)}(...)` aren't checked", certain=False)
    if reader.peek(r"""["']"""):
        return _service_check(reader)
    if reader.peek(r"events\s*\("):
        return _events(reader)
    if reader.peek(r"(?:burn_rate|error_budget)\s*\("):
        return _slo(reader)
    if reader.peek(r"formula\s*\("):
        return _formula(reader)
    if reader.peek(r"[!(\s]*(?:\d|\$\{)"):
        start = reader.at
        return CompositeMonitor(_composite(reader), at=start)
    return _metric(reader)


def _metric(reader: QueryReader) -> MetricMonitor:
    reader.skip()
    start = reader.at
    head = reader.take(r"([A-Za-z_]\w*)\s*\(")
    if not head:
        raise reader.fail("a metric monitor starts with how to aggregate over which time: `avg(last_5m):...`")
    name = head.group(1)
    change, shift = "", None
    if name in CHANGES:
        change = name
        inner = reader.take(r"([A-Za-z_]\w*)\s*\(")
        if not inner:
            raise reader.fail(
                f"`{name}` compares an aggregate with an earlier one: write `{name}(avg(last_5m),last_1d):...`",
                certain=False,
            )
        name, start = inner.group(1), inner.start()
    _aggregator(reader, name, start)
    if reader.peek(r"\w+\s*[({\[]"):
        raise reader.fail(
            f"this is PromQL: write the window behind `{name}`, then the metric: `{name}(last_5m):sum:metric{{*}}`",
            id="query/promql",
        )
    window = _window(reader)
    reader.expect(")", "behind the window")
    if change:
        reader.expect(",", f"and what to compare with, as in `{change}(avg(last_5m),last_1d)`")
        shift = _window(reader)
        reader.expect(")", "behind the time to compare with")
    reader.expect(":", "between the window and what is aggregated")
    expression = read_expression(reader)
    comparison = _comparison(reader)
    if by := reader.peek(r"by\b"):
        raise reader.fail(
            f"`by` comes before the comparison: write `{{*}} by {{tag}} {comparison.operator} {comparison.threshold}`",
            by.start(),
            certain=False,
        )
    return MetricMonitor(name, window, expression, comparison, change, shift, at=head.start())


def _aggregator(reader: QueryReader, name: str, at: int) -> None:
    if name in grammar()["promql"]:
        raise reader.fail(
            f"`{name}()` is PromQL and unknown to Datadog; what does its work: {grammar()['promql'][name]}",
            at,
            id="query/promql",
        )
    if name not in TIME_AGGREGATORS:
        raise reader.fail(
            f"`{name}` is no aggregation over time: write {', '.join(TIME_AGGREGATORS)}, change or pct_change",
            at,
            certain=name not in RARE_AGGREGATORS,
        )


def _window(reader: QueryReader) -> Window:
    window = reader.take(WINDOW)
    if not window:
        raise reader.fail(
            f"expected a window such as `last_5m`, found {reader.found()}", certain=reader.peek(r"\$") is None
        )
    return Window(window.group(), at=window.start())


def _comparison(reader: QueryReader) -> Comparison:
    operator = reader.take(r"[<>=!]+")
    if not operator:
        raise reader.fail(
            f"expected a comparison such as `> 5`, found {reader.found()}",
            certain=reader.done() or reader.peek("[)}]") is not None,
        )
    if operator.group() not in ("<", "<=", ">", ">=", "==", "!="):
        raise reader.fail(f"`{operator.group()}` is no comparison: write <, <=, >, >=, == or !=", operator.start())
    if reader.peek(r"-?\s*\.\d"):
        raise reader.fail(NOT_A_NUMBER, id="query/number")
    threshold = reader.take(THRESHOLD)
    if not threshold:
        raise reader.fail(f"expected the threshold, a number, found {reader.found()}", certain=reader.done())
    number = threshold.group().replace(" ", "")
    return Comparison(operator.group(), number, at=operator.start(), threshold_at=threshold.start())


def _methods(reader: QueryReader) -> dict[str, tuple[int, list[Text]]]:
    """Methods whose arguments are texts or numbers, by name, each with its position."""
    methods: dict[str, tuple[int, list[Text]]] = {}
    while method := reader.take(r"\.\s*(\w+)\s*\("):
        name, arguments = method.group(1), []
        if name in methods:
            raise reader.fail(f"`.{name}()` is there twice", method.start(), certain=False)
        while not reader.take(r"\)"):
            if number := reader.take(r"-?\d+(?:\.\d+)?"):
                arguments.append(Text(number.group(), at=number.start()))
            else:
                value, at = reader.quoted(f"within `.{name}()`")
                arguments.append(Text(value, at=at))
            if not reader.take(r",(?!\s*\))") and not reader.peek(r"\)"):
                reader.expect(")", f"at the end of `.{name}()`")
        methods[name] = (method.start(), arguments)
    return methods


def _known(reader: QueryReader, methods: dict[str, tuple[int, list[Text]]], known: tuple[str, ...]) -> None:
    for name, (at, _) in methods.items():
        if name not in known:
            raise reader.fail(f"`.{name}()` isn't known here; known are {', '.join(known)}", at, certain=False)


def _service_check(reader: QueryReader) -> ServiceCheckMonitor:
    check, at = reader.quoted("for the name of the check")
    methods = _methods(reader)
    _known(reader, methods, ("over", "exclude", "by", "last", "count_by_status", "pct_by_status"))
    if reader.peek(r"[<>=!]"):
        raise reader.fail("the thresholds of a service check stand in `options.thresholds`, not in the query")
    status = next((name for name in methods if name.endswith("_by_status")), "")
    if not status:
        raise reader.fail(
            "a service check ends in `.count_by_status()`: write "
            f'`"{check}".over("*").by("endpoint").last(3).count_by_status()`'
        )
    last = methods.get("last")
    if last is not None and (len(last[1]) != 1 or not last[1][0].value.isdigit()):
        raise reader.fail("`.last()` takes the number of runs to look at, as in `.last(3)`", last[0])
    tags = {name: tuple(methods[name][1]) if name in methods else () for name in ("over", "exclude", "by")}
    return ServiceCheckMonitor(
        check,
        tags["over"],
        tags["exclude"],
        tags["by"],
        None if last is None else int(last[1][0].value),
        status,
        at=at,
        last_at=0 if last is None else last[1][0].at,
    )


def _slo(reader: QueryReader) -> SloMonitor:
    kind = reader.take(WORD)
    assert kind is not None
    reader.expect("(", "before the id of the SLO")
    slo, at = reader.quoted("for the id of the SLO")
    reader.expect(")", "behind the id of the SLO")
    methods = _methods(reader)
    _known(reader, methods, ("over", "long_window", "short_window"))
    texts = {name: arguments[0] for name, (_, arguments) in methods.items() if len(arguments) == 1}
    needed = ("over", "long_window", "short_window") if kind.group() == "burn_rate" else ("over",)
    for name in needed:
        if name not in texts:
            raise reader.fail(f'`{kind.group()}` needs one `.{name}("...")`', kind.start())
    return SloMonitor(
        kind.group(),
        Text(slo, at=at),
        texts["over"],
        texts.get("long_window"),
        texts.get("short_window"),
        _comparison(reader),
        at=kind.start(),
    )


def _events(reader: QueryReader) -> EventMonitor:
    start = reader.at
    reader.take(r"events\s*\(")
    search, _ = reader.quoted("for the search")
    reader.expect(")", "behind the search")
    methods = _methods(reader)
    _known(reader, methods, ("rollup", "by", "last"))
    for name in ("rollup", "last"):
        if name not in methods or len(methods[name][1]) != 1:
            raise reader.fail(
                'events are counted over a window: write `events("...").rollup("count").last("15m") > 0`',
                start,
                certain=False,
            )
    window = methods["last"][1][0]
    return EventMonitor(
        search,
        methods["rollup"][1][0].value,
        tuple(Text(tag.strip(), at=text.at) for text in methods.get("by", (0, []))[1] for tag in text.value.split(",")),
        Window(f"last_{window.value}", at=window.at + 1),
        _comparison(reader),
        at=start,
    )


def _formula(reader: QueryReader) -> FormulaMonitor:
    start = reader.at
    reader.take(r"formula\s*\(")
    text, at = reader.quoted("for the formula")
    inner = QueryReader(reader.text, at + 1, at + 1 + len(text))
    expression = read_expression(inner)
    inner.finish("at the end of the formula")
    reader.expect(")", "behind the formula")
    methods = _methods(reader)
    _known(reader, methods, ("last", "rollup"))
    for name, (where, arguments) in methods.items():
        if len(arguments) != 1:
            raise reader.fail(f"`.{name}()` takes one text here", where, certain=False)
    if "last" not in methods:
        raise reader.fail('a formula needs its window: write `formula("...").last("15m") > 5`', start)
    window = methods["last"][1][0]
    rollup = methods["rollup"][1][0].value if "rollup" in methods else ""
    return FormulaMonitor(expression, Window(window.value, at=window.at + 1), _comparison(reader), rollup, at=start)


def _composite(reader: QueryReader) -> Condition:
    operands, first = [_all_of(reader)], 0
    while operator := _operator(reader, r"\|\|"):
        first = first or operator.start()
        operands.append(_all_of(reader))
    return operands[0] if len(operands) == 1 else Or(tuple(operands), at=first)


def _all_of(reader: QueryReader) -> Condition:
    operands, first = [_monitor(reader)], 0
    while operator := _operator(reader, "&&"):
        first = first or operator.start()
        operands.append(_monitor(reader))
    return operands[0] if len(operands) == 1 else And(tuple(operands), at=first)


def _operator(reader: QueryReader, symbol: str) -> re.Match[str] | None:
    if wrong := reader.peek(r"(?:AND|OR|and|or)\b|&(?!&)|\|(?!\|)|,"):
        raise _wrong_operator(reader, wrong)
    return reader.take(symbol)


def _wrong_operator(reader: QueryReader, wrong: re.Match[str]) -> QueryError:
    return reader.fail(f"`{wrong.group()}` doesn't combine monitors: write && or ||")


def _monitor(reader: QueryReader) -> Condition:
    reader.skip()
    at = reader.at
    if reader.take("!"):
        return Not(_monitor(reader), at=at)
    if reader.take(r"\("):
        inner = _composite(reader)
        reader.close(")", at, "isn't understood between monitors")
        return inner
    monitor = reader.take(r"\d+(?![\w.])|\$\{[^}]+\}")
    if not monitor:
        raise reader.fail(f"expected the id of a monitor, found {reader.found()}")
    return Monitor(monitor.group(), at=at)
