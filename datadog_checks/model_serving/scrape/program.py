"""What a block of lines submits, in columns: one row for a submission, in the order of the samples."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress
from operator import itemgetter, sub
from typing import Any

BUCKET, MULTIPLE = -1, -2
"""Kinds that are no type of metric: a histogram's bucket, and one whose tags don't tell it from the others."""

Bounds = tuple[float, float, bool]


def _numbers() -> array[int]:
    return array("i")


@dataclass(slots=True)
class Program:
    """Row by row: `kinds` (the Agent's metric type, BUCKET or MULTIPLE), `names`, the number of the sample whose
    value is sent (`index`) and of the one that is taken from it (`minus`, -1 for none), `tags`, `hosts`, whether
    the first value may be flushed, and (lower, upper, monotonic) of buckets.

    The rest follows from these by `settle`. `mask` says which samples are sent, where each is at most once and
    they are in order; `in_order` that all are.
    """

    kinds: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    index: array[int] = field(default_factory=_numbers)
    minus: array[int] = field(default_factory=_numbers)
    tags: list[list[str]] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    flushes: list[bool] = field(default_factory=list)
    bounds: list[Bounds | None] = field(default_factory=list)
    in_order: bool = False
    mask: bytes | None = None
    subtracts: bool = False
    has_buckets: bool = False

    def gather(self, rows: Sequence[int]) -> Program:
        """The program of some rows, in that order. To be settled."""
        return Program(
            _pick(self.kinds, rows),
            _pick(self.names, rows),
            array("i", _pick(self.index, rows)),
            array("i", _pick(self.minus, rows)),
            _pick(self.tags, rows),
            _pick(self.hosts, rows),
            _pick(self.flushes, rows),
            _pick(self.bounds, rows),
            has_buckets=self.has_buckets,
        )

    def followed_by(self, other: Program, samples: int) -> Program:
        """This program and another one, whose samples are counted from `samples` on. To be settled."""
        return Program(
            self.kinds + other.kinds,
            self.names + other.names,
            self.index + array("i", [each + samples for each in other.index]),
            self.minus + array("i", [each + samples if each >= 0 else -1 for each in other.minus]),
            self.tags + other.tags,
            self.hosts + other.hosts,
            self.flushes + other.flushes,
            self.bounds + other.bounds,
        )

    def renumber(self, place: Sequence[int]) -> None:
        """Count samples anew: sample n is now sample `place[n]`."""
        self.index = array("i", [place[each] for each in self.index])
        self.minus = array("i", [place[each] if each >= 0 else -1 for each in self.minus])

    def settle(self, samples: int) -> None:
        """Find out how the rows follow from the block's samples."""
        rising = self.follows_samples(once=True)
        self.in_order = rising and len(self.index) == samples
        self.mask = None
        if rising and not self.in_order:
            mask = bytearray(samples)
            for sample in self.index:
                mask[sample] = 1
            self.mask = bytes(mask)
        self.subtracts = max(self.minus, default=-1) >= 0
        self.has_buckets = min(self.kinds, default=0) < 0

    def follows_samples(self, once: bool) -> bool:
        """Whether the rows are in the order of the samples, with `once` one for each at most."""
        return all(map(int.__lt__ if once else int.__le__, self.index, self.index[1:]))

    def pick(self, values: Sequence[float]) -> Sequence[float]:
        """The values of the rows from those of the block's samples."""
        picked: Sequence[float]
        if self.in_order:
            picked = values
        elif self.mask is not None:
            picked = list(compress(values, self.mask))
        else:
            picked = [values[sample] for sample in self.index]
        if not self.subtracts:
            return picked
        return list(map(sub, picked, map([*values, 0.0].__getitem__, self.minus)))


def _pick(column: Sequence[Any], rows: Sequence[int]) -> list[Any]:
    return list(itemgetter(*rows)(column)) if len(rows) > 1 else [column[row] for row in rows]
