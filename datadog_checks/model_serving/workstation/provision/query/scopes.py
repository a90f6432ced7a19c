"""Reads what stands between the braces of a metric: `env:prod,!host:a` or `env:prod AND region IN (a,b)`."""

from __future__ import annotations

import re
from collections.abc import Callable

from .reader import QueryReader
from .tree import And, By, Condition, Everything, In, Not, Or, Tag, Variable

UNREADABLE = "isn't understood within a scope; separate tags with `,` or AND, and write `_` for a space within a value"
STAR = re.compile(r"\*(?=\s*(?:[,})]|$)|\s+(?:AND|and|OR|or)\b)")
VARIABLE = re.compile(r"\$([\w.-]+)(?=[\s,})]|$)")
KEY = re.compile(r"[^\W\d][\w./-]*")
# Braces are no part of a stored value, but of one that is copied from a payload, as in `path:/v2/models/{name}/infer`.
VALUE = re.compile(r"""(?:[^\s,{}()"]|\{[\w.-]*\})+""")
GROUP = re.compile(r"[^\W\d][\w./-]*|\$[\w.-]+")


def keyword(word: str) -> re.Pattern[str]:
    """An operator in capital or small letters, as Datadog takes it."""
    return re.compile(rf"(?:{word.upper()}|{word.lower()})(?![\w:./-])")


AND, OR, NOT, IN = keyword("and"), keyword("or"), keyword("not"), keyword("in")
NOT_IN = re.compile(r"(?:NOT|not)\s+(?:IN|in)(?![\w:./-])")


def read_scope(reader: QueryReader) -> Condition:
    """A scope with its braces."""
    start = reader.expect("{", "before the tags")
    if reader.take("}"):
        return Everything(empty=True, at=start)
    scope = _combined(reader, _either, re.compile(","), True)
    reader.close("}", start, UNREADABLE)
    return scope


def read_groups(reader: QueryReader) -> tuple[By, ...]:
    """The tags to group by, with their braces; none where there is no `by`."""
    if reader.peek(r"by\s*\("):
        raise reader.fail(
            "this is PromQL: write the tags in braces behind the scope, `avg:metric{*} by {tag}`", id="query/promql"
        )
    if not reader.take(r"by\b"):
        return ()
    return read_tags(reader)


def read_tags(reader: QueryReader) -> tuple[By, ...]:
    """Tags to group by and the braces around them."""
    start = reader.expect("{", "behind `by`, as in `by {model_name}`", certain=False)
    groups = []
    while True:
        reader.skip()
        at = reader.at
        group = reader.take(GROUP)
        if not group:
            raise reader.fail(f"expected a tag to group by, found {reader.found()}", certain=reader.done())
        groups.append(By(group.group(), at=at))
        if not reader.take(","):
            break
    reader.close("}", start, UNREADABLE)
    return tuple(groups)


def _combined(
    reader: QueryReader, part: Callable[[QueryReader], Condition], operator: re.Pattern[str], symbol: bool
) -> Condition:
    operands = [part(reader)]
    first = 0
    while match := reader.take(operator):
        first = first or match.start()
        operands.append(part(reader))
    return operands[0] if len(operands) == 1 else And(tuple(operands), symbol, at=first)


def _either(reader: QueryReader) -> Condition:
    operands = [_both(reader)]
    first = 0
    while match := reader.take(OR):
        first = first or match.start()
        operands.append(_both(reader))
    return operands[0] if len(operands) == 1 else Or(tuple(operands), at=first)


def _both(reader: QueryReader) -> Condition:
    return _combined(reader, _one, AND, False)


def _one(reader: QueryReader) -> Condition:
    reader.skip()
    at = reader.at
    if reader.take("!"):
        return Not(_one(reader), True, at=at)
    if reader.take(NOT):
        return Not(_one(reader), False, at=at)
    if reader.take(r"\("):
        inner = _either(reader)
        reader.close(")", at, UNREADABLE)
        return inner
    if reader.take(STAR):
        return Everything(at=at)
    if variable := reader.take(VARIABLE):
        return Variable(variable.group(1), at=at)
    return _tag(reader, at)


def _tag(reader: QueryReader, at: int) -> Condition:
    key = reader.take(KEY)
    if not key:
        raise reader.fail(f"expected a tag such as `model_name:fraud`, found {reader.found()}", certain=reader.done())
    name = key.group()
    if reader.peek(r"!?=~?|!~"):
        raise reader.fail(
            f"`{name}=...` is PromQL: write `{name}:value`, `!{name}:value` or `{name} IN (a,b)`", at, id="query/promql"
        )
    negated = reader.take(NOT_IN) is not None
    if negated or reader.take(IN):
        return In(name, _values(reader), negated, at=at)
    if reader.text[reader.at : reader.at + 1] != ":":
        return Tag(name, at=at)
    reader.at += 1
    value = VALUE.match(reader.text, reader.at, reader.end)
    if not value:
        raise reader.fail(f"`{name}:` has no value that is understood: write `{name}:value`", certain=False)
    reader.at = value.end()
    return Tag(name, value.group(), at=at)


def _values(reader: QueryReader) -> tuple[str, ...]:
    start = reader.expect("(", "behind IN, as in `region IN (a,b)`")
    values = []
    while True:
        value = reader.take(VALUE)
        if not value:
            raise reader.fail(f"expected a value of the list, found {reader.found()}", certain=reader.done())
        values.append(value.group())
        if not reader.take(","):
            break
    reader.close(")", start, UNREADABLE)
    return tuple(values)
