"""What a scrape costs: the stock scraper, the check, and the floor of splitting text
into floats.

    python benchmarks/scrape.py [--quick]

All run in turn in one process on the same bytes, and the submission end does nothing. Times are of the processor,
minima over the rounds, which other programs on the machine disturb least; medians follow. `first` is a scraper's first
scrape, `record` its second, `steady` those after that; `parsed` is the check without its memory for lines. Memory is
measured in processes of their own.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import io
import json
import logging
import pstats
import random
import subprocess
import sys
import time
import tracemalloc
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datadog_checks.base import OpenMetricsBaseCheckV2
from datadog_checks.base.checks import base
from datadog_checks.base.checks.openmetrics.v2.scraper import OpenMetricsScraper
from requests import Response

from datadog_checks.model_serving import ModelServingCheck
from datadog_checks.model_serving.http.body import CHUNK, Answer
from datadog_checks.model_serving.scrape.scraper import ServingScraper

MLSERVER = Path(__file__).parents[1] / "tests" / "fixtures" / "payloads" / "real" / "mlserver.txt"
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
SERIES = len(BOUNDS) + 3
TEXT, STRICT = "text/plain; version=0.0.4", "application/openmetrics-text; version=1.0.0"
DISTRIBUTIONS = {"collect_counters_with_distributions": True}


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


Payload = Callable[[int], bytes]


def mlserver(scrape: int) -> bytes:
    """The answer of MLServer 1.7.1, the same each time: reading a number costs the same whatever it says."""
    return MLSERVER.read_bytes()


def mapped(samples: int, new: int, churn: float = 0.0) -> Payload:
    """Histograms that the catalog knows, about `samples` lines. Each gets `new` observations from scrape to scrape."""
    count, name = samples // SERIES, "rest_server_request_duration_seconds"

    def payload(scrape: int) -> bytes:
        chance = random.Random(scrape)
        lines = [f"# HELP {name} How long it took.", f"# TYPE {name} histogram"]
        for number in range(count):
            path = f"{number}-{scrape}" if chance.random() < churn else f"{number}"
            labels = f'app="mlserver",method="POST",path="/v2/models/{path}/infer",status_code="200"'
            observed = random.Random(number)
            values = sorted(observed.lognormvariate(-2, 0.8) for _ in range(5 + new * scrape))
            counts = [bisect_right(values, bound) for bound in BOUNDS]
            lines += [f'{name}_bucket{{{labels},le="{at}"}} {n}.0' for at, n in zip(BOUNDS, counts, strict=True)]
            lines.append(f'{name}_bucket{{{labels},le="+Inf"}} {len(values)}.0')
            lines.append(f"{name}_sum{{{labels}}} {sum(values)}")
            lines.append(f"{name}_count{{{labels}}} {len(values)}.0")
        return "\n".join([*lines, ""]).encode()

    return payload


CHECK_CASES: dict[str, tuple[Payload, int]] = {
    "MLServer, real": (mlserver, 40),
    "20,000, nothing new": (mapped(20_000, 0), 7),
    "20,000, 1 request each": (mapped(20_000, 1), 7),
    "20,000, 10 requests each": (mapped(20_000, 10), 7),
    "20,000, 10 requests, 10 % new": (mapped(20_000, 10, 0.1), 7),
    "20,000, 10 requests, 100 % new": (mapped(20_000, 10, 1.0), 7),
    "200,000, nothing new": (mapped(200_000, 0), 3),
    "200,000, 10 requests each": (mapped(200_000, 10), 3),
}
LIKE_THE_CHECK = {"histogram_buckets_as_distributions": True, **DISTRIBUTIONS}


def serving(remembers: bool = True) -> ServingScraper:
    """The check's scraper, without the limit on contexts."""
    check = ModelServingCheck("model_serving", {}, [{"openmetrics_endpoint": "http://127.0.0.1/", "readiness": False}])
    check.check_id, check.metric_limiter = "n:1", None
    check.run_check_initializations()
    (found,) = check.scrapers.values()
    if not remembers:
        found._by_sample = True
    return found


def serve(of: ServingScraper, body: bytes) -> float:
    """Seconds that one scrape of the check takes."""
    of.fetched = Answer(TEXT, True, "", None, [body[at : at + CHUNK] for at in range(0, len(body), CHUNK)])
    started = time.process_time()
    of.scrape()
    return time.process_time() - started


