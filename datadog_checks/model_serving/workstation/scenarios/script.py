"""What a scenario says, and the traffic that it makes."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...strict_yaml import read_shipped
from ..demo.scenario import Model, Outcome, Scenario, Timeline
from ..demo.traffic import Traffic
from .llm import LlmChapter

GPU_LOAD = "gpu-load"
"""The endpoint that keeps the GPUs busy, and that nothing scrapes."""
SOURCES = {GPU_LOAD: "nvml", "product-embedder": "other_endpoint"}
"""Endpoints of the world that are there only where a scenario has this source; others are where it has their system."""
HERE = Path(__file__).parent
MINUTE = 60
SETTLING = 2 * MINUTE
"""Simulated seconds before a scenario starts, in which the check sees every counter for the first time."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """Traffic of models, all where `of` is empty, from one minute until another; of several the last one counts."""

    per_minute: float
    start: float = 0.0
    until: float = math.inf
    errors: Mapping[Outcome, float] = field(default_factory=dict)
    of: tuple[str, ...] = ()
    most: int | None = None
    """Requests that it has at most."""


@dataclass(frozen=True, slots=True)
class Intervention:
    """Something that is done at a minute: `stop` a host, `revoke` the token, `delete` an endpoint."""

    at: float
    kind: str
    what: str


@dataclass(frozen=True, slots=True)
class Script:
    """One scenario. Times are minutes."""

    name: str
    what: str
    sources: tuple[str, ...]
    chapters: tuple[Chapter, ...]
    phases: tuple[Mapping[str, Any], ...]
    actions: tuple[Intervention, ...]
    length: float
    warm_up: int
    gpus_busy: bool
    step: float
    """Simulated seconds between two runs of the check."""
    llm: tuple[LlmChapter, ...] = ()
    """Traffic of the language model."""
    provider_limit: int = 500
    """Requests in a minute that the provider behind the gateway of language models allows."""


@lru_cache(maxsize=1)
def scripts() -> Mapping[str, Script]:
    """The scenarios that ship, by name."""
    return {one["name"]: _script(one) for one in read_shipped(HERE / "scenarios.yaml")}


@lru_cache(maxsize=1)
def series_tags() -> frozenset[str]:
    """Names of the tags that series of the scenarios bear, as tags.yaml has them."""
    return frozenset(read_shipped(HERE / "tags.yaml"))


def scenario_of(script: Script) -> tuple[Scenario, float]:
    """The world of a scenario, and how many simulated seconds its story takes."""
    data = read_shipped(HERE / "world.yaml")
    services = [one for one in data["services"] if SOURCES.get(one["endpoint"], one["system"]) in script.sources]
    length = SETTLING + script.length * MINUTE
    phases = [
        {
            "title": f"{script.name} {number}",
            **phase,
            "from": _percent(phase["from"], length),
            "until": _percent(phase["until"], length),
        }
        for number, phase in enumerate(script.phases)
    ]
    clock = {**data["clock"], "step": script.step}
    return Scenario.model_validate({**data, "clock": clock, "services": services, "phases": phases}), length


class ScriptedTraffic(Traffic):
    """Requests at even distances, that fail as often as the scenario says, neither more nor less."""

    def __init__(self, model: Model, scenario: Scenario, timeline: Timeline, chapters: Sequence[Chapter]) -> None:
        super().__init__(model, scenario, timeline, 0)
        self._chapters = [one for one in chapters if not one.of or model.name in one.of]
        self._due = 0.0
        self._failing: dict[tuple[int, Outcome], float] = {}
        self._had: dict[int, int] = {}

    def _arrivals(self, start: float, end: float) -> None:
        minute = (start - SETTLING) / MINUTE
        number, chapter = [
            (number, one) for number, one in enumerate(self._chapters) if one.start <= max(minute, 0) < one.until
        ][-1]
        slowdown = math.prod(self._scenario.effects("service", self.model.name, self._timeline.percent(start)))
        self._due += chapter.per_minute / MINUTE * (end - start)
        whole = int(self._due + 1e-9)
        self._due -= whole
        for arrival in (start + (end - start) * (place + 0.5) / whole for place in range(whole)):
            if chapter.most is not None and self._had.get(number, 0) >= chapter.most:
                return
            self._had[number] = self._had.get(number, 0) + 1
            request = self._serve(arrival, self._outcome(number, chapter), slowdown)
            self._serial += 1
            heapq.heappush(self._pending, (request.end, self._serial, request))

    def _outcome(self, number: int, chapter: Chapter) -> Outcome:
        for outcome, share in chapter.errors.items():
            due = self._failing.get((number, outcome), 0.0) + share
            failed = due >= 1 - 1e-9
            self._failing[number, outcome] = due - failed
            if failed:
                return outcome
        return "ok"


def _script(data: Mapping[str, Any]) -> Script:
    chapters = [
        Chapter(
            per_minute=one["per_minute"],
            start=one.get("from", 0.0),
            until=one.get("until", math.inf),
            errors=one.get("errors", {}),
            of=tuple(one.get("of", ())),
            most=one.get("most"),
        )
        for one in data.get("traffic", ())
    ]
    actions = [
        Intervention(one["at"], kind, what)
        for one in data.get("actions", ())
        for kind, what in one.items()
        if kind != "at"
    ]
    return Script(
        name=data["name"],
        what=data["what"],
        sources=tuple(data["sources"]),
        chapters=tuple(chapters),
        phases=tuple(data.get("phases", ())),
        actions=tuple(actions),
        length=data.get("length", 40),
        warm_up=data.get("warm_up", 10),
        gpus_busy=data.get("gpus_busy", True),
        step=data.get("step", 30),
        llm=tuple(_llm_chapter(one) for one in data.get("llm", ())),
        provider_limit=data.get("provider_limit", 500),
    )


def _llm_chapter(data: Mapping[str, Any]) -> LlmChapter:
    names = {"from": "start"}
    return LlmChapter(**{names.get(key, key): value for key, value in data.items()})


def _percent(minute: float, length: float) -> float:
    return min(100.0, 100 * (SETTLING + minute * MINUTE) / length)
