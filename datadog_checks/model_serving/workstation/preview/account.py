"""The monitors and SLOs beside the dashboards, over the same observations."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..provision.model import REFERENCE, Resource
from ..provision.query import parse_monitor
from ..provision.query.tree import SloMonitor
from ..provision.simulate.buckets import Leaves
from ..provision.simulate.simulation import Simulator
from ..provision.simulate.slos import BurnRateEvaluation
from ..provision.simulate.states import NO_DATA, SEVERITY
from ..provision.simulate.variants import NotSimulated
from .recorded import Recorded

NOT_SIMULATED = "not simulated"
TAG = re.compile(r'tag:(?:"([^"]+)"|([^\s"()]+))')
ANY_BURN_RATE = parse_monitor('burn_rate("any").over("30d").long_window("1h").short_window("5m") > 1')


@dataclass(frozen=True, slots=True)
class ReachedSlo:
    """What an SLO has come to within the observations: percent, None where nothing counted, and what it aims at."""

    percent: float | None
    target: float
    timeframe: str


class SimulatedAccount:
    """What an account with these resources would know, had it received what was recorded."""

    def __init__(self, resources: Iterable[Resource], recorded: Recorded) -> None:
        self.recorded = recorded
        self.seen = recorded.seen
        found = list(resources)
        self._simulator = Simulator(found, self.seen)
        self._slos = {one.address: one.body for one in found if one.kind == "slo"}

    def states(self, search: str) -> list[tuple[str, str]]:
        """Name and state, at the end, of each monitor that a search finds, the worst first. Raises NotSimulated.

        The state is empty where what was recorded is too short to be judged.
        """
        if TAG.sub("", search).strip():
            raise NotSimulated('a search for monitors of another form than `tag:"key:value"` terms')
        wanted = {quoted or plain for quoted, plain in TAG.findall(search)}
        keys = [key for key, body in self._simulator.monitors.items() if wanted <= set(body.get("tags") or ())]
        found = [(str(self._simulator.monitors[key]["name"]), self._state(key)) for key in keys]
        return sorted(found, key=lambda one: (-SEVERITY.get(one[1], 0), one))

    def reached(self, reference: str) -> ReachedSlo:
        """What an SLO has come to; `reference` is `${slo:key}`. Raises NotSimulated."""
        if not self.recorded.is_judged:
            raise NotSimulated(f"an SLO is about weeks, of which {self.recorded.during} tell nothing")
        match = REFERENCE.fullmatch(reference)
        body = self._slos.get(match[1]) if match else None
        if body is None:
            raise NotSimulated(f"the SLO `{reference}`, which is not among these resources")
        assert isinstance(ANY_BURN_RATE, SloMonitor)
        evaluation = BurnRateEvaluation(ANY_BURN_RATE, {}, body, Leaves(self.seen), set())
        bad = evaluation.bad_share(self.seen.start, self.seen.end)
        percent = None if bad is None else 100 * (1 - bad)
        return ReachedSlo(percent, float(body["target_threshold"]), str(body["timeframe"]))

    def _state(self, key: str) -> str:
        """The worst state of any group, under the first of the ways in which Datadog may evaluate."""
        if not self.recorded.is_judged:
            return ""
        history = self._simulator.history(key)
        if history.not_simulated:
            return NOT_SIMULATED
        last = (next(iter(history.states_at(group, self.seen.end).values())) for group in history.groups)
        return max((state for state in last if state), key=lambda one: SEVERITY[one], default=NO_DATA)
