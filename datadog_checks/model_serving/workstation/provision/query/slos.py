"""Checks the body of an SLO: its queries, timeframes and targets."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from typing import Any

from ....errors import QueryError
from .dashboards import check_formula, name_of
from .expressions import parse_metric_expression
from .known import Known
from .numbers import check_units
from .problems import Place, Problem, mappings, number
from .rules import check_expression, metrics_of
from .words import grammar

COUNT_FORMULAS = ("good_events_formula", "bad_events_formula", "total_events_formula")


def check_slo(body: Mapping[str, Any], known: Known | None = None, path: str = "") -> list[Problem]:
    """What is wrong with the body of an SLO, as the API takes it. `path` leads to the body in its file."""
    return list(_slo(body, Place(path, known or Known(), use="slo")))


def _slo(body: Mapping[str, Any], place: Place) -> Iterator[Problem]:
    kind = body.get("type")
    specification = body.get("sli_specification")
    match kind:
        case "metric":
            count = specification.get("count") if isinstance(specification, Mapping) else None
            if isinstance(count, Mapping):
                yield from _count(count, place.within("sli_specification", "count"))
            else:
                yield from _ratio(body.get("query"), place.within("query"))
        case "time_slice":
            slices = specification.get("time_slice") if isinstance(specification, Mapping) else None
            at = place.within("sli_specification", "time_slice")
            if isinstance(slices, Mapping):
                yield from _time_slice(slices, at)
            else:
                yield at.error("slo/query", "a time slice SLO needs its query, comparator and threshold here")
        case "monitor":
            if not body.get("monitor_ids"):
                yield place.within("monitor_ids").error("slo/query", "a monitor SLO needs the ids of its monitors")
        case _:
            yield place.within("type").error(
                "slo/query", f"`{kind}` is no type of an SLO: write metric, monitor or time_slice"
            )
    yield from _targets(body, place)


def _units(queries: Any, threshold: float, place: Place) -> Iterator[Problem]:
    """The threshold of time slices against the unit of what it is compared with, where that is one query."""
    texts = [query.get("query") for query, _ in mappings(queries, place)]
    if len(texts) == 1 and isinstance(texts[0], str):
        with suppress(QueryError):
            yield from check_units(parse_metric_expression(texts[0]), threshold, place)


def _targets(body: Mapping[str, Any], place: Place) -> Iterator[Problem]:
    timeframes = grammar()["slo"]["timeframes"]
    if not body.get("thresholds"):
        yield place.within("thresholds").error("slo/target", "an SLO needs a timeframe and a target")
    for threshold, at in mappings(body.get("thresholds"), place.within("thresholds")):
        frame, target, warning = (threshold.get(key) for key in ("timeframe", "target", "warning"))
        if frame not in timeframes:
            yield at.within("timeframe").error(
                "slo/target", f"`{frame}` is no timeframe of an SLO: write {', '.join(timeframes)}"
            )
        share = number(target)
        if share is None or not 0 < share < 100:
            yield at.within("target").error("slo/target", f"must be a percentage between 0 and 100, not {target!r}")
            continue
        if share < 1:
            yield at.within("target").warning(
                "slo/target", f"{target} is {target} %: write {share * 100:g} for a share"
            )
        early = number(warning)
        if warning is not None and (early is None or not share < early < 100):
            yield at.within("warning").error("slo/target", f"must lie between the target {target} and 100")


def _ratio(query: Any, place: Place) -> Iterator[Problem]:
    groups: list[set[str] | None] = []
    for part in ("numerator", "denominator"):
        text = query.get(part) if isinstance(query, Mapping) else None
        at = place.within(part, text=text)
        if not isinstance(text, str):
            yield at.error("slo/query", f"a metric SLO needs a {part}")
            continue
        groups.append((yield from _events(text, at)))
    if len(groups) == 2 and groups[0] != groups[1]:
        yield place.within("denominator").warning(
            "query/by", "numerator and denominator have different groups: give both the same `by`"
        )


def _events(text: str, place: Place) -> Generator[Problem, None, set[str] | None]:
    """A query of events, which counts them; returns the tags that it groups by."""
    try:
        expression = parse_metric_expression(text)
    except QueryError as error:
        yield place.unreadable(error)
        return None
    yield from check_expression(expression, place)
    metrics = metrics_of(expression)
    for metric in metrics:
        if metric.aggregator not in ("sum", "count", ""):
            yield place.error(
                "slo/query",
                f"`{metric.aggregator}:` doesn't add up events: write `sum:{metric.name}{{...}}.as_count()`",
                metric.at,
            )
        elif not metric.has("as_count") and place.known.vocabulary.kind_of(metric.name) != "distribution":
            yield place.warning(
                "slo/query", f"events are counted: write `sum:{metric.name}{{...}}.as_count()`", metric.at
            )
    return {group.tag for metric in metrics for group in metric.by}


def _queries(queries: Any, place: Place, counted: bool) -> Generator[Problem, None, frozenset[str]]:
    """Named queries; returns their names."""
    names = set()
    for index, (query, at) in enumerate(mappings(queries, place)):
        names.add(name_of(query, index))
        text = query.get("query")
        inner = at.within("query", text=text)
        if not isinstance(text, str):
            yield inner.error("slo/query", "a query is missing")
        elif counted:
            yield from _events(text, inner)
        else:
            try:
                yield from check_expression(parse_metric_expression(text), inner)
            except QueryError as error:
                yield inner.unreadable(error)
    return frozenset(names)


def _count(count: Mapping[str, Any], place: Place) -> Iterator[Problem]:
    names = yield from _queries(count.get("queries"), place.within("queries"), True)
    given = [key for key in COUNT_FORMULAS if key in count]
    if "good_events_formula" not in given or len(given) != 2:
        yield place.error(
            "slo/query", "needs `good_events_formula` and one of `bad_events_formula`, `total_events_formula`"
        )
    for key in given:
        formula = count[key]
        text = formula.get("formula") if isinstance(formula, Mapping) else formula
        if isinstance(text, str):
            yield from check_formula(text, names, place.within(key, text=text))


def _time_slice(slices: Mapping[str, Any], place: Place) -> Iterator[Problem]:
    words = grammar()["slo"]
    query = slices.get("query")
    at = place.within("query")
    if not isinstance(query, Mapping):
        query = {}
    names = yield from _queries(query.get("queries"), at.within("queries"), False)
    formulas = query.get("formulas")
    if not isinstance(formulas, list) or len(formulas) != 1:
        yield at.within("formulas").error("slo/query", "a time slice SLO has exactly one formula")
    for formula, where in mappings(formulas, at.within("formulas")):
        if isinstance(formula.get("formula"), str):
            yield from check_formula(formula["formula"], names, where.within("formula", text=formula["formula"]))
    if slices.get("comparator") not in words["comparators"]:
        yield place.within("comparator").error(
            "slo/query", f"must be one of {' '.join(words['comparators'])}, not {slices.get('comparator')!r}"
        )
    threshold, at = number(slices.get("threshold")), place.within("threshold")
    if threshold is None:
        yield at.error("slo/query", "must be a number")
    else:
        yield from _units(query.get("queries"), threshold, at)
    interval = slices.get("query_interval_seconds", words["intervals"][-1])
    if interval not in words["intervals"]:
        yield place.within("query_interval_seconds").error(
            "slo/query", f"must be {' or '.join(map(str, words['intervals']))}, not {interval!r}"
        )
