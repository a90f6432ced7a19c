"""What a whole scrape of the check costs, with all submissions: against the stock check, another checkout, Prometheus,
and the floor of splitting text into floats.

    python -m benchmarks.scrape [--quick] [--before DIR] [--profile]

Contestants run in turn, each in a process of its own, on the same bytes; what they submit goes nowhere. `--before`
takes another checkout of this project. Times are of the processor: the minimum over the rounds, which other programs on
the machine disturb least. Prometheus (Debian's package, where it is installed) scrapes the same payload over HTTP, and
its time includes appending to its database.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import io
import json
import logging
import os
import pstats
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from bisect import bisect_right
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import inf
from pathlib import Path
from typing import Any

from datadog_checks.base import OpenMetricsBaseCheckV2
from datadog_checks.base.checks import base
from requests import Response
from urllib3 import HTTPResponse

ROOT = Path(__file__).resolve().parents[1]
MLSERVER = ROOT / "tests" / "fixtures" / "payloads" / "real" / "mlserver.txt"
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
SERIES = len(BOUNDS) + 3
TEXT = "text/plain; version=0.0.4"
NAME = "rest_server_request_duration_seconds"


def say(text: str = "", end: str = "\n") -> None:
    """To whoever runs this."""
    sys.stdout.write(text + end)
    sys.stdout.flush()


class Nothing:
    """An aggregator that takes everything and keeps nothing."""

    GAUGE, RATE, COUNT, MONOTONIC_COUNT, COUNTER, HISTOGRAM, HISTORATE = range(7)

    def submit_metric(
        self, check: Any, check_id: str, kind: int, name: str, value: float, tags: Any, host: str, flush: bool
    ) -> None:
        pass

    def submit_histogram_bucket(
        self, check: Any, check_id: str, name: str, value: int, lower: float, upper: float, *more: Any
    ) -> None:
        pass

    def submit_service_check(self, *args: Any) -> None:
        pass


# -- payloads, the same in every process

Payload = Callable[[int], bytes]


def mlserver(scrape: int) -> bytes:
    """The answer of MLServer 1.7.1, the same each time: reading a number costs the same whatever it says."""
    return MLSERVER.read_bytes()


def mapped(samples: int, new: int, churn: float = 0.0) -> Payload:
    """Histograms that the catalog knows, about `samples` lines. Each gets `new` observations from scrape to scrape."""
    count = samples // SERIES

    def payload(scrape: int) -> bytes:
        chance = random.Random(scrape)
        lines = [f"# HELP {NAME} How long it took.", f"# TYPE {NAME} histogram"]
        for number in range(count):
            # New series take the place of old ones, all over the payload.
            path = f"{number}-{scrape}" if chance.random() < churn else f"{number}"
            labels = f'app="mlserver",method="POST",path="/v2/models/{path}/infer",status_code="200"'
            observed = random.Random(number)
            values = sorted(observed.lognormvariate(-2, 0.8) for _ in range(5 + new * scrape))
            counts = [bisect_right(values, bound) for bound in BOUNDS]
            lines += [f'{NAME}_bucket{{{labels},le="{at}"}} {n}.0' for at, n in zip(BOUNDS, counts, strict=True)]
            lines.append(f'{NAME}_bucket{{{labels},le="+Inf"}} {len(values)}.0')
            lines.append(f"{NAME}_sum{{{labels}}} {sum(values)}")
            lines.append(f"{NAME}_count{{{labels}}} {len(values)}.0")
        return "\n".join([*lines, ""]).encode()

    return payload


CASES: dict[str, tuple[Payload, int]] = {
    "MLServer, real": (mlserver, 40),
    "2,000, nothing new": (mapped(2_000, 0), 7),
    "20,000, nothing new": (mapped(20_000, 0), 7),
    "20,000, 1 request each": (mapped(20_000, 1), 7),
    "20,000, 10 requests each": (mapped(20_000, 10), 7),
    "20,000, nothing new but 10 % of the series": (mapped(20_000, 0, 0.1), 7),
    "20,000, 10 requests, 10 % new": (mapped(20_000, 10, 0.1), 7),
    "20,000, 10 requests, 100 % new": (mapped(20_000, 10, 1.0), 7),
    "200,000, nothing new": (mapped(200_000, 0), 3),
    "200,000, 10 requests each": (mapped(200_000, 10), 3),
}
QUICK = ("MLServer, real", "2,000, nothing new")
MEMORY = "20,000, 10 requests each"
AGAINST_PROMETHEUS = ("20,000, nothing new", "20,000, 10 requests each")


def samples_of(body: bytes) -> int:
    return sum(line[:1] != b"#" for line in body.splitlines())


# -- contestants, each in a process of its own


def response_of(body: bytes) -> Response:
    response = Response()
    response.status_code = 200
    response.headers.update({"Content-Type": TEXT, "Content-Length": str(len(body))})
    response.raw = HTTPResponse(io.BytesIO(body), status=200, preload_content=False)
    response.url, response.encoding = "http://127.0.0.1/", "utf-8"
    return response


def stock() -> Callable[[bytes], float]:
    """The stock check, with buckets as distributions like ours."""
    options = {"histogram_buckets_as_distributions": True, "collect_counters_with_distributions": True}
    instance = {"openmetrics_endpoint": "http://127.0.0.1/", "namespace": "n", "metrics": [".+"], **options}
    check = OpenMetricsBaseCheckV2("n", {}, [instance])
    check.run_check_initializations()
    return timed(check)


def ours() -> Callable[[bytes], float]:
    """The check of the checkout that is on the path."""
    from datadog_checks.model_serving import ModelServingCheck
    from datadog_checks.model_serving import __file__ as package

    if not Path(package).is_relative_to(os.environ.get("PYTHONPATH", ROOT)):
        raise RuntimeError(f"the check was loaded from {package}: run this in an environment of the checkout")
    check = ModelServingCheck("model_serving", {}, [{"openmetrics_endpoint": "http://127.0.0.1/", "readiness": False}])
    check.run_check_initializations()
    if hasattr(check, "cache"):
        # As in an Agent, which writes what a restart needs.
        check.cache.born = -inf
    return timed(check)


def timed(check: Any) -> Callable[[bytes], float]:
    """Seconds of the processor for one scrape of a check's only endpoint. It has no limit on contexts."""
    check.check_id, check.metric_limiter = "n:1", None
    if not getattr(check, "scrapers", None):
        check.configure_scrapers()
    (scraper,) = check.scrapers.values()

    def scrape(body: bytes) -> float:
        response = response_of(body)
        scraper.get_connection = lambda *_, **__: response
        started = time.process_time()
        scraper.scrape()
        return time.process_time() - started

    return scrape


