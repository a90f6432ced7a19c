"""Real servers on free ports of 127.0.0.1 that answer as the simulated systems do: Databricks over HTTPS."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from prometheus_client import start_http_server

from .dialects import dcgm, litellm, mlserver, tensorflow_serving, vllm
from .dialects.custom_ml import CustomML
from .dialects.databricks import Databricks
from .dialects.dcgm import Dcgm
from .dialects.litellm import LiteLLM
from .dialects.mlserver import MLServer
from .dialects.tensorflow_serving import TensorFlowServing
from .dialects.vllm import VLLM
from .endpoints import PAY_PER_TOKEN
from .nvml import usable
from .rollouts import rollouts
from .workspace import Served, SimulatedWorkspace, serve_workspace
from .world import World

HOST = "127.0.0.1"
JSON = "application/json"
TOKEN, CLIENT_ID, CLIENT_SECRET = "demo-token", "demo-client", "demo-secret"
"""What the simulated Databricks workspace lets in: a personal token, and a client for OAuth. They open nothing else."""


class ServedAnswer(NamedTuple):
    """What a route answers: status, body (text as it is, anything else as JSON) and content type."""

    status: int
    body: object
    content_type: str = JSON


class ServedCall(NamedTuple):
    """One HTTP request, as a route sees it."""

    method: str
    path: str
    authorization: str


Routes = Callable[[ServedCall], ServedAnswer]
NOT_FOUND = ServedAnswer(404, {"error": "not found"})


class SimulatedSource(NamedTuple):
    """What one instance of the check reads: its system, what it is in a few words, and the options of the instance."""

    system: str
    endpoint: str
    instance: dict[str, Any]


class _Handler(BaseHTTPRequestHandler):
    # Answered over HTTP/1.0: the connection closes with the answer, so no thread outlives its server.
    server: _HttpServer
    # A client that connects and stays silent must not keep the server from closing.
    timeout = 5

    def _answer(self) -> None:
        call = ServedCall(self.command, self.path.partition("?")[0], self.headers.get("Authorization", ""))
        status, body, content_type = self.server.routes(call)
        payload = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    do_GET = do_POST = _answer

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent: the terminal belongs to the table."""


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self, routes: Routes) -> None:
        super().__init__((HOST, 0), _Handler)
        self.routes = routes


@contextmanager
def serve(routes: Routes) -> Iterator[str]:
    """Serve routes on a free port while the context lasts, and yield the base URL. Leaves no thread and no socket."""
    server = _HttpServer(routes)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="demo-server")
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def serve_world(world: World, workspace: SimulatedWorkspace | None = None) -> Iterator[list[SimulatedSource]]:
    """Serve every endpoint of the world while the context lasts, and yield what there is to scrape.

    `workspace` is that of the world, for whoever means to change it.
    """
    with ExitStack() as stack:
        sources: list[SimulatedSource] = []
        workspace = workspace or world_workspace(world)
        served = stack.enter_context(serve_workspace(workspace))
        # So soon a change is seen; the clock is that of the world.
        options = {**workspace_instance(served), "serving_endpoints": {"interval": world.scenario.clock.step}}
        sources.append(SimulatedSource("databricks", f"workspace of {len(workspace.names())} endpoints", options))
        for endpoint in world.endpoints:
            name = endpoint.service.endpoint
            match endpoint.dialect:
                case MLServer() as dialect:
                    metrics = stack.enter_context(serve(_page(world, "/metrics", dialect, mlserver.CONTENT_TYPE)))
                    api = stack.enter_context(serve(_mlserver(world, dialect)))
                    options = {"openmetrics_endpoint": f"{metrics}/metrics", "readiness_url": api}
                    options["models"] = [model.name for model in endpoint.service.models]
                case TensorFlowServing() as dialect:
                    base = stack.enter_context(serve(_tensorflow_serving(world, dialect)))
                    options = {"openmetrics_endpoint": f"{base}/monitoring/prometheus/metrics"}
                case CustomML() as dialect:
                    options = {"openmetrics_endpoint": stack.enter_context(_exporter(dialect))}
                case _:
                    continue
            system = endpoint.service.system
            sources.append(SimulatedSource(system, name, {**options, "serving_system": system, "endpoint_name": name}))
        if world.llm is not None:
            service, lock = world.llm.service, world.lock
            for kind, name, path, routes in (
                ("litellm", service.gateway.endpoint, "/metrics/", litellm_routes(world.llm.litellm, lock)),
                ("vllm", service.endpoint, "/metrics", vllm_routes(world.llm.vllm, lock)),
            ):
                options = {"openmetrics_endpoint": stack.enter_context(serve(routes)) + path}
                options |= {"serving_system": kind, "endpoint_name": name}
                sources.append(SimulatedSource(kind, name, options))
        base = stack.enter_context(serve(_page(world, "/metrics", world.dcgm, dcgm.CONTENT_TYPE)))
        name = world.scenario.gpu_host.hostname
        options = {"openmetrics_endpoint": f"{base}/metrics", "serving_system": "dcgm", "endpoint_name": name}
        sources.append(SimulatedSource("dcgm", name, options))
        yield sources


