"""A stand-in for a Databricks workspace: its REST API for serving endpoints over HTTPS, and its token endpoint.

Routes, fields and refusals follow Databricks' documentation and public SDK. What those leave open is said where it is
decided here. For a workspace with synthetic endpoints, to measure against:

    python -m datadog_checks.model_serving.workstation.demo.synthetic --endpoints 200 --latency 0.05
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from urllib.parse import unquote

import trustme

from .dialects.databricks import CONTENT_TYPE, minute_page
from .endpoints import (
    ABORTED,
    CREATOR,
    CUSTOM,
    FAILED,
    KINDS,
    PAY_PER_TOKEN,
    Export,
    Json,
    SimulatedEndpoint,
    configure,
)
from .faults import Fault, Faults
from .https import HOST, Call, serve_tls
from .messages import Reply, Request
from .tokens import TokenIssuer

__all__ = ["API", "TOKEN_PATH", "Call", "Fault", "Served", "SimulatedWorkspace", "minute_page", "serve_workspace"]

API = "/api/2.0/serving-endpoints"
TOKEN_PATH = "/oidc/v1/token"
_ROUTE = re.compile(rf"{re.escape(API)}(?:/([^/]+)(/metrics)?)?")


class SimulatedWorkspace(TokenIssuer):
    """The state of a workspace, which any thread may change while it is served.

    Every answer takes `latency` seconds, which cost no CPU. An `export` is called by the server's only thread, so it
    must return at once: to keep callers waiting there are latency and faults.
    """

    def __init__(self, token_seconds: float = 3600, latency: float = 0.0) -> None:
        super().__init__(token_seconds)
        self.latency = latency
        self.forbidden: set[str] = set()
        """Endpoints that are listed, but whose metrics the credentials may not see."""
        self.unlisted: set[str] = set()
        """Endpoints that the list leaves out, as those on which the credentials have no permission."""
        self.calls: list[Call] = []
        self.connections_opened = 0
        self.open_connections = 0
        self.concurrent_peak = 0
        """Most requests that were being answered at the same time."""
        self._endpoints: dict[str, SimulatedEndpoint] = {}
        self._faults = Faults()
        self._under_way = 0

    def add(
        self,
        name: str,
        *,
        entities: Iterable[Mapping[str, Any]] | None = None,
        export: Export | None = None,
        tags: Mapping[str, str] | None = None,
        creator: str = CREATOR,
        ready: bool | Callable[[], bool] = True,
        traffic: Mapping[str, int] | None = None,
        task: str = "",
        creating: bool = False,
        kind: str = CUSTOM,
        created: int = 0,
    ) -> None:
        """Add an endpoint; without `entities` it serves version 1 of `main.models.<name>`.

        `entities` are objects of the REST API, in which everything may be left out. Without `export` its metrics are a
        404, as those of pay-per-token endpoints are. One that is `creating` has its first configuration still pending:
        finish or fail that update. `kind` is one of `KINDS`: one that is not custom says as little in its description
        as in the list. `created` is in epoch milliseconds, now where it is 0. Raises ValueError if there is one with
        that name, or no such kind.
        """
        with self._lock:
            if name in self._endpoints:
                raise ValueError(f"there is an endpoint {name} already: remove it first")
            if kind not in KINDS:
                raise ValueError(f"no endpoint is of the kind {kind!r}; there are: {', '.join(KINDS)}")
            if entities is None:
                entities = _entities(name, kind)
            config = None if creating else configure(entities, traffic)
            one = SimulatedEndpoint(name, config, export=export or (lambda: None), tags=dict(tags or {}), task=task)
            one.creator, one.ready, one.kind = creator, False if creating else ready, kind
            one.created = one.updated = created or one.created
            if creating:
                one.begin(entities, traffic)
            self._endpoints[name] = one

    def remove(self, name: str) -> None:
        """Delete an endpoint."""
        with self._lock:
            self._find(name)
            del self._endpoints[name]

    def rename(self, old: str, new: str) -> None:
        """Give an endpoint another name; all else stays, its id too."""
        with self._lock:
            if new in self._endpoints:
                raise ValueError(f"there is an endpoint {new} already: remove it first")
            endpoint = self._find(old)
            # In its old place among the others.
            self._endpoints = {new if name == old else name: one for name, one in self._endpoints.items()}
            endpoint.name = new

    def endpoint(self, name: str) -> Json:
        """Return the detail of an endpoint, as the API answers it."""
        with self._lock:
            return self._find(name).detail()

    def names(self) -> list[str]:
        """List the endpoints."""
        with self._lock:
            return list(self._endpoints)

    def set_ready(self, name: str, ready: bool | Callable[[], bool]) -> None:
        """Say whether an endpoint is ready; while it is not, its entities recover."""
        with self._lock:
            self._find(name).ready = ready

    def set_deployment(self, name: str, entity: str, deployment: str, message: str = "") -> None:
        """Set the deployment state of one served entity, such as DEPLOYMENT_FAILED."""
        with self._lock:
            self._find(name).deploy(entity, deployment, message)

    def set_export(self, name: str, export: Export | None) -> None:
        """Replace what an endpoint exports; None for a 404."""
        with self._lock:
            self._find(name).export = export or (lambda: None)

    def begin_update(
        self, name: str, entities: Iterable[Mapping[str, Any]], traffic: Mapping[str, int] | None = None
    ) -> None:
        """Ask for another configuration. What is served so far goes on until `finish_update`."""
        with self._lock:
            self._find(name).begin(entities, traffic)

    def finish_update(self, name: str) -> None:
        """Let the pending configuration serve."""
        with self._lock:
            self._find(name).finish()

    def fail_update(self, name: str, message: str = "Build failed", *, keep_pending: bool = True) -> None:
        """Let the update fail. `pending_config` was seen to be shown on, which no page promises: choose."""
        with self._lock:
            self._find(name).end("UPDATE_FAILED", FAILED, message, keep_pending=keep_pending)

    def cancel_update(self, name: str, *, keep_pending: bool = False) -> None:
        """Let somebody cancel the update."""
        with self._lock:
            self._find(name).end("UPDATE_CANCELED", ABORTED, "Canceled", keep_pending=keep_pending)

    def stop(self, name: str, deployment: str = ABORTED, message: str = "Stopped") -> None:
        """Stop an endpoint, as `POST .../config:stop` does. What its entities say meanwhile nobody has told: choose."""
        with self._lock:
            self._find(name).stop(deployment, message)

    def start(self, name: str) -> None:
        """Start an endpoint that is stopped: an update begins, which is to be finished."""
        with self._lock:
            self._find(name).start()

    def fault(self, kind: str, *, match: str = "*", times: int | None = 1, **how: Any) -> Fault:
        """Let something go wrong for the next `times` requests (None: until cleared) to paths that the glob matches.

        Kinds and their options are those of `faults.KINDS`; the fault that is returned counts its `hits`. For a rate
        limit, `times` is how often it begins. Of several faults a request meets the oldest.
        """
        return self._faults.add(kind, match, times, how)

    def clear_faults(self) -> None:
        """Let nothing go wrong any more; requests that are held back are answered."""
        self._faults.clear()

    def _find(self, name: str) -> SimulatedEndpoint:
        try:
            return self._endpoints[name]
        except KeyError:
            raise KeyError(f"no endpoint {name}; there are: {', '.join(self._endpoints) or 'none'}") from None

    # What the server calls.

    def connected(self) -> int:
        """Take note of a connection, and return its number."""
        self.connections_opened += 1
        self.open_connections += 1
        return self.connections_opened

    def disconnected(self) -> None:
        """Take note that a connection has ended."""
        self.open_connections -= 1

    def arrived(self, request: Request) -> Call:
        """Take note of a request, and decide what will go wrong with it."""
        token = self.token_kind(request.authorization)
        call = Call(request.method, request.path, time.monotonic(), request.connection, token)
        call.fault, call.latency = self._faults.take(request.path), self.latency
        self.calls.append(call)
        self._under_way += 1
        self.concurrent_peak = max(self.concurrent_peak, self._under_way)
        return call

    def left(self, call: Call) -> None:
        """Take note that a request was answered, or never will be."""
        self._under_way -= 1

    def answer(self, request: Request, call: Call) -> Reply:
        """Return the answer to a request."""
        found: Reply | SimulatedEndpoint | None = call.fault.reply() if call.fault else None
        if found is None:
            with self._lock:
                found = self._route(request)
        # Without the lock: an export may take one of its own, whose owner may be about to change the workspace.
        reply = _page(found) if isinstance(found, SimulatedEndpoint) else found
        call.status = reply.status
        return reply

    def _route(self, request: Request) -> Reply | SimulatedEndpoint:
        """Return the answer, or the endpoint whose metrics are the answer."""
        if (request.method, request.path) == ("POST", TOKEN_PATH):
            return self.grant(request)
        refused = self.refused(self.token_kind(request.authorization))
        if refused is not None:
            return refused
        found = _ROUTE.fullmatch(request.path)
        if not found or request.method != "GET":
            return Reply.error(404, f"No API found for '{request.method} {request.path}'", "ENDPOINT_NOT_FOUND")
        if found[1] is None:
            listed = [one.summary() for name, one in self._endpoints.items() if name not in self.unlisted]
            # An empty list is left out, as everything that is empty.
            return Reply.json(200, {"endpoints": listed} if listed else {})
        name = unquote(found[1])
        endpoint = self._endpoints.get(name)
        if endpoint is None:
            return Reply.error(404, f"Endpoint with name '{name}' does not exist.", "RESOURCE_DOES_NOT_EXIST")
        if not found[2]:
            return Reply.json(200, endpoint.detail())
        if name in self.forbidden:
            return Reply.error(403, f"You may not see the metrics of endpoint '{name}'.", "PERMISSION_DENIED")
        return endpoint


class Served(NamedTuple):
    """A workspace that is served: its URL, and the path of its CA's file.

    `disconnect` closes every kept connection that waits for a request, as servers do now and then.
    """

    url: str
    ca: str
    disconnect: Callable[[], None]


@contextmanager
def serve_workspace(workspace: SimulatedWorkspace) -> Iterator[Served]:
    """Serve a workspace over HTTPS on a free port of 127.0.0.1. Leaves no thread, no socket and no file behind."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", HOST).configure_cert(context)
    with TemporaryDirectory(prefix="model_serving-tls-") as folder:
        # The authority's key is never written, so nobody can sign anything else with it.
        ca = f"{folder}/ca.pem"
        authority.cert_pem.write_to_path(ca)
        with serve_tls(workspace, context, "demo-workspace") as address:
            yield Served(f"https://{HOST}:{address.port}", ca, address.disconnect)


def _entities(name: str, kind: str) -> list[Json]:
    """What an endpoint serves of which nothing else is said."""
    if kind == CUSTOM:
        return [{"entity_name": f"main.models.{name.replace('-', '_')}"}]
    if kind == PAY_PER_TOKEN:
        model = f"system.ai.{name}"
        hosted = {"name": model, "display_name": name, "pricing_model": "Pay-per-token"}
        return [{"name": name, "entity_name": model, "foundation_model": hosted}]
    return []


def _page(endpoint: SimulatedEndpoint) -> Reply:
    try:
        text = endpoint.export()
    except Exception as error:
        return Reply.error(500, f"The export of endpoint '{endpoint.name}' raised {error!r}.", "INTERNAL_ERROR")
    if text is None:
        return Reply.error(404, f"Endpoint '{endpoint.name}' has no metrics.", "RESOURCE_DOES_NOT_EXIST")
    return Reply(200, text.encode(), CONTENT_TYPE)
