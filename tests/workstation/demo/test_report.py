"""The table, the lines and the final comparison, fed with what the check really sends."""

from __future__ import annotations

import io
from contextlib import ExitStack
from dataclasses import replace

import pytest
from rich.console import Console

from datadog_checks.model_serving import ModelServingCheck
from datadog_checks.model_serving.catalog.loader import builtin_codes
from datadog_checks.model_serving.workstation.demo import servers
from datadog_checks.model_serving.workstation.demo.observe import GpuRow, History, Row, Signals
from datadog_checks.model_serving.workstation.demo.report import Story, compare, compare_latency, seconds_text
from datadog_checks.model_serving.workstation.demo.scenario import load
from datadog_checks.model_serving.workstation.demo.view import Feed, agreement, line, live
from datadog_checks.model_serving.workstation.demo.world import World
from datadog_checks.model_serving.workstation.standin.aggregation import Commit
from datadog_checks.model_serving.workstation.standin.install import standing_in
from datadog_checks.model_serving.workstation.standin.runner import Runner

SOURCES = ("dcgm", "nvml")


class Watched:
    """A run of ten simulated minutes, looked at twice a minute, without waiting in between."""

    def __init__(self) -> None:
        self.world = World(load(), length=600, seed=1)
        self.history, self.feed, self.story = History(2), Feed(), Story(self.world)
        self.commits: list[Commit] = []
        self.frames: dict[float, str] = {}
        self.news: list[str] = []
        with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
            # The same everywhere: GPUs that this machine may have stay out of it.
            patch.setattr(servers, "usable", lambda: False)
            stand_in = stack.enter_context(standing_in())
            served = stack.enter_context(servers.serve_world(self.world))
            sources = [*served, stack.enter_context(servers.nvml_source(self.world))]
            instances = enumerate((source.instance for source in sources), start=1)
            runner = Runner(servers.paced(ModelServingCheck, self.world), "model_serving", {}, instances, stand_in)
            while True:
                done = runner.run()
                self.commits += [run.commit for run in done.runs]
                self.history.add([run.commit for run in done.runs])
                if not self.world.now > 600:
                    self.news += self.feed.add(self.world, self.story.begun(), done)
                    self.story.look(self.history.recent(), done)
                    self.frames[self.world.now] = self.draw(150)
                if self.world.now == 600:
                    self.world.close()
                if self.world.quiet:
                    break
                self.world.advance(30)
            runner.close()

    def draw(self, width: int) -> str:
        console = Console(file=io.StringIO(), width=width, height=50)
        console.print(live(self.world, self.history, self.feed, *console.size))
        return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.fixture(scope="module")
def watched() -> Watched:
    return Watched()


def test_what_arrives_is_what_was_simulated(watched: Watched) -> None:
    compared = compare(watched.world, watched.history.whole)
    systems = {"databricks", "mlserver", "tensorflow_serving", "custom_ml", "dcgm", "nvml"}
    assert {item.system for item in compared} == systems
    assert [item for item in compared if not item.agrees] == []
    assert all(item.simulated > 0 for item in compared if item.what in ("requests", "errors", "energy (J)"))
    assert [item.simulated for item in compared if item.what == "XID errors"] == [0, 1, 0, 1]


def test_quantiles_are_a_buckets_width_apart_at_most(watched: Watched) -> None:
    compared = compare_latency(watched.world, watched.history.whole)
    assert {item.system for item in compared} == {"databricks", "mlserver", "tensorflow_serving", "custom_ml"}
    for item in compared:
        for exact, sent in zip(item.simulated, item.arrived, strict=True):
            # No two bounds of these systems are further apart than by a factor of 2.5 where the latencies lie.
            assert exact / 2.55 < sent < exact * 2.55


def test_a_lost_run_is_told_as_a_difference(watched: Watched) -> None:
    signals = Signals()
    lost = next(
        commit
        for commit in reversed(watched.commits)
        if any("serving_system:mlserver" in series.context.tags and series.value for series in commit.series)
        and any(series.context.name == "model_serving.request.count" and series.value for series in commit.series)
    )
    for commit in watched.commits:
        if commit is not lost:
            signals.add(commit)
    compared = compare(watched.world, signals)
    assert {(item.system, item.what) for item in compared if not item.agrees} >= {("mlserver", "requests")}
    text = "\n".join(agreement(compared, []))
    assert "DIFFERS" in text
    assert text.count("agrees") == len([item for item in compared if item.agrees])


def test_energy_that_differs_in_the_seventh_digit_agrees_and_a_request_does_not(watched: Watched) -> None:
    one = compare(watched.world, watched.history.whole)[0]
    assert one.agrees
    assert not one._replace(arrived=one.arrived - 1).agrees
    assert one._replace(simulated=1e6, arrived=1e6 + 0.5).agrees


def test_the_story_names_each_phase_with_what_was_reported(watched: Watched) -> None:
    told = list(watched.story.sentences())
    assert len(told) == len(watched.world.scenario.phases)
    assert not [sentence for sentence in told if "nothing of it was reported" in sentence]
    text = "\n".join(told)
    for part in (
        "request.count rose from ",
        "request.error.count reached ",
        "gpu.temperature reached ",
        'event "GPU 1: XID 79" from dcgm and nvml.',
        "p99 of request.latency reached ",
        "model.accuracy fell to ",
        "model_serving.endpoint.ready of fraud-platform",
        '"churn-scorer serves main.models.churn_scorer version 13" from databricks.',
    ):
        assert part in text


