"""The process: its command, its end, and what it says of itself."""

from __future__ import annotations

import json
import re
import shlex
import socket
import threading
import time
import tracemalloc
import urllib.request
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
from click import Context
from click.testing import CliRunner, Result

from datadog_checks.model_serving.submit.agent_cache import forget_claims
from datadog_checks.model_serving.workstation.bridge import process
from datadog_checks.model_serving.workstation.bridge.health import HealthServer, state_of
from datadog_checks.model_serving.workstation.bridge.intake import DISTRIBUTIONS, SERIES, batch_of
from datadog_checks.model_serving.workstation.bridge.process import opened
from datadog_checks.model_serving.workstation.bridge.settings import ListenAddress, load_settings
from datadog_checks.model_serving.workstation.cli import bridge_demo
from datadog_checks.model_serving.workstation.cli.root import root
from datadog_checks.model_serving.workstation.demo.intake import RefusedRequest, SimulatedIntake

from ...ports import free_port
from ..provision.standin import models
from .bridges import BridgeHost, CountingServer, totals, until


@pytest.fixture
def intake() -> Iterator[SimulatedIntake]:
    with SimulatedIntake() as intake:
        yield intake


Command = Callable[..., Result]


@pytest.fixture
def command(tmp_path: Path, intake: SimulatedIntake, endpoint: Any) -> Command:
    """`model-serving bridge` with a file of one instance and more, in this process."""

    def run(*options: str, more: str = "", **instance: Any) -> Result:
        forget_claims()
        server = {"openmetrics_endpoint": endpoint.url, "serving_system": "custom_ml", "min_collection_interval": 1}
        settings = {"instances": [{**server, **instance}], "spool": {"path": "bridge.db"}, "health": False}
        text = json.dumps({**settings, "expose": False})
        (tmp_path / "bridge.yaml").write_text(more or f"{text}\n")
        environment = {"DD_API_KEY": intake.api_key, "MODEL_SERVING_DATADOG_URL": intake.url}
        return CliRunner().invoke(root, ["bridge", "-c", str(tmp_path / "bridge.yaml"), *options], env=environment)

    return run


def test_once_delivers_and_goes_on_the_next_time(command: Command, intake: SimulatedIntake, endpoint: Any) -> None:
    server = CountingServer(endpoint)
    for _ in range(3):
        done = command("--once")
        assert (done.exit_code, done.output) == (0, "")
        server.serve(10)
    assert totals(intake, "request.count") == 20
    assert any(context.metric == "model_serving.bridge.sent" for context in intake.arrived.totals())


def test_the_log_goes_to_standard_error(command: Command, endpoint: Any) -> None:
    """With what can't be read and what is not mapped, and without secrets."""
    secret = "credential-of-the-endpoint"
    endpoint.serve("some_gauge_of_ours 1\n")
    info = command("--once", headers={"Authorization": f"Bearer {secret}"})
    assert "none of the 1 metrics is of Custom ML exporter" in info.stderr
    failing = command("--once", "--log-level", "error", openmetrics_endpoint=f"{endpoint.url}/no?token={secret}")
    assert failing.stderr.count("\n") == 1
    assert "HTTP 404" in failing.stderr
    assert secret not in info.output + failing.output
    assert command("--log-level", "loud").exit_code == 2


def test_dry_run_sends_and_remembers_nothing(
    command: Command, intake: SimulatedIntake, endpoint: Any, tmp_path: Path
) -> None:
    CountingServer(endpoint)
    done = command("--dry-run")
    assert done.exit_code == 0
    requests = [json.loads(line) for line in done.stdout.splitlines()]
    assert {request["path"] for request in requests} >= {"/api/v2/series", "/api/v1/check_run"}
    names = {one["metric"] for request in requests if "series" in request["body"] for one in request["body"]["series"]}
    assert {"model_serving.request.count", "model_serving.model.accuracy"} <= names
    assert not intake.requests
    assert not (tmp_path / "bridge.db").exists()


