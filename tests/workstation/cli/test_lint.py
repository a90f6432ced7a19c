"""`model-serving lint`: what it prints, how it ends, and that docs/lint.md says the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from datadog_checks.model_serving.errors import QueryError
from datadog_checks.model_serving.workstation.cli.lint import WIDTH, excerpt
from datadog_checks.model_serving.workstation.cli.root import root
from datadog_checks.model_serving.workstation.provision.query import parse_monitor
from datadog_checks.model_serving.workstation.provision.query.documents import check_document
from datadog_checks.model_serving.workstation.provision.query.monitors import monitor_type
from datadog_checks.model_serving.workstation.provision.query.problems import IDS, Problem

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs" / "lint.md").read_text(encoding="utf-8")
SECTIONS = re.findall(r"^### (\S+)\n.*?```diff\n- (.+?)\n! (.+?)\n\+ (.+?)\n```", DOCUMENT, re.MULTILINE | re.DOTALL)
GOOD = {"type": "query alert", "name": "a", "query": "avg(last_5m):avg:app.load{*} by {host} > 5"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, in which the command runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, **files: Any) -> Result:
    """The command, on JSON files `<name>.json` that it finds in the folder it runs in."""
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        Path(f"{name}.json").write_text(text, encoding="utf-8")
    return CliRunner().invoke(root, ["lint", *arguments, *(f"{name}.json" for name in files)])


def document_of(text: str) -> Any:
    """An example of the documentation: JSON, or the query of a monitor of the right type."""
    if text.startswith(("{", "[")):
        return json.loads(text)
    try:
        kind = monitor_type(parse_monitor(text))
    except QueryError:
        kind = "query alert"
    return {"type": kind, "query": text}


def told(problem: Problem) -> str:
    """A problem as the documentation writes it."""
    column = "" if problem.column is None else f"column {problem.column}: "
    return f"{column}{problem.severity}: {problem.message}"


@pytest.mark.parametrize(("id", "wrong", "message", "right"), SECTIONS, ids=[id for id, *_ in SECTIONS])
def test_documented_example(id: str, wrong: str, message: str, right: str) -> None:
    """The wrong form gives the documented message, under the id of its section, and no other; the right form none."""
    found = check_document(document_of(wrong))
    assert [(problem.id, told(problem)) for problem in found] == [(id, message)]
    assert check_document(document_of(right)) == []


def test_every_check_is_documented() -> None:
    """A section for each check, in the order in which the command lists them, and for nothing else."""
    assert [id for id, *_ in SECTIONS] == list(IDS)
    assert re.findall(r"^### (\S+)", DOCUMENT, re.MULTILINE) == list(IDS)


def test_documented_output(folder: Path) -> None:
    """The output at the top of the documentation is what the command prints."""
    shown = re.search(r"```text\n(.*?)```", DOCUMENT, re.DOTALL)
    assert shown is not None
    query = shown.group(1).splitlines()[1].strip()
    done = run(monitors=[{"type": "query alert", "query": query}])
    assert done.output == shown.group(1)
    assert done.exit_code == 3


def test_nothing_wrong(folder: Path) -> None:
    """Files without problems end well."""
    done = run(a=GOOD, b=[GOOD, {"widgets": []}])
    assert (done.exit_code, done.output) == (0, "0 errors, 0 warnings in 2 files\n")


def test_errors_and_warnings_of_several_files(folder: Path) -> None:
    """Every problem is told with file, path, column, excerpt and id; an error fails."""
    bad = {**GOOD, "query": "avg(last_5m):avg:app.load > .5"}
    widget = {"definition": {"type": "timeseries", "requests": [{"q": "avg:app.load{*"}]}}
    done = run(monitors=[GOOD, bad], board={"widgets": [widget]})
    assert done.exit_code == 3
    assert done.output.splitlines() == [
        "monitors.json: [1].query, column 29: error: write numbers with digits on both sides of the point: 0.5, not .5 "
        "(query/number)",
        "    avg(last_5m):avg:app.load > .5",
        "                                ^",
        "board.json: widgets[0].definition.requests[0].q, column 13: error: `{` is never closed (query/syntax)",
        "    avg:app.load{*",
        "                ^",
        "2 errors, 0 warnings in 2 files",
    ]


def test_warnings_fail_only_when_asked(folder: Path) -> None:
    """--strict lets warnings fail."""
    warned = {**GOOD, "query": "avg(last_5m):avg:app.load > 5"}
    assert run(a=warned).exit_code == 0
    assert run("--strict", a=warned).exit_code == 3
    assert run("--strict", "--disable", "query/scope", a=warned).exit_code == 0


def test_hints_never_fail(folder: Path) -> None:
    """A hint is shown and counted, and fails nothing."""
    hinted = {**GOOD, "query": "avg(last_5m):app.load{*} > 5"}
    done = run("--strict", a=hinted)
    assert done.exit_code == 0
    assert "hint: no aggregation over the series of `app.load`" in done.output
    assert done.output.endswith("0 errors, 0 warnings, 1 hint in 1 file\n")


def test_an_id_that_does_not_exist_cannot_be_disabled(folder: Path) -> None:
    """A misspelt id is a mistake in the options."""
    done = run("--disable", "query/scop", a=GOOD)
    assert done.exit_code == 2
    assert "query/scope" in done.output


def test_json(folder: Path) -> None:
    """One object per problem, with all that is known of it."""
    done = run("--json", a={**GOOD, "query": "avg(last_5m):avg:app.load > 5"})
    assert [json.loads(line) for line in done.output.splitlines()] == [
        {
            "file": "a.json",
            "severity": "warning",
            "message": "`app.load` has no scope: write `app.load{*}`",
            "path": "query",
            "column": 18,
            "id": "query/scope",
            "text": "avg(last_5m):avg:app.load > 5",
        }
    ]


def test_a_catalog_and_tags_of_ones_own(folder: Path) -> None:
    """Metrics of the user's catalog and tags of the user's instances are known."""
    catalog = folder / "gateway.yaml"
    catalog.write_text(
        "system: gateway\nmetrics: [{raw: gw_spend, type: counter, to: gateway.spend.count}]\n"
        "own_metrics: {gateway.spend.count: {type: count, description: Money spent.}}\n",
        encoding="utf-8",
    )
    body = {**GOOD, "query": "sum(last_5m):sum:model_serving.gateway.spend.count{*} by {squad}.as_count() > 5"}
    assert "catalog/metric" in run(a=body).output
    assert "catalog/tag" in run("--catalog", "gateway.yaml", a=body).output
    assert run("--catalog", "gateway.yaml", "--tag", "squad", a=body).output == "0 errors, 0 warnings in 1 file\n"


def test_a_catalog_that_is_wrong(folder: Path) -> None:
    """A mistake in the user's catalog is told as the check tells it."""
    (folder / "gateway.yaml").write_text("system: gateway\n", encoding="utf-8")
    done = run("--catalog", "gateway.yaml", a=GOOD)
    assert done.exit_code == 2
    assert "key `metrics`" in done.output


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 1', "is not JSON: Expecting ',' delimiter in line 1, column 8"),
        ("", "is not JSON: Expecting value in line 1, column 1"),
        ("[" * 100_000, "is nested too deeply"),
        ("{}", "holds no monitor, dashboard or SLO"),
    ],
    ids=["broken", "empty", "deep", "nothing"],
)
def test_a_file_that_holds_nothing(folder: Path, content: str, message: str) -> None:
    """One file that can't be used is an error, and the others are checked all the same."""
    done = run(a=content, b={**GOOD, "query": ""})
    assert done.exit_code == 3
    assert done.output.startswith("a.json: error: ")
    assert message in done.output
    assert "b.json: query, column 1: error: the query is empty" in done.output


