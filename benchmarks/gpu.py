"""What a run of `gpu: nvml` costs: calls into NVML, time, and what reading fields in one call saves.

    python -m benchmarks.gpu [--quick]

It runs against the fake NVML of the tests, a shared library that answers at once: so the time is the check's, that of
pynvml and of ctypes. Needs a C compiler and nvidia-ml-py.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from datadog_checks.base.stubs import aggregator

from datadog_checks.model_serving.scrape.versions import SeenVersions
from datadog_checks.model_serving.settings import GpuSettings
from datadog_checks.model_serving.sources.gpu.device import table
from datadog_checks.model_serving.sources.gpu.driver import Driver
from datadog_checks.model_serving.sources.gpu.fields import read_fields
from datadog_checks.model_serving.sources.gpu.model import Device
from datadog_checks.model_serving.sources.gpu.source import GpuSource
from tests.conftest import make_check
from tests.sources.gpu.fake_nvml.library import Library, Unavailable, build
from tests.sources.gpu.scenario import named, start

INTERVAL = 15.0
"""Seconds between two runs, the Agent's default."""

UNMEASURED = """\
What this can't tell: the driver's own time, which comes on top on a real GPU, and so what batching saves there. NVML
samples nvmlDeviceGetPcieThroughput over 20 ms, for which the call waits, once for each direction: it is made only where
a card has no byte counters (not on those measured here), and then costs some 40 ms of waiting per run and GPU."""


class Nowhere:
    """A check that submits to nowhere, so that the time is that of reading."""

    hostname = "nowhere"
    log = logging.getLogger("nowhere")

    def __init__(self) -> None:
        self.submitted = 0
        self.versions = SeenVersions(self, self)  # type: ignore[arg-type]

    def gauge(self, *_: Any, **__: Any) -> None:
        self.submitted += 1

    def read(self, _: str) -> str:
        return ""

    count = event = service_check = write = gauge


def say(text: str = "") -> None:
    sys.stdout.write(f"{text}\n")


def measure(work: Callable[[], object], runs: int) -> tuple[list[float], list[float]]:
    """Wall and CPU seconds of each of so many runs; the CPU's are those of all threads."""
    wall, cpu = [], []
    for _ in range(runs):
        before, busy = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - before)
        cpu.append(time.process_time() - busy)
    return wall, cpu


def spread(values: list[float]) -> str:
    """Median and the quartiles around it, in milliseconds."""
    low, _, high = quantiles(values, n=4)
    return f"{median(values) * 1e3:8.3f} ms  ({low * 1e3:.3f} to {high * 1e3:.3f})"


def row(title: str, wall: list[float], cpu: list[float]) -> None:
    share = median(cpu) / INTERVAL * 100
    say(f"  {title:<36} wall {spread(wall)}   cpu {median(cpu) * 1e3:8.3f} ms = {share:.3f} % of {INTERVAL:.0f} s")


def host(nvml: Library, gpus: int) -> None:
    """That many cards of the Hopper kind, on which everything that the check asks for is there, one process on each."""
    description = named("nvlink")["host"]
    description["gpus"][0]["times"] = gpus
    nvml.control(start(description))
    pid = os.getpid()
    for index in range(gpus):
        nvml.control(f"process {index} {pid} 60000000000\nsample {index} {pid} 1000 90")


def whole_run(nvml: Library, gpus: int, runs: int) -> None:
    """A run as the Agent makes it, with the lookup that is made once a minute left out and measured apart."""
    host(nvml, gpus)
    nowhere = Nowhere()
    source = GpuSource(nowhere, "GPUs", GpuSettings(False, "box", (), True, 10))
    check = make_check(gpu="nvml", endpoint_name="box")
    try:
        for run in (source.run, check.run):
            assert not run()
        calls, submitted = nvml.calls(device="0"), nowhere.submitted
        source.run()
        calls, submitted = nvml.calls(device="0") - calls, nowhere.submitted - submitted
        say(f"{gpus} GPU{'s' * (gpus > 1)}: {calls} calls into NVML per run and GPU, {submitted} submissions per run")
        row("reading, submitting to nowhere", *measure(source.run, runs))

        def run_check() -> None:
            aggregator.reset()
            check.run()

        row("the whole check, into a stub", *measure(run_check, runs))

        def look_up() -> None:
            source._discovered = float("-inf")
            source.run()

        row("reading after looking GPUs up again", *measure(look_up, max(runs // 4, 20)))
    finally:
        source.close()
        check.cancel()


def batched(nvml: Library, runs: int) -> None:
    """All fields of a GPU in one call, and in one call each, in turns."""
    host(nvml, 1)
    driver = Driver()
    driver.open()
    try:
        device = Device(driver.call("nvmlDeviceGetHandleByIndex", 0), 0, "GPU-h0", ())
        list(read_fields(driver, device, table()["fields"]))
        entries = [entry for entry in table()["fields"] if entry["field"] not in device.lacks]

        def together() -> None:
            list(read_fields(driver, device, entries))

        def apart() -> None:
            for entry in entries:
                list(read_fields(driver, device, [entry]))

        counts, ratios = [], []
        times: dict[str, list[float]] = {"together": [], "apart": []}
        for work in (together, apart):
            before = nvml.calls()
            work()
            counts.append(nvml.calls() - before)
        for _ in range(runs):
            for name, work in (("together", together), ("apart", apart)):
                times[name] += measure(work, 1)[0]
            ratios.append(times["apart"][-1] / times["together"][-1])
        say(f"{len(entries)} fields of one GPU, in turns within this run:")
        say(f"  in one call                          wall {spread(times['together'])}   calls {counts[0]}")
        say(f"  one call each                        wall {spread(times['apart'])}   calls {counts[1]}")
        low, _, high = quantiles(ratios, n=4)
        say(f"  one call each takes {median(ratios):.2f}x as long ({low:.2f} to {high:.2f})")
    finally:
        driver.close()


def main(arguments: Iterable[str]) -> int:
    parser = argparse.ArgumentParser(description="What a run of `gpu: nvml` costs.")
    parser.add_argument("--runs", type=int, default=400, help="runs of each kind, of which the median is told")
    parser.add_argument("--quick", action="store_true", help="few runs")
    options = parser.parse_args(list(arguments))
    if options.quick:
        options.runs = 10
    with tempfile.TemporaryDirectory() as folder:
        try:
            nvml = Library(build(Path(folder)))
            version = metadata.version("nvidia-ml-py")
        except (Unavailable, metadata.PackageNotFoundError) as error:
            say(f"Nothing measured: {error}")
            return 1
        python = platform.python_version()
        say(f"Python {python}, nvidia-ml-py {version}, {os.cpu_count()} CPUs, {options.runs} runs each.")
        say("Median, and in brackets the middle half of all runs.")
        for gpus in (1, 8):
            say()
            whole_run(nvml, gpus, options.runs)
        say()
        batched(nvml, options.runs)
        say()
        say(UNMEASURED)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
