"""One dashboard as one SVG: its groups below one another, and every widget in its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from ...errors import QueryError
from ..provision.simulate.buckets import groups_among
from ..provision.simulate.events import parse_event_query
from ..provision.simulate.observations import STATUSES, EventSeen
from ..provision.simulate.states import StateOptions
from ..provision.simulate.variants import NotSimulated
from .account import SimulatedAccount
from .charts import GREY, LIMITS, PALETTE, Graph, GraphLimit, draw_graph
from .data import Answers, GraphLine, group_text, short_name, variables_of
from .recorded import clock_text
from .text import cut, value_text, wrapped, xml

WIDTH, COLUMNS, ROW = 1200, 12, 66
COLUMN = WIDTH / COLUMNS
GAP, HEAD, TITLE = 8, 30, 24
SMALL, TEXT = 11, 12
MOST_LINES = len(PALETTE)
LEGEND_COLUMN, LEGEND_ROW, LEGEND_ROWS = 170, 15, 3
DARK, INK, FRAME = "#1f2430", "#3a404a", "#d9dde3"
COLORS = {
    "vivid_blue": "#3578c6",
    "vivid_purple": "#7a4fc0",
    "vivid_green": "#2e8b57",
    "vivid_orange": "#d9741c",
    "vivid_yellow": "#b8910a",
    "vivid_pink": "#c2417f",
}
PALETTES = {"white_on_red": ("#c62828", "#ffffff"), "white_on_yellow": ("#e6a100", "#ffffff")}
STATE_COLORS = {"OK": "#2e7d32", "Warn": "#b8860b", "Alert": "#c62828"}
STATUS_COLORS = {"ok": "#2e7d32", "warning": "#e6a100", "critical": "#c62828", "unknown": GREY}
MARKER = re.compile(r"y\s*=\s*(-?\d+(?:\.\d+)?)")
VARIABLE_TERM = re.compile(r"\$[\w.-]+")
MARKDOWN = re.compile(r"\[([^\]]*)\]\([^)]*\)|[*`]{1,2}(?=\S)|(?<=\S)[*`]{1,2}|^#+\s*", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Box:
    """The inside of a widget."""

    x: float
    y: float
    width: float
    height: float


def draw_dashboard(body: Mapping[str, Any], account: SimulatedAccount) -> str:
    """The SVG of a dashboard's body, as the API takes it, filled with what was observed."""
    canvas = _Canvas(account, Answers(account.recorded, variables_of(body)))
    parts, top = [], 0.0
    for group in body.get("widgets") or ():
        definition = group["definition"]
        inner = definition["widgets"] if definition.get("type") == "group" else [group]
        titled = definition.get("type") == "group" and definition.get("show_title", True)
        head = HEAD if titled else 0
        rows = max((one["layout"]["y"] + one["layout"]["height"] for one in inner), default=0)
        height = head + rows * ROW
        color = COLORS.get(str(definition.get("background_color")), "#6b7280")
        if titled:
            parts.append(_rectangle(Box(0, top, WIDTH, HEAD - 4), color, radius=3))
            parts.append(_text(10, top + 18, str(definition.get("title") or ""), 14, WIDTH - 20, "#ffffff", bold=True))
        for widget in inner:
            place = widget["layout"]
            box = Box(
                place["x"] * COLUMN + GAP / 2,
                top + head + place["y"] * ROW,
                place["width"] * COLUMN - GAP,
                place["height"] * ROW - GAP,
            )
            parts += canvas.widget(widget["definition"], box)
        top += height + GAP
    size = f'viewBox="0 0 {WIDTH} {top:g}"'
    style = 'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n' + "\n".join(parts) + "\n</svg>\n"


