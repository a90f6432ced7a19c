"""What a values or a routing file says that may be meant, and seldom is: warnings, where mistakes are refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any

from .audience import Route
from .document import Node
from .packs.queries import read_condition
from .query.filters import keyless
from .routing import Routing
from .values import Values

SERVICES = (
    *("slack", "pagerduty", "teams", "webhook", "opsgenie", "oncall", "team", "case", "workflow", "incident", "jira"),
    *("servicenow", "victorops", "hangouts", "sns", "awseventbridge", "zendesk"),
)
"""What a handle that is no address begins with, and `-` behind it, by the documentation of Datadog's integrations."""

WHOLE = ("pagerduty", "opsgenie", "victorops", "all")
"""Handles without a name behind them: all services of an integration, or all users of the account."""


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
            if one.name == "scope" and value:
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
