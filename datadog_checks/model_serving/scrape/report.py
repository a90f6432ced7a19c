"""What the check says about a scrape: recognised systems, refused samples, telemetry."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..catalog.model import NAMESPACE
from ..catalog.recognise import Match, Recogniser
from ..log_once import LogOnce
from ..settings import ScrapeSettings
from ..submit.sender import Sent
from ..submit.series import tag_value
from ..submit.validate import NOT_CUMULATIVE
from .collector import Collector

SHOWN = 5
"""Names that a message gives of many."""

SUMMARIES = 5
"""How often what is not mapped is summed up again, because something telling has come."""

TELLING = re.compile(r"request|latency|token|queue|error|fail|gpu|infer|predict|model|batch|cache")
RUNTIME = re.compile(r"(go|process|python|promhttp|prometheus|scrape|jvm|nodejs|dotnet|up)(_|$)")
"""What libraries expose of the process itself, whatever it serves."""

ADVICE = {
    "unsupported": ". Their value is no number, as that of a native histogram: have the server expose buckets as well",
    "error": ". The fault is the check's own, its debug log says where",
}
"""What is said of a reason why samples were refused."""


@dataclass(frozen=True, slots=True)
class Called:
    """The models and versions that counts of requests name, each empty where it isn't told."""

    named: frozenset[tuple[str, str]]

    def may_include(self, model: str, version: str) -> bool:
        """Whether a count is of this version, or says too little to tell that it isn't."""
        return any(one in ("", model) and (not version or other in ("", version)) for one, other in self.named)


