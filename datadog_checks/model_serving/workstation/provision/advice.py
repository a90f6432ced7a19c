"""What a values or a routing file says that may be meant, and seldom is: warnings, where mistakes are refused; and the
place in the values file that a problem of a query comes from."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from typing import Any

from .audience import Route
from .document import Node
from .model import Resource
from .packs import MonitorEntry
from .packs.queries import keys_of, read_condition
from .packs.slos import slug
from .query.filters import CONTRADICTION, keyless
from .query.problems import Problem
from .query.tree import Tag, leaves
from .routing import Routing
from .values import MonitorValues, Values

SERVICES = (
    *("slack", "pagerduty", "teams", "webhook", "opsgenie", "oncall", "team", "case", "workflow", "incident", "jira"),
    *("servicenow", "victorops", "hangouts", "sns", "awseventbridge", "zendesk"),
)
"""What a handle that is no address begins with, and `-` behind it: what Datadog's documentation shows, and what public
monitors use. A service that is missing here costs a warning too many."""

WHOLE = ("pagerduty", "victorops", "all")
"""Handles without a name behind them: all services of an integration, or all users of the account."""

SYSTEM = "serving_system"
THRESHOLDS = ("unit/threshold", "unit/range")
"""The ids of what is wrong with a threshold."""


def advice(values: Values, routing: Routing | None) -> Iterator[str]:
    """A line for each, with the file, the place and what to write instead."""
    for path, scope in _scopes(values, ""):
        for problem in keyless(read_condition(scope)):
            yield _line(values.file, path, problem)
    if routing is None:
        return
    used = set(_receivers(routing.root))
    for name, receiver in routing.receivers.items():
        if name not in used:
            yield _line(routing.file, f"receivers.{name}", "no route names this receiver, so it hears of nothing")
        for handle in receiver.to:
            if problem := _unknown(handle):
                yield _line(routing.file, f"receivers.{name}.to", problem)


def unplanned(values: Values, resources: Collection[Resource]) -> Iterator[str]:
    """A line for each monitor that a downtime of the values names and the resources lack, and for each downtime of
    which nothing is among them."""
    planned = {one.key.partition(".")[0] for one in resources if one.kind == "downtime"}
    monitors = [f"{one.key}." for one in resources if one.kind == "monitor"]
    advice = "add their pack to `packs`, switch them on, or take it out"
    for name, said in values.downtimes.items():
        if name not in planned:
            problem = f"none of its monitors is provisioned, so it isn't planned; {advice}"
            yield _line(values.file, f"downtimes.{name}", problem)
            continue
        for index, key in enumerate(said.monitors or ()):
            # Its variants, and those that complement it, have keys that go on.
            if not any(one.startswith(f"{key}.") for one in monitors):
                problem = f"{key} isn't provisioned, so there is nothing to silence; {advice}"
                yield _line(values.file, f"downtimes.{name}.monitors[{index}]", problem)


def explained(values: Values, fed: bool, address: str, problem: Problem) -> str | None:
    """What a problem of a resource is in the values file, with its place there: a threshold, or a tag of a scope; None
    where neither is of that file.

    Where only what can be `fed` within the scope is there, it is empty of a part of a query for other systems.
    """
    kind, _, key = address.partition(":")
    if problem.id == CONTRADICTION:
        return "" if fed and f"`{SYSTEM}:" in problem.message and not _has_own_scope(values, kind, key) else None
    place = None
    if problem.id in THRESHOLDS:
        place = _of_slo(values, key) if kind == "slo" else _of_monitor(values, key) if kind == "monitor" else None
    elif problem.column is not None:
        behind = problem.text[problem.column - 1 :]
        place = next((path for path, scope in _scopes(values, "") if _is_of(scope, behind)), None)
    if place is None:
        return None
    # The scope for all meets many metrics, and one line is enough.
    whose = "what is watched" if place == "scope" else r"\1"
    return _line(values.file, place, re.sub(r"^(`[^`]+`)(?= has no tag)", whose, problem.message))


def _has_own_scope(values: Values, kind: str, key: str) -> bool:
    """Whether a scope that is not for all decides of which systems a resource is."""
    if kind == "monitor":
        entry = _entry(values, key)
        if entry is not None and not entry.slo:
            variants = [(values.monitors.get(one) or MonitorValues()).variants for one in (entry.origin, entry.base)]
            scopes = [some[entry.variant].scope for some in variants if some and entry.variant in some]
            return values.own(entry, "scope")[0] is not None or any(_names_system(one) for one in scopes)
        key = entry.slo if entry is not None else key
    return any(
        said.scope
        or any(key == f"{name}.{slug(part)}" and _names_system(one.scope) for part, one in said.variants.items())
        for name, said in values.slos.items()
        if _begins(key, name)
    )


def _names_system(scope: str | None) -> bool:
    return SYSTEM in keys_of(read_condition(scope or "*"))


def _is_of(scope: str, text: str) -> bool:
    """Whether a text begins with a tag of the scope."""
    condition = read_condition(scope)
    keys = keys_of(condition)
    tags = {f"{leaf.key}:{leaf.value}" for leaf in leaves(condition) if isinstance(leaf, Tag) and leaf.value}
    found = re.match(r"[!\s\"]*([^\s,(){}\"]+)", text)
    return found is not None and (found[1] in tags or (":" not in found[1] and found[1] in keys))


def _of_monitor(values: Values, key: str) -> str | None:
    """Where the values file gives the threshold that is in the query of a monitor."""
    entry = _entry(values, key)
    if entry is None:
        return None
    said, path = values.own(entry, "thresholds")
    return f"{path}.critical" if said and said.get("critical") is not None and entry.part == key else None


def _of_slo(values: Values, key: str) -> str | None:
    """The same of an SLO, of one of its endpoints or of a variant."""
    name = next((name for name in values.slos if _begins(key, name)), "")
    said = values.slos.get(name)
    if said is None:
        return None
    for what, parts in (("endpoints", said.endpoints), ("variants", said.variants)):
        for part, own in parts.items():
            if key == f"{name}.{slug(part)}" and own.threshold is not None:
                return f"slos.{name}.{what}.{part}.threshold"
    return f"slos.{name}.threshold" if said.threshold is not None else None


def _entry(values: Values, key: str) -> MonitorEntry | None:
    """The monitor of a pack, or the variant of one, that has a key or a part of it."""
    entries = {one.key: one for pack in values.available.values() for one in pack.monitors}
    name = max((name for name in entries if _begins(key, name)), key=len, default="")
    if not name:
        return None
    entry = entries[name]
    variant = key.removeprefix(name).removeprefix(".").partition(".")[0]
    for base in (entry.key, entry.base):
        if variant in ((values.monitors.get(base) or MonitorValues()).variants or {}):
            return replace(entry, key=f"{name}.{variant}", origin=name, variant=variant)
    return entry


def _begins(key: str, name: str) -> bool:
    return key == name or key.startswith(f"{name}.")


def _line(file: str, path: str, problem: str) -> str:
    return str(Node(file, path, None).fail(problem))


def _scopes(part: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every scope of the values, with its place in the file."""
    if isinstance(part, Mapping):
        for key, value in part.items():
            yield from _scopes(value, f"{path}.{key}")
    elif is_dataclass(part):
        for one in fields(part):
            value = getattr(part, one.name)
            # What is said of all monitors stands at the top level.
            below = path if one.name == "everywhere" else f"{path}.{one.name}"
            if one.name in ("scope", "generative") and value:
                yield below.removeprefix("."), value
            elif one.name != "available":
                yield from _scopes(value, below)


def _receivers(route: Route) -> Iterator[str]:
    yield route.receiver
    for child in route.routes:
        yield from _receivers(child)


def _unknown(handle: str) -> str:
    """What is odd about a handle, empty for one that Datadog's documentation knows the form of."""
    service, dash, name = handle.partition("-")
    if "@" in handle or handle in WHOLE or (service in SERVICES and name):
        return ""
    near = get_close_matches(service, SERVICES, 1, 0.75) if dash and name else []
    if near:
        instead = f"did you mean `{near[0]}-{name}`?"
    elif service in SERVICES:
        instead = f"write `{service}-<name>`"
    else:
        instead = f"write `slack-{handle}`, `pagerduty-<service>`, `teams-<channel>`, `webhook-<name>` or an address"
    return f"`{handle}` is no address and begins with no service that is known, so nobody may hear; {instead}"
