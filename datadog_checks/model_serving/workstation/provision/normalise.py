"""Compares a resource as it should be with the one that the account has, past what the server makes of a body.

Only the fields that we own count. The server trims texts, makes floats of thresholds, gives `metric alert` for
`query alert`, sorts tags, leaves out what is empty or a default, and adds fields of its own; none of that is a
difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any

from .model import OLDER_FORM_TAG, attributes, enveloped
from .schedules import has_to_be_made_anew, in_terms_of, to_send

TYPES = {"monitor": "type", "slo": "type", "dashboard": "layout_type"}
"""Fields that stay what they were when the resource was made."""

SAME_TYPES = {"metric alert": "query alert"}

MONITOR_FIELDS = ("name", "type", "query", "message", "tags", "priority", "options")

FIELDS: Mapping[str, tuple[str, ...]] = {
    "monitor": MONITOR_FIELDS,
    "slo": (
        "name",
        "description",
        "type",
        "query",
        "sli_specification",
        "monitor_ids",
        "groups",
        "thresholds",
        "timeframe",
        "tags",
    ),
    "dashboard": ("title", "description", "layout_type", "reflow_type", "template_variables", "tags", "widgets"),
    "notification_rule": ("name", "filter", "recipients", "conditional_recipients"),
    "downtime": ("scope", "message", "monitor_identifier", "schedule", "display_timezone"),
}
"""What a body of the account says that isn't the server's own, such as ids and times."""

OPTION_DEFAULTS: Mapping[str, Any] = {
    "enable_logs_sample": False,
    "escalation_message": "",
    "evaluation_delay": 0,
    "group_retention_duration": None,
    "groupby_simple_monitor": False,
    "include_tags": True,
    "min_failure_duration": 0,
    "new_group_delay": 60,
    "no_data_timeframe": None,
    "notification_preset_name": "show_all",
    "notify_by": None,
    "notify_no_data": False,
    "on_missing_data": "default",
    "renotify_interval": 0,
    "renotify_occurrences": None,
    "renotify_statuses": None,
    "require_full_window": False,
    "scheduling_options": None,
    "threshold_windows": None,
    "thresholds": None,
    "timeout_h": 0,
    "variables": None,
}
"""Options of monitors that are ours, with what leaving them out means. All others, such as mutes, belong to others."""

REMOVABLE = {
    "slo": ("description", "groups"),
    "notification_rule": ("filter", "recipients", "conditional_recipients"),
}
"""Fields whose presence in the account is a difference where we have none."""

THRESHOLDS = ("warning", "critical_recovery", "warning_recovery")
"""Likewise, in the thresholds of a monitor; the server adds a missing `critical` by itself."""

CURRENT = "current_downtime"
"""What the server tells of a schedule that recurs: the one that is under way, or next."""

UNORDERED = frozenset(
    {
        "tags",
        "recipients",
        "notify_by",
        "renotify_statuses",
        "monitor_ids",
        "groups",
        "fallback_recipients",
        "monitor_tags",
    }
)
"""Lists whose order says nothing."""


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field that differs. `old` is what the account has, `new` what it should have; None stands for nothing."""

    path: str
    old: Any
    new: Any


def differences(kind: str, wanted: Mapping[str, Any], actual: Mapping[str, Any]) -> list[FieldChange]:
    """What has to change for `actual`, as the API answers it, to be `wanted`, a marked body without references."""
    if kind == "percentiles":
        has = bool(attributes(actual).get("include_percentiles"))
        return [] if has else [FieldChange("include_percentiles", False, True)]
    ours, theirs = (view(kind, body) for body in (wanted, actual))
    if kind == "downtime":
        ours["schedule"] = in_terms_of(ours["schedule"], theirs["schedule"], datetime.now(UTC))
    if kind == "monitor" and OLDER_FORM_TAG in (theirs["tags"] or ()) and ours["options"]["on_missing_data"]:
        # The account refused it, and `apply` gave it the older form. Elsewhere, what is missing was taken away.
        if theirs["options"]["on_missing_data"] is None:
            ours["options"]["on_missing_data"] = None
        theirs["tags"] = [tag for tag in theirs["tags"] if tag != OLDER_FORM_TAG]
    changes = list(_compare("", ours, theirs))
    if kind == "dashboard" and len(changes) > 1:
        # Next to a field that tells what changed, a new digest in the mark is no news.
        changes = [one for one in changes if one.path != "description" or _text(one.old) != _text(one.new)]
    return changes


