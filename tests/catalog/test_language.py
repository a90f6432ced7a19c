"""docs/catalog.md: every example is run, and every key that a file can have is explained and shown."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from datadog_checks.model_serving.catalog import definitions, document, loader, metrics
from datadog_checks.model_serving.catalog.metadata import COLUMNS, metadata_rows
from datadog_checks.model_serving.catalog.model import RAW_TYPES
from datadog_checks.model_serving.catalog.recognise import Recogniser
from datadog_checks.model_serving.errors import CatalogError
from datadog_checks.model_serving.scrape.collector import Collector
from datadog_checks.model_serving.scrape.exposition.reader import TextReader
from datadog_checks.model_serving.scrape.tags import TagRules

from ..conftest import Endpoint, make_check, submissions
from ..examples import hold
from ..pages import Page
from ..sources.readiness import readiness
from ..workstation.examine.trial import examined

PAGE = Page("docs/catalog.md")
FILE = "gateway.yaml"
SECTIONS = {
    "system": "The file",
    "ignored": "The file",
    "verified": "The file",
    "recognise": "recognise",
    "labels": "labels",
    "identity": "identity",
    "ports": "ports",
    "readiness": "readiness",
    "server": "readiness",
    "models": "readiness",
    "model": "readiness",
    "answer": "readiness",
    "pair": "metrics",
    "raw metric": "metrics",
    "codes": "metrics",
    "event": "metrics",
    "like": "metrics",
    "target": "to",
    "metric": "own_metrics",
    "derived": "derived",
    "inputs": "derived",
    "switch": "switches",
}
"""The section of the page that explains the keys of a mapping, by what the loader calls the mapping."""


@dataclass
class Example:
    """A catalog file of the page, and the blocks that follow it: what is served, and what comes of it."""

    file: str
    headings: tuple[str, ...]
    blocks: list[str] = field(default_factory=list)
    rows: str = ""

    @property
    def name(self) -> str:
        return " / ".join(self.headings[1:])

    @property
    def shipped(self) -> bool:
        """Whether it is of a file that ships with the check."""
        return "recognise" in self.headings or bool(self.rows)


def examples() -> list[Example]:
    found: list[Example] = []
    for block in PAGE.blocks():
        if block.language == "yaml" and block.text.startswith("system: "):
            found.append(Example(block.text, block.headings))
        elif found and found[-1].headings == block.headings:
            if block.language == "text":
                found[-1].blocks.append(block.text)
            elif block.language == "csv":
                found[-1].rows = block.text
    return found


EXAMPLES = examples()
APART = ("ports", "readiness", "switches")
"""Sections whose examples come to something else than submissions, each with a test of its own."""

RUN = [example for example in EXAMPLES if not example.rows and not set(APART).intersection(example.headings)]


def of(chosen: list[Example]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("example", chosen, ids=[example.name for example in chosen])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, so that messages name a file as the page does."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ship(place: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts the text of a file among those that ship, for as long as a test takes."""

    def ship(text: str) -> None:
        (place / FILE).write_text(text, encoding="utf-8")
        shipped, catalog = loader.builtin_catalog, loader.load_catalog([FILE])
        for module in list(sys.modules.values()):
            if vars(module).get("builtin_catalog") is shipped:
                monkeypatch.setattr(module, "builtin_catalog", lambda: catalog)

    return ship


@of(RUN)
def test_example(
    example: Example,
    endpoint: Endpoint,
    aggregator: Any,
    datadog_agent: Any,
    caplog: pytest.LogCaptureFixture,
    place: Path,
    ship: Any,
) -> None:
    """A file submits from a payload exactly what the page says, at a real endpoint."""
    options = {"tag_by_endpoint": False, "readiness": False}
    if example.shipped:
        ship(example.file)
    else:
        (place / FILE).write_text(example.file, encoding="utf-8")
        options["catalog"] = FILE
    check = make_check(openmetrics_endpoint=endpoint.url, **options)
    served, said = example.blocks
    hold(check, served, said, endpoint, aggregator, caplog)


