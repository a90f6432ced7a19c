"""Which series a monitor's scope selects, and what follows for the monitor."""

from __future__ import annotations

import pytest

from datadog_checks.model_serving.workstation.examine import COUNTED, EVENT, FOREIGN, MISSING
from datadog_checks.model_serving.workstation.examine.monitors import Ground, monitors, selects
from datadog_checks.model_serving.workstation.provision.packs import monitor_entries
from datadog_checks.model_serving.workstation.provision.query.expressions import parse_metric_expression
from datadog_checks.model_serving.workstation.provision.query.tree import Metric
from datadog_checks.model_serving.workstation.standin.recorder import ServiceCheck, ServiceStatus

TAGS = frozenset(("serving_system:mlserver", "model_name:fraud", "status_class:5xx", "path:/v2/ready"))
TEMPERATURE = "model_serving.gpu.temperature"
COUNT, ERRORS, LATENCY = (f"model_serving.request.{name}" for name in ("count", "error.count", "latency"))
ERRORS_SAID = "request.error.count {!status_class:4xx,!serving_system:mlserver}"
SYSTEM = ("serving_system:s", "endpoint_name:e")


@pytest.mark.parametrize(
    ("scope", "selected"),
    [
        ("*", True),
        ("model_name:fraud", True),
        ("model_name:other", False),
        ("model_name:*", True),
        ("model_version:*", False),
        ("!model_version:*", True),
        ("path:*/ready", True),
        ("path:*/infer", False),
        ("!serving_system:mlserver", False),
        ("model_name:fraud,status_class:5xx", True),
        ("model_name:fraud,!status_class:5xx", False),
        ("model_name:other OR status_class:5xx", True),
        ("model_name:fraud AND NOT status_class:4xx", True),
        ("status_class IN (4xx,5xx)", True),
        ("status_class NOT IN (4xx,5xx)", False),
        ("model_version NOT IN (1)", True),
    ],
)
def test_selects(scope: str, selected: bool) -> None:
    metric = parse_metric_expression(f"avg:x{{{scope}}}")
    assert isinstance(metric, Metric)
    assert selects(metric.scope, TAGS) is selected


def ground(
    tags: dict[str, tuple[str, ...]],
    possible: tuple[str, ...] = (),
    fed: tuple[str, ...] = (),
    ready: tuple[str, ...] = (),
) -> Ground:
    check = ServiceCheck("id", "model_serving.endpoint.ready", ServiceStatus.OK, ready, "", "")
    return Ground(
        {name: {frozenset((*SYSTEM, *own))} for name, own in tags.items()},
        frozenset(possible),
        frozenset(fed),
        (check,) if ready else (),
        frozenset({"model_serving.endpoint.ready"}),
    )


@pytest.mark.parametrize(
    ("key", "there", "expected"),
    [
        ("errors.share", ground({COUNT: ("model_name:m",), ERRORS: ("model_name:m",)}), (COUNTED, "")),
        # By the monitor of the same of those without a model.
        ("errors.share", ground({COUNT: (), ERRORS: ()}), (COUNTED, "")),
        ("errors.share", ground({COUNT: ("model_name:m",)}, possible=(ERRORS,)), (EVENT, ERRORS_SAID)),
        ("errors.share", ground({COUNT: ("model_name:m",)}, fed=(ERRORS,)), (MISSING, "no request.error.count")),
        ("errors.share", ground({COUNT: ("model_name:m",)}), (FOREIGN, "request.error.count is of other systems")),
        ("slo.availability.fast", ground({COUNT: ("model_name:m",), ERRORS: ("model_name:m",)}), (COUNTED, "")),
        ("version.idle", ground({COUNT: ("model_version:1", "model_name:m")}), (COUNTED, "")),
        (
            "version.idle",
            ground({COUNT: ("model_name:m",)}),
            (MISSING, "no series of request.count has the tag model_version"),
        ),
        (
            "gpu.ecc",
            ground({"model_serving.gpu.ecc.count": ("gpu:0", "gpu_uuid:u", "error_type:corrected", "scope:volatile")}),
            (EVENT, "gpu.ecc.count {error_type:uncorrected,scope:volatile}"),
        ),
        (
            "gpu.temperature.amd",
            ground({TEMPERATURE: ("gpu:0", "gpu_uuid:u", "vendor:nvidia")}, possible=(TEMPERATURE,)),
            (FOREIGN, "gpu.temperature {vendor:amd} is of other systems"),
        ),
        ("gpu.temperature.amd", ground({TEMPERATURE: ("gpu:0", "gpu_uuid:u", "vendor:amd")}), (COUNTED, "")),
        ("endpoint.ready", ground({}, ready=SYSTEM), (COUNTED, "")),
        (
            "endpoint.ready",
            ground({}, ready=("endpoint:x",)),
            (MISSING, "no service check endpoint.ready has the tags endpoint_name, serving_system"),
        ),
        ("endpoint.ready", ground({}), (MISSING, "no service check endpoint.ready")),
        ("gpu.health", ground({}), (FOREIGN, "the service check gpu.health is of other systems")),
    ],
)
def test_judgement(key: str, there: Ground, expected: tuple[str, str]) -> None:
    [found] = [monitor for monitor in monitors(there) if monitor.key == key]
    assert (found.state, found.why) == expected


def test_every_monitor_is_judged_once() -> None:
    """Those of other levels are told with the one that they belong to."""
    keys = [monitor.key for monitor in monitors(ground({}))]
    assert sorted(keys) == sorted(key for key, entry in monitor_entries().items() if not entry.base)
