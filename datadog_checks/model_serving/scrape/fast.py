"""A scraper that remembers what each line of a payload comes to, behind the stock scraper's interface.

It submits exactly what the stock scraper submits, for any payload and every option: what the two do
differently is only how often they read a label. Lines that came before, with other numbers, are replayed;
everything else takes the stock path, family by family.
"""

from __future__ import annotations

import codecs
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from math import isfinite
from typing import Any

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_fd_to_metric_families as parse_openmetrics
from requests.exceptions import ConnectionError as HTTPConnectionError

from datadog_checks.base.checks.openmetrics.v2.scraper import OpenMetricsScraper

from .blocks import Window
from .errors import PayloadError
from .known import Known, learn
from .renew import renew
from .replay import Replay
from .shape import Seen
from .strict import names

CHUNK = 1 << 16
KEEP = 3
"""Scrapes for which a block that doesn't come any more is remembered."""

OVERRIDABLE = (
    "yield_metrics",
    "consume_metrics",
    "consume_metrics_w_target_info",
    "parse_metrics",
    "parse_metric_families",
    "generate_sample_data",
    "stream_connection_lines",
    "filter_connection_lines",
)


class FastScraper(OpenMetricsScraper):  # type: ignore[misc]
    """Stands in for `OpenMetricsScraper(check, config)` in any OpenMetricsBaseCheckV2.

    Options that need more than one family at a time (`share_labels`, `target_info`) or count while they
    read (`telemetry`) take the stock path as a whole; so does a check that overrides how metrics are submitted,
    and a subclass that overrides how a payload is read. One thing is not repeated: where a line end of two
    characters falls between two reads the stock scraper sees a blank line, which OpenMetrics forbids.

    `max_payload_bytes` in the configuration limits the size of an answer; PayloadError is raised beyond it.
    """

    def __init__(self, check: Any, config: Mapping[str, Any]) -> None:
        super().__init__(check, config)
        self.max_payload_bytes: int | None = config.get("max_payload_bytes")
        self.replay = Replay(self, config)
        self._blocks: dict[str, Known | Seen] = {}
        self._names: set[str] = set()
        self._scrapes = 0
        self._strict = False
        self._environment: tuple[Any, ...] = ()
        stock = all(getattr(type(self), name) is getattr(OpenMetricsScraper, name) for name in OVERRIDABLE)
        self._own_reading = self.label_aggregator.configured or self.enable_telemetry or not stock

    def _scrape(self) -> None:
        # On the first scrape the start of the process decides, and may come last.
        late_start = self.flush_first_value is None and self.use_process_start_time
        instance = vars(self)
        own_reading = self._own_reading or any(name in instance for name in OVERRIDABLE)
        if own_reading or late_start or not self.replay.direct():
            runtime_data = {"flush_first_value": bool(self.flush_first_value), "static_tags": self.static_tags}
            self._transform(self.yield_metrics(runtime_data), runtime_data)
            return
        self._begin()
        with closing(self._chunks()) as chunks:
            self._payload(Window(chunks), bool(self.flush_first_value))
        self._blocks = {key: block for key, block in self._blocks.items() if block.seen > self._scrapes - KEEP}
        self.replay.recorder.forget()

    def _begin(self) -> None:
        self._scrapes += 1
        self._names.clear()
        self.replay.recorder.forget()
        check = self.check
        environment = (
            self.tags,
            check.__NAMESPACE__,
            check.name,
            check.disable_generic_tags,
            len(self.metric_transformer.metric_patterns),
        )
        if environment != self._environment:
            self._environment = environment
            self._blocks.clear()

    def _payload(self, window: Window, flush: bool) -> None:
        if not window.fill():
            if window.error is not None:
                raise window.error
            return
        window.strict = self.parse_metric_families is parse_openmetrics
        if window.strict != self._strict:
            self._strict = window.strict
            self._blocks.clear()
        times: dict[str, int] = {}
        while window.fill():
            key = window.lines[window.at]
            block = self._blocks.get(key)
            if block is not None and block.seen == self._scrapes:
                times[key] = times.get(key, 0) + 1
                key = f"{key}\n{times[key]}"
                block = self._blocks.get(key)
            if isinstance(block, Known):
                same, values = block.read(window)
                if same:
                    block.seen, block.failures, block.replayed = self._scrapes, 0, True
                    if not self._replay(block, values, flush):
                        self._stock(window.lines[window.at : window.at + block.length], flush, last=block.over)
                    window.at += block.length
                    continue
            lines, declared, last = window.take()
            if last and window.error is not None:
                self._stock(_broken_off(lines, window.error), flush, last=True)
                raise window.error
            learned = self._recall(key, block, lines, window.strict, last)
            if learned is not None:
                known, texts = learned
                known.declared, known.seen = declared, self._scrapes
                self._blocks[key] = known
                if self._replay(known, known.values(texts), flush):
                    continue
            self._stock(lines, flush, last)

    def _recall(
        self, key: str, block: Known | Seen | None, lines: list[str], strict: bool, last: bool
    ) -> tuple[Known, list[str]] | None:
        """What is known of lines that aren't just as they were, and the texts of their values."""
        now = self._scrapes
        learned = None
        if isinstance(block, Known):
            learned = renew(self, block, lines, last)
            if learned is not None:
                return learned
            block = block.given_up(now)
        if block is None:
            block = Seen()
        elif block.not_before <= now and block.again_in(lines):
            learned = learn(self, lines, strict, last)
            if learned is not None:
                learned[0].failures = block.failures
                return learned
            block.failed(now)
        block.look(lines)
        block.seen = now
        self._blocks[key] = block
        return None

    def _replay(self, block: Known, values: list[float] | None, flush: bool) -> bool:
        """Submit what a known block comes to. False where only the stock code can."""
        if values is None or any(self.replay.entry(name) is not entry for name, entry in block.entries):
            return False
        finite = isfinite(sum(values))
        if not finite:
            finite = all(map(isfinite, values))
        if not block.fits(values, finite) or not self._names.isdisjoint(block.names):
            return False
        self._names |= block.names
        self.replay.submit(block.program, values, finite, flush)
        return True

    def _stock(self, lines: Iterable[str], flush: bool, last: bool) -> None:
        runtime_data = {"flush_first_value": flush, "static_tags": self.static_tags}
        self._transform(self.wanted(self.families(lines, last)), runtime_data)

    def _transform(self, metrics: Iterable[Metric], runtime_data: dict[str, Any]) -> None:
        for metric in metrics:
            transformer = self.metric_transformer.get(metric)
            if transformer is not None:
                self.replay.met(metric)
                transformer(metric, self.generate_sample_data(metric), runtime_data)

    def families(self, lines: Iterable[str], last: bool, recording: bool = False) -> Iterator[Metric]:
        """The families of a block, as the parser gives them. They keep their prefix while `recording`."""
        prefix = self.raw_metric_prefix
        strict = self.parse_metric_families is parse_openmetrics
        for metric in self.parse_metric_families(iter(lines) if last or not strict else iter((*lines, "# EOF"))):
            if not recording:
                if strict:
                    taken = names(metric)
                    if not self._names.isdisjoint(taken):
                        raise ValueError(f"Clashing name: {metric.name}")
                    self._names |= taken
                if prefix and metric.name.startswith(prefix):
                    metric.name = metric.name[len(prefix) :]
            yield metric

    def wanted(self, metrics: Iterable[Metric]) -> Iterator[Metric]:
        """Those that aren't excluded by name."""
        excluded, pattern = self.exclude_metrics, self.exclude_metrics_pattern
        for metric in metrics:
            if metric.name not in excluded and (pattern is None or not pattern.search(metric.name)):
                yield metric

    def _chunks(self) -> Generator[list[str], None, None]:
        """The lines of the answer, many at a time, as `stream_connection_lines` would give them one by one."""
        limit, received = self.max_payload_bytes, 0
        try:
            with self.get_connection() as connection:
                self._content_type = connection.headers.get("Content-Type", "")
                decoder = codecs.getincrementaldecoder(connection.encoding or "utf-8")(errors="replace")
                pending = ""
                for data in connection.iter_content(CHUNK):
                    received += len(data)
                    if limit is not None and received > limit:
                        raise PayloadError(
                            f"the payload is larger than `max_payload_bytes` ({limit}): raise the option, or have the "
                            "endpoint expose less"
                        )
                    text = pending + decoder.decode(data)
                    lines = text.splitlines()
                    # What doesn't end with a line end isn't complete yet.
                    pending = lines.pop() if lines and lines[-1][-1:] == text[-1] else ""
                    yield self._filtered(lines)
                rest = (pending + decoder.decode(b"", final=True)).splitlines()
                if rest:
                    yield self._filtered(rest)
        except HTTPConnectionError:
            if not self.ignore_connection_errors:
                raise
            self.log.warning("OpenMetrics endpoint %s is not accessible", self.endpoint)

    def _filtered(self, lines: list[str]) -> list[str]:
        pattern = self.raw_line_filter
        return lines if pattern is None else [line for line in lines if not pattern.search(line)]


def _broken_off(lines: list[str], error: Exception) -> Iterator[str]:
    """The lines that came before a stream failed, then its error."""
    yield from lines
    raise error
