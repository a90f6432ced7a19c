"""The description of a Databricks serving endpoint as service checks, gauges, tags and events."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from datadog_checks.base import AgentCheck
from datadog_checks.base.stubs import aggregator as aggregator_stub
from datadog_checks.base.stubs import datadog_agent as agent_stub
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datadog_checks.model_serving.catalog.loader import builtin_catalog
from datadog_checks.model_serving.sources.databricks import state as databricks_state
from datadog_checks.model_serving.sources.databricks.description import (
    CONCURRENCY,
    UPDATES,
    EndpointDescription,
    ServedEntity,
    metric_tags,
    read,
)
from datadog_checks.model_serving.sources.databricks.state import CACHE_KEY, StateReporter
from datadog_checks.model_serving.submit.agent_cache import AgentCache
from datadog_checks.model_serving.workstation.demo.workspace import SimulatedWorkspace

from ..conftest import as_in_a_new_agent, spy_on_cache
from .readiness import WORDS

ENTITY = ServedEntity(
    name="fraud-4",
    model_name="main.models.fraud",
    model_version="4",
    deployment="DEPLOYMENT_READY",
    message="",
    workload_type="CPU",
    workload_size="Small",
    scale_to_zero=False,
    min_concurrency=4.0,
    max_concurrency=4.0,
    traffic=100.0,
)
ENDPOINT = EndpointDescription(
    name="fraud-scorer",
    ready="READY",
    update="NOT_UPDATING",
    config_version=7,
    entities=(ENTITY,),
    pending=(),
    tags={},
    updated=1_700_000_000_000,
    detailed=True,
)
DETAIL: dict[str, Any] = {
    "name": "fraud-scorer",
    "id": "d0c2",
    "creator": "ada@example.com",
    "last_updated_timestamp": 1_700_000_000_000,
    "permission_level": "CAN_QUERY",
    "state": {"ready": "READY", "config_update": "NOT_UPDATING"},
    "tags": [{"key": "team", "value": "risk"}, {"key": "checked"}],
    "config": {
        "config_version": 7,
        "served_entities": [
            {
                "name": "fraud-4",
                "entity_name": "main.models.fraud",
                "entity_version": "4",
                "workload_type": "CPU",
                "workload_size": "Small",
                "scale_to_zero_enabled": False,
                "environment_vars": {"PASSWORD": "hush-hush", "LEVEL": "1"},
                "state": {"deployment": "DEPLOYMENT_READY", "deployment_state_message": ""},
            }
        ],
        "traffic_config": {"routes": [{"served_entity_name": "fraud-4", "traffic_percentage": 100}]},
    },
}


def with_entity(**fields: Any) -> dict[str, Any]:
    """DETAIL with its served entity changed; a field that is None is left out."""
    (entity,) = DETAIL["config"]["served_entities"]
    changed = {key: value for key, value in {**entity, **fields}.items() if value is not None}
    return {**DETAIL, "config": {**DETAIL["config"], "served_entities": [changed]}}


def with_config(**fields: Any) -> dict[str, Any]:
    return {**DETAIL, "config": {**DETAIL["config"], **fields}}


def entity(**fields: Any) -> EndpointDescription:
    return replace(ENDPOINT, tags={"team": "risk", "checked": ""}, entities=(replace(ENTITY, **fields),))


LISTED = {
    "name": "fraud-scorer",
    "creator": "ada@example.com",
    "state": {"ready": "NOT_READY", "config_update": "IN_PROGRESS"},
    "last_updated_timestamp": "1700000000000",
    "config": {"served_entities": [{"name": "fraud-4", "entity_name": "main.models.fraud", "entity_version": "4"}]},
}
FIXTURE = json.loads((Path(__file__).parents[1] / "fixtures/databricks/list.json").read_text(encoding="utf-8"))
UNKNOWN: dict[str, Any] = {
    "workload_type": "",
    "workload_size": "",
    "scale_to_zero": None,
    "min_concurrency": None,
    "max_concurrency": None,
    "traffic": None,
}

READ: dict[str, tuple[Any, EndpointDescription | None]] = {
    "a description": (DETAIL, entity()),
    "an element of the list": (
        LISTED,
        replace(
            ENDPOINT,
            ready="NOT_READY",
            update="IN_PROGRESS",
            config_version=None,
            detailed=False,
            entities=(replace(ENTITY, deployment="", **UNKNOWN),),
        ),
    ),
    "the old names": (
        {
            "name": "iris",
            "state": {"ready": "READY", "update_state": "UPDATE_FAILED"},
            "config": {
                "served_models": [{"name": "iris-2", "model_name": "iris", "model_version": "2"}, {"name": "other"}],
                "traffic_config": {"routes": [{"served_model_name": "iris-2", "traffic_percentage": 30}]},
            },
        },
        EndpointDescription(
            name="iris",
            ready="READY",
            update="UPDATE_FAILED",
            config_version=None,
            entities=(
                ServedEntity("iris-2", "iris", "2", "", "", **{**UNKNOWN, "traffic": 30.0}),
                ServedEntity("other", "other", "", "", "", **{**UNKNOWN, "traffic": 0.0}),
            ),
            pending=(),
            tags={},
            updated=None,
            detailed=True,
        ),
    ),
    "nothing deployed yet": (
        {"name": "fraud-scorer", "state": {"ready": "NOT_READY", "config_update": "IN_PROGRESS"}},
        replace(
            ENDPOINT,
            ready="NOT_READY",
            update="IN_PROGRESS",
            config_version=None,
            entities=(),
            updated=None,
            configured=False,
        ),
    ),
    "one that is stopped": (
        {**DETAIL, "state": {"ready": "NOT_READY", "suspend": "STOPPED", "system_update_failure": True}},
        replace(entity(), ready="NOT_READY", update="", suspend="STOPPED", system_update_failed=True),
    ),
    "provisioned throughput, and a size beside it": (
        with_entity(min_provisioned_throughput=9500, max_provisioned_throughput=19000),
        entity(min_concurrency=None, max_concurrency=None, min_throughput=9500.0, max_throughput=19000.0),
    ),
    "provisioned throughput that may go": (
        with_entity(min_provisioned_throughput=0, max_provisioned_throughput=19000, scale_to_zero_enabled=True),
        entity(
            scale_to_zero=True, min_concurrency=None, max_concurrency=None, min_throughput=0.0, max_throughput=19000.0
        ),
    ),
    "model units": (
        with_entity(workload_size=None, provisioned_model_units=50),
        entity(workload_size="", min_concurrency=None, max_concurrency=None, model_units=50.0),
    ),
    "throughput, and concurrency in numbers": (
        with_entity(max_provisioned_throughput=19000, max_provisioned_concurrency=8),
        entity(min_concurrency=None, max_concurrency=8.0, max_throughput=19000.0),
    ),
    "an update under way": (
        {
            **DETAIL,
            "state": {"ready": "READY", "config_update": "IN_PROGRESS"},
            "pending_config": {"config_version": 8, "served_entities": [{"name": "fraud-5", "entity_version": 5}]},
        },
        replace(
            entity(),
            update="IN_PROGRESS",
            pending=(ServedEntity("fraud-5", "fraud-5", "5", "", "", **UNKNOWN),),
            pending_version=8,
        ),
    ),
    "an external model": (
        with_entity(entity_name=None, entity_version=None, external_model={"name": "gpt-x", "provider": "openai"}),
        entity(model_name="gpt-x", model_version=""),
    ),
    "a foundation model": (
        with_entity(entity_name=None, foundation_model={"name": "dbrx"}),
        entity(model_name="dbrx"),
    ),
    "a medium size": (
        with_entity(workload_size="Medium"),
        entity(workload_size="Medium", min_concurrency=8.0, max_concurrency=16.0),
    ),
    "a large size that may sleep": (
        with_entity(workload_size="Large", scale_to_zero_enabled=True),
        entity(workload_size="Large", scale_to_zero=True, min_concurrency=0.0, max_concurrency=64.0),
    ),
    "concurrency in numbers": (
        with_entity(workload_size=None, min_provisioned_concurrency=12, max_provisioned_concurrency=20),
        entity(workload_size="", min_concurrency=12.0, max_concurrency=20.0),
    ),
    "a size never heard of": (
        with_entity(workload_size="Huge"),
        entity(workload_size="Huge", min_concurrency=None, max_concurrency=None),
    ),
    "no routes": (with_config(traffic_config={"routes": []}), entity(traffic=None)),
    "routes to other names": (
        with_config(traffic_config={"routes": [{"served_entity_name": "x", "traffic_percentage": 100}]}),
        entity(traffic=None),
    ),
    "impossible shares and concurrency": (
        {
            **with_entity(workload_size=None, min_provisioned_concurrency=-4, max_provisioned_concurrency=float("nan")),
            "config": {
                **with_entity(
                    workload_size=None, min_provisioned_concurrency=-4, max_provisioned_concurrency=float("nan")
                )["config"],
                "traffic_config": {"routes": [{"served_entity_name": "fraud-4", "traffic_percentage": 101}]},
            },
        },
        entity(workload_size="", min_concurrency=None, max_concurrency=None, traffic=None),
    ),
    "a message, and nothing secret in it": (
        with_entity(
            state={
                "deployment": "DEPLOYMENT_FAILED",
                "deployment_state_message": " ada@example.com: \nlevel 1, hush-hush\n" + "x" * 600,
            }
        ),
        entity(deployment="DEPLOYMENT_FAILED", message=("***:  level 1, *** " + "x" * 600)[:500]),
    ),
    "an update never heard of": (
        {**DETAIL, "state": {"ready": "READY", "config_update": "UPDATE_PAUSED"}},
        replace(entity(), update=""),
    ),
    "no name": ({"state": {"ready": "READY"}}, None),
    "no object": (["READY"], None),
    "an empty object": ({}, None),
}


@pytest.mark.parametrize("case", READ)
def test_read(case: str) -> None:
    """What is kept of an answer."""
    told, expected = READ[case]
    assert read(told, detailed=expected is None or expected.detailed) == expected


@pytest.mark.parametrize("detailed", [False, True])
@pytest.mark.parametrize("told", [DETAIL, LISTED, *FIXTURE["endpoints"]], ids=lambda told: str(told["name"]))
def test_who_was_asked_decides(told: dict[str, Any], detailed: bool) -> None:
    """No key of an answer tells whether it is an element of the list or a description."""
    found = read(told, detailed=detailed)
    assert found is not None
    assert found.detailed is detailed


def test_a_real_list() -> None:
    """What a list holds that somebody has published, under other names."""
    own, tile, hosted = (read(told, detailed=False) for told in FIXTURE["endpoints"])
    assert own == replace(
        ENDPOINT,
        config_version=None,
        detailed=False,
        entities=(ServedEntity("fraud-3", "main.risk.fraud", "3", "", "", **UNKNOWN),),
        updated=1780454744000,
        created=1779139587000,
        suspend="NOT_SUSPENDED",
    )
    assert tile is not None
    assert (tile.ready, tile.entities, tile.suspend, tile.configured) == ("READY", (), "", True)
    assert hosted is not None
    assert (hosted.pay_per_token, own.pay_per_token, tile.pay_per_token) == (True, False, False)
    assert [entity.model_name for entity in hosted.entities] == ["system.ai.databricks-some-model"]


def test_nothing_else_is_kept() -> None:
    """Neither who made the endpoint nor the environment of its models is anywhere in the value."""
    kept = repr(read(DETAIL, detailed=True))
    assert "ada" not in kept
    assert "hush" not in kept
    assert "PASSWORD" not in kept


TOLERATED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]

KEYS = st.sampled_from(
    [
        *("name", "state", "ready", "config_update", "update_state", "config", "pending_config", "config_version"),
        *("served_entities", "served_models", "entity_name", "entity_version", "model_name", "model_version"),
        *("external_model", "foundation_model", "deployment", "deployment_state_message", "environment_vars"),
        *("workload_type", "workload_size", "scale_to_zero_enabled", "traffic_config", "routes", "traffic_percentage"),
        *("min_provisioned_concurrency", "max_provisioned_concurrency", "served_entity_name", "served_model_name"),
        *("tags", "key", "value", "last_updated_timestamp", "creator", "permission_level", "suspend", "endpoint_type"),
        *("min_provisioned_throughput", "provisioned_model_units", "creation_timestamp", "system_update_failure"),
    ]
)
TEXTS = st.text(max_size=6) | st.sampled_from(
    ["READY", "DEPLOYMENT_READY", "DEPLOYMENT_FAILED", "STOPPED", "NOT_SUSPENDED", "Small", "\ud800", *UPDATES]
)
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.just(10**400) | TEXTS
JSON = st.recursive(VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=8))
ENTITIES = st.lists(st.dictionaries(KEYS, JSON | st.dictionaries(KEYS, TEXTS), max_size=12) | JSON, max_size=4)
ROUTES = st.lists(st.dictionaries(KEYS, VALUES) | JSON, max_size=4)
CONFIGS = JSON | st.fixed_dictionaries(
    {"served_entities": ENTITIES | JSON, "config_version": VALUES},
    optional={"served_models": ENTITIES | JSON, "traffic_config": JSON | st.fixed_dictionaries({"routes": ROUTES})},
)
OBJECTS = st.fixed_dictionaries(
    {"name": TEXTS, "config": CONFIGS, "pending_config": CONFIGS, "state": JSON | st.dictionaries(KEYS, TEXTS)},
    optional={"tags": JSON, "last_updated_timestamp": JSON, "creator": JSON},
)


def fresh_check() -> AgentCheck:
    """A check as after a start of the Agent, with what is in the Agent's persistent cache."""
    check = AgentCheck("model_serving", {}, [{}])
    check.__NAMESPACE__ = "model_serving"
    check.check_id = "model_serving:test"
    return check