def floor() -> Callable[[bytes], float]:
    """Splits the text and reads the floats."""

    def scrape(body: bytes) -> float:
        started = time.process_time()
        for line in body.decode().splitlines():
            if line[0] != "#":
                float(line.rsplit(" ", 1)[1])
        return time.process_time() - started

    return scrape


CONTESTANTS = {"stock": stock, "before": ours, "ours": ours, "floor": floor}


def work(contestant: str, case: str) -> None:
    """Scrape the payload whose number comes on a line of standard input, and answer with the seconds."""
    logging.disable()
    base.aggregator = Nothing()
    payload, _ = CASES[case]
    scrape = CONTESTANTS[contestant]()
    for line in sys.stdin:
        body = payload(int(line))
        gc.collect()
        say(repr(scrape(body)))


def remember(case: str) -> None:
    """Print what the check keeps between scrapes, and how much a scrape takes at most, beside the answer itself."""
    logging.disable()
    base.aggregator = Nothing()
    body = CASES[case][0](1)
    scrape = ours()
    tracemalloc.start()
    found = {}
    for name in ("first", "second", "steady"):
        tracemalloc.reset_peak()
        scrape(body)
        found[name] = tracemalloc.get_traced_memory()[1] / 2**20
    (gc.collect(), gc.collect())
    found["kept"] = tracemalloc.get_traced_memory()[0] / samples_of(body)
    say(json.dumps(found))


def environment(contestant: str, before: Path | None) -> dict[str, str]:
    """With the checkout that a contestant is from in front of the path."""
    root = before if contestant == "before" and before is not None else ROOT
    return {**os.environ, "PYTHONPATH": str(root)}


def rounds(case: str, count: int, before: Path | None) -> dict[str, list[float]]:
    """Seconds per contestant and scrape, the contestants in turn."""
    names = [name for name in CONTESTANTS if name != "before" or before is not None]
    workers = {
        name: subprocess.Popen(
            [sys.executable, __file__, "--work", name, case],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(name, before),
        )
        for name in names
    }
    found: dict[str, list[float]] = {name: [] for name in names}
    try:
        for number in range(2 + count):
            for name, worker in workers.items():
                assert worker.stdin is not None
                assert worker.stdout is not None
                worker.stdin.write(f"{number}\n")
                worker.stdin.flush()
                found[name].append(float(worker.stdout.readline()))
    finally:
        for worker in workers.values():
            worker.communicate()
    return found


def table(cases: list[str], quick: bool, before: Path | None) -> None:
    say("whole scrapes with all submissions, in ms of the processor; stock with the same buckets as distributions\n")
    columns = ["floor", "stock", "first", "steady"]
    if before is not None:
        columns += ["first before", "steady before"]
    say(f"{'':44}{'samples':>8}" + "".join(f"{name:>14}" for name in columns) + f"{'steady/stock':>14}", end="")
    say(f"{'first/before':>14}{'steady/before':>14}" if before is not None else "")
    for case in cases:
        payload, count = CASES[case]
        found = rounds(case, 3 if quick else count, before)
        best = {"floor": min(found["floor"]), "stock": min(found["stock"][2:]), "first": found["ours"][0]}
        best["steady"] = min(found["ours"][2:])
        if before is not None:
            best |= {"first before": found["before"][0], "steady before": min(found["before"][2:])}
        say(f"{case:44}{samples_of(payload(0)):>8,}", end="")
        say("".join(f"{best[name] * 1000:>14.1f}" for name in columns), end="")
        say(f"{best['steady'] / best['stock']:>13.3f}x", end="")
        if before is not None:
            say(f"{best['first'] / best['first before']:>13.2f}x", end="")
            say(f"{best['steady'] / best['steady before']:>13.2f}x", end="")
        say()


