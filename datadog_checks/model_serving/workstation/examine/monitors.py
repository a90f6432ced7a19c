"""Which of the shipped monitors have something to look at, by the metrics and tags that a trial run has sent."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

from ...catalog.loader import builtin_catalog
from ...catalog.model import NAMESPACE
from ..provision.packs import MonitorEntry, monitor_entries, slo_entries
from ..provision.query.expressions import parse_metric_expression
from ..provision.query.render import render
from ..provision.query.tree import (
    And,
    Argument,
    Chain,
    Condition,
    Everything,
    Expression,
    FunctionCall,
    In,
    Metric,
    MetricMonitor,
    Negative,
    Not,
    Operation,
    Or,
    ServiceCheckMonitor,
    SloMonitor,
    Tag,
    walk,
)
from ..provision.vocabulary import PREFIX, kind_of
from ..standin.recorder import ServiceCheck
from ..stored import stored
from .model import COUNTED, EVENT, FOREIGN, MISSING, MonitorState

STATES = (COUNTED, EVENT, MISSING, FOREIGN)
"""From the best to the worst: a monitor has the worst of its metrics, and the best of its levels."""

HOST = "host"
Judgement = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Ground:
    """What monitors can look at: the tags of each metric's contexts, as Datadog stores them, by full name.

    `possible` are metrics that come when something happens, `fed` all that the systems here can send. `checks` are the
    service checks, `told` their names that something here can send, `unasked` why readiness was not asked.
    """

    tags: Mapping[str, Collection[frozenset[str]]]
    possible: frozenset[str]
    fed: frozenset[str]
    checks: tuple[ServiceCheck, ...]
    told: frozenset[str]
    unasked: str = ""


def monitors(ground: Ground) -> tuple[MonitorState, ...]:
    """Every shipped monitor once, whatever levels it has."""
    best: dict[str, tuple[MonitorEntry, Judgement]] = {}
    for entry in monitor_entries().values():
        judged = _judge(entry, ground)
        key = entry.base or entry.key
        before = best.get(key)
        if before is None:
            best[key] = entry, judged
        elif STATES.index(judged[0]) < STATES.index(before[1][0]):
            best[key] = before[0], judged
    return tuple(MonitorState(key, entry.title, entry.pack, state, why) for key, (entry, (state, why)) in best.items())


def selects(condition: Condition | None, tags: Collection[str]) -> bool:
    """Whether a scope selects what has these tags."""
    match condition:
        case None | Everything():
            return True
        case Not():
            return not selects(condition.operand, tags)
        case And():
            return all(selects(operand, tags) for operand in condition.operands)
        case Or():
            return any(selects(operand, tags) for operand in condition.operands)
        case In():
            return any(f"{condition.key}:{value}" in tags for value in condition.values) != condition.negated
        case Tag():
            pattern = condition.key if condition.value is None else f"{condition.key}:{condition.value}"
            return any(fnmatchcase(tag, _glob(pattern)) for tag in tags)
        case _:
            return False


def _glob(pattern: str) -> str:
    return pattern.replace("[", "[[]").replace("?", "[?]")


def _judge(entry: MonitorEntry, ground: Ground) -> Judgement:
    tree = entry.tree
    if isinstance(tree, ServiceCheckMonitor):
        return _service_check(tree, ground)
    if isinstance(tree, SloMonitor):
        slo = slo_entries()[entry.slo]
        return _worst(_expression(text, ground) for text in (slo.good, slo.total, slo.query) if text)
    if isinstance(tree, MetricMonitor):
        return _metrics(tree.expression, ground)
    return FOREIGN, "its query is of a form that is not looked at here"


def _worst(judged: Iterable[Judgement]) -> Judgement:
    return max(judged, key=lambda one: STATES.index(one[0]))


def _best(judged: Iterable[Judgement]) -> Judgement:
    return min(judged, key=lambda one: STATES.index(one[0]))


@lru_cache
def _parsed(text: str) -> Argument:
    return parse_metric_expression(text)


def _expression(text: str, ground: Ground) -> Judgement:
    return _metrics(_parsed(text), ground)


def _metrics(expression: Argument, ground: Ground) -> Judgement:
    zeroed = {
        id(part)
        for call in walk(expression)
        if isinstance(call, FunctionCall) and call.name == "default_zero"
        for part in walk(call)
    }
    terms = list(_terms(expression))
    # What counts as zero where there is nothing keeps no monitor from saying something.
    needed = [found for term in terms if (found := [one for one in term if id(one) not in zeroed])] or terms
    return _worst(_best(_metric(metric, ground) for metric in term) for term in needed)


def _terms(expression: Argument) -> Iterator[list[Metric]]:
    """Metrics of which one at least must be there: each alone, but those that are added, or subtracted, together. Of
    counts that are added up, what is missing is nothing."""
    match expression:
        case Metric():
            yield [expression]
        case Operation(operator="+" | "-"):
            added: dict[bool, list[Metric]] = {True: [], False: []}
            for sign, part in _signed(expression, True):
                if isinstance(part, Metric):
                    added[sign].append(part)
                else:
                    yield from _terms(part)
            yield from (found for found in added.values() if found)
        case Operation(left=left, right=right):
            yield from _terms(left)
            yield from _terms(right)
        case FunctionCall(arguments=arguments):
            for argument in arguments:
                yield from _terms(argument)
        case Negative(operand=operand) | Chain(operand=operand):
            yield from _terms(operand)
        case _:
            return


def _signed(expression: Expression, sign: bool) -> Iterator[tuple[bool, Expression]]:
    if isinstance(expression, Operation) and expression.operator in "+-":
        yield from _signed(expression.left, sign)
        yield from _signed(expression.right, sign == (expression.operator == "+"))
    else:
        yield sign, expression


def _metric(metric: Metric, ground: Ground) -> Judgement:
    name, groups = metric.name, {by.tag for by in metric.by} - {HOST}
    short = name.removeprefix(PREFIX)
    there = ground.tags.get(name, ())
    grouped = [tags for tags in there if groups <= {tag.partition(":")[0] for tag in tags}]
    if any(selects(metric.scope, tags) for tags in grouped):
        return COUNTED, ""
    if there and not grouped:
        lacking = sorted(groups - {tag.partition(":")[0] for tags in there for tag in tags}) or sorted(groups)
        return MISSING, f"no series of {short} has the tag {', '.join(lacking)}"
    if there and _of_others(metric.scope, there):
        return FOREIGN, f"{short}{_scope(metric)} is of other systems"
    if name in ground.possible or (there and kind_of(name) == "count"):
        return EVENT, f"{short}{_scope(metric)}"
    if there:
        return MISSING, f"nothing of {short} is{_scope(metric)}"
    return (MISSING, f"no {short}") if name in ground.fed else (FOREIGN, f"{short} is of other systems")


def _of_others(scope: Condition | None, there: Collection[frozenset[str]]) -> bool:
    """Whether a scope asks for a tag that all metrics of a system have, with a value that no series here has."""
    if not isinstance(scope, Tag) or scope.value is None or scope.key not in _constant_tags():
        return False
    return not any(selects(scope, tags) for tags in there)


@lru_cache
def _constant_tags() -> frozenset[str]:
    return frozenset(tag for system in builtin_catalog().systems.values() for tag in system.definition.get("tags", ()))


def _scope(metric: Metric) -> str:
    if metric.scope is None or isinstance(metric.scope, Everything):
        return ""
    return f" {{{render(Metric('', 'x', metric.scope)).partition('{')[2].rpartition('}')[0]}}}"


def _service_check(tree: ServiceCheckMonitor, ground: Ground) -> Judgement:
    groups = {text.value for text in tree.by} - {HOST}
    short = tree.check.removeprefix(PREFIX)
    there = [check for check in ground.checks if check.name == tree.check]
    if any(groups <= {tag.partition(":")[0] for tag in map(stored, check.tags)} for check in there):
        return COUNTED, ""
    if there:
        return MISSING, f"no service check {short} has the tags {', '.join(sorted(groups))}"
    if tree.check in ground.told:
        return MISSING, ground.unasked or f"no service check {short}"
    return FOREIGN, f"the service check {short} is of other systems"


def full(names: Iterable[str]) -> frozenset[str]:
    """Canonical names with the namespace; those of distributions also as what else they are sent as."""
    found = {f"{NAMESPACE}.{name}" for name in names}
    return frozenset(found | {f"{name}.{part}" for name in found for part in ("sum", "count")})