def reporter_of(check: AgentCheck, *args: Any, **options: Any) -> StateReporter:
    """The reporter of a check in a process that may write its memory."""
    cache = AgentCache(check, time.monotonic)
    as_in_a_new_agent(cache)
    return StateReporter(check, cache, *args, **options)


@pytest.fixture(autouse=True)
def agent() -> Iterator[None]:
    """Empty stubs of the aggregator and of the Agent's cache before and after."""
    aggregator_stub.reset()
    agent_stub.reset()
    yield
    aggregator_stub.reset()
    agent_stub.reset()


@given(told=JSON | OBJECTS, then=JSON | OBJECTS, first=st.booleans(), second=st.booleans())
@settings(max_examples=100, deadline=None, suppress_health_check=TOLERATED)
def test_any_json(told: Any, then: Any, first: bool, second: bool) -> None:
    """No answer, and no two after one another, stop the report; what is sent of them is in range and encodable."""
    aggregator_stub.reset()
    reporter = reporter_of(fresh_check())
    for endpoint in (read(told, detailed=first), read(then, detailed=second)):
        if endpoint is None:
            continue
        for tag in metric_tags(endpoint, [*endpoint.tags]):
            assert tag.partition(":")[2]
            tag.encode()
        reporter.report(endpoint)
        reporter.flush()
    for name in aggregator_stub.metric_names:
        for metric in aggregator_stub.metrics(name):
            assert not builtin_catalog().metrics[name.removeprefix("model_serving.")].excludes(metric.value)
            assert math.isfinite(metric.value)
    for told_event in aggregator_stub.events:
        json.dumps(told_event).encode()
        assert len(told_event["aggregation_key"]) <= 100


