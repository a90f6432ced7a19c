"""From values to states: thresholds, recovery, missing data, new groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isnan
from typing import Any

from .buckets import Group

OK, WARN, ALERT, NO_DATA = "OK", "Warn", "Alert", "No Data"
SEVERITY = {ALERT: 4, WARN: 3, NO_DATA: 2, OK: 1}
DAY = 86400

BETWEEN = "a value that left Alert and lies between the warning and its recovery is taken for OK"
AUTO_RESOLVED = "a group that timeout_h resolves is told as a recovery"


@dataclass(frozen=True, slots=True)
class StateOptions:
    """What the options of a monitor say about states. Times are seconds; `missing` is that of `on_missing_data`."""

    operator: str
    thresholds: Mapping[str, float]
    notify_no_data: bool = False
    no_data_after: float = 0
    missing: str = ""
    count: bool = False
    timeout: float = 0
    new_group_delay: float = 0

    def beyond(self, value: float, name: str) -> bool:
        """Whether a value is beyond a threshold, if there is one of that name."""
        limit = self.thresholds.get(name)
        if limit is None:
            return False
        match self.operator:
            case ">":
                return value > limit
            case ">=":
                return value >= limit
            case "<":
                return value < limit
            case "<=":
                return value <= limit
            case "==":
                return value == limit
            case _:
                return value != limit

    def holds(self, value: float, name: str) -> bool:
        """Whether a state that was entered at a threshold lasts."""
        return self.beyond(value, f"{name}_recovery" if f"{name}_recovery" in self.thresholds else name)

    @property
    def acts_on_missing(self) -> bool:
        """Whether anything comes of missing data."""
        return bool(self.notify_no_data or self.missing or self.timeout)

    @property
    def tells_no_data(self) -> bool:
        """Whether missing data is notified of."""
        return self.notify_no_data or self.missing == "show_and_notify_no_data"


@dataclass(frozen=True, slots=True)
class StateChange:
    """A group went from one state to another; `before` is None for a group that was not there."""

    time: float
    group: Group
    before: str | None
    after: str
    value: float | None = None


@dataclass(slots=True)
class GroupState:
    """The state of one group. `last_point` is when data came last, `empty_since` when there first was none to see."""

    options: StateOptions
    group: Group
    first_seen: float
    state: str | None = None
    last_point: float = 0
    empty_since: float | None = None
    changes: list[StateChange] = field(default_factory=list)

    def see(self, now: float, value: float | None, inferred: set[str]) -> None:
        """An evaluation found data. Without a `value` it had no result, and is left out; so is one of nan."""
        self.empty_since = None
        if value is None or isnan(value) or now - self.first_seen < self.options.new_group_delay:
            return
        self._become(now, self._by_thresholds(value, inferred), value)

    def miss(self, now: float, inferred: set[str]) -> None:
        """An evaluation found no data at all."""
        if self.empty_since is None:
            self.empty_since = now
        options = self.options
        if self.state is None:
            return
        if now - self.last_point >= DAY:
            # The group is dropped: it is evaluated no more, and its state is not shown.
            self.state = None
            return
        if options.missing:
            self._miss_at_once(now, inferred)
        elif options.notify_no_data and now - self.last_point >= options.no_data_after:
            self._become(now, NO_DATA, None)
        if options.timeout and now - self.empty_since >= options.timeout and self.state not in (OK, None):
            inferred.add(AUTO_RESOLVED)
            self._become(now, OK, None)

    def _miss_at_once(self, now: float, inferred: set[str]) -> None:
        match self.options.missing:
            case "show_no_data" | "show_and_notify_no_data":
                self._become(now, NO_DATA, None)
            case "resolve":
                self._become(now, OK, None)
            case _ if self.options.count:
                self._become(now, self._by_thresholds(0.0, inferred), 0.0)

    def _by_thresholds(self, value: float, inferred: set[str]) -> str:
        options = self.options
        if options.beyond(value, "critical") or (self.state == ALERT and options.holds(value, "critical")):
            return ALERT
        if options.beyond(value, "warning"):
            return WARN
        if "warning" in options.thresholds and options.holds(value, "warning"):
            if self.state == WARN:
                return WARN
            if self.state == ALERT:
                inferred.add(BETWEEN)
        return OK

    def _become(self, now: float, state: str, value: float | None) -> None:
        if state != self.state:
            self.changes.append(StateChange(now, self.group, self.state, state, value))
            self.state = state


def read_thresholds(options: Mapping[str, Any]) -> dict[str, float]:
    """The thresholds of the options of a monitor."""
    found = options.get("thresholds") or {}
    return {name: float(value) for name, value in found.items() if isinstance(value, int | float)}
