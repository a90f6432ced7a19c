"""A serving endpoint as the REST API describes it, as a value, and the tags that follow from it."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...catalog.labels import GENERIC_TAGS
from ...scrape.tags import CONTROL
from ..probes.base import mapping

UPDATES = ("NOT_UPDATING", "IN_PROGRESS", "UPDATE_FAILED", "UPDATE_CANCELED")
MODEL_TAGS = ("model_name", "model_version", "workload_type", "workload_size")
RESERVED_TAGS = GENERIC_TAGS | {
    *MODEL_TAGS,
    *("endpoint", "endpoint_name", "serving_system", "served_entity", "databricks_host"),
    *("error_type", "status_class", "status_code", "gpu", "reason", "raw_metric", "change"),
}
"""Tags with a meaning of their own here. A Databricks tag of such a key becomes `databricks_<key>`."""

CONCURRENCY = {"small": (4.0, 4.0), "medium": (8.0, 16.0), "large": (16.0, 64.0)}
"""Lowest and highest provisioned concurrency of a workload size, as the serving-endpoints API documents them."""

STOPPED, NOT_SUSPENDED = "STOPPED", "NOT_SUSPENDED"
"""Values of `state.suspend`: somebody has stopped the endpoint, or nobody has. Neither is in the SDK."""

PAY_PER_TOKEN = "FOUNDATION_MODEL_API"
"""The `endpoint_type` of models that Databricks hosts for everybody, which export no metrics."""

THROUGHPUT = ("min_provisioned_throughput", "max_provisioned_throughput", "provisioned_model_units")
MAX_ENTITIES = 100
MAX_TEXT = 1000
MAX_MESSAGE = 500
MIN_SECRET = 4


@dataclass(frozen=True, slots=True)
class ServedEntity:
    """What one endpoint serves of one model. Texts are empty and numbers None where the API doesn't say.

    `deployment` is `DEPLOYMENT_READY` and the like; `traffic` the share of the endpoint's requests in percent, 0
    where the routes leave the entity out; concurrency is in parallel requests, throughput in tokens per second,
    `created` in epoch milliseconds.
    """

    name: str
    model_name: str
    model_version: str
    deployment: str
    message: str
    workload_type: str
    workload_size: str
    scale_to_zero: bool | None
    min_concurrency: float | None
    max_concurrency: float | None
    traffic: float | None
    created: float | None = None
    min_throughput: float | None = None
    max_throughput: float | None = None
    model_units: float | None = None

    @property
    def called(self) -> bool:
        """Whether requests may come: a share of the traffic, or nobody says how much."""
        return self.traffic is None or self.traffic > 0

    def tags(self) -> list[str]:
        """Tags of what is said of this entity alone."""
        named = (
            ("model_name", self.model_name),
            ("model_version", self.model_version),
            ("served_entity", self.name),
            ("workload_type", self.workload_type),
            ("workload_size", self.workload_size),
        )
        return [f"{tag}:{value}" for tag, value in named if value]


@dataclass(frozen=True, slots=True)
class EndpointDescription:
    """A serving endpoint. `ready` is `READY` or `NOT_READY`, `update` one of `UPDATES` or empty.

    `pending` and `pending_version` are of the configuration that an update under way is to bring, or one that failed
    was to bring. `tags` are the endpoint's Databricks tags, `created` and `updated` are in epoch milliseconds. The list
    of endpoints says less than the description of one; `detailed` says that this is from the latter. `suspend` is
    `NOT_SUSPENDED`, `STOPPED`, or what else Databricks may call it; empty where there is no such thing. Before its
    first deployment is over an endpoint is not `configured`.
    """

    name: str
    ready: str
    update: str
    config_version: int | None
    entities: tuple[ServedEntity, ...]
    pending: tuple[ServedEntity, ...]
    tags: Mapping[str, str]
    updated: int | None
    detailed: bool
    pending_version: int | None = None
    suspend: str = ""
    system_update_failed: bool = False
    configured: bool = True
    pay_per_token: bool = False
    created: int | None = None

    @property
    def stopped(self) -> bool:
        """Whether somebody has stopped it."""
        return self.suspend == STOPPED

    def agrees(self, other: EndpointDescription) -> bool:
        """Whether another look at it found it in the same state, as far as both tell."""
        suspended = {self.suspend, other.suspend} - {""}
        return (self.ready, self.update) == (other.ready, other.update) and len(suspended) < 2


def read(json: Any, name: str = "", *, detailed: bool) -> EndpointDescription | None:
    """The endpoint that an element of the list is about or, where it is `detailed`, the description of one endpoint.

    Whoever asked knows which of them it is: an element of the list may have any key that a description has.

    What has an unexpected type counts as missing. None for anything but an object, and where neither it nor `name`
    says what the endpoint is called.
    """
    detail = mapping(json)
    own = detail.get("name")
    name = _encodable(own) if isinstance(own, str) and own else name
    if not detail or not name:
        return None
    state, config, pending = (mapping(detail.get(key)) for key in ("state", "config", "pending_config"))
    update = _text(state.get("config_update")) or _text(state.get("update_state"))
    secrets = [detail.get(key) for key in ("creator", "creator_display_name")]
    return EndpointDescription(
        name=name,
        ready=_text(state.get("ready")),
        update=update if update in UPDATES else "",
        config_version=_whole(config.get("config_version")),
        entities=tuple(_entities(config, secrets)),
        pending=tuple(_entities(pending, secrets)),
        tags=dict(_databricks_tags(detail.get("tags"))),
        updated=_whole(detail.get("last_updated_timestamp")),
        detailed=detailed,
        pending_version=_whole(pending.get("config_version")),
        suspend=_text(state.get("suspend")),
        system_update_failed=state.get("system_update_failure") is True,
        configured=isinstance(detail.get("config"), dict),
        pay_per_token=detail.get("endpoint_type") == PAY_PER_TOKEN,
        created=_whole(detail.get("creation_timestamp")),
    )


def metric_tags(endpoint: EndpointDescription, allowed: Collection[str] = ()) -> tuple[str, ...]:
    """Tags for everything that is scraped from an endpoint, sorted.

    The model's and the workload's where all served entities agree that may get requests, and the Databricks tags whose
    keys are in `allowed`.
    """
    called = [entity for entity in endpoint.entities if entity.called]
    tags = {}
    for name in MODEL_TAGS:
        values = {getattr(entity, name) for entity in called}
        if len(values) == 1:
            tags[name] = values.pop()
    for key in sorted(endpoint.tags.keys() & set(allowed)):
        # As Datadog spells it: another spelling of a reserved name would end up as that name.
        spelt = re.sub(r"[^\w./-]", "_", key.lower())
        tag = re.sub(r"[\x00-\x1f\x7f:]+", "_", key)
        tags[f"databricks_{tag}" if spelt in RESERVED_TAGS else tag] = endpoint.tags[key]
    return tuple(sorted(f"{tag}:{value}" for tag, value in tags.items() if value))


def _entities(config: Mapping[str, Any], secrets: list[Any]) -> Iterator[ServedEntity]:
    found = config.get("served_entities") or config.get("served_models")
    entities = [one for one in found if isinstance(one, dict)][:MAX_ENTITIES] if isinstance(found, list) else []
    shares = _shares(config)
    if not any(_text(one.get("name")) in shares for one in entities):
        shares = {}
    for one in entities:
        name = _text(one.get("name"))
        state = mapping(one.get("state"))
        idle = one.get("scale_to_zero_enabled")
        idle = idle if isinstance(idle, bool) else None
        size = _text(one.get("workload_size"))
        low_rate, high_rate, units = (_amount(one.get(key)) for key in THROUGHPUT)
        # Where tokens are what is provisioned, a size is named as well, and says nothing of parallel requests.
        counted = (low_rate, high_rate, units) == (None, None, None)
        implied = CONCURRENCY.get(size.lower(), (None, None)) if counted else (None, None)
        low, high = _amount(one.get("min_provisioned_concurrency")), _amount(one.get("max_provisioned_concurrency"))
        low, high = implied[0] if low is None else low, implied[1] if high is None else high
        environment = mapping(one.get("environment_vars")).values()
        yield ServedEntity(
            name=name,
            model_name=_model(one) or name,
            model_version=_text(one.get("entity_version")) or _text(one.get("model_version")),
            deployment=_text(state.get("deployment")),
            message=_message(state.get("deployment_state_message"), [*secrets, *environment]),
            workload_type=_text(one.get("workload_type")),
            workload_size=size,
            scale_to_zero=idle,
            min_concurrency=0.0 if idle and low is not None else low,
            max_concurrency=high,
            traffic=shares.get(name, 0.0) if shares else None,
            created=_amount(one.get("creation_timestamp")),
            min_throughput=low_rate,
            max_throughput=high_rate,
            model_units=units,
        )


def _model(entity: Mapping[str, Any]) -> str:
    inner = (mapping(entity.get(key)).get("name") for key in ("external_model", "foundation_model"))
    named = (entity.get("entity_name"), entity.get("model_name"), *inner)
    return next((text for text in map(_text, named) if text), "")


def _shares(config: Mapping[str, Any]) -> dict[str, float]:
    """Percent of the traffic by served entity, empty where it isn't known."""
    routes = mapping(config.get("traffic_config")).get("routes")
    shares: dict[str, float] = {}
    for route in map(mapping, routes if isinstance(routes, list) else ()):
        name = _text(route.get("served_entity_name")) or _text(route.get("served_model_name"))
        share = _amount(route.get("traffic_percentage"))
        if name and share is not None and share <= 100:
            shares[name] = min(100.0, shares.get(name, 0.0) + share)
    return shares


