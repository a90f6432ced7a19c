"""The scraper that remembers lines against the stock one: the same bytes, and every submission the same, in order."""

from __future__ import annotations

import gzip
import io
import logging
import os
import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from datadog_checks.base import AgentCheck, OpenMetricsBaseCheckV2
from datadog_checks.base.checks.openmetrics.v2.scraper import OpenMetricsScraper
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from requests import Response
from requests.exceptions import ChunkedEncodingError, ConnectTimeout
from requests.exceptions import ConnectionError as HTTPConnectionError

from datadog_checks.model_serving.scrape.errors import PayloadError
from datadog_checks.model_serving.scrape.fast import KEEP, FastScraper
from datadog_checks.model_serving.scrape.known import Known

from ..conftest import Endpoint

PAYLOADS = Path(__file__).parents[1] / "fixtures" / "payloads"
TEXT, STRICT = "text/plain; version=0.0.4", "application/openmetrics-text; version=1.0.0"
NOW = 1_700_000_000.0
NEWEST = hasattr(AgentCheck, "multiple_histogram_buckets_unsupported_reason")
EXAMPLES = int(os.environ.get("FAST_EXAMPLES", "150"))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Scrapes that fail, fail by the thousand here."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


class Aggregator:
    """Takes what a check submits, all of it, in order. Only the Agent itself could be the real thing."""

    GAUGE, RATE, COUNT, MONOTONIC_COUNT, COUNTER, HISTOGRAM, HISTORATE = range(7)

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.fails_at = -1

    def take(self, method: str, *args: Any) -> None:
        if len(self.calls) == self.fails_at:
            raise OSError("no more")
        self.calls.append((method, *(tuple(arg) if isinstance(arg, list) else repr(arg) for arg in args)))

    def submit_metric(self, check: Any, *args: Any) -> None:
        self.take("metric", *args)

    def submit_histogram_bucket(self, check: Any, *args: Any) -> None:
        self.take("bucket", *args)

    def submit_histogram_bucket_multi(self, check: Any, *args: Any) -> None:
        self.take("multi", *args)

    def submit_service_check(self, check: Any, *args: Any) -> None:
        self.take("service check", *args)


class Broken(io.BytesIO):
    """A body whose stream fails when `error` comes."""

    def __init__(self, body: bytes, error: Exception | None) -> None:
        super().__init__(body)
        self.error = error

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if not data and self.error is not None:
            raise self.error
        return data


@dataclass(frozen=True)
class Scrape:
    """What an endpoint answers, and what is done to the check before."""

    body: str
    content_type: str = TEXT
    error: Callable[[], Exception] | None = None
    status: int = 200
    dynamic_tags: tuple[str, ...] | None = None
    check_id: str | None = None
    fails_at: int = -1
    custom: str | None = None

    def response(self) -> Response:
        response = Response()
        response.status_code = self.status
        response.headers["Content-Type"] = self.content_type
        response.encoding = None
        response.raw = Broken(self.body.encode(), None if self.error is None else self.error())
        return response


class StockCheck(OpenMetricsBaseCheckV2):
    __NAMESPACE__ = ""
    SCRAPER: type[OpenMetricsScraper] = OpenMetricsScraper

    def create_scraper(self, config: Any) -> OpenMetricsScraper:
        return self.SCRAPER(self, self.get_config_with_defaults(config))


class Fast(StockCheck):
    SCRAPER = FastScraper


class Shouting(StockCheck):
    """A check that changes what it submits."""

    def gauge(self, name: str, value: float, *args: Any, **kwargs: Any) -> None:
        super().gauge(name.upper(), value, *args, **kwargs)

    def submit_histogram_bucket(self, name: str, value: float, *args: Any, **kwargs: Any) -> None:
        super().submit_histogram_bucket(name, value + 1, *args, **kwargs)


class ShoutingFast(Shouting):
    SCRAPER = FastScraper


CHECKS: dict[str, tuple[type[StockCheck], type[StockCheck]]] = {
    "plain": (StockCheck, Fast),
    "shouting": (Shouting, ShoutingFast),
}


@contextmanager
def agent(aggregator: Any, start: float = NOW) -> Iterator[None]:
    """The Agent around a check."""
    base = "datadog_checks.base.checks"
    with (
        patch(f"{base}.base.aggregator", aggregator),
        patch(f"{base}.openmetrics.v2.transformers.time_elapsed.get_timestamp", lambda: NOW),
        patch("datadog_checks.base.stubs.datadog_agent.datadog_agent.get_process_start_time", lambda: start),
    ):
        yield


