"""How old what a Pushgateway serves is: it keeps the last value of a job for ever, and says when that was pushed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite

PUSH_TIME = "push_time_seconds"
"""The family in which a Pushgateway gives, per group of labels, when that was last pushed, in epoch seconds."""

PUSHED_FOR = 3600.0
"""Seconds for which a pushed value is sent, unless the instance says otherwise."""

MANY = 20_000
"""Label sets whose group is remembered."""

LabelSet = frozenset[tuple[str, str]]


class Pushes:
    """The pushed groups of one payload, by their labels. A series is of the group that has most of its labels."""

    def __init__(self) -> None:
        self._times: dict[LabelSet, float] = {}
        self._groups: list[LabelSet] = []
        self._group_of: dict[LabelSet, LabelSet | None] = {}

    def begin(self) -> None:
        """Forget what the payload before said."""
        self._times = {}

    def note(self, pushed: Iterable[tuple[Mapping[str, str], float]]) -> None:
        """Take the samples of `PUSH_TIME`, as labels and value. Every group has a job."""
        for labels, moment in pushed:
            if isfinite(moment) and labels.get("job"):
                self._times[_filled(labels.items())] = moment

    def complete(self) -> bool:
        """The payload has been read to its end. Returns whether there are any groups in it."""
        if self._times.keys() != set(self._groups) or len(self._group_of) > MANY:
            # Those with most labels first.
            self._groups = sorted(self._times, key=len, reverse=True)
            self._group_of = {}
        return bool(self._times)

    def time_of(self, labels: LabelSet) -> float | None:
        """When a series with these labels was pushed, None for one that was not."""
        if labels not in self._group_of:
            filled = _filled(labels)
            self._group_of[labels] = next((group for group in self._groups if group <= filled), None)
        group = self._group_of[labels]
        return None if group is None else self._times[group]


def _filled(labels: Iterable[tuple[str, str]]) -> LabelSet:
    """Labels without empty ones, which mean the same as none: a group without an instance gets an empty one."""
    return frozenset((name, value) for name, value in labels if value)
