"""From the labels of a series to the tags of one of its targets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from ..catalog.labels import GENERIC_TAGS, PLACEHOLDER
from ..catalog.model import NAMESPACE, Labels, Target

EXPORTED = "exported_"

LONGEST = 200
"""Characters of a tag that Datadog keeps, as it documents."""

CONTROL = re.compile(r"[\x00-\x1f\x7f]+")

# google.rpc.Code to HTTP, as in the mapping that google/rpc/code.proto documents. Some say NOT_FOUND, Go says NotFound.
_GRPC_CLASSES = {
    "ok": "2xx",
    "cancelled": "4xx",
    "canceled": "4xx",
    "invalidargument": "4xx",
    "failedprecondition": "4xx",
    "outofrange": "4xx",
    "unauthenticated": "4xx",
    "permissiondenied": "4xx",
    "notfound": "4xx",
    "aborted": "4xx",
    "alreadyexists": "4xx",
    "resourceexhausted": "4xx",
    "dataloss": "5xx",
    "unknown": "5xx",
    "internal": "5xx",
    "unimplemented": "5xx",
    "unavailable": "5xx",
    "deadlineexceeded": "5xx",
}


def status_class(code: str) -> str | None:
    """`2xx` to `5xx` for an HTTP status or a gRPC code name, None for anything else.

    >>> status_class("404"), status_class("DEADLINE_EXCEEDED"), status_class("NotFound"), status_class("teapot")
    ('4xx', '5xx', '4xx', None)
    """
    if len(code) == 3 and code.isdigit() and "1" <= code[0] <= "5":
        return f"{code[0]}xx"
    return _GRPC_CLASSES.get(code.lower().replace("_", ""))


@dataclass(frozen=True, slots=True)
class TagRules:
    """What an instance says about labels and tags, in the terms of the stock V2 options.

    `endpoint_name` overrides every label, `default_endpoint_name` serves where there is none. Of a `static` tag and
    what a sample says under the same key, the sample's counts: the one is of the target, the other of its subject.
    `told` is what an API has told of a system whose metrics don't say it, which counts where neither speaks.
    """

    static: tuple[str, ...] = ()
    rename: Mapping[str, str] | None = None
    exclude: frozenset[str] = frozenset()
    include: frozenset[str] = frozenset()
    keep: frozenset[str] = frozenset()
    endpoint_name: str = ""
    default_endpoint_name: str = ""
    told: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def workload(self, labels: Labels, raw: dict[str, str]) -> dict[str, str]:
        """The labels of a sample with the workload's own in place of those that Prometheus gave its target.

        Where both have a label, Prometheus keeps its own and calls the workload's `exported_<label>`. What the options
        or the catalog call by that name stays as it is.
        """
        if not any(label.startswith(EXPORTED) for label in raw):
            return raw
        found = dict(raw)
        for label, value in raw.items():
            own = label.removeprefix(EXPORTED)
            # With two of them a Prometheus between has said it, of its own target.
            if own in ("", label) or own.startswith(EXPORTED) or not value or self._names(label, labels):
                continue
            del found[label]
            found[own] = value
        return dict(sorted(found.items()))

    def _names(self, label: str, labels: Labels) -> bool:
        return label in (self.rename or ()) or any(
            label in names for names in (self.exclude, self.include, self.keep, labels.spellings)
        )

    def tags(self, system: str, labels: Labels, target: Target, raw: Mapping[str, str]) -> tuple[str, ...]:
        """Sorted tags, without duplicates, for one series and target. Empty values give no tag."""
        tags: dict[str, str] = {}
        hidden: dict[str, str] = {}
        parts: dict[str, str] = {}
        renames = self.rename or {}
        spellings = labels.spellings
        said: Iterable[tuple[str, str]] = raw.items()
        if any(label not in spellings and label.lower() in spellings for label in raw):
            # Of labels that differ in their case alone, that which the catalog names counts.
            said = sorted(said, key=lambda item: item[0] not in spellings)
        for label, value in said:
            if label in self.exclude or (self.include and label not in self.include):
                continue
            name = label if label in spellings else spellings.get(label.lower(), label)
            if not value or value in labels.absent.get(name, ()):
                continue
            if name in labels.parts and (found := labels.parts[name].search(value)):
                parts.update((tag, part) for tag, part in found.groupdict().items() if part)
            if name in labels.values:
                value = next((word for glob, word in labels.values[name] if glob.match(value)), value)
            dropped = label in target.drop or name in target.drop
            dropped = dropped or (
                name in labels.drop
                and not any(each in kept for kept in (self.keep, target.keep) for each in (label, name))
            )
            tag = renames.get(label) or labels.rename.get(name, label)
            if tag.lower() in GENERIC_TAGS and label not in renames:
                tag = f"{NAMESPACE}_{tag.lower()}"
            if tag in self.exclude:
                continue
            if name in labels.lower:
                value = value.lower()
            if dropped:
                hidden[tag] = CONTROL.sub("_", value)
                continue
            if tag == label or tag not in tags:
                tags[tag] = CONTROL.sub("_", value)
        for name, part in parts.items():
            tag = f"{NAMESPACE}_{name.lower()}" if name.lower() in GENERIC_TAGS else name
            if tag not in tags and tag not in self.exclude and tag not in target.drop:
                tags[tag] = CONTROL.sub("_", part)
        code = tags.get("status_code")
        if code is not None:
            kind = status_class(code)
            if kind is not None:
                tags["status_class"] = kind
        if "status_code" in hidden and (kind := status_class(hidden["status_code"])):
            hidden.setdefault("status_class", kind)
        for tag, template in target.tags:
            text = _fill(template, {**hidden, **tags})
            if text:
                tags[tag] = text
        if self.endpoint_name:
            tags["endpoint_name"] = self.endpoint_name
        elif "endpoint_name" not in tags and (job := federated_job(raw)):
            tags["endpoint_name"] = job
        tags["serving_system"] = system
        if system in self.told:
            keys = {tag.lower() for tag in tags} | {key for key, _ in _keyed(self.static)} | self.exclude
            for name, value in self.told[system].items():
                tag = f"{NAMESPACE}_{name.lower()}" if name.lower() in GENERIC_TAGS else name
                if tag.lower() not in keys:
                    tags[tag] = CONTROL.sub("_", value)
        own = [f"{tag}:{value}"[:LONGEST] for tag, value in tags.items()]
        return tuple(sorted({*own, *self._others({tag.lower() for tag in tags})}))

    def complete(self, own: Iterable[str] = (), system: str = "", job: str = "") -> list[str]:
        """The tags of what no catalog has mapped: its `own`, and those that everything has.

        `system` is empty where it can't be known, `job` names the target that a federated sample came from.
        """
        common = {"endpoint_name": self.endpoint_name, "serving_system": system}
        tags = [tag[:LONGEST] for tag in own if not common.get(_key(tag))]
        keys = {_key(tag) for tag in tags} | {key for key, value in common.items() if value}
        tags += (f"{key}:{value}" for key, value in common.items() if value)
        if job and "endpoint_name" not in keys:
            tags.append(f"endpoint_name:{job}")
            keys.add("endpoint_name")
        return [*tags, *self._others(keys)]

    def _others(self, keys: set[str]) -> list[str]:
        """Tags under other keys than these, in small letters, that everything has."""
        static = _keyed(self.static)
        tags = [tag for key, tag in static if key not in keys]
        if "endpoint_name" not in keys and not any(key == "endpoint_name" for key, _ in static):
            tags.append(f"endpoint_name:{self.default_endpoint_name}")
        return tags


def federated_job(labels: Mapping[str, str]) -> str:
    """By which name Prometheus knows the target of a federated sample; empty for one that was scraped directly."""
    return labels.get("job", "") if "instance" in labels else ""


@lru_cache(maxsize=1024)
def _keyed(tags: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((_key(tag), tag) for tag in tags)


def _key(tag: str) -> str:
    """By what Datadog tells the tag from others, which is no matter of case; empty for one without a value."""
    key, _, value = tag.partition(":")
    return key.lower() if value else ""


def _fill(template: str, tags: Mapping[str, str]) -> str:
    missing = False

    def value(match: re.Match[str]) -> str:
        nonlocal missing
        text = tags.get(match.group(1), "")
        missing = missing or not text
        return text

    text = PLACEHOLDER.sub(value, template)
    return "" if missing else text
