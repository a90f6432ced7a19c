"""The table, the lines and the final comparison, fed with what the check really sends."""

from __future__ import annotations

import importlib.util
import io
import re
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from datadog_checks.model_serving import ModelServingCheck
from datadog_checks.model_serving.catalog.codes import builtin_codes
from datadog_checks.model_serving.workstation.demo import servers
from datadog_checks.model_serving.workstation.demo.observe import GpuRow, History, Row, Signals
from datadog_checks.model_serving.workstation.demo.report import (
    Story,
    compare,
    compare_latency,
    front,
    seconds_text,
)
from datadog_checks.model_serving.workstation.demo.scenario import load
from datadog_checks.model_serving.workstation.demo.view import Feed, agreement, line, live, wrapped
from datadog_checks.model_serving.workstation.demo.world import World
from datadog_checks.model_serving.workstation.standin.aggregation import Commit
from datadog_checks.model_serving.workstation.standin.install import standing_in
from datadog_checks.model_serving.workstation.standin.runner import Runner

SOURCES = ("dcgm", "nvml")
SYSTEMS = {"databricks", "mlserver", "tensorflow_serving", "custom_ml", "litellm", "vllm"}
SIZES = [(80, 24), (80, 50), (120, 40), (200, 60)]
ROOT = Path(__file__).resolve().parents[3]


def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("picture_tool", ROOT / "tools" / "picture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PICTURE = tool()


class Watched:
    """A run of ten simulated minutes, looked at twice a minute, without waiting in between."""

    def __init__(self) -> None:
        self.world = World(load(), length=600, seed=1)
        self.history, self.feed, self.story = History(2), Feed(), Story(self.world)
        self.commits: list[Commit] = []
        self.frames: dict[tuple[int, int], dict[float, str]] = {size: {} for size in SIZES}
        self.coloured: dict[float, str] = {}
        self.news: dict[float, list[str]] = {}
        self.lines: dict[float, str] = {}
        self.picture = ""
        with ExitStack() as stack:
            stand_in = stack.enter_context(standing_in())
            served = stack.enter_context(servers.serve_world(self.world))
            sources = [*served, stack.enter_context(servers.nvml_source(self.world, simulated=True))]
            instances = enumerate((source.instance for source in sources), start=1)
            runner = Runner(servers.paced(ModelServingCheck, self.world), "model_serving", {}, instances, stand_in)
            while True:
                done = runner.run()
                self.commits += [run.commit for run in done.runs]
                self.history.add([run.commit for run in done.runs])
                if not self.world.now > 600:
                    recent = self.history.recent()
                    told = self.story.objectives(recent)
                    self.news[self.world.now] = self.feed.add(self.world, self.story.begun(), done, told)
                    self.story.look(recent, done)
                    for size in SIZES:
                        self.frames[size][self.world.now] = self.draw(*size)
                    self.coloured[self.world.now] = self.draw(80, 24, coloured=True)
                    self.lines[self.world.now] = line(self.world, self.history)
                if self.world.now == PICTURE.MOMENT:
                    self.picture = PICTURE.picture(self.world, self.history, self.feed)
                if self.world.now == 600:
                    self.world.close()
                if self.world.quiet:
                    break
                self.world.advance(30)
            runner.close()

    def draw(self, width: int, height: int, *, coloured: bool = False) -> str:
        colours = {"force_terminal": True, "color_system": "standard"} if coloured else {}
        console = Console(file=io.StringIO(), width=width, height=height, **colours)
        console.print(live(self.world, self.history, self.feed, *console.size))
        return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]

    @property
    def told(self) -> list[str]:
        return [text for lines in self.news.values() for text in lines]


@pytest.fixture(scope="module")
def watched() -> Watched:
    return Watched()


def test_what_arrives_is_what_was_simulated(watched: Watched) -> None:
    compared = compare(watched.world, watched.history.whole)
    systems = {*SYSTEMS, "dcgm", "nvml"}
    assert {item.system for item in compared} == systems
    assert [item for item in compared if not item.agrees] == []
    assert all(item.simulated > 0 for item in compared if item.what in ("requests", "errors", "energy (J)"))
    assert [item.simulated for item in compared if item.what == "XID errors"] == [0, 1, 0, 1]
    told = {(item.system, item.what): item.simulated for item in compared}
    # The gateway tried more often than clients asked, and not one of their requests was lost or came twice.
    assert told["litellm", "attempts"] > told["litellm", "requests"]
    assert all(told["litellm", what] > 0 for what in ("fallbacks", "tokens in", "tokens out", "cost ($)"))
    assert all(
        told["vllm", what] > 0 for what in ("aborted", "preempted", "TTFT", "tokens in", "in cache", "tokens out")
    )


