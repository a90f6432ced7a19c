"""What outlasts a restart of the Agent: whose it is, that it harms nothing, and that trial runs leave no trace."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.model_serving import ModelServingCheck
from datadog_checks.model_serving.config_models import InstanceConfig
from datadog_checks.model_serving.settings import source_id
from datadog_checks.model_serving.settings.identity import HOSTS, NAMES, URLS

from ..conftest import Answer, Endpoint, reply
from .agents import INTERVAL, Agents, counted

MINUTE = "request_count_total 7 1700000040000\n"
NEXT_MINUTE = "request_count_total 5 1700000100000\n"
XID = 'DCGM_FI_DEV_XID_ERRORS{gpu="0",UUID="GPU-1"} '


def databricks(endpoint: Endpoint, **options: Any) -> dict[str, Any]:
    return {"openmetrics_endpoint": endpoint.url, "serving_system": "databricks", "readiness": False, **options}


# -- harmless


@pytest.mark.parametrize("system", ["databricks", "mlserver", "dcgm", "custom_ml"])
def test_a_cache_that_cannot_be_read_costs_nothing_else(system: str, agents: Agents, endpoint: Endpoint) -> None:
    """All metrics go on, the status says in each run what is wrong and what to do, the log says it once."""
    endpoint.serve(f'{MINUTE}{XID}0\nmodel_accuracy 0.5\nmodel_infer_request_success_total{{model="m"}} 4\n')
    instance = databricks(endpoint, serving_system=system)
    sound = agents.run(agents.start(instance), 3)
    broken = agents.run(agents.start(instance, broken=True), 3)
    for round_, healthy in zip(broken, sound, strict=True):
        names = {point.context.name for point in round_.runs[0].commit.series}
        assert names >= {point.context.name for point in healthy.runs[0].commit.series}
        assert round_.runs[0].error is None
        (warning,) = round_.runs[0].warnings
        assert "RuntimeError: failed to read data" in warning
        assert "chown -R dd-agent: /var/run/agent/model_serving/`" in warning
        assert "sudo -u dd-agent datadog-agent check model_serving" in warning
    assert sum("chown" in line.message for round_ in broken for line in round_.logs) == 1


@pytest.mark.parametrize("failure", [RuntimeError("x"), PermissionError("x"), OSError("x"), ValueError("x")])
@pytest.mark.parametrize("call", ["read_persistent_cache", "write_persistent_cache"])
def test_whatever_a_call_raises(
    failure: Exception, call: str, agents: Agents, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No exception of the Agent's cache leaves it, and it is not asked again."""
    calls = []

    def fail(*arguments: Any) -> None:
        calls.append(arguments)
        raise failure

    monkeypatch.setattr(ModelServingCheck, call, fail)
    runner = agents.start(databricks(endpoint))
    endpoint.serve(MINUTE)
    rounds = agents.run(runner, 2)
    endpoint.serve(NEXT_MINUTE)
    rounds += agents.run(runner, 2)
    assert counted(rounds) == [7, 0, 5, 0]
    assert [run.error for round_ in rounds for run in round_.runs] == [None] * 4
    assert len(calls) == 1
    assert "chown" in rounds[-1].runs[0].warnings[0]


def test_a_write_that_the_agent_loses_is_told(agents: Agents, endpoint: Endpoint) -> None:
    """The Agent raises nothing where it can't write, as on a full disk."""
    endpoint.serve(MINUTE)
    (agents.cache_dir / "model_serving").write_text("a file where the directory should be")
    rounds = agents.run(agents.start(databricks(endpoint)), 3)
    assert counted(rounds) == [7, 0, 0]
    assert "chown" in rounds[-1].runs[0].warnings[0]