def make(kind: type[StockCheck], aggregator: Any, options: dict[str, Any]) -> StockCheck:
    """A check that is ready to scrape."""
    instance = {"openmetrics_endpoint": "http://127.0.0.1:1/metrics", "namespace": "n", "metrics": [".+"], **options}
    check = kind("n", {}, [instance])
    check.check_id = "n:1"
    if isinstance(aggregator, Aggregator):
        check.set_metadata = lambda *args, **kwargs: aggregator.take("metadata", *args, kwargs)
    check.run_check_initializations()
    return check


def custom(check: StockCheck) -> Callable[[Any, Any, Any], None]:
    def transformer(metric: Any, sample_data: Any, runtime_data: Any) -> None:
        for sample, tags, hostname in sample_data:
            check.gauge(f"custom.{sample.name}", sample.value * 2, tags=[*tags, str(sample.value)], hostname=hostname)

    return transformer


def outcome(check: StockCheck, aggregator: Aggregator, scrape: Scrape) -> tuple[list[tuple[Any, ...]], Any, Any]:
    """What one scrape submits, the type of the error it ends with, and how many contexts it counted."""
    aggregator.calls, aggregator.fails_at = [], scrape.fails_at
    (scraper,) = check.scrapers.values()
    scraper.send_request = lambda **_: scrape.response()
    if scrape.dynamic_tags is not None:
        check.set_dynamic_tags(*scrape.dynamic_tags)
    if scrape.check_id is not None:
        check.check_id = scrape.check_id
    if scrape.custom is not None:
        scraper.metric_transformer.add_custom_transformer(scrape.custom, custom(check), pattern=True)
    error = None
    try:
        check.check(None)
    except Exception as raised:
        error = type(raised)
    status = check.metric_limiter.get_status() if check.metric_limiter else None
    if check.metric_limiter:
        check.metric_limiter.reset()
    return aggregator.calls, error, status


def compare(options: dict[str, Any], scrapes: Sequence[Scrape], kind: str = "plain", start: float = NOW) -> Fast:
    """Assert that both scrapers submit the same. Returns the check with ours."""
    aggregator = Aggregator()
    stock, fast = CHECKS[kind]
    with agent(aggregator, start):
        theirs, ours = make(stock, aggregator, options), make(fast, aggregator, options)
        for number, scrape in enumerate(scrapes):
            expected = outcome(theirs, aggregator, scrape)
            assert outcome(ours, aggregator, scrape) == expected, f"scrape {number + 1}"
    return ours


def known(check: StockCheck) -> list[Known]:
    """What our scraper can replay."""
    (scraper,) = check.scrapers.values()
    return [block for block in scraper._blocks.values() if isinstance(block, Known)]


# What payloads are made of: a line is a text up to its value, what decides on a sound value, and the text behind it.

