"""A resource of a Datadog account as it should be, its identity, and the mark that says it is ours."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

KINDS = ("percentiles", "slo", "notification_rule", "downtime", "monitor", "dashboard")
"""Kinds of resources in the order of creation; they are destroyed in reverse. Datadog routes the monitors that are
created or updated after a rule was saved; whether it routes older ones isn't documented, so rules come before them. So
do downtimes: a monitor that is made while one is under way is silent from the start."""

OWNER = "model-serving"
OWNER_TAG = f"managed_by:{OWNER}"
"""The owner's tag on what belongs to the stack without a name; `owner_tag` has that of any stack."""

KEY_TAG = "model_serving_key"
OLDER_FORM_TAG = "model_serving_without:on_missing_data"
"""On a monitor of an account that refused `on_missing_data`: that it lacks it is no difference there."""
STACK = re.compile(r"[a-z0-9][a-z0-9_-]{0,49}")
"""The name of a stack. It has no dot, which separates it from the owner in a mark."""

NO_STACK = "none"
"""What stands for the stack without a name where one has to be written; no stack may be called so."""

REFERENCE = re.compile(r"\$\{([a-z_]+:[a-z0-9_.-]+)\}")
"""In any text of a body: the id of another resource, by its address."""

KEY = re.compile(r"[a-z0-9_.-]+")
OWNERS = rf"{OWNER}(?:\.({STACK.pattern}))?"
"""The owner in a mark, with the stack, if that has a name."""

OWNER_TAGS = re.compile(rf"managed_by:{OWNERS}")
LINE_MARK = re.compile(rf"managed by {OWNERS} \(key: ({KEY.pattern})(?:, content: [0-9a-f]+)?\)\s*$")
"""The last line of a dashboard's description, with a digest of its content, and of a downtime's message."""

RULE_MARK = re.compile(rf"{OWNERS} ({KEY.pattern}): ")
PERCENTILE = re.compile(r"\b(?:p\d+(?:\.\d+)?|count\(v: v[^)]*\)):(model_serving\.[\w.]+)")
"""In any text of a body: a metric of which a percentile is asked for."""


@dataclass(frozen=True, slots=True)
class PackPlaces:
    """Where a user wrote what a body is made of: places in the `file` of a pack, by what paths in the body begin with.
    Of several the longest counts; the empty one is there."""

    file: str
    places: Mapping[str, str]

    def place(self, path: str) -> str:
        """The place in the file of what has this path in the body."""
        return self.places[max((start for start in self.places if path.startswith(start)), key=len)]


@dataclass(frozen=True, slots=True)
class Resource:
    """What should exist. `key` is stable and unique within the kind; `body` is that of the API's create call, in JSON
    types, with `${kind:key}` in place of the id of another resource. `written` is there for what a user's own pack
    has."""

    kind: str
    key: str
    body: Mapping[str, Any]
    written: PackPlaces | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS or not KEY.fullmatch(self.key):
            raise ValueError(f"{self.kind}:{self.key} is no address of a resource")

    @property
    def address(self) -> str:
        return f"{self.kind}:{self.key}"

    def references(self) -> set[str]:
        """Addresses of the resources whose ids the body holds."""
        return set(REFERENCE.findall(json.dumps(self.body)))


def resolve(value: Any, ids: Mapping[str, str]) -> Any:
    """A copy of a body with every reference replaced by the id in `ids`. Raises KeyError for one that is missing."""
    if isinstance(value, str):
        return REFERENCE.sub(lambda match: ids[match.group(1)], value)
    if isinstance(value, Mapping):
        return {key: resolve(item, ids) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [resolve(item, ids) for item in value]
    return value


def owner(stack: str) -> str:
    """The owner as a mark names it. What belongs to a stack with a name bears no mark that fits another's."""
    return f"{OWNER}.{stack}" if stack else OWNER


def owner_tag(stack: str) -> str:
    """The tag of monitors and SLOs that belong to a stack, by which its notification rules know their monitors."""
    return f"managed_by:{owner(stack)}"


def mark(resource: Resource, stack: str = "") -> Resource:
    """The resource with the sign of our ownership in its body, as `mark_of` finds it again; `stack` is empty for the
    one without a name.

    Monitors and SLOs carry two tags, notification rules a prefix of their name and the owner's tag in their scope,
    dashboards a last line in the description, downtimes one in the message and the owner's tag among the tags that they
    are for. The line of dashboards also holds a digest of the body: a field that was taken out of a dashboard can't be
    told from one that the server added, so the digest says that something did change. Percentiles bear no mark.
    """
    body = dict(resource.body)
    if resource.kind in ("monitor", "slo"):
        own = [owner_tag(stack), f"{KEY_TAG}:{resource.key}"]
        body["tags"] = [*(tag for tag in body.get("tags") or () if tag not in own), *own]
    elif resource.kind == "dashboard":
        description = str(body.get("description") or "").rstrip()
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:8]
        line = f"managed by {owner(stack)} (key: {resource.key}, content: {digest})"
        body["description"] = f"{description}\n\n{line}".lstrip()
    elif resource.kind == "notification_rule":
        own_fields = dict(attributes(body))
        own_fields["name"] = f"{owner(stack)} {resource.key}: {own_fields.get('name') or resource.key}"
        # Of a monitor that somebody else has made, or that is of another stack, nobody hears through us.
        scope = own_fields["filter"]["scope"]
        own_fields["filter"] = {**own_fields["filter"], "scope": f"{owner_tag(stack)} AND {scope}"}
        body = enveloped("monitor-notification-rule", own_fields)
    elif resource.kind == "downtime":
        own_fields = dict(attributes(body))
        text = str(own_fields.get("message") or "").rstrip()
        own_fields["message"] = f"{text}\n\nmanaged by {owner(stack)} (key: {resource.key})".lstrip()
        # A monitor that somebody else has made, or that is of another stack, is never silenced by us.
        tags = own_fields["monitor_identifier"]["monitor_tags"]
        own_fields["monitor_identifier"] = {"monitor_tags": [owner_tag(stack), *tags]}
        body = enveloped("downtime", own_fields)
    return replace(resource, body=body)