def test_quantiles_are_a_buckets_width_apart_at_most(watched: Watched) -> None:
    compared = compare_latency(watched.world, watched.history.whole)
    assert {item.system for item in compared} == SYSTEMS
    assert "llm-engine, TTFT" in {item.endpoint for item in compared}
    for item in compared:
        for exact, sent in zip(item.simulated, item.arrived, strict=True):
            # No two bounds of these systems are further apart than by a factor of 3 where the latencies lie.
            assert exact / 3.05 < sent < exact * 3.05


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
        "kv_cache.utilization reached ",
        "request.preempted.count reached ",
        ", above the 2 s of its SLO",
        "litellm.fallback.count reached ",
    ):
        assert part in text


def test_the_feed_tells_changes_only(watched: Watched) -> None:
    checks = [text for text in watched.told if "service check" in text]
    meaning = builtin_codes("xid").fields(79)["meaning"]
    assert [text.partition(" ")[2] for text in watched.told if " event from databricks" in text] == [
        "event from databricks: churn-scorer: configuration update began",
        "event from databricks: churn-scorer: configuration update finished",
        "event from databricks: churn-scorer serves main.models.churn_scorer version 13",
    ]
    assert [text.partition(" ")[2] for text in watched.told if " XID" in text] == [
        f"event from dcgm and nvml: GPU 1: XID 79: {meaning}"
    ]
    assert sum("gpu.health is CRITICAL for nvml gpu-node-1 GPU 1: " in text for text in checks) == 1
    assert sum("gpu.health is OK for nvml gpu-node-1 GPU 1" in text for text in checks) == 1
    assert sum("endpoint.ready is CRITICAL for mlserver fraud-platform" in text for text in checks) == 1
    assert sum("endpoint.ready is OK for mlserver fraud-platform" in text for text in checks) == 1
    assert not [text for text in watched.told if " failed: " in text]


def test_a_broken_slo_is_told_and_that_it_is_kept_again(watched: Watched) -> None:
    told = [re.sub(r" is [\d.]+ m?s ", " is X ", text.partition(" ")[2]) for text in watched.told if " SLO: " in text]
    text = "SLO: p95 of token.time_to_first is X for vllm llm-engine: its SLO of 2 s is"
    assert told == [f"{text} broken", f"{text} kept again"]


def test_requests_that_a_gateway_passes_on_are_counted_once(watched: Watched) -> None:
    rows = watched.history.whole.rows()
    called = front(watched.world, rows)
    assert {row.system for row in rows} - {row.system for row in called} == {"vllm"}
    requests = sum(ledger.requests for system, _, ledger in watched.world.ledgers() if system != "vllm")
    assert watched.history.whole.total("request.count", called) == requests


def test_a_table_of_language_models_shows_the_burst(watched: Watched) -> None:
    """Tokens per second, p95 of the first token, cache, waiting, preempted, fallbacks; none on a low terminal."""
    tables = {now: tables_and_news(watched.frames[80, 50][now])[0] for now in (300, 450)}
    calm, burst = (
        [[part for part in text.split() if part not in ("s", "%")] for text in lines[-9:] if " llm-" in text]
        for lines in tables.values()
    )
    assert [row[:2] for row in burst] == [["litellm", "llm-gateway"], ["vllm", "llm-engine"]]
    assert float(calm[1][3]) < 0.5 < 2 < float(burst[1][3])
    assert float(calm[1][4]) < 50 < 90 < float(burst[1][4])
    assert [calm[1][6], calm[0][7]] == ["0", "0"]
    assert int(burst[1][6]) > 0 < int(burst[0][7])
    assert "TTFT" not in watched.frames[80, 24][450]


def words(text: str) -> str:
    """Text with single blanks between its words, wherever lines end."""
    return " ".join(text.split())


def tables_and_news(frame: str) -> tuple[list[str], str]:
    """The lines of the tables, and what stands below."""
    above, news = frame.split("what the check reported")
    return above.splitlines()[:-1], words(news.partition("\n")[2])


def test_the_table_shows_every_model_and_gpu(watched: Watched) -> None:
    lines, _ = tables_and_news(watched.frames[120, 40][300])
    for service in watched.world.scenario.services:
        place = next(at for at, text in enumerate(lines) if text.startswith(f"{service.system} {service.endpoint} "))
        models = sorted(model.name for model in service.models) if len(service.models) > 1 else []
        assert [text.split()[0] for text in lines[place + 1 : place + 1 + len(models)]] == models
    assert not any(text.split()[-1:] == ["79"] for text in lines)
    lines, _ = tables_and_news(watched.frames[120, 40][480])
    rows = [text.split() for text in lines if text.startswith("dcgm, nvml ")]
    assert [row[2] for row in rows] == ["0", "1"]
    # NVML alone tells of processes.
    assert rows[0][-2:] == ["1", "-"]
    assert rows[1][3:] == ["-", "-", "-", "-", "-", "-", "79"]


