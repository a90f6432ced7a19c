"""Runs the real check in a scenario, in simulated time, and keeps what it submits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext

from ..demo.dialects import tensorflow_serving
from ..demo.dialects.tensorflow_serving import TensorFlowServing
from ..demo.servers import (
    Routes,
    ServedAnswer,
    SimulatedSource,
    litellm_routes,
    paced,
    serve,
    serve_world,
    vllm_routes,
    world_workspace,
)
from ..demo.workspace import SimulatedWorkspace
from ..demo.world import World
from ..provision.simulate.observations import COUNT, DISTRIBUTION, GAUGE, STATUSES, Observations
from ..standin.install import standing_in
from ..standin.recorder import Recorder
from ..standin.runner import Round, Runner
from ..standin.standin import StandIn
from .gateway import CONTENT_TYPE, MODEL, Gateway
from .llm import GATEWAY_CONTENT_TYPE, ROUTE, LlmProxy, LlmServer, Provider, ProviderPage, ScriptedLlm
from .script import GPU_LOAD, MINUTE, SETTLING, Chapter, Intervention, Script, ScriptedTraffic, scenario_of

GPU_CHAPTERS = (Chapter(per_minute=60),)
AGENT, NODE, OTHER_NODE = "agent-1", "gpu-node-1", "gpu-node-2"
HOSTS = {"databricks": "", "tensorflow_serving": NODE, "nvml": NODE, "replica": OTHER_NODE}
"""Where sources are read, the workspace by a cluster check, whose series bear no host."""


def record(script: Script) -> Observations:
    """Run the check through a scenario. What it submits is stamped with simulated time."""
    scenario, length = scenario_of(script)
    world = World(scenario, length=length)
    for endpoint in world.endpoints:
        chapters = GPU_CHAPTERS if endpoint.service.endpoint == GPU_LOAD and script.gpus_busy else script.chapters
        endpoint.traffic = [
            ScriptedTraffic(model, scenario, world.timeline, chapters) for model in endpoint.service.models
        ]
    workspace = world_workspace(world)
    start = int(world.epoch.timestamp()) + SETTLING
    seen = Observations(start, start + int(script.length * MINUTE), script.warm_up * MINUTE)
    with (
        standing_in(StandIn(recorder=Recorder(lambda: world.time.timestamp()))) as stand_in,
        _sources(script, world, workspace) as sources,
    ):
        # Imported here so that the base package finds the stand-in, where it was not loaded before.
        from ... import ModelServingCheck

        hosts: dict[str, list[SimulatedSource]] = {}
        for source in sources:
            hosts.setdefault(HOSTS.get(source.system, AGENT), []).append(source)
        check = paced(ModelServingCheck, world)
        runners = {
            host: Runner(check, "model_serving", {}, enumerate((one.instance for one in found), start=1), stand_in)
            for host, found in hosts.items()
        }
        try:
            _run(script, world, workspace, runners, seen)
        finally:
            for runner in runners.values():
                runner.close()
    return seen


def _run(
    script: Script, world: World, workspace: SimulatedWorkspace, runners: dict[str, Runner], seen: Observations
) -> None:
    step = world.scenario.clock.step
    todo = sorted(script.actions, key=lambda action: action.at)
    stopped: set[str] = set()
    while True:
        while todo and world.now >= SETTLING + todo[0].at * MINUTE:
            _act(todo.pop(0), workspace, stopped)
        for host, runner in runners.items():
            if host not in stopped:
                done = runner.run()
                if world.now >= SETTLING:
                    _keep(done, host, seen, world.time.timestamp())
        if world.now >= world.timeline.length:
            return
        world.advance(step)


def _act(action: Intervention, workspace: SimulatedWorkspace, stopped: set[str]) -> None:
    match action.kind:
        case "stop":
            stopped.add(action.what)
        case "revoke":
            workspace.clients.clear()
            workspace.expire_tokens()
        case "delete":
            workspace.remove(action.what)
        case _:
            raise ValueError(f"a scenario can't {action.kind} anything")


def _keep(done: Round, host: str, seen: Observations, now: float) -> None:
    for run in done.runs:
        for series in run.commit.series:
            tags = (*series.context.tags, *_host(series.context.host or host))
            kind = COUNT if series.type == "count" else GAUGE
            seen.point(series.context.name, kind, tags, now, series.value)
        for distribution in run.commit.distributions:
            tags = (*distribution.context.tags, *_host(distribution.context.host or host))
            seen.point(distribution.context.name, DISTRIBUTION, tags, now, distribution.sketch)
    for check in done.service_checks:
        seen.status(check.name, (*check.tags, *_host(check.host or host)), now, STATUSES[check.status])
    for event in done.events:
        fields = event.fields
        tags = (*fields.get("tags", ()), *_host(str(fields.get("host") or host)))
        named = {"source": str(fields.get("source_type_name", "")), "alert_type": str(fields.get("alert_type", ""))}
        seen.event(str(fields.get("msg_title", "")), tags, now, **named)


def _host(name: str) -> tuple[str, ...]:
    return (f"host:{name}",) if name else ()


@contextmanager
def _sources(script: Script, world: World, workspace: SimulatedWorkspace) -> Iterator[list[SimulatedSource]]:
    with ExitStack() as stack:
        served = stack.enter_context(serve_world(world, workspace))
        sources = [one for one in served if one.system in script.sources and one.endpoint != GPU_LOAD]
        if "gateway" in script.sources:
            gateway, traffic = Gateway(), ScriptedTraffic(MODEL, world.scenario, world.timeline, script.chapters)

            def follow() -> None:
                for request in traffic.advance(world.now):
                    gateway.record(request)

            world.followers.append(follow)
            options = _page(stack, gateway.render, CONTENT_TYPE)
            options |= {"serving_system": "custom_ml", "endpoint_name": "rank-gateway"}
            sources.append(SimulatedSource("gateway", "rank-gateway", options))
        if "replica" in script.sources:
            (twin,) = (one for one in world.endpoints if isinstance(one.dialect, TensorFlowServing))
            assert isinstance(twin.dialect, TensorFlowServing)
            options = _page(stack, twin.dialect.render, tensorflow_serving.CONTENT_TYPE)
            options |= {"serving_system": "tensorflow_serving", "endpoint_name": twin.service.endpoint}
            sources.append(SimulatedSource("replica", twin.service.endpoint, options))
        sources += _language_model(stack, script, world)
        if "nvml" in script.sources:
            stack.enter_context(world.nvml.in_place())
            options = {"gpu": "nvml", "endpoint_name": world.scenario.gpu_host.hostname}
            sources.append(SimulatedSource("nvml", "", options))
        yield sources


def _language_model(stack: ExitStack, script: Script, world: World) -> Iterator[SimulatedSource]:
    """An engine, an engine behind a gateway, or a provider behind one."""
    own, gateway = "vllm" in script.sources, "litellm" in script.sources
    if not (own or gateway):
        return
    proxy, server, page = LlmProxy(), LlmServer(), ProviderPage()
    answering = (proxy if gateway else server) if own else Provider(page, script.provider_limit)
    traffic = ScriptedLlm(script.llm, answering, SETTLING)
    world.followers.append(lambda: traffic.advance(world.now))
    routes: list[tuple[str, str, str, Routes]] = []
    if own:
        engine = proxy.dialect if gateway else server.dialect
        routes.append(("vllm", "chat", "/metrics", vllm_routes(engine, nullcontext())))
    if own and gateway:
        routes.append(("litellm", ROUTE.endpoint, "/metrics/", litellm_routes(proxy.page, nullcontext())))
    elif gateway:
        answer = lambda call: ServedAnswer(200, page.render(), GATEWAY_CONTENT_TYPE)  # noqa: E731
        routes.append(("litellm", ROUTE.endpoint, "/metrics/", answer))
    for system, name, path, answers in routes:
        options = {"openmetrics_endpoint": stack.enter_context(serve(answers)) + path}
        yield SimulatedSource(system, name, {**options, "serving_system": system, "endpoint_name": name})


def _page(stack: ExitStack, render: Callable[[], str], content_type: str) -> dict[str, object]:
    """Serve one page, and return the options of an instance that reads it."""
    url = stack.enter_context(serve(lambda call: ServedAnswer(200, render(), content_type)))
    return {"openmetrics_endpoint": f"{url}/metrics"}