def with_mark_of(resource: Resource, stack: str, other: str) -> Resource:
    """A marked resource of `stack` as it would be, were it one of the stack `other`."""
    body = dict(resource.body)
    if resource.kind in ("monitor", "slo"):
        body["tags"] = _tags_of_other(body["tags"], stack, other)
    elif resource.kind == "dashboard":
        body["description"] = _text_of_other(body["description"], stack, other)
    elif resource.kind == "downtime":
        own = dict(attributes(body))
        own["message"] = _text_of_other(own["message"], stack, other)
        tags = own["monitor_identifier"]["monitor_tags"]
        own["monitor_identifier"] = {"monitor_tags": _tags_of_other(tags, stack, other)}
        body = enveloped("downtime", own)
    elif resource.kind == "notification_rule":
        own = dict(attributes(body))
        own["name"] = f"{owner(other)}{own['name'].removeprefix(owner(stack))}"
        scope = f"{owner_tag(other)}{own['filter']['scope'].removeprefix(owner_tag(stack))}"
        own["filter"] = {**own["filter"], "scope": scope}
        body = enveloped("monitor-notification-rule", own)
    return replace(resource, body=body)


def _tags_of_other(tags: Iterable[str], stack: str, other: str) -> list[str]:
    return [owner_tag(other) if tag == owner_tag(stack) else tag for tag in tags]


def _text_of_other(text: str, stack: str, other: str) -> str:
    before, words, line = text.rpartition("managed by ")
    return f"{before}{words}{owner(other)}{line.removeprefix(owner(stack))}"


def mark_of(kind: str, body: Mapping[str, Any]) -> tuple[str, str] | None:
    """The stack and the key of a resource that the account has; None for one that bears no whole mark, or two."""
    if kind in ("monitor", "slo"):
        tags = {str(tag) for tag in body.get("tags") or ()}
        stacks = [match.group(1) or "" for tag in tags if (match := OWNER_TAGS.fullmatch(tag))]
        keys = [tag.partition(":")[2] for tag in tags if tag.startswith(f"{KEY_TAG}:")]
        return (stacks[0], keys[0]) if len(stacks) == len(keys) == 1 and KEY.fullmatch(keys[0]) else None
    if kind == "dashboard":
        match = LINE_MARK.search(str(body.get("description") or ""))
        return (match.group(1) or "", match.group(2)) if match else None
    if kind == "notification_rule":
        own = attributes(body)
        match = RULE_MARK.match(str(own.get("name") or ""))
        # Anybody may call a rule so; the tag in its scope is no accident.
        scope = str((own.get("filter") or {}).get("scope") or "")
        stack = match.group(1) or "" if match else ""
        ours = re.search(rf"(?<![\w:.-]){re.escape(owner_tag(stack))}(?![\w:./-])", scope)
        return (stack, match.group(2)) if match and ours else None
    if kind == "downtime":
        match = LINE_MARK.search(str(attributes(body).get("message") or ""))
        stack = match.group(1) or "" if match else ""
        # Anybody may write so; only ours are for monitors of the stack alone.
        return (stack, match.group(2)) if match and _owners_of(body) == {stack} else None
    return None


def _owners_of(downtime: Mapping[str, Any]) -> set[str]:
    """The stacks whose monitors a downtime is for."""
    tags = (attributes(downtime).get("monitor_identifier") or {}).get("monitor_tags") or ()
    return {match.group(1) or "" for tag in tags if (match := OWNER_TAGS.fullmatch(str(tag)))}


def resembles(kind: str, body: Mapping[str, Any]) -> bool:
    """Whether something bears a part of a mark of ours, or of two stacks at once, so that `mark_of` finds none."""
    if mark_of(kind, body) is not None:
        return False
    if kind in ("monitor", "slo"):
        return any(OWNER_TAGS.fullmatch(str(tag)) for tag in body.get("tags") or ())
    if kind == "downtime":
        return bool(_owners_of(body)) or LINE_MARK.search(str(attributes(body).get("message") or "")) is not None
    return kind == "notification_rule" and RULE_MARK.match(str(attributes(body).get("name") or "")) is not None


def owned_key(kind: str, body: Mapping[str, Any], stack: str = "") -> str | None:
    """The key of a resource of a stack, or None for one that isn't of it."""
    found = mark_of(kind, body)
    return found[1] if found is not None and found[0] == stack else None


def attributes(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The attributes of a body of the API's second version, which wraps them, or the body itself."""
    data = body.get("data")
    if not isinstance(data, Mapping):
        return body
    inner = data.get("attributes")
    return inner if isinstance(inner, Mapping) else {}


def title_of(body: Mapping[str, Any]) -> str:
    """The name that people see of a resource."""
    own = attributes(body)
    if "monitor_identifier" in own:
        # A downtime has a message alone.
        return LINE_MARK.sub("", str(own.get("message") or "")).strip().partition("\n")[0]
    return str(own.get("name") or own.get("title") or "")


def quoted(title: str) -> str:
    """A title in a message, told apart from the words around it."""
    return json.dumps(title, ensure_ascii=False)


def enveloped(kind: str, own: Mapping[str, Any], identity: str | None = None) -> dict[str, Any]:
    """Attributes as the API's second version wants them. `kind` is the `type` of the data, `identity` its `id`."""
    return {"data": {"type": kind, **({"id": identity} if identity else {}), "attributes": dict(own)}}
