"""Of what is not known nothing is idle: properties of the verdict, whatever a source tells."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.model_serving.sources.loaded import LoadedVersion
from datadog_checks.model_serving.workstation.versions.inventory import Listed
from datadog_checks.model_serving.workstation.versions.traffic import Calls, Period, RecordedTraffic, Seen
from datadog_checks.model_serving.workstation.versions.verdict import IDLE, KEEP, judge

HOURS = 3
PERIOD = Period(HOURS, 1_800_000_000.0)
NAMES = st.sampled_from("ab")
SYSTEMS = st.sampled_from(["tensorflow_serving", "databricks"])
ALL = frozenset(range(HOURS))


def version(system: str, endpoint: str, model: str, number: str, serving: bool) -> Listed:
    tags = (f"serving_system:{system}", f"endpoint_name:{endpoint}", f"model_name:{model}", f"model_version:{number}")
    return Listed(f"http://{endpoint}/metrics", LoadedVersion(tags, "AVAILABLE" if serving else "LOADING", serving))


VERSIONS = st.lists(
    st.builds(version, SYSTEMS, NAMES, NAMES, NAMES, st.sampled_from([True, True, True, False])),
    min_size=1,
    max_size=6,
    unique_by=lambda one: one.loaded.tags,
)
TAGS = ("endpoint_name", "model_name", "model_version")
CALLS = st.builds(
    Calls,
    SYSTEMS,
    st.dictionaries(st.sampled_from(TAGS), NAMES),
    st.dictionaries(st.integers(0, HOURS - 1), st.sampled_from([0.0, 0.5])),
    st.frozensets(st.integers(0, HOURS), max_size=1),
)
SEEN = st.builds(
    Seen,
    st.one_of(st.just(ALL), st.just(ALL), st.frozensets(st.integers(0, HOURS - 1))),
    st.just(""),
    st.sampled_from([None, PERIOD.start, PERIOD.beginning(1)]),
)


@given(VERSIONS, st.lists(CALLS, max_size=4), st.data())
def test_idle_is_what_surely_was_not_called(listed: list[Listed], calls: list[Calls], data: st.DataObject) -> None:
    """Its server, and those of its replicas, were seen all along, nothing can have been a call of it, and it was
    there."""
    traffic = RecordedTraffic(PERIOD, calls, {one: data.draw(SEEN) for one in listed})
    judged = judge(listed, traffic)
    assert [one.listed for one in judged] == listed
    for one in judged:
        shared = one.listed.system != "databricks"
        same = [
            other
            for other in listed
            if (other.system, other.loaded.model, other.loaded.version)
            == (one.listed.system, one.listed.loaded.model, one.listed.loaded.version)
            and (shared or other.endpoint == one.listed.endpoint)
        ]
        ours = [each for each in calls if any(traffic.may_be_of(each, other) for other in same)]
        if one.verdict == IDLE:
            assert all(each.highest == 0 for each in ours)
            assert all(traffic.seen[other].hours == ALL for other in same)
            assert one.listed.loaded.serving
            assert one.since is None or one.since <= PERIOD.start
        if one.verdict == KEEP:
            assert any(each.highest > 0 for each in ours)
        assert one.verdict in (IDLE, KEEP) or one.reason
        # What keeps one replica keeps all of them.
        for other in judged:
            if other.listed in same:
                assert (other.verdict == KEEP) == (one.verdict == KEEP)


@given(VERSIONS, st.lists(CALLS, max_size=4), st.lists(CALLS, min_size=1, max_size=2))
def test_more_calls_make_nothing_idle(listed: list[Listed], calls: list[Calls], more: list[Calls]) -> None:
    """Whatever else is told of calls, a version that wasn't idle doesn't become it."""
    seen = {one: Seen(ALL, "", PERIOD.start) for one in listed}
    before = judge(listed, RecordedTraffic(PERIOD, calls, seen))
    after = judge(listed, RecordedTraffic(PERIOD, [*calls, *more], seen))
    for one, other in zip(before, after, strict=True):
        assert other.verdict != IDLE or one.verdict == IDLE