MODELS = {
    "/api/v2/series": "v2.metric_payload.MetricPayload",
    "/api/v1/distribution_points": "v1.distribution_points_payload.DistributionPointsPayload",
    "/api/v1/check_run": "v1.service_checks.ServiceChecks",
    "/api/v1/events": "v1.event_create_request.EventCreateRequest",
}


def test_the_demo_agrees_and_bodies_are_what_the_client_describes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short, with an outage; each body is read by the models of datadog-api-client, to the last field."""
    monkeypatch.setattr(bridge_demo, "MINUTES", 5)
    monkeypatch.setattr(bridge_demo, "AWAY", (2, 4))
    bodies: dict[str, list[Any]] = {}
    parse = SimulatedIntake._body

    def kept(intake: SimulatedIntake, path: str, *arguments: Any) -> Any:
        body = parse(intake, path, *arguments)
        bodies.setdefault(path, []).append(body)
        return body

    monkeypatch.setattr(SimulatedIntake, "_body", kept)
    done = CliRunner().invoke(root, ["bridge", "--demo"])
    assert done.exit_code == 0, done.output
    assert re.search(r"^All \d+ numbers agree\.$", done.output, re.MULTILINE)
    assert set(bodies) == set(MODELS)
    for path, found in bodies.items():
        models.check(MODELS[path], found[-1])
    assert CliRunner().invoke(root, ["bridge", "--demo", "--once"]).exit_code == 2
    assert CliRunner().invoke(root, ["bridge"]).exit_code == 2


def test_what_is_deployed_fits_the_command(tmp_path: Path) -> None:
    """The unit's and the image's command are read by the command, and their configuration is one."""
    deploy = Path(__file__).parents[3] / "deploy" / "bridge"
    settings = load_settings(deploy / "bridge.yaml", {"DD_API_KEY": "0123456789abcdef"})
    unit = ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(deploy / "model-serving-bridge.service")
    program, *words = shlex.split(unit["Service"]["ExecStart"])
    image = (deploy / "Dockerfile").read_text()
    (default,) = (json.loads(line.removeprefix("CMD ")) for line in image.splitlines() if line.startswith("CMD "))
    for command in (words, default):
        subcommand = root.get_command(Context(root), command[0])
        assert subcommand is not None
        parsed = subcommand.make_context(command[0], command[1:])
        assert parsed.params["path"] == Path("/etc/model-serving-bridge/bridge.yaml")
    assert program.endswith("/model-serving")
    state = f"/var/lib/{unit['Service']['StateDirectory']}"
    assert settings.spool.path.parent == Path(state)
    assert f"VOLUME {state}" in image
    assert settings.health is not None
    assert f"http://{settings.health.host}:{settings.health.port}/" in image


def test_once_needs_no_port(command: Command, intake: SimulatedIntake, endpoint: Any, tmp_path: Path) -> None:
    """Two jobs may run in the same minute, and beside a bridge that goes on."""
    server = CountingServer(endpoint)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        data = {"instances": [server.instance], "spool": {"path": "bridge.db"}}
        done = command("--once", more=json.dumps({**data, "health": place, "expose": {"listen": place}}))
    assert (done.exit_code, done.output) == (0, "")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_health_listens_where_the_file_says(host: str) -> None:
    server = HealthServer(ListenAddress(host, 0), lambda: {"status": "ok"})
    server.start()
    place = f"[{host}]" if ":" in host else host
    with urllib.request.urlopen(f"http://{place}:{server.port}/") as answer:
        assert json.load(answer) == {"status": "ok"}
    server.close()


def test_exit_statuses(command: Command, intake: SimulatedIntake, endpoint: Any) -> None:
    CountingServer(endpoint)
    assert command("--once", more="instances: 3").exit_code == 2
    wrong = command("--once", no_such_option=1)
    assert wrong.exit_code == 2
    assert "no_such_option" in wrong.output
    nothing = command("--once", openmetrics_endpoint=endpoint.url + "/nothing")
    assert nothing.exit_code == 1
    assert "404" in nothing.output


def test_once_leaves_to_the_next_time_what_is_not_delivered(
    command: Command, intake: SimulatedIntake, endpoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = CountingServer(endpoint)
    monkeypatch.setattr(process, "PATIENCE", 0.0)

    def away(path: str, taken: bool) -> None:
        raise RefusedRequest(503, "Service Unavailable")

    assert command("--once").exit_code == 0
    intake.interfere = away
    server.serve(10)
    assert command("--once").exit_code == 1
    intake.interfere = lambda path, taken: None
    server.serve(5)
    assert command("--once").exit_code == 0
    assert totals(intake, "request.count") == 15


def test_once_delivers_what_others_give_where_a_run_breaks_off(
    tmp_path: Path, intake: SimulatedIntake, endpoint: Any
) -> None:
    """Which no run should, whatever its instance is."""
    server = CountingServer(endpoint)
    instances = [{**server.instance, "name": name} for name in ("breaks", "goes on")]
    text = json.dumps({"instances": instances, "spool": {"path": "bridge.db"}, "health": False, "expose": False})
    (tmp_path / "bridge.yaml").write_text(text)
    settings = load_settings(tmp_path / "bridge.yaml", {"DD_API_KEY": intake.api_key}, url=intake.url)
    with opened(settings) as bridge:
        del bridge.engine._runner._instances[0]
        assert bridge.run_once() is False
    assert any(context.metric == "model_serving.model.accuracy" for context, _ in intake.arrived.series)


def test_what_it_says_of_itself_once_is_of_the_time_since(
    command: Command, intake: SimulatedIntake, endpoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a cron job counts: a rate of it would else be of 15 s."""
    CountingServer(endpoint)
    monkeypatch.setattr(process, "time_of_points", lambda now, step, last: (last or int(now) - 120) + 60)
    for _ in range(2):
        assert command("--once").exit_code == 0
    (intervals,) = (
        found
        for (context, _), found in intake.arrived.intervals.items()
        if context.metric.endswith("bridge.sent") and context.tags == ("kind:series",)
    )
    assert list(intervals.values()) == [15, 60]


