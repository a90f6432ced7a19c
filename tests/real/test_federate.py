"""MLServer and an exporter behind a real Prometheus: what /federate tells is what the servers themselves tell.

Federation loses every type, splits histograms and summaries into untyped families, and adds timestamps, target labels,
external labels, recording rules and Prometheus' own series.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from datadog_checks.base import AgentCheck

from datadog_checks.model_serving import ModelServingCheck

from .available import or_skip
from .servers import start
from .servers.processes import fetch
from .submissions import GENERIC, Run, Series, filled, succeed, without
from .traffic import Traffic, calls, failed, send

pytestmark = pytest.mark.real

# What a series has only through Prometheus (its target), or only because the check was pointed elsewhere.
LABELS = {f"model_serving_{label}" for label in ("cluster", *start.TARGET_LABELS)}
PLACE = {"endpoint", "endpoint_name", "instance", "replica", "job", *LABELS}
SYSTEMS = ["mlserver", "custom_ml"]


@dataclass(frozen=True, repr=False)
class Views:
    """The same change, seen directly and through Prometheus, by two runs each around it."""

    direct: dict[str, tuple[Run, Run]]
    federated: tuple[Run, Run]
    automatic: tuple[Run, Run]
    payload: str
    traffic: Traffic


def check_of(url: str, **options: Any) -> ModelServingCheck:
    return ModelServingCheck("model_serving", {}, [{"openmetrics_endpoint": url, "readiness": False, **options}])


def exporter_changes(exporter: start.Exporter) -> None:
    exporter.observe("prediction_latency_seconds", 0.002, 0.02, 0.3, 30.0, model_name="fraud", batch_size="1")
    exporter.observe("prediction_values", -2.5, 1.0, model_name="fraud", class_label='quo"ted')
    exporter.observe("inference_latency_seconds", 0.04, 0.04, 2.0, model="fraud")
    exporter.inc("inference_requests", 11, model="fraud", status="ok")
    exporter.inc("inference_requests", 4, model="fraud", status="error")
    exporter.set("model_accuracy", 0.875, model_name="fraud", model_version="v2")
    exporter.set("model_cache_hit_ratio", 0.25, model_name="fraud")
    exporter.set("feature_drift_score", 0.5, model_name="fraud", feature_name="back\\slash")
    exporter.set("prediction_mean", -0.75)


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Views]:
    with (
        or_skip(start.mlserver(tmp_path_factory.mktemp("mlserver"))) as mlserver,
        start.exporter(tmp_path_factory.mktemp("exporter"), optional=True) as exporter,
        or_skip(
            start.prometheus(
                tmp_path_factory.mktemp("prometheus"), {"mlserver": mlserver.metrics, "exporter": exporter.metrics}
            )
        ) as prometheus,
    ):
        direct = {
            "mlserver": check_of(mlserver.metrics, serving_system="mlserver"),
            "custom_ml": check_of(exporter.metrics, serving_system="custom_ml"),
        }
        federated = check_of(prometheus.federate, serving_system=SYSTEMS)
        automatic = check_of(prometheus.federate)

        def observe() -> tuple[dict[str, Run], Run, Run]:
            mlserver.settle()
            prometheus.wait_for_scrape()
            return {system: succeed(check) for system, check in direct.items()}, succeed(federated), succeed(automatic)

        exporter_changes(exporter)
        before = observe()
        traffic = send(mlserver.api, calls())
        exporter_changes(exporter)
        after = observe()
        _, payload = fetch(prometheus.federate)
        yield Views(
            {system: (before[0][system], after[0][system]) for system in SYSTEMS},
            (before[1], after[1]),
            (before[2], after[2]),
            payload,
            traffic,
        )


def mapped(*groups: dict[Series, Any], system: str | None = None) -> dict[Series, Any]:
    """What the catalog maps, without the check's own telemetry and without where it was read from."""
    together: dict[Series, Any] = {}
    for group in groups:
        together |= {
            key: value
            for key, value in group.items()
            if not key[0].startswith("model_serving.scrape.")
            and (system is None or f"serving_system:{system}" in key[1])
        }
    return without(together, PLACE)


