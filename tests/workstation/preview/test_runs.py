"""A page of runs of the check: what it draws is what the counters of a server have moved by, per interval."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import datadog_checks.base.checks.openmetrics.v2.base  # noqa: F401  (with its stubs, as other tests expect it)
import pytest

from datadog_checks.model_serving import ModelServingCheck
from datadog_checks.model_serving.workstation.preview.account import SimulatedAccount
from datadog_checks.model_serving.workstation.preview.data import Answers
from datadog_checks.model_serving.workstation.preview.drawing import draw_dashboard
from datadog_checks.model_serving.workstation.preview.recorded import Recorded
from datadog_checks.model_serving.workstation.preview.runs import record_runs
from datadog_checks.model_serving.workstation.standin.install import standing_in
from datadog_checks.model_serving.workstation.standin.recorder import Recorder
from datadog_checks.model_serving.workstation.standin.replay import replayed
from datadog_checks.model_serving.workstation.standin.runner import Round, Runner
from datadog_checks.model_serving.workstation.standin.standin import StandIn

from .test_data import request
from .test_page import text_of

FIRST = 1_700_000_447.6
"""When the first run is over: at 22:20:47 UTC, no whole minute, nor a multiple of the interval."""
INTERVAL = 15
REQUESTS = (1000, 1030, 1120, 1120, 1450)
FAST = (500, 515, 560, 560, 725)
"""Half of the requests take up to 0.1 s, the others up to 1 s."""
HEIGHT = 203
"""Of the inside of a graph, as `drawn` draws it."""
BUSY = (9, 4, 0, 2, 6)

PAYLOAD = """\
# TYPE model_infer_request_success counter
model_infer_request_success_total{{model="iris",version="v1"}} {requests}
# TYPE rest_server_requests_in_progress gauge
rest_server_requests_in_progress{{path="/infer",method="POST"}} {busy}
# TYPE rest_server_request_duration_seconds histogram
rest_server_request_duration_seconds_bucket{{path="/infer",method="POST",status_code="200",le="0.1"}} {fast}
rest_server_request_duration_seconds_bucket{{path="/infer",method="POST",status_code="200",le="1"}} {requests}
rest_server_request_duration_seconds_bucket{{path="/infer",method="POST",status_code="200",le="+Inf"}} {requests}
rest_server_request_duration_seconds_sum{{path="/infer",method="POST",status_code="200"}} {requests}
rest_server_request_duration_seconds_count{{path="/infer",method="POST",status_code="200"}} {requests}
"""


@contextmanager
def scraped() -> Iterator[list[Round]]:
    """The rounds of an instance that reads a server whose counters move, by a clock that does not wait."""
    payloads = [
        PAYLOAD.format(requests=requests, fast=fast, busy=busy).encode()
        for requests, fast, busy in zip(REQUESTS, FAST, BUSY, strict=True)
    ]
    now = [FIRST]
    with (
        replayed(payloads) as url,
        standing_in(StandIn(recorder=Recorder(lambda: now[0]), hostname="mine")) as stand_in,
    ):
        options = {"openmetrics_endpoint": url, "endpoint_name": "reco", "serving_system": "mlserver"}
        runner = Runner(ModelServingCheck, "model_serving", {}, [(1, options)], stand_in)
        rounds = []
        for number in range(len(payloads)):
            now[0] = FIRST + INTERVAL * number
            rounds.append(runner.run())
        runner.close()
    yield rounds


@pytest.fixture(scope="module")
def rounds() -> Iterator[list[Round]]:
    with scraped() as found:
        yield found


def recorded(rounds: list[Round], **options: Any) -> Recorded:
    return record_runs(rounds, INTERVAL + 0.3, "mine", **options)


COUNT = "sum:model_serving.request.count{*} by {model_name}.as_count()"
RATE = "sum:model_serving.request.count{*} by {endpoint_name}.as_rate()"
MOVED = [30, 90, 0, 330]


def test_a_graph_has_what_came_between_two_runs(rounds: list[Round]) -> None:
    """Counts, rates per second of the interval, gauges as they were found, at the time of the clock."""
    answers = Answers(recorded(rounds), {})
    (counts,) = answers.lines(request({"R": "a"}, a=COUNT))
    assert counts.name == "R: iris"
    assert counts.points == {int(FIRST) + INTERVAL * number: moved for number, moved in enumerate(MOVED)}
    (rates,) = answers.lines(request({"R": "a"}, a=RATE))
    assert list(rates.points.values()) == [2, 6, 0, 22]
    (busy,) = answers.lines(request({"B": "a"}, a="avg:model_serving.request.in_flight{*}"))
    assert list(busy.points.values()) == [4, 0, 2, 6], "what the first run found is before the time that is drawn"
    (zeroed,) = answers.lines(request({"R": "default_zero(a)"}, a=COUNT))
    assert list(zeroed.points.values()) == MOVED
    assert all("host:mine" in tags for tags in recorded(rounds).seen.metrics["model_serving.request.count"])


def test_a_value_is_of_all_runs(rounds: list[Round]) -> None:
    """As Datadog reduces them: sums of what came, the mean and the last of the points, percentiles of everything."""
    answers = Answers(recorded(rounds), {})

    def value(query: str, how: str) -> float | None:
        (row,) = answers.figures(request({"R": "a"}, how, a=query)).rows.values()
        return row[0]

    assert value(COUNT, "sum") == 450
    assert value(RATE, "avg") == 30 / 4
    assert value("avg:model_serving.request.in_flight{*}", "last") == 6
    latency = "model_serving.request.latency{*}"
    assert value(f"p40:{latency}", "percentile") == pytest.approx(0.1, abs=0.06), "within the first half"
    assert value(f"p99:{latency}", "percentile") == pytest.approx(1.0, rel=0.05)


def test_a_minute_is_whole_where_the_runs_take_one(rounds: list[Round]) -> None:
    """Whatever second of a minute they begin at; a longer bucket would look like one that is over."""
    per_minute = "sum:model_serving.request.count{*}.as_count().rollup(sum, 60)"
    answers = Answers(recorded(rounds), {})
    (line,) = answers.lines(request({"R": "a"}, a=per_minute))
    assert line.points == {int(FIRST): 450}
    asked = request({"R": "a"}, a=per_minute)
    short = Answers(recorded(rounds[:4]), {})
    assert short.lines(asked) == []
    assert short.why_empty([asked]) == "no data in these runs: each point would be of 60 s, which is longer"


def test_one_run_has_what_is_no_count(rounds: list[Round]) -> None:
    found = recorded(rounds[:1])
    answers = Answers(found, {})
    assert answers.lines(request({"R": "a"}, a=COUNT)) == []
    (busy,) = answers.lines(request({"B": "a"}, a="avg:model_serving.request.in_flight{*}"))
    assert list(busy.points.values()) == [9]
    assert "One run has no counts" in found.about


EMPTY = {
    "nobody sends it": ("avg:model_serving.gpu.power{*}", "gpu.power was not sent"),
    "two": ("avg:model_serving.gpu.power{*} + avg:model_serving.gpu.temperature{*}", "gpu.power and 1 more were not"),
    "a tag that it lacks": (
        "sum:model_serving.request.count{*} by {model_name,user}.as_count()",
        "request.count came without user",
    ),
    "a scope": ("sum:model_serving.request.count{team:b}.as_count()", "nothing of request.count has the tags"),
    "last week": (f"week_before({COUNT})", "this compares with what came before these runs"),
}


@pytest.mark.parametrize(("query", "reason"), EMPTY.values(), ids=EMPTY)
def test_a_widget_without_data_says_why(query: str, reason: str, rounds: list[Round]) -> None:
    assert reason in text_of(drawn(query, recorded(rounds)))


MARK = re.compile(r'<path transform="translate\([\d.]+,([\d.]+)\)"')
BAR = re.compile(r'<path d="M[\d.]+,[\d.]+h[\d.]+v([\d.]+)h-[\d.]+Z" fill="#4')
DRAWN = {
    "few points are marked": ("line", 5, MARK, [4, 0, 2, 6]),
    "one point is seen": ("line", 2, MARK, [4]),
    "an area of one point is a bar": ("area", 2, BAR, [4]),
    "bars": ("bars", 5, BAR, [4, 0, 2, 6]),
}


@pytest.mark.parametrize(("display", "times", "form", "busy"), DRAWN.values(), ids=DRAWN)
def test_few_points_are_seen_at_their_heights(
    display: str, times: int, form: re.Pattern[str], busy: list[int], rounds: list[Round]
) -> None:
    svg = drawn("avg:model_serving.request.in_flight{*}", recorded(rounds[:times]), display)
    # An axis begins at 0 and ends with the highest; what is marked is told by its distance from the top.
    heights = [float(text) for text in form.findall(svg)]
    whole = HEIGHT if form is MARK else 0.0
    assert [abs(whole - height) / HEIGHT * max(busy) for height in heights] == pytest.approx(busy, abs=0.01)
    assert re.search(r"\b22:2[01]:\d\d\b", text_of(svg)), "the time of a minute has seconds"


def drawn(query: str, found: Recorded, display: str = "line") -> str:
    """A dashboard of one graph."""
    definition = {"type": "timeseries", "requests": [{**request({"R": "a"}, a=query), "display_type": display}]}
    layout = {"x": 0, "y": 0, "width": 12, "height": 4}
    body = {"title": "T", "widgets": [{"definition": definition, "layout": layout}]}
    return draw_dashboard(body, SimulatedAccount([], found))
