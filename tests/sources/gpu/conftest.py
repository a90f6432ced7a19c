"""Hosts with GPUs that are not there: the fake NVML under the check, and a clock that stands still."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from datadog_checks.model_serving import ModelServingCheck
from datadog_checks.model_serving.sources.gpu import driver, events, fields, source

from ...conftest import make_check
from .fake_nvml.library import Library, Unavailable, build
from .fake_nvml.module import FakeModule
from .scenario import spelt, start

DEADLINE = 60.0
"""Seconds after which something that happens at once has not happened."""


@dataclass
class Clock:
    """A monotonic clock that only a test moves on."""

    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now


@dataclass
class Host:
    """A host with fake GPUs, and the checks that run on it."""

    nvml: Any
    clock: Clock
    checks: list[ModelServingCheck] = field(default_factory=list)

    def boot(self, description: dict[str, Any]) -> None:
        self.nvml.control(start(description))

    def control(self, *commands: str) -> None:
        """Change what the GPUs answer, and wait until whoever waits for events has taken them."""
        self.nvml.control("\n".join(map(spelt, commands)))
        until(self.nvml.settled)

    def check(self, **instance: Any) -> ModelServingCheck:
        check = make_check(**{"gpu": "nvml", "endpoint_name": "box", "gpu_processes": False, **instance})
        self.checks.append(check)
        return check


def until(happened: Callable[[], bool]) -> None:
    """Wait for something that another thread does at once."""
    end = time.monotonic() + DEADLINE
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.001)


def watching() -> list[str]:
    """Threads of the check that are alive."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("model_serving")]


@pytest.fixture(scope="session")
def library_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fake NVML, compiled."""
    try:
        return build(tmp_path_factory.mktemp("nvml"))
    except Unavailable as error:
        if "does not compile" in str(error):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def library(library_path: Path) -> Library:
    """The fake NVML, loaded into this process where pynvml finds it."""
    pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    return Library(library_path)


@pytest.fixture(params=["library", "module"])
def nvml(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The fake NVML, once as the library that pynvml loads and once as a module in pynvml's place.

    Afterwards nothing of it may be held: no thread, no event set, no initialisation.
    """
    if request.param == "library":
        fake: Any = request.getfixturevalue("library")
    else:
        fake = FakeModule()
        monkeypatch.setitem(sys.modules, "pynvml", fake.module)
    fake.control("reset")
    monkeypatch.setattr(events, "WAIT", 20)
    monkeypatch.setattr(driver, "DRIVER_FILES", ())
    yield fake
    assert watching() == []
    assert fake.event_sets() == 0
    assert fake.initialised() == 0
    assert fake.registered_twice() == 0


@pytest.fixture
def host(nvml: Any, monkeypatch: pytest.MonkeyPatch, aggregator: Any, datadog_agent: Any) -> Iterator[Host]:
    """A host without GPUs so far. Its checks are cancelled in the end, as the Agent does."""
    clock = Clock()
    monkeypatch.setattr(source, "time", clock)
    monkeypatch.setattr(fields, "time", SimpleNamespace(monotonic=clock.monotonic))
    host = Host(nvml, clock)
    yield host
    for check in host.checks:
        check.cancel()
