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
from ..probes.base import CRITICAL, OK, UNKNOWN, WARNING
from .description import MODEL_TAGS, EndpointDescription, ServedEntity
from .events import ReportedState, event, recalled, since

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
"""`state.deployment` of a served entity, as the serving-endpoints API names it."""

GAUGES = {
    "traffic.share": "traffic",
    "scale_to_zero": "scale_to_zero",
    "concurrency.min": "min_concurrency",
    "concurrency.max": "max_concurrency",
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
        tags = self._common(endpoint.name, tags)
        if self.checks:
            status = READY.get(endpoint.ready, UNKNOWN)
            said = f"state {endpoint.ready or None}, configuration update {endpoint.update or 'unknown'}"
            self.check.service_check("endpoint.ready", status, tags=tags, message=None if status == OK else said)
        if endpoint.detailed:
            for entity in endpoint.entities:
                self._entity(entity, [*tags, *entity.tags()])
        if self._reported.get(endpoint.name) is not endpoint:
            self._reported[endpoint.name] = endpoint
            self._events(endpoint, tags, new)

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

    def _common(self, name: str, tags: Iterable[str]) -> list[str]:
        own = [f"endpoint_name:{CONTROL.sub('_', name)}", "serving_system:databricks"]
        given = [*self.tags, *tags]
        names = {tag.partition(":")[0] for tag in given}
        apart = {*MODEL_TAGS, "served_entity"}
        return [
            *(tag for tag in given if tag.partition(":")[0] not in apart),
            *(tag for tag in own if tag.partition(":")[0] not in names),
        ]

    def _entity(self, entity: ServedEntity, tags: list[str]) -> None:
        if entity.deployment and self.checks:
            status = DEPLOYMENT.get(entity.deployment, UNKNOWN)
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