@pytest.mark.parametrize(
    "text", ["{", "[]", "7", '{"minutes": 5}', '{"codes": {"a": "b"}}', '{"minutes": {"a": 1' + "0" * 400 + "}}"]
)
def test_a_file_that_makes_no_sense_is_begun_anew(text: str, agents: Agents, endpoint: Endpoint) -> None:
    """One warning names the file, and from then on it is a good one."""
    endpoint.serve(MINUTE)
    agents.run(agents.start(databricks(endpoint)), 2)
    for path in (agents.cache_dir / "model_serving").iterdir():
        path.write_text(text)
    torn = agents.run(agents.start(databricks(endpoint)), 3)
    assert counted(torn) == [7, 0, 0]
    assert [len(round_.runs[0].warnings) for round_ in torn] == [1, 0, 0]
    assert "/var/run/agent/model_serving/*_scrape makes no sense" in torn[0].runs[0].warnings[0]
    assert counted(agents.run(agents.start(databricks(endpoint)), 2)) == [0, 0]


# -- whose it is

IDENTIFYING = (*URLS, *HOSTS, *NAMES)
BASE: dict[str, Any] = {"openmetrics_endpoint": "http://user:pw@h:8000/metrics?token=abc&format=text"}
SEVERAL = {"openmetrics_endpoints": ["http://a/", "http://b/"]}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (BASE, {**BASE, "tags": ["a:b"]}, True),
        (BASE, {**BASE, "openmetrics_endpoint": "http://user:new@h:8000/metrics?token=def&format=text"}, True),
        (BASE, {**BASE, "openmetrics_endpoint": "http://h:8000/metrics?token=&format=text#a"}, True),
        (BASE, {**BASE, "openmetrics_endpoint": "http://h:8001/metrics?token=abc&format=text"}, False),
        (BASE, {**BASE, "openmetrics_endpoint": "http://user:pw@h:8000/metrics?token=abc&format=json"}, False),
        (BASE, {**BASE, "headers": {"Authorization": "Bearer x"}, "password": "x", "timeout": 3}, True),
        (BASE, {**BASE, "databricks_token": "dapi-2", "min_collection_interval": 30}, True),
        (BASE, {**BASE, "endpoint_name": ""}, True),
        *((BASE, {**BASE, option: "x"}, False) for option in ("endpoint_name", "serving_system", "name", "namespace")),
        ({"gpu": "nvml"}, {"gpu": "nvml", "gpu_processes": False}, True),
        ({"gpu": "nvml"}, {"gpu": "auto"}, False),
        (SEVERAL, {"openmetrics_endpoints": ["http://b/", "http://a/"]}, True),
        (SEVERAL, {"openmetrics_endpoints": ["http://a/"]}, False),
        ({"serving_system": ["a", "b"]}, {"serving_system": ["b", "a"]}, True),
        ({"databricks_host": "h.example"}, {"databricks_host": "https://H.example/?o=1"}, True),
        ({"databricks_host": "h.example"}, {"databricks_host": "other.example"}, False),
        ({"databricks_host": "h", "databricks_client_secret": "1"}, {"databricks_host": "h"}, True),
    ],
)
def test_what_a_source_is(one: dict[str, Any], other: dict[str, Any], same: bool) -> None:
    assert (source_id(one) == source_id(other)) is same


@pytest.mark.parametrize("option", sorted({*InstanceConfig.model_fields} - {*IDENTIFYING}))
def test_options_that_make_no_other_source(option: str) -> None:
    """Whatever is edited besides, what was counted is found again."""
    assert source_id({**BASE, option: "edited"}) == source_id(BASE)


@given(instance=st.dictionaries(st.sampled_from([*BASE, "name", "serving_system", "tags"]), st.text() | st.none()))
def test_any_instance_has_an_id_that_the_agent_takes(instance: dict[str, Any]) -> None:
    """Of characters that it leaves in the names of files."""
    assert source_id(instance).isalnum()


def test_an_edit_of_the_file_counts_nothing_again(agents: Agents, endpoint: Endpoint) -> None:
    """A tag, another instance, a new secret: the Agent gives other ids, the memory is found all the same."""
    endpoint.serve(MINUTE)
    first = agents.start(databricks(endpoint))
    assert counted(agents.run(first, 2)) == [7, 0]
    second = agents.start(databricks(endpoint, tags=["a:b"], headers={"Authorization": "Bearer xyz"}), {"gpu": "auto"})
    rounds = agents.run(second, 1)
    assert counted(rounds) == [0]
    assert rounds[0].runs[0].check_id != first.run().runs[0].check_id


