"""The golden signals of a trial run: what they say, or what the server has to be told for them to say something."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from ...catalog.loader import golden_signals
from ...catalog.model import Catalog, Signal, Switch, System
from ..standin.sketch import Sketch
from .facts import Fact, Facts, counts_requests
from .model import SignalState, SignalValue

ENDPOINT = "endpoint_name"
OF_REQUESTS = ("requests", "tokens")
"""Groups of signals that a server may show from its first request on."""


def signals(
    facts: Facts, systems: Sequence[System], catalog: Catalog, seconds: float | None, known: Iterable[str] = ()
) -> tuple[SignalState, ...]:
    """Every golden signal that the systems could give, in their order.

    `known` are canonical metrics that are watched though nothing of them has come, as the errors of GPUs.
    """
    fed = {metric for system in systems for metric in fed_by(system)}
    possible = facts.possible | set(known)
    there = {*facts.by_name, *possible}
    groups = {signal.group for signal in golden_signals() if there.union(fed).intersection(signal.metrics)}
    switches = list(speaking(facts, systems))
    found = []
    for signal in golden_signals():
        values = tuple(_values(signal, facts, catalog, seconds, possible))
        if not values and seconds is not None:
            values = tuple(replace(value, so_far=True) for value in _values(signal, facts, catalog, None, possible))
        told = fed.union(there).intersection(signal.metrics)
        if values or told or (signal.essential and signal.group in groups):
            advice = () if values else tuple(_advice(signal, switches, told, facts))
            found.append(SignalState(signal.name, signal.title, signal.group, signal.form, values, advice))
    return tuple(found)


def fed_by(system: System) -> Iterator[str]:
    """The canonical metrics that a system can send."""
    for raw in (*system.metrics, *system.shared):
        yield from (target.metric.name for target in raw.targets)
    yield from (derived.metric.name for derived in system.derived)
    if system.readiness is not None:
        yield from (metric.name for metric in system.readiness.gauges())


def speaking(facts: Facts, systems: Iterable[System]) -> Iterator[Switch]:
    """The switches of the servers that would bring something that is missing."""
    sent = {*facts.by_name, *facts.possible}
    shown = {state.raw for state in facts.families if state.raw}
    for system in systems:
        raws = {name for raw in system.metrics if not shown.isdisjoint(raw.names) for name in raw.names}
        known = system.by_name()
        for switch in system.switches:
            # Its absence tells nothing before there was a request to count.
            early = not facts.served and any(counts_requests(known[name]) for name in switch.absent if name in known)
            if not early and switch.speaks(sent, raws):
                yield switch


def spoken(switch: Switch) -> str:
    """A switch as a sentence or two."""
    return f"{switch.because} {switch.do[0].upper()}{switch.do[1:]}."


def _advice(signal: Signal, switches: Iterable[Switch], told: Iterable[str], facts: Facts) -> Iterator[str]:
    said = [switch for switch in switches if not set(switch.gives).isdisjoint(signal.metrics)]
    yield from map(spoken, said)
    if said:
        return
    if facts.possible.intersection(signal.metrics):
        yield "The answer declares it; it comes with the first request."
    elif not told:
        yield "The system does not tell it."
    elif facts.served or signal.group not in OF_REQUESTS:
        yield "Nothing in the answer tells it."
    else:
        yield "Nothing in the answer tells it so far, nor of any request that has ended. Send one, and look again."


def _values(
    signal: Signal, facts: Facts, catalog: Catalog, seconds: float | None, possible: Iterable[str]
) -> Iterator[SignalValue]:
    take = {"rate": _rate, "share": _share, "latency": _latency, "level": _level}[signal.form]
    names = (f"{metric}{part}" for metric in signal.metrics for part in ("", ".count"))
    told = any(facts.of(name, seconds is not None) for name in names)
    # What has not happened yet is a zero that is known.
    if told or (signal.form in ("rate", "share") and not set(possible).isdisjoint(signal.metrics)):
        yield from take(signal, facts, catalog, seconds)


def _subjects(facts: Iterable[Fact], by: Sequence[str], several: bool) -> Mapping[str, list[Fact]]:
    """Facts by what they are about, under an empty name all together, where that is more than one thing."""
    found: dict[str, list[Fact]] = {}
    whole = list(facts)
    for fact in whole:
        tags = [f"{key}:{fact.tag(key)}" for key in ((ENDPOINT, *by) if several else by) if fact.tag(key)]
        found.setdefault(" ".join(tags), []).append(fact)
    named = {subject: each for subject, each in sorted(found.items()) if subject}
    return {"": whole, **named}


def _several(facts: Facts) -> bool:
    return len({fact.tag(ENDPOINT) for fact in facts.contexts} - {""}) > 1


def _per(number: float, seconds: float | None) -> dict[str, float]:
    return {"total": number} if not seconds else {"per_second": number / seconds, "total": number}


def _unit(catalog: Catalog, metric: str) -> str:
    known = catalog.metrics.get(metric)
    return known.unit if known is not None else ""


def _rate(signal: Signal, facts: Facts, catalog: Catalog, seconds: float | None) -> Iterator[SignalValue]:
    metric = signal.metrics[0]
    found = facts.of(metric, seconds is not None)
    for subject, each in _subjects(found, signal.by, _several(facts)).items():
        total = sum(fact.value for fact in each)
        yield SignalValue(subject, metric, _unit(catalog, metric), _per(total, facts.seconds(metric, seconds)))


def _share(signal: Signal, facts: Facts, catalog: Catalog, seconds: float | None) -> Iterator[SignalValue]:
    metric, several = signal.metrics[0], _several(facts)
    part = _subjects(facts.of(metric, seconds is not None), signal.by, several)
    whole = _subjects(facts.of(signal.of, seconds is not None), signal.by, several)
    for subject in dict.fromkeys((*part, *whole)):
        failed = sum(fact.value for fact in part.get(subject, ()))
        all_ = sum(fact.value for fact in whole.get(subject, ()))
        numbers = _per(failed, facts.seconds(metric, seconds))
        # More failures than requests are of parts of requests, such as the inputs of a batch, and no share of them.
        if all_ > 0 and failed <= all_:
            numbers["share"] = failed / all_ * 100
        yield SignalValue(subject, metric, _unit(catalog, metric), numbers)


def _latency(signal: Signal, facts: Facts, catalog: Catalog, seconds: float | None) -> Iterator[SignalValue]:
    """Of all together by the first metric that tells it, of each subject by the first that tells them apart."""
    several, since = _several(facts), seconds is not None
    told: set[str] = set()
    for metric in signal.metrics:
        sketches = _subjects(facts.of(metric, since), signal.by, several)
        sums = _subjects(facts.of(f"{metric}.sum", since), signal.by, several)
        counts = _subjects(facts.of(f"{metric}.count", since), signal.by, several)
        for subject in dict.fromkeys((*sketches, *counts)):
            if subject in told:
                continue
            numbers = _percentiles(fact.sketch for fact in sketches.get(subject, ()) if fact.sketch is not None)
            count = sum(fact.value for fact in counts.get(subject, ()))
            if count > 0:
                numbers["mean"] = sum(fact.value for fact in sums.get(subject, ())) / count
            if numbers:
                told.add(subject)
                yield SignalValue(subject, metric, _unit(catalog, metric), numbers)


def _percentiles(sketches: Iterable[Sketch]) -> dict[str, float]:
    whole = Sketch()
    for sketch in sketches:
        whole.merge(sketch)
    if not whole.count:
        return {}
    return {"p50": whole.quantile(0.5), "p99": whole.quantile(0.99)}


def _level(signal: Signal, facts: Facts, catalog: Catalog, seconds: float | None) -> Iterator[SignalValue]:
    several, since = _several(facts), seconds is not None
    for metric in signal.metrics:
        known = catalog.metrics.get(metric)
        if known is not None and known.type == "distribution":
            sums = _subjects(facts.of(f"{metric}.sum", since), signal.by, several)
            for subject, each in _subjects(facts.of(f"{metric}.count", since), signal.by, several).items():
                if count := sum(fact.value for fact in each):
                    mean = sum(fact.value for fact in sums.get(subject, ())) / count
                    yield SignalValue(subject, metric, known.unit, {"mean": mean})
            continue
        combine = _COMBINED.get(known.combine if known is not None else "last", max)
        for subject, each in _subjects(facts.of(metric, since), signal.by, several).items():
            if each:
                unit = known.unit if known is not None else ""
                yield SignalValue(subject, metric, unit, {"value": combine([fact.value for fact in each])})


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


_COMBINED: Mapping[str, Callable[[Sequence[float]], float]] = {"sum": sum, "mean": _mean, "max": max}
