"""YAML that is no mistake of syntax and can't be meant: every reader of the product says so, and ends."""

from __future__ import annotations

import ast
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.model_serving.catalog.loader import load_catalog
from datadog_checks.model_serving.errors import ConfigError
from datadog_checks.model_serving.strict_yaml import (
    MAX_BYTES,
    MAX_DEPTH,
    UnreadableYaml,
    parse_yaml,
    read_shipped,
    read_yaml,
)
from datadog_checks.model_serving.workstation.provision.desired import load_values
from datadog_checks.model_serving.workstation.provision.routing import load_routing
from datadog_checks.model_serving.workstation.standin.configuration import load_configuration

from .packaging.conftest import ROOT

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 8))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 8))
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 2000))

REFUSED = {
    "prefix: 2024-99-99T99:99:99": "`2024-99-99T99:99:99` is no timestamp that there is (line 1, column 9)",
    "a: 2024-02-30": "`2024-02-30` is no timestamp that there is",
    f"a: {'9' * 5000}": "is too long a number",
    "a: 99999999999999999999": "`99999999999999999999` is too large a number",
    f"a: 1{':59' * 5000}": "is too long a number",
    "a: !!int x": "`x` is no int that there is",
    "a: !!bool x": "`x` is no bool that there is",
    "a: !!timestamp x": "`x` is no timestamp that there is",
    "a: !!float ''": "`` is no float that there is",
    "[" * 3000: f"it is nested more than {MAX_DEPTH} levels deep",
    "- " * 3000: f"it is nested more than {MAX_DEPTH} levels deep",
    CHAIN: f"it is nested more than {MAX_DEPTH} levels deep",
    "tags: &a [*a]": "it holds itself, by an alias (line 1, column 7)",
    "tags: &a {b: {c: *a}}": "it holds itself, by an alias",
    "? &a [*a]\n: b": "it holds itself, by an alias",
    LAUGHS: "it unfolds to more than 100,000 values",
    MERGES: "it unfolds to more than 100,000 values",
    "x: [" + "a," * 120_000 + "]": "it unfolds to more than 100,000 values",
    'a: "\\ud800"': "half of a character (a lone surrogate)",
    "a: 1\nb: 2\na: 3": "`a` is there twice (line 3, column 1)",
    "x:\n- {a: 1, 'a': 2}": "`a` is there twice",
    "x: {<<: {a: 1, a: 2}}": "`a` is there twice",
    "a: !!python/object/apply:os.getcwd []": "the tag 'tag:yaml.org,2002:python/object/apply:os.getcwd' is not used",
    "a: !!set {b}": "the tag 'tag:yaml.org,2002:set' is not used",
    "a: !!binary x": "the tag 'tag:yaml.org,2002:binary' is not used",
    "a: !!map [b]": "expected a mapping node",
    "? {a: b}\n: c": "found unhashable key",
    "[a]: b": "found unhashable key",
    "a: *b": "found undefined alias",
    "a: 1\n---\nb: 2": "expected a single document",
    "a: [": "expected the node content",
}


@pytest.mark.parametrize(("text", "problem"), REFUSED.items(), ids=lambda text: repr(text[:24]))
def test_what_can_not_be_meant_is_refused_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(UnreadableYaml) as caught:
        parse_yaml(text)
    assert problem in str(caught.value)


READERS: list[Callable[[Path], Any]] = [
    load_configuration,
    load_values,
    load_routing,
    lambda path: load_catalog([path]),
]


@pytest.mark.parametrize("read", READERS, ids=("configuration", "values", "routing", "catalog"))
@pytest.mark.parametrize("text", REFUSED, ids=lambda text: repr(text[:24]))
def test_every_reader_refuses_it_in_words(read: Callable[[Path], Any], text: str, tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"file\.yaml"):
        read(path)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [1, 2]\nb: *a\nc: {<<: {d: 1}, d: 2}",
        "a: 2024-02-29\nb: 2024-01-01T00:00:00Z\nc: 1.0e+3\nd: 0x1F\ne: 1:30\nf: ~\ng: yes\nh: .inf",
        "{1: a, 2: b, null: c, 2024-02-29: d}",
        f"{'[' * (MAX_DEPTH - 1)}{']' * (MAX_DEPTH - 1)}",
        "",
        "a",
        "a: 18446744073709551615",
    ],
)
def test_what_is_sound_is_read_as_any_reader_does(text: str) -> None:
    assert parse_yaml(text) == yaml.safe_load(text)


def test_a_lone_equals_sign_is_a_text() -> None:
    assert parse_yaml("a: =\n=: b") == {"a": "=", "=": "b"}


def test_a_file_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    with pytest.raises(UnreadableYaml, match="larger than 2 MiB"):
        read_yaml("/dev/zero")
    (tmp_path / "large.yaml").write_text("a: " + "x" * MAX_BYTES, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"large.yaml.* larger than 2 MiB"):
        load_configuration(tmp_path / "large.yaml")


PIECES = [
    *(
        "a",
        "1",
        ": ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "&a ",
        "*a",
        "<<",
        "<<: *a",
        "? ",
        "'",
        '"',
        "|",
        ">",
        "#",
        "%",
        "=",
    ),
    *(
        "~",
        "0x",
        "1:2",
        ".nan",
        "2024-13-01",
        "9" * 70,
        "é",
        "\\ud800",
        "\ud800",
        "\0",
        "\t",
        " ",
        "  ",
        "\n",
        "\n- ",
        "---\n",
    ),
    *(f"!!{name} " for name in ("int", "map", "float", "null", "str", "timestamp", "merge", "value", "bool", "seq")),
    "!x ",
]


@given(st.one_of(st.lists(st.sampled_from(PIECES), max_size=30).map("".join), st.text(max_size=60)))
def test_any_text_is_read_or_refused(text: str) -> None:
    value: Any = None
    with suppress(UnreadableYaml):
        value = parse_yaml(text)
    # Whoever gets it can walk through it.
    assert len(repr(value)) < 10_000


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(allow_nan=False), st.text(), st.dates()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)), max_leaves=20
)


@given(VALUES)
def test_what_was_written_is_read(value: Any) -> None:
    assert parse_yaml(yaml.safe_dump(value)) == value


PACKAGE = ROOT / "datadog_checks" / "model_serving"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.yaml")), ids=lambda path: path.stem)
def test_what_ships_is_read_strictly_here(path: Path) -> None:
    """And says the same to the quick reader that the package has for it."""
    assert read_shipped(path) == read_yaml(path)


def test_there_is_no_other_reader_of_yaml() -> None:
    """Only the strict one knows what to refuse."""
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Import) and any(name.name.split(".")[0] == "yaml" for name in node.names))
        or (isinstance(node, ast.ImportFrom) and not node.level and str(node.module).split(".")[0] == "yaml")
    }
    # What is pasted is written as YAML, and read by a person.
    assert found == {"strict_yaml.py", "workstation/examine/paste.py"}