def test_ports(endpoint: Endpoint, aggregator: Any, datadog_agent: Any, place: Path) -> None:
    """The example of `ports`, with the port of the endpoint for both, which are free here."""
    [example] = [example for example in EXAMPLES if "ports" in example.headings]
    served, said = example.blocks
    [(method, url)] = [line.split(" ") for line in said.splitlines()]
    text = example.file.replace("8082", str(endpoint.port)).replace("8080", str(endpoint.port))
    assert yaml.safe_load(example.file)["ports"] == {"metrics": 8082, "api": 8080}
    (place / FILE).write_text(text, encoding="utf-8")
    endpoint.serve(served)
    path = url.removeprefix("http://127.0.0.1:8080")
    endpoint.serve("", path)
    check = make_check(openmetrics_endpoint=endpoint.url, catalog=FILE)
    assert check.run() == ""
    assert (method, path) in [(asked, where) for asked, where, _ in endpoint.requests]


API = "http://gateway:9000"
ASKED = [example for example in EXAMPLES if "readiness" in example.headings and example.blocks]


@of(ASKED)
def test_readiness(example: Example, endpoint: Endpoint, aggregator: Any, datadog_agent: Any, place: Path) -> None:
    """The examples of `readiness`: a real API answers, and the second run submits what the page says."""
    answers, said = example.blocks
    (place / FILE).write_text(example.file, encoding="utf-8")
    endpoint.serve("gateway_active 1\n")
    lines = [line.split(" ", 3) for line in answers.splitlines()]
    for _, path, status, *body in lines:
        endpoint.serve("".join(body), path, status=int(status), content_type="application/json")
    by_default = yaml.safe_load(example.file)["readiness"].get("by_default", False)
    options = {} if by_default else {"readiness": True}
    check = make_check(openmetrics_endpoint=endpoint.url, catalog=FILE, tag_by_endpoint=False, **options)
    for _ in range(2):
        aggregator.reset()
        assert check.run() == ""
    asked = {(method, path) for method, path, _ in endpoint.requests}
    assert asked == {("GET", "/metrics"), *((method, path) for method, path, *_ in lines)}
    found = [line.replace(" ", ".ready ", 1) for line in readiness(aggregator)]
    found += [
        line
        for line in submissions(aggregator, ("serving_system", "endpoint_name"))
        if "called:never" not in line and not line.startswith("gauge model.loaded ")
    ]
    assert [line.replace(f"http://127.0.0.1:{endpoint.port}", API) for line in found] == said.splitlines()


@of([example for example in EXAMPLES if "readiness" in example.headings and not example.blocks])
def test_readiness_is_not_asked(example: Example, endpoint: Endpoint, place: Path) -> None:
    """A file that says why nothing is asked by default."""
    (place / FILE).write_text(example.file, encoding="utf-8")
    endpoint.serve("gateway_active 1\n")
    [state] = examined({"openmetrics_endpoint": endpoint.url, "catalog": FILE}).readiness
    because = yaml.safe_load(example.file)["readiness"]["because"]
    assert state.why == f"it is off unless `readiness: true` asks for it, since {because}"
    assert {path for _, path, _ in endpoint.requests} == {"/metrics"}


def test_switches(endpoint: Endpoint, place: Path) -> None:
    """The example of `switches` says what the page shows."""
    [example] = [example for example in EXAMPLES if "switches" in example.headings]
    served, said = example.blocks
    (place / FILE).write_text(example.file, encoding="utf-8")
    endpoint.serve(served)
    examination = examined({"openmetrics_endpoint": endpoint.url, "catalog": FILE})
    found = [text for signal in examination.signals for text in signal.advice]
    found += [text.partition(": ")[2] for text in examination.advice]
    assert sorted(found) == sorted(said.splitlines())


