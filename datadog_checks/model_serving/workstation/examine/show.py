"""An examination in a terminal: a fact a line, names whole, at any width.

Prose is wrapped between words. A name that is longer than a line is written as it is, for the terminal to go on with.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from ...http.redact import printable
from ...scrape.inventory import (
    AMBIGUOUS,
    EXCLUDED,
    IGNORED,
    MAPPED,
    NAMED,
    QUANTILES,
    REFUSED,
    UNKNOWN,
    UNPROVEN,
    UNUSED,
    WRONG_TYPE,
    FamilyState,
)
from ..standin.recorder import ServiceStatus
from .model import (
    ADDRESS,
    COUNTED,
    EVENT,
    FOREIGN,
    HINTS,
    MISSING,
    NAMES,
    OPTION,
    Examination,
    MonitorState,
    ReadinessState,
    RecognisedSystem,
    SignalState,
    SignalValue,
)

LABEL = 15
"""Columns of the labels."""

NARROWEST = 40
SHOWN = 5
"""Names, subjects or metrics that are shown of many."""

MORE = "more; --all shows them"

ENDPOINTS = (10, 100)
"""Numbers of endpoints for which the cost is forecast."""

ERRORS = "request.error.count"

STATES = {
    UNKNOWN: "unknown",
    UNPROVEN: "not sure",
    AMBIGUOUS: "of two systems",
    WRONG_TYPE: "wrong type",
    REFUSED: "refused",
    EXCLUDED: "left out",
    UNUSED: "not used",
    IGNORED: "ignored",
    NAMED: "named by you",
}
"""What a family that is not mapped is called, in the order in which they are shown."""

VERIFIED = {
    "live": "against a real server",
    "recorded": "against an answer of a real server",
    "documentation": "by documentation only",
}
"""How a catalog file was verified, in words."""

PROCESS = "of the process itself"
OVERALL = ("requests", "tokens")
"""Groups of signals that are told of all subjects together as well."""

LABELLED = "requests"
"""The group whose signals have labels of their own; those of others are lines under the label of their group."""

GROUPS = {"requests": "By model", "tokens": "Tokens", "gpus": "GPUs", "quality": "Quality"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its label, or none where it goes on with the one before."""

    text: str
    label: str = ""
    style: str = ""
    within: int = 0


def show(examination: Examination, console: Console, all_: bool = False) -> None:
    """Print the summary, but for the configuration; with `all_` everything that it counts, too."""
    _print(console, Line(examination.label, style="bold underline"), 0)
    for fact in _facts(examination, all_):
        _print(console, fact, LABEL)


def show_configuration(examination: Examination, console: Console) -> None:
    """Print the configuration to paste, where it is of use."""
    if examination.configuration and (examination.mapped or any(not one.sure for one in examination.systems)):
        _print(console, Line("Configuration to paste:", style="bold"), 0)
        for line in examination.configuration.splitlines():
            console.print(Text(printable(line)), soft_wrap=True)
        console.print()


def _print(console: Console, fact: Line, indent: int) -> None:
    margin = " " * (indent + fact.within)
    width = max(NARROWEST, console.width - 1)
    lines = textwrap.wrap(
        printable(fact.text), max(NARROWEST, width - len(margin)), break_long_words=False, break_on_hyphens=False
    )
    for number, line in enumerate(lines or [""]):
        label = f"{fact.label:<{indent}}" if number == 0 and fact.label else ""
        text = Text.assemble((label, "bold"), " " * (len(margin) - len(label)), (line, fact.style))
        console.print(text, soft_wrap=True)


def _facts(examination: Examination, all_: bool) -> Iterator[Line]:
    yield from _systems(examination)
    if examination.error:
        yield from _labelled("Failed", examination.error.splitlines(), "bold red")
    if examination.quiet:
        yield Line(examination.quiet, "Quiet", "yellow")
    yield from _labelled("Warning", examination.warnings, "yellow")
    yield from _signals(examination, all_)
    yield from _readiness(examination.readiness)
    yield from _verified(examination.systems)
    if examination.families:
        yield from _families(examination, all_)
    yield from _missing(examination, all_)
    if examination.mapped:
        yield from _cost(examination, all_)
        yield from _monitors(examination, all_)


