"""Which lines of a payload look sound, whatever the parsers would make of them.

Formats: Prometheus text 0.0.4 and OpenMetrics text 1.0.0, as published by their projects.
"""

from __future__ import annotations

import re

from prometheus_client.samples import Sample

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
_PAIR = r'(?!__)[a-zA-Z_][a-zA-Z0-9_]*+="[^"\\]*+"'
_PAIRS = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*+)="([^"]*+)"')
_SIMPLE = re.compile(
    rf"(?P<series>({_NAME})(?:\{{((?:{_PAIR}(?:,{_PAIR})*+,?)?)\}})?) ({_NUMBER})(?: ([+-]?[0-9]++))?\Z"
)
METADATA = re.compile(rf"{_SPACE}#{_SPACE}(TYPE|HELP|UNIT)(?:[ \t]++({_QUOTED}|[^ \t]++))?")
_LEGAL_METADATA = re.compile(
    rf"{_SPACE}#[ \t]++(?:(?:HELP|UNIT)[ \t]++(?:{_NAME}|{_QUOTED})(?:[ \t]|\Z)|TYPE[ \t]++(?:{_NAME}|{_QUOTED})[ \t]++"
    rf"(?:counter|gauge|histogram|summary|untyped|unknown|info|stateset|gaugehistogram){_SPACE}\Z)"
)


def sound_line(line: str, malformed: Malformed) -> str | None:
    """A line that looks sound, without an exemplar. None for what is empty, a comment, or given to `malformed`."""
    if _SIMPLE.match(line) is not None:
        return line
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


_PLAIN = re.compile(rf"(?:{_NUMBER})\Z").match
_SERIES = re.compile(rf"(?:{_NAME})?(?:{_LABELS})?")
_BARE = re.compile(rf"{_NAME}\Z").match

MAX_NUMBERS = 1 << 13
"""Texts whose numbers are remembered: most of a payload's numbers are few, such as `0.0`."""

numbers: dict[str, float] = {}
"""Numbers by their texts, as far as they were met. To be asked before `number`."""


def number(text: str) -> float | None:
    """A number as the parsers read it, -0 as 0; None where a text is not plainly one."""
    if _PLAIN(text) is None:
        return None
    value = float(text) + 0.0
    if len(numbers) >= MAX_NUMBERS:
        numbers.clear()
    numbers[text] = value
    return value


def sample(line: str) -> tuple[str, Sample] | None:
    """The text of a series, and the sample that the parser of the text format makes of a line as most are.

    None for any other: names and values in quotes, with escapes, labels that come twice or are reserved.
    """
    match = _SIMPLE.match(line)
    if match is None:
        return None
    series, name, text, number, time = match.groups()
    labels = {}
    if text:
        pairs = _PAIRS.findall(text)
        labels = dict(pairs)
        if len(labels) < len(pairs):
            return None
    return series, Sample(name, labels, _value(number), None if time is None else int(time) / 1000)


def _value(text: str) -> float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def head(line: str) -> str | None:
    """The text of a sample's series, by which its line is known again. None where only a parser can tell."""
    parts = split(line)
    if parts is None or _PLAIN(parts[1]) is None or (parts[2] and _PLAIN(parts[2]) is None):
        return None
    return parts[0]


def split(line: str) -> tuple[str, str, str] | None:
    """A sample as text of its series, of its value and of its timestamp (empty: none), an exemplar left out.

    The first is all that stands before the blank before the value. None where only a parser can tell.
    """
    if "#" in line:
        match = _SERIES.match(line)
        end = match.end() if match is not None else 0
        rest, mark, exemplar = line[end:].partition(" # ")
        if mark and not exemplar.startswith("{"):
            return None
        line = line[:end] + rest
    line = line.rstrip(" \t")
    head, _, text = line.rpartition(" ")
    series = head.rstrip(" ")
    if series.endswith("}") or _BARE(series) is not None:
        return head, text, ""
    start = line.rfind("}") + 1 or line.find(" ")
    head, rest = line[:start], line[start:]
    if not rest.startswith(" ") or not ((start and head[-1] == "}") or _BARE(head)):
        return None
    text, _, time = rest[1:].partition(" ")
    return (head, text, time) if time and text else None
