"""Whether a query names what the check sends: its metrics, their kinds, their tags."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from ..vocabulary import PREFIX
from .filters import check_value, variable_of
from .problems import Place, Problem, nearest
from .tree import Condition, In, Metric, Tag, Text, Variable, leaves
from .words import grammar


def check_metric(metric: Metric, place: Place) -> Iterator[Problem]:
    """A metric of ours: whether it exists, and whether it can be read that way."""
    name = metric.name
    if not name.startswith(PREFIX):
        return
    vocabulary = place.known.vocabulary
    kind = vocabulary.kind_of(name)
    if kind is None and name in vocabulary.service_checks:
        query = f'`"{name}".over("*").by("endpoint_name").last(4).count_by_status()`'
        yield place.error("catalog/metric", f"`{name}` is a service check and no metric: write {query}", metric.name_at)
        return
    if kind is None:
        yield place.error(
            "catalog/metric", f"the check sends no `{name}`{nearest(name, vocabulary.kinds)}", metric.name_at
        )
        return
    if not vocabulary.is_fed(name):
        yield place.warning(
            "catalog/unfed", f"no system of the catalog sends `{name}`: only a system of your own can", metric.name_at
        )
    if re.fullmatch(r"p\d+(?:\.\d+)?", metric.aggregator):
        yield from _percentile(metric, kind, place)
    elif metric.condition and kind != "distribution":
        yield place.error("query/percentile", f"`{name}` is a {kind}: only distributions count values", metric.at)
    if kind == "gauge":
        for method in metric.methods:
            if method.name in ("as_count", "as_rate"):
                yield place.warning(
                    "query/as-count", f"`{name}` is a gauge: `.{method.name}()` is for counts, leave it out", method.at
                )


def _percentile(metric: Metric, kind: str, place: Place) -> Iterator[Problem]:
    name, on = metric.name, place.known.percentiles
    if kind != "distribution":
        base = name.rpartition(".")[0]
        hint = "write avg, sum, min or max"
        if place.known.vocabulary.kind_of(base) == "distribution":
            hint = f"write `{metric.aggregator}:{base}`"
        yield place.error(
            "query/percentile", f"`{name}` is a {kind} and has no percentiles, so nothing is found: {hint}", metric.at
        )
    elif on is not None and name not in on:
        yield place.error(
            "query/percentile",
            f"`{metric.aggregator}:{name}` finds nothing: percentiles of `{name}` are not switched on",
            metric.at,
        )


def check_tags(metric: Metric, place: Place) -> Iterator[Problem]:
    """Tags of a metric of ours, in its scope and its groups."""
    vocabulary = place.known.vocabulary
    if vocabulary.kind_of(metric.name) is None:
        return
    tags = vocabulary.tags_of(metric.name)
    if metric.scope is not None:
        yield from _scope(metric.scope, tags, f"`{metric.name}`", place)
    for group in metric.by:
        yield from _group(group.tag, group.at, tags, f"`{metric.name}`", place)


def check_service_check(
    name: str, at: int, over: Iterable[Text], by: Iterable[Text], place: Place
) -> Iterator[Problem]:
    """A service check of ours: whether it exists, and its tags."""
    if not name.startswith(PREFIX):
        return
    checks = place.known.vocabulary.service_checks
    if name not in checks:
        near = nearest(name, checks) or f"; known are {', '.join(sorted(checks))}"
        yield place.error("catalog/service-check", f"there is no service check `{name}`{near}", at)
        return
    for text in over:
        key, _, value = text.value.lstrip("!").partition(":")
        if key not in ("*", ""):
            yield from _filter(key, text.at + 1, checks[name], f"`{name}`", place)
            yield from check_value(key, value, text.at + 1, place)
    for text in by:
        yield from _group(text.value, text.at + 1, checks[name], f"`{name}`", place)


def _scope(scope: Condition, tags: frozenset[str], what: str, place: Place) -> Iterator[Problem]:
    for leaf in leaves(scope):
        if isinstance(leaf, In) or (isinstance(leaf, Tag) and leaf.value is not None):
            yield from _filter(leaf.key, leaf.at, tags, what, place)
            for value in leaf.values if isinstance(leaf, In) else (leaf.value or "",):
                yield from _value(leaf.key, value, leaf.at, place)
        elif isinstance(leaf, Variable):
            variables = place.variables or {}
            prefix = variables.get(variable_of(leaf.name, variables))
            if prefix is not None and prefix not in tags and not _of_user(prefix, place):
                yield place.warning(
                    "catalog/tag",
                    f"{what} has no tag `{prefix}`, which `${leaf.name}` stands for: choosing a value finds nothing"
                    f"{nearest(prefix, tags)}",
                    leaf.at,
                )


def _filter(key: str, at: int, tags: frozenset[str], what: str, place: Place) -> Iterator[Problem]:
    if key in tags or _of_user(key, place):
        return
    if key in place.known.vocabulary.all_tags():
        yield place.error("catalog/tag", f"{what} has no tag `{key}`, so nothing is found; it has {_listed(tags)}", at)
    elif near := nearest(key, tags, 0.8) or nearest(key, [tag for tag in tags if tag.startswith(f"{key}_")], 0.5):
        yield place.warning("catalog/tag", f"{what} has no tag `{key}` unless you add it{near}", at)


def _value(key: str, value: str, at: int, place: Place) -> Iterator[Problem]:
    known = place.known.vocabulary.values.get(key)
    if known and "$" not in value and not any(fnmatchcase(each, value) for each in known):
        yield place.warning(
            "catalog/value",
            f"no `{key}` is `{value}` unless a catalog file of yours says so{nearest(value, known)}",
            at,
        )


def _group(tag: str, at: int, tags: frozenset[str], what: str, place: Place) -> Iterator[Problem]:
    if tag in tags or tag in ("host", "*") or tag in place.known.user_tags or "$" in tag:
        return
    if _of_user(tag, place):
        yield place.warning(
            "catalog/tag", f"{what} has a tag `{tag}` only if you add it; without it all is one group", at
        )
    else:
        near = nearest(tag, tags) or f"; it has {_listed(tags)}"
        yield place.error("catalog/tag", f"{what} has no tag `{tag}` to group by{near}", at)


def _of_user(tag: str, place: Place) -> bool:
    return tag == "host" or "$" in tag or tag in place.known.user_tags or tag in grammar()["user_tags"]


def _listed(tags: frozenset[str]) -> str:
    return ", ".join(sorted(tags - {"instance", "job"}))
