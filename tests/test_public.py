"""Nothing that users rely on vanishes or changes its type; what is new is written down."""

from __future__ import annotations

import pytest

from .public import command_options, golden, public, structure


@pytest.fixture(scope="module")
def now() -> dict[str, dict[str, str]]:
    return public()


@pytest.mark.parametrize("section", golden())
def test_what_is_public_stays(now: dict[str, dict[str, str]], section: str) -> None:
    """A key of the JSON, an option or a name that was there is there, and is what it was."""
    lost = {f"{name}: {kind}": now[section].get(name) for name, kind in golden()[section].items()}
    lost = {name: found for name, found in lost.items() if found != name.rpartition(": ")[2]}
    assert lost == {}, "users rely on these: keep them, or say in the changelog how to do without and edit public.yaml"


@pytest.mark.parametrize("section", golden())
def test_what_is_new_is_written_down(now: dict[str, dict[str, str]], section: str) -> None:
    """From its first release on it is public."""
    new = now[section].keys() - golden()[section].keys()
    assert new == set(), "new names: run `python -m tests.public` and commit tests/public.yaml"


def test_every_section_is_held(now: dict[str, dict[str, str]]) -> None:
    """A section that is left out of the file would be held by nothing; none is empty."""
    assert golden().keys() == now.keys()
    assert all(golden().values())


def test_the_structure_is_seen_in_full() -> None:
    """The rules themselves: what is nested, what can be null, metrics by their type, commands within commands."""
    found = list(structure({"a": [{"b": None}, {"b": 1}], "metrics": [{"type": "gauge", "value": 1.5}]}))
    assert found == [
        ("a", "list"),
        ("a[]", "object"),
        ("a[].b", "null"),
        ("a[]", "object"),
        ("a[].b", "number"),
        ("metrics", "list"),
        ("metrics[type=gauge]", "object"),
        ("metrics[type=gauge].type", "string"),
        ("metrics[type=gauge].value", "number"),
    ]
    assert {
        "check --json",
        "check -c",
        "lint FILE...",
        "provision plan --detailed-exitcode",
    } <= command_options().keys()
