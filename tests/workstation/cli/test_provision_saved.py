"""A plan that was reviewed is what is applied, or nothing is; and nothing is written that would be refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ..provision.resources import numbers
from ..provision.standin import Fault, Standin
from .test_provision import is_write, run

VALUES = "monitors:\n  gpu.temperature: {thresholds: {critical: 80}}\n"


@pytest.fixture
def values(tmp_path: Path) -> Path:
    path = tmp_path / "values.yaml"
    path.write_text(VALUES, encoding="utf-8")
    return path


@pytest.fixture
def saved(dd: Standin, tmp_path: Path, values: Path) -> Path:
    """A plan for an account that has the pack already."""
    assert run(dd, "apply", "--yes", "--pack", "saturation").exit_code == 0
    path = tmp_path / "plan.json"
    planned = run(dd, "plan", "--prune", "--pack", "saturation", "--values", str(values), "--out", str(path))
    assert planned.exit_code == 0, planned.output
    dd.forget()
    return path


def temperature(dd: Standin) -> float:
    (found,) = (one for one in dd.state.monitors.values() if "model_serving_key:gpu.temperature" in one["tags"])
    return float(found["options"]["thresholds"]["critical"])


def test_a_saved_plan_is_applied_once_without_the_files_that_made_it(dd: Standin, tmp_path: Path, values: Path) -> None:
    path = tmp_path / "plan.json"
    options = ("--pack", "gpu", "--values", str(values))
    assert run(dd, "plan", *options, "--out", str(path)).exit_code == 0
    values.rename(tmp_path / "elsewhere.yaml")
    done = run(dd, "apply", str(path), "--yes")
    assert done.exit_code == 0, done.output
    assert temperature(dd) == 80
    before = numbers(dd)
    again = run(dd, "apply", str(path), "--yes")
    assert again.exit_code == 1
    assert "plan.json is stale, so nothing was done; since it was made:\n" in again.output
    assert again.output.count("there now") == 1, "not of each"
    assert re.search(r" \(id \S+\) and \d+ others that it was to create are there now: it may have been ", again.output)
    (tmp_path / "elsewhere.yaml").rename(values)
    assert run(dd, "plan", "--detailed-exitcode", *options).exit_code == 0, "nothing but what was wanted"
    assert numbers(dd) == before


def edited(dd: Standin, key: str, **fields: object) -> None:
    (found,) = (one for one in dd.state.monitors.values() if f"model_serving_key:{key}" in one["tags"])
    found.update(fields)


def removed(dd: Standin, key: str) -> None:
    for number, one in list(dd.state.monitors.items()):
        if f"model_serving_key:{key}" in one["tags"]:
            del dd.state.monitors[number]


def twin(dd: Standin, key: str) -> None:
    (found,) = (one for one in dd.state.monitors.values() if f"model_serving_key:{key}" in one["tags"])
    dd.state.add_monitor({name: found[name] for name in found if name not in ("id", "org_id")}, found["created"])


STALE: dict[str, tuple[Callable[[Standin, Path], object], str]] = {
    "an unchanged one was edited": (
        lambda dd, _: edited(dd, "cpu.high", name="Mine"),
        "monitor:cpu.high was changed in name",
    ),
    "one was deleted": (lambda dd, _: removed(dd, "cpu.high"), "monitor:cpu.high is another: id "),
    "one has a twin": (lambda dd, _: twin(dd, "cpu.high"), "the twin of monitor:cpu.high has come (id "),
    "the values were edited": (
        lambda _, values: values.write_text(f"{VALUES}\n# and more\n", encoding="utf-8"),
        "values.yaml has changed",
    ),
}


@pytest.mark.parametrize("name", STALE)
def test_a_plan_is_stale_once_anything_that_it_rests_on_has_changed(
    dd: Standin, saved: Path, values: Path, name: str
) -> None:
    change, words = STALE[name]
    change(dd, values)
    done = run(dd, "apply", str(saved), "--yes")
    assert done.exit_code == 1
    assert words in done.output
    assert "make it again with `model-serving provision plan --out FILE`" in done.output
    assert not any(is_write(call) for call in dd.calls)


def test_what_is_to_go_goes_only_as_it_was_reviewed(dd: Standin, tmp_path: Path, values: Path) -> None:
    values.write_text("packs: [saturation]\n", encoding="utf-8")
    assert run(dd, "apply", "--yes", "--pack", "saturation", "--pack", "cost").exit_code == 0
    path = tmp_path / "plan.json"
    assert run(dd, "plan", "--prune", "--values", str(values), "--out", str(path)).exit_code == 0
    edited(dd, "gpu.idle", query="avg(last_5m):avg:system.load.1{*} > 1")
    done = run(dd, "apply", str(path), "--yes")
    assert done.exit_code == 1
    assert "monitor:gpu.idle was changed in the account" in done.output
    assert run(dd, "plan", "--prune", "--values", str(values), "--out", str(path)).exit_code == 0
    assert run(dd, "apply", str(path), "--yes").exit_code == 0
    assert "gpu.idle" not in json.dumps(dd.state.monitors)
    again = run(dd, "apply", str(path), "--yes")
    assert (again.exit_code, len(re.findall("gone|there now", again.output))) == (1, 1), "not of each"
    assert re.search(r" \(id \S+\) and \d+ others that it was to delete are gone: it may have been ", again.output)


def test_a_tag_that_is_left_to_others_makes_no_plan_stale(dd: Standin, tmp_path: Path, values: Path) -> None:
    values.write_text("ignore_tags: [owner]\n", encoding="utf-8")
    path = tmp_path / "plan.json"
    options = ("--pack", "saturation", "--values", str(values))
    assert run(dd, "apply", "--yes", *options).exit_code == 0
    edited(dd, "cpu.high", name="Mine")
    assert run(dd, "plan", *options, "--out", str(path)).exit_code == 0
    for one in dd.state.monitors.values():
        one["tags"] = [*one["tags"], "owner:bob"]
    done = run(dd, "apply", str(path), "--yes")
    assert done.exit_code == 0, done.output
    assert {"owner:bob" in one["tags"] for one in dd.state.monitors.values()} == {True}


def test_the_stack_is_that_of_the_plan(dd: Standin, tmp_path: Path, values: Path) -> None:
    """The file needs no values file to say whose it is, and another stack may change meanwhile."""
    values.write_text("stack: ml\n", encoding="utf-8")
    path = tmp_path / "plan.json"
    assert run(dd, "plan", "--pack", "saturation", "--values", str(values), "--out", str(path)).exit_code == 0
    values.unlink()
    other = tmp_path / "other.yaml"
    other.write_text("stack: web\nprefix: Web\n", encoding="utf-8")
    assert run(dd, "apply", "--yes", "--pack", "quality", "--values", str(other)).exit_code == 0
    done = run(dd, "apply", str(path), "--yes")
    assert done.exit_code == 0, done.output
    owners = {tag for one in dd.state.monitors.values() for tag in one["tags"] if tag.startswith("managed_by:")}
    assert owners == {"managed_by:model-serving.ml", "managed_by:model-serving.web"}


def test_a_metric_that_arrives_meanwhile_is_no_other_account(tmp_path: Path) -> None:
    with Standin() as empty:
        path = tmp_path / "plan.json"
        options = ("--pack", "slo")
        assert run(empty, "plan", *options, "--out", str(path)).exit_code == 0
        empty.policy.metrics_must_exist = False
        empty.state.see("model_serving.request.latency", "distribution", ["env:prod"])
        done = run(empty, "apply", str(path), "--yes")
        assert done.exit_code == 0, done.output
        assert numbers(empty)["percentiles"] == 0, "it waited in the plan"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no plan", "is no plan"),
        ("{}", "is no plan that can be applied"),
        ("[1]", "is no plan that can be applied"),
    ],
)
def test_a_file_that_is_no_plan_is_a_mistake(dd: Standin, tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text, encoding="utf-8")
    done = run(dd, "apply", str(path), "--yes")
    assert (done.exit_code, words in done.output) == (2, True)
    assert dd.calls == []


def test_a_plan_that_was_edited_is_a_mistake(dd: Standin, saved: Path) -> None:
    saved.write_text(saved.read_text(encoding="utf-8").replace("pack:saturation", "pack:saturatiom"), encoding="utf-8")
    done = run(dd, "apply", str(saved), "--yes")
    assert (done.exit_code, "was edited, or cut off" in done.output) == (2, True)
    assert dd.calls == []


MISTAKES: dict[str, tuple[list[str], str]] = {
    "another site": (["--site", "datadoghq.eu"], "not for datadoghq.eu: give --site datadoghq.com"),
    "a pack": (["--pack", "gpu"], "the plan says what is wanted"),
    "what to delete": (["--prune"], "the plan says what is wanted"),
    "what to adopt": (["--adopt", "cpu.high=1"], "the plan says what is wanted"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_plan_says_all_of_it(dd: Standin, saved: Path, name: str) -> None:
    options, words = MISTAKES[name]
    done = run(dd, "apply", str(saved), "--yes", *options)
    assert (done.exit_code, words in done.output) == (2, True)
    assert dd.calls == []


def test_a_plan_for_no_account_is_not_applied(dd: Standin, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    assert run(None, "plan", "--offline", "--pack", "gpu", "--out", str(path)).exit_code == 0
    done = run(dd, "apply", str(path), "--yes")
    assert (done.exit_code, "--offline, for no account" in done.output) == (2, True)


def test_a_key_in_the_account_stays_out_of_the_file_and_the_plan_can_be_applied(dd: Standin, tmp_path: Path) -> None:
    assert run(dd, "apply", "--yes", "--pack", "saturation").exit_code == 0
    edited(dd, "cpu.high", name=f"Key {dd.api_key}", message=f"Mine: {dd.app_key}")
    path = tmp_path / "plan.json"
    assert run(dd, "plan", "--pack", "saturation", "--out", str(path)).exit_code == 0
    text = path.read_text(encoding="utf-8")
    assert dd.api_key not in text
    assert dd.app_key not in text
    assert run(dd, "apply", str(path), "--yes").exit_code == 0
    assert dd.api_key not in json.dumps(dd.state.monitors)


def test_a_key_in_what_is_wanted_is_refused(dd: Standin, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(f"runbooks: https://wiki.example.com/{dd.api_key}\n", encoding="utf-8")
    path = tmp_path / "plan.json"
    done = run(dd, "plan", "--pack", "saturation", "--values", str(values), "--out", str(path))
    assert (done.exit_code, "holds one of your keys" in done.output) == (1, True)
    assert dd.api_key not in done.output
    assert not path.exists()


def test_what_would_be_refused_is_told_at_once_and_nothing_is_written(dd: Standin) -> None:
    dd.faults.add(Fault("status", where="ValidateMonitor", times=2, status=400, body={"errors": ["No", "Never"]}))
    done = run(dd, "apply", "--yes", "--pack", "gpu", "--pack", "slo")
    assert done.exit_code == 1
    assert "Error: nothing was written:\n" in done.output
    assert done.output.count(" would be refused: 400: No; Never\n") == 2
    assert not any(is_write(call) for call in dd.calls)


def test_nothing_is_written_where_a_monitor_could_not_be_checked(dd: Standin) -> None:
    dd.faults.add(Fault("status", where="ValidateMonitor", status=403, body={"errors": ["Forbidden"]}))
    done = run(dd, "apply", "--yes", "--pack", "gpu")
    assert done.exit_code == 1
    assert "could not be checked: 403: Forbidden" in done.output
    assert not any(is_write(call) for call in dd.calls)


def test_what_apply_knows_how_to_go_about_is_no_refusal(dd: Standin) -> None:
    """A twin is adopted, and an account that refuses a form of missing data gets the older one."""
    dd.policy.no_missing_data.add("query alert")
    assert run(dd, "apply", "--yes", "--pack", "gpu").exit_code == 0
    for one in dd.state.monitors.values():
        one["tags"] = [tag for tag in one["tags"] if not tag.startswith(("managed_by", "model_serving_key"))]
    dd.policy.duplicates_ignore_tags = True
    done = run(dd, "apply", "--yes", "--pack", "gpu")
    assert done.exit_code == 0, done.output
    assert "adopted monitor" in done.output


def hot(dd: Standin) -> int:
    """A monitor that a person has made."""
    body = {
        "name": "CPU is hot",
        "type": "query alert",
        "query": "avg(last_5m):avg:system.cpu.user{*} by {host} > 90",
        "message": "Hot. @slack-web",
        "tags": ["owner:bob"],
        "options": {"thresholds": {"critical": 90.0}},
    }
    return int(dd.state.add_monitor(body, "2025-01-01T00:00:00+00:00")["id"])


def test_a_saved_plan_adopts_only_what_was_reviewed(dd: Standin, tmp_path: Path) -> None:
    number, path, values = hot(dd), tmp_path / "plan.json", tmp_path / "ignore.yaml"
    values.write_text("ignore_tags: [owner]\n", encoding="utf-8")
    options = ("--pack", "saturation", "--values", str(values))
    planned = run(dd, "plan", *options, "--adopt", f"cpu.high={number}", "--out", str(path))
    assert planned.exit_code == 0, planned.output
    assert f'(id {number}) adopted: was "CPU is hot"; resets the state' in planned.output
    assert "no longer notifies slack-web\n" in planned.output
    before = dict(dd.state.monitors[number])
    for edit, what in (({"message": "Hot! @slack-web"}, "message"), ({"tags": ["owner:eve"]}, "tags")):
        dd.state.monitors[number].update(edit)
        stale = run(dd, "apply", str(path), "--yes")
        assert stale.exit_code == 1
        assert f"so nothing was done; since it was made:\n  monitor:cpu.high was changed in {what}" in stale.output
        dd.state.monitors[number].update(before)
    done = run(dd, "apply", str(path), "--yes")
    assert done.exit_code == 0, done.output
    assert {"owner:bob", "model_serving_key:cpu.high"} <= set(dd.state.monitors[number]["tags"])
    for again in ((), ("--adopt", f"cpu.high={number}")):
        assert run(dd, "plan", "--detailed-exitcode", *options, *again).exit_code == 0


def test_what_is_adopted_must_be_wanted_and_there(dd: Standin, tmp_path: Path) -> None:
    number, values = hot(dd), tmp_path / "values.yaml"
    values.write_text("monitors: {cpu.high: {enabled: false}}\n", encoding="utf-8")
    for options, status, words in (
        (("--values", str(values), "--adopt", f"cpu.high={number}"), 2, "monitor:cpu.high isn't provisioned here"),
        (("--adopt", f"cpu.hihg={number}"), 2, "did you mean `monitor:cpu.high`"),
        (("--adopt", f"cpu.high={number}", "--offline"), 2, "--offline is for no account"),
        (("--adopt", f"cpu.high={number}1"), 1, "the account has nothing with this id"),
    ):
        done = run(dd, "plan", "--pack", "saturation", *options)
        assert (done.exit_code, words in done.output) == (status, True), done.output
