"""What Datadog's documentation leaves open about an evaluation, as possibilities that are all tried."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ....errors import InternalSignal

RAW = 1
"""Width of a bucket that holds single points: they are kept by the second."""
WIDTHS = (RAW, 20, 60)
"""Seconds of a bucket within the window of a monitor: no page says which."""
PHASES = (0, 30)
"""The second of a minute at which a monitor is evaluated: a fixed one, that no page tells."""

SUMS_FIRST, FUNCTION_FIRST = "sums first", "function first"
TOGETHER, APART = "together", "apart"
SLIDING, INSTANT = "sliding", "instant"
KEPT, MISSING = "kept", "missing"


class NotSimulated(InternalSignal):
    """What this evaluator does not know how Datadog would evaluate. The text says what."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One possibility.

    `functions`: whether a function around an operand of `.as_count()` sees the sum over the window or each bucket.
    `contexts`: whether a group of a service check that several hosts or versions report to is one row of statuses
    or one for each, of which the worst counts. `composite`: whether a part of a composite monitor counts with its most
    severe state of the last five minutes, as an older page and Datadog's engineers say, or with the one of now.
    `no_result`: whether data of which no result can be made, such as 0/0, is like data that is missing, or is there.
    """

    width: int = RAW
    phase: int = 0
    functions: str = SUMS_FIRST
    contexts: str = TOGETHER
    composite: str = SLIDING
    no_result: str = KEPT

    def __str__(self) -> str:
        """In words, as far as it is not the usual one."""
        width = "single points" if self.width == RAW else f"buckets of {self.width} s"
        unusual = {
            "functions of each bucket": self.functions != SUMS_FIRST,
            "each context for itself": self.contexts != TOGETHER,
            "parts as they are now": self.composite != SLIDING,
            "no result as missing data": self.no_result != KEPT,
        }
        return ", ".join([width, f"at second {self.phase}", *(text for text, given in unusual.items() if given)])


def buckets() -> Iterator[Variant]:
    """Every width and phase."""
    for width in WIDTHS:
        for phase in PHASES:
            yield Variant(width, phase)


def phases() -> Iterator[Variant]:
    """Every phase, for what has no buckets."""
    for phase in PHASES:
        yield Variant(phase=phase)


def also(variants: Iterator[Variant], field: str, other: str) -> Iterator[Variant]:
    """The variants, and each with another value of one field."""
    for variant in variants:
        yield variant
        yield replace(variant, **{field: other})  # type: ignore[arg-type]
