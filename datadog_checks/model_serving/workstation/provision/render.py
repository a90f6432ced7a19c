"""Plans and their outcome, for people and as JSON."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any

from rich.text import Text

from ...http.redact import printable
from .apply import Outcome, Result
from .describe import Hearers, described, when
from .model import quoted, title_of
from .normalise import UNORDERED, FieldChange
from .plan import DOES, Action, Plan, Step, counted, unknown_yet

SIGNS = {
    Action.CREATE: ("+", "green"),
    Action.CHANGE: ("~", "yellow"),
    Action.REPLACE: ("-/+", "red"),
    Action.DELETE: ("-", "red"),
    Action.UNCHANGED: (" ", "dim"),
    Action.WAIT: (".", "cyan"),
    Action.OVER: (".", "dim"),
    Action.ORPHANED: ("?", "magenta"),
    Action.CONFLICT: ("!", "bold red"),
    Action.FOREIGN: ("x", "dim"),
}
SUMMARY = (
    (Action.CREATE, "to create"),
    (Action.CHANGE, "to change"),
    (Action.REPLACE, "to replace"),
    (Action.DELETE, "to delete"),
    (Action.UNCHANGED, "unchanged"),
    (Action.WAIT, "waiting"),
    (Action.OVER, "over"),
    (Action.ORPHANED, "orphaned"),
    (Action.CONFLICT, "in conflict"),
    (Action.FOREIGN, "not ours"),
)
PAST = {Action.CREATE: "created", Action.CHANGE: "changed", Action.REPLACE: "replaced", Action.DELETE: "deleted"}
LONGEST = 200
RESETS = "; resets the state of its groups, since the query changes"
SIDE_BY_SIDE = 70
"""Characters up to which the old text and the new one stand on one line."""

NOBODY = (
    "Nobody hears of these monitors: give --routing FILE, or make notification rules of your own in Datadog for "
    "integration:model-serving."
)


def plan_text(plan: Plan, *, unchanged: bool = False, brief: bool = False, width: int | None = None) -> Text:
    """The plan, one paragraph per resource, or with `brief` one line. Those that are as they should be are only
    counted, unless asked for, or there is something to know of them.

    Lines go on in the next one after `width` columns, without it they are whole.
    """
    text = Text()
    hearers = Hearers(step.resource for step in plan.steps if step.resource)
    for step in plan.steps:
        if step.action is Action.UNCHANGED and not unchanged and not step.notices:
            continue
        sign, style = SIGNS[step.action]
        text.append(f"{sign:>3} ", style)
        name = printable(step.address)
        first, *others = _lines(f"{name}  {headline(step)}", 4, width)
        text.append(name, "bold")
        text.append(f"{first.strip().removeprefix(name)}\n")
        # Of another stack there is nothing but a note, which may be what was forgotten.
        whole = not brief or step.kind == "stack"
        for line in (*others, *(_paragraph(step, hearers, width) if whole else ())):
            text.append(f"{line}\n")
    hearing = any("notification_rule" in counts for counts in plan.left_alone.values())
    if hearers.nobody and not hearing and any(step.kind == "monitor" for step in plan.having(Action.CREATE)):
        text.append("\n".join(_lines(NOBODY, 0, width, hang=0)) + "\n")
    for why, counts in plan.left_alone.items():
        text.append("\n".join(_lines(f"Left alone: {counted(counts)}, since {why}.", 0, width)) + "\n")
    text.append("\n".join(_lines(summary(plan), 0, width, hang=2)))
    return text


def left_out_text(
    left_out: Mapping[str, str], scope: str = "", *, brief: bool = False, width: int | None = None
) -> Text:
    """What nothing here feeds, or nothing within a scope, and why, by address."""
    within = f"within the scope `{scope}` of the values file" if scope else "here"
    first = f"Left out are {len(left_out)}, since nothing {within} feeds them{':' if left_out and not brief else '.'}"
    lines = [*_lines(first, 0, width)]
    for address, why in () if brief else left_out.items():
        lines += _lines(f"{address}  {why}", 4, width)
    return Text("\n".join(lines) + "\n")


def _paragraph(step: Step, hearers: Hearers, width: int | None) -> Iterator[str]:
    for line in _details(step, hearers):
        deeper = len(line) - len(line.lstrip())
        yield from _lines(line, 6 + deeper, width)


def _lines(line: str, indent: int, width: int | None, hang: int = 2) -> list[str]:
    """A line, indented, as several of this width. No word is broken: a long one has a line of its own."""
    line = printable(line).strip()
    if width is None:
        return [" " * indent + line]
    return wrap(
        line,
        max(width, indent + hang + 20),
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + hang),
        break_long_words=False,
        break_on_hyphens=False,
    ) or [""]


def headline(step: Step) -> str:
    """What happens to one resource, in a line."""
    ids = ", ".join(found.id for found in step.found)
    title = f"{quoted(step.title)} " if step.title else ""
    known = f"{title}(id {ids})" if ids and step.kind != "percentiles" else title.rstrip()
    extra = {
        Action.CREATE: "new",
        Action.CHANGE: f"{_adopted(step) or 'changes'}{RESETS if step.resets else ''}",
        Action.REPLACE: "is replaced, since its type can't change: a new id, and its history is lost"
        if step.kind != "downtime"
        else "is canceled and planned anew, since Datadog doesn't change when one starts that is or would be under way",
        Action.DELETE: "is deleted",
        Action.UNCHANGED: "unchanged",
        Action.WAIT: "waits: the account has not received this metric lately, so there is nothing to switch on yet",
        Action.OVER: "is not planned",
        Action.ORPHANED: "is ours but no longer wanted; --prune deletes it",
        Action.CONFLICT: "can't be told what is meant",
        Action.FOREIGN: "isn't ours and is left alone",
    }[step.action]
    return f"{known} {extra}".strip()


def _adopted(step: Step) -> str:
    return f"adopted: was {quoted(title_of(step.found[0].body))}" if step.adopted else ""


def summary(plan: Plan) -> str:
    """How many of each, on one line."""
    if not plan.steps:
        return "Nothing there, nothing to do."
    counts = plan.counts()
    shown = ", ".join(f"{counts[action]} {words}" for action, words in SUMMARY if counts[action])
    return f"{'Plan' if plan.differs or plan.conflicts else 'Nothing to do'}: {shown}."


def plan_json(plan: Plan, site: str | None) -> dict[str, Any]:
    """The plan for a program. `site` is None for a plan against nothing."""
    return {
        "version": 2,
        "site": site,
        "differs": plan.differs,
        "counts": {str(action): count for action, count in plan.counts().items()},
        "left_alone": [{"why": why, "counts": dict(counts)} for why, counts in plan.left_alone.items()],
        "steps": [step_json(step) for step in plan.steps],
    }


def step_json(step: Step) -> dict[str, Any]:
    """One step for a program."""
    return {
        "address": step.address,
        "kind": step.kind,
        "action": str(step.action),
        "name": step.title,
        "ids": [found.id for found in step.found],
        "note": step.note,
        "resets_group_state": step.resets,
        "changes": [{"path": one.path, "old": one.old, "new": one.new} for one in step.changes],
        "notices": list(step.notices),
        "adopted": step.adopted,
        **({"body": step.resource.body} if step.resource and step.action is Action.CREATE else {}),
    }


def outcome_text(outcomes: Sequence[Outcome], waiting: Sequence[str] = ()) -> Text:
    """What was done, and at the end what was not and why. `waiting` are addresses of what can't work yet."""
    text = Text()
    done = [one for one in outcomes if one.result is Result.DONE]
    for one in done:
        if one.text:
            text.append(f"  {_told(one)}\n")
    # What this run made and took away again has failed as well.
    failed = [id(one.step) for one in outcomes if one.result is Result.FAILED]
    stayed = [one for one in done if id(one.step) not in failed]
    counts = {
        words: sum(one.step.action is action and not one.was_there for one in stayed) for action, words in PAST.items()
    }
    counts["there by then, of another run or adopted"] = sum(one.was_there for one in stayed)
    shown = ", ".join(f"{count} {words}" for words, count in counts.items() if count) or "nothing"
    text.append(f"{'So far' if waiting else 'Done'}: {shown}.\n")
    for result, words in ((Result.FAILED, "failed"), (Result.SKIPPED, "not done")):
        some = sorted((one for one in outcomes if one.result is result), key=lambda one: one.step.address)
        if some:
            text.append(f"{len(some)} {words}:\n", "bold red")
            for one in some:
                text.append(f"  {_told(one)}\n")
    return text


