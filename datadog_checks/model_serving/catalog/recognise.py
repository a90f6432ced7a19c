"""From the name of a family in a payload to what the catalog knows of it, and which systems a payload carries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from .model import Catalog, RawMetric, System

PARTS = ("bucket", "sum", "count")
SUFFIXES = (*(f"_{part}" for part in PARTS), "_created")

UNTYPED = ("", "unknown", "untyped")
AGREEING = {
    "counter": ("counter",),
    "gauge": ("gauge",),
    "timestamp": ("gauge",),
    "window_gauge": ("gauge",),
    "last_code": ("gauge",),
    "recent_count": ("counter", "gauge"),
    "histogram": ("histogram", "summary", "gaugehistogram"),
    "summary": ("histogram", "summary", "gaugehistogram"),
    "window_histogram": ("histogram", "summary", "gaugehistogram"),
}
"""Declared types by what the catalog knows a metric to be. Another one says that it is somebody else's."""

COMPANY = 2
"""Different names that must be met before a prefix, or hints, are taken for anything."""


@dataclass(frozen=True, slots=True)
class Match:
    """A family of a payload as the catalog reads it.

    `part` is empty for a family that stands whole, or names the piece (`bucket`, `sum`, `count`,
    `created`) of a histogram or summary whose pieces arrive as families of their own. `prefix` is
    what stands in front of the name that the catalog has.
    """

    raw: RawMetric
    part: str = ""
    required_label: str = ""
    prefix: str = ""

    def contradicted_by(self, kind: str) -> bool:
        """Whether a metric of this meaning would not be declared as one of this type."""
        if kind in UNTYPED or self.part == "created":
            return False
        # The pieces of a histogram are numbers that rise, each declared as somebody saw fit.
        return kind not in (("counter", "gauge") if self.part else AGREEING[self.raw.type])


class Evidence:
    """What a payload has shown of one system that isn't known to be there.

    `met` are its raw metrics, by their names and the prefix they stood behind, `hints` those that hint at it; `against`
    says that one of its hints was declared to be something else.
    """

    def __init__(self) -> None:
        self.met: dict[str, dict[str, RawMetric]] = {}
        self.hints: set[str] = set()
        self.against = False


