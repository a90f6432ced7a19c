"""How metrics and tags are called in Prometheus, by rules that hold for every one of them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ....catalog.model import CanonicalMetric

UNITS = {
    "second": "seconds",
    "byte": "bytes",
    "percent": "percent",
    "degree celsius": "celsius",
    "watt": "watts",
    "joule": "joules",
    "hertz": "hertz",
}
"""Units that a name says, as Prometheus spells them. What is counted, such as requests and tokens, is in the name."""

BOUNDS: dict[str, tuple[float, ...]] = {
    "second": (
        *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
        *(1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0),
    ),
    "byte": tuple(float(4**power) for power in range(5, 17)),
    "percent": (1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 100.0),
    "": (*(0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9), *(1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 1000.0, 10_000.0)),
}
"""Upper bounds of the buckets of a distribution by its unit: one set for all systems, so that they add up."""

COUNTED = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 1e5, 1e6)
"""Those of whatever is counted, such as requests and tokens."""

SIGNED = (-100.0, -10.0, -1.0, -0.5, -0.1, 0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 10.0, 100.0)
"""Those of a metric whose values may be below zero."""

_OTHER_THAN_NAMES = re.compile(r"[^a-zA-Z0-9_:]")
_OTHER_THAN_LABELS = re.compile(r"[^a-zA-Z0-9_]")


def family_name(name: str, unit: str) -> str:
    """The name of a metric without what its type adds, such as `_total`. `unit` is that of the catalog.

    >>> family_name("model_serving.request.latency", "second"), family_name("model_serving.request.count", "request")
    ('model_serving_request_latency_seconds', 'model_serving_request_count')
    """
    plain = _OTHER_THAN_NAMES.sub("_", name)
    plain = plain if not plain[:1].isdigit() else f"_{plain}"
    suffix = unit_suffix(unit)
    return plain if not suffix or plain.endswith(f"_{suffix}") else f"{plain}_{suffix}"


def unit_suffix(unit: str) -> str:
    """What a name says of a unit, empty for one that it doesn't say.

    >>> unit_suffix("second"), unit_suffix("request"), unit_suffix("token/second")
    ('seconds', '', 'tokens_per_second')
    """
    of, _, per = unit.partition("/")
    return f"{UNITS.get(of, f'{of}s')}_per_{per}" if per else UNITS.get(of, "")


def bounds_of(metric: CanonicalMetric | None) -> tuple[float, ...]:
    """The buckets of a distribution, which is None where the catalog doesn't know it."""
    if metric is None:
        return BOUNDS[""]
    return SIGNED if metric.low is None or metric.low < 0 else BOUNDS.get(metric.unit, COUNTED)


def labels_of(tags: Iterable[str], host: str) -> tuple[tuple[str, str], ...]:
    """Labels, in order, for the tags of a context. Several values of one key become one, in order, with commas."""
    values: dict[str, set[str]] = {}
    for tag in tags:
        key, colon, value = tag.partition(":")
        values.setdefault(label_name(key), set()).add(value if colon else "true")
    if host:
        values.setdefault("host", {host})
    return tuple((label, ",".join(sorted(found))) for label, found in sorted(values.items()))


def label_name(key: str) -> str:
    """The label of a tag's key. Prometheus keeps some names for itself.

    >>> label_name("kube-cluster"), label_name("le"), label_name("__x")
    ('kube_cluster', 'tag_le', 'tag___x')
    """
    plain = _OTHER_THAN_LABELS.sub("_", key)
    reserved = plain in ("le", "quantile", "") or plain.startswith("__") or plain[:1].isdigit()
    return f"tag_{plain}" if reserved else plain
