"""The words of Datadog's query language."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml


@lru_cache(maxsize=1)
def grammar() -> dict[str, Any]:
    """The words by what they are, from grammar.yaml."""
    words: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("grammar.yaml").read_text(encoding="utf-8"))
    return words
