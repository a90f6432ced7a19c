"""Monitors of events: how many a search finds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from ...stored import stored, stored_pattern
from ..query.tree import seconds
from .buckets import Group, groups_among
from .observations import EventSeen, Observations, values_of
from .states import StateOptions, read_thresholds
from .variants import NotSimulated, Variant, phases

MINUTE, HOUR = 60, 3600
QUERY = re.compile(
    r"""events\(\s*(?P<quote>["'])(?P<search>.*)(?P=quote)\s*\)
    \.rollup\(\s*["']count["']\s*\)
    (?:\.by\(\s*["'](?P<by>[^"']*)["']\s*\))?
    \.last\(\s*["'](?P<window>\w+)["']\s*\)
    \s*(?P<operator>>=|>|<=|<)\s*(?P<threshold>-?\d+(?:\.\d+)?)""",
    re.VERBOSE,
)
TERM = re.compile(r"""(?P<key>[\w.@/-]+):(?:"(?P<quoted>[^"]*)"|\((?P<several>[^()]*)\)|(?P<value>[^\s()"]+))""")


@dataclass(frozen=True, slots=True)
class EventQuery:
    """`events("search").rollup("count").by("a,b").last("15m") > 0`; `terms` are keys with the values they may have."""

    terms: tuple[tuple[str, tuple[str, ...]], ...]
    by: tuple[str, ...]
    window: int
    operator: str
    threshold: float

    def takes(self, event: EventSeen) -> bool:
        """Whether the search finds an event."""
        return all(any(_has(event, key, value) for value in values) for key, values in self.terms)


def parse_event_query(text: str) -> EventQuery:
    """Read the query. Raises NotSimulated for any other form."""
    found = QUERY.fullmatch(text.strip())
    length = seconds(found["window"]) if found else None
    if found is None or not length:
        raise NotSimulated("a monitor of events of another form than a count over a window")
    terms, rest = [], found["search"].replace('\\"', '"')
    for term in TERM.finditer(rest):
        values = [term["quoted"] or term["value"]] if term["several"] is None else term["several"].split(" OR ")
        terms.append((term["key"], tuple(value.strip().strip('"') for value in values)))
    if TERM.sub(" ", rest).replace("AND", " ").strip():
        raise NotSimulated("a search for events of another form than `key:value` terms")
    by = tuple(tag.strip() for tag in (found["by"] or "").split(",") if tag.strip())
    return EventQuery(tuple(terms), by, length, found["operator"], float(found["threshold"]))


@dataclass(slots=True)
class EventEvaluation:
    """A monitor that counts events."""

    query: EventQuery
    options: Mapping[str, Any]
    seen: Observations
    every = MINUTE
    sees = True

    @property
    def grouped(self) -> bool:
        return bool(self.query.by)

    def variants(self) -> Iterator[Variant]:
        """Only the moment matters."""
        return phases()

    def state_options(self) -> StateOptions:
        """What decides about states: without an event the count is 0."""
        query = self.query
        return StateOptions(
            query.operator,
            {"critical": query.threshold, **read_thresholds(self.options)},
            missing=str(self.options.get("on_missing_data") or "default"),
            count=True,
            timeout=HOUR * float(self.options.get("timeout_h") or 0),
        )

    def values(self, now: float, variant: Variant) -> dict[Group, float | None]:
        """The number of events within the window, by group."""
        del variant
        found: dict[Group, float | None] = {}
        for event in self._taken(now - self.query.window, now):
            for group in groups_among(event.tags, self.query.by):
                found[group] = (found.get(group) or 0.0) + 1
        return found

    def last_point(self, group: Group, now: float) -> float:
        """When the last event of a group came."""
        return float(
            max(
                (event.time for event in self._taken(0, now) if group in groups_among(event.tags, self.query.by)),
                default=0,
            )
        )

    def _taken(self, start: float, end: float) -> Iterator[EventSeen]:
        return (event for event in self.seen.events if start <= event.time < end and self.query.takes(event))


def _has(event: EventSeen, key: str, value: str) -> bool:
    """Whether an event has a field or tag of that value. `tags:` and `@evt.` are how searches may name them."""
    key = key.removeprefix("@evt.").removeprefix("@")
    if key == "tags":
        key, _, value = value.partition(":")
    pattern = stored_pattern(value)
    candidates = [*values_of(event.tags, key.lower()), *([stored(event.fields[key])] if key in event.fields else [])]
    return any(fnmatchcase(candidate, pattern) for candidate in candidates)
