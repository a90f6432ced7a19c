"""Reading an exposition: no line, chunk or cut changes what a sound sample says, and none stops the others."""

from __future__ import annotations

import gzip
import importlib.util
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import pairwise
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import Metric

from datadog_checks.model_serving.errors import PayloadError
from datadog_checks.model_serving.http import body as body_module
from datadog_checks.model_serving.http.body import Answer, body_chunks
from datadog_checks.model_serving.scrape.exposition import reader
from datadog_checks.model_serving.scrape.exposition.cache import LineCache
from datadog_checks.model_serving.scrape.exposition.reader import OpenMetricsReader, TextReader

Lost = Callable[[str, bool], None]

pytestmark = pytest.mark.usefixtures("agent_parser")


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
    return OpenMetricsReader(cast(Any, Nobody()), malformed, True).families([list(lines)])


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


# -- the published parsers read the same


def published(name: str) -> ModuleType:
    """A module of prometheus_client as it was published, whatever has been put in its place in this process."""
    found = importlib.util.find_spec(name)
    assert found is not None
    assert found.origin is not None
    package, _, last = name.rpartition(".")
    spec = importlib.util.spec_from_file_location(f"{package}._{last}_as_published", found.origin)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PARSERS = {
    "text": published("prometheus_client.parser").text_fd_to_metric_families,
    "OpenMetrics": published("prometheus_client.openmetrics.parser").text_fd_to_metric_families,
}
NAMES = st.sampled_from(["foo", "foo_seconds", "a:b", "x", "_y9", "foo.bar", "größe", 'q"u\\o', "http requests"])
VALUES = st.sampled_from(
    ["", "b", "+Inf", "x y", "{},=#", "# {", "} 5", 'q"u', "two\nlines", "back\\slash", "\\n", "ünï 🐈"]
)
FLOATS = st.sampled_from(["0", "1", "17", "2.5", "1e3", "1.5e-05", "0.1", "123456789012", ".5"])
KINDS = ["counter", "gauge", "histogram", "summary"]
ANY_FLOAT = FLOATS | st.sampled_from(["-3", "NaN", "+Inf", "-Inf", "1e999"])


