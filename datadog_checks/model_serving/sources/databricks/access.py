"""Requests to one Databricks workspace: with a valid header, and at the pace that the workspace asks for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import requests

from ...errors import AccessError, Cancelled, RateLimited, TokenLimited
from ...http.redact import without_secrets
from .credentials import WorkspaceCredentials
from .refusals import API, explain, refuses_token, remember
from .rest import backoff, keep_authorization, limits, problem, read_object, retry_after

ROUNDS = 8
"""How often one request is sent or waits at most, however long its deadline is."""

MAX_BODY = 16 << 20
BODY_SECONDS = 60.0
DENIED_SECONDS = 300.0
"""How long a URL that refused two valid headers in a row may not cause another token request."""

WORKSPACE_HEADER = "X-Databricks-Workspace-Id"
"""Says which workspace of a host is meant. Hosts of one workspace take no notice of it."""


class Access:
    """Sends requests to a workspace for all threads, which share one header and one pause.

    `wait` sleeps for some seconds and returns True when the check was cancelled (`threading.Event.wait`).
    Without one, `stop` cancels. `workspace_id` is sent along, for hosts of a whole account.
    """

    def __init__(
        self,
        credentials: WorkspaceCredentials,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] | None = None,
        workspace_id: str = "",
    ) -> None:
        self.credentials = credentials
        self.workspace_id = workspace_id
        self._clock = clock
        self._cancelled = threading.Event()
        self._wait = wait or self._cancelled.wait
        self._lock = threading.Lock()
        self._not_before = self._paused_at = float("-inf")
        self._strikes = 0
        self._denied: dict[str, float] = {}

    def request(
        self, http: Any, method: str, url: str, *, deadline: float | None = None, **arguments: Any
    ) -> requests.Response:
        """The answer to a request, of whatever status but 429 and, with `Retry-After`, 503.

        `http` is a RequestsWrapper of the calling thread. Redirects are not followed unless `allow_redirects` says
        so. `deadline` is clock time. A second 401 is returned, and so is a 403 about the token, as 401. Raises
        RateLimited when a pause ends after the deadline, Cancelled, CredentialsError, and what `http` raises.
        """
        send = getattr(http, method.lower())
        headers = dict(arguments.pop("extra_headers", None) or {})
        if self.workspace_id:
            headers[WORKSPACE_HEADER] = self.workspace_id
        arguments.setdefault("allow_redirects", False)
        renewed = False
        for _ in range(ROUNDS):
            header = self._header(deadline)
            sent = self._clock()
            response: requests.Response = send(
                url, extra_headers={**headers, "Authorization": header}, auth=keep_authorization, **arguments
            )
            if limits(response):
                seconds = retry_after(response)
                response.close()
                self._pause(seconds, sent)
                continue
            if response.status_code >= 300:
                remember(response)
            if not refuses_token(response):
                self._answered(url, header, response.status_code, sent)
                return response
            # Databricks says 403 as well, of which nobody could tell whether it is about permissions.
            response.status_code = 401
            if renewed:
                self._deny(url)
                return response
            try:
                again = self._renew(url, header, deadline)
            except BaseException:
                response.close()
                raise
            if not again:
                return response
            response.close()
            renewed = True
        raise RateLimited(self.paused())

    def get_json(self, http: Any, url: str, deadline: float | None = None) -> dict[str, Any]:
        """The JSON object at a URL. Raises AccessError for everything else, and CredentialsError."""
        where = without_secrets(url)
        failed, body = "", None
        try:
            response = self.request(
                http, "get", url, deadline=deadline, stream=True, extra_headers={"Accept": "application/json"}
            )
        except (OSError, ValueError) as error:
            failed = problem(error)
        if failed:
            # Outside of the except clause: what is chained could quote a header.
            raise AccessError(f"{where}: {failed}")
        status = response.status_code
        if status != 200:
            response.close()
            raise AccessError(f"{where}: {self.explain(response)}", status)
        left = BODY_SECONDS if deadline is None else max(0.0, deadline - self._clock())
        try:
            body = read_object(response, MAX_BODY, left, self._clock)
        except Exception as error:
            failed = problem(error)
        finally:
            response.close()
        if body is None:
            raise AccessError(
                f"{where}: the answer can't be used: {failed}. Check that `databricks_host` is the URL of a workspace, "
                "and that no proxy answers in its place",
                status,
            )
        return body

    def selector(self, host: str) -> str:
        """A host with the workspace that is meant, for which an account has several."""
        return f"{host}?o={self.workspace_id}" if self.workspace_id else host

    def explain(self, response: requests.Response, place: str = API) -> str:
        """What an answer of 300 or more means, and what to do about it with this login."""
        return explain(response, self.credentials.words(), place)

    def paused(self) -> float:
        """Seconds for which nothing may be sent, 0 when something may."""
        return max(0.0, self._not_before - self._clock())

    def stop(self) -> None:
        """End everybody's waiting, for the pause as well as for a token. A `wait` that was given is the giver's."""
        self._cancelled.set()
        self.credentials.stop()

    def _header(self, deadline: float | None) -> str:
        for _ in range(ROUNDS):
            self._pass(deadline)
            sent = self._clock()
            try:
                header = self.credentials.header(deadline)
            except TokenLimited as limited:
                self._pause(limited.seconds, sent)
                continue
            # A token request takes time, in which another thread may have met the limit.
            if not self.paused():
                return header
        raise RateLimited(self.paused())

    def _renew(self, url: str, header: str, deadline: float | None) -> bool:
        """Whether there is another header to try after a 401."""
        with self._lock:
            denied = self._clock() < self._denied.get(url, float("-inf"))
        if denied:
            return False
        self._pass(deadline)
        sent = self._clock()
        try:
            return self.credentials.refused(header, deadline)
        except TokenLimited as limited:
            self._pause(limited.seconds, sent)
            return True

    def _answered(self, url: str, header: str, status: int, sent: float) -> None:
        with self._lock:
            if sent > self._paused_at:
                self._strikes = 0
            self._denied.pop(url, None)
        # A redirect leads to a login more often than not, and a failure says nothing about the header.
        if status < 300 or status in (403, 404):
            self.credentials.accepted(header)

    def _deny(self, url: str) -> None:
        """Remember that two headers were refused here: it is not the header's fault, and others are content with it."""
        with self._lock:
            now = self._clock()
            self._denied = {known: until for known, until in self._denied.items() if until > now}
            self._denied[url] = now + DENIED_SECONDS

    def _pause(self, seconds: float | None, sent: float) -> None:
        """Let nobody send for `seconds`; without a number for a time that doubles with every wave of refusals."""
        with self._lock:
            now = self._clock()
            # Requests that were on their way already belong to the wave that began the pause.
            if seconds is None and sent > self._paused_at:
                self._strikes += 1
            self._not_before = max(self._not_before, now + (backoff(self._strikes) if seconds is None else seconds))
            self._paused_at = now

    def _pass(self, deadline: float | None) -> None:
        while (left := self.paused()) > 0:
            if deadline is not None and self._clock() + left >= deadline:
                raise RateLimited(left)
            if self._wait(left):
                raise Cancelled


SIDE_SECONDS = 5.0
"""How long a request waits for its turn that is not about metrics."""


class Authorized:
    """A requests wrapper for code that knows nothing of an access: GET, sent as somebody who may."""

    def __init__(self, http: Any, access: Access) -> None:
        self._http = http
        self._access = access
        # What is asked with a token is not followed to anywhere else.
        self.options = {**http.options, "allow_redirects": False}

    def get(self, url: str, **options: Any) -> requests.Response:
        """As that of the wrapper."""
        return self._access.request(self._http, "get", url, deadline=time.monotonic() + SIDE_SECONDS, **options)

    def explain(self, response: requests.Response, place: str) -> str:
        """As that of the access."""
        return self._access.explain(response, place)

    def selector(self, host: str) -> str:
        """As that of the access."""
        return self._access.selector(host)
