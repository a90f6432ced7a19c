"""What a system needs beyond a plain scrape: its readiness, what its refusals mean. One file per system."""

from __future__ import annotations

from . import databricks
from .probes import mlserver, tensorflow_serving
from .probes.base import Source

SOURCES: dict[str, Source] = {
    "databricks": databricks.SOURCE,
    "mlserver": mlserver.SOURCE,
    "tensorflow_serving": tensorflow_serving.SOURCE,
}
"""Sources by the name of their system. A system that isn't here is scraped and nothing more."""

__all__ = ["SOURCES", "Source"]
