"""One run over a whole workspace: its endpoints are asked at the same time, and what they and it say is submitted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ...errors import ScrapeError
from ...http.pool import Job
from ...http.transport import Transport
from ...log_once import LogOnce
from ...scrape.scraper import ServingScraper
from ..probes.base import CRITICAL, OK, WARNING
from ..several import Fleet, Member
from .endpoint import metric_tags
from .state import StateReporter
from .workspace import Workspace

LOOK_SECONDS = 30.0
"""How long an endpoint that answered is left alone: half of the minute after which there is something new."""

FORGET_SECONDS = 3600.0
"""How long an endpoint may be away without being taken for another when it comes again."""


class Watch:
    """The watch over one workspace, for the check. `make` builds the scraper of an endpoint from its name and tags.

    The `fleet` is still empty; `tokens` is what token requests go over; `checks` says whether there are service checks
    for the state of endpoints.
    """

    def __init__(
        self,
        check: Any,
        workspace: Workspace,
        fleet: Fleet,
        tokens: Transport,
        make: Callable[[str, tuple[str, ...]], ServingScraper],
        tags: tuple[str, ...],
        databricks_tags: tuple[str, ...],
        checks: bool = True,
    ) -> None:
        self.check = check
        self.workspace = workspace
        self.fleet = fleet
        self.fleet.arrived = self._arrived
        self._token_transport = tokens
        self.tags = [*tags, f"databricks_host:{workspace.url.partition('://')[2]}"]
        self.reporter = StateReporter(check, workspace=workspace.url.partition("://")[2], checks=checks)
        self._make = make
        self._allowed = databricks_tags
        self._tags: dict[str, tuple[str, ...]] = {}
        self._once = LogOnce(check.log)
        self._listing_failed = False
        self._seen: set[str] | None = None
        self._states: dict[str, tuple[object, ...]] = {}
        self._gone: dict[str, float] = {}

    def run(self) -> list[str]:
        """List, ask and submit. Returns what is wrong with single endpoints; raises ScrapeError when nothing works.

        When it is closed meanwhile, nothing is said any more: what went wrong then was cut off.
        """
        workspace, crew, check = self.workspace, self.fleet.crew, self.check
        if workspace.due():
            job = Job("list", workspace.refresh, self.fleet.seconds)
            if workspace.listed:
                crew.later(job)
            else:
                list(crew.run([job]))
        if crew.closed.is_set():
            return []
        self._health()
        if not workspace.listed:
            raise ScrapeError(f"{workspace.url}: {workspace.problem}")
        new = self._follow()
        now = self.fleet.clock()
        # What exports nothing, or fails, is not asked for metrics now, and is ready or not all the same.
        beside = [
            Job(name, partial(workspace.describe, name), self.fleet.seconds)
            for name, member in self.fleet.members.items()
            if not member.due(now) and workspace.stale(name)
        ]
        problems = self.fleet.run(beside)
        if crew.closed.is_set():
            return []
        for job in beside:
            self._arrived(job.name, self.fleet.members[job.name])
        if self.fleet.deferred:
            check.warnings.append(f"{workspace.url}: {self.fleet.deferred}")
        for name, member in self.fleet.members.items():
            endpoint = workspace.endpoint(name)
            if endpoint is not None:
                self.reporter.report(endpoint, member.scraper.report.own_tags(), name in new)
        self.reporter.flush()
        return problems

    def close(self) -> None:
        """End what goes on, and let go of all connections."""
        # Before the threads, which may wait for a token, and after them, for what they have put back.
        self._token_transport.close()
        self.fleet.close()
        self._token_transport.close()

    def _follow(self) -> set[str]:
        """Take in endpoints that are listed, and let go of those that are not. Returns those never seen before."""
        members, names = self.fleet.members, self.workspace.names()
        now = self.fleet.clock()
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
                self._tags[name] = self._tags_of(name)
                scraper = self._make(name, self._tags[name])
                members[name] = Member(scraper, partial(self.workspace.describe, name))
            member, state = members[name], self.workspace.state(name)
            if member.waits() and state != self._states[name]:
                member.hurry()
            if member.due(now):
                self._states[name] = state
        for name in members.keys() - set(names):
            del members[name]
            del self._tags[name], self._states[name]
            self._gone[name] = now
        # A listing that was short for a while, as where a permission was lost, makes nothing new.
        forgotten = [name for name, since in self._gone.items() if now - since >= FORGET_SECONDS]
        self.reporter.forget(forgotten)
        self._seen.difference_update(forgotten)
        for name in forgotten:
            del self._gone[name]
        return new

    def _arrived(self, name: str, member: Member) -> None:
        """With another model version, and other tags, it is another scraper's turn."""
        tags = self._tags_of(name)
        if tags != self._tags[name]:
            answer = member.scraper.fetched
            member.scraper = self._make(name, tags)
            member.scraper.fetched = answer
            self._tags[name] = tags

    def _tags_of(self, name: str) -> tuple[str, ...]:
        endpoint = self.workspace.endpoint(name)
        if endpoint is None:
            # Just deleted: what is still to be said of it goes with what was said before.
            return self._tags.get(name, ())
        return metric_tags(endpoint, self._allowed)

    def _health(self) -> None:
        """Say how the listing went, and once that there are more endpoints than are watched."""
        workspace, check = self.workspace, self.check
        status = OK if not workspace.problem else WARNING if workspace.listed else CRITICAL
        check.service_check("workspace.health", status, tags=self.tags, message=workspace.problem or None)
        if workspace.problem and workspace.listed:
            text = f"the endpoints can't be listed, those that are known are watched: {workspace.problem}"
            self._warn("listing", text)
        else:
            self._once.forget("listing")
            if self._listing_failed:
                # What the list suffered from, endpoints may have suffered from as well.
                for member in self.fleet.members.values():
                    if member.failures:
                        member.hurry()
        self._listing_failed = bool(workspace.problem)
        if workspace.beyond:
            names = workspace.names()
            text = (
                f"{workspace.url}: {len(names) + workspace.beyond} serving endpoints match, {len(names)} are watched: "
                "raise `limit` in `serving_endpoints`, or narrow `include` and `exclude`"
            )
            self._warn("beyond", text)
        else:
            self._once.forget("beyond")

    def _warn(self, key: str, text: str) -> None:
        """In the status for as long as it holds, in the log once."""
        self.check.warnings.append(text)
        self._once.log(text, key)
