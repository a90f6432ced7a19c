"""Requests for access tokens, and one token kept fresh for all threads.

Protocols: the client credentials grant of RFC 6749 (section 4.4), the token exchange of RFC 8693, and what hosts in
Azure give for their managed identities.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import requests

from ...errors import BodyError, CredentialsError, PayloadError, TokenLimited
from ...http.redact import without_secrets
from ...settings.login import SENDABLE
from .refusals import IDENTITY, explain
from .rest import backoff, drop_authorization, limits, only_headers, problem, read_object, retry_after

logger = logging.getLogger(__name__)

MAX_ANSWER = 1 << 20
ANSWER_SECONDS = 30.0
DEFAULT_LIFE = 600.0
"""Seconds that a token is taken to live where nobody says; one that ends earlier is renewed when it is refused."""

MARGIN, MIN_MARGIN, MAX_MARGIN = 0.1, 45.0, 300.0
"""A token is renewed when this share of its life is left, within these seconds, but never before half of its life.

Databricks refuses tokens that have less than 30 seconds left.
"""

MAX_BACKOFF = 60.0


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """How a token is asked for: `place` says where, in the terms of the refusals, and `words` fill in their sentences.

    `client` is for HTTP Basic. A `foreign` endpoint, one that is no part of Databricks, gets none of the headers that
    the instance names. `direct` requests go past any proxy.
    """

    url: str
    place: str
    words: Mapping[str, str] = field(repr=False)
    form: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    client: tuple[str, str] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    foreign: bool = False
    direct: bool = False


def ask_token(http: Any, request: TokenRequest, clock: Callable[[], float]) -> tuple[str, float]:
    """A new access token and its life in seconds. `http` is a requests wrapper.

    Raises CredentialsError, or TokenLimited where the endpoint limits requests.
    """
    failed_with = f"no token from {without_secrets(request.url)}"
    headers = {"Accept": "application/json", **request.headers}
    options: dict[str, Any] = {"extra_headers": headers, "auth": request.client or drop_authorization}
    if request.foreign:
        options["auth"] = only_headers(headers)
    if request.form:
        options["data"] = dict(request.form)
    if request.query:
        options["params"] = dict(request.query)
    if request.direct:
        options["proxies"] = {"http": "", "https": ""}
    response = send(http, "post" if request.form else "get", request.url, failed_with, options)
    answer = read_answer(response, failed_with, request, clock)
    token = answer.get("access_token")
    if not isinstance(token, str) or not SENDABLE.fullmatch(token):
        raise CredentialsError(f"{failed_with}: the answer holds no usable `access_token`. Check `databricks_host`")
    return token, _life(answer, request.place)


def send(http: Any, method: str, url: str, failed_with: str, options: Mapping[str, Any]) -> requests.Response:
    """The answer to a request, of whatever status. Raises CredentialsError, which quotes nothing."""
    failed = ""
    try:
        response: requests.Response = getattr(http, method)(url, allow_redirects=False, stream=True, **options)
    except Exception as error:
        failed = problem(error)
    if failed:
        # Outside of the except clause, here and below: a chained exception could hold a secret.
        raise CredentialsError(f"{failed_with}: {failed}")
    return response


def read_answer(
    response: requests.Response,
    failed_with: str,
    request: TokenRequest,
    clock: Callable[[], float],
    other: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The JSON object of an answer, which is closed then; `other` in the place of a body that is none.

    Raises CredentialsError or TokenLimited for any other answer.
    """
    failed, answer = "", None
    status = response.status_code
    try:
        if status != 200 or limits(response):
            failed = explain(response, request.words, request.place)
        else:
            answer = read_object(response, MAX_ANSWER, ANSWER_SECONDS, clock)
    except Exception as error:
        failed = problem(error)
        if isinstance(error, BodyError):
            failed = f"the answer is {failed}"
        if isinstance(error, (BodyError, PayloadError)):
            answer = other
        failed += ". Check `databricks_host`, and a proxy in between"
    finally:
        response.close()
    if limits(response):
        raise TokenLimited(f"{failed_with}: {failed}", retry_after(response))
    if answer is None:
        raise CredentialsError(f"{failed_with}: {failed}")
    return answer


def _life(answer: Mapping[str, Any], place: str) -> float:
    """Seconds that a token has left. A host in Azure hands out tokens that it has had for a while."""
    life, until = _seconds(answer.get("expires_in")), _seconds(answer.get("expires_on"))
    if place == IDENTITY and until is not None and until > time.time():
        life = until - time.time()
    return DEFAULT_LIFE if life is None else max(life, 1.0)


def _seconds(value: Any) -> float | None:
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if isinstance(value, bool) or not math.isfinite(seconds) else seconds


