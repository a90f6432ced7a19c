"""Error codes of a system: under which tag they are counted, and the event that says what a code means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from .document import KEYS, Document
from .plain_text import plain_text

CODES = Path(__file__).parent / "codes"
PLACEHOLDER = re.compile(r"\{([a-z0-9_|]+)\}")


@dataclass(frozen=True, slots=True)
class CodeEvent:
    """The event for a code. The texts have placeholders, filled from the code's own fields and from tags.

    What a tag holds comes from outside and is shown as it is. The texts and fields may name people and have markdown.
    """

    title: str
    text: str
    type: str
    aggregation_key: str


@dataclass(frozen=True, eq=False, slots=True)
class Codes:
    """Codes of one kind. `tag` holds the code on what is counted; without an `event` it is counted and no more.

    `known` are fields by code, such as its meaning and what to do about it, `unknown` those of any other code.
    """

    tag: str
    event: CodeEvent | None = None
    known: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)

    def fields(self, code: int) -> Mapping[str, str]:
        """What is known of a code."""
        return self.known.get(code, self.unknown)

    def event_of(self, code: int, tags: Iterable[str], host: str, when: float) -> dict[str, Any] | None:
        """The Datadog event for one code, `when` in epoch seconds. None where there is none for codes of this kind."""
        if self.event is None:
            return None
        tags = list(tags)
        named = {name: value for name, _, value in (tag.partition(":") for tag in tags)}
        own = {**self.fields(code), "code": str(code)}
        shown = {name: plain_text(value) for name, value in named.items()} | own
        return {
            "timestamp": int(when),
            "event_type": self.event.type,
            "source_type_name": "model_serving",
            "msg_title": _filled(self.event.title, shown),
            "msg_text": _filled(self.event.text, shown),
            "alert_type": "error",
            "priority": "normal",
            "aggregation_key": _filled(self.event.aggregation_key, named | own),
            "host": host,
            "tags": tags,
        }


@lru_cache
def builtin_codes(name: str) -> Codes:
    """Codes that ship with the check, by the name of their file."""
    document = Document(CODES / f"{name}.yaml")
    return read_codes(document, document.data, "the file")


def read_codes(document: Document, value: Any, where: str) -> Codes:
    """Codes that a file spells out. Raises CatalogError."""
    entry = document.keys(value, "codes", where)
    tag = entry.get("tag")
    if not isinstance(tag, str) or not tag:
        raise document.fail(where, "needs a `tag`, under which the code is counted.")
    known = entry.get("codes") or {}
    if not isinstance(known, dict) or not all(type(code) is int for code in known):
        raise document.fail(f"{where}, key `codes`", "must be a mapping from whole numbers to what is known of a code.")
    return Codes(
        tag,
        _event(document, entry["event"], f"{where}, key `event`") if "event" in entry else None,
        {code: document.texts(fields, f"{where}, code {code}") for code, fields in known.items()},
        document.texts(entry.get("unknown") or {}, f"{where}, key `unknown`"),
    )


def _event(document: Document, value: Any, where: str) -> CodeEvent:
    entry = document.texts(document.keys(value, "event", where), where)
    if missing := [key for key in KEYS["event"] if key not in entry]:
        raise document.fail(where, f"lacks {' and '.join(f'`{key}`' for key in missing)}.")
    return CodeEvent(**entry)


def _filled(text: str, values: Mapping[str, str]) -> str:
    """A text with its placeholders filled. Of `{a|b}` the first that there is counts."""

    def value(match: re.Match[str]) -> str:
        return next((values[name] for name in match.group(1).split("|") if values.get(name)), "")

    return PLACEHOLDER.sub(value, text)
