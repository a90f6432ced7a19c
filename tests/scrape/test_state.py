"""What is counted over many scrapes, against a model of the truth; and what is remembered, which has bounds."""

from __future__ import annotations

import json
from collections import Counter
from math import inf
from typing import Any

import pytest
from datadog_checks.base.stubs import aggregator as aggregator_stub
from datadog_checks.base.stubs import datadog_agent as agent_stub
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from datadog_checks.model_serving import ModelServingCheck
from datadog_checks.model_serving.submit import persisted, processes, submitter

from ..conftest import Endpoint, make_check, spy_on_cache
from .generated import Clock

STEADY: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    # One server serves all examples of a test; everything else is made anew for each.
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}

FAILED = "a scrape that fails"
BROKEN_OFF = "a scrape that breaks off"


def check_of(endpoint: Endpoint, system: str) -> ModelServingCheck:
    aggregator_stub.reset()
    agent_stub.reset()
    return make_check(openmetrics_endpoint=endpoint.url, serving_system=system, readiness=False, tag_by_endpoint=False)


def scrape(check: ModelServingCheck, endpoint: Endpoint, body: str | None, length: int | None = None) -> bool:
    """One scrape of a body; None answers 500, and a length beyond the body's breaks it off. True when it worked."""
    if body is None:
        endpoint.serve("", status=500)
    elif length is not None:
        endpoint.serve(body, headers={"Content-Length": str(length)}, length=False)
    else:
        endpoint.serve(body)
    report = check.run()
    assert (report == "") is (body is not None and length is None), report
    return report == ""


def total(name: str, *tags: str) -> float:
    found = [metric.value for metric in aggregator_stub.metrics(f"model_serving.{name}") if {*tags} <= {*metric.tags}]
    return float(sum(found))


LABELS = ("a", "b", "c")
COUNTS = st.integers(0, 5) | st.integers(0, 10**12)
STEPS = st.lists(
    st.sampled_from([FAILED, BROKEN_OFF]) | st.dictionaries(st.sampled_from(LABELS), COUNTS),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, **STEADY)
@given(steps=STEPS)
def test_counters(steps: list[Any], endpoint: Endpoint) -> None:
    """Positive differences, the whole value after a fall, nothing at the first scrape, all of what appears later."""
    check = check_of(endpoint, "mlserver")
    truth = dict.fromkeys(LABELS, 0)
    last: dict[str, int] = {}
    scraped = False
    for step in steps:
        if step == FAILED:
            scrape(check, endpoint, None)
            continue
        values = dict.fromkeys(LABELS, 10**9) if step == BROKEN_OFF else step
        lines = [f'model_infer_request_success_total{{model="{label}"}} {value}\n' for label, value in values.items()]
        body = "".join(["other 1\n", *lines])
        if step == BROKEN_OFF:
            scrape(check, endpoint, body, len(body) + 1)
            continue
        assert scrape(check, endpoint, body)
        for label, value in values.items():
            if label in last:
                truth[label] += value - last[label] if value >= last[label] else value
            elif scraped:
                truth[label] += value
            last[label] = value
        scraped = True
    assert {label: total("request.count", f"model_name:{label}") for label in LABELS} == truth


@st.composite
def histogram_steps(draw: st.DrawFn) -> list[Any]:
    """Scrapes of one histogram, as (observations up to 1, up to 2, all, sum), each life of the process growing."""
    steps: list[Any] = []
    for _ in range(draw(st.integers(1, 3))):
        low = middle = high = 0
        for _ in range(draw(st.integers(0, 5))):
            low += draw(st.integers(0, 20))
            middle += draw(st.integers(0, 20))
            high += draw(st.integers(0, 20))
            steps.append((low, low + middle, low + middle + high, low * 0.5 + middle * 1.5 + high * 4))
            steps += draw(st.sampled_from([[], [], [FAILED], ["absent"]]))
    return steps


