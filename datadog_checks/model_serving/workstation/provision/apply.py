"""Carries a plan out: in parallel as far as references allow, each resource on its own, and safe to run again.

Nothing is kept but what the account itself holds. A run that ends anywhere leaves whole resources that bear our mark,
and the next run finds them by it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from enum import StrEnum
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

from ...errors import ProvisionError, Refused, Stopped, Unsure
from ...http.redact import printable
from .adopt import marks_of_others
from .api import ATTEMPTS, DUPLICATES, STOPPED, Client
from .model import KEY_TAG, KINDS, NO_STACK, OLDER_FORM_TAG, Resource
from .normalise import alike, differences, view
from .plan import Action, Plan, Step, needing_percentiles, with_others_tags
from .state import Found, look_up, metric_of, read_one, read_stack, stack_name
from .writes import Waiting, create, delete, request_body, switch_on_percentiles, update

DUPLICATE = re.compile(r"duplicate of an existing monitor_id:\s*(\d+)", re.IGNORECASE)
DUPLICATE_DOWNTIME = re.compile(r"duplicate of one or more existing downtimes", re.IGNORECASE)


OLDER = "without on_missing_data, which the account refuses: its alerts end by auto_resolve"


IN_USE = (
    "delete what shows it first, or take it out of that; for a dashboard of this stack leave the pack of the SLO out "
    "of `packs` in the values file, and `apply --prune` does both"
)
"""What to do about an SLO that can't be deleted, since it is used."""


class Result(StrEnum):
    """How a step ended."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    REFUSED = "refused"
    """Checked, and found wrong: what only a validation can give."""
    WAITS = "waits"
    """Can't be done before the account has received a metric."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a step. `text` says what was done beyond the plan, or why it wasn't, in the API's own words;
    `was_there` that what was to be created is not of this run, but of another, or a person's."""

    step: Step
    result: Result
    text: str = ""
    id: str | None = None
    was_there: bool = False


class _Worked(NamedTuple):
    """What came of the work on a step, as in its outcome."""

    text: str = ""
    id: str | None = None
    was_there: bool = False


Told = Callable[[Outcome], None]


def apply(client: Client, plan: Plan, told: Told = lambda outcome: None) -> list[Outcome]:
    """Do what the plan says. `told` hears of every step as it ends. One failure stops only what needs the resource.

    What is to be deleted is left where anything failed before: it may be what still watches in place of that.
    Raises ProvisionError, before anything is done, where it isn't clear what is meant.
    """
    if plan.conflicts:
        raise ProvisionError(conflict_text(plan.conflicts))
    run = _ApplyRun(client, plan, told)
    steps = sorted(plan.having(Action.CREATE, Action.CHANGE, Action.REPLACE), key=lambda one: KINDS.index(one.kind))
    by_address = {step.address: step for step in steps}
    needs = {
        step.address: {one for one in (step.resource.references() if step.resource else ()) if one in by_address}
        for step in steps
    }
    before = {step.address for step in steps if step.kind in ("notification_rule", "downtime")}
    after = {step.address: before for step in steps if step.kind == "monitor"}
    run.carry_out(by_address, needs, run.bring_about, after)
    run.clear_up(by_address)
    taken = set(run.ids.values())
    deletes = [step for step in plan.having(Action.DELETE) if not {found.id for found in step.found} <= taken]
    if any(outcome.result not in (Result.DONE, Result.WAITS) for outcome in run.outcomes):
        for step in deletes:
            run.end(Outcome(step, Result.SKIPPED, "left in place, since other resources failed"))
    else:
        run.carry_out({step.address: step for step in deletes}, _order_of_deletion(deletes), run.remove, skip=False)
    return run.outcomes


def waiting(plan: Plan, outcomes: Iterable[Outcome] = ()) -> list[str]:
    """Addresses of the monitors and SLOs that can't work before the account has received a metric; of the percentiles
    themselves where none asks for them."""
    steps = [*plan.having(Action.WAIT), *(one.step for one in outcomes if one.result is Result.WAITS)]
    resources = [step.resource for step in plan.steps if step.resource]
    needing = needing_percentiles({metric_of(step.resource) for step in steps if step.resource}, resources)
    return needing or sorted(step.address for step in steps)


