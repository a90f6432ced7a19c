"""Requests whose redirects are followed here, and no further than what they carry may go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

from requests import Response
from requests.exceptions import TooManyRedirects

from ..errors import RedirectError
from .redact import without_secrets

MOST = 30
"""Redirects that are followed one after the other, as in requests."""

PLAIN_HEADERS = ("accept", "accept-encoding", "accept-language", "cache-control", "connection", "user-agent")
"""Headers that tell nothing which another host must not know."""

NONE: Mapping[str, str] = {}
_PORTS = {"http": 80, "https": 443}


def ask(http: Any, method: str, url: str, headers: Mapping[str, str] = NONE, **options: Any) -> Response:
    """The streamed response to a request, after its redirects, as far as `allow_redirects` of the wrapper has them.

    Within its origin a redirect is followed in any case, and from http to https of the same host. To elsewhere it is
    only where the request carries no header of the user's and no credentials. Raises RedirectError where it is not, or
    leads to what is no web address, and what the wrapper raises.
    """
    history: list[Response] = []
    asked = urlsplit(url)
    private = _private(http, asked, headers)
    while True:
        # Given none, the wrapper takes its own headers, with the token that it has renewed meanwhile.
        extra = {"extra_headers": dict(headers)} if headers else {}
        response: Response = getattr(http, method)(url, allow_redirects=False, stream=True, **extra, **options)
        if not (response.is_redirect and http.options["allow_redirects"]):
            response.history = history
            return response
        response.close()
        if len(history) >= MOST:
            raise TooManyRedirects(f"more than {MOST} redirects")
        history.append(response)
        url = _target(asked, url, response, private)
        if method != "get" and response.status_code in (301, 302, 303):
            method = "get"
            options = {name: value for name, value in options.items() if name not in ("json", "data")}


def _private(http: Any, asked: SplitResult, headers: Mapping[str, str]) -> bool:
    """Whether a request carries what another host must not get."""
    settings = http.options
    return (
        "@" in asked.netloc
        or any(settings[name] for name in ("auth", "cert"))
        or getattr(http, "auth_token_handler", None) is not None
        or any(name.lower() not in PLAIN_HEADERS for name in (*settings["headers"], *headers))
    )


def _target(asked: SplitResult, url: str, response: Response, private: bool) -> str:
    """Where a redirect leads to, with the user of the URL that was asked for where that is the same origin."""
    location = response.headers["location"].encode("latin-1", "replace").decode("utf-8", "replace")
    status = response.status_code
    there = urljoin(url, location)
    parts = urlsplit(there)
    if asked.scheme == "unix":
        # There is no host that could be meant, but the path is one of the same server.
        if urlsplit(location).scheme or location.startswith("//"):
            raise RedirectError(f"the endpoint redirects (HTTP {status}) from its socket to a host: check the URL")
        return there
    if parts.scheme not in _PORTS or not parts.hostname:
        raise RedirectError(f"the endpoint redirects (HTTP {status}) to what is no web address: check the URL")
    if _same(asked, parts):
        user = asked.netloc.rpartition("@")[0]
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{user}@{host}" if user else host))
    if private:
        raise RedirectError(
            f"the endpoint redirects to another server (HTTP {status}), {without_secrets(there)[:200]}, which must not "
            "get the headers and credentials of this instance: if they are meant for it, write that URL"
        )
    return there


def _same(asked: SplitResult, there: SplitResult) -> bool:
    """Whether two URLs are of one origin, or the second one is the same host's with TLS."""
    if asked.hostname != there.hostname:
        return False
    ports = (asked.port or _PORTS.get(asked.scheme), there.port or _PORTS[there.scheme])
    if asked.scheme == there.scheme:
        return ports[0] == ports[1]
    return (asked.scheme, there.scheme, ports) == ("http", "https", (80, 443))