def test_a_wide_terminal_shows_how_full_everything_is(watched: Watched) -> None:
    lines, _ = tables_and_news(watched.frames[120, 40][300])
    for name, parts in {
        "databricks churn-scorer": ["wait", "CPU", "memory"],
        "databricks product-embedder": ["wait", "CPU", "GPU"],
        "mlserver fraud-platform": ["queue", "in flight"],
        "  demand-forecast": ["accuracy", "drift"],
    }.items():
        [text] = [text for text in lines if text.startswith(f"{name} ")]
        assert all(part in text for part in parts), text


@pytest.mark.parametrize("size", SIZES)
def test_a_frame_fits_the_terminal_and_every_word_is_whole(watched: Watched, size: tuple[int, int]) -> None:
    width, height = size
    names = {name for row in watched.history.whole.rows() for name in (row.model, row.endpoint)}
    shown: set[str] = set()
    for now, frame in watched.frames[size].items():
        lines = frame.splitlines()
        assert len(lines) <= height, now
        assert max(map(len, lines)) <= width
        assert "\N{HORIZONTAL ELLIPSIS}" not in frame
        tables, news = tables_and_news(frame)
        shown |= names & set(" ".join(tables).split())
        # Nothing stands there but entries of the feed, from their beginning to their end, the latest last.
        told = words(" ".join(text for at, texts in watched.news.items() if at <= now for text in texts))
        assert told.endswith(news)
    assert {service.endpoint for service in watched.world.scenario.services} <= shown


@pytest.mark.parametrize("size", SIZES)
def test_events_and_service_checks_are_on_the_screen_when_they_come(watched: Watched, size: tuple[int, int]) -> None:
    kinds = (" event ", " service check: ")
    told = {now: [text for text in texts if any(kind in text for kind in kinds)] for now, texts in watched.news.items()}
    assert sum(map(len, told.values())) >= 10
    for now, texts in told.items():
        _, news = tables_and_news(watched.frames[size][now])
        assert [text for text in texts if text not in news] == [], now


def test_only_an_alarm_has_its_colours(watched: Watched) -> None:
    """Red and yellow, 31 and 33 for a terminal, are for what is wrong, and never for what is not there."""
    marked = {now: re.findall(r"\x1b\[(?:1;)?3[13]m *(.*?) *\x1b", text) for now, text in watched.coloured.items()}
    assert marked[60] == []
    assert {"27.6 %", "79", "CRITICAL"} <= set(marked[480])
    assert not [text for texts in marked.values() for text in texts if text == "-"]


def test_many_gpus_leave_room_for_the_news(watched: Watched) -> None:
    signals = watched.history.whole
    added = [GpuRow("nvml", str(number)) for number in range(10, 26)]
    for gpu in added:
        signals.gpu_gauges[gpu, "gpu.temperature"] = 40
    try:
        low, high = (watched.draw(80, height).splitlines() for height in (24, 60))
    finally:
        for gpu in added:
            del signals.gpu_gauges[gpu, "gpu.temperature"]
    assert len(low) == 24
    assert len(high) <= 60
    [left] = [text for text in low if text.endswith(" more GPUs, on a higher terminal")]
    gpus = [sum(text.startswith(("dcgm, nvml ", "nvml ")) for text in lines) for lines in (low, high)]
    assert gpus[0] + int(left.split()[1]) == gpus[1] == 18
    assert low.index(left) < 24 - 8


@given(st.lists(st.text(alphabet="ab-/: .", max_size=120), max_size=4), st.integers(20, 90))
def test_lines_are_folded_between_words_alone(lines: list[str], width: int) -> None:
    folded = wrapped(lines, width)
    assert " ".join(folded).split() == " ".join(lines).split()
    assert all(len(text) <= width or len(text.split()) == 1 for text in folded)
    short = [text for text in lines if len(text) <= width and text == text.rstrip()]
    assert wrapped(short, width) == short


def test_the_picture_of_the_readme_is_fresh(watched: Watched) -> None:
    """`python tools/picture.py` would change nothing."""
    assert PICTURE.TARGET.read_text(encoding="utf-8") == watched.picture


def test_the_picture_stands_for_itself(watched: Watched) -> None:
    """It is small, loads nothing, and shows what the frame of its size has."""
    svg = ElementTree.fromstring(watched.picture)
    assert len(watched.picture) < 40_000
    assert "http" not in watched.picture.replace("http://www.w3.org/2000/svg", "")
    shown = words(" ".join(svg.itertext()).replace("\N{NO-BREAK SPACE}", " "))
    assert "XID 79: the GPU fell off the bus" in shown
    assert all(service.endpoint in shown for service in watched.world.scenario.services)


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
    lines = watched.draw(width, 50).splitlines()
    assert max(len(text) for text in lines) <= width
    assert any("saturation" in text for text in lines) is (width >= 100)


def test_the_line_sums_everything_up(watched: Watched) -> None:
    text = line(watched.world, watched.history)
    assert text.startswith(f"{watched.world.time:%H:%M} ")
    assert "requests/s" in text
    assert ", llama-70b TTFT p95 " in watched.lines[300]
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
