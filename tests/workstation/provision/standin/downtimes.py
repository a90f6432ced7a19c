"""Downtimes, v2."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from dateutil.rrule import rrulestr

from .account import USER_UUID, Account, Json, Refusal, Reply, Request, now
from .routes import operation

PATH = "/api/v2/downtime"
PAGE = 30
MOST_RECURRENCES = 5
MOST_TAGS, LONGEST_TAG = 32, 256
PAST = "Scheduled downtime start cannot be in the past"
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
DEFAULTS: Json = {
    "display_timezone": "UTC",
    "message": None,
    "mute_first_recovery_notification": False,
    "notify_end_states": ["warn", "alert", "no data"],
    "notify_end_types": ["expired"],
}


@operation("GET", PATH, "ListDowntimes", "monitors_downtime")
def list_all(account: Account, request: Request) -> Json:
    """Those that are over or canceled are still in the list. Relationships come only where they are asked for."""
    offset = request.number("page[offset]", 0) or 0
    size = request.number("page[limit]", PAGE, low=1) or PAGE
    found = [_shown(one) for one in account.state.downtimes.values()]
    if request.flag("current_only"):
        found = [one for one in found if one["attributes"]["status"] == "active"]
    page = [{name: one[name] for name in ("type", "id", "attributes")} for one in found[offset:][:size]]
    return {"data": page, "meta": {"page": {"total_filtered_count": len(found)}}}


@operation("POST", PATH, "CreateDowntime", "monitors_downtime", body="v2.downtime_create_request.DowntimeCreateRequest")
def create(account: Account, request: Request) -> Json:
    attributes = {**DEFAULTS, **request.body["data"]["attributes"]}
    attributes.setdefault("schedule", {})
    _check(attributes)
    attributes["schedule"] = _scheduled(account, attributes["schedule"])
    _refuse_twins(account, attributes)
    moment = now()
    kept = {**attributes, "created": moment, "modified": moment, "canceled": None}
    identity = account.state.new_id()
    account.state.downtimes[identity] = {"type": "downtime", "id": identity, "attributes": kept}
    return {"data": _shown(account.state.downtimes[identity])}


@operation("GET", PATH + "/{downtime_id}", "GetDowntime", "monitors_downtime")
def get(account: Account, request: Request) -> Json:
    return {"data": _shown(_find(account, request))}


@operation(
    "PATCH",
    PATH + "/{downtime_id}",
    "UpdateDowntime",
    "monitors_downtime",
    body="v2.downtime_update_request.DowntimeUpdateRequest",
)
def update(account: Account, request: Request) -> Json:
    """Attributes that are left out keep their value."""
    downtime, data = _find(account, request), request.body["data"]
    if data["id"] != downtime["id"]:
        raise Refusal(400, f"the id {data['id']} is not the downtime of the path")
    before = _shown(downtime)["attributes"]
    if before["status"] in ("canceled", "ended"):
        raise Refusal(400, f"A downtime that is {before['status']} cannot be changed")
    attributes = {**downtime["attributes"], **data["attributes"]}
    _check(attributes)
    if "schedule" in data["attributes"]:
        attributes["schedule"] = _rescheduled(account, before, data["attributes"]["schedule"])
    _refuse_twins(account, attributes, downtime["id"])
    downtime["attributes"] = {**attributes, "modified": now()}
    return {"data": _shown(downtime)}


@operation("DELETE", PATH + "/{downtime_id}", "CancelDowntime", "monitors_downtime")
def cancel(account: Account, request: Request) -> Reply:
    """One that is canceled may be canceled again."""
    attributes = _find(account, request)["attributes"]
    attributes["canceled"] = attributes["canceled"] or now()
    return Reply(204, None)


def _find(account: Account, request: Request) -> Json:
    downtime = account.state.downtimes.get(request.path["downtime_id"])
    if downtime is None:
        raise Refusal(404, "Downtime not found")
    return downtime


def _shown(downtime: Json) -> Json:
    """With what the server knows of the moment: the status and, of one that recurs, which one is under way or next."""
    attributes = downtime["attributes"]
    schedule, moment = dict(attributes["schedule"]), datetime.now(UTC)
    times = list(islice(_times(schedule, moment), 1))
    if "recurrences" in schedule:
        schedule["current_downtime"] = (
            {"start": times[0][0].isoformat(), "end": times[0][1].isoformat()} if times else {}
        )
    started = bool(times) and times[0][0] <= moment
    status = "canceled" if attributes["canceled"] else "active" if started else "scheduled" if times else "ended"
    return {
        **downtime,
        "attributes": {**attributes, "schedule": schedule, "status": status},
        "relationships": {
            "created_by": {"data": {"type": "users", "id": USER_UUID}},
            "monitor": {"data": None},
        },
    }


def _times(schedule: Json, moment: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Start and end of what is not over yet, the first first."""
    if "recurrences" not in schedule:
        end = _utc(schedule["end"]) if schedule.get("end") else datetime.max.replace(tzinfo=UTC)
        if end > moment:
            yield _utc(schedule["start"]), end
        return
    zone = ZoneInfo(schedule.get("timezone", "UTC"))
    found = []
    for one in schedule["recurrences"]:
        length = _length(one["duration"])
        earliest = moment.astimezone(zone).replace(tzinfo=None) - length
        rules = rrulestr(one["rrule"], dtstart=datetime.fromisoformat(one["start"]))
        if start := rules.after(earliest):
            begun = start.replace(tzinfo=zone).astimezone(UTC)
            found.append((begun, begun + length))
    yield from sorted(found)


