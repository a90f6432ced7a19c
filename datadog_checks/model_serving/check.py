"""The Agent check: one instance is one source."""

from __future__ import annotations

import re
import time
from typing import Any

from datadog_checks.base import ConfigurationError, OpenMetricsBaseCheckV2

from .catalog.model import NAMESPACE
from .config_models.instance import InstanceConfig
from .gpu.driver import DriverError
from .gpu.source import GpuSource
from .scrape.errors import ScrapeError
from .scrape.memory import Memory
from .scrape.scraper import ServingScraper
from .settings import Settings, check_option_names, check_settings, describe
from .sources import SOURCES, Source
from .sources.base import Probe


class ModelServingCheck(OpenMetricsBaseCheckV2):  # type: ignore[misc]
    """Scrapes a model-serving endpoint and submits its signals under the canonical vocabulary.

    Every option of the stock OpenMetrics V2 check keeps its meaning. A run raises ScrapeError when
    the endpoint can't be scraped and ConfigurationError when the instance is wrong, each with a
    message for the user; readiness is probed either way.
    """

    __NAMESPACE__ = NAMESPACE

    def __init__(self, name: str, init_config: dict[str, Any], instances: Any) -> None:
        try:
            super().__init__(name, init_config, instances)
        except re.error as error:
            raise ConfigurationError(
                f"{describe(instances[0])}: option `metric_patterns`: {error.pattern!r} is not a valid regular "
                f"expression: {error}"
            ) from None
        self.settings: Settings | None = None
        self.gpus: GpuSource | None = None
        self.memory = Memory(self)
        self._probed: dict[str, float] = {}
        self._no_probe_told = False

    def load_configuration_models(self, package_path: str | None = None) -> None:
        """Check the names of options, then their types. As a drop-in package the models lie beside this file."""
        where = describe(self.instance)
        check_option_names(self.instance, InstanceConfig.model_fields, where)
        try:
            super().load_configuration_models(package_path or f"{__package__}.config_models")
        except ConfigurationError as error:
            raise ConfigurationError(f"{where}: {_one_line(str(error))}") from None

    def configure_scrapers(self) -> None:
        """Resolve the settings and build the scraper from them."""
        settings = check_settings(self.instance)
        for secret in settings.secrets:
            self.register_secret(secret)
        self.settings = settings
        if settings.gpu:
            self.gpus = self._gpu_source(settings)
        self.scraper_configs = [] if settings.gpu else [settings.config]
        try:
            super().configure_scrapers()
        except re.error as error:
            raise ConfigurationError(
                f"{describe(self.instance)}: {error.pattern!r} is not a valid regular expression: {error}"
            ) from None
        except (ConfigurationError, TypeError, ValueError, OSError) as error:
            raise ConfigurationError(f"{describe(self.instance)}: {error}") from None
        for warning in settings.warnings:
            self.log.warning("%s", warning)

    def get_default_config(self) -> dict[str, Any]:
        """Distributions, with `.sum` and `.count`, unless the instance asks for buckets, or for none."""
        config = {} if self.settings is None else self.settings.config
        buckets = config.get("collect_histogram_buckets") is False or config.get("non_cumulative_histogram_buckets")
        distributions = config.get("histogram_buckets_as_distributions", not buckets)
        return {
            "histogram_buckets_as_distributions": distributions,
            "collect_counters_with_distributions": distributions,
        }

    def create_scraper(self, config: dict[str, Any]) -> ServingScraper:
        """The scraper of this source; `config` as `configure_scrapers` resolved it."""
        settings = self.settings
        assert settings is not None
        source = self._source(settings.systems)
        return ServingScraper(
            self,
            self.get_config_with_defaults(config),
            settings.catalog,
            settings.systems,
            settings.own_systems,
            source.explain_status if source is not None else None,
            memory=self.memory,
        )

    def check(self, _: Any) -> None:
        """Scrape, then probe; what fails in one never stops the other."""
        settings = self.settings
        assert settings is not None
        self.warnings.extend(settings.warnings)
        failures = []
        if self.gpus is not None:
            try:
                self.gpus.run()
            except DriverError as error:
                failures.append(f"{describe(self.instance)}: {error}")
        for scraper in list(self.scrapers.values()):
            try:
                scraper.scrape()
            except ScrapeError as error:
                failures.append(str(error))
            try:
                self._probe(scraper)
            except Exception as error:
                self.log.warning("%s: the readiness probe failed: %s", scraper.place, type(error).__name__)
                self.log.debug("%s: the readiness probe failed", scraper.place, exc_info=True)
        self.memory.keep()
        if failures:
            raise ScrapeError("; ".join(failures)) from None

    def cancel(self) -> None:
        """Called by the Agent when the check is unscheduled: end what runs beside it."""
        if self.gpus is not None:
            self.gpus.close()

    def _gpu_source(self, settings: Settings) -> GpuSource:
        config = settings.config
        return GpuSource(
            self,
            tags=(*(config.get("tags") or ()), f"endpoint_name:{config.get('endpoint_name') or self.hostname}"),
            optional=settings.gpu == "auto",
            processes=config.get("gpu_processes", True) is not False,
            limit=int(config.get("gpu_process_limit", 10)),
        )

    def _probe(self, scraper: ServingScraper) -> None:
        config = self.instance
        for system in scraper.recogniser.active:
            source = SOURCES.get(system)
            if source is None or not config.get("readiness", source.default_on):
                continue
            base = config.get("readiness_url")
            base = base.rstrip("/") if base else self._base_url(scraper, source, system)
            if base is None:
                if not self._no_probe_told:
                    self._no_probe_told = True
                    self.log.info("%s: set `readiness_url` to have readiness checked", scraper.place)
                continue
            now = time.monotonic()
            if now - self._probed.get(system, float("-inf")) < config.get("readiness_interval", source.interval):
                continue
            self._probed[system] = now
            source.probe(
                Probe(
                    check=self,
                    http=scraper.http,
                    base=base,
                    tags=scraper.report.own_tags(),
                    models=tuple(config.get("models") or ()),
                    seen_models=scraper.report.model_names(),
                )
            )

    @staticmethod
    def _base_url(scraper: ServingScraper, source: Source, system: str) -> str | None:
        return source.base_url(scraper.endpoint, dict(scraper.recogniser.systems[system].ports))

    @staticmethod
    def _source(systems: tuple[str, ...]) -> Source | None:
        return SOURCES.get(systems[0]) if len(systems) == 1 else None


def _one_line(text: str) -> str:
    """The base check's report of wrong types, on one line: `option: what is wrong`, in words of YAML."""
    lines = [line.strip() for line in text.splitlines()]
    if not lines or not lines[0].startswith("Detected "):
        return " ".join(lines)
    problems: dict[str, str] = {}
    for option, problem in zip(lines[1::2], lines[2::2], strict=False):
        # Where several types will do, each is complained about on its own.
        option = re.sub(r" -> (?:str|bool|tuple\[.*|.*mappingproxy.*)$", "", option)
        problem = problem.replace("valid tuple", "list").replace("an instance of mappingproxy", "a mapping")
        problems[option] = (
            f"{problems[option]}, or else {problem[0].lower()}{problem[1:]}" if option in problems else problem
        )
    return "; ".join(f"option `{option}`: {problem}" for option, problem in problems.items())
