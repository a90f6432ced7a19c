"""What Prometheus is asked, in PromQL, for the calls that a system counts and for what it has loaded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ...catalog.model import RawMetric, System
from .traffic import OWN_ENDPOINT, THINGS

LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LOADS = {"tensorflow_serving": "tensorflow_serving.model.load.count"}
"""The metric of a system that has a series for each model that it has loaded, by its path."""

LOAD_PATH = "model_path"
BEFORE = "6h"
"""How far back the value before an hour is looked for, where scrapes have failed meanwhile."""

NEARBY = "1d"
"""How long a server counts calls by version after it has done so."""


@dataclass(frozen=True, slots=True)
class Expressions:
    """The questions about one raw metric that counts calls. Each has an answer per set of `labels`.

    `rate` is the mean rate of the last hour. `missed` has a value where calls came in the last hour that the rate may
    not show; it is empty where the rate shows all. `busiest` is the highest of such rates in the period, one for each
    hour of the clock. `there` names the targets that have the metric.
    """

    labels: tuple[str, ...]
    rate: str
    missed: str
    busiest: str
    there: str


def questions(system: System, raw: RawMetric, where: str, hours: int, jobs: Iterable[str] = ()) -> Expressions:
    """What to ask about one raw metric of a system, narrowed by the matchers in `where`.

    A counter that is seen for the first time has counted since then, but not where Prometheus sees all of its `jobs`
    for the first time: then nobody knows since when.
    """
    labels = spellings(system)
    by = f"by ({','.join(labels)})"
    each = selectors(system, raw, where)
    rate = _without_twins(system, raw, where, _either(_rate(raw, selector) for selector in each))
    missed = _without_twins(system, raw, where, _either(_missed(selector, jobs) for selector in each))
    there = _without_twins(
        system, raw, where, _either(f"last_over_time({selector}[{hours + 1}h])" for selector in each)
    )
    return Expressions(
        labels,
        rate=f"sum({rate}) {by}",
        missed=f"count({missed}) {by}" if raw.type == "counter" else "",
        busiest=f"max_over_time(sum({rate}) {by}[{hours}h:1h])",
        there=f"count({there}) by (job,instance,{','.join(labels)})",
    )


def counted(system: System) -> list[RawMetric]:
    """The raw metrics all of whose series count calls."""
    return [
        raw
        for raw in system.metrics
        if raw.type in ("counter", "window_gauge")
        and any(
            target.metric.name == "request.count" and target.when is None and target.unless is None
            for target in raw.targets
        )
    ]


def loads(system: System, where: str) -> str:
    """Which models are loaded, by their paths; empty where the system has no metric that tells."""
    raws = [raw for raw in system.metrics if any(one.metric.name == LOADS.get(system.name) for one in raw.targets)]
    each = [selector for raw in raws for selector in selectors(system, raw, where)]
    return (
        f"count({_either(f'last_over_time({one}[1h])' for one in each)}) by ({LOAD_PATH},job,instance)" if each else ""
    )


def up(where: str, instances: Iterable[str] = ()) -> str:
    """Whether targets could be scraped in the last hour, once at least. Without `where` only those instances."""
    matchers = where or f'instance=~"{alternatives(instances)}"'
    return f"max(max_over_time(up{{{matchers}}}[1h])) by (job,instance)"


def selectors(system: System, raw: RawMetric, where: str) -> list[str]:
    """Selectors of a raw metric under each of its names: with and without `_total`, and behind a prefix if it may."""
    names = [name for name in system.by_name() if system.by_name()[name] is raw]
    if system.any_prefix:
        pattern = quoted(f"(.+[_:])?({'|'.join(map(re.escape, names))})")
        return [f"{{{_joined(f'__name__=~{pattern}', where)}}}"]
    return [f"{name}{{{where}}}" if where else name for name in names]


def spellings(system: System) -> tuple[str, ...]:
    """The labels that may say what was called, in every spelling that the catalog knows, the tag's own name first."""
    tags = (*THINGS, "endpoint_name") if system.name in OWN_ENDPOINT else THINGS
    labels = [label for tag in tags for label in (tag, *(raw for raw, to in system.labels.rename.items() if to == tag))]
    return tuple(dict.fromkeys(filter(LABEL.fullmatch, labels)))


def named(system: System, labels: Mapping[str, str]) -> dict[str, str]:
    """The tags that labels of a series are, as the check makes them: renamed, and without what stands for none."""
    found: dict[str, str] = {}
    for label in spellings(system):
        value, tag = labels.get(label, ""), system.labels.rename.get(label, label)
        if value and value not in system.labels.absent.get(label, ()):
            found.setdefault(tag, value)
    return found


def alternatives(values: Iterable[str]) -> str:
    """A regular expression that matches any of some texts, as it stands between double quotes."""
    return quoted("|".join(re.escape(value) for value in values))[1:-1]


def quoted(text: str) -> str:
    """A text as a literal of PromQL."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _rate(raw: RawMetric, selector: str) -> str:
    # What holds the total of one minute shows it as long as no newer one is there.
    return f"rate({selector}[60m])" if raw.type == "counter" else f"avg_over_time({selector}[60m]) / 60"


def _missed(selector: str, jobs: Iterable[str]) -> str:
    """What has a value where a counter is another than it was an hour ago, and not 0.

    rate() compares samples within the hour alone. It misses what came between the last sample before the hour and its
    first one, and the call that a series begins with: a version that is called once a day has that one only.
    """
    now, before = f"last_over_time({selector}[1h])", f"last_over_time({selector}[{BEFORE}] offset 1h)"
    job = f'up{{job=~"{alternatives(jobs)}"}}'
    strange = (
        f"(count(last_over_time({job}[1h])) by (job)"
        f" unless on (job) count(last_over_time({job}[{BEFORE}] offset 1h)) by (job))"
    )
    began = f"({now} > 0 unless {before} unless on (job) {strange})"
    return f"(({now} > 0) != {before} or {began})"


def _without_twins(system: System, raw: RawMetric, where: str, expression: str) -> str:
    """An expression without the targets that count the same calls under another name as well, which tells more."""
    names = {name.removesuffix("_total") for name in raw.names}
    twins = [
        selector
        for other in counted(system)
        for target in other.targets
        if target.metric.name == "request.count" and names & {name.removesuffix("_total") for name in target.absent}
        for selector in selectors(system, other, where)
    ]
    if not twins:
        return expression
    last = _either(f"last_over_time({selector}[{NEARBY}])" for selector in twins)
    return f"({expression}) unless on (job,instance) ({last})"


def _either(expressions: Iterable[str]) -> str:
    return " or ".join(expressions)


def _joined(*matchers: str) -> str:
    return ",".join(filter(None, matchers))
