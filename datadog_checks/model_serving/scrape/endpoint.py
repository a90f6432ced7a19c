"""The endpoint of one source: how its answer is asked for and read, and what is said where that fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol
from urllib.parse import urljoin

from requests.exceptions import ConnectionError as HTTPConnectionError
from requests.exceptions import HTTPError, RequestException

from datadog_checks.base.checks.openmetrics.v2.scraper import OpenMetricsScraper

from ..errors import DeadlineError, InternalSignal, PayloadError
from ..http.body import Answer, Limits, body_chunks
from ..http.errors import connection_problem
from ..http.follow import ask
from ..http.redact import without_credentials, without_secrets
from ..settings import ScrapeSettings


def late(seconds: float) -> DeadlineError:
    """What it means that an endpoint's time is over."""
    return DeadlineError(
        f"no complete answer within {seconds:g} s: look why the endpoint is slow, or raise `endpoint_deadline`"
    )


class Requester(Protocol):
    """Sends requests as somebody who may, within a limit on their rate."""

    def request(self, http: Any, method: str, url: str, *, deadline: float | None = None, **options: Any) -> Any: ...


class NothingExported(InternalSignal):
    """The endpoint says that it has no metrics, which is an answer and no failure."""


class NothingYet(NothingExported):
    """Nor is it a reason to ask it less often. The text says what there is instead."""


class Endpoint(OpenMetricsScraper):  # type: ignore[misc]
    """The stock scraper with limits on what it reads and secrets kept out of what it says.

    `explain` turns a refused answer into advice, into an empty text where it means that nothing is exported, or
    returns None. It is called as long as the answer can be read, and later again.
    """

    tags: tuple[str, ...]
    static_tags: tuple[str, ...]

    def __init__(
        self,
        check: Any,
        settings: ScrapeSettings,
        explain: Callable[[Any], str | None] | None = None,
        access: Requester | None = None,
    ) -> None:
        super().__init__(check, check.get_config_with_defaults(settings.options))
        self.explain = explain
        self.url = without_secrets(self.endpoint)
        self._hide_secrets_in_tags()
        self.limits = Limits(settings.max_payload_bytes, settings.sample_limit)
        self.access = access
        self.fetched: Answer | Exception | None = None
        self.unreachable = ""
        self.whole = False

    def stream_connection_lines(self) -> Iterator[str]:
        for lines in self.stream_connection_chunks():
            yield from lines

    def stream_connection_chunks(self) -> Iterator[list[str]]:
        """The lines of the answer, many at a time. `unreachable` says why there are none, where that is no failure."""
        self.unreachable = ""
        fetched, self.fetched = self.fetched, None
        try:
            if isinstance(fetched, Exception):
                raise fetched
            yield from self._chunks(fetched or self.fetch())
        except HTTPConnectionError as error:
            if not self.ignore_connection_errors:
                raise
            self.unreachable = self.problem(error)
            self.log.warning("%s", self.unreachable)

    def fetch(self, http: Any = None, deadline: float | None = None) -> Answer:
        """The whole answer, got with a requests wrapper of the calling thread. A scrape reads what `fetched` holds.

        Whatever is raised is of the request, or a NothingExported.
        """
        with self.get_connection(http, deadline) as connection:
            answer = Answer.of(connection)
            answer.keep(self.limits)
        return answer

    def get_connection(self, http: Any = None, deadline: float | None = None) -> Any:
        """The open response. Health is reported when the whole payload has been read, not before."""
        http = self.http if http is None else http
        if self.access is None:
            response = ask(http, "get", self.endpoint)
        else:
            if deadline is None:
                deadline = time.monotonic() + sum(self.http.options["timeout"])
            response = self.access.request(http, "get", self.endpoint, deadline=deadline, stream=True)
        if 300 <= response.status_code < 400:
            response.close()
            raise PayloadError(self._not_followed(response))
        if response.status_code >= 400 and self.explain is not None and self.explain(response) == "":
            response.close()
            raise NothingExported
        if response.status_code == 204:
            response.close()
            raise NothingYet("the endpoint has no metrics yet (HTTP 204)")
        try:
            response.raise_for_status()
        except RequestException:
            response.close()
            raise
        return response

    def _not_followed(self, response: Any) -> str:
        status, location = response.status_code, response.headers.get("Location") or ""
        if self.access is not None:
            # What was asked with a token is not followed to where the token is not meant for.
            told = self.explain(response) if self.explain is not None else None
            return told or f"the endpoint redirects (HTTP {status}), which is not followed with a token: check the host"
        if not location:
            return f"the endpoint redirects (HTTP {status}) without saying where to: check the URL"
        there = without_secrets(urljoin(self.endpoint, location))
        return (
            f"the endpoint redirects to {there} (HTTP {status}), and `allow_redirects: false` forbids to follow: write "
            "that URL, or remove the option"
        )

    def _chunks(self, answer: Answer) -> Iterator[list[str]]:
        self._content_type, self.whole = answer.content_type, answer.framed
        size = yield from body_chunks(answer, self.malformed)
        if self.enable_telemetry:
            length = size if answer.length is None else answer.length
            self.gauge("telemetry.payload.size", length, tags=self.tags)

    def malformed(self, line: str, cut: bool) -> None:
        """Take note of a line that can't be read, and whether more than this line may be missing."""
        raise NotImplementedError

    def problem(self, error: Exception) -> str:
        response = error.response if isinstance(error, HTTPError) else None
        status = response.status_code if response is not None else None
        advice = self.explain(response) if response is not None and self.explain is not None else None
        return f"{self.url}: {advice or connection_problem(error, status, self.endpoint)}"

    def _hide_secrets_in_tags(self) -> None:
        """A query (as in /federate?match[]=...) tells sources apart; no secret of it reaches the tag."""
        shown = f"endpoint:{without_credentials(self.endpoint)}"
        tags = (shown if tag == f"endpoint:{self.endpoint}" else tag for tag in self.static_tags)
        self.static_tags = self.tags = tuple(tags)
