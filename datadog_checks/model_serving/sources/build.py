"""From checked settings to the source that a check runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Protocol

from ..http.pool import WorkerPool
from ..http.redact import Secrets, without_credentials
from ..http.transport import Transport
from ..scrape.scraper import ServingScraper
from ..scrape.versions import SeenVersions
from ..settings import (
    DatabricksSettings,
    GpuSettings,
    ParallelSettings,
    ScrapeSettings,
    Settings,
    SeveralSettings,
    SingleSettings,
    WorkspaceSettings,
)
from ..submit.agent_cache import AgentCache
from ..submit.persisted import Memory
from .databricks.access import Access
from .databricks.credentials import WorkspaceCredentials
from .databricks.discovery import Discovery
from .databricks.workspace import LOOK_SECONDS, DatabricksWorkspace, ServingEndpoint
from .gpu.source import GpuSource
from .probes.readiness import PROBES, Readiness
from .several import Member, SeveralEndpoints
from .single import SingleEndpoint
from .source import Source


class Check(Protocol):
    """What sources need of a check. `clock` schedules endpoints; `memory` and `versions` outlast the Agent."""

    init_config: Any
    log: Any
    HTTP_CONFIG_REMAPPER: Any
    cache: AgentCache
    memory: Memory
    versions: SeenVersions
    secrets: Secrets
    clock: Callable[[], float]

    def get_config_with_defaults(self, config: Any) -> Any: ...


def build_source(check: Check, settings: Settings) -> Source:
    """The source that the settings name. Nothing is asked of the network yet."""
    source = settings.source
    if isinstance(source, GpuSettings):
        return GpuSource(check, settings.instance, source)
    if isinstance(source, WorkspaceSettings):
        return _workspace(check, source)
    if isinstance(source, SeveralSettings):
        return _several(check, source)
    return _single(check, source)


def _single(check: Check, settings: SingleSettings) -> SingleEndpoint:
    access = None
    if settings.databricks is not None:
        # Within the time of the request that needs the token, since nobody else waits for it.
        access = _access(check, settings.databricks, lambda: transport.wrapper())
    scraper = _scraper(check, settings.scrape, access=access)
    transport = Transport(scraper.http, size=1, keep=scraper.http.persist_connections)
    return SingleEndpoint(
        scraper, Readiness(settings.readiness), transport, _deadline(scraper, settings.deadline), access
    )


def _several(check: Check, settings: SeveralSettings) -> SeveralEndpoints[Member]:
    """Several endpoints, each with a scraper and, where its system has one, a readiness probe of its own."""
    readiness = Readiness(settings.readiness)
    # What is remembered of an endpoint is not to hold a secret, nor to be lost with one.
    names = [without_credentials(url) for url in settings.urls]
    prefixes = [f"{name} {names[:at].count(name) or ''}" for at, name in enumerate(names)]
    scrapers = {
        url: _scraper(check, settings.scrape.at(url), prefix)
        for url, prefix in zip(settings.urls, prefixes, strict=True)
    }
    first = next(iter(scrapers.values()))
    endpoints = SeveralEndpoints[Member](
        check,
        _pool(first, settings.parallel, hosts=len(scrapers)),
        _deadline(first, settings.parallel.deadline),
        check.clock,
    )
    endpoints.members |= {url: Member(scraper, readiness) for url, scraper in scrapers.items()}
    return endpoints


def _workspace(check: Check, settings: WorkspaceSettings) -> DatabricksWorkspace:
    """All endpoints of a workspace."""
    databricks = settings.databricks
    # Its requests wrapper is the model for those of the threads.
    prototype = _scraper(check, settings.scrape)
    # Everybody waits for a token, so the deadline of the one endpoint that asks for it must not cut that off.
    tokens = Transport(prototype.http, size=1)
    access = _access(
        check,
        databricks,
        tokens.wrapper,
        # As long as an endpoint has, but from its own beginning.
        lambda: tokens.limit(_deadline(prototype, settings.parallel.deadline)),
    )
    discovery = Discovery(databricks.url, access, databricks.selection, databricks.interval, check.clock)

    def make(name: str, tags: tuple[str, ...]) -> ServingScraper:
        return _scraper(check, settings.scrape.at(discovery.metrics_url(name), name, tags), f"{name} ", access)

    return DatabricksWorkspace(
        check,
        discovery,
        SeveralEndpoints[ServingEndpoint](
            check,
            _pool(prototype, settings.parallel, hosts=1),
            _deadline(prototype, settings.parallel.deadline),
            check.clock,
            LOOK_SECONDS,
        ),
        tokens,
        make,
        tags=settings.scrape.tags,
        databricks_tags=databricks.tags,
        initial_rate=databricks.initial_rate,
        checks=settings.readiness.enabled is not False,
    )


def _scraper(check: Check, settings: ScrapeSettings, prefix: str = "", access: Access | None = None) -> ServingScraper:
    """The scraper of one endpoint. `prefix` is for the memory to tell endpoints apart, where there are several."""
    explain = _explain(settings.systems, access)
    return ServingScraper(check, settings, explain, memory=check.memory, prefix=prefix, access=access)


def _explain(systems: tuple[str, ...], access: Access | None) -> Callable[[Any], str | None] | None:
    """What a refused answer means, in the words of the system, or of how the check has logged in to it."""
    probe = PROBES.get(systems[0]) if len(systems) == 1 else None
    if access is None:
        return None if probe is None else probe.explain

    def explain(response: Any) -> str | None:
        nothing = probe is not None and probe.explain(response) == ""
        return "" if nothing else access.explain(response)

    return explain


def _access(
    check: Check,
    databricks: DatabricksSettings,
    http: Callable[[], Any],
    limit: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Access:
    """Requests to a workspace, with one login for all threads.

    `http` gives a wrapper for requests for tokens, one at a time, each of them in a context that `limit` makes.
    """
    check.log.info("%s: logging in with %s", databricks.url, databricks.login.describe())
    for secret in databricks.login.secrets:
        check.secrets.register(secret)
    credentials = WorkspaceCredentials(
        databricks.login,
        databricks.url,
        http,
        partial(check.secrets.register, passing=True),
        # A host of one workspace has its token endpoint where all of these have it.
        discover=bool(databricks.workspace_id or databricks.account_id),
        account_id=databricks.account_id,
        limit=limit,
    )
    return Access(credentials, workspace_id=databricks.workspace_id)


def _pool(scraper: ServingScraper, settings: ParallelSettings, hosts: int) -> WorkerPool:
    size = settings.connections
    return WorkerPool(Transport(scraper.http, size, hosts, settings.keep_connections), size)


def _deadline(scraper: ServingScraper, seconds: float | None) -> float:
    """Seconds that an endpoint has for its whole answer."""
    return sum(scraper.http.options["timeout"]) if seconds is None else seconds
