"""The scraper of one source: the stock V2 scraper's interface and options, with the catalog behind it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_fd_to_metric_families as parse_openmetrics
from prometheus_client.samples import Sample

from datadog_checks.base.agent import datadog_agent
from datadog_checks.base.checks.openmetrics.v2.transform import MetricTransformer
from datadog_checks.base.constants import ServiceCheck

from ..catalog.model import CanonicalMetric, Labels, RawMetric, Target
from ..catalog.recognise import Recogniser
from ..errors import PayloadError, ScrapeError
from ..http.address import server
from ..http.body import excerpt
from ..settings import ScrapeSettings
from ..submit.persisted import Memory
from ..submit.sender import UserMetrics
from ..submit.submitter import Submitter
from .collector import MAX_NAMES, Collector
from .endpoint import Endpoint, NothingExported, NothingYet, Requester
from .exposition import syntax
from .exposition.reader import LabelLimits, OpenMetricsReader, Reader, TextReader
from .report import Report
from .tags import TagRules, federated_job
from .versions import VersionWatch

WINDOW_TYPES = frozenset(("native", "native_dynamic", "histogram"))
NO_LABELS = Labels()
SampleData = tuple[Any, list[str], str]
"""A sample as the stock transformers take it: with its tags, and the host name that a label gives, if any."""


class ServingScraper(Endpoint):
    """Scrapes one endpoint and submits what the catalog knows of it, plus what the user names.

    `explain` turns a refused answer into advice, or returns None. `prefix` is what the memory
    tells this endpoint from others by. `excluded` are the families that an option has left out.
    """

    def __init__(
        self,
        check: Any,
        settings: ScrapeSettings,
        explain: Callable[[Any], str | None] | None = None,
        *,
        memory: Memory,
        prefix: str = "",
        access: Requester | None = None,
    ) -> None:
        super().__init__(check, settings, explain, access)
        self.user_metrics = UserMetrics(check)
        # That of the stock scraper calls the check's own methods.
        self.metric_transformer: Any = MetricTransformer(self.user_metrics, self.config)
        self.own_namespace = settings.namespace
        rules = TagRules(
            static=tuple(self.tags),
            rename=self.rename_labels,
            exclude=frozenset(self.exclude_labels),
            include=frozenset(self.include_labels),
            keep=settings.keep_labels,
            endpoint_name=settings.endpoint_name,
            default_endpoint_name=server(self.endpoint),
        )
        self.recogniser = Recogniser(settings.catalog, settings.systems, settings.own_systems)
        self.collector = Collector(self.recogniser, rules, settings.stale_after, settings.sample_limit)
        self.submitter = Submitter(
            check,
            settings.catalog,
            memory,
            prefix=prefix,
            distributions=self.metric_transformer.histogram_buckets_as_distributions,
            separate=settings.separate_buckets,
            totals=settings.totals,
            buckets=settings.buckets,
        )
        self.label_limits = LabelLimits(settings.label_limit, settings.label_value_length_limit)
        self._user_names = {
            name: entry
            for name, entry in MetricTransformer.normalize_metric_config(self.config).items()
            if name == re.escape(name)
        }
        self._user_windows: dict[str, RawMetric] = {}
        self.versions = VersionWatch(check.versions, self.collector, settings.tags)
        self.report = Report(check, self.url, self.collector, settings, self.is_named)
        self.none_exported = False
        self.excluded: set[str] = set()
        self._excludes = bool(self.exclude_metrics) or self.exclude_metrics_pattern is not None
        # What looks at every sample, or at other families, needs them all parsed.
        self.caches_lines = not (self.label_aggregator.configured or self.enable_telemetry)

    def scrape(self) -> None:
        """One scrape: fetch, map, submit, and report on it.

        Raises ScrapeError with a message for the user; the health service check says the same, and says
        it also where `ignore_connection_errors` makes it no failure of the check.
        """
        started = time.monotonic()
        self.none_exported = False
        self.tags = tuple(self.report.own_tags())
        self.user_metrics.begin()
        self.collector.begin()
        try:
            super().scrape()
            self.collector.finish()
        except NothingYet as nothing:
            self.report.once("nothing yet", str(nothing), warning=False)
        except NothingExported:
            self.none_exported = True
        except Exception as error:
            problem = self.problem(error)
            self.collector.give_up()
            self.submit_health_check(ServiceCheck.CRITICAL, message=problem)
            self.report.rejected()
            self.report.took(time.monotonic() - started)
            raise ScrapeError(problem) from None
        if self.unreachable:
            self.submit_health_check(ServiceCheck.CRITICAL, message=self.unreachable)
            self.report.took(time.monotonic() - started)
            return
        if not self.none_exported:
            self.report.systems()
        agent_start = datadog_agent.get_process_start_time() if self.use_process_start_time else None
        self.submitter.submit(self.collector, agent_start)
        self.report.processes(self.submitter.processes.in_turn(), self.submitter.suspected)
        self.versions.look()
        self.submit_health_check(ServiceCheck.OK)
        self.report.rejected()
        if self.enable_telemetry:
            self.count("telemetry.metrics.processed.count", self.collector.taken, tags=self.tags)
        self.report.telemetry(time.monotonic() - started, self.submitter.sender.sent() + self.user_metrics.sent())
        self.collector.sweep()

    def consume_metrics(self, runtime_data: dict[str, Any]) -> Iterator[Metric]:
        yield from map(self._collect, super().consume_metrics(runtime_data))

    def consume_metrics_w_target_info(self, runtime_data: dict[str, Any]) -> Iterator[Metric]:
        yield from map(self._collect, super().consume_metrics_w_target_info(runtime_data))

    def _collect(self, metric: Metric) -> Metric:
        if self._excludes:
            # A piece of a histogram is excluded by the name of the whole.
            match = self.recogniser.match(metric.name, metric.type)
            if match is not None and any(self._excluded(name) for name in match.raw.names):
                self._leave_out(metric.name)
                return metric
        try:
            self.collector.add(metric, self._labelled)
        except Exception:
            self.collector.failed(metric.name, len(metric.samples), undo=True)
        return metric

    def _leave_out(self, family: str) -> None:
        """Take note of a family that `exclude_metrics` leaves out."""
        if len(self.excluded) < MAX_NAMES:
            self.excluded.add(family)

    def is_named(self, family: str) -> bool:
        """Whether `metrics` or `extra_metrics` name a family, or match its name."""
        transformer = self.metric_transformer
        return family in transformer.transformer_data or any(
            pattern.search(family) for pattern, _ in transformer.metric_patterns
        )

    def _excluded(self, name: str) -> bool:
        pattern = self.exclude_metrics_pattern
        return name in self.exclude_metrics or (pattern is not None and pattern.search(name) is not None)

    def submit_health_check(self, status: Any, **options: Any) -> None:
        """As the stock scraper, with the tags of everything else: without them two endpoints could be one."""
        if self.enable_health_service_check:
            self.service_check(self.SERVICE_CHECK_HEALTH, status, tags=self.report.own_tags(), **options)

    def _scrape(self) -> None:
        """As the stock scraper, but metrics that the user named keep the user's namespace.

        They wait for the end of the payload, which tells the system that they are of.
        """
        runtime_data = {"flush_first_value": bool(self.flush_first_value), "static_tags": self.static_tags}
        named: list[tuple[Callable[..., None], Metric, list[SampleData]]] = []
        for metric in self.yield_metrics(runtime_data):
            try:
                if self._as_window(metric):
                    continue
                transformer = self.metric_transformer.get(metric)
                if transformer is not None:
                    self.collector.cache.forgo()
                    metric.samples = [sample for sample in metric.samples if not _creation_time(metric, sample.name)]
                    if self.parse_metric_families is parse_openmetrics:
                        _leave_repetitions_out(metric)
                    # Shared labels hold as long as the payload is read.
                    named.append((transformer, metric, list(self.generate_sample_data(metric))))
            except Exception:
                self.collector.failed(metric.name, len(metric.samples))
        with self.check.adopt_namespace(self.own_namespace):
            for transformer, metric, samples in named:
                try:
                    transformer(metric, self._tagged(metric.name, samples), runtime_data)
                except Exception:
                    self.collector.failed(metric.name, len(metric.samples))

    def _tagged(self, family: str, samples: list[SampleData]) -> Iterator[SampleData]:
        """Samples for a stock transformer, with the tags that everything has, and one value for each key."""
        system, rules = self.report.system(family), self.collector.rules
        for sample, tags, hostname in samples:
            own = tags[: len(tags) - len(self.tags)]
            job = federated_job(rules.workload(NO_LABELS, sample.labels))
            yield sample, rules.complete(own, system, job), hostname

    def _as_window(self, metric: Metric) -> bool:
        """Whether a histogram that the user named holds one minute, and is taken as such under the user's name.

        The stock transformer would read differences into it.
        """
        entry = self._user_names.get(metric.name)
        if entry is None or entry["type"] not in WINDOW_TYPES:
            return False
        match = self.recogniser.match(metric.name, metric.type)
        if match is None or match.raw.type != "window_histogram" or match.part:
            return False
        raw = self._user_windows.get(metric.name)
        if raw is None:
            name, namespace = str(entry["name"]), self.own_namespace
            target = CanonicalMetric(name, "distribution", "", "", "", None, None, "last", 0, "", namespace)
            raw = RawMetric(match.raw.system, match.raw.names, match.raw.type, 1.0, (Target(target),))
            self._user_windows[metric.name] = raw
        self.collector.cache.forgo()
        self.collector.take(raw, metric, self._labelled(metric))
        return True

    def _labelled(self, metric: Metric) -> Iterator[tuple[int, Any, Mapping[str, str], str]]:
        """Samples with labels of their own, as far as `exclude_metrics_by_labels` and `share_labels` have it."""
        populate = self.label_aggregator.populate
        for number, sample in enumerate(metric.samples):
            labels = dict(sample.labels)
            if self.label_aggregator.configured:
                populate(labels)
            if self.exclude_metrics_by_labels and any(
                excluded(labels[label]) for label, excluded in self.exclude_metrics_by_labels.items() if label in labels
            ):
                continue
            hostname = ""
            if self.hostname_label and self.hostname_label in labels:
                hostname = labels[self.hostname_label]
                if self.hostname_formatter is not None:
                    hostname = self.hostname_formatter(hostname)
            yield number, sample, labels, hostname

    def parse_metrics(self) -> Iterator[Metric]:
        chunks = self.stream_connection_chunks()
        if self.raw_line_filter is not None:
            chunks = (list(self.filter_connection_lines(lines)) for lines in chunks)
        lines = next((lines for lines in chunks if lines), None)
        if lines is None:
            if self.unreachable:
                return
            raise PayloadError("the answer is empty: check that the path of the URL is the metrics path")
        strict = self.parse_metric_families is parse_openmetrics
        late_start = self.flush_first_value is None and self.use_process_start_time
        self.collector.cache.enabled = self.caches_lines and not late_start
        kind: type[Reader] = OpenMetricsReader if strict else TextReader
        reader = kind(self.collector, self.malformed, self.whole, self.label_limits)
        for metric in reader.families(chain([lines], chunks)):
            self.submit_telemetry_number_of_total_metric_samples(metric)
            if self.raw_metric_prefix and metric.name.startswith(self.raw_metric_prefix):
                metric.name = metric.name[len(self.raw_metric_prefix) :]
                metric.samples = [
                    sample._replace(name=sample.name.removeprefix(self.raw_metric_prefix)) for sample in metric.samples
                ]
            if self._excludes and self._excluded(metric.name):
                self._leave_out(metric.name)
            yield metric

    def malformed(self, line: str, cut: bool) -> None:
        """Reject the line, and doubt what it may have told."""
        name = syntax.beginning(line).removeprefix(self.raw_metric_prefix)
        known = self.recogniser.candidates(name) if name else ()
        for match in known:
            self.collector.doubt(match.raw)
        if cut:
            self.collector.doubt(None)
        if syntax.composite(line):
            self.collector.reject("unsupported", name if known else "unknown")
            return
        self.collector.reject("malformed", name if known else "unknown")
        self.report.once(f"malformed {name if known else ''}", f"left out a malformed line: {excerpt(line)}")


def _leave_repetitions_out(metric: Metric) -> None:
    """A series that comes twice at the same time is the same sample in OpenMetrics."""
    samples: dict[object, Sample] = {}
    for sample in metric.samples:
        samples.setdefault((sample.name, frozenset(sample.labels.items()), sample.timestamp), sample)
    metric.samples = list(samples.values())


def _creation_time(metric: Metric, sample_name: str) -> bool:
    """Stock submits `_created` of a counter, an epoch time, into the very count it belongs to."""
    return metric.type != "gauge" and sample_name == f"{metric.name}_created"
