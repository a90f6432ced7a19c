"""What is loaded, whether anybody calls it or not: `model.loaded`, and zeros for what nothing has been counted for."""

from __future__ import annotations

from typing import Any

import pytest

from datadog_checks.model_serving.scrape.report import Called

from ..conftest import Endpoint, make_check, submissions
from .databricks_workspace import World
from .readiness import serve_json

METRICS = "/monitoring/prometheus/metrics"
HIDDEN = ("serving_system", "endpoint_name", "endpoint")
CALLS = ":tensorflow:serving:model_call_count"


def state(version: str, name: str) -> dict[str, Any]:
    return {"version": version, "state": name, "status": {"error_code": "OK", "error_message": ""}}


def said(aggregator: Any, *names: str) -> list[str]:
    """What was submitted of some metrics, without the tags that all have."""
    return [line for line in submissions(aggregator, HIDDEN) if line.split()[1] in (names or OURS)]


OURS = ("model.loaded", "request.count")


def tensorflow_serving(endpoint: Endpoint, *states: dict[str, Any], **options: Any) -> Any:
    serve_json(endpoint, "/v1/models/half", {"model_version_status": list(states)})
    url = f"http://127.0.0.1:{endpoint.port}{METRICS}"
    instance = {"openmetrics_endpoint": url, "serving_system": "tensorflow_serving", "readiness": True}
    return make_check(**{**instance, "models": ["half"], **options})


