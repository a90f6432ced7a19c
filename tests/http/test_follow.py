"""How far redirects are followed, and what goes with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from ..conftest import Endpoint, make_check, serving

GOOD = b'model_infer_request_success_total{model="m"} 1\n'
SECRETS: dict[str, dict[str, Any]] = {
    "a header": {"headers": {"X-Api-Key": "hush-key"}},
    "another header": {"extra_headers": {"X-Scope": "hush-tenant"}},
    "a cookie": {"headers": {"Cookie": "hush=1"}},
    "a password": {"username": "user", "password": "hush-password"},
}
PLAIN: dict[str, dict[str, Any]] = {
    "nothing": {},
    "what tells nothing": {"headers": {"User-Agent": "mine", "accept": "text/plain"}},
}


def to(location: str, status: int = 302) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Location", location)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def run(url: str, **options: Any) -> str:
    """The message of a run, empty where it was fine."""
    report = make_check(openmetrics_endpoint=url, serving_system="mlserver", readiness=False, **options).run()
    return str(json.loads(report)[0]["message"]) if report else ""


@pytest.mark.parametrize("name", [*SECRETS, *PLAIN])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_within_the_origin(name: str, status: int, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """A redirect to the same server is followed, and gets what the first request had."""
    endpoint.answers["/metrics"] = to("/a", status)
    endpoint.answers["/a"] = to(f"http://127.0.0.1:{endpoint.port}/b")
    endpoint.serve(GOOD, "/b")
    assert run(endpoint.url, **{**SECRETS, **PLAIN}[name]) == ""
    sent = [
        {key: value for key, value in headers.items() if key in ("X-Api-Key", "X-Scope", "Cookie", "Authorization")}
        for _, _, headers in endpoint.requests
    ]
    assert len(sent) == 3
    assert sent[0] == sent[1] == sent[2]
    assert bool(sent[0]) == (name in SECRETS)


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_stay(name: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Another port is another server: it is not asked, and the message says so."""
    with serving() as other:
        other.serve(GOOD)
        endpoint.answers["/metrics"] = to(f"{other.url}?token=hush-token")
        message = run(endpoint.url, **SECRETS[name])
        assert other.requests == []
    assert f"redirects to another server (HTTP 302), {other.url}, which must not get" in message
    assert "hush" not in message


def test_the_user_of_a_url_stays(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """It goes along within the origin, and to nowhere else."""
    url = f"http://user:hush@127.0.0.1:{endpoint.port}/metrics"
    endpoint.answers["/metrics"] = to(f"http://127.0.0.1:{endpoint.port}/b")
    endpoint.serve(GOOD, "/b")
    assert run(url) == ""
    assert [headers["Authorization"] for _, _, headers in endpoint.requests] == ["Basic dXNlcjpodXNo"] * 2
    endpoint.answers["/metrics"] = to("http://localhost:9/b")
    assert "must not get" in run(url)


@pytest.mark.parametrize("name", PLAIN)
def test_without_secrets(name: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    with serving() as other:
        other.serve(GOOD)
        endpoint.answers["/metrics"] = to(other.url)
        assert run(endpoint.url, **PLAIN[name]) == ""
        assert len(other.requests) == 1


@pytest.mark.parametrize("location", ["file:///etc/passwd", "unix:///run/docker.sock/info", "x:"])
def test_no_web_address(location: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    endpoint.answers["/metrics"] = to(location)
    assert "to what is no web address" in run(endpoint.url)


@pytest.mark.parametrize("location", ["http://[", "//[x", "http://[::1"])
def test_no_address_at_all(location: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """The libraries can't read it either."""
    endpoint.answers["/metrics"] = to(location)
    assert "redirects to what is no web address" in run(endpoint.url)
