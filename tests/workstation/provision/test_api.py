"""Calls: limits obeyed, failures told apart, keys checked first and never shown."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.model_serving.errors import OptionError, ProvisionError, Refused, Unsure
from datadog_checks.model_serving.http.redact import MASK
from datadog_checks.model_serving.workstation.provision.access import check_access
from datadog_checks.model_serving.workstation.provision.api import Client, words_of
from datadog_checks.model_serving.workstation.provision.credentials import SITES, AccountCredentials, load_credentials

from .resources import applied, errors, monitor, told
from .standin import Fault, Limit, Standin

Connect = Callable[..., Client]


@pytest.mark.parametrize("parallel", [1, 4])
def test_limits_are_obeyed_from_the_headers(dd: Standin, connect: Connect, parallel: int) -> None:
    dd.limits["CreateMonitor"] = Limit(5, 1.0)
    wanted = [monitor(f"m{number}", f"avg(last_5m):avg:system.load.1{{*}} > {number}", number) for number in range(12)]
    outcomes = applied(connect(parallel=parallel), wanted)
    assert set(told(outcomes).values()) == {"done"}
    assert len(dd.state.monitors) == 12
    # Each of those that are under way when the last call of a window is used up may be turned away, and no other.
    refused = [call for call in dd.calls if call.status == 429]
    assert len(refused) <= 3 * (parallel - 1)


def test_a_limit_beyond_patience_is_a_refusal_in_its_own_words(dd: Standin, connect: Connect) -> None:
    dd.limits["CreateMonitor"] = Limit(0, 3600.0)
    outcomes = applied(connect(patience=5.0), [errors()])
    assert told(outcomes) == {
        "monitor:errors.share": "failed 429: Rate limit of 0 requests in 3600 seconds reached. Please try again later."
    }
    assert dd.count("CreateMonitor") == 1


@pytest.mark.parametrize("do", ["close", "hang", "cut", "garbage", "status"])
def test_what_may_be_repeated_is_and_a_create_is_not(dd: Standin, connect: Connect, do: str) -> None:
    client = connect(timeout=2.0 if do == "hang" else 10.0)
    dd.faults.add(Fault(do, where="ListMonitors", times=2))
    assert client.call(client.monitors.list_monitors) == []
    assert dd.count("ListMonitors") == 3
    dd.faults.add(Fault(do, where="CreateMonitor"))
    with pytest.raises(Unsure):
        client.call(client.monitors.create_monitor, once=True, body=dict(errors().body))
    assert dd.count("CreateMonitor") == 1


def test_it_gives_up_after_three_attempts(dd: Standin, connect: Connect) -> None:
    client = connect()
    dd.faults.add(Fault("status", times=9, status=500, body={"errors": ["a", "b"]}))
    with pytest.raises(Unsure, match="500: a; b"):
        client.call(client.monitors.list_monitors)
    assert dd.count() == 3


def test_a_refusal_is_not_repeated(dd: Standin, connect: Connect) -> None:
    client = connect()
    with pytest.raises(Refused, match="404: Monitor not found") as caught:
        client.call(client.monitors.get_monitor, monitor_id=1)
    assert (caught.value.status, caught.value.words, dd.count()) == (404, "Monitor not found", 1)


def test_keys_do_not_follow_a_redirect(dd: Standin, connect: Connect) -> None:
    client = connect()
    with Standin() as other:
        dd.faults.add(Fault("status", status=302, headers={"Location": f"{other.url}/api/v1/monitor"}, body={}))
        with pytest.raises(Refused, match="302"):
            client.call(client.monitors.list_monitors)
        assert other.count() == 0


BODIES = [
    ({"errors": ["a", "b"]}, "a; b"),
    ({"errors": [{"status": "400", "title": "Bad", "detail": "No such tag"}]}, "No such tag"),
    ({"errors": [{"title": "Generic Error"}]}, "Generic Error"),
    ({"error": "plain"}, "plain"),
    ({"data": [], "errors": {"x": "used in dashboard y"}}, '{"x": "used in dashboard y"}'),
    ({"message": "other"}, '{"message": "other"}'),
    ("<html><body>Please log in</body></html>", "Please log in"),
    ("two\n lines", "two lines"),
    ("", ""),
    (None, ""),
    ("x" * 5000, "x" * 600 + "..."),
]


@pytest.mark.parametrize(("body", "words"), BODIES)
def test_the_words_of_the_api(body: Any, words: str) -> None:
    assert words_of(body) == words


ACCESS: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("a wrong API key", {"api_key": "wrong-api-key"}, {}, "doesn't take the API key .*Check DD_API_KEY.*DD_SITE"),
    ("a wrong application key", {"app_key": "wrong-app-key"}, {}, "but not the application key .*Check DD_APP_KEY"),
    ("no permission", {}, {"missing_permissions": {"monitors_write"}}, "lacks the permission monitors_write"),
    (
        "two permissions",
        {},
        {"missing_permissions": {"monitors_write", "slos_write"}},
        "lacks the permissions monitors_write, slos_write",
    ),
    (
        "a limited key",
        {},
        {"scopes": {"monitors_read", "monitors_write", "user_app_keys", "user_access_read"}},
        "limited to scopes that lack the permission slos_write",
    ),
]


@pytest.mark.parametrize(("keys", "policy", "words"), [case[1:] for case in ACCESS], ids=[case[0] for case in ACCESS])
def test_keys_and_permissions_are_checked_first(
    dd: Standin, keys: dict[str, Any], policy: dict[str, Any], words: str
) -> None:
    for name, value in policy.items():
        setattr(dd.policy, name, value)
    client = Client(
        AccountCredentials(**{"api_key": dd.api_key, "app_key": dd.app_key, "url": dd.url, **keys}), pause=0.001
    )
    with pytest.raises(ProvisionError, match=words) as caught:
        check_access(client, {"monitors_write", "slos_write"})
    assert "wrong-a" not in str(caught.value)
    assert dd.calls[0].operation == "Validate"
    client.close()


def test_where_permissions_are_not_told_the_calls_tell(dd: Standin, connect: Connect) -> None:
    dd.faults.add(Fault("status", where="GetCurrentUser", body={"data": {"id": "x"}}, status=200))
    dd.faults.add(Fault("status", where=("ListUserPermissions", "ListCurrentUserApplicationKeys"), times=2, status=403))
    check_access(connect(), {"monitors_write"})


SITES_WRONG = [
    ("app.datadoghq.com", "did you mean datadoghq.com"),
    ("us1.datadoghq.com", "did you mean datadoghq.com?"),
    ("eu1.datadoghq.com", "did you mean datadoghq.eu?"),
    ("datadoghq.de", "did you mean datadoghq.eu"),
    ("https://example.com", "it is one of datadoghq.com, "),
]


@pytest.mark.parametrize(("site", "hint"), SITES_WRONG)
def test_a_site_that_is_none(site: str, hint: str) -> None:
    with pytest.raises(OptionError, match=hint):
        load_credentials(environment={"DD_SITE": site, "DD_API_KEY": "a" * 32, "DD_APP_KEY": "b" * 40})


@pytest.mark.parametrize("site", SITES)
def test_every_site_is_spoken_to_by_its_own_host(site: str) -> None:
    found = load_credentials(site=site, environment={"DD_API_KEY": "a" * 32, "DD_APP_KEY": "b" * 40})
    assert found.base == f"https://api.{site}"


ADDRESSES = {
    "https://api.example.com": True,
    "HTTPS://api.example.com:8443/datadog": True,
    "http://127.0.0.1:8080": True,
    "http://127.9.9.9": True,
    "http://localhost:8080/": True,
    "http://user:secret@[::1]:8080": True,
    "http://api.example.com": False,
    "HTTP://api.example.com": False,
    "http://10.0.0.1": False,
    "http://0.0.0.0": False,
    "http://localhost.example.com": False,
    "http://localhost:secret@api.example.com": False,
    "http://127.0.0.1.example.com": False,
    "http://127.0.0.1@api.example.com": False,
    "http://[::1": False,
    "ftp://127.0.0.1": False,
    "file:///etc/secret": False,
    "api.example.com": False,
    "https://": False,
    "": False,
}


@pytest.mark.parametrize(("address", "taken"), ADDRESSES.items())
def test_keys_are_sent_in_clear_to_this_machine_alone(address: str, taken: bool) -> None:
    environment = {"DD_API_KEY": "a" * 32, "DD_APP_KEY": "b" * 40}
    if taken:
        assert load_credentials(url=address, environment=environment).base == address.rstrip("/")
        return
    with pytest.raises(OptionError, match=r"must begin with https://.*http://127\.0\.0\.1:8080") as caught:
        load_credentials(url=address, environment=environment)
    assert "secret" not in str(caught.value)


def test_keys_come_from_files_or_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("fromfile123\n")
    environment = {"DD_API_KEY": "fromenvironment1", "DD_APP_KEY": "fromenvironment2"}
    assert load_credentials(environment=environment).api_key == "fromenvironment1"
    both = load_credentials(file, file, environment=environment)
    assert (both.api_key, both.app_key) == ("fromfile123", "fromfile123")


KEYS: list[tuple[str, dict[str, str], str]] = [
    ("nothing", {}, "no API key: set DD_API_KEY, or give --api-key-file FILE"),
    ("only one", {"DD_API_KEY": "a" * 32}, "no application key: set DD_APP_KEY"),
    ("two lines", {"DD_API_KEY": "secret-one\nsecret-two"}, "DD_API_KEY: this is no API key"),
    (
        "a header's end",
        {"DD_API_KEY": "a" * 32, "DD_APP_KEY": "secret\r\nHost: x"},
        "DD_APP_KEY: this is no application key",
    ),
]


@pytest.mark.parametrize(("environment", "words"), [case[1:] for case in KEYS], ids=[case[0] for case in KEYS])
def test_keys_that_can_not_be_right(environment: dict[str, str], words: str) -> None:
    with pytest.raises(OptionError) as caught:
        load_credentials(environment=environment)
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_key_file_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"--api-key-file .*nope: can't be read: No such file"):
        load_credentials(tmp_path / "nope", environment={})


secrets = st.text("abcdefghijklmnopqrstuvwxyzABCDEF0123456789", min_size=8, max_size=40)


@given(secrets, secrets, st.text(max_size=20), st.text(max_size=20))
def test_no_key_survives_masking_or_is_in_a_representation(api: str, app: str, before: str, after: str) -> None:
    found = AccountCredentials(api, app)
    shown = found.mask(f"{before}{api} {app}{after}") + repr(found) + str(found)
    assert api not in shown.replace(MASK, "") or api in before + after + "AccountCredentials"
    assert app not in shown.replace(MASK, "") or app in before + after + "AccountCredentials"


class Proxy:
    """Answers one request for a tunnel with 403, and keeps what was asked."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.asked: list[str] = []
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.socket.getsockname()[1]}"

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                text = b""
                while b"\r\n\r\n" not in text and (part := connection.recv(4096)):
                    text += part
                self.asked.append(text.decode())
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    for name in (
        "HTTPS_PROXY",
        "https_proxy",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
        "NO_PROXY",
        "no_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    proxy = Proxy()
    yield proxy
    proxy.socket.close()


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
def test_calls_go_through_the_proxy_of_the_environment(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, f"http://frog:p%40ssword@{proxy.address}")
    client = Client(AccountCredentials("a" * 32, "b" * 40), timeout=5.0, pause=0.001)
    with pytest.raises(Unsure, match="403 Forbidden") as caught:
        check_access(client, ())
    client.close()
    assert all(text.startswith("CONNECT api.datadoghq.com:443 HTTP/1.") for text in proxy.asked)
    login = base64.b64encode(b"frog:p@ssword").decode()
    assert f"proxy-authorization: basic {login}".lower() in proxy.asked[0].lower()
    assert "ssword" not in str(caught.value)
    assert "a" * 32 not in "".join(proxy.asked), "the key goes through the tunnel, not to the proxy"


def test_no_proxy_is_obeyed(dd: Standin, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, connect: Connect) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    check_access(connect(), ())
    assert proxy.asked == []
    assert dd.count() == 3
