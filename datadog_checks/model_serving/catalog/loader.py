"""Reads catalog files into `model`, refusing what is wrong with the file, the place and the mend."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import translate
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import CatalogError
from ..strict_yaml import UnreadableYaml, read_yaml
from .codes import CodeEvent, Codes
from .model import (
    GROUPED_TYPES,
    RAW_TYPES,
    ROUNDING_UP,
    CanonicalMetric,
    Catalog,
    Condition,
    Derived,
    Identity,
    Ignored,
    Labels,
    RawMetric,
    Signal,
    Switch,
    System,
    Target,
    compile_globs,
)

HERE = Path(__file__).parent
CODES = HERE / "codes"
SIGNALS = HERE / "signals.yaml"
SHARED = HERE / "process.yaml"
METRIC_TYPES = ("gauge", "count", "distribution")
COMBINATIONS = ("sum", "mean", "max", "last")
TARGET_TYPES = {
    "counter": {"count"},
    "gauge": {"gauge"},
    "timestamp": {"gauge"},
    "window_gauge": {"count", "gauge"},
    "histogram": {"distribution"},
    "window_histogram": {"distribution"},
    "summary": {"distribution"},
    "last_code": {"count"},
    "recent_count": {"count", "gauge"},
}
CODED_TYPES = ("last_code", "recent_count", "counter")
PART_TYPES = {"": "", "mean": "gauge", "count": "count", "sum": "count", "zero": "count"}
COUNTED = GROUPED_TYPES | {"counter", "window_gauge"}
UNITS = {
    "nanosecond": (1e-9, "second"),
    "microsecond": (1e-6, "second"),
    "millisecond": (1e-3, "second"),
    "second": (1.0, "second"),
    "minute": (60.0, "second"),
    "hour": (3600.0, "second"),
    "byte": (1.0, "byte"),
    "kilobyte": (1e3, "byte"),
    "megabyte": (1e6, "byte"),
    "gigabyte": (1e9, "byte"),
    "kibibyte": (1024.0, "byte"),
    "mebibyte": (1024.0**2, "byte"),
    "gibibyte": (1024.0**3, "byte"),
    "ratio": (100.0, "percent"),
    "percent": (1.0, "percent"),
    "milliwatt": (1e-3, "watt"),
    "watt": (1.0, "watt"),
    "millijoule": (1e-3, "joule"),
    "joule": (1.0, "joule"),
    "megahertz": (1e6, "hertz"),
    "hertz": (1.0, "hertz"),
    "cent": (0.01, "dollar"),
    "dollar": (1.0, "dollar"),
}
"""What a raw metric may be measured in: the factor, and the unit of the vocabulary that it leads to."""

KEYS = {
    "system": (
        "system",
        "title",
        "recognise",
        "extends",
        "any_prefix",
        "prefixes",
        "series_start_at_zero",
        "labels",
        "tags",
        "identity",
        "blanks",
        "ignore",
        "ports",
        "metrics",
        "own_metrics",
        "derived",
        "switches",
    ),
    "recognise": ("any", "hint", "hints_needed", "any_needed"),
    "ignored": ("names", "because"),
    "labels": ("rename", "drop", "lower", "absent", "values", "parts"),
    "identity": ("levels", "worldwide", "about", "default"),
    "ports": ("metrics", "api"),
    "pair": ("sum", "count"),
    "raw metric": (
        "raw",
        "prefixed",
        "like",
        "type",
        "codes",
        "scale",
        "unit",
        "starts_at_zero",
        "level",
        "besides",
        "overshoot",
        "ignore_plain",
        "to",
    ),
    "codes": ("tag", "event", "unknown", "codes"),
    "event": ("title", "text", "type", "aggregation_key"),
    "like": ("name", "label"),
    "target": ("metric", "tags", "when", "unless", "keep", "drop", "present", "absent", "value"),
    "metric": ("type", "unit", "per_unit", "description", "range", "combine", "moments", "orientation", "short_name"),
    "derived": ("metric", "share", "sum"),
    "inputs": ("of", "in", "optional"),
    "switch": ("gives", "present", "absent", "because", "do"),
}
"""Every key that a file may have, by the mapping that holds it. docs/catalog.md has an example for each."""


@lru_cache(maxsize=1)
def builtin_catalog() -> Catalog:
    """The catalog that ships with the check."""
    metrics = _canonical().metric_definitions(_canonical().data.get("metrics") or {})
    return _with_files(Catalog({}, metrics), sorted((HERE / "systems").glob("*.yaml")))


def load_catalog(extra_files: Iterable[str | Path] = ()) -> Catalog:
    """The shipped catalog, with the user's own systems added; theirs win over ours of the same name.

    Raises CatalogError naming the file, the place in it and what to write instead.
    """
    return _with_files(builtin_catalog(), map(Path, extra_files))


@lru_cache(maxsize=1)
def golden_signals() -> tuple[Signal, ...]:
    """The signals that a person looks for first, in that order, as signals.yaml has them."""
    reader = _Reader(SIGNALS, builtin_catalog().metrics)
    return tuple(
        Signal(
            name=name,
            **{
                **entry,
                "metrics": tuple(reader.lookup(metric, name).name for metric in entry["metrics"]),
                "by": tuple(entry["by"]),
            },
        )
        for name, entry in reader.data.items()
    )


@lru_cache
def builtin_codes(name: str) -> Codes:
    """Codes that ship with the check, by the name of their file."""
    reader = _Reader(CODES / f"{name}.yaml", {})
    return reader.codes(reader.data, "the file")


def _with_files(catalog: Catalog, paths: Iterable[Path]) -> Catalog:
    systems, metrics = dict(catalog.systems), dict(catalog.metrics)
    for path in paths:
        system = _Reader(path, metrics, systems).system()
        shared = tuple(_shared(system, metrics))
        others = [other for raw in (*system.metrics, *shared) for other in raw.spelt_otherwise()]
        halves = _halves(system)
        known = {name.removesuffix("_total") for raw in system.metrics if not raw.pair for name in raw.names}
        # Counters of which nothing comes but their pair.
        others += (RawMetric(system.name, (name,), "counter", 1.0, ()) for name in halves.keys() - known)
        system = replace(system, shared=shared, others=tuple(others), halves=halves)
        # In the order of the files, also where one replaces another.
        systems.pop(system.name, None)
        systems[system.name] = system
        metrics.update({metric.name: metric for metric in system.own_metrics})
    return Catalog(systems, metrics)


@lru_cache(maxsize=1)
def _canonical() -> _Reader:
    return _Reader(HERE / "canonical.yaml", {})


@lru_cache(maxsize=1)
def dropped_everywhere() -> frozenset[str]:
    """Labels that give no tag, whatever the system, unless its file names them."""
    return frozenset(_canonical().strings(_canonical().data.get("drop") or [], "key `drop`"))


def _shared(system: System, metrics: Mapping[str, CanonicalMetric]) -> Iterator[RawMetric]:
    """The metrics that every system has, as those of one system, which may have better ones of the same name."""
    own = system.by_name()
    reader = _Reader(SHARED, metrics)
    for raw in reader.raw_metrics(reader.data["metrics"], system.name):
        if own.keys().isdisjoint(raw.names):
            yield replace(raw, shared=True)


def _moments(gauge: CanonicalMetric) -> dict[str, CanonicalMetric]:
    """The counts that a gauge is also sent as, by name."""
    described = gauge.description.rstrip(".")
    parts = {
        "count": ("", 0.0, f"{described}: number of values that were sent."),
        "sum": (gauge.unit, gauge.low, f"{described}: sum of the values that were sent."),
        "sum_of_squares": ("", 0.0, f"{described}: sum of the squares of the values that were sent."),
    }
    return {
        f"{gauge.name}.{part}": replace(
            gauge,
            name=f"{gauge.name}.{part}",
            type="count",
            unit=unit,
            per_unit="",
            description=description,
            low=low,
            high=None,
            short_name=f"{gauge.short_name} {part.rpartition('_')[2]}".strip(),
            moments=False,
        )
        for part, (unit, low, description) in parts.items()
    }


def _halves(system: System) -> dict[str, tuple[tuple[RawMetric, str], ...]]:
    found: dict[str, tuple[tuple[RawMetric, str], ...]] = {}
    for raw in system.metrics:
        for pair in raw.pairs() if raw.pair else ():
            for name, part in zip(pair.names, KEYS["pair"], strict=True):
                found[name.removesuffix("_total")] = (*found.get(name.removesuffix("_total"), ()), (pair, part))
    return found


def _names(entry: Mapping[str, Any]) -> list[str]:
    """The names under `raw`, as an entry writes them. Those of a pair have entries of their own, or none."""
    raw = entry.get("raw")
    names = [raw] if isinstance(raw, str) else raw
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


class _Reader:
    """One catalog file. Every complaint starts with the file and the place in it."""

    def __init__(
        self, path: Path, known: Mapping[str, CanonicalMetric], systems: Mapping[str, System] | None = None
    ) -> None:
        self.path = path
        self.known = dict(known)
        self.systems = systems or {}
        self.written: dict[str, tuple[str, ...]] = {}
        self.prefixes: tuple[str, ...] = ()
        self.tags: dict[str, str] = {}
        self.inherited = {"metrics": 0, "switches": 0, "derived": 0}
        self.things: Mapping[str, Identity] = {}
        self.blanks: frozenset[float] = frozenset()
        try:
            data = read_yaml(path)
        except OSError as error:
            raise CatalogError(
                f"Catalog file {path} cannot be read: {error.strerror}. Check the path and rights."
            ) from None
        except UnicodeDecodeError:
            raise CatalogError(f"Catalog file {path} is not UTF-8 text: save it as UTF-8.") from None
        except UnreadableYaml as error:
            what = "is not valid YAML" if error.syntax else "cannot be used"
            raise CatalogError(f"Catalog file {path} {what}: {error}") from None
        self.data: dict[str, Any] = self.mapping(data, "the file")

    def fail(self, where: str, problem: str) -> CatalogError:
        return CatalogError(f"Catalog file {self.path}, {where}: {problem}")

    def mapping(self, value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise self.fail(where, f"must be a mapping with text keys, not {type(value).__name__}.")
        return value

    def keys(self, value: Any, kind: str, where: str) -> dict[str, Any]:
        entry = self.mapping(value, where)
        for key in entry:
            if key not in KEYS[kind]:
                close = get_close_matches(key, KEYS[kind], 1)
                hint = f"did you mean `{close[0]}`?" if close else f"known keys: {', '.join(KEYS[kind])}."
                raise self.fail(where, f"unknown key `{key}`; {hint}")
        return entry

    def strings(self, value: Any, where: str) -> tuple[str, ...]:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise self.fail(where, "must be a text or a list of texts (quote numbers).")
        return tuple(items)

    def numbers(self, value: Any, where: str) -> list[float]:
        if not isinstance(value, list) or not all(type(item) in (int, float) for item in value):
            raise self.fail(where, "must be a list of numbers.")
        return value

    def entries(self, value: Any, where: str) -> list[Any]:
        if not isinstance(value, list):
            raise self.fail(where, f"must be a list, not {type(value).__name__}.")
        return value

    def typed(self, value: Any, kind: type, what: str, where: str) -> Any:
        """`value`, or None where there is none, when it is of exactly this type."""
        if value is not None and type(value) is not kind:
            raise self.fail(where, f"must be {what}, not {value!r}.")
        return value

    def system(self) -> System:
        data = self.keys(self.data, "system", "top level")
        name = data.get("system")
        if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise self.fail("key `system`", f"must be a name of lower-case letters, digits and _, not {name!r}.")
        if name == "auto":
            raise self.fail("key `system`", "`auto` means that the check finds out: choose another name.")
        base = self.base(name, data.get("extends"))
        own = self.metric_definitions(self.mapping(data.get("own_metrics") or {}, "own_metrics"))
        for metric in own:
            if not metric.startswith(f"{name}."):
                raise self.fail(
                    f"metric definition `{metric}`", f"must start with the system's name: `{name}.{metric}`."
                )
        if base is not None:
            data = self.extended(base.definition, data)
            own = {**{metric.name: metric for metric in base.own_metrics if metric.name.startswith(f"{name}.")}, **own}
        self.known.update(own)
        recognise = self.keys(data.get("recognise") or {}, "recognise", "recognise")
        raw = data.get("metrics")
        if not isinstance(raw, list) or not raw:
            raise self.fail("key `metrics`", "must be a list with at least one entry.")
        derived = self.entries(data.get("derived") or [], "key `derived`")
        flags = {
            key: self.typed(data.get(key), bool, "true or false", f"key `{key}`")
            for key in ("any_prefix", "series_start_at_zero")
        }
        needed = {
            key: self.typed(recognise.get(key), int, "a whole number, such as 3", f"recognise.{key}")
            for key in ("any_needed", "hints_needed")
        }
        if flags["any_prefix"] and data.get("prefixes"):
            raise self.fail("key `prefixes`", "goes without `any_prefix`: a name can't be behind any prefix and these.")
        self.prefixes = self.strings(data.get("prefixes") or [], "key `prefixes`")
        for prefix in self.prefixes:
            if not re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*[_:]", prefix):
                raise self.fail("key `prefixes`", f"`{prefix}` must be the beginning of a metric name, up to _ or :.")
        self.tags = self.texts(data.get("tags") or {}, "key `tags`")
        ports = self.keys(data.get("ports") or {}, "ports", "ports")
        switches = self.entries(data.get("switches") or [], "key `switches`")
        self.things = self.identity(data.get("identity"))
        self.blanks = frozenset(float(value) for value in self.numbers(data.get("blanks") or [], "blanks"))
        self.written = self.spellings(raw)
        metrics = self.raw_metrics(raw, name)
        shown = tuple(self.derived(entry, index) for index, entry in enumerate(derived, 1 - self.inherited["derived"]))
        return System(
            name=name,
            title=str(data.get("title", name)),
            any_of=compile_globs(self.strings(recognise.get("any") or [], "recognise.any")),
            any_needed=needed["any_needed"] or 1,
            hints=frozenset(self.strings(recognise.get("hint") or [], "recognise.hint")),
            hints_needed=needed["hints_needed"],
            any_prefix=flags["any_prefix"] is True,
            prefixes=self.prefixes,
            series_start_at_zero=flags["series_start_at_zero"] is not False,
            labels=self.labels(data.get("labels") or {}),
            ignore=tuple(self.ignored(data.get("ignore") or [])),
            ports={key: self.typed(port, int, "a number, such as 8082", f"ports.{key}") for key, port in ports.items()},
            metrics=metrics,
            derived=shown,
            own_metrics=tuple(own.values()),
            switches=tuple(self.switches(switches, name, metrics, shown)),
            definition=data,
        )

    def base(self, name: str, extends: Any) -> System | None:
        """The system that the file goes on from, None where it describes one from the start."""
        if extends is None:
            if name in self.systems:
                mend = f"write `extends: {name}` to add to it, or choose another name"
                raise self.fail("key `system`", f"there is a system `{name}` already: {mend}.")
            return None
        base = self.systems.get(extends) if isinstance(extends, str) else None
        if base is None:
            close = get_close_matches(str(extends), self.systems, 1)
            hint = f"did you mean `{close[0]}`?" if close else f"known systems: {', '.join(self.systems)}."
            raise self.fail("key `extends`", f"there is no system {extends!r}; {hint}")
        if name in self.systems and name != extends:
            raise self.fail("key `system`", f"there is a system `{name}` already: choose another name.")
        return base

    def extended(self, base: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
        """What the file says together with what it extends. An entry for a metric that has one takes its place."""
        found: dict[str, Any] = {**base, **data}
        for key in ("ignore", "derived", "switches"):
            parts = (part.get(key) or [] for part in (base, data))
            found[key] = [item for part in parts for item in (part if isinstance(part, list) else [part])]
        for key in ("tags", "ports"):
            found[key] = {**(base.get(key) or {}), **self.mapping(data.get(key) or {}, f"key `{key}`")}
        labels = self.keys(data.get("labels") or {}, "labels", "labels")
        found["labels"] = dict(base.get("labels") or {})
        for key, value in labels.items():
            before = found["labels"].get(key)
            if isinstance(value, dict) and isinstance(before, dict):
                value = {**before, **value}
            elif before is not None and not isinstance(value, dict):
                value = [*self.strings(before, "labels"), *self.strings(value, f"labels.{key}")]
            found["labels"][key] = value
        entries = self.entries(data.get("metrics") or [], "key `metrics`")
        own = {name for entry in entries if isinstance(entry, dict) for name in _names(entry)}
        kept = [entry for entry in base["metrics"] if own.isdisjoint(_names(entry))]
        found["metrics"] = kept + entries
        # Places are told as they are in this file.
        self.inherited = {key: len(base.get(key) or []) for key in self.inherited} | {"metrics": len(kept)}
        return found

    def spellings(self, entries: Iterable[Any]) -> dict[str, tuple[str, ...]]:
        """The names of metrics as an endpoint may have them, by how the file writes them."""
        return {name: self.spelt(name, entry) for entry in entries if isinstance(entry, dict) for name in _names(entry)}

    def spelt(self, name: str, entry: Mapping[str, Any]) -> tuple[str, ...]:
        if not self.prefixes or entry.get("prefixed") is False:
            return (name,)
        return tuple(prefix + name for prefix in self.prefixes)

    def others(self, value: Any, where: str) -> tuple[str, ...]:
        """Names of other metrics of the file, as an endpoint may have them."""
        return tuple(full for name in self.strings(value or [], where) for full in self.written.get(name, (name,)))

    def switches(
        self, entries: list[Any], system: str, metrics: tuple[RawMetric, ...], derived: tuple[Derived, ...]
    ) -> Iterator[Switch]:
        inherited = self.inherited["switches"]
        for index, entry in enumerate(entries, 1 - inherited):
            try:
                yield self.switch(entry, index, system, metrics, derived)
            except CatalogError:
                # What the file has put something else in place of no longer needs to be told how to come by.
                if index > 0:
                    raise

    def switch(
        self, value: Any, index: int, system: str, metrics: tuple[RawMetric, ...], derived: tuple[Derived, ...]
    ) -> Switch:
        where = f"switches entry {index}"
        entry = self.keys(value, "switch", where)
        texts = {}
        for key in ("because", "do"):
            text = entry.get(key)
            if not isinstance(text, str) or not text.strip():
                raise self.fail(where, f"needs a text `{key}`.")
            texts[key] = text.strip()
        fed = {target.metric.name for raw in metrics for target in raw.targets} | {one.metric.name for one in derived}
        gives = self.strings(entry.get("gives") or [], f"{where}, key `gives`")
        for name in gives:
            if self.lookup(name, where).name not in fed:
                raise self.fail(where, f"no metric of the file becomes `{name}`: name one that does.")
        raws = {name for raw in metrics for name in raw.names}
        parts = {}
        for key in ("present", "absent"):
            parts[key] = self.others(entry.get(key), f"{where}, key `{key}`")
            for name in parts[key]:
                if name not in raws:
                    close = get_close_matches(name, raws, 1)
                    hint = f"did you mean `{close[0]}`?" if close else "name one that has an entry under `metrics`."
                    raise self.fail(f"{where}, key `{key}`", f"`{name}` is no metric of the file; {hint}")
        if not gives and (parts["present"] or parts["absent"]):
            raise self.fail(where, "`present` and `absent` go with `gives`: name the metrics that come.")
        return Switch(system, gives, texts["because"], texts["do"], parts["present"], parts["absent"])

    def ignored(self, value: Any) -> Iterator[Ignored]:
        """The families to ignore. Those without a reason are one pattern."""
        items = value if isinstance(value, list) else [value]
        plain = self.globs([item for item in items if not isinstance(item, dict)], "ignore")
        if plain is not None:
            yield Ignored(plain)
        for index, item in enumerate(items, 1):
            if not isinstance(item, dict):
                continue
            where = f"ignore, entry {index}"
            entry = self.keys(item, "ignored", where)
            names = self.globs(entry.get("names") or [], f"{where}, key `names`")
            because = entry.get("because")
            if names is None or not isinstance(because, str) or not because.strip():
                raise self.fail(where, "needs `names`, globs of families, and `because`, a text that says why.")
            yield Ignored(names, because.strip())

    def globs(self, value: Any, where: str) -> re.Pattern[str] | None:
        """Globs of families, also behind the prefixes of the system."""
        globs = self.strings(value, where)
        return compile_globs((*globs, *(prefix + glob for prefix in self.prefixes for glob in globs)))

    def labels(self, value: Any) -> Labels:
        entry = self.keys(value, "labels", "labels")
        absent = self.mapping(entry.get("absent") or {}, "labels.absent")
        rename = self.mapping(entry.get("rename") or {}, "labels.rename")
        lower = frozenset(self.strings(entry.get("lower") or [], "labels.lower"))
        values = self.mapping(entry.get("values") or {}, "labels.values")
        parts = self.mapping(entry.get("parts") or {}, "labels.parts")
        named = {label.lower() for label in (*rename, *lower, *absent, *values, *parts)}
        return Labels(
            rename={
                label: str(self.typed(tag, str, "the name of a tag", f"labels.rename.{label}") or label)
                for label, tag in rename.items()
            },
            drop=frozenset(self.strings(entry.get("drop") or [], "labels.drop")) | (dropped_everywhere() - named),
            lower=lower,
            absent={label: frozenset(self.strings(each, f"labels.absent.{label}")) for label, each in absent.items()},
            values={label: self.words(words, f"labels.values.{label}") for label, words in values.items()},
            parts={label: self.parts(pattern, f"labels.parts.{label}") for label, pattern in parts.items()},
        )

    def words(self, value: Any, where: str) -> tuple[tuple[re.Pattern[str], str], ...]:
        """Globs of values, and the word for what matches. The first that does counts."""
        return tuple((re.compile(translate(glob)), word) for glob, word in self.texts(value, where).items())

    def parts(self, value: Any, where: str) -> re.Pattern[str]:
        try:
            pattern = re.compile(self.typed(value, str, "a regular expression", where) or "")
        except re.error as error:
            raise self.fail(where, f"is no regular expression: {error}.") from None
        if not pattern.groupindex:
            raise self.fail(where, "names no part: write `(?P<tag>...)` around what is to become a tag.")
        return pattern

    def identity(self, value: Any) -> dict[str, Identity]:
        """What tells series apart, by the level at which they are measured; under an empty name at the usual one."""
        if value is None:
            return {}
        entry = self.keys(value, "identity", "identity")
        levels = {
            name: self.strings(labels, f"identity.levels.{name}")
            for name, labels in self.mapping(entry.get("levels"), "identity.levels").items()
        }
        if not levels or not all(levels.values()):
            raise self.fail("identity.levels", "needs at least one level, each with the labels that name it.")
        about = {
            self.choice(name, tuple(levels), "identity.about"): self.strings(labels, f"identity.about.{name}")
            for name, labels in self.mapping(entry.get("about") or {}, "identity.about").items()
        }
        worldwide = frozenset(self.strings(entry.get("worldwide") or [], "identity.worldwide"))
        if foreign := worldwide.difference(*levels.values()):
            raise self.fail("identity.worldwide", f"`{min(foreign)}` names no level: list it under `levels` as well.")
        order = list(levels)
        found = {
            name: Identity(
                levels=tuple((level, levels[level]) for level in order[:number]),
                worldwide=worldwide,
                inside=frozenset(
                    label for level in order[number:] for label in (*levels[level], *about.get(level, ()))
                ),
            )
            for number, name in enumerate(order, 1)
        }
        return {**found, "": found[self.choice(entry.get("default", order[-1]), tuple(order), "identity.default")]}

    def identity_of(self, entry: Mapping[str, Any], where: str) -> Identity | None:
        """What tells the series of one metric apart."""
        besides = self.strings(entry.get("besides") or [], f"{where}, key `besides`")
        level = entry.get("level", "")
        if not self.things and (besides or level):
            raise self.fail(where, "`level` and `besides` need an `identity` of the system.")
        if not self.things:
            return None
        return replace(self.things[self.choice(level, tuple(self.things), f"{where}, key `level`")], besides=besides)

    def raw_metrics(self, values: list[Any], system: str) -> tuple[RawMetric, ...]:
        metrics: dict[str, RawMetric] = {}
        for index, value in enumerate(values, 1 - self.inherited["metrics"]):
            metric = self.raw_metric(value, index, system)
            if metric.pair:
                metrics[f"pair {index}"] = metric
                continue
            for name in metric.names:
                if name in metrics:
                    raise self.fail(
                        f"metrics entry {index}", f"`{name}` has an entry already: put both under one `to`."
                    )
                metrics[name] = metric
        return tuple(dict.fromkeys(metrics.values()))

    def raw_metric(self, value: Any, index: int, system: str) -> RawMetric:
        where = f"metrics entry {index}"
        entry = self.keys(value, "raw metric", where)
        pair = self.keys(entry["raw"], "pair", f"{where}, key `raw`") if isinstance(entry.get("raw"), dict) else {}
        written = self.pair_of(pair, where) if pair else self.strings(entry.get("raw"), f"{where}, key `raw`")
        if not written or not all(written):
            raise self.fail(f"{where}, key `raw`", "names no metric.")
        where = f"metric `{written[0]}`"
        self.typed(entry.get("prefixed"), bool, "true or false", f"{where}, `prefixed`")
        names = tuple(full for name in written for full in self.spelt(name, entry))
        for name in names:
            # A name with a glob would be taken for a name like any other, and match nothing.
            if not re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", name):
                raise self.fail(where, f"`{name}` is not a metric name: give every spelling in full, without globs.")
        kind = self.choice(entry.get("type"), RAW_TYPES, f"{where}, key `type`")
        if pair and self.things:
            raise self.fail(where, "a pair goes without an `identity` of the system.")
        if pair and kind != "summary":
            raise self.fail(where, f"a pair of a sum and a count is a summary, not a {kind}.")
        if "unit" in entry and "scale" in entry:
            raise self.fail(where, "has `unit` and `scale`: keep `unit`, which tells the factor.")
        scale = self.factor(entry["unit"], where)[0] if "unit" in entry else entry.get("scale", 1)
        if not isinstance(scale, int | float) or isinstance(scale, bool) or not scale > 0:
            raise self.fail(where, f"`scale` must be a positive number, not {scale!r} (write 1.0e-3, not 1e-3).")
        targets = entry.get("to")
        if targets is None or targets == []:
            raise self.fail(where, "has no `to`: name the canonical metric, or list the raw name under `ignore`.")
        if not isinstance(targets, list):
            targets = [targets]
        like = self.keys(entry.get("like") or {}, "like", f"{where}, key `like`")
        if like and not all(isinstance(like.get(key), str) for key in KEYS["like"]):
            raise self.fail(f"{where}, key `like`", "needs a `name` (a glob) and a `label`.")
        return RawMetric(
            system=system,
            names=names,
            type=kind,
            scale=float(scale),
            targets=tuple(self.measured(self.target(item, kind, where), entry, where) for item in targets),
            pair=bool(pair),
            starts_at_zero=self.typed(entry.get("starts_at_zero"), bool, "true or false", f"{where}, `starts_at_zero`"),
            like=compile_globs((like["name"],)) if like else None,
            like_label=like.get("label", ""),
            codes=self.codes_of(entry.get("codes"), kind, where),
            identity=self.identity_of(entry, where),
            blanks=self.blanks,
            overshoot=self.overshoot(entry.get("overshoot", ROUNDING_UP), where),
            ignore_plain=self.typed(entry.get("ignore_plain"), bool, "true or false", f"{where}, `ignore_plain`")
            is True,
        )

    def pair_of(self, pair: Mapping[str, Any], where: str) -> tuple[str, ...]:
        if set(pair) != set(KEYS["pair"]) or not all(isinstance(name, str) for name in pair.values()):
            raise self.fail(f"{where}, key `raw`", "a pair needs both `sum` and `count`, each the name of a counter.")
        return pair["sum"], pair["count"]

    def factor(self, unit: Any, where: str) -> tuple[float, str]:
        """What a value in a unit is multiplied by, and the unit of the vocabulary that it is in then."""
        found = UNITS.get(unit) if isinstance(unit, str) else None
        if found is None:
            close = get_close_matches(str(unit), UNITS, 1)
            hint = f"did you mean `{close[0]}`?" if close else f"known units: {', '.join(UNITS)}."
            raise self.fail(f"{where}, key `unit`", f"{unit!r} is no unit; {hint}")
        return found

    def measured(self, target: Target, entry: Mapping[str, Any], where: str) -> Target:
        """The target, if the unit that the file gives can become its own."""
        if "unit" in entry and target.value not in ("count", "zero"):
            _, unit = self.factor(entry["unit"], where)
            if target.metric.unit != unit or target.metric.per_unit:
                has = target.metric.unit or "no unit"
                has += f" per {target.metric.per_unit}" if target.metric.per_unit else ""
                raise self.fail(
                    f"{where}, key `unit`",
                    f"{entry['unit']!r} can't become the unit of `{target.metric.name}`, which has {has}.",
                )
        return target

    def overshoot(self, value: Any, where: str) -> float:
        if type(value) not in (int, float) or value < 1:
            raise self.fail(where, f"`overshoot` must be a factor of 1 or more, not {value!r}.")
        return float(value)

    def codes_of(self, value: Any, kind: str, where: str) -> Codes | None:
        """The codes that a metric's key `codes` names or spells out. A `last_code` has them, a count may."""
        shipped = sorted(path.stem for path in CODES.glob("*.yaml"))
        if kind == "last_code" and value is None:
            mend = f"name codes that ship with the check ({', '.join(shipped)}), or spell them out"
            raise self.fail(where, f"`codes` goes with type last_code: {mend}.")
        if value is not None and kind not in CODED_TYPES:
            raise self.fail(where, f"`codes` goes with types {', '.join(CODED_TYPES)}: remove it.")
        if value is None:
            return None
        if isinstance(value, str):
            if value not in shipped:
                raise self.fail(where, f"no codes `{value}` ship with the check, only: {', '.join(shipped)}.")
            return builtin_codes(value)
        return self.codes(value, f"{where}, key `codes`")

    def codes(self, value: Any, where: str) -> Codes:
        entry = self.keys(value, "codes", where)
        tag = entry.get("tag")
        if not isinstance(tag, str) or not tag:
            raise self.fail(where, "needs a `tag`, under which the code is counted.")
        known = entry.get("codes") or {}
        if not isinstance(known, dict) or not all(type(code) is int for code in known):
            raise self.fail(f"{where}, key `codes`", "must be a mapping from whole numbers to what is known of a code.")
        return Codes(
            tag,
            self.event(entry["event"], f"{where}, key `event`") if "event" in entry else None,
            {code: self.texts(fields, f"{where}, code {code}") for code, fields in known.items()},
            self.texts(entry.get("unknown") or {}, f"{where}, key `unknown`"),
        )

    def event(self, value: Any, where: str) -> CodeEvent:
        entry = self.texts(self.keys(value, "event", where), where)
        if missing := [key for key in KEYS["event"] if key not in entry]:
            raise self.fail(where, f"lacks {' and '.join(f'`{key}`' for key in missing)}.")
        return CodeEvent(**entry)

    def texts(self, value: Any, where: str) -> dict[str, str]:
        entry = self.mapping(value, where)
        if not all(isinstance(text, str) for text in entry.values()):
            raise self.fail(where, "must be texts by name.")
        return entry

    def target(self, value: Any, kind: str, where: str) -> Target:
        entry = {"metric": value} if isinstance(value, str) else self.keys(value, "target", f"{where}, key `to`")
        metric = self.lookup(entry.get("metric"), where)
        part = entry.get("value", "")
        if part not in PART_TYPES:
            words = "`mean`, `sum` or `count`, or `zero` for a count"
            raise self.fail(where, f"`value` can only be {words}, not {part!r}.")
        has_part = kind in (COUNTED if part == "zero" else GROUPED_TYPES)
        fits = TARGET_TYPES[kind] if not part else {PART_TYPES[part]} if has_part else set()
        if metric.type not in fits:
            taken = f"the {part} of a {kind}" if part else f"a {kind}"
            raise self.fail(where, f"{taken} cannot feed `{metric.name}`, which is a {metric.type}.")
        tags = self.mapping(entry.get("tags") or {}, f"{where}, key `tags`")
        return Target(
            metric=metric,
            when=self.condition(entry.get("when"), f"{where}, key `when`"),
            unless=self.condition(entry.get("unless"), f"{where}, key `unless`"),
            tags=tuple((tag, str(text)) for tag, text in {**self.tags, **tags}.items()),
            keep=frozenset(self.strings(entry.get("keep") or [], f"{where}, key `keep`")),
            drop=frozenset(self.strings(entry.get("drop") or [], f"{where}, key `drop`")),
            present=self.others(entry.get("present"), f"{where}, key `present`"),
            absent=self.others(entry.get("absent"), f"{where}, key `absent`"),
            value=part,
        )

    def condition(self, value: Any, where: str) -> Condition | None:
        if value is None:
            return None
        patterns = []
        for label, globs in self.mapping(value, where).items():
            pattern = "|".join(translate(glob) for glob in self.strings(globs, f"{where}, label `{label}`"))
            patterns.append((label, re.compile(pattern)))
        return Condition(tuple(patterns))

    def derived(self, value: Any, index: int) -> Derived:
        where = f"derived entry {index}"
        entry = self.keys(value, "derived", where)
        if ("share" in entry) == ("sum" in entry):
            raise self.fail(where, "needs either `share` or `sum`.")
        inputs = self.keys(entry.get("share") or entry.get("sum"), "inputs", f"{where}, key `share` or `sum`")
        required = self.strings(inputs.get("in"), f"{where}, key `in`")
        optional = self.strings(inputs.get("optional") or [], f"{where}, key `optional`")
        numerator = inputs.get("of")
        if (numerator is not None) != ("share" in entry):
            raise self.fail(where, "a `share` needs `of`, the part of the whole; a `sum` has none.")
        for name in (*required, *optional, *((numerator,) if numerator else ())):
            self.lookup(name, where)
        metric = self.lookup(entry.get("metric"), where)
        for name in (metric.name, *required, *optional, *((numerator,) if numerator else ())):
            if self.known[name].type != "gauge":
                raise self.fail(
                    where, f"`{name}` is a {self.known[name].type}: only gauges can be derived, from gauges."
                )
        return Derived(metric, numerator, required, optional)

    def lookup(self, name: Any, where: str) -> CanonicalMetric:
        metric = self.known.get(name) if isinstance(name, str) else None
        if metric is None:
            close = get_close_matches(str(name), self.known, 1)
            hint = f"did you mean `{close[0]}`?" if close else "define it under `own_metrics`."
            raise self.fail(where, f"`{name}` is no metric of the vocabulary; {hint}")
        return metric

    def choice(self, value: Any, choices: tuple[str, ...], where: str) -> str:
        if value not in choices:
            raise self.fail(where, f"must be one of {', '.join(choices)}, not {value!r}.")
        return str(value)

    def metric_definitions(self, value: Mapping[str, Any]) -> dict[str, CanonicalMetric]:
        metrics = {}
        for name, definition in value.items():
            where = f"metric definition `{name}`"
            entry = self.keys(definition, "metric", where)
            if not re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*", name):
                raise self.fail(where, "must be a name of lower-case letters, digits and _, in parts divided by dots.")
            if not isinstance(entry.get("description"), str):
                raise self.fail(where, "needs a `description`.")
            orientation = entry.get("orientation", 0)
            if type(orientation) is not int or orientation not in (-1, 0, 1):
                raise self.fail(f"{where}, key `orientation`", f"must be -1, 0 or 1, not {orientation!r}.")
            kind = self.choice(entry.get("type"), METRIC_TYPES, f"{where}, key `type`")
            low, high = self.bounds(entry.get("range", [None, None]), where)
            metrics[name] = CanonicalMetric(
                name=name,
                type=kind,
                unit=str(entry.get("unit") or ""),
                per_unit=str(entry.get("per_unit") or ""),
                description=entry["description"].strip(),
                low=low,
                high=high,
                combine=self.choice(entry.get("combine", "last"), COMBINATIONS, f"{where}, key `combine`"),
                orientation=orientation,
                short_name=str(entry.get("short_name") or ""),
                moments=bool(self.typed(entry.get("moments"), bool, "true or false", f"{where}, key `moments`")),
            )
            if metrics[name].moments:
                if kind != "gauge":
                    raise self.fail(f"{where}, key `moments`", f"is for gauges, not for a {kind}.")
                metrics |= _moments(metrics[name])
        return metrics

    def bounds(self, value: Any, where: str) -> tuple[float | None, float | None]:
        if not isinstance(value, list) or len(value) != 2:
            raise self.fail(where, "`range` must be [lowest, highest], null where open.")
        if not all(bound is None or type(bound) in (int, float) for bound in value):
            raise self.fail(where, f"`range` must hold numbers or null, not {value!r}.")
        low, high = (None if bound is None else float(bound) for bound in value)
        if low is not None and high is not None and low > high:
            raise self.fail(where, f"`range` must be [lowest, highest], not {value!r}.")
        return low, high
