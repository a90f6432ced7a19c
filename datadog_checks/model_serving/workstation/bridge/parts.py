"""What runs beside the instances: what shows the commits of runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from ..standin.runner import Round
from ..standin.units import catalog_files_of, catalog_of
from .engine import RunListener
from .prometheus.exposition import MetricsExposition
from .prometheus.server import MetricsServer
from .settings import BridgeSettings


class BridgeServer(Protocol):
    """Something that serves beside the instances, such as an exposition."""

    def start(self) -> None:
        """Begin to serve, before the first instance runs."""

    def close(self) -> None:
        """End it, within a second."""


@dataclass(slots=True)
class Parts:
    """`servers` are started before the instances and closed after them; `listeners` are told of every run."""

    servers: list[BridgeServer] = field(default_factory=list)
    listeners: list[RunListener] = field(default_factory=list)


class ExposedRuns:
    """Hands runs on to an exposition."""

    def __init__(self, exposition: MetricsExposition) -> None:
        self._exposition = exposition

    def ran(self, round_: Round, timestamp: int) -> None:
        """Expose what the run gave."""
        for run in round_.runs:
            self._exposition.record(run.check_id, run.commit, round_.service_checks)


def parts_of(settings: BridgeSettings) -> Parts:
    """The parts that a bridge.yaml asks for."""
    if settings.expose is None:
        return Parts()
    files = catalog_files_of(instance for _, instance in settings.configuration.instances)
    exposition = MetricsExposition(catalog_of(files))
    return Parts([MetricsServer(exposition, settings.expose)], [ExposedRuns(exposition)])
