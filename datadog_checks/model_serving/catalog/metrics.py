"""The keys `metrics` and `derived` of a catalog file: what each metric truly is, and what it becomes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import translate
from pathlib import Path
from typing import Any

from .codes import CODES, Codes, builtin_codes, read_codes
from .definitions import DefinitionReader
from .document import KEYS
from .labels import check_templates
from .model import (
    GROUPED_TYPES,
    RAW_TYPES,
    ROUNDING_UP,
    CanonicalMetric,
    Condition,
    Derived,
    Identity,
    Labels,
    RawMetric,
    Target,
    compile_globs,
)

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


def names_of(entry: Mapping[str, Any]) -> list[str]:
    """The names under `raw`, as an entry writes them. Those of a pair have entries of their own, or none."""
    raw = entry.get("raw")
    names = [raw] if isinstance(raw, str) else raw
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


class MetricReader(DefinitionReader):
    """A catalog file that says what raw metrics are. What it says of all of them is taken note of first.

    `written` are the names of metrics as an endpoint may have them, by how the file writes them. Of entries of each
    kind the first `inherited` are those of the system that the file extends, whose places are not told. `own` says that
    it is a file of the user's.
    """

    def __init__(self, path: Path, known: Mapping[str, CanonicalMetric], own: bool = False) -> None:
        super().__init__(path, known)
        self.own = own
        self.written: dict[str, tuple[str, ...]] = {}
        self.prefixes: tuple[str, ...] = ()
        self.labels = Labels()
        self.tags: dict[str, str] = {}
        self.inherited = {"metrics": 0, "switches": 0, "derived": 0}
        self.things: Mapping[str, Identity] = {}
        self.blanks: frozenset[float] = frozenset()

    def spellings(self, entries: Iterable[Any]) -> dict[str, tuple[str, ...]]:
        """The names of metrics as an endpoint may have them, by how the file writes them."""
        return {
            name: self.spelt(name, entry) for entry in entries if isinstance(entry, dict) for name in names_of(entry)
        }

    def spelt(self, name: str, entry: Mapping[str, Any]) -> tuple[str, ...]:
        if not self.prefixes or entry.get("prefixed") is False:
            return (name,)
        return tuple(prefix + name for prefix in self.prefixes)

    def others(self, value: Any, where: str) -> tuple[str, ...]:
        """Names of other metrics of the file, as an endpoint may have them."""
        return tuple(full for name in self.strings(value or [], where) for full in self.written.get(name, (name,)))

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
        fed = tuple(self.measured(self.target(item, kind, where), entry, where) for item in targets)
        for target in fed if index > 0 else ():
            tags = {tag: text for tag, text in target.tags if self.tags.get(tag) != text}
            check_templates(self, tags, self.labels, f"{where}, key `to`")
        return RawMetric(
            system=system,
            names=names,
            type=kind,
            scale=float(scale),
            targets=fed,
            pair=bool(pair),
            own=self.own and index > 0,
            starts_at_zero=self.typed(entry.get("starts_at_zero"), bool, "true or false", f"{where}, `starts_at_zero`"),
            like=compile_globs((like["name"],)) if like else None,
            like_label=like.get("label", ""),
            codes=self.codes_of(entry.get("codes"), kind, where),
            states=self.states(entry, kind, fed, where),
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

    def states(self, entry: Mapping[str, Any], kind: str, targets: tuple[Target, ...], where: str) -> dict[float, str]:
        """The words for the numbers that a gauge may have."""
        states = entry.get("states")
        if states is None:
            return {}
        if not isinstance(states, dict) or not states or not all(type(number) is int for number in states):
            raise self.fail(f"{where}, key `states`", "must be a mapping from whole numbers to words.")
        if not all(isinstance(word, str) and word for word in states.values()):
            raise self.fail(f"{where}, key `states`", "must be a mapping from whole numbers to words (quote them).")
        if kind != "gauge" or {"scale", "unit"} & entry.keys():
            raise self.fail(where, "`states` goes with type gauge, without `scale` and `unit`: remove the others.")
        for number in states:
            for target in targets:
                if target.metric.excludes(number):
                    raise self.fail(
                        where, f"the state {number} is outside of the range of `{target.metric.name}`: widen that."
                    )
        return {float(number): word for number, word in states.items()}

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
        return read_codes(self, value, f"{where}, key `codes`")

    def identity_of(self, entry: Mapping[str, Any], where: str) -> Identity | None:
        """What tells the series of one metric apart."""
        besides = self.strings(entry.get("besides") or [], f"{where}, key `besides`")
        level = entry.get("level", "")
        if not self.things and (besides or level):
            raise self.fail(where, "`level` and `besides` need an `identity` of the system.")
        if not self.things:
            return None
        return replace(self.things[self.choice(level, tuple(self.things), f"{where}, key `level`")], besides=besides)

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
