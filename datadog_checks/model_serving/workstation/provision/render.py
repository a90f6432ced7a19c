"""Plans and their outcome, for people and as JSON."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text

from ...http.redact import printable
from .apply import Outcome, Result
from .model import attributes
from .normalise import FieldChange
from .plan import Action, Plan, Step, unknown_yet

SIGNS = {
    Action.CREATE: ("+", "green"),
    Action.CHANGE: ("~", "yellow"),
    Action.REPLACE: ("-/+", "red"),
    Action.DELETE: ("-", "red"),
    Action.UNCHANGED: (" ", "dim"),
    Action.WAIT: (".", "cyan"),
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
    (Action.ORPHANED, "orphaned"),
    (Action.CONFLICT, "in conflict"),
    (Action.FOREIGN, "not ours"),
)
PAST = {Action.CREATE: "created", Action.CHANGE: "changed", Action.REPLACE: "replaced", Action.DELETE: "deleted"}
LONGEST = 200
# Whom a message notifies.
HANDLE = re.compile(r"(?<!\S)@[\w@.-]+")


def plan_text(plan: Plan, *, unchanged: bool = False) -> Text:
    """The plan, one paragraph per resource. Those that are as they should be are only counted, unless asked for."""
    text = Text()
    for step in plan.steps:
        if step.action is Action.UNCHANGED and not unchanged:
            continue
        sign, style = SIGNS[step.action]
        text.append(f"{sign:>3} ", style)
        text.append(printable(step.address), "bold")
        text.append(f"  {printable(headline(step))}\n")
        for line in _details(step):
            text.append(f"      {printable(line)}\n")
    text.append(summary(plan))
    return text


def headline(step: Step) -> str:
    """What happens to one resource, in a line."""
    ids = ", ".join(found.id for found in step.found)
    title = f"{json.dumps(step.title, ensure_ascii=False)} " if step.title else ""
    known = f"{title}(id {ids})" if ids and step.kind != "percentiles" else title.rstrip()
    extra = {
        Action.CREATE: "new",
        Action.CHANGE: "changes; resets the state of its groups, since the query changes" if step.resets else "changes",
        Action.REPLACE: "is replaced, since its type can't change: a new id, and its history is lost",
        Action.DELETE: "is deleted",
        Action.UNCHANGED: "unchanged",
        Action.WAIT: "waits: the account has not received this metric lately, so there is nothing to switch on yet",
        Action.ORPHANED: "is ours but no longer wanted; --prune deletes it",
        Action.CONFLICT: "can't be told what is meant",
        Action.FOREIGN: "isn't ours and is left alone",
    }[step.action]
    return f"{known} {extra}".strip()


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
        "version": 1,
        "site": site,
        "differs": plan.differs,
        "counts": {str(action): count for action, count in plan.counts().items()},
        "steps": [
            {
                "address": step.address,
                "kind": step.kind,
                "action": str(step.action),
                "name": step.title,
                "ids": [found.id for found in step.found],
                "note": step.note,
                "resets_group_state": step.resets,
                "changes": [{"path": one.path, "old": one.old, "new": one.new} for one in step.changes],
                **({"body": step.resource.body} if step.resource and step.action is Action.CREATE else {}),
            }
            for step in plan.steps
        ],
    }


def outcome_text(outcomes: Sequence[Outcome], waiting: Sequence[str] = ()) -> Text:
    """What was done, and at the end what was not and why. `waiting` are addresses of what can't work yet."""
    text = Text()
    done = [one for one in outcomes if one.result is Result.DONE]
    for one in done:
        if one.text:
            text.append(f"  {_told(one)}\n")
    counts = {action: sum(one.step.action is action for one in done) for action in PAST}
    shown = ", ".join(f"{count} {PAST[action]}" for action, count in counts.items() if count) or "nothing"
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


def _details(step: Step) -> Iterator[str]:
    if step.note:
        yield step.note
    if step.action is Action.CONFLICT:
        for found in step.found:
            yield f"id {found.id}"
    for change in step.changes:
        yield from _change(change)
    if step.action is Action.CREATE and step.resource is not None:
        yield from _new(step.kind, attributes(step.resource.body))


def _new(kind: str, body: Mapping[str, Any]) -> Iterator[str]:
    """What something new watches, from when on it alerts, and who hears of it; its other fields are in the JSON."""
    if kind == "monitor":
        yield str(body["query"])
        tags = [tag for tag in body.get("tags", ()) if tag.startswith(("severity:", "team:"))]
        thresholds = body.get("options", {}).get("thresholds", {})
        told = sorted(set(HANDLE.findall(body.get("message", ""))))
        shown = [f"{name} {value:g}" for name, value in thresholds.items() if name in ("critical", "warning")]
        yield from filter(None, [", ".join([*shown, *tags, *told])])
    elif kind == "slo":
        query = body.get("query") or {}
        yield from (f"{part}: {query[part]}" for part in ("numerator", "denominator") if part in query)
        if slice_ := body.get("sli_specification", {}).get("time_slice"):
            queries = ", ".join(one["query"] for one in slice_["query"]["queries"])
            yield f"{queries} {slice_['comparator']} {slice_['threshold']:g}"
        yield ", ".join(f"{one['target']:g} % in {one['timeframe']}" for one in body.get("thresholds", ()))
    elif kind == "dashboard":
        yield f"{sum(1 for _ in _widgets(body))} widgets"
    elif kind == "notification_rule":
        wanted = body.get("filter", {})
        yield f"{wanted.get('scope') or _value(wanted.get('tags'))} to {', '.join(_recipients(body))}"


def _widgets(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Those of a dashboard, and of its groups, without the groups themselves."""
    for widget in body.get("widgets", ()):
        definition = widget["definition"]
        yield from _widgets(definition) if definition.get("type") == "group" else (definition,)


def _recipients(body: Mapping[str, Any]) -> list[str]:
    conditions = (body.get("conditional_recipients") or {}).get("conditions", ())
    return sorted({*body.get("recipients", ()), *(one for each in conditions for one in each["recipients"])})


def _change(change: FieldChange) -> Iterator[str]:
    old, new = change.old, change.new
    if isinstance(old, str) and isinstance(new, str) and ("\n" in old or "\n" in new):
        yield f"{change.path}:"
        for line in difflib.ndiff(old.splitlines(), new.splitlines()):
            if line[:2] in ("- ", "+ "):
                yield f"  {line}"
        return
    yield f"{change.path}: {_value(old)} -> {_value(new)}{' (known after apply)' if unknown_yet(new) else ''}"


def _value(value: Any) -> str:
    if value is None:
        return "(nothing)"
    if isinstance(value, dict) and isinstance(value.get("definition"), dict):
        definition = value["definition"]
        return f"widget {definition.get('type')} {json.dumps(definition.get('title') or '', ensure_ascii=False)}"
    text = json.dumps(value, ensure_ascii=False)
    return text if isinstance(value, str) or len(text) <= LONGEST else f"{text[:LONGEST]}..."
