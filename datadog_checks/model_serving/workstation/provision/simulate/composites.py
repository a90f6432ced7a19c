"""Composite monitors: the states of others, combined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..query.tree import And, Condition, Monitor, Not, Or
from .buckets import Group
from .states import ALERT, NO_DATA, OK, SEVERITY, StateChange
from .variants import SLIDING, NotSimulated

MINUTE = 60
BACK = 5 * MINUTE
"""How long a severe state of a part counts on."""


@dataclass(slots=True)
class StatesOverTime:
    """The state of every group of one part, at any time."""

    changes: dict[Group, list[StateChange]]

    def at(self, group: Group, now: float, mode: str) -> str | None:
        """The state now or, when sliding, the most severe one of the last five minutes."""
        found: str | None = None
        worst: str | None = None
        for change in self.changes.get(group, ()):
            if change.time > now:
                break
            if change.time <= now - BACK or worst is None or SEVERITY[change.after] > SEVERITY[worst]:
                worst = change.after
            found = change.after
        return worst if mode == SLIDING else found


def by_group(changes: list[StateChange]) -> StatesOverTime:
    """Changes, sorted by group."""
    found: dict[Group, list[StateChange]] = {}
    for change in changes:
        found.setdefault(change.group, []).append(change)
    return StatesOverTime(found)


def evaluate(
    condition: Condition,
    parts: Mapping[str, StatesOverTime],
    options: Mapping[str, Any],
    times: Iterator[float],
    mode: str,
) -> list[StateChange]:
    """The changes of a composite monitor whose parts went through these states."""
    groups = _meeting(parts)
    states: dict[Group, str | None] = dict.fromkeys(groups)
    changes: list[StateChange] = []
    for now in times:
        for group, members in groups.items():
            known = {name: parts[name].at(member, now, mode) for name, member in members.items()}
            if any(state is None for state in known.values()):
                # A group is evaluated once it is there in every part.
                continue
            state = _combined(condition, {name: state for name, state in known.items() if state is not None})
            if state == NO_DATA and options.get("notify_no_data") is not True:
                continue
            if state != states[group]:
                changes.append(StateChange(now, group, states[group], state))
                states[group] = state
    return changes


def _meeting(parts: Mapping[str, StatesOverTime]) -> dict[Group, dict[str, Group]]:
    """Groups that all parts have, by tag values, each with what it is called in every part."""
    found: dict[Group, dict[str, Group]] = {(): {}}
    for name, states in sorted(parts.items(), key=lambda item: -max((len(one) for one in item[1].changes), default=0)):
        joined: dict[Group, dict[str, Group]] = {}
        for group, members in found.items():
            for other in states.changes:
                shared = {key for key, _ in group} & {key for key, _ in other}
                if members and len(shared) < min(len(group), len(other)):
                    raise NotSimulated("a composite of monitors of which none is grouped by the tags of the other")
                if all(dict(group)[key] == dict(other)[key] for key in shared):
                    merged = tuple(sorted({**dict(group), **dict(other)}.items()))
                    joined[merged] = {**members, name: other}
        found = joined
    return found


def _combined(condition: Condition, states: Mapping[str, str]) -> str:
    match condition:
        case Monitor(id=id):
            return states[id]
        case Not(operand=operand):
            inner = _combined(operand, states)
            return NO_DATA if inner == NO_DATA else ALERT if inner == OK else OK
        case And(operands=operands):
            found = [_combined(operand, states) for operand in operands]
            # Everything but OK is true, so the least severe of those that are.
            return OK if OK in found else min(found, key=lambda state: SEVERITY[state])
        case Or(operands=operands):
            return max((_combined(operand, states) for operand in operands), key=lambda state: SEVERITY[state])
        case _:
            raise AssertionError(f"no composite monitor says {condition}")