def test_tensorflow_serving(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Versions that could answer are loaded; those that come, go or have gone are not."""
    states = [state("4", "LOADING"), state("3", "AVAILABLE"), state("2", "AVAILABLE"), state("1", "UNLOADING")]
    check = tensorflow_serving(endpoint, *states, state("0", "END"))
    endpoint.serve(f'{CALLS}{{model_nane="half",model_version="3"}} 7\n', METRICS)
    assert check.run() == ""
    assert said(aggregator) == [
        "count request.count 0 called:never model_name:half model_version:2",
        "gauge model.loaded 1 model_name:half model_version:2",
        "gauge model.loaded 1 model_name:half model_version:3",
    ]


def test_the_first_call_counts_as_a_whole(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Zeros end where counting begins, and take nothing from it."""
    check = tensorflow_serving(endpoint, state("2", "AVAILABLE"))
    for payload in (f"# TYPE {CALLS} counter\n", f'{CALLS}{{model_name="half",model_version="2"}} 3\n'):
        aggregator.reset()
        endpoint.serve(payload, METRICS)
        assert check.run() == ""
    assert said(aggregator, "request.count") == ["count request.count 3 model_name:half model_version:2"]


UNCERTAIN = {
    "calls that name no version": ':tensorflow:serving:request_count{model_name="half",status="OK"} 7\n',
    "calls that name no model": f'{CALLS}{{model_name="",model_version=""}} 7\n',
    "a value that is refused": f'{CALLS}{{model_name="half",model_version="2"}} NaN\n',
}


@pytest.mark.parametrize("name", UNCERTAIN)
def test_no_zero_where_it_may_have_been_called(
    name: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any
) -> None:
    """A count that may be of a version is no proof that nobody calls it."""
    check = tensorflow_serving(endpoint, state("2", "AVAILABLE"))
    endpoint.serve(UNCERTAIN[name], METRICS)
    assert check.run() == ""
    assert said(aggregator) == ["gauge model.loaded 1 model_name:half model_version:2"]


def test_calls_by_version_tell_more_than_requests(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Where a patched server counts both, requests without a version leave no doubt, and there may be no call yet."""
    check = tensorflow_serving(endpoint, state("2", "AVAILABLE"), state("3", "AVAILABLE"))
    requests = ':tensorflow:serving:request_count{model_name="half",status="OK"} 7\n'
    for calls in (f"# TYPE {CALLS} counter\n", f'{CALLS}{{model_name="half",model_version="3"}} 1\n'):
        aggregator.reset()
        endpoint.serve(requests + calls, METRICS)
        assert check.run() == ""
    assert [line for line in said(aggregator, "request.count") if "called:" in line] == [
        "count request.count 0 called:never model_name:half model_version:2"
    ]


def test_no_zero_without_metrics(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Nobody knows what was called while the metrics can't be read, and before they were read for the first time."""
    check = tensorflow_serving(endpoint, state("2", "AVAILABLE"))
    endpoint.serve("", METRICS, status=500)
    assert "HTTP 500" in check.run()
    assert said(aggregator) == ["gauge model.loaded 1 model_name:half model_version:2"]


def test_several_endpoints(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Each endpoint of an instance is asked for itself, and has its zeros once its metrics were read."""
    url = f"http://127.0.0.1:{endpoint.port}{METRICS}"
    check = tensorflow_serving(
        endpoint, state("2", "AVAILABLE"), openmetrics_endpoint=None, openmetrics_endpoints=[url, f"{url}?b"]
    )
    for path in (METRICS, f"{METRICS}?b"):
        endpoint.serve(f"# TYPE {CALLS} counter\n", path)
    assert check.run() == ""
    assert said(aggregator) == ["gauge model.loaded 1 model_name:half model_version:2"] * 2
    assert check.run() == ""
    assert (
        said(aggregator, "request.count") == ["count request.count 0 called:never model_name:half model_version:2"] * 2
    )
    assert check.source is not None
    found = {name: [(one.model, one.version, one.state) for one in some] for name, some in check.source.loaded.items()}
    assert found == {name: [("half", "2", "AVAILABLE")] for name in (url, f"{url}?b")}
    check.cancel()


INDEXES: dict[str, tuple[Any, list[str]]] = {
    "states": (
        [
            {"name": "a", "version": "1", "state": "READY"},
            {"name": "a", "version": "2", "state": "UNAVAILABLE", "reason": ""},
            {"name": "b", "version": "None", "state": "READY"},
            {"name": "c", "state": "LOADING"},
        ],
        ["model_name:a model_version:1", "model_name:b"],
    ),
    "no states": ([{"name": "a", "version": "1"}, {"name": "c"}], ["model_name:a model_version:1"]),
    "no repository": (None, ["model_name:a"]),
}


@pytest.mark.parametrize("name", INDEXES)
def test_mlserver(name: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """What the repository has ready; without one the models that were seen and are ready."""
    index, expected = INDEXES[name]
    endpoint.serve('model_infer_request_success_total{model="a",version="1"} 5\n')
    serve_json(endpoint, "/v2/health/ready", {})
    for model in ("a", "b"):
        serve_json(endpoint, f"/v2/models/{model}/ready", {})
    if index is not None:
        serve_json(endpoint, "/v2/repository/index", index)
    check = make_check(
        openmetrics_endpoint=endpoint.url,
        serving_system="mlserver",
        readiness_url=f"http://127.0.0.1:{endpoint.port}",
    )
    assert check.run() == ""
    assert said(aggregator, "model.loaded") == [f"gauge model.loaded 1 {tags}" for tags in expected]
    zeros = [line.partition(" called:never ")[2] for line in said(aggregator, "request.count")]
    assert zeros == [tags for tags in expected if tags.startswith("model_name:b")]


@pytest.mark.parametrize(
    ("named", "included"),
    [
        (("m", "2"), True),
        (("m", ""), True),
        (("", "2"), True),
        (("", ""), True),
        (("m", "3"), False),
        (("n", "2"), False),
        (("n", ""), False),
    ],
)
def test_a_count_may_be_of_what_it_does_not_contradict(named: tuple[str, str], included: bool) -> None:
    """A name that isn't told may be any; and a model without a version has every version."""
    assert Called(frozenset({named})).may_include("m", "2") is included
    assert Called(frozenset({named})).may_include("m", "") is (named[0] in ("", "m"))


def test_databricks(world: World) -> None:
    """Entities that are ready, with when they were made; none of an endpoint that somebody has stopped."""
    for name in ("a", "b"):
        world.workspace.serving(name)
    check = world.check()
    gauges = [one for one in world.run(check).metrics if one.name == "model_serving.model.loaded"]
    assert sorted(tag for one in gauges for tag in one.tags if tag.startswith("endpoint_name")) == [
        "endpoint_name:a",
        "endpoint_name:b",
    ]
    assert check.source is not None
    found = [one for some in check.source.loaded.values() for one in some]
    assert {one.state for one in found} == {"DEPLOYMENT_READY"}
    assert all(one.model and one.version and one.since for one in found)
    world.workspace.stop("b")
    world.run(check, 400)
    loaded = {tag for one in world.run(check, 400).metrics if one.name.endswith("loaded") for tag in one.tags}
    assert "endpoint_name:a" in loaded
    assert "endpoint_name:b" not in loaded
