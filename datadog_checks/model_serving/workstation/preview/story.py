"""The demo's story, read by the real check in simulated time: what the page is filled with."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from ..demo.scenario import MINUTE, load
from ..demo.servers import nvml_source, paced, serve_world
from ..demo.world import World
from ..provision.simulate.observations import Observations
from ..scenarios.record import keep_round
from ..standin.install import standing_in
from ..standin.recorder import Recorder
from ..standin.runner import Runner
from ..standin.standin import StandIn
from .recorded import Recorded, clock_text

STEP = MINUTE
"""Simulated seconds between two runs: one for each point of a graph."""
AGENT = "agent-1"
ANSWERS = "model_serving.mlserver.rest.request.latency"
REAL_CLOCK = frozenset(("model_serving.scrape.duration", "model_serving.model.age"))
"""What the check measures by the clock of the machine, where all else is simulated."""


def record_story(minutes: int, seed: int, tell: Callable[[int], None] = lambda minute: None) -> Recorded:
    """What the check submits while the story lasts `minutes`, with the traffic of this seed.

    `tell` is called with the number of each minute, from 0, before it is simulated.
    """
    scenario = load()
    scenario = scenario.model_copy(update={"clock": scenario.clock.model_copy(update={"step": STEP})})
    world = World(scenario, length=minutes * MINUTE, seed=seed)
    start = int(world.epoch.timestamp())
    seen = Observations(start, start + minutes * MINUTE)
    with ExitStack() as stack:
        stand_in = stack.enter_context(standing_in(StandIn(recorder=Recorder(lambda: world.time.timestamp()))))
        served = stack.enter_context(serve_world(world))
        gpus = stack.enter_context(nvml_source(world, simulated=True))
        # Imported here so that the base package finds the stand-in, where it was not loaded before.
        from ... import ModelServingCheck

        # A workspace is read by a cluster check, whose series bear no host. NVML and dcgm-exporter tell of the same
        # GPUs, each of which is to count once.
        hosts = {"": [], AGENT: [], scenario.gpu_host.hostname: [gpus]}
        for source in served:
            if source.system == "databricks":
                # One request after the other: else it is a race whether the list of endpoints comes before the metrics.
                hosts[""].append(source._replace(instance={**source.instance, "max_connections": 1}))
            elif source.system != "dcgm":
                hosts[AGENT].append(source)
        check = paced(ModelServingCheck, world)
        runners = {}
        for host, sources in hosts.items():
            instances = enumerate((source.instance for source in sources), start=1)
            runners[host] = Runner(check, "model_serving", {}, instances, stand_in)
            stack.callback(runners[host].close)
        while True:
            tell(int(world.now // MINUTE))
            for host, runner in runners.items():
                keep_round(runner.run(), host, seen, world.time.timestamp())
            if world.now >= world.timeline.length:
                return _recorded(_simulated_alone(seen))
            world.advance(STEP)


def _recorded(seen: Observations) -> Recorded:
    times = f"from {clock_text(seen.start)} to {clock_text(seen.end)}"
    about = f"The numbers are what the check submits about simulated serving systems {times}, one point a minute."
    return Recorded(seen, about, interval=STEP, hidden=REAL_CLOCK)


def _simulated_alone(seen: Observations) -> Observations:
    """The observations without what differs from run to run: what the clock of this machine has measured."""
    for name in REAL_CLOCK:
        seen.metrics.pop(name, None)
    for name, series in seen.metrics.items():
        if name.startswith(ANSWERS):
            # Requests of readiness, which are really sent.
            for tags in [tags for tags in series if "method:get" in tags]:
                del series[tags]
    return seen