def _databricks_tags(tags: Any) -> Iterator[tuple[str, str]]:
    for tag in map(mapping, tags if isinstance(tags, list) else ()):
        key = _text(tag.get("key"))
        if key:
            yield key, _text(tag.get("value"))


def _message(value: Any, secrets: Iterable[Any]) -> str:
    """A message without what the API hands out along with it and nobody is to see."""
    text = value if isinstance(value, str) else ""
    hidden = {secret for secret in secrets if isinstance(secret, str) and len(secret) >= MIN_SECRET}
    for secret in sorted(hidden, key=len, reverse=True):
        text = text.replace(secret, "***")
    return CONTROL.sub(" ", _encodable(text)).strip()[:MAX_MESSAGE]


def _text(value: Any) -> str:
    """A text, or a number as one, in a form that a tag can have; empty for anything else."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return ""
    if not isinstance(value, str):
        # Python refuses to write integers of thousands of digits.
        return f"{value:.15g}" if isinstance(value, float) else str(value) if abs(value) < 1 << 63 else ""
    return CONTROL.sub("_", _encodable(value.strip()))[:MAX_TEXT]


def _encodable(text: str) -> str:
    """JSON may hold halves of surrogate pairs, which no encoder takes."""
    return text.encode("utf-8", "replace").decode()


def _number(value: Any) -> float | None:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1 << 63:
        return None
    return value


def _amount(value: Any) -> float | None:
    number = _number(value)
    return None if number is None or number < 0 or not math.isfinite(number) else float(number)


def _whole(value: Any) -> int | None:
    """A whole number; 64-bit ones may come as text."""
    number = _number(value)
    return int(number) if number is not None and number == int(number) else None
