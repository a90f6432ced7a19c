"""What the description of a Databricks serving endpoint says, as service checks, gauges and events."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from typing import Any

from ...catalog.model import NAMESPACE
from ...scrape.tags import CONTROL
from ...submit.agent_cache import AgentCache
from ...submit.validate import age
from ..loaded import LoadedVersion
from ..probes.base import CRITICAL, OK, UNKNOWN, WARNING
from .description import MODEL_TAGS, NOT_SUSPENDED, EndpointDescription, ServedEntity
from .events import STARTING, ReportedState, event, recalled, since

CACHE_KEY = "databricks_state"
MAX_ENDPOINTS = 5000
"""Endpoints that are remembered for the sake of their events."""

READY = {"READY": OK, "NOT_READY": CRITICAL}
DEPLOYMENT = {
    "DEPLOYMENT_READY": OK,
    "DEPLOYMENT_CREATING": WARNING,
    "DEPLOYMENT_RECOVERING": WARNING,
    "DEPLOYMENT_FAILED": CRITICAL,
    "DEPLOYMENT_ABORTED": CRITICAL,
}
GONE = ("DEPLOYMENT_FAILED", "DEPLOYMENT_ABORTED")
"""Of an entity in one of these states nothing is there that could be called."""

"""`state.deployment` of a served entity, as the serving-endpoints API names it."""

GAUGES = {
    "traffic.share": "traffic",
    "scale_to_zero": "scale_to_zero",
    "concurrency.min": "min_concurrency",
    "concurrency.max": "max_concurrency",
    "throughput.provisioned.min": "min_throughput",
    "throughput.provisioned.max": "max_throughput",
    "throughput.model_units": "model_units",
}
"""Metrics of a served entity, and the fields that they show."""


class StateReporter:
    """Reports the endpoints of one workspace, for one check and from one thread.

    `tags` come with everything; `workspace` is the host, which keeps endpoints of the same name apart. With `checks`
    there are service checks as well as gauges and events. What was reported is remembered over restarts of the Agent:
    after a round of reports `flush` puts it into the Agent's `cache`.
    """

    def __init__(
        self, check: Any, cache: AgentCache, tags: Iterable[str] = (), workspace: str = "", checks: bool = True
    ) -> None:
        self.check = check
        self.cache = cache
        self.checks = checks
        self.tags = tuple(tags)
        self.workspace = workspace
        self._key = f"{CACHE_KEY}_{hashlib.sha256(workspace.encode()).hexdigest()[:8]}" if workspace else CACHE_KEY
        self._memory: dict[str, ReportedState] | None = None
        self._reported: dict[str, EndpointDescription] = {}
        self._changed = False

    def report(self, endpoint: EndpointDescription, tags: Sequence[str] = (), new: bool = False) -> None:
        """Submit what is known of an endpoint, `tags` on top of the reporter's.

        Tags that name a model or a workload give way to those of each served entity. `new` says that there was
        no such endpoint before: what it serves from the start is reported as a deployment too.
        """
        tags = _common(endpoint.name, [*self.tags, *tags])
        if self._reported.get(endpoint.name) is not endpoint:
            self._reported[endpoint.name] = endpoint
            self._events(endpoint, tags, new)
        remembered = self._recall().get(endpoint.name)
        starting = endpoint.detailed and remembered is not None and remembered.halt == STARTING
        if self.checks:
            status, message = readiness(endpoint, starting)
            self.check.service_check("endpoint.ready", status, tags=tags, message=message or None)
        if endpoint.suspend:
            self.check.gauge(f"{NAMESPACE}.endpoint.stopped", float(endpoint.stopped), tags=tags, raw=True)
        if endpoint.detailed:
            for entity in endpoint.entities:
                self._entity(entity, [*tags, *entity.tags()], endpoint.stopped, starting)

    def known(self) -> frozenset[str]:
        """Names of the endpoints that are remembered, also from before a restart."""
        return frozenset(self._recall())

    def forget(self, names: Iterable[str]) -> None:
        """Drop endpoints that are gone. One of the same name that comes later starts afresh."""
        memory = self._recall()
        for name in names:
            self._reported.pop(name, None)
            if memory.pop(name, None) is not None:
                self._changed = True

    def flush(self) -> None:
        """Write what is remembered, if that has changed."""
        if self._changed:
            kept = {name: remembered.as_json() for name, remembered in self._recall().items()}
            self._changed = not self.cache.write(self._key, json.dumps(kept, separators=(",", ":")))

    def _entity(self, entity: ServedEntity, tags: list[str], stopped: bool, starting: bool) -> None:
        if self.checks and stopped:
            # Whatever is said of its replicas, which are gone, is no fault.
            self.check.service_check("model.ready", OK, tags=tags)
        elif self.checks and entity.deployment:
            status = DEPLOYMENT.get(entity.deployment, UNKNOWN)
            # That may still be what became of it when it was stopped.
            status = WARNING if starting and status == CRITICAL else status
            said = f"{entity.deployment}: {entity.message}" if entity.message else entity.deployment
            self.check.service_check("model.ready", status, tags=tags, message=None if status == OK else said)
        for metric, field in GAUGES.items():
            value = getattr(entity, field)
            if value is not None:
                self.check.gauge(f"{NAMESPACE}.{metric}", float(value), tags=tags, raw=True)
        elapsed = None if entity.created is None else age(entity.created / 1000, time.time())
        if elapsed is not None:
            self.check.gauge(f"{NAMESPACE}.model.age", elapsed, tags=tags, raw=True)

    def _events(self, endpoint: EndpointDescription, tags: list[str], new: bool) -> None:
        memory = self._recall()
        before = memory.get(endpoint.name)
        if before is None and len(memory) >= MAX_ENDPOINTS:
            return
        after, changes = since(before, endpoint, new)
        for change in changes:
            self.check.event(event(change, endpoint.name, self.workspace, tags))
        if after is not None and after != before:
            memory[endpoint.name] = after
            self._changed = True

    def _recall(self) -> dict[str, ReportedState]:
        if self._memory is None:
            try:
                self._memory = recalled(self.cache.read(self._key))
            except (ValueError, RecursionError) as error:
                self.cache.broken(self._key, error)
                self._memory = {}
        return self._memory


def loaded_entities(endpoint: EndpointDescription, tags: Sequence[str]) -> list[LoadedVersion]:
    """The versions that an endpoint serves; `tags` are those of its metrics. None while somebody has stopped it."""
    if endpoint.stopped or not endpoint.detailed:
        return []
    common = _common(endpoint.name, tags)
    return [
        LoadedVersion(
            (*common, *entity.tags()),
            entity.deployment or "UNKNOWN",
            entity.deployment == "DEPLOYMENT_READY",
            None if entity.created is None else entity.created / 1000,
        )
        for entity in endpoint.entities
        if entity.deployment not in GONE
    ]


def _common(name: str, given: Sequence[str]) -> list[str]:
    """Tags of an endpoint without those that name a model or a workload, which each of its entities has of its own."""
    own = [f"endpoint_name:{CONTROL.sub('_', name)}", "serving_system:databricks"]
    names = {tag.partition(":")[0] for tag in given}
    apart = {*MODEL_TAGS, "served_entity"}
    return [
        *(tag for tag in given if tag.partition(":")[0] not in apart),
        *(tag for tag in own if tag.partition(":")[0] not in names),
    ]


def readiness(endpoint: EndpointDescription, starting: bool = False) -> tuple[int, str]:
    """Status and message of the service check on readiness.

    One that was stopped on purpose is OK: it is as somebody wants it, and an alert from before ends, which one that
    became unknown would keep open. The gauge and the event say that it is stopped; an OK has no message. One that is
    `starting` after that, or has not been deployed yet, is a warning.
    """
    if endpoint.stopped:
        return OK, ""
    status = READY.get(endpoint.ready, UNKNOWN)
    if status == OK:
        return OK, ""
    said = f"state {endpoint.ready or None}, configuration update {endpoint.update or 'unknown'}"
    if endpoint.system_update_failed:
        said += ", an update by Databricks itself failed"
    if endpoint.suspend not in ("", NOT_SUSPENDED):
        return UNKNOWN, f"{said}, suspend {endpoint.suspend}"
    if status == CRITICAL and starting:
        return WARNING, f"it is being started after somebody had stopped it: {said}"
    if status == CRITICAL and not endpoint.configured and endpoint.update in ("IN_PROGRESS", "NOT_UPDATING"):
        return WARNING, f"its first deployment is not over: {said}"
    return status, said
