"""What watching a whole workspace costs, beside an instance per endpoint: time, processor, connections, memory.

    python -m benchmarks.workspace [--quick]

Against the stand-in for a Databricks workspace, served over HTTPS by a process of its own, whose every answer takes
50 or 500 ms. Measured, in turn within one run:

- `workspace`: one instance that finds the endpoints and asks all of them in each run, over kept connections;
- `one by one`: an instance of this check per endpoint, one after the other, which is the sum of the answer times;
- `4 runners`: the same instances on four threads, as many as the Agent has runners; this is what replaces `workspace`
  where there is no such thing;
- `stock`: the stock OpenMetrics V2 check, an instance per endpoint with `metrics: [.+]`, on four threads.

Each round is half a minute after the one before by the workspace's clock, so that every endpoint is due and now and
then a listing or a description is. `first` is the first run: token, listing, descriptions and metrics, four answers
one after the other, and learning the payloads; that of the first case reads the catalog, too. It asks no more than 15
times a second, so that it takes so long with many endpoints. Times are wall time,
medians over the rounds; `cpu` is processor time of the whole measured process. Where some endpoints stand for all,
their number is told, and what they took is scaled up. The submission end does nothing.

And the requests per minute over ten minutes of runs every 15 seconds, for a workspace of one endpoint of its own and 44
pay-per-token ones.

Not measured: the descriptions that an instance per endpoint asks for once a minute, the Agent's own work with what is
submitted, a network, TLS with another host's processor at the other end, a rate limit. The stand-in shares the
processors with what is measured.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import queue
import statistics
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from datadog_checks.base import OpenMetricsBaseCheckV2
from datadog_checks.base.checks import base

from datadog_checks.model_serving import ModelServingCheck
from datadog_checks.model_serving.sources.databricks.workspace import LOOK_SECONDS
from datadog_checks.model_serving.workstation.demo.workspace import API

from .scrape import Nothing, say

RUNNERS = 4
CASES = [(endpoints, seconds) for seconds in (0.05, 0.5) for endpoints in (1, 20, 200)]
QUICK = CASES[:2]
FEW, MANY = 20, 200
"""Numbers of endpoints between which memory is compared."""

CALL_MINUTES, CALL_SECONDS, HOSTED = 10, 15.0, 44
"""How requests are counted: for so long, with a run every so often, and with so many pay-per-token endpoints."""

AIM = 100_000
MINUTE_SECONDS = 0.25
"""How long the stand-in's minutes take, so that each round has something new to read."""


class Counted(Nothing):
    """Takes everything, and counts the metrics."""

    taken = 0

    def submit_metric(self, *args: Any) -> None:
        Counted.taken += 1

    def submit_event(self, *args: Any) -> None:
        pass


class Effort(NamedTuple):
    """One run of everything: seconds of the wall and of the processor, connections opened, metrics submitted."""

    wall: float
    cpu: float
    opened: float
    submitted: int


class Part(NamedTuple):
    """How a case is measured: rounds, those of four runners, endpoints one by one, endpoints on four runners."""

    rounds: int
    repeats: int
    alone: int
    shared: int


def part(endpoints: int, seconds: float, quick: bool) -> Part:
    """Fewer endpoints where all of them would take minutes. Those that share four runners are a multiple of four."""
    if quick:
        return Part(2, 1, min(endpoints, 4), min(endpoints, 8))
    if seconds < 0.5:
        return Part(15, 3, endpoints, endpoints)
    return Part(5, 1, min(endpoints, 20), min(endpoints, 80))


