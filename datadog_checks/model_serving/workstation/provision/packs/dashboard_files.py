"""Dashboards in the pack of a user, in the form of those that ship, which `widgets` makes bodies of."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..document import Node, read_all, suggestion
from ..query import parse_metric_expression
from . import DashboardEntry

COLUMNS = 12
TALLEST = 24
COLORS = ("vivid_blue", "vivid_purple", "vivid_pink", "vivid_orange", "vivid_yellow", "vivid_green", "gray", "white")
AGGREGATES = ("avg", "last", "max", "min", "sum", "percentile")
SPANS = ("1m", "5m", "10m", "15m", "30m", "1h", "4h", "1d", "2d", "1w", "1mo", "3mo", "6mo", "1y")
PRICE = "gpu_hour_price"
"""The number of a values file that a widget may need."""

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
TAG = re.compile(r"[A-Za-z][A-Za-z0-9_.:/-]*")

QUERIES = ("queries", "show")
ONE_NUMBER = ("queries", "show", "aggregate")
WIDGETS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "timeseries": (("title", *QUERIES), ("unit", "display", "mark")),
    "value": (("title", *ONE_NUMBER), ("unit", "mark")),
    "top": (("title", *ONE_NUMBER), ("unit", "rows", "order", "time")),
    "table": (("title", *ONE_NUMBER), ("unit", "rows", "order", "time")),
    "check": (("title", "check", "group_by"), ()),
    "slo": (("title", "slo"), ()),
    "monitors": (("title", "query"), ()),
    "events": (("title", "query"), ()),
    "note": (("text",), ()),
}
"""What a widget needs and what else it may have, by its type, beside what all of them may have."""

ANY = ("type", "size", "variables", "needs")
IN_ONE_EXPRESSION = ("timeseries", "value")
"""Types that may have an `expression` in place of `queries` and `show`."""

ADVICE = {
    "requests": "write `queries` and `show`: docs/provisioning.md shows how",
    "definition": "write what is in it without it: docs/provisioning.md shows how",
    "q": "write `expression`",
}


def read_dashboard(node: Node, key: str, pack: str, slos: Collection[str], marks: Collection[str]) -> DashboardEntry:
    """The dashboard that a file has under a key. `slos` are the SLOs, `marks` the monitors of metrics that there are.

    Raises DocumentError with the file, the key and the mend.
    """
    top = node.entries(("title", "description", "variables", "overlay", "groups"), advice={"widgets": IN_GROUPS})
    for name in ("title", "groups"):
        if name not in top:
            raise node.fail(f"the key `{name}` is missing")
    variables = _variables(top["variables"]) if "variables" in top else {}
    reader = WidgetReader(variables, slos, marks)
    return DashboardEntry(
        key=key,
        pack=pack,
        title=top["title"].text(),
        description=top["description"].text() if "description" in top else "",
        variables=variables,
        groups=tuple(read_all(lambda group: _group(group, reader), _several(top["groups"]))),
        overlay=top["overlay"].text() if "overlay" in top else "",
    )


IN_GROUPS = "widgets are in `groups`, such as `groups: [{title: Now, widgets: [...]}]`"


def _group(node: Node, reader: WidgetReader) -> dict[str, Any]:
    entries = node.entries(("title", "color", "widgets"), advice={"type": IN_GROUPS})
    for name in ("title", "widgets"):
        if name not in entries:
            raise node.fail(f"the key `{name}` is missing")
    return {
        "title": entries["title"].text(),
        "color": entries["color"].choice(COLORS) if "color" in entries else COLORS[0],
        "widgets": read_all(reader.read, _several(entries["widgets"])),
    }


@dataclass(frozen=True, slots=True)
class WidgetReader:
    """Reads the widgets of one dashboard, which has these template variables. `slos` are the SLOs, `marks` the monitors
    of metrics that there are."""

    variables: Mapping[str, str]
    slos: Collection[str]
    marks: Collection[str]

    def read(self, node: Node) -> dict[str, Any]:
        """A widget as its file has it. Raises DocumentError about one that can't be."""
        said = dict(node.items())
        if "type" not in said:
            raise node.fail(f"the key `type` is missing: one of {', '.join(WIDGETS)}")
        kind = said["type"].choice(WIDGETS)
        needed, further = WIDGETS[kind]
        if "expression" in said and kind in IN_ONE_EXPRESSION:
            if both := [name for name in QUERIES if name in said]:
                raise node.fail(f"has both `expression` and `{both[0]}`: write one of them")
            needed = ("expression", *(name for name in needed if name not in QUERIES))
        priced = "needs" in said
        readers = {name: partial(self._of, name, priced=priced) for name in (*ANY, *needed, *further)}
        return node.read(readers, advice=ADVICE, needed=needed)

    def _of(self, name: str, node: Node, *, priced: bool) -> Any:
        match name:
            case "expression":
                return _expression(node, priced=priced)
            case "queries":
                return _queries(node, priced=priced)
            case "variables":
                return [_among(item, self.variables, "template variable") for item in node.each()]
            case "slo":
                return _among(node, self.slos, "SLO")
            case "mark":
                return _among(node, self.marks, "monitor of metrics")
            case _:
                return READERS.get(name, Node.text)(node)


