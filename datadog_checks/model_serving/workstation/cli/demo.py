"""`model-serving demo`: the check, running against simulated serving endpoints of seven systems."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from types import FrameType

import click
from rich.console import Console
from rich.live import Live

from ..demo.observe import History
from ..demo.report import NumberComparison, Story, compare, compare_latency
from ..demo.scenario import MINUTE, load
from ..demo.servers import SimulatedSource, nvml_source, paced, serve_world
from ..demo.view import Feed, agreement, gpu_rows, gpu_text, line, live, wrapped
from ..demo.world import World
from ..standin.console import is_terminal, make_console
from ..standin.install import standing_in
from ..standin.runner import Round, Runner
from .exit import ExitStatus

# After the last request, this many simulated minutes are more than enough to answer those that still wait.
DRAIN_MINUTES = 10


@click.command(short_help="Watch the check read simulated serving endpoints.")
@click.option("--duration", type=click.FloatRange(min=2), default=30, show_default=True, help="Seconds to run for.")
@click.option("--watch", is_flag=True, help="Go on until Ctrl-C; the story begins again after each --duration.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another number gives another day's traffic.")
@click.option("--plain", is_flag=True, help="Print lines instead of a live table, as when the output is no terminal.")
def demo(duration: float, watch: bool, seed: int, plain: bool) -> None:
    """Run the check against simulated serving endpoints and show the golden signals.

    A Databricks workspace, which one instance watches as a whole, MLServer, TensorFlow Serving, vLLM behind LiteLLM, a
    DCGM exporter and a custom exporter are served on free ports of 127.0.0.1, with the traffic of a morning on which a
    new version of a model is rolled out and several things go wrong. The GPUs are read a second time, through NVML:
    those of this host, or the simulated ones where it has none. Nothing leaves this machine, and the run ends by
    itself.

    \b
    Examples:
      model-serving demo
      model-serving demo --watch
      model-serving demo --duration 10 --plain > demo.txt

    Exit status: 0 when it came to its end, also by Ctrl-C, and all numbers agree; 1 when one differs, or it can't run
    here; 2 for a mistake in the options.
    """
    scenario = load()
    clock = scenario.clock
    minutes = max(1, round(duration / clock.every * clock.step / MINUTE))
    world = World(scenario, length=minutes * MINUTE, seed=seed, repeat=watch)
    console = make_console() if is_terminal(sys.stdout) and not plain else None
    with (
        standing_in() as stand_in,
        serve_world(world) as served,
        nvml_source(world) as gpus,
        _stop_on_signal() as stop,
    ):
        sources = [*served, gpus]
        # Imported here so that the base package finds the stand-in, where it was not loaded before.
        from ... import ModelServingCheck

        _say(_introduction(world, sources, None if watch else duration))
        instances = enumerate((source.instance for source in sources), start=1)
        runner = Runner(paced(ModelServingCheck, world), "model_serving", {}, instances, stand_in)
        try:
            agreed = _watch(world, runner.run, stop, console)
        finally:
            runner.close()
    if not agreed:
        sys.exit(ExitStatus.FAILED)


def _watch(world: World, run: Callable[[], Round], stop: threading.Event, console: Console | None) -> bool:
    """Show the whole run on a console, or as lines where there is none, and sum it up.

    Returns whether all that arrived is what was simulated.
    """
    clock = world.scenario.clock
    history, story, feed = History(round(MINUTE / clock.step)), Story(world), Feed()

    def look() -> Round:
        done = run()
        history.add([run.commit for run in done.runs])
        return done

    screen = nullcontext() if console is None else Live(console=console, auto_refresh=False)
    with screen as shown:
        for _ in _steps(world, stop):
            done = look()
            recent = history.recent()
            news = feed.add(world, story.begun(), done, story.objectives(recent))
            story.look(recent, done)
            if shown is not None:
                shown.update(live(world, history, feed, *shown.console.size), refresh=True)
                continue
            _say(news)
            if world.now and world.now % (2 * MINUTE) == 0:
                _say([line(world, history)])
    world.close()
    for _ in range(round(DRAIN_MINUTES * MINUTE / clock.step)):
        if world.quiet:
            break
        world.advance(clock.step)
        look()
    comparisons = compare(world, history.whole)
    _say(_summary(world, history, story, comparisons))
    return all(item.agrees for item in comparisons)


def _steps(world: World, stop: threading.Event) -> Iterator[None]:
    """Let the world run, with a pause for a look before any traffic and after every step, until the story is over.

    What is slow to look slows simulated time down: no simulated minute passes unseen.
    """
    clock = world.scenario.clock
    # What the first look sees is what later ones count from.
    yield
    due = time.monotonic()
    while world.timeline.repeat or world.now < world.timeline.length:
        due += clock.every
        if stop.wait(max(0.0, due - time.monotonic())):
            break
        world.advance(clock.step)
        yield


@contextmanager
def _stop_on_signal() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C or a request to terminate sets, so that the demo still ends in good order.

    A second Ctrl-C interrupts at once. Outside the main thread, where Python has no signals, the event stays unset.
    """
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(lines: Iterable[str]) -> None:
    """Print lines. A terminal gets them folded between words, where it would itself break words."""
    shown = list(lines)
    if is_terminal(sys.stdout):
        shown = wrapped(shown, make_console().width)
    for text in shown:
        click.echo(text)