RISK = replace(
    ENTITY, name="risk-1", model_name="main.models.risk", model_version="1", workload_type="GPU_SMALL", traffic=0.0
)
TAGS: dict[str, tuple[EndpointDescription, list[str], list[str]]] = {
    "one entity": (
        ENDPOINT,
        [],
        ["model_name:main.models.fraud", "model_version:4", "workload_size:Small", "workload_type:CPU"],
    ),
    "one that is not called doesn't count": (
        replace(ENDPOINT, entities=(ENTITY, RISK)),
        [],
        ["model_name:main.models.fraud", "model_version:4", "workload_size:Small", "workload_type:CPU"],
    ),
    "two models": (replace(ENDPOINT, entities=(ENTITY, replace(RISK, traffic=1.0))), [], ["workload_size:Small"]),
    "two versions, shares unknown": (
        replace(ENDPOINT, entities=(replace(ENTITY, traffic=None), replace(ENTITY, model_version="5", traffic=None))),
        [],
        ["model_name:main.models.fraud", "workload_size:Small", "workload_type:CPU"],
    ),
    "nothing known": (replace(ENDPOINT, entities=()), [], []),
    "Databricks tags that are wanted": (
        replace(ENDPOINT, entities=(), tags={"team": "risk", "owner": "ada", "none": "", "a:b\n": "c\td"}),
        ["team", "none", "absent", "a:b\n"],
        ["a_b_:c\td", "team:risk"],
    ),
    "Databricks tags under reserved names": (
        replace(ENDPOINT, entities=(), tags={"env": "prod", "Model Name": "x", "HOST": "h", "environment": "e"}),
        ["env", "Model Name", "HOST", "environment"],
        ["databricks_HOST:h", "databricks_Model Name:x", "databricks_env:prod", "environment:e"],
    ),
}


@pytest.mark.parametrize("case", TAGS)
def test_metric_tags(case: str) -> None:
    """Tags of what is scraped from an endpoint."""
    endpoint, allowed, expected = TAGS[case]
    assert list(metric_tags(endpoint, allowed)) == expected


def signals() -> list[str]:
    """Everything in the stub, as `type name value tag tag: message`."""
    found = []
    for name in ("endpoint.ready", "model.ready"):
        for one in aggregator_stub.service_checks(f"model_serving.{name}"):
            found.append(
                f"check {name} {WORDS[one.status]} {' '.join(one.tags)}" + (f": {one.message}" if one.message else "")
            )
    for name in sorted(aggregator_stub.metric_names):
        for one in aggregator_stub.metrics(name):
            assert one.type == 0
            found.append(f"gauge {name.removeprefix('model_serving.')} {one.value:g} {' '.join(one.tags)}")
    return found


