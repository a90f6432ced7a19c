"""What the queries and formulas of a widget's request give over what was recorded, by the evaluator of the monitors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...catalog.model import NAMESPACE
from ..provision.packs.queries import mapped
from ..provision.query import parse_metric_expression, parse_metric_expressions
from ..provision.query.dashboards import name_of
from ..provision.query.tree import (
    And,
    Condition,
    Everything,
    Expression,
    FunctionCall,
    In,
    Metric,
    Name,
    Not,
    Or,
    Tag,
    Variable,
    walk,
)
from ..provision.simulate.arithmetic import SHIFTS, Grouped, Span, series
from ..provision.simulate.buckets import PERCENTILE, TIME, Group, Leaves, of_sketch
from ..provision.simulate.matching import matches
from ..provision.simulate.metric import ALGORITHMS
from ..provision.simulate.observations import values_of
from ..provision.simulate.variants import NotSimulated, Variant
from .recorded import Recorded


@dataclass(frozen=True, slots=True)
class TemplateVariable:
    """A template variable of a dashboard: the tag that it chooses by, and what it chooses until somebody changes it."""

    tag: str
    values: tuple[str, ...] = ("*",)


@dataclass(frozen=True, slots=True)
class GraphLine:
    """One line of a graph: its name, and values by the start of their bucket, in seconds since the epoch."""

    name: str
    points: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Figures:
    """The numbers of a list: a row for each group, with a number for each formula, None where it has none."""

    names: tuple[str, ...]
    rows: Mapping[Group, tuple[float | None, ...]]


class Answers:
    """Evaluates the requests of the widgets of one dashboard. What can't be simulated raises NotSimulated."""

    def __init__(self, recorded: Recorded, variables: Mapping[str, TemplateVariable]) -> None:
        self.recorded = recorded
        self.seen = recorded.seen
        self._variables = variables
        self._leaves = Leaves(self.seen)

    def lines(self, request: Mapping[str, Any]) -> list[GraphLine]:
        """The lines of a graph over time. Raises NotSimulated, QueryError."""
        found: list[GraphLine] = []
        for name, text in _formulas(request):
            for expression in parse_metric_expressions(text):
                for group, points in self._over_time(expression).items():
                    on_clock = {at + self.recorded.offset: value for at, value in points.items()}
                    found.append(GraphLine(_called(name, group), on_clock))
        return [line for line in found if line.points]

    def figures(self, request: Mapping[str, Any]) -> Figures:
        """One number for each group and formula, over all of the time. Raises NotSimulated, QueryError."""
        if "q" in request:
            found = self._over_time(parse_metric_expression(str(request["q"])))
            method = str(request.get("aggregator") or "avg")
            return Figures(("",), {group: (_reduced(method, points),) for group, points in found.items() if points})
        named = {name: self._figure(query) for name, query in _queries(request).items()}
        columns = [(str(one.get("alias") or one["formula"]), str(one["formula"])) for one in _formula_bodies(request)]
        results = [self._of_named(text, named) for _, text in columns]
        groups = dict.fromkeys(group for result in results for group in result)
        rows = {group: tuple(result.get(group) for result in results) for group in groups}
        return Figures(
            tuple(name for name, _ in columns),
            {group: row for group, row in rows.items() if any(one is not None for one in row)},
        )

    def why_empty(self, requests: Iterable[Mapping[str, Any]]) -> str:
        """Why requests give nothing: what of theirs was not sent, or was not as they want it. Raises NotSimulated."""
        during = self.recorded.during
        texts = [text for request in requests for _, text in _formulas(request)]
        parts = [part for text in texts for one in parse_metric_expressions(text) for part in walk(one)]
        if any(isinstance(part, FunctionCall) and part.name in (*SHIFTS, "timeshift") for part in parts):
            return f"no data: this compares with what came before {during}"
        metrics = dict.fromkeys(part.name for part in parts if isinstance(part, Metric))
        unsent = [name for name in metrics if name not in self.seen.metrics]
        if unsent:
            more = f" and {len(unsent) - 1} more" if len(unsent) > 1 else ""
            return f"no data in {during}: {short_name(unsent[0])}{more} {'were' if more else 'was'} not sent"
        reasons = (self._why_empty(part) for part in parts if isinstance(part, Metric))
        return f"no data in {during}: {next(filter(None, reasons), 'nothing comes of what was sent')}"

    def _why_empty(self, metric: Metric) -> str:
        """Why nothing is to be had of a metric that was sent; empty where something is."""
        leaf = self._leaves.leaf(self._settled(metric))
        if leaf.width is not None and leaf.width > self.seen.end - self.seen.start:
            return f"each point would be of {leaf.width} s, which is longer"
        sent, name = self.seen.metrics[metric.name], short_name(metric.name)
        if all(one.times[-1] < self.seen.start for one in sent.values()):
            return f"{name} came before, and not again"
        within = [tags for tags in sent if matches(leaf.metric.scope, tags)]
        if not within:
            return f"nothing of {name} has the tags that this selects by"
        missing = [by.tag for by in metric.by if not any(values_of(tags, by.tag) for tags in within)]
        return f"{name} came without {' and '.join(missing)}" if missing else ""

    def _span(self) -> Span:
        return Span(self._leaves, Variant(width=self.recorded.interval), self.seen.start, self.seen.end)

    def _over_time(self, expression: Expression) -> Grouped:
        for part in walk(expression):
            if isinstance(part, FunctionCall) and part.name in ALGORITHMS:
                raise NotSimulated(f"`{part.name}()`")
        settled = mapped(expression, self._settled)
        found = series(settled, self._span())
        if isinstance(found, float):
            raise NotSimulated("an expression without a metric")
        widths = [self._leaves.leaf(part).width for part in walk(settled) if isinstance(part, Metric)]
        # A sum over part of a bucket would look like one over all of it.
        last = self.seen.end - max((width for width in widths if width), default=0)
        return {group: {at: value for at, value in points.items() if at <= last} for group, points in found.items()}

    def _figure(self, query: Mapping[str, Any]) -> Grouped:
        """A query over all of the time: one value at 0 for each group."""
        method = str(query.get("aggregator") or "avg")
        if method == "percentile":
            expression = mapped(parse_metric_expression(str(query["query"])), self._settled)
            if not isinstance(expression, Metric) or not PERCENTILE.fullmatch(expression.aggregator):
                raise NotSimulated("the aggregator `percentile` of anything but a percentile of a distribution")
            # What is no distribution is refused here.
            self._leaves.leaf(expression)
            sketches = self._leaves.sketches(expression, self.seen.start, self.seen.end, self.recorded.interval)
            return {
                group: {0: of_sketch(expression.aggregator, sketch)}
                for group, sketch in sketches.items()
                if sketch.count
            }
        found = self._over_time(parse_metric_expression(str(query["query"])))
        return {group: {0: _reduced(method, points)} for group, points in found.items() if points}

    def _of_named(self, formula: str, named: Mapping[str, Grouped]) -> dict[Group, float | None]:
        span = Span(self._leaves, Variant(width=1), 0, 1, named=named)
        found = series(parse_metric_expression(formula), span)
        if isinstance(found, float):
            return {(): found}
        return {group: points[0] for group, points in found.items() if 0 in points}

    def _settled(self, metric: Metric) -> Metric:
        """A metric with what its template variables choose in their place."""
        if metric.name in self.recorded.hidden:
            raise NotSimulated(f"`{metric.name}`, which this machine's clock would tell, not the simulated one")
        return replace(metric, scope=self._chosen(metric.scope)) if metric.scope is not None else metric

    def _chosen(self, condition: Condition) -> Condition:
        match condition:
            case Variable(name=name):
                variable = self._variables.get(name)
                if variable is None:
                    raise NotSimulated(f"the template variable `${name}`, which the dashboard lacks")
                if "*" in variable.values:
                    return Everything()
                return In(variable.tag, variable.values)
            case Tag(value=str(value)) if "$" in value:
                raise NotSimulated(f"a template variable within `{value}`")
            case Not(operand=operand):
                return replace(condition, operand=self._chosen(operand))
            case And() | Or():
                return replace(condition, operands=tuple(self._chosen(one) for one in condition.operands))
            case _:
                return condition


