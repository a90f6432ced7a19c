"""How true a distribution is that a histogram became: `python -m benchmarks.distributions [--quick]`.

Latencies of known truth go through the buckets of a histogram, scrape by scrape, and from there into the Agent's
sketch twice: bucket by bucket as the stock check submits them, and placed as this check does. Printed is the error of
p50, p95, p99 and of the average, and of the count, against the latencies themselves. The sketch is the stand-in's
re-implementation of the Agent's, not the Agent.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterator, Mapping
from math import inf, isinf, log

from datadog_checks.model_serving.submit.placement import Span, place_between
from datadog_checks.model_serving.workstation.standin.sketch import Sketch

BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, inf]
"""The default buckets of Prometheus' Python client, in seconds."""

SCRAPE_SIZES = (1, 3, 10, 100, 1000, 10_000)
QUANTILES = (0.5, 0.95, 0.99)
LATENCIES: dict[str, Callable[[random.Random], float]] = {
    "log-normal": lambda random: random.lognormvariate(log(0.08), 0.8),
    "bimodal": lambda random: random.gauss(0.03, 0.005) if random.random() < 0.7 else random.gauss(1.5, 0.3),
    "slow outliers": lambda random: (
        random.lognormvariate(log(0.08), 0.5) if random.random() < 0.97 else random.uniform(12, 40)
    ),
    "constant": lambda random: 0.3,
    "exponential": lambda random: random.expovariate(5),
    "first bucket": lambda random: random.lognormvariate(log(0.002), 0.4),
}


def scrapes(name: str, size: int, seed: int = 1) -> Iterator[list[float]]:
    """Latencies in seconds, `size` of them per scrape."""
    source = random.Random(seed)
    for _ in range(max(1, min(300, 20_000 // size))):
        yield [max(1e-4, LATENCIES[name](source)) for _ in range(size)]


def cumulative(latencies: list[float]) -> dict[float, float]:
    """The histogram's buckets."""
    return {bound: float(sum(latency <= bound for latency in latencies)) for bound in BOUNDS}


def stock(latencies: list[float]) -> Sketch:
    """What the Agent makes of the stock check's buckets."""
    sketch, lower, below = Sketch(), 0.0, 0.0
    for bound, count in cumulative(latencies).items():
        if count > below:
            sketch.insert_bucket(lower, lower if isinf(bound) else bound, int(count - below))
        lower, below = bound, count
    return sketch


def place(cumulative: Mapping[float, float], total: float | None) -> list[Span]:
    """Spans from cumulative counts by upper bound, in any order."""
    bounds = sorted(cumulative)
    return place_between(bounds, [cumulative[bound] for bound in bounds], total)


def ours(latencies: list[float]) -> Sketch:
    """What the Agent makes of this check's spans."""
    sketch = Sketch()
    for lower, upper, count in place(cumulative(latencies), sum(latencies)):
        sketch.insert_bucket(lower, upper, count)
    return sketch


def errors(sketch: Sketch, latencies: list[float]) -> tuple[list[float], float, int]:
    """Relative errors of the quantiles and of the average, and the error of the count."""
    ordered = sorted(latencies)
    quantiles = [sketch.quantile(share) / ordered[round(share * (len(ordered) - 1))] - 1 for share in QUANTILES]
    return quantiles, sketch.avg / (sum(ordered) / len(ordered)) - 1, sketch.count - len(ordered)


def measure(name: str, size: int) -> tuple[tuple[list[float], float, int], tuple[list[float], float, int]]:
    """Errors of stock and ours, over all scrapes together."""
    before, after, everything = Sketch(), Sketch(), []
    for latencies in scrapes(name, size):
        everything += latencies
        before.merge(stock(latencies))
        after.merge(ours(latencies))
    return errors(before, everything), errors(after, everything)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="How true a distribution is that a histogram became.")
    parser.add_argument("--quick", action="store_true", help="only scrapes with few requests and with many")
    sizes = (SCRAPE_SIZES[0], SCRAPE_SIZES[-1]) if parser.parse_args().quick else SCRAPE_SIZES
    print("errors of p50, p95, p99, average (relative), count (absolute); stock, then ours")
    better = worse = 0
    for name in LATENCIES:
        for size in sizes:
            row = measure(name, size)
            shown = []
            for quantiles, average, count in row:
                shown.append(" ".join(f"{error:+7.1%}" for error in (*quantiles, average)) + f" {count:+d}")
            print(f"{name:14} {size:6} requests a scrape | {shown[0]} | {shown[1]}")
            for before, after in zip(row[0][0], row[1][0], strict=True):
                better += abs(after) < abs(before) - 0.005
                worse += abs(after) > abs(before) + 0.005
    total = len(LATENCIES) * len(sizes) * len(QUANTILES)
    print(f"of {total} percentiles ours is nearer in {better}, as near within 0.5 % in {total - better - worse},")
    print(f"farther in {worse}")
    buckets = len(BOUNDS)
    print(f"contexts of a histogram with {buckets} buckets, .sum and .count: stock {buckets + 2}, ours 3, which is")
    print(f"{(buckets + 2) / 3:.1f}x fewer")


if __name__ == "__main__":
    main()
