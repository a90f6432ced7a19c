"""Who hears of a notification, from a tree of routes that is read as Alertmanager reads it.

The outcome is a condition per receiver, written as the scope of a notification rule or as blocks of a message.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from .query.tree import And, Condition, Everything, In, Not, Or

NOTHING = Not(Everything(), symbol=False)
"""The condition that never holds."""


@dataclass(frozen=True, slots=True)
class Route:
    """Takes what matches: tags to the values they may have. `path` is its place in the file.

    The first of the `routes` below it that matches takes it from there, and the next ones too where it says
    `go_on` (`continue` in the file); `receiver` hears of what none of them takes.
    """

    path: str
    receiver: str
    match: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    go_on: bool = False
    routes: tuple[Route, ...] = ()


Box = Mapping[str, frozenset[str]]
"""Tags to the values of which something has one."""


@dataclass(frozen=True, slots=True)
class Unreached:
    """A route that nothing can reach: those `by` which all of it is taken before, or the `tag` that it asks for and the
    routes above rule out."""

    route: Route
    by: tuple[Route, ...] = ()
    tag: str = ""


def reached(root: Route) -> dict[str, Condition]:
    """Under which condition each receiver hears of a notification; receivers that never do are left out."""
    found: dict[str, list[Condition]] = {}
    for name, condition in _reached(root, ()):
        found.setdefault(name, []).append(condition)
    return {name: found[name][0] if len(found[name]) == 1 else _either(found[name]) for name in found}


def _reached(route: Route, above: tuple[Condition, ...]) -> Iterator[tuple[str, Condition]]:
    matches: list[Condition] = []
    stopped: list[Condition] = []
    for child in route.routes:
        match = _all([In(tag, values) for tag, values in child.match.items()])
        yield from _reached(child, (*above, match, *_none_of(stopped)))
        matches.append(match)
        if not child.go_on:
            stopped.append(match)
    yield route.receiver, _all([*above, *_none_of(matches)])


def unreached(route: Route, single: Collection[str], within: Mapping[str, tuple[str, ...]]) -> Iterator[Unreached]:
    """The outermost of the routes below that nothing can reach. `single` are tags of which nothing has two values,
    `within` the tags that everything has which reaches this route, to the values that they may have."""
    yield from _unreached(route, single, {tag: frozenset(values) for tag, values in within.items()}, [])


def _unreached(route: Route, single: Collection[str], within: Box, before: list[Route]) -> Iterator[Unreached]:
    stopping = list(before)
    for child in route.routes:
        own = dict(within)
        for tag, values in child.match.items():
            # Of a tag with several values one may be for the route above, and another for this one.
            own[tag] = own[tag].intersection(values) if tag in single and tag in own else frozenset(values)
        apart = [tag for tag, values in own.items() if not values]
        if apart:
            yield Unreached(child, tag=apart[0])
        elif not _is_left(own, stopping):
            yield Unreached(child, by=tuple(_needed(own, stopping)))
        else:
            yield from _unreached(child, single, own, stopping)
        if not child.go_on:
            stopping.append(child)


def _needed(box: Box, takers: list[Route]) -> list[Route]:
    """Those without which something would be left; of several that take the same, the first."""
    needed = list(takers)
    for taker in reversed(takers):
        others = [one for one in needed if one is not taker]
        if not _is_left(box, others):
            needed = others
    return needed


def _is_left(box: Box, takers: Iterable[Route]) -> bool:
    """Whether there is something in the box that none of them takes."""
    boxes = [box]
    for taker in takers:
        boxes = [part for one in boxes for part in _outside(one, taker.match)]
    return bool(boxes)


def _outside(box: Box, match: Mapping[str, tuple[str, ...]]) -> Iterator[Box]:
    """What is in the box and does not match. A tag that the box does not ask for may be missing, and never matches."""
    if not match.keys() <= box.keys():
        yield box
        return
    for tag, values in match.items():
        if others := box[tag].difference(values):
            yield {**box, tag: others}
        box = {**box, tag: box[tag].intersection(values)}
        if not box[tag]:
            return


def _all(parts: list[Condition]) -> Condition:
    kept = [part for part in parts if not isinstance(part, Everything)]
    if not kept:
        return Everything()
    return kept[0] if len(kept) == 1 else And(tuple(kept), symbol=False)


def _either(parts: list[Condition]) -> Condition:
    return Everything() if any(isinstance(part, Everything) for part in parts) else Or(tuple(parts))


def _none_of(parts: list[Condition]) -> tuple[Condition, ...]:
    if not parts:
        return ()
    return (Not(parts[0] if len(parts) == 1 else Or(tuple(parts)), symbol=False),)


def worded(condition: Condition, outer: int = 0) -> str:
    """The condition in the language of scopes of notification rules. `outer` is how tightly what is around binds."""
    match condition:
        case In(key=key, values=values):
            return f"{key}:{values[0]}" if len(values) == 1 else f"{key}:({' OR '.join(values)})"
        case Not(operand=operand):
            return f"NOT {worded(operand, 3)}"
        case And(operands=operands):
            text, binds = " AND ".join(worded(operand, 2) for operand in operands), 2
        case Or(operands=operands):
            text, binds = " OR ".join(worded(operand, 3) for operand in operands), 1
        case _:
            raise AssertionError(f"no scope says {condition}")
    return f"({text})" if binds < outer else text


def known_part(condition: Condition, tags: Collection[str], groups: Collection[str]) -> Condition:
    """What is left to decide once the tags of a monitor are known: Everything, NOTHING, or a condition on groups."""
    match condition:
        case In(key=key, values=values):
            if any(f"{key}:{value}" in tags for value in values):
                return Everything()
            return condition if key in groups else NOTHING
        case Not(operand=operand):
            inner = known_part(operand, tags, groups)
            return NOTHING if inner == Everything() else Everything() if inner == NOTHING else Not(inner, symbol=False)
        case And(operands=operands):
            parts = [known_part(operand, tags, groups) for operand in operands]
            return NOTHING if NOTHING in parts else _all(parts)
        case Or(operands=operands):
            parts = [part for operand in operands if (part := known_part(operand, tags, groups)) != NOTHING]
            return _either(parts) if parts else NOTHING
        case _:
            return condition


def conditional(condition: Condition, yes: str, no: str = "") -> str:
    """`yes` where the condition holds, `no` where it does not, in the language of messages."""
    match condition:
        case Everything():
            return yes
        case In(key=key, values=values):
            test = " ".join(f'"{word}"' for word in (f"{key}.name", *values))
            text = f"{{{{#is_exact_match {test}}}}}{yes}{{{{/is_exact_match}}}}" if yes else ""
            return text + (f"{{{{^is_exact_match {test}}}}}{no}{{{{/is_exact_match}}}}" if no else "")
        case Not(operand=operand):
            return no if condition == NOTHING else conditional(operand, no, yes)
        case And(operands=(first, *rest)):
            return conditional(first, conditional(_all(rest), yes, no), no)
        case Or(operands=(first, *rest)):
            return conditional(first, yes, conditional(_either(rest) if rest else NOTHING, yes, no))
        case _:
            raise AssertionError(f"no message says {condition}")