def test_a_secret_in_the_url_of_one_of_several(agents: Agents, endpoint: Endpoint) -> None:
    """It is neither written to the disk, nor does a new one make another endpoint. Equal URLs but for it are two."""
    config = databricks(endpoint)
    url = config.pop("openmetrics_endpoint")
    for token, expected in (("hush-hush", [14, 0]), ("hush-again", [0, 0])):
        urls = [f"{url}?token={token}", f"{url}?token={token}2"]
        for path in urls:
            endpoint.serve(MINUTE, path.removeprefix(url.removesuffix("/metrics")))
        assert counted(agents.run(agents.start({**config, "openmetrics_endpoints": urls}), 2)) == expected
    files = [path.read_text() for path in (agents.cache_dir / "model_serving").iterdir()]
    assert files != []
    assert not any("hush" in text for text in files)


def test_two_instances_of_one_source(agents: Agents, endpoint: Endpoint) -> None:
    """The second has no memory, and is told that it reads what the first reads; the first loses nothing to it."""
    endpoint.serve(MINUTE)
    one, two = databricks(endpoint, tags=["nr:1"]), databricks(endpoint, tags=["nr:2"])
    rounds = agents.run(agents.start(one, two), 3)
    assert [run.warnings for run in (rounds[0].runs[0], rounds[-1].runs[0])] == [[], []]
    for round_ in rounds:
        (warning,) = round_.runs[1].warnings
        assert "is also read by another instance" in warning
    assert counted(rounds) == [14, 0, 0]
    again = agents.run(agents.start(one, {**two, "name": "second"}), 2)
    assert counted(again) == [7, 0], "the second counts what it never counted under this name"
    assert not any("one source" in text for run in again[-1].runs for text in run.warnings)
    assert counted(agents.run(agents.start(one, {**two, "name": "second"}), 2)) == [0, 0]


@pytest.mark.parametrize("order", ["old ends first", "new is made first", "new runs first"])
def test_a_reload_goes_on_with_the_memory(order: str, agents: Agents, endpoint: Endpoint) -> None:
    """Whichever way round the Agent exchanges an instance, the new one has the memory in the end."""
    endpoint.serve(MINUTE)
    old = agents.start(databricks(endpoint))
    agents.run(old, 2)
    if order == "old ends first":
        old.close()
        new = agents.reload(databricks(endpoint, tags=["new:1"]))
    else:
        new = agents.reload(databricks(endpoint, tags=["new:1"]))
        if order == "new runs first":
            assert agents.run(new)[0].runs[0].warnings != []
        old.close()
    assert agents.run(new)[0].runs[0].warnings == []
    endpoint.serve(NEXT_MINUTE)
    assert counted(agents.run(new, 2)) == [5, 0]
    assert counted(agents.run(agents.start(databricks(endpoint)), 2)) == [0, 0]


def test_a_check_that_has_ended_writes_nothing(agents: Agents, endpoint: Endpoint) -> None:
    """What its last run counts while another one has taken over must not replace what that one has written."""
    endpoint.serve(MINUTE)
    old = agents.start(databricks(endpoint))
    agents.run(old, 2)
    check = old._instances[0].check
    old.close()
    assert not check.cache.write("scrape", "{}")
    assert check.cache.read("scrape") == ""


# -- trial runs


@pytest.mark.parametrize("running", [False, True])
def test_a_trial_run_leaves_no_trace(running: bool, agents: Agents, endpoint: Endpoint) -> None:
    """Three runs with two seconds between them, beside an Agent or before one is started."""
    endpoint.serve(f"{MINUTE}{XID}79\n")
    instance = databricks(endpoint, serving_system=["databricks", "dcgm"])
    files = agents.cache_dir / "model_serving"
    agent = agents.start(instance)
    if running:
        agents.run(agent, 2)
        endpoint.serve(f"{NEXT_MINUTE}{XID}48\n")
    before = {path: path.read_text() for path in files.iterdir()} if running else {}
    trial = agents.trial(instance)
    assert counted(trial) == [5 if running else 7, 0, 0]
    assert ({path: path.read_text() for path in files.iterdir()} if files.exists() else {}) == before
    rounds = agents.run(agent if running else agents.start(instance), 2)
    assert counted(rounds) == [5 if running else 7, 0]
    assert sum(len(round_.events) for round_ in rounds) == running


