"""Monitors of service checks: rows of equal statuses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..query.tree import ServiceCheckMonitor
from .buckets import Group, groups_among
from .observations import Observations, StatusSeries, tags_of
from .states import ALERT, NO_DATA, OK, SEVERITY, WARN, StateChange, read_thresholds
from .variants import APART, NotSimulated, Variant, also, phases

MINUTE, HOUR = 60, 3600
DAY_WITHOUT = 24 * HOUR
NEW_GROUP_DELAY = 60
SILENT = 10 * MINUTE
"""A context that is silent for so long while others of its group report is gone."""

UNKNOWN_STATUS = "an UNKNOWN status breaks a row and leaves the state as it was"
SEVERAL = "a group that several contexts report to"


@dataclass(slots=True)
class ServiceCheckEvaluation:
    """A monitor of a service check, run over all statuses."""

    query: ServiceCheckMonitor
    options: Mapping[str, Any]
    seen: Observations
    inferred: set[str]

    def __post_init__(self) -> None:
        if self.query.status != "count_by_status":
            raise NotSimulated(f"`.{self.query.status}()`")

    def variants(self) -> Iterator[Variant]:
        """Together and apart, where several contexts make a group."""
        several = any(len(contexts) > 1 for contexts in self._groups().values())
        found: Iterator[Variant] = phases()
        return also(found, "contexts", APART) if several else found

    def run(self, variant: Variant) -> list[StateChange]:
        """Every change of every group, in the order of time."""
        changes: list[StateChange] = []
        for group, contexts in self._groups().items():
            if len(contexts) > 1:
                self.inferred.add(SEVERAL)
            if variant.contexts == APART and len(contexts) > 1:
                rows = [self._states(sorted(zip(one.times, one.values, strict=True))) for one in contexts]
            else:
                merged = [item for one in contexts for item in zip(one.times, one.values, strict=True)]
                rows = [self._states(sorted(merged, key=lambda item: item[0]))]
            reported = sorted({time for one in contexts for time in one.times})
            changes += self._changes(group, rows, reported, variant)
        return sorted(changes, key=lambda change: change.time)

    def _groups(self) -> dict[Group, list[StatusSeries]]:
        over, exclude = ([tag.value for tag in tags] for tags in (self.query.over, self.query.exclude))
        by = tuple(tag.value for tag in self.query.by)
        found: dict[Group, list[StatusSeries]] = {}
        for tags, series in self.seen.checks.get(self.query.check, {}).items():
            wanted = over == ["*"] or all(tag in tags for tag in tags_of(tag for tag in over if tag != "*"))
            if wanted and not any(tag in tags for tag in tags_of(exclude)):
                for group in groups_among(tags, () if by == ("*",) else by):
                    found.setdefault(group, []).append(series)
        return found

    def _states(self, row: list[tuple[int, str]]) -> list[tuple[int, str | None]]:
        """The state after each status; None before there is one."""
        thresholds = read_thresholds(self.options)
        last = self.query.last or 1
        needed = {
            "critical": min(thresholds.get("critical", 1), last),
            "warning": thresholds.get("warning"),
            "ok": min(thresholds.get("ok", 1), last),
        }
        states = {"critical": ALERT, "warning": WARN, "ok": OK}
        state: str | None = None
        found: list[tuple[int, str | None]] = []
        length, before = 0, ""
        for time, status in row:
            length = length + 1 if status == before else 1
            before = status
            if status == "unknown":
                self.inferred.add(UNKNOWN_STATUS)
            limit = needed.get(status)
            if limit is not None and (length >= limit or (status == "ok" and state is None)):
                state = states[status]
            found.append((time, state))
        return found

    def _changes(
        self, group: Group, rows: list[list[tuple[int, str | None]]], reported: list[int], variant: Variant
    ) -> Iterator[StateChange]:
        """Look once a minute; what happened in between shows, for a state is one of rows, not of moments."""
        options = self.options
        delay = float(options.get("new_group_delay", NEW_GROUP_DELAY) or 0) if group else 0
        silence = MINUTE * float(options.get("no_data_timeframe") or 0) or DAY_WITHOUT
        timeout = HOUR * float(options.get("timeout_h") or 0)
        known_before = self.seen.period > 0
        first = reported[0]
        state: str | None = None
        at = [0] * len(rows)
        now = self.seen.start + variant.phase
        while now <= self.seen.end:
            found: list[str] = []
            last = 0
            for number, row in enumerate(rows):
                while at[number] < len(row) and row[at[number]][0] < now:
                    at[number] += 1
                if not at[number]:
                    continue
                time, status = row[at[number] - 1]
                last = max(last, time)
                if status is not None and (now - time < SILENT or len(rows) == 1):
                    found.append(status)
            wanted = state
            if last and (known_before or now - first >= delay):
                if found:
                    wanted = max(found, key=lambda one: SEVERITY[one])
                if options.get("notify_no_data") is True and now - last >= silence:
                    wanted = NO_DATA
                elif timeout and now - last >= timeout and state not in (OK, None):
                    wanted = OK
                if wanted is not None and wanted != state:
                    yield StateChange(now, group, state, wanted)
                    state = wanted
            now += MINUTE
