"""A new model, model version, server version or driver version, as an event, told once and remembered over restarts."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..catalog.plain_text import plain_text
from ..submit.agent_cache import AgentCache
from ..submit.series import Series
from .collector import Collector
from .tags import CONTROL

CACHE_KEY = "versions"
MAX_SUBJECTS = 1000
"""Models, or hosts of GPUs, that are remembered of one endpoint. Of more nothing is told."""

MAX_VERSIONS = 50
"""Versions of one model that are remembered, the newest."""

MAX_EVENTS = 20
"""Events that one look brings at most."""

MAX_TITLE = 300
ANSWERS = frozenset(("request.count", "request.latency"))
REPORTED_OTHERWISE = "databricks"
"""What its description says of an endpoint brings events of its own (`sources/databricks/events.py`)."""

WORDS = {"model_version": "serves", "server_version": "runs", "driver_version": "has driver"}
"""What an event says, by the value of its tag `change`."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version of something. `kind` is the value of the event's `change` tag; `subject` whose version it is.

    That is the name of a model, or the host of a GPU; empty for the only one that an endpoint has. An empty `version`
    is that of a model without any.
    """

    kind: str
    subject: str
    version: str


Known = dict[str, dict[str, dict[str, list[str]]]]
"""Versions by endpoint, kind and subject, the newest last."""


class SeenVersions:
    """The versions that were seen, of all endpoints of one check. What can't be read is as if never seen."""

    def __init__(self, check: Any, cache: AgentCache) -> None:
        self._check = check
        self._cache = cache
        self._known: Known | None = None
        self._unwritten = False

    def knows(self, tags: Iterable[str], one: Version) -> bool:
        """Whether there is nothing to be told of a version at the endpoint with these tags."""
        known = self._recall().get(_endpoint(tags), {}).get(one.kind)
        return known is not None and _is_known(known, one)

    def any_of(self, tags: Iterable[str], kind: str) -> bool:
        """Whether the endpoint with these tags has shown any version of a kind before."""
        return kind in self._recall().get(_endpoint(tags), {})

    def see(self, tags: tuple[str, ...], versions: Iterable[Version], title: str) -> None:
        """Remember versions, and submit an event for each that is new. `tags` name the endpoint, `title` its system.

        The first look at an endpoint only remembers.
        """
        told = 0
        kinds = self._recall().setdefault(_endpoint(tags), {})
        first = {one.kind for one in versions} - kinds.keys()
        for one in versions:
            known = kinds.setdefault(one.kind, {})
            if _is_known(known, one) or (one.subject not in known and len(known) >= MAX_SUBJECTS):
                continue
            before = known.get(one.subject, [])
            # A new host has no driver that has changed. A model that was known without a version has one now.
            new = one.kind not in first and (any(before) if before else one.kind == "model_version")
            if new and told < MAX_EVENTS:
                self._check.event(_event(one, before, tags, title))
                told += 1
            kept = MAX_VERSIONS if one.kind == "model_version" else 1
            known[one.subject] = [*(each for each in before if each != one.version), one.version][-kept:]
            self._unwritten = True
        self.keep()

    def keep(self) -> None:
        """Write what has changed, as soon as the cache takes it."""
        if self._unwritten:
            self._unwritten = not self._cache.write(CACHE_KEY, json.dumps(self._known, separators=(",", ":")))

    def _recall(self) -> Known:
        if self._known is None:
            try:
                self._known = _read(json.loads(self._cache.read(CACHE_KEY) or "{}"))
            except (ValueError, TypeError, AttributeError, KeyError) as error:
                self._cache.broken(CACHE_KEY, error)
                self._known = {}
        return self._known


class VersionWatch:
    """Looks through the new series of one source, for versions to be told of. `tags` are the instance's own."""

    def __init__(self, seen: SeenVersions, collector: Collector, tags: tuple[str, ...]) -> None:
        self._seen = seen
        self._collector = collector
        self._tags = tags
        self._pending: list[Series] = []

    def look(self) -> None:
        """After a scrape: remember what is there, and tell what is new.

        A series whose requests have all failed, or never came, may be of a model that is not there at all, so it is
        only remembered, at the first look, or waits.
        """
        pending = [*self._pending, *self._collector.fresh]
        self._collector.fresh, self._pending = [], []
        taken = set(map(id, self._collector.frame)) if pending else set()
        found: dict[tuple[str, ...], dict[Version, str]] = {}
        for series in pending:
            for tags, one in _versions(series):
                if self._seen.knows(tags, one):
                    continue
                if (id(series.whole or series) in taken and _shows(series)) or not self._seen.any_of(tags, one.kind):
                    found.setdefault(tags, {})[one] = self._collector.recogniser.systems[series.raw.system].title
                elif series.seen > self._collector.forgotten and not _failed(series):
                    self._pending.append(series)
        for tags, versions in found.items():
            self._seen.see((*self._tags, *tags), list(versions), next(iter(versions.values())))


