"""The versions of models that a serving system says it has, which is not what its metrics say: those show calls."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..catalog.model import NAMESPACE
from ..submit.series import tag_value

NEVER_CALLED = "called:never"
"""Tag of the zeros for versions that nothing has been counted for. A monitor that waits for traffic to end leaves them
out."""


@dataclass(frozen=True, slots=True)
class LoadedVersion:
    """A version of a model, as its system tells of it. `tags` are those of what is said of it, the endpoint's included.

    `state` is the system's own word; `serving` says whether it can be called in that state, `since` when it was loaded,
    in epoch seconds, where that is told.
    """

    tags: tuple[str, ...]
    state: str
    serving: bool
    since: float | None = None

    @property
    def model(self) -> str:
        """The name of the model."""
        return tag_value(self.tags, "model_name")

    @property
    def version(self) -> str:
        """The version, empty where the system has none."""
        return tag_value(self.tags, "model_version")


def submit_loaded(check: Any, versions: Iterable[LoadedVersion]) -> None:
    """Submit `model.loaded`, 1 for each version that can be called."""
    for one in versions:
        if one.serving:
            check.gauge(f"{NAMESPACE}.model.loaded", 1.0, tags=list(one.tags), raw=True)


def submit_never_called(check: Any, versions: Iterable[LoadedVersion]) -> None:
    """Submit a `request.count` of 0 for each version: it has been counted, and it was nothing."""
    for one in versions:
        if one.serving:
            check.count(f"{NAMESPACE}.request.count", 0, tags=[*one.tags, NEVER_CALLED], raw=True)
