"""A serving endpoint's state, as Databricks' REST API describes it, and its configuration updates.

Field names follow Databricks' public Python SDK, and what lists of real workspaces hold beyond it: `suspend`,
`endpoint_type`, `permission_level` of each element, and what others have published of theirs.
"""

from __future__ import annotations

import copy
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
Export = Callable[[], str | None]
"""Returns the metrics page; None where the endpoint has no metrics."""

CREATOR = "someone@example.com"
CREATOR_NAME = "Some One In Person"
STOPPED = "STOPPED"
NOT_LISTED = ("config", "pending_config")
"""What the list leaves out of a description, or tells less of. No other key tells one from the other."""

ENTITY_SUMMARY = ("name", "entity_name", "entity_version", "type", "external_model", "foundation_model")
MODEL_SUMMARY = ("name", "model_name", "model_version", "type")
CUSTOM, PAY_PER_TOKEN, TILE = "custom", "pay_per_token", "tile"
KINDS = (CUSTOM, PAY_PER_TOKEN, TILE)
"""One that somebody made of models, a model that Databricks hosts for all, and one that an agent of theirs made."""

VOLATILE = ("creation_timestamp", "creator", "state")
CREATING, READY, FAILED, ABORTED = (f"DEPLOYMENT_{state}" for state in ("CREATING", "READY", "FAILED", "ABORTED"))


@dataclass
class Config:
    """What an endpoint serves, in one version of its configuration."""

    version: int
    entities: list[Json]
    traffic: dict[str, int]
    """Percent by served entity."""
    start_time: int | None = None

    def describe(self) -> Json:
        """Return the configuration as the detail has it, with the served models of old next to the entities."""
        routes = [
            {"served_model_name": name, "served_entity_name": name, "traffic_percentage": percent}
            for name, percent in self.traffic.items()
        ]
        found: Json = {
            "served_entities": copy.deepcopy(self.entities),
            "served_models": [_as_model(entity) for entity in self.entities if "entity_version" in entity],
            "traffic_config": {"routes": routes},
            "config_version": self.version,
        }
        return found if self.start_time is None else {**found, "start_time": self.start_time}

    def summary(self) -> Json:
        """Return what the list has of it, which is all that there is of what Databricks hosts."""
        models = [_as_model(entity) for entity in self.entities if "entity_version" in entity]
        found = {
            "served_entities": [{key: one[key] for key in ENTITY_SUMMARY if key in one} for one in self.entities],
            "served_models": [{key: one[key] for key in MODEL_SUMMARY if key in one} for one in models],
        }
        return {key: copy.deepcopy(value) for key, value in found.items() if value}


