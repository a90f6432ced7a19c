"""Whether an account takes the keys, and whether they may do what is needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...errors import ProvisionError, Refused
from .api import Client, understood

READS = {
    "percentiles": "metrics_read",
    "slo": "slos_read",
    "monitor": "monitors_read",
    "dashboard": "dashboards_read",
    "notification_rule": "monitors_read",
    "downtime": "monitors_downtime",
}
WRITES = {
    "percentiles": "metric_tags_write",
    "slo": "slos_write",
    "monitor": "monitors_write",
    "dashboard": "dashboards_write",
    "notification_rule": "monitor_config_policy_write",
    "downtime": "monitors_downtime",
}
"""Permission that a call on a kind of resource needs, as the published description of the API names it."""


def check_access(client: Client, needed: Iterable[str]) -> None:
    """Make sure that the account takes both keys and lets them do what is `needed`, names of permissions.

    Raises ProvisionError that names what is missing. Where the account doesn't tell the user's permissions,
    nothing is said here: the calls themselves will be refused.
    """
    site = client.credentials.place
    try:
        client.call(client.authentication.validate)
    except Refused as error:
        raise ProvisionError(
            f"{site} doesn't take the API key ({error}). Check DD_API_KEY or --api-key-file, and that the key "
            "belongs to this site: DD_SITE or --site"
        ) from None
    try:
        with understood("the current user"):
            user = client.call(client.users.get_current_user)
            identity = str(user["data"]["id"])
    except Refused as error:
        if error.status not in (401, 403):
            raise
        raise ProvisionError(
            f"{site} takes the API key but not the application key ({error}). Check DD_APP_KEY or --app-key-file"
        ) from None
    granted = _granted(client, identity, user.get("included") or ())
    scopes = _scopes(client)
    lacking = sorted(set(needed) - granted) if granted is not None else []
    unscoped = sorted(set(needed) - scopes - set(lacking)) if scopes is not None else []
    if lacking:
        raise ProvisionError(
            f"the owner of the application key lacks {_permissions(lacking)}. Have a role that grants this, or "
            "use the key of somebody who has one"
        )
    if unscoped:
        raise ProvisionError(
            f"the application key is limited to scopes that lack {_permissions(unscoped)}. Add this to its scopes, "
            "or use a key without any"
        )


def _granted(client: Client, identity: str, included: Iterable[Mapping[str, Any]]) -> set[str] | None:
    """Permissions of the user; None where the account doesn't tell."""
    with understood("the permissions of the user"):
        known = [one for one in included if one.get("type") == "permissions"]
        if not known:
            try:
                known = client.call(client.users.list_user_permissions, user_id=identity)["data"]
            except Refused:
                return None
        return {one["attributes"]["name"] for one in known}


def _scopes(client: Client) -> set[str] | None:
    """What the application key is limited to; None where it isn't, or where that can't be told."""
    try:
        answer = client.call(client.keys.list_current_user_application_keys, page_size=100)
    except Refused:
        return None
    end = client.credentials.app_key[-4:]
    with understood("the application keys"):
        own = [one["attributes"] for one in answer["data"] if one["attributes"].get("last4") == end]
        scopes = own[0].get("scopes") if len(own) == 1 else None
        return None if scopes is None else set(scopes)


def _permissions(names: Sequence[str]) -> str:
    return f"the permission{'s' if len(names) > 1 else ''} {', '.join(names)}"
