"""XID errors: each is told once, whenever it happens, and the thread that waits for them ends when it should."""

from __future__ import annotations

import re
import threading
from collections import Counter
from typing import Any

import pytest
import yaml

from datadog_checks.model_serving.catalog.codes import CODES, builtin_codes
from datadog_checks.model_serving.sources.gpu import device, events, source
from datadog_checks.model_serving.sources.gpu.driver import Driver
from datadog_checks.model_serving.sources.gpu.events import XidWatcher

from .conftest import Host, until, watching
from .scenario import named
from .test_driver import error_of
from .test_scenarios import happened

TWO = named("xid")["host"]
TABLE = CODES / "xid.yaml"


def counted(aggregator: Any) -> Counter[str]:
    """How often each code was counted."""
    found: Counter[str] = Counter()
    for metric in aggregator.metrics("model_serving.gpu.xid.count"):
        found[next(tag for tag in metric.tags if tag.startswith("xid:"))] += int(metric.value)
    return found


def told(aggregator: Any) -> Counter[str]:
    """How many events there were of each code."""
    return Counter(f"xid:{event['msg_title'].rpartition(' ')[2]}" for event in aggregator.events)


def test_none_is_lost_and_none_twice(host: Host, aggregator: Any) -> None:
    """XIDs that arrive at any time, while GPUs are looked up again, come and go: as many as there were."""
    host.boot(TWO)
    check = host.check()
    assert error_of(check) == ""
    codes = [13, 31, 43, 45, 48, 63]
    done = threading.Event()

    def happen() -> None:
        for number in range(300):
            host.nvml.control(f"xid {number % 2} {codes[number % 6]}")
        done.set()

    thread = threading.Thread(target=happen)
    thread.start()
    while not done.is_set():
        host.clock.now += 60
        assert error_of(check) == ""
    thread.join()
    until(host.nvml.settled)
    assert error_of(check) == ""
    expected = Counter({f"xid:{code}": 50 for code in codes})
    assert counted(aggregator) == expected
    assert told(aggregator) == expected


@pytest.mark.parametrize(
    "function",
    [
        "nvmlDeviceGetCount_v2",
        "nvmlDeviceGetHandleByIndex_v2",
        "nvmlDeviceGetUUID",
        "nvmlDeviceGetMigMode",
        "nvmlDeviceGetTemperature",
    ],
)
def test_while_gpus_are_looked_up(function: str, host: Host, aggregator: Any) -> None:
    """An XID in the middle of a lookup or of a reading is told in that run or in the next one."""
    host.boot(TWO)
    check = host.check()
    assert error_of(check) == ""
    host.clock.now += 60
    host.nvml.control(f"during {function} xid 1 74")
    assert error_of(check) == ""
    until(host.nvml.settled)
    assert error_of(check) == ""
    assert counted(aggregator) == told(aggregator) == {"xid:74": 1}


