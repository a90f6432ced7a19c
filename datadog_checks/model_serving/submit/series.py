"""What the check remembers of one raw series, and how two successive readings become increments."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite
from operator import sub
from weakref import WeakValueDictionary

from ..catalog.model import RawMetric, Target, Things
from .histograms import rising
from .processes import Process

CLOCK_PUT_RIGHT = 24 * 60
"""Minutes by which a timestamp can't be late."""

LATE = 32
"""Minutes that are told apart when one comes late."""

ROUNDING = 1e-9
"""Part of a sum that may go missing when its summands are added up in another order."""


@dataclass(slots=True)
class Output:
    """One target of a series, resolved: what it is called and tagged in Datadog."""

    name: str
    target: Target
    tags: tuple[str, ...]
    scale: float
    sum_name: str = ""
    count_name: str = ""

    def __post_init__(self) -> None:
        self.sum_name, self.count_name = f"{self.name}.sum", f"{self.name}.count"


@dataclass(slots=True)
class Reading:
    """One observation of a series. Plain metrics use `value`; histograms and summaries the rest.

    `counts` are the cumulative counts at the sorted upper `bounds`.
    """

    value: float = 0.0
    count: float | None = None
    sum: float | None = None
    bounds: tuple[float, ...] = ()
    counts: list[float] = field(default_factory=list)

    @property
    def size(self) -> float:
        """How far it has come: its value, or how much it has counted."""
        return self.value if self.count is None else self.count

    def complete(self) -> None:
        """Fill in what a histogram left out: the +Inf bucket and the count are the same number."""
        if not self.bounds:
            return
        if self.count is None:
            if self.bounds[-1] == inf:
                self.count = self.counts[-1]
        elif self.bounds[-1] != inf:
            self.bounds += (inf,)
            self.counts.append(self.count)


def tag_value(tags: Iterable[str], key: str) -> str:
    """The value of the tag with a key, empty where there is none."""
    return next((tag.partition(":")[2] for tag in tags if tag.startswith(f"{key}:")), "")


def state_tags(tags: tuple[str, ...], states: Mapping[float, str], value: float) -> tuple[str, ...]:
    """Tags of a gauge whose numbers are states, with that which it has now."""
    return (*(tag for tag in tags if not tag.startswith("state:")), f"state:{states.get(value, f'{value:g}')}")


Part = str | float
"""What one number of a series is: its `value`, `sum` or `count`, or the bucket up to a bound."""


class Layout:
    """Which parts the numbers of a series are, in the order in which they were met. Shared by all series alike.

    `bounds` are sorted, `order` is where their counts are among the numbers.
    """

    __slots__ = ("__weakref__", "blank", "bounds", "count", "index", "order", "sum")

    def __init__(self, parts: tuple[Part, ...] = ()) -> None:
        self.index = {part: number for number, part in enumerate(parts)}
        self.blank: tuple[None, ...] = (None,) * len(parts)
        self.bounds = tuple(sorted(part for part in parts if not isinstance(part, str)))
        places = [self.index[bound] for bound in self.bounds]
        span = slice(min(places, default=0), max(places, default=-1) + 1)
        self.order = span if places == [*range(len(parts))][span] else places
        self.count = self.index.get("count", -1)
        self.sum = self.index.get("sum", -1)


EMPTY = Layout()
SPARE = 32
"""Parts that a series may have beyond twice those of a scrape. With more it begins anew."""


class Layouts:
    """The layouts of the series of one source, each once, for as long as a series has it."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[tuple[Part, ...], Layout] = WeakValueDictionary()

    def of(self, parts: tuple[Part, ...]) -> Layout:
        """The layout that has these parts, in this order."""
        layout = self._known.get(parts)
        if layout is None:
            layout = self._known[parts] = Layout(parts)
        return layout


@dataclass(slots=True)
class Increment:
    """Difference of two readings; None, or no bounds, where it can't be known."""

    value: float | None = None
    count: float | None = None
    sum: float | None = None
    bounds: tuple[float, ...] = ()
    counts: Sequence[float] = ()


@dataclass(slots=True)
class Past:
    """What one process has counted in a series.

    `last` is its previous reading, `start` when it had started (None: that isn't told). `partial` says that its scrape
    before had lost a line of the series, `older` that the series was there, with a value that was refused, before
    anything could be told of when it began.
    """

    last: Reading | None = None
    start: float | None = None
    partial: bool = False
    older: bool = False


