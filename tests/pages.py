"""Reads the pages of the documentation: their fenced blocks, each with the headings that it stands under."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADING = re.compile(r"(#{1,6}) (.+)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, its text, and the headings above it, from the title of the page down."""

    language: str
    text: str
    headings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the repository, by its path from the root."""

    path: str

    @property
    def text(self) -> str:
        return (ROOT / self.path).read_text(encoding="utf-8")

    def headings(self) -> list[tuple[str, ...]]:
        """Every heading, with those above it."""
        return [headings for headings, _ in self._parts()]

    def blocks(self) -> list[Block]:
        """Every fenced block, in order."""
        found = []
        for headings, lines in self._parts():
            fenced: list[str] | None = None
            language = ""
            for line in lines:
                if line.startswith("```"):
                    if fenced is None:
                        fenced, language = [], line[3:].strip()
                    else:
                        found.append(Block(language, "".join(f"{each}\n" for each in fenced), headings))
                        fenced = None
                elif fenced is not None:
                    fenced.append(line)
            assert fenced is None, f"{self.path}: a block under {headings[-1]} has no end"
        return found

    def section(self, heading: str) -> str:
        """The text under a heading, down to the next one of its level."""
        parts = [(headings, lines) for headings, lines in self._parts() if heading in headings]
        assert parts, f"{self.path} has no heading {heading}"
        return "\n".join(line for _, lines in parts for line in lines)

    def _parts(self) -> Iterator[tuple[tuple[str, ...], list[str]]]:
        """Headings, and the lines down to the next one. A `#` in a fenced block is none."""
        headings: tuple[str, ...] = ()
        lines: list[str] = []
        fenced = False
        for line in self.text.splitlines():
            fenced ^= line.startswith("```")
            found = None if fenced else HEADING.fullmatch(line)
            if found is None:
                lines.append(line)
                continue
            if headings:
                yield headings, lines
            level = len(found[1])
            assert len(headings) >= level - 1, f"{self.path}: {found[2]} leaves a level out"
            headings, lines = (*headings[: level - 1], found[2]), []
        yield headings, lines
