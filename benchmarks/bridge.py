"""What the bridge costs: beside the check alone, on the disk, after an hour's outage, and in memory over a day.

    python -m benchmarks.bridge [--quick]

Endpoint and intake are in a process of their own, which only hands out and takes bytes: what is measured is this one.
Times are of the processor unless they are called seconds. The disk is that of the folder for temporary files.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import resource
import sys
import tempfile
import time
from bisect import bisect_right
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from datadog_checks.model_serving.workstation.bridge.deliverer import Deliverer
from datadog_checks.model_serving.workstation.bridge.engine import Engine, SpoolingStandIn
from datadog_checks.model_serving.workstation.bridge.intake import Intake
from datadog_checks.model_serving.workstation.bridge.settings import BridgeSettings, SpoolSettings
from datadog_checks.model_serving.workstation.bridge.spool import NewBatch, Spool
from datadog_checks.model_serving.workstation.provision.credentials import AccountCredentials
from datadog_checks.model_serving.workstation.standin.configuration import Configuration
from datadog_checks.model_serving.workstation.standin.install import standing_in
from datadog_checks.model_serving.workstation.standin.runner import Runner
from datadog_checks.model_serving.workstation.standin.standin import StandIn

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
INTERVAL = 15.0
NEW = 10
"""Requests of each path from one scrape to the next."""


def say(text: str = "") -> None:
    """To whoever runs this."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def payload(paths: int, scrape: int) -> bytes:
    """A counter and a histogram of each of some paths: 18 samples that become 3 series and a distribution."""
    lines = []
    for number in range(paths):
        observed = random.Random(number)
        values = sorted(observed.lognormvariate(-2, 0.8) for _ in range(NEW * (scrape % 50 + 1)))
        total = len(values) + NEW * (scrape // 50) * 50
        counts = [bisect_right(values, bound) + total - len(values) for bound in BOUNDS]
        labels = f'model="m{number}"'
        lines.append(f"inference_requests_total{{{labels}}} {total}")
        lines += [
            f'inference_latency_seconds_bucket{{{labels},le="{at}"}} {count}'
            for at, count in zip((*BOUNDS, "+Inf"), (*counts, total), strict=True)
        ]
        lines.append(f"inference_latency_seconds_sum{{{labels}}} {total * 0.15}")
        lines.append(f"inference_latency_seconds_count{{{labels}}} {total}")
    return "\n".join(["# TYPE inference_latency_seconds histogram", *lines, ""]).encode()


def serve(paths: int, ports: Any) -> None:
    """The other process: payloads at /metrics, one after the other, and 202 for everything that is sent."""
    bodies = [payload(paths, scrape) for scrape in range(50)]
    scrapes = 0

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            nonlocal scrapes
            self.answer(200, bodies[scrapes % 50])
            scrapes += 1

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.answer(202, b"{}")

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self._headers_buffer.append(b"\r\n" + body)  # type: ignore[attr-defined]
            self.flush_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    ports.put(server.server_port)
    server.serve_forever()


class Bench:
    """A bridge and the process that it reads from and sends to. Time passes only where it is told to."""

    def __init__(self, stack: ExitStack, paths: int) -> None:
        # A copy of this process, which need not import everything once more.
        context = multiprocessing.get_context("fork")
        ports = context.SimpleQueue()
        process = context.Process(target=serve, args=(paths, ports), daemon=True)
        process.start()
        stack.callback(process.join)
        stack.callback(process.terminate)
        url = f"http://127.0.0.1:{ports.get()}"
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.now = 1_700_000_000.0
        self.samples = paths * 18
        self.instance: dict[str, Any] = {"openmetrics_endpoint": f"{url}/metrics", "serving_system": "custom_ml"}
        self.instance |= {"timeout": 60, "max_returned_metrics": 10**6}
        credentials = AccountCredentials("0123456789abcdef", "", url=url)
        configuration = Configuration(folder / "bridge.yaml", {}, ((1, self.instance),))
        settings = BridgeSettings(configuration, SpoolSettings(folder / "bridge.db"), credentials)
        self.spool = Spool(settings.spool.path, settings.spool.max_bytes)
        stack.callback(self.spool.close)
        stand_in = SpoolingStandIn(spool=self.spool)
        stand_in.recorder.clock = self.time
        stack.enter_context(standing_in(stand_in))
        from datadog_checks.model_serving import ModelServingCheck

        self.engine = Engine(ModelServingCheck, settings, self.spool, stand_in, clock=self.time)
        stack.callback(self.engine.close)
        self.intake = Intake(credentials)
        stack.callback(self.intake.close)
        self.deliverer = Deliverer(self.spool, self.intake, settings.spool.max_age, self.time)

    def time(self) -> float:
        return self.now

    def run(self) -> None:
        round_ = self.engine.run(self.engine.watched[0])
        assert round_.runs[0].error is None, round_.runs[0].error
        self.series = len(round_.runs[0].commit.series)
        self.distributions = len(round_.runs[0].commit.distributions)
        self.now += INTERVAL

    def deliver(self) -> int:
        """Deliver everything. Returns the number of requests."""
        requests = 0
        send = self.intake.send

        def counted(*arguments: Any) -> Any:
            nonlocal requests
            requests += 1
            return send(*arguments)

        self.intake.send = counted  # type: ignore[method-assign]
        assert self.deliverer.drain(0.0, lambda seconds: True)
        self.intake.send = send  # type: ignore[method-assign]
        return requests


def end_to_end(quick: bool) -> None:
    paths, rounds = (100, 3) if quick else (3300, 7)
    with ExitStack() as stack:
        bench = Bench(stack, paths)
        alone = _alone(bench, rounds)
        bench.run()
        bench.deliver()
        costs, seconds = [], []
        for _ in range(rounds):
            began, clock = time.process_time(), time.perf_counter()
            bench.run()
            bench.deliver()
            costs.append(time.process_time() - began)
            seconds.append(time.perf_counter() - clock)
    whole = min(costs)
    contexts = bench.series + bench.distributions
    say(f"{bench.samples:,} samples that become {bench.series:,} series and {bench.distributions:,} distributions:")
    say(f"  end to end         {bench.samples / min(seconds):>10,.0f} samples a second")
    say(f"  check alone        {alone * 1000:>10,.0f} ms for an interval, in the stand-in Agent")
    say(f"  check and bridge   {whole * 1000:>10,.0f} ms, {whole / alone:.2f}x")
    say(f"  for 10,000 series  {whole / contexts * 10_000 * 1000:>10,.0f} ms for an interval")


def _alone(bench: Bench, rounds: int) -> float:
    """Processor seconds of a run of the check in the stand-in Agent, which sends nothing."""
    from datadog_checks.model_serving import ModelServingCheck

    with standing_in(StandIn()) as stand_in:
        runner = Runner(ModelServingCheck, "model_serving", {}, [(1, {**bench.instance, "name": "alone"})], stand_in)
        runner.run()
        costs = []
        for _ in range(rounds):
            began = time.process_time()
            assert runner.run().runs[0].error is None
            costs.append(time.process_time() - began)
        runner.close()
    return min(costs)


def spooling(quick: bool) -> None:
    count = 20 if quick else 300
    body = ",".join(
        f'{{"metric":"model_serving.request.count","tags":["n:{n}"],"value":{n * 7919}}}' for n in range(5000)
    )
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder) / "bridge.db", 10**10)
        began = time.perf_counter()
        for number in range(count):
            spool.write({"readings": body[:10_000]}, [NewBatch("series", float(number), 5000, len(body), body)])
        written = time.perf_counter()
        while batches := spool.oldest("series", 4_500_000):
            spool.remove(batches, {})
        read = time.perf_counter()
        spool.close()
    size, write, read = count * len(body) / 1e6, written - began, read - written
    say(f"Spool, {count} transactions of {len(body) / 1000:,.0f} kB, each on the disk before the next begins:")
    say(f"  written {size / write:>8,.0f} MB a second, {count / write:,.0f} transactions a second")
    say(f"  read    {size / read:>8,.0f} MB a second, {write / read:.1f}x")


