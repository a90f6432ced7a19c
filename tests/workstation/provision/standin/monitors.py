"""Monitors, v1."""

from __future__ import annotations

import json
import re

from .account import MONITOR_OPTIONS, Account, Json, Refusal, Reply, Request, now
from .limits import DUPLICATES
from .monitor_rules import READ_ONLY, check, normalise, same_type
from .routes import operation

PAGE = 100
SEARCH_PAGE = 30
MODEL = "v1.monitor.Monitor"


@operation("GET", "/api/v1/monitor", "ListMonitors", "monitors_read")
def list_all(account: Account, request: Request) -> list[Json]:
    """Everything where neither `page` nor `id_offset` asks for a part. Tags select with AND."""
    wanted = [tag for tag in request.query.get("monitor_tags", "").split(",") if tag]
    scopes = [tag for tag in request.query.get("tags", "").split(",") if tag]
    name = request.query.get("name", "").lower()
    found = [
        monitor
        for _, monitor in sorted(account.state.monitors.items())
        if set(wanted) <= set(monitor["tags"])
        and name in monitor["name"].lower()
        and all(scope in monitor["query"] for scope in scopes)
    ]
    page = request.number("page")
    size = request.number("page_size", low=1, high=1000)
    offset = request.number("id_offset")
    if offset is not None:
        left = [monitor for monitor in found if monitor["id"] > offset]
        return left[: min(size or PAGE, -(-len(left) // 2) if account.policy.short_pages else len(left))]
    if page is None:
        return found
    return found[page * (size or PAGE) :][: size or PAGE]


@operation("POST", "/api/v1/monitor", "CreateMonitor", "monitors_write", body=MODEL)
def create(account: Account, request: Request) -> Json:
    check(account, request.body)
    body = normalise(request.body)
    identity = _identity(account, body)
    # The name is compared first: identities of thousands of monitors take long.
    others = (other for other in account.state.monitors.values() if other["name"] == body["name"])
    twin = next((other for other in others if _identity(account, other) == identity), None)
    if twin:
        allowed, headers, words = account.limits.take(DUPLICATES)
        if not allowed:
            raise Refusal(429, f"Can not create duplicate monitors: {words}", headers=headers)
        raise Refusal(400, f"Duplicate of an existing monitor_id:{twin['id']} org_id:{twin['org_id']}")
    return account.state.add_monitor(body, now())


def _identity(account: Account, monitor: Json) -> str:
    options = {**MONITOR_OPTIONS, **monitor["options"]}
    tags = [] if account.policy.duplicates_ignore_tags else sorted(monitor["tags"])
    kind = same_type(monitor["type"])
    return json.dumps([kind, monitor["name"], monitor["query"], monitor["message"], options, tags], sort_keys=True)


@operation("GET", "/api/v1/monitor/search", "SearchMonitors", "monitors_read")
def search(account: Account, request: Request) -> Json:
    """Words of the query select with AND: `tag:"key:value"`, `type:`, `title:`, `id:`, anything else in the name."""
    words = re.findall(r'(?:(tag|type|title|id|status):)?(?:"([^"]*)"|(\S+))', request.query.get("query", ""))
    found = [
        monitor
        for _, monitor in sorted(account.state.monitors.items())
        if all(_matches(monitor, field, quoted or plain) for field, quoted, plain in words)
    ]
    page = request.number("page", 0) or 0
    size = request.number("per_page", SEARCH_PAGE, low=1, high=1000) or SEARCH_PAGE
    return {
        "counts": {
            "status": [{"count": len(found), "name": "No Data"}] if found else [],
            "muted": [],
            "tag": [],
            "type": [],
        },
        "monitors": [_summary(monitor) for monitor in found[page * size :][:size]],
        "metadata": {"page": page, "page_count": -(-len(found) // size), "per_page": size, "total_count": len(found)},
    }


def _matches(monitor: Json, field: str, text: str) -> bool:
    if field == "tag":
        return text in monitor["tags"]
    if field == "id":
        return text == str(monitor["id"])
    if field == "status":
        return text.lower() == str(monitor["overall_state"]).lower()
    if field == "type":
        return text in monitor["type"] or (text == "metric" and monitor["type"] in ("metric alert", "query alert"))
    return text.lower() in str(monitor["name"]).lower()


def _summary(monitor: Json) -> Json:
    fields = ("id", "name", "query", "type", "tags", "priority", "org_id", "creator", "overall_state_modified")
    return {
        **{field: monitor[field] for field in fields},
        "status": monitor["overall_state"],
        "classification": "metric" if "alert" in monitor["type"] else "custom",
        "metrics": re.findall(r":([A-Za-z][\w.]*)\{", monitor["query"]),
        "scopes": [],
        "notifications": [
            {"handle": handle, "name": handle} for handle in re.findall(r"@([\w.-]+)", monitor["message"])
        ],
        "last_triggered_ts": None,
    }


@operation("POST", "/api/v1/monitor/validate", "ValidateMonitor", "monitors_read", body=MODEL)
def validate(account: Account, request: Request) -> Json:
    check(account, request.body)
    return {}


@operation("GET", "/api/v1/monitor/can_delete", "CheckCanDeleteMonitor", "monitors_read")
def can_delete(account: Account, request: Request) -> Json | Reply:
    listed = [part for part in request.query.get("monitor_ids", "").split(",") if part]
    if not listed or not all(part.isdigit() for part in listed):
        raise Refusal(400, "The value provided for parameter 'monitor_ids' is invalid")
    used = {number: _users(account, int(number)) for number in listed}
    errors = {number: users for number, users in used.items() if users}
    data = {"ok": [int(number) for number in listed if not used[number]]}
    return Reply(409, {"data": data, "errors": errors}) if errors else {"data": data, "errors": None}


def _users(account: Account, number: int) -> list[str]:
    composites = [
        f"monitor [{number}] is referenced in composite monitor: [{other['id']}]"
        for other in account.state.monitors.values()
        if other["type"] == "composite" and str(number) in re.findall(r"\d+", other["query"])
    ]
    slos = [
        f"monitor [{number}] is referenced in SLO: [{slo['id']}]"
        for slo in account.state.slos.values()
        if number in slo.get("monitor_ids", ())
    ]
    return composites + slos


def _monitor(account: Account, request: Request) -> Json:
    number = request.path["monitor_id"]
    found = account.state.monitors.get(int(number)) if number.isdigit() else None
    if found is None:
        raise Refusal(404, "Monitor not found")
    return found


@operation("GET", "/api/v1/monitor/{monitor_id}", "GetMonitor", "monitors_read")
def get(account: Account, request: Request) -> Json:
    return _monitor(account, request)


@operation("POST", "/api/v1/monitor/{monitor_id}/validate", "ValidateExistingMonitor", "monitors_read", body=MODEL)
def validate_existing(account: Account, request: Request) -> Json:
    _check_change(account, _monitor(account, request), request.body)
    return {}


@operation(
    "PUT",
    "/api/v1/monitor/{monitor_id}",
    "UpdateMonitor",
    "monitors_write",
    body="v1.monitor_update_request.MonitorUpdateRequest",
)
def update(account: Account, request: Request) -> Json:
    """Top-level fields that aren't sent stay; `options` is replaced as a whole. A new query resets the groups."""
    monitor = _monitor(account, request)
    changed = normalise(_check_change(account, monitor, request.body))
    if changed["query"] != monitor["query"]:
        account.state.query_edits[monitor["id"]] += 1
        monitor["overall_state"] = "No Data"
    monitor.update(changed, modified=now(), multi=" by {" in changed["query"] or ".by(" in changed["query"])
    return monitor


def _check_change(account: Account, monitor: Json, body: Json) -> Json:
    if "type" in body and same_type(body["type"]) != same_type(monitor["type"]):
        raise Refusal(400, f"Monitor type change not allowed: {monitor['type']} to {body['type']}")
    fields = (
        "name",
        "type",
        "query",
        "message",
        "tags",
        "options",
        "priority",
        "restricted_roles",
        "draft_status",
        "assets",
    )
    merged = {field: monitor[field] for field in fields}
    merged |= {name: value for name, value in body.items() if name not in READ_ONLY}
    check(account, merged)
    return merged


@operation("DELETE", "/api/v1/monitor/{monitor_id}", "DeleteMonitor", "monitors_write")
def delete(account: Account, request: Request) -> Json:
    monitor = _monitor(account, request)
    users = _users(account, monitor["id"])
    if users and not request.flag("force"):
        raise Refusal(400, *users)
    del account.state.monitors[monitor["id"]]
    return {"deleted_monitor_id": monitor["id"]}