COMMON = "zone:test endpoint_name:fraud-scorer serving_system:databricks"
FRAUD = f"{COMMON} model_name:main.models.fraud model_version:4 served_entity:fraud-4"
SIGNALS: dict[str, tuple[Any, list[str]]] = {
    "one entity": (
        DETAIL,
        [
            f"check endpoint.ready OK {COMMON}",
            f"check model.ready OK {FRAUD} workload_type:CPU workload_size:Small",
            f"gauge concurrency.max 4 {FRAUD} workload_type:CPU workload_size:Small",
            f"gauge concurrency.min 4 {FRAUD} workload_type:CPU workload_size:Small",
            f"gauge scale_to_zero 0 {FRAUD} workload_type:CPU workload_size:Small",
            f"gauge traffic.share 100 {FRAUD} workload_type:CPU workload_size:Small",
        ],
    ),
    "the list alone": (
        LISTED,
        [f"check endpoint.ready CRITICAL {COMMON}: state NOT_READY, configuration update IN_PROGRESS"],
    ),
    "one that failed and may sleep": (
        with_entity(
            state={"deployment": "DEPLOYMENT_FAILED", "deployment_state_message": "Out of memory"},
            workload_type=None,
            scale_to_zero_enabled=True,
        ),
        [
            f"check endpoint.ready OK {COMMON}",
            f"check model.ready CRITICAL {FRAUD} workload_size:Small: DEPLOYMENT_FAILED: Out of memory",
            f"gauge concurrency.max 4 {FRAUD} workload_size:Small",
            f"gauge concurrency.min 0 {FRAUD} workload_size:Small",
            f"gauge scale_to_zero 1 {FRAUD} workload_size:Small",
            f"gauge traffic.share 100 {FRAUD} workload_size:Small",
        ],
    ),
    "one that is stopped": (
        {
            **with_entity(state={"deployment": "DEPLOYMENT_ABORTED"}, workload_size=None, scale_to_zero_enabled=None),
            "state": {"ready": "NOT_READY", "config_update": "NOT_UPDATING", "suspend": "STOPPED"},
        },
        [
            f"check endpoint.ready OK {COMMON}",
            f"check model.ready OK {FRAUD} workload_type:CPU",
            f"gauge endpoint.stopped 1 {COMMON}",
            f"gauge traffic.share 100 {FRAUD} workload_type:CPU",
        ],
    ),
    "provisioned throughput": (
        with_entity(
            min_provisioned_throughput=9500,
            max_provisioned_throughput=19000,
            workload_type="GPU_XLARGE_8",
            scale_to_zero_enabled=None,
        ),
        [
            f"check endpoint.ready OK {COMMON}",
            f"check model.ready OK {FRAUD} workload_type:GPU_XLARGE_8 workload_size:Small",
            f"gauge throughput.provisioned.max 19000 {FRAUD} workload_type:GPU_XLARGE_8 workload_size:Small",
            f"gauge throughput.provisioned.min 9500 {FRAUD} workload_type:GPU_XLARGE_8 workload_size:Small",
            f"gauge traffic.share 100 {FRAUD} workload_type:GPU_XLARGE_8 workload_size:Small",
        ],
    ),
    "model units": (
        with_entity(provisioned_model_units=50, workload_type=None, workload_size=None, scale_to_zero_enabled=None),
        [
            f"check endpoint.ready OK {COMMON}",
            f"check model.ready OK {FRAUD}",
            f"gauge throughput.model_units 50 {FRAUD}",
            f"gauge traffic.share 100 {FRAUD}",
        ],
    ),
    "an external model": (
        {
            "name": "fraud-scorer",
            "state": {"ready": "READY"},
            "config": {"config_version": 1, "served_entities": [{"name": "gpt", "external_model": {"name": "x"}}]},
        },
        [f"check endpoint.ready OK {COMMON}"],
    ),
}


@pytest.mark.parametrize("case", SIGNALS)
def test_signals(case: str) -> None:
    """Service checks and gauges; tags of the caller that name a model give way to the entity's own."""
    told, expected = SIGNALS[case]
    endpoint = read(told, detailed=told is not LISTED)
    assert endpoint is not None
    reporter = reporter_of(fresh_check(), ["zone:test"])
    reporter.report(endpoint, ["model_name:stale", "workload_size:stale"])
    assert signals() == expected


OK, WARNS, BREAKS, NOBODY_KNOWS = range(len(WORDS))
READINESS: list[tuple[dict[str, Any], int, str]] = [
    ({"ready": "READY", "config_update": "NOT_UPDATING"}, OK, ""),
    ({"ready": "READY", "config_update": "UPDATE_FAILED", "system_update_failure": True}, OK, ""),
    ({"ready": "NOT_READY", "suspend": "STOPPED"}, OK, ""),
    ({"ready": "READY", "suspend": "STOPPED"}, OK, ""),
    ({"suspend": "STOPPED"}, OK, ""),
    ({"ready": "NOT_READY", "config_update": "NOT_UPDATING", "suspend": "NOT_SUSPENDED"}, BREAKS, "state NOT_READY"),
    ({"ready": "NOT_READY", "system_update_failure": True}, BREAKS, "an update by Databricks itself failed"),
    ({"ready": "NOT_READY", "suspend": "PAUSED"}, NOBODY_KNOWS, "suspend PAUSED"),
    ({"ready": "SOON"}, NOBODY_KNOWS, "state SOON"),
]
DEPLOYING: list[tuple[dict[str, Any], dict[str, Any], int]] = [
    # None of the list and the description of one that is being created has a `config`, and an agent's is empty.
    ({}, {"config_update": "IN_PROGRESS"}, WARNS),
    ({}, {"config_update": "NOT_UPDATING"}, WARNS),
    ({}, {"config_update": "UPDATE_FAILED"}, BREAKS),
    ({}, {"config_update": "UPDATE_CANCELED"}, BREAKS),
    ({}, {}, BREAKS),
    ({"config": {}}, {"config_update": "IN_PROGRESS"}, BREAKS),
    ({"config": {"config_version": 1}}, {"config_update": "IN_PROGRESS"}, BREAKS),
]


@pytest.mark.parametrize("detailed", [False, True])
@pytest.mark.parametrize(
    ("told", "status", "words"),
    [
        *(({"config": {"config_version": 1}, "state": state}, status, words) for state, status, words in READINESS),
        *(({**told, "state": {"ready": "NOT_READY", **state}}, status, "") for told, state, status in DEPLOYING),
    ],
)
def test_readiness(told: dict[str, Any], status: int, words: str, detailed: bool) -> None:
    """What is stopped on purpose, or deployed for the first time, is not broken; the list suffices to tell."""
    endpoint = read({"name": "fraud-scorer", **told}, detailed=detailed)
    assert endpoint is not None
    reporter_of(fresh_check()).report(endpoint)
    (found,) = aggregator_stub.service_checks("model_serving.endpoint.ready")
    assert found.status == status
    assert words in found.message
    assert bool(found.message) == (status != OK)


