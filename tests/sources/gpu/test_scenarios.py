"""What the check submits for a host's GPUs, run by run, as the files in scenarios/ state it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ...conftest import submissions
from .conftest import Host
from .scenario import FOLDER, expected, load, tags_of

HEALTH = "model_serving.gpu.health"
STATUS = {0: "ok", 2: "critical"}


def files() -> list[Any]:
    return [pytest.param(path, id=path.stem) for path in sorted(FOLDER.glob("*.yaml"))]


def health(aggregator: Any) -> list[str]:
    """Every service check, as `status tag tag`."""
    return sorted(" ".join([STATUS[one.status], *sorted(one.tags)]) for one in aggregator.service_checks(HEALTH))


def happened(aggregator: Any) -> list[str]:
    """Every event, as `title | tag tag`."""
    return sorted(f"{event['msg_title']} | {' '.join(sorted(event['tags']))}" for event in aggregator.events)


def with_tags(lines: list[str] | None, tags: dict[str, list[str]], separator: str) -> list[str]:
    """Lines of health or events as the functions above write them."""
    found = []
    for line in lines or ():
        head, _, rest = line.partition(separator)
        for each in expected(f"_ _ _ {rest}", tags):
            found.append(f"{head}{separator}{each.removeprefix('_ _ _ ')}")
    return sorted(found)


@pytest.mark.parametrize("path", files())
def test_scenario(path: Path, host: Host, aggregator: Any) -> None:
    """A scenario's runs submit exactly what its file says, no more and no less."""
    scenario = load(path)
    tags = tags_of(scenario)
    host.boot(scenario["host"])
    check = host.check(**scenario.get("instance", {}))
    for number, run in enumerate(scenario["runs"], 1):
        where = f"{path.stem}, run {number}"
        host.clock.now += run.get("after", 0)
        host.control(*run.get("change", ()))
        aggregator.reset()
        report = check.run()
        message = json.loads(report)[0]["message"] if report else ""
        assert (run.get("error") or "") in message, where
        assert bool(message) == ("error" in run), f"{where}: {message}"
        found = submissions(aggregator)
        if "submitted" in run:
            assert found == expected(run["submitted"], tags), where
        if "among" in run:
            assert set(expected(run["among"], tags)) <= set(found), where
        for metric in run.get("none_of", ()):
            assert not [line for line in found if line.split()[1] == metric], where
        assert health(aggregator) == with_tags(run.get("health"), tags, " "), where
        assert happened(aggregator) == with_tags(run.get("events"), tags, " | "), where


def test_that_gpus_were_read_is_told(host: Host, aggregator: Any) -> None:
    """So that a monitor can tell when nobody reads them any more; nothing of it on a host without GPUs."""
    host.boot(load(FOLDER / "plain.yaml")["host"])
    assert not host.check().run()
    (found,) = aggregator.metrics("model_serving.scrape.duration")
    assert "serving_system:nvml" in found.tags
    assert found.value >= 0


def test_scenarios_are_complete() -> None:
    """Every scenario says what it is about, and states the submissions of its first run exactly."""
    for path in FOLDER.glob("*.yaml"):
        scenario = load(path)
        assert scenario["about"], path.name
        assert {"submitted", "error"} & scenario["runs"][0].keys(), path.name
