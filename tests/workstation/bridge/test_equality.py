"""What arrives at the intake is what an Agent would commit: of each source system, metric by metric and tag by tag."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from datadog_checks.model_serving import ModelServingCheck
from datadog_checks.model_serving.sources import claims
from datadog_checks.model_serving.submit.agent_cache import forget_claims
from datadog_checks.model_serving.workstation.bridge.engine import SpoolingStandIn
from datadog_checks.model_serving.workstation.demo.intake import ArrivedContext, SimulatedIntake
from datadog_checks.model_serving.workstation.demo.scenario import load
from datadog_checks.model_serving.workstation.demo.servers import SimulatedSource, nvml_source, paced, serve_world
from datadog_checks.model_serving.workstation.demo.world import World
from datadog_checks.model_serving.workstation.standin.install import standing_in
from datadog_checks.model_serving.workstation.standin.runner import Round, Runner
from datadog_checks.model_serving.workstation.standin.sketch import EPSILON, Sketch
from datadog_checks.model_serving.workstation.standin.standin import StandIn, activated

from .bridges import BridgeHost

SYSTEMS = ("databricks", "mlserver", "tensorflow_serving", "custom_ml", "litellm", "vllm", "dcgm", "nvml")
TAGS = ("env:prod", "team:ml")
HOST = "bridge-1"


Ran = dict[str, tuple[list[Round], SimulatedIntake, list[Round]]]
"""By system: the rounds of an Agent, the intake of a bridge that read the same, and the bridge's own rounds.

What is asked in the background, such as the list of a workspace, one of two readers may have a run later.
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """Five simulated minutes."""
    scenario = load()
    world = World(scenario, length=300, seed=3)
    agent = StandIn(hostname=HOST)
    found: Ran = {}
    own: dict[str, list[Round]] = {}
    with ExitStack() as stack:
        stack.enter_context(standing_in(agent))
        sources = [*stack.enter_context(serve_world(world)), stack.enter_context(nvml_source(world, simulated=True))]
        # A readiness probe is a request, which the system counts: the second reader would find more than the first.
        quiet = {"mlserver": {"readiness": False}, "tensorflow_serving": {"readiness": False}}
        sources = [one._replace(instance={**one.instance, **quiet.get(one.system, {})}) for one in sources]
        hosts, runners = {}, {}
        for source in sources:
            folder = tmp_path_factory.mktemp(source.system)
            hosts[source.system] = host = _host(stack, folder, source, world)
            runners[source.system] = Runner(
                paced(ModelServingCheck, world), "model_serving", {}, [(1, source.instance)], agent
            )
            found[source.system] = [], host.intake, own.setdefault(source.system, [])
        for _ in range(300 // int(scenario.clock.step)):
            for source in sources:
                found[source.system][0].append(runners[source.system].run())
                # What one process may not do twice two may.
                claims._READERS.clear()
                forget_claims()
                host = hosts[source.system]
                host.now = world.time.timestamp()
                with activated(host._stand_in):
                    own.setdefault(source.system, []).extend(host.run())
                    host.deliver()
                claims._READERS.clear()
                forget_claims()
            world.advance(scenario.clock.step)
        yield found
        for runner in runners.values():
            runner.close()
    forget_claims()


def _host(stack: ExitStack, folder: Path, source: SimulatedSource, world: World) -> BridgeHost:
    stand_in = SpoolingStandIn(hostname=HOST)
    host = BridgeHost(folder, stack.enter_context(SimulatedIntake()), stand_in)
    host.check_class = paced(ModelServingCheck, world)
    host.instances = [source.instance]
    host.options = {"host": HOST, "tags": TAGS}
    host.intake.clock = stand_in.recorder.clock = host.time
    host.now = world.time.timestamp()
    with activated(stand_in):
        host.start()
    stack.callback(host.stop)
    return host


def arrived_as(name: str, tags: tuple[str, ...], host: str) -> ArrivedContext:
    """The Agent puts its own host where a check names none, and its tags on the host."""
    return ArrivedContext(name, tuple(sorted({*tags, *TAGS})), host or HOST)


def series_of(rounds: list[Round]) -> dict[tuple[ArrivedContext, str], list[float]]:
    found: dict[tuple[ArrivedContext, str], list[float]] = {}
    for round_ in rounds:
        for point in round_.runs[0].commit.series:
            found.setdefault((arrived_as(*point.context), point.type), []).append(point.value)
    return found


@pytest.mark.parametrize("system", SYSTEMS)
def test_series_are_the_same(system: str, ran: Ran) -> None:
    """Each value that the bridge's runs gave; and the names, tags and sums of an Agent beside it."""
    rounds, intake, own = ran[system]
    found = {key: [points[at] for at in sorted(points)] for key, points in intake.arrived.series.items()}
    assert found == series_of(own)
    due = series_of(rounds)
    assert set(found) == set(due)
    assert len(due) > 10
    counts = {key: sum(values) for key, values in due.items() if key[1] == "count"}
    assert {key: sum(found[key]) for key in counts} == pytest.approx(counts)


@pytest.mark.parametrize("system", SYSTEMS)
def test_distributions_are_the_same(system: str, ran: Ran) -> None:
    rounds, intake, _ = ran[system]
    due: dict[ArrivedContext, Sketch] = {}
    for round_ in rounds:
        for one in round_.runs[0].commit.distributions:
            due.setdefault(arrived_as(*one.context), Sketch()).merge(one.sketch)
    found = intake.arrived.sketches()
    assert set(found) == set(due)
    assert due or system in ("dcgm", "nvml", "tensorflow_serving", "custom_ml")
    for context, sketch in due.items():
        assert found[context].bins == sketch.bins, context
        assert found[context].sum == pytest.approx(sketch.sum, rel=1e-7)
        for share in (0.0, 0.5, 0.95, 0.99, 1.0):
            assert found[context].quantile(share) == pytest.approx(sketch.quantile(share), rel=EPSILON)


@pytest.mark.parametrize("system", SYSTEMS)
def test_service_checks_and_events_are_the_same(system: str, ran: Ran) -> None:
    _, intake, rounds = ran[system]
    due = Counter(
        (check.name, int(check.status), check.message, arrived_as("", check.tags, check.host)[1:])
        for round_ in rounds
        for check in round_.service_checks
    )
    found = Counter(
        (check["check"], check["status"], check["message"], arrived_as("", check["tags"], check["host_name"])[1:])
        for check in intake.arrived.service_checks
    )
    assert found == due
    told = Counter(
        (event.fields["msg_title"], arrived_as("", tuple(event.fields["tags"]), ""))
        for round_ in rounds
        for event in round_.events
    )
    came = Counter((event["title"], arrived_as("", tuple(event["tags"]), "")) for event in intake.arrived.events)
    assert came == told
