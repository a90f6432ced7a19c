"""What trial runs of real servers' answers tell, over real HTTP, one judgement a test."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from datadog_checks.model_serving.catalog.loader import builtin_catalog, golden_signals
from datadog_checks.model_serving.workstation.demo.workspace import (
    PAY_PER_TOKEN,
    SimulatedWorkspace,
    minute_page,
    serve_workspace,
)
from datadog_checks.model_serving.workstation.examine import (
    COUNTED,
    EVENT,
    FOREIGN,
    MISSING,
    Examination,
    RecognisedSystem,
    SignalState,
)
from datadog_checks.model_serving.workstation.examine.facts import counts_requests
from datadog_checks.model_serving.workstation.examine.signals import spoken
from datadog_checks.model_serving.workstation.standin.recorder import ServiceStatus

from ...conftest import Endpoint, serving
from ...sources.gpu.fake_nvml.module import FakeModule
from ...sources.gpu.scenario import named, start
from .trial import SECONDS, examined, trial

FIXTURES = Path(__file__).parents[2] / "fixtures" / "payloads"


def saved(name: str) -> str:
    return (FIXTURES / name).read_text(encoding="utf-8")


def of_saved(endpoint: Endpoint, name: str, **options: Any) -> Examination:
    """What a single scrape of a saved answer tells."""
    endpoint.serve(saved(name))
    return examined({"openmetrics_endpoint": endpoint.url, **options})


def signal(examination: Examination, key: str) -> SignalState:
    [found] = [one for one in examination.signals if one.key == key]
    return found


def numbers(examination: Examination, key: str, subject: str = "") -> Mapping[str, float]:
    [value] = [value for value in signal(examination, key).values if value.subject == subject]
    return value.numbers


def states(examination: Examination) -> dict[str, str]:
    return {monitor.key: monitor.state for monitor in examination.monitors}


def doubled(text: str) -> str:
    """A second answer, in which everything that counts has doubled."""

    def twice(match: re.Match[str]) -> str:
        return f"{match[1]} {float(match[2]) * 2:g}"

    return re.sub(r"^([a-z_:]+(?:_total|_sum|_count|_bucket)(?:\{.*\})?) (\S+)$", twice, text, flags=re.MULTILINE)


# -- which system


@pytest.mark.parametrize(
    ("name", "system", "evidence"),
    [
        ("real/mlserver.txt", "mlserver", "names"),
        ("dcgm/default_4.8.2.txt", "dcgm", "names"),
        ("tensorflow_serving/2.19.txt", "tensorflow_serving", "names"),
    ],
)
def test_names_that_nobody_else_has(name: str, system: str, evidence: str, endpoint: Endpoint) -> None:
    [found] = of_saved(endpoint, name).systems
    assert (found.name, found.evidence, found.sure) == (system, evidence, True)
    pattern = builtin_catalog().systems[system].any_of
    assert found.names
    assert pattern is not None
    assert all(pattern.match(one) for one in found.names)


def test_names_that_anybody_has(endpoint: Endpoint) -> None:
    """They are no proof: nothing is mapped, and the configuration to paste says what they may be."""
    examination = of_saved(endpoint, "real/exporter.txt")
    [found] = examination.systems
    assert (found.name, found.evidence, found.sure) == ("custom_ml", "hints", False)
    assert "model_accuracy" in found.names
    assert not examination.mapped
    assert "    serving_system: custom_ml\n" in examination.configuration


def test_a_system_that_the_configuration_names(endpoint: Endpoint) -> None:
    examination = of_saved(endpoint, "real/exporter.txt", serving_system="custom_ml")
    verified = builtin_catalog().systems["custom_ml"].verified
    assert examination.systems == (RecognisedSystem("custom_ml", "Custom ML exporter", "option", verified=verified),)
    assert examination.mapped


def test_nothing_is_known(endpoint: Endpoint) -> None:
    examination = of_saved(endpoint, "foreign/kong.prom")
    assert examination.systems == ()
    assert not examination.mapped
    assert {family.state for family in examination.families} == {"unknown"}
    assert not [value for one in examination.signals for value in one.values]
    assert states(examination)["latency.p99"] == FOREIGN


# -- golden signals


def test_golden_signals_are_of_the_vocabulary() -> None:
    """Each has a form that is known, and counts where it is a rate."""
    metrics = builtin_catalog().metrics
    for one in golden_signals():
        assert one.form in ("rate", "share", "latency", "level")
        kinds = {metrics[metric].type for metric in (*one.metrics, *filter(None, [one.of]))}
        expected = {"rate": {"count"}, "share": {"count"}, "latency": {"distribution"}}
        assert kinds <= expected.get(one.form, {"gauge", "distribution"})
        assert bool(one.of) == (one.form == "share")


def test_between_two_runs(endpoint: Endpoint) -> None:
    """Rates and percentiles are of the time between the runs."""
    text = saved("real/mlserver.txt")
    answers = {1: text, 2: doubled(text)}
    options = {"openmetrics_endpoint": endpoint.url}
    examination, _ = trial(options, 2, lambda number: endpoint.serve(answers[number]))
    assert numbers(examination, "traffic")["per_second"] == 188 / SECONDS
    assert numbers(examination, "traffic", "model_name:recommender")["per_second"] == 60 / SECONDS
    assert numbers(examination, "errors")["share"] == pytest.approx(28 / 188 * 100)
    latency = numbers(examination, "latency")
    assert 0 < latency["p50"] < latency["mean"] < latency["p99"] < 0.5
    # By model MLServer tells only how long all took together.
    assert numbers(examination, "latency", "model_name:recommender")["mean"] == pytest.approx(3.3492375 / 60, rel=1e-4)
    assert numbers(examination, "saturation", "queue:workers")["mean"] == pytest.approx(8.38, abs=0.01)


def test_of_a_single_run(endpoint: Endpoint) -> None:
    """It is what has been counted so far, and no rate."""
    examination = of_saved(endpoint, "real/mlserver.txt")
    assert examination.seconds is None
    assert numbers(examination, "traffic") == {"total": 188}
    assert numbers(examination, "errors", "model_name:nope") == {"total": 5, "share": 100}
    assert 0 < numbers(examination, "latency")["p50"] < numbers(examination, "latency")["p99"]


def test_more_failures_than_requests_are_no_share(endpoint: Endpoint) -> None:
    """Text Embeddings Inference counts them for each input of a batch."""
    endpoint.serve('te_request_count{method="batch"} 2\nte_request_failure{err="inference"} 64\n')
    options = {"openmetrics_endpoint": endpoint.url, "readiness": False}
    assert numbers(examined(options), "errors") == {"total": 64}


def test_nothing_has_come_in_between(endpoint: Endpoint) -> None:
    """A quiet server shows its latency as it is so far, and that there were no requests."""
    endpoint.serve(saved("real/mlserver.txt"))
    examination = examined({"openmetrics_endpoint": endpoint.url}, 2)
    assert numbers(examination, "traffic")["per_second"] == 0
    assert "share" not in numbers(examination, "errors")
    assert all(value.so_far for value in signal(examination, "latency").values)


def test_what_has_not_happened_yet_is_zero(endpoint: Endpoint) -> None:
    """An error counter that is declared and has no series: there were none."""
    examination = of_saved(endpoint, "mlserver/single_process_cold.txt")
    assert numbers(examination, "errors") == {"total": 0}


@pytest.mark.parametrize(
    ("name", "options", "key", "words"),
    [
        ("mlserver/single_process_cold.txt", {}, "saturation", "`parallel_workers` to 1 or more"),
        ("mlserver/single_process_cold.txt", {}, "latency", "comes with the first request"),
        ("mlserver/cold.txt", {}, "traffic", "Send an inference request"),
        ("tensorflow_serving/2.19.txt", {}, "saturation", "`--enable_batching`"),
        ("tensorflow_serving/model_call_count.txt", {}, "errors", "Upgrade to TensorFlow Serving 2.5"),
        ("dcgm/default_4.8.2.txt", {}, "gpu_ecc", "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL"),
        ("dcgm/default_4.8.2.txt", {}, "gpu_throttling", "DCGM_FI_DEV_THERMAL_VIOLATION"),
    ],
)
def test_what_is_missing_and_what_to_do(
    name: str, options: dict[str, Any], key: str, words: str, endpoint: Endpoint
) -> None:
    found = signal(of_saved(endpoint, name, **options), key)
    assert not found.values
    assert any(words in text for text in found.advice)


ABSENT = {
    system.name: switch
    for system in builtin_catalog().systems.values()
    for switch in system.switches
    for name in switch.absent
    if counts_requests(system.by_name()[name])
}
"""Switches that go by the absence of what counts requests."""


@pytest.mark.parametrize(
    ("system", "answer"),
    [
        ("vllm", "vllm:num_requests_running 1\nvllm:e2e_request_latency_seconds_{} {}\n"),
        ("tensorflow_serving", ":tensorflow:serving:runtime_latency_{} {}\n"),
    ],
)
def test_what_is_not_counted_is_told_from_what_has_not_been_yet(system: str, answer: str, endpoint: Endpoint) -> None:
    """Labelled counters have no series before the first request has ended."""
    early, counted = ("".join(answer.format(part, number) for part in ("sum", "count")) for number in (0, 7))
    options = {"openmetrics_endpoint": endpoint.url, "serving_system": system, "readiness": False}
    endpoint.serve(early)
    before = signal(examined(options), "errors").advice
    endpoint.serve(counted)
    after = signal(examined(options), "errors").advice
    assert before == (
        "Nothing in the answer tells it so far, nor of any request that has ended. Send one, and look again.",
    )
    assert after == (spoken(ABSENT[system]),)


def test_every_system_that_goes_by_the_absence_of_a_counter_is_tried() -> None:
    assert set(ABSENT) == {"vllm", "tensorflow_serving"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tensorflow_serving/2.19.txt", "by version"),
        ("dcgm/default_3.3.0.txt", "DCGM_FI_PROF_SM_ACTIVE"),
    ],
)
def test_what_else_there_could_be(name: str, words: str, endpoint: Endpoint) -> None:
    """Metrics that are no golden signals are told of beside."""
    assert any(words in text for text in of_saved(endpoint, name).advice)


def test_a_switch_that_is_on_is_not_spoken_of(endpoint: Endpoint) -> None:
    for name in ("real/mlserver.txt", "tensorflow_serving/batching.txt"):
        said = of_saved(endpoint, name)
        texts = [*said.advice, *(text for one in said.signals for text in one.advice)]
        assert not [text for text in texts if "parallel_workers" in text or "enable_batching" in text]


def test_what_a_system_does_not_have_is_not_missed(endpoint: Endpoint) -> None:
    groups = {one.group for one in of_saved(endpoint, "real/mlserver.txt").signals}
    assert groups == {"requests"}
    groups = {one.group for one in of_saved(endpoint, "dcgm/mig.txt").signals}
    assert groups == {"gpus"}


def test_each_gpu_is_a_subject(endpoint: Endpoint) -> None:
    """With the pod that has it, where the exporter knows it."""
    values = signal(of_saved(endpoint, "dcgm/default_4.8.2.txt"), "gpu_utilization").values
    assert [(value.subject, value.numbers) for value in values if value.subject] == [
        ("gpu:0 pod_name:llm-0", {"value": 97}),
        ("gpu:1", {"value": 0}),
    ]


# -- what cannot be read


def test_the_endpoint_is_down(endpoint: Endpoint) -> None:
    """How a system is told to show metrics is said where it is named, or its port is asked."""
    url = endpoint.url.replace("/metrics", "/monitoring/prometheus/metrics")
    examination = examined({"openmetrics_endpoint": url, "serving_system": "tensorflow_serving"})
    assert "404" in examination.error
    assert not examination.mapped
    assert any("--monitoring_config_file" in text for text in examination.advice)
    assert examined({"openmetrics_endpoint": url}).advice == ()


def test_a_configuration_that_is_wrong() -> None:
    examination = examined({"openmetrics_endpoint": "http://localhost:1/metrics", "serving_sytem": "mlserver"})
    assert "serving_system" in examination.error
    assert not examination.mapped


# -- readiness


def test_readiness_is_not_asked_at_another_port(endpoint: Endpoint) -> None:
    examination = of_saved(endpoint, "real/mlserver.txt")
    [state] = examination.readiness
    assert not state.answers
    assert "set `readiness_url`, such as http://127.0.0.1:8080" in state.why
    assert "# readiness_url:" in examination.configuration
    monitors = {monitor.key: monitor for monitor in examination.monitors}
    assert (monitors["endpoint.ready"].state, monitors["endpoint.ready"].why) == (MISSING, "readiness was not asked")


def test_readiness_is_asked(endpoint: Endpoint) -> None:
    endpoint.serve("", "/v2/health/ready")
    endpoint.serve("", "/v2/models/recommender/ready", status=400)
    root = endpoint.url.removesuffix("/metrics")
    examination = of_saved(endpoint, "real/mlserver.txt", readiness_url=root, models=["recommender"])
    [state] = examination.readiness
    assert (state.url, state.why) == (root, "")
    assert {(one.name.rpartition(".")[0], one.status) for one in state.answers} == {
        ("model_serving.endpoint", ServiceStatus.OK),
        ("model_serving.model", ServiceStatus.CRITICAL),
    }
    assert states(examination)["endpoint.ready"] == states(examination)["model.ready"] == COUNTED


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("tensorflow_serving/2.19.txt", {}, "unless `readiness: true`"),
        ("real/mlserver.txt", {"readiness": False}, "`readiness: false` switches it off"),
        ("mlserver/cold.txt", {"readiness": False}, "`readiness: false` switches it off"),
    ],
)
def test_why_readiness_was_not_asked(name: str, options: dict[str, Any], why: str, endpoint: Endpoint) -> None:
    [state] = of_saved(endpoint, name, **options).readiness
    assert why in state.why


def test_a_system_without_readiness_is_not_spoken_of(endpoint: Endpoint) -> None:
    assert of_saved(endpoint, "dcgm/mig.txt").readiness == ()


# -- monitors


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        (
            "real/mlserver.txt",
            {},
            {
                # MLServer times requests without a model, which the monitor by endpoint sees.
                "latency.p99": COUNTED,
                "errors.share": COUNTED,
                "queue.depth": COUNTED,
                "endpoint.metrics": COUNTED,
                "slo.availability.fast": COUNTED,
                "slo.latency.fast": COUNTED,
                "readiness.http": EVENT,
                "values.non_finite": EVENT,
                "model.ready": MISSING,
                "gpu.xid": FOREIGN,
                "gpu.health": FOREIGN,
                "accuracy.drop": FOREIGN,
            },
        ),
        (
            "mlserver/single_process_cold.txt",
            {},
            {"latency.p99": EVENT, "errors.share": EVENT, "queue.depth": MISSING, "slo.availability.fast": EVENT},
        ),
        (
            "dcgm/default_4.8.2.txt",
            {},
            {
                "gpu.memory": COUNTED,
                "gpu.idle": COUNTED,
                # Nothing has happened, or nothing new: the exporter shows the last code.
                "gpu.xid": EVENT,
                "gpu.ecc": MISSING,
                "gpu.throttling": MISSING,
                "errors.share": FOREIGN,
                "endpoint.ready": FOREIGN,
            },
        ),
        (
            "real/exporter.txt",
            {"serving_system": "custom_ml"},
            {
                "accuracy.drop": COUNTED,
                "feature.drift": COUNTED,
                "values.non_finite": COUNTED,
            },
        ),
    ],
    ids=["mlserver", "mlserver, cold", "dcgm", "custom_ml"],
)
def test_which_monitors_have_data(
    name: str, options: dict[str, Any], expected: dict[str, str], endpoint: Endpoint
) -> None:
    found = states(of_saved(endpoint, name, **options))
    assert {key: found[key] for key in expected} == expected


def test_why_a_monitor_has_none(endpoint: Endpoint) -> None:
    examination = of_saved(endpoint, "real/exporter.txt", serving_system="custom_ml")
    whys = {monitor.key: monitor.why for monitor in examination.monitors}
    assert whys["version.idle"] == "no series of request.count has the tag model_version"
    assert whys["gpu.ecc"] == "gpu.ecc.count is of other systems"
    examination = of_saved(endpoint, "dcgm/default_4.8.2.txt")
    whys = {monitor.key: monitor.why for monitor in examination.monitors}
    assert whys["gpu.ecc"] == "no gpu.ecc.count"


# -- other sources


def test_several_endpoints(endpoint: Endpoint) -> None:
    """All of them together, told apart by their names; one that is down is a warning."""
    with serving() as other:
        for server in (endpoint, other):
            server.serve(saved("real/mlserver.txt"))
        dead = "http://127.0.0.1:1/metrics"
        examination = examined({"openmetrics_endpoints": [endpoint.url, other.url, dead]})
    assert numbers(examination, "traffic") == {"total": 2 * 188}
    name = urlsplit(other.url).netloc
    assert numbers(examination, "traffic", f"endpoint_name:{name} model_name:nope") == {"total": 5}
    assert any(dead in warning for warning in examination.warnings)
    assert len([state for state in examination.readiness if "readiness_url" in state.why]) == 2
    single = of_saved(endpoint, "real/mlserver.txt").cost
    assert examination.cost.sources == 2
    assert examination.cost.custom_metrics == 2 * single.custom_metrics
    assert examination.cost.forecast(10) == single.forecast(10)


@pytest.fixture
def workspace() -> Iterator[dict[str, Any]]:
    """Options of a workspace with two endpoints, of which one has no metrics."""
    simulated = SimulatedWorkspace()
    simulated.personal_tokens.add("dapi-secret-0123456789")
    simulated.add("fraud", export=lambda: minute_page("fraud", 1_788_718_020_000, 4))
    simulated.add("hosted", kind=PAY_PER_TOKEN)
    with ExitStack() as stack:
        served = stack.enter_context(serve_workspace(simulated))
        yield {
            "databricks_host": served.url,
            "tls_ca_cert": served.ca,
            "databricks_token": "dapi-secret-0123456789",
        }


@pytest.mark.parametrize("runs", [1, 2])
def test_a_workspace(workspace: dict[str, Any], runs: int) -> None:
    """Totals of a minute are of 60 s, whenever the runs are; the endpoints say whether they are ready."""
    examination = examined(workspace, runs)
    [system] = examination.systems
    assert (system.name, system.evidence) == ("databricks", "address")
    assert numbers(examination, "traffic") == {"per_second": 4 / 60, "total": 4}
    [state] = examination.readiness
    assert state.answers
    assert states(examination)["endpoint.ready"] == COUNTED
    assert "dapi-secret" not in repr(examination)
    assert "databricks_token: ENC[databricks_token]" in examination.configuration


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> FakeModule:
    """A host that has two GPUs, the fake of the check's own tests standing for them."""
    fake = FakeModule()
    fake.control(start(named("plain")["host"]))
    monkeypatch.setitem(sys.modules, "pynvml", fake.module)
    return fake


