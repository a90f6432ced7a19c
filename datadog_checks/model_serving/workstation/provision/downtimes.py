"""Planned downtimes of a values file, as the API's create call takes them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from .document import read_all, suggestion
from .model import KEY_TAG, Resource
from .packs.bodies import INTEGRATION_TAG, monitor_tags
from .packs.queries import read_condition
from .packs.settle import Settled
from .query import Known
from .query.filters import check_scope
from .query.problems import ERROR, Place
from .query.rules import metrics_of
from .query.tree import Condition, In, MetricMonitor, Not, Or, ServiceCheckMonitor, Tag, conjuncts, leaves
from .values import DowntimeValues, Values
from .vocabulary import Vocabulary


def downtimes(values: Values, monitors: Sequence[Settled], words: Vocabulary, whole: bool) -> list[Resource]:
    """What the values file plans for these monitors; nothing of a downtime for others. `whole` says that these are all
    that there can be, so that one for none of them is a mistake.

    Datadog silences the monitors that have all tags of a downtime, so there is one for each monitor that is named.
    Raises DocumentError about a monitor, a tag or a scope that there is not.
    """

    def read(name: str) -> list[Resource]:
        said = values.downtimes[name]
        silenced = list(_silenced(name, said, values, monitors, whole))
        if not silenced:
            return []
        condition = read_condition(said.scope)
        if whole:
            _check_tags(name, said, values, silenced, condition)
        scope = _scope(name, said, values, condition, words)
        fitting = [one for one in silenced if _needed(condition) <= _tags_of(one)]
        if said.monitors is None:
            return [Resource("downtime", name, _body(said, scope, said.tags))] if fitting else []
        keys = [one.entry.key for one in fitting]
        return [Resource("downtime", f"{name}.{key}", _body(said, scope, (f"{KEY_TAG}:{key}",))) for key in keys]

    return [one for some in read_all(read, values.downtimes) for one in some]


def _body(said: DowntimeValues, scope: str, tags: Collection[str]) -> dict[str, Any]:
    return {
        "scope": scope,
        "message": said.message,
        # The parts of composite monitors lack this tag; they notify nobody.
        "monitor_identifier": {"monitor_tags": list(dict.fromkeys((INTEGRATION_TAG, *tags)))},
        "display_timezone": said.timezone,
        "schedule": dict(said.schedule),
    }


def _silenced(
    name: str, said: DowntimeValues, values: Values, monitors: Sequence[Settled], whole: bool
) -> Iterator[Settled]:
    """Those of the monitors that a downtime is for. What is said of a monitor is said of its variants, and of those
    that complement it, too."""
    if said.monitors is None:
        for index, tag in enumerate(said.tags if whole else ()):
            known = {own for one in monitors for own in monitor_tags(one)}
            if tag not in known:
                raise values.fail(
                    f"downtimes.{name}.tags[{index}]",
                    f"no monitor has the tag `{tag}`; {suggestion(tag, sorted(known))}",
                )
        found = [one for one in monitors if set(said.tags) <= set(monitor_tags(one))]
        if whole and not found:
            raise values.fail(f"downtimes.{name}.tags", f"no monitor has all of {', '.join(said.tags)}")
        yield from found
        return
    shipped = {entry.key for pack in values.available.values() for entry in pack.monitors}
    taken: dict[str, Settled] = {}
    for index, key in enumerate(said.monitors):
        own = {one.entry.key: one for one in monitors if _is_said_of(one, key)}
        if whole and not own and key not in shipped:
            known = shipped | {one.entry.key for one in monitors}
            raise values.fail(
                f"downtimes.{name}.monitors[{index}]", f"there is no monitor `{key}`; {suggestion(key, sorted(known))}"
            )
        taken |= own
    yield from taken.values()


def _scope(name: str, said: DowntimeValues, values: Values, condition: Condition, words: Vocabulary) -> str:
    """The scope in the language of downtimes. Raises DocumentError about one that they can't have."""
    path = f"downtimes.{name}.scope"
    for problem in check_scope(condition, Place("", Known(words)), ours=True):
        if problem.severity == ERROR:
            raise values.fail(path, f"`{said.scope}`: {problem.message}")
    parts = [part for one in conjuncts(condition) for part in _worded(one)]
    if None in parts:
        raise values.fail(
            path,
            f"`{said.scope}`: a downtime takes tags that must all be there, such as `env:prod`, `!env:dev` or "
            "`endpoint_name IN (a,b)`, and no OR between others: write a downtime for each",
        )
    return " AND ".join(part for part in parts if part) or "*"