def _versions(series: Series) -> Iterator[tuple[tuple[str, ...], Version]]:
    """What a series names, each with the tags of its endpoint."""
    for tags in {output.tags for output in series.outputs[:1]}:
        named = dict(tag.partition(":")[::2] for tag in tags)
        endpoint = tuple(f"{name}:{named.get(name, '')}" for name in ("endpoint_name", "serving_system"))
        if "driver_version" in named:
            host = named.get("gpu_host") or named.get("instance", "")
            yield endpoint, Version("driver_version", host, named["driver_version"])
        # A hop before the servers names what it has asked others for, a fallback among them, and serves none of it.
        if "model_name" in named and "hop" not in named and series.raw.system != REPORTED_OTHERWISE:
            yield endpoint, Version("model_version", named["model_name"], named.get("model_version", ""))


def _failed(series: Series) -> bool:
    return any(o.target.metric.name == "request.error.count" and o.target.value != "zero" for o in series.outputs)


def _shows(series: Series) -> bool:
    """Whether a reading of a series proves that what its labels name is there."""
    if _failed(series):
        return False
    if series.raw.type in ("gauge", "timestamp"):
        return True
    counted = bool(series.current.value or series.current.count)
    return counted and any(output.target.metric.name in ANSWERS for output in series.outputs)


def _is_known(known: dict[str, list[str]], one: Version) -> bool:
    versions = known.get(one.subject)
    if versions is None:
        return False
    # Metrics that say no version say nothing new of a model; of a server or driver only the last one counts.
    return not one.version or one.version in versions


def _endpoint(tags: Iterable[str]) -> str:
    named = dict(tag.partition(":")[::2] for tag in tags)
    return f"{named.get('endpoint_name', '')}\n{named.get('serving_system', '')}"


def _event(one: Version, before: list[str], tags: tuple[str, ...], title: str) -> dict[str, Any]:
    endpoint, _, system = _endpoint(tags).partition("\n")
    numbered = f"version {one.version}" if one.version else ""
    what = " ".join(part for part in (one.subject if one.kind == "model_version" else "", numbered) if part)
    where = f" of {one.subject}" if one.kind == "driver_version" and one.subject else ""
    said = f"{endpoint}{where} {WORDS[one.kind]} {what}"
    earlier = [version for version in before if version]
    past = "It is new there." if not earlier else f"Before it was version {', '.join(earlier[-5:])}."
    own = {
        "model_version": [f"model_name:{one.subject}", *([f"model_version:{one.version}"] if one.version else [])],
        "server_version": [f"server_version:{one.version}"],
        "driver_version": [
            *([f"gpu_host:{one.subject}"] if one.subject else []),
            f"driver_version:{one.version}",
        ],
    }
    return {
        "timestamp": int(time.time()),
        "event_type": f"serving_{one.kind}",
        "source_type_name": "model_serving",
        "msg_title": plain_text(said[:MAX_TITLE]),
        "msg_text": plain_text(f"{title}: {said}. {past}"[: MAX_TITLE * 4]),
        "alert_type": "info",
        "priority": "normal",
        # Datadog takes keys of up to 100 characters.
        "aggregation_key": f"{system}-{CONTROL.sub('_', endpoint)}"[:100],
        "tags": [*tags, *own[one.kind], f"change:{one.kind}"],
    }


def _read(kept: Any) -> Known:
    """What was written, in which everything has its type. Raises ValueError, TypeError or AttributeError otherwise."""
    return {
        str(endpoint): {
            str(kind): {str(subject): [str(version) for version in versions] for subject, versions in subjects.items()}
            for kind, subjects in kinds.items()
            if kind in WORDS
        }
        for endpoint, kinds in kept.items()
    }