def waiting_text(waiting: Sequence[str]) -> Text:
    """What can't work before the account has received data, and what to do about it."""
    text = Text()
    text.append(f"{len(waiting)} can't work yet", "bold yellow")
    text.append(", since the account has not received the metrics whose percentiles they ask for:\n")
    for address in waiting:
        text.append(f"  {printable(address)}\n")
    text.append("Apply again once the check has sent them.\n")
    return text


def validation_text(outcomes: Sequence[Outcome]) -> Text:
    """Which monitors Datadog takes, and what it says about the others."""
    text = Text()
    for one in sorted(outcomes, key=lambda one: one.step.address):
        if one.result is not Result.DONE:
            text.append(f"{one.result} ", "yellow" if one.result is Result.SKIPPED else "red")
            text.append(f"{_told(one)}\n")
    counts = {result: sum(one.result is result for one in outcomes) for result in Result}
    text.append(f"{counts[Result.DONE]} of {len(outcomes)} monitors are valid")
    if counts[Result.REFUSED]:
        text.append(f", {counts[Result.REFUSED]} refused")
    if counts[Result.FAILED] + counts[Result.SKIPPED]:
        text.append(f", {counts[Result.FAILED] + counts[Result.SKIPPED]} not checked")
    text.append(".")
    return text


