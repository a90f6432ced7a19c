"""A known block of which some lines are new or gone: only these are learnt."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from .blocks import guess
from .known import Known, Scraper, learn
from .program import Program


def renew(scraper: Scraper, block: Known, lines: list[str], last: bool) -> tuple[Known, list[str]] | None:
    """A known block of which some lines are new or gone, learning only these, and the texts of its values.

    None where the block must be learnt as a whole, or that would be as cheap.
    """
    notes, offset, strict = len(block.notes), len(block.heads), block.rules is not None
    if not block.regular or lines[:notes] != block.notes:
        return None
    samples = lines[notes:]
    places = {known: place for place, known in enumerate(block.heads)}
    found = [places.get(guess(line), -1) for line in samples]
    if len(places) != offset or 2 * found.count(-1) > len(found):
        return None
    if block.contexts is not None:
        _mark_torn(block.contexts, found, strict)
    if len(set(found) - {-1}) != len(found) - found.count(-1):
        return None
    fresh = [number for number, place in enumerate(found) if place < 0]
    mini = learn(scraper, [*block.notes, *(samples[number] for number in fresh)], strict, last)
    if mini is None or not mini[0].regular or mini[0].entries != block.entries or mini[0].notes != block.notes:
        return None
    part = mini[0]
    order = list(found)
    for number, each in enumerate(fresh):
        order[each] = offset + number
    contexts = None
    if block.contexts is not None or part.contexts is not None:
        both = (block.contexts or array("q", bytes(8 * offset))) + (part.contexts or array("q", bytes(8 * len(fresh))))
        contexts = array("q", [both[place] for place in order])
        if not _in_one_piece(contexts, [place < offset for place in order], strict):
            return None
    place = [-1] * (offset + len(fresh))
    for number, sample in enumerate(order):
        place[sample] = number
    both_heads = block.heads + part.heads
    heads = [both_heads[sample] for sample in order]
    known = replace(
        block,
        length=len(lines),
        heads=heads,
        program=_merged(block.program, part.program, offset, place, order),
        contexts=contexts,
        apart=contexts is not None and (block.apart or part.apart) and bool(order),
        rules=None if not block.rules or not part.rules else block.rules.merged(part.rules, offset, place, order),
        over=last,
        replayed=True,
    )
    return known, [line[len(start) :] for line, start in zip(samples, heads, strict=True)]


def _mark_torn(contexts: Sequence[int], found: list[int], strict: bool) -> None:
    """Take the lines of a context that isn't what it was out of `found`, to be learnt as a whole.

    In OpenMetrics, where `strict`, they must also be in the order that they had.
    """
    whole = Counter(contexts)
    there = Counter(contexts[place] for place in found if place >= 0)
    torn = {context for context, count in there.items() if context and count != whole[context]}
    if strict:
        before = -2
        for place in found:
            # The first of a context, or the next one.
            if place >= 0 and place != before + 1 and place and contexts[place] == contexts[place - 1]:
                torn.add(contexts[place])
            before = place if place >= 0 else -2
    for number, place in enumerate(found):
        if place >= 0 and contexts[place] in torn:
            found[number] = -1


def _in_one_piece(contexts: Sequence[int], known: Sequence[bool], strict: bool) -> bool:
    """Whether no context has known lines and new ones, and in OpenMetrics none is split by another."""
    if strict:
        pieces = 1 + sum(map(int.__ne__, contexts, contexts[1:]))
        if len(contexts) and pieces != len(set(contexts)):
            return False
    old = {context for context, is_known in zip(contexts, known, strict=True) if is_known and context}
    return old.isdisjoint(context for context, is_known in zip(contexts, known, strict=True) if not is_known)


def _merged(old: Program, new: Program, offset: int, place: Sequence[int], order: Sequence[int]) -> Program:
    """The program for samples in `order`, numbers of old samples and, from `offset` on, of new ones."""
    both = old.followed_by(new, offset)
    rows: list[list[int]] = [[] for _ in place]
    for row, sample in enumerate(both.index):
        rows[sample].append(row)
    merged = both.gather([row for sample in order for row in rows[sample]])
    merged.renumber(place)
    merged.settle(len(order))
    return merged
