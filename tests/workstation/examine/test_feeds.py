"""What instances can feed of what provisioning has, by what they say of themselves."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import datadog_checks.base.checks.openmetrics.v2.base  # noqa: F401  (with its stubs, as other tests expect it)
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadog_checks.model_serving.catalog.loader import builtin_catalog
from datadog_checks.model_serving.errors import OptionError
from datadog_checks.model_serving.workstation.examine.feeds import by_catalog, of_system, unfed, unfed_within_scope
from datadog_checks.model_serving.workstation.provision.advice import explained
from datadog_checks.model_serving.workstation.provision.desired import desired
from datadog_checks.model_serving.workstation.provision.mistakes import checked
from datadog_checks.model_serving.workstation.provision.packs import monitor_entries
from datadog_checks.model_serving.workstation.provision.values import MonitorValues, SloValues, Values

SYSTEMS = [*builtin_catalog().systems, "gpu"]
PACES = ("fast", "steady", "slow")
CATALOG = """\
system: own
title: Own
recognise: {any: [own_*]}
metrics:
  - {raw: own_requests, type: counter, to: request.count}
"""
HERE = {"openmetrics_endpoint": "http://localhost:8080/metrics"}
PLACES = [
    ({**HERE, "serving_system": "vllm"}, "vllm"),
    ({**HERE, "serving_system": ["vllm"]}, "vllm"),
    ({"openmetrics_endpoints": ["http://a/m", "http://b/m"], "serving_system": "triton"}, "triton"),
    ({"databricks_host": "https://x.cloud.databricks.com", "databricks_token": "ENC[t]"}, "databricks"),
    ({"openmetrics_endpoint": "https://x/api/2.0/serving-endpoints/a/metrics"}, "databricks"),
    ({"gpu": "auto"}, "gpu"),
]


def left_out(*names: str) -> set[str]:
    return set(unfed([of_system(name) for name in names]))


@pytest.mark.parametrize(("options", "system"), PLACES)
def test_an_instance_that_names_its_system_feeds_what_that_does(options: dict[str, Any], system: str) -> None:
    feed = by_catalog(options)
    assert feed is not None
    # One endpoint of Databricks lacks what a list of all tells.
    of_a_list = {"monitor:workspace.health", "monitor:model.stale", "dashboard:quality"}
    assert set(unfed([feed])) - of_a_list == left_out(system) - of_a_list


@pytest.mark.parametrize(
    ("system", "dead", "alive"),
    [
        ("vllm", "latency.p99", "llm.first_token"),
        ("mlserver", "errors.share", "errors.share.rest"),
        ("mlserver", "throughput.week.endpoint", "throughput.week"),
        ("triton", "llm.provider.tokens", "latency.p99"),
        ("triton", "llm.stuck", "latency.p99"),
    ],
)
def test_a_monitor_that_leaves_out_all_systems_is_left_out(system: str, dead: str, alive: str) -> None:
    assert f"monitor:{dead}" in left_out(system)
    assert f"monitor:{alive}" not in left_out(system)
    assert f"monitor:{alive}" not in left_out(system, "dcgm")


def test_an_slo_that_leaves_out_all_systems_is_left_out() -> None:
    """That of an endpoint or of a variant that the values name counts whatever serves it."""
    assert "slo:latency" in left_out("vllm", "sglang")
    assert "slo:latency" not in left_out("vllm", "triton")
    for said in (SloValues(endpoints={"chat": SloValues()}), SloValues(variants={"chat": SloValues(scope="a:b")})):
        assert "slo:latency" not in unfed([of_system("vllm")], Values(slos={"latency": said}))


def scoped(scope: str | None, **others: Any) -> set[str]:
    return set(unfed_within_scope(Values(everywhere=MonitorValues(scope=scope), **others)))


@pytest.mark.parametrize("name", SYSTEMS[:-1])
def test_a_scope_of_a_system_leaves_out_what_that_does_not_feed(name: str) -> None:
    """As naming the system does; and what is left has no scope that excludes the system altogether."""
    values = Values(everywhere=MonitorValues(scope=f"env:prod,serving_system:{name}"))
    found = unfed_within_scope(values)
    assert set(found) == left_out(name)
    told: list[str] = []
    checked(desired(None, values, left_out=found), warn=told.append, explain=partial(explained, values, True))
    assert told == []


@pytest.mark.parametrize(
    ("scope", "same"),
    [
        ("serving_system IN (vllm,triton)", {"vllm", "triton"}),
        ("serving_system IN (vllm,triton) AND NOT env:dev AND serving_system IN (vllm,mlserver)", {"vllm"}),
        (None, None),
        ("env:prod", None),
        ("!serving_system:vllm", None),
        ("serving_system:*", None),
        ("serving_system:of_a_catalog_of_yours", None),
        ("serving_system:vllm OR serving_system:triton", None),
    ],
)
def test_a_scope_that_keeps_to_no_known_system_leaves_out_nothing(scope: str | None, same: set[str] | None) -> None:
    assert scoped(scope) == (left_out(*same) if same else set())


def test_what_has_a_scope_of_its_own_stays() -> None:
    own = {"gpu.temperature": MonitorValues(scope="serving_system:dcgm"), "cpu.high": MonitorValues(enabled=True)}
    found = scoped("serving_system:vllm", monitors=own, slos={"latency": SloValues(scope="serving_system:triton")})
    assert found == left_out("vllm") - {
        "monitor:gpu.temperature",
        "monitor:cpu.high",
        *(f"{kind}:{key}" for kind, key in (("slo", "latency"), *(("monitor", f"slo.latency.{one}") for one in PACES))),
    }


def test_a_monitor_stays_where_one_of_the_systems_is_not_left_out() -> None:
    assert "monitor:latency.p99" not in left_out("vllm", "triton")


@pytest.mark.parametrize("options", [HERE, {**HERE, "serving_system": "auto"}, {**HERE, "gpu": "auto"}])
def test_of_an_instance_that_leaves_it_open_nothing_is_known(options: dict[str, Any]) -> None:
    assert by_catalog(options) is None


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(), st.lists(st.integers() | st.text()), st.just({1: 2})
)
OPTIONS = ("openmetrics_endpoint", "openmetrics_endpoints", "serving_system", "catalog", "gpu", "databricks_host")


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(OPTIONS), JUNK))
def test_options_of_the_wrong_type_are_left_to_the_check(options: dict[str, Any]) -> None:
    with suppress(OptionError):
        feed = by_catalog(options)
        assert feed is None or feed.ground.told


def test_a_catalog_file_of_the_user_is_what_it_feeds(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(CATALOG, encoding="utf-8")
    feed = by_catalog({**HERE, "catalog": [str(path)]})
    assert feed is not None
    found = unfed([feed])
    assert "monitor:traffic.none" not in found
    assert found["monitor:gpu.temperature"] == "gpu.temperature is of other systems"


@pytest.mark.parametrize(
    ("names", "without", "having"),
    [
        (["vllm"], "monitor:gpu.temperature", "monitor:llm.first_token"),
        (["vllm"], "monitor:errors.share.rest", "monitor:errors.share"),
        (["mlserver"], "dashboard:gpu", "monitor:errors.share.rest"),
        (["gpu"], "dashboard:overview", "dashboard:gpu"),
        (["gpu"], "slo:availability", "monitor:version.changed"),
        (["vllm", "gpu"], "monitor:workspace.health", "monitor:gpu.temperature"),
    ],
)
def test_what_a_system_lacks_is_left_out(names: list[str], without: str, having: str) -> None:
    found = left_out(*names)
    assert without in found
    assert having not in found


@settings(max_examples=20)
@given(st.lists(st.sampled_from(SYSTEMS), min_size=2, max_size=4, unique=True))
def test_of_several_only_what_none_feeds_is_left_out(names: list[str]) -> None:
    """More instances never leave out more."""
    together, alone = left_out(*names), [left_out(name) for name in names]
    assert together <= set.intersection(*alone)
    rules = {one for one in together if not one.startswith("dashboard:")}
    assert rules == {one for one in set.intersection(*alone) if not one.startswith("dashboard:")}


@pytest.mark.parametrize("name", SYSTEMS)
def test_what_is_left_is_whole(name: str) -> None:
    """Nothing refers to what was left out, and every address is one that the packs have."""
    found = left_out(name)
    every = {one.address for one in desired(None, optional=True)}
    assert found <= every | {f"monitor:{key}" for key in monitor_entries()}
    some = desired(None, left_out=found)
    there = {one.address for one in some}
    assert not there & found
    assert not [one.address for one in some if one.references() - there]
