"""Whether saved answers are what they are taken for: successive answers of one endpoint, in their order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from ...scrape.report import RUNTIME
from ...scrape.scraper import ServingScraper
from ...submit.journal import ACCUMULATING
from ...submit.processes import JITTER


@dataclass(frozen=True, slots=True)
class SavedAnswer:
    """What the check has read in one saved answer. `name` is what messages call it.

    `systems` are the titles of the systems that have a series in it, by name; `holds` are the keys of these series, and
    the names that nobody knows, but for what any process shows; `counted` is how far each series that accumulates had
    come; `starts` are when the processes had started, in epoch seconds, by federated target.
    """

    name: str
    systems: Mapping[str, str] = field(default_factory=dict)
    holds: frozenset[str] = frozenset()
    counted: Mapping[str, float] = field(default_factory=dict)
    starts: Mapping[str, float] = field(default_factory=dict)


def saved_answer(name: str, check: Any) -> SavedAnswer:
    """The answer that a check of one endpoint has read last. Nothing is in it where that could not be read."""
    scrapers: Sequence[ServingScraper] = list(check.source.scrapers.values()) if check.source is not None else []
    own = [(scraper, one) for scraper in scrapers for one in scraper.collector.frame if not one.raw.shared]
    unknown = (name for scraper in scrapers for name in scraper.collector.unclaimed)
    return SavedAnswer(
        name,
        {one.raw.system: scraper.recogniser.systems[one.raw.system].title for scraper, one in own},
        frozenset({*(one.key for _, one in own), *(name for name in unknown if not RUNTIME.match(name))}),
        {one.key: one.current.size for _, one in own if one.raw.type in ACCUMULATING},
        {target: start for scraper in scrapers for target, start in scraper.collector.process_start.items()},
    )


def doubts(answers: Sequence[SavedAnswer]) -> Iterator[str]:
    """What speaks against it that these are successive answers of one endpoint, and what to do about it."""
    for first, second in pairwise(answers):
        if doubt := _doubt(first, second):
            yield doubt


def _doubt(first: SavedAnswer, second: SavedAnswer) -> str:
    in_order = f"give {second.name} before {first.name}"
    apart = "check each by itself"
    taken = "Saved answers are taken for successive ones of one endpoint"
    if first.name == second.name:
        return f"{first.name} is given twice in a row, so nothing has come in between: give an answer saved later."
    if first.systems and second.systems and first.systems.keys().isdisjoint(second.systems):
        return f"{first.name} is of {_titles(first)}; {second.name} of {_titles(second)}. {taken}: {apart}."
    if first.holds and second.holds and first.holds.isdisjoint(second.holds):
        return (
            f"{first.name} and {second.name} have no series in common, so they seem to be of two endpoints. {taken}: "
            f"{apart}."
        )
    later = [start - first.starts[target] for target, start in second.starts.items() if target in first.starts]
    changes = [number - first.counted[key] for key, number in second.counted.items() if key in first.counted]
    fell, rose = any(change < 0 for change in changes), any(change > 0 for change in changes)
    if any(seconds < -JITTER for seconds in later):
        return (
            f"By process_start_time_seconds the process of {second.name} started before that of {first.name}. Either "
            f"{second.name} is the older answer: {in_order}. Or they are of two endpoints: {apart}."
        )
    if later and all(seconds <= JITTER for seconds in later):
        # Of a process that has lost a part of its counts, such as a worker, others go on.
        if rose or not fell:
            return ""
        return (
            f"{second.name} is older than {first.name}: it is of the same process, by process_start_time_seconds, "
            f"which has counted less in it. What is shown of the time between is not true: {in_order}."
        )
    if later and rose and not fell:
        return (
            f"{second.name} is of a process that started later than that of {first.name}, and yet has counted more. "
            f"Unless the server was restarted in between, they are of two endpoints: {apart}."
        )
    if later or not fell:
        return ""
    return (
        f"What counts is lower in {second.name} than in {first.name}. Unless the server was restarted in between, "
        f"either {second.name} is the older answer: {in_order}. Or they are of two endpoints: {apart}."
    )


def _titles(answer: SavedAnswer) -> str:
    return " and ".join(answer.systems.values())
