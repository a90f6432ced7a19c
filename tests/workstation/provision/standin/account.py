"""The account behind the stand-in: its resources, its rules, and how it refuses."""

from __future__ import annotations

import random
import threading
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from .limits import Limits

Json = dict[str, Any]

USER = {"handle": "frog@example.com", "name": None, "email": "frog@example.com", "id": 1445416}
USER_UUID = "3ad549bf-eba0-11e9-a77a-000000000000"
ORGANISATION = 321813
PERMISSIONS = (
    "dashboards_read",
    "dashboards_write",
    "metric_tags_write",
    "metrics_read",
    "monitor_config_policy_write",
    "monitors_downtime",
    "monitors_read",
    "monitors_write",
    "slos_read",
    "slos_write",
    "timeseries_query",
    "user_access_read",
    "user_app_keys",
)


class Refusal(Exception):
    """The API answers with an error: `{"errors": [...]}`, or another body where an endpoint has its own."""

    def __init__(self, status: int, *errors: str, body: Any = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status}: {'; '.join(errors)}")
        self.status = status
        self.body = {"errors": list(errors)} if body is None else body
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer whose status is not 200."""

    status: int
    body: Any


@dataclass(slots=True)
class Metric:
    """A metric that the account has seen: its type, its tags as `key:value`, and the tag configuration, if any."""

    kind: str = "gauge"
    tags: list[str] = field(default_factory=list)
    configuration: Json | None = None

    def queryable(self) -> list[str]:
        """The tags that a query may use. A configuration is an allow-list of keys, or with `exclude_tags_mode` a
        deny-list."""
        if self.configuration is None:
            return list(self.tags)
        keys, excluded = set(self.configuration["tags"]), self.configuration.get("exclude_tags_mode", False)
        return [tag for tag in self.tags if (tag.partition(":")[0] in keys) is not excluded]


@dataclass(frozen=True, slots=True)
class Point:
    """One submission of a metric, with its tags as they are stored; `moment` is in epoch seconds."""

    moment: float
    value: float
    tags: frozenset[str]


@dataclass(slots=True)
class Policy:
    """What differs between accounts. Keys of tags in `required_tags` are compulsory on monitors. `recipients` are the
    handles that exist, without `@`; None takes any. `scopes` are those of the application key; None means all that
    the user may do, which is everything but `missing_permissions`. With `short_pages`, pages of monitors by `id_offset`
    hold half of what is left: only an empty one is documented to be the last. `no_missing_data` are types of monitors
    that may not have `on_missing_data`, which the specification lists for others than those of metrics. Without
    `empty_tag_lists` a tag configuration has to name a tag: whether it has to is documented nowhere."""

    required_tags: set[str] = field(default_factory=set)
    recipients: set[str] | None = None
    missing_permissions: set[str] = field(default_factory=set)
    scopes: set[str] | None = None
    metrics_must_exist: bool = True
    duplicates_ignore_tags: bool = False
    short_pages: bool = False
    most_rules: int = 1000
    empty_tag_lists: bool = True
    past_recurrences: bool = False
    no_missing_data: set[str] = field(default_factory=lambda: {"service check", "composite", "slo alert"})

    def granted(self) -> set[str]:
        """Permissions that a call has."""
        own = set(PERMISSIONS) - self.missing_permissions
        return own if self.scopes is None else own & self.scopes


@dataclass
class State:
    """All that exists, as GET answers it. Tests may look at it and fill it. `lock` is held while a call works."""

    monitors: dict[int, Json] = field(default_factory=dict)
    dashboards: dict[str, Json] = field(default_factory=dict)
    slos: dict[str, Json] = field(default_factory=dict)
    rules: dict[str, Json] = field(default_factory=dict)
    downtimes: dict[str, Json] = field(default_factory=dict)
    metrics: dict[str, Metric] = field(default_factory=dict)
    points: dict[str, list[Point]] = field(default_factory=dict)
    query_edits: Counter[int] = field(default_factory=Counter)
    lock: threading.RLock = field(default_factory=threading.RLock)
    last_monitor: int = 101334181
    chance: random.Random = field(default_factory=lambda: random.Random(20))

    def see(self, name: str, kind: str = "gauge", tags: Iterable[str] = ()) -> None:
        """The metric has been sent with these tags, `key:value`."""
        metric = self.metrics.setdefault(name, Metric(kind))
        metric.tags += [tag for tag in tags if tag not in metric.tags]

    def receive(self, name: str, kind: str, moment: float, value: float, tags: Iterable[str]) -> None:
        """A point of a metric has arrived, with tags as they are stored."""
        kept = frozenset(tags)
        self.see(name, kind, sorted(kept))
        self.points.setdefault(name, []).append(Point(moment, value, kept))

    def add_foreign_monitors(self, number: int) -> None:
        """Monitors that somebody else made, as many accounts have them in thousands."""
        moment = now()
        for index in range(number):
            body = {
                "name": f"Service {index} is slow",
                "type": "query alert",
                "query": f"avg(last_5m):avg:trace.http.request.duration{{service:s{index}}} by {{host}} > 0.5",
                "message": f"Service {index} takes longer than half a second. @slack-team-{index % 40}",
                "tags": [f"team:team-{index % 40}", f"service:s{index}", "managed_by:terraform"],
                "options": {"thresholds": {"critical": 0.5}, **MONITOR_OPTIONS},
            }
            self.add_monitor(body, moment)

    def add_monitor(self, body: Json, moment: str) -> Json:
        """Keep a monitor whose body is already normalised, with the fields that the server gives every monitor."""
        self.last_monitor += 1
        monitor = {
            "id": self.last_monitor,
            "org_id": ORGANISATION,
            **body,
            "multi": " by {" in body["query"] or ".by(" in body["query"],
            "created_at": int(datetime.fromisoformat(moment).timestamp()) * 1000,
            "created": moment,
            "modified": moment,
            "deleted": None,
            "restricted_roles": body.get("restricted_roles"),
            "restriction_policy": None,
            "draft_status": body.get("draft_status", "published"),
            "assets": body.get("assets", []),
            "priority": body.get("priority"),
            "overall_state_modified": None,
            "overall_state": "No Data",
            "creator": USER,
        }
        self.monitors[self.last_monitor] = monitor
        return monitor

    def new_id(self) -> str:
        """A UUID, the same in every run."""
        return str(uuid.UUID(int=self.chance.getrandbits(128), version=4))


MONITOR_OPTIONS: Json = {
    "notify_audit": False,
    "include_tags": True,
    "notify_no_data": False,
    "new_host_delay": 300,
    "silenced": {},
}
"""Options that the server adds where a request has left them out."""


@dataclass
class Account:
    """What every operation works on."""

    state: State = field(default_factory=State)
    policy: Policy = field(default_factory=Policy)
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Request:
    """A call that got through to its operation. `path` holds the variables of the path, `query` the parameters."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any = None

    def number(self, name: str, default: int | None = None, low: int = 0, high: int | None = None) -> int | None:
        """A whole number among the parameters. Raises Refusal where it is none or out of bounds."""
        text = self.query.get(name)
        if text is None:
            return default
        if not text.lstrip("-").isdigit() or int(text) < low or (high is not None and int(text) > high):
            raise Refusal(400, f"The value provided for parameter '{name}' is invalid")
        return int(text)

    def flag(self, name: str) -> bool:
        return self.query.get(name, "false").lower() == "true"


def now() -> str:
    """This moment as the API writes it."""
    return datetime.now(UTC).isoformat()


def recipients(policy: Policy, handles: Iterable[str]) -> None:
    """Refuse handles, without `@`, that nobody has. Addresses of e-mail always pass."""
    if policy.recipients is None:
        return
    unknown = sorted({handle for handle in handles if "@" not in handle and handle not in policy.recipients})
    if unknown:
        raise Refusal(400, f"Invalid recipients: {', '.join(unknown)} not found")
