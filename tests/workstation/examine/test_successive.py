"""Saved answers that are given in the wrong order, or are of two endpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.model_serving.workstation.cli.root import root
from datadog_checks.model_serving.workstation.examine import SavedAnswer, doubts

MLSERVER = 'model_infer_request_success_total{{model="{}",version="v1"}} {}\n'
START = "process_start_time_seconds {}\n"
SYSTEMS = {"s": "S"}


def check(folder: Path, *answers: str, option: str = "--all") -> tuple[str, str]:
    """What the command says of saved answers, a.txt and b.txt, on one line, and on standard error."""
    names = []
    for name, answer in zip("ab", answers, strict=True):
        folder.joinpath(f"{name}.txt").write_text(answer, encoding="utf-8")
        names.append(str(folder / f"{name}.txt"))
    done = CliRunner(env={"COLUMNS": "400"}).invoke(root, ["check", *names, option])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    said = done.stdout.replace(f"{folder}/", "")
    return " ".join(said.split()), done.stderr.replace(f"{folder}/", "")


def test_one_file_twice_is_told(tmp_path: Path) -> None:
    """Nothing comes between, and no traffic is what would be shown."""
    path = tmp_path / "a.txt"
    path.write_text(MLSERVER.format("m", 20), encoding="utf-8")
    done = CliRunner(env={"COLUMNS": "400"}).invoke(root, ["check", str(path), str(path)])
    assert "is given twice in a row, so nothing has come in between" in done.stdout


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        # The same process has counted less in the second.
        (
            START.format(1.7e9) + MLSERVER.format("m", 20),
            START.format(1.7e9) + MLSERVER.format("m", 10),
            "b.txt is older than a.txt: it is of the same process, by process_start_time_seconds, which has counted "
            "less in it. What is shown of the time between is not true: give b.txt before a.txt.",
        ),
        (
            START.format(1.7e9 + 600) + MLSERVER.format("m", 20),
            START.format(1.7e9) + MLSERVER.format("m", 30),
            "the process of b.txt started before that of a.txt.",
        ),
        (
            START.format(1.7e9) + MLSERVER.format("m", 20),
            START.format(1.7e9 + 600) + MLSERVER.format("m", 30),
            "Unless the server was restarted in between, they are of two endpoints",
        ),
        (
            MLSERVER.format("m", 20),
            MLSERVER.format("m", 10),
            "What counts is lower in b.txt than in a.txt. Unless the server was restarted in between, either b.txt is "
            "the older answer",
        ),
        (
            MLSERVER.format("m", 20),
            "vllm:num_requests_running 1\n",
            "b.txt of vLLM and its family. Saved answers are taken for successive ones of one endpoint: check each by "
            "itself.",
        ),
        (
            "python_info 1\n" + MLSERVER.format("m", 20),
            "python_info 1\n" + MLSERVER.format("n", 20),
            "have no series in common",
        ),
        (MLSERVER.format("m", 20), MLSERVER.format("n", 20), "a.txt and b.txt have no series in common"),
        ("kong_upstream 1\n", MLSERVER.format("n", 20), "a.txt and b.txt have no series in common"),
    ],
)
def test_what_speaks_against_it_is_said(first: str, second: str, words: str, tmp_path: Path) -> None:
    shown, _ = check(tmp_path, first, second)
    assert words in shown


def test_beside_json_it_is_said_too(tmp_path: Path) -> None:
    _, said = check(tmp_path, MLSERVER.format("m", 20), MLSERVER.format("m", 10), option="--json")
    assert said.startswith("What counts is lower in b.txt than in a.txt.")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (MLSERVER.format("m", 20), MLSERVER.format("m", 30)),
        (MLSERVER.format("m", 20), MLSERVER.format("m", 20)),
        # A restart.
        (START.format(1.7e9) + MLSERVER.format("m", 20), START.format(1.7e9 + 600) + MLSERVER.format("m", 10)),
        # One worker of several has ended.
        (
            START.format(1.7e9) + MLSERVER.format("m", 20) + MLSERVER.format("n", 20),
            START.format(1.7e9) + MLSERVER.format("m", 10) + MLSERVER.format("n", 30),
        ),
        # Nothing has been counted in the first.
        ("python_info 1\n", "python_info 1\n" + MLSERVER.format("m", 30)),
        # What the catalog of the system ignores, which was not known to be there.
        ("python_info 1\n", 'python_info 1\nlitellm_proxy_total_requests_metric_total{requested_model="m"} 30\n'),
    ],
)
def test_successive_answers_bring_no_doubt(first: str, second: str, tmp_path: Path) -> None:
    shown, said = check(tmp_path, first, second)
    for word in ("restarted", "older", "started", "one endpoint", "in common"):
        assert word not in shown
    assert said == ""


counters = st.dictionaries(st.sampled_from("abcd"), st.floats(0, 100), min_size=1)
starts = st.dictionaries(st.sampled_from(["", "job\ntarget"]), st.floats(1.6e9, 1.8e9))


@given(counters, counters, starts)
def test_one_process_in_its_order_brings_no_doubt_and_none_in_the_wrong_one_is_missed(
    before: dict[str, float], rise: dict[str, float], start: dict[str, float]
) -> None:
    after = {key: before.get(key, 0.0) + rise.get(key, 0.0) for key in {*before, *rise}}
    first = SavedAnswer("first", SYSTEMS, frozenset(before), before, start)
    second = SavedAnswer("second", SYSTEMS, frozenset(after), after, start)
    assert list(doubts([first, second])) == []
    risen = any(after[key] > before[key] for key in before)
    assert len(list(doubts([second, first]))) == risen
