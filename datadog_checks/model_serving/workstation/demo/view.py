"""Showing the golden signals: a live table for a terminal, lines for everything else."""

from __future__ import annotations

import re
import textwrap
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from rich import box
from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from ...catalog.codes import builtin_codes
from ..standin.recorder import Event, ServiceCheck, ServiceStatus
from ..standin.runner import Round
from .observe import LATENCIES, GpuRow, History, Row, Signals, tag_values
from .report import (
    FIRST_TOKEN,
    FIRST_TOKEN_SHARE,
    LatencyComparison,
    NumberComparison,
    first_token,
    front,
    seconds_text,
)
from .scenario import MINUTE
from .world import World

# Lines of news that take precedence over models, and over GPUs beyond the first.
NEWS_LINES = 8
# Entries that the feed keeps: more than a screen has lines.
FEED_KEPT = 100
# Lines besides the head, the rows of both tables and the news: two headings with a line below, a blank, a rule.
FRAME_LINES = 6
# Those of the table of language models besides its rows: a blank, a heading with a line below.
LLM_LINES = 3
# Blanks between two columns.
GAP = 2
# Columns from which on there is room for saturation and for the processes of GPUs.
WIDE = 100
MEGA = 1e6
# From here on a number is shown in yellow, then in red.
ERROR_PERCENT = (2.0, 10.0)
TEMPERATURE = (80.0, 87.0)
UTILIZATION = (70.0, 90.0)
NOTHING = "-"
# What the check's logger puts before a message: the id of the check, and the place in its code.
LOGGER = re.compile(r"^\S+ \| \(\S+\) \| ")


class Feed:
    """The latest things worth telling: what the simulator does, and events, service checks and log lines."""

    def __init__(self) -> None:
        self.latest: deque[str] = deque(maxlen=FEED_KEPT)
        self._status: dict[tuple[str, tuple[str, ...]], ServiceStatus] = {}

    def add(self, world: World, begun: Iterable[str], done: Round, objectives: Iterable[str] = ()) -> list[str]:
        """Take one round, and return its lines."""
        clock = f"{world.time:%H:%M}"
        lines = [f"{clock} simulator: {title}" for title in begun]
        lines += [f"{clock} SLO: {text}" for text in objectives]
        lines += [f"{clock} event{text}" for text in _event_texts(done.events)]
        lines += [f"{clock} service check: {text}" for text in self._changes(done.service_checks)]
        for run in done.runs:
            lines += [f"{clock} failed: {run.label}: {run.error}"] if run.error else []
            lines += [f"{clock} warning: {run.label}: {text}" for text in run.warnings]
        lines += [f"{clock} log: {LOGGER.sub('', entry.message)}" for entry in done.logs]
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


def _event_texts(events: Iterable[Event]) -> Iterator[str]:
    """Yield each title once, with the systems that tell it and, for an XID error, what it means."""
    told: dict[str, list[str]] = {}
    for event in events:
        tags = tag_values(event.fields.get("tags", ()))
        source, code = tags.get("serving_system"), tags.get("xid", "")
        meaning = f": {builtin_codes('xid').fields(int(code))['meaning']}" if code.isdecimal() else ""
        sources = told.setdefault(f"{event.fields.get('msg_title', '')}{meaning}", [])
        sources += [source] if source else []
    for title, sources in told.items():
        tellers = f" from {' and '.join(sources)}" if sources else ""
        yield f"{tellers}: {title}"


def live(world: World, history: History, feed: Feed, width: int, height: int) -> RenderableType:
    """Return everything that a terminal of that many columns and lines shows.

    From 80 by 24 on it fits, with every word whole. On a low terminal the models give way to the news, then the table
    of language models, then the GPUs beyond the first.
    """
    recent = history.recent()
    phases = ", ".join(phase.title.partition(":")[0] for phase in world.phases()) or "a quiet day"
    clock = f"{world.time:%H:%M} UTC (simulated)"
    head = wrapped([f"{clock}  {phases}"], width)
    rows, gpus, llms = list(_rows(recent)), _gpu_cells(recent, history.whole), _llm_cells(world, recent)
    room = height - FRAME_LINES - len(head) - NEWS_LINES
    taken = len(llms) + LLM_LINES if llms else 0
    if len(rows) + len(gpus) + taken > room:
        rows = [row for row in rows if not row.model]
    if len(rows) + len(gpus) + taken > room:
        llms, taken = [], 0
    shown = gpus
    if len(rows) + len(gpus) > max(room, len(rows) + 2):
        shown = gpus[: max(1, room - len(rows) - 1)]
    more = [Text(f"and {len(gpus) - len(shown)} more GPUs, on a higher terminal")] if len(shown) < len(gpus) else []
    between: list[RenderableType] = ["", _llm_table(llms)] if llms else []
    return Group(
        _styled("\n".join(head), {"bold": [clock]}),
        _model_table(recent, rows, width),
        *between,
        "",
        _gpu_table(shown, width),
        *more,
        Rule("what the check reported", style=""),
        _news(feed, width, NEWS_LINES + room - len(rows) - taken - len(shown) - len(more)),
    )


