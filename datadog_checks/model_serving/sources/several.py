"""The endpoints of one instance: asked at the same time, each with its deadline and, when it fails, its own pause."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from requests.exceptions import HTTPError

from datadog_checks.base.constants import ServiceCheck

from ..errors import NotYet, ScrapeError
from ..http.body import Answer
from ..http.pool import Expired, Job, WorkerPool
from ..log_once import LogOnce
from ..scrape.endpoint import late
from ..scrape.scraper import ServingScraper
from .loaded import LoadedVersion
from .probes.base import Finding
from .probes.readiness import Readiness

FIRST_PAUSE, LONGEST_PAUSE = 30.0, 300.0
"""Seconds after the second failure in a row, and at most. It doubles in between."""

NOTHING_PAUSE = 1800.0
"""Seconds after which an endpoint that exports nothing is asked again."""

SLACK = 2.0
"""Seconds by which a run may come early, and is still taken as the next one."""

SHOWN = 5
"""Broken endpoints of one instance that are named in the Agent's status, each with its problem."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a thread brings from one endpoint: its answer, or why there is none, and what a readiness probe found."""

    answer: Answer | Exception
    findings: Sequence[Finding] = ()


class Member:
    """One endpoint: `fetch` asks it in any thread, `take` receives in the thread of the run what came of that.

    `not_before` is when it is asked again, by the clock of the endpoints, and `problem` or `nothing`, that it exports
    none, why that takes so long.
    """

    def __init__(self, scraper: ServingScraper, readiness: Readiness | None = None) -> None:
        self.scraper = scraper
        self.readiness = readiness
        self.failures = 0
        self.not_before = 0.0
        self.problem = ""
        self.nothing = False

    def fetch(self, http: Any, deadline: float) -> Fetched:
        """Ask for the metrics, and for readiness if there is time left. Only waits for the network."""
        answer: Answer | Exception
        try:
            answer = self.scraper.fetch(http, deadline)
        except Exception as error:
            answer = error
        if self.readiness is None or time.monotonic() >= deadline:
            return Fetched(answer)
        return Fetched(answer, self.readiness.ask(self.scraper, http, deadline))

    def take(self, fetched: Fetched) -> ServingScraper:
        """Submit what the probe found, and give the scraper that is to read the answer."""
        if self.readiness is not None:
            self.readiness.submit(self.scraper, fetched.findings)
        return self.scraper

    def failed(self, problem: str, now: float, retry_after: float) -> None:
        """One failure is asked about in the next run, several in a row ever more seldom."""
        self.failures += 1
        self.problem, self.nothing = problem, False
        pause = FIRST_PAUSE * 2 ** min(self.failures - 2, 10) if self.failures > 1 else 0.0
        self.not_before = now + max(min(pause, LONGEST_PAUSE) - SLACK, retry_after)

    def answered(self, now: float, pause: float, nothing: bool) -> None:
        """It has answered: the next time is in `pause` seconds."""
        self.failures, self.problem, self.nothing = 0, "", nothing
        self.not_before = now + (NOTHING_PAUSE if nothing else pause) - SLACK

    def scheduled(self, now: float) -> bool:
        """Whether it is to be asked now."""
        return now >= self.not_before

    def waits(self) -> bool:
        """Whether it is asked more seldom than others."""
        return self.nothing or self.failures > 0

    def hurry(self) -> None:
        """Ask in the next run: what it waits for may be over."""
        self.not_before = 0.0


MemberT = TypeVar("MemberT", bound=Member)


