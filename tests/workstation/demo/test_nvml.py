"""The GPUs through NVML: real ones where there are any, else the simulated driver in place of pynvml."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

from datadog_checks.model_serving.workstation.cli.demo import demo
from datadog_checks.model_serving.workstation.demo.nvml import ERRORS, usable
from datadog_checks.model_serving.workstation.demo.scenario import Scenario
from datadog_checks.model_serving.workstation.demo.servers import nvml_source
from datadog_checks.model_serving.workstation.demo.world import World

from ...sources.gpu.fake_nvml.module import FakeModule
from ...sources.gpu.scenario import named, start

LOST_AT = 600 * 0.75
"""Seconds into a story of ten minutes at which GPU 1 is off the bus."""


@pytest.fixture
def world(scenario: Scenario) -> World:
    return World(scenario, length=600, seed=1)


@pytest.fixture
def driver(world: World) -> Iterator[Any]:
    """The simulated driver as the check finds it, initialised."""
    module: Any = world.nvml.module
    module.nvmlInit()
    yield module
    module.nvmlShutdown()
    assert world.nvml.initialised == 0


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModule]:
    """A host that has two GPUs, the fake of the check's own tests standing for them."""
    fake = FakeModule()
    fake.control(start(named("plain")["host"]))
    monkeypatch.setitem(sys.modules, "pynvml", fake.module)
    yield fake
    assert (fake.initialised(), fake.event_sets()) == (0, 0)


@pytest.mark.parametrize("before", [[], [None], [ModuleType("pynvml")]], ids=["missing", "hidden", "imported"])
def test_pynvml_is_what_it_was_when_the_demo_is_over(
    world: World, monkeypatch: pytest.MonkeyPatch, before: list[ModuleType | None]
) -> None:
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    for module in before:
        monkeypatch.setitem(sys.modules, "pynvml", module)  # type: ignore[arg-type]
    with suppress(KeyboardInterrupt), world.nvml.in_place():
        assert sys.modules["pynvml"] is world.nvml.module
        raise KeyboardInterrupt
    assert [sys.modules[name] for name in ("pynvml",) if name in sys.modules] == before


@pytest.mark.parametrize(
    ("command", "there"),
    [("driver 550.1", True), ("driver none", False), ("gpus 0", False), ("driver mismatch", False)],
)
def test_nvml_is_usable_where_it_shows_a_gpu(host: FakeModule, command: str, there: bool) -> None:
    host.control(command)
    assert usable() is there


def test_without_pynvml_the_gpus_are_simulated(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)  # type: ignore[arg-type]
    with nvml_source(world) as source:
        assert (source.system, source.instance) == ("nvml", {"gpu": "nvml", "endpoint_name": "gpu-node-1"})
        assert usable()
    assert world.gpu_sources == ("dcgm", "nvml")


def test_gpus_of_the_host_are_read_and_not_compared(host: FakeModule) -> None:
    threads = set(threading.enumerate())
    result = CliRunner().invoke(demo, ["--duration", "2"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "gpu: nvml, the real GPUs of this host" in result.output
    told = next(text for text in result.output.splitlines() if text.startswith("The GPUs of this host"))
    assert "GPU 0 35 % busy" in told
    assert "GPU 1 " in told
    assert "All 29 numbers agree." in result.output
    assert sys.modules["pynvml"] is host.module
    assert not [thread for thread in set(threading.enumerate()) - threads if thread.join(60) or thread.is_alive()]


def test_nothing_answers_before_nvml_is_initialised(world: World) -> None:
    module: Any = world.nvml.module
    for call in (module.nvmlDeviceGetCount, module.nvmlEventSetCreate, module.nvmlShutdown):
        with pytest.raises(ERRORS["Uninitialized"]):
            call()
    with pytest.raises(ERRORS["Uninitialized"]):
        module.nvmlDeviceGetPowerUsage(world.node.devices[0])


def test_a_gpu_off_the_bus_tells_only_who_it_is(world: World, driver: Any) -> None:
    world.advance(LOST_AT)
    healthy, lost = (driver.nvmlDeviceGetHandleByIndex(index) for index in range(driver.nvmlDeviceGetCount()))
    for gpu in (healthy, lost):
        assert driver.nvmlDeviceGetUUID(gpu) == gpu.gpu.uuid
    for name, more in (
        ("nvmlDeviceGetPowerUsage", ()),
        ("nvmlDeviceGetFieldValues", ([83],)),
        ("nvmlDeviceGetProcessUtilization", (0,)),
    ):
        getattr(driver, name)(healthy, *more)
        with pytest.raises(ERRORS["GpuIsLost"]):
            getattr(driver, name)(lost, *more)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("nvmlDeviceGetClockInfo", (7,)),
        ("nvmlDeviceGetFieldValues", ([1],)),
        ("nvmlDeviceGetTemperatureThreshold", (9,)),
    ],
)
def test_what_the_driver_does_not_know_is_an_invalid_argument(
    driver: Any, name: str, arguments: tuple[Any, ...]
) -> None:
    gpu = driver.nvmlDeviceGetHandleByIndex(0)
    with pytest.raises(ERRORS["InvalidArgument"]):
        getattr(driver, name)(gpu, *arguments)
    with pytest.raises(ERRORS["InvalidArgument"]):
        driver.nvmlDeviceGetHandleByIndex(2)


def test_an_xid_error_is_told_once_to_those_who_registered_before_it(world: World, driver: Any) -> None:
    gpu = driver.nvmlDeviceGetHandleByIndex(1)
    early = driver.nvmlEventSetCreate()
    driver.nvmlDeviceRegisterEvents(gpu, 8, early)
    seen: list[tuple[Any, int]] = []
    done = threading.Event()

    def wait() -> None:
        while not done.is_set():
            try:
                event = driver.nvmlEventSetWait_v2(early, 1000)
            except ERRORS["Timeout"]:
                continue
            seen.append((event.device, event.eventData))

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        world.advance(LOST_AT)
        # Taken by the time that the simulated step is over, not some time later.
        assert seen == [(gpu, 79)]
        world.advance(30)
    finally:
        done.set()
        thread.join()
    assert seen == [(gpu, 79)]
    late = driver.nvmlEventSetCreate()
    driver.nvmlDeviceRegisterEvents(gpu, 8, late)
    with pytest.raises(ERRORS["Timeout"]):
        driver.nvmlEventSetWait_v2(late, 1)
    for events in (early, late):
        driver.nvmlEventSetFree(events)
    with pytest.raises(ERRORS["InvalidArgument"]):
        driver.nvmlEventSetFree(early)