def variables_of(dashboard: Mapping[str, Any]) -> dict[str, TemplateVariable]:
    """The template variables of the body of a dashboard, by name."""
    found = {}
    for body in dashboard.get("template_variables") or ():
        values = tuple(str(one) for one in body.get("defaults") or [body.get("default") or "*"])
        found[str(body["name"])] = TemplateVariable(str(body.get("prefix") or body["name"]), values)
    return found


def group_text(group: Group) -> str:
    """The values of a group, as a legend has them."""
    return ", ".join(value for _, value in group)


def short_name(metric: str) -> str:
    """The name of a metric as people say it: all of them begin alike."""
    return metric.removeprefix(f"{NAMESPACE}.")


def _called(name: str, group: Group) -> str:
    return ": ".join(part for part in (name, group_text(group)) if part)


def _queries(request: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    if not request.get("queries"):
        raise NotSimulated("a request without a query of metrics")
    found: dict[str, Mapping[str, Any]] = {}
    for index, query in enumerate(request["queries"]):
        if query.get("data_source") != "metrics":
            raise NotSimulated(f"a query of {query.get('data_source')}")
        found[name_of(query, index)] = query
    return found


def _formula_bodies(request: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The formulas of a request; without any, each query is one."""
    return request.get("formulas") or [{"formula": name} for name in _queries(request)]


def _formulas(request: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Each formula: its name, empty where there is but one and each of its lines has another, and its expression with
    the queries in the place of their names."""
    if "q" in request:
        yield "", str(request["q"])
        return
    queries = {name: str(query["query"]) for name, query in _queries(request).items()}
    bodies = _formula_bodies(request)
    for body in bodies:
        text = str(body["formula"])
        yield str(body.get("alias") or text), _in_place(text, queries)


def _in_place(formula: str, queries: Mapping[str, str]) -> str:
    parts = [part for part in walk(parse_metric_expression(formula)) if isinstance(part, Name)]
    for part in sorted(parts, key=lambda one: one.at, reverse=True):
        if part.name in queries:
            formula = f"{formula[: part.at]}({queries[part.name]}){formula[part.at + len(part.name) :]}"
    return formula


def _reduced(method: str, points: Mapping[int, float]) -> float:
    if method == "last":
        return points[max(points)]
    if method not in TIME:
        raise NotSimulated(f"the aggregator `{method}`")
    return TIME[method](points.values())