@of([example for example in EXAMPLES if example.rows])
def test_rows_of_metadata(example: Example, place: Path, ship: Any) -> None:
    """Definitions of metrics become rows as the page shows them."""
    ship(example.file)
    names = tuple(f"model_serving.{name}" for name in yaml.safe_load(example.file)["own_metrics"])
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row for row in metadata_rows() if row["metric_name"].startswith(names))
    assert text.getvalue() == example.rows


def test_instance(place: Path) -> None:
    """The instance that names a file is accepted."""
    [text] = [block.text for block in PAGE.blocks() if block.text.startswith("instances:")]
    (place / FILE).write_text(EXAMPLES[0].file, encoding="utf-8")
    [instance] = yaml.safe_load(text)["instances"]
    assert Path(instance["catalog"]).name == FILE
    make_check(**{**instance, "catalog": FILE}).run_check_initializations()


# -- errors

DIFFS = [block.text for block in PAGE.blocks() if block.language == "diff"]


@pytest.mark.parametrize("text", DIFFS, ids=[text.splitlines()[0] for text in DIFFS])
def test_error(text: str, place: Path) -> None:
    """A line of the first file, written wrong, is refused as the page says."""
    wrong, said, right = text.splitlines()
    assert (wrong[0], said[0], right[0]) == ("-", "!", "+")
    lines = EXAMPLES[0].file.splitlines()
    # In the order of the page, `right` is the first such line; `to` and `when` may be indented like others.
    lines[lines.index(right[2:])] = wrong[2:]
    (place / FILE).write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(CatalogError) as raised:
        loader.load_catalog([FILE])
    assert str(raised.value).removeprefix(f"Catalog file {FILE}, ") == said[2:]


def test_error_of_a_missing_file(place: Path) -> None:
    """A file that is not there is refused as the page says."""
    [said] = [block.text for block in PAGE.blocks() if block.text.startswith("Catalog file gone.yaml")]
    with pytest.raises(CatalogError) as raised:
        loader.load_catalog(["gone.yaml"])
    assert str(raised.value) == said.strip()


# -- nothing is left out

KEYS = [(kind, key) for kind, keys in document.KEYS.items() for key in keys]


def explained(section: str) -> set[str]:
    """What headings and the first cells of tables of a section name in backticks."""
    found = [headings[2] for headings in PAGE.headings() if len(headings) > 2 and headings[1] == section]
    found += re.findall(r"^\| (`.*?`) \|", PAGE.section(section), re.MULTILINE)
    return {word for text in found for word in re.findall(r"`(\w+)`", text)}


