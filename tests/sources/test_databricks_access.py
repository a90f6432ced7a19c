"""Requests to a workspace: a header that is valid, one pause for all, and no token where it doesn't belong."""

from __future__ import annotations

import gzip
import json
import logging
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

import pytest
import requests
from datadog_checks.base.utils.http import RequestsWrapper
from hypothesis import given, settings
from hypothesis import strategies as st

from datadog_checks.model_serving.errors import AccessError, Cancelled, CredentialsError, RateLimited
from datadog_checks.model_serving.sources.databricks import access as module
from datadog_checks.model_serving.sources.databricks.access import Access
from datadog_checks.model_serving.sources.databricks.credentials import Login, WorkspaceCredentials

from .databricks_http import (
    CLIENT,
    MARK,
    SECRET,
    TOKEN_PATH,
    Answer,
    Clock,
    Server,
    assert_silent,
    serve,
    shown,
    together,
)

LIST = "/api/2.0/serving-endpoints"
OAUTH = Login("oauth-m2m", "instance", SECRET, client_id=CLIENT)
PAT = Login("pat", "instance", f"dapi-{MARK}")
LOGIN_PAGE = b"<!doctype html><html>Sign in</html>"


@pytest.fixture
def server() -> Iterator[Server]:
    with serve() as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock()


def wrapper(**config: Any) -> RequestsWrapper:
    return RequestsWrapper({"timeout": 10, "persist_connections": True, **config}, {})


def make(server: Server, clock: Clock, login: Login = OAUTH) -> Access:
    if login.kind == "pat":
        server.valid.add(login.secret)
    return Access(WorkspaceCredentials(login, server.url, wrapper, [].append, clock), clock=clock, wait=clock.wait)


def limited(seconds: str | None, status: int = 429) -> Answer:
    return Answer(status, {}, {} if seconds is None else {"Retry-After": seconds})


# The header.


def test_header_goes_with_every_request(server: Server, clock: Clock) -> None:
    """Whatever else the instance says about logging in; its other headers stay."""
    access = make(server, clock)
    http = wrapper(username="u", password="p", headers={"authorization": "Bearer wrong", "X-Own": "1"})
    response = access.request(http, "GET", f"{server.url}{LIST}", extra_headers={"Accept": "text/plain"}, stream=True)
    assert (response.status_code, response.json()) == (200, {})
    asked = server.asked[-1]
    assert asked.authorization == f"Bearer tok-{MARK}-1"
    assert (asked.headers["Accept"], asked.headers["X-Own"]) == ("text/plain", "1")
    assert access.request(http, "post", f"{server.url}{LIST}", json={}).status_code == 200
    assert [asked.method for asked in server.asked] == ["POST", "GET", "POST"]
    assert server.token_requests == 1


