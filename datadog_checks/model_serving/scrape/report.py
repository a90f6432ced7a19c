"""What the check says about a scrape: recognised systems, refused samples, telemetry."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from ..catalog.model import NAMESPACE
from ..log_once import LogOnce
from ..submit.sender import Sent
from .collector import Collector


class Report:
    """Speaks for one source, scraped from `url`, whose readings are in `collector`."""

    def __init__(self, check: Any, url: str, collector: Collector) -> None:
        self.check = check
        self.url = url
        self.collector = collector
        self._once = LogOnce(check.log)
        self._models: tuple[str, ...] = ()

    def own_tags(self) -> list[str]:
        """Tags of what the check says about this source: the endpoint's name, and the system if it is one."""
        return self.collector.rules.complete(system=self.system())

    def system(self, family: str = "") -> str:
        """The serving system that a family belongs to, by its name or because there is but one; else empty."""
        recogniser = self.collector.recogniser
        match = recogniser.match(family) if family else None
        if match is not None and not match.required_label:
            return match.raw.system
        return recogniser.active[0] if len(recogniser.active) == 1 else ""

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

    def processes(self, in_turn: Collection[str], suspected: Collection[str]) -> None:
        """Tell, for as long as it holds, that several processes answer at an address, proven or suspected."""
        cure = (
            "Have all share their metrics (with prometheus_client: multiprocess mode), or list the address of each in "
            "`openmetrics_endpoints`"
        )
        for target in in_turn:
            self.warn(
                f"{self._address(target)}: several processes answer in turn, as their start times tell, each with "
                "counts of its own. What each has counted is sent when it answers again, so counts come late and "
                f"gauges are in part old. {cure}"
            )
        for target in sorted(set(suspected).difference(in_turn)):
            self.warn(
                f"{self._address(target)}: several processes seem to answer in turn: counters fall and are back at "
                "once, again and again. Without `process_start_time_seconds` they can't be told apart, so what is "
                f"counted is too much. {cure}"
            )

    def _address(self, target: str) -> str:
        job, _, instance = target.partition("\n")
        return f"{self.url} (job {job}, instance {instance})" if target else self.url

    def rejected(self) -> None:
        """Count what was refused, and log each kind once."""
        for (reason, raw_metric), number in self.collector.rejected.items():
            tags = [*self.own_tags(), f"reason:{reason}", f"raw_metric:{raw_metric}"]
            self.check.count(f"{NAMESPACE}.scrape.samples.rejected", number, tags=tags, raw=True)
            wrong = self.collector.wrong_types.get(raw_metric) if reason == "wrong_type" else None
            problem = reason if wrong is None else f"it comes as a {wrong} (a `catalog` file can say otherwise)"
            self.once(f"{reason} {raw_metric}", f"refused {number} sample(s) of {raw_metric}: {problem}")

    def telemetry(self, seconds: float, sent: Sent) -> None:
        """Submit the duration in seconds, the samples of the payload, and what of them was submitted."""
        tags = self.own_tags()
        values = {
            "duration": seconds,
            "samples": self.collector.samples,
            "contexts": sent.contexts,
            "custom_metrics": sent.custom_metrics,
        }
        for name, value in values.items():
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