class Report:
    """Speaks for one source, scraped from `url`, whose readings are in `collector`.

    `named` says whether the instance names a family in `metrics` or `extra_metrics`.
    """

    def __init__(
        self,
        check: Any,
        url: str,
        collector: Collector,
        settings: ScrapeSettings,
        named: Callable[[str], bool],
    ) -> None:
        self.check = check
        self.url = url
        self.collector = collector
        self._once = LogOnce(check.log)
        self._models: dict[str, tuple[str, ...]] = {}
        self._settings = settings
        self._named = named
        self._told: set[str] = set()
        self._summaries = 0
        self._said_quantiles = False
        self._labels_of: set[str] = set()

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

    def systems(self) -> None:
        """Tell, once, what was recognised and what is mapped by nobody, and for as long as it holds that nothing is."""
        recogniser, unclaimed = self.collector.recogniser, self.collector.unclaimed
        unproven = recogniser.unproven() if recogniser.automatic else {}
        if recogniser.automatic:
            for system in recogniser.active:
                found = recogniser.systems[system]
                unseen = " (known by documentation only)" if found.by_documentation_only else ""
                self.once(f"recognised {system}", f"recognised as {found.title}{unseen}", warning=False)
        self._quantiles()
        self._labels()
        if self._settings.own_systems and self._summaries < SUMMARIES:
            self._unprefixed(unclaimed - self._told)
        for system, hints in unproven.items():
            self.warn(
                f"{self.url}: {_some(sorted(hints))} may be of {recogniser.systems[system].title}, but the "
                "names are too common to be sure, so they are not mapped. If they are, set `serving_system: "
                f"{_setting([*recogniser.active, system])}`"
            )
        if self.collector.present and (self._summaries >= SUMMARIES or unclaimed <= self._told):
            # An unchanged payload costs a comparison of names.
            return
        hinted = {name for hints in unproven.values() for name in hints}
        unmapped = {name for name in unclaimed if not self._named(name)}
        if self.collector.present or len(unmapped) < len(unclaimed):
            self._sum_up(unmapped - hinted)
        elif unmapped and not unproven:
            self._none_is_known(unmapped)

    def _quantiles(self) -> None:
        """Say, once, which summaries have lost their quantiles."""
        if not self._said_quantiles and self.collector.quantiles:
            self._said_quantiles = True
            names = _some(sorted(self.collector.quantiles))
            self.once(
                "quantiles",
                f"the quantiles of {names} are left out, since they cannot be aggregated; sum and count are sent, and "
                "so the mean. For percentiles have the server show histograms",
                warning=False,
            )

    def _labels(self) -> None:
        """Say, once for each metric of a user's file, that no series has a label or a tag that it asks for."""
        for name, (raw, found) in self.collector.labels.items():
            if name in self._labels_of:
                continue
            self._labels_of.add(name)
            if missing := sorted(raw.conditions - found):
                self.once(f"labels {name}", f"{name}: {unmet(missing, found)}", warning=False)
        for name, filled in self.collector.templates.items():
            if said := unfilled(filled):
                self.once(f"templates {name}", f"{name}: {said}", warning=False)

    def _unprefixed(self, unclaimed: set[str]) -> None:
        """Say, once for each, which metrics a user's file has behind a prefix that they lack."""
        for family in sorted(unclaimed):
            match = self.collector.recogniser.unprefixed(family)
            if match is not None:
                title = self.collector.recogniser.systems[match.raw.system].title
                self.once(f"prefix {family}", f"{family}: {behind(match, title)}", warning=False)

    def _sum_up(self, unmapped: set[str]) -> None:
        families = _families(unmapped)
        new = families.keys() - self._told
        self._told |= self.collector.unclaimed | families.keys()
        if all(map(RUNTIME.match, new)) or self._summaries >= SUMMARIES:
            return
        self._summaries += 1
        self.once(
            f"unmapped {self._summaries}",
            f"nobody maps {len(families)} metric(s) of the payload, for example "
            f"{_some(self._telling_first(families.values()))}. To send some, {' or '.join(self._cures())}",
            warning=False,
        )

    def _none_is_known(self, unmapped: set[str]) -> None:
        automatic = self.collector.recogniser.automatic
        if all(map(RUNTIME.match, unmapped)):
            if automatic:
                self.warn(
                    f"{self.url}: all metrics are of the process itself, such as "
                    f"{_some(sorted(unmapped))}. A server may show its own from its first request on; if it has some "
                    "at another path or port, mend the URL"
                )
            return
        start = f"{self.url}: none of the {len(unmapped)} metrics is known to the catalog"
        if not automatic:
            recogniser = Recogniser(self._settings.catalog)
            for name in unmapped:
                recogniser.match(name)
            start = f"{self.url}: none of the {len(unmapped)} metrics is of {' or '.join(self._systems())}"
            if recogniser.active:
                titles = " and ".join(recogniser.systems[name].title for name in recogniser.active)
                self.warn(
                    f"{start}; these look like {titles}, for example {_some(self._telling_first(unmapped))}. If they "
                    f"are, write `serving_system: {_setting(recogniser.active)}`"
                )
                return
        self.warn(f"{start}, for example {_some(self._telling_first(unmapped))}. {_sentence(self._cures())}")

    def _systems(self) -> list[str]:
        recogniser = self.collector.recogniser
        return [recogniser.systems[name].title for name in recogniser.active]

    def _cures(self) -> list[str]:
        """What helps, as far as the instance doesn't have it already."""
        recogniser = self.collector.recogniser
        file = "your `catalog` file" if self._settings.own_systems else "a `catalog` file"
        cures = ["name them in `extra_metrics`", f"describe them in {file}"]
        if recogniser.automatic and not recogniser.active:
            cures.insert(0, f"set `serving_system` (one of {', '.join(recogniser.systems)})")
        return cures

    def _telling_first(self, names: Iterable[str]) -> list[str]:
        """Names in the order in which they are worth showing: those like the metrics of a system that is there, those
        that speak of requests, then others, and last those of the process."""
        recogniser = self.collector.recogniser
        words = {_first_word(raw) for name in recogniser.active for raw in recogniser.systems[name].by_name()}

        def rank(name: str) -> tuple[int, str]:
            if RUNTIME.match(name):
                return 3, name
            if _first_word(name) in words:
                return 0, name
            return (1 if TELLING.search(name.lower()) else 2), name

        return sorted(names, key=rank)

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
            if reason == NOT_CUMULATIVE:
                # A latency that is missing is missed more than a sample, and the status shows it.
                self.warn(
                    f"{self.url}: the buckets of {raw_metric} fall from one bound to the next, and are no histogram's, "
                    f"whose buckets are cumulative: nothing of {raw_metric} is sent. Report it to whoever makes the "
                    "metrics, or leave it out with `exclude_metrics`"
                )
                continue
            wrong = self.collector.wrong_types.get(raw_metric) if reason == "wrong_type" else None
            problem = reason if wrong is None else f"it comes as a {wrong} (a `catalog` file can say otherwise)"
            advice = ADVICE.get(reason, "")
            self.once(f"{reason} {raw_metric}", f"refused {number} sample(s) of {raw_metric}: {problem}{advice}")

    def took(self, seconds: float) -> None:
        """Submit the duration of a scrape, also of one that failed: where none arrives, nobody scrapes."""
        self.check.gauge(f"{NAMESPACE}.scrape.duration", seconds, tags=self.own_tags(), raw=True)

    def telemetry(self, seconds: float, sent: Sent) -> None:
        """Submit the duration in seconds, the samples of the payload, and what of them was submitted."""
        tags = self.own_tags()
        self.took(seconds)
        values = {
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

    def called(self, system: str) -> Called | None:
        """What the counts of requests in the last payload name, of one system. None where it wasn't read to its end."""
        if not self.collector.complete:
            return None
        present = {name for _, name in self.collector.present}
        counted = [
            (series, output)
            for series in (*self.collector.frame, *self.collector.refused)
            if series.raw.system == system
            for output in series.outputs
            if output.target.metric.name == "request.count"
        ]
        # Where another count tells more of the same calls, such as their version, that one says who was called.
        told = {
            name.removesuffix("_total")
            for raw in self.collector.recogniser.systems[system].metrics
            if any(name.removesuffix("_total") in present for name in raw.names)
            for target in raw.targets
            if target.metric.name == "request.count"
            for name in target.absent
        }
        named = {
            (tag_value(output.tags, "model_name"), tag_value(output.tags, "model_version"))
            for series, output in counted
            if series.raw.names[0].removesuffix("_total") not in told
        }
        return Called(frozenset(named))

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
                names = {tag_value(output.tags, "model_name") for output in series.outputs} - {""}
                named |= names
                if "request.error.count" in metrics:
                    failed |= names
                elif not metrics.isdisjoint(("request.count", "request.latency")):
                    answered |= names
            self._models[system] = tuple(sorted(named - (failed - answered)))
        return self._models.get(system, ())


def unmet(missing: Collection[str], found: Collection[str]) -> str:
    """What is to be said of labels that `when` or `unless` name and that no series has."""
    asked = " and ".join(f"`{label}`" for label in missing)
    have = f"they have {', '.join(sorted(found))}" if found else "they have none"
    return f"no series so far has the label {asked}, which `when` or `unless` asks for; {have}"


def unfilled(filled: Mapping[tuple[str, str], bool]) -> str:
    """What is to be said of tags with placeholders that no series has got; nothing where some series has each."""
    missing = [f"`{tag}: {text}`" for (tag, text), got in filled.items() if not got]
    return f"no series so far has the tags that the file makes {' and '.join(missing)} of" if missing else ""


def behind(match: Match, title: str) -> str:
    """What is to be said of a metric that the file of a user has behind a prefix alone."""
    return (
        f"your `catalog` file has it behind the prefixes of {title} alone, such as `{match.prefix}`: write "
        "`prefixed: false` in its entry"
    )


def _families(names: Iterable[str]) -> dict[str, str]:
    """Names by their family: whether a suffix is part of one depends on the format, and on which lines are new."""
    return {re.sub(r"_(total|info|sum|count|bucket)$", "", name): name for name in sorted(names, reverse=True)}


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN])


def _setting(systems: list[str]) -> str:
    return systems[0] if len(systems) == 1 else f"[{', '.join(systems)}]"


def _sentence(cures: list[str]) -> str:
    text = f"{', '.join(cures[:-1])}, or {cures[-1]}"
    return text[0].upper() + text[1:]


def _first_word(name: str) -> str:
    return next(filter(None, re.split(r"[_:]", name)), "").lower()
