"""One catalog file as a document: its keys, and the checks of single values, each with the place and the mend."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..errors import CatalogError
from ..strict_yaml import UnreadableYaml, read_shipped, read_yaml
from .probes import KEYS as PROBE_KEYS

CATALOG = Path(__file__).parent

KEYS = {
    "system": (
        "system",
        "title",
        "verified",
        "recognise",
        "extends",
        "any_prefix",
        "prefixes",
        "series_start_at_zero",
        "labels",
        "tags",
        "identity",
        "blanks",
        "ignore",
        "rest",
        "ports",
        "readiness",
        "metrics",
        "own_metrics",
        "derived",
        "switches",
    ),
    "verified": ("how", "source", "documentation"),
    "recognise": ("prefix", "any", "hint", "hints_needed", "any_needed"),
    "ignored": ("names", "because"),
    "labels": ("rename", "drop", "lower", "absent", "values", "parts"),
    "identity": ("levels", "worldwide", "about", "default"),
    "ports": ("metrics", "api"),
    "pair": ("sum", "count"),
    "raw metric": (
        "raw",
        "prefixed",
        "like",
        "type",
        "codes",
        "states",
        "scale",
        "unit",
        "starts_at_zero",
        "level",
        "besides",
        "overshoot",
        "ignore_plain",
        "to",
    ),
    "codes": ("tag", "event", "unknown", "codes"),
    "event": ("title", "text", "type", "aggregation_key"),
    "like": ("name", "label"),
    "target": ("metric", "tags", "when", "unless", "keep", "drop", "present", "absent", "value"),
    "metric": ("type", "unit", "per_unit", "description", "range", "combine", "moments", "orientation", "short_name"),
    "derived": ("metric", "share", "sum"),
    "inputs": ("of", "in", "optional"),
    "switch": ("gives", "present", "absent", "because", "do"),
    **PROBE_KEYS,
}
"""Every key that a file may have, by the mapping that holds it. docs/catalog.md has an example for each."""


class Document:
    """One catalog file. Every complaint starts with the file and the place in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            data = read_shipped(path) if CATALOG in path.parents else read_yaml(path)
        except OSError as error:
            raise CatalogError(
                f"Catalog file {path} cannot be read: {error.strerror}. Check the path and rights."
            ) from None
        except UnicodeDecodeError:
            raise CatalogError(f"Catalog file {path} is not UTF-8 text: save it as UTF-8.") from None
        except UnreadableYaml as error:
            what = "is not valid YAML" if error.syntax else "cannot be used"
            raise CatalogError(f"Catalog file {path} {what}: {error}") from None
        self.data: dict[str, Any] = self.mapping(data, "the file")

    def fail(self, where: str, problem: str) -> CatalogError:
        return CatalogError(f"Catalog file {self.path}, {where}: {problem}")

    def mapping(self, value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise self.fail(where, f"must be a mapping with text keys, not {type(value).__name__}.")
        return value

    def keys(self, value: Any, kind: str, where: str) -> dict[str, Any]:
        entry = self.mapping(value, where)
        for key in entry:
            if key not in KEYS[kind]:
                close = get_close_matches(key, KEYS[kind], 1)
                hint = f"did you mean `{close[0]}`?" if close else f"known keys: {', '.join(KEYS[kind])}."
                raise self.fail(where, f"unknown key `{key}`; {hint}")
        return entry

    def strings(self, value: Any, where: str) -> tuple[str, ...]:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise self.fail(where, "must be a text or a list of texts (quote numbers).")
        return tuple(items)

    def numbers(self, value: Any, where: str) -> list[float]:
        if not isinstance(value, list) or not all(type(item) in (int, float) for item in value):
            raise self.fail(where, "must be a list of numbers.")
        return value

    def entries(self, value: Any, where: str) -> list[Any]:
        if not isinstance(value, list):
            raise self.fail(where, f"must be a list, not {type(value).__name__}.")
        return value

    def typed(self, value: Any, kind: type, what: str, where: str) -> Any:
        """`value`, or None where there is none, when it is of exactly this type."""
        if value is not None and type(value) is not kind:
            raise self.fail(where, f"must be {what}, not {value!r}.")
        return value

    def texts(self, value: Any, where: str) -> dict[str, str]:
        entry = self.mapping(value, where)
        if not all(isinstance(text, str) for text in entry.values()):
            raise self.fail(where, "must be texts by name.")
        return entry

    def choice(self, value: Any, choices: tuple[str, ...], where: str) -> str:
        if value not in choices:
            raise self.fail(where, f"must be one of {', '.join(choices)}, not {value!r}.")
        return str(value)
