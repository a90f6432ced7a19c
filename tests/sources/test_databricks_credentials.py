"""Where the header for a workspace comes from, how it is kept fresh, and that no secret is seen on the way."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datadog_checks.base import ConfigurationError
from datadog_checks.base.utils.http import RequestsWrapper

from datadog_checks.model_serving.errors import CredentialsError, TokenLimited
from datadog_checks.model_serving.settings import Problems
from datadog_checks.model_serving.sources.databricks import credentials as module
from datadog_checks.model_serving.sources.databricks.credentials import (
    Login,
    WorkspaceCredentials,
    resolve,
)

from .databricks_http import (
    BASIC,
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

WHERE = "instance `https://a.cloud.databricks.com`"
PAT = f"dapi-{MARK}-0123"
ID = {"databricks_client_id": CLIENT}
OAUTH = Login("oauth-m2m", "instance", SECRET, client_id=CLIENT)


@pytest.fixture
def server() -> Iterator[Server]:
    with serve() as server:
        yield server


@pytest.fixture
def secrets() -> list[str]:
    return []


def credentials(
    server: Server | str, login: Login = OAUTH, clock: Any = None, secrets: Any = None
) -> WorkspaceCredentials:
    url = server if isinstance(server, str) else server.url
    http = RequestsWrapper({"timeout": 10}, {})
    return WorkspaceCredentials(
        login, url, lambda: http, (secrets if secrets is not None else []).append, clock or Clock()
    )


# Which login an instance means.

LOGINS: dict[str, tuple[dict[str, Any], dict[str, str], str, str]] = {
    "token": ({"databricks_token": PAT}, {}, "the token from the instance", PAT),
    "token with a line end": ({"databricks_token": f"{PAT}\n"}, {}, "the token from the instance", PAT),
    "token file": ({"databricks_token_path": "/run/token"}, {}, "the token from the file /run/token", ""),
    "oauth": (
        {**ID, "databricks_client_secret": SECRET},
        {},
        "OAuth of client 0a1b.. from the instance",
        SECRET,
    ),
    "oauth with a file": (
        {**ID, "databricks_client_secret_path": "/run/secret"},
        {},
        "OAuth of client 0a1b.. with the secret from the file /run/secret",
        "",
    ),
    "environment token": ({}, {"DATABRICKS_TOKEN": PAT}, "the token from the environment", PAT),
    "environment oauth": (
        {"databricks_token": None},
        {"DATABRICKS_TOKEN": "", "DATABRICKS_CLIENT_ID": CLIENT, "DATABRICKS_CLIENT_SECRET": SECRET},
        "OAuth of client 0a1b.. from the environment",
        SECRET,
    ),
    "the instance beats the environment as a whole": (
        {"databricks_token_path": "/run/token"},
        {"DATABRICKS_TOKEN": PAT, "DATABRICKS_CLIENT_ID": CLIENT, "DATABRICKS_CLIENT_SECRET": SECRET},
        "the token from the file /run/token",
        "",
    ),
    "an id too short to be shown": (
        {"databricks_client_id": "me", "databricks_client_secret": SECRET},
        {},
        "OAuth of client (id not shown) from the instance",
        SECRET,
    ),
}


@pytest.mark.parametrize("name", LOGINS)
def test_login(name: str) -> None:
    config, environ, described, secret = LOGINS[name]
    login = resolve(config, environ, Problems(WHERE))
    assert (login.describe(), login.secret) == (described, secret)
    assert_silent(shown(login))


SECRETS_OPTION = {**ID, "databricks_client_secret": SECRET}
WRONG: dict[str, tuple[dict[str, Any], dict[str, str], str]] = {
    "nothing": ({}, {}, "there are no credentials for Databricks: give `databricks_client_id`"),
    "two ways": (
        {"databricks_token": PAT, **SECRETS_OPTION},
        {},
        "`databricks_token` and `databricks_client_secret` are different ways to log in: keep one of them",
    ),
    "token and file": (
        {"databricks_token": PAT, "databricks_token_path": "/run/token"},
        {},
        "`databricks_token` and `databricks_token_path` are different ways to give the token",
    ),
    "secret and file": (
        {**SECRETS_OPTION, "databricks_client_secret_path": "/run/secret"},
        {},
        "`databricks_client_secret` and `databricks_client_secret_path` are both given",
    ),
    "two ways in the environment": (
        {},
        {"DATABRICKS_TOKEN": PAT, "DATABRICKS_CLIENT_ID": CLIENT},
        "DATABRICKS_TOKEN in the Agent's environment and DATABRICKS_CLIENT_ID in the Agent's environment are different",
    ),
    "half a pair": (ID, {}, "`databricks_client_id` needs `databricks_client_secret` beside it"),
    "other half": ({"databricks_client_secret": SECRET}, {}, "`databricks_client_secret` needs `databricks_client_id`"),
    "half here, half there": (
        ID,
        {"DATABRICKS_CLIENT_SECRET": SECRET},
        "`databricks_client_id` needs `databricks_client_secret` beside it",
    ),
    "half of the environment": (
        {},
        {"DATABRICKS_CLIENT_SECRET": SECRET},
        "DATABRICKS_CLIENT_SECRET in the Agent's environment needs DATABRICKS_CLIENT_ID",
    ),
    "handle": ({"databricks_token": f"ENC[{MARK}]"}, {}, "`databricks_token` still holds an ENC[...] handle"),
    "handle for a path": ({"databricks_token_path": f"ENC[{MARK}]"}, {}, "still holds an ENC[...] handle"),
    "placeholder": ({"databricks_token": "<DATABRICKS_TOKEN>"}, {}, "still holds a placeholder: fill in your own"),
    "placeholder in brackets": ({"databricks_token": "[YOUR_TOKEN]"}, {}, "still holds a placeholder"),
    "placeholder in words": ({"databricks_token": "<my token>"}, {}, "still holds a placeholder"),
    "template that was not filled in": ({"databricks_token": "%%env_TOKEN%%"}, {}, "still holds a placeholder"),
    "placeholder for a path": ({"databricks_token_path": "/run/<NAME>"}, {}, "still holds a placeholder"),
    "scheme": ({"databricks_token": f"Bearer {PAT}"}, {}, "starts with `Bearer`: leave that word out"),
    "line break": ({"databricks_token": f"{PAT}\n{PAT}"}, {}, "has a blank or a line break in it"),
    "blank": ({}, {"DATABRICKS_TOKEN": f"{PAT} x"}, "DATABRICKS_TOKEN in the Agent's environment has a blank"),
    "letter": ({"databricks_token": f"{PAT}é"}, {}, "has a character in it that no token has"),
    "empty": ({"databricks_token": ""}, {"DATABRICKS_TOKEN": PAT}, "`databricks_token` is empty"),
    "number": ({"databricks_token": 12345}, {}, "`databricks_token` must be text: put it between quotes"),
    "token for a path": (
        {"databricks_token_path": PAT},
        {},
        "must be the absolute path of a file; the secret itself goes into `databricks_token`",
    ),
    "empty path": ({**ID, "databricks_client_secret_path": ""}, {}, "must be the path of a file"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_login(name: str) -> None:
    config, environ, said = WRONG[name]
    problems = Problems(WHERE)
    resolve(config, environ, problems)
    with pytest.raises(ConfigurationError) as caught:
        problems.check()
    assert str(caught.value).startswith(f"{WHERE}: ")
    assert said in str(caught.value)
    assert_silent(shown(caught.value))


# Tokens that are just there.


def test_token_of_the_instance(secrets: list[str]) -> None:
    one = credentials("http://127.0.0.1:1", Login("pat", "instance", "dapi/+x"), secrets=secrets)
    assert secrets == ["dapi/+x", "dapi%2F%2Bx"]
    assert one.header() == "Bearer dapi/+x"
    assert one.refused("Bearer dapi/+x") is False


def test_token_file_that_rotates(tmp_path: Path, secrets: list[str]) -> None:
    file = tmp_path / "token"
    file.write_text(f"{PAT}-1\n")
    one = credentials("http://127.0.0.1:1", Login("pat", "instance", path=str(file)), secrets=secrets)
    assert one.header() == f"Bearer {PAT}-1"
    assert one.refused(f"Bearer {PAT}-1") is False

    (tmp_path / "new").write_text(f"{PAT}-2")
    (tmp_path / "new").replace(file)
    assert one.header() == f"Bearer {PAT}-2"

    # Nothing tells of this change: same size, same time, same file.
    before = file.stat()
    file.write_text(f"{PAT}-3")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert one.header() == f"Bearer {PAT}-2"
    assert one.refused(f"Bearer {PAT}-2") is True
    assert one.header() == f"Bearer {PAT}-3"
    assert secrets == [f"{PAT}-1", f"{PAT}-2", f"{PAT}-3"]


def test_file_is_read_when_it_changes_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    file.write_text(PAT)
    opened: list[Path] = []
    real = Path.open

    def counting(path: Path, *args: Any, **options: Any) -> Any:
        opened.append(path)
        return real(path, *args, **options)

    one = credentials("http://127.0.0.1:1", Login("pat", "instance", path=str(file)))
    monkeypatch.setattr(Path, "open", counting)
    assert {one.header() for _ in range(100)} == {f"Bearer {PAT}"}
    assert len(opened) == 1


FILES: dict[str, tuple[bytes | None, str]] = {
    "missing": (None, "can't be read: No such file or directory. Check its path, and that the Agent's user may read"),
    "empty": (b"", "is empty: write the secret into it"),
    "blank": (b" \n", "is empty: write the secret into it"),
    "two lines": (f"{PAT}\n{PAT}".encode(), "has a blank or a line break in it"),
    "placeholder": (b"<TOKEN>", "still holds a placeholder"),
    "binary": (MARK.encode() + b"\xff\xfe", "has a character in it that no token has"),
    "huge": (MARK.encode() * 20000, "is too long for a secret"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["pat", "oauth-m2m"])
def test_unusable_file(name: str, kind: str, tmp_path: Path) -> None:
    content, said = FILES[name]
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    clock = Clock()
    login = Login(kind, "instance", path=str(file), client_id=CLIENT if kind == "oauth-m2m" else "")
    one = credentials("http://127.0.0.1:1", login, clock)
    with pytest.raises(CredentialsError) as caught:
        one.header()
    option = "databricks_token_path" if kind == "pat" else "databricks_client_secret_path"
    assert str(caught.value).startswith(f"`{option}`: the file {file} ")
    assert said in str(caught.value)
    assert_silent(shown(caught.value, one))


def test_directory_for_a_file(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="can't be read: Is a directory"):
        credentials("http://127.0.0.1:1", Login("pat", "instance", path=str(tmp_path))).header()


def test_file_that_is_away_for_a_moment(tmp_path: Path) -> None:
    file, clock = tmp_path / "token", Clock()
    file.write_text(PAT)
    one = credentials("http://127.0.0.1:1", Login("pat", "instance", path=str(file)), clock)
    one.header()
    file.write_text("")
    assert one.header() == f"Bearer {PAT}"
    clock.now += module.GRACE / 2
    file.unlink()
    assert one.header() == f"Bearer {PAT}"
    clock.now += module.GRACE / 2
    with pytest.raises(CredentialsError, match="No such file"):
        one.header()
    file.write_text(f"{PAT}-new")
    assert one.header() == f"Bearer {PAT}-new"


# Tokens from the token endpoint.


def test_token_request(server: Server, secrets: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What else could log in, in the instance or the home directory, doesn't get into the way."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login wrong password wrong\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    config = {"username": "u", "password": "p", "extra_headers": {"Authorization": "Bearer wrong", "X-Own": "1"}}
    http = RequestsWrapper({**config, "persist_connections": True}, {})
    one = WorkspaceCredentials(OAUTH, f"{server.url}/", lambda: http, secrets.append)
    assert one.header() == f"Bearer tok-{MARK}-1"
    (asked,) = server.asked
    assert (asked.method, asked.path, asked.authorization) == ("POST", TOKEN_PATH, f"Basic {BASIC}")
    assert asked.form == {"grant_type": ["client_credentials"], "scope": ["all-apis"]}
    assert asked.headers["X-Own"] == "1"
    assert secrets == [SECRET, BASIC, f"tok-{MARK}-1"]
    assert http.options["headers"]["Authorization"] == "Bearer wrong"


LIVES: dict[str, tuple[Any, float]] = {
    "an hour": (3600, 3300),
    "a day": (86400, 86100),
    "ten minutes": (600, 540),
    "two minutes": (120, 75),
    "shorter than the margin": (20, 10),
    "text": ("3600", 3300),
    "missing": (None, 540),
    "no number": ("soon", 540),
    "not finite": (1e999, 540),
    "a truth": (True, 540),
    "nothing": (0, 0.5),
    "negative": (-5, 0.5),
}


@pytest.mark.parametrize("name", LIVES)
def test_renewed_before_expiry(name: str, server: Server) -> None:
    life, until = LIVES[name]
    server.life = life
    clock = Clock()
    one = credentials(server, clock=clock)
    assert one.header() == f"Bearer tok-{MARK}-1"
    clock.now += until - 0.01
    assert one.header() == f"Bearer tok-{MARK}-1"
    clock.now += 0.02
    assert one.header() == f"Bearer tok-{MARK}-2"
    assert server.token_requests == 2


def test_token_that_ended_on_the_way_is_used(server: Server) -> None:
    clock = Clock()

    def slow() -> None:
        clock.now += 60

    server.life = 5
    server.script(TOKEN_PATH, Answer(200, {"access_token": f"{MARK}-late", "expires_in": 5}, before=slow))
    one = credentials(server, clock=clock)
    assert one.header() == f"Bearer {MARK}-late"
    assert one.header() == f"Bearer tok-{MARK}-1"


def test_old_token_is_used_while_renewal_fails(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    clock = Clock()
    one = credentials(server, clock=clock)
    one.header()
    server.script(TOKEN_PATH, *[Answer(500, {"message": MARK})] * 20)
    clock.now += 3400
    for second in (0, 0.5, 1, 2, 3, 7, 15, 31, 63, 123):
        clock.now = 4400 + second
        assert one.header() == f"Bearer tok-{MARK}-1"
    # At 0, and after 1, 2, 4, 8, 16, 32 and 60 seconds.
    assert server.token_requests == 1 + 8
    assert "it fails (HTTP 500): it is asked again by itself. The token at hand is used until it ends" in caplog.text
    clock.now = 1000 + 3600
    with pytest.raises(CredentialsError, match=r"it fails \(HTTP 500\)"):
        one.header()
    server.scripted.clear()
    clock.now += 60
    assert one.header() == f"Bearer tok-{MARK}-2"
    assert_silent(caplog.text)


@pytest.mark.parametrize(("retry_after", "pause"), [("7", 7), ("86400", 300), (None, 1), ("soon", 1)])
def test_failure_is_answered_until_the_pause_is_over(retry_after: str | None, pause: float, server: Server) -> None:
    clock = Clock()
    one = credentials(server, clock=clock)
    server.script(TOKEN_PATH, Answer(429, {}, {"Retry-After": retry_after} if retry_after else {}))
    with pytest.raises(TokenLimited, match="HTTP 429"):
        one.header()
    clock.now += pause - 0.5
    with pytest.raises(TokenLimited) as caught:
        one.header()
    assert caught.value.seconds == pytest.approx(0.5)
    assert server.token_requests == 1
    clock.now += 0.5
    assert one.header() == f"Bearer tok-{MARK}-1"


def test_secret_file_is_read_for_each_token(server: Server, tmp_path: Path, secrets: list[str]) -> None:
    file, clock = tmp_path / "secret", Clock()
    file.write_text(f"{MARK}-old")
    login = Login("oauth-m2m", "instance", path=str(file), client_id=CLIENT)
    one = credentials(server, login, clock, secrets)
    with pytest.raises(CredentialsError, match="client id or the secret is refused"):
        one.header()
    with pytest.raises(CredentialsError, match="client id or the secret is refused"):
        one.header()
    assert server.token_requests == 1
    # No need to sit the pause out: it was for the old secret.
    file.write_text(SECRET)
    assert one.header() == f"Bearer tok-{MARK}-1"
    assert SECRET in secrets
    assert BASIC in secrets
    # A change that can't be seen from outside.
    before = file.stat()
    file.write_text(SECRET.upper())
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    clock.now += 3600
    with pytest.raises(CredentialsError, match="client id or the secret is refused"):
        one.header()


def test_one_request_for_all_threads(server: Server) -> None:
    arrived = threading.Event()
    server.script(TOKEN_PATH, Answer(200, {"access_token": f"{MARK}-1", "expires_in": 60}, before=arrived.set))
    one = credentials(server)
    assert together(20, one.header) == [f"Bearer {MARK}-1"] * 20
    assert arrived.is_set()
    assert server.token_requests == 1


def test_one_failure_for_all_threads(server: Server) -> None:
    server.script(TOKEN_PATH, *[Answer(401, {"error": "invalid_client"})] * 20)
    errors = together(20, credentials(server).header)
    assert {type(error) for error in errors} == {CredentialsError}
    assert len({id(error) for error in errors}) == 20
    assert server.token_requests == 1


def test_one_renewal_for_all_threads(server: Server) -> None:
    one = credentials(server)
    header = one.header()
    one.accepted(header)
    assert together(20, lambda: one.refused(header)) == [True] * 20
    assert one.header() == f"Bearer tok-{MARK}-2"
    assert server.token_requests == 2
    assert one.refused(header) is True
    assert server.token_requests == 2


def test_nobody_waits_while_the_old_token_holds(server: Server) -> None:
    clock, go, arrived = Clock(), threading.Event(), threading.Event()

    def hold() -> None:
        arrived.set()
        go.wait(60)

    one = credentials(server, clock=clock)
    one.header()
    clock.now += 3400
    server.script(TOKEN_PATH, Answer(200, {"access_token": f"{MARK}-new"}, before=hold))
    renewing: list[str] = []
    thread = threading.Thread(target=lambda: renewing.append(one.header()), daemon=True)
    thread.start()
    assert arrived.wait(60)
    assert one.header() == f"Bearer tok-{MARK}-1"
    go.set()
    thread.join(60)
    assert renewing == [f"Bearer {MARK}-new"]


def test_waiting_ends_at_the_deadline_and_with_stop(server: Server) -> None:
    go, arrived = threading.Event(), threading.Event()

    def hold() -> None:
        arrived.set()
        go.wait(60)

    server.script(TOKEN_PATH, Answer(200, {"access_token": MARK}, before=hold))
    clock = Clock()
    one = credentials(server, clock=clock)
    leader = threading.Thread(target=one.header, daemon=True)
    leader.start()
    assert arrived.wait(60)
    with pytest.raises(CredentialsError, match="not answered within the deadline"):
        one.header(clock.now)
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.extend(together(1, one.header)), daemon=True)
    waiting.start()
    one.stop()
    waiting.join(60)
    assert "the check was stopped" in str(found[0])
    go.set()
    leader.join(60)
    # The token that came after all is good, but no other is asked for.
    clock.now += 10000
    with pytest.raises(CredentialsError, match="the check was stopped"):
        one.header()
    assert server.token_requests == 1


def test_tokens_that_nobody_accepts_are_not_renewed_without_end(server: Server) -> None:
    clock = Clock()
    one = credentials(server, clock=clock)
    refused = []
    for _ in range(3000):
        header = one.header()
        refused.append(one.refused(header))
        clock.now += 1
    # 3000 seconds of refusals: at first after 1, 2, 4 seconds, in the end every 300.
    assert 10 < server.token_requests < 25
    one.accepted(one.header())
    assert one.refused(one.header()) is True


# What is said when the token endpoint gives none.

LOGIN_PAGE = b"<!doctype html><html>Sign in</html>"
ANSWERS: dict[str, tuple[Answer, str]] = {
    "invalid client": (
        Answer(401, {"error": "invalid_client", "error_description": SECRET}),
        "the client id or the secret is refused (HTTP 401, invalid_client)",
    ),
    "invalid client as 400": (
        Answer(400, {"error": "invalid_client"}),
        "the client id or the secret is refused (HTTP 400, invalid_client)",
    ),
    "without a word": (Answer(401, b""), "the client id or the secret is refused (HTTP 401): check"),
    "a reason that tells too much": (Answer(400, {"error": SECRET}), "is refused (HTTP 400): check"),
    "scope": (Answer(400, {"error": "invalid_scope"}), "the scope `all-apis` is refused (HTTP 400, invalid_scope)"),
    "grant": (
        Answer(400, {"error": "unsupported_grant_type"}),
        "it knows no login of the kind `oauth-m2m` (HTTP 400, unsupported_grant_type)",
    ),
    "forbidden": (Answer(403, {"message": SECRET}), "access is forbidden (HTTP 403): check the IP access list"),
    "no workspace": (Answer(404, LOGIN_PAGE), "there is no token endpoint (HTTP 404): check `databricks_host`"),
    "failure": (Answer(502, LOGIN_PAGE), "it fails (HTTP 502): it is asked again by itself"),
    "busy": (Answer(503, {}, {"Retry-After": "3"}), "it limits requests (HTTP 503)"),
    "redirect": (
        Answer(302, b"", {"Location": f"https://login.example.com/x?token={MARK}"}),
        "it redirects to https://login.example.com, a login for persons (HTTP 302): check `databricks_host`",
    ),
    "redirect to a path": (Answer(302, b"", {"Location": "/login"}), "redirects to another path of the same host"),
    "redirect to nowhere": (Answer(302, b"", {"Location": "http://["}), "the request failed unexpectedly (ValueError)"),
    "login page": (Answer(200, LOGIN_PAGE), "the answer is an HTML page, probably a login. Check `databricks_host`"),
    "no JSON": (Answer(200, f'{{"access_token": "{SECRET}", '.encode()), "the answer is no JSON object"),
    "no object": (Answer(200, [SECRET]), "the answer is no JSON object"),
    "nested without end": (Answer(200, b'{"a":' + b"[" * 100_000), "the answer is no JSON object"),
    "no token": (Answer(200, {"token": SECRET}), "the answer holds no usable `access_token`"),
    "a token with a line break": (Answer(200, {"access_token": f"{SECRET}\nX: y"}), "holds no usable `access_token`"),
    "a token that is none": (Answer(200, {"access_token": {"value": SECRET}}), "holds no usable `access_token`"),
    "too much": (Answer(200, SECRET.encode() * 80_000), "the answer is more than 1 MiB"),
    "broken off": (Answer(200, {"access_token": SECRET}, {"Content-Length": "999"}), "broke off before its end"),
    "not compressed": (Answer(200, SECRET.encode(), {"Content-Encoding": "gzip"}), "declared compressed but can't be"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_refusal_of_the_token_endpoint(name: str, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    answer, said = ANSWERS[name]
    if "Content-Length" in answer.headers:
        answer = Answer(answer.status, answer.body, {**answer.headers, "Connection": "close"})
    server.script(TOKEN_PATH, answer)
    one = credentials(server)
    with pytest.raises(CredentialsError) as caught:
        one.header()
    with pytest.raises(CredentialsError) as again:
        one.header()
    assert str(caught.value).startswith(f"no token from {server.url}{TOKEN_PATH}: ")
    assert said in str(caught.value)
    assert str(again.value) == str(caught.value)
    assert server.token_requests == 1
    assert_silent(shown(caught.value, again.value, one, one.login, one._keeper) + caplog.text)


def test_token_endpoint_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(CredentialsError, match="no connection: check that the server runs") as caught:
            credentials(url).header()
    assert_silent(shown(caught.value) + caplog.text)


def test_host_with_a_password(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(CredentialsError, match=r"no token from http://127.0.0.1:1/oidc/v1/token: ") as caught:
        credentials(f"http://me:{MARK}@127.0.0.1:1").header()
    assert_silent(shown(caught.value) + caplog.text)


def test_token_endpoint_that_is_slow(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        http = RequestsWrapper({"timeout": 0.05}, {})
        one = WorkspaceCredentials(OAUTH, f"http://127.0.0.1:{silent.getsockname()[1]}", lambda: http, [].append)
        with pytest.raises(CredentialsError, match="no answer within the time-out: raise `timeout`") as caught:
            one.header()
    assert_silent(shown(caught.value) + caplog.text)


def test_token_endpoint_without_tls(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(CredentialsError, match="the TLS connection failed: the port speaks plain HTTP") as caught:
        credentials(server.url.replace("http:", "https:")).header()
    assert_silent(shown(caught.value) + caplog.text)


@pytest.mark.parametrize(
    "error", [RuntimeError(SECRET), ValueError(f"Invalid header value {SECRET}"), KeyError(SECRET)]
)
def test_surprise_of_the_http_client(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    class Http:
        def post(self, url: str, **options: Any) -> Any:
            raise error

    one = WorkspaceCredentials(OAUTH, "http://127.0.0.1", Http, [].append)
    with pytest.raises(CredentialsError, match=r"unexpectedly|a header has a line break") as caught:
        one.header()
    assert_silent(shown(caught.value) + caplog.text)