Line = tuple[str, str, str]
NAMES = ["a", "b", "a_b", "c_seconds", "d_total", "pre_a", "process_start_time_seconds", "target_info", "n:m"]
TYPES = ["counter", "gauge", "histogram", "summary", "untyped", "unknown", "info", "stateset", "gaugehistogram"]
LABELS = [
    "",
    "{}",
    '{l="1"}',
    '{l="2"}',
    '{l="1",m="x"}',
    '{l="1", m="y"}',
    '{l="1",}',
    '{ l = "3" }',
    r'{l="q\"uo\\te\n"}',
    '{l="ünï 🐈"}',
    '{l="a}b{c",m="d,e=f"}',
    '{l=" # {"}',
    '{host="h1",l="1"}',
    '{env="e"}',
    '{m="x",l="1"}',
    '{l=""}',
]
SOUND_LABELS = [
    "",
    '{l="1"}',
    '{l="2"}',
    '{l="1",m="x"}',
    '{host="h1",l="3"}',
    r'{l="q\"uo\\te\n"}',
    '{l="a}b{c",m="d,e=f"}',
    '{l=" # {"}',
]
BOUNDS = [
    ["0.5", "1", "+Inf"],
    ["0.1", "1.0", "2.5", "+Inf"],
    ["0", "1", "+Inf"],
    ["-1", "0", "1", "+Inf"],
    ["-Inf", "0", "+Inf"],
    ["+Inf", "1", "0.5"],
    ["1", "2"],
    ["1", "1.0", "+Inf"],
    ["1e-05", "1e+06", "+Inf"],
]
ODD_LINES = [
    "",
    "   ",
    "#",
    "# a comment",
    "# TYPE",
    "# TYPE a",
    "# TYPE a gauge",
    "# TYPE b counter",
    "# TYPE a_b histogram",
    "  # TYPE b gauge",
    "#TYPE a gauge",
    "#  TYPE a gauge",
    "# TYPE a  gauge",
    "#\tTYPE\ta\tgauge",
    "# HELP a",
    "# HELP b some text",
    '# HELP b "quoted',
    "# UNIT c_seconds seconds",
    '# TYPE "a.b" gauge',
    "# TYPE 1a gauge",
    "# EOF",
    '{"a.b"} 4',
    '{__name__="a",l="1"} 4',
    "5",
    "5 6",
    "nan",
    "a",
    "a{",
    'a{l="1"',
    'a{l="1"}',
    'a{l="1"}3',
    'a{l="1"}34',
    'a{l="1"}  35',
    'a{l="1"}\t36',
    "a{l=1} 2",
    "a{l=1 3 } 5",
    'a{l="1" 3',
    'a{l="1",l="2"} 3',
    'a{__x="1"} 3',
    "a\t4",
    "a\t4 5",
    "a \t4",
    " a 5",
    "a  6",
    "a 7 ",
    "a 8 1700000000000",
    "a 9 1 2",
    "a 9 x",
    'a{l="1"} 1 # {x="y"} 2',
    'a{l="1"} 1 # {} 2',
    "a 1 # {x} 2",
    "a 3 # c",
    "é 1",
    "a 1\x1f",
    "\x1fa 1",
    'a{l="\x85"} 1',
    'a{l="\u2028"} 1',
]
ODD_VALUES = [
    "NaN",
    "nan",
    "+Inf",
    "-Inf",
    "Inf",
    "-0",
    "-0.0",
    "-1",
    "0",
    "1_0",
    "1e3",
    "1e-05",
    "1e999",
    "9" * 400,
    "9007199254740993",
    "123456789012345678901234567890",
    "0.1234567890123456789",
    "0x1",
    "",
    "x",
    "\N{ARABIC-INDIC DIGIT ONE}",
    "1,5",
    "2.5",
    "1 2",
    "1 1700000000000",
    "1 17000000.5",
    " 1",
    "1 ",
    "1\t2",
]
EXEMPLARS = [
    ' # {trace="x"} 0.5',
    ' # {trace="x"} 0.5 1700000000.123',
    " # {} 1",
    ' # {trace="a\\"b"} 1',
    ' # {trace="x",trace="y"} 1',
    ' # {a="x",b="y"} 1',
    ' # {__a="x"} 1',
    ' # {trace="x"} 1.2.3',
    ' # {trace="x"} 1 1.2.3',
    ' # {trace="' + "x" * 130 + '"} 1',
    ' # {trace="x"} 1_0',
    ' # {trace="x"}',
]


@st.composite
def families(draw: st.DrawFn, strict: bool, sound: bool = False) -> list[Line]:
    """A family, with metadata or without. A `sound` one breaks no rule of its format."""
    name, typ, bounds = draw(st.sampled_from(NAMES)), draw(st.sampled_from(TYPES[:4] * 6 + TYPES)), []
    if sound:
        typ = draw(st.sampled_from(["histogram", "gauge", "counter", "summary", "histogram"]))
        name = {"histogram": "h", "gauge": "g", "counter": "c", "summary": "s"}[typ] + draw(st.sampled_from(["", "_x"]))
    if typ == "histogram":
        bounds = draw(st.sampled_from(BOUNDS[:3] if sound else BOUNDS))
    if strict and typ == "untyped":
        typ = "unknown"
    lines: list[Line] = []
    if draw(st.integers(0, 5)):
        lines.append((f"# HELP {name} What it is.", "", ""))
    if sound or draw(st.integers(0, 9)):
        lines.append((f"# TYPE {name} {typ}", "", ""))
    behind = draw(st.sampled_from(["", "", "", " 1700000000000", " 1700000000"]))
    if draw(st.integers(0, 3)) or (sound and strict):
        behind = ""
    if sound:
        labels = draw(st.lists(st.sampled_from(SOUND_LABELS), min_size=1, max_size=6, unique=True))
    else:
        labels = draw(st.lists(st.sampled_from(LABELS), max_size=4, unique=bool(draw(st.integers(0, 5)))))
    for label in labels:
        inner = label.strip("{} ,")

        def series(suffix: str, more: str, kind: str, inner: str = inner, label: str = label) -> Line:
            both = ",".join(filter(None, [inner, more])) if more else ""
            exemplar = draw(st.sampled_from(EXEMPLARS[:3])) if strict and kind == "bucket" and behind == "" else ""
            exemplar = exemplar if exemplar and not draw(st.integers(0, 4)) else ""
            return (f"{name}{suffix}{'{' + both + '}' if more else label} ", kind, behind + exemplar)

        if typ == "histogram":
            for bound in bounds:
                lines.append(series("_bucket", f'le="{bound}"', "bucket" if bound != "+Inf" else "last"))
            if sound or draw(st.integers(0, 5)):
                lines += [series("_sum", "", "sum"), series("_count", "", "last")]
        elif typ == "summary":
            lines += [series("", f'quantile="{quantile}"', "quantile") for quantile in ("0.5", "0.9")]
            lines += [series("_sum", "", "sum"), series("_count", "", "last")]
        elif typ == "counter" and (strict or name.endswith("_total") or draw(st.booleans())):
            lines.append(series("" if name.endswith("_total") else "_total", "", "sum"))
        elif typ == "info":
            lines.append(series("_info", "", "one"))
        else:
            lines.append(series("", "", "any"))
    return lines


