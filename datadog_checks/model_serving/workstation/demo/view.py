"""Showing the golden signals: a live table for a terminal, lines for everything else."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ...catalog.loader import builtin_codes
from ..standin.recorder import Event, ServiceCheck, ServiceStatus
from ..standin.runner import Round
from .observe import LATENCIES, GpuRow, History, Row, Signals, tag_values
from .report import LatencyComparison, NumberComparison, seconds_text
from .scenario import MINUTE
from .world import World

FEED_LINES = 8
# Lines around the rows of the two tables and the feed.
FRAME_LINES = 10
# Columns from which on there is room for saturation.
WIDE = 100
MEGA = 1e6
# From here on a number is shown in yellow, then in red.
ERROR_PERCENT = (2.0, 10.0)
TEMPERATURE = (80.0, 87.0)
UTILIZATION = (70.0, 90.0)
NOTHING = "-"


class Feed:
    """The latest things worth telling: what the simulator does, and events, service checks and log lines."""

    def __init__(self) -> None:
        self.latest: deque[str] = deque(maxlen=FEED_LINES)
        self._status: dict[tuple[str, tuple[str, ...]], ServiceStatus] = {}

    def add(self, world: World, begun: Iterable[str], done: Round) -> list[str]:
        """Take one round, and return its lines."""
        clock = f"{world.time:%H:%M}"
        lines = [f"{clock} simulator: {title}" for title in begun]
        lines += [f"{clock} event{_event_text(event)}" for event in done.events]
        lines += [f"{clock} service check: {text}" for text in self._changes(done.service_checks)]
        for run in done.runs:
            lines += [f"{clock} failed: {run.label}: {run.error}"] if run.error else []
            lines += [f"{clock} warning: {run.label}: {text}" for text in run.warnings]
        lines += [f"{clock} log: {entry.message}" for entry in done.logs]
        self.latest.extend(lines)
        return lines

    def _changes(self, checks: Iterable[ServiceCheck]) -> Iterator[str]:
        """Tell those whose status is not what it was; that something is fine from the start goes without saying."""
        for check in checks:
            key = check.name, tuple(sorted(check.tags))
            if self._status.setdefault(key, ServiceStatus.OK) == check.status:
                continue
            self._status[key] = check.status
            tags = tag_values(check.tags)
            about = " ".join(tags[name] for name in ("serving_system", "endpoint_name", "model_name") if tags.get(name))
            about += f" GPU {tags['gpu']}" if "gpu" in tags else ""
            text = f": {check.message}" if check.message and check.status != ServiceStatus.OK else ""
            yield f"{check.name} is {check.status.name} for {about}{text}"


def _event_text(event: Event) -> str:
    """Return the title with the system that tells it and, for an XID error, what it means."""
    tags = tag_values(event.fields.get("tags", ()))
    source, code = tags.get("serving_system"), tags.get("xid", "")
    meaning = f": {builtin_codes('xid').fields(int(code))['meaning']}" if code.isdecimal() else ""
    return f"{f' from {source}' if source else ''}: {event.fields.get('msg_title', '')}{meaning}"


def live(world: World, history: History, feed: Feed, width: int, height: int) -> RenderableType:
    """Return everything that a terminal of that many columns and lines shows."""
    recent = history.recent()
    phases = ", ".join(phase.title for phase in world.phases()) or "a quiet day"
    head = Text.assemble((f"{world.time:%H:%M} UTC (simulated)  ", "bold"), (phases, "italic"))
    head.no_wrap, head.overflow = True, "ellipsis"
    models, gpus = _models(recent, width), _gpus(recent, history.whole, width)
    left = height - models.row_count - gpus.row_count - FRAME_LINES
    news = list(feed.latest)[-max(2, min(left, FEED_LINES)) :]
    shown = Text("\n".join(news), overflow="ellipsis", no_wrap=True)
    return Group(head, models, gpus, Panel(shown, title="what the check reported", box=box.HORIZONTALS))


def _models(recent: Signals, width: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False, padding=(0, 1))
    table.add_column("signals of the last simulated minute", ratio=2, no_wrap=True)
    for name in ("requests/s", "errors", "p50", "p99"):
        table.add_column(name, justify="right", no_wrap=True)
    wide = width >= WIDE
    if wide:
        table.add_column("saturation", ratio=2, no_wrap=True)
    rows = recent.rows()
    for system, endpoint in dict.fromkeys(row[:2] for row in rows):
        models = [row for row in rows if row[:2] == (system, endpoint) and row.model]
        for row in (Row(system, endpoint, ""), *models):
            title = Text(f"  {row.model}") if row.model else Text(f"{system} {endpoint}", style="bold")
            extra = [saturation(recent, row)] if wide else []
            table.add_row(title, *_numbers(recent, row), *extra)
    return table


def _numbers(recent: Signals, row: Row) -> Iterator[Text]:
    yield Text(f"{recent.total('request.count', recent.scope(row)) / MINUTE:.1f}")
    yield _graded(recent.error_percent(row), "{:.1f} %", ERROR_PERCENT)
    sketch, mean = recent.latency(row), recent.mean(row, *LATENCIES)
    if sketch is not None:
        yield from (Text(seconds_text(sketch.quantile(share))) for share in (0.5, 0.99))
    else:
        # Some systems tell a model's latency as a sum and a count only.
        yield Text(NOTHING if mean is None else f"mean {seconds_text(mean)}")
        yield Text(NOTHING)


def _gpus(recent: Signals, whole: Signals, width: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    wide = ["processes"] if width >= WIDE else []
    for name in ("source", "GPU", "utilization", "memory", "temp.", "power", "SM clock", *wide, "XID so far"):
        table.add_column(name, justify="right", no_wrap=True)
    for gpu in gpu_rows(whole):

        def value(name: str, gpu: GpuRow = gpu) -> float | None:
            return recent.gpu_gauges.get((gpu, name))

        clock = value("gpu.clock.sm")
        table.add_row(
            *gpu,
            _graded(value("gpu.utilization"), "{:.0f} %", UTILIZATION),
            _graded(value("gpu.memory.utilization"), "{:.0f} %", UTILIZATION),
            _graded(value("gpu.temperature"), "{:.0f} C", TEMPERATURE),
            _graded(value("gpu.power.usage"), "{:.0f} W", None),
            _graded(None if clock is None else clock / MEGA, "{:.0f} MHz", None),
            *(_graded(value("gpu.process.running"), "{:.0f}", None) for _ in wide),
            Text(xid_text(whole, gpu), style="bold red"),
        )
    return table


def saturation(recent: Signals, row: Row) -> str:
    """Return how full a row is, as far as its system tells: queue, requests in flight, CPU, GPU."""
    parts = []
    if (depth := recent.mean(row, "request.queue.depth")) is not None:
        parts.append(f"queue {depth:.1f}")
    if (wait := recent.mean(row, "request.queue.time")) is not None:
        parts.append(f"wait {seconds_text(wait)}")
    for name, text in (
        ("request.in_flight", "{:.0f} in flight"),
        ("cpu.utilization", "CPU {:.0f} %"),
        ("gpu.utilization", "GPU {:.0f} %"),
        ("memory.utilization", "memory {:.0f} %"),
        ("concurrency.provisioned", "capacity {:.0f}"),
    ):
        if (value := recent.gauges.get((row, name))) is not None:
            parts.append(text.format(value))
    return ", ".join(parts)


def gpu_rows(signals: Signals) -> list[GpuRow]:
    """List the GPUs that were heard of, by source."""
    return sorted({gpu for gpu, _ in (*signals.gpu_gauges, *signals.gpu_counts, *signals.xids)})


def xid_text(signals: Signals, gpu: GpuRow) -> str:
    """Return the XID errors of a GPU, as codes with how often each came."""
    found = [(code, count) for (at, code), count in sorted(signals.xids.items()) if at == gpu and count]
    return ", ".join(f"{code} ({count} times)" if count > 1 else code for code, count in found) or NOTHING


def line(world: World, history: History) -> str:
    """Return the state of everything in one line."""
    recent = history.recent()
    rows = recent.rows()
    requests, errors = recent.total("request.count", rows), recent.total("request.error.count", rows)
    parts = [f"{requests / MINUTE:.1f} requests/s", f"{100 * errors / requests if requests else 0:.1f} % errors"]
    slow = [(sketch.quantile(0.99), row) for row in rows if (sketch := recent.latency(row)) is not None]
    if slow:
        p99, row = max(slow)
        parts.append(f"slowest {row.model or row.endpoint} p99 {seconds_text(p99)}")
    # Sources that tell the same share the words.
    told: dict[str, list[str]] = {}
    for source, gpus in groupby(gpu_rows(history.whole), lambda gpu: gpu.source):
        told.setdefault(", ".join(_temperature(recent, gpu) for gpu in gpus), []).append(source)
    parts += [f"{text} ({' and '.join(sources)})" for text, sources in told.items()]
    return f"{world.time:%H:%M} " + ", ".join(parts)


def gpu_text(history: History, gpu: GpuRow) -> str:
    """Return the state of one GPU in words: what was told last, and the XID errors of the whole run."""
    recent = history.recent()
    texts = [
        text.format(value * factor)
        for name, factor, text in (
            ("gpu.utilization", 1, "{:.0f} % busy"),
            ("gpu.memory.utilization", 1, "{:.0f} % of the memory used"),
            ("gpu.temperature", 1, "{:.0f} C"),
            ("gpu.power.usage", 1, "{:.0f} W"),
            ("gpu.clock.sm", 1 / MEGA, "{:.0f} MHz"),
        )
        if (value := recent.gpu_gauges.get((gpu, name))) is not None
    ]
    xids = xid_text(history.whole, gpu)
    texts += [f"XID {xids}"] if xids != NOTHING else []
    return f"GPU {gpu.gpu} {', '.join(texts) or 'silent'}"


def _temperature(recent: Signals, gpu: GpuRow) -> str:
    temperature = recent.gpu_gauges.get((gpu, "gpu.temperature"))
    return f"GPU {gpu.gpu} {'silent' if temperature is None else f'{temperature:.0f} C'}"


def agreement(comparisons: Sequence[NumberComparison], latencies: Sequence[LatencyComparison]) -> Iterator[str]:
    """Yield the final comparison, as lines of a table."""
    yield "What was simulated, and what arrived in Datadog's types:"
    shown = [
        (item.system, item.endpoint, item.what, f"{item.simulated:,.0f}", f"{item.arrived:,.0f}", item.agrees)
        for item in comparisons
    ]
    wide = [max(len(str(row[place])) for row in shown) for place in range(5)]
    for system, endpoint, what, simulated, arrived, agrees in shown:
        yield (
            f"  {system:<{wide[0]}}  {endpoint:<{wide[1]}}  {what:<{wide[2]}}  {simulated:>{wide[3]}}  "
            f"{arrived:>{wide[4]}}  {'agrees' if agrees else 'DIFFERS'}"
        )
    yield "Latency p50 and p99, exact and from the distribution (a bucket's width apart at most):"
    for item in latencies:
        exact, sent = ("  ".join(f"{seconds_text(value):>7}" for value in values) for values in item[2:])
        yield f"  {item.system:<{wide[0]}}  {item.endpoint:<{wide[1]}}  {exact}   {sent}"


def _graded(value: float | None, text: str, limits: tuple[float, float] | None) -> Text:
    if value is None:
        return Text(NOTHING)
    style = ""
    if limits is not None and value >= limits[0]:
        style = "yellow" if value < limits[1] else "bold red"
    return Text(text.format(value), style=style)
