"""A plan in a file: what was reviewed, to be applied as it is or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...__about__ import __version__
from ...errors import DocumentError, ProvisionError
from ...http.redact import printable
from .extent import Extent
from .model import Resource, mark_of
from .plan import Action, Plan, PlanChoices, Step
from .render import plan_json, step_json

VERSION = 3
AGAIN = "make it again with `model-serving provision plan --out FILE`"

WATCHED: Mapping[str, tuple[str, ...]] = {
    "monitor": ("name", "type", "query", "message", "tags", "priority"),
    "slo": ("name", "description", "query", "monitor_ids", "sli_specification", "thresholds", "tags"),
    "dashboard": ("title", "description", "widgets", "template_variables"),
    "notification_rule": ("name", "filter", "recipients", "conditional_recipients"),
    "downtime": ("scope", "message", "monitor_identifier"),
}
"""What a person may have changed, after the review, of a resource that is to go, or to become ours."""

Clean = Callable[[str], str]
"""Takes the keys out of a text."""


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """`resources` are as they should be, marked; `steps` what was to be done, as in the file; `inputs` the digests of
    the files that it was made from, by path."""

    file: str
    site: str | None
    choices: PlanChoices
    made_by: str
    resources: tuple[Resource, ...]
    steps: tuple[Mapping[str, Any], ...]
    inputs: Mapping[str, str]


def saved_json(
    plan: Plan,
    resources: Iterable[Resource],
    site: str | None,
    inputs: Iterable[Path],
    clean: Clean,
    choices: PlanChoices,
    left_out: Mapping[str, str],
) -> dict[str, Any]:
    """A plan for a file. `inputs` are the files that decided what is wanted, `left_out` what is not, by address, and
    why. `site` is None for a plan offline.

    Raises ProvisionError where what is wanted holds a key, which a file must not.
    """
    wanted = [{"kind": one.kind, "key": one.key, "body": one.body} for one in resources]
    for one in wanted:
        if clean(text := json.dumps(one)) != text:
            raise ProvisionError(f"{one['kind']}:{one['key']} holds one of your keys: take it out of your files")
    whole = {
        **plan_json(plan, site),
        "version": VERSION,
        "made_by": __version__,
        "choices": asdict(choices),
        "inputs": {str(path): digest for path in inputs if (digest := _digest_of(path))},
        "steps": _steps(plan, clean),
        "wanted": wanted,
        "left_out": dict(left_out),
    }
    # As it is read again: a file that was edited is told by this.
    whole = json.loads(clean(json.dumps(whole)))
    return {**whole, "digest": _digest(whole)}


def load_plan(path: Path) -> SavedPlan:
    """A plan from its file. Raises DocumentError for what is no plan, or was changed since it was written."""
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DocumentError(f"{path}: the plan can't be read: {error.strerror}; check the path and rights") from None
    except ValueError:
        raise DocumentError(f"{path}: is no plan: {AGAIN}") from None
    if not isinstance(whole, dict) or "steps" not in whole or whole.get("version") != VERSION:
        raise DocumentError(f"{path}: is no plan that can be applied: {AGAIN}")
    digest = whole.pop("digest", None)
    if digest != _digest(whole):
        raise DocumentError(f"{path}: was edited, or cut off, after it was made: {AGAIN}")
    resources = tuple(Resource(one["kind"], one["key"], one["body"]) for one in whole["wanted"])
    said = whole["choices"]
    choices = PlanChoices(
        **{**said, "ignore_tags": tuple(said["ignore_tags"]), "extent": Extent.of_json(said["extent"])}
    )
    for one in resources:
        if one.kind != "percentiles" and mark_of(one.kind, one.body) != (choices.stack, one.key):
            raise DocumentError(f"{path}: {one.address} lacks our mark: {AGAIN}")
    return SavedPlan(
        file=str(path),
        site=whole["site"],
        choices=choices,
        made_by=whole["made_by"],
        resources=resources,
        steps=tuple(whole["steps"]),
        inputs=whole["inputs"],
    )


def settled(saved: SavedPlan, plan: Plan, clean: Clean) -> Plan:
    """The saved plan, where `plan`, made anew of the same resources and the account as it is now, is the same.

    Raises ProvisionError that says what has changed since: the account, or the files that the plan was made from.
    """
    stale = [*_outdated(saved), *_moved(saved.steps, _steps(plan, clean))]
    if stale:
        listed = "\n".join(f"  {printable(one)}" for one in stale)
        raise ProvisionError(f"{saved.file} is stale, so nothing was done; since it was made:\n{listed}\n{AGAIN}")
    waited = {one["address"] for one in saved.steps if one["action"] == Action.WAIT}
    # A metric that has arrived meanwhile changes nothing of what was reviewed.
    kept = (step for step in plan.steps if step.address not in waited or step.action is not Action.CREATE)
    return replace(plan, steps=tuple(kept))


def _outdated(saved: SavedPlan) -> Iterator[str]:
    if saved.made_by != __version__:
        yield f"model-serving {saved.made_by} has made it, and this is {__version__}"
    for path, digest in saved.inputs.items():
        # Where the plan was carried elsewhere without them it holds all that they said.
        now = _digest_of(Path(path))
        if now is not None and now != digest:
            yield f"{path} has changed"


def _moved(then: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What is otherwise with each resource. Of what was to be created and is there now, and of what was to be deleted
    and is gone, one stands for all: the plan may simply have been applied."""
    before, after = _by_name(then), _by_name(now)
    made = [one for one, old in before.items() if not old["ids"] and after.get(one, old)["ids"]]
    gone = [one for one, old in before.items() if old["action"] == Action.DELETE and one not in after]
    for some, was_to, now_is in ((made, "create", "there now"), (gone, "delete", "gone")):
        if some:
            ids = ", ".join((after.get(some[0]) or before[some[0]])["ids"])
            others = f" and {len(some) - 1} others that it was to {was_to} are" if some[1:] else " is"
            yield f"{some[0]} (id {ids}){others} {now_is}: it may have been applied already"
    for address in dict.fromkeys((*before, *after)):
        old, new = before.get(address), after.get(address)
        if old is None:
            assert new is not None
            yield f"{address} has come (id {', '.join(new['ids'])})"
        elif new is None:
            if address not in gone:
                yield f"{address} is gone"
        elif new["action"] == Action.OVER != old["action"]:
            yield f"{address} {new['note']}"
        elif address in made or (old["action"] == Action.WAIT and new["action"] == Action.CREATE):
            continue
        elif old["ids"] != new["ids"]:
            was, has = (", ".join(one["ids"]) or "none" for one in (old, new))
            yield f"{address} is another: id {was} before, {has} now"
        elif old["action"] != new["action"] or old["changes"] != new["changes"] or old["was"] != new["was"]:
            fields = [one["path"] for one in (*new["changes"], *old["changes"]) if one not in old["changes"]]
            fields = fields or [one["path"] for one in old["changes"] if one not in new["changes"]]
            what = f"in {', '.join(dict.fromkeys(fields))}" if fields else "in the account"
            yield f"{address} was changed {what}"


def _by_name(steps: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """By address, the twins of one apart, without what is no business of this stack."""
    found: dict[str, Mapping[str, Any]] = {}
    for step in steps:
        if step["action"] != Action.FOREIGN:
            name = str(step["address"])
            found[f"the twin of {name}" if name in found else name] = step
    return found


def _steps(plan: Plan, clean: Clean) -> list[dict[str, Any]]:
    steps = [{**step_json(step), "was": _was(step)} for step in plan.steps]
    found: list[dict[str, Any]] = json.loads(clean(json.dumps(steps)))
    return found


def _was(step: Step) -> str:
    """A digest of what is to be taken away, or over from a person; what is only changed is told by its changes."""
    if step.action not in (Action.DELETE, Action.REPLACE) and not step.adopted:
        return ""
    return _digest([{name: one.body.get(name) for name in WATCHED.get(one.kind, ())} for one in step.found])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _digest_of(path: Path) -> str | None:
    """That of a file, None where there is none, as with a pipe."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
    except OSError:
        return None
