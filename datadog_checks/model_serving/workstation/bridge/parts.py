"""What runs beside the instances: sources that an instance of their own scrapes, and what shows the commits of runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from .engine import RunListener
from .settings import BridgeSettings


class BridgeServer(Protocol):
    """Something that serves beside the instances, such as a receiver or an exposition."""

    def start(self) -> None:
        """Begin to serve, before the first instance runs."""

    def close(self) -> None:
        """End it, within a second."""


@dataclass(slots=True)
class Parts:
    """`servers` are started before the instances and closed after them, `instances` are run with those of the file, and
    `listeners` are told of every run.
    """

    servers: list[BridgeServer] = field(default_factory=list)
    instances: list[Mapping[str, Any]] = field(default_factory=list)
    listeners: list[RunListener] = field(default_factory=list)


def parts_of(settings: BridgeSettings) -> Parts:
    """The parts that a bridge.yaml asks for."""
    return Parts()