def quoted(text: str, always: bool = False) -> str:
    """A name as it is written, or a label's value."""
    if not always and re.fullmatch("[a-zA-Z_:][a-zA-Z0-9_:]*", text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


@st.composite
def lawful(draw: st.DrawFn, strict: bool) -> list[str]:
    """A payload that keeps every rule of its format."""
    lines: list[str] = []
    for name in draw(st.lists(NAMES, max_size=4, unique=True)):
        # The published parser of OpenMetrics wants names in quotes declared.
        undeclared = [""] if not strict or quoted(name) == name else []
        kind = draw(st.sampled_from([*KINDS, "unknown" if strict else "untyped", *undeclared]))
        shown = f"{name}_total" if kind == "counter" and not strict and draw(st.booleans()) else name
        if draw(st.booleans()):
            lines.append(f"# HELP {quoted(shown)} What it {draw(st.sampled_from(['is', '(a # b)', 'TYPE']))}.")
        if kind:
            lines.append(f"# TYPE {quoted(shown)} {kind}")
        at = draw(st.sampled_from(["", "", " 1788718020", " 1788718020.125"]))
        behind = at if strict else at.replace(" 1788718020", " 1788718020000").replace(".125", "")
        label_sets = st.lists(
            st.dictionaries(st.sampled_from(["a", "b_c", "_", "zone-id", "é"]), VALUES, max_size=3),
            max_size=3,
            unique_by=lambda labels: tuple(sorted(labels.items())),
        )

        def sample(suffix: str, labels: dict[str, str], value: str, name: str = shown, behind: str = behind) -> str:
            pairs = [f"{quoted(label)}={quoted(value, True)}" for label, value in labels.items()]
            written = quoted(name + suffix)
            if written.startswith('"'):
                return f"{{{','.join([written, *pairs])}}} {value}{behind}"
            return f"{written}{'{' + ','.join(pairs) + '}' if pairs else ''} {value}{behind}"

        for labels in draw(label_sets):
            if kind == "histogram":
                counts = [str(draw(st.integers(0, 9)) + 10 * place) for place in range(3)]
                bounds = zip(["0.5", "1.0", "+Inf"], counts, strict=True)
                lines += [sample("_bucket", {**labels, "le": bound}, count) for bound, count in bounds]
                lines += [sample("_sum", labels, draw(FLOATS)), sample("_count", labels, counts[-1])]
            elif kind == "summary":
                lines += [sample("", {**labels, "quantile": "0.5"}, draw(FLOATS))]
                lines += [sample("_sum", labels, draw(FLOATS)), sample("_count", labels, "7")]
            elif kind == "counter":
                lines.append(sample("_total" if strict else "", labels, draw(FLOATS)))
                if strict and draw(st.booleans()):
                    lines[-1] += ' # {trace="a} b"} 0.5 1788718020.5'
            else:
                lines.append(sample("", labels, draw(ANY_FLOAT)))
    return [*lines, "# EOF"] if strict else lines


def seen(families: Iterable[Metric]) -> dict[tuple[str, str], list[tuple[Any, ...]]]:
    """Samples by family. Those without a declaration are families of one sample for one parser, and not for others."""
    found: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
    for family in families:
        found.setdefault((family.name, family.type), []).extend(
            (sample.name, sample.labels, repr(float(sample.value)), sample.timestamp and float(sample.timestamp))
            for sample in family.samples
        )
    return found


@pytest.mark.parametrize("form", PARSERS)
@settings(max_examples=300, **STEADY)
@given(data=st.data())
def test_published_parsers(form: str, data: st.DataObject) -> None:
    """What keeps the rules of its format is read as the parser of its reference implementation reads it."""
    lines = data.draw(lawful(form == "OpenMetrics"))
    lost: list[str] = []
    found = seen(READERS[form](lines, lambda line, cut: lost.append(line)))
    assert found == seen(PARSERS[form](f"{line}\n" for line in lines))
    assert lost == []


LINES: dict[str, tuple[str, dict[str, str]] | None] = {
    "foo 1": ("foo", {}),
    "foo\t1": ("foo", {}),
    "  foo   1  ": ("foo", {}),
    'foo{a="b"}1': ("foo", {"a": "b"}),
    'foo{ a = "b" , } 1': ("foo", {"a": "b"}),
    "foo{} 1": ("foo", {}),
    'foo{a="b"} 1 # {t="}"} 2': ("foo", {"a": "b"}),
    '{"foo"} 1': ("foo", {}),
    '{"foo bar",a="b"} 1': ("foo bar", {"a": "b"}),
    '{"q\\"u\\\\o\\n",a="b"} 1': ('q"u\\o\n', {"a": "b"}),
    'foo{"zone-id"="5",b="c"} 1': ("foo", {"zone-id": "5", "b": "c"}),
    '{"foo","zone-id"="5"} 1': ("foo", {"zone-id": "5"}),
    # Prometheus takes the name wherever it stands, once.
    '{model="a","b",version="1"} 1': ("b", {"model": "a", "version": "1"}),
    '{model="a","b"} 1': ("b", {"model": "a"}),
    '{__name__="foo",a="b"} 1': ("foo", {"a": "b"}),
    'foo{__a="b"} 1': ("foo", {"__a": "b"}),
    '{"foo","bar"} 1': None,
    'foo{"bar"} 1': None,
    'foo{__name__="bar"} 1': None,
    '{a="b"} 1': None,
    "{} 1": None,
    '{""} 1': None,
    'foo{""="b"} 1': None,
    'foo{a="b",a="c"} 1': None,
    'foo{a="b","a"="c"} 1': None,
    'foo{a-b="c"} 1': None,
    "foo{a='b'} 1": None,
    'foo{a="b" c="d"} 1': None,
    'foo{,a="b"} 1': None,
    'foo{a="b",,} 1': None,
    "foo 1_0": None,
    "foo 0x1": None,
    "foo 1 2 3": None,
    "foo": None,
}


@pytest.mark.parametrize("form", READERS)
@pytest.mark.parametrize("line", LINES)
def test_grammar(form: str, line: str) -> None:
    """Each line by itself, with or without the Agent's changes to prometheus_client, and whatever its version."""
    lost: list[str] = []
    families = list(READERS[form](["ours 1", line], lambda line, cut: lost.append(line)))
    found = [(each.name, each.labels) for family in families for each in family.samples if each.name != "ours"]
    expected = LINES[line]
    assert (found, lost) == (([], [line]) if expected is None else ([expected], []))


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
        answer = Answer.of(response(chunks, **headers))
        size = yield from body_chunks(answer, lambda line, cut: lost.append((line, cut)))

    return [line for lines in read_chunks() for line in lines], lost, size


LIMIT = 20
BODIES = [
    "foo 1",
    'foo{a="é模"} 2',
    "",
    "  ",
    "# TYPE foo gauge",
    "\r",
    "x" * LIMIT,
    "x" * LIMIT + "\r",
    "x" * (LIMIT + 1),
    "é" * (LIMIT // 2) + "y",
    "z" * (3 * LIMIT),
]


@settings(max_examples=400, **STEADY)
@given(
    cuts=st.lists(st.integers(0, 300)),
    body=st.lists(st.sampled_from(BODIES), max_size=8),
    ended=st.booleans(),
    mark=st.booleans(),
)
def test_chunks(cuts: list[int], body: list[str], ended: bool, mark: bool) -> None:
    """Lines are the same wherever the body is cut into chunks, and each that is too long costs itself."""
    text = "\n".join(body).encode() + (b"\n" if ended else b"")
    data = (b"\xef\xbb\xbf" if mark else b"") + text
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    chunks = [data[start:end] for start, end in pairwise(places)]
    due = [line for line in (line.rstrip("\r") for line in body) if line.strip()]
    long = [line for line in due if len(line.encode()) > LIMIT]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(body_module, "MAX_LINE", LIMIT)
        if long == due and long:
            with pytest.raises(PayloadError, match="a line is longer than"):
                read(chunks, Content_Length=str(len(data)))
            return
        lines, lost, size = read(chunks, Content_Length=str(len(data)))
    assert lines == [line for line in due if line not in long]
    assert [cut for _, cut in lost] == [False] * len(long)
    assert all(line.startswith(start.rstrip("\r\ufffd")) for (start, _), line in zip(lost, long, strict=True))
    assert size == len(text)


def test_body_without_line_ends() -> None:
    """A body that goes on and on in its first line is not read to its end."""
    chunks = [b"x" * 65536 for _ in range(1000)]
    taken = iter(chunks)
    answer = Answer("text/plain", True, "", None, taken)
    with pytest.raises(PayloadError, match="a line is longer than 131072 bytes"):
        list(body_chunks(answer, lambda line, cut: None))
    assert len(list(taken)) > 900


@pytest.mark.parametrize(
    ("headers", "lines", "lost"),
    [
        ({"Content_Length": "13"}, ["foo 1", "bar 22"], []),
        ({"Transfer_Encoding": "chunked"}, ["foo 1", "bar 22"], []),
        ({}, ["foo 1"], [("bar 22", True)]),
        ({"Content_Length": "33", "Content_Encoding": "gzip"}, ["foo 1"], [("bar 22", True)]),
    ],
    ids=["length", "chunks", "until closed", "compressed"],
)
def test_last_line(headers: dict[str, str], lines: list[str], lost: list[tuple[str, bool]]) -> None:
    """A line without an end counts where something else says that the body is whole."""
    chunks = [b"foo 1\nbar ", b"22"]
    if "Content_Encoding" in headers:
        chunks = [gzip.compress(b"".join(chunks))]
    assert read(chunks, **headers)[:2] == (lines, lost)


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"<!DOCTYPE html>", "an HTML page"),
        (b"  \r\n<html>", "an HTML page"),
        (b'{"a": 1}', "JSON"),
        (b"{", "JSON"),
        (b"\x1f\x8b\x08\x00", "compressed with gzip"),
        (b"\xff\xfef\x00", "UTF-16"),
        (b'{"' + b"long." * 100 + b'"} 1\n', ""),
        (b'{__name__="foo"} 1\n', ""),
        (b"{}", "JSON"),
        (b'[{"a"', "JSON"),
        (b'{"foo.bar"} 1\n', ""),
        (b'{ "foo.bar" , a="b"} 1\n', ""),
        (b"# HELP <html>\n", ""),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_foreign(start: bytes, kind: str, size: int) -> None:
    """What is no exposition is known by its first characters, in whatever pieces these come; a name in braces isn't."""
    chunks = [start[place : place + size] for place in range(0, len(start), size)]
    if not kind:
        assert read(chunks, Content_Length="1")[0] == [start.decode().strip()]
        return
    with pytest.raises(PayloadError, match=kind):
        read(chunks, Content_Type="text/plain")
