"""`ENC[...]` gets its value from a file or the environment, and no message repeats one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.model_serving.errors import OptionError
from datadog_checks.model_serving.workstation.standin.secrets import Handle, filled, handles_in, values_of

SECRET = "dapi0123456789abcdef"


def values(given: list[str], environ: dict[str, str], *names: str) -> dict[str, str]:
    return values_of("conf.yaml", [Handle(name, f"instances[1].{name}") for name in names], given, environ)


def test_a_file_and_a_variable_and_the_usual_variable(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{SECRET}\r\n", encoding="utf-8")
    environ = {"TOKEN": " b ", "MODEL_SERVING_SECRET_K8S_SECRET_NS_NAME_KEY": "c", "MODEL_SERVING_SECRET_B": "other"}
    given = [f"a={tmp_path}/token", "b=env:TOKEN"]
    assert values(given, environ, "a", "b", "k8s_secret@ns/name/key", "a") == {
        "a": SECRET,
        "b": " b ",
        "k8s_secret@ns/name/key": "c",
    }


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["token"], "--secret takes NAME=FILE or NAME=env:VARIABLE"),
        ([f"token={SECRET}"], "--secret token: what follows the `=` names no file: give NAME=FILE or"),
        ([f"token=env:{SECRET}"], "--secret token: what follows `env:` is no name of a variable"),
        ([f"token={SECRET * 300}"], "--secret token: what follows the `=` names no file: give NAME=FILE or"),
        ([f"token=\0{SECRET}"], "--secret token: what follows the `=` names no file: give NAME=FILE or"),
        (["token=env:NONE"], "--secret token: the variable NONE is not set."),
        (["token=env:EMPTY"], "--secret token: the variable EMPTY is empty."),
        (["tokn=env:FULL"], r"--secret tokn: conf.yaml has no ENC\[tokn\]; did you mean token\?"),
        (["zzz=env:FULL"], r"--secret zzz: conf.yaml has no ENC\[zzz\]; there is ENC\[token\]."),
        (["token={folder}"], "token: {folder} can't be read: Is a directory."),
        (["token={folder}/empty"], "token: {folder}/empty is empty."),
        (["token={folder}/binary"], "token: {folder}/binary is not text in UTF-8"),
        (["token={folder}/large"], "token: {folder}/large is larger than 64 KiB"),
        (
            [],
            r"conf.yaml, instances\[1\].token: ENC\[token\] is a secret .* `--secret token=FILE` or "
            "`--secret token=env:VARIABLE`, or set MODEL_SERVING_SECRET_TOKEN.",
        ),
    ],
)
def test_a_mistake_is_told_without_the_secret(given: list[str], complaint: str, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"\n")
    (tmp_path / "binary").write_bytes(b"\xff")
    (tmp_path / "large").write_bytes(b"a" * 70_000)
    given = [text.replace("{folder}", str(tmp_path)) for text in given]
    with pytest.raises(OptionError, match=complaint.replace("{folder}", str(tmp_path))) as raised:
        values(given, {"EMPTY": "", "FULL": SECRET}, "token")
    assert SECRET not in str(raised.value)


def test_all_that_is_missing_is_told_at_once() -> None:
    with pytest.raises(OptionError) as raised:
        values(["b=env:B"], {"B": "1"}, "a", "b", "c", "a")
    assert [line.partition(":")[0] for line in str(raised.value).splitlines()] == [
        "conf.yaml, instances[1].a",
        "conf.yaml, instances[1].c",
    ]


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
TREES = st.recursive(
    st.one_of(st.none(), st.integers(), NAMES, NAMES.map(lambda name: f" ENC[{name}] ")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@given(TREES)
def test_every_handle_is_filled_and_nothing_else_changes(tree: Any) -> None:
    names = {handle.name for handle in handles_in(tree)}
    assert filled(tree, {name: f"ENC[{name}]" for name in names}) == stripped(tree)
    done = filled(tree, dict.fromkeys(names, "value"))
    assert list(handles_in(done)) == []


def stripped(tree: Any) -> Any:
    """The tree without the blanks around handles."""
    if isinstance(tree, dict):
        return {key: stripped(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [stripped(value) for value in tree]
    if isinstance(tree, str) and tree.strip().startswith("ENC[") and tree.strip().endswith("]"):
        return tree.strip()
    return tree
