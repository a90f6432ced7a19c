"""Real servers of all systems that can be had from a package registry: what a client sent is what the check submits.

`make test-servers` runs them, `SERVERS="bentoml kserve" make test-servers` some of them. They are no part of
`make test`: each wants an environment of its own, up to 750 MB.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from datadog_checks.base import AgentCheck

from datadog_checks.model_serving import ModelServingCheck

from ..available import or_skip
from ..servers.recipe import Recipe, Reply, bounds_of, expected, here, recipe, series_of, started
from ..submissions import Run, filled, quantile, quantile_bucket, succeed

pytestmark = pytest.mark.real

HEALTH = "model_serving.openmetrics.health"


@dataclass(frozen=True, repr=False)
class Exchange:
    recipe: Recipe
    replies: list[Reply]
    payload: str
    before: Run
    after: Run
    recognised: set[str]


def check_of(url: str, made: Recipe, **options: str) -> ModelServingCheck:
    given = {"readiness": False, **options, **made.given.get("instance", {})}
    return ModelServingCheck("model_serving", {}, [{"openmetrics_endpoint": url, **given}])


@pytest.fixture(scope="module", params=here())
def exchange(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchange]:
    """The traffic of a recipe between two runs of the check."""
    made = recipe(request.param)
    with or_skip(started(made, tmp_path_factory.mktemp(made.name))) as server:
        check = check_of(server.metrics, made, serving_system=made.system)
        lines = server.settle()
        before = succeed(check)
        replies = server.send()
        server.settle(lines)
        after = succeed(check)
        tags = succeed(check_of(server.metrics, made)).tags()
        recognised = {tag.partition(":")[2] for tag in tags if tag.startswith("serving_system:")}
        yield Exchange(made, replies, server.payload(), before, after, recognised)


def test_the_traffic_is_answered_as_planned(exchange: Exchange) -> None:
    unplanned = {
        (each.row.method, each.row.path, each.status) for each in exchange.replies if each.status != each.row.status
    }
    assert unplanned == set()


def test_runs_are_without_complaint(exchange: Exchange) -> None:
    for each in (exchange.before, exchange.after):
        assert each.status(HEALTH) == [AgentCheck.OK]
    assert exchange.after.warnings == []
    assert exchange.after.count("model_serving.scrape.samples.rejected") == 0


def test_nothing_is_counted_before_the_traffic(exchange: Exchange) -> None:
    counted = set(expected(exchange.replies))
    assert {name for name in counted if exchange.before.count(series_of(name)[0], *series_of(name)[1])} == set()


def test_what_was_sent_is_counted(exchange: Exchange) -> None:
    wanted = expected(exchange.replies)
    assert wanted
    assert {name: exchange.after.count(series_of(name)[0], *series_of(name)[1]) for name in wanted} == wanted


def test_every_metric_is_of_its_system(exchange: Exchange) -> None:
    ours = [series for series in (*exchange.after.counts, *exchange.after.buckets) if ".scrape." not in series[0]]
    assert all(f"serving_system:{exchange.recipe.system}" in tags for _, tags in ours)


def test_auto_recognises_it_or_leaves_it(exchange: Exchange) -> None:
    """Without being told, the check takes it for what it is, or, where nothing is unmistakable, for nothing."""
    assert exchange.recognised == ({exchange.recipe.system} if exchange.recipe.given.get("auto", True) else set())


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_quantiles_agree_with_the_client(exchange: Exchange, share: float) -> None:
    """Within a bucket of what the client measured, which waited for the connection as well."""
    latency = exchange.recipe.given.get("latency")
    if latency is None or "raw" not in latency:
        pytest.skip(f"{exchange.recipe.system} has no histogram of its latency")
    name, tags = series_of(latency["metric"])
    bounds = [bound / latency.get("second", 1) for bound in bounds_of(exchange.payload, latency["raw"])]
    assert bounds, f"no bucket of {latency['raw']} in the payload"
    sent = [each.seconds for each in exchange.replies if each.row.counts.get(f"{latency['metric']}.count")]
    measured = bisect_left(bounds, quantile(sent, share))
    spans = {
        (round(low, 9), round(high, 9)): value for (low, high), value in exchange.after.histogram(name, *tags).items()
    }
    upper = quantile_bucket(filled(spans, [round(bound, 9) for bound in bounds]), share)
    submitted = bisect_left(bounds, upper)
    assert abs(submitted - measured) <= 1, (bounds, upper, quantile(sent, share))


def test_latency_adds_up(exchange: Exchange) -> None:
    """The server saw each request for at least as long as its model took, and at most as long as the client waited."""
    latency = exchange.recipe.given.get("latency")
    if latency is None:
        pytest.skip(f"{exchange.recipe.system} has no latency")
    name, tags = series_of(latency["metric"])
    sent = [each for each in exchange.replies if each.row.counts.get(f"{latency['metric']}.count")]
    assert exchange.after.count(f"{name}.count", *tags) == len(sent)
    if latency.get("estimated"):
        pytest.skip(f"{exchange.recipe.system} estimates the sum of its histogram from the buckets")
    least = math.fsum(each.row.delay for each in sent)
    assert least <= exchange.after.count(f"{name}.sum", *tags) <= math.fsum(each.seconds for each in sent)
