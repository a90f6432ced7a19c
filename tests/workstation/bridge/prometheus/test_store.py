"""Samples of remote write, from the bytes of a request to what is shown of them."""

from __future__ import annotations

import math
import struct
from contextlib import suppress

import pytest
from cramjam import snappy
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.model_serving.errors import BodyError
from datadog_checks.model_serving.scrape.exposition.syntax import sample
from datadog_checks.model_serving.workstation.bridge.prometheus import store as stores
from datadog_checks.model_serving.workstation.bridge.prometheus.payload import Payload, series_text
from datadog_checks.model_serving.workstation.bridge.prometheus.store import SeriesStore
from datadog_checks.model_serving.workstation.bridge.prometheus.wire import (
    Written,
    WrittenSeries,
    decode,
    encode,
    ends,
)

NOW = 1_800_000_000.0
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=6)
LABELS = st.dictionaries(TEXT.filter(bool), TEXT, max_size=4).map(lambda labels: {**labels, "__name__": "m"})
VALUES = st.floats(allow_nan=False) | st.none()
SAMPLES = st.lists(st.tuples(st.integers(0, 2**50), VALUES), max_size=4)


def series(name: str, *samples: tuple[float, float | None], **labels: str) -> WrittenSeries:
    """Samples with their times in seconds from NOW."""
    said = [(round((NOW + at) * 1000), None if value is None else float(value)) for at, value in samples]
    return WrittenSeries({"__name__": name, **labels}, said)


def shown(store: SeriesStore) -> list[str]:
    """The lines of what is shown, with times in seconds from NOW."""
    lines = b"".join(store.payload().chunks()).decode().splitlines()
    parts = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return [f"{head} {int(at) / 1000 - NOW:g}" for head, _, at in parts]


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make(clock: Clock, delay: float = 10.0, max_age: float = 300.0, max_series: int = 100) -> SeriesStore:
    return SeriesStore(delay, max_age, max_series, clock)


@given(st.lists(st.builds(WrittenSeries, LABELS, SAMPLES, st.lists(st.integers(0, 2**50), max_size=2)), max_size=4))
def test_a_request_comes_out_as_it_went_in(written: list[WrittenSeries]) -> None:
    said = Written(written, {"m": "gauge"})
    assert decode(encode(said)) == said


@given(st.binary(max_size=60), st.booleans())
def test_a_body_that_is_none_is_refused_in_words(body: bytes, compressed: bool) -> None:
    """Whatever comes is a request or a BodyError, nothing else."""
    with suppress(BodyError):
        found = decode(bytes(snappy.compress_raw(body)) if compressed else body)
        assert all(each.labels["__name__"] for each in found.series)


def test_a_body_is_refused_before_it_is_decompressed() -> None:
    with pytest.raises(BodyError, match="holds 4294967295 bytes, more than 16777216: lower `max_samples_per_send`"):
        decode(b"\xff\xff\xff\xff\x0f" + b"\0" * 100)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([("a", "b")], "has no name"),
        ([("__name__", "m"), ("a", "b"), ("a", "c")], "a label twice"),
        ([("__name__", "m"), ("", "c")], "a label without a name"),
    ],
)
def test_a_series_that_is_none_refuses_the_request(labels: list[tuple[str, str]], said: str) -> None:
    from datadog_checks.model_serving.workstation.bridge.prometheus.wire import _message

    request = _message("WriteRequest")()
    added = request.timeseries.add()
    for name, value in labels:
        added.labels.add(name=name, value=value)
    with pytest.raises(BodyError, match=said):
        decode(bytes(snappy.compress_raw(request.SerializeToString())))


def test_the_end_of_a_series_is_told_from_other_numbers_that_are_none() -> None:
    def nan(bits: int) -> float:
        return struct.unpack("<d", bits.to_bytes(8, "little"))[0]

    assert ends(nan(0x7FF0000000000002))
    assert not ends(nan(0x7FF8000000000001))
    assert not ends(math.nan)


@given(st.dictionaries(TEXT.filter(bool), TEXT, max_size=4), TEXT.filter(bool))
def test_a_series_is_written_as_it_is_read(labels: dict[str, str], name: str) -> None:
    """Whatever a sender calls its labels, the reader of the check finds them."""
    said = {**labels, "__name__": name}
    payload = Payload({})
    payload.add(name, series_text(said), "1.5", 1000)
    (line,) = b"".join(payload.chunks()).decode().removesuffix("\n").split("\n")
    found = sample(line, 1000)
    if found is None:
        # A name that Prometheus keeps for itself.
        assert labels.keys() & {"__name__"}
        return
    _, (found_name, found_labels, value, at, *_) = found
    assert (found_name, value, at) == (name, 1.5, 1.0)
    assert found_labels == {label: text for label, text in said.items() if text and label != "__name__"}


def test_families_are_kept_together_under_their_type() -> None:
    payload = Payload({"h": "histogram", "s": "summary", "c": "counter", "d_total": "counter", "g": "gaugehistogram"})
    for name in ("h_bucket", "c_total", "h_sum", "s", "s_count", "d_total", "g_bucket", "h_count", "c"):
        payload.add(name, f"{name}{{}}", "1", 0)
    text = b"".join(payload.chunks()).decode()
    assert text.replace("{} 1 0", "").splitlines() == [
        *("# TYPE h histogram", "h_bucket", "h_sum", "h_count"),
        *("# TYPE c_total counter", "c_total"),
        *("# TYPE s summary", "s", "s_count"),
        *("# TYPE d_total counter", "d_total"),
        "g_bucket",
        *("# TYPE c counter", "c"),
    ]


