"""`model-serving bridge --demo`: the demo's world through the bridge, into a stand-in for Datadog's intake."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from ..bridge.process import Bridge, opened
from ..bridge.settings import BridgeSettings, SpoolSettings
from ..demo.intake import Arrived, RefusedRequest, SimulatedIntake
from ..demo.observe import Signals
from ..demo.report import compare, compare_latency
from ..demo.scenario import MINUTE, load
from ..demo.servers import nvml_source, paced, serve_world
from ..demo.view import agreement
from ..demo.world import World
from ..provision.credentials import AccountCredentials
from ..standin.aggregation import Commit, Context, Distribution, SeriesPoint
from ..standin.configuration import Configuration

MINUTES = 30
AWAY = (12, 22)
"""Simulated minutes in which the intake is away."""

DRAIN_MINUTES = 10
HOST = "bridge-demo"


def run_demo(tell: Callable[[str], None]) -> bool:
    """Run half a simulated hour. Returns whether all that arrived is what was simulated."""
    scenario = load()
    world = World(scenario, length=MINUTES * MINUTE, seed=1)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="model-serving-")))
        intake = stack.enter_context(SimulatedIntake(clock=lambda: world.time.timestamp()))
        sources = [*stack.enter_context(serve_world(world)), stack.enter_context(nvml_source(world, simulated=True))]
        settings = BridgeSettings(
            Configuration("bridge.yaml", {}, tuple(enumerate((one.instance for one in sources), 1))),
            SpoolSettings(folder / "bridge.db"),
            AccountCredentials(intake.api_key, "", url=intake.url),
            host=HOST,
        )
        tell(
            f"{len(sources)} instances of the check read simulated endpoints, without an Agent. A bridge sends what "
            f"they give to a stand-in for Datadog's intake at {intake.url}, which takes nothing from minute {AWAY[0]} "
            f"to {AWAY[1]} of {MINUTES} simulated ones."
        )

        def away(path: str, taken: bool) -> None:
            if AWAY[0] * MINUTE <= world.now < AWAY[1] * MINUTE:
                raise RefusedRequest(503, "Service Unavailable")

        intake.interfere = away
        bridge = stack.enter_context(
            opened(
                settings,
                change=lambda check_class: paced(check_class, world),
                clock=lambda: world.time.timestamp(),
            )
        )
        most = _let_pass(bridge, world, MINUTES * MINUTE)
        world.close()
        for _ in range(DRAIN_MINUTES):
            if not world.quiet:
                _let_pass(bridge, world, MINUTE)
        _look(bridge)
        delivered = bridge.deliverer.drain(0.0, lambda seconds: False)
        signals = Signals()
        signals.add(commit_of(intake.arrived))
        comparisons = compare(world, signals)
        requests = sum(count for (_, status), count in intake.requests.items() if status == 202)
        tell("")
        tell(
            f"The spool held {most:,} bytes at most. The intake took {requests} requests of "
            f"{sum(intake.bytes.values()):,} bytes: {len(intake.arrived.series):,} series, "
            f"{len(intake.arrived.distributions):,} distributions, {len(intake.arrived.service_checks):,} service "
            f"checks and {len(intake.arrived.events)} events."
        )
        tell("")
        tell("\n".join(agreement(comparisons, compare_latency(world, signals))))
        wrong = sum(not one.agrees for one in comparisons)
        tell(f"{wrong} of {len(comparisons)} numbers differ." if wrong else f"All {len(comparisons)} numbers agree.")
    return delivered and not wrong


def commit_of(arrived: Arrived) -> Commit:
    """What has arrived, as one commit: counts added up, of gauges the last."""
    commit = Commit()
    for (context, kind), points in arrived.series.items():
        value = sum(points.values()) if kind == "count" else points[max(points)]
        commit.series.append(SeriesPoint(Context(*context), kind, value))
    commit.distributions = [Distribution(Context(*context), sketch) for context, sketch in arrived.sketches().items()]
    return commit


def _let_pass(bridge: Bridge, world: World, seconds: float) -> int:
    """Let simulated time pass, with a look at the end of each step. The most bytes that the spool held."""
    until, most = world.now + seconds, 0
    while world.now < until:
        _look(bridge)
        most = max(most, bridge.spool.held().bytes)
        while bridge.deliverer.deliver() == 0.0:
            pass
        world.advance(world.scenario.clock.step)
    return most


def _look(bridge: Bridge) -> None:
    for watched in bridge.engine.watched:
        bridge.engine.run(watched)
