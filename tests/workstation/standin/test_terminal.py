"""What is shown in a terminal: nothing is broken or cut at any width, and what tells most comes first."""

from __future__ import annotations

from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from datadog_checks.model_serving.workstation.standin.aggregation import Commit, Context, Distribution, SeriesPoint
from datadog_checks.model_serving.workstation.standin.entities import entities
from datadog_checks.model_serving.workstation.standin.recorder import ServiceCheck, ServiceStatus
from datadog_checks.model_serving.workstation.standin.runner import Round, Run
from datadog_checks.model_serving.workstation.standin.sketch import Sketch
from datadog_checks.model_serving.workstation.standin.terminal import flow, show
from datadog_checks.model_serving.workstation.standin.units import unit_of
from datadog_checks.model_serving.workstation.stored import stored

GPU = ("gpu_model:nvidia_h100", "serving_system:dcgm")


def gauge(name: str, value: float, *tags: str) -> SeriesPoint:
    return SeriesPoint(Context(f"model_serving.{name}", tuple(sorted(tags)), ""), "gauge", value)


def count(name: str, value: float, *tags: str) -> SeriesPoint:
    return SeriesPoint(Context(f"model_serving.{name}", tuple(sorted(tags)), ""), "count", value)


def latency(name: str, *tags: str) -> Distribution:
    sketch = Sketch()
    sketch.insert_bucket(1.0, 1.0, 4)
    return Distribution(Context(f"model_serving.{name}", tuple(sorted(tags)), ""), sketch)


def shown(commit: Commit, width: int | None, full: bool = True, warnings: tuple[str, ...] = ()) -> list[str]:
    """The lines, as a file or a terminal of this width gets them."""
    console = Console(file=StringIO(), width=width or 1000, no_color=True, highlight=False)
    run = Run(1, "http://host:8082/metrics", "a", commit, warnings=list(warnings))
    show(Round(1, 0.0, [run]), unit_of, console, width=width, full=full)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


@pytest.fixture(scope="module")
def commit() -> Commit:
    series = [
        count("mlserver.rest.request.count", 3, "path:/a"),
        count("mlserver.rest.request.count", 4, "path:/b"),
        count("request.count", 5, "model_name:m", "model_version:1", "code:200"),
        count("request.count", 2, "model_name:m", "model_version:1", "code:500"),
        count("request.latency.count", 8, "model_name:m", "model_version:1"),
        count("request.latency.sum", 8, "model_name:m", "model_version:1"),
        count("request.inference.latency.count", 0, "model_name:m", "model_version:1"),
        gauge("request.in_flight", 1),
        gauge("scrape.samples", 100),
        *(gauge("gpu.utilization", 10 * index, f"gpu:{index}", f"gpu_uuid:gpu-{index}", *GPU) for index in (10, 9)),
        *(gauge("gpu.clock.sm", 1e9, f"gpu:{index}", f"gpu_uuid:gpu-{index}", *GPU) for index in (10, 9)),
        gauge("gpu.engine.active", 3, "gpu:9", "gpu_uuid:gpu-9", "mig_instance:2", *GPU),
    ]
    timed = [latency("request.latency", "model_name:m", "model_version:1", f"code:{code}") for code in (200, 500)]
    return Commit(sorted(series, key=lambda point: point.context), timed)


def test_each_thing_is_a_heading_with_its_tags_once(commit: Commit) -> None:
    assert [(one.title, one.tags) for one in entities(commit, ())] == [
        ("Endpoint", ()),
        ("Model m, version 1", ("model_name:m", "model_version:1")),
        ("GPU 9", ("gpu:9", "gpu_model:nvidia_h100", "gpu_uuid:gpu-9", "serving_system:dcgm")),
        ("GPU 9, MIG instance 2", tags := ("gpu:9", *GPU[:1], "gpu_uuid:gpu-9", "mig_instance:2", *GPU[1:])),
        ("GPU 10", ("gpu:10", "gpu_model:nvidia_h100", "gpu_uuid:gpu-10", "serving_system:dcgm")),
        ("The check itself", ()),
    ]
    assert shown(commit, None).count(f"  {' '.join(tags)}") == 1


def test_endpoints_of_one_instance_are_told_apart() -> None:
    """By name where there are several, also with models of one name."""
    two = [gauge("request.in_flight", 1, "model_name:m", f"endpoint_name:{name}") for name in ("b", "a")]
    two.append(gauge("endpoint.stopped", 0, "endpoint_name:b"))
    assert [one.title for one in entities(Commit(two), ())] == [
        "Model m of endpoint a",
        "Endpoint b",
        "Model m of endpoint b",
    ]


