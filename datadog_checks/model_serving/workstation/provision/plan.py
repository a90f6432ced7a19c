"""What has to be done for an account to have what it should. Making a plan changes nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from .adopt import adoptable
from .extent import Extent
from .model import KINDS, NO_STACK, PERCENTILE, REFERENCE, Resource, attributes, resolve, title_of, with_mark_of
from .normalise import FieldChange, differences, overwritten, type_change
from .schedules import UTC_NAME, ended, moment_of, moment_text, next_start, under_way, zone_of
from .state import Account, Found, metric_of, stack_name
from .values import OWN_TAGS


class Action(StrEnum):
    """What happens to one resource. Only those of `DOES` do anything; `WAIT` is for percentiles of a metric that the
    account has not received yet, which the API can't switch on, `OVER` for a downtime that has passed, `FOREIGN` for
    what only looks like ours."""

    CREATE = "create"
    CHANGE = "change"
    REPLACE = "replace"
    DELETE = "delete"
    UNCHANGED = "unchanged"
    WAIT = "wait"
    OVER = "over"
    ORPHANED = "orphaned"
    CONFLICT = "conflict"
    FOREIGN = "foreign"


DOES = (Action.CREATE, Action.CHANGE, Action.REPLACE, Action.DELETE)


@dataclass(frozen=True, slots=True)
class Step:
    """One resource in a plan. `resource` is as it should be, marked; `found` what the account has, the original and
    then its twins; `changes` what differs, of a replacement only the type; `note` what else there is to know. What is
    `adopted` is ours from this step on."""

    action: Action
    address: str
    resource: Resource | None = None
    found: tuple[Found, ...] = ()
    changes: tuple[FieldChange, ...] = ()
    note: str = ""
    adopted: bool = False

    @property
    def kind(self) -> str:
        return self.address.partition(":")[0]

    @property
    def title(self) -> str:
        """The name that people see."""
        body = self.resource.body if self.resource else self.found[0].body if self.found else {}
        return "" if self.kind == "stack" else title_of(body)

    @property
    def resets(self) -> bool:
        """Whether the change makes a monitor forget the state of its groups, as a new query does."""
        return self.kind == "monitor" and any(
            change.path == "query" or change.path.startswith("options.variables") for change in self.changes
        )

    @property
    def notices(self) -> tuple[str, ...]:
        """What a person has done to a monitor that provisioning leaves so, and that keeps it from notifying; and that a
        downtime is under way."""
        if self.resource is None:
            return ()
        if self.kind == "downtime":
            return tuple(filter(None, map(_silences, self.found)))
        if self.kind != "monitor":
            return ()
        told = []
        for found in self.found:
            if (found.body.get("options") or {}).get("silenced"):
                told.append("muted by hand, and left so")
            if found.body.get("draft_status") == "draft":
                told.append("a draft, and left so: it notifies nobody until somebody publishes it in Datadog")
        return tuple(told)


def _silences(downtime: Found) -> str:
    """Until when a downtime silences that is under way, empty for any other."""
    end = under_way(downtime.body.get("schedule") or {}, datetime.now(UTC))
    zone = str(downtime.body.get("display_timezone") or UTC_NAME)
    return f"silences now, until {moment_text(end.astimezone(zone_of(zone)))} ({zone})" if end else ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in the order of creation, then those for what is only in the account. `stack` is empty for the one without
    a name; `ignore_tags` are patterns of the tags that are left to others. `left_alone` is why the plan is not about
    some of what the stack has, and how many these are by their kind."""

    steps: tuple[Step, ...]
    stack: str = ""
    ignore_tags: tuple[str, ...] = ()
    left_alone: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

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


@dataclass(frozen=True, slots=True)
class PlanChoices:
    """What a user decides about a plan beside what is wanted: the stack, the one to take over from, and the ids of what
    is adopted, by address.

    `prune` deletes what is ours but no longer wanted, and twins; what the plan is not about by its `extent` is left
    alone. Tags that fit a pattern of `ignore_tags` stay where others have added them. `move` says whether the stack
    takes over what the other one has. None lets it where naming a stack is all that was done; where it can't be told
    from a new stack beside the other, the steps are conflicts.
    """

    stack: str = ""
    source: str = ""
    move: bool | None = None
    prune: bool = False
    ignore_tags: tuple[str, ...] = ()
    adopt: Mapping[str, str] = field(default_factory=dict)
    extent: Extent = field(default_factory=Extent)


