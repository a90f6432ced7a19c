"""What a Datadog query says, as a tree. `at` is where a part starts in the text, from 0; it is no part of equality."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "mo": 30 * 86400, "y": 365 * 86400}
DURATION = re.compile(r"(\d+)(mo|[smhdwy])")


def seconds(duration: str) -> int | None:
    """Length of a duration such as `5m`, `1d` or `1mo` (30 days), None for any other text.

    >>> seconds("5m"), seconds("1mo"), seconds("5min")
    (300, 2592000, None)
    """
    match = DURATION.fullmatch(duration)
    return int(match.group(1)) * UNITS[match.group(2)] if match else None


def position() -> Any:
    """A field for a position."""
    return field(default=0, compare=False, repr=False)


# Scopes: what stands between the braces of a metric, and composite monitors, which combine ids in the same way.


@dataclass(frozen=True, slots=True)
class Everything:
    """`*`, or nothing at all (`empty`)."""

    empty: bool = False
    at: int = position()


@dataclass(frozen=True, slots=True)
class Tag:
    """`key:value`; without a value, `key` is a whole tag. Either may hold template variables and wildcards."""

    key: str
    value: str | None = None
    at: int = position()


@dataclass(frozen=True, slots=True)
class Variable:
    """A template variable, without its `$`; `name.value` stands for the value alone."""

    name: str
    at: int = position()


@dataclass(frozen=True, slots=True)
class In:
    """`key IN (a,b)` or `key NOT IN (a,b)`."""

    key: str
    values: tuple[str, ...]
    negated: bool = False
    at: int = position()


@dataclass(frozen=True, slots=True)
class Monitor:
    """A monitor within a composite one: its id, or `${monitor:key}` until the id is known."""

    id: str
    at: int = position()


@dataclass(frozen=True, slots=True)
class Not:
    """`!x` (`symbol`) or `NOT x`."""

    operand: Condition
    symbol: bool = True
    at: int = position()


@dataclass(frozen=True, slots=True)
class And:
    """`a,b` (`symbol`) or `a AND b`; `&&` between monitors. `at` is the first operator."""

    operands: tuple[Condition, ...]
    symbol: bool = True
    at: int = position()


@dataclass(frozen=True, slots=True)
class Or:
    """`a OR b`; `||` between monitors."""

    operands: tuple[Condition, ...]
    at: int = position()


Condition = Everything | Tag | Variable | In | Monitor | Not | And | Or


# Expressions: metrics, functions and arithmetic.


@dataclass(frozen=True, slots=True)
class Number:
    """A number that isn't negative, as it was written."""

    text: str
    at: int = position()


@dataclass(frozen=True, slots=True)
class Text:
    """A text in quotes. `at` is that of the quote."""

    value: str
    at: int = position()


@dataclass(frozen=True, slots=True)
class Name:
    """A bare word: the name of a query in a formula, or a setting such as `zero`."""

    name: str
    at: int = position()


@dataclass(frozen=True, slots=True)
class Setting:
    """`name=value` among the arguments of a function."""

    name: str
    value: Argument
    at: int = position()


@dataclass(frozen=True, slots=True)
class Method:
    """`.name(arguments)` behind a metric or another expression."""

    name: str
    arguments: tuple[Argument, ...] = ()
    at: int = position()


@dataclass(frozen=True, slots=True)
class By:
    """One tag to group by."""

    tag: str
    at: int = position()


@dataclass(frozen=True, slots=True)
class Metric:
    """`aggregator:name{scope} by {tags}.methods()`. `aggregator` may be empty and `scope` None where the query has
    none; `condition` is that of `count(v: v<=1):`, its comparison alone."""

    aggregator: str
    name: str
    scope: Condition | None = field(default_factory=Everything)
    by: tuple[By, ...] = ()
    methods: tuple[Method, ...] = ()
    condition: str = ""
    at: int = position()
    name_at: int = position()

    def has(self, method: str) -> bool:
        return any(each.name == method for each in self.methods)


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """`name(arguments)`."""

    name: str
    arguments: tuple[Argument, ...] = ()
    at: int = position()

    @property
    def by(self) -> tuple[By, ...] | None:
        """What it groups the series of another aggregation by, `sum(max:a.b{*} by {x,y}, {x})`; None for any other
        function."""
        return next((argument.by for argument in self.arguments if isinstance(argument, Regrouping)), None)


@dataclass(frozen=True, slots=True)
class Chain:
    """Methods behind anything that isn't a metric."""

    operand: Expression
    methods: tuple[Method, ...]
    at: int = position()


@dataclass(frozen=True, slots=True)
class Negative:
    """`-x`."""

    operand: Expression
    at: int = position()


@dataclass(frozen=True, slots=True)
class Operation:
    """Two operands and one of + - * / between them; `at` is the operator."""

    operator: str
    left: Expression
    right: Expression
    at: int = position()


