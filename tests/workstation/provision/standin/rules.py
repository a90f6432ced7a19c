"""Monitor notification rules, v2."""

from __future__ import annotations

import ast
import json
import re

from .account import USER_UUID, Account, Json, Refusal, Reply, Request, now, recipients
from .routes import operation

PATH = "/api/v2/monitor/notification_rule"
PAGE = 100
TRANSITION = re.compile(r"transition_type:(is_alert|is_warning|is_recovery|is_no_data|is_renotify|is_\w+)")


@operation("GET", PATH, "GetMonitorNotificationRules", "monitors_read")
def list_all(account: Account, request: Request) -> Json:
    filters = json.loads(request.query.get("filters", "{}"))
    found = []
    for rule in account.state.rules.values():
        attributes = rule["attributes"]
        text = json.dumps([attributes["name"], attributes.get("filter"), attributes.get("recipients")])
        tags = attributes.get("filter", {}).get("tags", ())
        if (
            filters.get("text", "") in text
            and (not filters.get("tags") or set(filters["tags"]) & set(tags))
            and (not filters.get("recipients") or set(filters["recipients"]) & set(attributes.get("recipients", ())))
        ):
            found.append(rule)
    page = request.number("page", 0, high=1_000_000) or 0
    size = request.number("per_page", PAGE, low=1, high=1000) or PAGE
    field, _, direction = request.query.get("sort", "created_at:asc").partition(":")
    if field not in ("name", "created_at") or direction not in ("asc", "desc"):
        raise Refusal(400, "The value provided for parameter 'sort' is invalid")
    found.sort(key=lambda rule: str(rule["attributes"][field]), reverse=direction == "desc")
    return {"data": found[page * size :][:size]}


@operation(
    "POST",
    PATH,
    "CreateMonitorNotificationRule",
    "monitor_config_policy_write",
    body="v2.monitor_notification_rule_create_request.MonitorNotificationRuleCreateRequest",
)
def create(account: Account, request: Request) -> Json:
    attributes = request.body["data"]["attributes"]
    _check(account, attributes)
    if len(account.state.rules) >= account.policy.most_rules:
        raise Refusal(400, f"The organization has reached the limit of {account.policy.most_rules} notification rules")
    identity, moment = account.state.new_id(), now()
    account.state.rules[identity] = _rule(identity, {**attributes, "created_at": moment, "modified_at": moment})
    # The answer to a creation has not been modified yet; later answers have.
    return {"data": _rule(identity, {**attributes, "created_at": moment, "modified_at": "1970-01-01T00:00:00+00:00"})}


def _rule(identity: str, attributes: Json) -> Json:
    creator = {"data": {"type": "users", "id": USER_UUID}}
    return {
        "type": "monitor-notification-rule",
        "id": identity,
        "attributes": attributes,
        "relationships": {"created_by": creator},
    }


def _find(account: Account, request: Request) -> Json:
    rule = account.state.rules.get(request.path["rule_id"])
    if rule is None:
        raise Refusal(404, "Monitor notification rule not found")
    return rule


@operation("GET", PATH + "/{rule_id}", "GetMonitorNotificationRule", "monitors_read")
def get(account: Account, request: Request) -> Json:
    return {"data": _find(account, request)}


@operation(
    "PATCH",
    PATH + "/{rule_id}",
    "UpdateMonitorNotificationRule",
    "monitor_config_policy_write",
    body="v2.monitor_notification_rule_update_request.MonitorNotificationRuleUpdateRequest",
)
def update(account: Account, request: Request) -> Json:
    """The attributes are replaced as a whole."""
    rule, data = _find(account, request), request.body["data"]
    if data["id"] != rule["id"]:
        raise Refusal(400, f"the id {data['id']} is not the rule of the path")
    _check(account, data["attributes"])
    created = rule["attributes"]["created_at"]
    changed = _rule(rule["id"], {**data["attributes"], "created_at": created, "modified_at": now()})
    account.state.rules[rule["id"]] = changed
    return {"data": changed}


@operation("DELETE", PATH + "/{rule_id}", "DeleteMonitorNotificationRule", "monitor_config_policy_write")
def delete(account: Account, request: Request) -> Reply:
    del account.state.rules[_find(account, request)["id"]]
    return Reply(204, None)


def _check(account: Account, attributes: Json) -> None:
    """What the models let through: they know how many and how long, where it is one value."""
    conditional = attributes.get("conditional_recipients")
    if (conditional is None) == (attributes.get("recipients") is None):
        raise Refusal(400, "Either recipients or conditional_recipients is needed, and not both")
    if "filter" not in attributes:
        raise Refusal(400, "Invalid filter: it must not be empty")
    _check_filter(attributes["filter"])
    lists = [attributes["recipients"]] if conditional is None else []
    if conditional is not None:
        for condition in conditional["conditions"]:
            scope = condition["scope"]
            if not (TRANSITION.fullmatch(scope) or re.fullmatch(r"[^\s:]+:[^\s:]+", scope)):
                raise Refusal(400, f"Invalid scope: {scope}")
            lists.append(condition["recipients"])
        if "fallback_recipients" in conditional:
            lists.append(conditional["fallback_recipients"])
    for handles in lists:
        _check_recipients(account, handles)


def _check_recipients(account: Account, handles: list[str]) -> None:
    if len(set(handles)) < len(handles) or any(len(one) > 255 for one in handles):
        raise Refusal(400, "Invalid recipients: they must differ, and have at most 255 characters")
    if any(handle.startswith("@") for handle in handles):
        raise Refusal(400, "Invalid recipients: Recipient handle should not start with '@'")
    recipients(account.policy, handles)


def _check_filter(given: Json) -> None:
    if "tags" in given:
        tags = given["tags"]
        if len(set(tags)) < len(tags) or any(":" not in tag or len(tag) > 255 for tag in tags):
            raise Refusal(400, "Invalid filter: tags must differ, and are key:value of at most 255 characters")
        return
    scope = given["scope"]
    # Pairs and bare values become names, so that what is left is the arithmetic of truth that Python has too.
    plain = re.sub(r"[^\s():]+:(?=\()", "", scope)
    plain = re.sub(r"[^\s()]+", lambda word: word[0] if word[0] in ("AND", "OR", "NOT") else "x", plain)
    plain = (
        re.sub(r"(?<=[x)])\s+NOT\b", " and not", plain).replace("AND", "and").replace("OR", "or").replace("NOT", "not")
    )
    try:
        ast.parse(plain.strip(), mode="eval")
    except SyntaxError as error:
        raise Refusal(400, f"Invalid scope: {scope}") from error
    if ":" not in scope:
        raise Refusal(400, f"Invalid scope: {scope} names no tag")