def test_everything_in_a_file_is_a_metric_a_line(commit: Commit) -> None:
    assert shown(commit, None) == [
        "Instance 1: http://host:8082/metrics",
        "",
        "Endpoint",
        "  model_serving.request.in_flight            1 request",
        "  model_serving.mlserver.rest.request.count  3 request  path:/a",
        "  model_serving.mlserver.rest.request.count  4 request  path:/b",
        "",
        "Model m, version 1",
        "  model_name:m model_version:1",
        "  model_serving.request.count                    5 request  code:200",
        "  model_serving.request.count                    2 request  code:500",
        "  model_serving.request.latency                  count 4  p50 1.01  p95 1.01  p99 1.01 second  code:200",
        "  model_serving.request.latency                  count 4  p50 1.01  p95 1.01  p99 1.01 second  code:500",
        "  model_serving.request.latency.count            8 item",
        "  model_serving.request.latency.sum              8 second",
        "  model_serving.request.inference.latency.count  0 item",
        "",
        "GPU 9",
        "  gpu:9 gpu_model:nvidia_h100 gpu_uuid:gpu-9 serving_system:dcgm",
        "  model_serving.gpu.utilization  90 percent",
        "  model_serving.gpu.clock.sm     1000000000 hertz",
        "",
        "GPU 9, MIG instance 2",
        "  gpu:9 gpu_model:nvidia_h100 gpu_uuid:gpu-9 mig_instance:2 serving_system:dcgm",
        "  model_serving.gpu.engine.active  3 percent",
        "",
        "GPU 10",
        "  gpu:10 gpu_model:nvidia_h100 gpu_uuid:gpu-10 serving_system:dcgm",
        "  model_serving.gpu.utilization  100 percent",
        "  model_serving.gpu.clock.sm     1000000000 hertz",
        "",
        "The check itself",
        "  model_serving.scrape.samples  100 item",
        "",
    ]


def test_the_short_form_has_what_tells_most(commit: Commit) -> None:
    """All series of a name together; what a distribution tells as well is left out, and so is the check itself."""
    lines = shown(commit, None, full=False)
    assert lines[2:5] == ["Endpoint", "  model_serving.request.in_flight  1 request", "  and 1 more: --all"]
    start = lines.index("Model m, version 1")
    assert lines[start + 2 : start + 5] == [
        "  model_serving.request.count    7 request  in 2 series",
        "  model_serving.request.latency  count 8  p50 1.01  p95 1.01  p99 1.01 second  in 2 series",
        "  and 3 more: --all",
    ]
    assert "The check itself" not in lines


def test_service_checks_that_are_well_are_counted() -> None:
    """But in full, and those that are not."""
    run = Run(1, "workspace", "a", Commit([gauge("request.in_flight", 1)]))
    round_ = Round(1, 0.0, [run])
    for name, status, tag, words in (
        ("ready", ServiceStatus.OK, "m:1", ""),
        ("ready", ServiceStatus.CRITICAL, "m:2", "it is stopped"),
        ("ready", ServiceStatus.OK, "m:3", ""),
        ("ready", ServiceStatus.OK, "m:4", "since today"),
        ("health", ServiceStatus.OK, "m:1", ""),
    ):
        round_.service_checks.append(ServiceCheck("a", name, status, (tag,), "", words))
    found = []
    for full in (False, True):
        console = Console(file=StringIO(), width=1000, no_color=True, highlight=False)
        show(round_, unit_of, console, full=full)
        assert isinstance(console.file, StringIO)
        found.append([line for line in console.file.getvalue().splitlines() if line.startswith(("OK", "CRITICAL"))])
    assert found == [
        ["OK ready (2)", "CRITICAL ready m:2 it is stopped", "OK ready m:4 since today", "OK health m:1"],
        [
            *("OK ready m:1", "CRITICAL ready m:2 it is stopped", "OK ready m:3", "OK ready m:4 since today"),
            "OK health m:1",
        ],
    ]


def test_the_short_form_has_an_end() -> None:
    many = Commit([gauge("request.in_flight", 1, f"model_name:m{number}") for number in range(40)])
    lines = shown(many, 80, full=False)
    assert len(lines) < 60
    assert "and 28 more models, GPUs or endpoints: --all" in lines
    assert sum(line.startswith("Model m") for line in shown(many, 80)) == 40


WORDS = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=50)
TAGS = st.builds("{}:{}".format, st.sampled_from(["model_name", "gpu", "path", "endpoint_name"]), WORDS)
POINTS = st.builds(
    lambda name, tags, value: gauge(f"{name}.{name}", value, *tags),
    WORDS,
    st.lists(TAGS, max_size=4),
    st.floats(0, 1e9),
)


@given(st.lists(POINTS, min_size=1, max_size=6), st.integers(30, 130), st.lists(WORDS, max_size=8))
def test_nothing_is_broken_at_any_width(points: list[SeriesPoint], width: int, warning: list[str]) -> None:
    """Every name and tag is in one piece; no line is longer than the terminal, unless a single word is."""
    lines = shown(Commit(points), width, warnings=(" ".join(warning),))
    words = {word for line in lines for word in line.split()}
    for point in points:
        assert {point.context.name, *map(stored, point.context.tags)} <= words
    assert set(warning) <= words
    for line in lines:
        assert line == line.rstrip()
        assert cell_len(line) <= width or len(line.split()) == 1, line


@given(st.lists(st.tuples(WORDS, st.just(""))), st.integers(10, 40))
def test_a_flow_keeps_all_its_parts_in_order(parts: list[tuple[str, str]], width: int) -> None:
    lines = [line.plain for line in flow(parts, width)]
    assert " ".join(lines).split() == " ".join(part for part, _ in parts).split()
    assert len(list(flow(parts, None))) == 1
