"""The check with its line cache against the check without: the same bytes, and everything it does the same."""

from __future__ import annotations

import gc
import logging
import os
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from requests.exceptions import ChunkedEncodingError

from datadog_checks.model_serving import ModelServingCheck
from datadog_checks.model_serving.errors import ScrapeError
from datadog_checks.model_serving.http.body import Answer
from datadog_checks.model_serving.scrape import collector as collector_module
from datadog_checks.model_serving.scrape.exposition import cache as cache_module
from datadog_checks.model_serving.scrape.exposition import reader, syntax
from datadog_checks.model_serving.submit import submitter
from datadog_checks.model_serving.submit.series import SPARE

from ..conftest import make_check
from .generated import ODD_LINES, STRICT, TEXT, Aggregator, Clock, Line, values

PAYLOADS = Path(__file__).parents[1] / "fixtures" / "payloads"
EXAMPLES = int(os.environ.get("REMEMBER_EXAMPLES", "400"))
START = 1_788_718_020


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Lines are refused by the thousand here."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


class Agent(Aggregator):
    """Takes what a check submits, and events; `cache` is what it keeps over restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.cache: dict[str, str] = {}

    def submit_metric(self, check: Any, check_id: str, kind: int, name: str, value: float, *more: Any) -> None:
        # How long the scrape took is the one thing that may differ.
        self.take("metric", kind, name, 0 if name.endswith("scrape.duration") else value, *more)

    def submit_event(self, check: Any, check_id: str, event: Any) -> None:
        self.take("event", sorted(event.items()))


@dataclass(frozen=True)
class Scrape:
    """One answer of an endpoint, in `pieces`; `error` breaks it off, and `framed` tells that it is whole."""

    body: str
    content_type: str = TEXT
    error: bool = False
    framed: bool = True
    pieces: int = 1
    now: float = START

    def answer(self) -> Answer:
        return Answer(self.content_type, self.framed, "", None, self.chunks())

    def chunks(self) -> Iterator[bytes]:
        data = self.body.encode()
        size = max(1, -(-len(data) // self.pieces))
        for start in range(0, len(data), size):
            yield data[start : start + size]
        if self.error:
            raise ChunkedEncodingError


class Side:
    """One check, with what it is told and what it says."""

    def __init__(self, options: dict[str, Any], remembers: bool) -> None:
        self.agent = Agent()
        self.check: ModelServingCheck = make_check(
            **{"openmetrics_endpoint": "http://127.0.0.1:1/metrics", "readiness": False, **options}
        )
        # Two of one source would share a memory.
        self.check.persistent_cache_id = lambda: f"{id(self)}"
        self.check.read_persistent_cache = self.agent.cache.get
        self.check.write_persistent_cache = self.agent.cache.__setitem__
        self.check.run_check_initializations()
        (self.scraper,) = self.check.scrapers.values()
        if not remembers:
            self.scraper.caches_lines = False
            # Nor does it leave out the check's own methods.
            self.check._submit_metric = self.check._submit_metric

    def scrape(self, scrape: Scrape) -> dict[str, Any]:
        """Everything that can be seen of one scrape."""
        self.agent.calls = []
        self.check.warnings.clear()
        self.scraper.fetched = scrape.answer()
        error = ""
        with (
            patch("datadog_checks.base.checks.base.aggregator", self.agent),
            patch.object(submitter, "time", Clock(scrape.now)),
        ):
            try:
                self.scraper.scrape()
            except ScrapeError as raised:
                error = str(raised)
        collector = self.scraper.collector
        if self.check.metric_limiter:
            self.check.metric_limiter.reset()
        self.check.memory.keep()
        # A line is refused when it is read, which may be early.
        refused = [call for call in self.agent.calls if "scrape.samples.rejected" in str(call)]
        seen = {
            "submitted": [call for call in self.agent.calls if call not in refused],
            "error": error,
            "warnings": list(self.check.warnings),
            "cache": dict(self.agent.cache),
            "told": set(self.scraper.report._once._keys),
            "systems": list(collector.recogniser.active),
            "doubted": collector._doubted if collector._doubted is None else len(collector._doubted),
        }
        if error:
            # How much of an answer was read when it broke off differs: lines that wait for the parser are lost.
            return seen
        return seen | {
            "refused": sorted(refused),
            "rejected": dict(collector.rejected),
            "names": (collector.unclaimed, collector.present),
            "counted": (collector.lines, collector.samples, collector.process_start),
            "series": [(series.key, series.last) for series in collector.series.values()],
        }


def compare(options: dict[str, Any], scrapes: Sequence[Scrape]) -> Side:
    """Assert that memory changes nothing. Returns the side that has it."""
    plain, remembering = Side(options, False), Side(options, True)
    for number, scrape in enumerate(scrapes, 1):
        expected, found = plain.scrape(scrape), remembering.scrape(scrape)
        for what, value in expected.items():
            if scrape.content_type == STRICT or options.get("use_latest_spec"):
                value, found[what] = (spelt(what, seen) for seen in (value, found[what]))
            assert found[what] == value, (what, f"scrape {number}")
    return remembering


def spelt(what: str, seen: Any) -> Any:
    """What is seen, but for spellings: which lines are parsed together decides under which name one of them is read."""
    if what in ("warnings", "told"):
        return {text for text in seen if "is known to the catalog" not in text}
    if what != "names":
        return seen
    return [
        {name if isinstance(name, tuple) else re.sub("_(total|info|sum|count|bucket)$", "", name) for name in names}
        for names in seen
    ]


# -- generated payloads

NAMES = {
    "counter": [
        "model_infer_request_success",
        "model_infer_request_failure",
        "ours",
        "mine",
        "inference_requests",
        ":tensorflow:serving:request_count",
        "request_count",
        "request_4xx_count",
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
        "rest_server_requests",
    ],
    "gauge": [
        "rest_server_requests_in_progress",
        "cpu_usage_percentage",
        "mem_usage_percentage",
        "DCGM_FI_DEV_GPU_TEMP",
        "DCGM_FI_DEV_XID_ERRORS",
        "DCGM_FI_DEV_FB_USED",
        "DCGM_FI_DEV_FB_FREE",
        "model_accuracy",
        "process_start_time_seconds",
        "target_info",
        "ours",
        "pre_rest_server_requests_in_progress",
    ],
    "histogram": [
        "parallel_request_queue",
        "batch_request_queue",
        "rest_server_request_duration_seconds",
        ":tensorflow:serving:request_latency",
        "request_latency_ms",
        "prediction_latency_seconds",
        "ours",
        "mine",
    ],
    "summary": ["model_infer_request_duration", "prediction_values", "ours"],
}
LABELS = [
    "",
    '{model="a"}',
    '{model="a",version="1"}',
    '{version="1",model="a"}',
    '{model="b", version="2"}',
    '{model="b",version=""}',
    r'{model="q\"uo\\te}"}',
    '{model="ünï 🐈"}',
    '{model="a",job="j",instance="i:1"}',
    '{model="a",job="j",instance="i:2"}',
    '{gpu="0",UUID="GPU-1",pod="p"}',
    '{gpu="0",UUID="GPU-1",pod="q"}',
    '{method="GET",path="/v2/models/a/infer",status_code="404"}',
    '{served_entity_name="e"}',
    '{host="h1"}',
    '{host="h2",model="a"}',
    '{ model = "c" }',
    '{model="a",}',
]
BOUNDS = [["0.5", "1", "+Inf"], ["0.1", "1.0", "2.5", "+Inf"], ["+Inf", "1", "0.5"], ["1", "2"], ["1", "1.0", "+Inf"]]
TIMES = [f" {(START + 60 * minute) * 1000}" for minute in range(4)]
FAMILY_TYPES = {"counter": 3, "gauge": 3, "histogram": 5, "summary": 1}


@st.composite
def families(draw: st.DrawFn, strict: bool) -> list[Line]:
    """A family, with metadata or without."""
    kind = draw(st.sampled_from([kind for kind, weight in FAMILY_TYPES.items() for _ in range(weight)]))
    name, bounds = draw(st.sampled_from(NAMES[kind])), draw(st.sampled_from(BOUNDS))
    lines: list[Line] = []
    if draw(st.integers(0, 4)):
        lines.append((f"# HELP {name} What it is.", "", ""))
    spelling = f"{name}_total" if kind == "counter" and not strict and draw(st.booleans()) else name
    if draw(st.integers(0, 9)):
        lines.append((f"# TYPE {spelling} {draw(st.sampled_from([*[kind] * 9, 'untyped', 'gauge']))}", "", ""))
    behind = draw(st.sampled_from(["", "", "", *TIMES]))
    if behind and strict:
        behind = behind[:-3]
    exemplar = ' # {trace="x"} 0.5' if not draw(st.integers(0, 5)) else ""
    for label in draw(st.lists(st.sampled_from(LABELS), max_size=6, unique=bool(draw(st.integers(0, 9))))):
        inner = label.strip("{} ,")

        def sample(suffix: str, more: str, kind: str, inner: str = inner, label: str = label) -> Line:
            both = ",".join(filter(None, [inner, more]))
            tail = behind + (exemplar if kind == "bucket" and not behind else "")
            return (f"{name}{suffix}{'{' + both + '}' if more else label} ", kind, tail)

        if kind == "histogram":
            lines += [sample("_bucket", f'le="{at}"', "last" if at == "+Inf" else "bucket") for at in bounds]
        if kind == "summary" and draw(st.booleans()):
            lines.append(sample("", 'quantile="0.5"', "quantile"))
        if kind in ("histogram", "summary"):
            lines += [sample("_sum", "", "sum"), sample("_count", "", "last")]
        elif kind == "counter":
            lines.append(sample("_total" if strict or draw(st.integers(0, 3)) else "", "", "last"))
        else:
            lines.append(sample("", "", "one" if "XID" in name or "start" in name else "quantile"))
    return lines


EDITS = ["drop", "drop", "double", "swap", "move", "family", "odd", "label", "label", "type", "remove", "time"]


def edited(draw: st.DrawFn, lines: list[Line], strict: bool) -> list[Line]:
    """Lines of which some have come, gone or changed."""
    lines = list(lines)
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2, 4]))):
        place = draw(st.integers(0, max(len(lines) - 1, 0)))
        edit = draw(st.sampled_from(EDITS))
        if edit == "odd" or not lines:
            lines.insert(place, (draw(st.sampled_from(ODD_LINES)), "", ""))
        elif edit == "drop":
            del lines[place]
        elif edit == "double":
            lines.insert(draw(st.integers(0, len(lines))), lines[place])
        elif edit == "swap":
            other = draw(st.integers(0, len(lines) - 1))
            lines[place], lines[other] = lines[other], lines[place]
        elif edit == "move":
            lines = lines[place:] + lines[:place]
        elif edit == "family":
            lines[place:place] = draw(families(strict))
        elif edit == "label":
            start, kind, end = lines[place]
            new = f'="{draw(st.integers(1, 9))}'
            lines.insert(place, (re.sub(r'="[abe]?', new, start, count=draw(st.integers(1, 2))), kind, end))
        elif edit == "remove":
            label = draw(st.sampled_from(LABELS[1:])).strip("{}")
            lines = [line for line in lines if label not in line[0]]
        elif edit == "time":
            times = draw(st.sampled_from(TIMES))
            lines = [(start, kind, times if end.startswith(" 1") else end) for start, kind, end in lines]
        else:
            kind = draw(st.sampled_from(["counter", "gauge", "histogram", "summary", "untyped", "bogus"]))
            lines = [
                (re.sub("^(# TYPE [^ ]+).*", rf"\\1 {kind}", start) if number == place else start, *more)
                for number, (start, *more) in enumerate(lines)
            ]
    return lines


OPTIONS: list[dict[str, Any]] = [
    {"serving_system": "mlserver"},
    {"serving_system": ["databricks", "mlserver"]},
    {"serving_system": "custom_ml"},
    {"serving_system": "dcgm"},
    {"tags": ["k:v", "env:prod"]},
    {"namespace": "own", "metrics": ["ours", "mine"]},
    {"metrics": [{"ours": "theirs"}, {"request_latency_ms": {"name": "minute"}}]},
    {"extra_metrics": [{".+": {"type": "gauge"}}]},
    {"exclude_labels": ["version", "le"]},
    {"include_labels": ["model"]},
    {"rename_labels": {"model": "who"}},
    {"keep_labels": ["pod", "path", "app_name"]},
    {"exclude_metrics": ["batch_request_queue", "^ours"]},
    {"exclude_metrics_by_labels": {"model": ["^a$"]}},
    {"exclude_metrics_by_labels": {"version": True}},
    {"hostname_label": "host", "hostname_format": "<HOSTNAME>.local"},
    {"share_labels": {"target_info": {"labels": ["model"], "match": ["job"]}}},
    {"target_info": True},
    {"telemetry": True},
    {"raw_line_filters": ['model="b"', "^mine.* 1"]},
    {"raw_metric_prefix": "pre_"},
    {"use_process_start_time": True},
    {"use_latest_spec": True},
    {"histogram_buckets_as_distributions": False},
    {"non_cumulative_histogram_buckets": True},
    {"collect_counters_with_distributions": False},
    {"max_returned_metrics": 7},
    {"metric_patterns": {"exclude": ["latency", "request.count"]}},
    {"disable_generic_tags": True},
    {"endpoint_name": "e"},
]


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, Any], list[Scrape]]:
    """Options, and scrapes each of whose payloads is made from the one before."""
    strict = draw(st.integers(0, 2)) == 0
    options: dict[str, Any] = {}
    for chosen in draw(st.lists(st.sampled_from(OPTIONS), max_size=2)):
        options.update(chosen)
    lines = [line for family in draw(st.lists(families(strict), min_size=1, max_size=5)) for line in family]
    end = draw(st.sampled_from(["\n", "\n", "\n", "\r\n"]))
    steady = draw(st.integers(0, 3))
    scrapes = []
    for number in range(steady + draw(st.integers(2, 5))):
        if number >= steady:
            lines = edited(draw, lines, strict)
        texts = values(lines, draw(st.integers(0, 1 << 16)), draw(st.sampled_from([0, 0, 0, 0, 1, 2])))
        if strict and draw(st.integers(0, 9)):
            texts.append("# EOF")
        body = end.join(texts) + (end if draw(st.integers(0, 9)) else "")
        broken = not draw(st.integers(0, 19))
        if broken:
            body = body[: draw(st.integers(0, len(body)))]
        scrapes.append(
            Scrape(
                body,
                STRICT if strict != (not draw(st.integers(0, 29))) else TEXT,
                error=broken and draw(st.booleans()),
                framed=bool(draw(st.integers(0, 5))),
                pieces=draw(st.sampled_from([1, 1, 2, 7])),
                now=START + 15 * number,
            )
        )
    return options, scrapes


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None)
@given(case=cases(), small=st.booleans())
def test_generated(case: tuple[dict[str, Any], list[Scrape]], small: bool) -> None:
    """Series come and go, numbers fall, lines break, systems are recognised late: memory changes nothing."""
    with patch.object(reader, "MAX_BLOCK", 100 if small else 1 << 17):
        compare(*case)


# -- what has been seen to matter


def text(*bodies: str, content_type: str = TEXT, **options: Any) -> tuple[dict[str, Any], list[Scrape]]:
    """A case from bodies, 15 s apart."""
    return options, [Scrape(body, content_type, now=START + 15 * number) for number, body in enumerate(bodies)]


QUEUE = (
    "# TYPE batch_request_queue histogram\n"
    'batch_request_queue_bucket{{model="m",le="1"}} {0}\nbatch_request_queue_bucket{{model="m",le="+Inf"}} {1}\n'
    'batch_request_queue_sum{{model="m"}} {2}\nbatch_request_queue_count{{model="m"}} {1}\n'
)
CALLS = '# TYPE model_infer_request_success_total counter\nmodel_infer_request_success_total{{model="{0}"}} {1}\n'
SOUND = QUEUE.format(1, 2, 3.5) + CALLS.format("m", 5)
MINUTE = '# TYPE request_count_total gauge\nrequest_count_total{{served_entity_name="e"}} {0} {1}\n'
HELD = "# TYPE prediction_values summary\nprediction_values_sum 1\nprediction_values_count 2\n"
TOTAL = "model_infer_request_success_total"
DECLARED = f"# TYPE {TOTAL} counter\n"
MANY = DECLARED + "".join(f'{TOTAL}{{model="{number}"}} 1\n' for number in range(8))
OTHER = "# TYPE request_count_total gauge\nrequest_count_total 5\n"
OURS = "# TYPE ours counter\nours_total {}\n"
START_TIME = "process_start_time_seconds {}\n"
BUSY = SOUND + "rest_server_requests_in_progress 3\n"
LIMIT = {"max_returned_metrics": 4}
PYTHON = "# TYPE python_x gauge\npython_x 1\n"
STRAY = f"{DECLARED}{TOTAL} 1\n{TOTAL}_b 2\n"
LAWFUL = QUEUE + "# EOF\n"
SAME = "rest_server_requests_in_progress"
EXEMPLAR = LAWFUL.replace('"1"}} {0}', '"1"}} {0} # {{trace="{2}"}} 0.5')


def with_five(value: str) -> str:
    """The sound payload with another value for a counter."""
    return SOUND.replace(" 5", f" {value}")


def with_before_count(line: str) -> str:
    """The sound payload with one more line in the histogram."""
    return SOUND.replace("batch_request_queue_count", f"{line}\nbatch_request_queue_count")


KNOWN_TO_MATTER = {
    "numbers grow": text(*[SOUND] * 2, QUEUE.format(3, 7, 12) + CALLS.format("m", 9)),
    "a reset": text(*[SOUND] * 3, QUEUE.format(0, 1, 0.5) + CALLS.format("m", 1)),
    "no number": text(*[SOUND] * 3, with_five("NaN"), SOUND),
    "too large to be exact": text(*[with_five(str(2**53 + number // 3)) for number in range(9)]),
    "a broken line": text(*[SOUND] * 3, with_five("five"), SOUND),
    "a blank that only float knows": text(*[SOUND] * 3, with_five("5\x0b"), SOUND),
    "a line twice": text(*[SOUND] * 3, SOUND + SOUND.splitlines()[-1], SOUND),
    "the family again, elsewhere": text(*[SOUND + QUEUE.format(9, 9, 9)] * 4),
    "a bucket more": text(*[SOUND] * 3, with_before_count('batch_request_queue_bucket{model="m",le="2"} 2'), SOUND),
    "only the declaration is left": text(*[SOUND] * 3, DECLARED, SOUND),
    "samples behind a declaration": text(*[DECLARED] * 3, f'{DECLARED}{TOTAL}{{job="j",instance="i"}} 1\n'),
    "minutes": text(*(MINUTE.format(2**n, TIMES[n // 2].strip()) for n in range(8)), serving_system="databricks"),
    "minutes long ago": text(*(MINUTE.format(2**n, 60000 * (n // 2)) for n in range(8)), serving_system="databricks"),
    "a minute without a timestamp": text(
        *[MINUTE.format(1, TIMES[0].strip())] * 3, MINUTE.format(2, ""), serving_system="databricks"
    ),
    "the same part written otherwise": text(*[SOUND] * 3, with_before_count('batch_request_queue_count{model="m",} 9')),
    "buckets in another order": text(
        *("\n".join(sorted(QUEUE.format(n, n + 1, n + 2).splitlines())) for n in range(5)), serving_system="mlserver"
    ),
    "names that a system ignores": text(*[PYTHON] * 3, *[PYTHON + SOUND] * 3),
    "a family among lines of another": text(*[STRAY] * 3, STRAY + TOTAL + '{model="z"} 3\n'),
    "a family behind lines of another": text(
        *[f"{DECLARED}{TOTAL}_b 2\n{TOTAL} 1\n"] * 3, *[f"{DECLARED}{TOTAL}_b 2\n"] * 2, STRAY
    ),
    "a declaration whose lines have other names": text(
        *["# TYPE ours counter\nours_total 44\nours 44\n"] * 2, *["# TYPE ours counter\nours_total 44\n"] * 2
    ),
    "names in quotes": text(
        *(
            f'# TYPE "{TOTAL}" counter\n{{"{TOTAL}",model="m"}} {n}\n{{"a.b"}} 1\n{{model="o","{TOTAL}"}} {n}\n'
            for n in range(4)
        ),
    ),
    "native histograms": text(
        *(
            f"# TYPE batch_request_queue histogram\nbatch_request_queue {{count:{n},sum:1}}\n{SOUND}# EOF\n"
            for n in range(4)
        ),
        content_type=STRICT,
    ),
    "what the user names becomes lawful": text(
        *[OURS.format(-1) + "# EOF\n"] * 3, *[OURS.format(1) + "# EOF\n"] * 3, content_type=STRICT, metrics=["ours"]
    ),
    "a bucket more, at the end": text(
        *[QUEUE.format(1, 2, 3)] * 3,
        *[QUEUE.format(1, 2, 3) + 'batch_request_queue_bucket{model="m",le="1.5"} 1\n'] * 3,
    ),
    "a system that is recognised late": text(
        *[HELD + SOUND] * 3, f"{HELD}# TYPE inference_latency_seconds gauge\nmodel_accuracy 1\n{SOUND}"
    ),
    "another system appears": text(
        *["ours 1\n" + OTHER] * 3, *[SOUND + OTHER + "provisioned_concurrent_requests_total 4\n"] * 3
    ),
    "series come and go": text(*[MANY] * 3, MANY.replace('"3"', '"x"'), MANY.replace('"5"', '"y"'), MANY),
    "a new series between": text(
        *[MANY] * 3, MANY.replace(f'{TOTAL}{{model="4"', f'{TOTAL}{{model="z"}} 7\n{TOTAL}{{model="4"'), MANY
    ),
    "the same series written otherwise": text(*[MANY] * 3, MANY + TOTAL + '{model="4",} 9\n'),
    "a comment comes": text(*[SOUND] * 3, with_before_count("# c")),
    "user metrics": text(*[SOUND + OURS.format(4)] * 3, SOUND + OURS.format(9), metrics=["ours"]),
    "a process that starts anew": text(*[START_TIME.format(1000) + SOUND] * 3, START_TIME.format(2000) + SOUND),
    "exemplars": text(*(EXEMPLAR.format(number, number + 1, number) for number in range(5)), content_type=STRICT),
    "a law is broken": text(*[LAWFUL.format(1, 2, 3)] * 3, LAWFUL.format(3, 2, 3), content_type=STRICT),
    "nothing lawful": text(*[f"# HELP {TOTAL} x\n" * 2 + "# EOF\n"] * 4, content_type=STRICT),
    "a declaration that is refused": text(*[DECLARED + "#TYPE a gauge\n" + MANY] * 4),
    "what is excluded": text(*[SOUND] * 4, MANY, MANY, MANY.replace("3", "x"), exclude_metrics=[TOTAL]),
    "lines that no format knows": text("a \n", *["a 9 1 2\na 9 1 2\n"] * 3, content_type=STRICT),
    "a limit on contexts": text(*(SOUND + QUEUE.format(n, n + 2, n).replace('"m"', '"o"') for n in range(5)), **LIMIT),
    "metrics that aren't sent": text(*[SOUND] * 4, metric_patterns={"exclude": ["request.count", "depth.sum"]}),
    "gauges that aren't sent": text(*[BUSY] * 4, metric_patterns={"exclude": ["in_flight"]}),
    "more behind the end, known": text(
        *[LAWFUL.format(1, 2, 3)] * 3, LAWFUL.format(1, 2, 3) + SOUND.splitlines()[2] + "\n", content_type=STRICT
    ),
    "a blank too many": text(*(SOUND.replace(" 5", f"  {n} ").replace("} ", "}  ") for n in range(4))),
    "a series twice, lawfully": text(
        *(f"# TYPE ours counter\nours_total {n}\nours_total {n}\n{LAWFUL.format(1, 2, 3)}" for n in range(4)),
        content_type=STRICT,
        metrics=["ours"],
    ),
    "a series twice at one time": text(
        *(
            f"# TYPE ours gauge\nours 1 {START}\nours NaN {START}\nours 3 {START + 1}\n{LAWFUL.format(1, 2, 3)}"
            for _ in range(4)
        ),
        content_type=STRICT,
    ),
    "a mapped series twice at one time": text(
        *(
            f"# TYPE {SAME} gauge\n{SAME} {n} {START}\n{SAME} NaN {START}\n{SAME} 3 {START + 1}\n# EOF\n"
            for n in range(4)
        ),
        content_type=STRICT,
    ),
    "a series twice and excluded": text(
        *([f'{TOTAL}{{model="a"}} 4\n' * 2 + f"{TOTAL} 5\n{TOTAL} 6\n# EOF\n"] * 3),
        content_type=STRICT,
        exclude_metrics_by_labels={"model": ["^a$"]},
    ),
    "a count too large for a float": text(
        *(SOUND.replace(" 2\n", f" {count}\n") + "# EOF\n" for count in (2, 2, "9" * 400, 2)), content_type=STRICT
    ),
    "a series twice, written otherwise": text(
        *(f"# TYPE {SAME} gauge\n{SAME} {n} {START}\n{SAME}{{}} 9 {START}\n# EOF\n" for n in range(4)),
        content_type=STRICT,
    ),
    "held back, twice": text(
        *(
            f"# TYPE model_accuracy gauge\n{'model_accuracy 1 5' + chr(10)}model_accuracy 1 5\n{LAWFUL.format(1, 2, n)}"
            for n in (3, 4)
        ),
        content_type=STRICT,
    ),
    "declared unlawfully": text(
        *["# TYPE a untyped\n# HELP b What it is.\n# TYPE b gauge\n# EOF\n"] * 4, content_type=STRICT
    ),
    "declared twice": text(*["# TYPE a gauge\n" + SOUND + "# TYPE a gauge\n"] * 3, telemetry=True),
    "excluded by a label": text(
        *(f'{DECLARED}{TOTAL}{{model="a"}} {n}\n{QUEUE.format(n, n, n)}' for n in range(4)),
        exclude_metrics_by_labels={"model": ["a"]},
    ),
    "declared in many words": text(
        *(
            f"# TYPE ours gauge\n{''.join(f'# HELP ours {line}.{chr(10)}' for line in range(12))}ours {n}\n"
            for n in range(4)
        ),
        metrics=["ours"],
    ),
    "more behind the end": text(*[LAWFUL.format(1, 2, 3)] * 3, "# EOF\n" + LAWFUL.format(3, 4, 5), content_type=STRICT),
}


@pytest.mark.parametrize("name", KNOWN_TO_MATTER)
def test_known_to_matter(name: str) -> None:
    compare(*KNOWN_TO_MATTER[name])


REAL = [*sorted((PAYLOADS / "real").glob("*.txt")), *sorted(PAYLOADS.glob("[dt]*/*.*"))]


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
@pytest.mark.parametrize("options", [{}, {"metrics": ["python_info", "^go_.*"]}], ids=["default", "own"])
def test_real(path: Path, options: dict[str, Any]) -> None:
    """Answers of real servers, whose totals grow, with a line lost or cut in between."""
    body = path.read_text(encoding="utf-8")
    strict = "openmetrics" in path.name
    chance = random.Random(path.name)

    def grown(by: float) -> str:
        return re.sub(
            r"(?m)^([^#\n]+? )([0-9.]+)((?: \d+)?)$", lambda match: f"{match[1]}{float(match[2]) + by}{match[3]}", body
        )

    scrapes = [Scrape(grown(by), STRICT if strict else TEXT) for by in (0, 1, 2, 2, 3)]
    lines = scrapes[-1].body.splitlines(keepends=True)
    del lines[chance.randrange(len(lines))]
    scrapes.append(Scrape("".join(lines), scrapes[0].content_type))
    scrapes.append(Scrape(scrapes[-1].body[:-40], scrapes[0].content_type, framed=False))
    scrapes.append(scrapes[-3])
    compare(options, scrapes)


def test_known_lines_need_no_parser() -> None:
    """What stays goes to its series without any parsing; of a known family only the lines that are new are parsed."""
    side, parse = Side({}, True), syntax.sample
    for number in range(3):
        side.scrape(Scrape(SOUND + "".join(f"# TYPE n{number}_{n} gauge\nn{number}_{n} 1\n" for n in range(50))))
    with patch.object(syntax, "sample", side_effect=AssertionError):
        found = side.scrape(Scrape(QUEUE.format(3, 9, 12) + CALLS.format("m", 8)))
    assert any("3.0" in call and "'model_serving.request.count'" in call for call in found["submitted"])
    for _ in range(3):
        side.scrape(Scrape(MANY))
    for new in "xyz":
        with patch.object(syntax, "sample", side_effect=parse) as parsed:
            found = side.scrape(Scrape(MANY.replace('"3"', f'"{new}"')))
        assert [call.args[0] for call in parsed.call_args_list] == [f'{TOTAL}{{model="{new}"}} 1']
        counts = [call for call in found["submitted"] if "'model_serving.request.count'" in call]
        assert [f"model_name:{new}" in call[4] for call in counts].count(True) == 1
        assert len(counts) == 8


def test_lines_that_are_gone_are_forgotten() -> None:
    """Never are more lines kept than twice those of a scrape, and some; a line that comes back is known, or parsed."""
    side = Side({}, True)
    cache = side.scraper.collector.cache

    def kept() -> int:
        return sum(len(family.lines) + len(family.older) for family in cache._families.values())

    for number in range(40):
        body = DECLARED + "".join(f'{TOTAL}{{model="{number % 13}-{n}"}} {number}\n' for n in range(500))
        side.scrape(Scrape(body + CALLS.format("m", number)))
        assert kept() <= 2 * 501 + cache_module.MANY + 501
    assert not side.scrape(Scrape(SOUND))["error"]
    for _ in range(3):
        side.scrape(Scrape(SOUND))
    assert kept() < 30


def test_metadata_that_always_changes() -> None:
    """Nor do declarations pile up whose text is another each time, used or not."""
    side = Side({}, True)
    cache = side.scraper.collector.cache
    for number in range(60):
        side.scrape(Scrape("".join(f"# HELP n{n} {number}.\n# TYPE n{n} gauge\n" for n in range(100)) + SOUND))
        assert len(cache._families) <= 2 * 206 + cache_module.MANY + 102


@pytest.mark.parametrize("bounds", ["one more each time", "others each time", "in another order"])
def test_buckets_that_always_change(bounds: str) -> None:
    """A histogram whose bounds are never the same takes no more memory than its lines, and is still counted."""
    side, chance = Side({"serving_system": "mlserver"}, True), random.Random(bounds)
    collector = side.scraper.collector
    most = 0
    for number in range(150):
        upper = {
            "one more each time": [float(number)],
            "others each time": [chance.random() for _ in range(20)],
            "in another order": chance.sample(range(20), 20),
        }[bounds]
        name = "batch_request_queue"
        lines = [f'{name}_bucket{{model="m",le="{bound}"}} 1\n' for bound in upper]
        body = f'# TYPE {name} histogram\n{"".join(lines)}{name}_bucket{{model="m",le="+Inf"}} 1\n'
        assert not side.scrape(Scrape(f'{body}{name}_sum{{model="m"}} 1\n{name}_count{{model="m"}} 1\n'))["error"]
        (series,) = collector.series.values()
        most = max(most, len(series.numbers))
        if number % 30 == 29:
            # A layout goes with the last series that has it, which is when the collector of garbage comes by.
            gc.collect()
            assert len(collector._layouts._known) <= 1
    assert most <= 2 * 24 + SPARE
    assert series.last is not None
    assert series.last.count == 1


def test_broken_lines_of_ever_new_names() -> None:
    """Their names are looked up, and not kept for ever."""
    side = Side({}, True)
    side.scrape(Scrape(SOUND))
    with patch.object(collector_module, "MAX_NAMES", 300):
        for number in range(20):
            side.scrape(Scrape(SOUND + "".join(f"broken{number}_{n}{{ 5\n" for n in range(90))))
            assert len(side.scraper.recogniser) <= 300 + 92


def test_lawful_repetition_keeps_what_the_user_named() -> None:
    """A series that comes twice in an OpenMetrics payload costs only itself."""
    side = Side({"metrics": ["ours"]}, True)
    body = '# TYPE ours counter\nours_total{a="1"} 5\nours_total{a="1"} 5\nours_total{a="2"} 5\n# EOF\n'
    for _ in range(2):
        found = side.scrape(Scrape(body, STRICT))
        assert [call[4][0] for call in found["submitted"] if "ours" in call[2]] == ["a:1", "a:2"]


def test_what_is_excluded_is_not_there() -> None:
    """A metric whose samples are all excluded does not stand in for another that feeds the same signal."""
    side = Side({"serving_system": "dcgm", "exclude_metrics_by_labels": {"x": ["1"]}}, True)
    body = (
        '# TYPE DCGM_FI_PROF_PCIE_TX_BYTES gauge\nDCGM_FI_PROF_PCIE_TX_BYTES{gpu="0",x="1"} 1\n'
        '# TYPE DCGM_FI_DEV_PCIE_TX_THROUGHPUT gauge\nDCGM_FI_DEV_PCIE_TX_THROUGHPUT{gpu="0"} 1\n'
    )
    for _ in range(3):
        assert any("model_serving.gpu.pcie.tx'" in call[2] for call in side.scrape(Scrape(body))["submitted"])


def test_declarations_need_no_parser() -> None:
    """A family that is declared and never used is parsed once."""
    side = Side({}, True)
    body = SOUND + "".join(f"# HELP n{n} What.\n# TYPE n{n} gauge\n" for n in range(50))
    for _ in range(2):
        side.scrape(Scrape(body))
    with patch.object(syntax, "sample", side_effect=AssertionError):
        assert not side.scrape(Scrape(body))["error"]


def test_series_that_is_swept() -> None:
    """A line whose series was forgotten counts for a new one, not for nobody."""
    options, gap = {"serving_system": "mlserver"}, collector_module.KEEP_UNSEEN + collector_module.SWEEP_EVERY
    scrapes = [
        SOUND,
        SOUND,
        *[QUEUE.format(1, 2, 3)] * gap,
        *(QUEUE.format(1, 2, 3) + CALLS.format("m", n) for n in (5, 8)),
    ]
    side = compare(*text(*scrapes, **options))
    counts = [call for call in side.agent.calls if call[2] == "'model_serving.request.count'"]
    assert [call[3] for call in counts] == ["3.0"]


def test_answer_that_breaks_off() -> None:
    """Numbers of an answer that was not complete meet none of the next one."""
    half = QUEUE.format(7, 8, 9).rpartition("batch_request_queue_sum")[0]
    whole = Scrape(QUEUE.format(1, 2, 3.5))
    compare(
        {},
        [whole, whole, Scrape(half, error=True), whole, Scrape(QUEUE.format(2, 3, 4)), Scrape(half, error=True), whole],
    )
