"""The line cache: from the text of a series, up to its value, to where its number goes.

The shape is that of Prometheus' scrape loop: between two scrapes almost nothing changes but the numbers, so a line that
is known costs a look-up and a conversion, and only lines that are new are parsed. Lines are kept per family, under its
name and type, since these decide how they are read.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...submit.series import Series

MANY = 1000
"""Lines that may be kept beyond twice those of a scrape."""

Cell = tuple[list[float | None], int, Series | str | None]
"""Where the number of a line goes: a list, an index, and whose list that is.

A line that feeds no series goes to `NOWHERE`: its owner is then the name of a family that nobody knows, an empty text
for one that is known and not submitted, and None for what the instance excludes.
"""

NOWHERE: list[float | None] = [0.0]
EXCLUDED: Cell = (NOWHERE, 0, None)


@dataclass(frozen=True, slots=True)
class Declared:
    """What a declaration without samples proves to be there, (target, raw metric) pairs, or a name nobody knows."""

    present: tuple[tuple[str, str], ...] = ()
    unclaimed: str = ""


@dataclass(eq=False, slots=True)
class Family:
    """Lines of one family, by their text up to the value.

    `declared` is what its declaration comes to where no sample follows, None as long as that isn't known.
    """

    lines: dict[str, Cell] = field(default_factory=dict)
    older: dict[str, Cell] = field(default_factory=dict)
    declared: Declared | None = None


class LineCache:
    """What is known of the lines of one source.

    While a family that was parsed is being collected, `family` is where its lines go, `heads` are their texts in the
    order of the samples, None for a line that can't be cached. Nothing is kept where `enabled` is false.
    """

    def __init__(self) -> None:
        self.enabled = True
        self.family = Family()
        self.heads: list[str | None] = []
        self._families: dict[tuple[str, str], Family] = {}
        self._cells: dict[int, Cell | None] = {}
        self._default: Cell | None = EXCLUDED
        self._renewing = False
        self._context: object = None

    def begin(self, context: object) -> None:
        """A scrape begins. What was kept in another `context` (format, systems met) may be read otherwise now."""
        if not self.enabled or context != self._context:
            self._families.clear()
            self._context = context

    def family_of(self, name: str, kind: str) -> Family:
        """The lines under the declaration of a family, or under none."""
        family = self._families.get((name, kind))
        if family is None:
            family = self._families[name, kind] = Family()
        return family

    # -- what a parsed family comes to, told by the collector

    def expect(self, family: Family, heads: list[str | None]) -> None:
        """The samples of a parsed metric are collected next; unless `into` says otherwise they are excluded."""
        self.family, self.heads = family, heads
        self._cells = {}
        self._default = EXCLUDED

    def ignore(self, unclaimed: str = "") -> None:
        """The samples feed no series unless `into` says otherwise. `unclaimed` is a family's name that nobody knows."""
        self._default = (NOWHERE, 0, unclaimed)

    def forgo(self) -> None:
        """The samples must be parsed each time."""
        self._default = None
        self._cells = {}

    def declares(self, declared: Declared) -> None:
        """The family has no samples. What that comes to is so each time."""
        if self.enabled:
            self.family.declared = declared

    def into(self, number: int, cell: Cell | None) -> None:
        """Sample `number` goes to a cell; None if it must be parsed each time."""
        if self._default is not None:
            self._cells[number] = cell

    def cell(self, number: int) -> Cell | None:
        """Where sample `number` went. None where the samples must be parsed each time."""
        return self._cells.get(number, self._default)

    def commit(self, context: object) -> None:
        """The samples are collected. What met a new system on the way, and all before it, is read anew next time."""
        if not self.enabled or self._default is None:
            return
        if context != self._context:
            self._families.clear()
            self._context = context
            return
        for number, head in enumerate(self.heads):
            cell = self.cell(number)
            if head is not None and cell is not None:
                self.family.lines[head] = cell

    def drop(self) -> None:
        """Forget all lines: some lead to series that are gone."""
        self._families.clear()

    # -- staleness

    def end(self, lines: int) -> None:
        """A scrape of so many lines is complete: forget lines that have not come in it, where these are too many."""
        if self._renewing:
            self._renewing = False
            for family in self._families.values():
                family.older = {}
            self._families = {key: family for key, family in self._families.items() if family.lines}
        elif sum(1 + len(family.lines) for family in self._families.values()) > 2 * lines + MANY:
            self.renew()

    def renew(self) -> None:
        """Keep of the lines those that the next scrape has, and whose series are still there."""
        self._renewing = True
        for family in self._families.values():
            family.older, family.lines = family.lines, {}


def valid(cell: Cell) -> bool:
    """Whether a cell that was kept still belongs to its owner: a series may be gone, or have got other numbers."""
    numbers, _, owner = cell
    return not isinstance(owner, Series) or owner.numbers is numbers