def conflict_text(conflicts: Sequence[Step]) -> str:
    """What to do where it isn't clear which resource is meant."""
    unclear = sorted((step for step in conflicts if not step.note), key=lambda one: one.address)
    lines = [f"  {step.address}: {step.note}" for step in conflicts if step.note]
    if unclear:
        other = stack_name(unclear[0].found[0].stack)
        lines += [f"  {step.address}: {', '.join(found.id for found in step.found)}" for step in unclear]
        lines.append(
            f"These are of {other}, and are otherwise than this stack wants them. If they are to become this stack's, "
            f"add --move-from {unclear[0].found[0].stack or NO_STACK}; if this stack is a new one beside that, add "
            "--new-stack, for this once."
        )
    listed = "\n".join(printable(line) for line in lines)
    return f"nothing was changed, since it isn't clear what is meant:\n{listed}"


class _ApplyRun:
    """The state of one run: ids known so far, and how the steps ended. Only the thread that runs it writes."""

    def __init__(self, client: Client, plan: Plan, told: Told) -> None:
        self.client = client
        self.told = told
        self.outcomes: list[Outcome] = []
        self.ids = {
            step.address: step.found[0].id
            for step in plan.having(Action.UNCHANGED, Action.CHANGE)
            if step.found and step.resource
        }
        self.wanted = {step.address for step in plan.steps if step.resource}
        self.stack = plan.stack
        self.ignore_tags = plan.ignore_tags
        # By address: what this run created, and of what more creates were sent than answered. Each step writes its own.
        self.made: dict[str, Found] = {}
        self.unanswered: set[str] = set()

    def end(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        if outcome.result is Result.DONE and outcome.id is not None:
            self.ids[outcome.step.address] = outcome.id
        self.told(outcome)

    def carry_out(
        self,
        steps: Mapping[str, Step],
        needs: Mapping[str, set[str]],
        work: Callable[[Step], _Worked],
        after: Mapping[str, set[str]] | None = None,
        skip: bool = True,
    ) -> None:
        """Run `work` on every step after those it needs. With `skip`, what needs a failed one isn't tried. What only
        comes `after` others is tried whatever becomes of them."""
        order = TopologicalSorter({one: needs[one] | (after or {}).get(one, set()) for one in needs})
        order.prepare()
        broken: dict[str, str] = {}
        running: dict[Future[_Worked], Step] = {}
        with ThreadPoolExecutor(self.client.parallel) as pool:
            try:
                while order.is_active():
                    for address in order.get_ready():
                        cause = next((one for one in sorted(needs[address]) if one in broken), None)
                        if cause is not None and skip:
                            self.end(Outcome(steps[address], Result.SKIPPED, f"needs {cause}, which failed"))
                            broken[address] = cause
                            order.done(address)
                        else:
                            running[pool.submit(work, steps[address])] = steps[address]
                    for future in wait(running, return_when=FIRST_COMPLETED).done if running else ():
                        step = running.pop(future)
                        outcome = _outcome(step, future)
                        if outcome.result is not Result.DONE:
                            broken[step.address] = step.address
                        self.end(outcome)
                        order.done(step.address)
            except KeyboardInterrupt:
                self._stop(steps, running)

    def _stop(self, steps: Mapping[str, Step], running: Mapping[Future[Any], Step]) -> None:
        """Let the calls that are under way come to their end, so that it is known what they did; begin no others."""
        self.client.stop.set()
        for future, step in running.items():
            self.end(Outcome(step, Result.SKIPPED, STOPPED) if future.cancel() else _outcome(step, future))
        ended = {outcome.step.address for outcome in self.outcomes}
        for address in sorted(set(steps) - ended):
            self.end(Outcome(steps[address], Result.SKIPPED, STOPPED))

    def bring_about(self, step: Step) -> _Worked:
        """Create, change or replace; answers what is worth telling, and the id."""
        resource = step.resource
        assert resource is not None
        if resource.kind == "percentiles":
            switch_on_percentiles(self.client, metric_of(resource))
            return _Worked()
        body = request_body(resource, self.ids)
        if step.action is Action.CHANGE:
            # Twins, too: what differs from its original would pass for a copy that somebody made.
            told = [self._update(found, body) for found in step.found]
            return _Worked(told[0], step.found[0].id)
        if step.action is Action.REPLACE:
            # The other way round, a run that is killed in between would leave two with one key.
            for found in step.found:
                delete(self.client, found, force=True)
        return self._create(resource, body)

    def remove(self, step: Step) -> _Worked:
        """Delete everything that a step found."""
        for found in step.found:
            try:
                delete(self.client, found)
            except Refused as error:
                if found.kind == "slo" and error.status == 409:
                    raise Refused(f"{error.words}; {IN_USE}", error.status) from None
                raise
        return _Worked()

    def _update(self, found: Found, body: Mapping[str, Any]) -> str:
        """Answers what is worth telling."""
        try:
            update(self.client, found, body)
        except Refused as error:
            older = without_missing_data(found.kind, body, error)
            if older is None:
                raise
            update(self.client, found, older)
            return OLDER
        return ""

    def _put_right(self, found: Found, body: Mapping[str, Any]) -> None:
        """Update what the plan did not know of, where it differs. It keeps the tags that are left to others."""
        kept = with_others_tags(found.kind, body, found.body, self.ignore_tags)
        if differences(found.kind, kept, found.body):
            self._update(found, kept)

    def _create(self, resource: Resource, body: Mapping[str, Any]) -> _Worked:
        told = ""
        for attempt in range(ATTEMPTS):
            try:
                made = create(self.client, resource.kind, body)
            except Refused as error:
                older = without_missing_data(resource.kind, body, error)
                if older is not None and attempt < ATTEMPTS - 1:
                    body, told = older, OLDER
                    continue
                if resource.kind == "downtime" and DUPLICATE_DOWNTIME.search(error.words):
                    same = look_up(self.client, resource.kind, resource.key, self.stack)
                    if not same:
                        raise
                    return _Worked("another run planned it at the same time", same[0].id, was_there=True)
                twin = self._twin(resource, body, error)
                if twin is None:
                    raise
                return self._adopt(resource, body, twin)
            except Unsure as error:
                self.client.sleep(self.client.pause * 2**attempt)
                there = look_up(self.client, resource.kind, resource.key, self.stack)
                if there:
                    self.made[resource.address] = there[0]
                    return _Worked(f"created, though the answer was lost ({error})", there[0].id)
                self.unanswered.add(resource.address)
                if attempt == ATTEMPTS - 1:
                    raise
            else:
                self.made[resource.address] = made
                return self._original(resource, body, made, told)
        raise AssertionError("every attempt returns or raises")

    def _original(self, resource: Resource, body: Mapping[str, Any], made: Found, told: str) -> _Worked:
        """What stays of what was just made and what another run, or a create whose answer was lost, made under the
        same key: the oldest, which all runs agree about. Datadog itself refuses a monitor that is there already, so
        monitors are only looked at in the end, all at once."""
        if resource.kind == "monitor":
            return _Worked(told, made.id)
        for attempt in range(ATTEMPTS):
            there = look_up(self.client, resource.kind, resource.key, self.stack)
            known = (
                there if any(one.id == made.id for one in there) else sorted((*there, made), key=lambda one: one.age)
            )
            oldest = known[0]
            rivals = [one for one in known[1:] if one.age[0] == oldest.age[0]]
            if oldest.id != made.id:
                break
            if not rivals:
                return _Worked(told, made.id)
            # Times are in seconds where an SLO tells them. The other run goes, if it saw ours.
            self.client.sleep(self.client.pause * 2**attempt)
        else:
            oldest = rivals[0]
        delete(self.client, made, force=True)
        self.made[resource.address] = oldest
        self._put_right(oldest, body)
        text = f"another run made it at the same time, {oldest.id}; that of this run was taken away"
        return _Worked(text, oldest.id, was_there=True)

    def clear_up(self, steps: Mapping[str, Step]) -> None:
        """Look for what shares a key with what this run made and showed only after it had looked: monitors that another
        run made otherwise, and what a create made whose answer never came. What is younger goes."""
        late = self.unanswered & set(self.made)
        looked_for = {address for address in self.made if address.startswith("monitor:")} | late
        for attempt in range(ATTEMPTS if late else 1):
            for kind in KINDS:
                some = [steps[one] for one in sorted(looked_for) if steps[one].kind == kind]
                if some and not self.client.stop.is_set():
                    self._look_again(kind, some, self.client.pause * 2**attempt if late else 0)
            looked_for = late

    def _look_again(self, kind: str, steps: Sequence[Step], pause: float) -> None:
        try:
            self.client.sleep(pause)
            there = read_stack(self.client, kind, self.stack)
            for step in steps:
                same = sorted((one for one in there if one.address == step.address), key=lambda one: one.age)
                self._keep_oldest(step, same)
        except ProvisionError as error:
            for step in steps:
                self.end(Outcome(step, Result.FAILED, f"made, but whether there is a twin isn't known: {error}"))

    def _keep_oldest(self, step: Step, same: Sequence[Found]) -> None:
        own = self.ids.get(step.address)
        if not any(one.id == own for one in same[1:]):
            for one in same[1:]:
                if alike(one.kind, same[0].body, one.body):
                    delete(self.client, one)
            return
        # What holds the id of ours would be left without it: then the API refuses to delete it, and says so.
        delete(self.client, next(one for one in same if one.id == own))
        self.end(
            Outcome(
                step,
                Result.FAILED,
                f"another run made {same[0].id} at the same time; that of this run was taken away: run again",
            )
        )

    def _twin(self, resource: Resource, body: Mapping[str, Any], error: Refused) -> str | None:
        """The id of the monitor that the API takes for the same."""
        if resource.kind != "monitor":
            return None
        if match := DUPLICATE.search(error.words):
            return match.group(1)
        if not DUPLICATES.search(error.words):
            return None
        # The API doesn't tell the id any more once it has told a few.
        ours = view("monitor", body)
        same = [
            str(one["id"])
            for one in self.client.call(self.client.monitors.list_monitors, name=body["name"])
            if all(view("monitor", one)[name] == ours[name] for name in ("name", "type", "query"))
        ]
        return same[0] if len(same) == 1 else None

    def _adopt(self, resource: Resource, body: Mapping[str, Any], identity: str) -> _Worked:
        """Make a twin ours, unless somebody else's mark is on it: `managed_by` of another tool, or a key of ours that
        another resource of this plan has."""
        found = read_one(self.client, "monitor", identity)
        others = marks_of_others(found.body, self.stack)
        if found.key not in ("", resource.key) and found.address in self.wanted:
            others.append(f"{KEY_TAG}:{found.key}")
        if others:
            raise ProvisionError(
                f"monitor {identity} is the same but belongs to somebody else ({', '.join(others)}); delete it there, "
                "or give ours another name, scope or threshold"
            )
        self._put_right(found, body)
        was_ours = (found.stack, found.key) == (self.stack, resource.key)
        text = "" if was_ours else f"adopted monitor {identity}, which was the same"
        return _Worked(text, identity, was_there=resource.address not in self.unanswered)


def _outcome(step: Step, future: Future[_Worked]) -> Outcome:
    try:
        done = future.result()
    except Waiting as error:
        return Outcome(step, Result.WAITS, str(error))
    except Stopped as error:
        return Outcome(step, Result.SKIPPED, str(error))
    except ProvisionError as error:
        return Outcome(step, Result.FAILED, str(error))
    return Outcome(step, Result.DONE, *done)


def without_missing_data(kind: str, body: Mapping[str, Any], error: Refused) -> dict[str, Any] | None:
    """The body as accounts take it that refuse `on_missing_data` on monitors of metrics, with a tag that says so; None
    where that isn't why it was refused. What is counted then ends by `timeout_h`, some hours later."""
    options = body.get("options") or {}
    if kind != "monitor" or "on_missing_data" not in options or "on_missing_data" not in error.words:
        return None
    older = {name: value for name, value in options.items() if name != "on_missing_data"}
    tags = [*(body.get("tags") or ()), OLDER_FORM_TAG]
    return {**body, "tags": tags, "options": {**older, "notify_no_data": False}}


def _order_of_deletion(steps: Sequence[Step]) -> dict[str, set[str]]:
    """What has to go before each: whatever holds its id. The API refuses to delete what others refer to."""
    texts = {step.address: " ".join(_texts(step)) for step in steps}
    needs = {
        step.address: {
            other
            for other, text in texts.items()
            if other != step.address
            and any(re.search(rf"(?<!\w){re.escape(one.id)}(?!\w)", text) for one in step.found)
        }
        for step in steps
    }
    try:
        TopologicalSorter(needs).prepare()
    except CycleError:
        return {address: set() for address in needs}
    return needs


def _texts(step: Step) -> Iterator[str]:
    for found in step.found:
        fields = ("query", "monitor_ids", "widgets", "filter")
        yield json.dumps([found.body.get(name) for name in fields])
