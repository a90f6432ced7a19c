"""Which tags a scope of a query takes."""

from __future__ import annotations

from fnmatch import fnmatchcase

from ...stored import stored_pattern
from ..query.tree import And, Condition, Everything, In, Not, Or, Tag
from .observations import Tags
from .variants import NotSimulated


def matches(condition: Condition | None, tags: Tags) -> bool:
    """Whether a series with these tags is within the scope. Raises NotSimulated for a template variable."""
    match condition:
        case None | Everything():
            return True
        case Tag(key=key, value=None):
            return key.lower() in tags
        case Tag(key=key, value=str(value)):
            return _has(tags, key, value)
        case In(key=key, values=values, negated=negated):
            return negated != any(_has(tags, key, value) for value in values)
        case Not(operand=operand):
            return not matches(operand, tags)
        case And(operands=operands):
            return all(matches(operand, tags) for operand in operands)
        case Or(operands=operands):
            return any(matches(operand, tags) for operand in operands)
        case _:
            raise NotSimulated("a template variable in a scope")


def _has(tags: Tags, key: str, value: str) -> bool:
    wanted = f"{key.lower()}:{stored_pattern(value)}"
    if "*" not in wanted:
        return wanted in tags
    return any(fnmatchcase(tag, wanted.replace("[", "[[]")) for tag in tags)