def test_all_that_an_export_writes_is_known(folder: Path) -> None:
    """Also what has no query: percentiles, notification rules, and Terraform's configuration of all of them."""
    Path("routing.yaml").write_text("receiver: mail\nreceivers: {mail: {to: [ml@example.com]}}\n", encoding="utf-8")
    export = ["provision", "export", "out", "--pack", "slo", "--routing", "routing.yaml"]
    assert CliRunner().invoke(root, export).exit_code == 0
    written = [str(path) for path in Path("out").rglob("*.json")]
    assert {Path(one).parent.name for one in written} > {"out", "percentiles", "notification_rules"}
    rule = json.loads(Path("out/notification_rules/mail.json").read_text(encoding="utf-8"))
    done = run(*written, answer={"data": [{"id": "1", **rule["data"]}]})
    assert (done.exit_code, done.output[:9]) == (0, "0 errors,"), done.output


def test_files_that_cannot_be_read(folder: Path) -> None:
    """A missing file and one that is no text are errors with what to do."""
    Path("binary.json").write_bytes(b"\xff\xfe\x00")
    done = run("missing.json", "binary.json")
    assert done.exit_code == 3
    assert "missing.json: error: cannot be read: No such file or directory; check the path and rights" in done.output
    assert "binary.json: error: is not UTF-8 text: save it as UTF-8" in done.output


def test_standard_input() -> None:
    """`-` reads what is piped in; a byte order mark does no harm."""
    command = [sys.executable, "-m", "datadog_checks.model_serving", "lint", "-"]
    text = "\ufeff" + json.dumps({**GOOD, "query": "avg(5m):avg:a.b{*} > 5"})
    done = subprocess.run(command, input=text.encode(), capture_output=True, cwd=ROOT, timeout=300, check=False)
    assert done.returncode == 3
    assert done.stdout.decode().startswith("-: query, column 5: error: `5m` is no window: write `last_5m`")


def test_nothing_in_a_file_reaches_the_terminal_unprintable(folder: Path) -> None:
    """Control characters of a query are not printed."""
    done = run(a={**GOOD, "query": "avg(last_5m):avg:a\x1b[31m.b{*} > 5"})
    assert done.exit_code in (0, 3)
    assert "\x1b" not in done.output


@pytest.mark.parametrize(
    ("text", "column", "line", "caret"),
    [
        ("abcdef", 3, "abcdef", 2),
        ("abcdef", 7, "abcdef", 6),
        ("first\nsecond\nthird", 9, "second", 2),
        ("first\nsecond", 6, "first", 5),
        ("日本 b", 4, "日本 b", 5),
        ("a\tb", 3, "a\\tb", 3),
        ("a\x1bb", 2, "a\\x1bb", 1),
    ],
)
def test_excerpt(text: str, column: int, line: str, caret: int) -> None:
    """The caret stands under the column, whatever stands before it."""
    assert excerpt(text, column) == (line, caret)


@pytest.mark.parametrize("column", [1, 50, 111, 300, 399, 400])
def test_excerpt_of_a_long_line(column: int) -> None:
    """Of a long line the part around the column is shown, and the caret points at the same character."""
    text = "".join(chr(ord("a") + number % 26) for number in range(400))
    line, caret = excerpt(text, column)
    assert len(line) <= WIDTH + 6
    assert line[caret] == text[column - 1]
    assert line.startswith("...") == (not line.startswith(text[:20]))
    assert line.endswith("...") == (not line.endswith(text[-20:]))
