"""Connections that threads share, and that another thread can cut."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from datadog_checks.base.utils.http import RequestsWrapper

from datadog_checks.model_serving.http.transport import Transport
from datadog_checks.model_serving.workstation.demo.workspace import (
    API,
    Fault,
    Served,
    SimulatedWorkspace,
    serve_workspace,
)

from ..leftovers import sockets, wait_until
from .hostile import forever, hostile

PATIENCE = 30
"""Seconds after which a request that nobody cuts ends by itself."""


@pytest.fixture
def workspace() -> SimulatedWorkspace:
    return SimulatedWorkspace()


@pytest.fixture
def served(workspace: SimulatedWorkspace) -> Iterator[Served]:
    with serve_workspace(workspace) as found:
        yield found


def wait_for(fault: Fault, hits: int) -> None:
    until = time.monotonic() + PATIENCE
    while fault.hits < hits:
        assert time.monotonic() < until
        time.sleep(0.005)


def test_an_answer_that_is_cut_off_as_it_comes_holds_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection knows nothing of an answer that ends with it, as in HTTP/1.0, so closing it is not enough.

    The error may be kept for long, and so may the frames and the response that it has come through.
    """
    with hostile(forever(b"HTTP/1.0 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"a", 0.05)) as port:
        before = sockets()
        transport = Transport(RequestsWrapper({"timeout": PATIENCE}, {}), size=1)
        monkeypatch.setattr(transport.cuts, "over", lambda: True)
        with pytest.raises(requests.exceptions.ConnectionError) as caught:
            transport.wrapper().get(f"http://127.0.0.1:{port}/metrics", stream=True)
        transport.close()
        # The server's end goes when ours is closed.
        wait_until(lambda: sockets() <= before)
    assert caught.value.__traceback__ is not None


@pytest.mark.parametrize("used", ["alone", "beside another"])
def test_what_a_thread_waits_for_can_be_cut(workspace: SimulatedWorkspace, served: Served, used: str) -> None:
    """Another transport of the same wrapper, of which the options are taken, has connections of its own."""
    http = RequestsWrapper({"tls_ca_cert": served.ca, "timeout": PATIENCE}, {})
    transport, other = Transport(http, size=2), Transport(http, size=1)
    url = f"{served.url}{API}"
    # The adapters are made with the first wrapper, and there are two of them.
    wrapper = transport.wrapper()
    if used == "beside another":
        assert other.wrapper().get(url).status_code == 401
    stall = workspace.fault("stall")
    ended: list[Any] = []

    def wait() -> None:
        try:
            ended.append(wrapper.get(url))
        except requests.RequestException as error:
            ended.append(type(error))

    thread = threading.Thread(target=wait)
    thread.start()
    wait_for(stall, 1)
    assert thread.ident is not None
    transport.cuts.cut(thread.ident)
    thread.join(PATIENCE / 2)
    assert not thread.is_alive()
    assert ended == [requests.ConnectionError]
    transport.close()
    other.close()


@pytest.mark.parametrize("size", [4, 16])
def test_every_thread_keeps_its_connection(workspace: SimulatedWorkspace, served: Served, size: int) -> None:
    http = RequestsWrapper({"tls_ca_cert": served.ca, "timeout": PATIENCE}, {})
    transport, other = Transport(http, size=size), Transport(http, size=1)
    wrappers = [transport.wrapper() for _ in range(size)]
    other.wrapper()
    for _ in range(2):
        stall = workspace.fault("stall", times=size)
        threads = [threading.Thread(target=wrapper.get, args=(f"{served.url}{API}",)) for wrapper in wrappers]
        for thread in threads:
            thread.start()
        wait_for(stall, size)
        workspace.clear_faults()
        for thread in threads:
            thread.join()
    assert workspace.connections_opened == size
    transport.close()


def test_a_wrapper_that_is_given_up_takes_nothing_along(
    workspace: SimulatedWorkspace, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its adapters are those of all others. It may be collected at any moment, also while another one asks."""
    http = RequestsWrapper({"tls_ca_cert": served.ca, "timeout": PATIENCE}, {})
    transport = Transport(http, size=1, keep=False)
    url = f"{served.url}{API}"
    given_up = [transport.wrapper()]
    assert given_up[0].get(url).status_code == 401
    send = requests.adapters.HTTPAdapter.add_headers

    def collected(*args: Any, **options: Any) -> None:
        given_up.clear()
        gc.collect()
        send(*args, **options)

    # It is called between the choice of a connection pool and its use.
    monkeypatch.setattr(requests.adapters.HTTPAdapter, "add_headers", collected)
    assert transport.wrapper().get(url).status_code == 401
    assert not given_up
    transport.close()
