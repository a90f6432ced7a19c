"""The rows of metadata.csv, from the catalog: one for every metric name that the check can submit."""

from __future__ import annotations

from collections.abc import Iterator

from .loader import builtin_catalog
from .model import CanonicalMetric

COLUMNS = (
    "metric_name",
    "metric_type",
    "interval",
    "unit_name",
    "per_unit_name",
    "description",
    "orientation",
    "integration",
    "short_name",
    "curated_metric",
)
"""Columns in the order that Datadog's integrations use."""

INTEGRATION = "model_serving"


def metadata_rows() -> list[dict[str, str]]:
    """Every submitted name once, sorted, as a mapping of COLUMNS to text.

    A distribution takes three rows more: `.sum`, `.count`, and `.bucket` for those who switch back to
    stock buckets. The format knows no type for the distribution itself, which stands as a gauge.
    """
    metrics = builtin_catalog().metrics.values()
    rows = [row for metric in metrics for row in _rows(metric)]
    return sorted(rows, key=lambda row: row["metric_name"])


def _rows(metric: CanonicalMetric) -> Iterator[dict[str, str]]:
    if metric.type != "distribution":
        yield _row(metric, "", metric.type, metric.unit, metric.description)
        return
    described = metric.description.rstrip(".")
    yield _row(metric, "", "gauge", metric.unit, f"{described} (distribution).")
    yield _row(metric, ".sum", "count", metric.unit, f"{described}: sum of what was observed.")
    yield _row(metric, ".count", "count", "", f"{described}: number of observations.")
    yield _row(metric, ".bucket", "count", "", f"{described}: observations up to upper_bound, with stock buckets only.")


def _row(metric: CanonicalMetric, suffix: str, kind: str, unit: str, description: str) -> dict[str, str]:
    return {
        "metric_name": metric.full_name + suffix,
        "metric_type": kind,
        "interval": "",
        "unit_name": unit,
        "per_unit_name": metric.per_unit,
        "description": description,
        "orientation": str(metric.orientation),
        "integration": INTEGRATION,
        "short_name": f"{metric.short_name} {suffix[1:]}".strip(),
        "curated_metric": "",
    }