def memories(case: str, before: Path | None) -> None:
    say(f"\nmemory of the check, {case}: peak of a scrape in MiB, and bytes per sample that stay between scrapes\n")
    say(f"{'':44}{'first':>14}{'second':>14}{'steady':>14}{'stays':>14}")
    for name in ("before", "ours") if before is not None else ("ours",):
        command = [sys.executable, __file__, "--remember", case]
        answer = subprocess.run(command, check=True, capture_output=True, text=True, env=environment(name, before))
        found = json.loads(answer.stdout)
        say(f"{name:44}{found['first']:>14.1f}{found['second']:>14.1f}{found['steady']:>14.1f}{found['kept']:>14.0f}")


# -- Prometheus


def prometheus(case: str, scrapes: int) -> tuple[float, float] | None:
    """Seconds of the processor that Prometheus needs for a scrape, and for one of an empty payload."""
    program = shutil.which("prometheus")
    if program is None:
        return None
    whole, empty = (
        cpu_of_prometheus(program, payload, scrapes) / scrapes for payload in (CASES[case][0], lambda _: b"up_to 1\n")
    )
    return whole, empty


def cpu_of_prometheus(program: str, payload: Payload, scrapes: int) -> float:
    """Seconds of the processor for so many scrapes, after the first two."""
    bodies = [payload(number) for number in range(4 + scrapes)]
    asked = 0
    changed = threading.Condition()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal asked
            body = bodies[min(asked, len(bodies) - 1)]
            with changed:
                asked += 1
                changed.notify_all()
            self.send_response(200)
            self.send_header("Content-Type", TEXT)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, address: Any) -> None:
            """Prometheus may be ended while it reads."""

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 1s}\nscrape_configs:\n"
            f"- {{job_name: b, static_configs: [{{targets: ['127.0.0.1:{server.server_port}']}}]}}\n"
        )
        process = subprocess.Popen(
            [
                *(program, f"--config.file={config}", f"--storage.tsdb.path={folder}/data"),
                "--web.listen-address=127.0.0.1:0",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            spent = [0.0, 0.0]
            for number, wanted in enumerate((3, 3 + scrapes)):
                with changed:
                    if not changed.wait_for(lambda wanted=wanted: asked >= wanted, timeout=60 + 2 * scrapes):
                        raise RuntimeError("Prometheus does not scrape: run it by hand and read what it says")
                spent[number] = cpu_seconds(process.pid)
        finally:
            process.terminate()
            process.wait()
            server.shutdown()
            server.server_close()
    return spent[1] - spent[0]


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def against_prometheus(scrapes: int) -> None:
    say("\nPrometheus, ms of the processor per scrape; net is what it needs beyond a scrape of an empty payload\n")
    say(f"{'':44}{'Prometheus':>14}{'net':>14}{'the check':>14}{'check/net':>14}")
    for case in AGAINST_PROMETHEUS:
        found = prometheus(case, scrapes)
        if found is None:
            say("Prometheus is not installed: apt-get install prometheus")
            return
        net = found[0] - found[1]
        mine = min(rounds(case, 3, None)["ours"][2:])
        say(f"{case:44}{found[0] * 1000:>14.1f}{net * 1000:>14.1f}{mine * 1000:>14.1f}{mine / net:>13.2f}x")


def profile(case: str) -> None:
    payload = CASES[case][0]
    scrape = ours()
    bodies = [payload(number) for number in range(6)]
    for body in bodies[:2]:
        scrape(body)
    profiler = cProfile.Profile()
    profiler.enable()
    for body in bodies[2:]:
        scrape(body)
    profiler.disable()
    out = io.StringIO()
    pstats.Stats(profiler, stream=out).strip_dirs().sort_stats("tottime").print_stats(16)
    say(f"\nwhere the time of four steady scrapes goes, {case}\n")
    say("\n".join(line for line in out.getvalue().splitlines()[4:] if line.strip()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small payloads and few rounds")
    parser.add_argument("--before", type=Path, metavar="DIR", help="another checkout, to compare with")
    parser.add_argument("--case", action="append", choices=list(CASES), help="only this one")
    parser.add_argument("--profile", action="store_true", help="show where the time goes")
    parser.add_argument("--work", nargs=2, metavar=("CONTESTANT", "CASE"), help=argparse.SUPPRESS)
    parser.add_argument("--remember", metavar="CASE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(*arguments.work)
        return
    if arguments.remember:
        remember(arguments.remember)
        return
    before = arguments.before.resolve() if arguments.before is not None else None
    table(arguments.case or list(QUICK if arguments.quick else CASES), arguments.quick, before)
    if arguments.quick:
        return
    if arguments.case is None:
        memories(MEMORY, before)
        against_prometheus(10)
    if arguments.profile:
        logging.disable()
        base.aggregator = Nothing()
        for case in arguments.case or AGAINST_PROMETHEUS:
            profile(case)


if __name__ == "__main__":
    main()
