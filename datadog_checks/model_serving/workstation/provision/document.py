"""A YAML file that a user writes, read so that every complaint names the file, the place in it and the mend."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from ...errors import DocumentError, QueryError
from ...strict_yaml import UnreadableYaml, read_yaml
from .query.tree import seconds

Given = TypeVar("Given")
Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class Node:
    """A value in a file; `path` leads to it, empty for the whole file."""

    file: str
    path: str
    value: Any

    def fail(self, problem: str) -> DocumentError:
        """The error that says what is wrong here."""
        return DocumentError(f"{self.file}: {f'{self.path}: ' if self.path else ''}{problem}")

    def below(self, key: str | int, value: Any) -> Node:
        """A value within this one."""
        step = f"[{key}]" if isinstance(key, int) else f".{key}" if self.path else key
        return Node(self.file, f"{self.path}{step}", value)

    def items(self) -> Iterator[tuple[str, Node]]:
        """The entries of a mapping, whatever their keys."""
        if not isinstance(self.value, Mapping):
            raise self.fail(f"must be a mapping, not {_kind(self.value)}")
        for key, value in self.value.items():
            if not isinstance(key, str):
                raise self.fail(f"the key {key!r} must be a text: put it in quotes")
            yield key, self.below(key, value)

    def mapped(self, read: Callable[[str, Node], Read]) -> dict[str, Read]:
        """The entries of a mapping, whatever their keys, each as `read` reads it by its key.

        Raises one DocumentError about all that can't be.
        """
        return dict(read_all(lambda entry: (entry[0], read(*entry)), self.items()))

    def read(
        self,
        readers: Mapping[str, Callable[[Node], Any]],
        what: str = "key",
        advice: Mapping[str, str] | None = None,
        needed: Collection[str] = (),
    ) -> dict[str, Any]:
        """The entries of a mapping, each as its key is read. `advice` is for keys of other tools, and the `needed` keys
        must be there.

        Raises one DocumentError about all keys that are unknown or missing and all values that can't be.
        """
        there = dict(self.items())

        def read(key: str) -> tuple[str, Any]:
            if key not in readers:
                raise self.fail(f"unknown {what} `{key}`; {(advice or {}).get(key) or suggestion(key, readers)}")
            if key not in there:
                raise self.fail(f"the key `{key}` is missing")
            return key, readers[key](there[key])

        return dict(read_all(read, dict.fromkeys((*there, *needed))))

    def entries(
        self, known: Iterable[str], what: str = "key", advice: Mapping[str, str] | None = None
    ) -> dict[str, Node]:
        """The entries of a mapping whose keys must all be known, each by itself. `advice` is as in `read`."""
        return self.read(dict.fromkeys(known, lambda node: node), what, advice)

    def each(self) -> list[Node]:
        """The items of a list."""
        if not isinstance(self.value, list):
            raise self.fail(f"must be a list, not {_kind(self.value)}")
        return [self.below(index, item) for index, item in enumerate(self.value)]

    def text(self) -> str:
        """A text that is not empty."""
        if not isinstance(self.value, str) or not self.value.strip():
            raise self.fail(f"must be a text, not {_kind(self.value)}")
        return self.value

    def parsed(self, read: Callable[[str], Read]) -> Read:
        """A text, as `read` reads a query, with the column of what it can't read."""
        text = self.text()
        try:
            return read(text)
        except QueryError as error:
            raise self.fail(f"column {error.column}: {error.message}") from None

    def texts(self) -> tuple[str, ...]:
        """A text, or a list of texts."""
        if not isinstance(self.value, str | list):
            raise self.fail(f"must be a text or a list of texts, not {_kind(self.value)}")
        return (self.text(),) if isinstance(self.value, str) else tuple(item.text() for item in self.each())

    def tag_value(self) -> str:
        """The value of a tag, as Datadog stores one."""
        text = self.text()
        if not re.fullmatch(r"[a-z0-9][a-z0-9_./-]*", text):
            raise self.fail(f"must be the value of a tag: small letters, digits and _ . / -, not `{text}`")
        return text

    def url(self) -> str:
        """The URL of a page."""
        text = self.text()
        if not re.match(r"https?://[^\s/]+", text):
            raise self.fail(f"must be a URL such as https://wiki.example.com/runbooks, not `{text}`")
        return text

    def flag(self) -> bool:
        """true or false."""
        if not isinstance(self.value, bool):
            raise self.fail(f"must be true or false, not {_kind(self.value)}")
        return self.value

    def number(self) -> float:
        """A finite number."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float) or not math.isfinite(self.value):
            raise self.fail(f"must be a number such as 0.5, not {_kind(self.value)}")
        return self.value

    def integer(self, low: int, high: int) -> int:
        """A whole number between two others."""
        if type(self.value) is not int or not low <= self.value <= high:
            raise self.fail(f"must be a whole number from {low} to {high}, not {_kind(self.value)}")
        return self.value

    def choice(self, choices: Collection[Any]) -> Any:
        """One of some values."""
        if isinstance(self.value, bool | list | dict) or self.value not in choices:
            raise self.fail(f"must be one of {', '.join(map(str, choices))}, not {_kind(self.value)}")
        return self.value

    def minutes(self, low: int, high: int) -> int:
        """A duration such as 30m, 4h or 1d, in minutes, between two others."""
        length = seconds(self.value) if isinstance(self.value, str) else None
        if length is None or length % 60:
            raise self.fail(f"must be a duration such as 30m, 4h or 1d, not {_kind(self.value)}")
        if not low <= length // 60 <= high:
            raise self.fail(f"must be from {low} to {high} minutes long, not {length // 60}")
        return length // 60


def read_document(path: str | Path, what: str) -> Node:
    """The file as one node. Raises DocumentError where it can't be read or is no YAML; an empty file is a mapping."""
    try:
        data = read_yaml(path)
    except OSError as error:
        raise DocumentError(f"{path}: the {what} can't be read: {error.strerror}; check the path and rights") from None
    except UnicodeDecodeError:
        raise DocumentError(f"{path}: the {what} is not UTF-8 text: save it as UTF-8") from None
    except UnreadableYaml as error:
        raise DocumentError(f"{path}: {'not valid YAML: ' if error.syntax else ''}{error}") from None
    return Node(str(path), "", {} if data is None else data)


class Mistakes:
    """What can't be of things that are read one after the other, for one error about all of it: whoever wrote the file
    mends it once."""

    def __init__(self) -> None:
        self._lines: dict[str, None] = {}

    def read(self, read: Callable[[Given], Read], items: Iterable[Given]) -> list[Read]:
        """What `read` makes of each item, without those about which it raises DocumentError."""
        found = []
        for item in items:
            try:
                found.append(read(item))
            except DocumentError as error:
                self._lines |= dict.fromkeys(str(error).splitlines())
        return found

    def end(self) -> None:
        """Raise DocumentError with a line for each, if there are any."""
        if self._lines:
            raise DocumentError("\n".join(self._lines))


def read_all(read: Callable[[Given], Read], items: Iterable[Given]) -> list[Read]:
    """What `read` makes of each item. Raises one DocumentError about all that can't be."""
    mistakes = Mistakes()
    found = mistakes.read(read, items)
    mistakes.end()
    return found


def suggestion(word: str, known: Collection[str]) -> str:
    """`did you mean ...?`, or what is known."""
    close = get_close_matches(word, list(known), 1)
    return f"did you mean `{close[0]}`?" if close else f"known are {', '.join(known)}"


def _kind(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case Mapping():
            return "a mapping"
        case list():
            return "a list"
        case _:
            return f"`{value}`"