def outage(quick: bool) -> None:
    paths, runs = (20, 10) if quick else (330, 236)
    with ExitStack() as stack:
        bench = Bench(stack, paths)
        for _ in range(runs + 1):
            bench.run()
        held = bench.spool.held()
        began, clock = time.perf_counter(), time.process_time()
        requests = bench.deliver()
        seconds, cost = time.perf_counter() - began, time.process_time() - clock
    passed, contexts = runs * INTERVAL, bench.series + bench.distributions
    say(f"An outage of {passed / 60:.0f} minutes, {contexts:,} series and distributions a run:")
    say(f"  spooled    {held.bytes / 1e6:.2f} MB in {held.batches} batches, {held.bytes / runs:,.0f} bytes a run")
    say(f"  recovered  in {seconds:.1f} seconds ({cost:.1f} of the processor) by {requests} requests,")
    say(f"             {passed / seconds:,.0f}x as fast as it was gathered")


def memory(quick: bool) -> None:
    paths, hours = (20, 0.25) if quick else (50, 24)
    runs = round(hours * 3600 / INTERVAL)
    with ExitStack() as stack:
        bench = Bench(stack, paths)
        early = 0.0
        for number in range(runs):
            bench.run()
            bench.deliver()
            if number == runs // 10:
                early = _resident()
        late = _resident()
    say(f"Memory over {hours:g} simulated hours, {runs:,} runs of {bench.samples:,} samples:")
    say(f"  resident   {early:.1f} MB after a tenth of it, {late:.1f} MB at the end, {late / early:.2f}x")


def _resident() -> float:
    """Megabytes, now where the system tells, else the most so far."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return pages * resource.getpagesize() / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small form of everything, within seconds")
    options = parser.parse_args()
    for number, measure in enumerate((end_to_end, spooling, outage, memory)):
        if number:
            say()
        measure(options.quick)


if __name__ == "__main__":
    main()