def _labelled(label: str, texts: Iterable[str], style: str = "") -> Iterator[Line]:
    for number, text in enumerate(texts):
        yield Line(text, label if number == 0 else "", style)


# -- systems and signals


def _systems(examination: Examination) -> Iterator[Line]:
    sure = [system for system in examination.systems if system.sure]
    yield from _labelled("System", map(_system, sure))
    for system in examination.systems:
        if not system.sure:
            yield Line(_system(system), "" if sure else "System", "yellow")
    if not examination.systems and examination.families:
        yield Line("none that the catalog knows", "System", "yellow")


def _verified(systems: Sequence[RecognisedSystem]) -> Iterator[Line]:
    """What the catalog files rest on. A warning where nobody has ever tried them."""
    label = "Verified"
    for system in systems:
        if system.verified is None:
            continue
        name = f"{system.title}: " if len(systems) > 1 else ""
        untried = system.verified.how == "documentation"
        yield Line(
            f"{name}{VERIFIED[system.verified.how]}: {system.verified.source}", label, "yellow" if untried else ""
        )
        if system.verified.documentation:
            yield Line(f"from documentation only: {system.verified.documentation}", within=2)
        label = ""


def _system(system: RecognisedSystem) -> str:
    name = f"{system.title} (serving_system:{system.name})"
    names = _some(system.names)
    if not system.sure:
        return f"perhaps {name}: other software uses {names}, too, so nothing is mapped until you say that it is this"
    if system.evidence == NAMES:
        return f"{name}, recognised by {names}"
    told = {OPTION: "as the configuration says", ADDRESS: "as the address says", HINTS: f"by its hints {names}"}
    return f"{name}, {told[system.evidence]}"


def _signals(examination: Examination, all_: bool) -> Iterator[Line]:
    for group, title in GROUPS.items():
        signals = [signal for signal in examination.signals if signal.group == group and signal.values]
        lines: list[str] = []
        if group == LABELLED:
            for signal in signals:
                yield from _labelled(signal.title[0].upper() + signal.title[1:], _overall(signal, all_))
            signals = [signal for signal in signals if signal.form != "level"]
        else:
            told = [signal for signal in signals if group in OVERALL or _is_whole(signal)]
            lines = [f"{signal.title}: {text}" for signal in told for text in _overall(signal, all_)]
        subjects = _by_subject(signals)
        # What was told of all is not told again of an only one.
        if len(subjects) > 1 or group not in OVERALL:
            by_subject = [f"{subject}  {', '.join(parts)}" for subject, parts in subjects.items()]
            lines += by_subject if all_ else _first(by_subject, MORE)
        yield from _labelled(title, lines)


def _overall(signal: SignalState, all_: bool) -> list[str]:
    """What a signal says of all subjects together; a level by what tells it apart, such as a queue, as well."""
    if signal.form == "level" and signal.group == LABELLED:
        levels = list(_levels(signal))
        return levels if all_ else _first(levels, MORE)
    totals = [_number(value) for value in signal.values if not value.subject]
    return [total.removesuffix(" errors") if "%" in total else total for total in totals]


def _is_whole(signal: SignalState) -> bool:
    return not any(value.subject for value in signal.values)


def _levels(signal: SignalState) -> Iterator[str]:
    """Every metric of a level, of all together where nothing tells subjects apart."""
    several = {value.metric for value in signal.values if value.subject}
    for value in signal.values:
        if value.subject or value.metric not in several:
            yield f"{_number(value)}{f' {value.subject}' if value.subject else ''}"


