"""Submissions become the points that the Agent would send."""

from __future__ import annotations

import math
from itertools import count
from typing import Any

import pytest

from datadog_checks.model_serving.workstation.standin.aggregation import Aggregation, Commit, Context, combine
from datadog_checks.model_serving.workstation.standin.recorder import MetricType, Recorder
from datadog_checks.model_serving.workstation.standin.sketch import Sketch, key_of

G, R, C, M, K, H, HR = MetricType
FIRST = "flush_first_value"
NONE: dict[str, float] = {}


class Agent:
    """A recorder and an aggregation whose clock moves 10 s at every submission."""

    def __init__(self) -> None:
        ticks = count(1000, 10)
        self.recorder = Recorder(clock=lambda: float(next(ticks)))
        self.aggregation = Aggregation()

    def commit(self, check_id: str = "c") -> Commit:
        self.aggregation.add(self.recorder.take())
        return self.aggregation.commit(check_id)


def points(commit: Commit) -> dict[str, float]:
    return {series.context.name.removeprefix("m") or series.type: series.value for series in commit.series}


# Type, samples of each run (a pair carries flush_first_value), and the points of each run: by the suffix of the
# name, or by the type where there is none.
CASES: dict[str, tuple[MetricType, list[list[Any]], list[dict[str, float]]]] = {
    "the last gauge of a run wins": (G, [[1, 5, 3], [], [0]], [{"gauge": 3}, NONE, {"gauge": 0}]),
    "counts add up within a run": (C, [[1, 2.5], [0], []], [{"count": 3.5}, {"count": 0}, NONE]),
    "counters add up and are a rate": (K, [[1, 1], []], [{"rate": 2}, NONE]),
    "a monotonic count starts at its first sample": (M, [[10], [13], [13]], [NONE, {"count": 3}, {"count": 0}]),
    "a monotonic count adds up within a run": (M, [[2, 3, 6, 7], [10, 11]], [{"count": 5}, {"count": 4}]),
    "a monotonic count survives a run without it": (
        M,
        [[10], [], [], [], [17]],
        [NONE, NONE, NONE, NONE, {"count": 7}],
    ),
    "a fall of a monotonic count is no increase": (M, [[10], [4], [6]], [NONE, {"count": 0}, {"count": 2}]),
    "a fall within a run keeps the rest": (M, [[10, 15, 2, 5]], [{"count": 8}]),
    "the first value is flushed when asked": (M, [[(10, FIRST)], [(13, FIRST)]], [{"count": 10}, {"count": 3}]),
    "a fall is flushed when asked": (M, [[(10, FIRST)], [(4, FIRST)]], [{"count": 10}, {"count": 4}]),
    "and replaces what the run had gathered": (M, [[(10, FIRST), (15, FIRST), (4, FIRST)]], [{"count": 4}]),
    "a rate needs two runs": (R, [[5], [8], [8]], [NONE, {"gauge": 0.3}, {"gauge": 0}]),
    "a rate takes the last two samples": (R, [[5, 100, 110], []], [{"gauge": 1}, NONE]),
    "a falling rate is discarded": (R, [[5], [1], [21]], [NONE, NONE, {"gauge": 2}]),
    "a histogram is five metrics": (
        H,
        [[4, 1, 2, 3, 10], [7]],
        [
            {".max": 10, ".median": 3, ".avg": 4, ".count": 5, ".95percentile": 10},
            {".max": 7, ".median": 7, ".avg": 7, ".count": 1, ".95percentile": 7},
        ],
    ),
    "a histogram's median of an even number is the lower": (
        H,
        [[float(number) for number in range(1, 101)]],
        [{".max": 100, ".median": 50, ".avg": 50.5, ".count": 100, ".95percentile": 95}],
    ),
    "a historate is a histogram of rates": (
        HR,
        [[0, 10, 40]],
        [{".max": 3, ".median": 1, ".avg": 2, ".count": 2, ".95percentile": 3}],
    ),
}


@pytest.mark.parametrize(("kind", "runs", "expected"), CASES.values(), ids=CASES.keys())
def test_points(kind: MetricType, runs: list[list[Any]], expected: list[dict[str, float]]) -> None:
    agent = Agent()
    for samples, points_of_run in zip(runs, expected, strict=True):
        for sample in samples:
            value, first = (sample[0], True) if isinstance(sample, tuple) else (sample, False)
            agent.recorder.sample("c", kind, "m", float(value), ("a:1",), "", first)
        assert points(agent.commit()) == pytest.approx(points_of_run)


