"""What has to be done for an account to have what it should. Making a plan changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from graphlib import CycleError, TopologicalSorter
from typing import Any

from ...errors import ProvisionError
from .model import KINDS, REFERENCE, Resource, attributes, mark, resolve
from .normalise import FieldChange, differences, type_change
from .query import Known, Problem, check_dashboard, check_monitor, check_slo
from .state import Account, Found, metric_of
from .vocabulary import Vocabulary, builtin_vocabulary

CHECKS: Mapping[str, Callable[[Mapping[str, Any], Known], list[Problem]]] = {
    "monitor": check_monitor,
    "dashboard": check_dashboard,
    "slo": check_slo,
}


class Action(StrEnum):
    """What happens to one resource. Only those of `DOES` do anything; `WAIT` is for percentiles of a metric that the
    account has not received yet, which the API can't switch on."""

    CREATE = "create"
    CHANGE = "change"
    REPLACE = "replace"
    DELETE = "delete"
    UNCHANGED = "unchanged"
    WAIT = "wait"
    ORPHANED = "orphaned"
    CONFLICT = "conflict"


DOES = (Action.CREATE, Action.CHANGE, Action.REPLACE, Action.DELETE)


@dataclass(frozen=True, slots=True)
class Step:
    """One resource in a plan. `resource` is as it should be, marked; `found` what the account has, several only in a
    conflict; `changes` what differs, of a replacement only the type."""

    action: Action
    address: str
    resource: Resource | None = None
    found: tuple[Found, ...] = ()
    changes: tuple[FieldChange, ...] = ()

    @property
    def kind(self) -> str:
        return self.address.partition(":")[0]

    @property
    def title(self) -> str:
        """The name that people see."""
        body = self.resource.body if self.resource else self.found[0].body if self.found else {}
        own = attributes(body)
        return str(own.get("name") or own.get("title") or "")

    @property
    def resets(self) -> bool:
        """Whether the change makes a monitor forget the state of its groups, as a new query does."""
        return self.kind == "monitor" and any(
            change.path == "query" or change.path.startswith("options.variables") for change in self.changes
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in the order of creation, then those for what is only in the account."""

    steps: tuple[Step, ...]

    def having(self, *actions: Action) -> list[Step]:
        return [step for step in self.steps if step.action in actions]

    @property
    def differs(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.having(*DOES))

    @property
    def conflicts(self) -> list[Step]:
        return self.having(Action.CONFLICT)

    def counts(self) -> dict[Action, int]:
        return {action: len(self.having(action)) for action in Action}


def checked(
    resources: Iterable[Resource], user_tags: frozenset[str] = frozenset(), vocabulary: Vocabulary | None = None
) -> list[Resource]:
    """The resources, marked, in the order of creation. `user_tags` are tags that the user adds to all metrics,
    `vocabulary` what a check with the user's catalogs sends, None for one without.

    Raises ProvisionError that lists every mistake in them: two with one address, a reference to nothing, and whatever
    the checks of queries find. None of this asks the API.
    """
    ordered = sorted(resources, key=lambda one: KINDS.index(one.kind))
    words = Known(
        vocabulary or builtin_vocabulary(),
        percentiles=frozenset(metric_of(one) for one in ordered if one.kind == "percentiles"),
        user_tags=user_tags,
    )
    known: set[str] = set()
    mistakes = []
    for resource in ordered:
        if resource.address in known:
            mistakes.append(f"{resource.address}: defined twice; every resource needs a key of its own")
        known.add(resource.address)
    for resource in ordered:
        missing = sorted(resource.references() - known)
        if missing:
            mistakes.append(f"{resource.address}: needs {', '.join(missing)}, which none of the chosen packs has")
        check = CHECKS.get(resource.kind)
        for problem in check(resource.body, words) if check else ():
            if problem.severity == "error":
                place = f" at {problem.path}" if problem.path else ""
                column = f", column {problem.column}" if problem.column is not None else ""
                mistakes.append(f"{resource.address}{place}{column}: {problem.message}")
    try:
        TopologicalSorter({one.address: one.references() for one in ordered}).prepare()
    except CycleError as error:
        mistakes.append(f"{' needs '.join(error.args[1])}: a circle, so none of them can come first")
    if mistakes:
        raise ProvisionError("nothing was sent:\n" + "\n".join(f"  {mistake}" for mistake in mistakes))
    return [mark(resource) for resource in ordered]


def make_plan(resources: Sequence[Resource], account: Account, *, prune: bool = False) -> Plan:
    """The plan for resources as `checked` returns them. `prune` deletes what is ours but no longer wanted.

    References to what doesn't exist yet stay as they are in the changes: the id is known only after it was created.
    """
    replaced = {
        resource.address
        for resource in resources
        if (found := account.get(resource.address)) and type_change(resource.kind, resource.body, found.body)
    }
    ids = {address: found[0].id for address, found in account.owned.items() if len(found) == 1}
    for address in replaced:
        del ids[address]
    wanted = {resource.address for resource in resources}
    steps = [_step(resource, account, ids) for resource in resources]
    left = [found for address, found in account.owned.items() if address not in wanted]
    left.sort(key=lambda found: (KINDS.index(found[0].kind), found[0].key))
    for some in left:
        action = Action.DELETE if prune else Action.ORPHANED if len(some) == 1 else Action.CONFLICT
        steps.append(Step(action, some[0].address, found=tuple(some)))
    return Plan(tuple(steps))


def destroy_plan(account: Account) -> Plan:
    """The removal of everything that is ours, several that carry one key included.

    Percentiles bear no mark and stay on: the account doesn't tell who switched them on, or who else relies on them.
    """
    left = [found for found in account.owned.values() if found[0].kind != "percentiles"]
    left.sort(key=lambda found: (-KINDS.index(found[0].kind), found[0].key))
    return Plan(tuple(Step(Action.DELETE, found[0].address, found=tuple(found)) for found in left))


def _step(resource: Resource, account: Account, ids: Mapping[str, str]) -> Step:
    found = tuple(account.owned.get(resource.address, ()))
    if len(found) > 1:
        return Step(Action.CONFLICT, resource.address, resource, found)
    if not found:
        action = Action.WAIT if resource.address in account.unseen else Action.CREATE
        return Step(action, resource.address, resource)
    change = type_change(resource.kind, resource.body, found[0].body)
    if change:
        return Step(Action.REPLACE, resource.address, resource, found, (change,))
    known = {address: ids.get(address, f"${{{address}}}") for address in resource.references()}
    changes = tuple(differences(resource.kind, resolve(resource.body, known), found[0].body))
    return Step(Action.CHANGE if changes else Action.UNCHANGED, resource.address, resource, found, changes)


def unknown_yet(value: Any) -> bool:
    """Whether a value holds the id of something that doesn't exist yet."""
    return isinstance(value, str) and REFERENCE.search(value) is not None