def _told(outcome: Outcome) -> str:
    """One line, whatever the API says and calls things: nothing of it may pass for a line of ours."""
    return printable(f"{outcome.step.address}: {outcome.text}")


def _details(step: Step, hearers: Hearers) -> Iterator[str]:
    if step.note:
        yield step.note
    if step.action is Action.CONFLICT:
        for found in step.found:
            yield f"id {found.id}"
    for change in step.changes:
        yield from _change(change)
    if step.adopted and step.kind == "monitor" and step.resource is not None:
        lost = hearers.lost(step.found[0].body, step.resource.body)
        yield from [f"no longer notifies {', '.join(lost)}"] if lost else ()
    if step.action is Action.CREATE and step.resource is not None:
        yield from described(step.resource, hearers)
    elif step.action in DOES and step.kind == "downtime" and step.resource is not None:
        yield when(step.resource)
    yield from step.notices


def _change(change: FieldChange) -> Iterator[str]:
    old, new = change.old, change.new
    later = " (known after apply)" if unknown_yet(new) else ""
    if change.path.rpartition(".")[2] in UNORDERED and _names(old) and _names(new):
        # What is added and what is taken away says it; the rest stays.
        before, after = ([str(one) for one in some or ()] for some in (old, new))
        gone = [f"-{_name(one)}" for one in before if one not in after]
        yield f"{change.path}: {' '.join([*gone, *(f'+{_name(one)}' for one in after if one not in before)])}{later}"
        return
    if isinstance(old, str) and isinstance(new, str) and ("\n" in old or "\n" in new):
        yield f"{change.path}:"
        for line in difflib.ndiff(old.splitlines(), new.splitlines()):
            if line[:2] in ("- ", "+ "):
                yield f"  {line}"
        return
    if len(_value(old)) + len(_value(new)) <= SIDE_BY_SIDE:
        yield f"{change.path}: {_value(old)} -> {_value(new)}{later}"
        return
    yield f"{change.path}:"
    yield f"  - {_value(old)}"
    yield f"  + {_value(new)}{later}"


def _names(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(one, str | int) for one in value))


def _name(value: str) -> str:
    """As it is, or quoted where it could be taken for several."""
    return value if value and not any(char.isspace() or char in '"' for char in value) else json.dumps(value)


def _value(value: Any) -> str:
    if value is None:
        return "(nothing)"
    if isinstance(value, dict) and isinstance(value.get("definition"), dict):
        definition = value["definition"]
        return f"widget {definition.get('type')} {quoted(str(definition.get('title') or ''))}"
    text = json.dumps(value, ensure_ascii=False)
    return text if isinstance(value, str) or len(text) <= LONGEST else f"{text[:LONGEST]}..."
