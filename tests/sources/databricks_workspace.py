"""What the tests of a whole workspace share: a stand-in over HTTPS, a clock that they turn, and what a check says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import pytest

from datadog_checks.model_serving import ModelServingCheck
from datadog_checks.model_serving import check as check_module
from datadog_checks.model_serving.http import pool
from datadog_checks.model_serving.http.pool import WorkerPool
from datadog_checks.model_serving.settings import databricks
from datadog_checks.model_serving.sources import several
from datadog_checks.model_serving.sources.databricks import discovery, workspace
from datadog_checks.model_serving.sources.databricks.access import Access
from datadog_checks.model_serving.sources.databricks.credentials import WorkspaceCredentials
from datadog_checks.model_serving.sources.databricks.oauth import TokenKeeper
from datadog_checks.model_serving.sources.databricks.workspace import DatabricksWorkspace
from datadog_checks.model_serving.workstation.demo import endpoints, faults, tokens
from datadog_checks.model_serving.workstation.demo.messages import Reply, Request
from datadog_checks.model_serving.workstation.demo.workspace import (
    API,
    TOKEN_PATH,
    Call,
    Served,
    SimulatedWorkspace,
    minute_page,
    serve_workspace,
)

from ..conftest import make_check
from ..leftovers import sockets, threads, wait_until
from ..patience import Patience

OK, WARNING, CRITICAL = 0, 1, 2
COUNT = "model_serving.request.count"
HEALTH = "model_serving.openmetrics.health"
READY = "model_serving.endpoint.ready"
MODEL = "model_serving.model.ready"
WORKSPACE = "model_serving.workspace.health"

TOKEN, CLIENT, SECRET = "dapi-pErSoNaL-0123456789", "client-0123456789", "oauth-sEcReT-0123456789"
CREATOR = "creator-of-all@example.com"
PASSWORD = "hunter2-in-plain-text"
"""What the stand-in puts into the environment of served entities."""


class Clock:
    """The module `time`, whose clocks are ahead of the real ones as far as a test has turned them.

    With `patience` the monotonic one is ahead by what a check has waited in vain as well.
    """

    def __init__(self) -> None:
        self.ahead = 0.0
        self.patience: Patience | None = None

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead + (self.patience.ahead() if self.patience else 0.0)

    def time(self) -> float:
        return time.time() + self.ahead

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Let the check and the stand-in live by this clock."""
        for module in (check_module, pool, several, workspace, discovery, endpoints, faults, tokens):
            patch.setattr(module, "time", self)
        # No test but that of the pace waits for it.
        patch.setattr(databricks, "INITIAL_RATE", 1e6)
        for user in (Access, WorkspaceCredentials, TokenKeeper):
            patch.setattr(user.__init__, "__defaults__", self._instead(user.__init__.__defaults__))
            patch.setattr(user.__init__, "__kwdefaults__", self._instead(user.__init__.__kwdefaults__))

    def _instead(self, defaults: Any) -> Any:
        """Default values, this clock in the place of the real one."""
        if isinstance(defaults, dict):
            return dict(zip(defaults, self._instead(tuple(defaults.values())), strict=True))
        return defaults and tuple(self.monotonic if each is time.monotonic else each for each in defaults)


FOR_EVER = ("stall", {"seconds": None})


class Watched(SimulatedWorkspace):
    """A workspace that takes note of the minutes that it published completely, and can be changed amid a run.

    `after` is called with each request that was answered, in the server's thread.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.first = int(time.time()) // 60 - 60
        self.published: list[tuple[str, int]] = []
        self.after: Callable[[Call], None] = lambda call: None
        self.hidden: set[str] = set()
        """Endpoints whose descriptions are refused with HTTP 403."""

    def minute(self) -> int:
        """How many minutes were published before."""
        return int(self.clock.ahead // 60)

    def serving(self, name: str, **options: Any) -> None:
        """Add an endpoint that has as many requests in each minute as the minute's number, from 1 on."""
        self.add(name, export=lambda: self.page(name), creator=CREATOR, **options)

    def page(self, name: str) -> str:
        minute = self.minute()
        return minute_page(name, (self.first + minute) * 60_000, minute + 1)

    def arrived(self, request: Request) -> Call:
        call = super().arrived(request)
        fault = call.fault
        if self.clock.patience and fault and (fault.kind == "drip" or (fault.kind, fault.how) == FOR_EVER):
            self.clock.patience.hold()
        return call

    def answer(self, request: Request, call: Call) -> Reply:
        name, metrics = path_name(call.path)
        if name in self.hidden and not metrics:
            call.status = 403
            reply = Reply.error(403, "You may not view this endpoint.", "PERMISSION_DENIED")
        else:
            reply = super().answer(request, call)
        if name and metrics and reply.status == 200 and (call.fault is None or call.fault.kind == "stall"):
            self.published.append((name, self.minute() + 1))
        self.after(call)
        return reply

    def asked(self, name: str = "", metrics: bool = False) -> int:
        """Requests for a description, or metrics, of an endpoint; without a name listings."""
        return sum(1 for call in self.calls if call.method == "GET" and path_name(call.path) == (name, metrics))

    @property
    def token_requests(self) -> int:
        return sum(1 for call in self.calls if call.path == TOKEN_PATH)


