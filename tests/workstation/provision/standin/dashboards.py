"""Dashboards, v1."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

from .account import USER, Account, Json, Refusal, Request, now
from .routes import operation

MODEL = "v1.dashboard.Dashboard"
LISTED = (
    "id",
    "title",
    "description",
    "author_handle",
    "layout_type",
    "url",
    "is_read_only",
    "created_at",
    "modified_at",
)
OPTIONAL = ("tags", "reflow_type", "template_variable_presets", "tabs", "default_timeframe")
PAGE = 100
ALPHABET = "abcdefghijklmnopqrstuvwxyz23456789"


@operation("GET", "/api/v1/dashboard", "ListDashboards", "dashboards_read")
def list_all(account: Account, request: Request) -> Json:
    """Summaries: neither widgets nor tags."""
    if request.flag("filter[deleted]") or request.flag("filter[shared]"):
        return {"dashboards": []}
    start = request.number("start", 0) or 0
    count = request.number("count", PAGE, low=1) or PAGE
    boards = list(account.state.dashboards.values())[start:][:count]
    return {"dashboards": [{field: board[field] for field in LISTED} for board in boards]}


@operation("POST", "/api/v1/dashboard", "CreateDashboard", "dashboards_write", body=MODEL)
def create(account: Account, request: Request) -> Json:
    _check(request.body)
    chance = account.state.chance
    identity = "-".join("".join(chance.choices(ALPHABET, k=3)) for _ in range(3))
    moment = now()
    board = _board(account, request.body, {"id": identity, "created_at": moment, "modified_at": moment})
    account.state.dashboards[identity] = board
    return board


@operation("GET", "/api/v1/dashboard/{dashboard_id}", "GetDashboard", "dashboards_read")
def get(account: Account, request: Request) -> Json:
    identity = request.path["dashboard_id"]
    if identity not in account.state.dashboards:
        raise Refusal(404, f"Dashboard with ID {identity} not found")
    return account.state.dashboards[identity]


@operation("PUT", "/api/v1/dashboard/{dashboard_id}", "UpdateDashboard", "dashboards_write", body=MODEL)
def update(account: Account, request: Request) -> Json:
    """The dashboard is replaced as a whole, but for its layout."""
    old = get(account, request)
    _check(request.body)
    if request.body["layout_type"] != old["layout_type"]:
        raise Refusal(
            400,
            "'layout_type' is not editable for existing dashboards. This dashboard uses "
            f"'{old['layout_type']}' layout.",
        )
    board = _board(account, request.body, {"id": old["id"], "created_at": old["created_at"], "modified_at": now()})
    account.state.dashboards[old["id"]] = board
    return board


@operation("DELETE", "/api/v1/dashboard/{dashboard_id}", "DeleteDashboard", "dashboards_write")
def delete(account: Account, request: Request) -> Json:
    identity = get(account, request)["id"]
    del account.state.dashboards[identity]
    return {"deleted_dashboard_id": identity}


def _check(body: Json) -> None:
    tags = body.get("tags") or []
    if any(tag.partition(":")[0] != "team" or not tag.partition(":")[2] for tag in tags):
        raise Refusal(400, "Invalid tag format. Tag key must be `team`.")
    variables = body.get("template_variables") or []
    names = [variable["name"] for variable in variables]
    both = any(variable.get("default") is not None and "defaults" in variable for variable in variables)
    if both or len(set(names)) < len(names) or any("" in (variable.get("defaults") or ()) for variable in variables):
        raise Refusal(400, "'template_variables' is invalid")
    reflow = body.get("reflow_type")
    if reflow and body["layout_type"] != "ordered":
        raise Refusal(400, "'reflow_type' is only for the layout type 'ordered'")
    placed = ["layout" in widget for widget in body["widgets"]]
    if (reflow == "fixed" or body["layout_type"] == "free") and not all(placed):
        raise Refusal(400, "'widgets' is invalid: every widget needs a layout")
    if reflow == "auto" and any(placed):
        raise Refusal(400, "'widgets' is invalid: a widget has a layout, and the dashboard flows by itself")
    for widget in _widgets(body):
        if widget["definition"]["type"] == "group" and any(
            inner["definition"]["type"] == "group" for inner in widget["definition"]["widgets"]
        ):
            raise Refusal(400, "'widgets' is invalid: a group cannot hold a group")


def _board(account: Account, body: Json, own: Json) -> Json:
    given = copy.deepcopy(body)
    for widget in _widgets(given):
        widget.setdefault("id", account.state.chance.randrange(10**15, 10**16))
    slug = re.sub(r"-+", "-", re.sub(r"[^a-z0-9 -]", "", given["title"].lower()).replace(" ", "-"))[:80]
    return {
        "id": own["id"],
        "title": given["title"],
        "description": given.get("description"),
        "author_handle": USER["handle"],
        "author_name": USER["name"],
        "layout_type": given["layout_type"],
        "url": f"/dashboard/{own['id']}/{slug}",
        "is_read_only": given.get("is_read_only", False),
        "template_variables": given.get("template_variables"),
        "widgets": given["widgets"],
        "notify_list": given.get("notify_list"),
        "restricted_roles": given.get("restricted_roles", []),
        "created_at": own["created_at"],
        "modified_at": own["modified_at"],
        **{name: given[name] for name in OPTIONAL if given.get(name) is not None},
    }


def _widgets(holder: Json) -> Iterator[Json]:
    for widget in holder["widgets"]:
        yield widget
        inner: Any = widget["definition"]
        if inner["type"] == "group":
            yield from _widgets(inner)