@dataclass
class SimulatedEndpoint:
    """One serving endpoint. `config` is None until its first deployment is over."""

    name: str
    config: Config | None
    pending: Config | None = None
    export: Export = lambda: None
    ready: bool | Callable[[], bool] = True
    update: str = "NOT_UPDATING"
    tags: dict[str, str] = field(default_factory=dict)
    creator: str = CREATOR
    task: str = ""
    kind: str = CUSTOM
    suspend: str = "NOT_SUSPENDED"
    system_update_failure: bool = False
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: now_ms())
    updated: int = 0

    def __post_init__(self) -> None:
        self.updated = self.updated or self.created

    def detail(self) -> Json:
        """Return what `GET /api/2.0/serving-endpoints/<name>` answers. What is empty is left out, as there."""
        ready = self.ready() if callable(self.ready) else self.ready
        found: Json = {
            "name": self.name,
            "creation_timestamp": self.created,
            "last_updated_timestamp": self.updated,
            "state": {"ready": "READY" if ready else "NOT_READY", "config_update": self.update},
            "permission_level": "CAN_QUERY",
        }
        if self.kind == CUSTOM:
            found["state"] |= {"suspend": self.suspend, "system_update_failure": self.system_update_failure}
        if self.kind == PAY_PER_TOKEN:
            found |= {"endpoint_type": "FOUNDATION_MODEL_API", "capabilities": {"function_calling": True}}
        else:
            found |= {"id": self.id, "creator": self.creator, "route_optimized": False, "description": ""}
            found |= {"creator_display_name": CREATOR_NAME, "creator_kind": "User"}
        if self.kind == TILE:
            found["tile_endpoint_metadata"] = {"tile_id": "1", "problem_type": "MULTI_AGENT_SUPERVISOR"}
        if self.config is not None:
            found["config"] = self.config.describe() if self.kind == CUSTOM else self.config.summary()
            # What becomes of the entities of one that is stopped, nobody has told.
            if not ready and self.suspend != STOPPED:
                for entity in found["config"].get("served_entities", ()):
                    if entity.get("state", {}).get("deployment") == READY:
                        entity["state"] = {"deployment": "DEPLOYMENT_RECOVERING", "deployment_state_message": ""}
        if self.pending is not None:
            found["pending_config"] = self.pending.describe()
        if self.tags:
            found["tags"] = [{"key": key, **({"value": value} if value else {})} for key, value in self.tags.items()]
        if self.task:
            found["task"] = self.task
        return found

    def summary(self) -> Json:
        """Return what `GET /api/2.0/serving-endpoints` tells of it: no deployment, no traffic, no pending update."""
        found = {key: value for key, value in self.detail().items() if key not in NOT_LISTED}
        return found if self.config is None else {**found, "config": self.config.summary()}

    def begin(self, entities: Iterable[Mapping[str, Any]], traffic: Mapping[str, int] | None) -> None:
        """Ask for another configuration. Entities that it keeps stay as they are, the others are being created."""
        if self.pending is not None:
            raise ValueError(f"endpoint {self.name} is being updated already: finish, fail or cancel that first")
        kept = {entity["name"]: entity for entity in self.config.entities} if self.config else {}
        served = []
        for entity in map(complete, entities):
            same = kept.get(entity["name"], {})
            unchanged = all(same.get(key) == value for key, value in entity.items() if key not in VOLATILE)
            served.append(same if unchanged else {**entity, "state": _deployment(CREATING)})
        self.updated = max(now_ms(), self.updated + 1)
        version = self.config.version + 1 if self.config else 1
        self.pending = Config(version, copy.deepcopy(served), _routes(served, traffic), self.updated)
        self.update = "IN_PROGRESS"

    def finish(self) -> None:
        """End the update well: what was pending serves, all of it ready."""
        config = self._end("NOT_UPDATING")
        config.start_time = None
        for entity in config.entities:
            entity["state"] = _deployment(READY)
        self.config, self.pending = config, None
        if not callable(self.ready):
            self.ready = True

    def stop(self, deployment: str, message: str) -> None:
        """Take all replicas away until somebody starts it; `deployment` is what its entities say meanwhile."""
        if self.config is None or self.suspend == STOPPED:
            raise ValueError(f"endpoint {self.name} serves nothing that could be stopped")
        self.suspend, self.ready = STOPPED, False
        for entity in self.config.entities:
            entity["state"] = _deployment(deployment, message)

    def start(self) -> None:
        """Begin to serve again, in a new version of the configuration: finish that update."""
        if self.config is None or self.suspend != STOPPED:
            raise ValueError(f"endpoint {self.name} is not stopped: stop it first")
        self.suspend = "NOT_SUSPENDED"
        self.begin(self.config.entities, self.config.traffic)

    def end(self, update: str, deployment: str, message: str, *, keep_pending: bool) -> None:
        """End the update badly: what served before goes on."""
        config = self._end(update)
        for entity in config.entities:
            if entity["state"]["deployment"] == CREATING:
                entity["state"] = _deployment(deployment, message)
        self.pending = config if keep_pending else None

    def _end(self, update: str) -> Config:
        if self.pending is None or self.update != "IN_PROGRESS":
            raise ValueError(f"endpoint {self.name} is not being updated: begin an update first")
        self.update = update
        return self.pending

    def deploy(self, entity: str, deployment: str, message: str) -> None:
        """Set the deployment state of a served entity, in what serves and in what is pending."""
        known = [one for config in (self.config, self.pending) if config for one in config.entities]
        found = [one for one in known if one["name"] == entity]
        if not found:
            names = ", ".join(dict.fromkeys(one["name"] for one in known))
            raise KeyError(f"endpoint {self.name} serves no entity {entity}; it has: {names}")
        for one in found:
            one["state"] = _deployment(deployment, message)


def complete(entity: Mapping[str, Any]) -> Json:
    """Return a served entity with what the API answers for all that was not given.

    One that names neither an external nor a foundation model is a custom model, on CPU, Small, scaling to zero.
    """
    inner = [key for key in ("external_model", "foundation_model") if key in entity]
    found: Json = {"creation_timestamp": now_ms(), "creator": CREATOR, **entity}
    found.setdefault("type", inner[0].upper() if inner else "UC_MODEL")
    if not inner:
        found.setdefault("entity_name", "main.models.model")
        found.setdefault("entity_version", "1")
        defaults = {"workload_size": "Small", "workload_type": "CPU", "scale_to_zero_enabled": True}
        found = {**defaults, **found}
        # As people set them: the answer shows them to whoever may read the endpoint.
        found.setdefault("environment_vars", {"WAREHOUSE_PASSWORD": "hunter2-in-plain-text"})
    model = str(found.get("entity_name", "model")).rpartition(".")[2]
    found.setdefault("name", f"{model}-{found.get('entity_version', '1')}")
    found.setdefault("state", _deployment(READY))
    return found


def configure(entities: Iterable[Mapping[str, Any]], traffic: Mapping[str, int] | None) -> Config:
    """Return a first configuration that serves these entities, in equal shares unless `traffic` says otherwise."""
    served = [complete(entity) for entity in entities]
    return Config(1, served, _routes(served, traffic))


def now_ms() -> int:
    """Return the time in epoch milliseconds."""
    return int(time.time() * 1000)


def _routes(entities: list[Json], traffic: Mapping[str, int] | None) -> dict[str, int]:
    names = [entity["name"] for entity in entities]
    if len(set(names)) < len(names):
        raise ValueError(f"served entities need names of their own, not {', '.join(names)}")
    if traffic is None:
        # Whole percents: the first takes what is left over.
        share = 100 // len(names) if names else 0
        return {name: share + (100 - share * len(names) if name == names[0] else 0) for name in names}
    if sum(traffic.values()) != 100 or not traffic.keys() <= set(names):
        raise ValueError(f"traffic must give 100 percent to some of {', '.join(names)}, not {dict(traffic)}")
    return dict(traffic)


def _as_model(entity: Json) -> Json:
    names = {"entity_name": "model_name", "entity_version": "model_version"}
    return {names.get(key, key): copy.deepcopy(value) for key, value in entity.items()}


def _deployment(state: str, message: str = "") -> Json:
    return {"deployment": state, "deployment_state_message": message}