@st.composite
def payloads(draw: st.DrawFn, strict: bool, steady: bool) -> list[list[Line]]:
    """Payloads of 3 to 5 scrapes, each made from the one before. When `steady` the first are sound and alike."""
    found = draw(st.lists(families(strict, steady), min_size=1, max_size=4))
    if steady:
        found = list({family[-1][0].partition("{")[0]: family for family in found}.values())
    lines = [line for family in found for line in family]
    scrapes = [lines] * (draw(st.integers(2, 4)) if steady else 1)
    for _ in range(draw(st.integers(1, 2) if steady else st.integers(2, 4))):
        lines = list(lines)
        for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2, 4]))):
            place = draw(st.integers(0, max(len(lines) - 1, 0)))
            edit = draw(
                st.sampled_from(["drop", "double", "swap", "family", "odd", "label", "type", "label", "exemplar"])
            )
            if edit == "odd" or not lines:
                lines.insert(place, (draw(st.sampled_from(ODD_LINES)), "", ""))
            elif edit == "drop":
                del lines[place]
            elif edit == "double":
                lines.insert(draw(st.integers(0, len(lines))), lines[place])
            elif edit == "swap":
                other = draw(st.integers(0, len(lines) - 1))
                lines[place], lines[other] = lines[other], lines[place]
            elif edit == "family":
                lines[place:place] = draw(families(strict))
            elif edit == "label":
                start, kind, end = lines[place]
                lines.insert(place, (start.replace('l="1"', f'l="{draw(st.integers(1, 9))}"'), kind, end))
            elif edit == "type":
                start, kind, end = lines[place]
                for number, (text, _, _) in enumerate(lines):
                    if text.startswith("# TYPE"):
                        lines[number] = (" ".join([*text.split(" ")[:3], draw(st.sampled_from(TYPES))]), "", "")
            elif edit == "exemplar" and lines[place][1]:
                lines[place] = (lines[place][0], lines[place][1], draw(st.sampled_from(EXEMPLARS)))
        scrapes.append(lines)
    return scrapes


def values(lines: Sequence[Line], seed: int, odd: int) -> list[str]:
    """Lines with sound values, but for `odd` of them."""
    chance = random.Random(seed)
    base, step, out = chance.randint(0, 50), 0, []
    dotted = chance.choice(["", "", ".0"])
    strange = {chance.randrange(len(lines)) for _ in range(odd)} if lines else set()
    for number, (start, kind, end) in enumerate(lines):
        step = step + chance.randint(0, 2) if kind == "bucket" else 0
        value = {
            "": "",
            "bucket": f"{base + step}{dotted}",
            "last": f"{base + 20}{dotted}",
            "sum": f"{base * 1.37}",
            "one": "1",
            "quantile": chance.choice(["NaN", "0.25", f"{base / 7}", "0"]),
            "any": chance.choice([f"{base}", f"-{base / 3}", "1e-05", "12345678901", f"{base}.5", "0", "1"]),
        }[kind]
        if kind and number in strange:
            value = chance.choice(ODD_VALUES)
        out.append(f"{start}{value}{end}")
    return out


