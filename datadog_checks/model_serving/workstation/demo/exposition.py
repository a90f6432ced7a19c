"""Writing Prometheus text as programs other than the Python client write it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

INFINITY = "+Inf"


class Buckets:
    """A histogram: how many observations fell at or below each bound, their sum and their number."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    @property
    def count(self) -> int:
        """Number of observations."""
        return sum(self.counts)

    def observe(self, value: float, times: int = 1) -> None:
        """Add one observation, or several that are alike, in the unit of the bounds."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def cumulative(self) -> list[tuple[str, int]]:
        """Return (bound as %g prints it, observations up to it) for every bound, the infinite one last."""
        return list(zip([*(f"{bound:g}" for bound in self.bounds), INFINITY], accumulate(self.counts), strict=True))

    def for_client(self) -> list[tuple[str, float]]:
        """Return the same as the Prometheus client for Python writes bounds."""
        bounds = [*(repr(float(bound)) for bound in self.bounds), INFINITY]
        return list(zip(bounds, map(float, accumulate(self.counts)), strict=True))


def sample(
    name: str, labels: Mapping[str, str], value: str, timestamp: int | None = None, *, braces: bool = False
) -> str:
    """Return one line: `name{label="value"} value [timestamp in milliseconds]`.

    With `braces`, a sample without labels is written `name{}`, as TensorFlow Serving does.
    """
    inner = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
    shown = f"{{{inner}}}" if inner or braces else ""
    return f"{name}{shown} {value}" + ("" if timestamp is None else f" {timestamp}")


def histogram(
    name: str,
    labels: Mapping[str, str],
    buckets: Buckets,
    total: str,
    timestamp: int | None = None,
    *,
    braces: bool = False,
) -> Iterable[str]:
    """Yield the lines of one histogram series; `total` is its sum as the system prints numbers."""
    for bound, count in buckets.cumulative():
        yield sample(f"{name}_bucket", {**labels, "le": bound}, str(count), timestamp)
    yield sample(f"{name}_sum", labels, total, timestamp, braces=braces)
    yield sample(f"{name}_count", labels, str(buckets.count), timestamp, braces=braces)


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
