"""Whether a trial run has asked systems if they are ready, what they answered, and why nothing was asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ...catalog.model import NAMESPACE
from ...http.redact import without_secrets
from ...scrape.scraper import ServingScraper
from ...settings import GpuSettings, WorkspaceSettings
from ...sources.probes.base import SystemProbe
from ...sources.probes.readiness import probe_of
from ..standin.recorder import ServiceCheck
from .model import ReadinessState

READY = tuple(f"{NAMESPACE}.{name}" for name in ("endpoint.ready", "model.ready"))


def readiness(
    check: Any | None, scrapers: Sequence[ServingScraper], checks: Sequence[ServiceCheck]
) -> Iterator[ReadinessState]:
    """One state for each endpoint and system that can be asked."""
    if check is None or check.settings is None:
        return
    settings = check.settings.source
    answers = tuple(one for one in checks if one.name in READY)
    if isinstance(settings, GpuSettings):
        return
    if isinstance(settings, WorkspaceSettings):
        off = settings.readiness.enabled is False
        yield ReadinessState(
            "Databricks Model Serving",
            settings.databricks.metrics_url,
            answers,
            "`readiness: false` switches it off" if off else "" if answers else "no endpoint was described",
        )
        return
    enabled, base = settings.readiness.enabled, settings.readiness.url
    for scraper in scrapers:
        for name in scraper.recogniser.active:
            system = scraper.recogniser.systems[name]
            probe = probe_of(system)
            if probe is None:
                continue
            url = base or probe.base_url(scraper.endpoint, dict(system.ports)) or ""
            tags = set(scraper.report.own_tags())
            own = tuple(one for one in answers if len(scrapers) == 1 or _of(one, tags))
            yield ReadinessState(
                system.title,
                without_secrets(url),
                own,
                "" if own else _why(scraper.endpoint, system.ports, url, enabled, probe),
            )


def _of(check: ServiceCheck, tags: set[str]) -> bool:
    names = {tag for tag in tags if tag.startswith(("endpoint:", "endpoint_name:"))}
    return names <= set(check.tags)


def _why(metrics: str, ports: Mapping[str, int], url: str, enabled: bool | None, probe: SystemProbe) -> str:
    if enabled is False:
        return "`readiness: false` switches it off"
    if enabled is None and not probe.default_on:
        return "it is off unless `readiness: true` asks for it" + (f", since {probe.because}" if probe.because else "")
    if not url:
        host = urlsplit(metrics).hostname or "HOST"
        return (
            f"the metrics are not at port {ports.get('metrics')}, so the API's is not known: set `readiness_url`, such "
            f"as http://{host}:{ports.get('api', 'PORT')}"
        )
    return "no model is known yet: they are from the first request on, or with the option `models`"