def test_a_refused_key_is_told(command: Command, intake: SimulatedIntake, endpoint: Any) -> None:
    CountingServer(endpoint)

    def refuse(path: str, taken: bool) -> None:
        raise RefusedRequest(403, "Forbidden")

    intake.interfere = refuse
    for options in (["--once"], []):
        done = command(*options)
        assert done.exit_code == 1
        assert "check DD_API_KEY and the site" in done.output
        assert intake.api_key not in done.output


def test_it_runs_until_it_is_told_to_stop(tmp_path: Path, intake: SimulatedIntake, endpoint: Any) -> None:
    """Also where an endpoint has not answered yet, and with what it has not delivered until then."""
    server = CountingServer(endpoint)
    hang, gone = threading.Event(), threading.Event()

    def silent(handler: Any) -> None:
        hang.set()
        gone.wait(60)

    endpoint.answers["/silent"] = silent
    slow = {**server.instance, "openmetrics_endpoint": endpoint.url.replace("/metrics", "/silent"), "timeout": 60}
    slow["min_collection_interval"] = 1
    data = {"instances": [{**server.instance, "min_collection_interval": 1}, slow], "spool": {"path": "bridge.db"}}
    (tmp_path / "bridge.yaml").write_text(json.dumps({**data, "health": "127.0.0.1:0", "expose": False}))
    settings = load_settings(tmp_path / "bridge.yaml", {"DD_API_KEY": intake.api_key}, url=intake.url)
    with opened(settings) as bridge:
        thread = threading.Thread(target=bridge.run)
        thread.start()
        assert hang.wait(30)
        until(lambda: len(intake.arrived.service_checks) > 0)
        server.serve(10)
        until(lambda: totals(intake, "request.count") == 10)
        assert bridge.health is not None
        with urllib.request.urlopen(f"http://127.0.0.1:{bridge.health.port}/") as answer:
            state = json.load(answer)
        bridge.stop()
        thread.join(30)
        gone.set()
        assert not thread.is_alive()
    assert state["status"] == "ok"
    assert [one["late"] for one in state["instances"]] == [False, False]
    assert state["delivery"]["last"] is not None