@settings(max_examples=60, **STEADY)
@given(steps=histogram_steps(), scale=st.sampled_from(["distributions", "buckets"]))
@example(steps=[(0, 0, 0, 0.0), (1, 2, 3, 6.0)], scale="distributions")
def test_histograms(steps: list[Any], scale: str, endpoint: Endpoint) -> None:
    """Count, sum and every bucket tell the same observations, in distributions and in stock buckets."""
    aggregator_stub.reset()
    agent_stub.reset()
    distributions = scale == "distributions"
    check = make_check(
        openmetrics_endpoint=endpoint.url,
        serving_system="mlserver",
        readiness=False,
        histogram_buckets_as_distributions=distributions,
        non_cumulative_histogram_buckets=True,
    )
    last: tuple[float, ...] | None = None
    truth = [0.0] * 4
    assert scrape(check, endpoint, "other 1\n")
    for step in steps:
        if step == FAILED:
            scrape(check, endpoint, None)
            continue
        if step == "absent":
            scrape(check, endpoint, "other 1\n")
            continue
        low, middle, everything, summed = step
        body = "".join(
            f"batch_request_queue_{part} {value}\n"
            for part, value in (
                ('bucket{le="1.0"}', low),
                ('bucket{le="2.0"}', middle),
                ('bucket{le="+Inf"}', everything),
                ("count", everything),
                ("sum", summed),
            )
        )
        assert scrape(check, endpoint, body)
        fell = last is not None and any(now < before for now, before in zip(apart(step), apart(last), strict=True))
        since = (0.0, 0.0, 0.0, 0.0) if last is None or fell else last
        truth = [sum(parts) for parts in zip(truth, step, (-each for each in since), strict=True)]
        last = step
    assert total("scrape.samples.rejected") == 0
    assert total("request.queue.depth.count") == truth[2]
    assert total("request.queue.depth.sum") == pytest.approx(truth[3])
    if distributions:
        found = dict.fromkeys((1.0, 2.0, inf), 0.0)
        for bucket in aggregator_stub.histogram_bucket("model_serving.request.queue.depth"):
            found[next(bound for bound in found if bucket.upper_bound <= bound)] += bucket.value
        assert [found[1.0], found[1.0] + found[2.0], sum(found.values())] == truth[:3]
    else:
        first, second = (total("request.queue.depth.bucket", f"upper_bound:{bound}") for bound in ("1.0", "2.0"))
        assert [first, first + second] == truth[:2]


def apart(step: tuple[float, ...]) -> tuple[float, ...]:
    """A reading with the observations of each bucket alone: any that falls shows a reset."""
    low, middle, everything, summed = step
    return low, middle - low, everything - middle, everything, summed


@settings(max_examples=60, **STEADY)
@given(
    steps=st.lists(
        st.sampled_from([FAILED, "restart", "absent"]) | st.tuples(st.integers(0, 30), st.sampled_from(LABELS)),
        max_size=20,
    )
)
@example(steps=[(0, "a"), (1, "a"), "restart", (0, "a"), (1, "a")])
def test_minutes(steps: list[Any], endpoint: Endpoint) -> None:
    """Each minute of each series counts once, however often, late or mixed up it is seen, also by a new Agent."""
    check = check_of(endpoint, "databricks")
    seen: set[tuple[int, str]] = set()
    for step in steps:
        if step == "restart":
            check = make_check(**check.instance)
        elif step == "absent":
            scrape(check, endpoint, "cpu_usage_percentage 7\n")
        elif step == FAILED:
            scrape(check, endpoint, None)
        else:
            minute, label = step
            labels, when = f'served_entity_name="{label}"', (29_811_967 + minute) * 60_000
            # A minute's totals tell which minute it is, so that one that counts twice or for another shows.
            body = (
                f"request_count_total{{{labels}}} {2**minute} {when}\n"
                f"request_latency_ms_count{{{labels}}} {2**minute} {when}\n"
                f"request_latency_ms_sum{{{labels}}} 5 {when}\n"
            )
            assert scrape(check, endpoint, body)
            seen.add(step)
    for label in LABELS:
        truth = sum(2**minute for minute, of in seen if of == label)
        assert total("request.count", f"served_entity:{label}") == truth
        assert total("request.latency.count", f"served_entity:{label}") == truth


@pytest.mark.parametrize(
    ("minutes", "counted"),
    [
        ([0, 1, 100, 99, 1, 0], [0, 1, 100, 99]),
        ([100_000, 0, 0, 1, 2], [100_000, 0, 1, 2]),
        ([0, 31, 0, 32, 1, 2], [0, 31, 32, 1, 2]),
        ([0, 10**9, 1, 2], [0, 10**9, 1, 2]),
        ([0, 32, 0, 1], [0, 32, 1]),
        ([1439, 0, 1439, 1440], [1439, 1440]),
        ([1440, 0, 0, 1], [1440, 0, 1]),
    ],
    ids=[
        "too late to tell",
        "a clock put right",
        "just in time",
        "a time of no sense",
        "the first that is too late",
        "late by all but a day",
        "a day behind, which only a clock can be",
    ],
)
def test_odd_minutes(minutes: list[int], counted: list[int], endpoint: Endpoint) -> None:
    """A minute too late to tell is left out, but a clock that was wrong once stops nothing for good."""
    check = check_of(endpoint, "databricks")
    found = []
    for minute in minutes:
        aggregator_stub.reset()
        assert scrape(check, endpoint, f"request_count_total 1 {(29_811_967 + minute) * 60_000}\n")
        found += [minute] * len(aggregator_stub.metrics("model_serving.request.count"))
    assert found == counted


