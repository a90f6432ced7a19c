"""Reads expressions over metrics: `sum:a{*} by {x}.as_count() / sum:b{*} by {x}.as_count() * 100`."""

from __future__ import annotations

import re
from functools import lru_cache

from .reader import PARSED, QueryReader
from .scopes import read_groups, read_scope, read_tags
from .tree import (
    Argument,
    Chain,
    Expression,
    FunctionCall,
    Method,
    Metric,
    Name,
    Negative,
    Number,
    Operation,
    Regrouping,
    Setting,
    Text,
)

NUMBER = re.compile(r"\d+(?:\.\d+)?(?![\w.])")
# A dotted name ends where a method begins.
IDENTIFIER = re.compile(r"[A-Za-z]\w*(?:\.\w+\b(?!\s*\())*")
CONDITION = re.compile(r"\(\s*v\s*:\s*v\s*(<=|>=|<|>)\s*(\d+(?:\.\d+)?)\s*\)\s*:")
NOT_A_NUMBER = "write numbers with digits on both sides of the point: 0.5, not .5"


@lru_cache(maxsize=PARSED)
def parse_metric_expression(query: str) -> Expression:
    """The expression in a widget, an SLO or a formula. Raises QueryError with the column."""
    reader = QueryReader(query)
    with reader.bounded():
        expression = read_expression(reader)
        reader.finish("at the end of a query")
    return expression


def parse_metric_expressions(query: str) -> tuple[Expression, ...]:
    """Several expressions with commas between them, as the older form of widgets has them."""
    reader = QueryReader(query)
    with reader.bounded():
        expressions = [read_expression(reader)]
        while reader.take(","):
            expressions.append(read_expression(reader))
        reader.finish("at the end of a query")
    return tuple(expressions)


def read_expression(reader: QueryReader) -> Expression:
    """Sums and differences, and all that binds closer."""
    left = _product(reader)
    while operator := reader.take(r"[+-]"):
        reader.operation(operator.start())
        left = Operation(operator.group(), left, _product(reader), at=operator.start())
    return left


def _product(reader: QueryReader) -> Expression:
    left = _unary(reader)
    while operator := reader.take(r"[*/]"):
        reader.operation(operator.start())
        left = Operation(operator.group(), left, _unary(reader), at=operator.start())
    return left


def _unary(reader: QueryReader) -> Expression:
    if sign := reader.take("-"):
        return Negative(_unary(reader), at=sign.start())
    operand = _primary(reader)
    methods = _methods(reader)
    return Chain(operand, methods, at=operand.at) if methods else operand


def _primary(reader: QueryReader) -> Expression:
    reader.skip()
    at = reader.at
    if reader.take(r"\("):
        inner = read_expression(reader)
        reader.close(")", at, "isn't understood between parentheses")
        return inner
    if number := reader.take(NUMBER):
        return Number(number.group(), at=at)
    if reader.peek(r"\.\d"):
        raise reader.fail(NOT_A_NUMBER, id="query/number")
    if name := reader.take(IDENTIFIER):
        return _named(reader, name.group(), at)
    raise reader.fail(
        f"expected a metric, a function or a number, found {reader.found()}",
        certain=reader.done() or reader.peek(r"[)}*/,<>=!]") is not None,
    )


def _named(reader: QueryReader, name: str, at: int) -> Expression:
    if name == "count" and (condition := reader.take(CONDITION)):
        return _metric(reader, name, at, f"{condition.group(1)}{condition.group(2)}")
    if reader.take(":"):
        return _metric(reader, name, at, "")
    if reader.take(r"\("):
        return FunctionCall(name, _arguments(reader, at + len(name)), at=at)
    _no_range(reader)
    if reader.peek(r"by\s*\("):
        read_groups(reader)
    if reader.peek(r"\{"):
        return _rest_of_metric(reader, "", name, at, at, "")
    return Name(name, at=at)


def _no_range(reader: QueryReader) -> None:
    if reader.peek(r"\["):
        raise reader.fail(
            "this is PromQL: in Datadog the time is that of the monitor, `avg(last_5m):avg:metric{*}`",
            id="query/promql",
        )


def _metric(reader: QueryReader, aggregator: str, at: int, condition: str) -> Metric:
    name = reader.take(IDENTIFIER)
    if not name:
        raise reader.fail(
            f"expected a metric behind `{aggregator}:`, found {reader.found()}", certain=reader.peek(r"[$\"']") is None
        )
    return _rest_of_metric(reader, aggregator, name.group(), at, name.start(), condition)


def _rest_of_metric(reader: QueryReader, aggregator: str, name: str, at: int, name_at: int, condition: str) -> Metric:
    _no_range(reader)
    scope = read_scope(reader) if reader.peek(r"\{") else None
    _no_range(reader)
    groups = read_groups(reader)
    methods = _methods(reader)
    if methods and not groups and (by := reader.peek(r"by\b")):
        raise reader.fail(
            f"`by` comes before `.{methods[0].name}(...)`: write `{{*}} by {{tag}}.{methods[0].name}(...)`",
            by.start(),
            certain=False,
        )
    return Metric(aggregator, name, scope, groups, methods, condition, at=at, name_at=name_at)


def _methods(reader: QueryReader) -> tuple[Method, ...]:
    methods = []
    while method := reader.take(r"\.\s*([A-Za-z_]\w*)\s*\("):
        methods.append(Method(method.group(1), _arguments(reader, method.end() - 1), at=method.start()))
    if reader.peek(r"\.\s*[A-Za-z_]"):
        raise reader.fail(f"expected parentheses behind a method, as in `.as_count()`, found {reader.found()}")
    return tuple(methods)


def _arguments(reader: QueryReader, start: int) -> tuple[Argument, ...]:
    """What stands between parentheses, the first of which is at `start` and has been read."""
    arguments: list[Argument] = []
    if reader.take(r"\)"):
        return ()
    while True:
        arguments.append(_argument(reader))
        if not reader.take(","):
            reader.close(")", start, "isn't understood behind an argument; separate arguments with `,`")
            return tuple(arguments)


def _argument(reader: QueryReader) -> Argument:
    if setting := reader.take(r"([A-Za-z_]\w*)\s*=(?!=)"):
        return Setting(setting.group(1), _argument(reader), at=setting.start())
    if reader.peek(r"""["']"""):
        value, at = reader.quoted("as an argument")
        return Text(value, at=at)
    if brace := reader.peek(r"\{"):
        return Regrouping(read_tags(reader), at=brace.start())
    return read_expression(reader)
