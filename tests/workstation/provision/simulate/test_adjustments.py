"""What a user has otherwise than the tests that ship expect: told, and not held against the monitors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from datadog_checks.model_serving.workstation.cli.exit import ExitStatus
from datadog_checks.model_serving.workstation.cli.root import root
from datadog_checks.model_serving.workstation.provision.packs import builtin_packs
from datadog_checks.model_serving.workstation.provision.routing import load_routing
from datadog_checks.model_serving.workstation.provision.simulate.adjustments import Adjustments, assume_scopes
from datadog_checks.model_serving.workstation.provision.values import MonitorValues, Values, read_values

BORNE = frozenset(("endpoint_name", "model_name"))
RECIPIENTS = "routes: [{match: {severity: critical}, receiver: b}]\nreceivers: {a: {to: [slack-a]}, b: {to: [slack-b]}}"


@pytest.mark.parametrize(
    ("scope", "left", "met"),
    [
        ("env:prod,team:search", "*", ["env:prod", "team:search"]),
        ("env:prod,endpoint_name:a*", "endpoint_name:a*", ["env:prod"]),
        ("!env:dev,!endpoint_name:a", "!endpoint_name:a", ["!env:dev"]),
        ("env IN (prod,canary) AND NOT region:eu", "*", ["env IN (prod,canary)", "NOT region:eu"]),
        ("env:prod OR endpoint_name:a", "*", ["env:prod OR endpoint_name:a"]),
        ("NOT (env:dev AND endpoint_name:a)", "*", ["NOT (env:dev AND endpoint_name:a)"]),
        ("NOT (env:dev OR endpoint_name:a)", "NOT (env:dev OR endpoint_name:a)", []),
        ("env:prod AND (model_name:a OR model_name:b)", "model_name:a OR model_name:b", ["env:prod"]),
        ("*", "*", []),
    ],
)
def test_a_scope_is_taken_as_met_in_tags_that_no_series_bears(scope: str, left: str, met: list[str]) -> None:
    values = Values(everywhere=MonitorValues(scope=scope), monitors={"cpu.high": MonitorValues(scope=scope)})
    changed, told = assume_scopes(values, BORNE)
    assert [changed.everywhere.scope, changed.monitors["cpu.high"].scope, list(told)] == [left, left, met]


def test_a_scope_of_one_monitor_that_is_met_still_replaces_that_of_all() -> None:
    values = Values(
        everywhere=MonitorValues(scope="model_name:a"), monitors={"cpu.high": MonitorValues(scope="env:dev")}
    )
    changed, _ = assume_scopes(values, BORNE)
    assert changed.monitors["cpu.high"].scope == "*"


VALUES = """
scope: endpoint_name:a
min_errors: 9
no_data: 2h
window: 10m
renotify: 4h
monitors:
  errors.share: {severity: warning, team: x}
  latency.p99: {scope: "*"}
  gpu.temperature: {notify_by: ["*"]}
  endpoint.metrics: {enabled: false}
  prediction.shift: {thresholds: {critical: 9}}
