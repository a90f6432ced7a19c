"""What a trial run has sent, and what it would send from the next run on, as one list of facts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...catalog.model import NAMESPACE, RawMetric
from ...scrape.inventory import MAPPED, Expectation, FamilyState, expectations, families
from ...scrape.scraper import ServingScraper
from ...submit.histograms import as_distribution
from ..standin.aggregation import Commit, Context
from ..standin.sketch import Sketch

OWN = f"{NAMESPACE}.scrape."
"""How the names of metrics begin that the check sends about itself."""

TELEMETRY = "telemetry."

ENDED = frozenset(("request.count", "request.latency", "request.inference.latency"))
"""What counts or times a request when it ends."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One context and what is known of it: a value, or a sketch of a distribution.

    `type` is gauge, count, rate or distribution. A count is what has come between the runs, or with `so_far` since the
    process started.
    """

    context: Context
    type: str
    value: float = 0.0
    sketch: Sketch | None = None
    so_far: bool = False

    @property
    def name(self) -> str:
        """The full name without the namespace of the check."""
        return self.context.name.removeprefix(f"{NAMESPACE}.")

    def tag(self, key: str) -> str:
        """The value of a tag, empty where it is not there."""
        return next((tag.partition(":")[2] for tag in self.context.tags if tag.startswith(f"{key}:")), "")


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that is known of one instance.

    `sent` are the facts of its commits, `expected` those of contexts that the last answer will be sent as and that no
    commit has had yet. `families` are those of all its endpoints, `possible` the canonical metrics that they feed.
    Metrics that hold the total of one minute are of so many `minutes`, whenever the runs were. `served` says whether
    the last answer counts a request that has ended: many metrics have no series before that.
    """

    sent: tuple[Fact, ...] = ()
    expected: tuple[Fact, ...] = ()
    families: tuple[FamilyState, ...] = ()
    possible: frozenset[str] = frozenset()
    minutes: Mapping[str, int] = field(default_factory=dict)
    served: bool = False
    by_name: Mapping[str, tuple[Fact, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        found: dict[str, list[Fact]] = {}
        for fact in (*self.sent, *self.expected):
            found.setdefault(fact.name, []).append(fact)
        object.__setattr__(self, "by_name", {name: tuple(facts) for name, facts in found.items()})

    def of(self, name: str, since: bool) -> list[Fact]:
        """Facts of a metric, those of counters and histograms `since` the first run, or so far where there was but one.

        `name` lacks the namespace.
        """
        return [fact for fact in self.by_name.get(name, ()) if not since or not fact.so_far]

    def seconds(self, name: str, between: float | None) -> float | None:
        """The time that a count is of, where so many seconds are between the first run and the last."""
        return 60.0 * self.minutes[name] if self.minutes.get(name) else between

    @property
    def contexts(self) -> Iterator[Fact]:
        """Each context once, without what the check sends about itself."""
        return (fact for fact in (*self.sent, *self.expected) if not is_own(fact.context.name))


def is_own(name: str) -> bool:
    """Whether a metric says something about the check itself."""
    return name.startswith(OWN) or name.removeprefix(f"{NAMESPACE}.").startswith(TELEMETRY)


def gather(check: Any | None, commit: Commit) -> Facts:
    """The facts of one instance, of the commits of its runs made one."""
    sent = (
        *(Fact(point.context, point.type, point.value) for point in commit.series),
        *(Fact(each.context, "distribution", each.sketch.count, each.sketch) for each in commit.distributions),
    )
    scrapers = list(check.source.scrapers.values()) if check is not None and check.source is not None else []
    known = {fact.context for fact in sent}
    expected: dict[Context, Fact] = {}
    for scraper in scrapers:
        for one in expectations(scraper):
            context = _context(scraper, one)
            if context not in known:
                expected[context] = _added(expected.get(context), _fact(context, one))
    found = together(state for scraper in scrapers for state in families(scraper))
    possible = {metric for state in found if state.state == MAPPED for metric in state.metrics}
    frames = (series for scraper in scrapers for series in scraper.collector.frame)
    served = any(series.current.size > 0 and not ENDED.isdisjoint(_metrics(series.raw)) for series in frames)
    return Facts(sent, tuple(expected.values()), tuple(found), frozenset(possible), _minutes(scrapers), served)


def counts_requests(raw: RawMetric) -> bool:
    """Whether a metric counts or times requests or their tokens, so that it may have no series before the first one."""
    counts = (target.metric.name for target in raw.targets if target.metric.type != "gauge")
    return any(name.startswith(("request.", "token.")) for name in counts)


def _metrics(raw: RawMetric) -> set[str]:
    """The canonical metrics that take the values of a metric."""
    return {target.metric.name for target in raw.targets if target.value != "zero"}


def _minutes(scrapers: Iterable[ServingScraper]) -> dict[str, int]:
    """How many minutes were counted of metrics that hold the total of one."""
    found: dict[str, int] = {}
    for series in (series for scraper in scrapers for series in scraper.collector.frame):
        if series.raw.type.startswith("window") and series.minute is not None:
            for output in series.outputs:
                name = output.target.metric.name
                found[name] = max(found.get(name, 0), series.minutes.bit_count())
    return found


def together(states: Iterable[FamilyState]) -> list[FamilyState]:
    """The families of several endpoints: what has the same name and state is one."""
    found: dict[tuple[str, str], FamilyState] = {}
    for state in states:
        before = found.get((state.name, state.state))
        if before is not None:
            numbers = dict(before.refused)
            for reason, number in state.refused:
                numbers[reason] = numbers.get(reason, 0) + number
            state = FamilyState(
                state.name,
                state.state,
                tuple(sorted({*before.metrics, *state.metrics})),
                before.series + state.series,
                tuple(sorted(numbers.items())),
                before.why or state.why,
                before.raw or state.raw,
            )
        found[state.name, state.state] = state
    return [found[key] for key in sorted(found)]


def _context(scraper: ServingScraper, one: Expectation) -> Context:
    """The context as the commit of the next run has it."""
    tags = scraper.check._normalize_tags_type(one.tags, None, one.name)
    return Context(one.name, tuple(sorted(set(tags))), one.host)


def _fact(context: Context, one: Expectation) -> Fact:
    if one.reading is None:
        return Fact(context, one.type, one.total, so_far=True)
    sketch = Sketch()
    for lower, upper, count in as_distribution(one.reading.bounds, one.reading.counts, one.reading.sum, one.scale):
        sketch.insert_bucket(lower, upper, count)
    return Fact(context, one.type, sketch.count, sketch, so_far=True)


def _added(before: Fact | None, fact: Fact) -> Fact:
    """Series that fall together on one context add up."""
    if before is None or fact.type == "gauge":
        return fact
    if before.sketch is not None and fact.sketch is not None:
        before.sketch.merge(fact.sketch)
        return Fact(fact.context, fact.type, before.sketch.count, before.sketch, so_far=True)
    return Fact(fact.context, fact.type, before.value + fact.value, so_far=True)
