"""An account to provision: the stand-in of the Datadog API, and a client for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from datadog_checks.model_serving.workstation.provision.api import Client
from datadog_checks.model_serving.workstation.provision.credentials import AccountCredentials

from .resources import LATENCY
from .standin import Standin


@pytest.fixture
def dd() -> Iterator[Standin]:
    """An account that has received one distribution and holds nothing else."""
    with Standin() as standin:
        standin.state.see(LATENCY, "distribution", ["env:prod", "endpoint_name:scoring"])
        yield standin


@pytest.fixture
def connect(dd: Standin) -> Iterator[Callable[..., Client]]:
    """Make a client of the account that gives up soon and hardly waits between attempts."""
    clients = []

    def make(**options: Any) -> Client:
        client = Client(
            AccountCredentials(dd.api_key, dd.app_key, url=dd.url), **{"timeout": 10.0, "pause": 0.001, **options}
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()