def _check_tags(
    name: str, said: DowntimeValues, values: Values, silenced: Sequence[Settled], condition: Condition
) -> None:
    """Raises DocumentError about a scope that fits none of the monitors, or not one that is named."""
    path = f"downtimes.{name}.scope"
    known = sorted(set().union(*(_tags_of(one) for one in silenced)))
    for leaf in leaves(condition):
        if isinstance(leaf, Tag | In) and leaf.key not in known:
            raise values.fail(
                path,
                f"`{said.scope}`: none of the monitors is grouped by `{leaf.key}` or has it in its scope, so nothing "
                f"would be silent; {suggestion(leaf.key, known) if known else 'leave `scope` out'}",
            )
    needed = _needed(condition)
    for index, key in enumerate(said.monitors or ()):
        own = [_tags_of(one) for one in silenced if _is_said_of(one, key)]
        if own and not any(needed <= tags for tags in own):
            lacking = ", ".join(f"`{tag}`" for tag in sorted(needed - max(own, key=lambda tags: len(tags & needed))))
            raise values.fail(
                f"downtimes.{name}.monitors[{index}]",
                f"`{key}` is not grouped by {lacking} and doesn't have it in its scope, so `{said.scope}` would "
                "silence nothing of it; write a downtime with another scope for it",
            )
    if said.monitors is None and not any(needed <= _tags_of(one) for one in silenced):
        both = ", ".join(f"`{tag}`" for tag in sorted(needed))
        raise values.fail(
            path, f"`{said.scope}`: no monitor has all of {both}, so nothing would be silent; write fewer of them"
        )


def _is_said_of(monitor: Settled, key: str) -> bool:
    return key in (monitor.entry.key, monitor.entry.origin, monitor.entry.base)


def _needed(condition: Condition) -> set[str]:
    """The tags that must be there, with any value."""
    return {
        leaf.key
        for part in conjuncts(condition)
        if not isinstance(part, Not)
        for leaf in leaves(part)
        if isinstance(leaf, Tag) or (isinstance(leaf, In) and not leaf.negated)
    }


def _tags_of(monitor: Settled) -> set[str]:
    """The tags by which Datadog knows whether a notification is within the scope of a downtime: those of its group, and
    those of the monitor's query."""
    query = monitor.query
    found = set(monitor.entry.groups)
    if isinstance(query, MetricMonitor):
        scopes = (metric.scope for metric in metrics_of(query.expression) if metric.scope is not None)
        parts = (part for scope in scopes for part in conjuncts(scope))
        found |= {part.key for part in parts if isinstance(part, Tag) or (isinstance(part, In) and not part.negated)}
    elif isinstance(query, ServiceCheckMonitor):
        found |= {text.value.partition(":")[0] for text in query.over}
    return found - {"*"}


def _worded(condition: Condition) -> list[str | None]:
    """A part of a scope as downtimes have it, None for what they can't have."""
    match condition:
        case Tag(key=key, value=str(value)):
            return [f"{key}:{value}"]
        case In(key=key, values=values, negated=False):
            return [f"{key}:({' OR '.join(values)})" if len(values) > 1 else f"{key}:{values[0]}"]
        case In(key=key, values=values):
            return [f"-{key}:{value}" for value in values]
        case Or(operands=operands) if len(tags := {one.key for one in operands if isinstance(one, Tag)}) == 1 and all(
            isinstance(one, Tag) and one.value for one in operands
        ):
            return [f"{tags.pop()}:({' OR '.join(str(one.value) for one in operands if isinstance(one, Tag))})"]
        case Not(operand=Tag(key=key, value=str(value))):
            return [f"-{key}:{value}"]
        case Not(operand=In(negated=False) as inner):
            return [f"-{inner.key}:{value}" for value in inner.values]
        case Not(operand=Or(operands=operands)):
            return [part for one in operands for part in _worded(Not(one))]
        case _:
            return [None]
