"""The calls that change an account, each for one resource."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from ...errors import InternalSignal, Refused, Unsure
from .api import Client, understood
from .model import Resource, attributes, enveloped, resolve
from .normalise import preserved
from .schedules import to_send
from .state import Found, found_in, read_percentiles

FRESH_PERCENTILES = {
    "metric_type": "distribution",
    "tags": [],
    "exclude_tags_mode": True,
    "include_percentiles": True,
}
"""A tag configuration that switches percentiles on and, since it is a list of tags to hide, hides none."""

UNUSED_TAG = "model_serving_no_such_tag"
"""A key that no series has."""

ENVELOPED = ("notification_rule", "downtime")
"""Kinds of the API's second version, which wraps what it takes and answers."""

UNSEEN = re.compile(r"metric that does not exist", re.IGNORECASE)


class Waiting(InternalSignal):
    """What can't be done before the account has received a metric, and what to do then."""


def request_body(resource: Resource, ids: Mapping[str, str]) -> dict[str, Any]:
    """The body to send: references replaced by ids, those of monitors in an SLO as numbers."""
    body: dict[str, Any] = resolve(resource.body, ids)
    if "monitor_ids" in body:
        body["monitor_ids"] = [int(one) for one in body["monitor_ids"]]
    return body


def create(client: Client, kind: str, body: Mapping[str, Any]) -> Found:
    """Create a resource; what the account then has. Raises Unsure where it is open whether it was created."""
    calls: dict[str, Callable[..., Any]] = {
        "monitor": client.monitors.create_monitor,
        "slo": client.slos.create_slo,
        "dashboard": client.dashboards.create_dashboard,
        "notification_rule": client.rules.create_monitor_notification_rule,
        "downtime": client.downtimes.create_downtime,
    }
    if kind == "downtime":
        own = attributes(body)
        body = enveloped("downtime", {**own, "schedule": to_send(own["schedule"], datetime.now(UTC))})
    answer = client.call(calls[kind], once=True, body=body)
    with understood("the new id"):
        inner = answer["data"][0] if kind == "slo" else answer["data"] if kind in ENVELOPED else answer
        return found_in(kind, inner)


def update(client: Client, found: Found, body: Mapping[str, Any]) -> None:
    """Give a resource of the account our fields, and leave it the fields of others."""
    sent = preserved(found.kind, body, found.body)
    if found.kind == "monitor":
        answer = client.call(client.monitors.update_monitor, monitor_id=int(found.id), body=sent)
    elif found.kind == "slo":
        answer = client.call(client.slos.update_slo, slo_id=found.id, body=sent)
    elif found.kind == "dashboard":
        answer = client.call(client.dashboards.update_dashboard, dashboard_id=found.id, body=sent)
    elif found.kind == "downtime":
        sent = enveloped("downtime", attributes(sent), found.id)
        answer = client.call(client.downtimes.update_downtime, downtime_id=found.id, body=sent)
    else:
        sent = enveloped("monitor-notification-rule", attributes(sent), found.id)
        answer = client.call(client.rules.update_monitor_notification_rule, rule_id=found.id, body=sent)
    _confirm(found, answer)


def delete(client: Client, found: Found, *, force: bool = False) -> None:
    """Delete a resource, if it is still there. `force` is for one that others refer to and that comes back at once."""
    forced: dict[str, Any] = {"force": "true"} if force else {}
    try:
        if found.kind == "monitor":
            answer = client.call(client.monitors.delete_monitor, monitor_id=int(found.id), **forced)
        elif found.kind == "slo":
            answer = client.call(client.slos.delete_slo, slo_id=found.id, **forced)
        elif found.kind == "dashboard":
            answer = client.call(client.dashboards.delete_dashboard, dashboard_id=found.id)
        elif found.kind == "downtime":
            answer = client.call(client.downtimes.cancel_downtime, downtime_id=found.id)
        else:
            answer = client.call(client.rules.delete_monitor_notification_rule, rule_id=found.id)
    except Refused as error:
        if error.status != 404:
            raise
    else:
        _confirm(found, answer)


def _confirm(found: Found, answer: Any) -> None:
    """Whether an answer is about the resource. Something between here and the API may say yes to anything; a new
    resource made in the belief that the old one is gone would be its twin."""
    if answer is not None and found.id not in json.dumps(answer):
        raise Unsure(f"the answer says nothing about {found.id}, so it isn't clear whether it was done")


def switch_on_percentiles(client: Client, metric: str) -> None:
    """Have percentiles of a distribution computed without hiding a tag: a list of tags that the metric has already is
    sent back as it is. Raises Waiting where the account has not received the metric yet.
    """
    before = read_percentiles(client, metric)
    if before is None:
        try:
            _configure(client.call, client.metrics.create_tag_configuration, metric, FRESH_PERCENTILES)
            return
        except Refused as error:
            if UNSEEN.search(error.words):
                raise Waiting("waits for the metric's first value; run again then") from None
            if error.status != 409:
                raise
        before = read_percentiles(client, metric) or {}
    if before.get("include_percentiles"):
        return
    kept = {"tags": list(before.get("tags") or ()), "exclude_tags_mode": bool(before.get("exclude_tags_mode"))}
    _configure(client.call, client.metrics.update_tag_configuration, metric, {"include_percentiles": True, **kept})


def _configure(call: Callable[..., Any], operation: Callable[..., Any], metric: str, own: Mapping[str, Any]) -> None:
    """Send a tag configuration. Whether a list of tags to hide may be empty is documented nowhere: where it is refused,
    it names a tag that no metric has."""
    try:
        call(operation, metric_name=metric, body=enveloped("manage_tags", own, metric))
    except Refused as error:
        if own["tags"] or not own["exclude_tags_mode"] or error.status not in (400, 422) or UNSEEN.search(error.words):
            raise
        try:
            call(operation, metric_name=metric, body=enveloped("manage_tags", {**own, "tags": [UNUSED_TAG]}, metric))
        except Refused:
            # Then the empty list wasn't what it minded.
            raise error from None