def test_a_scrape_shows_as_a_whole(clock: Clock) -> None:
    """What came with other requests of the same scrape waits with the rest."""
    store = make(clock)
    store.write([series("a", (-15, 1), (0, 2)), series("b", (-15, 10))])
    assert shown(store) == ["a{} 1.0 -15", "b{} 10.0 -15"]
    clock.now += 8
    store.write([series("b", (0, 20))])
    assert shown(store) == ["a{} 1.0 -15", "b{} 10.0 -15"]
    clock.now += 2
    assert shown(store) == ["a{} 2.0 0", "b{} 20.0 0"]


def test_a_series_ends_with_its_marker_and_without_one_when_it_is_too_old(clock: Clock) -> None:
    store = make(clock, delay=0.0)
    store.write([series("a", (0, 1)), series("b", (0, 1)), series("c", (0, math.nan))])
    clock.now += 15
    store.write([series("a", (15, None))])
    assert shown(store) == ["b{} 1.0 0", "c{} nan 0"]
    clock.now += 286
    assert shown(store) == []
    assert len(store) == 1
    clock.now += 15
    assert shown(store) == []
    assert len(store) == 0


def test_a_series_may_begin_again(clock: Clock) -> None:
    store = make(clock, delay=0.0)
    store.write([series("a", (-10, 1), (-5, None), (0, 2))])
    assert shown(store) == ["a{} 2.0 0"]


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [
        (-20, 1.0, "out_of_order"),
        (-10, 2.0, "duplicate"),
        (-10, 1.0, None),
        (-301, 1.0, "too_old"),
        (-301, None, None),
        (601, 1.0, "future"),
        (599, 1.0, None),
    ],
)
def test_what_is_refused(clock: Clock, at: float, value: float | None, reason: str | None) -> None:
    store = make(clock, delay=0.0)
    store.write([series("a", (-10, 1))])
    assert store.write([series("a", (at, value)), series("b", (0, 5))]) == ({reason: 1} if reason else {})
    assert "b{} 5.0 0" in shown(store)
    assert store.taken()[1] == ({reason: 1} if reason else {})
    assert store.taken() == (0, {})


def test_a_sample_that_is_sent_again_changes_nothing(clock: Clock) -> None:
    """As after an answer that got lost."""
    store = make(clock)
    request = [series("a", (-11, 2), (-5, 3)), series("b", (-5, None))]
    store.write(request)
    before = shown(store)
    assert store.write(request) == {}
    assert shown(store) == before


def test_more_series_than_may_be_are_refused_and_the_others_go_on(clock: Clock) -> None:
    store = make(clock, delay=0.0, max_series=2)
    assert store.write([series("a", (0, 1)), series("b", (0, 1)), series("c", (0, 1), (1, 2))]) == {"limit": 2}
    assert store.write([series("a", (1, 2))]) == {}
    assert len(store) == 2


def test_long_labels_are_bounded_as_well(clock: Clock) -> None:
    store = make(clock, delay=0.0, max_series=2)
    assert store.write([series("a", (0, 1)), series("b", (0, 1), text="x" * 2048)]) == {"limit": 1}
    clock.now += 400
    store.payload()
    assert store.write([series("b", (400, 1), text="x" * 2000)]) == {}


def test_a_long_delay_keeps_showing(clock: Clock) -> None:
    """Also where more samples wait than are kept."""
    store = make(clock, delay=1000.0)
    for second in range(stores.WAITING * 3):
        clock.now = NOW + second
        store.write([series("a", (second, float(second)))])
    (line,) = shown(store)
    assert line.startswith("a{} ")


def test_a_payload_says_when_more_may_be_on_its_way(clock: Clock) -> None:
    """A sender that catches up writes its series a part at a time: what shows later is not new for that."""
    store = make(clock)
    store.write([series("a", (-60, 1))])
    assert store.payload().doubtful
    store.write([series("a", (0, 1))])
    assert not store.payload().doubtful


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 40), st.integers(0, 3) | st.none(), st.integers(0, 3)),
        max_size=25,
    )
)
def test_the_newest_sample_that_is_due_is_shown(steps: list[tuple[str, int, int | None, int]]) -> None:
    """Against a model that keeps everything: any order, repetitions, ends, and time that passes."""
    clock = Clock()
    store = make(clock, delay=5.0, max_age=30.0)
    taken: dict[str, list[tuple[int, int | None]]] = {"a": [], "b": []}
    for name, at, value, passes in steps:
        refused = store.write([series(name, (at, value))])
        kept = taken[name]
        if at < clock.now - NOW - 35:
            assert refused == ({} if value is None else {"too_old": 1})
        elif not kept or at > kept[-1][0]:
            assert not refused
            kept.append((at, value))
        elif (at, value) not in kept:
            assert refused
        due = {name: [said for said in kept if said[0] <= clock.now - NOW - 5][-1:] for name, kept in taken.items()}
        assert sorted(shown(store)) == [
            f"{name}{{}} {float(value)} {at}"
            for name in taken
            for at, value in due[name]
            if value is not None and at >= clock.now - NOW - 35
        ]
        clock.now += passes