def test_the_payload_is_as_hard_as_meant(views: Views) -> None:
    """Otherwise the tests below would prove less than they say."""
    types = {line.split()[-1] for line in views.payload.splitlines() if line.startswith("# TYPE ")}
    assert types == {"untyped"}
    for part in ('cluster="lab"', 'env="prod"', 'service="scoring"', 'host="node-7"', "_created{", *start.RULES, "up{"):
        assert part in views.payload, part


def test_runs_are_without_complaint(views: Views) -> None:
    for each in (*views.direct["mlserver"], *views.direct["custom_ml"], *views.federated):
        assert each.warnings == []
        assert each.status("model_serving.openmetrics.health") == [AgentCheck.OK]


@pytest.mark.parametrize("system", SYSTEMS)
def test_increments_are_those_of_the_direct_scrape(views: Views, system: str) -> None:
    assert mapped(views.federated[0].counts, system=system) == mapped(views.direct[system][0].counts)
    own = mapped(views.direct[system][1].counts)
    assert any(own.values()), f"{system} submitted no count"
    assert mapped(views.federated[1].counts, system=system) == pytest.approx(own)


@pytest.mark.parametrize("system", SYSTEMS)
def test_histograms_are_put_together_again(views: Views, system: str) -> None:
    own = {key: filled(buckets) for key, buckets in mapped(views.direct[system][1].buckets).items()}
    assert any(own.values()), f"{system} submitted no bucket"
    through = mapped(views.federated[1].buckets, system=system)
    assert {key: filled(buckets) for key, buckets in through.items()} == own


@pytest.mark.parametrize("system", SYSTEMS)
def test_gauges_are_those_of_the_direct_scrape(views: Views, system: str) -> None:
    own = mapped(views.direct[system][1].gauges)
    assert own, f"{system} submitted no gauge"
    assert mapped(views.federated[1].gauges, system=system) == pytest.approx(own)


def test_requests_are_those_the_clients_sent(views: Views) -> None:
    sent = views.traffic.inference()
    through = views.federated[1]
    assert through.count("model_serving.request.count", "serving_system:mlserver") == len(sent)
    assert through.count("model_serving.request.error.count", "serving_system:mlserver") == len(failed(sent))
    assert through.count("model_serving.request.latency.count", "serving_system:mlserver") == len(sent)
    assert through.count("model_serving.request.count", "serving_system:custom_ml") == 15
    assert through.count("model_serving.request.error.count", "serving_system:custom_ml") == 4


def test_no_generic_tag_and_no_external_label(views: Views) -> None:
    for each in (*views.federated, *views.automatic):
        assert not GENERIC & each.keys()
        assert not {tag for tag in each.tags() if tag.endswith(":None")}


def test_nothing_but_the_systems_is_mapped(views: Views) -> None:
    """Neither `up`, nor what Prometheus says about its scrapes, nor recording rules, nor the dead target."""
    direct = {name for runs in views.direct.values() for each in runs for name in each.names()}
    for each in views.federated:
        assert each.names() <= direct
        assert not [tag for tag in each.tags() if tag == "job:dead"]


def test_creation_times_never_become_numbers(views: Views) -> None:
    for each in (*views.federated, *views.automatic):
        assert not [value for value in (*each.counts.values(), *each.gauges.values()) if value > 1e8]


def test_auto_maps_what_it_is_sure_of(views: Views) -> None:
    automatic = views.automatic[1]
    assert mapped(automatic.counts) == pytest.approx(mapped(views.direct["mlserver"][1].counts))


def test_auto_asks_for_what_it_is_not_sure_of(views: Views) -> None:
    warnings = [text for each in views.automatic for text in each.warnings]
    asking = [text for text in warnings if "serving_system" in text and "custom_ml" in text]
    assert asking, warnings
    assert not [key for key in (*views.automatic[1].counts, *views.automatic[1].gauges) if is_custom(key)]


def is_custom(key: Series) -> bool:
    return "serving_system:custom_ml" in key[1]