def world_workspace(world: World) -> SimulatedWorkspace:
    """Return a workspace with the Databricks endpoints of the world, and those that are billed by token."""
    workspace = SimulatedWorkspace()
    workspace.personal_tokens.add(TOKEN)
    workspace.clients[CLIENT_ID] = CLIENT_SECRET
    for endpoint in world.endpoints:
        if isinstance(endpoint.dialect, Databricks):
            _add(workspace, world, endpoint.dialect)
    for name in world.scenario.pay_per_token:
        workspace.add(name, kind=PAY_PER_TOKEN, task="llm/v1/chat")
    return workspace


def _add(workspace: SimulatedWorkspace, world: World, dialect: Databricks) -> None:
    def export() -> str:
        with world.lock:
            return dialect.render()

    service = dialect.service
    versions = tuple(model.version for model in service.models)
    workspace.add(service.endpoint, entities=dialect.entities(versions), export=export, ready=lambda: dialect.ready)
    world.followers.append(rollouts(workspace, world, dialect, versions))


def paced(check_class: Callable[..., Any], world: World) -> Callable[..., Any]:
    """Return what constructs checks that live by the clock of the world: they ask what is due there."""

    def construct(**options: Any) -> Any:
        check = check_class(**options)
        check.clock = lambda: world.now
        return check

    return construct


def workspace_instance(served: Served) -> dict[str, Any]:
    """Return the options of one instance that reads every endpoint of the world's workspace, as an OAuth client."""
    client = {"databricks_client_id": CLIENT_ID, "databricks_client_secret": CLIENT_SECRET}
    return {"databricks_host": served.url, "tls_ca_cert": served.ca, **client}


@contextmanager
def nvml_source(world: World, *, simulated: bool = False) -> Iterator[SimulatedSource]:
    """Yield an instance that reads the GPUs of this host or, where there are none, those of the world through NVML.

    `simulated` leaves those of this host alone in any case.
    """
    if not simulated and usable():
        yield SimulatedSource("nvml", "this host", {"gpu": "nvml"})
        return
    name = world.scenario.gpu_host.hostname
    with world.nvml.in_place():
        yield SimulatedSource("nvml", name, {"gpu": "nvml", "endpoint_name": name})


@contextmanager
def _exporter(dialect: CustomML) -> Iterator[str]:
    """Run the Prometheus client's own HTTP server, as a custom exporter does."""
    server, thread = start_http_server(0, addr=HOST, registry=dialect.registry)
    try:
        yield f"http://{HOST}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _page(world: World, path: str, source: MLServer | TensorFlowServing | Dcgm, content_type: str) -> Routes:
    def routes(call: ServedCall) -> ServedAnswer:
        if call.path != path:
            return NOT_FOUND
        with world.lock:
            return ServedAnswer(200, source.render(), content_type)

    return routes


