"""Series that a Prometheus holds, as the text of an exposition: what the check reads as it reads `/federate`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
CHUNK_LINES = 1000

PARTS = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count"), "counter": ("_total",)}
"""How the series of a family of some type are called beyond its name."""

STRUCTURE = "{count:0}"
"""In the place of a native histogram: the check refuses it as what it does not read, and counts that."""

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*\Z")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def series_text(labels: Mapping[str, str]) -> str:
    """A series as a line begins with it, the same for the same labels in any order. Empty values are no labels.

    >>> series_text({"__name__": "up", "job": "a", "instance": ""})
    'up{job="a"}'
    """
    name = labels.get("__name__", "")
    pairs = [
        f'{_spelt(label, _LABEL)}="{value.translate(_ESCAPES)}"'
        for label, value in sorted(labels.items())
        if value and label != "__name__"
    ]
    if _NAME.match(name):
        return f"{name}{{{','.join(pairs)}}}"
    return f"{{{','.join((_quoted(name), *pairs))}}}"


class Payload:
    """Lines in the order of their families, each once. `types` are those that the server knows, by family.

    `doubtful` says that series may be missing which the server has.
    """

    def __init__(self, types: Mapping[str, str]) -> None:
        self._types = types
        self._families: dict[tuple[str, str], dict[str, str]] = {}
        self.samples = 0
        self.doubtful = False

    def add(self, name: str, series: str, value: str, timestamp: int) -> None:
        """Take a sample of the metric `name`, in milliseconds since 1970. What has the same `series` came before."""
        lines = self._families.setdefault(self._family(name), {})
        if series not in lines:
            self.samples += 1
            lines[series] = f"{value} {timestamp}"

    def _family(self, name: str) -> tuple[str, str]:
        """The family of a series and its type, which is empty where nothing is known or it could be no family."""
        kind = self._types.get(name, "")
        if kind in ("gauge", "counter", "summary"):
            return name, kind
        for suffix in ("_bucket", "_sum", "_count", "_total"):
            if name.endswith(suffix):
                family = name.removesuffix(suffix)
                kind = self._types.get(family, "")
                if suffix in PARTS.get(kind, ()):
                    return (name if kind == "counter" else family), kind
        return name, ""

    def chunks(self) -> Iterator[bytes]:
        """The text, piece by piece."""
        lines: list[str] = []
        for (family, kind), samples in self._families.items():
            if kind:
                lines.append(f"# TYPE {_spelt(family, _NAME)} {kind}\n")
            for series, rest in samples.items():
                lines.append(f"{series} {rest}\n")
                if len(lines) >= CHUNK_LINES:
                    yield "".join(lines).encode("utf-8", "replace")
                    lines = []
        if lines:
            yield "".join(lines).encode("utf-8", "replace")


def _spelt(name: str, plain: re.Pattern[str]) -> str:
    return name if plain.match(name) else _quoted(name)


def _quoted(text: str) -> str:
    return f'"{text.translate(_ESCAPES)}"'