def make_plan(resources: Sequence[Resource], account: Account, choices: PlanChoices = PlanChoices()) -> Plan:
    """The plan for resources as `checked` returns them; stacks and adoptions are as the account was read for them.

    References to what doesn't exist yet stay as they are in the changes: the id is known only after it was created.

    Raises ProvisionError where something of `account.to_adopt` can't become ours.
    """
    prune = choices.prune
    notes = {one.address: note for one in resources if (note := over(one, account))}
    passed = [Step(Action.OVER, one.address, one, note=notes[one.address]) for one in resources if one.address in notes]
    resources = [one for one in resources if one.address not in notes]
    moved, undecided = _moved(resources, account, choices.move)
    adopted = adoptable(resources, account, moved)
    owned = {**account.owned, **{address: [one] for address, one in (*moved.items(), *adopted.items())}}
    # Once the original is gone, a copy that somebody made would be the oldest with this key.
    copied = {one.found.address for one in account.strangers if one.found.key and one.found.stack == account.stack}
    replaced = {
        resource.address
        for resource in resources
        if (there := owned.get(resource.address)) and type_change(resource.kind, resource.body, there[0].body)
    }
    ids = {address: found[0].id for address, found in owned.items() if address not in replaced}
    wanted = {resource.address for resource in resources}
    steps = []
    for resource in resources:
        found = tuple(owned.get(resource.address, ()))
        if resource.address in undecided:
            steps.append(Step(Action.CONFLICT, resource.address, resource, (account.others[resource.address],)))
        elif resource.address in replaced and resource.address in copied:
            note = "its type changes, so it is made anew: delete the copies that are listed below first"
            steps.append(Step(Action.CONFLICT, resource.address, resource, found, note=note))
        elif resource.address in account.unseen and not found:
            steps.append(Step(Action.WAIT, resource.address, resource, note=_waiting_note(resource, resources)))
        else:
            theirs = found[0].body if found else {}
            kept = replace(resource, body=with_others_tags(resource.kind, resource.body, theirs, choices.ignore_tags))
            step = _step(kept, found[:1] if prune else found, ids, resource.address in adopted)
            if resource.address in moved:
                note = f"moves here from {stack_name(moved[resource.address].stack)}"
                step = replace(step, note=note)
            if step.action is Action.CREATE and (canceled := moment_of(account.canceled.get(resource.address))):
                step = replace(step, note=f"one was canceled on {moment_text(canceled)} (UTC), and is planned again")
            steps.append(step)
    steps += _twins(
        account, {step.address for step in steps if step.action in (Action.UNCHANGED, Action.CHANGE)}, prune
    )
    steps += passed
    unwanted = [some for address, some in account.owned.items() if address not in wanted]
    unwanted.sort(key=lambda some: (KINDS.index(some[0].kind), some[0].key))
    left_alone: dict[str, Counter[str]] = {}
    for some in unwanted:
        if why := choices.extent.leaves(some[0]):
            left_alone.setdefault(why, Counter())[some[0].kind] += 1
        else:
            steps.append(Step(Action.DELETE if prune else Action.ORPHANED, some[0].address, found=tuple(some)))
    made = {step.title for step in steps if step.action is Action.CREATE and step.kind == "dashboard"}
    taken = {one.id for one in (*moved.values(), *adopted.values())}
    return Plan((*steps, *_foreign(account, taken, made)), account.stack, choices.ignore_tags, left_alone)


def over(resource: Resource, account: Account) -> str:
    """Why a downtime is not wanted any more: it is over, or what is left of it can't be planned; empty where it is."""
    if resource.kind != "downtime":
        return ""
    own, now = attributes(resource.body), datetime.now(UTC)
    zone = zone_of(own["display_timezone"])
    advice = "take it out of the values file, or write when it is next"
    if end := ended(own["schedule"], now):
        return f"is over since {moment_text(end.astimezone(zone))} ({own['display_timezone']}): {advice}"
    last = "recurrences" in own["schedule"] and next_start(own["schedule"], now) is None
    if last and resource.address not in account.owned and resource.address not in account.others:
        return f"its last time has begun already, and Datadog plans none in the past: {advice}"
    return ""


def destroy_plan(account: Account, of: Callable[[Found], bool] = lambda found: True) -> Plan:
    """The removal of everything that a stack has, or of those `of` which it is asked, twins included.

    Percentiles bear no mark and stay on: the account doesn't tell who switched them on, or who else relies on them.
    """
    left = [found for found in account.owned.values() if found[0].kind != "percentiles" and of(found[0])]
    left.sort(key=lambda found: (-KINDS.index(found[0].kind), found[0].key))
    steps = [Step(Action.DELETE, found[0].address, found=tuple(found)) for found in left]
    return Plan((*steps, *_foreign(account, ())), account.stack)


def with_others_tags(
    kind: str, body: Mapping[str, Any], actual: Mapping[str, Any], patterns: Collection[str]
) -> Mapping[str, Any]:
    """The body with those tags of the one in the account that fit a pattern, and so belong to others."""
    if not patterns or kind not in ("monitor", "slo"):
        return body
    own = [str(tag) for tag in body.get("tags") or ()]
    others = [
        tag
        for tag in map(str, actual.get("tags") or ())
        if tag not in own and tag.partition(":")[0] not in OWN_TAGS and any(_fits(tag, one) for one in patterns)
    ]
    return {**body, "tags": [*own, *others]} if others else body


