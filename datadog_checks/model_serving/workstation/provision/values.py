"""What a user wants otherwise than the packs have it: a values file, checked as a whole before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ...errors import DocumentError, QueryError
from .document import Node, read_all, read_document
from .model import KEY_TAG, NO_STACK, OWNER_TAG, STACK
from .packs import SEVERITIES, MonitorEntry, Pack, builtin_packs
from .packs.files import ALL, is_path, with_files
from .packs.queries import read_condition
from .query.tree import Tag, leaves
from .query.words import grammar
from .schedules import LONGEST, UTC_NAME, is_skipped, read_repeats, read_start, read_zone, schedule_of

OWN_TAGS = frozenset((OWNER_TAG.partition(":")[0], KEY_TAG, "severity", "team", "pack"))
"""Tags that provisioning sets by itself."""

THRESHOLDS = ("critical", "warning", "critical_recovery", "warning_recovery", "ok")
MONTH = 31 * 24 * 60
DAY = 24 * 60
Reader = Callable[[Node], Any]
OfOne = TypeVar("OfOne", "MonitorValues", "SloValues")


@dataclass(frozen=True, slots=True)
class MonitorValues:
    """Of one monitor, or of all; None is what the pack says. Durations are minutes, 0 for none; a threshold that is
    None is taken away."""

    enabled: bool | None = None
    thresholds: Mapping[str, float | None] | None = None
    window: str | None = None
    long_window: str | None = None
    short_window: str | None = None
    scope: str | None = None
    severity: str | None = None
    priority: int | None = None
    team: str | None = None
    tags: tuple[str, ...] | None = None
    no_data: int | None = None
    auto_resolve: int | None = None
    renotify: int | None = None
    evaluation_delay: int | None = None
    runbook: str | None = None
    min_errors: int | None = None
    min_requests: int | None = None
    notify_by: tuple[str, ...] | None = None
    variants: Mapping[str, MonitorValues] | None = None


@dataclass(frozen=True, slots=True)
class SloValues:
    """Of one SLO. `threshold` is in seconds, `slice` the length of a time slice in seconds; `endpoints` and `variants`
    get an SLO of their own, each with what is said of it alone."""

    enabled: bool = True
    target: float | None = None
    warning: float | None = None
    timeframe: str | None = None
    threshold: float | None = None
    slice: int | None = None
    scope: str | None = None
    team: str | None = None
    tags: tuple[str, ...] = ()
    endpoints: Mapping[str, SloValues] = field(default_factory=dict)
    variants: Mapping[str, SloValues] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DowntimeValues:
    """A planned downtime: of the monitors that are named, or have all of the `tags`, in `scope`. `schedule` is as the
    API takes it."""

    schedule: Mapping[str, Any]
    timezone: str = UTC_NAME
    scope: str = "*"
    monitors: tuple[str, ...] | None = None
    tags: tuple[str, ...] = ()
    message: str = ""


@dataclass(frozen=True, slots=True)
class Values:
    """A values file. `everywhere` is what its top level says of all monitors; `packs` None is all of them.

    `stack` names whose resources these are, empty for the stack without a name; `runbooks` is where runbooks are
    published, empty where they are not; `generative` the scope of what generates; `ignore_tags` are patterns of tags
    that others add to monitors and SLOs; `gpu_hour_price` is what an hour of one GPU costs, in dollars;
    `available` are the packs that there are.
    """

    file: str = "values"
    stack: str = ""
    prefix: str = "Model serving: "
    packs: tuple[str, ...] | None = None
    runbooks: str = ""
    generative: str = ""
    available: Mapping[str, Pack] = field(default_factory=builtin_packs)
    gpu_hour_price: float | None = None
    ignore_tags: tuple[str, ...] = ()
    teams: Mapping[str, str] = field(default_factory=dict)
    everywhere: MonitorValues = MonitorValues()
    monitors: Mapping[str, MonitorValues] = field(default_factory=dict)
    slos: Mapping[str, SloValues] = field(default_factory=dict)
    dashboards: Mapping[str, bool] = field(default_factory=dict)
    downtimes: Mapping[str, DowntimeValues] = field(default_factory=dict)

    def fail(self, path: str, problem: str) -> DocumentError:
        """The error about the value at `path`."""
        return Node(self.file, path, None).fail(problem)

    def own(self, monitor: MonitorEntry, name: str) -> tuple[Any, str]:
        """What is said of one monitor, or of the one that it complements, and where; None where nothing is said. What
        is said of a variant comes first; its scope narrows that of its monitor, and is no part of this."""
        keys = (monitor.origin or monitor.key, monitor.base)
        for key in keys if monitor.variant and name != "scope" else ():
            said = self.monitors.get(key)
            value = getattr(((said and said.variants) or {}).get(monitor.variant), name, None)
            if value is not None:
                return value, f"monitors.{key}.variants.{monitor.variant}.{name}"
        for key in keys:
            value = getattr(self.monitors.get(key), name, None)
            if value is not None:
                return value, f"monitors.{key}.{name}"
        return None, f"monitors.{monitor.key}.{name}"

    def said(self, monitor: MonitorEntry, name: str) -> tuple[Any, str]:
        """The same of what may also be said of all monitors."""
        value, path = self.own(monitor, name)
        return (getattr(self.everywhere, name, None), name) if value is None else (value, path)


def read_values(path: str | Path, given: Sequence[str] = ()) -> Values:
    """Read a values file, and the packs that it or `given` names by their files. Raises DocumentError with the file,
    the key and the mend.

    Whether a value is possible shows only when it meets its monitor: `desired.load_values` tries that, too.
    """
    root = read_document(path, "values file")
    _, available = with_files(given, Path(), builtin_packs())
    named = [node for key, node in root.items() if key == "packs"]
    names = [name for node in named for name in node.texts()]
    packs, available = with_files(names, Path(path).parent, available)
    of_packs = {name: partial(read, available) for name, read in OF_PACKS.items()}
    said = root.read({**READERS, **of_packs, **EVERYWHERE})
    everywhere = MonitorValues(**{name: said.pop(name) for name in EVERYWHERE if name in said})
    if named:
        said["packs"] = packs
    return Values(file=root.file, everywhere=everywhere, available=available, **said)


def _window(node: Node) -> str:
    text = node.text()
    return f"last_{text}" if re.fullmatch(r"\d+[a-z]+", text) else text


def _length(node: Node) -> str:
    node.minutes(1, 2 * DAY)
    return str(node.value)


def _optional(low: int, high: int) -> Callable[[Node], int]:
    """A duration, or false for none."""
    return lambda node: 0 if node.value is False else node.minutes(low, high)


def _scope(node: Node) -> str:
    text = node.text().strip()
    if text.startswith("{"):
        raise node.fail(f"leave the braces out: `{text.strip('{}')}`")
    try:
        read_condition(text)
    except QueryError as error:
        raise node.fail(f"`{text}`, column {error.column}: {error.message}") from None
    return text


def _generative(node: Node) -> str:
    text = _scope(node)
    for leaf in leaves(read_condition(text)):
        if isinstance(leaf, Tag) and leaf.value is None:
            raise node.fail(f"`{leaf.key}` is no tag: write `endpoint_name:{leaf.key}` or `model_name:{leaf.key}`")
    return text


def _tags(node: Node) -> tuple[str, ...]:
    return tuple(read_all(_tag, node.each()))


def _tag(node: Node) -> str:
    text = node.text()
    key, _, value = text.partition(":")
    if not key or not value:
        raise node.fail(f"must be a tag such as `cost_center:ml`, not `{text}`")
    if key in OWN_TAGS:
        hint = f"write `{key}: {value}`" if key in ("severity", "team") else "choose another key"
        raise node.fail(f"`{key}` is set by provisioning: {hint}")
    return text


def _patterns(node: Node) -> tuple[str, ...]:
    return tuple(read_all(_pattern, node.each()))


def _pattern(node: Node) -> str:
    text = node.text()
    if not re.fullmatch(r"[\w.*/-]+(:\S+)?", text):
        raise node.fail(f"must be a tag such as `owner:*`, or the key of one, not `{text}`")
    key = text.partition(":")[0]
    if key in OWN_TAGS:
        raise node.fail(f"`{key}` is set by provisioning, so it can't be left to others")
    return text


def _thresholds(node: Node) -> dict[str, float | None]:
    numbers = dict.fromkeys(THRESHOLDS, lambda item: None if item.value is None else item.number())
    return node.read({**numbers, "critical": Node.number}, "threshold")


def _packs(available: Mapping[str, Pack], node: Node) -> tuple[str, ...]:
    names = [item.text() for item in node.each()]
    # As keys of a mapping, unknown names get suggestions.
    words = dict.fromkeys(name for name in names if not is_path(name))
    Node(node.file, node.path, words).entries((*available, ALL), "pack")
    return tuple(names)


def _teams(available: Mapping[str, Pack], node: Node) -> dict[str, str]:
    return node.read(dict.fromkeys(available, Node.tag_value), "pack")


def _runbooks(node: Node) -> str:
    text = node.url()
    if "{monitor}" not in text:
        return f"{text.rstrip('/')}/{{monitor}}"
    return text


def _groups(node: Node) -> tuple[str, ...]:
    for item in node.each():
        if not re.fullmatch(r"\*|[a-z][a-z0-9_./-]*", item.text()):
            raise item.fail(f'must be the name of a tag, or "*" for one notification of all groups, not `{item.value}`')
    names = node.texts()
    if not names or ("*" in names and len(names) > 1):
        raise node.fail('write names of tags, or ["*"] alone for one notification of all groups')
    return names


def _variants(node: Node, form: Callable[..., OfOne], known: Mapping[str, Reader]) -> dict[str, OfOne]:
    """What is said of variants, by their names, in their order; `known` are the keys that one may have."""

    def read(name: str, said: Node) -> OfOne:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise node.fail(f"`{name}` is no name of a variant: write small letters, digits and _")
        values = said.read(known)
        if "scope" not in values:
            raise said.fail("needs a `scope`, which says of which series it is")
        return form(**values)

    return node.mapped(read)


def _monitor_variants(node: Node) -> dict[str, MonitorValues]:
    return _variants(node, MonitorValues, {key: read for key, read in MONITOR.items() if key != "variants"})


def _slo_variants(node: Node) -> dict[str, SloValues]:
    return _variants(node, SloValues, {key: SLO[key] for key in ("enabled", "scope", *OF_PART)})


def _endpoints(node: Node) -> dict[str, SloValues]:
    """A list of names, or a mapping from names to what is said of each."""
    if not isinstance(node.value, Mapping):
        names = node.texts()
        return {name: SloValues() for name in names}
    said = {key: SLO[key] for key in OF_PART}
    return node.read(
        {name: lambda entry: SloValues(**({} if entry.value is None else entry.read(said))) for name, _ in node.items()}
    )


def _price(node: Node) -> float:
    price = node.number()
    if price <= 0:
        raise node.fail(f"must be a number of dollars above 0, such as 2.5, not {node.value}")
    return price


def _stack(node: Node) -> str:
    if node.value == "":
        raise node.fail("is empty: leave the key out for the stack without a name")
    text = node.text()
    if not STACK.fullmatch(text) or text == NO_STACK:
        raise node.fail(
            f"must be a name of small letters, digits and _ -, of 50 at most, and not `{NO_STACK}`, which stands for "
            f"the stack without a name; not `{text}`"
        )
    return text


def _prefix(node: Node) -> str:
    if not isinstance(node.value, str):
        raise node.fail(f"must be a text, which may be empty, not `{node.value}`")
    return node.value


MONITOR: Mapping[str, Reader] = {
    "enabled": Node.flag,
    "thresholds": _thresholds,
    "window": _window,
    "long_window": _length,
    "short_window": _length,
    "scope": _scope,
    "severity": lambda node: node.choice(SEVERITIES),
    "priority": lambda node: node.integer(1, 5),
    "team": Node.tag_value,
    "tags": _tags,
    "no_data": _optional(2, MONTH),
    "auto_resolve": _optional(60, DAY),
    "renotify": _optional(10, DAY),
    "evaluation_delay": _optional(1, DAY),
    "runbook": Node.url,
    "min_errors": lambda node: node.integer(1, 10**6),
    "min_requests": lambda node: node.integer(1, 10**9),
    "notify_by": _groups,
    "variants": _monitor_variants,
}
"""What may be said of one monitor, and how it is read."""

NOT_FOR_ALL = ("enabled", "thresholds", "long_window", "short_window", "severity", "runbook", "variants")
EVERYWHERE = {name: read for name, read in MONITOR.items() if name not in NOT_FOR_ALL}

SLO: Mapping[str, Reader] = {
    "enabled": Node.flag,
    "target": Node.number,
    "warning": Node.number,
    "timeframe": lambda node: node.choice(grammar()["slo"]["timeframes"]),
    "threshold": Node.number,
    "slice": lambda node: node.choice(grammar()["slo"]["intervals"]),
    "scope": _scope,
    "team": Node.tag_value,
    "tags": _tags,
    "endpoints": _endpoints,
    "variants": _slo_variants,
}
OF_PART = ("target", "warning", "timeframe", "threshold", "slice", "team", "tags")
"""What may be said of the SLO of one endpoint, and of a variant."""


def _monitors(available: Mapping[str, Pack], node: Node) -> dict[str, MonitorValues]:
    known = [one.key for pack in available.values() for one in pack.monitors]
    return node.read(dict.fromkeys(known, lambda entry: MonitorValues(**entry.read(MONITOR))), "monitor")


def _slos(available: Mapping[str, Pack], node: Node) -> dict[str, SloValues]:
    known = [one.key for pack in available.values() for one in pack.slos]
    return node.read(dict.fromkeys(known, lambda entry: SloValues(**entry.read(SLO))), "SLO")


def _dashboards(available: Mapping[str, Pack], node: Node) -> dict[str, bool]:
    known = [one.key for pack in available.values() for one in pack.dashboards]
    return node.read(dict.fromkeys(known, Node.flag), "dashboard")


def _downtimes(node: Node) -> dict[str, DowntimeValues]:
    return node.mapped(_downtime)


def _downtime(name: str, node: Node) -> DowntimeValues:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        raise node.fail(f"`{name}` is no name of a downtime: write small letters, digits and _ -")
    said = node.read(DOWNTIME, advice=OF_OTHER_DOWNTIMES)
    for needed, example in (("starts", "2026-12-05T02:00"), ("lasts", "2h")):
        if needed not in said:
            raise node.fail(f"the key `{needed}` is missing: write one such as `{needed}: {example}`")
    if "monitors" in said and "tags" in said:
        raise node.fail("write `monitors`, their keys, or `tags` that they all have, not both")
    zone = said.get("timezone", UTC_NAME)
    if "repeats" not in said and is_skipped(said["starts"], zone):
        raise node.below("starts", None).fail(f"clocks go forward over this time in {zone}: write one before or after")
    where = node.below("repeats" if "repeats" in said else "lasts", None)
    schedule = schedule_of(where, said.pop("starts"), said.pop("lasts"), zone, said.pop("repeats", None))
    return DowntimeValues(schedule, **said)


def _some(node: Node) -> tuple[str, ...]:
    names = node.texts()
    if not names:
        raise node.fail("names nothing: leave it out for all monitors")
    return names


DOWNTIME: Mapping[str, Reader] = {
    "monitors": _some,
    "tags": _some,
    "scope": _scope,
    "starts": read_start,
    "lasts": lambda node: node.minutes(1, LONGEST),
    "repeats": read_repeats,
    "timezone": read_zone,
    "message": Node.text,
}
"""What is said of a downtime, and how it is read."""

OF_OTHER_DOWNTIMES = {
    "start": "write `starts`",
    "end": "write `lasts`, how long it is",
    "ends": "write `lasts`, how long it is",
    "duration": "write `lasts`",
    "rrule": "write `repeats`",
    "recurrence": "write `repeats`",
    "pack": "write `tags: [pack:<name>]`",
    "packs": "write `tags: [pack:<name>]`",
    "monitor_tags": "write `tags`",
}
"""Keys of other tools."""

READERS: Mapping[str, Reader] = {
    "stack": _stack,
    "prefix": _prefix,
    "runbooks": _runbooks,
    "generative": _generative,
    "gpu_hour_price": _price,
    "ignore_tags": _patterns,
    "downtimes": _downtimes,
}
"""What only the top level says, and how it is read."""

OF_PACKS: Mapping[str, Callable[[Mapping[str, Pack], Node], Any]] = {
    "packs": _packs,
    "teams": _teams,
    "monitors": _monitors,
    "slos": _slos,
    "dashboards": _dashboards,
}
"""The same of what the packs that there are must have."""

assert set(MONITOR) == {one.name for one in fields(MonitorValues)}
assert set(SLO) == {one.name for one in fields(SloValues)}
