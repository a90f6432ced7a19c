"""One run over a whole workspace: its endpoints are asked at the same time, and what they and it say is submitted."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from ...errors import ScrapeError
from ...http.pool import Expired, Job
from ...http.transport import Transport
from ...log_once import LogOnce
from ...scrape.scraper import ServingScraper
from ..probes.base import CRITICAL, OK, WARNING
from ..several import Fetched, Member, SeveralEndpoints
from .description import metric_tags
from .discovery import Discovery
from .state import StateReporter

LOOK_SECONDS = 30.0
"""How long an endpoint that answered is left alone: half of the minute after which there is something new."""

FORGET_SECONDS = 3600.0
"""How long an endpoint may be away without being taken for another when it comes again."""

MakeScraper = Callable[[str, tuple[str, ...]], ServingScraper]
"""Builds the scraper of an endpoint from its name and tags."""


class ServingEndpoint(Member):
    """One endpoint of the workspace, which is described before it is asked for metrics.

    Its tags are from the description, those of Databricks as far as `allowed`. `state` is what the list said when it
    was last scheduled.
    """

    def __init__(self, name: str, discovery: Discovery, make: MakeScraper, allowed: Collection[str]) -> None:
        self.name = name
        self.tags: tuple[str, ...] = ()
        self.state: tuple[object, ...] = ()
        self._discovery = discovery
        self._make = make
        self._allowed = allowed
        self.tags = self._current_tags()
        super().__init__(make(name, self.tags))

    def fetch(self, http: Any, deadline: float) -> Fetched:
        """Ask for the description, if that is scheduled, and then for the metrics."""
        self._discovery.describe(self.name, http, deadline)
        if time.monotonic() >= deadline:
            return Fetched(Expired())
        return super().fetch(http, deadline)

    def take(self, fetched: Fetched) -> ServingScraper:
        """Give the scraper for the tags that the endpoint has by now."""
        self.renew()
        return super().take(fetched)

    def renew(self) -> None:
        """With another model version, and other tags, another scraper takes over."""
        tags = self._current_tags()
        if tags != self.tags:
            self.scraper = self._make(self.name, tags)
            self.tags = tags

    def _current_tags(self) -> tuple[str, ...]:
        description = self._discovery.endpoint(self.name)
        # What is still to be said of one that was just deleted goes with what was said before.
        return self.tags if description is None else metric_tags(description, self._allowed)


class DatabricksWorkspace:
    """All endpoints of a workspace that the discovery finds, as members of `endpoints`, which has none yet.

    `tokens` is what token requests go over; `checks` says whether there are service checks for the state of endpoints.
    """

    def __init__(
        self,
        check: Any,
        discovery: Discovery,
        endpoints: SeveralEndpoints[ServingEndpoint],
        tokens: Transport,
        make: MakeScraper,
        tags: tuple[str, ...],
        databricks_tags: tuple[str, ...],
        checks: bool = True,
    ) -> None:
        self.check = check
        self.discovery = discovery
        self.endpoints = endpoints
        self._token_transport = tokens
        host, workspace_id = discovery.url.partition("://")[2], discovery.access.workspace_id
        self.tags = [*tags, f"databricks_host:{host}"]
        if workspace_id:
            self.tags.append(f"databricks_workspace_id:{workspace_id}")
        self.reporter = StateReporter(check, check.cache, workspace=discovery.access.selector(host), checks=checks)
        self._make = make
        self._allowed = databricks_tags
        self._once = LogOnce(check.log)
        self._listing_failed = False
        self._seen: set[str] | None = None
        self._gone: dict[str, float] = {}

    @property
    def scrapers(self) -> Mapping[str, ServingScraper]:
        """The scrapers of the endpoints that are known: none before the first run."""
        return self.endpoints.scrapers

    def run(self) -> list[str]:
        """List, ask and submit.

        When it is closed meanwhile, nothing is reported any more: what went wrong then was cut off.
        """
        try:
            problems = self._run()
        except ScrapeError as error:
            return [str(error)]
        return self.endpoints.failures(problems)

    def close(self) -> None:
        """End what goes on, and let go of all connections."""
        self.discovery.access.stop()
        # Before the threads, which may wait for a token, and after them, for what they have put back.
        self._token_transport.close()
        self.endpoints.close()
        self._token_transport.close()

    def _run(self) -> list[str]:
        discovery, endpoints, pool = self.discovery, self.endpoints, self.endpoints.pool
        if discovery.scheduled():
            job = Job("list", discovery.refresh, endpoints.seconds)
            if discovery.listed:
                pool.run_in_background(job)
            else:
                list(pool.run([job]))
        if pool.closed.is_set():
            return []
        self._health()
        if not discovery.listed:
            raise ScrapeError(f"{discovery.url}: {discovery.problem}")
        new = self._follow()
        now = endpoints.clock()
        # What exports nothing, or fails, is not asked for metrics now, and is ready or not all the same.
        described = [
            Job(name, partial(discovery.describe, name), endpoints.seconds)
            for name, member in endpoints.members.items()
            if not member.scheduled(now) and discovery.stale(name)
        ]
        problems = endpoints.scrape(described)
        if pool.closed.is_set():
            return []
        for job in described:
            endpoints.members[job.name].renew()
        if endpoints.deferred:
            self.check.warnings.append(f"{discovery.url}: {endpoints.deferred}")
        for name, member in endpoints.members.items():
            description = discovery.endpoint(name)
            if description is not None:
                self.reporter.report(description, member.scraper.report.own_tags(), name in new)
        self.reporter.flush()
        return problems

    def _follow(self) -> set[str]:
        """Take in endpoints that are listed, and let go of those that are not. Returns those never seen before."""
        members, names = self.endpoints.members, self.discovery.names()
        now = self.endpoints.clock()
        if self._seen is None:
            known = self.reporter.known()
            # To the first look nothing is new, unless it remembers what there was before the Agent was restarted.
            self._seen = set(known or names)
            self._gone = dict.fromkeys(known, now)
        new = set(names) - self._seen
        self._seen |= new
        for name in names:
            self._gone.pop(name, None)
            if name not in members:
                members[name] = ServingEndpoint(name, self.discovery, self._make, self._allowed)
            member, state = members[name], self.discovery.state(name)
            if member.waits() and state != member.state:
                member.hurry()
            if member.scheduled(now):
                member.state = state
        for name in members.keys() - set(names):
            del members[name]
            self._gone[name] = now
        # A listing that was short for a while, as where a permission was lost, makes nothing new.
        forgotten = [name for name, since in self._gone.items() if now - since >= FORGET_SECONDS]
        self.reporter.forget(forgotten)
        self._seen.difference_update(forgotten)
        for name in forgotten:
            del self._gone[name]
        return new

    def _health(self) -> None:
        """Report how the listing went, and once that there are more endpoints than are watched."""
        discovery, check = self.discovery, self.check
        status = OK if not discovery.problem else WARNING if discovery.listed else CRITICAL
        check.service_check("workspace.health", status, tags=self.tags, message=discovery.problem or None)
        if discovery.problem and discovery.listed:
            text = f"the endpoints can't be listed, those that are known are watched: {discovery.problem}"
            self._warn("listing", text)
        else:
            self._once.forget("listing")
            if self._listing_failed:
                # What the list suffered from, endpoints may have suffered from as well.
                for member in self.endpoints.members.values():
                    if member.failures:
                        member.hurry()
        self._listing_failed = bool(discovery.problem)
        if discovery.beyond:
            names = discovery.names()
            text = (
                f"{discovery.url}: {len(names) + discovery.beyond} serving endpoints match, {len(names)} are watched: "
                "raise `limit` in `serving_endpoints`, or narrow `include` and `exclude`"
            )
            self._warn("beyond", text)
        else:
            self._once.forget("beyond")

    def _warn(self, key: str, text: str) -> None:
        """In the status for as long as it holds, in the log once."""
        self.check.warnings.append(text)
        self._once.log(text, key)