def used(data: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Every (kind of mapping, key, value) in a catalog file."""

    def keys(kind: str, mapping: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
        return ((kind, key, value) for key, value in mapping.items())

    yield from keys("system", data)
    for kind in ("verified", "recognise", "labels", "identity", "ports", "readiness"):
        yield from keys(kind, data.get(kind, {}))
    asked = data.get("readiness", {})
    for kind in ("server", "models", "model"):
        yield from keys(kind, asked[kind] if isinstance(asked.get(kind), dict) else {"path": asked.get(kind)})
    for place in (asked.get("version"), *asked.get("tags", {}).values()):
        yield from keys("answer", place or {})
    for entry in data.get("ignore", []):
        yield from keys("ignored", entry if isinstance(entry, dict) else {})
    for entry in data.get("metrics", []):
        yield from keys("raw metric", entry)
        yield from keys("pair", entry["raw"] if isinstance(entry["raw"], dict) else {})
        yield from keys("like", entry.get("like", {}))
        codes = entry.get("codes", {})
        yield from keys("codes", codes if isinstance(codes, dict) else {})
        yield from keys("event", codes.get("event", {}) if isinstance(codes, dict) else {})
        for target in entry["to"] if isinstance(entry["to"], list) else [entry["to"]]:
            yield from keys("target", target if isinstance(target, dict) else {})
    for definition in data.get("own_metrics", {}).values():
        yield from keys("metric", definition)
    for entry in data.get("derived", []):
        yield from keys("derived", entry)
        yield from keys("inputs", entry.get("share") or entry["sum"])
    for entry in data.get("switches", []):
        yield from keys("switch", entry)


def test_the_page_has_a_section_for_every_mapping() -> None:
    assert set(SECTIONS) == set(document.KEYS)


@pytest.mark.parametrize(("kind", "key"), KEYS, ids=[f"{kind}: {key}" for kind, key in KEYS])
def test_key_is_explained_and_shown(kind: str, key: str) -> None:
    """A key that the loader accepts is explained in its section, and used in an example there."""
    section = SECTIONS[kind]
    assert key in explained(section)
    # A mapping of its own has a section of its own, which shows it.
    sections = {section, key if key in SECTIONS.values() else section}
    shown = [yaml.safe_load(example.file) for example in EXAMPLES if example.headings[1] in sections]
    assert any((kind, key) == (found, name) for data in shown for found, name, _ in used(data))


@pytest.mark.parametrize("section", sorted(set(SECTIONS.values())))
def test_nothing_else_is_explained(section: str) -> None:
    """The page explains no key that there is not."""
    keys = {key for kind, keys in document.KEYS.items() for key in keys if SECTIONS[kind] == section}
    assert explained(section) - keys <= (set(RAW_TYPES) if section == "metrics" else set())


@pytest.mark.parametrize(
    ("kind", "key", "words"),
    [
        ("raw metric", "type", RAW_TYPES),
        ("metric", "type", definitions.METRIC_TYPES),
        ("metric", "combine", definitions.COMBINATIONS),
        ("target", "value", [part for part in metrics.PART_TYPES if part]),
    ],
)
def test_word_is_explained_and_shown(kind: str, key: str, words: list[str]) -> None:
    """Where a key takes one of a few words, each is explained and used in an example."""
    text = PAGE.section(SECTIONS[kind])
    assert [word for word in words if f"`{word}`" not in text] == []
    shown = [value for example in EXAMPLES for found in [used(yaml.safe_load(example.file))] for value in found]
    assert set(words) <= {str(value) for found, name, value in shown if (found, name) == (kind, key)}


# -- spellings

NAMES = ("gateway_new", "gateway_old", "gateway_oldest")
SPELT = f"""\
system: gateway
metrics:
  - {{raw: [{", ".join(NAMES)}], type: counter, to: request.count}}
"""


@given(
    scrapes=st.lists(
        st.permutations([(name, label) for name in NAMES for label in "ab"]).flatmap(
            lambda lines: st.integers(0, len(lines)).map(lambda number: lines[:number])
        ),
        min_size=2,
        max_size=4,
    )
)
@settings(max_examples=60, deadline=None)
def test_the_best_spelling_counts(scrapes: list[list[tuple[str, str]]], tmp_path_factory: Any) -> None:
    """Whatever spellings come, and in whatever order, a series counts once, by the best of these, and none is refused.

    Each spelling has counters of its own height, which rise by as much with each scrape.
    """
    path = tmp_path_factory.mktemp("spelt") / FILE
    path.write_text(SPELT, encoding="utf-8")
    catalog = loader.load_catalog([path])
    collector = Collector(Recogniser(catalog, ("gateway",)), TagRules())
    for number, lines in enumerate(scrapes, 1):
        collector.begin()
        text = [f'{name}_total{{l="{label}"}} {number * 10 ** NAMES.index(name)}' for name, label in lines]
        reader = TextReader(collector, lambda line, cut: None)
        for metric in reader.families([text]):
            collector.add(metric, lambda family: ((n, s, s.labels, "") for n, s in enumerate(family.samples)))
        collector.finish()
        shown = [series for series in collector.frame if not series.outdone]
        values = [series.current.value for series in sorted(shown, key=lambda series: series.outputs[0].tags)]
        best = {label: min(NAMES.index(name) for name, of in lines if of == label) for _, label in lines}
        assert values == [number * 10 ** best[label] for label in sorted(best)]
        assert not collector.rejected
        collector.sweep()
