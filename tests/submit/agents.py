"""Agents on one host, with one persistent cache, that are started, stopped and killed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datadog_checks.model_serving import ModelServingCheck
from datadog_checks.model_serving.sources import claims
from datadog_checks.model_serving.submit.agent_cache import forget_claims
from datadog_checks.model_serving.workstation.standin.runner import Round, Runner
from datadog_checks.model_serving.workstation.standin.standin import StandIn

INTERVAL = 15.0
START = 1_700_000_000.0


class Agents:
    """One host: a persistent cache, and Agents that are started and killed on it. Runs are `pause` seconds apart."""

    def __init__(self, cache_dir: Path) -> None:
        self.cache_dir = cache_dir
        self.now = START
        self.stand_in: StandIn | None = None
        self.checks: list[ModelServingCheck] = []

    def start(self, *instances: Mapping[str, Any], broken: bool = False, hold_back: bool = False) -> Runner:
        """A process of its own, as that of an Agent or of a trial run."""
        forget_claims()
        claims._READERS.clear()
        assert self.stand_in is not None
        self.stand_in.cache_broken = broken
        return self.reload(*instances, hold_back=hold_back)

    def trial(self, *instances: Mapping[str, Any], hold_back: bool = False) -> list[Round]:
        """What `datadog-agent check --check-times 3 --pause 2000` shows, beside the Agent or without one."""
        rounds = self.run(self.start(*instances, hold_back=hold_back), 3, pause=2.0)
        forget_claims()
        claims._READERS.clear()
        return rounds

    def reload(self, *instances: Mapping[str, Any], hold_back: bool = False) -> Runner:
        """The same process with instances of its file constructed anew."""
        assert self.stand_in is not None
        return Runner(self._check, "model_serving", {}, enumerate(instances, 1), self.stand_in, hold_back=hold_back)

    def _check(self, **arguments: Any) -> ModelServingCheck:
        check = ModelServingCheck(**arguments)
        check.clock = lambda: self.now
        self.checks.append(check)
        return check

    def time(self) -> float:
        """In place of `time.time`."""
        return self.now

    def run(self, runner: Runner, times: int = 1, pause: float = INTERVAL) -> list[Round]:
        rounds = []
        for _ in range(times):
            rounds.append(runner.run())
            self.now += pause
        return rounds


def counted(rounds: list[Round], name: str = "request.count") -> list[float]:
    """The sum of a count, round by round."""
    return [
        sum(point.value for run in round_.runs for point in run.commit.series if _is(point.context.name, name))
        for round_ in rounds
    ]


def _is(found: str, name: str) -> bool:
    return found == f"model_serving.{name}"
