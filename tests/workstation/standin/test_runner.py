"""Instances are built and run as the Agent does, each on its own, and shown to people and machines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from datadog_checks.base import AgentCheck, ConfigurationError
from rich.console import Console

from datadog_checks.model_serving.http.redact import printable
from datadog_checks.model_serving.workstation.standin.entities import number
from datadog_checks.model_serving.workstation.standin.install import standing_in
from datadog_checks.model_serving.workstation.standin.recorder import ServiceStatus
from datadog_checks.model_serving.workstation.standin.runner import Runner, label_of
from datadog_checks.model_serving.workstation.standin.sinks import combined, to_json
from datadog_checks.model_serving.workstation.standin.sketch import GAMMA
from datadog_checks.model_serving.workstation.standin.standin import StandIn
from datadog_checks.model_serving.workstation.standin.terminal import show


class Probe(AgentCheck):  # type: ignore[misc]
    """Does what its instance says; `trouble` says what goes wrong."""

    __NAMESPACE__ = "probe"

    def __init__(self, name: str, init_config: Any, instances: Any) -> None:
        super().__init__(name, init_config, instances)
        self.runs = 0
        self.cancelled = False
        self.given = instances
        if self.instance.get("trouble") == "constructor":
            raise ConfigurationError(f"bad option with {self.instance['token']}")
        if self.instance.get("trouble") == "constructor bug":
            raise KeyError("oops")

    def check(self, instance: Any) -> None:
        self.runs += 1
        trouble = instance.get("trouble")
        self.monotonic_count("requests", 10 * self.runs, tags=["who:me", f"nr:{instance['nr']}"])
        self.gauge("load", 0.1 + self.runs, tags=["who:me"])
        self.submit_histogram_bucket("time", 4, 1.0, 1.0, False, None, ["who:me"])
        self.service_check("up", ServiceStatus.CRITICAL if trouble == "critical" else ServiceStatus.OK)
        if trouble == "run":
            raise RuntimeError(f"no answer, token {instance['token']}")
        if trouble == "configuration":
            raise ConfigurationError("option `a` is wrong")
        if trouble == "warning":
            self.warning("token %s expires", instance["token"])
        if trouble == "event":
            self.event({"msg_title": "XID 79", "msg_text": f"GPU 0 {instance['token']}"})
            self.set_metadata("version", "1.2.3")

    def cancel(self) -> None:
        self.cancelled = True


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with standing_in() as stand_in:
        yield stand_in


def runner(stand_in: StandIn, *instances: dict[str, Any]) -> Runner:
    numbered = [(nr, {"nr": nr, "token": f"secret-{nr}", **options}) for nr, options in enumerate(instances, 1)]
    return Runner(Probe, "probe", {"shared": 1}, numbered, stand_in)


def test_instances_are_constructed_as_the_agent_does(stand_in: StandIn) -> None:
    options = {"a": {"b": 1}, "name": "mine"}
    checks = [instance.check for instance in Runner(Probe, "probe", {"c": 2}, [(1, options)], stand_in)._instances]
    (check,) = checks
    assert (check.name, check.init_config, check.given) == ("probe", {"c": 2}, (options,))
    assert isinstance(check.given, tuple)
    assert check.given[0]["a"] is not options["a"]
    assert check.check_id.startswith("probe:mine:")


def test_ids_tell_instances_apart_and_stay_the_same(stand_in: StandIn) -> None:
    ids = [[run.check_id for run in runner(stand_in, {}, {"x": 1}).run().runs] for _ in range(2)]
    assert ids[0] == ids[1]
    assert ids[0][0] != ids[0][1]
    edited = [run.check_id for run in runner(stand_in, {}, {"x": 2}).run().runs]
    assert not {*edited} & {*ids[0]}, "an edit of one instance gives all of them other ids"
    same = Runner(Probe, "probe", {}, [(1, {"nr": 1}), (2, {"nr": 1})], stand_in).run()
    assert [len(run.commit.series) for run in same.runs] == [1, 1]
    assert same.runs[0].check_id != same.runs[1].check_id


def test_counts_are_what_changed_between_rounds(stand_in: StandIn) -> None:
    probes = runner(stand_in, {}, {})
    first, second = probes.run(), probes.run()
    names = [
        [(series.context.name, series.value) for series in round_.runs[1].commit.series] for round_ in (first, second)
    ]
    assert names == [[("probe.load", 1.1)], [("probe.load", 2.1), ("probe.requests", 10)]]
    assert (first.number, second.number) == (1, 2)
    assert first.healthy


@pytest.mark.parametrize(
    ("trouble", "error", "misconfigured"),
    [
        ("run", "no answer, token ********", False),
        ("configuration", "option `a` is wrong", True),
        ("constructor", "bad option with ********", True),
        ("constructor bug", "'oops'", False),
    ],
)
def test_a_failing_instance_leaves_the_others_alone(
    stand_in: StandIn, trouble: str, error: str, misconfigured: bool
) -> None:
    probes = runner(stand_in, {"trouble": trouble}, {})
    for _ in range(2):
        round_ = probes.run()
        assert (round_.runs[0].error, round_.runs[0].misconfigured) == (error, misconfigured)
        assert (round_.runs[1].error, round_.runs[1].misconfigured) == (None, False)
        assert (round_.healthy, round_.misconfigured) == (False, misconfigured)
    assert "probe.requests" in [series.context.name for series in round_.runs[1].commit.series]


def test_a_critical_service_check_is_not_healthy(stand_in: StandIn) -> None:
    assert not runner(stand_in, {"trouble": "critical"}).run().healthy


def test_warnings_have_no_secrets(stand_in: StandIn) -> None:
    round_ = runner(stand_in, {"trouble": "warning"}).run()
    assert round_.runs[0].warnings == ["token ******** expires"]
    assert round_.healthy
    assert round_.logs
    assert not any("secret-1" in line.message for line in round_.logs)


def test_closing_cancels_every_instance(stand_in: StandIn) -> None:
    probes = runner(stand_in, {}, {"trouble": "constructor"}, {})
    probes.close()
    checks = [instance.check for instance in probes._instances]
    assert [check.cancelled for check in checks if check is not None] == [True, True]


@pytest.mark.parametrize(
    ("options", "label"),
    [
        ({"openmetrics_endpoint": "https://me:pw@h:1/metrics?token=x#y"}, "https://h:1/metrics"),
        ({"databricks_host": "adb.example", "endpoint_name": "chat"}, "adb.example chat"),
        ({"openmetrics_endpoint": "http://[broken"}, "http://[broken"),
        ({}, ""),
    ],
)
def test_labels(options: dict[str, Any], label: str) -> None:
    assert label_of(options) == label


UNITS = {"probe.load": "percent", "probe.time": "second"}.get


def test_a_round_as_json(stand_in: StandIn) -> None:
    probes = runner(stand_in, {"trouble": "event"}, {"trouble": "run"})
    probes.run()
    document = json.loads(json.dumps(to_json(probes.run(), UNITS), allow_nan=False))
    ids = [instance["check_id"] for instance in document["instances"]]
    assert document["timestamp"] > 1e9
    assert {key: document[key] for key in ("round", "healthy", "logs")} == {"round": 2, "healthy": False, "logs": []}
    metadata = document["instances"][0].pop("metadata")
    assert metadata["version.raw"] == "1.2.3"
    assert document["instances"] == [
        {
            "instance": 1,
            "label": "instance 1",
            "check_id": ids[0],
            "error": None,
            "misconfigured": False,
            "warnings": [],
            "discarded": [],
        },
        {
            "instance": 2,
            "label": "instance 2",
            "check_id": ids[1],
            "error": "no answer, token ********",
            "misconfigured": False,
            "warnings": [],
            "metadata": {},
            "discarded": [],
        },
    ]
    common = {"instance": 1, "tags": ["who:me"], "stored_tags": ["who:me"], "host": ""}
    metrics = [metric for metric in document["metrics"] if metric["instance"] == 1]
    assert metrics == [
        {**common, "name": "probe.load", "type": "gauge", "unit": "percent", "value": pytest.approx(2.1)},
        {
            **common,
            "name": "probe.requests",
            "type": "count",
            "unit": None,
            "tags": ["nr:1", "who:me"],
            "stored_tags": ["nr:1", "who:me"],
            "value": 10,
        },
        {
            **common,
            "name": "probe.time",
            "type": "distribution",
            "unit": "second",
            "count": 4,
            "sum": 4,
            **dict.fromkeys(("min", "max", "avg"), 1),
            # The values of a key count as spread over its width.
            **dict.fromkeys(("p50", "p75", "p90", "p95", "p99"), pytest.approx(1, rel=GAMMA - 1)),
        },
    ]
    assert [metric["name"] for metric in document["metrics"] if metric["instance"] == 2] == [
        "probe.load",
        "probe.requests",
        "probe.time",
    ]
    assert document["service_checks"][0] == {
        "instance": 1,
        "name": "probe.up",
        "status": "ok",
        "tags": [],
        "stored_tags": [],
        "host": "",
        "message": "",
    }
    assert [(event["instance"], event["msg_title"]) for event in document["events"]] == [(1, "XID 79")]


def shown(probes: Runner, rounds: int) -> str:
    console = Console(file=StringIO(), width=200, no_color=True, highlight=False)
    show(combined([probes.run() for _ in range(rounds)]), UNITS, console)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_rounds_in_a_terminal(stand_in: StandIn) -> None:
    """Each instance with its errors, what its metrics share, its metrics one a line, service checks and events."""
    lines = [
        " ".join(line.split())
        for line in shown(runner(stand_in, {"trouble": "event"}, {"trouble": "run"}), 3).splitlines()
    ]
    first, second = lines[: lines.index("Instance 2: instance 2")], lines[lines.index("Instance 2: instance 2") :]
    assert "All metrics are tagged: who:me" in first
    assert "probe.load 3.1 percent" in first
    assert "probe.requests 20 nr:1" in first
    (time,) = (line.split() for line in first if line.startswith("probe.time "))
    assert [*time[:3], *time[3:9:2]] == ["probe.time", "count", "12", "p50", "p95", "p99"]
    assert [float(quantile) for quantile in time[4:9:2]] == pytest.approx([1, 1, 1], rel=GAMMA - 1)
    assert time[9] == "second"
    assert "OK probe.up" in first
    assert first.count("EVENT XID 79: GPU 0 ********") == 3
    assert any(line.startswith("Metadata:") and "version.raw=1.2.3" in line for line in first)
    assert second[1] == "ERROR no answer, token ********"
    assert "probe.requests 20 nr:2" in second


def test_a_warning_is_shown_once(stand_in: StandIn) -> None:
    assert shown(runner(stand_in, {"trouble": "warning"}), 2).count("expires") == 1


def test_labels_of_an_endpoint_do_not_steer_the_terminal() -> None:
    assert printable("a\x1b[31m\nb\u202e ü") == "a\\x1b[31m\\nb\\u202e ü"


@pytest.mark.parametrize(
    ("value", "text"),
    [(3.0, "3"), (0.1234567, "0.123457"), (1e20, "1e+20"), (-2.5, "-2.5"), (123456789.0, "123456789")],
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text
