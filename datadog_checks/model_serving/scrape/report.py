"""What the check says about a scrape: recognised systems, refused samples, telemetry."""

from __future__ import annotations

import logging
from typing import Any

from ..catalog.model import NAMESPACE
from ..log_once import LogOnce
from .collector import Collector

ADVICE = {
    "unsupported": ". Their value is no number, as that of a native histogram: have the server expose buckets as well",
    "error": ". The fault is the check's own, its debug log says where",
}


class Report:
    """Speaks for one source, scraped from `url`, whose readings are in `collector`. `tags` are the instance's own."""

    def __init__(self, check: Any, url: str, collector: Collector, tags: tuple[str, ...]) -> None:
        self.check = check
        self.url = url
        self.collector = collector
        self.tags = tags
        self._once = LogOnce(check.log)
        self._models: tuple[str, ...] = ()

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
        if not self.collector.frame and unclaimed and not unproven and not mapped_by_user:
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
            advice = ADVICE.get(reason, "")
            self.once(f"{reason} {raw_metric}", f"refused {number} sample(s) of {raw_metric}: {reason}{advice}")

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

    def model_names(self) -> tuple[str, ...]:
        """Models that answered at least one request well, as the last complete payload tells them.

        A model that has only failed may be no more than a name that somebody mistyped in a request.
        """
        if self.collector.frame:
            self._models = tuple(
                sorted(
                    {
                        tag.partition(":")[2]
                        for series in self.collector.frame
                        if (series.current.value or series.current.count)
                        and not any(output.target.metric.name == "request.error.count" for output in series.outputs)
                        for output in series.outputs
                        if output.target.metric.name in ("request.count", "request.latency")
                        for tag in output.tags
                        if tag.startswith("model_name:")
                    }
                )
            )
        return self._models
