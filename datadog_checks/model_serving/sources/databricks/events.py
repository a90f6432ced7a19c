"""What has become of a serving endpoint between two looks at its description, as Datadog events."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

from ...catalog.plain_text import plain_text
from ...scrape.tags import CONTROL
from .description import MAX_ENTITIES, STOPPED, UPDATES, EndpointDescription, ServedEntity

Version = tuple[str, str]
"""A model's name and one of its versions."""

READY = "DEPLOYMENT_READY"
BROKEN = {"DEPLOYMENT_FAILED": ("failed", "error"), "DEPLOYMENT_ABORTED": ("was aborted", "warning")}
ENDS = {"UPDATE_FAILED": ("failed", "error"), "UPDATE_CANCELED": ("canceled", "warning")}
STARTING = "STARTING"
"""What `halt` is from the start of an endpoint that was stopped until it is ready, or that has failed."""

MAX_TITLE = 300
MAX_EVENT_TEXT = 3500
"""Datadog refuses events of more than 4000 characters."""


@dataclass(frozen=True, slots=True)
class ReportedState:
    """What was reported of an endpoint.

    `version` and `update` are those of the last look; `under_way` says that an update is going on whose end is still
    to be reported, `target` the version that it is to bring. `serving` are the versions that serve; `retired` those
    that ceased to and for which no successor was reported yet. `broken` are deployments that failed: served entity,
    model, version, state. `unseen` says that only the list has shown the endpoint, as a new one. `halt` is `STOPPED`,
    `STARTING` or empty.
    """

    version: int | None = None
    update: str = ""
    under_way: bool = False
    target: int | None = None
    serving: tuple[Version, ...] = ()
    retired: tuple[Version, ...] = ()
    broken: tuple[tuple[str, str, str, str], ...] = ()
    unseen: bool = False
    halt: str = ""

    def as_json(self) -> list[Any]:
        """The fields in order."""
        return list(astuple(self))


@dataclass(frozen=True, slots=True)
class EndpointChange:
    """Something that is reported once. `kind` is the value of the event's `change` tag."""

    kind: str
    alert: str
    title: str
    text: str
    entities: tuple[ServedEntity, ...]


def since(
    before: ReportedState | None, endpoint: EndpointDescription, new: bool = False
) -> tuple[ReportedState | None, list[EndpointChange]]:
    """What to remember of an endpoint, and what is to be reported of it now.

    The first look only remembers, but for the versions that a `new` endpoint serves. What the list says is too little
    to report anything.
    """
    first = before is None or before.unseen
    new = first and (new or before is not None)
    if not endpoint.detailed:
        return (ReportedState(unseen=True) if new else before), []
    after, changes = _update(ReportedState() if before is None else replace(before, unseen=False), endpoint)
    ends = [change for change in changes if change.kind != "update_began"]
    begun = [change for change in changes if change.kind == "update_began"]
    after, halted = _halted(after, endpoint, before is not None and before.update == "IN_PROGRESS")
    started: list[EndpointChange] = []
    broken: list[EndpointChange] = []
    # What is said of replicas that somebody has taken away is neither a deployment nor a fault.
    if after.halt != STOPPED:
        after, started = _serving(after, endpoint)
    if not after.halt:
        after, broken = _broken(after, endpoint)
    if first:
        return after, started if new else []
    return after, [*ends, *halted, *started, *broken, *begun]


def event(change: EndpointChange, name: str, workspace: str, tags: Sequence[str]) -> dict[str, Any]:
    """The Datadog event for a change of the endpoint `name`. `tags` are those of everything said of the endpoint."""
    apart = hashlib.sha256(workspace.encode()).hexdigest()[:8] if workspace else ""
    own = dict.fromkeys(tag for entity in change.entities for tag in entity.tags())
    return {
        "timestamp": int(time.time()),
        "event_type": f"databricks_{change.kind}",
        "source_type_name": "model_serving",
        "msg_title": plain_text(change.title[:MAX_TITLE]),
        "msg_text": plain_text(change.text[:MAX_EVENT_TEXT]),
        "alert_type": change.alert,
        "priority": "normal",
        # Datadog takes keys of up to 100 characters.
        "aggregation_key": "-".join(part for part in ("databricks", CONTROL.sub("_", name)[:80], apart) if part),
        "tags": [*tags, *own, f"change:{change.kind}"],
    }


def recalled(text: str) -> dict[str, ReportedState]:
    """What was remembered by endpoint. An entry that can't be read is left out, and counts as never seen.

    Raises ValueError, or RecursionError, where the whole can't be read.
    """
    kept = json.loads(text or "{}")
    if not isinstance(kept, dict):
        raise ValueError("it holds no endpoints")
    read = ((name, _remembered(entry)) for name, entry in kept.items())
    return {name: remembered for name, remembered in read if remembered is not None}


