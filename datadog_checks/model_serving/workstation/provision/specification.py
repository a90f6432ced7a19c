"""Holds a body against the specification of Datadog's API, as the client that is generated from it knows it."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import import_module
from typing import Any

from datadog_api_client import Configuration
from datadog_api_client.exceptions import OpenApiException
from datadog_api_client.model_utils import validate_and_convert_types

from .model import Resource
from .writes import request_body

MODELS = {
    "monitor": ("v1", "monitor", "Monitor"),
    "slo": ("v1", "service_level_objective_request", "ServiceLevelObjectiveRequest"),
    "dashboard": ("v1", "dashboard", "Dashboard"),
    "notification_rule": (
        "v2",
        "monitor_notification_rule_create_request",
        "MonitorNotificationRuleCreateRequest",
    ),
    "downtime": ("v2", "downtime_create_request", "DowntimeCreateRequest"),
}
"""The request of each kind that may say more than one thing."""

PLACE = "1"
"""In place of an id that isn't known yet."""


def violation(resource: Resource) -> str:
    """What of a marked resource the specification doesn't allow, empty where it allows all of it: types, values of
    enumerations, and what must be there. Ids of what doesn't exist yet are taken for granted.
    """
    if resource.kind not in MODELS:
        return ""
    body = request_body(resource, dict.fromkeys(resource.references(), PLACE))
    try:
        read = validate_and_convert_types(body, (_model(resource.kind),), ["body"], True, True, Configuration())
    except (OpenApiException, ValueError) as error:
        # A number out of its range, or a list too long or short, is either of them.
        return str(error)
    except TypeError as error:
        # How the client tells of what is not there.
        missing = re.findall(r"'(\w+)'", str(error))
        return f"{', '.join(missing)} must be there" if missing else str(error)
    unread = _unread(read, "body")
    return f"{unread} has a value that the specification doesn't know" if unread else ""


@lru_cache
def _model(kind: str) -> Any:
    version, module, name = MODELS[kind]
    return getattr(import_module(f"datadog_api_client.{version}.model.{module}"), name)


def _unread(value: Any, path: str) -> str:
    """Where the client found nothing of the specification that fits: the innermost such place."""
    if isinstance(value, list):
        return next((found for i, one in enumerate(value) if (found := _unread(one, f"{path}[{i}]"))), "")
    if not getattr(value, "_unparsed", False):
        return ""
    inner = getattr(value, "_data_store", {})
    return next((found for name, one in inner.items() if (found := _unread(one, f"{path}.{name}"))), path)
