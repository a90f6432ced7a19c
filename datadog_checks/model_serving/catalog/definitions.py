"""Definitions of metrics: the vocabulary, and the metrics that a system has alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from .document import Document
from .model import CanonicalMetric

METRIC_TYPES = ("gauge", "count", "distribution")
COMBINATIONS = ("sum", "mean", "max", "last")


class DefinitionReader(Document):
    """A catalog file that names metrics. Those that it may name are `known`, by their names without namespace."""

    def __init__(self, path: Path, known: Mapping[str, CanonicalMetric]) -> None:
        super().__init__(path)
        self.known = dict(known)

    def lookup(self, name: Any, where: str) -> CanonicalMetric:
        metric = self.known.get(name) if isinstance(name, str) else None
        if metric is None:
            close = get_close_matches(str(name), self.known, 1)
            hint = f"did you mean `{close[0]}`?" if close else "define it under `own_metrics`."
            raise self.fail(where, f"`{name}` is no metric of the vocabulary; {hint}")
        return metric

    def metric_definitions(self, value: Mapping[str, Any]) -> dict[str, CanonicalMetric]:
        metrics = {}
        for name, definition in value.items():
            where = f"metric definition `{name}`"
            entry = self.keys(definition, "metric", where)
            if not re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*", name):
                raise self.fail(where, "must be a name of lower-case letters, digits and _, in parts divided by dots.")
            if not isinstance(entry.get("description"), str):
                raise self.fail(where, "needs a `description`.")
            orientation = entry.get("orientation", 0)
            if type(orientation) is not int or orientation not in (-1, 0, 1):
                raise self.fail(f"{where}, key `orientation`", f"must be -1, 0 or 1, not {orientation!r}.")
            kind = self.choice(entry.get("type"), METRIC_TYPES, f"{where}, key `type`")
            low, high = self.bounds(entry.get("range", [None, None]), where)
            metrics[name] = CanonicalMetric(
                name=name,
                type=kind,
                unit=str(entry.get("unit") or ""),
                per_unit=str(entry.get("per_unit") or ""),
                description=entry["description"].strip(),
                low=low,
                high=high,
                combine=self.choice(entry.get("combine", "last"), COMBINATIONS, f"{where}, key `combine`"),
                orientation=orientation,
                short_name=str(entry.get("short_name") or ""),
                moments=bool(self.typed(entry.get("moments"), bool, "true or false", f"{where}, key `moments`")),
            )
            if metrics[name].moments:
                if kind != "gauge":
                    raise self.fail(f"{where}, key `moments`", f"is for gauges, not for a {kind}.")
                metrics |= _moments(metrics[name])
        return metrics

    def bounds(self, value: Any, where: str) -> tuple[float | None, float | None]:
        if not isinstance(value, list) or len(value) != 2:
            raise self.fail(where, "`range` must be [lowest, highest], null where open.")
        if not all(bound is None or type(bound) in (int, float) for bound in value):
            raise self.fail(where, f"`range` must hold numbers or null, not {value!r}.")
        low, high = (None if bound is None else float(bound) for bound in value)
        if low is not None and high is not None and low > high:
            raise self.fail(where, f"`range` must be [lowest, highest], not {value!r}.")
        return low, high


def _moments(gauge: CanonicalMetric) -> dict[str, CanonicalMetric]:
    """The counts that a gauge is also sent as, by name."""
    described = gauge.description.rstrip(".")
    parts = {
        "count": ("", 0.0, f"{described}: number of values that were sent."),
        "sum": (gauge.unit, gauge.low, f"{described}: sum of the values that were sent."),
        "sum_of_squares": ("", 0.0, f"{described}: sum of the squares of the values that were sent."),
    }
    return {
        f"{gauge.name}.{part}": replace(
            gauge,
            name=f"{gauge.name}.{part}",
            type="count",
            unit=unit,
            per_unit="",
            description=description,
            low=low,
            high=None,
            short_name=f"{gauge.short_name} {part.rpartition('_')[2]}".strip(),
            moments=False,
        )
        for part, (unit, low, description) in parts.items()
    }