# Buckets of each run as (value, lower, upper), options, and the counts by key of each run.
BUCKETS: dict[str, tuple[dict[str, bool], list[list[tuple[int, float, float]]], list[dict[float, int]]]] = {
    "increments are inserted as they are": ({}, [[(1, 1, 1), (2, 4, 4)], [(1, 1, 1)]], [{1: 1, 4: 2}, {1: 1}]),
    "a zero inserts nothing": ({}, [[(0, 1, 2)]], [{}]),
    "a negative count is discarded": ({}, [[(-3, 1, 2)]], [{}]),
    "all above the last bound is at that bound": ({}, [[(9, 2, math.inf)]], [{2: 9}]),
    "descending bounds are discarded": ({}, [[(3, 2, 1)]], [{}]),
    "bounds that are no numbers are discarded": ({}, [[(3, math.nan, 1), (3, -math.inf, 1)]], [{}]),
    "monotonic buckets give what they gained": ({"monotonic": True}, [[(5, 1, 1)], [(7, 1, 1)]], [{}, {1: 2}]),
    "monotonic buckets without a bound tag spoil each other": (
        {"monotonic": True},
        [[(5, 1, 1), (7, 4, 4)], [(5, 1, 1), (8, 4, 4)]],
        [{4: 2}, {4: 3}],
    ),
    "told apart by bound they do not": (
        {"monotonic": True, "by_bound": True},
        [[(5, 1, 1), (7, 4, 4)], [(5, 1, 1), (8, 4, 4)]],
        [{}, {4: 1}],
    ),
    "a monotonic bucket of 0 is not remembered": (
        {"monotonic": True},
        [[(0, 1, 1)], [(6, 1, 1)], [(8, 1, 1)]],
        [{}, {}, {1: 2}],
    ),
    "a monotonic bucket that fell gives nothing": (
        {"monotonic": True},
        [[(5, 1, 1)], [(2, 1, 1)], [(3, 1, 1)]],
        [{}, {}, {1: 1}],
    ),
    "unless its first value is flushed": (
        {"monotonic": True, "flush_first_value": True},
        [[(5, 1, 1)], [(2, 1, 1)]],
        [{1: 5}, {1: 2}],
    ),
    "a monotonic bucket is forgotten after two runs without it": (
        {"monotonic": True},
        [[(5, 1, 1)], [], [], [(9, 1, 1)]],
        [{}, {}, {}, {}],
    ),
    "but not after one": ({"monotonic": True}, [[(5, 1, 1)], [], [(9, 1, 1)]], [{}, {}, {1: 4}]),
}


@pytest.mark.parametrize(("options", "runs", "expected"), BUCKETS.values(), ids=BUCKETS.keys())
def test_buckets(
    options: dict[str, bool], runs: list[list[tuple[int, float, float]]], expected: list[dict[float, int]]
) -> None:
    agent = Agent()
    for buckets, bins in zip(runs, expected, strict=True):
        for value, lower, upper in buckets:
            agent.recorder.bucket("c", "m", value, lower, upper, tags=("a:1",), **options)
        inserted = [distribution.sketch.bins for distribution in agent.commit().distributions]
        assert inserted == ([{key_of(value): number for value, number in bins.items()}] if bins else [])


def test_bounds_have_single_precision() -> None:
    """With so many counts the eighth digit of a bound moves some of them."""
    agent = Agent()
    agent.recorder.bucket("c", "m", 10**12, 0.1, 0.7)
    (distribution,) = agent.commit().distributions
    single, exact = Sketch(), Sketch()
    single.insert_bucket(0.10000000149011612, 0.699999988079071, 10**12)
    exact.insert_bucket(0.1, 0.7, 10**12)
    assert distribution.sketch.bins == single.bins != exact.bins


def test_a_bound_beyond_single_precision_is_infinite() -> None:
    agent = Agent()
    agent.recorder.bucket("c", "m", 3, 1.0, 1e300)
    (distribution,) = agent.commit().distributions
    assert distribution.sketch.bins == {key_of(1.0): 3}


@pytest.mark.parametrize(
    ("kind", "name", "value", "complaint"),
    [
        (G, "nan", math.nan, "nan: the value nan is not finite"),
        (C, "inf", math.inf, "inf: the value inf is not finite"),
    ],
)
def test_values_that_are_not_finite_are_discarded(kind: MetricType, name: str, value: float, complaint: str) -> None:
    agent = Agent()
    agent.recorder.sample("c", kind, name, value)
    commit = agent.commit()
    assert commit.series == []
    assert commit.discarded == [complaint]
    assert agent.commit().discarded == []