def test_gpus_of_the_host(host: FakeModule) -> None:
    """There is no answer to take stock of, and the readings are told, paid for and watched all the same."""
    examination = examined({"gpu": "nvml"}, 2)
    assert (examination.families, examination.readiness, examination.quiet) == ((), (), "")
    values = signal(examination, "gpu_temperature").values
    assert {value.subject for value in values} >= {"gpu:0", "gpu:1"}
    assert numbers(examination, "gpu_errors")["total"] == 0
    assert (examination.cost.sources, examination.cost.own) == (1, 0)
    found = states(examination)
    assert found["gpu.temperature"] == found["gpu.health"] == COUNTED
    assert (found["gpu.xid"], found["errors.share"]) == (EVENT, FOREIGN)


def test_a_host_without_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is quiet by design, and that is said."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    examination = examined({"gpu": "auto"})
    assert "no NVIDIA driver here" in examination.quiet
    assert (examination.error, examination.mapped, examination.cost.metrics) == ("", False, ())
    assert not examined({"gpu": "nvml"}).quiet


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (saved("real/torchserve.txt"), []),
        ('ts_inference_requests_total{model_name="m"} 4\n', ["In the legacy mode"]),
        (None, ["into a log"]),
    ],
    ids=["torchserve", "torchserve in legacy mode", "torchserve in log mode"],
)
def test_switches(body: str | None, words: list[str], endpoint: Endpoint) -> None:
    """What is missing is said with what has to be set for it."""
    if body is not None:
        endpoint.serve(body)
    examination = examined({"openmetrics_endpoint": endpoint.url, "serving_system": "torchserve"})
    said = {text for one in examination.signals for text in one.advice} | set(examination.advice)
    said = {text for text in said if "metrics_mode" in text}
    assert len(said) == len(words)
    assert all(any(word in text for text in said) for word in words)
