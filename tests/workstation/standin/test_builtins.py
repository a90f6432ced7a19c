"""The builtin modules take what the Agent takes, and refuse what it refuses or would lose."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datadog_checks.model_serving.workstation.standin.builtins import CONTENTS, SubprocessOutputEmptyError, log_output
from datadog_checks.model_serving.workstation.standin.recorder import (
    Bucket,
    MetricType,
    Sample,
    ServiceCheck,
    ServiceStatus,
)
from datadog_checks.model_serving.workstation.standin.standin import StandIn, activated

aggregator, datadog_agent, tagger = (CONTENTS[name] for name in ("aggregator", "datadog_agent", "tagger"))


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    stand_in = StandIn(hostname="workstation", version="7.1.2", config={"proxy": {"http": "p"}})
    stand_in.recorder.clock = lambda: 12.5
    with activated(stand_in):
        yield stand_in


def test_metric_types_have_the_numbers_of_the_agent() -> None:
    assert {name: aggregator[name] for name in MetricType.__members__} == {
        "GAUGE": 0,
        "RATE": 1,
        "COUNT": 2,
        "MONOTONIC_COUNT": 3,
        "COUNTER": 4,
        "HISTOGRAM": 5,
        "HISTORATE": 6,
    }


def test_a_metric_is_recorded(stand_in: StandIn) -> None:
    aggregator["submit_metric"](None, "c:1", aggregator["COUNT"], "m", 2.0, ["a:1", "b"], "h", True)
    batch = stand_in.recorder.take()
    assert batch.samples == [Sample("c:1", MetricType.COUNT, "m", 2.0, ("a:1", "b"), "h", True, 12.5)]
    assert stand_in.recorder.take().samples == []


def test_a_bucket_is_recorded(stand_in: StandIn) -> None:
    aggregator["submit_histogram_bucket"](None, "c", "m", 3, 0.5, 1, False, "", ["a"])
    aggregator["submit_histogram_bucket_multi"](None, "c", "m", 4, 1.0, 2.0, True, "", [], True)
    assert stand_in.recorder.take().buckets == [
        Bucket("c", "m", 3, 0.5, 1.0, False, ("a",), "", False, 12.5),
        Bucket("c", "m", 4, 1.0, 2.0, True, (), "", True, 12.5, by_bound=True),
    ]


def test_service_checks_and_events_are_recorded(stand_in: StandIn) -> None:
    aggregator["submit_service_check"](None, "c", "up", 2, ["a"], "", "gone")
    aggregator["submit_event"](
        None, "c", {"msg_title": "t", "msg_text": "x", "timestamp": 7, "tags": ["a"], "host": None}
    )
    batch = stand_in.recorder.take()
    assert batch.service_checks == [ServiceCheck("c", "up", ServiceStatus.CRITICAL, ("a",), "", "gone")]
    assert [event.fields for event in batch.events] == [
        {"msg_title": "t", "msg_text": "x", "timestamp": 7, "tags": ["a"]}
    ]


METRIC: dict[str, Any] = {"check_id": "c", "mtype": 0, "name": "m", "value": 1.0, "tags": [], "hostname": ""}
BUCKET: dict[str, Any] = {
    "check_id": "c",
    "name": "m",
    "value": 1,
    "lower_bound": 0.0,
    "upper_bound": 1.0,
    "monotonic": False,
    "hostname": "",
    "tags": [],
}
SERVICE_CHECK: dict[str, Any] = {"check_id": "c", "name": "n", "status": 0, "tags": [], "hostname": "", "message": ""}


@pytest.mark.parametrize(
    ("function", "good", "change", "complaint"),
    [
        ("submit_metric", METRIC, {"value": 1}, "the value of m must be float, not int"),
        ("submit_metric", METRIC, {"value": "1"}, "the value of m must be float, not str"),
        ("submit_metric", METRIC, {"value": None}, "the value of m must be float, not NoneType"),
        ("submit_metric", METRIC, {"name": b"m"}, "name must be str, not bytes"),
        ("submit_metric", METRIC, {"check_id": None}, "check_id must be str, not NoneType"),
        ("submit_metric", METRIC, {"hostname": None}, "hostname must be str, not NoneType"),
        ("submit_metric", METRIC, {"tags": None}, "tags must be list, not NoneType"),
        ("submit_metric", METRIC, {"tags": "a:1"}, "tags must be list, not str"),
        ("submit_metric", METRIC, {"tags": ["a", 1]}, "a tag must be str, not int"),
        ("submit_metric", METRIC, {"tags": ["a", None]}, "a tag must be str, not NoneType"),
        ("submit_metric", METRIC, {"mtype": "gauge"}, "mtype must be int, not str"),
        ("submit_metric", METRIC, {"mtype": 7}, "7 is not a valid MetricType"),
        ("submit_metric", METRIC, {"name": "m\0"}, "name must not contain a null character"),
        ("submit_metric", METRIC, {"tags": ["\ud800"]}, "surrogates not allowed"),
        ("submit_histogram_bucket", BUCKET, {"value": 1.0}, "the count of a bucket of m must be int, not float"),
        ("submit_histogram_bucket", BUCKET, {"value": True}, "the count of a bucket of m must be int, not bool"),
        ("submit_histogram_bucket", BUCKET, {"lower_bound": "0"}, "lower_bound must be float, not str"),
        ("submit_histogram_bucket", BUCKET, {"upper_bound": None}, "upper_bound must be float, not NoneType"),
        ("submit_service_check", SERVICE_CHECK, {"status": "OK"}, "status must be int, not str"),
        ("submit_service_check", SERVICE_CHECK, {"status": 4}, "4 is not a valid ServiceStatus"),
        ("submit_service_check", SERVICE_CHECK, {"message": None}, "message must be str, not NoneType"),
    ],
)
def test_wrong_types_are_refused(
    stand_in: StandIn, function: str, good: dict[str, Any], change: dict[str, Any], complaint: str
) -> None:
    """The same call is accepted without the change and refused with it, and leaves nothing behind."""
    aggregator[function](None, **good)
    stand_in.recorder.take()
    with pytest.raises((TypeError, ValueError), match=complaint):
        aggregator[function](None, **(good | change))
    batch = stand_in.recorder.take()
    assert (batch.samples, batch.buckets, batch.service_checks) == ([], [], [])


@pytest.mark.parametrize(
    ("event", "complaint"),
    [
        ("text", "an event must be dict, not str"),
        ({"msg_title": 1}, "the msg_title of an event must be str, not int"),
        ({"tags": "a"}, "tags must be list, not str"),
        ({"timestamp": 1.5}, "the timestamp of an event must be int, not float"),
    ],
)
def test_wrong_events_are_refused(stand_in: StandIn, event: Any, complaint: str) -> None:
    with pytest.raises(TypeError, match=complaint):
        aggregator["submit_event"](None, "c", event)
    assert stand_in.recorder.take().events == []


def test_the_agent_answers_from_the_stand_in(stand_in: StandIn) -> None:
    assert datadog_agent["get_hostname"]() == "workstation"
    assert datadog_agent["get_version"]() == "7.1.2"
    assert datadog_agent["get_config"]("proxy") == {"http": "p"}
    assert datadog_agent["get_config"]("enable_metadata_collection") is True
    assert datadog_agent["get_config"]("unknown") is None
    assert abs(datadog_agent["get_process_start_time"]() - time.time()) < 3600
    assert CONTENTS["util"]["headers"]({}, http_host="h") | {"Accept": ""} == {
        "User-Agent": "Datadog Agent/7.1.2",
        "Content-Type": "application/x-www-form-urlencoded",
        "Accept": "",
        "Host": "h",
    }


def test_metadata_is_recorded(stand_in: StandIn) -> None:
    datadog_agent["set_check_metadata"]("c", "version.major", "1")
    assert stand_in.recorder.take().metadata == {("c", "version.major"): "1"}
    with pytest.raises(TypeError, match="value must be str, not int"):
        datadog_agent["set_check_metadata"]("c", "version.major", 1)


def test_what_is_no_metric_is_kept(stand_in: StandIn) -> None:
    aggregator["submit_event_platform_event"](None, "c", "{}", "dbm-samples")
    datadog_agent["send_log"]("{}", "c")
    datadog_agent["emit_agent_telemetry"]("c", "n", 1, "count")
    assert stand_in.recorder.take().other == [
        ("event_platform", (None, "c", "{}", "dbm-samples")),
        ("log", ("{}", "c")),
        ("telemetry", ("c", "n", 1, "count")),
    ]


@pytest.mark.parametrize("in_files", [False, True])
def test_the_persistent_cache_remembers(tmp_path: Path, in_files: bool) -> None:
    cache_dir = tmp_path / "cache" if in_files else None
    stand_in = StandIn(cache_dir=cache_dir)
    with activated(stand_in):
        assert datadog_agent["read_persistent_cache"]("c:1_last/../x") == ""
        datadog_agent["write_persistent_cache"]("c:1_last/../x", "älter")
        datadog_agent["write_persistent_cache"]("c:1_last/../x", "neuer ü")
        datadog_agent["write_persistent_cache"]("other", "")
        assert datadog_agent["read_persistent_cache"]("c:1_last/../x") == "neuer ü"
    with activated(StandIn(cache_dir=cache_dir)):
        assert datadog_agent["read_persistent_cache"]("c:1_last/../x") == ("neuer ü" if in_files else "")
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == ({"cache/c/1_lastx", "cache/other"} if in_files else set())


def test_the_log_goes_to_python_logging_once(stand_in: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    """Even with a handler on the root logger that leads back into the Agent, as the base package puts there."""

    class BackToTheAgent(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            datadog_agent["log"](record.getMessage(), record.levelno)

    handler = BackToTheAgent()
    logging.getLogger().addHandler(handler)
    log_output.addHandler(caplog.handler)
    log_output.setLevel(logging.DEBUG)
    try:
        datadog_agent["log"]("100% careful", logging.WARNING)
        logging.getLogger("datadog_checks.something").error("boom")
        datadog_agent["log"]("detail", logging.DEBUG)
    finally:
        logging.getLogger().removeHandler(handler)
        log_output.removeHandler(caplog.handler)
    ours = [record.getMessage() for record in caplog.records if record.name == log_output.name]
    assert ours == ["100% careful", "boom", "detail"]
    assert [(line.level, line.message) for line in stand_in.recorder.take().logs] == [
        (logging.WARNING, "100% careful"),
        (logging.ERROR, "boom"),
    ]


def test_tags_of_entities_come_from_the_stand_in() -> None:
    with activated(StandIn(entity_tags={"container_id://1": ("image_name:x",)})):
        assert tagger["tag"]("container_id://1", tagger["HIGH"]) == ["image_name:x"]
        assert tagger["get_tags"]("container_id://1", False) == ["image_name:x"]
        assert tagger["tag"]("container_id://2", tagger["LOW"]) == []
        with pytest.raises(TypeError, match="Invalid cardinality"):
            tagger["tag"]("container_id://1", 3)
        with pytest.raises(TypeError, match="entity must be str"):
            tagger["tag"](None, 0)


def test_commands_run(stand_in: StandIn) -> None:
    run = CONTENTS["_util"]["get_subprocess_output"]
    assert run(["sh", "-c", "echo out; echo err >&2; exit 3"], False, env=None) == ("out\n", "err\n", 3)
    with pytest.raises(SubprocessOutputEmptyError):
        run(["true"], True)
    with pytest.raises(TypeError, match="must be a list"):
        run("true", False)


def test_without_a_stand_in_nothing_happens() -> None:
    assert aggregator["submit_metric"](None, "c", 0, "m", 1.0, [], "", False) is None
    assert datadog_agent["get_hostname"]() is None
    assert datadog_agent["get_config"]("log_level") is None
    assert datadog_agent["log"]("x", 40) is None


@pytest.mark.parametrize("count", [2**63, -(2**63) - 1, 10**20])
def test_a_count_has_64_bits(stand_in: StandIn, count: int) -> None:
    aggregator["submit_histogram_bucket"](None, "c", "m", 2**63 - 1, 0.5, 1, False, "", [])
    with pytest.raises(OverflowError, match="too big"):
        aggregator["submit_histogram_bucket"](None, "c", "m", count, 0.5, 1, False, "", [])


def test_tags_may_be_any_sequence(stand_in: StandIn) -> None:
    aggregator["submit_metric"](None, "c", aggregator["COUNT"], "m", 2.0, ("a:1", "b"), "", False)
    assert stand_in.recorder.take().samples[0].tags == ("a:1", "b")


def test_a_cache_that_is_broken(tmp_path: Path) -> None:
    """A read raises what rtloader raises, a write is lost without a word."""
    (tmp_path / "c" / "folder").mkdir(parents=True)
    for stand_in, key in ((StandIn(cache_dir=tmp_path), "c:folder"), (StandIn(cache_broken=True), "c:1")):
        with activated(stand_in):
            datadog_agent["write_persistent_cache"](key, "text")
            with pytest.raises(RuntimeError, match="failed to read data"):
                datadog_agent["read_persistent_cache"](key)