class SeveralEndpoints(Generic[MemberT]):
    """Members by name, and the pool of threads that asks them.

    `seconds` is what an endpoint has for all of its answer, `pause` how long one that answered is left alone. `clock`
    schedules the members; deadlines keep to the monotonic clock in any case. `deferred` says why some were not asked
    in the last run.
    """

    def __init__(
        self, check: Any, pool: WorkerPool, seconds: float, clock: Callable[[], float], pause: float = 0.0
    ) -> None:
        self.check = check
        self.pool = pool
        self.clock = clock
        self.seconds = seconds
        self.pause = pause
        self.members: dict[str, MemberT] = {}
        self.deferred = ""
        self._once = LogOnce(check.log)

    @property
    def scrapers(self) -> Mapping[str, ServingScraper]:
        """The scrapers of all members."""
        return {member.scraper.endpoint: member.scraper for member in self.members.values()}

    @property
    def loaded(self) -> Mapping[str, Sequence[LoadedVersion]]:
        """The versions that the systems said they have, when each was asked last."""
        found: dict[str, Sequence[LoadedVersion]] = {}
        for member in self.members.values():
            if member.readiness is not None:
                found |= member.readiness.loaded
        return found

    def run(self) -> list[str]:
        """Ask every member that is scheduled, and submit what they answer."""
        return self.failures(self.scrape())

    def scrape(self, others: Collection[Job] = (), after: Mapping[str, float] = MappingProxyType({})) -> list[str]:
        """Ask every member that is scheduled, and do other jobs at the same time.

        Members in `after` are asked so many seconds later. Returns what is wrong with members, those that wait
        included.
        """
        problems: dict[str, str] = {}
        self.deferred = ""
        for job in self.pool.run([*self._jobs(problems, after), *others]):
            member = self.members.get(job.name)
            if member is not None and job not in others:
                problem = self._read(member, self._fetched(job))
                if problem:
                    problems[job.name] = problem
        return list(problems.values())

    def failures(self, problems: Sequence[str]) -> list[str]:
        """Problems that are a failure of the run: all, where every endpoint has one. Fewer are warnings."""
        shown = [*problems[:SHOWN], f"and {len(problems) - SHOWN} more endpoints"][: len(problems)]
        if len(problems) == len(self.members):
            return shown
        for problem in shown:
            self.check.warnings.append(problem)
            self._once.log(problem, key=re.sub(r"[0-9.]+", "", problem))
        return []

    def close(self) -> None:
        """End what goes on, and let go of all connections."""
        self.pool.close()

    def _jobs(self, problems: dict[str, str], after: Mapping[str, float]) -> Iterator[Job]:
        now = self.clock()
        # Those that failed come last: what waits for them must not wait before the others.
        for name, member in sorted(self.members.items(), key=lambda item: item[1].failures):
            if member.scheduled(now):
                yield Job(name, member.fetch, self.seconds, after.get(name, 0.0))
            elif member.problem:
                left = member.not_before - now
                problems[name] = (
                    f"{member.problem} (failed {member.failures} times in a row, asked again in {left:.0f} s)"
                )
                member.scraper.submit_health_check(ServiceCheck.CRITICAL, message=problems[name])
            elif member.nothing:
                # It is asked so seldom that a monitor would miss it.
                member.scraper.submit_health_check(ServiceCheck.OK)

    def _fetched(self, job: Job) -> Fetched:
        """What a job brought. What its deadline has cut off failed because of that, whatever the error says."""
        fetched: Fetched = Fetched(job.problem) if job.problem is not None else job.result
        answer = fetched.answer
        # A cut looks like the end of a body whose end nobody has told.
        partial = isinstance(answer, Exception) or not answer.framed
        expired = isinstance(answer, Expired) or (job.expired and partial)
        if not expired:
            return fetched
        return Fetched(late(self.seconds), fetched.findings)

    def _read(self, member: Member, fetched: Fetched) -> str:
        """Submit what an endpoint answered. Returns what is wrong with it."""
        now, scraper, answer = self.clock(), member.take(fetched), fetched.answer
        if isinstance(answer, NotYet):
            self.deferred = str(answer)
            return ""
        retry_after = _retry_after(answer) if isinstance(answer, Exception) else 0.0
        scraper.fetched = answer
        try:
            scraper.scrape()
        except ScrapeError as error:
            member.failed(str(error), now, retry_after)
            return str(error)
        except Exception as error:
            # Whatever it is, it must not cost the others anything.
            problem = f"{scraper.url}: what it answered could not be submitted ({type(error).__name__})"
            scraper.log.debug("%s", problem, exc_info=True)
            scraper.submit_health_check(ServiceCheck.CRITICAL, message=problem)
            member.failed(problem, now, retry_after)
            return problem
        member.answered(now, self.pause, scraper.none_exported)
        return ""


def _retry_after(problem: Exception) -> float:
    """Seconds that a refusal asks for, 0 where it doesn't, or names a date."""
    if isinstance(problem, HTTPError) and problem.response is not None:
        with suppress(ValueError, TypeError):
            return min(LONGEST_PAUSE, float(problem.response.headers.get("Retry-After") or 0))
    return 0.0
