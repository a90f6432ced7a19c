"""What a block of lines did to a Collector, written down while its lines were parsed one by one."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...submit.series import Series


@dataclass(slots=True)
class Trace:
    """`rows` are (number of the sample, series, part, bound) for each sample that is a part of a reading.

    `first` is the number of the first sample of the family that is being read, `families` the names that were met,
    `unclaimed` those that nobody knows, `present` what was declared and has no samples, `starts` which samples tell
    when the process of a target started. `spoilt` says that something happened that may be otherwise with other
    numbers.
    """

    first: int = 0
    rows: list[tuple[int, Series, str, float]] = field(default_factory=list)
    families: list[str] = field(default_factory=list)
    unclaimed: list[str] = field(default_factory=list)
    present: set[tuple[str, str]] = field(default_factory=set)
    starts: list[tuple[str, int]] = field(default_factory=list)
    spoilt: bool = False
