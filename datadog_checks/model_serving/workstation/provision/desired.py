"""Everything that an account should have: the packs that were chosen, with the user's values and routing."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from pathlib import Path

from ...catalog.loader import load_catalog
from ...errors import OptionError
from .document import Mistakes, suggestion
from .downtimes import downtimes
from .model import KEY_TAG, PERCENTILE, PackPlaces, Resource, owner_tag
from .packs import MonitorEntry, Pack, SloEntry, builtin_packs
from .packs.bodies import monitor_bodies, monitor_tags, slo_body
from .packs.files import with_files
from .packs.settle import Settled, check_scope, notified, settle
from .packs.slos import alerts_of, settle_slo, slos_of
from .packs.variants import can_tell, check_parts, with_variants
from .routing import Routing, check_routing, handles, notification_rules
from .values import OWN_TAGS, SloValues, Values, read_values
from .vocabulary import Vocabulary, builtin_vocabulary, vocabulary
from .widgets import Shown, dashboard_body, places_of


def load_values(path: str | Path | None, given: Sequence[str] = ()) -> Values:
    """Read a values file, if there is one, and try it on every pack, also on those that `given` names by their files.
    Raises DocumentError with the file, the key and the mend."""
    if path is None:
        return Values(available=with_files(given, Path(), builtin_packs())[1])
    values = read_values(path, given)
    # Whatever of the packs is chosen later: a value that can't be is wrong now.
    desired(list(values.available), values)
    return values


def vocabulary_of(values: Values) -> Vocabulary:
    """What the queries of the packs may name."""
    catalogs = tuple(dict.fromkeys(one for pack in values.available.values() for one in pack.catalogs))
    return _vocabulary_with(catalogs) if catalogs else builtin_vocabulary()


@lru_cache(maxsize=4)
def _vocabulary_with(catalogs: tuple[str, ...]) -> Vocabulary:
    """That of a check with these catalog files, which one command reads once."""
    return vocabulary(load_catalog(catalogs))


def desired(
    packs: Sequence[str] | None,
    values: Values | None = None,
    routing: Routing | None = None,
    optional: bool = False,
    left_out: Collection[str] = (),
) -> list[Resource]:
    """The resources of the packs, or without any of those that the values name, or else of all.

    Monitors that are for those who ask for them are there where the values do, or with `optional`. What is `left_out`,
    by the addresses of monitors, SLOs and dashboards as the packs have them, is not.

    Raises OptionError about a pack that does not exist, DocumentError about values and routes that are impossible.
    """
    values = values or Values()
    if packs is not None:
        packs, available = with_files(packs, Path(), values.available)
        values = replace(values, available=available)
    chosen = chosen_packs(packs, values)
    whole = len(chosen) == len(values.available) and not left_out
    slos, entries, monitors = _settled(chosen, values, optional, left_out)
    if routing is not None:
        # One routing file may be for several plans, which choose otherwise.
        every = monitors if whole else _settled(values.available.values(), values, True, ())[2]
        check_routing(routing, _routable(every, values))
    resources = [
        *(Resource("slo", key, slo_body(slo, values), _slo_places(slo, values)) for key, slo in slos.items()),
        *(resource for one in monitors for resource in _monitor(one, values, routing, entries)),
        *(one for one in _dashboards(chosen, values, monitors, slos) if one.address not in left_out),
    ]
    rules = notification_rules(routing, values.stack) if routing is not None and routing.form == "rules" else []
    resources += downtimes(values, monitors, vocabulary_of(values), whole)
    return [*percentiles(resources), *resources, *rules]


def percentiles(resources: Iterable[Resource]) -> list[Resource]:
    """One resource for each distribution of which any of the resources asks for a percentile."""
    text = json.dumps([resource.body for resource in resources])
    body = {"metric_type": "distribution", "include_percentiles": True}
    return [Resource("percentiles", metric, dict(body)) for metric in sorted(set(PERCENTILE.findall(text)))]


def known_addresses(values: Values) -> set[str]:
    """Addresses of what the packs can have, whatever is chosen of it, without variants and what is for one endpoint."""
    return {address for pack in values.available.values() for address in pack.addresses}


def known_packs(names: Sequence[str], values: Values) -> tuple[tuple[str, ...], dict[str, str]]:
    """The names of packs that were given by name or as files, and of all that there are, with those of the values, by
    the addresses of what they have. Raises OptionError about one that does not exist."""
    names, available = with_files(names, Path(), values.available)
    homes = {address: pack.name for pack in available.values() for address in pack.addresses}
    return tuple(_among(names, available)), homes


def _among(names: Sequence[str], known: Mapping[str, Pack]) -> Sequence[str]:
    for name in names:
        if name not in known:
            raise OptionError(f"there is no pack `{name}`; {suggestion(name, known)}")
    return names


def chosen_packs(packs: Sequence[str] | None, values: Values) -> list[Pack]:
    """The packs of these names, or without any those that the values name, or else all that ship. Raises OptionError
    about one that does not exist."""
    known = values.available
    shipped = tuple(name for name, pack in known.items() if not pack.file)
    chosen = packs if packs is not None else values.packs if values.packs is not None else shipped
    names = _among(chosen, known)
    return [pack for name, pack in known.items() if name in names]


def _settled(
    chosen: Iterable[Pack], values: Values, optional: bool, left_out: Collection[str]
) -> tuple[dict[str, SloEntry], list[MonitorEntry], list[Settled]]:
    """The SLOs of packs by key, their monitors, and these as the values have them. Raises DocumentError about values
    that are impossible."""
    packs = list(chosen)
    bases = {
        entry.key: entry
        for pack in packs
        for entry in pack.slos
        if values.slos.get(entry.key, SloValues()).enabled and f"slo:{entry.key}" not in left_out
    }
    wrong = Mistakes()
    of_slos = chain.from_iterable(wrong.read(lambda one: slos_of(one, values), bases.values()))
    slos = {one.key: one for one in wrong.read(lambda one: settle_slo(one, values), of_slos)}
    whole = [
        entry
        for pack in packs
        for entry in pack.monitors
        if f"monitor:{entry.key}" not in left_out and (not entry.slo or entry.slo in bases)
    ]
    parts = chain.from_iterable(wrong.read(lambda entry: with_variants(entry, values), whole))
    present = [one for one in parts if _is_wanted(one, values, optional)]
    split = wrong.read(lambda one: alerts_of(one, bases[one.slo], values) if one.slo else [one], present)
    entries = [one for some in split for one in some if not one.slo or one.slo in slos]
    wrong.read(lambda check: check(entries, values), (check_parts,))
    if not wrong.read(lambda check: check(entries, values), (check_scope,)):
        # It has told of all monitors what each would tell again.
        wrong.end()
    monitors = wrong.read(lambda entry: settle(entry, values, slos.get(entry.slo)), entries)
    wrong.end()
    return slos, entries, monitors


def _is_wanted(entry: MonitorEntry, values: Values, optional: bool) -> bool:
    said, _ = values.own(entry, "enabled")
    # Who writes how a monitor is to be wants it.
    usual = entry.enabled and (entry.generative != "only" or can_tell(entry.tree, values.generative))
    return usual or optional or (entry.origin or entry.key) in values.monitors if said is None else bool(said)


def _monitor(
    monitor: Settled, values: Values, routing: Routing | None, entries: Iterable[MonitorEntry]
) -> Iterator[Resource]:
    """The monitor, after the parts of a composite one."""
    entry, ending = monitor.entry, ""
    if routing is not None and routing.form == "handles":
        tags = [*monitor_tags(monitor), owner_tag(values.stack), f"{KEY_TAG}:{entry.key}"]
        ending = handles(routing, tags, entry.groups)
    if routing is not None:
        if values.said(entry, "renotify")[0] is None and routing.repeat is not None:
            monitor = replace(monitor, renotify=routing.repeat)
        if values.said(entry, "notify_by")[0] is None and routing.group_by is not None:
            monitor = replace(monitor, notify_by=notified(entry, routing.group_by))
    routed = {tag for tag, _, _ in routing.tags()} if routing is not None else set()
    silent = [tag for tag in values.everywhere.tags or () if tag.partition(":")[0] not in routed]
    # Composite monitors can't be parts of others: what keeps still for one keeps still for its first part.
    unless = [_first_part(one, entries) for key in entry.unless for one in entries if one.key == key]
    for key, body in monitor_bodies(monitor, values.prefix, ending, unless, silent):
        yield Resource("monitor", key, body, _monitor_places(entry, key, values))


def _monitor_places(entry: MonitorEntry, key: str, values: Values) -> PackPlaces | None:
    """Where the file of a user's own pack has what a monitor is made of, or, by its key, one of its parts."""
    pack = values.available[entry.pack]
    if not pack.file:
        return None
    written = {one.key for one in pack.monitors if not one.lacking}
    place = next(f"monitors.{one}" for one in (entry.key, entry.origin, entry.base) if one in written)
    guards = {f"{entry.key}.part.{name}": f"{place}.guards.{name}" for name in entry.guards}
    query = guards.get(key) or (f"{place}.query" if key == entry.part else place)
    return PackPlaces(pack.file, {"": place, "query": query})


