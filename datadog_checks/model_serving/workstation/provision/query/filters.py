"""What can be wrong with a scope, whatever the metric."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from ....catalog.loader import builtin_catalog
from ...stored import needs_spelling, stored_pattern
from .problems import Place, Problem, nearest
from .tree import And, By, Condition, In, Not, Or, Tag, Variable, conjuncts, leaves, values_asked

ENVIRONMENTS = frozenset(("prod", "production", "live", "stage", "staging", "preprod", "qa", "test", "testing", "dev"))

CONTRADICTION = "query/contradiction"
"""The id of tags of a scope that exclude each other."""


def check_scope(scope: Condition, place: Place, ours: bool = False) -> Iterator[Problem]:
    """Filters that Datadog refuses or that select nothing. `ours` says that the tags are those of the check."""
    symbols: set[int] = set()
    words: set[int] = set()
    for part in _parts(scope):
        match part:
            case Not() | And():
                (symbols if part.symbol else words).add(part.at)
            case Or() | In():
                words.add(part.at)
            case _:
                pass
    if symbols and words:
        yield place.error(
            "query/filter-mix",
            "`,` and `!` don't mix with AND, OR, NOT and IN: write AND for `,` and NOT for `!`",
            min(symbols),
        )
    yield from _contradictions(scope, place)
    for leaf in leaves(scope):
        match leaf:
            case Tag():
                values: tuple[str, ...] = () if leaf.value is None else (leaf.value,)
            case In():
                values = leaf.values
            case _:
                continue
        for value in values:
            if isinstance(leaf, In) and value.startswith("!"):
                yield place.error(
                    "query/filter-mix",
                    f"`!` has no place within a list: write `{leaf.key} NOT IN (a,b)`, with values alone",
                    leaf.at,
                )
            if "*" in value.strip("*"):
                yield place.error(
                    "query/wildcard",
                    f"`{value}` selects nothing: a wildcard stands at the start or the end of a value",
                    leaf.at,
                )
            if ours or "{" in value:
                yield from check_value(leaf.key, value, leaf.at, place)
    yield from check_template(tuple(leaves(scope)), place)


def check_value(key: str, value: str, at: int, place: Place) -> Iterator[Problem]:
    """A value that is not spelt as Datadog stores it."""
    spelt = stored_pattern(value)
    if "$" in value or spelt == value:
        return
    # Whether a query may have capitals, or underscores that the stored value has lost, is not documented.
    problem = place.error if needs_spelling(value) else place.warning
    yield problem(
        "query/tag-value", f"`{key}:{value}` finds nothing: Datadog stores it as `{key}:{spelt}`, so write that", at
    )


def keyless(scope: Condition) -> Iterator[str]:
    """What there is to say of each word alone in a scope, which seldom is what was meant."""
    for leaf in leaves(scope):
        if isinstance(leaf, Tag) and leaf.value is None:
            word = leaf.key
            key = "env" if word in ENVIRONMENTS else "serving_system" if word in builtin_catalog().systems else ""
            instead = f"did you mean `{key}:{word}`?" if key else f"write it as `endpoint_name:{word}` or `env:{word}`"
            yield f"`{word}` is a tag without a key, which few series have; {instead}"


def _contradictions(scope: Condition, place: Place) -> Iterator[Problem]:
    """Values of one tag that no series has together, unless it has the tag several times."""
    for together in _conjunctions(scope):
        allowed: dict[str, tuple[str, ...]] = {}
        denied: dict[str, set[str]] = {}
        for part in together:
            if isinstance(part, Not) and (found := _exact(part.operand)):
                denied.setdefault(found[0], set()).update(found[1])
            elif isinstance(part, In) and part.negated:
                denied.setdefault(part.key, set()).update(part.values)
        for part in together:
            key, values = _exact(part) or ("", ())
            if not values:
                continue
            before = allowed.setdefault(key, values)
            if set(before).isdisjoint(values):
                either = ",".join((*before, *values))
                yield place.warning(
                    CONTRADICTION,
                    f"asks for both `{key}:{before[0]}` and `{key}:{values[0]}`, and most series have one: for either "
                    f"write `{key} IN ({either})`",
                    part.at,
                )
            elif set(values) <= denied.get(key, set()):
                yield place.warning(CONTRADICTION, f"selects nothing: `{key}:{values[0]}` is left out as well", part.at)


def _exact(part: Condition) -> tuple[str, tuple[str, ...]] | None:
    """The tag and those of its values of which a condition asks for one; None where it isn't so plain."""
    asked = values_asked(part)
    if asked is None or any("*" in one or "$" in one for one in (asked[0], *asked[1])):
        return None
    return asked


def _conjunctions(condition: Condition) -> Iterator[list[Condition]]:
    """What must hold together, however AND is nested."""
    match condition:
        case And():
            together = list(conjuncts(condition))
            yield together
            for part in together:
                yield from _conjunctions(part)
        case Or():
            for operand in condition.operands:
                yield from _conjunctions(operand)
        case Not():
            yield from _conjunctions(condition.operand)
        case _:
            return


def _parts(condition: Condition) -> Iterator[Condition]:
    yield condition
    match condition:
        case Not():
            yield from _parts(condition.operand)
        case And() | Or():
            for operand in condition.operands:
                yield from _parts(operand)
        case _:
            pass


def variable_of(spelt: str, known: Collection[str]) -> str:
    """The template variable that `$` and this text name. Names may have dots, and `.value` or `.key` may follow one."""
    parts = spelt.rstrip(".").split(".")
    for number in range(len(parts), 0, -1):
        if (name := ".".join(parts[:number])) in known:
            return name
    return re.sub(r"\.(?:value|key|name)$", "", ".".join(parts))


def check_template(parts: tuple[object, ...], place: Place) -> Iterator[Problem]:
    """Template variables, which only dashboards have."""
    for part in parts:
        match part:
            case Variable():
                texts: tuple[str, ...] = (f"${part.name}",)
            case Tag():
                texts = (part.value or "",)
            case In():
                texts = part.values
            case By():
                texts = (part.tag,)
            case _:
                continue
        for spelt in (found for text in texts for found in re.findall(r"\$([\w.-]+)", text)):
            name = variable_of(spelt, place.variables or ())
            if place.variables is None:
                yield place.error(
                    "query/template",
                    f"`${name}` selects nothing: only dashboards have template variables",
                    part.at,
                )
            elif name not in place.variables:
                yield place.error(
                    "query/template",
                    f"`${name}` selects nothing: the dashboard has no such template variable"
                    f"{nearest(name, place.variables)}",
                    part.at,
                )