def _scheduled(account: Account, given: Json) -> Json:
    """A new schedule: what is left out begins at once."""
    moment = datetime.now(UTC)
    if "recurrences" in given:
        zone = ZoneInfo(given.get("timezone", "UTC"))
        local = moment.astimezone(zone).replace(tzinfo=None, microsecond=0)
        kept = []
        for one in given["recurrences"]:
            start = one.get("start") or local.isoformat()
            if datetime.fromisoformat(start).replace(tzinfo=zone) < moment and not account.policy.past_recurrences:
                raise Refusal(400, PAST)
            kept.append({**one, "start": start})
        return {"timezone": "UTC", **given, "recurrences": kept}
    start = given.get("start")
    if start and _utc(start) < moment:
        raise Refusal(400, PAST)
    end = given.get("end")
    if end and _utc(end) <= max(moment, _utc(start) if start else moment):
        raise Refusal(400, "Downtime cannot be scheduled in the past")
    return {"start": start or moment.isoformat(), "end": end}


def _rescheduled(account: Account, before: Json, given: Json) -> Json:
    """The schedule of one that is there already."""
    was = before["schedule"]
    if ("recurrences" in was) != ("recurrences" in given):
        raise Refusal(400, "The type of a schedule cannot be changed")
    if before["status"] != "active":
        return _scheduled(account, given)
    if "recurrences" in given:
        changed = {**was, **given}
        if any(changed[name] != was[name] for name in ("timezone", "recurrences")):
            raise Refusal(400, "Start times of downtimes in progress cannot be changed")
        return {name: changed[name] for name in ("timezone", "recurrences")}
    if given.get("start") is None or _utc(given["start"]) != _utc(was["start"]):
        raise Refusal(400, "Start times of downtimes in progress cannot be changed")
    if given.get("end") and _utc(given["end"]) <= datetime.now(UTC):
        raise Refusal(400, "Downtime cannot be scheduled in the past")
    return {"start": was["start"], "end": given.get("end")}


def _refuse_twins(account: Account, attributes: Json, own: str | None = None) -> None:
    fields = ("scope", "monitor_identifier", "schedule")
    same = [
        one["id"]
        for one in account.state.downtimes.values()
        if one["id"] != own
        and _shown(one)["attributes"]["status"] in ("active", "scheduled")
        and all(one["attributes"][name] == attributes[name] for name in fields)
    ]
    if same:
        raise Refusal(400, f"The downtime being created is a duplicate of one or more existing downtimes: {same}")


def _check(attributes: Json) -> None:
    """What the models let through: they know which fields there are."""
    tags = attributes["monitor_identifier"].get("monitor_tags", ())
    if len(tags) > MOST_TAGS or any(len(tag) > LONGEST_TAG for tag in tags):
        raise Refusal(400, f"monitor_tags must be at most {MOST_TAGS}, of at most {LONGEST_TAG} characters")
    _check_scope(attributes["scope"])
    schedule = attributes["schedule"]
    if "recurrences" in schedule:
        _check_recurrences(schedule, attributes["display_timezone"])
        return
    for name in ("start", "end"):
        if schedule.get(name) and datetime.fromisoformat(schedule[name]).utcoffset() != timedelta():
            raise Refusal(400, f"Invalid {name}: it must include a UTC offset of zero")


def _check_recurrences(schedule: Json, shown: Any) -> None:
    try:
        ZoneInfo(schedule.get("timezone", "UTC"))
    except (OSError, ValueError, KeyError):
        raise Refusal(400, f"Invalid timezone: {schedule['timezone']}") from None
    if schedule.get("timezone", "UTC") != (shown or "UTC"):
        raise Refusal(400, "timezone must match display_timezone")
    if not 1 <= len(schedule["recurrences"]) <= MOST_RECURRENCES:
        raise Refusal(400, f"A schedule has 1 to {MOST_RECURRENCES} recurrences")
    for one in schedule["recurrences"]:
        _length(one["duration"])
        if one.get("start") and datetime.fromisoformat(one["start"]).tzinfo is not None:
            raise Refusal(400, "Invalid start: it must not include a UTC offset")
        if re.search(r"DTSTART|DTEND|DURATION", one["rrule"]):
            raise Refusal(400, f"Invalid rrule: {one['rrule']}")
        try:
            rrulestr(one["rrule"], dtstart=datetime(2026, 1, 1))
        except ValueError:
            raise Refusal(400, f"Invalid rrule: {one['rrule']}") from None


def _length(duration: str) -> timedelta:
    match = re.fullmatch(r"(\d+)([mhdw])", duration)
    if match is None:
        raise Refusal(400, f"Invalid duration: {duration}")
    return timedelta(**{UNITS[match[2]]: int(match[1])})


def _check_scope(scope: str) -> None:
    """Pairs of key and value that must all hold; of one key several values."""
    if scope == "*":
        return
    for part in scope.split(" AND "):
        if ":" not in part:
            raise Refusal(400, "All values must have a key")
        if not re.fullmatch(r"-?[\w./-]+:([^\s():,]\S*|\([^\s():,]+( OR [^\s():,]+)*\))", part):
            raise Refusal(400, f"Invalid scope: {part}")


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text)
