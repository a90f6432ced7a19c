"""A watch over a workspace that is cancelled, whatever it is doing, ends at once and leaves nothing behind."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from datadog_checks.model_serving import ModelServingCheck
from datadog_checks.model_serving.workstation.demo.workspace import API, TOKEN_PATH

from ..conftest import make_check
from ..leftovers import sockets, threads, wait_until
from .databricks_workspace import TOKEN, Clock, World, make_world


@pytest.fixture
def world(aggregator: Any, datadog_agent: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    clock = Clock()
    clock.install(monkeypatch)
    with make_world(aggregator, clock) as world:
        for number in range(20):
            world.workspace.serving(f"e{number:02}")
        yield world


def cancelled(check: ModelServingCheck, when: Callable[[], bool]) -> None:
    """Cancel a run that goes on, from another thread as the Agent does, and see that all ends."""
    run = threading.Thread(target=check.run)
    run.start()
    wait_until(when)
    assert run.is_alive()
    check.cancel()
    # What it waits for would take far longer.
    run.join(60)
    assert not run.is_alive()
    wait_until(lambda: not threads())


# Each time-out is beyond what a test waits: what ends in time has been ended.
PATIENT: dict[str, Any] = {"timeout": 3600, "endpoint_deadline": 3600}


@pytest.mark.parametrize(
    ("kind", "match", "how"),
    [
        ("stall", API, {}),
        ("drip", API, {"interval": 0.2}),
        ("stall", f"{API}/*/metrics", {}),
        ("drip", f"{API}/*/metrics", {"interval": 0.2}),
        ("stall", f"{API}/e??", {}),
        ("stall", TOKEN_PATH, {}),
        ("drip", TOKEN_PATH, {"interval": 0.2}),
        ("rate_limit", f"{API}/*", {"retry_after": 200}),
        ("rate_limit", API, {"retry_after": 200}),
        ("rate_limit", TOKEN_PATH, {"retry_after": 200}),
    ],
)
def test_while_it_waits(kind: str, match: str, how: dict[str, Any], world: World) -> None:
    """A run that waits ends, and says nothing of what was cut off by that."""
    check = world.oauth(**PATIENT)
    fault = world.workspace.fault(kind, match=match, times=None, **how)
    cancelled(check, lambda: fault.hits > 0)
    stub = world.aggregator
    assert [each for name in list(stub._service_checks) for each in stub.service_checks(name) if each.status] == []
    assert check.get_warnings() == []
    world.workspace.clear_faults()
    wait_until(lambda: world.workspace.open_connections == 0)


def test_what_is_woken_knows_why(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is silent even where it comes to its end before `cancel` has come to the threads."""
    check = world.oauth(**PATIENT)
    fault = world.workspace.fault("rate_limit", match=API, times=None, retry_after=200)
    run = threading.Thread(target=check.run)
    run.start()
    wait_until(lambda: fault.hits > 0)
    transport = check.source._token_transport
    close = transport.close
    monkeypatch.setattr(transport, "close", lambda: (run.join(60), close()))
    check.cancel()
    assert not run.is_alive()
    assert world.aggregator.service_checks("model_serving.workspace.health") == []
    assert check.get_warnings() == []


def test_while_another_list_stalls(world: World) -> None:
    """What goes on beside the runs ends as well."""
    check = world.oauth(**PATIENT)
    assert world.run(check).error == ""
    fault = world.workspace.fault("stall", match=API, times=None)
    assert world.run(check, 60).error == ""
    wait_until(lambda: fault.hits > 0)
    check.cancel()
    assert not threads()
    wait_until(lambda: world.workspace.open_connections == 0)


def test_idle_and_again(world: World) -> None:
    """A second cancel, and a run after it, do nothing: none sends, submits or starts anything."""
    check = world.oauth()
    assert world.run(check).error == ""
    check.cancel()
    calls = len(world.workspace.calls)
    for _ in range(2):
        check.cancel()
        run = world.run(check, 120)
        assert (run.error, run.warnings, run.metrics, run.checks, run.events) == ("", [], [], {}, [])
    assert len(world.workspace.calls) == calls
    assert not threads()


def test_before_the_first_run(world: World) -> None:
    """A check that was cancelled before it was ready starts nothing when it is."""
    check = world.oauth()
    check.cancel()
    run = world.run(check)
    assert (run.error, run.checks) == ("", {})
    assert world.workspace.calls == []
    assert not threads()


@contextmanager
def mute() -> Iterator[tuple[int, list[socket.socket]]]:
    """A server that takes connections and never says a word. Gives its port, and the connections."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def take() -> None:
            while True:
                try:
                    taken.append(listener.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield listener.getsockname()[1], taken
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for each in taken:
                each.close()


@pytest.mark.parametrize("oauth", [True, False])
def test_handshake_that_is_not_answered(oauth: bool, aggregator: Any, datadog_agent: Any) -> None:
    """Neither does the opening of a connection keep it, while TLS is still to be agreed on."""
    client = {"databricks_client_id": "client-0123456789", "databricks_client_secret": "secret-0123456789"}
    login: dict[str, Any] = client if oauth else {"databricks_token": TOKEN}
    before = sockets()
    with mute() as (port, taken):
        check = make_check(databricks_host=f"https://127.0.0.1:{port}", **login, **PATIENT)
        cancelled(check, lambda: len(taken) > 0)
    wait_until(lambda: sockets() <= before)


def test_each_moment(world: World) -> None:
    """A run that is cancelled after any number of answers ends, with nothing left."""
    total = 42
    for number in range(1, total, 4):
        check = world.oauth(max_connections=3)
        before = len(world.workspace.calls)
        run = threading.Thread(target=check.run)
        run.start()
        wait_until(lambda before=before, number=number: len(world.workspace.calls) >= before + number)  # type: ignore[misc]
        check.cancel()
        run.join(60)
        assert not run.is_alive()
        assert not threads()
        wait_until(lambda: world.workspace.open_connections == 0)
