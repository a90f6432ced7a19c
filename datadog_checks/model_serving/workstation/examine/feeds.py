"""What of the monitors, SLOs and dashboards some instances can feed: by the catalog, and by what a trial has shown."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from ...catalog.loader import builtin_catalog
from ...catalog.model import NAMESPACE, System
from ...errors import OptionError
from ...settings.model import DATABRICKS_URL
from ...sources.probes.readiness import probe_of
from ..provision.document import suggestion
from ..provision.packs import DashboardEntry, MonitorEntry, SloEntry
from ..provision.packs.queries import read_condition
from ..provision.query import parse_metric_expression
from ..provision.query.rules import metrics_of
from ..provision.query.tree import (
    And,
    Condition,
    In,
    Metric,
    MetricMonitor,
    Not,
    ServiceCheckMonitor,
    SloMonitor,
    Tag,
    conjuncts,
    values_asked,
    walk,
)
from ..provision.values import Values
from ..provision.vocabulary import PREFIX, builtin_vocabulary, documented
from ..standin.units import catalog_of
from .model import COUNTED, EVENT, FOREIGN, MISSING
from .monitors import STATES, SYSTEM, Ground, Judgement, full, judge, judge_slo
from .signals import fed_by

DATABRICKS = "databricks"
OWN = f"{NAMESPACE}.scrape."
MOST_OF = 1 / 3
"""The share of its metrics without which a dashboard shows mostly nothing."""


@dataclass(frozen=True, slots=True)
class InstanceFeed:
    """What one instance can feed. Where it was `tried`, only what has come, or comes when something happens, counts.

    `systems` are those that it names, None where that isn't known.
    """

    ground: Ground
    tried: bool = False
    systems: frozenset[str] | None = None


def feeds(systems: Iterable[System], *, gpus: bool, workspace: bool) -> tuple[frozenset[str], frozenset[str]]:
    """The metrics and the service checks that an instance can send: of these systems, of the GPUs of its host, of a
    workspace. Full names.
    """
    found = list(systems)
    fed = {metric for system in found for metric in fed_by(system)}
    told = {"gpu.health"} if gpus else {"openmetrics.health"}
    if gpus:
        fed |= {name for name in builtin_catalog().metrics if name.startswith("gpu.")}
    for probe in filter(None, map(probe_of, found)):
        told |= {"endpoint.ready", "model.ready"} if probe.models else {"endpoint.ready"}
    if workspace:
        told.add("workspace.health")
    own = set(documented()["own"])
    fed |= own if workspace else {name for name in own if name.startswith("scrape.")}
    return full(fed), frozenset(f"{NAMESPACE}.{name}" for name in told)


def of_system(name: str) -> InstanceFeed:
    """What a system of the shipped catalog can feed, by its name; `gpu` are the GPUs of a host."""
    system = builtin_catalog().systems.get(name)
    fed, told = feeds([system] if system else (), gpus=name == "gpu", workspace=name == DATABRICKS)
    return InstanceFeed(Ground({}, frozenset(), fed, (), told), systems=frozenset({name}))


def of_trial(ground: Ground) -> InstanceFeed:
    """What an instance feeds that was tried. What counts things that happen, such as errors, may come to be only when
    one has: none of it is missing.
    """
    kinds = builtin_vocabulary().kinds
    counts = {name for name in ground.fed if kinds.get(name) == "count"}
    return InstanceFeed(replace(ground, possible=ground.possible | counts), tried=True)


def by_catalog(options: Mapping[str, Any], place: str = "") -> InstanceFeed | None:
    """What an instance can feed by what it says of itself, None where it leaves its system to be recognised.

    Raises OptionError, which begins with the `place`, about a system that nobody knows: it would feed nothing.
    """
    files = tuple(_texts(options.get("catalog")))
    catalog = catalog_of(files)
    urls = [*_texts(options.get("openmetrics_endpoint")), *_texts(options.get("openmetrics_endpoints"))]
    workspace = bool(options.get("databricks_host"))
    gpus = bool(options.get("gpu")) and not urls and not workspace
    names = set(_texts(options.get("serving_system")))
    for name in sorted(names - {"auto"} - set(catalog.systems)):
        raise OptionError(f"{place}`serving_system: {name}` is not known; {suggestion(name, tuple(catalog.systems))}")
    if files:
        # A file of the user's own is in force by being named.
        names |= set(catalog.systems) - set(builtin_catalog().systems)
    if workspace or any(DATABRICKS_URL.search(url) for url in urls):
        names |= {DATABRICKS}
    if not gpus and (not names or "auto" in names):
        return None
    found = [catalog.systems[name] for name in names if name in catalog.systems]
    fed, told = feeds(found, gpus=gpus, workspace=workspace)
    return InstanceFeed(Ground({}, frozenset(), fed, (), told), systems=frozenset(names))


def _texts(value: Any) -> list[str]:
    """A text or several; whatever else stands there the check complains of."""
    listed = value if isinstance(value, list | tuple) else [value]
    return [one for one in listed if isinstance(one, str)]


def unfed(given: Collection[InstanceFeed], values: Values | None = None) -> dict[str, str]:
    """The addresses of what none of them feeds, and why, of the packs that ship and of those that the values name.

    What watches or shows anything that the check does not send is not judged: others feed it.
    """
    values = values or Values()
    packs = values.available.values()
    slos = {one.key: one for pack in packs for one in pack.slos}
    found: dict[str, str] = {}
    for entry in (one for pack in packs for one in pack.monitors):
        if _is_told_by_the_check(_watched(entry, slos)):
            slo = slos.get(entry.slo)
            judged = (_judge(entry, feed) if slo is None else _judge_slo(slo, values, feed) for feed in given)
            why = _why(zip(judged, given, strict=True))
            if why is not None:
                found[f"monitor:{entry.key}"] = why
    for key, slo in slos.items():
        if _is_told_by_the_check(_counted(slo)):
            why = _why((_judge_slo(slo, values, feed), feed) for feed in given)
            if why is not None:
                found[f"slo:{key}"] = why
    for dashboard in (one for pack in packs for one in pack.dashboards):
        shown = _shown(dashboard)
        come = sum(not name.startswith(PREFIX) or any(name in feed.ground.fed for feed in given) for name in shown)
        if come < MOST_OF * len(shown):
            found[f"dashboard:{dashboard.key}"] = (
                f"only {come} of its {len(shown)} metrics {'comes' if come == 1 else 'come'}"
                if come
                else f"none of its {len(shown)} metrics comes"
            )
    return found


def unfed_within_scope(values: Values) -> dict[str, str]:
    """The addresses of what can have no data since the scope for all keeps to some systems, and why.

    What has a scope of its own, a pack of the user's own, and a monitor with `enabled: true` stay, as all does where
    the scope keeps to no system or to one that the shipped catalog does not know.
    """
    systems = systems_of(read_condition(values.everywhere.scope or "*"))
    if not systems or not systems <= builtin_catalog().systems.keys():
        return {}
    found = unfed([of_system(name) for name in sorted(systems)], values)
    scoped = {key for key, said in values.slos.items() if said.scope}
    for pack in values.available.values():
        stays = set(pack.addresses) if pack.file else {f"slo:{key}" for key in scoped}
        for entry in pack.monitors:
            own = entry.slo in scoped if entry.slo else values.own(entry, "scope")[0] is not None
            if own or values.own(entry, "enabled")[0]:
                stays.add(f"monitor:{entry.key}")
        found = {address: why for address, why in found.items() if address not in stays}
    return found


def systems_of(scope: Condition) -> frozenset[str] | None:
    """The systems to which a scope keeps by their names, None where it does not."""
    kept: frozenset[str] | None = None
    for key, values in filter(None, map(values_asked, conjuncts(scope))):
        if key == SYSTEM and not any("*" in value for value in values):
            kept = frozenset(values) if kept is None else kept.intersection(values)
    return kept


def _is_told_by_the_check(names: Collection[str]) -> bool:
    return bool(names) and all(name.startswith(PREFIX) for name in names)


def _watched(entry: MonitorEntry, slos: Mapping[str, SloEntry]) -> frozenset[str]:
    """The metrics, or the service check, that a monitor watches; none of one of events: what the check says in these it
    says of every system."""
    match entry.tree:
        case MetricMonitor(expression=expression):
            return frozenset(one.name for one in metrics_of(expression))
        case ServiceCheckMonitor(check=check):
            return frozenset((check,))
        case SloMonitor():
            return _counted(slos[entry.slo])
        case _:
            return frozenset()


def _counted(slo: SloEntry) -> frozenset[str]:
    return frozenset[str]().union(*(_named(text) for text in (slo.good, slo.total, slo.query) if text))


def _shown(dashboard: DashboardEntry) -> frozenset[str]:
    """The metrics of a dashboard, without those that the check sends about itself."""
    widgets = [one for group in dashboard.groups for one in group["widgets"] if "needs" not in one]
    texts = [text for one in widgets for text in (*one.get("queries", {}).values(), one.get("expression")) if text]
    return frozenset(name for text in texts for name in _named(text) if not name.startswith(OWN))


@cache
def _named(text: str) -> frozenset[str]:
    """The metrics that an expression names."""
    return frozenset(one.name for one in metrics_of(parse_metric_expression(" ".join(text.split()))))


def _judge(entry: MonitorEntry, feed: InstanceFeed) -> Judgement:
    """What can be told of a monitor; where nothing has been seen, also by the systems that its scopes name."""
    state, why = judge(entry, feed.ground)
    if state == MISSING and feed.systems and isinstance(entry.tree, MetricMonitor):
        scopes = [part.scope for part in walk(entry.tree.expression) if isinstance(part, Metric)]
        kept = [systems_of(one) for one in scopes if one is not None]
        others = {name for names in kept if names is not None and not names & feed.systems for name in names}
        if others:
            return FOREIGN, f"it is for {', '.join(sorted(others))}"
        if all(feed.systems <= set(_without(one)) for one in scopes):
            return FOREIGN, f"it leaves out {', '.join(sorted(feed.systems))}"
    return state, why


def _judge_slo(slo: SloEntry, values: Values, feed: InstanceFeed) -> Judgement:
    """The same of an SLO. What the values name of it, such as an endpoint, counts whatever serves it."""
    state, why = judge_slo(slo, feed.ground)
    said = values.slos.get(slo.key)
    named = said is not None and (said.endpoints or said.variants)
    if state == MISSING and feed.systems and slo.except_for and not named:
        without = set(_without(read_condition(slo.except_for)))
        if feed.systems <= without:
            return FOREIGN, f"it leaves out {', '.join(sorted(feed.systems))}"
    return state, why


def _without(scope: Condition | None) -> Iterator[str]:
    """The systems that a scope leaves out."""
    match scope:
        case Not(operand=Tag(key=key, value=str(value))) if key == SYSTEM:
            yield value
        case In(key=key, negated=True) if key == SYSTEM:
            yield from scope.values
        case And(operands=operands):
            for operand in operands:
                yield from _without(operand)
        case _:
            return


def _why(judged: Iterable[tuple[Judgement, InstanceFeed]]) -> str | None:
    """Why no instance feeds it, None where one does."""
    reasons: list[Judgement] = []
    for (state, why), feed in judged:
        if state in (COUNTED, EVENT) or (state == MISSING and not feed.tried):
            return None
        reasons.append((state, why))
    return min(reasons, key=lambda one: STATES.index(one[0]))[1] if reasons else "no instance is there"