HISTOGRAM_OPTIONS: list[dict[str, Any]] = [
    {"collect_histogram_buckets": False},
    {"non_cumulative_histogram_buckets": True},
    {"histogram_buckets_as_distributions": True},
    {"collect_counters_with_distributions": True},
    *([{"collect_histograms_as_distributions": True}] if NEWEST else []),
]
OPTIONS: list[dict[str, Any]] = [
    {"metrics": ["a", {"c_seconds": "latency"}, {"d": {"name": "dd", "type": "counter_gauge"}}]},
    {"metrics": [{"a": {"type": "rate"}}, {"b": {"type": "time_elapsed"}}, ".+seconds"]},
    {"metrics": [{"a": {"type": "temporal_percent", "scale": "millisecond"}}, {".+": {"type": "counter_gauge"}}]},
    {"metrics": [{"a": {"type": "service_check", "status_map": {"0": "ok", "1": "critical"}}}, ".+"]},
    {"metrics": [{"a": {"type": "metadata", "label": "l", "name": "version"}}, "b"]},
    {"metrics": [{".+": {"type": "native_dynamic"}}]},
    {"metrics": [{".+": {"type": "gauge"}}]},
    {"metrics": [{".+": {"type": "counter"}}]},
    {"metrics": [{".+": {"type": "histogram"}}]},
    {"metrics": [{".+": {"type": "summary"}}]},
    {"cache_metric_wildcards": False},
    {"metric_patterns": {"include": ["n\\.a", "n\\.c"]}},
    {"metric_patterns": {"exclude": ["sum$", "n\\.a"]}},
    {"max_returned_metrics": 3},
    {"max_returned_metrics": 12},
    {"rename_labels": {"l": "renamed", "host": "machine", "upper_bound": "le"}},
    {"exclude_labels": ["l", "upper_bound"]},
    {"include_labels": ["l"]},
    {"exclude_metrics": ["a", "b.*"]},
    {"exclude_metrics_by_labels": {"l": ["^2$"]}},
    {"exclude_metrics_by_labels": {"m": True}},
    {"hostname_label": "host", "hostname_format": "<HOSTNAME>.local"},
    {"hostname_label": "l"},
    {"share_labels": {"b": {"labels": ["l"], "match": ["m"]}}},
    {"share_labels": {"a": True}, "cache_shared_labels": False},
    {"target_info": True},
    {"raw_line_filters": ['l="2"']},
    {"raw_line_filters": ["^a"]},
    {"raw_line_filters": ["."]},
    {"raw_metric_prefix": "pre_"},
    {"raw_metric_prefix": "a"},
    *HISTOGRAM_OPTIONS,
    {"use_process_start_time": True},
    {"telemetry": True},
    {"disable_generic_tags": True},
    {"use_latest_spec": True},
    {"ignore_connection_errors": True},
    {"enable_health_service_check": False},
    {"tags": ["k:v", "env:prod"], "ignore_tags": ["env"]},
    {"tag_by_endpoint": False},
]


@st.composite
def cases(draw: st.DrawFn, steady: bool) -> tuple[dict[str, Any], list[Scrape], str]:
    """Options, scrapes and the kind of check."""
    strict = draw(st.booleans())
    options: dict[str, Any] = {}
    if steady:
        options.update(draw(st.sampled_from([{}, *HISTOGRAM_OPTIONS])))
    for chosen in draw(st.lists(st.sampled_from(OPTIONS), max_size=1 if steady else 3)):
        options.update(chosen)
    end = draw(st.sampled_from(["\n", "\n", "\n", "\r\n" if not strict else "\n"]))
    scrapes = []
    for number, lines in enumerate(draw(payloads(strict, steady))):
        odd = draw(st.sampled_from([0, 0, 0, 0, 1, 1, 3])) if number > 1 or not steady else 0
        texts = values(lines, draw(st.integers(0, 1 << 16)), odd)
        if strict and draw(st.integers(0, 19)):
            texts.append("# EOF")
        scrape = Scrape(end.join(texts) + (end if draw(st.integers(0, 9)) else ""), STRICT if strict else TEXT)
        special = draw(st.integers(0, 40 if number > 1 or not steady else 0)) or 40
        errors: list[Callable[[], Exception]] = [HTTPConnectionError, ChunkedEncodingError, ConnectTimeout]
        if special == 1:
            cut = draw(st.integers(0, len(scrape.body)))
            scrape = replace(scrape, body=scrape.body[:cut], error=draw(st.sampled_from(errors)))
        elif special == 7:
            scrape = replace(scrape, status=503)
        elif special == 2:
            scrape = replace(scrape, dynamic_tags=tuple(draw(st.lists(st.sampled_from(["x:1", "env:2", "y"])))))
        elif special == 3:
            scrape = replace(scrape, check_id="n:2")
        elif special == 4:
            scrape = replace(scrape, fails_at=draw(st.integers(1, 12)))
        elif special == 5:
            scrape = replace(scrape, custom=draw(st.sampled_from(["a", "^b", ".*seconds", ".+"])))
        elif special == 6:
            scrape = replace(scrape, content_type=TEXT if strict else STRICT)
        scrapes.append(scrape)
    return options, scrapes, draw(st.sampled_from(["plain"] * 9 + ["shouting"]))


def text(*bodies: str, content_type: str = TEXT, **options: Any) -> tuple[dict[str, Any], list[Scrape], str]:
    """A case from bodies."""
    return options, [Scrape(body, content_type) for body in bodies], "plain"


def strict(*bodies: str, **options: Any) -> tuple[dict[str, Any], list[Scrape], str]:
    """A case from OpenMetrics bodies, without their end."""
    return text(*(f"{body}# EOF\n" for body in bodies), content_type=STRICT, **options)


