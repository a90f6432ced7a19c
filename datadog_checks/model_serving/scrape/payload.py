"""Guards between the lines of a body and the parsers: what is broken is left out and counted.

Formats: Prometheus text 0.0.4 and OpenMetrics text 1.0.0, as published by their projects.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TextIO, cast

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_fd_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_fd_to_metric_families as parse_text

from .errors import PayloadError
from .wire import Malformed, excerpt

MAX_MALFORMED = 100
"""A payload that starts with so many broken lines and not one sound sample is no exposition at all."""

MAX_BLOCK = 1 << 20
"""Characters that are parsed together. A family beyond that arrives in several parts."""

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
_METADATA = re.compile(rf"{_SPACE}#{_SPACE}(TYPE|HELP|UNIT)(?:[ \t]++({_QUOTED}|[^ \t]++))?")
_LEGAL_METADATA = re.compile(
    rf"{_SPACE}#[ \t]++(?:(?:HELP|UNIT)[ \t]++(?:{_NAME}|{_QUOTED})(?:[ \t]|\Z)|TYPE[ \t]++(?:{_NAME}|{_QUOTED})[ \t]++"
    rf"(?:counter|gauge|histogram|summary|untyped|unknown|info|stateset|gaugehistogram){_SPACE}\Z)"
)


def text_families(lines: Iterable[str], malformed: Malformed) -> Iterator[Metric]:
    """Families of a Prometheus text payload. Broken lines are given to `malformed` and left out.

    Exemplars, which only OpenMetrics knows, are cut off: servers exist that mix the two.
    """
    for block in _blocks(_sound_lines(lines, malformed, MAX_MALFORMED)):
        yield from _sound_families(block, malformed)


def _sound_families(block: list[str], malformed: Malformed) -> list[Metric]:
    try:
        return _parsed(block)
    except (ValueError, IndexError):
        return _parsed([line for line in block if _parsable(line, malformed)])


def _parsed(lines: list[str]) -> list[Metric]:
    # The parser only iterates, though it is declared to want a file.
    return list(parse_text(cast(TextIO, lines)))


def _parsable(line: str, malformed: Malformed) -> bool:
    """Whether the parser takes a line that looks sound, which it refuses for a label named twice, among others."""
    try:
        _parsed([line])
    except (ValueError, IndexError):
        malformed(line, False)
        return False
    return True


def _sound_lines(lines: Iterable[str], malformed: Malformed, patience: int | None = None) -> Iterator[str]:
    """Lines that look sound. Raises PayloadError when so many, or all, of the lines at the start are broken."""
    broken = 0
    last = ""
    sound = False
    for line in lines:
        match = _SAMPLE.match(line)
        if match is not None:
            sound = True
            exemplar = match.start("exemplar")
            yield line if exemplar < 0 else line[:exemplar]
            continue
        if not line or line.isspace():
            continue
        if line.lstrip().startswith("#"):
            if _LEGAL_METADATA.match(line) is not None:
                yield line
                continue
            if _METADATA.match(line) is None:
                continue
        malformed(line, False)
        broken += 1
        last = line
        if not sound and broken == patience:
            break
    if broken and not sound and patience is not None:
        raise PayloadError(
            f"the first {broken} lines hold no metric, the last of them {excerpt(last)}: this is no metrics payload, "
            "check the URL"
        )


def openmetrics_families(lines: Iterable[str], malformed: Malformed, whole: bool = True) -> Iterator[Metric]:
    """Families of an OpenMetrics payload, each parsed on its own, so that a broken one costs only itself.

    The strict parser otherwise refuses a whole payload for one family. What it refuses is read as
    the text format, since much of that is sound and merely unlawful (a summary whose sum is
    negative, a counter declared with `_total`); `malformed` gets the lines that are neither. A
    payload of which nothing can be read raises PayloadError. Where nothing else tells that it is
    `whole`, one without `# EOF` has been cut off.
    """
    parsed = False
    complaint = ""
    for block in _blocks(_up_to_eof(lines, malformed, whole)):
        try:
            families = list(parse_openmetrics([*(f"{line}\n" for line in block), "# EOF\n"]))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            complaint = complaint or f"{excerpt(block[0])} ({excerpt(str(error), 120)})"
            sound = list(_sound_lines(block, malformed))
            families = [_in_seconds(family) for family in _sound_families(sound, malformed)]
        parsed = parsed or any(family.samples for family in families)
        yield from families
    if complaint and not parsed:
        raise PayloadError(
            f"the payload is declared OpenMetrics but is not, from {complaint}: check the URL, or have the server "
            "declare the format that it speaks"
        )


def _in_seconds(family: Metric) -> Metric:
    """The text format's timestamps are milliseconds, and its parser divided what were seconds already."""
    family.samples = [
        sample if sample.timestamp is None else sample._replace(timestamp=float(sample.timestamp) * 1000)
        for sample in family.samples
    ]
    return family


def _up_to_eof(lines: Iterable[str], malformed: Malformed, whole: bool) -> Iterator[str]:
    """Lines but `# EOF`. `malformed` is told of one with more behind it, and that it lacks where not all is `whole`."""
    ended = told = False
    for line in lines:
        if line.startswith("# EOF"):
            ended = True
            continue
        if ended and not told and line.strip():
            told = True
            malformed("# EOF", False)
        yield line
    if not ended and not whole:
        malformed("no # EOF at the end", True)


def _blocks(lines: Iterable[str]) -> Iterator[list[str]]:
    """Lines family by family: metadata of one name, and the samples whose names start with it.

    What is cut because it is long starts with its metadata again, and never within the buckets of a series.
    """
    block: list[str] = []
    name, metadata = "", 0
    size = 0
    bucket = False
    for line in lines:
        if not line.strip():
            continue
        declared = _METADATA.match(line)
        new, inside = name, False
        if declared is not None:
            new = declared.group(2) or ""
        else:
            start = line.lstrip()
            if not start.startswith((name, "{")):
                new = ""
            inside, bucket = bucket, start.startswith("_bucket", len(name))
            inside = inside and bucket
        if new != name:
            if block:
                yield block
            block, size, metadata = [], 0, 0
        elif size >= MAX_BLOCK and not inside:
            yield block
            block, size = block[:metadata], 0
        name = new
        block.append(line)
        size += len(line)
        if declared is not None and len(block) == metadata + 1:
            metadata += 1
    if block:
        yield block
