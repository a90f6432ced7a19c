"""A round of runs as tables in a terminal, with tags as Datadog stores them."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ...http.redact import printable
from ..stored import stored
from .recorder import LogLine, ServiceStatus
from .runner import Round, Run
from .sinks import Units, common_tags, distribution_summary

STATUS_STYLE = {
    ServiceStatus.OK: "green",
    ServiceStatus.WARNING: "yellow",
    ServiceStatus.CRITICAL: "bold red",
    ServiceStatus.UNKNOWN: "magenta",
}
SHOWN = ("count", "avg", "p50", "p95", "p99")


def show(round_: Round, units: Units, console: Console) -> None:
    """Print what the Agent would send of a round, instance by instance."""
    for run in round_.runs:
        console.print(Group(*_run(run, round_, units)))
        console.print()
    known = {warning for run in round_.runs for warning in run.warnings}
    lines = [line for line in round_.logs if not any(line.message.endswith(warning) for warning in known)]
    if lines:
        console.print(_heading("Log"))
        for line in lines:
            console.print(Padding(_log_line(line), (0, 0, 0, 2)))
        console.print()


def number(value: float) -> str:
    """A value as people read it: whole numbers in full, others with six digits."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else f"{value:.6g}"


def _run(run: Run, round_: Round, units: Units) -> Iterator[RenderableType]:
    yield _heading(f"Instance {run.instance}: {run.label}")
    if run.error is not None:
        yield _line("ERROR", run.error, "bold red")
    for warning in run.warnings:
        yield _line("WARNING", warning, "yellow")
    for discarded in dict.fromkeys(run.commit.discarded):
        yield _line("DISCARDED", discarded, "yellow")
    shared = common_tags(run.commit)
    if shared:
        yield _line("All metrics are tagged", " ".join(map(stored, shared)), "dim")
    if run.commit.series:
        yield _series_table(run, units, set(shared))
    if run.commit.distributions:
        yield _distribution_table(run, units, set(shared))
    if not run.commit.series and not run.commit.distributions and run.error is None:
        yield _line("", "no metrics", "yellow")
    for check in round_.service_checks:
        if check.check_id == run.check_id:
            message = "" if check.message == run.error else check.message
            own = " ".join(stored(tag) for tag in sorted(set(check.tags) - set(shared)))
            text = " ".join(filter(None, (check.name, own, message)))
            yield _line(check.status.name, text, STATUS_STYLE[check.status])
    for event in round_.events:
        if event.check_id == run.check_id:
            title, text = (str(event.fields.get(key, "")) for key in ("msg_title", "msg_text"))
            yield _line("EVENT", f"{title}: {text}" if text else title, "cyan")
    metadata = [f"{name}={value}" for (check_id, name), value in round_.metadata.items() if check_id == run.check_id]
    if metadata:
        yield _line("Metadata", " ".join(sorted(metadata)), "dim")


def _series_table(run: Run, units: Units, shared: set[str]) -> Table:
    table = _table("METRIC", "TYPE", "UNIT", "TAGS")
    table.add_column("VALUE", justify="right")
    for series in run.commit.series:
        name, tags, host = series.context
        table.add_row(*_cells(name, series.type, units(name), tags, host, shared), number(series.value))
    return table


def _distribution_table(run: Run, units: Units, shared: set[str]) -> Table:
    table = _table("METRIC", "TYPE", "UNIT", "TAGS")
    for column in SHOWN:
        table.add_column(column.upper(), justify="right")
    for distribution in run.commit.distributions:
        name, tags, host = distribution.context
        summary = distribution_summary(distribution)
        cells = _cells(name, "distribution", units(name), tags, host, shared)
        table.add_row(*cells, *(number(summary[key]) for key in SHOWN))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _cells(
    name: str, kind: str, unit: str | None, tags: tuple[str, ...], host: str, shared: set[str]
) -> tuple[Text, ...]:
    own = [stored(tag) for tag in tags if tag not in shared] + ([f"(host {host})"] if host else [])
    return tuple(Text(printable(text)) for text in (name, kind, unit or "", " ".join(own)))


def _heading(text: str) -> Text:
    return Text(printable(text), style="bold underline")


def _line(label: str, text: str, style: str) -> Text:
    parts = [(f"{label}: " if label.endswith("tagged") or label == "Metadata" else f"{label} ", style)] if label else []
    return Text.assemble(*parts, "\n".join(printable(line) for line in text.splitlines()))


def _log_line(line: LogLine) -> Text:
    style = "bold red" if line.level >= logging.ERROR else "yellow"
    return Text.assemble((f"{logging.getLevelName(line.level)} ", style), printable(line.message))
