"""From checked settings to the source that a check runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from datadog_checks.base.utils.http import RequestsWrapper

from ..http.pool import WorkerPool
from ..http.redact import Secrets
from ..http.transport import Transport
from ..scrape.scraper import ServingScraper
from ..settings import Settings, describe
from ..submit.persisted import Memory
from .databricks.access import Access
from .databricks.config import DatabricksSettings
from .databricks.credentials import Credentials
from .databricks.discovery import Discovery
from .databricks.workspace import LOOK_SECONDS, DatabricksWorkspace, ServingEndpoint
from .gpu.source import GpuSource
from .probes.readiness import PROBES, Readiness
from .several import Member, SeveralEndpoints
from .single import SingleEndpoint
from .source import Source

MAX_CONNECTIONS = 16


class Check(Protocol):
    """What sources need of a check. `clock` schedules endpoints; `memory` outlives a restart of the Agent."""

    init_config: Any
    log: Any
    HTTP_CONFIG_REMAPPER: Any
    memory: Memory
    secrets: Secrets
    clock: Callable[[], float]

    def get_config_with_defaults(self, config: Any) -> Any: ...


def build_source(check: Check, settings: Settings) -> Source:
    """The source that the settings name. Nothing is asked of the network yet."""
    if settings.gpu:
        return _gpus(check, settings)
    if settings.databricks is not None and not settings.databricks.endpoint:
        return _workspace(check, settings, settings.databricks)
    if settings.endpoints:
        return _several(check, settings)
    return _single(check, settings)


def _gpus(check: Check, settings: Settings) -> GpuSource:
    config = settings.config
    return GpuSource(
        check,
        describe(config),
        tags=tuple(config.get("tags") or ()),
        endpoint_name=str(config.get("endpoint_name") or ""),
        optional=settings.gpu == "auto",
        processes=config.get("gpu_processes", True) is not False,
        limit=int(config.get("gpu_process_limit", 10)),
    )


def _single(check: Check, settings: Settings) -> SingleEndpoint:
    access = None
    if settings.databricks is not None:
        http = RequestsWrapper(settings.config, check.init_config, check.HTTP_CONFIG_REMAPPER, check.log)
        access = _access(check, settings.databricks, http.post)
    scraper = _scraper(check, settings, settings.config, access=access)
    return SingleEndpoint(scraper, Readiness(settings.config), access)


def _several(check: Check, settings: Settings) -> SeveralEndpoints[Member]:
    """Several endpoints, each with a scraper and, where its system has one, a readiness probe of its own."""
    config, readiness = settings.config, Readiness(settings.config)
    scrapers = {
        url: _scraper(check, settings, {**config, "openmetrics_endpoint": url}, f"{url} ") for url in settings.endpoints
    }
    first = next(iter(scrapers.values()))
    pool = _pool(first, config, len(scrapers))
    found = SeveralEndpoints[Member](check, pool, _deadline(first, config), check.clock)
    for url, scraper in scrapers.items():
        found.members[url] = Member(scraper, readiness)
    return found


def _workspace(check: Check, settings: Settings, databricks: DatabricksSettings) -> DatabricksWorkspace:
    """All endpoints of a workspace."""
    config = settings.config
    own_tags = tuple(config.get("tags") or ())
    # Its requests wrapper is the model for those of the threads.
    prototype = _scraper(check, settings, config)
    pool = _pool(prototype, config, hosts=1)
    # Everybody waits for a token, so the deadline of the one endpoint that asks for it must not cut that off.
    tokens = Transport(prototype.http, size=1)
    access = _access(check, databricks, lambda *args, **options: tokens.wrapper().post(*args, **options))
    discovery = Discovery(databricks.url, access, databricks.selection, databricks.interval, check.clock)

    def make(name: str, tags: tuple[str, ...]) -> ServingScraper:
        own = {
            "openmetrics_endpoint": discovery.metrics_url(name),
            "endpoint_name": name,
            "tags": [*own_tags, *tags],
        }
        return _scraper(check, settings, {**config, **own}, f"{name} ", access)

    endpoints = SeveralEndpoints[ServingEndpoint](check, pool, _deadline(prototype, config), check.clock, LOOK_SECONDS)
    checks = config.get("readiness") is not False
    return DatabricksWorkspace(check, discovery, endpoints, tokens, make, own_tags, databricks.tags, checks)


def _scraper(
    check: Check, settings: Settings, config: Mapping[str, Any], place: str = "", access: Access | None = None
) -> ServingScraper:
    """The scraper of one endpoint. `place` is for the memory to tell endpoints apart, where there are several."""
    return ServingScraper(
        check,
        check.get_config_with_defaults(config),
        settings.catalog,
        settings.systems,
        settings.own_systems,
        _explain(settings.systems, access),
        memory=check.memory,
        place=place,
        access=access,
    )


def _explain(systems: tuple[str, ...], access: Access | None) -> Callable[[int], str | None] | None:
    """What a refused answer means, in the words of the system, or of how the check has logged in to it."""
    probe = PROBES.get(systems[0]) if len(systems) == 1 else None
    if probe is None:
        return None if access is None else access.credentials.advice

    def explain(status: int) -> str | None:
        advice = access.credentials.advice(status) if access is not None else None
        return advice or probe.explain_status(status)

    return explain


def _access(check: Check, databricks: DatabricksSettings, post: Callable[..., Any]) -> Access:
    """Requests to a workspace, with one login for all threads. `post` sends token requests, one at a time."""
    check.log.info("%s: logging in with %s", databricks.url, databricks.login.describe())
    for secret in databricks.login.secrets:
        check.secrets.register(secret)
    passing = partial(check.secrets.register, passing=True)
    return Access(Credentials(databricks.login, databricks.url, post, passing))


def _pool(scraper: ServingScraper, config: Mapping[str, Any], hosts: int) -> WorkerPool:
    size = int(config.get("max_connections") or MAX_CONNECTIONS)
    keep = config.get("persist_connections") is not False
    return WorkerPool(Transport(scraper.http, size, hosts, keep), size)


def _deadline(scraper: ServingScraper, config: Mapping[str, Any]) -> float:
    """Seconds that an endpoint has for its whole answer."""
    return float(config.get("endpoint_deadline") or sum(scraper.http.options["timeout"]))