def test_what_is_discarded_is_told() -> None:
    agent = Agent()
    agent.recorder.sample("c", R, "falls", 5.0)
    agent.commit()
    agent.recorder.sample("c", R, "falls", 4.0)
    agent.recorder.sample("c", G, "two types", 4.0)
    agent.recorder.sample("c", C, "two types", 4.0)
    agent.recorder.bucket("c", "negative", -1, 0, 1)
    agent.recorder.bucket("c", "bounds", 1, 2, 1)
    assert sorted(agent.commit().discarded) == [
        "bounds: the bucket bounds 2 to 1 are invalid",
        "falls: the rate is negative, as after a restart of the counter",
        "negative: the bucket count -1 is negative",
        "two types: a count of the tags of a gauge counts as the latter",
    ]


def test_a_rate_within_one_instant_is_discarded() -> None:
    recorder, aggregation = Recorder(clock=lambda: 5.0), Aggregation()
    recorder.sample("c", R, "m", 1.0)
    recorder.sample("c", R, "m", 2.0)
    aggregation.add(recorder.take())
    assert aggregation.commit("c").discarded == ["m: a rate needs two samples at different times"]


def test_contexts_are_name_tag_set_and_host() -> None:
    """Order and repetition of tags do not matter; a different host does."""
    agent = Agent()
    for tags, host in [(("b", "a"), ""), (("a", "b", "a"), ""), (("a", "b"), "h"), (("a",), "")]:
        agent.recorder.sample("c", C, "m", 1.0, tags, host)
    assert [(series.context, series.value) for series in agent.commit().series] == [
        (Context("m", ("a",), ""), 1),
        (Context("m", ("a", "b"), ""), 2),
        (Context("m", ("a", "b"), "h"), 1),
    ]


def test_instances_never_mix_and_commit_apart() -> None:
    """What an instance submits while another commits waits for its own commit."""
    agent = Agent()
    agent.recorder.sample("one", C, "m", 1.0)
    agent.recorder.sample("two", C, "m", 10.0)
    agent.recorder.bucket("two", "d", 2, 1, 1)
    assert points(agent.commit("one")) == {"count": 1}
    agent.recorder.sample("two", C, "m", 5.0)
    commit = agent.commit("two")
    assert points(commit) == {"count": 15}
    assert commit.distributions[0].sketch.count == 2


def test_rounds_combine() -> None:
    """Counts and sketches add up, gauges and rates are the last, what vanished stays."""
    agent, commits = Agent(), []
    for number in (1.0, 2.0):
        agent.recorder.sample("c", C, "count", number)
        agent.recorder.sample("c", G, "gauge", number)
        agent.recorder.sample("c", M, "monotonic", number * 100)
        agent.recorder.bucket("c", "d", int(number), number, number)
        if number == 1:
            agent.recorder.sample("c", G, "gone", math.nan)
            agent.recorder.sample("c", G, "early", number)
        commits.append(agent.commit())
    whole = combine(commits)
    assert {series.context.name: (series.type, series.value) for series in whole.series} == {
        "count": ("count", 3),
        "gauge": ("gauge", 2),
        "monotonic": ("count", 100),
        "early": ("gauge", 1),
    }
    (distribution,) = whole.distributions
    assert (distribution.sketch.count, distribution.sketch.sum) == (3, pytest.approx(5, rel=0.01))
    assert whole.discarded == ["gone: the value nan is not finite"]


def test_sketches_of_the_current_second_are_held_back() -> None:
    """As the Agent does where asked for: they come with the next commit, in one sketch with what came since."""
    times: list[float] = []
    recorder, aggregation = Recorder(clock=lambda: times[-1]), Aggregation(hold_back=True)

    def run(*seconds: float) -> list[int]:
        """Submits at each of some times, and commits at the last."""
        for second in seconds:
            times.append(second)
            recorder.bucket("c", "m", 2, 1.0, 1.0, False)
        aggregation.add(recorder.take())
        return [each.sketch.count for each in aggregation.commit("c", times[-1]).distributions]

    assert [run(1000.2), run(1015.0, 1015.9), run(1029.9, 1030.0), run()] == [[], [2], [6], []]
    times.append(1031.0)
    assert run() == [2]