def _fits(tag: str, pattern: str) -> bool:
    """Whether a tag is that of a pattern, in which `*` stands for anything; a key alone is for all its values."""
    return fnmatchcase(tag if ":" in pattern else tag.partition(":")[0], pattern)


def _moved(
    resources: Sequence[Resource], account: Account, move: bool | None
) -> tuple[dict[str, Found], Collection[str]]:
    """What the stack takes over from the other, by address, and the addresses where that can't be told."""
    wanted = {one.address: one for one in resources}
    there = {
        address: one for address, one in account.others.items() if address in wanted and address not in account.owned
    }
    if move is not None:
        return (there if move else {}), ()
    if any(address in account.owned for address in account.others):
        # Two stacks live side by side: what is being moved is in one or in the other.
        return {}, ()
    ids = {address: one.id for address, one in there.items()}
    ids |= {address: found[0].id for address, found in account.owned.items()}
    for address, one in there.items():
        as_before = with_mark_of(wanted[address], account.stack, one.stack)
        known = {other: ids.get(other, f"${{{other}}}") for other in as_before.references()}
        body = resolve(as_before.body, known)
        if type_change(one.kind, body, one.body) or differences(one.kind, body, one.body):
            return {}, set(there)
    return there, ()


def _twins(account: Account, addresses: Collection[str], prune: bool) -> Iterator[Step]:
    """Those of what is wanted: two runs at once, or an answer that came late, leave them."""
    for address, (original, *twins) in account.owned.items():
        if twins and address in addresses:
            note = f"the same as {original.id}, but younger: two runs made it at one time"
            yield Step(Action.DELETE if prune else Action.ORPHANED, address, found=tuple(twins), note=note)


def _foreign(account: Account, taken: Collection[str], made: Collection[str] = ()) -> Iterator[Step]:
    """What looks like ours and is left alone, without the ids that are `taken`; what another stack has is only
    counted. `made` are the names of the dashboards that the plan makes."""
    stacks: dict[str, Counter[str]] = {}
    renamed = set()
    for one in account.strangers:
        found = one.found
        if found.id in taken:
            continue
        if found.key and found.stack != account.stack:
            stacks.setdefault(found.stack, Counter())[found.kind] += 1
            if found.kind == "dashboard" and found.body.get("title") in made:
                renamed.add(found.stack)
        else:
            yield Step(Action.FOREIGN, f"{found.kind}:{found.key or found.id}", found=(found,), note=one.why)
    for stack, counts in sorted(stacks.items()):
        # Monitors and SLOs of other stacks aren't read, but for one that is to be taken over.
        note = f"seen of {stack_name(stack)}: {counted(counts)}"
        if stack in renamed:
            note += (
                f"; dashboards of the same names: if this is what it is called now, add --move-from {stack or NO_STACK}"
            )
        yield Step(Action.FOREIGN, f"stack:{stack or NO_STACK}", note=note)


def counted(counts: Mapping[str, int]) -> str:
    """How many there are of each kind, in words."""
    names = {kind: "SLO" if kind == "slo" else kind.replace("_", " ") for kind in counts}
    return ", ".join(f"{count} {names[kind]}{'s'[: count > 1]}" for kind, count in sorted(counts.items()))


def needing_percentiles(metrics: Collection[str], resources: Iterable[Resource]) -> list[str]:
    """Addresses of the monitors and SLOs that can't work without percentiles of these metrics, sorted."""
    there = [one for one in resources if one.kind in ("monitor", "slo")]
    needing = {one.address for one in there if not set(PERCENTILE.findall(json.dumps(one.body))).isdisjoint(metrics)}
    while more := {one.address for one in there if one.address not in needing and one.references() & needing}:
        needing |= more
    return sorted(needing)


def _waiting_note(resource: Resource, resources: Iterable[Resource]) -> str:
    needing = needing_percentiles({metric_of(resource)}, resources)
    return f"until then these can't work: {', '.join(needing)}" if needing else ""


def _step(resource: Resource, found: tuple[Found, ...], ids: Mapping[str, str], adopted: bool = False) -> Step:
    if not found:
        return Step(Action.CREATE, resource.address, resource)
    change = type_change(resource.kind, resource.body, found[0].body)
    if change:
        return Step(Action.REPLACE, resource.address, resource, found, (change,))
    known = {address: ids.get(address, f"${{{address}}}") for address in resource.references()}
    compared = overwritten if adopted else differences
    changes = tuple(compared(resource.kind, resolve(resource.body, known), found[0].body))
    if not changes:
        return Step(Action.UNCHANGED, resource.address, resource, found[:1])
    return Step(Action.CHANGE, resource.address, resource, found, changes, adopted=adopted)


def unknown_yet(value: Any) -> bool:
    """Whether a value holds the id of something that doesn't exist yet."""
    return isinstance(value, str) and REFERENCE.search(value) is not None
