"""Changes a query as a user's values ask for: another scope, window or threshold, and everything else as it was."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from fnmatch import fnmatchcase

from ....errors import QueryError
from ..query.reader import QueryReader
from ..query.rules import group_tags
from ..query.scopes import read_scope
from ..query.tree import (
    And,
    Argument,
    Chain,
    Condition,
    EventMonitor,
    Everything,
    Expression,
    FunctionCall,
    In,
    Metric,
    MetricMonitor,
    MonitorQuery,
    Negative,
    Not,
    Number,
    Operation,
    Or,
    Regrouping,
    ServiceCheckMonitor,
    Setting,
    SloMonitor,
    Tag,
    Text,
    Variable,
    Window,
    conjuncts,
    leaves,
    values_asked,
)


def read_condition(scope: str) -> Condition:
    """A scope without its braces, such as `env:prod,!region:eu`. Raises QueryError with the column in it."""
    reader = QueryReader("{" + scope + "}")
    try:
        condition = read_scope(reader)
        reader.finish("at the end of a scope")
    except QueryError as error:
        column = max(error.column - len("{"), 1)
        raise QueryError(error.message, column, error.certain, error.id) from None
    return condition


def plain_tags(condition: Condition) -> tuple[list[str], list[str]] | None:
    """A scope as a service check takes it: `key:value` of tags that must all be there, and of those of which none may
    be; None for a scope that says more."""
    match condition:
        case Everything():
            return [], []
        case Tag(key=key, value=str(value)):
            return [f"{key}:{value}"], []
        case Not(operand=operand):
            found = _any_of(operand)
            return None if found is None else ([], found)
        case In(negated=True, key=key, values=values):
            return [], [f"{key}:{value}" for value in values]
        case And(operands=operands):
            pairs = [plain_tags(operand) for operand in operands]
            known = [pair for pair in pairs if pair is not None]
            over, exclude = ([tag for pair in known for tag in pair[side]] for side in (0, 1))
            return (over, exclude) if len(known) == len(pairs) else None
        case _:
            return None


def _any_of(condition: Condition) -> list[str] | None:
    """`key:value` of a scope that is nothing but tags of which one is enough; None for any other."""
    match condition:
        case Tag(key=key, value=str(value)) if "*" not in value:
            return [f"{key}:{value}"]
        case In(negated=False, key=key, values=values):
            return [f"{key}:{value}" for value in values]
        case Or(operands=operands):
            lists = [_any_of(operand) for operand in operands]
            return None if None in lists else [tag for tags in lists for tag in tags or ()]
        case _:
            return None


def negated(condition: Condition) -> Condition:
    """Everything else than what the condition takes."""
    match condition:
        case Not(operand=operand):
            return operand
        case In():
            return replace(condition, negated=not condition.negated)
        case _:
            return Not(condition, symbol=isinstance(condition, Tag))


def can_hold(condition: Condition, lacking: Callable[[str], bool], wanted: bool = True) -> bool:
    """Whether series that are lacking some tags can be within the condition, or outside of it where that is
    `wanted`."""
    match condition:
        case Everything():
            return wanted
        case Tag(key=key):
            return not wanted or not lacking(key)
        case In(key=key, negated=without):
            return wanted == without or not lacking(key)
        case Not(operand=operand):
            return can_hold(operand, lacking, not wanted)
        case And(operands=operands) | Or(operands=operands):
            every = isinstance(condition, And) == wanted
            return (all if every else any)(can_hold(operand, lacking, wanted) for operand in operands)
        case _:
            return True


def keys_of(condition: Condition) -> set[str]:
    """The tags that a condition asks for."""
    return {leaf.key for leaf in leaves(condition) if isinstance(leaf, Tag | In)}


def takes_all(wide: Condition, narrow: Condition) -> bool:
    """Whether what is within the narrow condition is plainly within the wide one."""
    return all(any(_implies(has, must) for has in conjuncts(narrow)) for must in conjuncts(wide))


def _implies(has: Condition, must: Condition) -> bool:
    if has == must:
        return True
    given, taken = values_asked(has), values_asked(must)
    if given is None or taken is None or given[0] != taken[0]:
        return False
    return all(any(fnmatchcase(value, pattern) for pattern in taken[1]) for value in given[1])


def apart(one: Condition, other: Condition, single: Collection[str]) -> bool:
    """Whether the two plainly ask for different values of one tag, of those that have a `single` one."""
    ours, theirs = (list(filter(None, map(values_asked, conjuncts(each)))) for each in (one, other))
    return any(
        key == another and key in single and not any(_may_be_one(mine, yours) for mine in values for yours in others)
        for key, values in ours
        for another, others in theirs
    )


def _may_be_one(value: str, other: str) -> bool:
    """Whether two values of a tag, in which a `*` is anything, may stand for the same. Of two such it is taken so."""
    return ("*" in value and "*" in other) or fnmatchcase(value, other) or fnmatchcase(other, value)


def joined(*conditions: Condition) -> Condition:
    """All of these at once, each of them once, in the form with commas where that can say it, else in the form with
    AND."""
    parts: list[Condition] = []
    for condition in conditions:
        if not isinstance(condition, Everything):
            parts += condition.operands if isinstance(condition, And) else (condition,)
    if not parts:
        return Everything()
    if not all(_symbolic(part) for part in parts):
        parts = list(dict.fromkeys(_worded(part) for part in parts))
        return parts[0] if len(parts) == 1 else And(tuple(parts), symbol=False)
    parts = list(dict.fromkeys(parts))
    return parts[0] if len(parts) == 1 else And(tuple(parts), symbol=True)


def _symbolic(part: Condition) -> bool:
    return isinstance(part, Tag | Variable) or (isinstance(part, Not) and part.symbol and isinstance(part.operand, Tag))


def _worded(part: Condition) -> Condition:
    """The same, written with words alone: commas and `!` do not mix with AND, OR and IN."""
    match part:
        case Not(operand=In() as operand):
            return replace(operand, negated=not operand.negated)
        case Not():
            return Not(_worded(part.operand), symbol=False)
        case And():
            return And(tuple(_worded(operand) for operand in part.operands), symbol=False)
        case Or():
            return Or(tuple(_worded(operand) for operand in part.operands))
        case _:
            return part


def scoped(part: Expression, *conditions: Condition) -> Expression:
    """An expression of which every metric is narrowed to the conditions."""
    return mapped(part, lambda metric: replace(metric, scope=joined(*conditions, metric.scope or Everything())))


def mapped(part: Expression, change: Callable[[Metric], Metric]) -> Expression:
    """An expression with every metric changed."""
    match part:
        case Metric():
            return change(part)
        case Operation():
            return replace(part, left=mapped(part.left, change), right=mapped(part.right, change))
        case Negative():
            return replace(part, operand=mapped(part.operand, change))
        case Chain():
            return replace(part, operand=mapped(part.operand, change))
        case FunctionCall():
            return replace(part, arguments=tuple(_argument(argument, change) for argument in part.arguments))
        case _:
            return part


def _argument(argument: Argument, change: Callable[[Metric], Metric]) -> Argument:
    return argument if isinstance(argument, Text | Setting | Regrouping) else mapped(argument, change)


def without_tag(query: MonitorQuery, tag: str, except_for: str = "") -> MonitorQuery:
    """A monitor of metrics narrowed to the series that lack a tag, and no longer grouped by it; `except_for` is a scope
    that narrows it further."""
    assert isinstance(query, MetricMonitor)
    further = read_condition(except_for) if except_for else Everything()

    def change(metric: Metric) -> Metric:
        lacks = Not(Tag(tag, "*"), symbol=True)
        scope = joined(metric.scope or Everything(), lacks, further)
        return replace(metric, scope=scope, by=tuple(group for group in metric.by if group.tag != tag))

    return replace(query, expression=mapped(query.expression, change))


def groups_of(query: MonitorQuery) -> tuple[str, ...]:
    """Tags that a monitor is grouped by, in the order of the query."""
    match query:
        case MetricMonitor():
            return group_tags(query.expression)
        case ServiceCheckMonitor():
            return tuple(tag.value for tag in query.by)
        case EventMonitor():
            return tuple(tag.value for tag in query.by)
        case _:
            return ()


def window_of(query: MonitorQuery) -> str:
    """The window that decides about an alert, such as `last_5m`; of an SLO the long one, empty where there is none."""
    match query:
        case MetricMonitor():
            return query.window.text
        case EventMonitor():
            return query.window.text
        case SloMonitor(long_window=Text(value=value)):
            return f"last_{value}"
        case _:
            return ""


def with_window(query: MetricMonitor, window: str) -> MetricMonitor:
    """The monitor over another window. A number that is the length of the window in seconds, by which a sum is divided,
    follows it."""
    expression = _with_length(query.expression, query.window.seconds, Window(window).seconds)
    return replace(query, window=Window(window), expression=expression)


def _with_length(part: Expression, old: int, new: int) -> Expression:
    match part:
        case Operation(operator="/", right=Number(text=text)) if text == str(old):
            return replace(part, left=_with_length(part.left, old, new), right=Number(str(new)))
        case Operation():
            return replace(part, left=_with_length(part.left, old, new), right=_with_length(part.right, old, new))
        case _:
            return part


def number_text(value: float) -> str:
    """A number as queries have it: without an exponent, without a point where it is whole."""
    if float(value).is_integer():
        return str(int(value))
    return f"{value:.10f}".rstrip("0")
