"""Write docs/images/demo.svg, the demo as a terminal shows it at a moment at which much has happened."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME

from datadog_checks.model_serving import ModelServingCheck
from datadog_checks.model_serving.workstation.demo.observe import History
from datadog_checks.model_serving.workstation.demo.report import Story
from datadog_checks.model_serving.workstation.demo.scenario import MINUTE, load
from datadog_checks.model_serving.workstation.demo.servers import nvml_source, paced, serve_world
from datadog_checks.model_serving.workstation.demo.view import Feed, live
from datadog_checks.model_serving.workstation.demo.world import World
from datadog_checks.model_serving.workstation.standin.install import standing_in
from datadog_checks.model_serving.workstation.standin.runner import Runner

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "images" / "demo.svg"
WIDTH, HEIGHT = 112, 36
# Of ten simulated minutes with the traffic of this seed, the one after a GPU has fallen off the bus.
SEED, LENGTH, MOMENT = 1, 10 * MINUTE, 8 * MINUTE
# As rich has it, without the fonts that it would load from the network.
FORMAT = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
text {{ font-family: Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: {char_height}px; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}" /></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g>
{matrix}
</g>
</g>
</svg>
"""


def picture(world: World, history: History, feed: Feed) -> str:
    """The SVG of a world that has reached the moment."""
    console = Console(record=True, file=io.StringIO(), width=WIDTH, height=HEIGHT, highlight=False, force_terminal=True)
    console.print(live(world, history, feed, WIDTH, HEIGHT))
    svg = console.export_svg(
        title="model-serving demo", theme=SVG_EXPORT_THEME, code_format=FORMAT, unique_id="demo", clear=False
    )
    return "".join(f"{line.rstrip()}\n" for line in svg.splitlines())


def watch() -> str:
    """Watch the simulated world up to the moment, without waiting in between, and return its picture."""
    world = World(load(), length=LENGTH, seed=SEED)
    history, feed, story = History(round(MINUTE / world.scenario.clock.step)), Feed(), Story(world)
    with standing_in() as stand_in, serve_world(world) as served, nvml_source(world, simulated=True) as gpus:
        instances = enumerate((source.instance for source in [*served, gpus]), start=1)
        runner = Runner(paced(ModelServingCheck, world), "model_serving", {}, instances, stand_in)
        try:
            while True:
                done = runner.run()
                history.add([run.commit for run in done.runs])
                feed.add(world, story.begun(), done, story.objectives(history.recent()))
                if world.now >= MOMENT:
                    return picture(world, history, feed)
                world.advance(world.scenario.clock.step)
        finally:
            runner.close()


if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(watch(), encoding="utf-8")
    print(f"wrote {TARGET.relative_to(ROOT)}")
