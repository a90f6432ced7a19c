"""A plan that is restricted on the command line says nothing of the rest of the stack, and takes none of it away."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from datadog_checks.model_serving.workstation.provision.desired import desired, known_packs, load_values
from datadog_checks.model_serving.workstation.provision.extent import OTHER_PACK, UNFED, UNROUTED, Extent
from datadog_checks.model_serving.workstation.provision.model import Resource, attributes, mark
from datadog_checks.model_serving.workstation.provision.packs import builtin_packs
from datadog_checks.model_serving.workstation.provision.plan import Action, Plan, PlanChoices, make_plan
from datadog_checks.model_serving.workstation.provision.state import Account, Found
from datadog_checks.model_serving.workstation.provision.values import Values

from .resources import rule

VALUES = """monitors:
  latency.week: {variants: {batch: {scope: "endpoint_name:batch"}}}
  gpu.temperature: {enabled: false}
slos:
  availability: {endpoints: [fraud]}
downtimes:
  nightly: {starts: "2099-01-01T02:00", lasts: 1h}
  cards: {monitors: [gpu.memory], starts: "2099-01-01T02:00", lasts: 1h}
"""
PACKS = list(builtin_packs())


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> Values:
    path = tmp_path_factory.mktemp("values") / "values.yaml"
    path.write_text(VALUES, encoding="utf-8")
    return load_values(path)


def account_with(resources: Iterable[Resource]) -> Account:
    """One that has them as they are; percentiles are read for what is wanted alone."""
    there = [mark(one) for one in resources if one.kind != "percentiles"]
    account = Account()
    account.add(
        Found(one.kind, one.key, str(number), attributes(one.body)) for number, one in enumerate(there, start=1)
    )
    return account


def pruned(account: Account, packs: Sequence[str], values: Values, **extent: Any) -> Plan:
    names, homes = known_packs(packs, values)
    resources = [mark(one) for one in desired(packs or None, values)]
    return make_plan(resources, account, PlanChoices(prune=True, extent=Extent(names, homes, **extent)))


@pytest.mark.parametrize("packs", [*([one] for one in PACKS), ["slo", "llm"]])
def test_of_a_whole_stack_no_pack_takes_another_away(values: Values, packs: list[str]) -> None:
    """Also parts of composite monitors, variants, SLOs of one endpoint with their alerts, and downtimes."""
    there = desired(None, values)
    plan = pruned(account_with(there), packs, values)
    assert plan.having(Action.DELETE, Action.ORPHANED) == []
    left = sum(plan.left_alone.get(OTHER_PACK, {}).values())
    stays = len([step for step in plan.steps if step.found])
    assert left + stays == len([one for one in there if one.kind != "percentiles"])


@pytest.mark.parametrize("pack", PACKS)
def test_what_a_pack_no_longer_wants_goes_with_it_alone(values: Values, pack: str) -> None:
    account = account_with(desired(None, Values()))
    gone = {step.address for step in pruned(account, [pack], values).having(Action.DELETE)}
    assert ("monitor:gpu.temperature" in gone) is (pack == "gpu")
    assert ("monitor:slo.availability.fast" in gone) is (pack == "slo")


def test_what_nothing_feeds_is_left_and_what_is_wrong_is_not(values: Values) -> None:
    account = account_with(desired(None, Values()))
    fed = [mark(one) for one in desired(None, values, left_out=["monitor:latency.week"])]
    plan = make_plan(fed, account, PlanChoices(prune=True, extent=Extent(unfed=("monitor:latency.week",))))
    gone = {step.address for step in plan.having(Action.DELETE)}
    assert "monitor:gpu.temperature" in gone
    assert "monitor:latency.week" not in gone
    assert plan.left_alone == {UNFED: {"monitor": 1}}


@pytest.mark.parametrize("packs", [(), ("gpu",)])
def test_rules_go_only_by_a_routing(values: Values, packs: tuple[str, ...]) -> None:
    routes = [rule("mail"), replace(rule("mail"), key="pager")]
    account = account_with([*desired(None, values), *routes])
    plan = pruned(account, packs, values, routed=False)
    assert plan.having(Action.DELETE, Action.ORPHANED) == []
    assert plan.left_alone[UNROUTED] == {"notification_rule": 2}
    names, homes = known_packs(packs, values)
    wanted = [mark(one) for one in (*desired(packs or None, values), routes[0])]
    plan = make_plan(wanted, account, PlanChoices(prune=True, extent=Extent(names, homes)))
    assert [step.address for step in plan.having(Action.DELETE)] == ["notification_rule:pager"]


def test_an_extent_comes_back_from_json(values: Values) -> None:
    names, homes = known_packs(["gpu", "slo"], values)
    extent = Extent(names, homes, ("monitor:cpu.high",), False)
    assert Extent.of_json(json.loads(json.dumps(asdict(extent)))) == extent


def test_all_packs_of_the_values_file_are_the_whole_wish(tmp_path: Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_text("packs: [gpu]\n", encoding="utf-8")
    plan = pruned(account_with(desired(None)), (), load_values(path))
    assert {step.kind for step in plan.having(Action.DELETE)} == {"slo", "monitor", "dashboard"}
    assert plan.left_alone == {}
