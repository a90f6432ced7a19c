"""Packs that a user writes, in files of the form of those that ship."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from ..document import Node, read_document, suggestion
from ..query import parse_metric_expression, parse_monitor
from ..query.tree import EventMonitor, MetricMonitor, MonitorQuery, ServiceCheckMonitor, SloMonitor
from ..query.words import grammar
from . import SEVERITIES, MonitorEntry, Pack, SloEntry, filled, with_others
from .dashboard_files import read_dashboard
from .queries import read_condition
from .thresholds import misplaced

Entry = TypeVar("Entry")

ALL = "all"
"""Among names of packs: all that ship."""

KEY = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")
NAME = re.compile(r"[a-z][a-z0-9_]*")
PARTS = ("monitors", "slos", "dashboards")
TOP = ("title", "description", "team", "created", "catalog", *PARTS)
OF_VALUES = "this is of a values file, which `model-serving provision plan --offline --values FILE` checks"
OF_ROUTING = "this is of a routing file, which `model-serving provision plan --offline --routing FILE` checks"
ADVICE = {
    **dict.fromkeys(("stack", "prefix", "packs", "scope", "teams", "downtimes"), OF_VALUES),
    **dict.fromkeys(("receiver", "receivers", "routes"), OF_ROUTING),
    "groups": "these are rules of Prometheus; docs/provisioning.md shows how one becomes a monitor",
    "tags": "write `tags` in the values file, for all monitors or for one",
}
SET_HERE = {"key", "pack", "created", "lacking", "endpoint", "origin", "variant", "within", "beyond"}
"""Fields of an entry that its file does not say."""
UNSAID = {"watches", "source", "description"}
"""Fields that a file of a user need not say."""


def is_path(name: str) -> bool:
    """Whether the name of a pack is that of a file."""
    return "/" in name or name.endswith((".yaml", ".yml"))


def with_files(
    names: Iterable[str], folder: Path, available: Mapping[str, Pack]
) -> tuple[tuple[str, ...], dict[str, Pack]]:
    """The names of packs, with those of files read from the folder, and all packs that there are then.

    Raises DocumentError about a file.
    """
    found, chosen = dict(available), list[str]()
    for name in names:
        if name == ALL:
            chosen += [pack.name for pack in found.values() if not pack.file]
        elif not is_path(name):
            chosen.append(name)
        else:
            path = folder / name
            same = [one for one in found.values() if one.file and Path(one.file).resolve() == path.resolve()]
            pack = same[0] if same else read_pack(path, found)
            found[pack.name] = pack
            chosen.append(pack.name)
    return tuple(dict.fromkeys(chosen)), found


def read_pack(path: Path, available: Mapping[str, Pack]) -> Pack:
    """The pack of a file. Its name is that of the file, and its keys must be others than those of the available packs.

    Raises DocumentError with the file, the key and the mend.
    """
    root = read_document(path, "pack")
    root = replace(root, value=filled(root.value))
    name = path.stem
    if not NAME.fullmatch(name):
        raise root.fail(f"the file's name is that of the pack, in small letters, digits and _: rename `{path.name}`")
    if name in available:
        raise root.fail(f"there is a pack `{name}` already: rename the file")
    top = root.entries(TOP, advice=ADVICE)
    if "title" not in top:
        raise root.fail("the key `title` is missing")
    if not any(part in top for part in PARTS):
        raise root.fail(f"has nothing in it: write {', '.join(f'`{part}`' for part in PARTS[:-1])} or `{PARTS[-1]}`")
    common = {"pack": name, "team": top["team"].tag_value() if "team" in top else ""}
    slos = _keyed(
        top.get("slos"),
        "SLO",
        {one.key: one.pack for one in _all(available, "slos")},
        lambda key, entry: SloEntry(**{**common, **_said(entry, SLO, SloEntry), "key": key}),
    )
    taken = {one.key: one.pack for one in _all(available, "monitors")}

    def monitor(key: str, entry: Node) -> list[MonitorEntry]:
        said = _said(entry, MONITOR, MonitorEntry)
        one = MonitorEntry(**{**common, "watches": said["title"], "source": "", **said, "key": key, "created": ""})
        _check(one, entry)
        found = list(with_others(one))
        for other in found:
            if other.key in taken:
                raise entry.fail(f"`{other.key}` is a monitor of the pack `{taken[other.key]}`: choose another key")
            taken[other.key] = name
        return found

    monitors = [one for found in _keyed(top.get("monitors"), "monitor", taken, monitor) for one in found]
    known = [one.key for one in (*_all(available, "slos"), *slos)]
    own = [one.key for one in monitors]
    for one in monitors:
        place = root.below("monitors", None).below(one.key, None)
        for other_key in one.unless:
            if other_key not in taken:
                raise place.fail(f"unless: there is no monitor `{other_key}`; {suggestion(other_key, taken)}")
        if one.base and one.base not in own:
            raise place.fail(f"base: there is no monitor `{one.base}` in this file; {suggestion(one.base, own)}")
        if one.slo and one.slo not in known:
            raise place.fail(f"query: there is no SLO `{one.slo}`; {suggestion(one.slo, known)}")
    marks = [one.key for one in (*_all(available, "monitors"), *monitors) if one.form == "metric"]
    dashboards = _keyed(
        top.get("dashboards"),
        "dashboard",
        {one.key: one.pack for one in _all(available, "dashboards")},
        lambda key, entry: read_dashboard(entry, key, name, known, marks),
    )
    return Pack(
        name,
        top["title"].text(),
        top["description"].text() if "description" in top else "",
        tuple(monitors),
        tuple(slos),
        tuple(dashboards),
        file=str(path),
        catalogs=tuple(str(path.parent / one) for one in top["catalog"].texts()) if "catalog" in top else (),
    )


def _all(available: Mapping[str, Pack], what: str) -> list[Any]:
    return [one for pack in available.values() for one in getattr(pack, what)]


def _keyed(node: Node | None, what: str, taken: Mapping[str, str], read: Callable[[str, Node], Entry]) -> list[Entry]:
    """The entries of a part of a pack, none of whose keys may be `taken` by another pack."""

    def checked(key: str, entry: Node) -> Entry:
        if not KEY.fullmatch(key):
            raise entry.fail("a key is small letters, digits and _, in parts with a dot between them")
        if key in taken:
            raise entry.fail(f"is a key of the pack `{taken[key]}`: choose another one for this {what}")
        return read(key, entry)

    return list(node.mapped(checked).values()) if node is not None else []


def _said(
    node: Node, special: Mapping[str, Callable[[Node], Any]], form: type[MonitorEntry | SloEntry]
) -> dict[str, Any]:
    """The fields of an entry, each as its kind is read."""
    ours = SET_HERE if form is MonitorEntry else {*SET_HERE, "base"}
    known = {one.name: one for one in fields(form) if one.name not in ours}
    readers = {name: special.get(name, KINDS[str(field.type)]) for name, field in known.items()}
    needed = [
        name
        for name, field in known.items()
        if field.default is MISSING and field.default_factory is MISSING and name not in UNSAID
    ]
    return node.read(readers, needed=needed)


def _check(entry: MonitorEntry, node: Node) -> None:
    """Raise DocumentError about a monitor that no pack can have."""
    tree = entry.tree
    if isinstance(tree, MetricMonitor | EventMonitor) and not _is_number(tree.comparison.threshold):
        raise node.fail("query: must end with the critical threshold, such as `> 5`")
    allowed = {"metric": ("warning", "critical_recovery", "warning_recovery"), "service check": SERVICE_CHECK}
    for name in entry.thresholds:
        if name not in allowed.get(entry.form, ()):
            hint = "write it at the end of `query`" if name == "critical" else "leave it out"
            raise node.fail(f"thresholds: a monitor of this kind has no `{name}` here: {hint}")
    if isinstance(tree, MetricMonitor):
        sign = 1 if tree.comparison.operator.startswith(">") else -1
        for name, beyond in misplaced({"critical": float(tree.comparison.threshold), **entry.thresholds}, sign):
            raise node.fail(f"thresholds: `{name}` must be {'below' if sign > 0 else 'above'} `{beyond}`")
    if entry.form == "service check" and set(entry.thresholds) < {"critical", "ok"}:
        raise node.fail("thresholds: a service check needs `critical` and `ok`, each a number of consecutive runs")
    timeframes = grammar()["slo"]["timeframes"]
    if entry.slo and set(entry.rates) != set(timeframes):
        raise node.fail(f"rates: a burn rate needs one for each of {', '.join(timeframes)}")
    if entry.generative and entry.form != "metric":
        raise node.fail("generative: is for monitors of metrics")
    for tag in entry.without:
        if entry.form != "metric" or tag not in entry.groups:
            raise node.fail(f"without: the query is not grouped by `{tag}`")
    for tag in entry.notify_by or ():
        if tag != "*" and tag not in entry.groups:
            raise node.fail(f"notify_by: `{tag}` is no group of the query")


SERVICE_CHECK = ("critical", "warning", "ok")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _query(node: Node) -> str:
    tree: MonitorQuery = node.parsed(parse_monitor)
    if not isinstance(tree, MetricMonitor | ServiceCheckMonitor | SloMonitor | EventMonitor):
        raise node.fail("must be a monitor of metrics, of a service check, of events or of a burn rate")
    if isinstance(tree, SloMonitor) and not (tree.kind == "burn_rate" and tree.slo.value.startswith("${slo:")):
        raise node.fail('must be a burn rate of an SLO by its key, such as `burn_rate("${slo:availability}")`')
    return node.text()


def _guards(node: Node) -> dict[str, str]:
    def read(name: str, query: Node) -> str:
        if not NAME.fullmatch(name):
            raise query.fail("a name is small letters, digits and _")
        if not isinstance(query.parsed(parse_monitor), MetricMonitor):
            raise query.fail("must be a monitor of metrics")
        return query.text()

    return node.mapped(read)


def _expression(node: Node) -> str:
    node.parsed(parse_metric_expression)
    return node.text()


def _scope(node: Node) -> str:
    node.parsed(read_condition)
    return node.text()


def _numbers(node: Node) -> dict[str, float]:
    return node.mapped(lambda name, item: item.number())


def _bounds(node: Node) -> tuple[float, float]:
    numbers = [item.number() for item in node.each()]
    if len(numbers) != 2 or numbers[0] >= numbers[1]:
        raise node.fail("must be the lowest and the highest value, such as [0, 100]")
    return numbers[0], numbers[1]


def _words(node: Node) -> dict[str, str]:
    return node.mapped(lambda tag, level: level.tag_value())


KINDS: Mapping[str, Callable[[Node], Any]] = {
    "str": Node.text,
    "bool": Node.flag,
    "float": Node.number,
    "float | None": Node.number,
    "int": lambda node: node.integer(1, 5),
    "int | None": lambda node: node.integer(1, 44640),
    "tuple[str, ...]": Node.texts,
    "tuple[str, ...] | None": Node.texts,
    "tuple[float, float] | None": _bounds,
    "Mapping[str, float]": _numbers,
    "Mapping[str, str]": _words,
}
"""How a field is read, by its type."""

MONITOR: Mapping[str, Callable[[Node], Any]] = {
    "query": _query,
    "guards": _guards,
    "severity": lambda node: node.choice(SEVERITIES),
    # An empty one is none, where the pack has one.
    "team": lambda node: "" if node.value == "" else node.tag_value(),
    "except_for": _scope,
    "generative": lambda node: node.choice(("except", "only")),
    "auto_resolve": lambda node: node.integer(1, 24),
    "runbook": Node.url,
}
"""Fields of a monitor that are read in another way than others of their type."""

SLO: Mapping[str, Callable[[Node], Any]] = {
    "type": lambda node: node.choice(("metric", "time_slice")),
    "good": _expression,
    "total": _expression,
    "query": _expression,
    "comparator": lambda node: node.choice(grammar()["slo"]["comparators"]),
    "slice": lambda node: node.choice(grammar()["slo"]["intervals"]),
    "timeframe": lambda node: node.choice(grammar()["slo"]["timeframes"]),
    "generative": lambda node: node.choice(("except",)),
    "team": Node.tag_value,
}
"""The same of an SLO."""
