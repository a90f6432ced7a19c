"""What real servers have answered, read behind Prometheus in three ways: all of them submit the same.

A federation is the measure; tests/real/test_bridge.py holds that against a real Prometheus and the server itself.
"""

from __future__ import annotations

import random
import re
import time
from pathlib import Path
from typing import Any

import pytest

from datadog_checks.model_serving.scrape.exposition.syntax import sample
from datadog_checks.model_serving.workstation.bridge.prometheus.payload import series_text
from datadog_checks.model_serving.workstation.bridge.prometheus.source import BridgeCheck
from datadog_checks.model_serving.workstation.bridge.prometheus.wire import Written, WrittenSeries, decode, encode

from ....conftest import Endpoint, submissions
from ....ports import free_port
from .test_query import AT, StandInApi, api, server

__all__ = ["api", "server"]

PAYLOADS = Path(__file__).resolve().parents[3] / "fixtures" / "payloads"
FILES = [
    *(PAYLOADS / "dcgm" / f"{name}.txt" for name in ("compatibility_1.x", "default_4.8.2", "mig")),
    *(PAYLOADS / "tensorflow_serving" / f"{name}.txt" for name in ("2.19", "batching")),
    *(PAYLOADS / "real" / f"{name}.txt" for name in ("mlserver", "exporter")),
]
SYSTEMS = ["mlserver", "tensorflow_serving", "dcgm", "custom_ml"]
READ_FROM = ("endpoint",)

Held = list[tuple[dict[str, str], float]]


def held(text: str) -> Held:
    """The series that a Prometheus holds after a scrape of this: with the labels of its target."""
    found = []
    for line in text.splitlines():
        parsed = sample(line, 1000)
        if parsed is not None:
            _, (name, labels, value, *_) = parsed
            own = {f"exported_{label}" if label in ("job", "instance") else label: labels[label] for label in labels}
            found.append(({**own, "__name__": name, "job": "lab", "instance": "a:1"}, value))
    return found


def later(series: Held, chance: random.Random) -> tuple[Held, list[dict[str, str]]]:
    """A scrape later: counters and buckets have risen, by the same in each of a family, and some series have ended."""
    rise = {labels["__name__"].rpartition("_")[0]: chance.randint(0, 9) for labels, _ in series}
    new, ended = [], []
    for labels, value in series:
        if chance.random() < 0.05:
            ended.append(labels)
        else:
            new.append((labels, value + rise[labels["__name__"].rpartition("_")[0]]))
    return new, ended


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_every_way_in_submits_the_same(file: Path, api: StandInApi, endpoint: Endpoint, aggregator: Any) -> None:
    options = {"serving_system": SYSTEMS, "readiness": False}
    selector = '{job="lab"}'
    written = BridgeCheck(
        "model_serving", {}, [{"remote_write": {"listen": f"127.0.0.1:{free_port()}", "delay": "1s"}, **options}]
    )
    checks = {
        "federation": BridgeCheck("model_serving", {}, [{"openmetrics_endpoint": endpoint.url, **options}]),
        "api": BridgeCheck("model_serving", {}, [{"prometheus": {"url": api.url, "match": [selector]}, **options}]),
        "remote write": written,
    }
    gone: list[dict[str, str]] = []
    series = held(file.read_text(encoding="utf-8"))
    chance = random.Random(file.stem)
    written.run()
    store = written.source.receiver.store
    for _ in range(3):
        now = AT
        endpoint.serve("".join(f"{series_text(labels)} {value!r} {round(now * 1000)}\n" for labels, value in series))
        api.series = [(labels, [(now - 15, "0"), (now, repr(value))]) for labels, value in series]
        api.series += [(labels, [(now - 15, "0"), (now, None)]) for labels in gone]
        millis = round(time.time() * 1000)
        requests = [WrittenSeries(labels, [(millis, value)]) for labels, value in series]
        requests += [WrittenSeries(labels, [(millis, None)]) for labels in gone]
        said = decode(encode(Written(requests)))
        assert store.write(said.series) == {}
        store.clock = lambda: time.time() + 1.0
        found = {}
        for way, check in checks.items():
            aggregator.reset()
            assert check.run() == "", way
            lines = [line for line in submissions(aggregator, READ_FROM) if ".remote_write." not in line]
            # What the check says of its own work is of where it reads.
            found[way] = [re.sub(r" endpoint_name:127\.0\.0\.1:\d+", "", line) for line in lines]
        store.clock = time.time
        assert found["api"] == found["federation"]
        assert found["remote write"] == found["federation"]
        series, gone = later(series, chance)
    assert len(found["federation"]) > 3
    for check in checks.values():
        check.cancel()
