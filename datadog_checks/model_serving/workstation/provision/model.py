"""A resource of a Datadog account as it should be, its identity, and the mark that says it is ours."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

KINDS = ("percentiles", "slo", "notification_rule", "monitor", "dashboard")
"""Kinds of resources in the order of creation; they are destroyed in reverse. Datadog routes the monitors that are
created or updated after a rule was saved; whether it routes older ones isn't documented, so rules come before them."""

OWNER = "model-serving"
OWNER_TAG = f"managed_by:{OWNER}"
KEY_TAG = "model_serving_key"
OLDER_FORM_TAG = "model_serving_without:on_missing_data"
"""On a monitor of an account that refused `on_missing_data`: that it lacks it is no difference there."""
REFERENCE = re.compile(r"\$\{([a-z_]+:[a-z0-9_.-]+)\}")
"""In any text of a body: the id of another resource, by its address."""

KEY = re.compile(r"[a-z0-9_.-]+")
DASHBOARD_MARK = re.compile(rf"managed by {OWNER} \(key: ({KEY.pattern})(?:, content: [0-9a-f]+)?\)\s*$")


@dataclass(frozen=True, slots=True)
class Resource:
    """What should exist. `key` is stable and unique within the kind; `body` is that of the API's create call, in JSON
    types, with `${kind:key}` in place of the id of another resource."""

    kind: str
    key: str
    body: Mapping[str, Any]

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


def mark(resource: Resource) -> Resource:
    """The resource with the sign of our ownership in its body, as `owned_key` finds it again.

    Monitors and SLOs carry two tags, notification rules a prefix of their name, dashboards a last line in the
    description. That line also holds a digest of the body: a field that was taken out of a dashboard can't be told
    from one that the server added, so the digest says that something did change. Percentiles bear no mark.
    """
    body = dict(resource.body)
    if resource.kind in ("monitor", "slo"):
        own = [OWNER_TAG, f"{KEY_TAG}:{resource.key}"]
        body["tags"] = [*(tag for tag in body.get("tags") or () if tag not in own), *own]
    elif resource.kind == "dashboard":
        description = str(body.get("description") or "").rstrip()
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:8]
        body["description"] = f"{description}\n\n{_line(resource.key, digest)}".lstrip()
    elif resource.kind == "notification_rule":
        own_fields = dict(attributes(body))
        own_fields["name"] = f"{OWNER} {resource.key}: {own_fields.get('name') or resource.key}"
        scope = (own_fields.get("filter") or {}).get("scope")
        if scope is not None:
            # Of a monitor that somebody else has made, whatever its tags, nobody hears through us.
            own_fields["filter"] = {**own_fields["filter"], "scope": f"{OWNER_TAG} AND {scope}"}
        body = enveloped("monitor-notification-rule", own_fields)
    return replace(resource, body=body)


def owned_key(kind: str, body: Mapping[str, Any]) -> str | None:
    """The key of a resource that the account has, or None for one that isn't ours."""
    if kind in ("monitor", "slo"):
        tags = [str(tag) for tag in body.get("tags") or ()]
        keys = [tag.partition(":")[2] for tag in tags if tag.startswith(f"{KEY_TAG}:")]
        return keys[0] if OWNER_TAG in tags and keys and KEY.fullmatch(keys[0]) else None
    if kind == "dashboard":
        match = DASHBOARD_MARK.search(str(body.get("description") or ""))
        return match.group(1) if match else None
    if kind == "notification_rule":
        match = re.match(rf"{OWNER} ({KEY.pattern}): ", str(attributes(body).get("name") or ""))
        return match.group(1) if match else None
    return None


def attributes(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The attributes of a body of the API's second version, which wraps them, or the body itself."""
    data = body.get("data")
    if not isinstance(data, Mapping):
        return body
    inner = data.get("attributes")
    return inner if isinstance(inner, Mapping) else {}


def enveloped(kind: str, own: Mapping[str, Any], identity: str | None = None) -> dict[str, Any]:
    """Attributes as the API's second version wants them. `kind` is the `type` of the data, `identity` its `id`."""
    return {"data": {"type": kind, **({"id": identity} if identity else {}), "attributes": dict(own)}}


def _line(key: str, digest: str) -> str:
    return f"managed by {OWNER} (key: {key}, content: {digest})"