@dataclass(eq=False, slots=True)
class Series:
    """A raw series: its outputs, its past, and the reading that is being collected.

    `numbers` are what the lines of this scrape have said so far, None where a line has not come; `layout` says which
    number is which, and `new_parts` of those that came first in this scrape. `seen` is the number of the scrape that
    `current` belongs to, `stamped` that of the one that `timestamp`, in epoch seconds, belongs to, `counted` that of
    the submission before; `group` the target it came from behind a federation, empty otherwise; `starts_at_zero` is the
    metric's own; `names` are (group, raw name) of all its spellings. `minute` is the newest counted, and bit n of
    `minutes` tells whether the nth before it was. `rising` is false where observations, and so their sum, can be
    negative.

    `thing` is what it is about, empty where all of its labels tell. `whole` is the series of that thing, where several
    series may say the same of it: their readings count there, once; `parts` are those that said it last. `others` is
    the past of other processes that answer at the same address, by their start; `levels` are what these have told of a
    gauge. `high` is how far the counter had come before it fell, `turns` how often it has been there again at once.
    `outdone` says that the payload tells the same by a better spelling, so this one is kept and not sent.
    """

    raw: RawMetric
    outputs: tuple[Output, ...]
    hostname: str
    group: str
    key: str
    starts_at_zero: bool = True
    names: tuple[tuple[str, str], ...] = ()
    thing: Things = ()
    whole: Series | None = None
    parts: tuple[int, ...] = ()
    layout: Layout = EMPTY
    new_parts: dict[Part, int] | None = None
    numbers: list[float | None] = field(default_factory=list)
    current: Reading = field(default_factory=Reading)
    timestamp: float | None = None
    stamped: int = -1
    seen: int = -1
    minute: int | None = None
    minutes: int = 1
    counted: int = -1
    rising: bool = True
    past: Past = field(default_factory=Past)
    others: dict[float, Past] | None = None
    levels: dict[float, float] | None = None
    high: float | None = None
    turns: int = 0
    outdone: bool = False

    @property
    def last(self) -> Reading | None:
        """The previous reading, None where there is none."""
        return self.past.last

    def index_of(self, part: Part) -> int:
        """Where the number of a part belongs."""
        index = self.layout.index.get(part)
        if index is None:
            if self.new_parts is None:
                self.new_parts = {}
            index = self.new_parts.get(part)
            if index is None:
                index = self.new_parts[part] = len(self.numbers)
                self.numbers.append(None)
        return index

    def read(self, layouts: Layouts) -> bool:
        """Make `current` of the numbers that have come, and be ready for the next ones. False where none has.

        A series whose bounds are others in each scrape gets empty `numbers`, so that they don't grow for ever.
        """
        numbers = self.numbers
        if self.new_parts is not None:
            self.layout = layouts.of((*self.layout.index, *self.new_parts))
            self.new_parts = None
        layout = self.layout
        if not self.raw.grouped:
            value = numbers[0] if numbers else None
            if value is None:
                return False
            numbers[0] = None
            self.current = Reading(value)
            return True
        order = layout.order
        found = numbers[order] if isinstance(order, slice) else [numbers[number] for number in order]
        count = None if layout.count < 0 else numbers[layout.count]
        total = None if layout.sum < 0 else numbers[layout.sum]
        bounds = layout.bounds
        if None in found:
            bounds = tuple(bound for bound, number in zip(bounds, found, strict=True) if number is not None)
        if count is None and total is None and not bounds:
            return False
        if len(numbers) > 2 * len(bounds) + SPARE:
            self.numbers, self.layout = [], EMPTY
        else:
            numbers[:] = layout.blank
        self.current = Reading(0.0, count, total, bounds, [number for number in found if number is not None])
        return True

    def clear(self) -> None:
        """Forget the numbers of a scrape that broke off."""
        self.numbers[:] = [None] * len(self.numbers)

    def meet(self, process: Process, known: Collection[float]) -> bool:
        """Go on from what this process has counted before. Whether it is known that that was nothing.

        `known` are the starts of the processes that may answer again, whose past is kept.
        """
        past = self.past
        if past.start is None and not (past.last is not None and process.began):
            past.start = process.start
        if past.start == process.start:
            return False
        others = {} if self.others is None else self.others
        if past.start is not None:
            others[past.start] = past
        before = others.pop(process.start, None)
        self.past = Past(start=process.start) if before is None else before
        self.others = {start: past for start, past in others.items() if start in known} or None
        return before is None and process.began

    def fell(self) -> bool:
        """Whether the reading is below the previous one in any part."""
        last, current = self.past.last, self.current
        return last is not None and last is not current and (self._is_less(last) or _any_fell(current, last))

    def _is_less(self, last: Reading) -> bool:
        """Whether the value, the count or the sum of the reading is below that of another."""
        current = self.current
        return (
            current.value < last.value
            or _less(current.count, last.count)
            or (self.rising and _less(current.sum, last.sum, ROUNDING))
        )

    def increment(self, from_zero: bool, same_process: bool = False) -> Increment:
        """What has come since the previous reading, which `current` then replaces.

        Without a previous reading it is everything when `from_zero`, else unknown. After a fall the new reading counts
        in full, unless it is known to be the same process: then a part of its counts has vanished (a worker that
        died), and what has come since can't be known.

        A reading that lacks a part of the previous one has lost a line, so the next one tells it all;
        when that lacks it too, the part is gone for good.
        """
        past, current = self.past, self.current
        last = past.last
        if last is not None and last is not current and not past.partial and _lacks(current, last):
            past.partial = True
            return Increment()
        past.partial = False
        past.last = current
        if last is None:
            return whole(current) if from_zero and not past.older else Increment()
        same = current is last
        counts: list[float] = []
        # After a change of the bucket layout nothing is known of the new bounds.
        if current.bounds == last.bounds:
            counts = [0.0] * len(current.counts) if same else list(map(sub, current.counts, last.counts))
        fell = not same and (
            self._is_less(last)
            # The counts below each bound may have risen, and still there are fewer between two of them.
            or (not rising(counts) if counts else _any_fell(current, last))
        )
        if fell:
            if past.start is None:
                self.high = last.size
            return Increment() if same_process else whole(current)
        if self.high is not None:
            self._climbed(last.size, current.size)
        return Increment(
            value=current.value - last.value,
            count=_difference(current.count, last.count),
            sum=_difference(current.sum, last.sum, self.rising),
            bounds=current.bounds if counts else (),
            counts=counts,
        )

    def _climbed(self, last: float, current: float) -> None:
        """After a fall: whether the counter is where it was before, at once, which one that began anew is not."""
        high = self.high or 0.0
        if current == last:
            return
        if current >= high:
            self.turns += 1
        self.high = None

    def new_minute(self, now: float) -> bool:
        """Whether the per-minute totals in `current` are of a minute that was not counted yet.

        A timestamp names the minute. Without one, the first scrape in each minute of the clock
        counts: each published minute stands for 60 s, so one look per 60 s meets it once on average,
        whatever the unknown time between the minute and its publication. A minute that comes late counts
        too, unless it has been counted, or is too late to tell.
        """
        minute = int((self.timestamp if self.timestamp is not None else now) // 60)
        late = -1 if self.minute is None else self.minute - minute
        if late < 0:
            new = True
        elif late < LATE:
            new = not self.minutes >> late & 1
        else:
            # It is far behind because it was the newest that came from a clock that was wrong.
            new = late >= CLOCK_PUT_RIGHT or self.timestamp is None
        if new and 0 < late < LATE:
            self.minutes |= 1 << late
        elif new:
            recent = self.minute is not None and -LATE < late < 0
            self.minutes = (self.minutes << -late | 1) & ((1 << LATE) - 1) if recent else 1
            self.minute = minute
        return new


def _lacks(current: Reading, last: Reading) -> bool:
    return (
        (current.count is None and last.count is not None)
        or (current.sum is None and last.sum is not None)
        or (last.bounds != current.bounds and not set(last.bounds) <= set(current.bounds))
    )


def _any_fell(current: Reading, last: Reading) -> bool:
    before = dict(zip(last.bounds, last.counts, strict=True))
    return any(count < before.get(bound, -inf) for bound, count in zip(current.bounds, current.counts, strict=True))


def whole(reading: Reading) -> Increment:
    """A reading taken as an increment: that of a counter that began since, or of a minute."""
    return Increment(reading.value, reading.count, reading.sum, reading.bounds, reading.counts)


def _less(current: float | None, last: float | None, tolerance: float = 0.0) -> bool:
    return current is not None and last is not None and current < last - abs(last) * tolerance


def _difference(current: float | None, last: float | None, rising: bool = True) -> float | None:
    if current is None or last is None:
        return None
    return max(current - last, 0.0) if rising else current - last


def finite(reading: Reading) -> bool:
    """Whether every number of a reading is one."""
    numbers = (reading.value, reading.count or 0.0, reading.sum or 0.0, *reading.counts)
    return all(map(isfinite, numbers))
