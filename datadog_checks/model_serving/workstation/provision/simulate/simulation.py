"""Monitors over observations: every variant of every monitor, and what they agree about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Protocol

from ....errors import QueryError
from ..model import Resource
from ..query import parse_monitor
from ..query.tree import (
    CompositeMonitor,
    MetricMonitor,
    Monitor,
    MonitorQuery,
    ServiceCheckMonitor,
    SloMonitor,
    leaves,
)
from .buckets import Group, Leaves
from .composites import by_group, evaluate
from .events import EventEvaluation, parse_event_query
from .metric import MetricEvaluation
from .observations import Observations
from .recipients import Broadcaster, SentNotification
from .service_checks import ServiceCheckEvaluation
from .slos import BurnRateEvaluation
from .states import GroupState, StateChange, StateOptions
from .variants import INSTANT, KEPT, MISSING, SLIDING, TOGETHER, NotSimulated, Variant, also

MINUTE = 60


class Evaluation(Protocol):
    """A monitor that has a value per group at any time."""

    @property
    def every(self) -> int: ...
    @property
    def grouped(self) -> bool: ...
    @property
    def sees(self) -> bool: ...
    def variants(self) -> Iterator[Variant]: ...
    def state_options(self) -> StateOptions: ...
    def values(self, now: float, variant: Variant) -> dict[Group, float | None]: ...
    def last_point(self, group: Group, now: float) -> float: ...


@dataclass(frozen=True, slots=True)
class MonitorRun:
    """What one monitor did under one variant."""

    changes: tuple[StateChange, ...]
    notifications: tuple[SentNotification, ...]


@dataclass(slots=True)
class MonitorHistory:
    """What a monitor did, under every variant.

    `not_simulated` says why there is nothing, `inferred` what the outcome rests on that Datadog documents nowhere.
    """

    key: str
    body: Mapping[str, Any]
    runs: dict[Variant, MonitorRun] = field(default_factory=dict)
    inferred: set[str] = field(default_factory=set)
    not_simulated: str = ""

    @property
    def groups(self) -> list[Group]:
        """Every group that has a state under some variant."""
        return sorted({change.group for run in self.runs.values() for change in run.changes})

    def states_at(self, group: Group, time: float) -> dict[Variant, str | None]:
        """The state of a group at a time, by variant; None where there is no such group."""
        found: dict[Variant, str | None] = {}
        for variant, run in self.runs.items():
            own = [change for change in run.changes if change.group == group and change.time <= time]
            found[variant] = own[-1].after if own else None
        return found

    def stories(self, group: Group) -> dict[tuple[str, ...], list[Variant]]:
        """The states that a group goes through, times left out, and the variants under which it does."""
        found: dict[tuple[str, ...], list[Variant]] = {}
        for variant, run in self.runs.items():
            story = tuple(change.after for change in run.changes if change.group == group)
            found.setdefault(story, []).append(variant)
        return found

    @property
    def depends(self) -> list[Group]:
        """Groups whose states differ between variants in more than the minute of a change."""
        return [group for group in self.groups if len(self.stories(group)) > 1]


class Simulator:
    """Resources, over observations. Histories are made when asked for, and kept."""

    def __init__(self, resources: Iterable[Resource], seen: Observations) -> None:
        self.seen = seen
        found = list(resources)
        self.monitors = {one.key: one.body for one in found if one.kind == "monitor"}
        self._slos = {one.key: one.body for one in found if one.kind == "slo"}
        self._leaves = Leaves(seen)
        self._broadcaster = Broadcaster(found)
        self._histories: dict[str, MonitorHistory] = {}
        self._queries: dict[str, MonitorQuery] = {}

    def history(self, key: str) -> MonitorHistory:
        """What a monitor did."""
        if key not in self._histories:
            history = MonitorHistory(key, self.monitors[key])
            try:
                self._run(history)
            except NotSimulated as error:
                history.not_simulated, history.runs = str(error), {}
            except QueryError as error:
                history.not_simulated, history.runs = error.message, {}
            self._histories[key] = history
        return self._histories[key]

    def is_silent_part(self, history: MonitorHistory) -> bool:
        """Whether a monitor is there for composite monitors alone: it is part of one, and notifies nobody."""
        used = f"${{monitor:{history.key}}}"
        is_part = any(body["type"] == "composite" and used in str(body["query"]) for body in self.monitors.values())
        return is_part and not any(one.recipients for run in history.runs.values() for one in run.notifications)

    def all(self) -> Sequence[MonitorHistory]:
        """What every monitor did."""
        return [self.history(key) for key in self.monitors]

    def _run(self, history: MonitorHistory) -> None:
        body, options = history.body, history.body.get("options") or {}
        if body.get("type") == "event-v2 alert":
            self._evaluate(history, EventEvaluation(parse_event_query(str(body["query"])), options, self.seen))
            return
        query = parse_monitor(str(body["query"]))
        match query:
            case MetricMonitor():
                self._evaluate(history, MetricEvaluation(query, options, self._leaves, history.inferred))
            case SloMonitor():
                slo = self._slos.get(query.slo.value.removeprefix("${slo:").removesuffix("}"))
                if slo is None:
                    raise NotSimulated(f"the SLO `{query.slo.value}`, which is not among these resources")
                self._evaluate(history, BurnRateEvaluation(query, options, slo, self._leaves, history.inferred))
            case ServiceCheckMonitor():
                check = ServiceCheckEvaluation(query, options, self.seen, history.inferred)
                for variant in check.variants():
                    self._keep(history, variant, check.run(variant), options.get("notify_no_data") is True)
            case CompositeMonitor():
                self._compose(history, query)
            case _:
                raise NotSimulated("a monitor by formula")

    def _evaluate(self, history: MonitorHistory, evaluation: Evaluation) -> None:
        options = evaluation.state_options()
        for variant in evaluation.variants():
            times = self._times(variant, evaluation.every)
            # Once is enough to find what isn't simulated.
            times = times if evaluation.sees else islice(times, 1)
            values = {now: evaluation.values(now, variant) for now in times}
            possible = [variant]
            if any(value is None for found in values.values() for value in found.values()) and options.acts_on_missing:
                possible.append(replace(variant, no_result=MISSING))
            for one in possible:
                changes = self._changes(evaluation, options, one, values, history.inferred)
                self._keep(history, one, changes, options.tells_no_data)

    def _changes(
        self,
        evaluation: Evaluation,
        options: StateOptions,
        variant: Variant,
        results: Mapping[float, Mapping[Group, float | None]],
        inferred: set[str],
    ) -> list[StateChange]:
        states: dict[Group, GroupState] = {}
        for now, found in results.items():
            values = {group: value for group, value in found.items() if value is not None or variant.no_result == KEPT}
            for group, value in values.items():
                if group not in states:
                    # What repeats itself before the start was known then.
                    known = self.seen.period and now < self.seen.start + 2 * MINUTE
                    states[group] = GroupState(options, group, float("-inf") if known else now)
                state = states[group]
                state.last_point = max(state.last_point, evaluation.last_point(group, now))
                state.see(now, value, inferred)
            for group, state in states.items():
                if group not in values:
                    state.miss(now, inferred)
        return sorted((change for state in states.values() for change in state.changes), key=lambda one: one.time)

    def _compose(self, history: MonitorHistory, query: CompositeMonitor) -> None:
        names = dict.fromkeys(leaf.id for leaf in leaves(query.condition) if isinstance(leaf, Monitor))
        parts = {}
        for name in names:
            key = name.removeprefix("${monitor:").removesuffix("}")
            if key not in self.monitors:
                raise NotSimulated(f"the monitor `{name}`, which is not among these resources")
            parts[name] = self.history(key)
            if parts[name].not_simulated:
                raise NotSimulated(f"its part {key}: {parts[name].not_simulated}")
            history.inferred |= parts[name].inferred
        options = history.body.get("options") or {}
        variants = dict.fromkeys(variant for part in parts.values() for variant in part.runs)
        for variant in also(iter(variants), "composite", INSTANT):
            states = {name: by_group(list(_nearest(part, variant).changes)) for name, part in parts.items()}
            changes = evaluate(query.condition, states, options, self._times(variant, MINUTE), variant.composite)
            self._keep(history, variant, changes, options.get("notify_no_data") is True)

    def _keep(self, history: MonitorHistory, variant: Variant, changes: list[StateChange], tells_no_data: bool) -> None:
        sent = self._broadcaster.sent(history.key, history.body, changes, tells_no_data, self.seen.end)
        history.runs[variant] = MonitorRun(tuple(changes), tuple(sent))

    def _times(self, variant: Variant, every: int) -> Iterator[float]:
        now = self.seen.start - self.seen.start % every + variant.phase
        while now <= self.seen.end:
            if now >= self.seen.start:
                yield now
            now += every


def _nearest(part: MonitorHistory, variant: Variant) -> MonitorRun:
    """The run of a part under a variant, or under the one that is nearest to it among those that it has."""
    wanted = replace(variant, composite=SLIDING)
    for one in (
        wanted,
        replace(wanted, no_result=KEPT),
        replace(wanted, functions=Variant().functions),
        replace(wanted, contexts=TOGETHER),
        Variant(phase=variant.phase),
        Variant(width=60, phase=variant.phase),
    ):
        if one in part.runs:
            return part.runs[one]
    return next(iter(part.runs.values()))
