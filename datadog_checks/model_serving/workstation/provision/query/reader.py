"""A text being read from left to right, and what to say when it can't be read on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from ....errors import QueryError

SPACE = re.compile(r"\s*")
WORD = re.compile(r"[A-Za-z_]\w*")

PARSED = 4096
"""Trees that are kept by their query: one query is asked for at many places, and a tree never changes."""
MOST_OPERATIONS = 300
"""More than anybody writes, and few enough to go through recursively."""


class QueryReader:
    """A query and how far it has been read. `end` bounds what is read, for a query within quotes."""

    def __init__(self, text: str, at: int = 0, end: int | None = None) -> None:
        self.text = text
        self.at = at
        self.end = len(text) if end is None else end
        self.operations = 0

    def skip(self) -> None:
        """Go on to the next character that is no space."""
        match = SPACE.match(self.text, self.at, self.end)
        assert match is not None
        self.at = match.end()

    def peek(self, pattern: str | re.Pattern[str]) -> re.Match[str] | None:
        """The next text, spaces skipped, if it has this pattern."""
        self.skip()
        return re.compile(pattern).match(self.text, self.at, self.end)

    def take(self, pattern: str | re.Pattern[str]) -> re.Match[str] | None:
        """The same, and read over it."""
        match = self.peek(pattern)
        if match:
            self.at = match.end()
        return match

    def expect(self, symbol: str, why: str, certain: bool = True) -> int:
        """Read over a symbol; its position. Without it the query is broken: `why` says what it is there for."""
        self.skip()
        at = self.at
        if not self.take(re.escape(symbol)):
            raise self.fail(f"expected `{symbol}` {why}, found {self.found()}", certain=certain or self.done())
        return at

    def close(self, symbol: str, start: int, otherwise: str) -> None:
        """Read over the bracket that closes the one at `start`. `otherwise` is the complaint about what is there."""
        if self.text.find(symbol, self.at, self.end) < 0:
            raise self.fail(f"`{self.text[start]}` is never closed", start)
        if not self.take(re.escape(symbol)):
            raise self.fail(f"{self.found()} {otherwise}", certain=False)

    def quoted(self, why: str) -> tuple[str, int]:
        """A text in quotes, and the position of the first one."""
        self.skip()
        at = self.at
        quote = self.take(r"""["']""")
        if not quote:
            raise self.fail(f"expected a text in quotes {why}, found {self.found()}", certain=self.done())
        # The text is taken as it is, with the spaces at its ends.
        end = self.text.find(quote.group(), self.at, self.end)
        if end < 0:
            raise self.fail(f"the quote {quote.group()} is never closed", at)
        value = self.text[self.at : end]
        if "\\" in value:
            raise self.fail("a backslash within quotes isn't understood here", at, certain=False)
        self.at = end + 1
        return value, at

    def done(self) -> bool:
        """Whether there is nothing left but spaces."""
        self.skip()
        return self.at >= self.end

    def found(self) -> str:
        """What comes next, for a message."""
        if self.done():
            return "the end"
        match = re.compile(r"[\w.]+|.").match(self.text, self.at, self.end)
        assert match is not None
        return f"`{match.group()}`"

    def fail(self, message: str, at: int | None = None, certain: bool = True, id: str = "query/syntax") -> QueryError:
        """The error that says so, at the present position unless told otherwise."""
        return QueryError(message, (self.at if at is None else at) + 1, certain, id)

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """Raise a QueryError for what is nested more deeply than it can be read."""
        try:
            yield
        except RecursionError:
            raise self.fail("the query is nested too deeply to be read", 0, certain=False) from None

    def operation(self, at: int) -> None:
        """Count an operation between two operands; too many are an error."""
        self.operations += 1
        if self.operations > MOST_OPERATIONS:
            raise self.fail(f"more than {MOST_OPERATIONS} operations are not read", at, certain=False)

    def finish(self, why: str) -> None:
        """Raise an error if anything is left."""
        if not self.done():
            raise self.fail(f"{self.found()} isn't understood {why}", certain=False)
