"""The Agent check: one instance is one source."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

from datadog_checks.base import ConfigurationError, OpenMetricsBaseCheckV2

from .catalog.model import NAMESPACE
from .catalog.plain_text import plain_text
from .config_models.instance import InstanceConfig
from .errors import ScrapeError
from .http.redact import LONGEST_WARNING, Secrets
from .scrape.versions import SeenVersions
from .settings import (
    Problems,
    Settings,
    check_option_names,
    check_option_types,
    describe,
    read_settings,
    source_id,
)
from .sources.build import build_source
from .sources.claims import read_twice
from .sources.source import Source
from .submit.agent_cache import AgentCache
from .submit.persisted import Memory


class ModelServingCheck(OpenMetricsBaseCheckV2):  # type: ignore[misc]
    """Scrapes a model-serving endpoint and submits its signals under the canonical vocabulary.

    Every option of the stock OpenMetrics V2 check keeps its meaning. A run raises ScrapeError when
    nothing can be read and ConfigurationError when the instance is wrong, each with a message for the user.
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
        self.source: Source | None = None
        # Schedules the endpoints where there are several; a simulation puts its own in the place.
        self.clock: Callable[[], float] = time.monotonic
        self.cache = AgentCache(self, lambda: self.clock())
        self.memory = Memory(self.cache)
        self.versions = SeenVersions(self, self.cache)
        self.secrets = Secrets(self.log)
        self._problems = Problems("")
        self._running = threading.Lock()
        self._cancelled = threading.Event()

    @cached_property
    def _source_id(self) -> str:
        return source_id(self.instance)

    def persistent_cache_id(self) -> str:
        """What is remembered is of a source. The Agent's own id changes with every edit of the file."""
        return self._source_id

    def load_configuration_models(self, package_path: str | None = None) -> None:
        """Check the names of options, then their types; `configure_scrapers` raises what is wrong with them.

        As a drop-in package the models lie beside this file.
        """
        self._problems = Problems(describe(self.instance))
        check_option_names(self.instance, InstanceConfig.model_fields, self._problems)
        try:
            super().load_configuration_models(package_path or f"{__package__}.config_models")
        except ConfigurationError as error:
            check_option_types(str(error), self._problems)

    def configure_scrapers(self) -> None:
        """Resolve the settings and build the source that they name, with its scrapers."""
        settings = read_settings(self.instance, self._config_model_instance, os.environ, self._problems)
        for secret in settings.secrets:
            self.secrets.register(secret)
        self.settings = settings
        self.cache.interval = settings.interval
        self.memory.restart_bytes = settings.restart_memory_bytes
        if not settings.limits_contexts:
            self.metric_limiter = None
        try:
            self.source = build_source(self, settings)
        except re.error as error:
            raise ConfigurationError(
                f"{settings.instance}: {error.pattern!r} is not a valid regular expression: {error}"
            ) from None
        except (ConfigurationError, TypeError, ValueError, OSError) as error:
            raise ConfigurationError(f"{settings.instance}: {error}") from None
        self.scrapers.clear()
        self.scrapers.update(self.source.scrapers)
        for warning in settings.warnings:
            self.log.warning("%s", warning)

    def check(self, _: Any) -> None:
        """Run the source. A run while another goes on does nothing."""
        settings, source = self.settings, self.source
        if settings is None or source is None or self._cancelled.is_set():
            # It may have been cancelled while the first run was building what `cancel` ends.
            self.cancel()
            return
        if not self._running.acquire(blocking=False):
            self.log.warning("%s: the run before is still going on: this one is left out", settings.instance)
            return
        twice: list[str] = []
        try:
            self.warnings.extend(settings.warnings)
            if self.cache.born is None:
                self.log.info("%s: the first run; counts and distributions come from the second on", settings.instance)
            self.cache.begin()
            failures = source.run()
            twice = read_twice(self, source)
            self.warnings.extend(twice)
        finally:
            self.memory.keep()
            self.versions.keep()
            if self.cache.problem and not twice:
                self.warnings.append(self.cache.problem)
            self._running.release()
            if self._cancelled.is_set():
                self._let_go()
        if failures and not self._cancelled.is_set():
            raise ScrapeError(self.secrets.shown("; ".join(failures))) from None

    def get_warnings(self) -> list[str]:
        """Called by the Agent after each run: what it shows beside the instance, in words that may be of a payload."""
        return [self.secrets.shown(str(warning), LONGEST_WARNING) for warning in super().get_warnings()]

    def service_check(
        self,
        name: str,
        status: Any,
        tags: Any = None,
        hostname: str | None = None,
        message: str | None = None,
        raw: bool = False,
    ) -> None:
        """As the base check. Monitors quote the message, and what an endpoint has answered may stand in it.

        After `cancel` nothing is said any more: what fails then was cut off by that.
        """
        if self._cancelled.is_set():
            return
        super().service_check(name, status, tags, hostname, plain_text(message) if message else None, raw)

    @property
    def cancelled(self) -> bool:
        """Whether the check has ended for good."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Called by the Agent when the check is unscheduled: end what goes on, and what a run waits for."""
        self._cancelled.set()
        if self.source is not None:
            self.source.close()
        self._let_go()

    def _let_go(self) -> None:
        """Another instance of the same source may remember from now on, once the last run is over."""
        if self._running.acquire(blocking=False):
            self.cache.release()
            self._running.release()