GAUGE, COUNTER = "# TYPE a gauge\n", "# TYPE a counter\n"
HISTOGRAM = '# TYPE h histogram\nh_bucket{{le="1"}} {0}\nh_bucket{{le="+Inf"}} {1}\nh_sum {2}\nh_count {3}\n'
SUMMARY = '# TYPE s summary\ns{{quantile="0.5"}} {0}\ns_sum {1}\ns_count {2}\n'
SOUND = HISTOGRAM.format(1, 2, 3.5, 2)
BUCKETS = {"collect_counters_with_distributions": True}


@example(case=({}, [*[Scrape(GAUGE)] * 2, Scrape(GAUGE, STRICT)], "plain"), start=NOW)
@example(case=text(GAUGE + "a 1", GAUGE + "a 1", GAUGE + GAUGE + "a 1"), start=NOW)
@example(case=text(*[GAUGE + "a 1 # {} 2"] * 2, GAUGE + "a 3 # {} 4"), start=NOW)
@example(case=text(*[GAUGE + 'a{l="1"} 1'] * 2, GAUGE + 'a{l="1"} 1 # {x="y"} 2'), start=NOW)
@example(case=text(*[GAUGE + "a 1"] * 2, GAUGE + "a -0", GAUGE + "a -0.0", GAUGE + "a 1_0"), start=NOW)
@example(case=text(*[GAUGE + "a 1"] * 2, GAUGE + "a " + "9" * 400), start=NOW)
@example(case=text(*[GAUGE + "a 1"] * 2, GAUGE + "5", GAUGE + "a1"), start=NOW)
@example(case=text(*[GAUGE + "a\t4 5"] * 3, GAUGE + "a\t5 6"), start=NOW)
@example(case=text(*[GAUGE + "a{l=1 3 } 3"] * 3, GAUGE + "a{l=1 3 } 4"), start=NOW)
@example(case=text(*[GAUGE + "a 1\n# TYPE b"] * 3), start=NOW)
@example(case=text(*[GAUGE + "a 1\n  # TYPE b gauge\n# TYPE b gauge\nb 1"] * 3), start=NOW)
@example(case=text(*[GAUGE + 'a 1\n# TYPE "b" gauge\n# TYPE b counter\nb 1'] * 3), start=NOW)
@example(case=text(GAUGE + "a 1", *[COUNTER + "a 2"] * 3, use_process_start_time=True), start=NOW)
@example(case=text(GAUGE + "a 1", *[COUNTER + "a 2"] * 3), start=NOW)
@example(case=text(*[GAUGE + "a 1\n" + COUNTER + "a 2"] * 3), start=NOW)
@example(case=text(*[SOUND] * 2, HISTOGRAM.format(2, 2**53 + 1, 1, 2**53 + 1), **BUCKETS), start=NOW)
@example(case=text(*[SOUND] * 2, HISTOGRAM.format(2, "NaN", 1, 2), **BUCKETS), start=NOW)
@example(case=text(*[SOUND] * 2, SOUND.replace("h_sum", 'h_bucket{le="2"} 2\nh_sum'), SOUND, **BUCKETS), start=NOW)
@example(case=text(*[SOUND + 'h_bucket{le="1"} 9\n'] * 3, **BUCKETS), start=NOW)
@example(case=text(*[SUMMARY.format("NaN", 1, 1)] * 3, SUMMARY.format("1", "NaN", "+Inf")), start=NOW)
@example(case=strict(GAUGE, GAUGE, raw_line_filters=["."]), start=NOW)
@example(case=strict(*[SOUND] * 2, HISTOGRAM.format(3, 2, 1, 2)), start=NOW)
@example(case=strict(*[SOUND] * 2, HISTOGRAM.format(1, 2, 1, 3)), start=NOW)
@example(case=strict(*[SOUND] * 2, HISTOGRAM.format(1.5, 2, 1, 2)), start=NOW)
@example(case=strict(*[SOUND] * 2, HISTOGRAM.format(1, 2, -1, 2)), start=NOW)
@example(
    case=strict(*[SOUND] * 2, HISTOGRAM.format(1, "2 # {} 1", 1, 2), SOUND.replace("3.5", "3 # {} 1")),
    start=NOW,
)
@example(case=strict(*[SOUND] * 2, SOUND.replace("h_sum 3.5", "h_sum 3 17")), start=NOW)
@example(case=strict(*[SOUND] * 2, SOUND.replace("h_sum 3.5", "h_sum  3")), start=NOW)
@example(case=strict(*[SOUND] * 2, SOUND.replace("h_sum 3.5", "h_sum 3 ")), start=NOW)
@example(case=strict(*[SUMMARY.format(1, 1, 1)] * 2, SUMMARY.format(-1, 1, 1)), start=NOW)
@example(case=strict(*[SUMMARY.format("NaN", 1, 1)] * 2, SUMMARY.format(1, "NaN", 1)), start=NOW)
@example(case=strict(*[GAUGE + "a 1\nb 2\n# TYPE b gauge\nb 1\n"] * 3, metrics=[{".": {"type": "gauge"}}]), start=NOW)
@example(case=text(*[GAUGE + "a 1\n  # TYPE b gauge\n# TYPE b counter\nb 1"] * 3), start=NOW)
@example(
    case=(
        {},
        [*[Scrape(GAUGE + "a 1\na 2\na 3")] * 2, Scrape(GAUGE + "a 1\na 2\na 3", fails_at=2), Scrape(GAUGE)],
        "plain",
    ),
    start=NOW,
)
@example(case=strict(*[GAUGE + "a 1\n# TYPE b gauge\nb 1\n" + GAUGE + "a 2\n"] * 3), start=NOW)
@example(case=strict(*[SOUND + "# TYPE h_sum gauge\nh_sum 1\n"] * 3), start=NOW)
@example(case=text(*[SOUND + "# EOF\n"] * 2, SOUND, SOUND + "# EOF\n" + SOUND, content_type=STRICT), start=NOW)
@settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.booleans().flatmap(cases), st.sampled_from([NOW, 0.0]))
def test_submits_what_stock_submits(case: tuple[dict[str, Any], list[Scrape], str], start: float) -> None:
    options, scrapes, kind = case
    compare(options, scrapes, kind, start)