def _expression(node: Node, *, priced: bool) -> str:
    if priced:
        node.parsed(lambda text: parse_metric_expression(text.replace(f"${{{PRICE}}}", "1")))
    elif f"${{{PRICE}}}" in node.text():
        raise node.fail(f"has a number only where the widget has `needs: {PRICE}`: add that")
    else:
        node.parsed(parse_metric_expression)
    return node.text()


def _several(node: Node) -> list[Node]:
    found = node.each()
    if not found:
        raise node.fail("must have one at least")
    return found


def _among(node: Node, known: Collection[str], what: str) -> str:
    text = node.text()
    if text not in known:
        raise node.fail(f"there is no {what} `{text}`; {suggestion(text, known) if known else 'there is none'}")
    return text


def _variables(node: Node) -> dict[str, str]:
    def read(name: str, tag: Node) -> str:
        if not NAME.fullmatch(name):
            raise tag.fail("the name of a variable is letters, digits and _, as in `endpoint: endpoint_name`")
        if not TAG.fullmatch(tag.text()):
            raise tag.fail(f"must be the name of a tag, such as endpoint_name, not `{tag.value}`")
        return tag.text()

    return node.mapped(read)


def _queries(node: Node, *, priced: bool) -> dict[str, str]:
    def read(name: str, query: Node) -> str:
        if not NAME.fullmatch(name):
            raise query.fail("the name of a query is letters, digits and _, as in {a: ...}")
        return _expression(query, priced=priced)

    return node.mapped(read)


def _show(node: Node) -> dict[str, str]:
    def read(alias: str, formula: Node) -> str:
        formula.parsed(parse_metric_expression)
        return formula.text()

    found = node.mapped(read)
    if not found:
        raise node.fail("must show one formula at least, such as {Requests: a}")
    return found


def _size(node: Node) -> list[int]:
    sides = node.each()
    if len(sides) != 2:
        raise node.fail("must be the width and the height, such as [6, 3]")
    return [side.integer(1, most) for side, most in zip(sides, (COLUMNS, TALLEST), strict=True)]


READERS: Mapping[str, Callable[[Node], Any]] = {
    "aggregate": lambda node: node.choice(AGGREGATES),
    "display": lambda node: node.choice(("line", "area", "bars")),
    "group_by": lambda node: list(node.texts()),
    "needs": lambda node: node.choice((PRICE,)),
    "order": lambda node: node.choice(("asc", "desc")),
    "rows": lambda node: node.integer(1, 500),
    "show": _show,
    "size": _size,
    "time": lambda node: node.choice(SPANS),
}
"""How a key of a widget is read that is no plain text."""
