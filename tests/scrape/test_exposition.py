"""The guards before the parsers: no line, chunk or cut changes what a sound sample says, and none stops the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import Metric

from datadog_checks.model_serving.errors import PayloadError
from datadog_checks.model_serving.http.body import Answer, body_chunks
from datadog_checks.model_serving.scrape.exposition import reader
from datadog_checks.model_serving.scrape.exposition.cache import LineCache
from datadog_checks.model_serving.scrape.exposition.reader import StrictReader, TextReader

Lost = Callable[[str, bool], None]


class Nobody:
    """Knows no line, so that every one is parsed."""

    lines = samples = 0

    def __init__(self) -> None:
        self.cache = LineCache()

    def context(self) -> object:
        return None

    def declare(self, family: object) -> None:
        pass


def text_families(lines: Iterable[str], malformed: Lost) -> Iterator[Metric]:
    """The families of a Prometheus text payload."""
    return TextReader(cast(Any, Nobody()), malformed).families([list(lines)])


def openmetrics_families(lines: Iterable[str], malformed: Lost) -> Iterator[Metric]:
    """The families of an OpenMetrics payload."""
    return StrictReader(cast(Any, Nobody()), malformed, True).families([list(lines)])


STEADY: dict[str, Any] = {"deadline": None, "derandomize": True, "database": None}
"""The same examples in every run, and none kept on disk."""

SOUND = [
    "# TYPE foo counter",
    "# HELP foo What it is.",
    "# UNIT foo_seconds seconds",
    "# TYPE foo_seconds gauge",
    "# EOF",
    "foo_total 1",
    'foo{a="b"} 2',
    "# TYPE h histogram",
    'h_bucket{le="1"} 3',
    'h_bucket{le="+Inf"} 4 1788718020000',
    "h_count 4",
    "h_sum 5.5e3",
    'g{a="q\\"x\\n{},=",b=""} 3 # {t="1"} 4 5',
    '{"foo.bar",a="b"} 1',
    "x:y:z NaN",
]
PIECES = st.sampled_from(
    ['"', "{", "}", ",", "=", "\\", " ", "\t", "#", "\r", "\x00", "\x85", "\u2028", "é", "1", "e", ".", "_", "-"]
)


@st.composite
def broken_lines(draw: st.DrawFn) -> str:
    """A sound line into which something was put, or from which something was cut."""
    line: str = draw(st.sampled_from(SOUND))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(line)))
        end = min(len(line), start + draw(st.integers(0, 3)))
        line = line[:start] + draw(st.text(PIECES, max_size=2)) + line[end:]
    return line


READERS = {"text": text_families, "OpenMetrics": openmetrics_families}


@pytest.mark.parametrize("form", READERS)
@settings(max_examples=150, **STEADY)
@given(lines=st.lists(broken_lines() | st.text(max_size=20), max_size=8))
def test_no_line_stops_the_others(form: str, lines: list[str]) -> None:
    """Whatever surrounds it, a sound family is read; and no line raises anything but the message for the user."""
    lost: list[str] = []
    sound = ["# TYPE ours gauge", 'ours{a="b"} 42']
    around = [*lines, *sound, *lines]
    families = list(READERS[form](iter(around), lambda line, cut: lost.append(line)))
    ours = [sample for family in families for sample in family.samples if sample.name == "ours"]
    assert [sample.value for sample in ours] == [42]
    assert ours[0].labels == {"a": "b"}
    with suppress(PayloadError):
        list(READERS[form](iter(lines), lambda line, cut: None))


LONG = 100_000
LONG_LINES = {
    "blanks in labels": "foo{a" + " " * LONG + "x",
    "blanks": " " * LONG + "x",
    "blanks behind": 'foo{a="b"} 1' + " " * LONG + "x",
    "digits": "foo " + "1" * LONG + "x",
    "digits behind a point": "foo 1." + "1" * LONG + "x",
    "a time of digits": "foo 1 " + "1" * LONG + "x",
    "names": "foo{" + "a," * (LONG // 2) + "!",
    "labels": "foo{" + 'a="b",' * (LONG // 6) + "} 1 x",
    "backslashes": 'foo{a="' + "\\" * LONG + "x",
    "a name": "a" * LONG + "!",
    "metadata": "# TYPE" + " " * LONG + "!",
    "a quoted name": '# TYPE "' + "\\" * LONG,
}


@pytest.mark.parametrize("name", LONG_LINES)
def test_long_lines(name: str) -> None:
    """A long line that is wrong at its end takes one look, not one for each way to read its start."""
    lost: list[str] = []
    families = list(text_families(["ours 1", LONG_LINES[name]], lambda line, cut: lost.append(line)))
    assert [family.name for family in families] == ["ours"]
    assert lost == [LONG_LINES[name]]


# -- families that are long


def exposition(series: list[tuple[str, int]], newlines: bool) -> list[str]:
    lines = ["# HELP h What it is.", "# TYPE h histogram"]
    for label, number in series:
        lines += [f'h_bucket{{l="{label}",le="{bound}"}} {number}' for bound in ("1", "2", "+Inf")]
        lines += [f'h_sum{{l="{label}"}} {number}', f'h_count{{l="{label}"}} {number}']
    lines += ["# TYPE c counter", *(f'c_total{{l="{label}"}} {number}' for label, number in series)]
    lines += [f'loose_{label}{{l="{label}"}} {number}' for label, number in series]
    return [part for line in lines for part in (line, *([""] if newlines else []))]


@settings(max_examples=60, **STEADY)
@given(
    numbers=st.lists(st.integers(0, 10**9), max_size=12),
    limit=st.integers(1, 400),
    newlines=st.booleans(),
    openmetrics=st.booleans(),
)
def test_cuts(numbers: list[int], limit: int, newlines: bool, openmetrics: bool) -> None:
    """Wherever long families are cut, samples and types stay the same, and the buckets of a series together."""
    lines = exposition([(f"x{index}", number) for index, number in enumerate(numbers)], newlines)
    families_of = openmetrics_families if openmetrics else text_families
    lines += ["# EOF"] if openmetrics else []
    lost: list[str] = []

    def read() -> list[Metric]:
        return list(families_of(iter(lines), lambda line, cut: lost.append(line)))

    whole = read()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "MAX_BLOCK", limit)
        parts = read()
    assert lost == []
    assert samples(whole) == samples(parts)
    for family in parts:
        names = [sample.labels["l"] for sample in family.samples if sample.name == "h_bucket"]
        assert all(names.count(name) == 3 for name in names)


NAMES = ["foo", "foo_total", "foo_bucket", "foo_sum", "foo_count", "foobar", "other", "a:b", '"foo"', "é"]
SETS = [
    "",
    "{}",
    '{a="1"}',
    '{a="1",}',
    '{a="1",b="x y"}',
    '{a="1" , b="2"}',
    '{a="1",a="2"}',
    '{a:b="1"}',
    '{__a="1"}',
    '{__name__="foo",a="1"}',
    r'{a="q\"u"}',
    '{a="} 5"}',
    '{le="+Inf"}',
    '{a="ünï"}',
    '{"foo",a="1"}',
]
NUMBERS = ["1", "-1", "+1", "1.5", "1e3", ".5", "NaN", "+Inf", "9" * 30, "1_0", "1 1788718020000", "1 5.5", "1 -5", ""]
KINDS = ["counter", "gauge", "histogram", "summary", "untyped"]
DECLARED = [
    [],
    *([f"# TYPE {name} {kind}"] for name in NAMES[:3] for kind in KINDS),
    ["# HELP foo It.", "# TYPE foo counter"],
    ['# TYPE "foo" gauge'],
]


@settings(max_examples=400, **STEADY)
@given(
    metadata=st.sampled_from(DECLARED),
    lines=st.lists(st.builds("{}{} {}".format, *map(st.sampled_from, (NAMES, SETS, NUMBERS))), max_size=6),
)
def test_lines_that_need_no_parser(metadata: list[str], lines: list[str]) -> None:
    """What is made of lines without the parser is what the parser makes of them."""

    def outcome(work: Callable[[], list[Metric]]) -> Any:
        try:
            families = work()
        except (ValueError, IndexError) as error:
            return type(error)
        return [(family.name, family.type, family.documentation, *map(repr, family.samples)) for family in families]

    sound = [line for line in lines if reader.sound_line(line, lambda line, cut: None) is not None]
    assert outcome(lambda: reader.families(metadata, sound)) == outcome(lambda: reader.parsed([*metadata, *sound]))


def samples(families: list[Metric]) -> list[tuple[Any, ...]]:
    return [(family.name, family.type, *sample[:3]) for family in families for sample in family.samples]


# -- bodies


def response(chunks: list[bytes], **headers: str) -> Any:
    """A body in given pieces. A fake, as over a real connection nobody can say where the pieces end."""
    pieces = iter([*(chunk for chunk in chunks if chunk), b""])
    return SimpleNamespace(
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        raw=SimpleNamespace(read1=lambda size, decode_content: next(pieces)),
        history=[],
        url="http://127.0.0.1/metrics",
    )


def read(chunks: list[bytes], **headers: str) -> tuple[list[str], list[tuple[str, bool]], int]:
    """Lines, what was lost, and the size that was told."""
    lost: list[tuple[str, bool]] = []
    size = 0

    def read_chunks() -> Iterator[list[str]]:
        nonlocal size
        answer = Answer.of(response(chunks, **headers), 1)
        size = yield from body_chunks(answer, 10_000, lambda line, cut: lost.append((line, cut)))

    return [line for lines in read_chunks() for line in lines], lost, size


@settings(max_examples=100, **STEADY)
@given(
    cuts=st.lists(st.integers(0, 200)),
    body=st.lists(st.sampled_from(["foo 1", 'foo{a="é模"} 2', "", "  ", "# TYPE foo gauge", "\r"]), max_size=8),
    ended=st.booleans(),
)
def test_chunks(cuts: list[int], body: list[str], ended: bool) -> None:
    """Lines are the same wherever the body is cut into chunks."""
    data = "\n".join(body).encode() + (b"\n" if ended else b"")
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    chunks = [data[start:end] for start, end in pairwise(places)]
    lines, lost, size = read(chunks, Content_Length=str(len(data)))
    assert lines == [line for line in (line.rstrip("\r") for line in body) if line.strip()]
    assert lost == []
    assert size == len(data)


@pytest.mark.parametrize(
    ("headers", "lines", "lost"),
    [
        ({"Content_Length": "13"}, ["foo 1", "bar 22"], []),
        ({"Transfer_Encoding": "chunked"}, ["foo 1", "bar 22"], []),
        ({}, ["foo 1"], [("bar 22", True)]),
        ({"Content_Length": "13", "Content_Encoding": "gzip"}, ["foo 1"], [("bar 22", True)]),
    ],
    ids=["length", "chunks", "until closed", "compressed"],
)
def test_last_line(headers: dict[str, str], lines: list[str], lost: list[tuple[str, bool]]) -> None:
    """A line without an end counts where something else says that the body is whole."""
    assert read([b"foo 1\nbar ", b"22"], **headers)[:2] == (lines, lost)


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"<!DOCTYPE html>", "an HTML page"),
        (b"  \r\n<html>", "an HTML page"),
        (b'{"a": 1}', "JSON"),
        (b"{", "JSON"),
        (b"{}", "JSON"),
        (b'[{"a"', "JSON"),
        (b'{"foo.bar"} 1\n', ""),
        (b'{ "foo.bar" , a="b"} 1\n', ""),
        (b"# HELP <html>\n", ""),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_foreign(start: bytes, kind: str, size: int) -> None:
    """HTML and JSON are known by their first characters, in whatever pieces these come; a quoted name is neither."""
    chunks = [start[place : place + size] for place in range(0, len(start), size)]
    if not kind:
        assert read(chunks, Content_Length="1")[0] == [start.decode().strip()]
        return
    with pytest.raises(PayloadError, match=kind):
        read(chunks, Content_Type="text/plain")
