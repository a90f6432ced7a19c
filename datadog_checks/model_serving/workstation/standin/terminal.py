"""A round of runs in a terminal: what metrics are about as headings, with tags as Datadog stores them, a metric a line.

No name, tag or word is ever broken. What does not fit in a line goes on in the next, further to the right; a word that
is longer than a line has one of its own. Without a width, as in a file, every metric has one line.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from ...http.redact import printable
from ..stored import stored
from .entities import Entity, MetricLine, entities
from .recorder import LogLine, ServiceStatus
from .runner import Round, Run
from .sinks import Units, common_tags

STATUS_STYLE = {
    ServiceStatus.OK: "green",
    ServiceStatus.WARNING: "yellow",
    ServiceStatus.CRITICAL: "bold red",
    ServiceStatus.UNKNOWN: "magenta",
}
MOST = 12
"""Entities of an instance that the short form shows."""

_NOISE = "AIA chasing:"
"""How the base package tells of its search for certificates, for whatever reason a connection of TLS has failed: the
error of the instance says which."""

INDENT, HANG = 2, 6
"""Where lines of an entity begin, and where they go on."""

Part = tuple[str, str]
"""A text that stays whole as long as it fits in a line, and its style."""


def show(
    round_: Round,
    units: Units,
    console: Console,
    *,
    width: int | None = None,
    full: bool = True,
    summarised: bool = False,
) -> None:
    """Print what the Agent would send of a round, instance by instance.

    `width` is that of the terminal, in columns. Without `full`, each entity has the few metrics that tell most. What a
    summary has told already is left out where one was shown: errors and warnings, and instances of which nothing is
    left.
    """
    for run in round_.runs:
        told = list(_run(run, round_, units, width, full, summarised))
        if told:
            _print(console, [*_instance(run, round_, width, summarised), *told])
    known = {warning for run in round_.runs for warning in run.warnings}
    lines = [
        line
        for line in round_.logs
        if _NOISE not in line.message and not any(line.message.endswith(warning) for warning in known)
    ]
    if lines:
        _print(console, [_heading("Log"), *(text for line in lines for text in _log_line(line, width))])


def flow(
    parts: Sequence[Part], width: int | None, indent: int = 0, hang: int = HANG, gap: str = "  "
) -> Iterator[Text]:
    """Lines that hold the parts, with a gap between two of them. A part that fits in no line is split at its spaces."""
    line, used = Text(" " * indent), indent
    begun = False
    for part, style in _fitting(parts, None if width is None else width - hang):
        length = cell_len(part)
        if begun and width is not None and used + len(gap) + length > width:
            yield line
            line, used, begun = Text(" " * hang), hang, False
        if begun:
            line.append(gap)
            used += len(gap)
        line.append(part, style)
        used += length
        begun = True
    yield line


def message(label: str, text: str, style: str, width: int | None) -> Iterator[Text]:
    """A text with a label before it, its line breaks kept."""
    for number, line in enumerate(text.splitlines() or [""]):
        words = [(word, "") for word in printable(line).split()]
        before = [(label, style)] if label and not number else []
        yield from flow([*before, *words], width, indent=HANG if number else 0, gap=" ")


def _print(console: Console, lines: Iterable[Text]) -> None:
    for line in lines:
        line.rstrip()
        console.print(line, soft_wrap=True)
    console.print()


def _instance(run: Run, round_: Round, width: int | None, summarised: bool) -> Iterator[Text]:
    """The heading, which an only instance does not need below its summary."""
    if not summarised or len(round_.runs) > 1:
        yield from flow([(f"Instance {run.instance}:", "bold"), (printable(run.label), "bold")], width, gap=" ")


def _run(run: Run, round_: Round, units: Units, width: int | None, full: bool, summarised: bool) -> Iterator[Text]:
    if not summarised:
        if run.error is not None:
            yield from message("ERROR", run.error, "bold red", width)
        for warning in run.warnings:
            yield from message("WARNING", warning, "yellow", width)
        if not run.commit.series and not run.commit.distributions and run.error is None:
            yield from message("", "no metrics", "yellow", width)
    for discarded in dict.fromkeys(run.commit.discarded):
        yield from message("DISCARDED", discarded, "yellow", width)
    shared = tuple(map(stored, common_tags(run.commit)))
    found = [entity for entity in entities(run.commit, shared) if full or not entity.is_own]
    if shared and found:
        yield from _tags("All metrics are tagged", shared, width, 0)
    yield from _metrics(found, units, width, full)
    rest = list(_besides_metrics(run, round_, shared, width, full))
    if rest and found:
        yield Text()
    yield from rest


def _besides_metrics(run: Run, round_: Round, shared: Sequence[str], width: int | None, full: bool) -> Iterator[Text]:
    """Service checks, events and metadata. Without `full`, those that are OK are told by their number."""
    checks = [check for check in round_.service_checks if check.check_id == run.check_id]
    well = Counter(check.name for check in checks if check.status == ServiceStatus.OK and not check.message)
    for check in checks:
        words = "" if check.message == run.error else check.message
        own = " ".join(stored(tag) for tag in sorted(set(check.tags)) if stored(tag) not in shared)
        if not full and check.status == ServiceStatus.OK and not check.message:
            number = well.pop(check.name, 0)
            if number == 0:
                continue
            own = own if number == 1 else f"({number})"
        yield from message(
            check.status.name, " ".join(filter(None, (check.name, own, words))), STATUS_STYLE[check.status], width
        )
    for event in round_.events:
        if event.check_id == run.check_id:
            title, text = (str(event.fields.get(key, "")) for key in ("msg_title", "msg_text"))
            yield from message("EVENT", f"{title}: {text}" if text else title, "cyan", width)
    metadata = [f"{name}={value}" for (check_id, name), value in round_.metadata.items() if check_id == run.check_id]
    if metadata:
        yield from message("Metadata:", " ".join(sorted(metadata)), "dim", width)


def _metrics(found: Sequence[Entity], units: Units, width: int | None, full: bool) -> Iterator[Text]:
    for entity in found if full else found[:MOST]:
        yield Text()
        yield from flow([(word, "bold") for word in printable(entity.title).split()], width, gap=" ")
        if entity.tags:
            yield from _tags("", entity.tags, width, INDENT)
        lines, hidden = (entity.lines(units), 0) if full else entity.short(units)
        yield from _aligned(lines, width)
        if hidden:
            yield Text(f"  and {hidden} more: --all", "dim")
    if not full and len(found) > MOST:
        yield Text()
        yield Text(f"and {len(found) - MOST} more models, GPUs or endpoints: --all", "dim")


def _aligned(lines: Sequence[MetricLine], width: int | None) -> Iterator[Text]:
    longest = max((cell_len(printable(line.name)) for line in lines), default=0)
    for line in lines:
        name = printable(line.name)
        value = printable(f"{line.numbers} {line.unit}".rstrip())
        tags = [(printable(tag), "dim") for tag in line.tags]
        padded = name + " " * (longest - cell_len(name))
        fits = width is None or INDENT + cell_len(padded) + 2 + cell_len(value) <= width
        yield from flow([(padded if fits else name, ""), (value, "bold"), *tags], width, INDENT)


def _tags(label: str, tags: Sequence[str], width: int | None, indent: int) -> Iterator[Text]:
    before = [(f"{label}:", "dim")] if label else []
    yield from flow([*before, *((printable(tag), "dim") for tag in tags)], width, indent, indent or INDENT, " ")


def _fitting(parts: Sequence[Part], room: int | None) -> Iterator[Part]:
    for part, style in parts:
        if room is None or cell_len(part) <= room:
            yield part, style
        else:
            yield from ((word, style) for word in part.split())


def _heading(text: str) -> Text:
    return Text(printable(text), style="bold")


def _log_line(line: LogLine, width: int | None) -> Iterator[Text]:
    style = "bold red" if line.level >= logging.ERROR else "yellow"
    yield from message(logging.getLevelName(line.level), line.message, style, width)
