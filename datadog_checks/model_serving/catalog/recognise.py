"""From the name of a family in a payload to what the catalog knows of it, and which systems a payload carries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from .model import Catalog, RawMetric, System

PARTS = ("bucket", "sum", "count")
SUFFIXES = (*(f"_{part}" for part in PARTS), "_created")


@dataclass(frozen=True, slots=True)
class Match:
    """A family of a payload as the catalog reads it.

    `part` is empty for a family that stands whole, or names the piece (`bucket`, `sum`, `count`,
    `created`) of a histogram or summary whose pieces arrive as families of their own.
    """

    raw: RawMetric
    part: str = ""
    required_label: str = ""
    prefixed: bool = False


class Recogniser:
    """Decides, family by family, which system a payload's names belong to.

    With `chosen` systems only these are looked up, in that order. Without, a system is active from
    the first name that proves it; names that only hint at a system are remembered in `hints_seen`.
    `active` grows and never shrinks: a target behind a federation may appear later.
    """

    def __init__(self, catalog: Catalog, chosen: tuple[str, ...] = (), always: tuple[str, ...] = ()) -> None:
        names = (*always, *(name for name in chosen if name not in always)) if chosen else ()
        self.automatic = not chosen
        self.systems: dict[str, System] = (
            {name: catalog.systems[name] for name in names}
            if names
            else {name: catalog.systems[name] for name in (*always, *catalog.systems)}
        )
        self.active: list[str] = list(self.systems) if not self.automatic else list(always)
        self.hints_seen: dict[str, set[str]] = {}
        self._indexes = {name: system.by_name() for name, system in self.systems.items()}
        self._candidates: dict[str, tuple[Match, ...]] = {}

    def candidates(self, family: str) -> tuple[Match, ...]:
        """Every reading of a family's name, best first, active systems or not; may activate systems."""
        matches = self._candidates.get(family)
        if matches is None:
            matches = tuple(self._find(family))
            self._candidates[family] = matches
            for match in matches:
                self._learn(match)
        return matches

    def match(self, family: str) -> Match | None:
        """The reading of a family by the one active system that claims it, or None."""
        claims = [match for match in self.candidates(family) if match.raw.system in self.active]
        claims = [match for match in claims if not match.required_label] or claims
        if not claims:
            return None
        first = claims[0]
        if self.automatic and any(other.raw.system != first.raw.system for other in claims):
            return None
        return first

    def undecided(self, family: str) -> bool:
        """Whether the family is known to some system, but none that is active."""
        return any(match.raw.system not in self.active for match in self.candidates(family))

    def ignores(self, family: str) -> bool:
        """Whether an active system knows the family to carry nothing."""
        for name in self.active:
            pattern = self.systems[name].ignore
            if pattern is not None and pattern.match(family):
                return True
        return family.endswith("_created")

    def unproven(self) -> dict[str, set[str]]:
        """Systems that names hinted at without proving them, with those names."""
        return {name: hints for name, hints in self.hints_seen.items() if name not in self.active}

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
                    return replace(match, prefixed=True)
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

    @staticmethod
    def _proves(system: System, raw: RawMetric) -> bool:
        return system.any_of is not None and any(system.any_of.match(name) for name in raw.names)

    def _learn(self, match: Match) -> None:
        raw = match.raw
        system = self.systems[raw.system]
        if raw.system in self.active or match.required_label:
            return
        if self._proves(system, raw):
            self.active.append(raw.system)
            return
        hints = {name for name in raw.names if name in system.hints}
        if hints and not match.prefixed:
            seen = self.hints_seen.setdefault(raw.system, set())
            seen |= hints
            if system.hints_needed is not None and len(seen) >= system.hints_needed:
                self.active.append(raw.system)
