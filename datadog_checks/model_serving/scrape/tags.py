"""From the labels of a series to the tags of one of its targets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..catalog.model import NAMESPACE, Labels, Target

GENERIC_TAGS = {
    *("cluster", "cluster_id", "cluster_name", "clusterid", "clustername"),
    *("env", "host", "host_name", "hostname", "service", "version"),
}
"""Tags with a meaning of their own in Datadog. A label of such a name becomes `model_serving_<name>`."""

CONTROL = re.compile(r"[\x00-\x1f\x7f]+")

# google.rpc.Code to HTTP, as in the mapping that google/rpc/code.proto documents.
_GRPC_CLASSES = {
    "ok": "2xx",
    "cancelled": "4xx",
    "invalid_argument": "4xx",
    "failed_precondition": "4xx",
    "out_of_range": "4xx",
    "unauthenticated": "4xx",
    "permission_denied": "4xx",
    "not_found": "4xx",
    "aborted": "4xx",
    "already_exists": "4xx",
    "resource_exhausted": "4xx",
    "data_loss": "5xx",
    "unknown": "5xx",
    "internal": "5xx",
    "unimplemented": "5xx",
    "unavailable": "5xx",
    "deadline_exceeded": "5xx",
}


def status_class(code: str) -> str | None:
    """`2xx` to `5xx` for an HTTP status or a gRPC code name, None for anything else.

    >>> status_class("404"), status_class("UNAVAILABLE"), status_class("teapot")
    ('4xx', '5xx', None)
    """
    if len(code) == 3 and code.isdigit() and "1" <= code[0] <= "5":
        return f"{code[0]}xx"
    return _GRPC_CLASSES.get(code.lower())


@dataclass(frozen=True, slots=True)
class TagRules:
    """What an instance says about labels and tags, in the terms of the stock V2 options.

    `endpoint_name` overrides every label, `default_endpoint_name` serves where there is none.
    """

    static: tuple[str, ...] = ()
    rename: Mapping[str, str] | None = None
    exclude: frozenset[str] = frozenset()
    include: frozenset[str] = frozenset()
    keep: frozenset[str] = frozenset()
    endpoint_name: str = ""
    default_endpoint_name: str = ""

    def tags(self, system: str, labels: Labels, target: Target, raw: Mapping[str, str]) -> tuple[str, ...]:
        """Sorted tags, without duplicates, for one series and target. Empty values give no tag."""
        tags: dict[str, str] = {}
        renames = self.rename or {}
        for label, value in raw.items():
            if label in self.exclude or (self.include and label not in self.include):
                continue
            if label in target.drop or (label in labels.drop and label not in self.keep and label not in target.keep):
                continue
            if not value or value in labels.absent.get(label, ()):
                continue
            tag = renames.get(label) or labels.rename.get(label, label)
            if label not in renames and tag in GENERIC_TAGS:
                tag = f"{NAMESPACE}_{tag}"
            if tag in self.exclude:
                continue
            if label in labels.lower:
                value = value.lower()
            if tag == label or tag not in tags:
                tags[tag] = CONTROL.sub("_", value)
        code = tags.get("status_code")
        if code is not None:
            kind = status_class(code)
            if kind is not None:
                tags["status_class"] = kind
        for tag, template in target.tags:
            text = _fill(template, tags)
            if text:
                tags[tag] = text
        if self.endpoint_name:
            tags["endpoint_name"] = self.endpoint_name
        elif "endpoint_name" not in tags:
            # A federated series says with `job` which target it came from.
            federated = raw.get("job") if "instance" in raw else None
            tags["endpoint_name"] = federated or self.default_endpoint_name
        tags["serving_system"] = system
        return tuple(sorted({*_joined(tags.items()), *self.static}))


def _joined(tags: Iterable[tuple[str, str]]) -> Iterable[str]:
    return (f"{tag}:{value}" for tag, value in tags if value)


def _fill(template: str, tags: Mapping[str, str]) -> str:
    missing = False

    def value(match: re.Match[str]) -> str:
        nonlocal missing
        text = tags.get(match.group(1), "")
        missing = missing or not text
        return text

    text = re.sub(r"\{(\w+)\}", value, template)
    return "" if missing else text
