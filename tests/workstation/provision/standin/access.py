"""Keys, the current user, and what it may do."""

from __future__ import annotations

import uuid

from .account import PERMISSIONS, USER, USER_UUID, Account, Json, Refusal, Request
from .routes import operation

MOMENT = "2026-01-01T00:00:00+00:00"


@operation("GET", "/api/v1/validate", "Validate", None, keys=False)
def validate(account: Account, request: Request) -> Json:
    """Only the key of the API is looked at, which has been done by now."""
    return {"valid": True}


def _permission(name: str) -> Json:
    attributes = {
        "name": name,
        "display_name": name.replace("_", " ").title(),
        "description": "",
        "created": MOMENT,
        "group_name": name.partition("_")[0].title(),
        "display_type": "read" if name.endswith("_read") else "write",
        "restricted": False,
    }
    return {"type": "permissions", "id": str(uuid.uuid5(uuid.NAMESPACE_DNS, name)), "attributes": attributes}


@operation("GET", "/api/v2/permissions", "ListPermissions", "user_access_read")
def permissions(account: Account, request: Request) -> Json:
    """Every permission that there is, granted or not."""
    return {"data": [_permission(name) for name in PERMISSIONS]}


@operation("GET", "/api/v2/current_user", "GetCurrentUser", None)
def current_user(account: Account, request: Request) -> Json:
    """The user, with the permissions of its roles, whatever the scopes of the key."""
    own = [_permission(name) for name in sorted(set(PERMISSIONS) - account.policy.missing_permissions)]
    role = {
        "type": "roles",
        "id": str(uuid.uuid5(uuid.NAMESPACE_DNS, "role")),
        "attributes": {"name": "Provisioning", "created_at": MOMENT, "modified_at": MOMENT, "user_count": 1},
        "relationships": {"permissions": {"data": [{"type": one["type"], "id": one["id"]} for one in own]}},
    }
    attributes = {"handle": USER["handle"], "email": USER["email"], "name": USER["name"], "status": "Active"}
    relationships = {"roles": {"data": [{"type": "roles", "id": role["id"]}]}}
    data = {"type": "users", "id": USER_UUID, "attributes": attributes, "relationships": relationships}
    return {"data": data, "included": [role, *own]}


@operation("GET", "/api/v2/users/{user_id}/permissions", "ListUserPermissions", "user_access_read")
def user_permissions(account: Account, request: Request) -> Json:
    if request.path["user_id"] != USER_UUID:
        raise Refusal(404, "User not found")
    return {"data": [_permission(name) for name in sorted(set(PERMISSIONS) - account.policy.missing_permissions)]}


@operation("GET", "/api/v2/current_user/application_keys", "ListCurrentUserApplicationKeys", "user_app_keys")
def application_keys(account: Account, request: Request) -> Json:
    """The one key, with its scopes: null where it may do all that its user may."""
    scopes = None if account.policy.scopes is None else sorted(account.policy.scopes)
    attributes = {"name": "provisioning", "last4": "_app", "created_at": MOMENT, "scopes": scopes}
    identity = str(uuid.uuid5(uuid.NAMESPACE_DNS, "key"))
    return {"data": [{"type": "application_keys", "id": identity, "attributes": attributes}]}