def _slo_places(slo: SloEntry, values: Values) -> PackPlaces | None:
    """The same of an SLO."""
    file, place = values.available[slo.pack].file, f"slos.{slo.base or slo.key}"
    parts = {"query.numerator": "good", "query.denominator": "total", "sli_specification": "query"}
    return PackPlaces(file, {"": place, **{path: f"{place}.{key}" for path, key in parts.items()}}) if file else None


def _first_part(entry: MonitorEntry, entries: Iterable[MonitorEntry]) -> str:
    present = {one.key for one in entries}
    return entry.part if entry.guards or present & set(entry.unless) else entry.key


def _routable(monitors: Iterable[Settled], values: Values) -> dict[str, set[str] | None]:
    """Tags that a monitor or one of its groups can have, with their values; None where a series brings these."""
    own = [
        tag.partition(":") for monitor in monitors for tag in (*monitor_tags(monitor), f"{KEY_TAG}:{monitor.entry.key}")
    ]
    own += [tag.partition(":") for tag in (owner_tag(values.stack), *(values.everywhere.tags or ()))]
    known = {name: {value for key, _, value in own if key == name} for name, _, _ in own}
    groups = {tag for monitor in monitors for tag in monitor.entry.groups}
    groups |= {"endpoint_name" for monitor in monitors if monitor.entry.endpoint}
    return {**dict.fromkeys(OWN_TAGS), **known, **dict.fromkeys(groups)}


def _dashboards(
    chosen: Iterable[Pack], values: Values, monitors: Iterable[Settled], slos: Mapping[str, SloEntry]
) -> Iterable[Resource]:
    numbers = {} if values.gpu_hour_price is None else {"gpu_hour_price": values.gpu_hour_price}
    known = {one.entry.key: one for one in monitors}
    shown = Shown(values.prefix, values.everywhere.scope, known, slos, numbers, vocabulary_of(values))
    for pack in chosen:
        for entry in pack.dashboards:
            if values.dashboards.get(entry.key, True):
                body = dashboard_body(entry, shown)
                team = values.teams.get(pack.name) or values.everywhere.team
                body = {**body, "tags": [f"team:{team}"]} if team else body
                written = PackPlaces(pack.file, places_of(entry, shown)) if pack.file else None
                yield Resource("dashboard", entry.key, body, written)
