"""Graphs over time, drawn by Vega-Lite."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import vl_convert

from ..provision.simulate.buckets import INTERPOLATED
from .data import GraphLine

VEGA_LITE = "6.4"
PALETTE = ("#4c78a8", "#f58518", "#54a24b", "#e45756", "#72b7b2", "#b279a2", "#9d755d", "#eeca3b", "#ff9da6", "#79706e")
LIMITS = {"error": "#c62828", "warning": "#e6a100", "ok": "#2e7d32", "info": "#1565c0"}
GREY = "#8a8f98"
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 6, 18
"""Room for the axes. It is fixed, for what text measures depends on the fonts of a machine."""
DAY = 86400
FEW = 20
"""Of so many points each is marked, since there may be no line to see between them."""
SHORT = 600
"""Seconds within which a time has seconds."""
FAR = 2
"""A threshold that is so many times higher than all values has no line: the values would be flat."""
CONFIG = {
    "background": None,
    "aria": False,
    "font": "sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelFontSize": 10,
        "labelColor": "#5c626b",
        "gridColor": "#eceef1",
        "domainColor": "#c9ced6",
        "tickColor": "#c9ced6",
    },
}
PLAIN = "abs(datum.value) >= 1000 ? format(datum.value, '~s') : format(datum.value, '~g')"
LABELS = {
    "second": "abs(datum.value) < 1 ? format(1000 * datum.value, '~g') + ' ms' : "
    "abs(datum.value) < 600 ? format(datum.value, '~g') + ' s' : "
    "abs(datum.value) < 36000 ? format(datum.value / 60, '~g') + ' min' : format(datum.value / 3600, '.3~g') + ' h'",
    "percent": "format(datum.value, '~g') + ' %'",
    "byte": "format(datum.value, '~s') + 'B'",
    "watt": "format(datum.value, '~g') + ' W'",
    "degree_celsius": "format(datum.value, '~g') + ' °C'",
}
"""What an axis says, by unit, as expressions of Vega."""
OUTER = re.compile(r"^<svg[^>]*>")
LONG_NUMBER = re.compile(r"\d+\.\d{3,}")


@dataclass(frozen=True, slots=True)
class GraphLimit:
    """A threshold that a graph marks."""

    value: float
    kind: str
    label: str


@dataclass(frozen=True, slots=True)
class Graph:
    """What one graph shows from `start` to `end`, in seconds since the epoch, with a point every `interval` seconds.

    `display` is line, area or bars, `events` are the times of what is marked.
    """

    lines: Sequence[GraphLine]
    start: int
    end: int
    interval: int
    display: str = "line"
    unit: str = ""
    limits: Sequence[GraphLimit] = ()
    events: Sequence[int] = ()

    @property
    def has_few(self) -> bool:
        """Whether there is room for so few points that each has to be seen."""
        return (self.end - self.start) / self.interval < FEW

    @property
    def form(self) -> str:
        """The display, but bars where an area has no width."""
        alone = len({at for line in self.lines for at in line.points}) == 1
        return "bars" if self.display == "area" and alone else self.display

    @property
    def limits_in_sight(self) -> list[GraphLimit]:
        """Thresholds that are near enough to the values to have a line."""
        top = max((abs(value) for line in self.lines for value in line.points.values()), default=0)
        return [one for one in self.limits if abs(one.value) <= FAR * top]


def draw_graph(graph: Graph, x: float, y: float, width: float, height: float) -> str:
    """The graph as an SVG within another, at this place and of this size."""
    inner_width, inner_height = width - LEFT - RIGHT, height - TOP - BOTTOM
    spec = {
        "width": inner_width,
        "height": inner_height,
        "padding": {"left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM},
        "autosize": {"type": "none"},
        "config": CONFIG,
        "layer": list(_layers(graph)),
    }
    drawn = vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE, allowed_base_urls=[])
    drawn = LONG_NUMBER.sub(lambda match: f"{float(match[0]):.2f}".rstrip("0").rstrip("."), drawn)
    box = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
    return OUTER.sub(f'<svg {box} viewBox="0 0 {width:g} {height:g}">', drawn)


def _layers(graph: Graph) -> Iterator[dict[str, Any]]:
    midnight = graph.start // DAY * DAY
    # A bar is as wide as its bucket. Few points of a line, at the start of their buckets, are moved to the middle.
    early = graph.interval * 500 if graph.has_few and graph.form != "bars" else 0
    span = [(at - midnight) * 1000 - early for at in (graph.start, graph.end)]
    values = [value for line in graph.lines for value in line.points.values()]
    near = bool(values) and 0.5 * max(values) < min(values) < max(values)
    axis: dict[str, Any] = {
        "title": None,
        "tickCount": 4,
        "labelExpr": LABELS.get(graph.unit, PLAIN),
        "labelBound": False,
    }
    clock = "%H:%M:%S" if graph.end - graph.start < SHORT else "%H:%M"
    time = {
        "type": "temporal",
        "scale": {"type": "utc", "domain": span, "nice": False},
        "axis": {"title": None, "format": clock, "grid": False, "tickCount": 6},
    }
    level = {"type": "quantitative", "scale": {"zero": graph.form != "line" or not near}, "axis": axis}
    color = {"type": "nominal", "legend": None, "scale": {"domain": list(range(len(PALETTE))), "range": list(PALETTE)}}
    common = {"x": {"field": "t", **time}, "color": {"field": "s", **color}}
    if graph.form == "line":
        rows = [
            {"t": (at - midnight) * 1000, "v": value, "s": index}
            for index, line in enumerate(graph.lines)
            for at, value in _with_gaps(line)
        ]
        marked = graph.has_few or all(len(line.points) < 3 for line in graph.lines)
        mark: dict[str, Any] = {"type": "line", "strokeWidth": 1.5, "point": {"size": 14} if marked else False}
        yield {"data": {"values": rows}, "mark": mark, "encoding": {**common, "y": {"field": "v", **level}}}
    else:
        stacked = list(_stacked(graph, midnight))
        between = {**common, "y": {"field": "low", **level}, "y2": {"field": "high"}}
        if graph.form == "area":
            yield {"data": {"values": stacked}, "mark": {"type": "area", "opacity": 0.75}, "encoding": between}
        else:
            yield {"data": {"values": stacked}, "mark": "rect", "encoding": {**between, "x2": {"field": "u"}}}
    for one in graph.limits_in_sight:
        rule = {"type": "rule", "strokeDash": [5, 4], "color": LIMITS.get(one.kind, GREY)}
        yield {"data": {"values": [{"v": one.value}]}, "mark": rule, "encoding": {"y": {"field": "v", **level}}}
    if graph.events:
        told = [{"t": (at - midnight) * 1000} for at in graph.events]
        rule = {"type": "rule", "strokeDash": [2, 2], "color": GREY}
        yield {"data": {"values": told}, "mark": rule, "encoding": {"x": {"field": "t", **time}}}


def _with_gaps(line: GraphLine) -> Iterator[tuple[int, float | None]]:
    """The points of a line, and one without a value where it is interrupted, as Datadog interrupts it."""
    times = list(line.points)
    usual = min((later - at for at, later in pairwise(times)), default=0)
    for at, later in pairwise([*times, times[-1]]):
        yield at, line.points[at]
        if later - at > max(INTERPOLATED, usual):
            yield at + 1, None


def _stacked(graph: Graph, midnight: int) -> Iterator[Mapping[str, float]]:
    """Each value above those of the lines before it; an area has the value 0 where its line has none."""
    times = sorted({at for line in graph.lines for at in line.points})
    wide = min((later - at for at, later in pairwise(times)), default=graph.end - times[0])
    wide = max(wide, graph.interval)
    level = dict.fromkeys(times, 0.0)
    for index, line in enumerate(graph.lines):
        for at in times:
            if at in line.points or graph.form == "area":
                low = level[at]
                level[at] += line.points.get(at, 0.0)
                left, right = (at - midnight) * 1000, (min(at + wide, graph.end) - midnight) * 1000
                yield {"t": left, "u": right, "low": low, "high": level[at], "s": index}