@pytest.mark.parametrize("restart", [False, True])
def test_readiness_while_it_starts(restart: bool) -> None:
    """An endpoint that somebody starts after a stop is a warning until it is ready, or has failed to be."""
    ready, broken = version(3), version(3, deployment=ABORTED)
    reporter = reporter_of(fresh_check())
    found = []
    for endpoint in (
        at(3, broken, **NOWHERE),
        at(3, broken, **COMES),
        replace(updating(3, broken, to=(4, ready)), **COMES),
        at(3, broken, update="UPDATE_FAILED", **COMES),
        at(4, ready, **RUNS),
        at(4, broken, update="NOT_UPDATING", **COMES),
    ):
        aggregator_stub.reset()
        reporter.report(endpoint)
        reporter.flush()
        names = ("model_serving.endpoint.ready", "model_serving.model.ready")
        found.append(tuple(aggregator_stub.service_checks(name)[0].status for name in names))
        reporter = reporter_of(fresh_check()) if restart else reporter
    assert found == [(OK, OK), (WARNS, WARNS), (WARNS, WARNS), (BREAKS, BREAKS), (OK, OK), (BREAKS, BREAKS)]


def test_tags_of_the_caller_are_not_doubled() -> None:
    """Where the caller names the endpoint and the system, these stand."""
    reporter_of(fresh_check()).report(replace(ENDPOINT, entities=()), ["serving_system:x", "endpoint_name:shown"])
    assert signals() == ["check endpoint.ready OK serving_system:x endpoint_name:shown"]


def version(number: int, **fields: Any) -> ServedEntity:
    return replace(ENTITY, name=f"fraud-{number}", model_version=str(number), **fields)


def at(config: int | None, *entities: ServedEntity, **fields: Any) -> EndpointDescription:
    return replace(ENDPOINT, config_version=config, entities=entities, **fields)


def updating(
    config: int | None, *entities: ServedEntity, to: tuple[int | None, *tuple[ServedEntity, ...]]
) -> EndpointDescription:
    return at(config, *entities, update="IN_PROGRESS", pending_version=to[0], pending=to[1:])


CREATING, FAILED, ABORTED = "DEPLOYMENT_CREATING", "DEPLOYMENT_FAILED", "DEPLOYMENT_ABORTED"
STOPPED, STARTED = "info fraud-scorer was stopped", "info fraud-scorer was started"
NOWHERE: dict[str, Any] = {"ready": "NOT_READY", "suspend": "STOPPED"}
RUNS: dict[str, Any] = {"suspend": "NOT_SUSPENDED"}
COMES: dict[str, Any] = {"ready": "NOT_READY", "suspend": "NOT_SUSPENDED"}
V3, V4, V5 = (at(number, version(number)) for number in (3, 4, 5))
TO4 = updating(3, version(3), to=(4, version(4, deployment=CREATING)))
LEFT4 = replace(TO4, pending=(version(4, deployment=ABORTED),))
BEGAN = "info fraud-scorer: configuration update began"
FINISHED = "success fraud-scorer: configuration update finished"
UPDATE_FAILED = "error fraud-scorer: configuration update failed"
CANCELED = "warning fraud-scorer: configuration update was canceled"


def serves(number: int) -> str:
    return f"success fraud-scorer serves main.models.fraud version {number}"


def broke(number: int, how: str = "error failed") -> str:
    alert, _, what = how.partition(" ")
    return f"{alert} fraud-scorer: the deployment of main.models.fraud version {number} {what}"


