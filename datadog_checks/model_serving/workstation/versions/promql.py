"""What Prometheus is asked, in PromQL, for the calls that a system counts and for what it has loaded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from ...catalog.model import System
from .call_metrics import CallMetric, RawCallMetric, raw_call_metrics
from .traffic import OWN_ENDPOINT, THINGS

LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LOADS = {"tensorflow_serving": "tensorflow_serving.model.load.count"}
"""The metric of a system that has a series for each model that it has loaded, by its path."""

LOAD_PATH = "model_path"
BEFORE = "6h"
"""How far back the value before an hour is looked for, where scrapes have failed meanwhile."""

NEARBY = "1d"
"""How long a server has a metric after it was seen there."""


@dataclass(frozen=True, slots=True)
class Expressions:
    """The questions about one raw metric that shows calls. They have an answer per set of `labels`, most of them per
    target as well.

    `selectors` are of its spellings, `without` takes away the targets that don't count; with `total` it holds the total
    of one minute, and doesn't rise.
    """

    labels: tuple[str, ...]
    selectors: tuple[str, ...]
    without: str
    total: bool

    @property
    def rate(self) -> str:
        """The mean rate of the last hour, in calls per second, at each target."""
        return f"sum({self._each(self._hourly)}) by ({self._targets})"

    def busiest(self, hours: int) -> str:
        """The highest of such rates in so many hours, one for each hour of the clock, of all targets together."""
        return f"max_over_time(sum({self._each(self._hourly)}) by ({','.join(self.labels)})[{hours}h:1h])"

    def there(self, hours: int) -> str:
        """Which targets have the metric, or had it in so many hours."""
        found = self._each(lambda selector: f"last_over_time({selector}[{hours}h])")
        return f"count({found}) by ({self._targets})"

    def missed(self, jobs: Iterable[str]) -> str:
        """What has a value where a counter is another than it was an hour ago, and not 0.

        rate() compares samples within the hour alone. It misses what came between the last sample before the hour and
        its first one, and the call that a series begins with: a version that is called once a day has that one only.
        A series that is new has counted since then, but not where Prometheus sees all of its `jobs` for the first time:
        then nobody knows since when.
        """
        job = f'up{{job=~"{alternatives(jobs)}"}}'
        strange = (
            f"(count(last_over_time({job}[1h])) by (job)"
            f" unless on (job) count(last_over_time({job}[{BEFORE}] offset 1h)) by (job))"
        )

        def changed(selector: str) -> str:
            now, before = f"last_over_time({selector}[1h])", f"last_over_time({selector}[{BEFORE}] offset 1h)"
            return f"(({now} > 0) != {before} or ({now} > 0 unless {before} unless on (job) {strange}))"

        return f"count({self._each(changed)}) by ({self._targets})"

    @property
    def _targets(self) -> str:
        return ",".join(("job", "instance", *self.labels))

    def _hourly(self, selector: str) -> str:
        # What holds the total of one minute shows it as long as no newer one is there.
        return f"avg_over_time({selector}[60m]) / 60" if self.total else f"rate({selector}[60m])"

    def _each(self, function: Callable[[str], str]) -> str:
        found = _either(map(function, self.selectors))
        return f"({found}){self.without}" if self.without else found


def questions(system: System, metric: CallMetric, where: str) -> Iterator[Expressions]:
    """What to ask about each raw metric behind one that shows calls, narrowed by the matchers in `where`."""
    for found in raw_call_metrics(system, metric.name):
        total = found.raw.type.startswith("window")
        yield Expressions(
            spellings(system), tuple(selectors(system, found, where)), _better(system, metric, where), total
        )


def loads(system: System, where: str) -> str:
    """Which models are loaded, by their paths; empty where the system has no metric that tells."""
    wanted = LOADS.get(system.name)
    raws = [raw for raw in system.metrics if any(target.metric.name == wanted for target in raw.targets)]
    each = [one for raw in raws for one in selectors(system, RawCallMetric(raw, None, None), where)]
    found = _either(f"last_over_time({one}[1h])" for one in each)
    return f"count({found}) by ({LOAD_PATH},job,instance)" if each else ""


def up(where: str, instances: Iterable[str] = ()) -> str:
    """Whether targets could be scraped in the last hour, once at least. Without `where` only those instances."""
    matchers = where or f'instance=~"{alternatives(instances)}"'
    return f"max(max_over_time(up{{{matchers}}}[1h])) by (job,instance)"


def selectors(system: System, raw_metric: RawCallMetric, where: str) -> list[str]:
    """Selectors of a raw metric under each of its names: with and without `_total`, and behind a prefix if it may."""
    index = system.by_name()
    suffix = "_count" if raw_metric.raw.grouped else ""
    names = [f"{name}{suffix}" for name, raw in index.items() if raw.first is raw_metric.raw]
    conditions = _joined(*_matchers(raw_metric), where)
    if system.any_prefix:
        pattern = quoted(f"(.+[_:])?({'|'.join(map(re.escape, names))})")
        return [f"{{{_joined(f'__name__=~{pattern}', conditions)}}}"]
    return [f"{name}{{{conditions}}}" if conditions else name for name in names]


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


def _matchers(raw_metric: RawCallMetric) -> Iterator[str]:
    """The conditions on labels, as far as Prometheus can have such labels."""
    for condition, operator in ((raw_metric.when, "=~"), (raw_metric.unless, "!~")):
        for label, pattern in condition.patterns if condition is not None else ():
            if LABEL.fullmatch(label):
                # Prometheus matches whole values in any case, and has no atomic groups, which only save time.
                text = pattern.pattern.replace("\\Z", "").replace("(?>", "(?:")
                yield f"{label}{operator}{quoted(text)}"


def _better(system: System, metric: CallMetric, where: str) -> str:
    """What takes away the targets that have a metric which tells more of the same calls; empty where there is none."""
    better = [
        selector
        for name in metric.unless
        for found in raw_call_metrics(system, name)
        for selector in selectors(system, RawCallMetric(found.raw, None, None), where)
    ]
    last = _either(f"last_over_time({selector}[{NEARBY}])" for selector in better)
    return f" unless on (job,instance) ({last})" if better else ""


def _either(expressions: Iterable[str]) -> str:
    return " or ".join(expressions)


def _joined(*matchers: str) -> str:
    return ",".join(filter(None, matchers))