def vllm_routes(dialect: VLLM, lock: AbstractContextManager[Any]) -> Routes:
    """Return what a vLLM server answers; `lock` is held while its engine is looked at."""

    def routes(call: ServedCall) -> ServedAnswer:
        if call.method != "GET":
            return NOT_FOUND
        with lock:
            match call.path:
                case "/metrics":
                    return ServedAnswer(200, dialect.render(), vllm.CONTENT_TYPE)
                case "/health":
                    return ServedAnswer(200 if dialect.ready else 503, "")
                case "/v1/models":
                    return ServedAnswer(200, dialect.models())
                case "/version":
                    return ServedAnswer(200, {"version": vllm.VERSION})
        return NOT_FOUND

    return routes


def litellm_routes(dialect: LiteLLM, lock: AbstractContextManager[Any]) -> Routes:
    """Return what a proxy of LiteLLM answers; `lock` is held while it is looked at."""

    def routes(call: ServedCall) -> ServedAnswer:
        if call.method != "GET":
            return NOT_FOUND
        match call.path:
            case "/metrics/":
                with lock:
                    return ServedAnswer(200, dialect.render(), litellm.CONTENT_TYPE)
            case "/health/liveliness":
                return ServedAnswer(200, "I'm alive!")
            case "/health/readiness":
                return ServedAnswer(200, {"status": "healthy"})
        return NOT_FOUND

    return routes


def _mlserver(world: World, dialect: MLServer) -> Routes:
    model_route = re.compile(r"/v2/models/([^/]+)(/ready)?")

    def routes(call: ServedCall) -> ServedAnswer:
        began = time.perf_counter()
        if call.method == "GET" and call.path in ("/v2/health/live", "/v2/health/ready"):
            ready = call.path.endswith("live") or all(dialect.ready.values())
            return ServedAnswer(200 if ready else 400, {})
        answer, route = NOT_FOUND, ""
        if call.path == "/v2":
            answer, route = ServedAnswer(200, {"name": "mlserver", "version": "1.7.1", "extensions": []}), "/v2"
        elif call.path == "/v2/repository/index":
            allowed = call.method == "POST"
            answer = (
                ServedAnswer(200, dialect.index()) if allowed else ServedAnswer(405, {"detail": "Method Not Allowed"})
            )
            route = call.path
        elif found := model_route.fullmatch(call.path):
            name, probe = found.groups()
            known = {model.name: model for model in dialect.service.models}.get(name)
            if known is None:
                answer = ServedAnswer(404, {"error": f"Model {name} not found"})
            elif probe:
                answer = ServedAnswer(200 if dialect.ready[name] else 400, {})
            else:
                answer = ServedAnswer(200, {"name": name, "versions": [known.version], "platform": "", "inputs": []})
            route = "/v2/models/{model_name}" + (probe or "")
        if route:
            # A real MLServer counts these calls, too: a probe is part of what its metrics show.
            with world.lock:
                dialect.answered(call.method, route, str(answer.status), time.perf_counter() - began)
        return answer

    return routes


def _tensorflow_serving(world: World, dialect: TensorFlowServing) -> Routes:
    page = _page(world, "/monitoring/prometheus/metrics", dialect, tensorflow_serving.CONTENT_TYPE)

    def routes(call: ServedCall) -> ServedAnswer:
        found = re.fullmatch(r"/v1/models/([^/:]+)", call.path)
        if not found:
            return page(call)
        with world.lock:
            status = dialect.status(found[1])
            if status is None:
                return ServedAnswer(404, {"error": f"Could not find any versions of model {found[1]}"})
            dialect.polled(found[1])
        return ServedAnswer(200, status)

    return routes