def overwritten(kind: str, wanted: Mapping[str, Any], actual: Mapping[str, Any]) -> list[FieldChange]:
    """What an update with `wanted` changes of something that a person has made: `differences`, with each widget of a
    dashboard as a whole, and the fields that it alone has and then loses."""
    changes = differences(kind, wanted, actual)
    ours, theirs = attributes(wanted), attributes(actual)
    if kind == "dashboard":
        changes = [one for one in changes if not one.path.startswith("widgets[")]
        pairs = zip_longest(theirs.get("widgets") or (), ours["widgets"])
        changes += [FieldChange(f"widgets[{at}]", *pair) for at, pair in enumerate(pairs) if not _same(*pair)]
    told = {one.path.partition(".")[0] for one in changes}
    for name in FIELDS[kind]:
        # A query and a specification are one definition in two forms.
        twice = name == "sli_specification" and theirs.get("query")
        if name not in ours and name not in told and theirs.get(name) and not twice:
            changes.append(FieldChange(name, theirs[name], None))
    return changes


def _same(one: Any, other: Any) -> bool:
    first, second = _without_ids(one), _without_ids(other)
    return not any((*_compare("", first, second), *_compare("", second, first)))


def alike(kind: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two resources of the account are the same but for their ids, as two runs at once make them."""
    first, second = ({name: attributes(body).get(name) for name in FIELDS[kind]} for body in (one, other))
    if kind == "downtime":
        first, second = (view(kind, fields) for fields in (first, second))
    if kind == "monitor":
        first, second = (view(kind, body) for body in (one, other))
        for options in (first["options"], second["options"]):
            for name in set(options) - set(OPTION_DEFAULTS):
                del options[name]
    return _same(first, second)


def _without_ids(value: Any) -> Any:
    """The server numbers the widgets of a dashboard."""
    if isinstance(value, Mapping):
        return {key: _without_ids(item) for key, item in value.items() if key != "id"}
    return [_without_ids(item) for item in value] if isinstance(value, list) else value


def type_change(kind: str, wanted: Mapping[str, Any], actual: Mapping[str, Any]) -> FieldChange | None:
    """The change of a type, which the API can't do to a resource that exists; of dashboards it is the layout's, of
    downtimes the start of one that is under way."""
    if kind == "downtime":
        new, old = (view(kind, body)["schedule"] for body in (wanted, actual))
        anew = has_to_be_made_anew(new, old, actual.get("status") == "active", datetime.now(UTC))
        return FieldChange("schedule", old, new) if anew else None
    if kind not in TYPES:
        return None
    name = TYPES[kind]
    new, old = (SAME_TYPES.get(body[name], body[name]) for body in (wanted, actual))
    return None if new == old else FieldChange(name, old, new)


def view(kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a body that may be ours, in one form."""
    if kind == "monitor":
        options = {**dict.fromkeys(OPTION_DEFAULTS), **(body.get("options") or {})}
        if not options["notify_no_data"]:
            options["no_data_timeframe"] = None
        options["thresholds"] = {**dict.fromkeys(THRESHOLDS), **(options["thresholds"] or {})}
        fields = {name: body.get(name) for name in MONITOR_FIELDS}
        return {**fields, "type": SAME_TYPES.get(body["type"], body["type"]), "options": options}
    own = dict(attributes(body))
    if kind == "downtime":
        schedule = own.get("schedule") or {}
        return {**own, "schedule": {name: value for name, value in schedule.items() if name != CURRENT}}
    if kind == "slo":
        own["thresholds"] = {one["timeframe"]: {"warning": None, **one} for one in body.get("thresholds") or ()}
    return {**dict.fromkeys(REMOVABLE.get(kind, ())), **own}


def preserved(kind: str, wanted: Mapping[str, Any], actual: Mapping[str, Any]) -> dict[str, Any]:
    """The body of an update: ours, with what others have set in fields that the API would otherwise clear."""
    body = dict(wanted)
    if kind == "monitor":
        body.pop("type", None)
        body.setdefault("priority", None)
        options = dict(body.get("options") or {})
        others = {
            name: value
            for name, value in (actual.get("options") or {}).items()
            if name not in OPTION_DEFAULTS and value not in (None, {}, [])
        }
        if options.get("on_missing_data") and not options.get("notify_no_data"):
            # The two exclude each other: an update that leaves the older ones out might keep them.
            older = actual.get("options") or {}
            if older.get("notify_no_data") or older.get("no_data_timeframe") is not None:
                options |= {"notify_no_data": False, "no_data_timeframe": None}
        if options.get("new_group_delay") is not None:
            # Its predecessor; the API doesn't keep both.
            others.pop("new_host_delay", None)
        body["options"] = {**others, **options}
    elif kind == "dashboard":
        for name in ("notify_list", "restricted_roles", "template_variable_presets"):
            if actual.get(name):
                body.setdefault(name, actual[name])
    elif kind == "downtime":
        body = enveloped(kind, _schedule_kept(attributes(wanted), actual))
    return body


def _schedule_kept(wanted: Mapping[str, Any], actual: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a downtime without a schedule that is as it should be, and with the start that it has, where that
    is one that the API takes no more."""
    now = datetime.now(UTC)
    fields = dict(wanted)
    there = view("downtime", actual)["schedule"]
    schedule = in_terms_of(fields.pop("schedule"), there, now)
    if not any(_compare("schedule", schedule, there)):
        return fields
    begun = "recurrences" not in schedule and schedule.get("start") == there.get("start")
    return {**fields, "schedule": schedule if begun else to_send(schedule, now)}


def _compare(path: str, wanted: Any, actual: Any) -> Iterator[FieldChange]:
    name = path.rpartition(".")[2]
    wanted, actual = _plain(path, wanted), _plain(path, actual)
    if isinstance(wanted, Mapping) and isinstance(actual, Mapping | None):
        held = actual or {}
        for key, value in wanted.items():
            yield from _compare(f"{path}.{key}" if path else str(key), value, held.get(key))
        if path == "thresholds":
            # Of an SLO, by timeframe.
            yield from (FieldChange(f"{path}.{key}", held[key], None) for key in held if key not in wanted)
    elif isinstance(wanted, list) and isinstance(actual, list) and name not in UNORDERED:
        for index in range(max(len(wanted), len(actual))):
            at = f"{path}[{index}]"
            if index >= len(wanted):
                yield FieldChange(at, actual[index], None)
            elif index >= len(actual):
                yield FieldChange(at, None, wanted[index])
            else:
                yield from _compare(at, wanted[index], actual[index])
    elif wanted != actual:
        yield FieldChange(path, actual, wanted)


def _plain(path: str, value: Any) -> Any:
    """A value without what the server may add or take away."""
    at, _, name = path.rpartition(".")
    if isinstance(value, str):
        value = value.strip()
    elif isinstance(value, list) and name in UNORDERED and all(isinstance(item, str | int) for item in value):
        # Ids of monitors are numbers in one place and texts in another.
        value = sorted(str(item) for item in value)
    elif isinstance(value, bool):
        pass
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    if at == "options" and (default := OPTION_DEFAULTS.get(name)) is not None:
        return default if value is None else value
    return None if value is False or value in ("", [], {}) else value


def _text(description: Any) -> str:
    return str(description or "").rpartition("managed by ")[0]