def test_it_exposes_what_its_runs_give(tmp_path: Path, intake: SimulatedIntake, endpoint: Any) -> None:
    server = CountingServer(endpoint)
    port = free_port()
    data = {"instances": [server.instance], "spool": {"path": "bridge.db"}, "health": False}
    (tmp_path / "bridge.yaml").write_text(json.dumps({**data, "expose": {"listen": f"127.0.0.1:{port}"}}))
    settings = load_settings(tmp_path / "bridge.yaml", {"DD_API_KEY": intake.api_key}, url=intake.url)
    with opened(settings) as bridge:
        for _ in range(2):
            bridge.run_once()
            server.serve(10)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            lines = answer.read().decode().splitlines()
    samples = {line.rpartition(" ")[0].partition("{")[0] for line in lines if not line.startswith("#")}
    assert samples >= {
        "model_serving_request_count_total",
        "model_serving_request_latency_seconds_bucket",
        "model_serving_model_accuracy_percent",
        "model_serving_openmetrics_health_status",
        "model_serving_bridge_sent_total",
        "model_serving_bridge_lag_seconds",
    }


def test_a_run_that_never_ends_does_not_keep_the_process(
    tmp_path: Path, intake: SimulatedIntake, endpoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that waits for a driver. Another instance goes on meanwhile, and so does delivery."""
    server = CountingServer(endpoint)
    stuck, free = threading.Event(), threading.Event()

    def sticking(check_class: Any) -> Any:
        def construct(**arguments: Any) -> Any:
            check = check_class(**arguments)
            if check.instance["name"] == "stuck":
                check.run = lambda: (stuck.set(), free.wait(60), "")[-1]
            return check

        return construct

    instances = [{**server.instance, "min_collection_interval": 1, "name": name} for name in ("stuck", "goes on")]
    text = json.dumps({"instances": instances, "spool": {"path": "bridge.db"}, "health": False, "expose": False})
    (tmp_path / "bridge.yaml").write_text(text)
    monkeypatch.setattr(process, "GRACE", 0.1)
    settings = load_settings(tmp_path / "bridge.yaml", {"DD_API_KEY": intake.api_key}, url=intake.url)
    with opened(settings, change=sticking) as bridge:
        thread = threading.Thread(target=bridge.run)
        thread.start()
        until(lambda: stuck.is_set() and len(intake.arrived.service_checks) > 0)
        bridge.interrupted = True
        thread.join(30)
        assert not thread.is_alive()
        free.set()


def test_health_names_who_is_late_and_what_hinders_delivery(host: BridgeHost, endpoint: Any) -> None:
    server = CountingServer(endpoint)
    host.instances = [server.instance]
    host.start()
    (watched,) = host.engine.watched
    watched.due = time.monotonic()
    host.run()
    assert state_of(host.engine, host.spool, host.deliverer.progress)["status"] == "ok"
    watched.due -= 100
    late = state_of(host.engine, host.spool, host.deliverer.progress)
    assert (late["status"], late["instances"][0]["late"]) == ("late", True)
    watched.due += 100
    host.now += 1000
    undelivered = state_of(host.engine, host.spool, host.deliverer.progress)
    assert undelivered["status"] == "undelivered"
    assert undelivered["delivery"]["lag"] > 900


def test_memory_is_bounded_while_much_is_delivered(host: BridgeHost) -> None:
    """One request at a time is in memory, however much there is in the spool."""
    host.start()
    for number in range(30):
        series = [
            {
                "metric": "model_serving.request.count",
                "tags": [f"number:{number}", f"index:{index}", "filler:" + "x" * 100],
                "type": 1,
                "interval": 15,
                "points": [{"timestamp": int(host.now), "value": 1.0}],
            }
            for index in range(1500)
        ]
        values = [[f"{index / 7:.9g}", 200] for index in range(1, 500)]
        distribution = {"series": {"metric": "model_serving.request.latency", "tags": [f"number:{number}"]}}
        item = {**distribution, "time": int(host.now), "values": values}
        host.spool.write({}, [batch_of(SERIES, host.now, series), batch_of(DISTRIBUTIONS, host.now, [item])])
    host.intake.answer = lambda *arguments: {}  # type: ignore[method-assign]
    tracemalloc.start()
    host.deliver()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 * 1024 * 1024
