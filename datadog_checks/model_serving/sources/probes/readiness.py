"""When which endpoint is asked whether it is ready, and where."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from typing import Any

from ...catalog.model import System
from ...scrape.scraper import ServingScraper
from ...settings import ReadinessSettings
from ..loaded import LoadedVersion, submit_loaded, submit_never_called
from . import databricks
from .base import Finding, Probe, SystemProbe
from .described import described

PROBES: dict[str, SystemProbe] = {"databricks": databricks.PROBE}
"""What no catalog file can say, by the name of the system."""


def probe_of(system: System) -> SystemProbe | None:
    """How a system is probed. One without a probe is scraped and nothing more."""
    return PROBES.get(system.name) or described(system)


class Readiness:
    """The readiness probes of one instance."""

    def __init__(self, settings: ReadinessSettings) -> None:
        self.settings = settings
        self._asked: dict[tuple[str, str], float] = {}
        self._remembered: dict[str, Any] = {}
        self._loaded: dict[tuple[str, str], tuple[LoadedVersion, ...]] = {}

    @property
    def loaded(self) -> dict[str, list[LoadedVersion]]:
        """The versions that the systems said they have, when each was asked last, by the URL of the metrics."""
        found: dict[str, list[LoadedVersion]] = {}
        for (url, _), versions in list(self._loaded.items()):
            found.setdefault(url, []).extend(versions)
        return found

    def ask(self, scraper: ServingScraper, http: Any, deadline: float) -> list[Finding]:
        """Probe an endpoint, if it has a probe and that is scheduled, with a wrapper of the calling thread.

        By `deadline`, of the monotonic clock, what it waits for is cut.

        What was found is for `submit`, in the thread of the run. A probe that fails is logged, and stops nothing.
        """
        findings: list[Finding] = []
        enabled = self.settings.enabled
        try:
            for system in list(scraper.recogniser.active):
                probe = probe_of(scraper.recogniser.systems[system])
                if probe is not None and (probe.default_on if enabled is None else enabled):
                    self._ask(scraper, system, probe, http, findings, deadline)
        except Exception as error:
            _failed(scraper, error)
        return findings

    @staticmethod
    def submit(scraper: ServingScraper, findings: Iterable[Finding]) -> None:
        """Submit what was found. What fails is logged, and stops nothing."""
        try:
            for finding in findings:
                finding(scraper.check)
        except Exception as error:
            _failed(scraper, error)

    def _ask(
        self,
        scraper: ServingScraper,
        system: str,
        probe: SystemProbe,
        http: Any,
        findings: list[Finding],
        deadline: float,
    ) -> None:
        settings = self.settings
        ports = dict(scraper.recogniser.systems[system].ports)
        base = settings.url or probe.base_url(scraper.endpoint, ports)
        if base is None:
            scraper.report.once("probe", "set `readiness_url` to have readiness checked", warning=False)
            return
        now = time.monotonic()
        key = (scraper.endpoint, system)
        interval = probe.interval if settings.interval is None else settings.interval
        if now - self._asked.get(key, float("-inf")) < interval:
            return
        self._asked[key] = now
        asked = Probe(
            http=http,
            base=base,
            tags=scraper.collector.rules.complete(system=system),
            models=settings.models,
            deadline=deadline,
            seen_models=scraper.report.model_names(system),
            wants_metadata=scraper.check.is_metadata_collection_enabled,
            findings=findings,
            remembered=self._remembered,
        )
        probe.probe(asked)
        loaded = self._loaded[key] = tuple(asked.loaded)
        findings.append(partial(_tell_loaded, scraper, system, loaded))
        if asked.told:
            findings.append(lambda check: scraper.collector.learn(system, asked.told))
        for text in asked.unanswered:
            scraper.report.once(f"probe {text}", text)


def _tell_loaded(scraper: ServingScraper, system: str, loaded: tuple[LoadedVersion, ...], check: Any) -> None:
    """What is loaded and, of that, what nothing has been counted for."""
    submit_loaded(check, loaded)
    called = scraper.report.called(system)
    if called is not None:
        submit_never_called(check, (one for one in loaded if not called.may_include(one.model, one.version)))


def _failed(scraper: ServingScraper, error: Exception) -> None:
    scraper.log.warning("%s: the readiness probe failed: %s", scraper.url, type(error).__name__)
    scraper.log.debug("%s: the readiness probe failed", scraper.url, exc_info=True)
