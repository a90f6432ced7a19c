"""What has become of each family of a payload, for a person who asks: nothing of this runs with an ordinary scrape."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from ..catalog.model import MOMENTS
from ..catalog.recognise import PARTS, Match
from ..submit.histograms import as_buckets
from ..submit.series import Output, Reading, Series, state_tags
from .collector import Collector
from .report import ADVICE, RUNTIME, behind, unfilled, unmet
from .scraper import ServingScraper

STATES = (
    "mapped",
    "named",
    "unknown",
    "unproven",
    "ambiguous",
    "ignored",
    "wrong_type",
    "refused",
    "excluded",
    "unused",
)
MAPPED, NAMED, UNKNOWN, UNPROVEN, AMBIGUOUS, IGNORED, WRONG_TYPE, REFUSED, EXCLUDED, UNUSED = STATES
"""What becomes of a family: it is mapped by the catalog; named by the instance alone; nobody knows it; a system that is
not sure to be there has it; several systems do; the catalog leaves it out; it comes in a shape that it can't have; all
its samples are refused; an option leaves it out; it is known, but none of its series is meant."""

QUANTILES = "its quantiles are left out: they cannot be aggregated"

PIECE = re.compile(rf"_(?:{'|'.join(PARTS)})$")


@dataclass(frozen=True, slots=True)
class FamilyState:
    """One family: its state, what it is sent as without the namespace, how many series it has.

    `refused` are (reason, samples) of the last scrape, `why` says what the state alone does not. `raw` is what the
    catalog calls it, empty where that does not know it.
    """

    name: str
    state: str
    metrics: tuple[str, ...] = ()
    series: int = 0
    refused: tuple[tuple[str, int], ...] = ()
    why: str = ""
    raw: str = ""


@dataclass(frozen=True, slots=True)
class Expectation:
    """One context that a series of the last payload is sent as, now or from the next scrape on.

    `type` is gauge, count or distribution. `total` is what the series has come to since its process started, in the
    metric's unit; of a distribution `reading` says it, in units that `scale` leads from.
    """

    name: str
    type: str
    tags: tuple[str, ...]
    host: str
    total: float = 0.0
    reading: Reading | None = None
    scale: float = 1.0


def families(scraper: ServingScraper) -> list[FamilyState]:
    """Every family of the last answer, by name; those that carry nothing also if they were in an earlier one."""
    found: dict[str, FamilyState] = {}
    collector, recogniser = scraper.collector, scraper.recogniser
    hinted = {_bare(name): system for system, hints in recogniser.unproven().items() for name in hints}
    names = set(recogniser.names())
    read = _read(collector)
    for name in sorted(names | scraper.excluded):
        claims = recogniser.claims(name)
        match = claims[0] if claims else None
        whole = _whole(name, match, names)
        state: FamilyState | None
        if name in scraper.excluded:
            state = FamilyState(whole, EXCLUDED, why="`exclude_metrics`")
        elif match is not None and match.part == "created":
            state = FamilyState(name, IGNORED, why="the time of creation is no measurement")
        elif match is not None and recogniser.claim(name) is None:
            titles = sorted({recogniser.systems[each.raw.system].title for each in claims})
            state = FamilyState(whole, AMBIGUOUS, why=f"of {' and '.join(titles)}: `serving_system` can tell")
        elif match is not None:
            state = _matched(scraper, whole, match, read.get(match.raw.names[0], ()))
        elif rest := [raw for (family, _), raw in collector.rest.items() if family == name]:
            state = _matched(scraper, name, Match(rest[0]), read.get(name, ()))
        elif scraper.is_named(name):
            state = FamilyState(whole, NAMED, why="`metrics` or `extra_metrics`")
        elif name in collector.unclaimed or recogniser.ignores(name):
            state = _unmatched(scraper, name, whole, hinted)
        else:
            # The beginning of a broken line.
            state = None
        if state is not None:
            found.setdefault(whole, state)
    return sorted(found.values(), key=lambda state: state.name)


def expectations(scraper: ServingScraper) -> Iterator[Expectation]:
    """The contexts of all series of the last payload, as far as options let them pass. Derived gauges are not in it."""
    check, submitter = scraper.check, scraper.submitter
    for series in scraper.collector.frame:
        for output in submitter.outputs(series, scraper.collector.present):
            for one in _sent_as(scraper, series, output):
                if check.should_send_metric(one.name):
                    yield one


def _bare(name: str) -> str:
    return name.removesuffix("_total")


def _read(collector: Collector) -> dict[str, list[Series]]:
    """The series that the last payload had, by the first of their raw names."""
    found: dict[str, list[Series]] = {}
    for series in (*collector.frame, *collector.refused):
        found.setdefault(series.raw.names[0], []).append(series)
    return found


def _whole(name: str, match: Match | None, names: Collection[str]) -> str:
    """The family that a name is of: histograms may come in pieces that have no declaration."""
    if match is not None:
        return name.removesuffix(f"_{match.part}") if match.part and match.part != "created" else name
    base = PIECE.sub("", name)
    return base if base != name and all(f"{base}_{part}" in names for part in ("sum", "count")) else name


def _matched(scraper: ServingScraper, name: str, match: Match, series: Iterable[Series]) -> FamilyState | None:
    collector, raw = scraper.collector, match.raw
    read, first = list(series), raw.names[0]
    sound = {id(one) for one in collector.frame}
    taken = [one for one in read if id(one) in sound]
    refused = tuple((reason, number) for (reason, of), number in sorted(collector.rejected.items()) if of == first)
    if not read:
        return _without_series(scraper, name, match, refused)
    pairs = {id(pair) for pair, _ in scraper.recogniser.halves(raw)}
    paired = [one for one in collector.frame if id(one.raw) in pairs] if pairs else []
    outputs = [output for one in (*taken, *paired) for output in scraper.submitter.outputs(one, collector.present)]
    metrics = tuple(sorted({output.target.metric.name for output in outputs}))
    state, why = MAPPED, ""
    if not taken:
        state, why = REFUSED, "".join(ADVICE.get(reason, "") for reason, _ in refused).removeprefix(". ")
    elif all(one.outdone for one in taken):
        state, why = IGNORED, f"the same as {' or '.join(better.names[0] for better in raw.better)}"
    elif not outputs:
        state, why = UNUSED, "the catalog has a use only for series with other labels, or beside other metrics"
    elif not any(scraper.check.should_send_metric(output.name) for output in outputs):
        state, why = EXCLUDED, "`metric_patterns`"
    _, found = collector.labels.get(first, (raw, raw.conditions))
    if state in (MAPPED, UNUSED) and (missing := sorted(raw.conditions - found)):
        why = unmet(missing, found)
    elif state == MAPPED and (said := unfilled(collector.templates.get(first, {}))):
        why = said
    elif state == MAPPED and first in collector.quantiles:
        why = QUANTILES
    return FamilyState(name, state, metrics, len(taken), refused, why, first)


def _without_series(
    scraper: ServingScraper, name: str, match: Match, refused: tuple[tuple[str, int], ...]
) -> FamilyState | None:
    """A family of which no sample has become a reading."""
    collector, raw, first = scraper.collector, match.raw, match.raw.names[0]
    if first in collector.wrong_types:
        return FamilyState(name, WRONG_TYPE, (), 0, refused, f"comes as a {collector.wrong_types[first]}", first)
    if refused:
        return FamilyState(name, REFUSED, (), 0, refused, raw=first)
    if _is_declared(collector, match):
        metrics = tuple(sorted({target.metric.name for target in raw.targets}))
        return FamilyState(name, MAPPED, metrics, why="declared, without a series yet", raw=first)
    if raw.ignore_plain:
        return FamilyState(name, IGNORED, why="a bare value, where a histogram would say something", raw=first)
    if match.required_label:
        return FamilyState(name, UNKNOWN)
    if scraper.exclude_metrics_by_labels:
        return FamilyState(name, EXCLUDED, why="`exclude_metrics_by_labels`", raw=first)
    return None


def _is_declared(collector: Collector, match: Match) -> bool:
    return any(("", _bare(name)) in collector.present for name in match.raw.names)


def _unmatched(scraper: ServingScraper, name: str, whole: str, hinted: dict[str, str]) -> FamilyState:
    recogniser = scraper.recogniser
    ignored = recogniser.ignored_by(name)
    if ignored is not None:
        system, because = ignored
        return FamilyState(whole, IGNORED, why=because or f"the catalog of {system.title} leaves it out")
    if name.endswith("_created"):
        return FamilyState(whole, IGNORED, why="the time of creation is no measurement")
    perhaps = hinted.get(_bare(whole)) or hinted.get(_bare(name))
    if perhaps is not None:
        return FamilyState(whole, UNPROVEN, why=f"perhaps of {recogniser.systems[perhaps].title}")
    if (match := recogniser.unprefixed(name)) is not None:
        return FamilyState(whole, UNKNOWN, why=behind(match, recogniser.systems[match.raw.system].title))
    return FamilyState(whole, UNKNOWN, why="of the process itself" if RUNTIME.match(name) else "")


def _sent_as(scraper: ServingScraper, series: Series, output: Output) -> Iterator[Expectation]:
    """The contexts of one output of a series, as the submitter makes them."""
    raw, target, current, host = series.raw, output.target, series.current, series.hostname
    metric, tags, scale, part = target.metric, output.tags, output.scale, output.target.value
    if raw.type == "last_code" or (raw.codes is not None and target is raw.targets[0]):
        # Only what happens is counted.
        return
    if part == "zero":
        yield Expectation(output.name, "count", tags, host)
    elif part == "count":
        if current.count is not None:
            yield Expectation(output.name, "count", tags, host, current.count)
    elif part == "sum":
        if current.sum is not None:
            yield Expectation(output.name, "count", tags, host, current.sum * scale)
    elif part == "mean":
        if current.count is not None and current.sum is not None:
            mean = current.sum / current.count * scale if current.count else 0.0
            yield from _gauge(output, host, mean)
    elif raw.states:
        yield Expectation(output.name, "gauge", state_tags(tags, raw.states, current.value), host, 1.0)
    elif metric.type == "gauge":
        yield from _gauge(output, host, current.value * scale)
    elif metric.type == "count":
        yield Expectation(output.name, "count", tags, host, current.value * scale)
    else:
        yield from _histogram(scraper, series, output)


def _gauge(output: Output, host: str, value: float) -> Iterator[Expectation]:
    yield Expectation(output.name, "gauge", output.tags, host, value)
    if output.target.metric.moments:
        for part, moment in MOMENTS.items():
            yield Expectation(f"{output.name}.{part}", "count", output.tags, host, moment(value))


def _histogram(scraper: ServingScraper, series: Series, output: Output) -> Iterator[Expectation]:
    current, host, tags, submitter = series.current, series.hostname, output.tags, scraper.submitter
    if submitter.totals or not submitter.distributions:
        if current.sum is not None:
            yield Expectation(output.sum_name, "count", tags, host, current.sum * output.scale)
        if current.count is not None:
            yield Expectation(output.count_name, "count", tags, host, current.count)
    if not current.bounds or not submitter.buckets:
        return
    if submitter.distributions:
        yield Expectation(
            output.name, "distribution", tags, host, current.count or 0.0, reading=current, scale=output.scale
        )
        return
    for count, bounds in as_buckets(current.bounds, current.counts, output.scale, submitter.separate):
        yield Expectation(f"{output.name}.bucket", "count", (*tags, *bounds), host, count)
