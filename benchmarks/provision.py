"""What provisioning costs in calls and seconds, next to a loop that takes one resource after another.

    python -m benchmarks.provision [--quick]

Both talk to the stand-in of the Datadog API in tests/provision/standin, which waits 50 ms before it answers; nothing
here has met Datadog itself. The loop does what a script of a few lines does: for each resource it asks for the one of
that name, then updates or creates it, over one connection that stays open. Its "plan" is the asking alone, with the
whole of each dashboard that is there, which a comparison needs. Ours is what `model-serving provision` does: the check
of keys and permissions, what the account has, the plan, and its steps.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
from datadog_api_client import ApiClient, Configuration
from datadog_api_client.exceptions import NotFoundException
from datadog_api_client.v1.api.authentication_api import AuthenticationApi
from datadog_api_client.v1.api.dashboards_api import DashboardsApi
from datadog_api_client.v1.api.monitors_api import MonitorsApi
from datadog_api_client.v1.api.service_level_objectives_api import ServiceLevelObjectivesApi
from datadog_api_client.v2.api.metrics_api import MetricsApi
from datadog_api_client.v2.api.monitors_api import MonitorsApi as RulesApi
from rich.console import Console
from rich.table import Table

from datadog_checks.model_serving.workstation.provision.access import READS, WRITES, check_access
from datadog_checks.model_serving.workstation.provision.api import Client
from datadog_checks.model_serving.workstation.provision.apply import Result, apply
from datadog_checks.model_serving.workstation.provision.credentials import AccountCredentials
from datadog_checks.model_serving.workstation.provision.desired import desired
from datadog_checks.model_serving.workstation.provision.mistakes import checked
from datadog_checks.model_serving.workstation.provision.model import Resource
from datadog_checks.model_serving.workstation.provision.plan import Plan, make_plan
from datadog_checks.model_serving.workstation.provision.routing import load_routing
from datadog_checks.model_serving.workstation.provision.state import metric_of, read_account
from datadog_checks.model_serving.workstation.provision.writes import request_body
from tests.workstation.provision.standin import Standin

LATENCY = 0.05
FOREIGN = 5000


@dataclass(frozen=True, slots=True)
class Cost:
    """Calls made, seconds taken, and the most calls in flight at once."""

    calls: int
    seconds: float
    peak: int


def measure(dd: Standin, work: Callable[[], object]) -> Cost:
    """What a piece of work costs the account."""
    dd.forget()
    begun = time.perf_counter()
    work()
    return Cost(dd.count(), time.perf_counter() - begun, dd.peak)


class Loop:
    """One resource after another, each looked up by its name."""

    def __init__(self, dd: Standin) -> None:
        configuration: Any = Configuration(host=dd.url)  # type: ignore[no-untyped-call]
        configuration.api_key = {"apiKeyAuth": dd.api_key, "appKeyAuth": dd.app_key}
        # Answers are taken as JSON, as ours takes them: the models of the client would cost the loop more time.
        configuration.preload_content = False
        configuration.check_input_type = False
        self._api = ApiClient(configuration)
        self._ids: dict[str, str] = {}

    def run(self, resources: Sequence[Resource], write: bool) -> None:
        """Ask for every resource, and with `write` bring it about."""
        _json(self._on(AuthenticationApi).validate())
        for resource in resources:
            body = request_body(resource, self._ids) if write else resource.body
            identity = getattr(self, resource.kind)(resource, body, write)
            if identity is not None:
                self._ids[resource.address] = str(identity)
        self._api.close()

    def _on(self, interface: Any) -> Any:
        return interface(self._api)

    def percentiles(self, resource: Resource, body: Mapping[str, Any], write: bool) -> None:
        metrics, metric = self._on(MetricsApi), metric_of(resource)
        own = {"include_percentiles": True, "exclude_tags_mode": True, "tags": []}
        data = {"type": "manage_tags", "id": metric}
        try:
            _json(metrics.list_tag_configuration_by_name(metric))
        except NotFoundException:
            if write:
                fresh = {"metric_type": "distribution", **own}
                _json(metrics.create_tag_configuration(metric, {"data": {**data, "attributes": fresh}}))
            return
        if write:
            _json(metrics.update_tag_configuration(metric, {"data": {**data, "attributes": own}}))

    def slo(self, resource: Resource, body: Mapping[str, Any], write: bool) -> Any:
        slos = self._on(ServiceLevelObjectivesApi)
        there = _named(_json(slos.list_slos(query=body["name"]))["data"], body["name"])
        if not write:
            return there
        return _json(slos.update_slo(there, body) if there else slos.create_slo(body))["data"][0]["id"]

    def monitor(self, resource: Resource, body: Mapping[str, Any], write: bool) -> Any:
        monitors = self._on(MonitorsApi)
        there = _named(_json(monitors.list_monitors(name=body["name"])), body["name"])
        if not write:
            return there
        return _json(monitors.update_monitor(there, body) if there else monitors.create_monitor(body))["id"]

    def dashboard(self, resource: Resource, body: Mapping[str, Any], write: bool) -> Any:
        boards = self._on(DashboardsApi)
        there = _named(_json(boards.list_dashboards(count=1000))["dashboards"], body["title"], "title")
        if not write:
            if there:
                _json(boards.get_dashboard(there))
            return there
        return _json(boards.update_dashboard(there, body) if there else boards.create_dashboard(body))["id"]

    def notification_rule(self, resource: Resource, body: Mapping[str, Any], write: bool) -> Any:
        rules, name = self._on(RulesApi), body["data"]["attributes"]["name"]
        listed = _json(rules.get_monitor_notification_rules(per_page=1000))["data"]
        there = next((one["id"] for one in listed if one["attributes"]["name"] == name), None)
        if not write:
            return there
        changed = {"data": {**body["data"], "id": there}}
        done = (
            rules.update_monitor_notification_rule(there, changed)
            if there
            else rules.create_monitor_notification_rule(body)
        )
        return _json(done)["data"]["id"]


def _json(response: Any) -> Any:
    """The answer, read to its end: a connection that still holds a part is not used again."""
    return json.loads(response.data)


def _named(listed: Sequence[Mapping[str, Any]], name: str, field: str = "name") -> Any:
    return next((one["id"] for one in listed if one[field] == name), None)


def plan_ours(dd: Standin, resources: Sequence[Resource], write: bool) -> Plan:
    """What the command does, without its output. Raises RuntimeError where a step fails."""
    client = Client(AccountCredentials(dd.api_key, dd.app_key, url=dd.url))
    try:
        kinds = {resource.kind for resource in resources}
        check_access(client, {READS[kind] for kind in kinds} | ({WRITES[kind] for kind in kinds} if write else set()))
        plan = make_plan(resources, read_account(client, resources))
        failed = [one for one in (apply(client, plan) if write else ()) if one.result is not Result.DONE]
        if failed:
            raise RuntimeError("; ".join(f"{one.step.address}: {one.text}" for one in failed))
        return plan
    finally:
        client.close()


def account(resources: Sequence[Resource], foreign: int, latency: float) -> Standin:
    """A fresh account that has received the metrics whose percentiles are wanted."""
    dd = Standin()
    dd.state.add_foreign_monitors(foreign)
    for resource in resources:
        if resource.kind == "percentiles":
            dd.state.see(metric_of(resource), "distribution", ["env:prod", "endpoint_name:chat", "model_name:llama"])
    dd.latency = latency
    return dd


def costs(
    run: Callable[[Standin, bool], object], resources: Sequence[Resource], latency: float, foreign: int
) -> list[Cost]:
    """Plan and apply on an account that is empty, on the same one again, and on one with foreign monitors."""
    # The stand-in remembers which bodies are well formed. Whoever comes first would pay for that.
    with account(resources, 0, 0.0) as dd:
        run(dd, True)
        run(dd, True)
    found = []
    with account(resources, 0, latency) as dd:
        for _ in ("empty", "up to date"):
            found += [measure(dd, partial(run, dd, write)) for write in (False, True)]
    with account(resources, foreign, latency) as dd:
        found += [measure(dd, partial(run, dd, write)) for write in (False, True)]
    return found


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--latency", default=LATENCY, show_default=True, help="Seconds before each answer.")
@click.option("--foreign", default=FOREIGN, show_default=True, help="Monitors of others in the third account.")
@click.option("--quick", is_flag=True, help="One pack, answers without delay, few monitors of others.")
@click.option("--routing", type=click.Path(path_type=Path, exists=True), help="Routing file, for notification rules.")
def main(latency: float, foreign: int, quick: bool, routing: Path | None) -> None:
    if quick:
        latency, foreign = 0.0, 50
    resources = checked(desired(["gpu"] if quick else None, routing=load_routing(routing) if routing else None))
    loop = costs(lambda dd, write: Loop(dd).run(resources, write), resources, latency, foreign)
    ours = costs(lambda dd, write: plan_ours(dd, resources, write), resources, latency, foreign)
    kinds = {kind: sum(1 for one in resources if one.kind == kind) for kind in READS}
    whole = ", ".join(f"{number} {kind.replace('_', ' ')}" for kind, number in kinds.items() if number)
    table = Table(title=f"{whole}; {latency * 1000:g} ms before each answer", title_justify="left")
    table.add_column("account")
    table.add_column("command")
    for name in ("calls, loop", "ours", "fewer", "seconds, loop", "ours", "faster", "at once"):
        table.add_column(name, justify="right")
    accounts = [name for name in ("empty", "up to date", f"{foreign:,} foreign monitors") for _ in (0, 1)]
    for name, command, old, new in zip(accounts, ("plan", "apply") * 3, loop, ours, strict=True):
        table.add_row(
            name,
            command,
            str(old.calls),
            str(new.calls),
            f"{old.calls / new.calls:.1f}x",
            f"{old.seconds:.2f}",
            f"{new.seconds:.2f}",
            f"{old.seconds / new.seconds:.1f}x",
            str(new.peak),
        )
    Console(width=120).print(table)
    click.echo(f"Python {platform.python_version()}, {os.cpu_count()} cores, {sys.platform}; a stand-in, not Datadog")


if __name__ == "__main__":
    main()
