"""What is wrong, where, and what to write instead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from ....errors import QueryError
from ..vocabulary import PREFIX
from .known import Known

ERROR, WARNING, HINT = "error", "warning", "hint"

IDS = (
    "query/syntax",
    "query/unknown",
    "query/number",
    "query/promql",
    "query/window",
    "query/scope",
    "query/filter-mix",
    "query/contradiction",
    "query/wildcard",
    "query/tag-value",
    "query/template",
    "query/by",
    "query/aggregator",
    "query/function",
    "query/shift",
    "query/as-count",
    "query/rollup",
    "query/percentile",
    "query/anomaly",
    "query/forecast",
    "query/outlier",
    "query/variable",
    "catalog/metric",
    "catalog/unfed",
    "catalog/tag",
    "catalog/value",
    "catalog/service-check",
    "unit/threshold",
    "unit/range",
    "unit/count",
    "monitor/type",
    "monitor/threshold",
    "monitor/option",
    "monitor/no-data",
    "monitor/notify-by",
    "monitor/message",
    "monitor/service-check",
    "monitor/slo",
    "monitor/composite",
    "dashboard/tags",
    "dashboard/variable",
    "slo/query",
    "slo/target",
    "file/content",
)
"""Every check, in the order of docs/lint.md."""


@dataclass(frozen=True, slots=True)
class Problem:
    """`path` leads to the value in the JSON; `column`, from 1, into `text` where the value is one, else None.

    An error is refused by Datadog or selects nothing in silence; a warning may be meant; a hint is nothing wrong:
    what could be said more plainly, or isn't checked. `id` is that of docs/lint.md.
    """

    severity: str
    message: str
    path: str
    column: int | None
    id: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a check is looking: a path and, within a text, what the text is for.

    `use` is `monitor`, `widget` or `slo`; `variables` are the template variables that may appear, each with
    the tag that it stands for, or None for a variable of bare values; None where there can't be any.
    """

    path: str
    known: Known
    text: str = ""
    use: str = "monitor"
    variables: Mapping[str, str | None] | None = None

    def within(self, *keys: str | int, text: Any = "") -> Place:
        """The place of a value below this one."""
        path = self.path
        for key in keys:
            path += f"[{key}]" if isinstance(key, int) else f".{key}" if path else str(key)
        return replace(self, path=path, text=text if isinstance(text, str) else "")

    def error(self, id: str, message: str, at: int | None = None) -> Problem:
        """Something that Datadog refuses, or that selects nothing; `at` counts from 0."""
        return self._problem(ERROR, id, message, at)

    def warning(self, id: str, message: str, at: int | None = None) -> Problem:
        """Something that may be meant, and seldom is."""
        return self._problem(WARNING, id, message, at)

    def hint(self, id: str, message: str, at: int | None = None) -> Problem:
        """Something that is as it may be, and worth a word."""
        return self._problem(HINT, id, message, at)

    def unreadable(self, error: QueryError) -> Problem:
        """What the parser says."""
        return self._problem(ERROR if error.certain else WARNING, error.id, error.message, error.column - 1)

    def _problem(self, severity: str, id: str, message: str, at: int | None) -> Problem:
        column = None if at is None else at + 1
        return Problem(severity, message, self.path, column, id, "" if at is None else self.text)


def nearest(word: str, words: Iterable[str], cutoff: float = 0.65) -> str:
    """`; did you mean ...?`, or nothing where no known word is near."""
    # The first part is that of all our names and would make any two of them look alike.
    short = {each.removeprefix(PREFIX): each for each in sorted(words)}
    close = get_close_matches(word.removeprefix(PREFIX), short, 1, cutoff)
    return f"; did you mean `{short[close[0]]}`?" if close else ""


def mappings(value: Any, place: Place) -> Iterator[tuple[Mapping[str, Any], Place]]:
    """The mappings in a list, each with its place; none where `value` is anything else."""
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            if isinstance(item, Mapping):
                yield item, place.within(index)


def number(value: Any) -> float | None:
    """A number of JSON, None for anything else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