class Standin:
    """The stand-in workspace in its own process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout
        self.info = json.loads(self._out.readline())

    def stats(self) -> dict[str, int]:
        """What it has counted so far."""
        self._in.write("stats\n")
        self._in.flush()
        counted: dict[str, int] = json.loads(self._out.readline())
        return counted

    def opened(self) -> int:
        """Connections that were opened so far."""
        return self.stats()["connections_opened"]


@contextmanager
def standin(endpoints: int, seconds: float, hosted: int = 0) -> Iterator[Standin]:
    """Serve that many endpoints, whose answers take that long, and so many that are pay-per-token."""
    command = [sys.executable, "-m", "datadog_checks.model_serving.workstation.demo.synthetic"]
    options = {"endpoints": endpoints, "hosted": hosted, "latency": seconds, "minute-seconds": MINUTE_SECONDS}
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    with subprocess.Popen([*command, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Standin(process)
        finally:
            # It serves until its input ends, which the end of this context brings about.
            assert process.stdin is not None
            process.stdin.close()


def measure(of: Standin, work: Callable[[], object], factor: float = 1.0) -> Effort:
    """Do something once, for a share of the endpoints that `factor` scales up."""
    opened, taken, wall, cpu = of.opened(), Counted.taken, time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    submitted = Counted.taken - taken
    if not submitted:
        raise SystemExit("a run brought no metrics: nothing was measured")
    return Effort(wall * factor, cpu * factor, (of.opened() - opened) * factor, submitted)


def rounds(of: Standin, count: int, work: Callable[[], object], factor: float = 1.0) -> Effort:
    """The medians of so many rounds, each with new minutes to read."""
    efforts = []
    for _ in range(count):
        time.sleep(MINUTE_SECONDS)
        efforts.append(measure(of, work, factor))
    return Effort(*map(statistics.median, zip(*efforts, strict=True)))


class Watch:
    """One instance for the workspace, with a clock that each round puts forward by `step` seconds."""

    def __init__(self, info: dict[str, str], step: float = LOOK_SECONDS, **more: Any) -> None:
        self._ahead = 0.0
        self._step = step
        options = ("databricks_client_id", "client_id"), ("databricks_client_secret", "client_secret")
        instance = {option: info[name] for option, name in (*options, ("databricks_host", "url"))}
        self.check = ModelServingCheck("model_serving", {}, [{**instance, **more, "tls_ca_cert": info["ca"]}])
        self.check.check_id = "model_serving:workspace"
        self.check.clock = lambda: time.monotonic() + self._ahead

    def run(self) -> None:
        """Run so much later than before."""
        self._ahead += self._step
        good(self.check)


def good(check: Any) -> None:
    """Run a check. What goes wrong must not look fast."""
    problem = check.run() or "; ".join(check.get_warnings())
    if problem:
        raise SystemExit(f"{check.check_id}: {problem}")


def single(info: dict[str, str], number: int) -> ModelServingCheck:
    """An instance for one endpoint."""
    options = {"databricks_host": info["url"], "databricks_token": info["token"], "tls_ca_cert": info["ca"]}
    check = ModelServingCheck("model_serving", {}, [{**options, "endpoint_name": f"endpoint-{number:04}"}])
    check.check_id = f"model_serving:{number}"
    return check


def stock(info: dict[str, str], number: int) -> OpenMetricsBaseCheckV2:
    """The stock check for one endpoint."""
    url = f"{info['url']}{API}/endpoint-{number:04}/metrics"
    options = {"openmetrics_endpoint": url, "namespace": "stock", "metrics": [".+"], "tls_ca_cert": info["ca"]}
    check = OpenMetricsBaseCheckV2("stock", {}, [{**options, "headers": {"Authorization": f"Bearer {info['token']}"}}])
    check.check_id = f"stock:{number}"
    return check


def in_turn(checks: Sequence[Any]) -> None:
    for check in checks:
        good(check)


def on_runners(checks: Sequence[Any]) -> None:
    """Four threads take the instances from one queue, as the Agent's runners do."""
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for check in checks:
        waiting.put(check)

    def runner() -> None:
        while True:
            try:
                check = waiting.get_nowait()
            except queue.Empty:
                return
            good(check)

    threads = [threading.Thread(target=runner) for _ in range(RUNNERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def row(name: str, effort: Effort, case: tuple[int, int], sum_of_all: float, runners: float, note: str = "") -> None:
    endpoints, threads = case
    cells = (
        f"  {name:<18}{effort.wall * 1e3:>9,.0f}{effort.wall / sum_of_all:>7.3f}x{effort.wall / runners:>7.3f}x",
        f"{effort.cpu * 1e3:>8,.0f}{effort.cpu / endpoints * 1e3:>8.2f}{threads:>9}{effort.opened:>9.0f}  {note}",
    )
    say("".join(cells).rstrip())


def case(endpoints: int, seconds: float, quick: bool) -> None:
    """All contestants on one stand-in."""
    share = part(endpoints, seconds, quick)
    with standin(endpoints, seconds) as at:
        watch = Watch(at.info)
        try:
            first = measure(at, watch.run)
            watch.run()
            steady = rounds(at, share.rounds, watch.run)
            threads = threading.active_count()
        finally:
            watch.check.cancel()
        found = {}
        factor = endpoints / share.shared
        for name, make in (("runners", single), ("stock", stock)):
            checks = [make(at.info, number) for number in range(share.shared)]
            work = partial(on_runners, checks)
            found[f"{name}, first"] = measure(at, work, factor)
            found[name] = rounds(at, share.repeats, work, factor)
            if make is single:
                found["alone"] = rounds(at, 1, partial(in_turn, checks[: share.alone]), endpoints / share.alone)
        alone, runners = found["alone"].wall, found["runners"].wall
        say(f"{endpoints} endpoint{'s' * (endpoints > 1)}, {seconds * 1e3:.0f} ms; rounds: {share.rounds}")
        row("workspace", steady, (endpoints, threads), alone, runners)
        row("workspace, first", first, (endpoints, threads), alone, runners)
        note = f"{share.alone} measured" if share.alone < endpoints else ""
        row("one by one", found["alone"], (endpoints, 1), alone, runners, note)
        note = f"{share.shared} measured" if share.shared < endpoints else ""
        for title, name in ((f"{RUNNERS} runners", "runners"), ("stock", "stock")):
            row(title, found[name], (endpoints, RUNNERS), alone, runners, note)
            row(f"{title}, first", found[f"{name}, first"], (endpoints, RUNNERS), alone, runners, note)
        say()


def calls() -> None:
    """Requests per minute with pay-per-token endpoints left out, as by default, and watched."""
    say(f"requests in {CALL_MINUTES} minutes with one endpoint and {HOSTED} that are pay-per-token")
    for title, watched in (("left out", False), ("watched", True)):
        with standin(1, 0.0, HOSTED) as at:
            watch = Watch(at.info, CALL_SECONDS, serving_endpoints={"pay_per_token": watched})
            try:
                for _ in range(round(CALL_MINUTES * 60 / CALL_SECONDS)):
                    watch.run()
                    # The list is asked for beside the run.
                    time.sleep(MINUTE_SECONDS)
                counted = at.stats()["calls"]
            finally:
                watch.check.cancel()
        say(f"  {title:<18}{counted:>6}, {counted / CALL_MINUTES:.1f} per minute")
    say()


def memory(kind: str, endpoints: int, traced: bool) -> dict[str, int]:
    """Bytes that a process holds, and held at most, after some runs with that many endpoints."""
    with standin(endpoints, 0.0) as at:
        if traced:
            tracemalloc.start()
        watch = Watch(at.info)
        checks = [] if kind == "workspace" else [single(at.info, number) for number in range(endpoints)]
        for _ in range(4):
            if checks:
                in_turn(checks)
            else:
                watch.run()
            time.sleep(MINUTE_SECONDS)
        gc.collect()
        if traced:
            held, peak = tracemalloc.get_traced_memory()
        else:
            status = Path("/proc/self/status").read_text(encoding="ascii")
            held, peak = (int(status.partition(f"{name}:")[2].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
        watch.check.cancel()
    return {"held": held, "peak": peak}


def memories() -> None:
    say(f"KB that an endpoint adds, between {FEW} and {MANY} of them: what stays between runs, and the peak")
    for kind in ("workspace", "instances"):
        found: list[str] = []
        for how in ("resident", "traced"):
            few, many = (_measured(kind, endpoints, how) for endpoints in (FEW, MANY))
            added = {name: (many[name] - few[name]) / (MANY - FEW) for name in few}
            found.append(f"{how} {added['held'] / 1e3:6.1f}, peak {added['peak'] / 1e3:6.1f}")
            if (kind, how) == ("workspace", "resident"):
                found[-1] += f" ({'below' if added['held'] < AIM else 'ABOVE'} the aim of {AIM // 1000})"
        say(f"  {'workspace' if kind == 'workspace' else 'an instance each':<18}{'; '.join(found)}")


def _measured(kind: str, endpoints: int, how: str) -> dict[str, int]:
    command = [sys.executable, "-m", "benchmarks.workspace", "--memory", kind, str(endpoints), how]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, int] = json.loads(answer.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few endpoints and rounds, and no memory")
    parser.add_argument("--memory", nargs=3, metavar=("KIND", "ENDPOINTS", "HOW"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    logging.disable()
    base.aggregator = Counted()
    if arguments.memory:
        kind, endpoints, how = arguments.memory
        say(json.dumps(memory(kind, int(endpoints), how == "traced")))
        return
    python = ".".join(map(str, sys.version_info[:3]))
    say(f"Python {python}, {os.cpu_count()} processors. Wall time in ms, and its share in that of `one by one` and of")
    say(f"`{RUNNERS} runners`; processor time in ms, and per endpoint; connections opened in a run\n")
    heads = ("wall", "of sum", "of 4", "cpu", "each", "threads", "opened")
    say(" " * 20 + "".join(f"{head:>{width}}" for head, width in zip(heads, (9, 8, 8, 8, 8, 9, 9), strict=True)))
    for endpoints, seconds in QUICK if arguments.quick else CASES:
        case(endpoints, seconds, arguments.quick)
    calls()
    if not arguments.quick:
        memories()


if __name__ == "__main__":
    main()
