"""Which lines of a payload look sound, whatever the parsers would make of them.

Formats: Prometheus text 0.0.4 and OpenMetrics text 1.0.0, as published by their projects.
"""

from __future__ import annotations

import re

from ...http.body import Malformed

# Possessive: what a line starts with is never read twice, however long and wrong the line is.
_SPACE = r"[ \t]*+"
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*+"
_QUOTED = r'"(?:[^"\\]|\\.)*+"'
_VALUE = rf"={_SPACE}{_QUOTED}{_SPACE}"
_LABEL = rf"(?:{_NAME}{_SPACE}{_VALUE}|{_QUOTED}{_SPACE}(?:{_VALUE})?)(?:,{_SPACE}|(?=\}}))"
_LABELS = rf"\{{{_SPACE}(?:{_LABEL})*+\}}{_SPACE}"
_DECIMAL = r"[+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?"
_NUMBER = rf"(?:{_DECIMAL}|[+-]?(?i:inf(?:inity)?|nan))"
_SAMPLE = re.compile(
    rf"{_SPACE}(?:{_NAME}{_SPACE}(?:{_LABELS}|(?<=[ \t]))|{_LABELS}){_NUMBER}"
    rf"(?:[ \t]++{_DECIMAL})?{_SPACE}(?P<exemplar>#{_SPACE}\{{.*)?\Z"
)
METADATA = re.compile(rf"{_SPACE}#{_SPACE}(TYPE|HELP|UNIT)(?:[ \t]++({_QUOTED}|[^ \t]++))?")
_LEGAL_METADATA = re.compile(
    rf"{_SPACE}#[ \t]++(?:(?:HELP|UNIT)[ \t]++(?:{_NAME}|{_QUOTED})(?:[ \t]|\Z)|TYPE[ \t]++(?:{_NAME}|{_QUOTED})[ \t]++"
    rf"(?:counter|gauge|histogram|summary|untyped|unknown|info|stateset|gaugehistogram){_SPACE}\Z)"
)


def sound_line(line: str, malformed: Malformed) -> str | None:
    """A line that looks sound, without an exemplar. None for what is empty, a comment, or given to `malformed`."""
    match = _SAMPLE.match(line)
    if match is not None:
        exemplar = match.start("exemplar")
        return line if exemplar < 0 else line[:exemplar]
    if not line or line.isspace():
        return None
    if not line.lstrip().startswith("#"):
        malformed(line, False)
    elif _LEGAL_METADATA.match(line) is not None:
        return line
    elif METADATA.match(line) is not None:
        malformed(line, False)
    return None
