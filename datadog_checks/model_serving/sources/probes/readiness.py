"""When which endpoint is asked whether it is ready, and where."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ...scrape.scraper import ServingScraper
from ..registry import SOURCES
from .base import Probe, Source


class Readiness:
    """The readiness probes of one instance, whose options are `config`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._asked: dict[tuple[str, str], float] = {}

    def ask(self, scraper: ServingScraper, http: Any, check: Any) -> None:
        """Probe an endpoint, if it has a probe and it is time for that, with a wrapper of the calling thread.

        `check` takes the service checks. A probe that fails is logged, and stops nothing.
        """
        try:
            for system in list(scraper.recogniser.active):
                source = SOURCES.get(system)
                if source is not None and self._config.get("readiness", source.default_on):
                    self._ask(scraper, system, source, http, check)
        except Exception as error:
            scraper.log.warning("%s: the readiness probe failed: %s", scraper.place, type(error).__name__)
            scraper.log.debug("%s: the readiness probe failed", scraper.place, exc_info=True)

    def _ask(self, scraper: ServingScraper, system: str, source: Source, http: Any, check: Any) -> None:
        base = self._config.get("readiness_url")
        ports = dict(scraper.recogniser.systems[system].ports)
        base = base.rstrip("/") if base else source.base_url(scraper.endpoint, ports)
        if base is None:
            scraper.report.once("probe", "set `readiness_url` to have readiness checked", warning=False)
            return
        now = time.monotonic()
        key = (scraper.endpoint, system)
        interval = self._config.get("readiness_interval", source.interval)
        if now - self._asked.get(key, float("-inf")) < interval:
            return
        self._asked[key] = now
        source.probe(
            Probe(
                check=check,
                http=http,
                base=base,
                tags=scraper.report.own_tags(),
                models=tuple(self._config.get("models") or ()),
                seen_models=scraper.report.model_names(),
            )
        )
