"""What the check says about a scrape: recognised systems, refused samples, telemetry."""

from __future__ import annotations

import logging
from typing import Any

from ..catalog.model import NAMESPACE
from ..log_once import LogOnce
from .collector import Collector


class Report:
    """Speaks for one source, scraped from `url`, whose readings are in `collector`. `tags` are the instance's own."""

    def __init__(self, check: Any, url: str, collector: Collector, tags: tuple[str, ...]) -> None:
        self.check = check
        self.url = url
        self.collector = collector
        self.tags = tags
        self._once = LogOnce(check.log)
        self._models: dict[str, tuple[str, ...]] = {}

    def own_tags(self) -> list[str]:
        """Tags of what the check says about this source: the endpoint's name, and the system if it is one."""
        rules, active = self.collector.rules, self.collector.recogniser.active
        tags = [*self.tags, f"endpoint_name:{rules.endpoint_name or rules.default_endpoint_name}"]
        return [*tags, f"serving_system:{active[0]}"] if len(active) == 1 else tags

    def systems(self, mapped_by_user: bool) -> None:
        """Tell, once, what was recognised, and for as long as it holds what could not be."""
        recogniser, unclaimed = self.collector.recogniser, self.collector.unclaimed
        unproven = recogniser.unproven() if recogniser.automatic else {}
        if recogniser.automatic:
            for system in recogniser.active:
                self.once(f"recognised {system}", f"recognised as {recogniser.systems[system].title}", warning=False)
        for system, hints in unproven.items():
            setting = [*recogniser.active, system]
            self.warn(
                f"{self.url}: {', '.join(sorted(hints)[:5])} may be of {recogniser.systems[system].title}, but the "
                "names are too common to be sure, so they are not mapped. If they are, set `serving_system: "
                f"{setting[0] if len(setting) == 1 else '[' + ', '.join(setting) + ']'}`"
            )
        mapped = any(not series.raw.shared for series in self.collector.frame)
        if not mapped and unclaimed and not unproven and not mapped_by_user:
            self.warn(
                f"{self.url}: none of the {len(unclaimed)} metrics is known to the catalog, for example "
                f"{', '.join(sorted(unclaimed)[:5])}. Set `serving_system` (one of {', '.join(recogniser.systems)}), "
                "name metrics in `extra_metrics`, or describe the system in a `catalog` file"
            )

    def rejected(self) -> None:
        """Count what was refused, and log each kind once."""
        for (reason, raw_metric), number in self.collector.rejected.items():
            tags = [*self.own_tags(), f"reason:{reason}", f"raw_metric:{raw_metric}"]
            self.check.count(f"{NAMESPACE}.scrape.samples.rejected", number, tags=tags, raw=True)
            self.once(f"{reason} {raw_metric}", f"refused {number} sample(s) of {raw_metric}: {reason}")

    def telemetry(self, seconds: float, contexts: int) -> None:
        """Submit the duration in seconds, the samples of the payload and the contexts submitted."""
        tags = self.own_tags()
        for name, value in (("duration", seconds), ("samples", self.collector.samples), ("contexts", contexts)):
            self.check.gauge(f"{NAMESPACE}.scrape.{name}", value, tags=tags, raw=True)

    def warn(self, message: str) -> None:
        """Shown in the Agent's status for as long as it holds, written to the log once."""
        if self._once.first(message):
            self.check.warning("%s", message)
        else:
            self.check.warnings.append(message)

    def once(self, key: str, message: str, warning: bool = True) -> None:
        """Log a message, the first time something of this key happens."""
        self._once.log(f"{self.url}: {message}", key, logging.WARNING if warning else logging.INFO)

    def model_names(self, system: str) -> tuple[str, ...]:
        """Models of one system, as whatever metric in the last complete payload names them.

        A model that nothing has been counted for, or whose requests have all failed, may be no more than a name that
        somebody mistyped in a request.
        """
        if self.collector.frame:
            named, failed, answered = set(), set(), set()
            for series in self.collector.frame:
                counted = series.current.value or series.current.count or series.raw.type in ("gauge", "timestamp")
                if series.raw.system != system or not counted:
                    continue
                metrics = {output.target.metric.name for output in series.outputs if output.target.value != "zero"}
                names = {_value(output.tags, "model_name") for output in series.outputs} - {""}
                named |= names
                if "request.error.count" in metrics:
                    failed |= names
                elif not metrics.isdisjoint(("request.count", "request.latency")):
                    answered |= names
            self._models[system] = tuple(sorted(named - (failed - answered)))
        return self._models.get(system, ())


def _value(tags: tuple[str, ...], name: str) -> str:
    return next((tag.partition(":")[2] for tag in tags if tag.startswith(f"{name}:")), "")