@dataclass(frozen=True, slots=True)
class Regrouping:
    """`{tag,tag}` as an argument: what an aggregation around another one is grouped by."""

    by: tuple[By, ...]
    at: int = position()


Expression = Number | Name | Metric | FunctionCall | Chain | Negative | Operation
Argument = Expression | Text | Setting | Regrouping


def walk(part: Argument) -> Iterator[Argument]:
    """A part of an expression and everything below it, from left to right."""
    yield part
    match part:
        case Operation():
            below: tuple[Argument, ...] = (part.left, part.right)
        case Negative():
            below = (part.operand,)
        case Chain():
            below = (part.operand, *(argument for method in part.methods for argument in method.arguments))
        case FunctionCall():
            below = part.arguments
        case Setting():
            below = (part.value,)
        case _:
            below = ()
    for each in below:
        yield from walk(each)


def leaves(condition: Condition) -> Iterator[Tag | Variable | In | Monitor]:
    """The tags, variables and monitors of a condition, from left to right."""
    match condition:
        case Not():
            yield from leaves(condition.operand)
        case And() | Or():
            for operand in condition.operands:
                yield from leaves(operand)
        case Everything():
            return
        case _:
            yield condition


def conjuncts(condition: Condition) -> tuple[Condition, ...]:
    """What must all hold, however AND is nested."""
    if isinstance(condition, And):
        return tuple(part for operand in condition.operands for part in conjuncts(operand))
    return () if isinstance(condition, Everything) else (condition,)


def values_asked(condition: Condition) -> tuple[str, tuple[str, ...]] | None:
    """A tag, and the values of which it must have one; None for a condition that asks for anything else."""
    match condition:
        case Tag(key=key, value=str(value)):
            return key, (value,)
        case In(key=key, values=values, negated=False):
            return key, values
        case _:
            return None


# Monitors.


@dataclass(frozen=True, slots=True)
class Window:
    """The time that a monitor looks at, as written: `last_5m`, `current_1d`, `next_1w`, `1d_ago`."""

    text: str
    at: int = position()

    @property
    def kind(self) -> str:
        """`last`, `current`, `next` or `ago`; empty for what is no window."""
        head, _, tail = self.text.partition("_")
        if head in ("last", "current", "next") and seconds(tail):
            return head
        return "ago" if tail == "ago" and seconds(head) else ""

    @property
    def seconds(self) -> int:
        """Its length, 0 for what is no window."""
        return next((length for part in self.text.split("_") if (length := seconds(part))), 0)


@dataclass(frozen=True, slots=True)
class Comparison:
    """`> 5`; `threshold` is the number as written, or the word `threshold`."""

    operator: str
    threshold: str
    at: int = position()
    threshold_at: int = position()


@dataclass(frozen=True, slots=True)
class MetricMonitor:
    """`aggregator(window):expression > 5`, or `change(aggregator(window),shift):expression > 5`."""

    aggregator: str
    window: Window
    expression: Expression
    comparison: Comparison
    change: str = ""
    shift: Window | None = None
    at: int = position()


@dataclass(frozen=True, slots=True)
class FormulaMonitor:
    """`formula("query1 / query2").last("15m") > 5`; `rollup` is the aggregator of `.rollup("sum")`, or empty."""

    expression: Expression
    window: Window
    comparison: Comparison
    rollup: str = ""
    at: int = position()


@dataclass(frozen=True, slots=True)
class ServiceCheckMonitor:
    """`"check".over("tag").exclude("tag").by("tag").last(3).count_by_status()`; `last` is None where it is missing."""

    check: str
    over: tuple[Text, ...]
    exclude: tuple[Text, ...]
    by: tuple[Text, ...]
    last: int | None
    status: str
    at: int = position()
    last_at: int = position()


@dataclass(frozen=True, slots=True)
class SloMonitor:
    """`burn_rate("id").over("30d").long_window("1h").short_window("5m") > 14.4` or `error_budget("id").over("30d")`."""

    kind: str
    slo: Text
    over: Text
    long_window: Text | None
    short_window: Text | None
    comparison: Comparison
    at: int = position()


@dataclass(frozen=True, slots=True)
class CompositeMonitor:
    """Monitors combined with `&&`, `||` and `!`."""

    condition: Condition
    at: int = position()


@dataclass(frozen=True, slots=True)
class EventMonitor:
    """`events("search").rollup("count").by("tag").last("15m") > 0`."""

    search: str
    rollup: str
    by: tuple[Text, ...]
    window: Window
    comparison: Comparison
    at: int = position()


MonitorQuery = EventMonitor | MetricMonitor | FormulaMonitor | ServiceCheckMonitor | SloMonitor | CompositeMonitor