def wrapped(lines: Iterable[str], width: int) -> list[str]:
    """Fold lines between words. What goes on is set in by two more than its first line."""
    fold = textwrap.TextWrapper(width, break_long_words=False, break_on_hyphens=False)
    folded: list[str] = []
    for line in lines:
        fold.subsequent_indent = " " * (len(line) - len(line.lstrip()) + 2)
        folded += fold.wrap(line) or [""]
    return folded


def _news(feed: Feed, width: int, lines: int) -> Text:
    """Return the latest entries of the feed that fit as a whole, and of one that is longer the beginning."""
    shown: list[str] = []
    for entry in reversed(feed.latest):
        entry_lines = wrapped([entry], width)
        if shown and len(shown) + len(entry_lines) > lines:
            break
        shown = entry_lines + shown
    marked = {"bold red": ["CRITICAL", "failed:", "broken"], "bold": ["event", "service check:", "SLO:"]}
    return _styled("\n".join(shown[:lines]), marked)


def _styled(text: str, words: Mapping[str, Sequence[str]]) -> Text:
    shown = Text(text, no_wrap=True)
    for style, marked in words.items():
        shown.highlight_words(marked, style)
    return shown


def _rows(recent: Signals) -> Iterator[Row]:
    """Yield a row for each endpoint and, where it has several models, one for each of them."""
    rows = recent.rows()
    for system, endpoint in dict.fromkeys(row[:2] for row in rows):
        models = [row for row in rows if row[:2] == (system, endpoint) and row.model]
        yield Row(system, endpoint, "")
        yield from models if len(models) > 1 else ()


def _table(cells: Sequence[Sequence[Text]], *columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0))
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for line in cells:
        table.add_row(*line)
    return table


def _model_table(recent: Signals, rows: Sequence[Row], width: int) -> Table:
    columns = ["last simulated minute", "requests/s", "errors", "p50", "p99"]
    cells = [
        [Text(f"  {row.model}") if row.model else Text(f"{row.system} {row.endpoint}", "bold"), *_numbers(recent, row)]
        for row in rows
    ]
    if width >= WIDE:
        taken = sum(GAP + max(map(len, column)) for column in zip(columns, *cells, strict=True))
        columns.append("saturation and quality")
        for row, line in zip(rows, cells, strict=True):
            line.append(Text(_fitting(saturation(recent, row), width - taken)))
    table = _table(cells, *columns)
    table.columns[0].justify = table.columns[len(columns) - 1 if width >= WIDE else 0].justify = "left"
    return table


def _fitting(parts: Iterable[str], width: int) -> str:
    """Join the first parts that fit as a whole."""
    text = ""
    for part in parts:
        longer = f"{text}, {part}" if text else part
        if len(longer) > width:
            break
        text = longer
    return text


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


def _llm_cells(world: World, recent: Signals) -> list[list[Text]]:
    """Return the lines of the table of language models: of the gateway, and of the engine behind it."""
    if world.llm is None:
        return []
    service = world.llm.service
    lines = []
    for system, endpoint, counts in (
        ("litellm", service.gateway.endpoint, ("", "litellm.fallback.count")),
        ("vllm", service.endpoint, ("request.preempted.count", "")),
    ):
        row = Row(system, endpoint, "")
        tokens = recent.of_endpoint("token.generation.count", system, endpoint) / MINUTE
        sketch = recent.sketch(row, FIRST_TOKEN)
        first = None if sketch is None else sketch.quantile(FIRST_TOKEN_SHARE)
        limits = (service.first_token_limit / 2, service.first_token_limit)
        scope = recent.scope(row)
        told = {name: value for (at, name), value in recent.gauges.items() if at in scope}
        waiting = told.get("request.queue.size")
        cells = [
            Text(f"{system} {endpoint}"),
            Text(f"{tokens:,.0f}"),
            _graded(first, "{:.3g} s", limits),
            _graded(told.get("kv_cache.utilization"), "{:.0f} %", UTILIZATION),
            Text(NOTHING if waiting is None else f"{waiting:.0f}"),
        ]
        cells += [Text(f"{recent.of_endpoint(name, system, endpoint):.0f}" if name else NOTHING) for name in counts]
        lines.append(cells)
    return lines


def _llm_table(cells: Sequence[Sequence[Text]]) -> Table:
    columns = ("language model", "tokens/s", "TTFT p95", "KV cache", "waiting", "preempted", "fallbacks")
    table = _table(cells, *columns)
    table.columns[0].justify = "left"
    return table


def _gpu_cells(recent: Signals, whole: Signals) -> list[list[Text]]:
    """Return the lines of the table of GPUs; sources that tell the same of a GPU share one."""
    lines: list[list[Text]] = []
    for gpu in sorted(gpu_rows(whole), key=lambda row: row.gpu):
        cells = list(_gpu_numbers(recent, whole, gpu))
        for line in lines:
            if line[1].plain == gpu.gpu and all(map(_agree, line[2:], cells)):
                line[0].append(f", {gpu.source}")
                line[2:] = [new if old.plain == NOTHING else old for old, new in zip(line[2:], cells, strict=True)]
                break
        else:
            lines.append([Text(gpu.source), Text(gpu.gpu), *cells])
    return sorted(lines, key=lambda line: (line[0].plain, line[1].plain))


