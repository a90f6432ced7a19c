"""Reads catalog files into `model`, refusing what is wrong with the file, the place and the mend."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import CatalogError
from .definitions import DefinitionReader
from .document import KEYS
from .labels import CANONICAL, check_templates, read_identity, read_labels
from .metrics import MetricReader, names_of
from .model import (
    VERIFICATIONS,
    CanonicalMetric,
    Catalog,
    Derived,
    Ignored,
    RawMetric,
    Signal,
    Switch,
    System,
    Verification,
    compile_globs,
)
from .probes import read_readiness

HERE = Path(__file__).parent
SIGNALS = HERE / "signals.yaml"
SHARED = HERE / "process.yaml"


@lru_cache(maxsize=1)
def builtin_catalog() -> Catalog:
    """The catalog that ships with the check."""
    metrics = _canonical().metric_definitions(_canonical().data.get("metrics") or {})
    return _with_files(Catalog({}, metrics), sorted((HERE / "systems").glob("*.yaml")))


def load_catalog(extra_files: Iterable[str | Path] = ()) -> Catalog:
    """The shipped catalog, with the user's own systems added, and ours as the user's files extend them.

    Raises CatalogError naming the file, the place in it and what to write instead.
    """
    return _with_files(builtin_catalog(), map(Path, extra_files), own=True)


@lru_cache(maxsize=1)
def golden_signals() -> tuple[Signal, ...]:
    """The signals that a person looks for first, in that order, as signals.yaml has them."""
    reader = DefinitionReader(SIGNALS, builtin_catalog().metrics)
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


def _with_files(catalog: Catalog, paths: Iterable[Path], own: bool = False) -> Catalog:
    systems, metrics = dict(catalog.systems), dict(catalog.metrics)
    for path in paths:
        system = _Reader(path, metrics, systems, own).system()
        shared = tuple(_shared(system, metrics))
        others = [other for raw in (*system.metrics, *shared) for other in raw.spelt_otherwise()]
        halves = _halves(system)
        known = {name.removesuffix("_total") for raw in system.metrics if not raw.pair for name in raw.names}
        # Counters of which nothing comes but their pair.
        others += (RawMetric(system.name, (name,), "counter", 1.0, ()) for name in halves.keys() - known)
        system = replace(system, shared=shared, others=tuple(others), halves=halves)
        # In the order of the files, also where one extends another.
        systems.pop(system.name, None)
        systems[system.name] = system
        metrics.update({metric.name: metric for metric in system.own_metrics})
    return Catalog(systems, metrics)


@lru_cache(maxsize=1)
def _canonical() -> DefinitionReader:
    return DefinitionReader(CANONICAL, {})


def _shared(system: System, metrics: Mapping[str, CanonicalMetric]) -> Iterator[RawMetric]:
    """The metrics that every system has, as those of one system, which may have better ones of the same name."""
    own = system.by_name()
    reader = MetricReader(SHARED, metrics)
    for raw in reader.raw_metrics(reader.data["metrics"], system.name):
        if own.keys().isdisjoint(raw.names):
            yield replace(raw, shared=True)


def _halves(system: System) -> dict[str, tuple[tuple[RawMetric, str], ...]]:
    found: dict[str, tuple[tuple[RawMetric, str], ...]] = {}
    for raw in system.metrics:
        for pair in raw.pairs() if raw.pair else ():
            for name, part in zip(pair.names, KEYS["pair"], strict=True):
                found[name.removesuffix("_total")] = (*found.get(name.removesuffix("_total"), ()), (pair, part))
    return found


class _Reader(MetricReader):
    """The catalog file of a system. `systems` are those that it may extend."""

    def __init__(
        self,
        path: Path,
        known: Mapping[str, CanonicalMetric],
        systems: Mapping[str, System],
        own: bool = False,
    ) -> None:
        super().__init__(path, known, own)
        self.systems = systems

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
        self.prefixes = self.beginnings(data.get("prefixes"), "key `prefixes`")
        verified = self.verification(data.get("verified"))
        prefixes = self.beginnings(recognise.get("prefix"), "recognise.prefix")
        documented = verified is not None and verified.how == "documentation" and "verified" in self.data
        if documented and {"any", "hints_needed"} & recognise.keys():
            raise self.fail(
                "recognise",
                "a system that rests on documentation alone is recognised by the beginning of names that nobody else "
                "has: write `prefix` in place of `any` and `hints_needed`.",
            )
        self.labels = read_labels(self, data.get("labels") or {})
        self.tags = self.texts(data.get("tags") or {}, "key `tags`")
        own_tags = {tag: text for tag, text in self.tags.items() if tag in (self.data.get("tags") or {})}
        check_templates(self, own_tags, self.labels, "key `tags`")
        ports = self.keys(data.get("ports") or {}, "ports", "ports")
        switches = self.entries(data.get("switches") or [], "key `switches`")
        self.things = read_identity(self, data.get("identity"))
        self.blanks = frozenset(float(value) for value in self.numbers(data.get("blanks") or [], "blanks"))
        self.written = self.spellings(raw)
        metrics = self.raw_metrics(raw, name)
        shown = tuple(self.derived(entry, index) for index, entry in enumerate(derived, 1 - self.inherited["derived"]))
        return System(
            name=name,
            title=str(data.get("title") or name),
            any_of=compile_globs(
                (*self.strings(recognise.get("any") or [], "recognise.any"), *(f"{prefix}*" for prefix in prefixes))
            ),
            any_needed=needed["any_needed"] or 1,
            hints=frozenset(self.strings(recognise.get("hint") or [], "recognise.hint")),
            hints_needed=needed["hints_needed"],
            any_prefix=flags["any_prefix"] is True,
            prefixes=self.prefixes,
            series_start_at_zero=flags["series_start_at_zero"] is not False,
            labels=self.labels,
            ignore=tuple(self.ignored(data.get("ignore") or [])),
            ports={key: self.typed(port, int, "a number, such as 8082", f"ports.{key}") for key, port in ports.items()},
            metrics=metrics,
            derived=shown,
            own_metrics=tuple(own.values()),
            switches=tuple(self.switches(switches, name, metrics, shown)),
            verified=verified,
            rest="rest" in data and self.choice(data["rest"], ("own",), "key `rest`") == "own",
            tags=tuple(self.tags.items()),
            readiness=read_readiness(self, data.get("readiness")),
            base=base.name if base is not None and base.name != name else "",
            definition=data,
        )

    def verification(self, value: Any) -> Verification | None:
        """What the file says that it rests on, None where it says nothing."""
        if value is None:
            return None
        entry = self.keys(value, "verified", "key `verified`")
        how = self.choice(entry.get("how"), VERIFICATIONS, "key `verified`, key `how`")
        texts = self.texts({key: text for key, text in entry.items() if key != "how"}, "key `verified`")
        if not texts.get("source", "").strip():
            raise self.fail("key `verified`", "needs a text `source`: the server, the payload or the document.")
        return Verification(how, texts["source"].strip(), texts.get("documentation", "").strip())

    def beginnings(self, value: Any, where: str) -> tuple[str, ...]:
        """Texts that names of metrics begin with."""
        beginnings = self.strings(value or [], where)
        for beginning in beginnings:
            if not re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*[_:]", beginning):
                raise self.fail(where, f"`{beginning}` must be the beginning of a metric name, up to _ or :.")
        return beginnings

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
        if data["system"] != base["system"]:
            # It has a name of its own, and what the other one rests on says nothing of it.
            found = {**found, **{key: data.get(key) for key in ("title", "verified")}}
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
        own = {name for entry in entries if isinstance(entry, dict) for name in names_of(entry)}
        kept = [entry for entry in base["metrics"] if own.isdisjoint(names_of(entry))]
        found["metrics"] = kept + entries
        # Places are told as they are in this file.
        self.inherited = {key: len(base.get(key) or []) for key in self.inherited} | {"metrics": len(kept)}
        return found

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
