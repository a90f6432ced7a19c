"""What the instances of a configuration have loaded, as their systems tell when the check asks them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...catalog.loader import builtin_catalog
from ...catalog.model import System
from ...http.address import server
from ...sources.loaded import LoadedVersion
from ...sources.probes.readiness import probe_of
from ...submit.series import tag_value
from ..standin.configuration import Configuration
from ..standin.recorder import ServiceStatus
from ..standin.runner import Round, Runner
from ..standin.standin import StandIn

NAME = "model_serving"
READINESS = ("endpoint.ready", "model.ready")


@dataclass(frozen=True, slots=True)
class Listed:
    """A version that is loaded. `url` is where the metrics of its server are."""

    url: str
    loaded: LoadedVersion

    @property
    def system(self) -> str:
        """The serving system."""
        return tag_value(self.loaded.tags, "serving_system")

    @property
    def endpoint(self) -> str:
        """The name of the endpoint."""
        return tag_value(self.loaded.tags, "endpoint_name")

    @property
    def address(self) -> str:
        """Host and port of the server."""
        return server(self.url)


@dataclass(slots=True)
class Inventory:
    """The versions that were found, the systems that they are of, and what could not be found out.

    `notes` are of what isn't ready, or can't be asked; `problems` of what failed. `misconfigured` says that one of
    these blames the configuration.
    """

    listed: list[Listed] = field(default_factory=list)
    systems: dict[str, System] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    misconfigured: bool = False


def take_inventory(
    check_class: Callable[..., Any], configuration: Configuration, stand_in: StandIn, models: Sequence[str]
) -> Inventory:
    """Run every instance that reads a serving system, and list what is loaded. `models` are asked for besides.

    Of endpoints that are read by threads the models are known only after the first run.
    """
    instances = [
        (number, _asking(instance, models)) for number, instance in configuration.instances if _serves(instance)
    ]
    runner = Runner(check_class, NAME, configuration.init_config, instances, stand_in, secrets=configuration.secrets)
    inventory = Inventory()
    try:
        for last in (False, True):
            round_ = runner.run()
            found = {number: check.source.loaded for number, check in runner.checks.items() if check.source}
            if last or all(loaded.get(url) for loaded, url in _endpoints(runner, found)):
                break
        _tell(inventory, round_)
        for number, check in runner.checks.items():
            _list(inventory, number, check, found.get(number, {}))
    finally:
        runner.close()
    return inventory


def _endpoints(
    runner: Runner, found: Mapping[int, Mapping[str, Sequence[LoadedVersion]]]
) -> Iterator[tuple[Mapping[str, Sequence[LoadedVersion]], str]]:
    for number, check in runner.checks.items():
        for url in check.source.scrapers if check.source else ():
            yield found[number], url


def _serves(instance: Mapping[str, Any]) -> bool:
    return not instance.get("gpu")


def _asking(instance: Mapping[str, Any], models: Sequence[str]) -> dict[str, Any]:
    """The instance, asking for readiness. A system that lists its models does so where none are named."""
    changed = {**instance, "readiness": True, "readiness_interval": 0}
    name = instance.get("serving_system")
    [name] = name if isinstance(name, list) and len(name) == 1 else [name]
    system = builtin_catalog().systems.get(name) if isinstance(name, str) else None
    if system is not None and system.readiness is not None and system.readiness.models is not None:
        changed.pop("models", None)
    elif models:
        changed["models"] = [*dict.fromkeys((*(instance.get("models") or ()), *models))]
    return changed


def _tell(inventory: Inventory, round_: Round) -> None:
    for run in round_.runs:
        if run.error is not None:
            inventory.problems.append(f"instance {run.instance}: {run.error}")
            inventory.misconfigured = inventory.misconfigured or run.misconfigured
    for check in round_.service_checks:
        if check.status == ServiceStatus.CRITICAL and check.name.removeprefix(f"{NAME}.") in READINESS:
            tags = {name: tag_value(check.tags, name) for name in ("endpoint_name", "model_name", "model_version")}
            what = " ".join(value for value in tags.values() if value)
            inventory.notes.append(f"{what}: {check.message or 'not ready'}")


def _list(inventory: Inventory, number: int, check: Any, loaded: Mapping[str, Sequence[LoadedVersion]]) -> None:
    for scraper in (check.source.scrapers if check.source else {}).values():
        found = loaded.get(scraper.endpoint, ())
        inventory.listed += [Listed(scraper.url, one) for one in found]
        inventory.systems |= scraper.recogniser.systems
        if found:
            continue
        active = list(scraper.recogniser.active)
        titles = " and ".join(scraper.recogniser.systems[name].title for name in active)
        probes = [probe_of(scraper.recogniser.systems[name]) for name in active]
        if not active:
            why = "its system was not recognised: set `serving_system`"
        elif not any(probe.models for probe in probes if probe is not None):
            why = f"{titles} has no API that tells what is loaded"
        else:
            why = (
                f"{titles} named no version: check `readiness_url`, and name models that nobody has called yet in "
                "`models`, or with --model"
            )
        inventory.notes.append(f"instance {number}, {scraper.url}: {why}")