SEQUENCES: dict[str, list[tuple[EndpointDescription, list[str]]]] = {
    "an update, each step seen": [(V3, []), (TO4, [BEGAN]), (V4, [FINISHED, serves(4)])],
    "an update that nobody saw": [(V3, []), (V4, [FINISHED, serves(4)])],
    "an update that was under way at the first look": [(TO4, []), (V4, [FINISHED, serves(4)])],
    "the version in force before the state says so": [
        (V3, []),
        (TO4, [BEGAN]),
        (replace(V4, update="IN_PROGRESS"), [FINISHED, serves(4)]),
        (V4, []),
    ],
    "pending configuration that comes late": [
        (V3, []),
        (at(3, version(3), update="IN_PROGRESS"), [BEGAN]),
        (TO4, []),
        (V4, [FINISHED, serves(4)]),
    ],
    "an end and another beginning between two looks": [
        (V3, []),
        (TO4, [BEGAN]),
        (updating(4, version(4), to=(5, version(5))), [FINISHED, serves(4), BEGAN]),
        (V5, [FINISHED, serves(5)]),
    ],
    "an update that overtakes another": [
        (TO4, []),
        (updating(3, version(3), to=(5, version(5))), [BEGAN]),
        (V5, [FINISHED, serves(5)]),
    ],
    "a beginning seen, and another after a look that showed nothing pending": [
        (TO4, []),
        (at(3, version(3), update="IN_PROGRESS"), []),
        (updating(3, version(3), to=(5, version(5))), [BEGAN]),
    ],
    "an update that fails, is tried again and succeeds": [
        (V3, []),
        (TO4, [BEGAN]),
        (
            replace(TO4, update="UPDATE_FAILED", pending=(version(4, deployment=FAILED, message="no such wheel"),)),
            [UPDATE_FAILED, broke(4)],
        ),
        (at(3, version(3), update="UPDATE_FAILED"), []),
        (TO4, [BEGAN]),
        (V4, [FINISHED, serves(4)]),
    ],
    "a failure that also counts the version up": [
        (TO4, []),
        (at(4, version(3), update="UPDATE_FAILED"), [UPDATE_FAILED]),
        (at(4, version(3)), []),
    ],
    "a failure that nobody saw begin": [(V3, []), (at(3, version(3), update="UPDATE_FAILED"), [UPDATE_FAILED])],
    "a failure, and a look that doesn't tell": [
        (replace(TO4, update="UPDATE_FAILED"), []),
        (replace(TO4, update=""), []),
        (replace(TO4, update="UPDATE_FAILED"), []),
    ],
    "another failure": [
        (replace(TO4, update="UPDATE_FAILED"), []),
        (replace(TO4, update="UPDATE_FAILED", pending_version=5), [UPDATE_FAILED]),
    ],
    "an update that is canceled": [
        (V3, []),
        (TO4, [BEGAN]),
        (at(3, version(3), update="UPDATE_CANCELED"), [CANCELED]),
        (V3, []),
    ],
    "an endpoint that is created": [
        (replace(updating(None, to=(1, version(4, deployment=CREATING))), ready="NOT_READY"), []),
        (at(1, version(4)), [FINISHED, serves(4)]),
    ],
    "an endpoint that is created, and updated before the next look": [
        (updating(None, to=(1, version(4, deployment=CREATING))), []),
        (updating(1, version(4), to=(2, version(5))), [FINISHED, serves(4), BEGAN]),
    ],
    "an endpoint without a configuration": [(at(None), []), (V3, [FINISHED, serves(3)])],
    "a version that takes its time": [
        (V3, []),
        (at(4, version(4, deployment=CREATING)), [FINISHED]),
        (at(4, version(4)), [serves(4)]),
        (at(4, version(4, deployment="DEPLOYMENT_RECOVERING")), []),
        (at(4, version(4)), []),
    ],
    "a canary that takes over, and is rolled back": [
        (V3, []),
        (at(4, version(3), version(4, traffic=0.0)), [FINISHED]),
        (at(5, version(3, traffic=90.0), version(4, traffic=10.0)), [FINISHED, serves(4)]),
        (at(6, version(3, traffic=0.0), version(4)), [FINISHED]),
        (at(7, version(3), version(4, traffic=0.0)), [FINISHED, serves(3)]),
    ],
    "a deployment that fails, recovers and is aborted": [
        (V3, []),
        (at(3, version(3, deployment=FAILED)), [broke(3)]),
        (V3, []),
        (at(3, version(3, deployment=FAILED)), [broke(3)]),
        (at(3, version(3, deployment=ABORTED)), [broke(3, "warning was aborted")]),
    ],
    "failures that were there at the first look": [
        (at(3, version(3, deployment=FAILED), update="UPDATE_FAILED"), []),
        (V3, [serves(3)]),
    ],
    "a description without a configuration in between": [(V3, []), (at(None), []), (V3, [])],
    "the list in between": [(V3, []), (replace(V4, detailed=False), []), (V4, [FINISHED, serves(4)])],
    "an update of what is no version": [(V3, []), (at(4, version(3, workload_size="Large")), [FINISHED])],
    **{
        f"stopped while its entities are {deployment or 'silent'}, and started": [
            (at(3, version(3), **RUNS), []),
            (at(3, version(3, deployment=deployment), **NOWHERE), [STOPPED]),
            (at(3, version(3, deployment=deployment), **COMES), [STARTED]),
            (replace(updating(3, version(3, deployment=deployment), to=(4, version(3))), **COMES), [BEGAN]),
            (at(4, version(3), **RUNS), [FINISHED]),
        ]
        for deployment in ("", "DEPLOYMENT_READY", "DEPLOYMENT_CREATING", FAILED, ABORTED)
    },
    "stopped without a configuration meanwhile, and started": [
        (at(3, version(3), **RUNS), []),
        (at(None, **NOWHERE), [STOPPED]),
        (at(3, **NOWHERE), []),
        (at(3, version(3), **RUNS), [STARTED]),
    ],
    "stopped, started with another version, which fails": [
        (at(3, version(3), **RUNS), []),
        (at(3, version(3, deployment=ABORTED), **NOWHERE), [STOPPED]),
        (replace(updating(3, version(3, deployment=ABORTED), to=(4, version(4))), **COMES), [STARTED, BEGAN]),
        (
            at(3, version(3, deployment=FAILED), update="UPDATE_FAILED", **COMES),
            [UPDATE_FAILED, broke(3)],
        ),
    ],
    "one that was stopped at the first look": [
        (at(3, version(3, deployment=ABORTED), **NOWHERE), []),
        (at(3, version(3), **RUNS), [STARTED, serves(3)]),
    ],
    "a look that doesn't tell whether it is stopped": [
        (at(3, version(3), **RUNS), []),
        (at(3, version(3), **NOWHERE), [STOPPED]),
        (at(3, version(3), ready="NOT_READY"), []),
        (at(3, version(3), **NOWHERE), []),
    ],
    "stopped amid an update": [
        (TO4, []),
        (at(3, version(3), update="UPDATE_CANCELED", **NOWHERE), [CANCELED, STOPPED]),
    ],
    "an update that failed and whose configuration is shown on": [
        (TO4, []),
        (replace(LEFT4, update="UPDATE_FAILED"), [UPDATE_FAILED, broke(4, "warning was aborted")]),
        (replace(LEFT4, update="NOT_UPDATING"), []),
    ],
    "one version served twice": [
        (V3, []),
        (at(4, version(4), replace(version(4), name="twin")), [FINISHED, serves(4)]),
    ],
}


def told() -> list[str]:
    """Events since the last call, as `alert title`."""
    found = [f"{event['alert_type']} {event['msg_title']}" for event in aggregator_stub.events]
    aggregator_stub._events.clear()
    return found


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("case", SEQUENCES)
def test_sequences(case: str, restarts: bool) -> None:
    """Each change of an endpoint is one event, looked at twice and with or without a restart of the Agent."""
    reporter = reporter_of(fresh_check())
    for endpoint, expected in SEQUENCES[case]:
        for due in (expected, []):
            reporter.report(replace(endpoint))
            reporter.flush()
            assert told() == due
            if restarts:
                reporter = reporter_of(fresh_check())


def test_words_and_tags() -> None:
    """What an event says, and what it can be found by."""
    other = replace(ENTITY, name="risk-1", model_name="main.models.risk", model_version="1", traffic=20.0)
    reporter = reporter_of(fresh_check(), workspace="adb-1.azuredatabricks.net")
    reporter.report(at(3, version(3)), ["team:risk", "model_version:3"])
    reporter.report(at(4, version(4, traffic=80.0), other), ["team:risk", "model_version:3"])
    finished, deployed, added = aggregator_stub.events
    fraud4 = "main.models.fraud version 4 (served entity fraud-4, 80% of the traffic, CPU Small)"
    risk1 = "main.models.risk version 1 (served entity risk-1, 20% of the traffic, CPU Small)"
    assert finished["msg_text"] == (
        f"Serving endpoint fraud-scorer now has configuration version 4: {fraud4}; {risk1}."
    )
    assert deployed["msg_text"] == (
        f"Serving endpoint fraud-scorer serves main.models.fraud version 4: {fraud4}. It replaces version 3."
    )
    assert added["msg_text"] == f"Serving endpoint fraud-scorer serves main.models.risk version 1: {risk1}."
    assert deployed["tags"] == [
        "team:risk",
        "endpoint_name:fraud-scorer",
        "serving_system:databricks",
        "model_name:main.models.fraud",
        "model_version:4",
        "served_entity:fraud-4",
        "workload_type:CPU",
        "workload_size:Small",
        "change:model_version",
    ]
    assert {event["source_type_name"] for event in aggregator_stub.events} == {"model_serving"}
    (key,) = {event["aggregation_key"] for event in aggregator_stub.events}
    assert key.startswith("databricks-fraud-scorer-")


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ([V3, at(4, version(4, deployment=CREATING)), V4], "It replaces version 3."),
        (
            [V3, at(4, replace(ENTITY, model_name="main.models.other", model_version="1"))],
            "It replaces main.models.fraud version 3.",
        ),
        ([at(3, version(2), version(3)), V4], "It replaces version 2, version 3."),
        ([at(3, version(3), replace(ENTITY, model_name="main.models.other")), V4], "It replaces version 3."),
    ],
)
def test_what_is_replaced(steps: list[EndpointDescription], text: str) -> None:
    """Versions of the same model, else of models that are gone, also where the new one takes its time."""
    reporter = reporter_of(fresh_check())
    for endpoint in steps:
        reporter.report(endpoint)
    assert aggregator_stub.events[-1]["msg_text"].endswith(text)