def test_the_feed_tells_changes_only(watched: Watched) -> None:
    checks = [text for text in watched.news if "service check" in text]
    meaning = builtin_codes("xid").fields(79)["meaning"]
    assert [text.partition(" ")[2] for text in watched.news if " event from databricks" in text] == [
        "event from databricks: churn-scorer: configuration update began",
        "event from databricks: churn-scorer: configuration update finished",
        "event from databricks: churn-scorer serves main.models.churn_scorer version 13",
    ]
    assert [text.partition(" ")[2] for text in watched.news if " XID" in text] == [
        f"event from {source}: GPU 1: XID 79: {meaning}" for source in ("dcgm", "nvml")
    ]
    assert sum("gpu.health is CRITICAL for nvml gpu-node-1 GPU 1: " in text for text in checks) == 1
    assert sum("gpu.health is OK for nvml gpu-node-1 GPU 1" in text for text in checks) == 1
    assert sum("endpoint.ready is CRITICAL for mlserver fraud-platform" in text for text in checks) == 1
    assert sum("endpoint.ready is OK for mlserver fraud-platform" in text for text in checks) == 1
    assert not [text for text in watched.news if " failed: " in text]


def test_the_table_shows_every_model_and_gpu(watched: Watched) -> None:
    frame = watched.frames[300]
    for service in watched.world.scenario.services:
        assert f"{service.system} {service.endpoint}" in frame
        if service.system != "databricks":
            assert all(f"  {model.name} " in frame for model in service.models)
    assert "79" not in frame.partition("XID so far")[2].partition("what the check reported")[0]
    gpus = watched.frames[480].partition("XID so far")[2].partition("what the check reported")[0].splitlines()
    rows = [text.split() for text in gpus if text.split()[:1] in (["dcgm"], ["nvml"])]
    assert [row[:2] for row in rows] == [["dcgm", "0"], ["dcgm", "1"], ["nvml", "0"], ["nvml", "1"]]
    assert [row[2:] for row in rows if row[1] == "1"] == [["-", "-", "-", "-", "-", "-", "79"]] * 2
    # Only NVML tells of processes.
    assert [row[-2] for row in rows if row[1] == "0"] == ["-", "1"]


def test_both_sources_tell_the_same_of_a_gpu(watched: Watched) -> None:
    told = watched.history.recent().gpu_gauges
    for gpu in ("0", "1"):
        dcgm, nvml = (
            {name: value for (row, name), value in told.items() if row == (source, gpu)} for source in SOURCES
        )
        shared = dcgm.keys() & nvml.keys()
        assert shared >= {
            "gpu.utilization",
            "gpu.memory.used",
            "gpu.memory.utilization",
            "gpu.temperature",
            "gpu.memory.temperature",
            "gpu.power.usage",
            "gpu.clock.sm",
            "gpu.pcie.rx",
        }
        # NVML tells a whole percent and watts in thousandths.
        assert {name: nvml[name] for name in shared} == pytest.approx({name: dcgm[name] for name in shared}, rel=1e-3)


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_the_table_keeps_within_the_terminal(watched: Watched, width: int) -> None:
    lines = watched.draw(width).splitlines()
    assert max(len(text) for text in lines) <= width
    assert any("saturation" in text for text in lines) is (width >= 100)


def test_the_line_sums_everything_up(watched: Watched) -> None:
    text = line(watched.world, watched.history)
    assert text.startswith(f"{watched.world.time:%H:%M} ")
    assert "requests/s" in text
    assert text.endswith(" C (dcgm and nvml)")
    watched.history.whole.gpu_gauges[GpuRow("nvml", "2"), "gpu.temperature"] = 40
    try:
        text = line(watched.world, watched.history)
    finally:
        del watched.history.whole.gpu_gauges[GpuRow("nvml", "2"), "gpu.temperature"]
    assert " C (dcgm), GPU 0 " in text
    assert text.endswith("GPU 2 silent (nvml)")


def test_a_row_without_model_speaks_for_its_endpoint(watched: Watched) -> None:
    whole = watched.history.whole
    endpoint = Row("tensorflow_serving", "vision-and-search", "")
    models = [row for row in whole.scope(endpoint) if row.model]
    assert [row.model for row in models] == ["image-classifier", "search-ranker"]
    requests = [whole.total("request.count", [row]) for row in models]
    assert min(requests) > 0
    assert whole.total("request.count", whole.scope(endpoint)) == sum(requests)
    merged = whole.latency(endpoint)
    assert merged is not None
    assert merged.count == sum(sketch.count for row in models if (sketch := whole.latency(row)) is not None)


def test_gauges_that_vanish_are_absent_from_the_recent_signals(watched: Watched) -> None:
    history = History(2)
    temperature = "model_serving.gpu.temperature"
    told = next(each for each in watched.commits if any(one.context.name == temperature for one in each.series))
    history.add([told])
    assert (GpuRow("dcgm", "0"), "gpu.temperature") in history.recent().gpu_gauges
    history.add([replace(told, series=[])])
    assert history.recent().gpu_gauges == {}
    assert (GpuRow("dcgm", "0"), "gpu.temperature") in history.whole.gpu_gauges


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0123, "12.3 ms"), (0.9994, "999 ms"), (1, "1 s"), (12.34, "12.3 s"), (0, "0 ms")]
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text
