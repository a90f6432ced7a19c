"""Write metadata.csv, the list of every metric that the check can submit, from the catalog."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from datadog_checks.model_serving.catalog.metadata import COLUMNS, metadata_rows

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "metadata.csv"


def render() -> str:
    """Return the text of metadata.csv."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(metadata_rows())
    return text.getvalue()


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
    print(f"wrote {TARGET.relative_to(ROOT)}")