class Recogniser:
    """Decides, family by family, which system a payload's names belong to.

    With `chosen` systems only these are looked up, in that order. Without, a system is active once the
    names that were met prove it: one that nobody else uses, or as many as the catalog asks for. Behind a
    prefix that doesn't name the system a second one must be met behind the same prefix. A name whose
    declared type contradicts the catalog proves nothing. Systems of the user's own are `always` active, each in place
    of the one that it extends under another name.
    `active` grows and never shrinks: a target behind a federation may appear later.
    """

    def __init__(self, catalog: Catalog, chosen: tuple[str, ...] = (), always: tuple[str, ...] = ()) -> None:
        self.automatic = not chosen
        names = dict.fromkeys((*always, *(chosen or catalog.systems)))
        # What extends another has all of its names. Were both there, each would be of two systems, and so of none.
        replaced = {catalog.systems[name].base for name in always} if self.automatic else set()
        self.systems: dict[str, System] = {name: catalog.systems[name] for name in names if name not in replaced}
        self.active: list[str] = [name for name in self.systems if name in always or not self.automatic]
        self._evidence = {name: Evidence() for name in self.systems}
        self._indexes = {name: system.by_name() for name, system in self.systems.items()}
        self._candidates: dict[str, tuple[Match, ...]] = {}

    def candidates(self, family: str) -> tuple[Match, ...]:
        """Every reading of a family's name, best first, active systems or not."""
        matches = self._candidates.get(family)
        if matches is None:
            matches = self._candidates[family] = tuple(self._find(family))
        return matches

    def match(self, family: str, kind: str = "") -> Match | None:
        """The reading of a family by the one active system that claims it, or None; may activate systems.

        `kind` is the type that the payload declares, empty where it declares none.
        """
        for match in self.candidates(family):
            if match.raw.system not in self.active:
                self._learn(match, kind)
        return self.claim(family)

    def claim(self, family: str) -> Match | None:
        """The same with the systems that are active already."""
        claims = self.claims(family)
        if not claims:
            return None
        first = claims[0]
        if first.raw.shared:
            return first
        if self.automatic and any(other.raw.system != first.raw.system for other in claims):
            return None
        return first

    def claims(self, family: str) -> list[Match]:
        """The readings of a family by active systems, those that need a label only where nobody else has it."""
        claims = [match for match in self.candidates(family) if match.raw.system in self.active]
        return [match for match in claims if not match.required_label] or claims

    def shared(self, family: str, system: str) -> RawMetric | None:
        """A metric that all systems have, as that of one of them, unless that one knows better."""
        raws = (match.raw for match in self.candidates(family) if match.raw.system == system)
        return next((raw for raw in raws if raw.shared), None)

    def halves(self, raw: RawMetric) -> tuple[tuple[RawMetric, str], ...]:
        """The pairs that a counter is a half of, and which half."""
        return self.systems[raw.system].halves.get(raw.names[0].removesuffix("_total"), ())

    def undecided(self, family: str) -> bool:
        """Whether the family is known to some system, but none that is active."""
        return any(match.raw.system not in self.active for match in self.candidates(family))

    def ignores(self, family: str) -> bool:
        """Whether an active system knows the family to carry nothing."""
        return self.ignored_by(family) is not None or family.endswith("_created")

    def ignored_by(self, family: str) -> tuple[System, str] | None:
        """The active system that knows the family to carry nothing, and why if it says so; None where none does."""
        for name in self.active:
            for ignored in self.systems[name].ignore:
                if ignored.pattern.match(family):
                    return self.systems[name], ignored.because
        return None

    def evidence(self, system: str) -> tuple[set[str], bool]:
        """The names that have shown that a system is there, and whether they are only hints."""
        evidence, pattern = self._evidence[system], self.systems[system].any_of
        met = set[str]().union(*evidence.met.values()) if pattern is not None else set()
        proof = {name for name in met if pattern is not None and pattern.match(name)}
        return (proof, False) if proof else (set(evidence.hints), True)

    def unprefixed(self, family: str) -> Match | None:
        """What an unknown family would be by an entry of a user's file, were it behind a prefix of the system."""
        for name in self.active:
            for prefix in self.systems[name].prefixes:
                match = self._exact(self._indexes[name], f"{prefix}{family}")
                if match is not None and match.raw.own:
                    return replace(match, prefix=prefix)
        return None

    def names(self) -> tuple[str, ...]:
        """Every name of a family that was looked up, in the order in which they came."""
        return tuple(self._candidates)

    def unproven(self) -> dict[str, set[str]]:
        """Systems that several names hinted at without proving them, and nothing spoke against, with those names."""
        return {
            name: evidence.hints
            for name, evidence in self._evidence.items()
            if name not in self.active and len(evidence.hints) >= COMPANY and not evidence.against
        }

    def forget(self) -> None:
        """Drop remembered names, so that a payload with ever new ones doesn't grow the memory."""
        self._candidates.clear()

    def __len__(self) -> int:
        return len(self._candidates)

    def _find(self, family: str) -> Iterator[Match]:
        for name, system in self.systems.items():
            index = self._indexes[name]
            match = self._exact(index, family)
            if match is None and system.any_prefix:
                match = self._behind_prefix(system, index, family)
            if match is None:
                match = self._alike(system, family)
            if match is not None:
                yield match

    def _exact(self, index: dict[str, RawMetric], family: str) -> Match | None:
        raw = index.get(family)
        if raw is not None:
            return Match(raw)
        for suffix in SUFFIXES:
            if family.endswith(suffix):
                raw = index.get(family.removesuffix(suffix))
                if raw is not None and (raw.grouped or suffix == "_created"):
                    return Match(raw, suffix[1:])
        return None

    def _behind_prefix(self, system: System, index: dict[str, RawMetric], family: str) -> Match | None:
        for position, character in enumerate(family[:-1], 1):
            if character in ":_":
                match = self._exact(index, family[position:])
                if match is not None:
                    return replace(match, prefix=family[:position])
        return None

    @staticmethod
    def _alike(system: System, family: str) -> Match | None:
        for raw in system.metrics:
            if raw.like is None:
                continue
            if raw.like.match(family.removesuffix("_total") if raw.type == "counter" else family):
                return Match(raw, "", raw.like_label)
            base, _, part = family.rpartition("_")
            if raw.grouped and part in PARTS and raw.like.match(base):
                return Match(raw, part, raw.like_label)
        return None

    def _learn(self, match: Match, kind: str) -> None:
        """Take a name that was met for evidence of a system that isn't active yet."""
        raw, prefix = match.raw, match.prefix
        system, evidence = self.systems[raw.system], self._evidence[raw.system]
        if match.required_label or match.part == "created" or raw.shared:
            return
        if match.contradicted_by(kind):
            # Some exporters declare counters as gauges, but none a hint as what it is not.
            evidence.against = evidence.against or not (prefix or system.hints.isdisjoint(raw.names))
            return
        if not prefix:
            evidence.hints |= system.hints.intersection(raw.names)
        met = evidence.met.setdefault(prefix, {})
        met[raw.names[0]] = raw.first
        needed = system.any_needed if not prefix or system.name in prefix else max(system.any_needed, COMPANY)
        # Two spellings of one metric are one.
        several = len({id(each) for each in met.values()}) >= needed
        proven = system.any_of is not None and several and any(map(system.any_of.match, met))
        hinted = system.hints_needed is not None and len(evidence.hints) >= system.hints_needed
        if proven or hinted:
            self.active.append(raw.system)