@settings(max_examples=EXAMPLES // 2, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 1 << 32), st.sampled_from([{}, *HISTOGRAM_OPTIONS]), st.booleans())
def test_series_that_come_and_go(seed: int, options: dict[str, Any], openmetrics: bool) -> None:
    chance = random.Random(seed)
    bounds = ["0.1", "1", "2.5", "+Inf"]
    series = list(range(chance.randint(1, 12)))
    scrapes = []
    for number in range(5):
        if number > 1:
            for _ in range(chance.choice([0, 1, 1, 3])):
                series.insert(chance.randint(0, len(series)), 100 * number + chance.randint(0, 99))
                del series[chance.randrange(len(series))]
            if chance.random() < 0.3:
                chance.shuffle(series)
        lines = ["# HELP h h", "# TYPE h histogram"]
        for each in series:
            base = chance.randint(0, 9)
            lines += [f'h_bucket{{s="{each}",le="{le}"}} {base + n}' for n, le in enumerate(bounds)]
            lines += [f'h_sum{{s="{each}"}} {base}.5', f'h_count{{s="{each}"}} {base + 3}']
        for _ in range(chance.choice([0, 0, 0, 1] if openmetrics else [0, 0, 1, 3]) if number > 1 else 0):
            place = chance.randrange(2, len(lines))
            edit = chance.randrange(4)
            if edit == 0:
                del lines[place]
            elif edit == 1:
                lines.insert(chance.randrange(2, len(lines)), lines[place])
            elif edit == 2:
                lines.append(lines.pop(place))
            else:
                lines.insert(place, lines[place].replace('le="1"', 'le="1.5"').replace("_sum", "_total"))
            if len(lines) < 4:
                break
        lines += ["# TYPE g gauge", *(f'g{{s="{each}"}} {chance.choice(["1", "NaN", "2.5"])}' for each in series)]
        body = "\n".join([*lines, *(["# EOF"] if openmetrics else []), ""])
        scrapes.append(Scrape(body, STRICT if openmetrics else TEXT))
    compare(options, scrapes)


def moved(body: str, number: int) -> str:
    """A payload some scrapes later: whole numbers behind a series have grown."""
    return re.sub(r"(?m)(?<=[}\w] )(\d+)(?=(\.\d+)?$|(\.\d+)? \d+$)", lambda found: str(int(found[1]) + number), body)


@pytest.mark.parametrize("options", [{}, BUCKETS, {"metrics": [{".+": {"type": "gauge"}}]}], ids=str)
@pytest.mark.parametrize("path", sorted(PAYLOADS.glob("*/*.txt")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_real_payloads(path: Path, options: dict[str, Any]) -> None:
    body = path.read_text()
    content_type = STRICT if body.endswith("# EOF\n") else TEXT
    lines = body.splitlines(keepends=True)
    scrapes = [Scrape(moved(body, number), content_type) for number in range(4)]
    scrapes.append(Scrape("".join(lines[: len(lines) // 2] + lines[len(lines) // 2 + 1 :]), content_type))
    check = compare(options, scrapes)
    assert sum(len(block.heads) for block in known(check)) > 0.4 * sum(line[:1] != "#" for line in lines)


def test_known_lines_need_no_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    aggregator = Aggregator()
    body = (PAYLOADS / "real" / "mlserver.txt").read_text()
    with agent(aggregator):
        check = make(Fast, aggregator, {})
        for _ in range(3):
            before = outcome(check, aggregator, Scrape(body))
        monkeypatch.setattr(FastScraper, "families", None)
        assert outcome(check, aggregator, Scrape(body)) == before


def test_new_lines_alone_are_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    aggregator = Aggregator()
    lines = [GAUGE, *(f'a{{s="{number}"}} {number}\n' for number in range(20))]
    parsed: list[str] = []
    families = FastScraper.families
    with agent(aggregator):
        check = make(Fast, aggregator, {})
        for _ in range(3):
            outcome(check, aggregator, Scrape("".join(lines)))

        def spy(self: Any, lines: list[str], *args: Any, **kwargs: Any) -> Iterator[Any]:
            parsed.extend(lines)
            return families(self, lines, *args, **kwargs)

        monkeypatch.setattr(FastScraper, "families", spy)
        outcome(check, aggregator, Scrape("".join([*lines[:7], 'a{s="x"} 3\n', *lines[9:]])))
    assert parsed == [GAUGE.strip(), 'a{s="x"} 3']


def test_what_is_gone_is_forgotten() -> None:
    body = (PAYLOADS / "real" / "mlserver.txt").read_text()
    check = compare({}, [*[Scrape(body)] * 3, *[Scrape(GAUGE + "a 1")] * (KEEP + 1)])
    (scraper,) = check.scrapers.values()
    assert list(scraper._blocks) == [GAUGE.strip()]


def test_recorded_tags_follow_the_scraper() -> None:
    scrape = Scrape(SOUND)
    compare({}, [scrape, scrape, scrape, replace(scrape, dynamic_tags=("t:1",)), scrape, scrape, scrape])


def test_transformers_may_be_replaced() -> None:
    aggregator = Aggregator()
    found = []
    with agent(aggregator):
        for kind in (StockCheck, Fast):
            check = make(kind, aggregator, {"metrics": ["a"]})
            (scraper,) = check.scrapers.values()
            calls = [outcome(check, aggregator, Scrape(GAUGE + "a 1"))[0] for _ in range(3)]
            scraper.metric_transformer.transformer_data["a"] = (None, custom(check))
            found.append([*calls, outcome(check, aggregator, Scrape(GAUGE + "a 1"))[0]])
    assert found[0] == found[1]
    assert found[0][2] != found[0][3]


def test_reads_of_any_size() -> None:
    lines = [f'a{{l="ü🐈{number}"}} {number}' for number in range(5_000)]
    compare({"max_returned_metrics": 50_000}, [Scrape("\n".join([GAUGE.strip(), *lines]))] * 3)


@pytest.mark.parametrize("headers", [{}, {"Content_Encoding": "gzip"}], ids=["plain", "gzip"])
def test_over_http(endpoint: Endpoint, headers: dict[str, str]) -> None:
    body = (PAYLOADS / "real" / "mlserver.txt").read_text()
    aggregator = Aggregator()
    seen = []
    with agent(aggregator):
        checks = [make(kind, aggregator, {"openmetrics_endpoint": endpoint.url}) for kind in (StockCheck, Fast)]
        for number in range(3):
            data = moved(body, number).encode()
            endpoint.serve(
                gzip.compress(data) if headers else data,
                headers={name.replace("_", "-"): value for name, value in headers.items()},
            )
            for check in checks:
                aggregator.calls = []
                assert check.run() == ""
                seen.append(aggregator.calls)
    assert seen[0::2] == seen[1::2]
    assert len(seen[0]) > 200


def test_limit_on_size() -> None:
    aggregator = Aggregator()
    with agent(aggregator):
        check = make(Fast, aggregator, {"max_payload_bytes": 100})
        (scraper,) = check.scrapers.values()
        scraper.send_request = lambda **_: Scrape(GAUGE + "a 1\n" * 10).response()
        scraper.scrape()
        scraper.send_request = lambda **_: Scrape(GAUGE + "a 1\n" * 100).response()
        with pytest.raises(PayloadError, match="larger than `max_payload_bytes` \\(100\\)"):
            scraper.scrape()


@pytest.mark.parametrize("overridden", ["consume_metrics", "generate_sample_data", "parse_metrics"])
def test_subclass_that_reads_otherwise(overridden: str) -> None:
    class Own(FastScraper):
        pass

    calls = []

    def method(self: Any, *args: Any) -> Any:
        calls.append(args)
        return getattr(OpenMetricsScraper, overridden)(self, *args)

    setattr(Own, overridden, method)
    aggregator = Aggregator()
    with agent(aggregator), patch.object(Fast, "SCRAPER", Own):
        check = make(Fast, aggregator, {})
        for _ in range(4):
            outcome(check, aggregator, Scrape(GAUGE + "a 1"))
    assert len(calls) == 4