def test_failed_update_says_why() -> None:
    """The messages of pending entities are in the event, and those of failed deployments in theirs."""
    reporter = reporter_of(fresh_check())
    reporter.report(V3)
    broken = (version(4, deployment=FAILED, message="no such wheel"),)
    reporter.report(replace(TO4, update="UPDATE_FAILED", pending=broken))
    update, deployment = aggregator_stub.events
    assert "was to bring configuration version 4: main.models.fraud version 4" in update["msg_text"]
    assert update["msg_text"].endswith("fraud-4: no such wheel")
    assert deployment["msg_text"].endswith("is DEPLOYMENT_FAILED: no such wheel")
    assert "model_version:4" in update["tags"]


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([(V3, True)], [serves(3)]),
        ([(V3, True), (V3, True)], [serves(3)]),
        # The list shows it first, and its description comes later.
        ([(replace(V3, detailed=False), True), (V3, False)], [serves(3)]),
        ([(replace(V3, detailed=False), False), (V3, False)], []),
        ([(TO4, True), (V4, False)], [serves(3), FINISHED, serves(4)]),
        ([(updating(None, to=(1, version(3))), True), (at(1, version(3)), False)], [FINISHED, serves(3)]),
    ],
)
def test_new_endpoint(looks: list[tuple[EndpointDescription, bool]], expected: list[str], restart: bool) -> None:
    """What an endpoint serves that appears while others are watched is a deployment."""
    reporter = reporter_of(fresh_check())
    found = []
    for endpoint, new in looks:
        reporter.report(endpoint, new=new)
        reporter.flush()
        found += told()
        reporter = reporter_of(fresh_check()) if restart else reporter
    assert found == expected


def test_forgotten_endpoint() -> None:
    """One that was deleted and comes again is looked at for the first time."""
    reporter = reporter_of(fresh_check())
    reporter.report(V3)
    assert reporter.known() == {"fraud-scorer"}
    reporter.flush()
    reporter = reporter_of(fresh_check())
    assert reporter.known() == {"fraud-scorer"}
    reporter.forget(["fraud-scorer", "never-seen"])
    reporter.flush()
    assert json.loads(fresh_check().read_persistent_cache(CACHE_KEY)) == {}
    reporter.report(V4)
    assert told() == []


def test_written_only_when_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that shows nothing new writes nothing."""
    check = fresh_check()
    written = spy_on_cache(check, monkeypatch)
    reporter = reporter_of(check)
    reporter.flush()
    for endpoint, due in ((V3, 1), (replace(V3), 1), (replace(V3, ready="NOT_READY"), 1), (V4, 2)):
        reporter.report(endpoint)
        reporter.flush()
        assert len(written) == due


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Endpoints beyond the limit are reported, and no events are told of them."""
    monkeypatch.setattr(databricks_state, "MAX_ENDPOINTS", 2)
    reporter = reporter_of(fresh_check())
    for endpoint in (V3, V4):
        for name in "abc":
            reporter.report(replace(endpoint, name=name))
    assert reporter.known() == {"a", "b"}
    assert len(told()) == 4
    assert len(aggregator_stub.service_checks("model_serving.endpoint.ready")) == 6


def test_workspaces_are_apart() -> None:
    """Endpoints of one name in two workspaces are two."""
    check = fresh_check()
    one, two = (reporter_of(check, workspace=host) for host in ("one", "two"))
    one.report(V3)
    one.flush()
    two.report(V4)
    two.flush()
    assert told() == []
    reporter_of(fresh_check(), workspace="one").report(V4)
    assert told() == [FINISHED, serves(4)]


ENTRY = [3, "NOT_UPDATING", False, None, [["main.models.fraud", "3"]], [], [], False]


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ({"fraud-scorer": ENTRY}, [FINISHED, serves(4)]),
        ({"fraud-scorer": [*ENTRY, "STOPPED"]}, [STARTED, FINISHED, serves(4)]),
        ({"fraud-scorer": [*ENTRY, ""]}, [FINISHED, serves(4)]),
        *(
            (kept, [])
            for kept in (
                {"fraud-scorer": [*ENTRY, "HALTED"]},
                {"fraud-scorer": [*ENTRY, {}]},
                "{",
                "[" * 100_000,
                [],
                7,
                {"fraud-scorer": None},
                {"fraud-scorer": ENTRY[:-1]},
                {"fraud-scorer": ["3", *ENTRY[1:]]},
                {"fraud-scorer": [3, "SOON", *ENTRY[2:]]},
                {"fraud-scorer": [3, {}, *ENTRY[2:]]},
                {"fraud-scorer": [*ENTRY[:2], 1, *ENTRY[3:]]},
                {"fraud-scorer": [*ENTRY[:4], [["x"]], *ENTRY[5:]]},
                {"fraud-scorer": [*ENTRY[:6], 7, False]},
            )
        ),
    ],
)
def test_cache_that_is_corrupt(kept: Any, expected: list[str]) -> None:
    """What can't be read counts as never seen."""
    fresh_check().write_persistent_cache(CACHE_KEY, kept if isinstance(kept, str) else json.dumps(kept))
    reporter = reporter_of(fresh_check())
    reporter.report(replace(V4, suspend="NOT_SUSPENDED"))
    assert sorted(told()) == sorted(expected)
    reporter.report(V5)
    assert told() == [FINISHED, serves(5)]


