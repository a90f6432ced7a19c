"""Test files: what they say, and what is wrong with them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from datadog_checks.model_serving.errors import DocumentError
from datadog_checks.model_serving.workstation.cli.exit import ExitStatus
from datadog_checks.model_serving.workstation.cli.root import root
from datadog_checks.model_serving.workstation.provision.model import Resource
from datadog_checks.model_serving.workstation.provision.simulate.cases import ExpectedGroup, MonitorCase, load_cases
from datadog_checks.model_serving.workstation.provision.simulate.judge import judge
from datadog_checks.model_serving.workstation.provision.simulate.observations import COUNT, GAUGE, Observations
from datadog_checks.model_serving.workstation.provision.simulate.simulation import Simulator

ROOT = Path(__file__).parents[4]
REQUESTS = "model_serving.request.count{serving_system:s,endpoint_name:e,model_name:m}"
HEALTH = "model_serving.gpu.health{serving_system:nvml,endpoint_name:e,gpu:0,gpu_uuid:u}"
LATENCY = "model_serving.request.latency{serving_system:s,endpoint_name:e,model_name:m}"
SERIES = f"[{{series: '{LATENCY}', values: 5x40, weight: 9}}]"
SLOW = f"{{name: n, interval: 1m, series: {SERIES}, expect: {{latency.p99: %s}}}}"


def run(tmp_path: Path, text: str, *options: str) -> Result:
    file = tmp_path / "tests.yaml"
    file.write_text(text)
    return CliRunner().invoke(root, ["provision", "test", str(file), *options])


def test_the_example_of_the_page(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "scenarios.md").read_text(), re.DOTALL)
    done = run(tmp_path, example)
    assert (done.exit_code, done.output.splitlines()[-1]) == (0, "2 of 2 tests are as expected.")


def of_series(line: str) -> str:
    return f"tests: [{{name: n, series: [{{{line}}}], expect: {{}}}}]"


def of_check(values: str, expect: str = "", more: str = "") -> str:
    return f"tests: [{{name: n, {more} checks: [{{check: '{HEALTH}', values: {values}}}], expect: {{{expect}}}}}]"


MISTAKES = {
    "": "tests.yaml: the key `tests` is missing",
    "tests: []": "tests: holds no test",
    "tests: [{name: n}]": "tests[0]: the key `expect` is missing",
    "tests: [{name: n, expect: {}}]": "tests[0]: names nothing that a monitor could see",
    "tests: [{name: n, expct: {}}]": "tests[0]: unknown key `expct`; did you mean `expect`?",
    "tests: [{name: n, name: m}]": "`name` is there twice",
    "tests: [{name: n, scenario: idle nigth, expect: {}}]": "there is no scenario `idle nigth`; did you mean `idle",
    "tests: [{name: n, scenario: idle night, interval: 1m, expect: {}}]": "a scenario brings this along: leave it out",
    of_series(f"series: '{REQUESTS}', values: 1y3"): "`1y3` is no value: write 5, 5x10",
    of_series(f"series: '{REQUESTS}', values: 1x999999999"): "more than 100,000 values",
    of_series(f"series: '{REQUESTS}'"): "series[0]: the key `values` is missing",
    of_series(f"series: '{REQUESTS}', values: 1, type: gauge"): "is a count",
    of_series(f"series: '{REQUESTS}', values: 1, weight: 3"): "of a distribution only",
    of_series("series: 'model_serving.request.cuont{a:b}', values: 1"): "the check sends no metric",
    of_series("series: 'mine{a:b}', values: 1"): "what `mine` is is not known: write `type`",
    of_series("series: 'mine{a=b}', values: 1"): "as in `name{key:value,key:value}`",
    of_check("okk"): "`okk` is no status: write ok, warning",
    of_check("ok", more="interval: 1,"): "must be a duration such as 90s",
    of_check("ok", more="repeat: 90s,"): "must be whole minutes",
    of_check("ok", more="length: 20d,"): "longer than 14 days",
    of_check("ok", "gpu.healht: quiet"): "there is no monitor `gpu.healht`; did you mean `gpu.health`?",
    of_check("ok", "gpu.health: silent"): "must be one of quiet, not simulated, depends",
    of_check("ok", "gpu.health: {states: {5: ok}}"): "the key 5 must be a text",
    of_check("ok", "gpu.health: {states: {5m: fine}}"): "must be one of ok, warn, alert",
    of_check("ok", "gpu.health: {notifications: 1-}"): "must be a whole number",
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.items())
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    done = run(tmp_path, text)
    assert message in done.output
    assert "tests.yaml" in done.output
    assert done.exit_code == ExitStatus.USAGE


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ("{states: {2m: none, 20m: alert}, worst: alert, notifications: 1, notified: []}", ""),
        ("{group: {model_name: m}, states: {20m: alert}}", ""),
        ("{group: {model_name: m}, notifications: 1}", ""),
        ("[{worst: alert}, {group: {endpoint_name: e}, notifications: 1}]", ""),
        ("quiet", "expected to stay quiet, but goes Alert"),
        ("depends", "is the same in every way that it may be"),
        ("not simulated", "is simulated: say what is expected of it"),
        ("{states: {20m: ok}}", "at 20m expected ok, but it is alert"),
        ("{states: {2m: alert}}", "at 2m expected alert, but it is none"),
        ("{group: {model_name: other}, states: {20m: alert}}", "has no group with model_name:other"),
        ("{worst: warn}", "expected to be warn at worst, but is alert"),
        ("{notifications: 2}", "expected 2 notifications, not 1"),
        ("{notifications: 1-2}", "expected 1-2 notifications, not 1"),
        ("{notified: [pagerduty-x]}", "expected to notify pagerduty-x, but notified is nobody"),
    ],
)
def test_what_is_expected(tmp_path: Path, expected: str, message: str) -> None:
    done = run(tmp_path, f"tests: [{SLOW % expected}]")
    assert done.exit_code == (ExitStatus.FOUND if message else ExitStatus.DONE), done.output
    assert message in done.output


def test_others_are_quiet_or_named(tmp_path: Path) -> None:
    text = SLOW.replace("expect:", "others: quiet, expect:") % "{worst: alert}"
    assert run(tmp_path, f"tests: [{text}]").exit_code == ExitStatus.DONE
    done = run(tmp_path, f"tests: [{text.replace('latency.p99:', 'latency.mean: quiet, latency.week:')}]")
    assert done.exit_code == ExitStatus.FOUND
    assert "differs: latency.p99" in done.output
    assert "differs: latency.mean" not in done.output


def test_values_and_routing_come_with_the_file_or_the_command(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text("monitors: {latency.p99: {thresholds: {critical: 9}}}")
    (tmp_path / "routing.yaml").write_text("receiver: a\nreceivers: {a: {to: [slack-a]}}")
    (tmp_path / "other.yaml").write_text("receiver: b\nreceivers: {b: {to: [slack-b]}}")
    quiet = f"values: values.yaml\ntests: [{SLOW % 'quiet'}]"
    assert run(tmp_path, quiet).exit_code == ExitStatus.DONE
    told = f"routing: routing.yaml\ntests: [{SLOW % '{notified: [slack-a]}'}]"
    assert run(tmp_path, told).exit_code == ExitStatus.DONE
    done = run(tmp_path, told, "--routing", str(tmp_path / "other.yaml"))
    assert "notified is slack-b" in done.output


def test_what_depends_is_no_success() -> None:
    """A rate is in counts where points stand for themselves, and in counts per second in buckets."""
    query = "avg(last_10m):sum:latency{*}.as_rate() / avg:provisioned{*} > 1"
    seen = Observations(0, 3600)
    for at in range(0, 3600, 60):
        seen.point("latency", COUNT, (), at, 100)
        seen.point("provisioned", GAUGE, (), at, 4)
    body = {"type": "query alert", "query": query, "message": "", "options": {}}
    simulator = Simulator([Resource("monitor", "m", body)], seen)

    def told(expected: str | tuple[ExpectedGroup, ...]) -> list[str]:
        return [one.text for one in judge(MonitorCase("n", "", seen, "", {"m": expected}, ""), simulator)]

    assert told("depends") == []
    assert told((ExpectedGroup("", notifications=(0, 1)),)) == []
    for expected in ("quiet", (ExpectedGroup("", states={1800: "Alert"}),), (ExpectedGroup("", worst="Alert"),)):
        (text,) = told(expected)
        assert "which depends on what Datadog documents nowhere" in text


def test_only_some_tests(tmp_path: Path) -> None:
    text = f"tests: [{SLOW % 'quiet'}, {(SLOW % '{worst: alert}').replace('name: n', 'name: other')}]"
    assert "1 of 1 tests are as expected" in run(tmp_path, text, "--only", "oth").output
    assert run(tmp_path, text, "--only", "nothing").exit_code == ExitStatus.USAGE


def test_json(tmp_path: Path) -> None:
    (tmp_path / "routing.yaml").write_text("receiver: a\nreceivers: {a: {to: [slack-a]}}")
    done = run(tmp_path, f"routing: routing.yaml\ntests: [{SLOW % 'quiet'}]", "--json")
    (found,) = json.loads(done.output)
    assert (found["test"], found["as_expected"]) == ("n", False)
    (monitor,) = [one for one in found["monitors"] if one["monitor"] == "latency.p99"]
    (group,) = monitor["groups"]
    assert group["group"] == {"endpoint_name": "e", "model_name": "m", "serving_system": "s"}
    assert [state["state"] for state in group["states"]] == ["alert"]
    assert [(one["kind"], one["recipients"]) for one in monitor["notifications"]] == [("alert", ["slack-a"])]
    assert found["disagreements"][0]["monitor"] == "latency.p99"


def points(tmp_path: Path, line: str) -> list[Any]:
    file = tmp_path / "points.yaml"
    file.write_text(f"tests: [{{name: n, series: [{line}], expect: {{}}}}]")
    (case,) = load_cases(file).cases
    assert case.seen is not None
    ((name, found),) = case.seen.metrics.items()
    (series,) = found.values()
    assert name == "mine"
    return [(series.kind, at - case.seen.start, value) for at, value in zip(series.times, series.values, strict=True)]


def test_v21_readings_of_a_counter_make_increments(tmp_path: Path) -> None:
    """Source of the Agent, pkg/metrics/monotonic_count.go: unchanged is 0, a reset is left out."""
    found = points(tmp_path, "{series: mine, type: monotonic_count, values: 2 3 6 7 10 11 11 4 6, }")
    wanted = [1, 3, 1, 3, 1, 0, None, 2]
    assert found == [(COUNT, 15 * (at + 1), value) for at, value in enumerate(wanted) if value is not None]


def test_tags_are_spelt_as_they_are_stored(tmp_path: Path) -> None:
    """A test file may spell tags as systems do."""
    file = tmp_path / "tags.yaml"
    file.write_text("tests: [{name: n, series: [{series: 'mine{Model:A b}', type: gauge, values: 1}], expect: {}}]")
    with pytest.raises(DocumentError, match="as in"):
        load_cases(file)
    file.write_text("tests: [{name: n, series: [{series: 'mine{Model:A+b}', type: gauge, values: 1}], expect: {}}]")
    (case,) = load_cases(file).cases
    assert case.seen is not None
    assert [tags for found in case.seen.metrics.values() for tags in found] == [("model:a_b",)]
