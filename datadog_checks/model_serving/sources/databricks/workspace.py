"""One run over a whole workspace: its endpoints are asked at the same time, and what they and it say is submitted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from requests.exceptions import HTTPError

from ...errors import NotYet, ScrapeError
from ...http.body import Answer
from ...http.pool import Expired, Job
from ...http.transport import Transport
from ...log_once import LogOnce
from ...scrape.endpoint import NothingExported
from ...scrape.scraper import ServingScraper
from ..loaded import LoadedVersion, submit_loaded
from ..probes.base import CRITICAL, OK, WARNING
from ..several import Fetched, Member, SeveralEndpoints
from .description import metric_tags
from .discovery import Discovery
from .state import StateReporter, loaded_entities

LOOK_SECONDS = 30.0
"""How long an endpoint that answered is left alone: half of the minute after which there is something new."""

FORGET_SECONDS = 3600.0
"""How long an endpoint may be away without being taken for another when it comes again."""

YOUNG_SECONDS = 3600.0
"""Age in seconds up to which an endpoint that appears is new. An older one was hidden, as by a missing permission."""

FIRST_REQUESTS = 2
"""Requests that the first look at an endpoint takes: for its description, and for its metrics."""

OF_THE_CALLER = (401, 403, 429)
"""Refusals that have to do with who asks, and not with the endpoint."""

MakeScraper = Callable[[str, tuple[str, ...]], ServingScraper]
"""Builds the scraper of an endpoint from its name and tags."""


class ServingEndpoint(Member):
    """One endpoint of the workspace, which is described before it is asked for metrics.

    Its tags are from the description, those of Databricks as far as `allowed`. `state` is what the list said when it
    was last scheduled; `met` says that it was asked before.
    """

    def __init__(self, name: str, discovery: Discovery, make: MakeScraper, allowed: Collection[str]) -> None:
        self.name = name
        self.tags: tuple[str, ...] = ()
        self.state: tuple[object, ...] = ()
        self.met = False
        self._discovery = discovery
        self._make = make
        self._allowed = allowed
        self.tags = self._current_tags()
        super().__init__(make(name, self.tags))

    def fetch(self, http: Any, deadline: float) -> Fetched:
        """Ask for the description, if that is scheduled, and then for the metrics."""
        described = self._discovery.describe(self.name, http, deadline)
        if time.monotonic() >= deadline:
            return Fetched(Expired())
        fetched = super().fetch(http, deadline)
        if not _refuses(fetched.answer):
            return fetched
        if not described:
            # It may have been stopped since the list and the description were had.
            self._discovery.describe(self.name, http, deadline, doubted=True)
        # What the export of one that is stopped answers is told nowhere. That there is none is no fault.
        return Fetched(NothingExported()) if self._discovery.stopped(self.name) else fetched

    def take(self, fetched: Fetched) -> ServingScraper:
        """Give the scraper for the tags that the endpoint has by now."""
        self.met = self.met or not isinstance(fetched.answer, NotYet)
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


def _refuses(answer: Answer | Exception) -> bool:
    """Whether an answer is a refusal that has to do with the endpoint."""
    if not isinstance(answer, HTTPError) or answer.response is None:
        return False
    return answer.response.status_code not in OF_THE_CALLER


class DatabricksWorkspace:
    """All endpoints of a workspace that the discovery finds, as members of `endpoints`, which has none yet.

    `tokens` is what token requests go over; `checks` says whether there are service checks for the state of endpoints;
    `initial_rate` how many requests a second endpoints cost that are asked for the first time.
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
        initial_rate: float,
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
        self._initial_rate = initial_rate
        self._once = LogOnce(check.log)
        self._listing_failed = False
        self._seen: set[str] | None = None
        self._gone: dict[str, float] = {}
        self._loaded: dict[str, list[LoadedVersion]] = {}

    @property
    def scrapers(self) -> Mapping[str, ServingScraper]:
        """The scrapers of the endpoints that are known: none before the first run."""
        return self.endpoints.scrapers

    @property
    def loaded(self) -> Mapping[str, Sequence[LoadedVersion]]:
        """The versions that the endpoints were serving when they were described last."""
        members = self.endpoints.members.items()
        return {member.scraper.endpoint: self._loaded.get(name, ()) for name, member in members}

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
        # First of all: what is woken by the rest fails, and a run that sees that has to know why.
        self.endpoints.pool.closed.set()
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
        problems = endpoints.scrape(described, self._paced())
        if pool.closed.is_set():
            return []
        for job in described:
            endpoints.members[job.name].renew()
        if endpoints.deferred:
            self.check.warnings.append(f"{discovery.url}: {endpoints.deferred}")
        for name, member in endpoints.members.items():
            description = discovery.endpoint(name)
            if description is not None:
                tags = member.scraper.report.own_tags()
                self.reporter.report(description, tags, name in new)
                loaded = self._loaded[name] = loaded_entities(description, tags)
                submit_loaded(self.check, loaded)
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
        new = {name for name in names if name not in self._seen and self._is_young(name)}
        self._seen |= set(names)
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
            self._loaded.pop(name, None)
        return new

    def _is_young(self, name: str) -> bool:
        """Whether an endpoint can have been created since the last listing, and not only been hidden from it."""
        endpoint = self.discovery.endpoint(name)
        created = endpoint.created if endpoint is not None else None
        return created is None or time.time() - created / 1000 < YOUNG_SECONDS

    def _paced(self) -> dict[str, float]:
        """When within the run each endpoint is asked that was not asked before: a workspace may have hundreds."""
        unmet = [name for name, member in self.endpoints.members.items() if not member.met]
        return {name: number * FIRST_REQUESTS / self._initial_rate for number, name in enumerate(unmet)}

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
        if discovery.left_out:
            text = (
                f"{discovery.url}: {discovery.left_out} pay-per-token endpoints are left out, which export no metrics; "
                "`pay_per_token: true` in `serving_endpoints` watches their readiness"
            )
            self._once.log(text, "left out", logging.INFO)

    def _warn(self, key: str, text: str) -> None:
        """In the status for as long as it holds, in the log once."""
        self.check.warnings.append(text)
        self._once.log(text, key)