def _introduction(world: World, sources: list[SimulatedSource], duration: float | None) -> Iterator[str]:
    clock = world.scenario.clock
    length = "until Ctrl-C" if duration is None else f"for {duration:g} s"
    yield (
        f"{len(sources)} instances of the check read simulated endpoints, and GPUs through NVML, {length}. Simulated "
        f"time runs {clock.step / clock.every:.0f} times as fast as yours; the check reads them every {clock.step:g} "
        "simulated seconds:"
    )
    nvml = "gpu: nvml, a simulated driver, as this host has no GPU that NVML can read"
    if not world.nvml.used:
        nvml = "gpu: nvml, the real GPUs of this host"
    for source in sources:
        url = source.instance.get("openmetrics_endpoint") or source.instance.get("databricks_host") or nvml
        yield f"  {source.system:<18}  {source.endpoint:<24}  {url}"


def _summary(world: World, history: History, story: Story, comparisons: Sequence[NumberComparison]) -> Iterator[str]:
    # Those that a gateway passes on are not counted again.
    called = [ledger for *endpoint, ledger in world.ledgers() if tuple(endpoint) != world.behind]
    requests, failed = sum(ledger.requests for ledger in called), sum(ledger.failed for ledger in called)
    rounds = f", and the extremes of all {story.rounds} rounds of the story" if story.rounds > 1 else ""
    yield ""
    yield (
        f"From {world.epoch:%H:%M} to {world.time:%H:%M} (simulated) {len(called)} endpoints were sent "
        f"{requests:,} requests, and {failed:,} failed. What the check reported of it{rounds}:"
    )
    yield from (f"  {sentence}" for sentence in story.sentences())
    yield ""
    yield from agreement(comparisons, compare_latency(world, history.whole))
    if not world.nvml.used:
        rows = (row for row in gpu_rows(history.whole) if row.source == "nvml")
        yield "The GPUs of this host, read through NVML: " + (
            "; ".join(gpu_text(history, row) for row in rows) or "none"
        )
    wrong = sum(not item.agrees for item in comparisons)
    if wrong:
        yield f"{wrong} of {len(comparisons)} numbers differ: please report this, with the lines above."
    else:
        yield f"All {len(comparisons)} numbers agree."
    yield ""
    yield "Next: see what the Agent would send of an endpoint of yours, and the configuration to paste:"
    yield "  .venv/bin/model-serving check http://localhost:8082/metrics"