def _remembered(entry: Any) -> ReportedState | None:
    try:
        # Older ones end before `halt`.
        version, update, under_way, target, serving, retired, broken, unseen, halt = [*entry, ""][:9]
        numbers = all(number is None or type(number) is int for number in (version, target))
        if not numbers or update not in ("", *UPDATES) or {type(under_way), type(unseen)} != {bool}:
            return None
        if halt not in ("", STOPPED, STARTING):
            return None
        pairs = [tuple((str(model), str(of)) for model, of in pairs) for pairs in (serving, retired)]
        quads = tuple((str(entity), str(model), str(of), str(state)) for entity, model, of, state in broken)
        return ReportedState(version, update, under_way, target, pairs[0], pairs[1], quads, unseen, halt)
    except (ValueError, TypeError):
        return None


def _update(before: ReportedState, endpoint: EndpointDescription) -> tuple[ReportedState, list[EndpointChange]]:
    """How configuration updates went. Their ends come before a beginning."""
    update, aim = endpoint.update or before.update, endpoint.pending_version
    version = before.version if endpoint.config_version is None else endpoint.config_version
    under_way, target, changes = before.under_way, before.target, []
    ended = ENDS.get(update)
    moved = version != before.version
    if moved and not (ended and under_way and target in (None, version)):
        changes.append(_finished(endpoint, version))
        under_way = False
    if update == "IN_PROGRESS":
        # A configuration may be in force a moment before the state says that the update is over.
        early = not under_way and before.update == update and aim in (None, version)
        known = under_way and (aim in (None, target) or target is None)
        if not early and not known:
            changes.append(_began(endpoint, version))
            under_way, target = True, None
        target = target if aim is None else aim
    elif ended:
        another = None not in (aim, target) and aim != target
        if under_way or update != before.update or moved or another:
            changes.append(_ended(endpoint, *ended))
        under_way, target = False, target if aim is None else aim
    elif update == "NOT_UPDATING":
        if under_way:
            changes.append(_finished(endpoint, version))
        under_way, target = False, None
    return replace(before, version=version, update=update, under_way=under_way, target=target), changes


def _serving(before: ReportedState, endpoint: EndpointDescription) -> tuple[ReportedState, list[EndpointChange]]:
    """Model versions that get requests and answer them, and did not before."""
    if not endpoint.entities and endpoint.config_version is None:
        return before, []
    called: dict[Version, list[ServedEntity]] = {}
    for entity in endpoint.entities:
        if entity.called:
            called.setdefault((entity.model_name, entity.model_version), []).append(entity)
    # One that recovers, or was called before it could answer, keeps its place.
    serving = [one for one in before.serving if one in called]
    fresh = [one for one in called if one not in serving and any(e.deployment == READY for e in called[one])]
    retired = [one for one in (*before.retired, *before.serving) if one not in serving and one not in fresh]
    retired = list(dict.fromkeys(retired))
    changes = [_started(endpoint, one, called[one], _predecessors(one, retired, called)) for one in fresh]
    replaced = {other for one in fresh for other in _predecessors(one, retired, called)}
    serving += fresh
    waiting = len(serving) < len(called)
    retired = [one for one in retired if one not in replaced] if waiting or not called else []
    return replace(before, serving=tuple(serving), retired=tuple(retired[-MAX_ENTITIES:])), changes


def _halted(
    before: ReportedState, endpoint: EndpointDescription, updated: bool
) -> tuple[ReportedState, list[EndpointChange]]:
    """Whether somebody has stopped the endpoint, or has started it again, and whether it has come up.

    A start is seen to be an update. `updated` says that one was going on when the endpoint was last looked at.
    """
    halt, changes = before.halt, []
    if endpoint.stopped:
        if halt != STOPPED:
            changes.append(_stopped(endpoint))
        halt = STOPPED
    elif halt == STOPPED and endpoint.suspend:
        changes.append(_restarted(endpoint))
        halt = STARTING
    over = endpoint.ready == "READY" or endpoint.update in ENDS or (updated and endpoint.update != "IN_PROGRESS")
    if halt == STARTING and over:
        halt = ""
    return replace(before, halt=halt), changes


def _predecessors(one: Version, retired: list[Version], called: Iterable[Version]) -> list[Version]:
    """Versions of the same model that one takes the place of, else those of models that are served no more."""
    models = {model for model, _ in called}
    same = [other for other in retired if other[0] == one[0]]
    return same or [other for other in retired if other[0] not in models]