def check_table(quick: bool) -> None:
    say("\nthe check, whole scrapes with all submissions; stock with the same buckets as distributions\n")
    columns = ("stock", "parsed", "first", "recording", "steady", "floor")
    say(f"{'':38}{'samples':>8}", end="")
    say("".join(f"{name:>11}" for name in columns), end="")
    say(f"{'steady/stock':>14}{'steady/parsed':>14}{'floor/steady':>13}")
    for case, (payload, count) in CHECK_CASES.items():
        if quick and case.startswith("200"):
            continue
        found: dict[str, list[float]] = {name: [] for name in columns}
        stock, parsed, ours = scraper(OpenMetricsScraper, LIKE_THE_CHECK), serving(False), serving()
        for number in range(4 if quick else 2 + count):
            body = payload(number)
            gc.collect()
            times = {"stock": scrape(stock, body, TEXT), "parsed": serve(parsed, body), "floor": floor(body)}
            found[("first", "recording", "steady")[min(number, 2)]].append(serve(ours, body))
            if number > 1:
                # The first scrape submits little.
                for name, seconds in times.items():
                    found[name].append(seconds)
        samples = sum(line[:1] != b"#" for line in payload(0).splitlines())
        best = {name: samples / min(times) for name, times in found.items()}
        say(f"{case:38}{samples:>8,}", end="")
        say("".join(f"{best[name]:>11,.0f}" for name in columns), end="")
        say(f"{best['steady'] / best['stock']:>13.1f}x{best['steady'] / best['parsed']:>13.1f}x", end="")
        say(f"{best['floor'] / best['steady']:>12.1f}x")


def check_memory(kind: str) -> dict[str, float]:
    """As `memory`, of the check: with its memory for lines (ours), or without."""
    body = mapped(20_000, 10)(1)
    of = serving(kind == "ours")
    tracemalloc.start()
    serve(of, body)
    serve(of, body)
    learning = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    serve(of, body)
    steady = tracemalloc.get_traced_memory()[1]
    of.fetched = None
    gc.collect()
    samples = sum(line[:1] != b"#" for line in body.splitlines())
    kept = tracemalloc.get_traced_memory()[0] / samples
    return {"learning": learning / 2**20, "steady": steady / 2**20, "kept": kept}


def scraper(kind: type[OpenMetricsScraper], options: dict[str, Any]) -> OpenMetricsScraper:
    """A scraper without the limit on contexts, which both would share."""
    instance = {"openmetrics_endpoint": "http://127.0.0.1/", "namespace": "n", "metrics": [".+"], **options}
    check = OpenMetricsBaseCheckV2("n", {}, [instance])
    check.check_id, check.metric_limiter = "n:1", None
    return kind(check, check.get_config_with_defaults(check.instance))


def scrape(of: OpenMetricsScraper, body: bytes, content_type: str) -> float:
    """Seconds that one scrape takes."""
    response = Response()
    response.status_code, response.raw = 200, io.BytesIO(body)
    response.headers["Content-Type"] = content_type
    of.send_request = lambda **_: response
    started = time.process_time()
    of.scrape()
    seconds = time.process_time() - started
    del of.send_request
    return seconds


def floor(body: bytes) -> float:
    """Seconds that it takes to split the text and read the floats."""
    started = time.process_time()
    for line in body.decode().splitlines():
        if line[0] != "#":
            float(line.rsplit(" ", 1)[1])
    return time.process_time() - started


def memories() -> None:
    say("\nmemory beside the answer itself: peak of the first two scrapes and of a steady one (MiB), and what stays")
    say("between scrapes (bytes per series)\n")
    say(f"{'':46}{'first two':>10}{'steady':>10}{'stays':>10}")
    for kind in ("parsed", "ours"):
        answer = subprocess.run(
            [sys.executable, __file__, "--memory", kind], check=True, capture_output=True, text=True
        )
        found = json.loads(answer.stdout)
        say(f"{kind:46}{found['learning']:>10.1f}{found['steady']:>10.1f}{found['kept']:>10.0f}")


def profiles() -> None:
    for case in ("20,000, nothing new", "20,000, 10 requests each"):
        ours = serving()
        profile(f"the check, {case}", lambda body, ours=ours: serve(ours, body), CHECK_CASES[case][0])


def profile(case: str, run: Callable[[bytes], float], payload: Payload) -> None:
    bodies = [payload(number) for number in range(6)]
    for body in bodies[:2]:
        run(body)
    profiler = cProfile.Profile()
    profiler.enable()
    for body in bodies[2:]:
        run(body)
    profiler.disable()
    out = io.StringIO()
    pstats.Stats(profiler, stream=out).strip_dirs().sort_stats("tottime").print_stats(14)
    say(f"\nwhere the time of four steady scrapes goes, {case}\n")
    say("\n".join(line for line in out.getvalue().splitlines()[4:] if line.strip()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and nothing of 200,000 samples")
    parser.add_argument("--memory", metavar="SCRAPER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    logging.disable()
    base.aggregator = Nothing()
    if arguments.memory:
        say(json.dumps(check_memory(arguments.memory)))
        return
    check_table(arguments.quick)
    memories()
    profiles()


if __name__ == "__main__":
    main()
