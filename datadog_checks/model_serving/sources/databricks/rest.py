"""What every answer of a workspace is read with: a bounded body, `Retry-After`, and words for what went wrong."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from requests.exceptions import RequestException

from ...errors import BodyError, PayloadError, UserError
from ...http.body import parse_json, read_body
from ...http.errors import BAD_HEADER, connection_problem

MAX_PAUSE = 300.0
"""Longest pause in seconds that a server is granted: a wrong `Retry-After` must not silence a check for a day."""

MAX_REASON = 1 << 12
_INVALID_TOKEN = re.compile(r"(?i)\b(?:invalid|expired) (?:access )?token\b|\btoken (?:is |has )?expir")
_Request = TypeVar("_Request")


def keep_authorization(request: _Request) -> _Request:
    """An `auth` for requests that leaves the header as it is.

    Without one requests takes the user's .netrc, or the `username` of the instance, and overwrites the header.
    """
    return request


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


def refuses_token(response: requests.Response, streamed: bool) -> bool:
    """Whether an answer says that the token is no good: 401, or one of the 403 that Databricks gives for that.

    Reads the body of a 403 if it is short; a streamed one can't be read again.
    """
    if response.status_code != 403:
        return response.status_code == 401
    reason = str(response.headers.get("X-Databricks-Reason-Phrase") or "")
    if _INVALID_TOKEN.search(reason):
        return True
    try:
        body = read_body(response, MAX_REASON, 5.0) if streamed else response.content[:MAX_REASON]
    except (RequestException, UserError):
        return False
    return _INVALID_TOKEN.search(body.decode("utf-8", "replace")) is not None


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


def redirect_host(response: requests.Response) -> str:
    """Where a redirect leads to: scheme and host, since path and query may hold what nobody is to see."""
    parts = urlsplit(str(response.headers.get("Location") or ""))
    return f"{parts.scheme}://{parts.hostname}" if parts.hostname else "another path of the same host"


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
