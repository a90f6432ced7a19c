"""From a checked instance to the machinery that reads many endpoints: those of a list, or those of a workspace."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from datadog_checks.base.utils.http import RequestsWrapper

from ..http.pool import Crew
from ..http.transport import Transport
from ..scrape.scraper import ServingScraper
from ..settings import Settings
from .databricks.access import Access
from .databricks.config import DatabricksSettings
from .databricks.credentials import Credentials
from .databricks.watch import LOOK_SECONDS, Watch
from .databricks.workspace import Workspace
from .probes.base import Recorded
from .probes.readiness import Readiness
from .several import Fleet, Member

MAX_CONNECTIONS = 16


class Check(Protocol):
    """What is needed of a check."""

    init_config: Any
    log: Any
    HTTP_CONFIG_REMAPPER: Any
    scrapers: dict[str, ServingScraper]
    readiness: Readiness
    access: Access | None
    clock: Callable[[], float]

    def create_scraper(self, config: Any, place: str = "") -> ServingScraper: ...

    def register_secret(self, secret: str, passing: bool = False) -> None: ...


def fleet(check: Check, settings: Settings) -> Fleet:
    """Several endpoints, each with a scraper and, where its system has one, a readiness probe of its own."""
    scrapers = dict(check.scrapers)
    first = next(iter(scrapers.values()))
    found = Fleet(_crew(first, settings.config, len(scrapers)), _deadline(first, settings.config), check.clock)
    later = {url: Recorded(check) for url in scrapers}

    def probe(url: str, http: Any, deadline: float) -> None:
        if time.monotonic() < deadline:
            check.readiness.ask(scrapers[url], http, later[url])

    for url, scraper in scrapers.items():
        found.members[url] = Member(scraper, after=partial(probe, url))
    found.arrived = lambda url, member: later[url].replay()
    return found


def watch(check: Check, settings: Settings, databricks: DatabricksSettings) -> Watch:
    """All endpoints of a workspace."""
    config = settings.config
    own_tags = tuple(config.get("tags") or ())
    # Its requests wrapper is the model for those of the crew.
    prototype = check.create_scraper(config)
    crew = _crew(prototype, config, hosts=1)
    # Everybody waits for a token, so the deadline of the one endpoint that asks for it must not cut that off.
    tokens = Transport(prototype.http, size=1)
    check.access = access(check, databricks, lambda *args, **options: tokens.wrapper().post(*args, **options))
    workspace = Workspace(databricks.url, check.access, databricks.selection, databricks.interval, check.clock)

    def make(name: str, tags: tuple[str, ...]) -> ServingScraper:
        own = {
            "openmetrics_endpoint": workspace.metrics_url(name),
            "endpoint_name": name,
            "tags": [*own_tags, *tags],
        }
        return check.create_scraper({**config, **own}, f"{name} ")

    fleet = Fleet(crew, _deadline(prototype, config), check.clock, LOOK_SECONDS)
    checks = config.get("readiness") is not False
    return Watch(check, workspace, fleet, tokens, make, own_tags, databricks.tags, checks)


def one(check: Check, settings: Settings, databricks: DatabricksSettings) -> None:
    """Let the check log in to the workspace of its one endpoint."""
    http = RequestsWrapper(settings.config, check.init_config, check.HTTP_CONFIG_REMAPPER, check.log)
    check.access = access(check, databricks, http.post)


def access(check: Check, databricks: DatabricksSettings, post: Callable[..., Any]) -> Access:
    """Requests to a workspace, with one login for all threads. `post` sends token requests, one at a time."""
    check.log.info("%s: logging in with %s", databricks.url, databricks.login.describe())
    for secret in databricks.login.secrets:
        check.register_secret(secret)
    passing = partial(check.register_secret, passing=True)
    return Access(Credentials(databricks.login, databricks.url, post, passing))


def _crew(scraper: ServingScraper, config: Mapping[str, Any], hosts: int) -> Crew:
    size = int(config.get("max_connections") or MAX_CONNECTIONS)
    keep = config.get("persist_connections") is not False
    return Crew(Transport(scraper.http, size, hosts, keep), size)


def _deadline(scraper: ServingScraper, config: Mapping[str, Any]) -> float:
    """Seconds that an endpoint has for its whole answer."""
    return float(config.get("endpoint_deadline") or sum(scraper.http.options["timeout"]))
