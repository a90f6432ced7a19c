"""Service level objectives, v1."""

from __future__ import annotations

import json
import re
import time

from .account import USER, Account, Json, Refusal, Reply, Request
from .queries import TERM, invalid
from .routes import operation

MODEL = "v1.service_level_objective_request.ServiceLevelObjectiveRequest"
REPLACE_MODEL = "v1.service_level_objective.ServiceLevelObjective"
PAGE = 1000
TYPE_IDS = {"monitor": 0, "metric": 1, "time_slice": 2}
DEFAULT_SLICE = 300


@operation("GET", "/api/v1/slo", "ListSLOs", "slos_read")
def list_all(account: Account, request: Request) -> Json:
    ids = [part.strip() for part in request.query.get("ids", "").split(",") if part.strip()]
    name, tag = request.query.get("query", "").lower(), request.query.get("tags_query")
    metric = request.query.get("metrics_query", "")
    found = [
        slo
        for slo in account.state.slos.values()
        if (not ids or slo["id"] in ids)
        and name in slo["name"].lower()
        and (not tag or tag in slo["tags"])
        and metric in json.dumps(slo.get("query", ""))
        and not request.flag("is_deleted")
    ]
    if ids and not found:
        raise Refusal(404, f"SLO not found: {', '.join(ids)} not found")
    limit, offset = request.number("limit", PAGE, low=1, high=PAGE) or PAGE, request.number("offset", 0) or 0
    page = {"total_count": len(account.state.slos), "total_filtered_count": len(found)}
    return {"data": found[offset:][:limit], "error": None, "metadata": {"page": page}}


@operation("POST", "/api/v1/slo", "CreateSLO", "slos_write", body=MODEL)
def create(account: Account, request: Request) -> Json:
    _check(account, request.body)
    moment = int(time.time())
    slo = _slo(account, request.body, account.state.new_id().replace("-", ""), moment, moment)
    account.state.slos[slo["id"]] = slo
    return {"data": [slo], "error": None}


@operation("GET", "/api/v1/slo/can_delete", "CheckCanDeleteSLO", "slos_read")
def can_delete(account: Account, request: Request) -> Json | Reply:
    ids = [part.strip() for part in request.query.get("ids", "").split(",") if part.strip()]
    if not ids:
        raise Refusal(400, "Invalid payload: Required parameter 'ids' is missing")
    errors = {one: ", ".join(users) for one in ids if (users := _users(account, one))}
    data = {"ok": [one for one in ids if one not in errors], "denied_ids": list(errors)}
    return Reply(409, {"data": data, "errors": errors}) if errors else {"data": data, "errors": None}


def _find(account: Account, request: Request) -> Json:
    identity = request.path["slo_id"]
    if identity not in account.state.slos:
        raise Refusal(404, f"SLO not found: {identity} not found")
    return account.state.slos[identity]


@operation("GET", "/api/v1/slo/{slo_id}", "GetSLO", "slos_read")
def get(account: Account, request: Request) -> Json:
    return {"data": _find(account, request), "error": None}


@operation("PUT", "/api/v1/slo/{slo_id}", "UpdateSLO", "slos_write", body=REPLACE_MODEL)
def update(account: Account, request: Request) -> Json:
    """The SLO is replaced as a whole."""
    old = _find(account, request)
    _check(account, request.body)
    if request.body["type"] != old["type"]:
        raise Refusal(400, f"Invalid payload: the type cannot change from {old['type']} to {request.body['type']}")
    slo = _slo(account, request.body, old["id"], old["created_at"], int(time.time()))
    account.state.slos[old["id"]] = slo
    return {"data": [slo], "error": None}


@operation("DELETE", "/api/v1/slo/{slo_id}", "DeleteSLO", "slos_write")
def delete(account: Account, request: Request) -> Json:
    identity = _find(account, request)["id"]
    users = _users(account, identity)
    if users and not request.flag("force"):
        raise Refusal(409, body={"data": [], "errors": {identity: ", ".join(users)}})
    del account.state.slos[identity]
    return {"data": [identity], "error": None}


def _users(account: Account, identity: str) -> list[str]:
    boards = account.state.dashboards.values()
    return [f"SLO is used in dashboard {board['id']}" for board in boards if identity in json.dumps(board["widgets"])]


def _bad(words: str) -> Refusal:
    return Refusal(400, f"Invalid payload: {words}")


