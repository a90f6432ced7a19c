"""A payload as blocks of lines that can be parsed on their own, and the text of a line up to its value.

Between two scrapes almost nothing changes but the numbers: a block whose lines are the same but for these is
known, and its lines cost a comparison and a conversion.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from math import isfinite

EXACT = float(2**53)
"""From here on a float no longer tells whole numbers apart, which the parsers keep as such."""

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\]|\\.)*"'
_SERIES = re.compile(rf"{_NAME}(?:\{{(?:{_LABEL}(?:, ?{_LABEL})*,?)?\}})?")
_TEXT_METADATA = re.compile(rf'# (?:TYPE ({_NAME}) [^\s"]+|HELP ({_NAME})(?: .*)?)$')
_STRICT_METADATA = re.compile(rf"# (?:HELP|TYPE|UNIT) ({_NAME}) .+$")
_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_EXEMPLAR = re.compile(
    r'([^\s"{}#]+) # \{(?:(?!__)[a-zA-Z_]\w*="[^"\\\n{}]{0,100}")?\} '
    rf"{_NUMBER}(?: \d{{1,18}}(?:\.\d{{1,9}})?)?$"
)
MAX_EXEMPLAR = 128
"""Characters of labels in an exemplar from which on the strict parser refuses it."""


def head(line: str, strict: bool) -> str | None:
    """A sample line up to its value, with the space before that. None where only the parser can tell.

    `strict` is the OpenMetrics format, where exactly one space must be there.
    """
    match = _SERIES.match(line)
    if match is None:
        return None
    end = match.end()
    if line[end : end + 1] == " ":
        return line[: end + 1]
    return line[:end] if line[end - 1] == "}" and not strict else None


def guess(line: str) -> str:
    """What `head` says of an ordinary line, with less work. Only good to look it up among known heads."""
    end = line.rfind("}")
    return line[: end + 2] if end >= 0 else line[: line.find(" ") + 1]


def numbers(texts: Sequence[str], exemplars: Sequence[int] | None = None) -> list[float] | None:
    """Values from the texts behind the heads of samples, timestamps and exemplars left out.

    `exemplars` is given for the OpenMetrics format: which samples may have one. None is returned where a text
    is not plainly a number: what it is then is the parser's to say.
    """
    joined = "".join(texts)
    if "_" in joined or not joined.isascii():
        return None
    values: list[float] | None
    if exemplars is not None and joined.split(None, 1) != [joined]:
        values = _with_exemplars(texts, exemplars)
    else:
        try:
            values = list(map(float, texts))
        except ValueError:
            values = None if exemplars is not None else _with_timestamps(texts)
    if values is None:
        return None
    if "-" in joined and 0.0 in values and any(v == 0.0 and "-" in t for v, t in zip(values, texts, strict=True)):
        return None  # A whole number has no negative zero.
    if not isfinite(sum(values)) and max(map(len, texts)) > 300:
        return None  # A whole number may be too large for a float, which is an error.
    return values


def _with_timestamps(texts: Sequence[str]) -> list[float] | None:
    pairs = [text.split(" ") for text in texts]
    try:
        for pair in pairs:
            if len(pair) == 2:
                float(pair[1])
                if len(pair[1]) > 300:
                    return None
            elif len(pair) != 1:
                return None
        return [float(pair[0]) for pair in pairs]
    except ValueError:
        return None


def _with_exemplars(texts: Sequence[str], exemplars: Sequence[int]) -> list[float] | None:
    values = []
    for text, allowed in zip(texts, exemplars, strict=True):
        if " " in text:
            match = _EXEMPLAR.match(text) if allowed else None
            if match is None or match.end() - match.end(1) > MAX_EXEMPLAR:
                return None
            text = match.group(1)
        try:
            values.append(float(text))
        except ValueError:
            return None
        if text != text.strip():
            return None
    return values


class Window:
    """The lines of a payload that have arrived and aren't used yet: `lines` from `at` on.

    When the stream fails, `error` says how, and the lines before that remain to be used.
    """

    def __init__(self, chunks: Iterator[list[str]]) -> None:
        self.lines: list[str] = []
        self.at = 0
        self.strict = False
        self.error: Exception | None = None
        self._chunks: Iterator[list[str]] | None = chunks

    def fill(self, wanted: int = 1) -> bool:
        """Read until `wanted` lines are there. False where the payload ends before."""
        while len(self.lines) - self.at < wanted:
            if self._chunks is None:
                return False
            if self.at:
                del self.lines[: self.at]
                self.at = 0
            try:
                lines = next(self._chunks, None)
            except Exception as error:
                self.error = error
                lines = None
            if lines is None:
                self._chunks = None
                return False
            self.lines += lines
        return True

    def take(self) -> tuple[list[str], str | None, bool]:
        """The next block, the family it declared last (None where that isn't plain), and whether it is the last."""
        count, over = 0, False
        known: str | None = ""
        metadata = _STRICT_METADATA if self.strict else _TEXT_METADATA
        while self.fill(count + 1):
            for line in self.lines[self.at + count :]:
                first = line[:1]
                if first == "#":
                    match = metadata.match(line)
                    if match is not None and not over:
                        name = match.group(match.lastindex or 1)
                        if count and self._ends(count, known, name):
                            block = self.lines[self.at : self.at + count]
                            self.at += count
                            return block, known, False
                        known = name
                    elif self.strict or "TYPE" in line or "HELP" in line:
                        if self.strict and line == "# EOF":
                            if count and self._closes(count):
                                block = self.lines[self.at : self.at + count]
                                self.at += count
                                return block, known, False
                            over = True
                        known = None
                elif first.isspace() and line.lstrip()[:1] == "#":
                    known = None
                count += 1
        block = self.lines[self.at :]
        self.at = len(self.lines)
        return block, known, True

    def begins_another(self, offset: int, declared: str | None) -> bool:
        """Whether a block ends before line `offset`. `declared` is the family that it declared last."""
        if not self.fill(offset + 1):
            return False
        if self._closes(offset):
            return True
        match = (_STRICT_METADATA if self.strict else _TEXT_METADATA).match(self.lines[self.at + offset])
        return match is not None and self._ends(offset, declared, match.group(match.lastindex or 1))

    def _closes(self, offset: int) -> bool:
        """Whether line `offset` ends the payload, as it must in OpenMetrics."""
        return (
            self.strict and self.lines[self.at + offset] == "# EOF" and not self.fill(offset + 2) and self.error is None
        )

    def _ends(self, offset: int, declared: str | None, name: str) -> bool:
        """Whether metadata of family `name` in line `offset` ends the block before it."""
        # Metadata behind samples of its own name is an error, and such samples may begin a family without any.
        clash = self.strict and self.lines[self.at + offset - 1].startswith(name)
        return declared is not None and name != declared and not clash