def test_just_before_the_driver_goes(host: Host, aggregator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An XID that comes in the run in which the driver is lost is told in that run."""
    host.boot(TWO)
    check = host.check()
    assert error_of(check) == ""

    def go(driver: Any, gpu: Any) -> Any:
        host.control("xid 1 79")
        host.control("driver none 1")
        return device.read(driver, gpu)

    monkeypatch.setattr(source, "read", go)
    assert "the NVIDIA driver went away" in error_of(check)
    assert counted(aggregator) == told(aggregator) == {"xid:79": 1}


def test_a_gpu_that_appears(host: Host, aggregator: Any) -> None:
    """A GPU that appears is watched from then on, and the one that was there is watched without a gap."""
    host.boot(TWO)
    host.control("gpus 1")
    check = host.check()
    assert error_of(check) == ""
    host.control("gpus 2", "xid 0 13", "during nvmlDeviceRegisterEvents xid 0 31")
    host.clock.now += 60
    assert error_of(check) == ""
    host.control("xid 1 43")
    assert error_of(check) == ""
    assert counted(aggregator) == {"xid:13": 1, "xid:31": 1, "xid:43": 1}
    assert host.nvml.calls("nvmlEventSetCreate") == 1


def test_a_gpu_that_spoils_the_set(host: Host, aggregator: Any) -> None:
    """An unknown error on registering leaves a set undefined: it is given back, and the other GPUs get another."""
    host.boot(TWO)
    host.control("fail 0 nvmlDeviceRegisterEvents 999 1")
    check = host.check()
    assert error_of(check) == ""
    assert host.nvml.calls("nvmlEventSetCreate") == 2
    assert host.nvml.calls("nvmlEventSetFree") == 1
    host.control("xid 1 43")
    assert error_of(check) == ""
    assert counted(aggregator) == {"xid:43": 1}


def test_a_gpu_that_spoils_the_set_later(host: Host, aggregator: Any) -> None:
    """The same for a GPU that appears while others are watched; what was seen is still told."""
    host.boot(TWO)
    host.control("gpus 1")
    check = host.check()
    assert error_of(check) == ""
    host.control("gpus 2", "fail 1 nvmlDeviceRegisterEvents 999", "xid 0 13")
    for _ in range(3):
        host.clock.now += 60
        assert error_of(check) == ""
    host.control("xid 0 43")
    assert error_of(check) == ""
    assert counted(aggregator) == {"xid:13": 1, "xid:43": 1}
    # Once for the GPU that was there, once more without the one that spoils it, and that is remembered.
    assert host.nvml.calls("nvmlEventSetCreate") == 3


def test_no_gpu_has_events(host: Host) -> None:
    """Where no GPU tells XIDs there is no thread, and nothing is held."""
    host.boot(named("plain")["host"])
    assert error_of(host.check()) == ""
    assert watching() == []
    assert host.nvml.event_sets() == 0


def test_event_text(host: Host, aggregator: Any) -> None:
    """An event says what happened, on which GPU, what it means and what to do, in one go."""
    host.boot(TWO)
    check = host.check(tags=["team:ml"])
    assert error_of(check) == ""
    host.control("xid 0 79")
    assert error_of(check) == ""
    (event,) = aggregator.events
    assert event["msg_title"] == "GPU 0: XID 79"
    assert "GPU GPU-0" in event["msg_text"]
    assert "fell off the bus" in event["msg_text"]
    assert "What to do: drain the node" in event["msg_text"]
    assert event["alert_type"] == "error"
    assert event["host"] == check.hostname
    assert {"team:ml", "gpu:0", "gpu_uuid:GPU-0", "xid:79", "endpoint_name:box"} <= set(event["tags"])
    assert happened(aggregator)


def test_cancel_ends_the_thread(host: Host) -> None:
    """After cancel() there is no thread and nothing of NVML held, and a second cancel() changes nothing."""
    host.boot(TWO)
    check = host.check()
    assert error_of(check) == ""
    assert watching() == ["model_serving-xid"]
    check.cancel()
    assert watching() == []
    assert host.nvml.initialised() == 0
    check.cancel()
    assert host.nvml.calls("nvmlShutdown") == 1


def test_cancel_during_a_run(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """cancel() from another thread, in the middle of a run: the run ends early and leaves nothing behind."""
    host.boot(TWO)
    check = host.check()
    assert error_of(check) == ""
    inside, go_on = threading.Event(), threading.Event()
    read, seen = device.read, []

    def slow(driver: Any, gpu: Any) -> Any:
        seen.append(gpu.index)
        inside.set()
        go_on.wait()
        return read(driver, gpu)

    monkeypatch.setattr(source, "read", slow)
    run = threading.Thread(target=check.run)
    run.start()
    inside.wait()
    end = threading.Thread(target=check.cancel)
    end.start()
    until(lambda: isinstance(check.source, source.GpuSource) and check.source._ended)
    go_on.set()
    run.join()
    end.join()
    assert seen == [0]
    assert watching() == []
    assert host.nvml.initialised() == 0


def test_cancel_does_not_wait_for_a_run_that_hangs(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that hangs in the driver doesn't hold up the Agent: it leaves NVML itself when it is done."""
    host.boot(TWO)
    check = host.check()
    assert error_of(check) == ""
    inside, go_on = threading.Event(), threading.Event()

    def hang(driver: Any, gpu: Any) -> Any:
        inside.set()
        go_on.wait()
        return []

    monkeypatch.setattr(source, "read", hang)
    monkeypatch.setattr(source, "PATIENCE", 0.01)
    run = threading.Thread(target=check.run)
    run.start()
    inside.wait()
    check.cancel()
    assert host.nvml.initialised() == 1
    go_on.set()
    run.join()
    assert watching() == []
    assert host.nvml.initialised() == 0


def test_stopped_while_it_waits(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watcher's thread ends with the wait that it is in, and gives its event set back."""
    host.boot(TWO)
    check = host.check()
    assert error_of(check) == ""
    assert isinstance(check.source, source.GpuSource)
    watcher = check.source.watcher
    assert watcher is not None
    before = host.nvml.calls("nvmlEventSetWait_v2")
    until(lambda: host.nvml.calls("nvmlEventSetWait_v2") > before)
    assert watcher.stop()
    assert not watcher.alive
    assert host.nvml.event_sets() == 0
    # A check whose watcher ended looks the GPUs up again and watches on.
    host.control("xid 0 13")
    assert error_of(check) == ""
    assert watching() == ["model_serving-xid"]


def test_a_thread_that_hangs_keeps_nvml(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """NVML is not left under a thread that hangs inside of it."""
    host.boot(TWO)
    check = host.check()
    assert error_of(check) == ""
    assert isinstance(check.source, source.GpuSource)
    watcher, driver = check.source.watcher, check.source.driver
    assert watcher is not None
    with monkeypatch.context() as context:
        context.setattr(watcher, "stop", lambda: False)
        check.cancel()
    assert host.nvml.initialised() == 1
    assert watcher.stop()
    driver.close()


def test_wait_is_short() -> None:
    """What cancel() waits for at most."""
    assert events.WAIT <= 1000
    assert XidWatcher(Driver(), []).stop()


def test_table() -> None:
    """Every code has a meaning and an action, each a clause that a sentence can hold; no code is given twice."""
    table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))["codes"]
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if re.match(r" +\d+:", line)]
    assert len(lines) == len(table)
    assert list(table) == sorted(table)
    assert {13, 31, 43, 45, 48, 63, 64, 74, 79, 92, 94, 95, 119, 120, 154} <= set(table)
    for code, entry in table.items():
        assert isinstance(code, int)
        assert set(entry) == {"meaning", "action"}, code
        for text in entry.values():
            assert text == text.strip()
            assert len(text) > 10, code
            assert not text.endswith("."), code
            assert text[0].islower() or text.split()[0] in ("GPU", "NVLink"), code
    codes = builtin_codes("xid")
    assert codes.fields(13) == table[13]
    assert codes.fields(12345) == codes.unknown != {}
    assert "source" in TABLE.read_text(encoding="utf-8").lower()
