"""Variants of a monitor or an SLO: the same for some of its series, with other settings, and it without these."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from ..query.rules import metrics_of
from ..query.tree import Condition, Everything, MetricMonitor, MonitorQuery, ServiceCheckMonitor
from ..values import MonitorValues, SloValues, Values
from ..vocabulary import builtin_vocabulary
from . import MonitorEntry
from .queries import apart, can_hold, negated, plain_tags, read_condition, takes_all


@dataclass(frozen=True, slots=True)
class VariantScope:
    """Which series a variant is of: those that its `scope` takes, without what is `beyond`, the scopes of variants
    before it that may take some of the same."""

    name: str
    scope: str
    condition: Condition
    beyond: tuple[str, ...]


def divided(
    key: str,
    said: Mapping[str, MonitorValues | SloValues],
    values: Values,
    path: str,
    taken: Collection[str],
    what: str,
) -> Iterator[VariantScope]:
    """The scopes of the variants of a monitor or an SLO, in their order. A series is that of the first variant whose
    scope takes it. `taken` are keys that a variant can't have, `what` is what these are.

    Raises DocumentError about a variant that is impossible.
    """
    before: dict[str, tuple[str, Condition]] = {}
    for name, one in said.items():
        scope = one.scope or "*"
        condition = read_condition(scope)
        # The first part of a composite monitor has this key.
        if f"{key}.{name}" in taken or name == "part":
            raise values.fail(
                f"{path}.{name}", f"`{key}.{name}` is another {what}: choose another name for the variant"
            )
        if isinstance(condition, Everything):
            raise values.fail(f"{path}.{name}.scope", f"leaves nothing for {key}: say this of the {what} itself")
        for first, (earlier, other) in before.items():
            if takes_all(other, condition):
                raise values.fail(
                    f"{path}.{name}.scope",
                    f"the variant `{first}` before it takes all of this with `{earlier}`: a series is that of the "
                    "first variant that takes it, so write the narrower one first",
                )
        beyond = tuple(text for text, other in before.values() if may_meet(condition, other))
        yield VariantScope(name, scope, condition, beyond)
        before[name] = scope, condition


def with_variants(entry: MonitorEntry, values: Values) -> list[MonitorEntry]:
    """The monitor, and those that the values make of it, in their order. A series is of the monitor where no variant
    takes it. Raises DocumentError about a variant that is impossible."""
    said, path = values.own(entry, "variants")
    if not said:
        return [entry]
    if entry.slo:
        raise values.fail(path, f"is not for burn rates: write variants, or `endpoints`, under `slos`, `{entry.slo}`")
    if entry.form == "event":
        raise values.fail(path, "is not for monitors of events, which have no scope")
    taken = {one.key for pack in values.available.values() for one in pack.monitors}
    variants = []
    for one in divided(entry.key, said, values, path, taken, "monitor"):
        where = f"{path}.{one.name}.scope"
        if entry.form == "service check" and None in (plain_tags(one.condition), plain_tags(negated(one.condition))):
            raise values.fail(
                where, f"the service check of {entry.key} takes a single tag, such as `env:dev` or `!env:dev`"
            )
        if can_hold(one.condition, _lacking(entry, entry.tree)):
            variants.append(
                replace(
                    entry,
                    key=f"{entry.key}.{one.name}",
                    title=f"{entry.title}: {one.name}",
                    origin=entry.key,
                    variant=one.name,
                    within=one.scope,
                    beyond=one.beyond,
                )
            )
        elif path == f"monitors.{entry.key}.variants":
            raise values.fail(
                where,
                f"`{one.scope}` takes nothing: the series of {entry.key} lack such a tag; they have "
                f"{', '.join(entry.groups)}",
            )
    return [replace(entry, beyond=tuple(one.scope or "*" for one in said.values())), *variants]


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
    """Whether series of a query lack a tag that the check gives to others."""
    checks = builtin_vocabulary().service_checks
    match query:
        case MetricMonitor():
            return lacking_tags({one.name for one in metrics_of(query.expression)})
        case ServiceCheckMonitor() if query.check in checks:
            return _none_of(checks[query.check])
        case _:
            return _none_of()


def lacking_tags(metrics: Iterable[str]) -> Callable[[str], bool]:
    """Whether series of one of the metrics lack a tag that the check gives to others. What users add may be on any."""
    words = builtin_vocabulary()
    return _none_of(*(words.tags_of(name) for name in metrics if words.kind_of(name)))


def _none_of(*tags: Collection[str]) -> Callable[[str], bool]:
    own = builtin_vocabulary().all_tags()
    return lambda key: key in own and not all(key in some for some in tags)


def may_meet(one: Condition, other: Condition) -> bool:
    """Whether some series may be within both. Tags of the check have one value in each series; one of a host or a user
    may have several."""
    return not apart(one, other, builtin_vocabulary().all_tags())


def generating(values: Values, which: str) -> Condition:
    """What the values file calls generative, or, where `which` is `except`, everything else."""
    condition = read_condition(values.generative)
    return condition if which == "only" else negated(condition)