def _by_subject(signals: Sequence[SignalState]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for signal in signals:
        for value in signal.values:
            if value.subject:
                # A level says by itself what it is, and requests have but one of each form.
                title = "" if signal.group == LABELLED or signal.form == "level" else f"{signal.title} "
                found.setdefault(value.subject, []).append(f"{title}{_number(value)}")
    return found


def _number(value: SignalValue) -> str:
    return f"{_said(value)} so far" if value.so_far and "total" not in value.numbers else _said(value)


def _said(value: SignalValue) -> str:
    numbers, unit = value.numbers, value.unit
    if "p99" in numbers:
        mean = f", mean {_amount(numbers['mean'], unit)}" if "mean" in numbers else ""
        return f"p50 {_amount(numbers['p50'], unit)}, p99 {_amount(numbers['p99'], unit)}{mean}"
    if "share" in numbers:
        return f"{_digits(numbers['share'])} % errors"
    if value.metric == ERRORS:
        return f"{_plain(numbers['total'])} {_many(numbers['total'], 'error')}"
    if "mean" in numbers:
        return f"mean {_short(value.metric)} {_amount(numbers['mean'], unit)}"
    if "per_second" in numbers:
        return f"{_digits(numbers['per_second'])} {_many(2, unit or 'count')}/s"
    if "total" in numbers:
        return f"{_plain(numbers['total'])} {_many(numbers['total'], unit or 'count')} counted so far"
    return f"{_short(value.metric)} {_amount(numbers['value'], unit)}"


def _short(metric: str) -> str:
    return metric.removeprefix("request.").removeprefix("gpu.")


def _amount(value: float, unit: str) -> str:
    if unit == "second":
        for factor, name in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
            if abs(value) * factor >= 1 or factor == 1e6:
                return f"{_digits(value * factor)} {name}"
    if unit == "byte":
        return f"{_digits(value / 2**30)} GiB"
    if unit == "percent":
        return f"{_digits(value)} %"
    if unit == "degree celsius":
        return f"{_digits(value)} °C"
    number = _digits(value, 4)
    return number if unit in ("", "request") else f"{number} {_many(value, unit)}"


def _plain(number: float) -> str:
    return f"{number:,.0f}" if float(number).is_integer() else _digits(number, 4)


def _digits(number: float, digits: int = 3) -> str:
    """A number to so many digits, whole where it has more, and never with an exponent where it is large."""
    shown = f"{number:.{digits}g}"
    return f"{number:,.0f}" if abs(float(shown)) >= 10**digits else shown


def _many(number: float, word: str) -> str:
    return word if number == 1 else f"{word}s"


# -- readiness, families, what is missing


def _readiness(states: Sequence[ReadinessState]) -> Iterator[Line]:
    lines = []
    for state in states:
        if state.why and not state.answers:
            subject = f"{state.title}: " if len(states) > 1 else ""
            lines.append((f"{subject}not asked: {state.why}", "yellow"))
            continue
        counted = Counter((check.name.removeprefix("model_serving."), check.status) for check in state.answers)
        said = ", ".join(
            f"{name} {status.name}{f' ({number})' if number > 1 else ''}"
            for (name, status), number in sorted(counted.items())
        )
        bad = any(check.status == ServiceStatus.CRITICAL for check in state.answers)
        lines.append((f"{state.url}: {said}", "bold red" if bad else ""))
        for check in state.answers:
            if check.message:
                lines.append((f"{check.name.removeprefix('model_serving.')}: {check.message}", ""))
    for number, (text, style) in enumerate(lines):
        yield Line(text, "Readiness" if number == 0 else "", style)


def _families(examination: Examination, all_: bool) -> Iterator[Line]:
    families = examination.families
    mapped = [family for family in families if family.state == MAPPED]
    style = "" if examination.mapped else "yellow"
    yield Line(f"{len(mapped)} of {_plain(len(families))} metrics of the payload", "Mapped", style)
    if all_:
        for family in mapped:
            yield Line(_mapped(family), within=2)
    for state, title in STATES.items():
        found = [family for family in families if family.state == state]
        own = [family for family in found if family.why == PROCESS] if state == UNKNOWN else []
        found = [family for family in found if family not in own]
        if found:
            yield from _unmapped(title, found, all_ or state in (WRONG_TYPE, REFUSED, AMBIGUOUS))
        if state == UNKNOWN and not all_:
            yield from (Line(f"{family.name}: {family.why}", style="yellow") for family in found if family.why)
        if own:
            names = f": {_some([family.name for family in own], all_)}" if all_ else ""
            yield Line(f"{PROCESS} ({len(own)}){names}")
    for family in mapped:
        if family.refused:
            yield Line(f"{family.name}: {_refused(family)} refused", style="yellow")
        if family.series and family.why not in ("", QUANTILES):
            yield Line(f"{family.name}: {family.why}", style="yellow")
    if summaries := [family.name for family in mapped if family.why == QUANTILES]:
        yield Line(f"without their quantiles, which cannot be aggregated ({len(summaries)}): {_some(summaries, all_)}")


def _mapped(family: FamilyState) -> str:
    said = "; ".join(filter(None, (f"{family.series} series" if family.series or not family.why else "", family.why)))
    return f"{family.name} -> {', '.join(family.metrics)}; {said}"


def _unmapped(title: str, families: Sequence[FamilyState], each: bool) -> Iterator[Line]:
    if not each:
        yield Line(f"{title} ({len(families)}): {_some([family.name for family in families])}")
        return
    yield Line(f"{title} ({len(families)}):")
    for family in families:
        said = "; ".join(filter(None, (_refused(family), family.why)))
        yield Line(f"{family.name}{f': {said}' if said else ''}", within=2)


def _refused(family: FamilyState) -> str:
    return ", ".join(f"{number} {_many(number, 'sample')} {reason}" for reason, number in family.refused)


def _missing(examination: Examination, all_: bool) -> Iterator[Line]:
    titles: dict[str, list[str]] = {}
    for signal in examination.signals:
        for text in signal.advice:
            titles.setdefault(text, []).append(signal.title)
    yield from _labelled("Missing", [f"{', '.join(found)}: {text}" for text, found in titles.items()])
    if examination.advice:
        label = "To have more" if examination.families else "To do"
        advice = list(examination.advice)
        yield from _labelled(label, advice if all_ else _first(advice, MORE))


# -- cost and monitors


def _cost(examination: Examination, all_: bool) -> Iterator[Line]:
    cost = examination.cost
    percentiles = cost.with_percentiles > cost.custom_metrics
    own = f", and {cost.own * cost.sources} of the check about itself" if cost.own else ""
    yield Line(f"{_plain(cost.custom_metrics)} custom metrics ({_plain(cost.contexts)} contexts){own}", "Cost")
    if percentiles:
        yield Line(f"up to {_plain(cost.with_percentiles)} with percentiles, which `model-serving provision` enables")
    for endpoints in ENDPOINTS:
        more = f", up to {_plain(cost.forecast(endpoints, True))} with percentiles" if percentiles else ""
        yield Line(
            f"{endpoints} {cost.kind}s like {'this' if cost.sources == 1 else 'these'}: "
            f"{_plain(cost.forecast(endpoints))}{more}"
        )
    for metric in cost.metrics if all_ else cost.metrics[:SHOWN]:
        more = f", up to {_plain(metric.percentiles)} more with percentiles" if metric.wanted else ""
        yield Line(f"{metric.name}: {_plain(metric.custom_metrics)} ({metric.type}){more}", within=2)
    left = len(cost.metrics) - SHOWN
    if left > 0 and not all_:
        yield Line(f"and {left} more metrics; --all shows them", within=2)
    pending = sum(family.state == MAPPED and not family.series for family in examination.families)
    if pending:
        yield Line(f"{pending} more of the answer {'has' if pending == 1 else 'have'} no series yet", within=2)


def _monitors(examination: Examination, all_: bool) -> Iterator[Line]:
    by_state: dict[str, list[MonitorState]] = {COUNTED: [], EVENT: [], MISSING: [], FOREIGN: []}
    for monitor in examination.monitors:
        by_state[monitor.state].append(monitor)
    titles = {
        COUNTED: "with data",
        EVENT: "will have data once something happens, such as an error",
        MISSING: "without data",
        FOREIGN: "are for other systems",
    }
    for number, (state, found) in enumerate(by_state.items()):
        yield Line(f"{len(found)} {titles[state]}", "Monitors" if number == 0 else "")
        if all_ or state == MISSING:
            yield from (Line(text, within=2) for text in _by_reason(found))


def _by_reason(monitors: Sequence[MonitorState]) -> Iterator[str]:
    found: dict[str, list[str]] = {}
    for monitor in monitors:
        found.setdefault(monitor.why, []).append(f"{monitor.title} ({monitor.key})")
    for why, names in found.items():
        yield f"{why}: {', '.join(names)}" if why else ", ".join(names)


def _some(names: Sequence[str], all_: bool = False) -> str:
    shown = ", ".join(names if all_ else names[:SHOWN])
    return shown if all_ or len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"


def _first(lines: Sequence[str], rest: str) -> list[str]:
    return [*lines[:SHOWN], f"and {len(lines) - SHOWN} {rest}"] if len(lines) > SHOWN else list(lines)