def _broken(before: ReportedState, endpoint: EndpointDescription) -> tuple[ReportedState, list[EndpointChange]]:
    """Deployments that have failed, in the configuration in force or in the one that is to be."""
    if not endpoint.entities and not endpoint.pending and endpoint.config_version is None:
        return before, []
    found = {
        (entity.name, entity.model_name, entity.model_version, entity.deployment): entity
        for entity in (*endpoint.entities, *endpoint.pending)
        if entity.deployment in BROKEN
    }
    changes = [_failed(endpoint, entity) for key, entity in found.items() if key not in before.broken]
    return replace(before, broken=tuple(found)), changes


def _began(endpoint: EndpointDescription, version: int | None) -> EndpointChange:
    text = f"An update of the configuration of serving endpoint {endpoint.name} began."
    if endpoint.pending:
        text += f" It is to bring{_numbered(endpoint.pending_version)}: {_listed(endpoint.pending)}."
    if version is not None:
        text += f" Version {version} serves until then."
    return EndpointChange("update_began", "info", _title(endpoint, "began"), text, endpoint.pending)


def _finished(endpoint: EndpointDescription, version: int | None) -> EndpointChange:
    text = f"Serving endpoint {endpoint.name} now has{_numbered(version)}"
    text += f": {_listed(endpoint.entities)}." if endpoint.entities else "."
    return EndpointChange("update_finished", "success", _title(endpoint, "finished"), text, endpoint.entities)


def _ended(endpoint: EndpointDescription, how: str, alert: str) -> EndpointChange:
    text = f"The update of the configuration of serving endpoint {endpoint.name} {_was(how)}."
    if endpoint.pending:
        text += f" It was to bring{_numbered(endpoint.pending_version)}: {_listed(endpoint.pending)}."
    if endpoint.entities:
        text += f" What serves:{_numbered(endpoint.config_version)}: {_listed(endpoint.entities)}."
    why = [f"{entity.name}: {entity.message}" for entity in endpoint.pending if entity.message]
    return EndpointChange(f"update_{how}", alert, _title(endpoint, _was(how)), " ".join([text, *why]), endpoint.pending)


def _started(
    endpoint: EndpointDescription, one: Version, entities: list[ServedEntity], old: list[Version]
) -> EndpointChange:
    title = f"{endpoint.name} serves {_spelt(one)}"
    text = f"Serving endpoint {endpoint.name} serves {_spelt(one)}: {_listed(entities)}."
    if old:
        text += f" It replaces {', '.join(_spelt(other, one[0]) for other in old)}."
    return EndpointChange("model_version", "success", title, text, tuple(entities))


def _failed(endpoint: EndpointDescription, entity: ServedEntity) -> EndpointChange:
    what = _spelt((entity.model_name, entity.model_version))
    how, alert = BROKEN[entity.deployment]
    title = f"{endpoint.name}: the deployment of {what} {how}"
    text = f"Served entity {entity.name} of serving endpoint {endpoint.name}, {what}, is {entity.deployment}"
    text += f": {entity.message}" if entity.message else "."
    return EndpointChange("deployment_failed", alert, title, text, (entity,))


def _stopped(endpoint: EndpointDescription) -> EndpointChange:
    text = f"Somebody has stopped serving endpoint {endpoint.name}. It answers no requests until it is started."
    return EndpointChange("stopped", "info", f"{endpoint.name} was stopped", text, ())


def _restarted(endpoint: EndpointDescription) -> EndpointChange:
    text = f"Somebody has started serving endpoint {endpoint.name}, which was stopped."
    return EndpointChange("started", "info", f"{endpoint.name} was started", text, ())


def _title(endpoint: EndpointDescription, what: str) -> str:
    return f"{endpoint.name}: configuration update {what}"


def _was(how: str) -> str:
    return "was canceled" if how == "canceled" else how


def _numbered(version: int | None) -> str:
    return " a new configuration" if version is None else f" configuration version {version}"


def _spelt(version: Version, model: str = "") -> str:
    """`main.fraud version 4`, or `version 4` where the model has been named."""
    name, number = version
    if not number:
        return name
    return f"version {number}" if name == model else f"{name} version {number}"


def _listed(entities: Sequence[ServedEntity]) -> str:
    return "; ".join(_described(entity) for entity in entities)


def _described(entity: ServedEntity) -> str:
    said = [f"served entity {entity.name}"] if entity.name else []
    said += [f"{entity.traffic:g}% of the traffic"] if entity.traffic is not None else []
    said += [" ".join(part for part in (entity.workload_type, entity.workload_size) if part)]
    details = ", ".join(part for part in said if part)
    what = _spelt((entity.model_name, entity.model_version))
    return f"{what} ({details})" if details else what
