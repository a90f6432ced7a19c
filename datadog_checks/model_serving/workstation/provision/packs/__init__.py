"""What can be provisioned, as data: one YAML file per pack, and one per dashboard in `dashboards/`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ....strict_yaml import read_shipped
from ..query import parse_monitor
from ..query.tree import EventMonitor, MetricMonitor, MonitorQuery, ServiceCheckMonitor, SloMonitor
from .queries import groups_of, without_tag

HERE = Path(__file__).parent
SEVERITIES = ("critical", "warning")


@dataclass(frozen=True, slots=True)
class MonitorEntry:
    """A monitor as a pack has it, with the defaults that a user may override.

    `watches`, `source` and `note` are for the documentation, `note` also for the message: how the monitor differs from
    its source; `means` and `false_alarm` are for its runbook. Of `thresholds` a metric monitor has the critical one in
    its query. `no_data` is in minutes, `auto_resolve` in hours; `rates` are burn rates by the timeframe of the SLO;
    `bounds` the lowest and highest value that there can be.

    One that is not `enabled` is for those who ask for it. With `fixed_window` the query holds for its window alone.
    With `full_window` there is no alert before there was data for all of the window. `on_missing_data` is what an empty
    window means, of a count that stops where nothing happens.

    A monitor that is grouped by a tag does not see the series that lack it. `without` names such tags, and what to
    call a monitor of these series alone, of which the scope `except_for` leaves some out; that monitor has the first
    as its `base`, and the tag that its series are `lacking`. What a user says of a base is said of both.

    `guards` are further queries by name, all of which must alert with it; a user gives the number that one compares
    with as `min_<name>`. `unless` are the keys of monitors that must not, as they tell the cause. With either, the
    account gets a composite monitor, which alone notifies, and its parts.

    Of models that generate, seconds are usual: `generative` is `except` where the monitor leaves out what the values
    file calls generative, and `only` where it is about these alone.

    With `named` an alert on an SLO is there only for endpoints that the values file names. `runbook` is the URL of one
    that is not among those that ship.

    `variant` is the name of one that the values file makes of `origin` for the series `within` a scope. What is
    `beyond`, scopes of other variants, is left out of either. An alert on the SLO of a variant is `within` its scope.
    """

    key: str
    pack: str
    title: str
    watches: str
    subject: str
    query: str
    severity: str
    priority: int
    source: str
    look: tuple[str, ...]
    created: str
    means: str = ""
    false_alarm: tuple[str, ...] = ()
    team: str = ""
    unit: str = ""
    note: str = ""
    alert: str = ""
    warning: str = ""
    recovered: str = ""
    no_data_text: str = ""
    no_data: int | None = None
    auto_resolve: int | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    bounds: tuple[float, float] | None = None
    without: Mapping[str, str] = field(default_factory=dict)
    except_for: str = ""
    base: str = ""
    lacking: str = ""
    enabled: bool = True
    fixed_window: bool = False
    full_window: bool = False
    on_missing_data: str = ""
    guards: Mapping[str, str] = field(default_factory=dict)
    unless: tuple[str, ...] = ()
    generative: str = ""
    named: bool = False
    endpoint: str = ""
    notify_by: tuple[str, ...] | None = None
    runbook: str = ""
    origin: str = ""
    variant: str = ""
    within: str = ""
    beyond: tuple[str, ...] = ()

    @property
    def is_composite(self) -> bool:
        """Whether it becomes a composite monitor and its parts."""
        return bool(self.guards or self.unless)

    @property
    def part(self) -> str:
        """Key of the monitor that has the query: its own, or that of the first part of a composite one."""
        return f"{self.key}.part" if self.is_composite else self.key

    def guard_trees(self) -> dict[str, MetricMonitor]:
        """The queries of `guards`, parsed."""
        trees: dict[str, MetricMonitor] = {}
        for name, text in self.guards.items():
            query = parse_monitor(text)
            query = without_tag(query, self.lacking, self.except_for) if self.lacking else query
            assert isinstance(query, MetricMonitor)
            trees[name] = query
        return trees

    @property
    def tree(self) -> MonitorQuery:
        """The query, parsed."""
        query = parse_monitor(self.query)
        return without_tag(query, self.lacking, self.except_for) if self.lacking else query

    @property
    def groups(self) -> tuple[str, ...]:
        """Tags that the monitor is grouped by."""
        return groups_of(self.tree)

    @property
    def form(self) -> str:
        """`metric`, `service check`, `slo` or `event`."""
        forms = {
            MetricMonitor: "metric",
            ServiceCheckMonitor: "service check",
            SloMonitor: "slo",
            EventMonitor: "event",
        }
        return forms[type(self.tree)]

    @property
    def slo(self) -> str:
        """Key of the SLO that it watches, empty for any other monitor."""
        return self.tree.slo.value.removeprefix("${slo:").removesuffix("}") if isinstance(self.tree, SloMonitor) else ""


@dataclass(frozen=True, slots=True)
class SloEntry:
    """An SLO as a pack has it: `good` and `total` of type `metric`, `query` and what follows of type `time_slice`.

    That of one `endpoint` alone, and that of a `variant` for the series `within` a scope, has that of all as its
    `base`. The scope `except_for` leaves some out of that of all; what the user names is left in, whatever serves it.
    What is `beyond`, scopes of variants, is left out of any.
    """

    key: str
    pack: str
    title: str
    description: str
    type: str
    target: float
    timeframe: str
    team: str = ""
    good: str = ""
    total: str = ""
    query: str = ""
    comparator: str = ""
    threshold: float | None = None
    slice: int | None = None
    generative: str = ""
    except_for: str = ""
    base: str = ""
    endpoint: str = ""
    variant: str = ""
    within: str = ""
    beyond: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DashboardEntry:
    """A dashboard as its file has it; `groups` hold widgets in the form that `widgets` reads.

    `overlay` is a search for events that every graph over time marks.
    """

    key: str
    pack: str
    title: str
    description: str
    variables: Mapping[str, str]
    groups: tuple[Mapping[str, Any], ...]
    overlay: str = ""


@dataclass(frozen=True, slots=True)
class Pack:
    """A set that a user chooses or leaves. One that a user wrote has a `file`, and may name the `catalogs`,
    paths of catalog files, that have its metrics."""

    name: str
    title: str
    description: str
    monitors: tuple[MonitorEntry, ...]
    slos: tuple[SloEntry, ...]
    dashboards: tuple[DashboardEntry, ...]
    file: str = ""
    catalogs: tuple[str, ...] = ()

    @property
    def addresses(self) -> list[str]:
        """Of all that it has, without parts, variants, and what is there for one endpoint."""
        return [
            *(f"monitor:{entry.key}" for entry in self.monitors),
            *(f"slo:{entry.key}" for entry in self.slos),
            *(f"dashboard:{entry.key}" for entry in self.dashboards),
        ]


@lru_cache(maxsize=1)
def builtin_packs() -> Mapping[str, Pack]:
    """Every pack that ships, by name, in the order of their importance."""
    order = _read(HERE / "order.yaml")["packs"]
    dashboards = [_dashboard(path) for path in sorted((HERE / "dashboards").glob("*.yaml"))]
    return {name: _pack(HERE / f"{name}.yaml", [one for one in dashboards if one.pack == name]) for name in order}


@lru_cache(maxsize=1)
def monitor_entries() -> Mapping[str, MonitorEntry]:
    """Every monitor of every pack by its key."""
    return {entry.key: entry for pack in builtin_packs().values() for entry in pack.monitors}


@lru_cache(maxsize=1)
def slo_entries() -> Mapping[str, SloEntry]:
    """Every SLO of every pack by its key."""
    return {entry.key: entry for pack in builtin_packs().values() for entry in pack.slos}


def pack_of(kind: str, key: str, tags: Iterable[str], homes: Mapping[str, str]) -> str:
    """Which pack a provisioned resource comes from, by its tag or its key; empty where it is of none, as notification
    rules are. `homes` are the names of packs by the addresses of what they have. Parts of a monitor and SLOs of one
    endpoint have keys that begin with that of the whole."""
    named = [tag.removeprefix("pack:") for tag in tags if tag.startswith("pack:")]
    if named:
        return named[0]
    parts = key.split(".")
    wholes = (f"{kind}:{'.'.join(parts[:length])}" for length in range(len(parts), 0, -1))
    return next((homes[one] for one in wholes if one in homes), "")


def _read(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = filled(read_shipped(path))
    return data


def filled(data: Any) -> Any:
    """What a file of a pack holds, with the lists of systems.yaml where its texts name them."""
    return _filled(data, _systems())


@lru_cache(maxsize=1)
def _systems() -> dict[str, str]:
    """What stands for the lists of systems.yaml in queries, and what for both lists of language models."""
    lists = read_shipped(HERE / "systems.yaml")
    lists["llm"] = sorted(lists["llm_engines"] + lists["llm_gateways"])
    return {f"${{{name}}}": ",".join(names) for name, names in lists.items()}


def _filled(data: Any, names: Mapping[str, str]) -> Any:
    """The data with what stands for lists replaced in all of its texts."""
    match data:
        case str():
            for name, text in names.items():
                data = data.replace(name, text)
            return data
        case list():
            return [_filled(item, names) for item in data]
        case dict():
            return {key: _filled(item, names) for key, item in data.items()}
        case _:
            return data


def _pack(path: Path, dashboards: list[DashboardEntry]) -> Pack:
    data, name = _read(path), path.stem
    pages = _runbooks()
    common = {"pack": name, "team": data.get("team", "")}
    created = str(data["created"])
    monitors = tuple(
        one
        for key, entry in data.get("monitors", {}).items()
        for one in with_others(
            MonitorEntry(
                **{
                    **common,
                    **entry,
                    **pages.get(key, {}),
                    "key": key,
                    "created": created,
                    "look": tuple(entry["look"]),
                    "bounds": tuple(entry["bounds"]) if "bounds" in entry else None,
                    "unless": tuple(entry.get("unless", ())),
                    "notify_by": tuple(entry["notify_by"]) if "notify_by" in entry else None,
                }
            )
        )
    )
    slos = tuple(SloEntry(**{**common, **entry, "key": key}) for key, entry in data.get("slos", {}).items())
    return Pack(name, data["title"], data["description"], monitors, slos, tuple(dashboards))


@lru_cache(maxsize=1)
def _runbooks() -> dict[str, dict[str, Any]]:
    """What runbooks.yaml says of each monitor, by its key."""
    return {
        key: {"means": page["means"], "false_alarm": tuple(page["false_alarm"])}
        for key, page in _read(HERE / "runbooks.yaml").items()
    }


def with_others(entry: MonitorEntry) -> Iterator[MonitorEntry]:
    """The monitor, and those of the series that it does not see."""
    yield entry
    for tag, level in entry.without.items():
        yield replace(
            entry,
            key=f"{entry.key}.{level}",
            title=f"{entry.title}, by {level}",
            watches=f"The same as `{entry.key}`, for series without `{tag}`.",
            without={},
            base=entry.key,
            lacking=tag,
        )


def _dashboard(path: Path) -> DashboardEntry:
    data = _read(path)
    return DashboardEntry(**{**data, "key": path.stem, "groups": tuple(data["groups"])})
