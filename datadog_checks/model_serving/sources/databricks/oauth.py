"""OAuth machine-to-machine: the token endpoint of a workspace, and one token kept fresh for all threads.

Protocol: client credentials grant of RFC 6749 (section 4.4), at `/oidc/v1/token` of the workspace.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import requests

from ...errors import BodyError, CredentialsError, TokenLimited
from ...http.redact import without_secrets
from ...settings.login import SENDABLE
from .rest import backoff, limits, problem, read_object, redirect_host, retry_after

logger = logging.getLogger(__name__)

TOKEN_PATH = "/oidc/v1/token"
SCOPE = "all-apis"
MAX_ANSWER = 1 << 20
ANSWER_SECONDS = 30.0
DEFAULT_LIFE = 600.0
"""Seconds that a token without `expires_in` is taken to live; one that ends earlier is renewed when it is refused."""

MARGIN, MIN_MARGIN, MAX_MARGIN = 0.1, 45.0, 300.0
"""A token is renewed when this share of its life is left, within these seconds, but never before half of its life.

Databricks refuses tokens that have less than 30 seconds left.
"""

MAX_BACKOFF = 60.0


_REFUSED = (
    "the client id or the secret is refused (HTTP {status}, {error}): check that both belong to one service principal, "
    "that the service principal is part of this workspace, and that the secret has not expired (create a new one on "
    "the service principal's page, Secrets)"
)
_ANSWERS = {
    "invalid_client": _REFUSED,
    "unauthorized_client": _REFUSED,
    "invalid_grant": _REFUSED,
    "invalid_scope": "the scope `all-apis` is refused (HTTP {status}, {error}): check `databricks_host`, which must be "
    "that of a workspace",
    "unsupported_grant_type": "it knows no client credentials (HTTP {status}, {error}): check `databricks_host`, which "
    "must be that of a workspace",
}
_STATUS = {
    400: _REFUSED,
    401: _REFUSED,
    403: "access is forbidden (HTTP 403): check the IP access list of the workspace, and that the service principal "
    "is active",
    404: "there is no token endpoint (HTTP 404): check `databricks_host`, which must be the URL of a workspace and not "
    "that of the account console",
}


def ask_token(
    post: Callable[..., requests.Response], base: str, client_id: str, secret: str, clock: Callable[[], float]
) -> tuple[str, float]:
    """A new access token and its life in seconds, from the workspace at `base` (scheme and host).

    Raises CredentialsError, or TokenLimited where the endpoint limits requests.
    """
    url = f"{base}{TOKEN_PATH}"
    shown_url = without_secrets(url)
    failed, answer = "", None
    try:
        response = post(
            url,
            data={"grant_type": "client_credentials", "scope": SCOPE},
            auth=(client_id, secret),
            extra_headers={"Accept": "application/json"},
            allow_redirects=False,
            stream=True,
        )
    except Exception as error:
        failed = problem(error)
    if failed:
        # Outside of the except clause, here and below: a chained exception could hold a secret.
        raise CredentialsError(f"no token from {shown_url}: {failed}")
    try:
        answer = read_object(response, MAX_ANSWER, ANSWER_SECONDS, clock)
    except Exception as error:
        failed = f"the answer is {problem(error)}" if isinstance(error, BodyError) else problem(error)
    finally:
        response.close()
    if response.status_code != 200 or limits(response):
        _refuse(shown_url, response, answer or {})
    if answer is None:
        raise CredentialsError(f"no token from {shown_url}: {failed}. Check `databricks_host`, and a proxy in between")
    token = answer.get("access_token")
    if not isinstance(token, str) or not SENDABLE.fullmatch(token):
        raise CredentialsError(
            f"no token from {shown_url}: the answer holds no usable `access_token`. Check `databricks_host`"
        )
    return token, _life(answer.get("expires_in"))


def _refuse(shown_url: str, response: requests.Response, answer: dict[str, Any]) -> None:
    status = response.status_code
    if limits(response):
        text = (
            f"no token from {shown_url}: it limits requests (HTTP {status}); it is asked again by itself, after a pause"
        )
        raise TokenLimited(text, retry_after(response))
    if 300 <= status < 400:
        text = (
            f"it redirects to {redirect_host(response)} (HTTP {status}): check `databricks_host`, which must be the "
            "URL of a workspace as the browser shows it"
        )
    else:
        # Only words of the standard are repeated: the description beside them can hold anything.
        error = str(answer.get("error"))
        error = error if error in _ANSWERS else "no known reason"
        form = _ANSWERS.get(error) or _STATUS.get(status) or "it answers HTTP {status}; it is asked again by itself"
        text = form.format(status=status, error=error)
    raise CredentialsError(f"no token from {shown_url}: {text}")


def _life(value: Any) -> float:
    try:
        life = float(value)
    except (TypeError, ValueError, OverflowError):
        return DEFAULT_LIFE
    if isinstance(value, bool) or not math.isfinite(life):
        return DEFAULT_LIFE
    return max(life, 1.0)


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