slos: {availability: {target: 99, team: y}}
"""


@pytest.mark.parametrize(
    ("monitor", "said"),
    [
        ("errors.share", "scope, window, monitors.errors.share.severity, min_errors"),
        # What is said of a monitor holds for the one that complements it.
        ("errors.share.endpoint", "scope, window, monitors.errors.share.severity, min_errors"),
        ("latency.p99", "window"),
        ("gpu.temperature", "scope, window, monitors.gpu.temperature.notify_by"),
        ("agent.silent", "scope, window, no_data"),
        ("prediction.shift", "monitors.prediction.shift.thresholds, scope"),
        ("version.changed", ""),
        ("slo.availability.fast", "scope, min_errors, slos.availability.target"),
        # What keeps it still does otherwise.
        ("endpoint.ready", "scope, monitors.endpoint.metrics.enabled"),
    ],
)
def test_the_keys_that_bear_on_a_monitor(tmp_path: Path, monitor: str, said: str) -> None:
    file = tmp_path / "v.yaml"
    file.write_text(VALUES)
    (found,) = Adjustments(read_values(file), list(builtin_packs())).bearing_on(monitor) or ("",)
    keys = found.removeprefix(f"{file}: ")
    assert sorted(keys.split(", ")) == sorted(said.split(", "))


def test_a_routing_file_that_groups_otherwise_bears_on_monitors_that_have_other_groups(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(f"receiver: a\ngroup_by: [model_name]\n{RECIPIENTS}")
    adjustments = Adjustments(Values(), list(builtin_packs()), load_routing(file))
    assert adjustments.bearing_on("latency.p99") == (f"{file}: group_by",)
    assert adjustments.bearing_on("errors.share") == ()


def run(folder: Path, values: str, *options: str) -> Result:
    """The test of a GPU that falls off, with a values file."""
    (folder / "v.yaml").write_text(values)
    arguments = ["provision", "test", "--only", "GPU falls off", "--values", str(folder / "v.yaml"), *options]
    return CliRunner().invoke(root, arguments)


def test_packs_a_scope_and_routing_of_a_user_leave_what_the_packs_do(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(f"receiver: a\n{RECIPIENTS}")
    done = run(tmp_path, "stack: s\nscope: 'env:prod,team:s'\npacks: [gpu, slo]", "--routing", str(tmp_path / "r.yaml"))
    assert done.exit_code == ExitStatus.DONE, done.output
    assert done.stdout.endswith("1 of 1 tests are as expected.\n")
    assert "-> slack-b" in done.stdout
    assert "`env:prod`, `team:s` is taken as met" in done.stderr
    assert "the tests that ship expect the recipients of a routing file of their own" in done.stderr


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ("packs: [cost]", "the pack gpu is not chosen"),
        ("monitors: {gpu.health: {enabled: false}}", "monitors.gpu.health.enabled: false"),
        ("packs: [gpu]\nscope: endpoint_name:mine", "nothing here is within scope: endpoint_name:mine"),
    ],
)
def test_a_test_of_which_nothing_is_left_is_skipped(tmp_path: Path, values: str, why: str) -> None:
    done = run(tmp_path, values)
    assert done.exit_code == ExitStatus.DONE, done.output
    assert "  skipped: nothing that it expects is left" in done.stdout
    assert f"  left out: gpu.health ({why})" in done.stdout
    assert done.stdout.endswith("0 of 0 tests are as expected; 1 skipped.\n")


def test_a_difference_names_the_keys_that_bear_on_it(tmp_path: Path) -> None:
    done = run(tmp_path, "packs: [gpu]\nmonitors: {gpu.health: {thresholds: {critical: 99}}}")
    assert done.exit_code == ExitStatus.FOUND
    assert "  differs: gpu.health: expected to be alert at worst, but is ok" in done.stdout
    assert f"    may follow from {tmp_path / 'v.yaml'}: monitors.gpu.health.thresholds\n" in done.stdout


def test_what_a_user_adds_is_told_and_not_held_to_be_quiet(tmp_path: Path) -> None:
    """Of a pack of the user's own, the tests that ship know nothing."""
    (tmp_path / "mine.yaml").write_text(
        "title: t\nmonitors:\n  mine.gone:\n    title: t\n    subject: s\n    look: [x]\n    severity: warning\n"
        "    priority: 5\n    query: max(last_5m):sum:model_serving.gpu.utilization{*} by {endpoint_name} > 1\n"
    )
    done = run(tmp_path, "packs: [gpu, ./mine.yaml]", "--json")
    (found,) = json.loads(done.stdout)
    assert "mine.gone" in [one["monitor"] for one in found["monitors"]]
    assert (done.exit_code, found["as_expected"], found["skipped"]) == (ExitStatus.DONE, True, "")
