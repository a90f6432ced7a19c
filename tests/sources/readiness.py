"""What the readiness tests share: answers in JSON, and service checks in a form that tables can state."""

from __future__ import annotations

import json
from typing import Any

from ..conftest import Endpoint

WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")


def serve_json(endpoint: Endpoint, path: str, value: Any, status: int = 200) -> None:
    """Answer a path with a JSON value."""
    endpoint.serve(json.dumps(value), path, status=status, content_type="application/json")


def readiness(aggregator: Any) -> list[str]:
    """Readiness as `endpoint OK` and `model CRITICAL tag tag: message`, in order, without the tags that all have."""
    lines = []
    for kind in ("endpoint", "model"):
        for found in aggregator.service_checks(f"model_serving.{kind}.ready"):
            tags = sorted(tag for tag in found.tags if tag.partition(":")[0] not in COMMON)
            lines.append(" ".join([kind, WORDS[found.status], *tags]) + (f": {found.message}" if found.message else ""))
    return lines


COMMON = ("endpoint_name", "serving_system", "endpoint")
