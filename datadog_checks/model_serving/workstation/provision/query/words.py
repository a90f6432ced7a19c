"""The words of Datadog's query language."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from ....strict_yaml import read_shipped


@lru_cache(maxsize=1)
def grammar() -> dict[str, Any]:
    """The words by what they are, from grammar.yaml."""
    words: dict[str, Any] = read_shipped(Path(__file__).with_name("grammar.yaml"))
    return words