def path_name(path: str) -> tuple[str, bool]:
    """The endpoint that a path is of, and whether it is that of its metrics."""
    name, _, metrics = path.removeprefix(API).removeprefix("/").partition("/")
    return (unquote(name) if path.startswith(API) else path), metrics == "metrics"


@dataclass
class Run:
    """What one run submitted: service checks by endpoint as (status, message), counts by endpoint, events, warnings."""

    error: str
    warnings: list[str]
    metrics: list[Any]
    checks: dict[str, list[Any]]
    events: list[dict[str, Any]]

    def states(self, check: str) -> dict[str, list[tuple[int, str]]]:
        found: dict[str, list[tuple[int, str]]] = {}
        for each in self.checks.get(check, []):
            found.setdefault(named(each.tags), []).append((each.status, each.message))
        return found

    def statuses(self, check: str) -> dict[str, int]:
        """The one status of each endpoint."""
        states = self.states(check)
        assert all(len(each) == 1 for each in states.values())
        return {name: status for name, ((status, _),) in states.items()}

    def counts(self) -> list[tuple[str, int]]:
        """Requests that were counted, with the endpoint's name."""
        return sorted((named(metric.tags), int(metric.value)) for metric in self.metrics if metric.name == COUNT)

    def tags(self, metric: str = COUNT) -> dict[str, set[str]]:
        return {named(each.tags): set(each.tags) for each in self.metrics if each.name == metric}

    def everything(self) -> str:
        return repr((self.error, self.warnings, self.metrics, self.checks, self.events))


def named(tags: list[str]) -> str:
    """The name of the endpoint that is tagged."""
    name = next((tag.partition(":")[2] for tag in tags if tag.startswith("endpoint_name:")), "")
    url = next((tag for tag in tags if tag.startswith("endpoint:")), "")
    return name or path_name(url[url.find(API) :])[0]


@dataclass
class World:
    """A workspace that is served, and checks that watch it."""

    workspace: Watched
    served: Served
    clock: Clock
    aggregator: Any
    checks: list[ModelServingCheck] = field(default_factory=list)
    counted: list[tuple[str, int]] = field(default_factory=list)

    def check(self, **options: Any) -> ModelServingCheck:
        """A check of the whole workspace, by default with a personal token. Of one that is None nothing is said."""
        given = {
            "databricks_host": self.served.url,
            "tls_ca_cert": self.served.ca,
            "databricks_token": TOKEN,
            **options,
        }
        check = make_check(**{option: value for option, value in given.items() if value is not None})
        self.checks.append(check)
        return check

    def oauth(self, **options: Any) -> ModelServingCheck:
        login = {"databricks_token": None, "databricks_client_id": CLIENT, "databricks_client_secret": SECRET}
        return self.check(**login, **options)

    def run(self, check: ModelServingCheck, after: float = 0.0, settle: bool = True) -> Run:
        """One run of a check, `after` so many seconds, and what came of it.

        Where something beside the runs is to be held back, it must not `settle` before.
        """
        if settle:
            self.settle(check)
        self.clock.ahead += after
        self.aggregator.reset()
        error = check.run()
        stub = self.aggregator
        metrics = [metric for name in stub.metric_names for metric in stub.metrics(name)]
        checks = {name: list(stub.service_checks(name)) for name in list(stub._service_checks)}
        found = Run(error, check.get_warnings(), metrics, checks, list(stub.events))
        self.counted += found.counts()
        return found

    def impatient(self, seconds: float) -> dict[str, float]:
        """The option for a deadline after so many seconds, which only answers that never come to their end reach."""

        def pools() -> Iterator[WorkerPool]:
            sources = (check.source for check in self.checks)
            return (source.endpoints.pool for source in sources if isinstance(source, DatabricksWorkspace))

        self.clock.patience = Patience(pools, seconds)
        return {"endpoint_deadline": seconds}

    def settle(self, check: ModelServingCheck) -> None:
        """Wait until nothing goes on in the background."""
        if isinstance(check.source, DatabricksWorkspace):
            threads = check.source.endpoints.pool
            wait_until(lambda: threads.closed.is_set() or threads._open == 0)


@contextmanager
def make_world(aggregator: Any, clock: Clock) -> Iterator[World]:
    """A served workspace that knows one personal token and one client. At the end nothing of the checks is left."""
    workspace = Watched(clock)
    workspace.personal_tokens.add(TOKEN)
    workspace.clients[CLIENT] = SECRET
    before = sockets()
    with serve_workspace(workspace) as served:
        world = World(workspace, served, clock, aggregator)
        try:
            yield world
        finally:
            for check in world.checks:
                check.cancel()
        wait_until(lambda: not threads())
        wait_until(lambda: workspace.open_connections == 0)
    # None of the check's can be left, where the stand-in has none.
    wait_until(lambda: sockets() <= before)
