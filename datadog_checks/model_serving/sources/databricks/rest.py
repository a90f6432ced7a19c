"""What every answer of a workspace is read with: a bounded body, `Retry-After`, and words for what went wrong."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import requests
from requests.exceptions import RequestException

from ...errors import BodyError, PayloadError
from ...http.body import parse_json, read_body
from ...http.errors import BAD_HEADER, connection_problem

MAX_PAUSE = 300.0
"""Longest pause in seconds that a server is granted: a wrong `Retry-After` must not silence a check for a day."""

_Request = TypeVar("_Request")
_PLAIN_HEADERS = frozenset(("Accept-Encoding", "Connection", "Content-Length", "Content-Type", "Host", "User-Agent"))


def keep_authorization(request: _Request) -> _Request:
    """An `auth` for requests that leaves the header as it is.

    Without one requests takes the user's .netrc, or the `username` of the instance, and overwrites the header.
    """
    return request


def drop_authorization(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """An `auth` for requests that takes the header away: what the instance says of it is not meant for this."""
    request.headers.pop("Authorization", None)
    return request


def only_headers(own: Mapping[str, str]) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    """An `auth` for requests that leaves no headers but `own` and those that every request has.

    Those of the instance are for its workspace, and may hold secrets.
    """

    def keep(request: requests.PreparedRequest) -> requests.PreparedRequest:
        for name in set(request.headers) - _PLAIN_HEADERS:
            del request.headers[name]
        request.headers.update(own)
        return request

    return keep


def backoff(failures: int, cap: float = MAX_PAUSE) -> float:
    """Seconds to wait after the n-th failure in a row: 1, 2, 4 ... up to `cap`."""
    return min(cap, 2.0 ** min(max(failures, 1) - 1, 20))


def retry_after(response: requests.Response) -> float | None:
    """Seconds that `Retry-After` asks for, from 1 to `MAX_PAUSE`; None where it is missing or makes no sense.

    RFC 9110, section 10.2.3: whole seconds, or a date, which is compared with the server's own `Date`.
    """
    value = str(response.headers.get("Retry-After") or "").strip()
    if re.fullmatch(r"[0-9]+", value):
        return min(MAX_PAUSE, max(1.0, float(value[:9] if len(value) < 10 else "999999999")))
    until = _timestamp(value)
    if until is None:
        return None
    now = _timestamp(str(response.headers.get("Date") or ""))
    return min(MAX_PAUSE, max(1.0, until - (time.time() if now is None else now)))


def limits(response: requests.Response) -> bool:
    """Whether an answer asks to be left alone for a while: 429, or 503 with `Retry-After`."""
    return response.status_code == 429 or (response.status_code == 503 and bool(response.headers.get("Retry-After")))


def read_object(
    response: requests.Response, limit: int, seconds: float, clock: Callable[[], float] = time.monotonic
) -> dict[str, Any]:
    """The JSON object of a streamed response of at most `limit` bytes.

    Raises BodyError for anything else, and an exception of requests for what breaks off.
    """
    body = read_body(response, limit, seconds, clock)
    value = parse_json(body)
    if isinstance(value, dict):
        return value
    if body.lstrip()[:1] == b"<":
        raise BodyError("an HTML page, probably a login")
    raise BodyError("no JSON object")


def problem(error: Exception) -> str:
    """One sentence about an exception that a request or the reading of a body raised. Never quotes it."""
    if isinstance(error, (BodyError, PayloadError)):
        return str(error)
    if isinstance(error, (RequestException, OSError)):
        return connection_problem(error, None)
    if isinstance(error, ValueError) and "header" in str(error):
        return BAD_HEADER
    return f"the request failed unexpectedly ({type(error).__name__})"


def _timestamp(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() if date else None
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
