"""The Agent check: one instance is one source."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from datadog_checks.base import ConfigurationError, OpenMetricsBaseCheckV2

from .catalog.model import NAMESPACE
from .config_models.instance import InstanceConfig
from .errors import DriverError, ScrapeError
from .http.redact import mask
from .log_once import LogOnce
from .scrape.scraper import ServingScraper
from .settings import Settings, check_option_names, check_settings, describe
from .sources.build import fleet, one, watch
from .sources.databricks.access import Access, Authorized
from .sources.databricks.watch import Watch
from .sources.gpu.source import GpuSource
from .sources.probes.readiness import Readiness
from .sources.registry import SOURCES, Source
from .sources.several import Fleet
from .submit.persisted import Memory

PASSING_SECRETS = 64
SHOWN = 5
"""Broken endpoints of one instance that are named in the Agent's status, each with its problem."""


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
        self.fleet: Fleet | None = None
        self.watch: Watch | None = None
        self.access: Access | None = None
        # Tells which of many endpoints are due; a simulation puts its own in the place.
        self.clock: Callable[[], float] = time.monotonic
        self.memory = Memory(self)
        self._running = threading.Lock()
        self._cancelled = threading.Event()
        self._secrets_lock = threading.Lock()
        self._secrets: tuple[str, ...] = ()
        self._passing_secrets: tuple[str, ...] = ()
        self.readiness = Readiness(self.instance)
        self._once = LogOnce(self.log)

    def register_secret(self, secret: str, passing: bool = False) -> None:
        """Have a secret left out of the log. May be called in any thread, unlike that of the base class.

        Of `passing` ones, as tokens are that are renewed, only the last are remembered.
        """
        with self._secrets_lock:
            if not self._secrets:
                self.log.setup_sanitization(sanitize=self.sanitize)
            if passing:
                self._passing_secrets = (*self._passing_secrets, secret)[-PASSING_SECRETS:]
            else:
                self._secrets = tuple(dict.fromkeys((*self._secrets, secret)))

    def sanitize(self, text: str) -> str:
        """A text without the secrets that are known."""
        return mask(text, (*self._secrets, *self._passing_secrets))

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
        config, databricks = settings.config, settings.databricks
        self.scraper_configs = [config]
        if settings.gpu:
            self.gpus = self._gpu_source(settings)
        if settings.gpu or (databricks is not None and not databricks.endpoint):
            self.scraper_configs = []
        elif settings.endpoints:
            self.scraper_configs = [{**config, "openmetrics_endpoint": url} for url in settings.endpoints]
        if len(self.scraper_configs) != 1 and "max_returned_metrics" not in self.instance:
            # The stock limit is meant for one payload, and leaves out what comes last.
            self.metric_limiter = None
        try:
            if databricks is not None and databricks.endpoint:
                one(self, settings, databricks)
            super().configure_scrapers()
            if databricks is not None and not databricks.endpoint:
                self.watch = watch(self, settings, databricks)
            elif settings.endpoints:
                self.fleet = fleet(self, settings)
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

    def create_scraper(self, config: dict[str, Any], place: str = "") -> ServingScraper:
        """The scraper of one endpoint; `config` as `configure_scrapers` resolved it.

        `place` is for `Memory` to tell endpoints apart, where there are several.
        """
        settings = self.settings
        assert settings is not None
        source = self._source(settings.systems)
        return ServingScraper(
            self,
            self.get_config_with_defaults(config),
            settings.catalog,
            settings.systems,
            settings.own_systems,
            self._explain if source is not None else None,
            memory=self.memory,
            place=place or (f"{config['openmetrics_endpoint']} " if settings.endpoints else ""),
            access=self.access,
        )

    def check(self, _: Any) -> None:
        """Scrape, then probe; what fails in one never stops the other. A run while another goes on does nothing."""
        settings = self.settings
        assert settings is not None
        if self._cancelled.is_set():
            # It may have been while the first run was building what `cancel` ends.
            self.cancel()
            return
        if not self._running.acquire(blocking=False):
            self.log.warning("%s: the run before is still going on: this one is left out", describe(self.instance))
            return
        try:
            self.warnings.extend(settings.warnings)
            failures = self._run()
        finally:
            self.memory.keep()
            self._running.release()
        if failures:
            raise ScrapeError("; ".join(failures)) from None

    def cancel(self) -> None:
        """Called by the Agent when the check is unscheduled: end what runs beside it, and what it waits for."""
        self._cancelled.set()
        if self.gpus is not None:
            self.gpus.close()
        if self.access is not None:
            self.access.stop()
        for source in (self.watch, self.fleet):
            if source is not None:
                source.close()

    def _run(self) -> list[str]:
        """One run over whatever the source is. Returns what went wrong with all of it."""
        if self.gpus is not None:
            try:
                self.gpus.run()
            except DriverError as error:
                return [f"{describe(self.instance)}: {error}"]
            return []
        if self.watch is not None:
            try:
                problems, total = self.watch.run(), len(self.watch.fleet.members)
            except ScrapeError as error:
                return [str(error)]
            return self._partly(problems, total)
        if self.fleet is not None:
            return self._partly(self.fleet.run(), len(self.fleet.members))
        failures = []
        for scraper in list(self.scrapers.values()):
            try:
                scraper.scrape()
            except ScrapeError as error:
                failures.append(str(error))
            http = scraper.http if self.access is None else Authorized(scraper.http, self.access)
            self.readiness.ask(scraper, http, self)
        return failures

    def _partly(self, problems: Sequence[str], total: int) -> list[str]:
        """Of many endpoints some may be broken: that is a warning, and a failure only if all are."""
        shown = [*problems[:SHOWN], f"and {len(problems) - SHOWN} more endpoints"][: len(problems)]
        if len(problems) == total:
            return shown
        for problem in shown:
            self.warnings.append(problem)
            self._once.log(problem, key=re.sub(r"[0-9.]+", "", problem))
        return []

    def _gpu_source(self, settings: Settings) -> GpuSource:
        config = settings.config
        return GpuSource(
            self,
            tags=(*(config.get("tags") or ()), f"endpoint_name:{config.get('endpoint_name') or self.hostname}"),
            optional=settings.gpu == "auto",
            processes=config.get("gpu_processes", True) is not False,
            limit=int(config.get("gpu_process_limit", 10)),
        )

    def _explain(self, status: int) -> str | None:
        """What a refused answer means, in the words of the system, or of how the check has logged in to it."""
        settings = self.settings
        assert settings is not None
        source = self._source(settings.systems)
        advice = self.access.credentials.advice(status) if self.access is not None else None
        return advice or (source.explain_status(status) if source is not None else None)

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