def _agree(one: Text, other: Text) -> bool:
    return one.plain == other.plain or NOTHING in (one.plain, other.plain)


def _gpu_numbers(recent: Signals, whole: Signals, gpu: GpuRow) -> Iterator[Text]:
    for name, factor, text, limits in (
        ("gpu.utilization", 1, "{:.0f} %", UTILIZATION),
        ("gpu.memory.utilization", 1, "{:.0f} %", UTILIZATION),
        ("gpu.temperature", 1, "{:.0f} C", TEMPERATURE),
        ("gpu.power.usage", 1, "{:.0f} W", None),
        ("gpu.clock.sm", 1 / MEGA, "{:.0f} MHz", None),
        ("gpu.process.running", 1, "{:.0f}", None),
    ):
        value = recent.gpu_gauges.get((gpu, name))
        yield _graded(None if value is None else value * factor, text, limits)
    xids = xid_text(whole, gpu)
    yield Text(xids, "" if xids == NOTHING else "bold red")


def _gpu_table(cells: Sequence[Sequence[Text]], width: int) -> Table:
    columns = ["source", "GPU", "utilization", "memory", "temp.", "power", "SM clock", "processes", "XID so far"]
    if width < WIDE:
        left_out = columns.index("processes")
        del columns[left_out]
        cells = [[*line[:left_out], *line[left_out + 1 :]] for line in cells]
    table = _table(cells, *columns)
    table.columns[0].justify = "left"
    return table


def saturation(recent: Signals, row: Row) -> Iterator[str]:
    """Yield how full a row is and how well its models predict, as far as its system tells, most telling first."""
    if (depth := recent.mean(row, "request.queue.depth")) is not None:
        yield f"queue {depth:.1f}"
    if (wait := recent.mean(row, "request.queue.time")) is not None:
        yield f"wait {seconds_text(wait)}"
    models = [other for other in recent.scope(row) if other.model and not row.model]
    # A row without a model also speaks for an only one.
    rows = [row, *models] if len(models) == 1 else [row]
    for name, text in (
        ("request.in_flight", "{:.0f} in flight"),
        ("cpu.utilization", "CPU {:.0f} %"),
        ("gpu.utilization", "GPU {:.0f} %"),
        ("memory.utilization", "memory {:.0f} %"),
        ("concurrency.provisioned", "capacity {:.0f}"),
        ("model.accuracy", "accuracy {:.1f} %"),
        ("model.feature_drift", "drift {:.2f}"),
        ("cache.hit_ratio", "cache {:.0f} %"),
    ):
        yield from (text.format(recent.gauges[other, name]) for other in rows if (other, name) in recent.gauges)


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
    called = front(world, rows)
    requests, errors = recent.total("request.count", called), recent.total("request.error.count", called)
    parts = [f"{requests / MINUTE:.1f} requests/s", f"{100 * errors / requests if requests else 0:.1f} % errors"]
    # What a language model takes is the length of its answers.
    others = [row for row in called if world.llm is None or row.model != world.llm.service.model.name]
    slow = [(sketch.quantile(0.99), row) for row in others if (sketch := recent.latency(row)) is not None]
    if slow:
        p99, row = max(slow)
        parts.append(f"slowest {row.model or row.endpoint} p99 {seconds_text(p99)}")
    if world.llm is not None and (first := first_token(world, recent)) is not None:
        parts.append(f"{world.llm.service.model.name} TTFT p95 {seconds_text(first)}")
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
        (item.system, item.endpoint, item.what, *(_number(value, item.what) for value in item[3:]), item.agrees)
        for item in comparisons
    ]
    wide = [max(len(str(row[place])) for row in shown) for place in range(5)]
    for system, endpoint, what, simulated, arrived, agrees in shown:
        yield (
            f"  {system:<{wide[0]}} {endpoint:<{wide[1]}} {what:<{wide[2]}}  {simulated:>{wide[3]}}  "
            f"{arrived:>{wide[4]}}  {'agrees' if agrees else 'DIFFERS'}"
        )
    yield (
        "Latency p50 and p99 (TTFT is the time to the first token), exact and from the distribution, a bucket's width "
        "apart at most:"
    )
    for item in latencies:
        exact, sent = ("  ".join(f"{seconds_text(value):>7}" for value in values) for values in item[2:])
        yield f"  {item.system:<{wide[0]}} {item.endpoint:<{wide[1]}}  {exact}   {sent}"


def _number(value: float, what: str) -> str:
    return f"{value:,.4f}" if "$" in what else f"{value:,.0f}"


def _graded(value: float | None, text: str, limits: tuple[float, float] | None) -> Text:
    if value is None:
        return Text(NOTHING)
    style = ""
    if limits is not None and value >= limits[0]:
        style = "yellow" if value < limits[1] else "bold red"
    return Text(text.format(value), style=style)