@pytest.mark.parametrize("cache", ["", "{", "[]", '"x"', '{"minutes": []}', '{"minutes": {"a": "b"}}', '{"codes": 5}'])
def test_broken_cache(cache: str, endpoint: Endpoint) -> None:
    """A persistent cache that holds nonsense is started anew."""
    check = check_of(endpoint, "databricks")
    check.write_persistent_cache(persisted.CACHE_KEY, cache)
    for _ in range(2):
        assert scrape(check, endpoint, "request_count_total 3 60000\n")
    assert total("request.count") == 3
    assert set(json.loads(check.read_persistent_cache(persisted.CACHE_KEY))) == set(persisted.PARTS)


def test_cache_is_written_when_something_changed(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file on the Agent's disk is written once for each minute, not with each scrape."""
    check = check_of(endpoint, "databricks")
    written = spy_on_cache(check, monkeypatch)
    for minute in (1, 1, 1, 2, 2):
        assert scrape(check, endpoint, f"request_count_total 3 {minute * 60_000}\n")
    assert len(written) == 2


def test_clock_without_timestamps(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without timestamps each minute of the clock counts once, at whatever interval, also when the clock goes back."""
    check = check_of(endpoint, "databricks")
    counted = []
    # The clock goes back by hours, and then by the 32 minutes that are told apart.
    times = (60_000, 60_001, 60_059.9, 60_060, 60_125, 60_119, 60_120, 50_000, 50_001, 50_060, 48_140, 48_150, 48_200)
    for now in times:
        monkeypatch.setattr(submitter, "time", Clock(now))
        aggregator_stub.reset()
        scrape(check, endpoint, "request_count_total 1\n")
        counted += [now] * len(aggregator_stub.metrics("model_serving.request.count"))
    assert counted == [60_000, 60_060, 60_125, 50_000, 50_060, 48_140, 48_200]


# -- devices, whose counters go on while those who hold them come and go


GPU_LABELS = ('UUID="GPU-{gpu}"', 'gpu_uuid="GPU-{gpu}"', 'uuid="GPU-{gpu}",gpu="{gpu}"')
PASSENGERS = (
    'pod="{word}"',
    'pod="{word}",namespace="n",container="c"',
    'pod_uid="{word}"',
    'hpc_job="{word}"',
    'vgpu="{word}"',
    'Hostname="{word}"',
    'hostname="{word}"',
    'DCGM_FI_DRIVER_VERSION="{word}"',
    'GPU_I_ID="{word}",GPU_I_PROFILE="1g"',
    'job="{word}",instance="{word}:9400"',
    'rack="{word}"',
)
"""Labels that say nothing of which GPU a line is about."""


@st.composite
def spellings(draw: st.DrawFn) -> list[tuple[str, ...]]:
    """How one scrape labels the lines of three GPUs: for each, one line or more that say the same."""
    words = st.sampled_from("abc")
    labels = st.lists(st.sampled_from(PASSENGERS), max_size=3, unique_by=lambda text: text.partition("=")[0])
    spelt: list[tuple[str, ...]] = []
    for gpu in range(3):
        lines = st.tuples(st.sampled_from(GPU_LABELS), labels, words)
        spelt.append(
            tuple(
                ",".join((name, *others)).format(gpu=gpu, word=word)
                for name, others, word in draw(st.lists(lines, min_size=1, max_size=3))
            )
        )
    return spelt


@settings(max_examples=60, **STEADY)
@given(
    steps=st.lists(
        st.just(FAILED)
        | st.tuples(
            spellings(),
            st.lists(
                st.tuples(st.integers(0, 3), st.integers(0, 1000), st.sampled_from((0, 31, 79))), min_size=3, max_size=3
            ),
            st.randoms(use_true_random=False),
        ),
        max_size=8,
    )
)
def test_identity(steps: list[Any], endpoint: Endpoint) -> None:
    """However the lines of a GPU are labelled, repeated and ordered, its counts and its errors are the same."""
    check = check_of(endpoint, "dcgm")
    errors, joules, codes = [7] * 3, [900_000] * 3, [0] * 3
    due: Counter[str] = Counter()
    events: list[str] = []
    begun = False
    for step in steps:
        if step == FAILED:
            scrape(check, endpoint, None)
            continue
        labels, more, order = step
        for gpu, (new_errors, new_joules, code) in enumerate(more):
            errors[gpu] += new_errors
            joules[gpu] += new_joules
            if begun:
                due["ecc"] += new_errors
                due["energy"] += new_joules
                if code not in (0, codes[gpu]):
                    due["xid"] += 1
                    events.append(f"XID {code}")
            codes[gpu] = code
        lines = [
            f"{name}{{{text}}} {value}\n"
            for gpu, spelt in enumerate(labels)
            for text in dict.fromkeys(spelt)
            for name, value in (
                ("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", errors[gpu]),
                ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", joules[gpu] * 1000),
                ("DCGM_FI_DEV_XID_ERRORS", codes[gpu]),
                ("DCGM_FI_DEV_GPU_TEMP", 40 + gpu),
            )
        ]
        order.shuffle(lines)
        before = len(aggregator_stub.metrics("model_serving.gpu.temperature"))
        assert scrape(check, endpoint, "".join(lines))
        assert sorted(m.value for m in aggregator_stub.metrics("model_serving.gpu.temperature")[before:]) == [
            40,
            41,
            42,
        ]
        begun = True
    assert total("gpu.ecc.count") == due["ecc"]
    assert total("gpu.energy.count") == due["energy"]
    assert total("gpu.xid.count") == due["xid"]
    titles = [event["msg_title"].partition(": ")[2] for event in aggregator_stub.events]
    # A driver's version is told as well.
    assert sorted(filter(None, titles)) == sorted(events)


def test_codes_that_are_remembered(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more devices than are remembered, those seen last have their errors told that came while no Agent ran."""
    monkeypatch.setattr(persisted, "MAX_CODES", 3)
    check = check_of(endpoint, "dcgm")
    for gpu in (0, 1, 2, 0, 3, 4):
        assert scrape(check, endpoint, f'DCGM_FI_DEV_XID_ERRORS{{gpu="{gpu}"}} 79\n')
    check = make_check(**check.instance)
    assert scrape(check, endpoint, "".join(f'DCGM_FI_DEV_XID_ERRORS{{gpu="{gpu}"}} 48\n' for gpu in range(5)))
    assert [gpu for gpu in range(5) if total("gpu.xid.count", f"gpu:{gpu}")] == [0, 3, 4]


# -- processes that start anew


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        ([(1000, 10), (1000, 14)], [4]),
        ([(1000, 10), (2000, 14)], [14]),
        ([(1000, 10), (1000, 4)], []),
        ([(1000, 10), (1001, 14)], [4]),
        ([(1000, 10), (999, 14)], [4]),
        ([(1000, 10), (1001, 12), (1002, 14), (1003, 17)], [2, 2, 3]),
        ([(1000, 10), (1000.4, 4)], [4]),
        ([(1000, 10), (None, 14)], [4]),
        ([(None, 10), (None, 4)], [4]),
        ([(1000, 10), (1002, 14)], [14]),
        ([(1000, 10), (None, 12), (2000, 14)], [2, 14]),
        ([(1000, 10), (2000, None), (2000, 14)], [14]),
        ([(1000, 10), ("NaN", 14), ("NaN", 15)], [4, 1]),
    ],
    ids=[
        "goes on",
        "another process",
        "the same process lost a part",
        "a start that trembles",
        "a start that goes back",
        "a start that drifts",
        "another process soon after",
        "a start no longer told",
        "never told",
        "another process two seconds later",
        "another process after one that was not told",
        "absent while another process starts",
        "a start that is no number",
    ],
)
def test_process_start(
    readings: list[tuple[Any, Any]], expected: list[int], endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a process started tells a reset that no fall shows, and that a fall is none."""
    check = check_of(endpoint, "mlserver")
    clock = Clock(1000)
    monkeypatch.setattr(submitter, "time", clock)
    for start, value in readings:
        clock.now = max(clock.now, start if isinstance(start, int | float) else 0) + 15
        body = "other 1\n"
        body += f"process_start_time_seconds {start}\n" if start is not None else ""
        body += f'model_infer_request_success_total{{model="m"}} {value}\n' if value is not None else ""
        assert scrape(check, endpoint, body)
    assert [metric.value for metric in aggregator_stub.metrics("model_serving.request.count")] == expected


@settings(max_examples=80, **STEADY)
@given(
    starts=st.lists(
        st.sampled_from((1_700_000_000.0, 1_700_000_000.3, 1_700_000_003.0, 1_700_050_000.0)),
        min_size=2,
        max_size=4,
        unique=True,
    ),
    begin=st.lists(st.integers(0, 1000), min_size=4, max_size=4),
    turns=st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 50), min_size=4, max_size=4)), max_size=12),
)
def test_processes_in_turn(
    starts: list[float], begin: list[int], turns: list[tuple[int, list[int]]], endpoint: Endpoint
) -> None:
    """Of processes that answer in turn each one's increase is counted once, when it is met again; nothing is invented.

    Two of which one can't tell by their starts whether they are one are not tried.
    """
    assume(max(starts) - min(starts) > 1)
    starts = [start for start in starts if start != 1_700_000_000.3 or 1_700_000_000.0 not in starts]
    check = check_of(endpoint, "mlserver")
    made, shown, due = list(begin), {}, 0
    met: list[int] = []
    warned = False
    for which, more in turns:
        which %= len(starts)
        for number in range(len(starts)):
            made[number] += more[number]
        body = (
            f"process_start_time_seconds {starts[which]}\n"
            f'model_infer_request_success_total{{model="m"}} {made[which]}\n'
            f"model_infer_request_duration_count {made[which]}\nmodel_infer_request_duration_sum {made[which] * 2}\n"
            f'rest_server_requests_in_progress{{app_name="mlserver"}} {which + 1}\n'
        )
        aggregator_stub.reset()
        assert scrape(check, endpoint, body)
        new = made[which] - shown.get(which, made[which])
        due += new
        assert total("request.count") == new
        assert total("request.inference.latency.count") == new
        assert total("request.inference.latency.sum") == new * 2
        shown[which] = made[which]
        met.append(which)
        proven = any(starts[met[n]] < starts[met[n - 1]] for n in range(1, len(met)))
        warned = any("several processes answer" in warning for warning in check.warnings)
        assert warned == proven
        check.warnings.clear()
        if proven:
            # Each is in the last 16 scrapes.
            (gauge,) = aggregator_stub.metrics("model_serving.request.in_flight")
            assert gauge.value == sum(number + 1 for number in set(met))
    assert due >= 0


def test_a_worker_that_begins_anew(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a process that began after the last answer everything is news, also where others answer in turn."""
    check = check_of(endpoint, "mlserver")
    clock = Clock(5000)
    monkeypatch.setattr(submitter, "time", clock)
    counted = []
    for now, start, value in (
        (5000, 1000, 10),
        (5015, 1003, 70),
        (5030, 1000, 11),
        (5045, 5040, 5),
        (5060, 1003, 72),
        (5075, 5040, 6),
    ):
        clock.now = now
        aggregator_stub.reset()
        body = f"process_start_time_seconds {start}\n" + f'model_infer_request_success_total{{model="m"}} {value}\n'
        assert scrape(check, endpoint, body)
        counted.append(total("request.count"))
    assert counted == [0, 0, 1, 5, 2, 1]


def test_processes_without_a_start(endpoint: Endpoint) -> None:
    """A counter that falls and is back at once, again and again, is of two processes. That is said."""
    check = check_of(endpoint, "mlserver")
    warned = []
    for value in (1000, 400, 1001, 402, 1003, 404):
        assert scrape(check, endpoint, f'model_infer_request_success_total{{model="m"}} {value}\n')
        warned.append(any("several processes" in warning for warning in check.warnings))
        check.warnings.clear()
    assert warned == [False, False, False, False, True, True]
    other = check_of(endpoint, "mlserver")
    for value in (1000, 0, 10, 20, 30, 1, 11, 0, 9, 18, 27, 36):
        assert scrape(other, endpoint, f'model_infer_request_success_total{{model="m"}} {value}\n')
        assert not any("several processes" in warning for warning in other.warnings)


def test_processes_without_end(endpoint: Endpoint) -> None:
    """Processes that come and go for good leave nothing behind."""
    check = check_of(endpoint, "mlserver")
    for number in range(300):
        start = 1_700_000_000 + (number * 7919) % 100_000
        assert scrape(
            check, endpoint, f'process_start_time_seconds {start}\nmodel_infer_request_success_total{{model="m"}} 5\n'
        )
    (scraper,) = check.scrapers.values()
    (series,) = scraper.collector.series.values()
    assert series.others is not None
    assert len(series.others) <= processes.MAX_PROCESSES


def test_sums(endpoint: Endpoint) -> None:
    """A sum that falls shows a reset that the counts hide; one that lost a rounding error does not."""
    check = check_of(endpoint, "mlserver")
    for number, summed in ((5, 100.0), (6, 3.0), (7, 3.0 - 1e-12), (9, 4.0), (11, 3.99999)):
        assert scrape(
            check,
            endpoint,
            f"other 1\nmodel_infer_request_duration_count {number}\nmodel_infer_request_duration_sum {summed}\n",
        )
    counts = [metric.value for metric in aggregator_stub.metrics("model_serving.request.inference.latency.count")]
    sums = [metric.value for metric in aggregator_stub.metrics("model_serving.request.inference.latency.sum")]
    assert counts == [6, 1, 2, 11]
    assert sums == pytest.approx([3, 0, 1, 3.99999])
    assert min(sums) >= 0


def test_sum_that_may_fall(endpoint: Endpoint) -> None:
    """The sum of predictions falls with negative ones, which is no reset."""
    check = check_of(endpoint, "custom_ml")
    for number, summed in ((5, 10.0), (7, 4.0)):
        assert scrape(check, endpoint, f"prediction_values_count {number}\nprediction_values_sum {summed}\n")
    assert total("model.prediction.count") == 2
    assert total("model.prediction.sum") == -6
    assert total("model.prediction.mean") == -3


# -- memory


def test_churn(endpoint: Endpoint) -> None:
    """Series that come and go for good leave nothing behind; those that stay are kept."""
    check = check_of(endpoint, "mlserver")
    fresh, biggest = 40, 0
    for number in range(80):
        lines = [f'model_infer_request_success_total{{model="{number}-{n}"}} 1\n' for n in range(fresh)]
        assert scrape(
            check, endpoint, f'model_infer_request_success_total{{model="stays"}} {number}\n' + "".join(lines)
        )
        (scraper,) = check.scrapers.values()
        biggest = max(biggest, len(scraper.collector.series))
    assert fresh * 80 > 3000, "more came than is kept"
    assert biggest <= 1000 + 17 * (fresh + 1)
    assert total("request.count", "model_name:stays") == 79
    assert total("request.count") == 79 + 79 * fresh


def test_churn_of_targets_and_names(endpoint: Endpoint) -> None:
    """Nor do targets behind a federation, devices, minutes and names never seen before grow the memory for good."""
    check = check_of(endpoint, "dcgm")
    for number in range(30):
        lines = [
            f'DCGM_FI_DEV_XID_ERRORS{{gpu="0",pod="{number}-{n}",job="j",instance="{number}-{n}"}} 0\n'
            f'process_start_time_seconds{{job="j",instance="{number}-{n}"}} 1\n'
            f"unknown_{number}_{n} 1\n"
            for n in range(250)
        ]
        assert scrape(check, endpoint, "".join(lines))
    (scraper,) = check.scrapers.values()
    assert len(scraper.collector.series) <= 1000 + 17 * 250
    assert len(scraper.recogniser) <= 20_000 + 1000
    assert len(json.loads(check.read_persistent_cache(persisted.CACHE_KEY))["codes"]) <= persisted.MAX_CODES
    held = [value for value in vars(scraper.submitter).values() if isinstance(value, dict | set | list)]
    assert max(len(value) for value in held) <= 1000


def test_names_of_one_scrape(endpoint: Endpoint) -> None:
    """Names without end in one payload are counted, not kept."""
    check = check_of(endpoint, "mlserver")
    assert scrape(check, endpoint, "".join(f"n{number} 1\n" for number in range(30_000)) + good_end())
    (scraper,) = check.scrapers.values()
    assert scraper.collector.samples == 30_001
    assert max(len(scraper.collector.unclaimed), len(scraper.recogniser)) <= 20_001
    assert ("", "model_infer_request_success") in scraper.collector.present


def good_end() -> str:
    return 'model_infer_request_success_total{model="m"} 1\n'


def test_vanished_series(endpoint: Endpoint) -> None:
    """A series that is gone for some scrapes is remembered, and its return is no traffic."""
    check = check_of(endpoint, "mlserver")
    for number in range(60):
        present = number < 2 or number == 59
        body = good_end().replace("} 1", "} 5") if present else ""
        assert scrape(check, endpoint, f"other 1\n{body}")
    assert total("request.count") == 0