class _Canvas:
    """Draws the widgets of one dashboard."""

    def __init__(self, account: SimulatedAccount, answers: Answers) -> None:
        self.account = account
        self.seen = account.seen
        self.recorded = account.recorded
        self.answers = answers
        self._drawers: Mapping[str, Callable[[Mapping[str, Any], Box], Iterable[str]]] = {
            "timeseries": self._timeseries,
            "query_value": self._value,
            "toplist": self._list,
            "query_table": self._list,
            "check_status": self._check,
            "event_stream": self._events,
            "manage_status": self._monitors,
            "slo": self._slo,
            "note": self._note,
        }

    def widget(self, definition: Mapping[str, Any], box: Box) -> Iterator[str]:
        """The frame, the title, and what is in it: of a widget that can't be drawn the reason."""
        kind = str(definition.get("type"))
        yield _rectangle(box, "#f6f1dc" if kind == "note" else "#ffffff", frame=FRAME, radius=3)
        title = str(definition.get("title") or "")
        if title:
            yield _text(box.x + 10, box.y + 17, title, TEXT, box.width - 20, DARK, bold=True)
        inner = Box(
            box.x + 10, box.y + (TITLE if title else 8), box.width - 20, box.height - (TITLE if title else 8) - 6
        )
        drawer = self._drawers.get(kind)
        try:
            if drawer is None:
                raise NotSimulated(f"a widget of type {kind}")
            yield from list(drawer(definition, inner))
        except NotSimulated as reason:
            yield from _said(inner, f"not drawn: {reason}")
        except QueryError as reason:
            yield from _said(inner, f"not drawn, as the query can't be read: {reason}")

    def _timeseries(self, definition: Mapping[str, Any], box: Box) -> Iterator[str]:
        requests = list(definition.get("requests") or ())
        lines: list[GraphLine] = []
        unsaid: list[str] = []
        hidden = 0
        for request in requests:
            try:
                lines += self.answers.lines(request)
            except NotSimulated as reason:
                unsaid.append(f"not drawn: {reason}")
        if not lines:
            if unsaid:
                yield from _said(box, unsaid[0])
                return
            yield from _said(box, self.answers.why_empty(requests))
            return
        if len(lines) > MOST_LINES:
            hidden = len(lines) - MOST_LINES
            highest = sorted(lines, key=lambda line: -fmean(line.points.values()))[:MOST_LINES]
            lines = [line for line in lines if line in highest]
        unit = _unit(requests[0])
        graph = Graph(
            lines,
            self.recorded.start,
            self.recorded.end,
            self.recorded.interval,
            str(requests[0].get("display_type") or "line"),
            unit,
            list(_limits(definition)),
            self._marked(definition),
        )
        legend = [(PALETTE[index], _short(line, lines), _last(line, unit)) for index, line in enumerate(lines)]
        legend += [
            (LIMITS.get(one.kind, GREY), f"{one.label} at {value_text(one.value, unit)}", "") for one in graph.limits
        ]
        missing = [name for name in _names(requests) if not any(_is_of(line, name) for line in lines)]
        legend += [("none", f"{name}: no data", "") for name in missing]
        columns = max(1, int(box.width // LEGEND_COLUMN))
        rows = min(LEGEND_ROWS, -(-len(legend) // columns))
        yield draw_graph(graph, box.x - 8, box.y, box.width + 12, box.height - rows * LEGEND_ROW)
        notes = [f"and {hidden} more lines"] if hidden else []
        yield from _legend(legend, box, columns, rows, [*unsaid, *notes])

    def _value(self, definition: Mapping[str, Any], box: Box) -> Iterator[str]:
        request = definition["requests"][0]
        figures = self.answers.figures(request)
        values = [value for row in figures.rows.values() for value in row if value is not None]
        if not values:
            yield from _said(box, self.answers.why_empty([request]))
            return
        paint, ink = "", DARK
        for rule in request.get("conditional_formats") or ():
            limit = StateOptions(str(rule["comparator"]), {"critical": float(rule["value"])})
            if limit.beyond(values[0], "critical"):
                paint, ink = PALETTES.get(str(rule.get("palette")), ("", DARK))
                break
        if paint:
            yield _rectangle(box, paint, radius=3)
        text = value_text(values[0], _unit(request))
        size = min(box.height * 0.6, box.width / max(4, len(text)) / 0.6)
        yield _text(
            box.x + box.width / 2, box.y + box.height / 2 + size * 0.35, text, size, box.width, ink, middle=True
        )

    def _list(self, definition: Mapping[str, Any], box: Box) -> Iterator[str]:
        request = definition["requests"][0]
        figures = self.answers.figures(request)
        if not figures.rows:
            yield from _said(box, self.answers.why_empty([request]))
            return
        order = ((request.get("formulas") or [{}])[0].get("limit") or {}).get("order", "desc")
        rows = sorted(
            figures.rows.items(), key=lambda one: (one[1][0] is None, _ordered(one[1][0], order), group_text(one[0]))
        )
        unit, top = _unit(request), max((abs(row[0]) for _, row in rows if row[0] is not None), default=0) or 1
        table = definition["type"] == "query_table"
        line, y = 18.0, box.y
        if table:
            tags = ", ".join(key for key, _ in rows[0][0]) or "all"
            yield _text(box.x, y + 12, tags, SMALL, box.width * 0.6, GREY)
            yield _text(box.x + box.width, y + 12, ", ".join(figures.names), SMALL, box.width * 0.4, GREY, end=True)
            y += line
        room = max(1, int((box.y + box.height - y) // line))
        shown = rows if len(rows) <= room else rows[: room - 1]
        for group, row in shown:
            if not table:
                share = abs(row[0] or 0) / top
                yield _rectangle(Box(box.x, y + 1, max(1, box.width * share), line - 3), "#cfe0f3", radius=2)
            said = "  ".join("-" if value is None else value_text(value, unit) for value in row)
            yield _text(box.x + (0 if table else 5), y + 13, group_text(group) or "all", TEXT, box.width * 0.72, INK)
            yield _text(box.x + box.width - 4, y + 13, said, TEXT, box.width * 0.28, DARK, end=True)
            y += line
        if len(shown) < len(rows):
            yield _text(box.x, y + 13, f"and {len(rows) - len(shown)} more", SMALL, box.width, GREY)

    def _check(self, definition: Mapping[str, Any], box: Box) -> Iterator[str]:
        by = tuple(str(tag) for tag in definition.get("group_by") or ())
        if any(tag != "*" for tag in definition.get("tags") or ()):
            raise NotSimulated("a status of a service check within a scope")
        states: dict[Any, str] = {}
        check = str(definition["check"])
        for tags, statuses in self.seen.checks.get(check, {}).items():
            for group in groups_among(tags, by):
                states[group] = max(states.get(group, "ok"), statuses.values[-1], key=_severity)
        if not states:
            why = "came without these tags" if check in self.seen.checks else "was not sent"
            yield from _said(box, f"no data in {self.recorded.during}: {short_name(check)} {why}")
            return
        found = [(name, list(states.values()).count(name)) for name in STATUSES if name in states.values()]
        width = box.width / len(found)
        for index, (name, count) in enumerate(found):
            tile = Box(box.x + index * width, box.y + 2, width - 4, box.height - 4)
            yield _rectangle(tile, STATUS_COLORS[name], radius=3)
            middle = tile.x + tile.width / 2
            yield _text(middle, tile.y + tile.height / 2 + 6, str(count), 26, width, "#ffffff", middle=True, bold=True)
            yield _text(middle, tile.y + tile.height - 8, name.upper(), SMALL, width, "#ffffff", middle=True)

    def _events(self, definition: Mapping[str, Any], box: Box) -> Iterator[str]:
        found = sorted(self._found(str(definition.get("query") or "")), key=lambda one: -one.time)
        if not found:
            yield from _said(box, f"no event in {self.recorded.during}")
            return
        y = box.y
        for event in found:
            lines = wrapped(event.title, box.width - 48, TEXT)
            if y + 17 * len(lines) > box.y + box.height:
                break
            yield _text(box.x, y + 13, clock_text(event.time + self.recorded.offset), TEXT, 40, GREY)
            for line in lines:
                yield _text(box.x + 44, y + 13, line, TEXT, box.width - 44, INK)
                y += 17

    def _monitors(self, definition: Mapping[str, Any], box: Box) -> Iterator[str]:
        found = self.account.states(str(definition.get("query") or ""))
        if not found:
            yield from _said(box, "no monitor of these resources")
            return
        states = [state for _, state in found]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        said = f"At the end: {counts}"
        if not self.recorded.is_judged:
            said = f"{len(found)} monitors, which look at more than {self.recorded.during}"
        yield _text(box.x, box.y + 12, said, SMALL, box.width, GREY)
        columns = max(1, int(box.width // 360))
        rows = int((box.height - 18) // 17)
        width = box.width / columns
        for index, (name, state) in enumerate(found[: rows * columns]):
            x, y = box.x + index // rows * width, box.y + 18 + index % rows * 17
            yield _text(x, y + 13, state, SMALL, 78, STATE_COLORS.get(state, GREY), bold=True)
            room = 80 if state else 0
            yield _text(x + room, y + 13, name, TEXT, width - room - 10, INK)

    def _slo(self, definition: Mapping[str, Any], box: Box) -> Iterator[str]:
        reached = self.account.reached(str(definition.get("slo_id") or ""))
        if reached.percent is None:
            yield from _said(box, f"no data in {self.recorded.during}")
            return
        color = STATE_COLORS["OK" if reached.percent >= reached.target else "Alert"]
        middle, size = box.x + box.width / 2, min(56.0, box.height * 0.4)
        # More digits than a graph has: near to 100 they are what tells.
        text = f"{reached.percent:.2f} %"
        yield _text(middle, box.y + box.height / 2, text, size, box.width, color, middle=True, bold=True)
        said = f"of {self.recorded.during}; the target is {reached.target:g} % in {reached.timeframe}"
        yield _text(middle, box.y + box.height / 2 + 26, said, TEXT, box.width, GREY, middle=True)

    def _note(self, definition: Mapping[str, Any], box: Box) -> Iterator[str]:
        text = MARKDOWN.sub(lambda match: match[1] or "", str(definition.get("content") or ""))
        y = box.y
        for paragraph in text.splitlines():
            for line in wrapped(paragraph, box.width, TEXT):
                yield _text(box.x, y + 13, line, TEXT, box.width, INK)
                y += 16

    def _marked(self, definition: Mapping[str, Any]) -> list[int]:
        """The times of the events that a graph marks; of a search that isn't understood none is."""
        times: set[int] = set()
        for overlay in definition.get("events") or ():
            try:
                times |= {event.time for event in self._found(str(overlay.get("q") or ""))}
            except NotSimulated:
                continue
        return sorted(time + self.recorded.offset for time in times if time >= self.seen.start)

    def _found(self, search: str) -> list[EventSeen]:
        """What a search for events finds, with all that its template variables can choose. Raises NotSimulated."""
        quoted = VARIABLE_TERM.sub("", search).strip().replace('"', '\\"')
        query = parse_event_query(f'events("{quoted}").rollup("count").last("1h") > 0')
        return [event for event in self.seen.events if query.takes(event)]


def _limits(definition: Mapping[str, Any]) -> Iterator[GraphLimit]:
    for marker in definition.get("markers") or ():
        if found := MARKER.fullmatch(str(marker.get("value")).strip()):
            kind = str(marker.get("display_type") or "").partition(" ")[0]
            yield GraphLimit(float(found[1]), kind, str(marker.get("label") or "marked"))


def _names(requests: Iterable[Mapping[str, Any]]) -> list[str]:
    """The formulas of graphs that have several."""
    found = [str(one.get("alias") or one["formula"]) for request in requests for one in request.get("formulas") or ()]
    return found if len(found) > 1 else []


def _short(line: GraphLine, lines: Sequence[GraphLine]) -> str:
    """The name of a line without the part that all of them have: that of the only formula."""
    head, colon, group = line.name.partition(": ")
    return group if colon and all(one.name.startswith(f"{head}: ") for one in lines) else line.name or "value"


def _is_of(line: GraphLine, name: str) -> bool:
    return line.name == name or line.name.startswith(f"{name}: ")


def _unit(request: Mapping[str, Any]) -> str:
    formulas = request.get("formulas") or [{}]
    return str(((formulas[0].get("number_format") or {}).get("unit") or {}).get("unit_name") or "")


def _last(line: GraphLine, unit: str) -> str:
    return value_text(line.points[max(line.points)], unit)


def _ordered(value: float | None, order: str) -> float:
    return (value or 0.0) if order == "asc" else -(value or 0.0)


def _severity(status: str) -> int:
    return ("ok", "unknown", "warning", "critical").index(status)


def _legend(
    entries: Sequence[tuple[str, str, str]], box: Box, columns: int, rows: int, notes: Sequence[str]
) -> Iterator[str]:
    """Entries of a color, a name and the last value, with the notes in the last ones' place."""
    room = columns * rows
    more = len(entries) - room
    entries = [*entries[: room - 1], ("none", f"and {more + 1} more", "")] if more > 0 else entries
    top, width = box.y + box.height - rows * LEGEND_ROW, box.width / columns
    for index, (color, name, last) in enumerate(entries):
        x, y = box.x + index % columns * width, top + index // columns * LEGEND_ROW
        if color != "none":
            yield _rectangle(Box(x, y + 4, 8, 8), color, radius=1)
        kept = (len(last) + 1) * SMALL * 0.56
        yield _text(x + 12, y + 12, name, SMALL, width - 18 - kept, INK)
        yield _text(x + width - 6, y + 12, last, SMALL, width, DARK, end=True)
    for index, note in enumerate(notes):
        yield _text(box.x + box.width, box.y + 10 + index * LEGEND_ROW, note, SMALL, box.width - 60, GREY, end=True)


def _said(box: Box, text: str) -> Iterator[str]:
    """A text in the middle of a box."""
    lines = wrapped(text, box.width - 8, TEXT)
    y = box.y + box.height / 2 - 8 * len(lines) + 12
    for line in lines:
        yield _text(box.x + box.width / 2, y, line, TEXT, box.width, GREY, middle=True)
        y += 16


def _rectangle(box: Box, fill: str, *, frame: str = "", radius: float = 0) -> str:
    stroke = f' stroke="{frame}"' if frame else ""
    size = f'x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}"'
    return f'<rect {size} rx="{radius:g}" fill="{fill}"{stroke}/>'


def _text(
    x: float,
    y: float,
    text: str,
    size: float,
    width: float,
    color: str,
    *,
    bold: bool = False,
    middle: bool = False,
    end: bool = False,
) -> str:
    """A line of text, cut to a width; then the whole of it shows where the mouse rests."""
    shown = cut(text, width, size)
    whole = f"<title>{xml(text)}</title>" if shown != text else ""
    anchor = ' text-anchor="middle"' if middle else ' text-anchor="end"' if end else ""
    weight = ' font-weight="600"' if bold else ""
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size:.3g}" fill="{color}"'
    return f"<text {place}{anchor}{weight}>{xml(shown)}{whole}</text>"
