"""The endpoints of one instance: asked at the same time, each with its deadline and, when it fails, its own pause."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from requests.exceptions import HTTPError

from datadog_checks.base.constants import ServiceCheck

from ..errors import DeadlineError, NotYet, ScrapeError
from ..http.pool import Crew, Expired, Job
from ..scrape.scraper import ServingScraper

FIRST_PAUSE, LONGEST_PAUSE = 30.0, 300.0
"""Seconds after the second failure in a row, and at most. It doubles in between."""

NOTHING_PAUSE = 1800.0
"""Seconds after which an endpoint that exports nothing is asked again."""

SLACK = 2.0
"""Seconds by which a run may come early, and is still taken as the next one."""


@dataclass(eq=False, slots=True)
class Member:
    """One endpoint. `also` is done by the thread that asks it, before the metrics are asked for.

    `not_before` is when it is asked again, by the clock of the fleet, and `problem` or `nothing`, that it exports none,
    why that takes so long.
    """

    scraper: ServingScraper
    also: Callable[[Any, float], None] | None = None
    after: Callable[[Any, float], None] | None = None
    failures: int = 0
    not_before: float = 0.0
    problem: str = ""
    nothing: bool = False

    def failed(self, problem: str, now: float, retry_after: float) -> None:
        """One failure is asked about in the next run, several in a row ever more seldom."""
        self.failures += 1
        self.problem, self.nothing = problem, False
        pause = FIRST_PAUSE * 2 ** min(self.failures - 2, 10) if self.failures > 1 else 0.0
        self.not_before = now + max(min(pause, LONGEST_PAUSE) - SLACK, retry_after)

    def due(self, now: float) -> bool:
        """Whether it is time to ask it."""
        return now >= self.not_before

    def answered(self, now: float, pause: float, nothing: bool) -> None:
        """It has answered: the next time is in `pause` seconds."""
        self.failures, self.problem, self.nothing = 0, "", nothing
        self.not_before = now + (NOTHING_PAUSE if nothing else pause) - SLACK

    def waits(self) -> bool:
        """Whether it is asked more seldom than others."""
        return self.nothing or self.failures > 0

    def hurry(self) -> None:
        """Ask in the next run: what it waits for may be over."""
        self.not_before = 0.0


class Fleet:
    """Members by name, and the crew that asks them.

    `seconds` is what an endpoint has for all of its answer, `pause` how long one that answered is left alone.
    `arrived` is called for each member whose answer came, or didn't, before that is scraped, and gives the member as
    it is then: what came with the answer may have made another scraper of it. `clock` tells whose time it is;
    deadlines keep to the monotonic clock in any case.
    """

    def __init__(self, crew: Crew, seconds: float, clock: Callable[[], float], pause: float = 0.0) -> None:
        self.crew = crew
        self.clock = clock
        self.seconds = seconds
        self.pause = pause
        self.members: dict[str, Member] = {}
        self.arrived: Callable[[str, Member], None] = lambda name, member: None
        self.deferred = ""

    def run(self, beside: Collection[Job] = ()) -> list[str]:
        """Ask every member whose time it is, and do the jobs `beside`.

        Returns what is wrong with members, those that wait included.
        """
        problems: dict[str, str] = {}
        self.deferred = ""
        for job in self.crew.run([*self._jobs(problems), *beside]):
            member = self.members.get(job.name)
            if member is not None and job not in beside:
                self.arrived(job.name, member)
                problem = self._scrape(member, job)
                if problem:
                    problems[job.name] = problem
        return list(problems.values())

    def close(self) -> None:
        """End what goes on, and let go of all connections."""
        self.crew.close()

    def _jobs(self, problems: dict[str, str]) -> Iterator[Job]:
        now = self.clock()
        # Those that failed come last: what waits for them must not wait before the others.
        for name, member in sorted(self.members.items(), key=lambda item: item[1].failures):
            if member.due(now):
                yield Job(name, _work(member), self.seconds)
            elif member.problem:
                left = member.not_before - now
                problems[name] = (
                    f"{member.problem} (failed {member.failures} times in a row, asked again in {left:.0f} s)"
                )
                member.scraper.submit_health_check(ServiceCheck.CRITICAL, message=problems[name])

    def _scrape(self, member: Member, job: Job) -> str:
        now, scraper = self.clock(), member.scraper
        retry_after = 0.0
        if isinstance(job.problem, NotYet):
            self.deferred = str(job.problem)
            return ""
        if isinstance(job.problem, Expired):
            scraper.fetched = DeadlineError(
                f"no complete answer within {self.seconds:g} s: look why the endpoint is slow, or raise "
                "`endpoint_deadline`"
            )
        elif job.problem is not None:
            scraper.fetched = job.problem
            retry_after = _retry_after(job.problem)
        try:
            scraper.scrape()
        except ScrapeError as error:
            member.failed(str(error), now, retry_after)
            return str(error)
        except Exception as error:
            # Whatever it is, it must not cost the others anything.
            problem = f"{scraper.place}: what it answered could not be submitted ({type(error).__name__})"
            scraper.log.debug("%s", problem, exc_info=True)
            scraper.submit_health_check(ServiceCheck.CRITICAL, message=problem)
            member.failed(problem, now, retry_after)
            return problem
        member.answered(now, self.pause, scraper.none_exported)
        return ""


def _work(member: Member) -> Callable[[Any, float], None]:
    def work(http: Any, deadline: float) -> None:
        if member.also is not None:
            member.also(http, deadline)
            if time.monotonic() >= deadline:
                raise Expired
        try:
            member.scraper.fetch(http, deadline)
        finally:
            if member.after is not None:
                member.after(http, deadline)

    return work


def _retry_after(problem: Exception) -> float:
    """Seconds that a refusal asks for, 0 where it doesn't, or names a date."""
    if isinstance(problem, HTTPError) and problem.response is not None:
        with suppress(ValueError, TypeError):
            return min(LONGEST_PAUSE, float(problem.response.headers.get("Retry-After") or 0))
    return 0.0