@pytest.mark.parametrize(("interval", "written_in_run"), [(15, 2), (5, 3), (1, 11), (60, 2), (None, 2)])
def test_when_it_is_written(interval: float | None, written_in_run: int, agents: Agents, endpoint: Endpoint) -> None:
    """Once the check has run for one interval, and for no less than ten seconds."""
    endpoint.serve(MINUTE)
    options = {} if interval is None else {"min_collection_interval": interval}
    runner = agents.start(databricks(endpoint, **options))
    for number in range(1, written_in_run + 1):
        agents.run(runner, pause=interval or INTERVAL)
        assert (agents.cache_dir / "model_serving").exists() is (number == written_in_run)


def test_isolated_runs_remember(agents: Agents, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `process_isolation` each run is a process: it could never wait."""
    monkeypatch.setenv("DD_REPLAY_CHECK_ID", "model_serving:1")
    endpoint.serve(MINUTE)
    rounds = [agents.run(agents.start(databricks(endpoint)))[0] for _ in range(2)]
    assert counted(rounds) == [7, 0]


def test_the_first_run_says_when_counts_come(
    agents: Agents, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint.serve("model_accuracy 0.5\n")
    caplog.set_level(logging.INFO)
    agents.run(agents.start(databricks(endpoint, serving_system="custom_ml")), 3)
    lines = [record for record in caplog.records if "from the second on" in record.getMessage()]
    assert [record.levelno for record in lines if record.name.endswith("base.model_serving")] == [logging.INFO]


def test_what_a_trial_run_shows(agents: Agents, endpoint: Endpoint) -> None:
    """Gauges from the first run on, counts from the second, distributions from the third, as the README says."""
    count = 0

    def answer(handler: Any) -> None:
        nonlocal count
        count += 1
        body = f"model_accuracy 0.5\ninference_requests_total {count}\n" + "".join(
            f"inference_latency_seconds_{part} {count}\n"
            for part in ('bucket{le="1"}', 'bucket{le="+Inf"}', "count", "sum")
        )
        reply(handler, Answer(body.encode(), length=False))

    endpoint.answers["/metrics"] = answer
    rounds = agents.trial(databricks(endpoint, serving_system="custom_ml"), hold_back=True)
    shown = [{point.context.name for point in round_.runs[0].commit.series} for round_ in rounds]
    assert ["model_serving.model.accuracy" in names for names in shown] == [True, True, True]
    assert ["model_serving.request.count" in names for names in shown] == [False, True, True]
    assert [len(round_.runs[0].commit.distributions) for round_ in rounds] == [0, 0, 1]


def test_state_of_endpoints_is_kept_the_same_way(agents: Agents, endpoint: Endpoint) -> None:
    """A deployment that was seen by a trial run only is told by the Agent."""
    path = "/api/2.0/serving-endpoints/e"

    def described(version: int) -> None:
        entity = {"name": "e", "entity_name": "m", "entity_version": str(version)}
        body = {
            "name": "e",
            "state": {"ready": "READY", "config_update": "NOT_UPDATING"},
            "config": {"config_version": version, "served_entities": [entity]},
        }
        endpoint.serve(json.dumps(body), path, content_type="application/json")

    endpoint.serve(MINUTE, f"{path}/metrics")
    instance = {
        "openmetrics_endpoint": f"http://127.0.0.1:{endpoint.port}{path}/metrics",
        "readiness_interval": 0,
        "tags": [],
    }
    described(3)
    agents.run(agents.start(instance), 3)
    described(4)
    trial = agents.trial(instance)
    rounds = agents.run(agents.start(instance), 3)
    again = agents.run(agents.start(instance), 3)
    assert [sum(len(round_.events) for round_ in each) for each in (trial, rounds, again)] == [1, 1, 0]
