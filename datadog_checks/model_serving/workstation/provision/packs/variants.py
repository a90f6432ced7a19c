"""Variants of a monitor: the same for some of its series, with other settings, and it without these series."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from ..query.rules import metrics_of
from ..query.tree import Condition, Everything, MetricMonitor, MonitorQuery, ServiceCheckMonitor
from ..values import Values
from ..vocabulary import builtin_vocabulary
from . import MonitorEntry
from .queries import apart, can_hold, negated, plain_tags, read_condition, takes_all


def with_variants(entry: MonitorEntry, values: Values) -> list[MonitorEntry]:
    """The monitor, and those that the values make of it, in their order. A series is that of the first variant whose
    scope takes it, and of the monitor where none does. Raises DocumentError about a variant that is impossible."""
    said, path = values.own(entry, "variants")
    if not said:
        return [entry]
    if entry.slo:
        raise values.fail(path, f"is not for burn rates: name endpoints under `slos`, `{entry.slo}`, `endpoints`")
    if entry.form == "event":
        raise values.fail(path, "is not for monitors of events, which have no scope")
    single = builtin_vocabulary().all_tags()
    before: dict[str, tuple[str, Condition]] = {}
    variants = []
    for name, one in said.items():
        condition = read_condition(one.scope or "*")
        _check(entry, values, f"{path}.{name}", condition, before)
        if can_hold(condition, _lacking(entry, entry.tree)):
            # Tags of the check have one value in each series; one of a host or a user may have several.
            beyond = tuple(text for text, other in before.values() if not apart(condition, other, single))
            variants.append(
                replace(
                    entry,
                    key=f"{entry.key}.{name}",
                    title=f"{entry.title}: {name}",
                    origin=entry.key,
                    variant=name,
                    within=one.scope or "*",
                    beyond=beyond,
                )
            )
        elif path == f"monitors.{entry.key}.variants":
            raise values.fail(
                f"{path}.{name}.scope",
                f"`{one.scope}` takes nothing: the series of {entry.key} lack such a tag; they have "
                f"{', '.join(entry.groups)}",
            )
        before[name] = one.scope or "*", condition
    return [replace(entry, beyond=tuple(text for text, _ in before.values())), *variants]


def _check(
    entry: MonitorEntry, values: Values, path: str, condition: Condition, before: dict[str, tuple[str, Condition]]
) -> None:
    name = path.rpartition(".")[2]
    taken = {one.key for pack in values.available.values() for one in pack.monitors}
    if f"{entry.key}.{name}" in taken or name == "part":
        raise values.fail(path, f"`{entry.key}.{name}` is another monitor: choose another name for the variant")
    if isinstance(condition, Everything):
        raise values.fail(f"{path}.scope", f"leaves nothing for {entry.key}: say this of the monitor itself")
    for first, (scope, other) in before.items():
        if takes_all(other, condition):
            raise values.fail(
                f"{path}.scope",
                f"the variant `{first}` before it takes all of this with `{scope}`: a series is that of the first "
                "variant that takes it, so write the narrower one first",
            )
    if entry.form == "service check" and None in (plain_tags(condition), plain_tags(negated(condition))):
        raise values.fail(
            f"{path}.scope", f"the service check of {entry.key} takes a single tag, such as `env:dev` or `!env:dev`"
        )


def check_parts(entries: Iterable[MonitorEntry], values: Values) -> None:
    """Raise DocumentError about variants of a monitor for which another keeps still: a composite monitor knows only
    the groups that all of its parts have."""
    known = list(entries)
    split = {one.origin for one in known if one.variant}
    for entry in known:
        for key in entry.unless:
            if key in split:
                raise values.fail(
                    f"monitors.{key}.variants",
                    f"{entry.key} keeps still while {key} alerts, and would no longer see what is taken out of it: "
                    f"leave {key} whole, or write `{entry.key}: {{enabled: false}}` as well",
                )


def of_variant(entry: MonitorEntry, query: MonitorQuery) -> list[Condition]:
    """What narrows a query of a monitor that is a variant, or has some. A scope by tags that the query does not know
    narrows nothing: its counts are those of all models of an endpoint, say."""
    lacking = _lacking(entry, query)
    within, beyond = ([read_condition(one) for one in scopes] for scopes in ([entry.within or "*"], entry.beyond))
    known = [one for one in within if can_hold(one, lacking)]
    return [*known, *(negated(one) for one in beyond if can_hold(one, lacking))]


def can_tell(query: MonitorQuery, scope: str) -> bool:
    """Whether the series of a monitor can be within a scope, by the tags that they have."""
    return bool(scope) and can_hold(read_condition(scope), _lacks(query))


def _lacking(entry: MonitorEntry, query: MonitorQuery) -> Callable[[str], bool]:
    lacks = _lacks(query)
    return lambda key: key == entry.lacking or lacks(key)


def _lacks(query: MonitorQuery) -> Callable[[str], bool]:
    """Whether series of a query lack a tag that the check gives to others. What users add may be on any."""
    words = builtin_vocabulary()
    match query:
        case MetricMonitor():
            names = {one.name for one in metrics_of(query.expression)}
            tags = [words.tags_of(name) for name in names if words.kind_of(name)]
        case ServiceCheckMonitor() if query.check in words.service_checks:
            tags = [words.service_checks[query.check]]
        case _:
            tags = []
    own = words.all_tags()
    return lambda key: key in own and not all(key in some for some in tags)