class Story:
    """An endpoint to which things happen, and the titles of the events that each of them is worth."""

    def __init__(self) -> None:
        self.config, self.number, self.update = 1, 1, "NOT_UPDATING"
        self.active: dict[int, tuple[str, float]] = {1: ("DEPLOYMENT_READY", 100.0)}
        self.pending: dict[int, str] = {}
        self.due: list[str] = []
        self.serving = {1}
        self.steps: dict[str, Callable[[int], None]] = {
            name.removeprefix("do_"): getattr(self, name) for name in dir(self) if name.startswith("do_")
        }

    def do_nothing(self, model: int) -> None:
        pass

    def do_begin(self, model: int) -> None:
        if self.update != "IN_PROGRESS":
            self.number += 1
            self.update, self.pending = "IN_PROGRESS", {model: CREATING}
            self.due.append(BEGAN)

    def do_finish(self, model: int) -> None:
        if self.update == "IN_PROGRESS":
            self.config, self.update = self.number, "NOT_UPDATING"
            self.active, self.pending = dict.fromkeys(self.pending, ("DEPLOYMENT_READY", 100.0)), {}
            self.due.append(FINISHED)
            self._served()

    def do_fail(self, model: int) -> None:
        if self.update == "IN_PROGRESS":
            self.update, self.pending = "UPDATE_FAILED", {}
            self.due.append(UPDATE_FAILED)

    def do_cancel(self, model: int) -> None:
        if self.update == "IN_PROGRESS":
            self.update, self.pending = "UPDATE_CANCELED", {}
            self.due.append(CANCELED)

    def do_rush(self, model: int) -> None:
        """A whole update that nobody sees."""
        if self.update != "IN_PROGRESS":
            self.number += 1
            self.config, self.update = self.number, "NOT_UPDATING"
            self.active = {model: ("DEPLOYMENT_READY", 100.0)}
            self.due.append(FINISHED)
            self._served()

    def do_canary(self, model: int) -> None:
        """A version beside the others that gets nothing yet, or some of the traffic if it is there already."""
        if self.update != "IN_PROGRESS":
            self.number += 1
            self.config, self.update = self.number, "NOT_UPDATING"
            self.active[model] = ("DEPLOYMENT_READY", 10.0 if model in self.active else 0.0)
            self.due.append(FINISHED)
            self._served()

    def do_break(self, model: int) -> None:
        if model in self.active and self.active[model][0] == "DEPLOYMENT_READY":
            self.active[model] = (FAILED, self.active[model][1])
            self.due.append(broke(model))

    def do_mend(self, model: int) -> None:
        if model in self.active:
            self.active[model] = ("DEPLOYMENT_READY", self.active[model][1])
            self._served()

    def _served(self) -> None:
        self.serving &= {one for one, (_, share) in self.active.items() if share}
        for one, (deployment, share) in self.active.items():
            if share and deployment == "DEPLOYMENT_READY" and one not in self.serving:
                self.serving.add(one)
                self.due.append(serves(one))

    def look(self) -> EndpointDescription:
        return at(
            self.config,
            *(version(one, deployment=how, traffic=share) for one, (how, share) in self.active.items()),
            update=self.update,
            pending=tuple(version(one, deployment=how) for one, how in self.pending.items()),
            pending_version=self.number if self.pending else None,
        )


STEPS = st.tuples(st.sampled_from(sorted(Story().steps)), st.integers(1, 4), st.booleans(), st.integers(1, 3))


@given(steps=st.lists(STEPS, max_size=25))
@settings(max_examples=200, deadline=None, suppress_health_check=TOLERATED)
def test_each_change_is_told_once(steps: list[tuple[str, int, bool, int]]) -> None:
    """Whatever happens to an endpoint, however often it is looked at, and wherever the Agent is restarted."""
    agent_stub.reset()
    aggregator_stub.reset()
    story = Story()
    reporter = reporter_of(fresh_check())
    reporter.report(story.look())
    reporter.flush()
    for step, model, restart, looks in steps:
        story.steps[step](model)
        for _ in range(looks):
            reporter = reporter_of(fresh_check()) if restart else reporter
            reporter.report(story.look())
            reporter.flush()
            assert sorted(told()) == sorted(story.due)
            story.due = []


@given(looks=st.lists(st.tuples(st.sampled_from([e for case in SEQUENCES.values() for e, _ in case]), st.booleans())))
@settings(max_examples=200, deadline=None, suppress_health_check=TOLERATED)
def test_restarts_and_second_looks_change_nothing(looks: list[tuple[EndpointDescription, bool]]) -> None:
    """Also of states in an order that makes no sense the same events come, none of them without a change."""

    def events(restarts: bool) -> list[str]:
        agent_stub.reset()
        reporter = reporter_of(fresh_check())
        found = []
        for endpoint, twice in looks:
            reporter.report(replace(endpoint))
            reporter.flush()
            found += told()
            if restarts:
                reporter = reporter_of(fresh_check())
            if twice:
                reporter.report(replace(endpoint))
                assert told() == []
        return found

    aggregator_stub.reset()
    assert events(restarts=True) == events(restarts=False)


def test_sizes_are_those_of_the_documentation() -> None:
    """Small, medium and large, in units of concurrency."""
    assert CONCURRENCY == {"small": (4, 4), "medium": (8, 16), "large": (16, 64)}


@pytest.mark.parametrize("keep_pending", [False, True])
def test_stand_in(keep_pending: bool) -> None:
    """The descriptions of the stand-in workspace, through the life of an endpoint."""
    workspace, name = SimulatedWorkspace(), "fraud-scorer"
    models = [[{"entity_name": "main.models.fraud", "entity_version": str(number)}] for number in range(6)]
    reporter = reporter_of(fresh_check())

    def step() -> list[str]:
        for _ in range(2):
            endpoint = read(workspace.endpoint(name), detailed=True)
            assert endpoint is not None
            assert endpoint.detailed
            reporter.report(endpoint)
        return told()

    workspace.add(name, entities=models[3], creating=True)
    assert step() == []
    workspace.finish_update(name)
    assert step() == [FINISHED, serves(3)]
    workspace.begin_update(name, models[4])
    assert step() == [BEGAN]
    workspace.fail_update(name, keep_pending=keep_pending)
    assert step() == [UPDATE_FAILED, *([broke(4)] if keep_pending else [])]
    if not keep_pending:
        workspace.begin_update(name, models[4])
        assert step() == [BEGAN]
        workspace.cancel_update(name)
        assert step() == [CANCELED]
        workspace.begin_update(name, models[4])
        workspace.finish_update(name)
        assert step() == [FINISHED, serves(4)]
    workspace.set_deployment(name, workspace.endpoint(name)["config"]["served_entities"][0]["name"], FAILED, "evicted")
    assert len(step()) == 1