def _check(account: Account, body: Json) -> None:
    kind, thresholds = body["type"], body["thresholds"]
    frames = [one["timeframe"] for one in thresholds]
    if not body["name"].strip():
        raise _bad("Required parameter 'name' is missing")
    if not frames or len(set(frames)) < len(frames) or "custom" in frames:
        raise _bad("thresholds need different timeframes: 7d, 30d or 90d")
    for one in thresholds:
        target, warning = one["target"], one.get("warning")
        if not 0 < target < 100 or (warning is not None and not target < warning < 100):
            raise _bad("0 < target < warning < 100 does not hold")
    _primary(body)
    parts = {"monitor": {"monitor_ids"}, "metric": {"query", "sli_specification"}, "time_slice": {"sli_specification"}}
    given = {name for name in ("monitor_ids", "query", "sli_specification") if body.get(name)}
    if kind not in parts or len(given) != 1 or not given <= parts[kind]:
        raise _bad(f"an SLO of type '{kind}' has {' or '.join(sorted(parts.get(kind, ())))}, and nothing else")
    if kind == "monitor":
        _check_monitors(account, body)
    elif body.get("query"):
        for side in ("numerator", "denominator"):
            _check_counts(body["query"][side])
    else:
        _check_specification(kind, body["sli_specification"])


def _primary(body: Json) -> None:
    """The timeframe shown first must be one of those that have a target, with the same numbers."""
    frame = body.get("timeframe")
    if frame is None:
        return
    match = [one for one in body["thresholds"] if one["timeframe"] == frame]
    if not match:
        raise _bad(f"timeframe {frame} has no threshold")
    for name, own in (("target_threshold", "target"), ("warning_threshold", "warning")):
        if body.get(name) is not None and body[name] != match[0].get(own):
            raise _bad(f"{name} differs from the {own} over {frame}")


def _check_monitors(account: Account, body: Json) -> None:
    unknown = [number for number in body["monitor_ids"] if number not in account.state.monitors]
    if unknown:
        raise _bad(f"monitors not found: {unknown}")
    groups = body.get("groups") or []
    if groups and (len(body["monitor_ids"]) != 1 or len(groups) > 100):
        raise _bad("groups need exactly one monitor, and are at most 100")


def _check_counts(text: str) -> None:
    terms = list(TERM.finditer(text))
    if not terms or re.search(r"[{}]", TERM.sub("", text)):
        raise invalid("unable to parse the query")
    if any(".as_count()" not in term["suffix"] for term in terms):
        raise invalid("metric SLOs need count queries: add .as_count()")


def _check_specification(kind: str, specification: Json) -> None:
    if set(specification) != {"count" if kind == "metric" else "time_slice"}:
        raise _bad(f"this sli_specification is not for an SLO of type '{kind}'")
    definition = specification["count"] if kind == "metric" else specification["time_slice"]["query"]
    formulas = [definition[name]["formula"] for name in definition if name.endswith("_formula")]
    formulas += [one["formula"] for one in definition.get("formulas", ())]
    names = {query["name"] for query in definition["queries"]}
    used = {word for text in formulas for word in re.findall(r"[a-zA-Z_]\w*(?!\w*\()", text)}
    if not formulas or len(names) < len(definition["queries"]) or used - names:
        raise _bad(f"the formulas name {sorted(used)}, the queries are {sorted(names)}")
    for query in definition["queries"]:
        if kind == "metric":
            _check_counts(query["query"])
        elif not TERM.fullmatch(query["query"]):
            raise invalid("unable to parse the query")


def _slo(account: Account, body: Json, identity: str, created: int, modified: int) -> Json:
    thresholds = []
    for one in body["thresholds"]:
        threshold = {
            "timeframe": one["timeframe"],
            "target": float(one["target"]),
            "target_display": _display(one["target"]),
        }
        if one.get("warning") is not None:
            threshold |= {"warning": float(one["warning"]), "warning_display": _display(one["warning"])}
        thresholds.append(threshold)
    frame = body.get("timeframe") or thresholds[0]["timeframe"]
    first = next(one for one in thresholds if one["timeframe"] == frame)
    monitors = [account.state.monitors[number] for number in body.get("monitor_ids") or ()]
    slo: Json = {
        "id": identity,
        "name": body["name"].strip(),
        "description": body.get("description") or "",
        "tags": sorted(body.get("tags") or ()),
        "monitor_tags": sorted({tag for monitor in monitors for tag in monitor["tags"]}),
        "thresholds": thresholds,
        "type": body["type"],
        "type_id": TYPE_IDS[body["type"]],
        "timeframe": frame,
        "target_threshold": first["target"],
        "creator": {name: USER[name] for name in ("name", "handle", "email")},
        "created_at": created,
        "modified_at": modified,
    }
    if "warning" in first:
        slo["warning_threshold"] = first["warning"]
    for name in ("query", "sli_specification", "monitor_ids", "groups"):
        if body.get(name):
            slo[name] = json.loads(json.dumps(body[name]))
    if body["type"] == "time_slice":
        slo["sli_specification"]["time_slice"].setdefault("query_interval_seconds", DEFAULT_SLICE)
    return slo


def _display(value: float) -> str:
    """`98.` for 98, `99.95` for 99.95."""
    return f"{float(value):.10f}".rstrip("0")