def test_netrc_does_not_replace_the_header(
    server: Server, clock: Clock, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login wrong password wrong\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert make(server, clock, PAT).get_json(wrapper(), f"{server.url}{LIST}") == {}
    # The trap is real: without an `auth` of its own the request would go out with the file's.
    requests.get(f"{server.url}{LIST}", headers={"Authorization": "Bearer mine"}, timeout=60)
    assert server.asked[-1].authorization.startswith("Basic ")


REFUSALS = {
    "401": Answer(401, {"error_code": 401}),
    "403 by its header": Answer(403, {}, {"X-Databricks-Reason-Phrase": "Invalid access token."}),
    "403 by its body": Answer(403, {"error_code": 403, "message": "Invalid access token. [ReqId: 1]"}),
    "403 for one about to expire": Answer(403, b"Error 403 Token is expiring within 30 seconds. (token expired)"),
}


@pytest.mark.parametrize("name", REFUSALS)
@pytest.mark.parametrize("stream", [True, False])
def test_once_more_after_a_refusal(name: str, stream: bool, server: Server, clock: Clock) -> None:
    server.refusal = REFUSALS[name]
    access, http = make(server, clock), wrapper()
    url = f"{server.url}{LIST}"
    assert access.request(http, "get", url, stream=stream).status_code == 200
    server.valid.clear()
    assert access.request(http, "get", url, stream=stream).json() == {}
    assert [asked.path for asked in server.asked] == [TOKEN_PATH, LIST, LIST, TOKEN_PATH, LIST]


def test_lack_of_permission_renews_nothing(server: Server, clock: Clock) -> None:
    server.script(LIST, *[Answer(403, {"message": f"no permission {MARK}"}, {"Content-Type": "text/plain"})] * 2)
    access = make(server, clock)
    assert access.request(wrapper(), "get", f"{server.url}{LIST}", stream=True).status_code == 403
    assert access.request(wrapper(), "get", f"{server.url}{LIST}").status_code == 403
    assert server.token_requests == 1


def test_one_renewal_for_all_threads(server: Server, clock: Clock) -> None:
    access = make(server, clock)
    url = f"{server.url}{LIST}"
    assert access.request(wrapper(), "get", url).status_code == 200
    server.valid.clear()
    responses = together(16, lambda: access.request(wrapper(), "get", url).status_code)
    assert responses == [200] * 16
    assert server.token_requests == 2


def test_one_endpoint_that_refuses_everybody(server: Server, clock: Clock) -> None:
    """Its refusals don't renew the token that all others are content with, over and over."""
    server.dead = {f"{LIST}/odd"}
    access, http = make(server, clock), wrapper()
    for _ in range(20):
        assert access.request(http, "get", f"{server.url}{LIST}/odd").status_code == 401
        assert access.request(http, "get", f"{server.url}{LIST}/sound").status_code == 200
        clock.now += 10
    assert server.token_requests == 2
    clock.now += module.DENIED_SECONDS
    assert access.request(http, "get", f"{server.url}{LIST}/odd").status_code == 401
    assert server.token_requests == 3


def test_endpoint_that_refused_everybody_and_recovers(server: Server, clock: Clock) -> None:
    server.dead = {LIST}
    access, http = make(server, clock), wrapper()
    assert access.request(http, "get", f"{server.url}{LIST}").status_code == 401
    server.dead.clear()
    assert access.request(http, "get", f"{server.url}{LIST}").status_code == 200
    server.valid.clear()
    assert access.request(http, "get", f"{server.url}{LIST}").status_code == 200


def test_tokens_that_end_one_soon_after_the_other(server: Server, clock: Clock) -> None:
    access, http = make(server, clock), wrapper()
    for _ in range(5):
        assert access.request(http, "get", f"{server.url}{LIST}").status_code == 200
        server.valid.clear()
    assert server.token_requests == 5


def test_static_token_is_tried_once(server: Server, clock: Clock) -> None:
    access = make(server, clock, PAT)
    server.valid.clear()
    assert access.request(wrapper(), "get", f"{server.url}{LIST}").status_code == 401
    assert len(server.asked) == 1


def test_renewal_that_fails(server: Server, clock: Clock) -> None:
    access = make(server, clock)
    access.request(wrapper(), "get", f"{server.url}{LIST}")
    server.valid.clear()
    server.script(TOKEN_PATH, *[Answer(401, {"error": "invalid_client"})] * 5)
    for _ in range(2):
        with pytest.raises(CredentialsError, match="client id or the secret is refused"):
            access.request(wrapper(), "get", f"{server.url}{LIST}")
    # The token that was refused isn't sent again.
    assert [asked.path for asked in server.asked] == [TOKEN_PATH, LIST, LIST, TOKEN_PATH]


# Redirects.


def test_redirects_are_not_followed(server: Server, clock: Clock) -> None:
    server.script(LIST, *[Answer(302, b"", {"Location": "/login.html"})] * 2)
    access = make(server, clock, PAT)
    assert access.request(wrapper(), "get", f"{server.url}{LIST}").status_code == 302
    with pytest.raises(
        AccessError, match=r"redirects to another path of the same host, a login for persons \(HTTP 302\)"
    ) as caught:
        access.get_json(wrapper(), f"{server.url}{LIST}")
    assert caught.value.status == 302
    assert server.count("/login.html") == 0


def test_header_does_not_follow_to_another_host(server: Server, clock: Clock) -> None:
    with serve() as other:
        server.script(LIST, Answer(302, b"", {"Location": f"{other.url}/stolen"}))
        access = make(server, clock, PAT)
        response = access.request(wrapper(), "get", f"{server.url}{LIST}", allow_redirects=True)
        assert response.status_code == 401
        (asked,) = other.asked
        assert asked.path == "/stolen"
        assert "Authorization" not in asked.headers


# The pause.

DATE = formatdate(1_800_000_000, usegmt=True)
PAUSES: dict[str, tuple[dict[str, str], float]] = {
    "seconds": ({"Retry-After": "7"}, 7),
    "with blanks": ({"Retry-After": " 7 "}, 7),
    "none": ({}, 1),
    "at once": ({"Retry-After": "0"}, 1),
    "a day": ({"Retry-After": "86400"}, 300),
    "a number without end": ({"Retry-After": "9" * 400}, 300),
    "negative": ({"Retry-After": "-5"}, 1),
    "a fraction": ({"Retry-After": "2.5"}, 1),
    "not a number": ({"Retry-After": "nan"}, 1),
    "words": ({"Retry-After": "a while"}, 1),
    "a date": ({"Date": DATE, "Retry-After": formatdate(1_800_000_020, usegmt=True)}, 20),
    "a date that is over": ({"Date": DATE, "Retry-After": formatdate(1_799_999_000, usegmt=True)}, 1),
    "a date far away": ({"Date": DATE, "Retry-After": formatdate(1_900_000_000, usegmt=True)}, 300),
    "no date of this calendar": ({"Retry-After": "Mon, 32 Jan 2026 99:00:00 GMT"}, 1),
}


@pytest.mark.parametrize("name", PAUSES)
@pytest.mark.parametrize("path", [LIST, TOKEN_PATH])
def test_length_of_the_pause(name: str, path: str, server: Server, clock: Clock) -> None:
    headers, seconds = PAUSES[name]
    server.script(path, Answer(429, {}, headers))
    access = make(server, clock)
    assert access.request(wrapper(), "get", f"{server.url}{LIST}").status_code == 200
    assert clock.waits == [pytest.approx(seconds)]
    assert server.count(path) == 2


def test_date_without_the_date_of_the_server(server: Server, clock: Clock) -> None:
    server.script(LIST, Answer(429, {}, {"Retry-After": formatdate(time.time() + 100, usegmt=True)}))
    make(server, clock).request(wrapper(), "get", f"{server.url}{LIST}")
    assert 90 < clock.waits[0] <= 101


def test_503(server: Server, clock: Clock) -> None:
    server.script(LIST, limited("4", 503), limited(None, 503))
    access = make(server, clock)
    assert access.request(wrapper(), "get", f"{server.url}{LIST}").status_code == 503
    assert clock.waits == [4]


def test_pause_without_a_length_doubles(server: Server, clock: Clock) -> None:
    access = make(server, clock)
    server.script(LIST, *[limited(None)] * 4)
    assert access.request(wrapper(), "get", f"{server.url}{LIST}").status_code == 200
    assert clock.waits == [1, 2, 4, 8]
    clock.now += 1
    access.request(wrapper(), "get", f"{server.url}{LIST}")
    server.script(LIST, limited(None))
    access.request(wrapper(), "get", f"{server.url}{LIST}")
    assert clock.waits == [1, 2, 4, 8, 1]


def test_limit_without_end(server: Server, clock: Clock) -> None:
    server.script(LIST, *[limited("1")] * 50)
    with pytest.raises(RateLimited):
        make(server, clock).request(wrapper(), "get", f"{server.url}{LIST}")
    assert server.count(LIST) == module.ROUNDS


def test_deadline_before_the_end_of_the_pause(server: Server, clock: Clock) -> None:
    access, http = make(server, clock), wrapper()
    server.script(LIST, limited("30"))
    with pytest.raises(RateLimited, match=r"HTTP 429\): nothing is sent for another 30 s") as caught:
        access.request(http, "get", f"{server.url}{LIST}", deadline=clock.now + 10)
    assert (caught.value.seconds, caught.value.status) == (30, 429)
    sent = len(server.asked)
    clock.now += 10
    with pytest.raises(RateLimited) as caught:
        access.get_json(http, f"{server.url}/other", deadline=clock.now + 20)
    assert caught.value.seconds == 20
    assert (len(server.asked), clock.waits, access.paused()) == (sent, [], 20)
    assert access.get_json(http, f"{server.url}/other", deadline=clock.now + 21) == {}
    assert clock.waits == [20]


def test_pause_is_never_shortened(server: Server, clock: Clock) -> None:
    access = make(server, clock)
    server.script("/long", limited("60"))
    server.script("/short", limited("5"))
    arrived = threading.Barrier(2)
    for path in ("/long", "/short"):
        server.scripted[path][0].before = lambda: arrived.wait(60)

    def ask(path: str) -> None:
        with pytest.raises(RateLimited):
            access.request(wrapper(), "get", f"{server.url}{path}", deadline=clock.now + 1)

    threads = [threading.Thread(target=ask, args=(path,)) for path in ("/long", "/short")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert access.paused() == 60


def test_wave_of_refusals_counts_once(server: Server, clock: Clock) -> None:
    """Sixteen answers without a length, to requests sent before any of them was known, make one pause of a second."""
    access = make(server, clock)
    access.request(wrapper(), "get", f"{server.url}{LIST}")
    arrived = threading.Barrier(16)
    server.script(LIST, *[Answer(429, {}, before=lambda: arrived.wait(60)) for _ in range(16)])
    clock.now += 1
    errors = together(16, lambda: access.request(wrapper(), "get", f"{server.url}{LIST}", deadline=clock.now + 0.5))
    assert {type(error) for error in errors} == {RateLimited}
    assert access.paused() == 1


def test_renewal_waits_for_the_pause(server: Server, clock: Clock) -> None:
    access = make(server, clock)
    access.request(wrapper(), "get", f"{server.url}{LIST}")
    renewed: list[float] = []

    def pause_meanwhile() -> None:
        with pytest.raises(RateLimited):
            access.request(wrapper(), "get", f"{server.url}/other", deadline=clock.now)

    server.script("/other", limited("9"))
    server.script(LIST, Answer(401, {}, before=pause_meanwhile))
    token = {"access_token": f"{MARK}-2"}
    server.script(TOKEN_PATH, Answer(200, token, before=lambda: renewed.append(clock.now)))
    server.valid.add(f"{MARK}-2")
    assert access.request(wrapper(), "get", f"{server.url}{LIST}").status_code == 200
    assert renewed == [1009]


def test_pause_that_begins_during_a_renewal(server: Server, clock: Clock) -> None:
    access = make(server, clock)
    access.request(wrapper(), "get", f"{server.url}{LIST}")
    clock.now += 3400
    sent: list[float] = []

    def pause_meanwhile() -> None:
        with pytest.raises(RateLimited):
            access.request(wrapper(), "get", f"{server.url}/other", deadline=clock.now)

    server.script("/other", limited("9"))
    server.script(TOKEN_PATH, Answer(200, {"access_token": f"{MARK}-2"}, before=pause_meanwhile))
    server.script(LIST, Answer(200, {}, before=lambda: sent.append(clock.now)))
    assert access.request(wrapper(), "get", f"{server.url}{LIST}").status_code == 200
    assert sent == [4409]


def test_cancelled_while_waiting(server: Server) -> None:
    """With the real clock and the event of its own."""
    access = Access(WorkspaceCredentials(PAT, server.url, wrapper, [].append))
    server.valid.add(PAT.secret)
    answered = threading.Event()
    server.script(LIST, Answer(429, {}, {"Retry-After": "300"}, before=answered.set))
    found: list[Any] = []
    thread = threading.Thread(
        target=lambda: found.extend(together(3, lambda: access.request(wrapper(), "get", f"{server.url}{LIST}"))),
        daemon=True,
    )
    server.script(LIST, *[Answer(429, {}, {"Retry-After": "300"})] * 2)
    thread.start()
    assert answered.wait(60)
    access.stop()
    thread.join(60)
    assert [type(error) for error in found] == [Cancelled] * 3


# JSON.


def test_json_and_a_kept_connection(server: Server, clock: Clock) -> None:
    access, http = make(server, clock, PAT), wrapper()
    body = {"endpoints": [{"name": "a" * 200_000}]}
    packed = gzip.compress(json.dumps(body).encode())
    server.script(LIST, Answer(200, body), Answer(200, packed, {"Content-Encoding": "gzip"}), Answer(200, b"{}"))
    found = [access.get_json(http, f"{server.url}{LIST}") for _ in range(3)]
    assert found == [body, body, {}]
    assert server.connections == 1


JSON: dict[str, tuple[Login, Answer, str]] = {
    "401, token": (PAT, Answer(401, {"message": MARK}), "Databricks refuses the token (HTTP 401): it has expired"),
    "403, token": (PAT, Answer(403, {"message": MARK}), "the token lacks permission (HTTP 403)"),
    "403 that means 401": (PAT, REFUSALS["403 by its body"], "Databricks refuses the token (HTTP 403): it has"),
    "403, OAuth": (OAUTH, Answer(403, {}), "service principal 0a1b.. lacks permission (HTTP 403)"),
    "400": (PAT, Answer(400, {}), "the request is not understood (HTTP 400)"),
    "404": (PAT, Answer(404, LOGIN_PAGE), "there is nothing at this path (HTTP 404): check that `databricks_host`"),
    "418": (PAT, Answer(418, {}), "the workspace refuses the request (HTTP 418)"),
    "500": (PAT, Answer(500, {"message": MARK}), "the workspace fails (HTTP 500): it is asked again by itself"),
    "login page": (PAT, Answer(200, LOGIN_PAGE), "the answer can't be used: an HTML page, probably a login. Check"),
    "no JSON": (PAT, Answer(200, f'"{MARK}'.encode()), "the answer can't be used: no JSON object"),
    "no object": (PAT, Answer(200, [MARK]), "the answer can't be used: no JSON object"),
    "no text": (PAT, Answer(200, b"\xff\xfe\x00{"), "the answer can't be used: no JSON object"),
    "too large": (PAT, Answer(200, gzip.compress(b" " * (33 << 20)), {"Content-Encoding": "gzip"}), "more than 16 MiB"),
    "no gzip": (PAT, Answer(200, b"{}", {"Content-Encoding": "gzip"}), "declared compressed but can't be decompressed"),
    "broken off": (PAT, Answer(200, b"{}", {"Content-Length": "99", "Connection": "close"}), "broke off before its"),
    "redirect": (
        PAT,
        Answer(307, b"", {"Location": f"https://u:{MARK}@accounts.example.com/?t={MARK}"}),
        "it redirects to https://accounts.example.com, a login for persons (HTTP 307)",
    ),
}


@pytest.mark.parametrize("name", JSON)
def test_no_json(name: str, server: Server, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    login, answer, said = JSON[name]
    server.script(LIST, answer)
    access = make(server, clock, login)
    with pytest.raises(AccessError) as caught:
        access.get_json(wrapper(), f"{server.url}{LIST}")
    assert str(caught.value).startswith(f"{server.url}{LIST}: ")
    assert said in str(caught.value)
    assert caught.value.status == (401 if "means" in name else answer.status)
    assert_silent(shown(caught.value, access, access.credentials) + caplog.text)


def test_oauth_token_that_is_refused_twice(server: Server, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server.dead = {LIST}
    access = make(server, clock)
    with pytest.raises(AccessError, match=r"the token that service principal 0a1b.. was just given \(HTTP 401\)") as e:
        access.get_json(wrapper(), f"{server.url}{LIST}")
    assert server.count(LIST) == 2
    assert_silent(shown(e.value) + caplog.text)


def test_json_that_drips(server: Server) -> None:
    class Passing(Clock):
        """A clock on which time passes whenever somebody looks."""

        def __call__(self) -> float:
            self.now += 2
            return self.now

    access = make(server, Passing(), PAT)
    with pytest.raises(AccessError, match=r"the answer can't be used: incomplete after \d s"):
        access.get_json(wrapper(), f"{server.url}{LIST}", deadline=1008)


@pytest.mark.parametrize("error", [RuntimeError(MARK), ValueError(MARK), requests.exceptions.InvalidHeader(MARK)])
def test_surprise_of_the_http_client(error: Exception, server: Server, clock: Clock) -> None:
    class Http:
        """A client whose bugs quote what they were given."""

        def get(self, url: str, **options: Any) -> Any:
            raise error

    access = make(server, clock, PAT)
    if isinstance(error, RuntimeError):
        with pytest.raises(RuntimeError):
            access.get_json(Http(), server.url)
    else:
        with pytest.raises(AccessError, match=r"unexpectedly|a header has a line break") as caught:
            access.get_json(Http(), server.url)
        assert_silent(shown(caught.value))


def test_no_connection(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serve() as gone:
        access = make(gone, clock, PAT)
    with pytest.raises(AccessError, match="no connection: check that the server runs") as caught:
        access.get_json(wrapper(), f"{gone.url}{LIST}?token={MARK}")
    assert caught.value.status is None
    assert_silent(shown(caught.value))


# Any sequence of events.


class World:
    """A workspace without a network, for thousands of requests: it takes note of what the rules forbid."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.life = 3600.0
        self.current = ""
        self.expires = 0.0
        self.issued = 0
        self.down = 0
        self.limits: list[int] = []
        self.quiet_until = {"get": 0.0, "post": 0.0}
        self.refused: set[str] = set()
        self.broken: list[str] = []

    def answer(self, status: int, body: object = None, headers: dict[str, str] | None = None) -> requests.Response:
        response = requests.Response()
        response.status_code = status
        response.headers.update(headers or {})
        content = json.dumps(body or {}).encode()
        response._content = content
        chunks = [content, b""]
        response.raw = type("Raw", (), {"read1": lambda *a, **b: chunks.pop(0), "close": lambda *a: None})()
        response._content_consumed = True
        return response

    def arrive(self, method: str) -> requests.Response | None:
        # The token endpoint's limit is no reason to stop working with the token at hand.
        quiet = max(self.quiet_until.values()) if method == "post" else self.quiet_until["get"]
        if self.clock.now < quiet:
            self.broken.append(f"{method} at {self.clock.now}, during the pause until {quiet}")
        if not self.limits:
            return None
        seconds = self.limits.pop()
        self.quiet_until[method] = self.clock.now + seconds
        return self.answer(429, {}, {"Retry-After": str(seconds)})

    def post(self, url: str, **options: Any) -> requests.Response:
        answer = self.arrive("post")
        if answer is not None:
            return answer
        if self.down:
            self.down -= 1
            raise requests.exceptions.ConnectTimeout
        self.issued += 1
        self.current, self.expires = f"t{self.issued}", self.clock.now + self.life
        return self.answer(200, {"access_token": self.current, "expires_in": self.life})

    def get(self, url: str, **options: Any) -> requests.Response:
        answer = self.arrive("get")
        if answer is not None:
            return answer
        token = options["extra_headers"]["Authorization"].removeprefix("Bearer ")
        if token == self.current and self.clock.now < self.expires:
            return self.answer(200)
        if token in self.refused:
            self.broken.append(f"{token} was sent again after its refusal")
        self.refused.add(token)
        return self.answer(401)


EVENTS = st.one_of(
    st.tuples(st.just("pass"), st.sampled_from([0.5, 5.0, 60.0, 600.0, 4000.0])),
    st.tuples(st.just("request"), st.sampled_from([0.0, 5.0, 400.0])),
    st.tuples(st.just("limit"), st.sampled_from([1, 3, 30, 200])),
    st.tuples(st.just("revoke"), st.just(0)),
    st.tuples(st.just("down"), st.integers(1, 3)),
    st.tuples(st.just("life"), st.sampled_from([2.0, 30.0, 3600.0])),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(EVENTS, max_size=40))
def test_any_sequence(events: list[tuple[str, Any]]) -> None:
    """Nothing is sent during a pause; a refused header is renewed once and not sent again; all is well in the end."""
    clock = Clock()
    world = World(clock)
    login = Login("oauth-m2m", "instance", SECRET, client_id=CLIENT)
    access = Access(
        WorkspaceCredentials(login, "https://workspace", lambda: world, [].append, clock), clock=clock, wait=clock.wait
    )
    for kind, value in events:
        if kind == "pass":
            clock.now += value
        elif kind == "limit":
            world.limits = [value]
        elif kind == "revoke":
            world.current = ""
        elif kind == "down":
            world.down = value
        elif kind == "life":
            world.life = value
        else:
            issued, refused = world.issued, len(world.refused)
            try:
                response = access.request(world, "get", "https://workspace/x", deadline=clock.now + value)
                assert response.status_code in (200, 401)
            except (CredentialsError, RateLimited):
                pass
            # One because of the age of a token, and one more for a refusal at most.
            assert world.issued - issued <= 1 + len(world.refused) - refused
            assert len(world.refused) - refused <= 1
    assert world.broken == []
    world.limits, world.down, world.life = [], 0, 3600.0
    clock.now += 400
    assert access.request(world, "get", "https://workspace/x").status_code == 200
    assert world.broken == []
