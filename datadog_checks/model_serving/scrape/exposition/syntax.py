"""The grammar of a line: samples and metadata, as Prometheus text 0.0.4 and OpenMetrics 1.0.0 have them in common.

It is lenient where that can't change what a line says: blanks between tokens, a comma behind the last label, exemplars,
which are left out. Names in quotes, as Prometheus 3 writes them, are read in both formats. Nothing of
`prometheus_client` reads a line: the Agent replaces some of its functions, which version by version read others.
"""

from __future__ import annotations

import re

from prometheus_client.samples import Sample

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
    rf"{_SPACE}(?:({_NAME}){_SPACE}(?:({_LABELS})|(?<=[ \t]))|({_LABELS}))({_NUMBER})"
    rf"(?:[ \t]++({_DECIMAL}))?{_SPACE}(?:#{_SPACE}\{{.*)?\Z"
)
_TERM = re.compile(rf"({_NAME}|{_QUOTED}){_SPACE}(?:={_SPACE}({_QUOTED}))?")
_PAIR = r'(?!__)[a-zA-Z_][a-zA-Z0-9_]*+="[^"\\]*+"'
_PAIRS = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*+)="([^"]*+)"')
_SIMPLE = re.compile(rf"({_NAME})(?:\{{((?:{_PAIR}(?:,{_PAIR})*+,?)?)\}})? ({_NUMBER})(?: ([+-]?[0-9]++))?\Z")
_COMPOSITE = re.compile(rf"{_SPACE}(?:{_NAME}{_SPACE}(?:{_LABELS})?|{_LABELS})\{{{_SPACE}[a-z_]++{_SPACE}:")
_BEGINNING = re.compile(rf"{_SPACE}(?:({_NAME})|\{{{_SPACE}({_QUOTED}))")
_METADATA = re.compile(rf"{_SPACE}#{_SPACE}(?:TYPE|HELP|UNIT)(?![^ \t])")
_DECLARATION = re.compile(
    rf"{_SPACE}#[ \t]++(?:(?:HELP|UNIT)[ \t]++({_NAME}|{_QUOTED})(?:[ \t]|\Z)|TYPE[ \t]++({_NAME}|{_QUOTED})[ \t]++"
    rf"(counter|gauge|histogram|summary|untyped|unknown|info|stateset|gaugehistogram){_SPACE}\Z)"
)
_ESCAPE = re.compile(r'\\([\\n"])')


def sample(line: str, per_second: int) -> tuple[int, Sample] | None:
    """The sample that a line is, behind the length of the text of its series, by which the line is known again.

    The length is 0 where it can't be known again. None for what is no sample, also where a name or a label is given
    twice. Timestamps are counted in so many parts of a second. Where the name stands in the braces, among the labels,
    is all the same, as for Prometheus.
    """
    match = _SIMPLE.match(line)
    labels: dict[str, str] = {}
    if match is not None:
        name, text, value, time = match.groups()
        size = match.start(3) - 1
        if text:
            pairs = _PAIRS.findall(text)
            labels = dict(pairs)
            if len(labels) < len(pairs):
                return None
    else:
        match = _SAMPLE.match(line)
        if match is None:
            return None
        name, some, all_of_it, value, time = match.groups()
        for term, quoted in _TERM.findall(some or all_of_it or ""):
            label, is_name = _unquoted(term), not quoted
            if is_name or label == "__name__":
                if name:
                    return None
                name = label if is_name else _unquoted(quoted)
            elif not label or label in labels:
                return None
            else:
                labels[label] = _unquoted(quoted)
        if not name:
            return None
        size = len(_head(line))
    return size, Sample(name, labels, float(value) + 0.0, None if time is None else float(time) / per_second)


def composite(line: str) -> bool:
    """Whether a line is a sample whose value is a structure, such as a native histogram."""
    return _COMPOSITE.match(line) is not None


def beginning(line: str) -> str:
    """The name that a line begins with, whatever follows. Empty where there is none."""
    match = _BEGINNING.match(line)
    return "" if match is None else _unquoted(match.group(1) or match.group(2))


def declaration(line: str) -> tuple[str, str] | None:
    """The family that a line of metadata is about, and the type that it declares, if it does. None for all others."""
    match = _DECLARATION.match(line)
    if match is None:
        return None
    described, typed, kind = match.groups()
    name = _unquoted(described or typed)
    return (name, kind or "") if name else None


def metadata(line: str) -> bool:
    """Whether a line wants to be metadata, and is no comment."""
    return _METADATA.match(line) is not None


def _unquoted(text: str) -> str:
    if text[0] != '"':
        return text
    text = text[1:-1]
    return _ESCAPE.sub(lambda match: "\n" if match[1] == "n" else match[1], text) if "\\" in text else text


_PLAIN = re.compile(rf"(?:{_NUMBER})\Z").match
_SERIES = re.compile(rf"(?:{_NAME})?(?:{_LABELS})?")
_BARE = re.compile(rf"{_NAME}\Z").match

MAX_NUMBERS = 1 << 13
"""Texts whose numbers are remembered: most of a payload's numbers are few, such as `0.0`."""

numbers: dict[str, float] = {}
"""Numbers by their texts, as far as they were met. To be asked before `number`."""


def number(text: str) -> float | None:
    """A number, -0 as 0; None where a text is not plainly one."""
    if _PLAIN(text) is None:
        return None
    value = float(text) + 0.0
    if len(numbers) >= MAX_NUMBERS:
        numbers.clear()
    numbers[text] = value
    return value


def _head(line: str) -> str:
    parts = split(line)
    if parts is None or _PLAIN(parts[1]) is None or (parts[2] and _PLAIN(parts[2]) is None):
        return ""
    return parts[0]


def split(line: str) -> tuple[str, str, str] | None:
    """A sample as text of its series, of its value and of its timestamp (empty: none), an exemplar left out.

    The first is all that stands before the blank before the value. None where only the grammar can tell.
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
