"""What an Agent does for months, in seconds: memory, descriptors and threads stay flat. `make soak` takes longer.

`SOAK=50` does fifty times as much.
"""

from __future__ import annotations

import gc
import os
import tracemalloc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datadog_checks.model_serving import ModelServingCheck
from datadog_checks.model_serving.submit import submitter

from ..conftest import Endpoint, make_check
from ..leftovers import sockets, threads

SOAK = int(os.environ.get("SOAK", "1"))
FRESH = 20
"""Series of each kind that come with a scrape and go with it."""

PAGE = """\
# TYPE model_infer_request_success counter
model_infer_request_success_total{{model="stays"}} {number}
{churn}"""


def churning(number: int) -> str:
    lines = []
    for n in range(FRESH):
        lines += [
            f'model_infer_request_success_total{{model="{number}-{n}",version="{number}"}} {number}\n',
            f'parallel_request_queue_count{{model="{number}-{n}"}} {number}\n',
            f'broken{{model="{number}-{n}" {number}\n',
        ]
    return PAGE.format(number=number, churn="".join(lines) + f"unheard_of_{number} 1\n")


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Minutes:
    """A time of day that moves on by a minute with each scrape, so that what is kept for an hour goes as well."""

    now = 1_700_000_000.0

    def time(self) -> float:
        return self.now


def test_scrapes_with_churn(
    endpoint: Endpoint, aggregator: Any, datadog_agent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has come and gone isn't kept, beyond what each memory may hold."""
    check = make_check(openmetrics_endpoint=endpoint.url, serving_system="mlserver", readiness=False)
    clock = Minutes()
    monkeypatch.setattr(submitter, "time", clock)
    scrapes = 160 * SOAK
    counted = 0.0
    before: tuple[int, int, int] | None = None
    tracemalloc.start()
    try:
        for number in range(scrapes):
            clock.now += 60.0
            endpoint.serve(churning(number))
            assert check.run() == ""
            counted += sum(
                each.value
                for each in aggregator.metrics("model_serving.request.count")
                if "model_name:stays" in each.tags
            )
            aggregator.reset()
            endpoint.requests.clear()
            if number == scrapes // 2:
                gc.collect()
                before = tracemalloc.get_traced_memory()[0], descriptors(), len(threads())
        gc.collect()
        after = tracemalloc.get_traced_memory()[0], descriptors(), len(threads())
    finally:
        tracemalloc.stop()
        check.cancel()
    assert before is not None
    assert counted == scrapes - 1
    # A series takes two kilobytes and more.
    assert after[0] - before[0] < 500_000
    assert after[1:] == before[1:]


def single(endpoint: Endpoint) -> ModelServingCheck:
    return make_check(openmetrics_endpoint=endpoint.url, serving_system="mlserver", readiness=False)


def ready(endpoint: Endpoint) -> ModelServingCheck:
    return make_check(openmetrics_endpoint=endpoint.url, serving_system="mlserver", headers={"X-Token": "hush"})


def several(endpoint: Endpoint) -> ModelServingCheck:
    paths = [f"{endpoint.url}/{number}" for number in range(4)]
    return make_check(openmetrics_endpoints=paths, serving_system="mlserver", readiness=False)


@pytest.mark.parametrize("make", [single, ready, several])
def test_cycles_of_create_run_cancel(
    make: Callable[[Endpoint], ModelServingCheck], endpoint: Endpoint, aggregator: Any, datadog_agent: Any
) -> None:
    """A check that the Agent has unscheduled is gone, with its threads and connections."""
    for path in ("/metrics", *(f"/metrics/{number}" for number in range(4))):
        endpoint.serve(churning(1), path=path)
    endpoint.serve("{}", path="/v2/health/ready", content_type="application/json")
    alive: list[weakref.ref[ModelServingCheck]] = []
    before: tuple[int, int] | None = None
    for cycle in range(20 * SOAK):
        check = make(endpoint)
        for _ in range(2):
            assert check.run() == ""
        check.cancel()
        assert threads() == set()
        alive.append(weakref.ref(check))
        del check
        aggregator.reset()
        endpoint.requests.clear()
        if cycle % 10 == 9:
            gc.collect()
            assert [each for each in alive if each() is not None] == []
            found = len(sockets()), len(gc.get_objects())
            before = found if before is None else before
            assert found[0] <= before[0] + 4, "some that the server has not closed yet"
            assert found[1] <= before[1] + 5_000
