"""Real HTTP servers on free ports of 127.0.0.1 that answer as the simulated systems do."""

from __future__ import annotations

import hmac
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from prometheus_client import start_http_server

from .dialects import databricks, dcgm, mlserver, tensorflow_serving
from .dialects.custom_ml import CustomML
from .dialects.databricks import Databricks
from .dialects.dcgm import Dcgm
from .dialects.mlserver import MLServer
from .dialects.tensorflow_serving import TensorFlowServing
from .nvml import usable
from .world import World

HOST = "127.0.0.1"
JSON = "application/json"
TOKEN = "demo-token"
"""The bearer token that the simulated Databricks workspace asks for. It opens nothing else."""


class Answer(NamedTuple):
    """What a route answers: status, body (text as it is, anything else as JSON) and content type."""

    status: int
    body: object
    content_type: str = JSON


class Call(NamedTuple):
    """One HTTP request, as a route sees it."""

    method: str
    path: str
    authorization: str


Routes = Callable[[Call], Answer]
NOT_FOUND = Answer(404, {"error": "not found"})


class Source(NamedTuple):
    """One thing to scrape: its system, the endpoint's name and the options of a check instance that reads it."""

    system: str
    endpoint: str
    instance: dict[str, Any]


class _Handler(BaseHTTPRequestHandler):
    # Answered over HTTP/1.0: the connection closes with the answer, so no thread outlives its server.
    server: _Server
    # A client that connects and stays silent must not keep the server from closing.
    timeout = 5

    def _answer(self) -> None:
        call = Call(self.command, self.path.partition("?")[0], self.headers.get("Authorization", ""))
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


class _Server(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self, routes: Routes) -> None:
        super().__init__((HOST, 0), _Handler)
        self.routes = routes


@contextmanager
def serve(routes: Routes) -> Iterator[str]:
    """Serve routes on a free port while the context lasts, and yield the base URL. Leaves no thread and no socket."""
    server = _Server(routes)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="demo-server")
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def serve_world(world: World) -> Iterator[list[Source]]:
    """Serve every endpoint of the world while the context lasts, and yield what there is to scrape."""
    with ExitStack() as stack:
        sources: list[Source] = []
        workspace = {
            endpoint.service.endpoint: endpoint.dialect
            for endpoint in world.endpoints
            if isinstance(endpoint.dialect, Databricks)
        }
        url = stack.enter_context(serve(_databricks(world, workspace)))
        for name in (*workspace, *world.scenario.pay_per_token):
            options: dict[str, Any] = {"databricks_host": url, "endpoint_name": name, "databricks_token": TOKEN}
            sources.append(Source("databricks", name, options))
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
            sources.append(Source(system, name, {**options, "serving_system": system, "endpoint_name": name}))
        base = stack.enter_context(serve(_page(world, "/metrics", world.dcgm, dcgm.CONTENT_TYPE)))
        name = world.scenario.gpu_host.hostname
        options = {"openmetrics_endpoint": f"{base}/metrics", "serving_system": "dcgm", "endpoint_name": name}
        sources.append(Source("dcgm", name, options))
        yield sources


@contextmanager
def nvml_source(world: World) -> Iterator[Source]:
    """Yield an instance that reads the GPUs of this host or, where there are none, those of the world through NVML."""
    if usable():
        yield Source("nvml", "this host", {"gpu": "nvml"})
        return
    name = world.scenario.gpu_host.hostname
    with world.nvml.in_place():
        yield Source("nvml", name, {"gpu": "nvml", "endpoint_name": name})


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
    def routes(call: Call) -> Answer:
        if call.path != path:
            return NOT_FOUND
        with world.lock:
            return Answer(200, source.render(), content_type)

    return routes


def _databricks(world: World, workspace: dict[str, Databricks]) -> Routes:
    pattern = re.compile(r"/api/2\.0/serving-endpoints(?:/([^/]+)(/metrics)?)?")

    def routes(call: Call) -> Answer:
        if not hmac.compare_digest(call.authorization, f"Bearer {TOKEN}"):
            return Answer(
                401, {"error_code": "401", "message": "Credential was not sent or was of an unsupported type"}
            )
        found = pattern.fullmatch(call.path)
        if not found:
            return NOT_FOUND
        name, metrics = found.groups()
        with world.lock:
            if name is None:
                return Answer(200, {"endpoints": [endpoint.description() for endpoint in workspace.values()]})
            if name in workspace:
                endpoint = workspace[name]
                if metrics:
                    return Answer(200, endpoint.render(), databricks.CONTENT_TYPE)
                return Answer(200, endpoint.description())
        if name in world.scenario.pay_per_token and not metrics:
            return Answer(200, {"name": name, "state": {"ready": "READY", "config_update": "NOT_UPDATING"}})
        message = f"Endpoint {name} has no metrics" if metrics else f"Endpoint {name} does not exist"
        return Answer(404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": message})

    return routes


def _mlserver(world: World, dialect: MLServer) -> Routes:
    model_route = re.compile(r"/v2/models/([^/]+)(/ready)?")

    def routes(call: Call) -> Answer:
        began = time.perf_counter()
        if call.method == "GET" and call.path in ("/v2/health/live", "/v2/health/ready"):
            ready = call.path.endswith("live") or all(dialect.ready.values())
            return Answer(200 if ready else 400, {})
        answer, route = NOT_FOUND, ""
        if call.path == "/v2":
            answer, route = Answer(200, {"name": "mlserver", "version": "1.7.1", "extensions": []}), "/v2"
        elif call.path == "/v2/repository/index":
            allowed = call.method == "POST"
            answer = Answer(200, dialect.index()) if allowed else Answer(405, {"detail": "Method Not Allowed"})
            route = call.path
        elif found := model_route.fullmatch(call.path):
            name, probe = found.groups()
            known = {model.name: model for model in dialect.service.models}.get(name)
            if known is None:
                answer = Answer(404, {"error": f"Model {name} not found"})
            elif probe:
                answer = Answer(200 if dialect.ready[name] else 400, {})
            else:
                answer = Answer(200, {"name": name, "versions": [known.version], "platform": "", "inputs": []})
            route = "/v2/models/{model_name}" + (probe or "")
        if route:
            # A real MLServer counts these calls, too: a probe is part of what its metrics show.
            with world.lock:
                dialect.answered(call.method, route, str(answer.status), time.perf_counter() - began)
        return answer

    return routes


def _tensorflow_serving(world: World, dialect: TensorFlowServing) -> Routes:
    page = _page(world, "/monitoring/prometheus/metrics", dialect, tensorflow_serving.CONTENT_TYPE)

    def routes(call: Call) -> Answer:
        found = re.fullmatch(r"/v1/models/([^/:]+)", call.path)
        if not found:
            return page(call)
        with world.lock:
            status = dialect.status(found[1])
            if status is None:
                return Answer(404, {"error": f"Could not find any versions of model {found[1]}"})
            dialect.polled(found[1])
        return Answer(200, status)

    return routes