@dataclass(slots=True, eq=False)
class _Token:
    """`hold` is until when a refusal of this token is believed to be no fault of the token; 0 for one that has none."""

    header: str = field(repr=False)
    renew: float
    expires: float
    strikes: int = 0
    hold: float = 0.0
    accepted: bool = False
    refused: bool = False

    def usable(self, now: float) -> bool:
        return not self.refused and now < self.expires


@dataclass(frozen=True, slots=True)
class _Failure:
    message: str
    limited: bool
    until: float
    seen: object

    def error(self, now: float) -> CredentialsError:
        return (
            TokenLimited(self.message, max(0.0, self.until - now)) if self.limited else CredentialsError(self.message)
        )


@dataclass(slots=True, eq=False)
class _Flight:
    done: threading.Event = field(default_factory=threading.Event)
    token: _Token | None = None
    failure: _Failure | None = None


class TokenKeeper:
    """One access token for all threads: asked for once, renewed before its end, once more when it is refused.

    `ask` gives a new token and its life; it is called by one thread at a time. `watch` gives something that changes
    when asking again may help before the back-off is over.
    """

    def __init__(
        self,
        ask: Callable[[], tuple[str, float]],
        clock: Callable[[], float] = time.monotonic,
        watch: Callable[[], object] = lambda: None,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._watch = watch
        self._lock = threading.Lock()
        self._token: _Token | None = None
        self._flight: _Flight | None = None
        self._failure: _Failure | None = None
        self._failures = 0
        self._stopped = False

    def header(self, deadline: float | None = None) -> str:
        """The Authorization header. Waits for a token request going on unless the old token still holds.

        Raises CredentialsError; while a failure is recent it is answered without another request. No failure of the
        token endpoint, not even a limit on requests, keeps a token from being used that still holds.
        """
        with self._lock:
            now = self._clock()
            token, flight = self._token, self._flight
            failure = self._recent(now)
            if token is not None and token.usable(now) and (now < token.renew or flight is not None or failure):
                return token.header
            if self._stopped:
                raise CredentialsError("the check was stopped before there was a token")
            if flight is None and failure is not None:
                raise failure.error(now)
            leads = flight is None
            if flight is None:
                flight = self._flight = _Flight()
        if leads:
            self._fly(flight)
        elif not flight.done.wait(None if deadline is None else max(0.0, deadline - now)):
            raise CredentialsError("another thread's token request was not answered within the deadline; it goes on")
        return self._landed(flight)

    def refused(self, header: str, deadline: float | None = None) -> bool:
        """Take back a header that got HTTP 401. True when there is another one. Raises what `header` raises."""
        with self._lock:
            token = self._token
            if token is not None and token.header == header and not token.refused:
                if self._clock() < token.hold:
                    return False
                token.refused = True
        return self.header(deadline) != header

    def accepted(self, header: str) -> None:
        """Note that a header was good, so that its refusal means that it has ended since."""
        token = self._token
        if token is not None and not token.accepted and token.header == header:
            token.accepted, token.hold = True, 0.0

    def stop(self) -> None:
        """Ask for no more tokens, and let nobody wait for one."""
        with self._lock:
            self._stopped = True
            if self._flight is not None:
                self._flight.done.set()

    def _recent(self, now: float) -> _Failure | None:
        failure = self._failure
        return failure if failure is not None and now < failure.until and failure.seen == self._watch() else None

    def _fly(self, flight: _Flight) -> None:
        token, message, limited, pause = None, "the token request broke off", False, None
        seen, started = self._watch(), self._clock()
        try:
            text, life = self._ask()
            margin = min(max(MARGIN * life, MIN_MARGIN), MAX_MARGIN, life / 2)
            token = _Token(f"Bearer {text}", started + life - margin, started + life)
        except TokenLimited as error:
            message, limited, pause = str(error), True, error.seconds
        except CredentialsError as error:
            message = str(error)
        except Exception as error:
            message = f"the token request failed unexpectedly ({type(error).__name__})"
        finally:
            with self._lock:
                now, old = self._clock(), self._token
                self._flight = None
                if token is not None:
                    if old is not None and old.refused:
                        token.strikes = 1 + (0 if old.accepted else old.strikes)
                        token.hold = now + backoff(token.strikes)
                    flight.token = self._token = token
                    self._failure, self._failures = None, 0
                else:
                    self._failures += 1
                    until = now + (backoff(self._failures, MAX_BACKOFF) if pause is None else pause)
                    flight.failure = self._failure = _Failure(message, limited, until, seen)
            flight.done.set()

    def _landed(self, flight: _Flight) -> str:
        if flight.token is not None:
            return flight.token.header
        with self._lock:
            now, token = self._clock(), self._token
            if flight.failure is None:
                raise CredentialsError("the check was stopped before there was a token")
            if token is None or not token.usable(now):
                raise flight.failure.error(now)
            logger.warning("%s. The token at hand is used until it ends", flight.failure.message)
            return token.header
