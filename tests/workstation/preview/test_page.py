"""The page and its drawings, of the dashboards that ship and of a dashboard with everything that there may be."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import util
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from datadog_checks.model_serving.workstation.cli import provision_preview
from datadog_checks.model_serving.workstation.cli.root import root
from datadog_checks.model_serving.workstation.preview.account import SimulatedAccount
from datadog_checks.model_serving.workstation.preview.drawing import draw_dashboard
from datadog_checks.model_serving.workstation.preview.page import render_page
from datadog_checks.model_serving.workstation.preview.recorded import Recorded
from datadog_checks.model_serving.workstation.provision.desired import desired
from datadog_checks.model_serving.workstation.provision.model import Resource
from datadog_checks.model_serving.workstation.provision.simulate.observations import GAUGE, Observations
from tools import previews

ROOT = Path(__file__).parents[3]
RESOURCES = desired(None)
DASHBOARDS = {one.key: one.body for one in RESOURCES if one.kind == "dashboard"}
START = 1_700_000_400
DASHBOARD = {"data_source": "metrics", "name": "a", "query": "avg:busy{*} by {model}"}


def seen() -> Observations:
    found = Observations(START, START + 600)
    for minute in (0, 1, 8, 9):
        for model in ("a", "<b>&\x1b"):
            found.point("busy", GAUGE, [f"model:{model}"], START + 60 * minute, 10 + minute)
    found.status("ready", ["model:a"], START, "ok")
    found.status("ready", ["model:b"], START, "critical")
    found.event("a serves version 2", ["source:us"], START + 60)
    return found


def text_of(svg: str) -> str:
    """All text of a drawing, which has to be well-formed."""
    return "\n".join(ElementTree.fromstring(svg).itertext())


def drawn(definition: Mapping[str, Any], resources: list[Resource] | None = None, height: int = 4) -> str:
    """A dashboard of one widget."""
    layout = {"x": 0, "y": 0, "width": 4, "height": height}
    body = {"title": "T", "widgets": [{"definition": {"title": "Own title", **definition}, "layout": layout}]}
    return draw_dashboard(body, SimulatedAccount(resources or [], Recorded(seen())))


def numbers(**formula: Any) -> list[dict[str, Any]]:
    return [{"queries": [{**DASHBOARD, "aggregator": "last"}], "formulas": [{"formula": "a", **formula}]}]


WIDGETS = {
    "a graph": ({"type": "timeseries", "requests": numbers()}, ["22:2", "a", "19"]),
    "areas": ({"type": "timeseries", "requests": [{**numbers()[0], "display_type": "area"}]}, ["a", "19"]),
    "bars": ({"type": "timeseries", "requests": [{**numbers()[0], "display_type": "bars"}]}, ["a", "19"]),
    "a threshold": (
        {"type": "timeseries", "requests": numbers(), "markers": [{"value": "y = 15", "display_type": "error dashed",
                                                                   "label": "alerts"}]},
        ["alerts at 15"],
    ),
    "a value": ({"type": "query_value", "requests": [{"q": "avg:busy{*}", "aggregator": "max"}]}, ["19"]),
    "a list": ({"type": "toplist", "requests": numbers()}, ["a", "19"]),
    "a table": ({"type": "query_table", "requests": numbers(alias="Busy")}, ["model", "Busy", "a", "19"]),
    "a service check": ({"type": "check_status", "check": "ready", "group_by": ["model"]}, ["1", "OK", "CRITICAL"]),
    "events": ({"type": "event_stream", "query": "source:us"}, ["22:21", "a serves version 2"]),
    "no event": ({"type": "event_stream", "query": "source:them"}, ["no event in the time that was simulated"]),
    "a note": ({"type": "note", "content": "**Read** [this](https://x.example) of `a_b_c`."}, ["Read this of a_b_c."]),
    "no data": ({"type": "query_value", "requests": [{"q": "avg:nobody{*}"}]}, ["no data in the time that"]),
    "a type that is not drawn": ({"type": "sunburst"}, ["not drawn: a widget of type sunburst"]),
    "a query that is not simulated": (
        {"type": "timeseries", "requests": [{"q": "forecast(avg:busy{*}, 'linear', 1)"}]}, ["not drawn: `forecast()`"],
    ),
    "a query that can't be read": ({"type": "query_value", "requests": [{"q": "avg:busy{"}]}, ["can't be read"]),
    "an SLO that is not there": ({"type": "slo", "slo_id": "abc"}, ["not drawn: the SLO `abc`"]),
}  # fmt: skip


@pytest.mark.parametrize(("definition", "texts"), WIDGETS.values(), ids=WIDGETS)
def test_a_widget_shows_what_is_known(definition: dict[str, Any], texts: list[str]) -> None:
    """Its title, and its data or the reason why there is none."""
    found = " ".join(text_of(drawn(definition)).split())
    assert [text for text in ("Own title", *texts) if text not in found] == []


@pytest.mark.parametrize(("palette", "limit"), [("white_on_red", 18), (None, 20)])
def test_a_value_has_the_color_of_its_threshold(palette: str | None, limit: float) -> None:
    rule = {"comparator": ">", "value": limit, "palette": "white_on_red"}
    request = {"q": "avg:busy{*}", "aggregator": "max", "conditional_formats": [rule]}
    assert ("#c62828" in drawn({"type": "query_value", "requests": [request]})) == (palette is not None)


def test_a_graph_is_interrupted_where_there_is_no_data() -> None:
    """Of ten minutes six are missing: each of the two lines is two pieces."""
    svg = drawn({"type": "timeseries", "requests": numbers()})
    paths = re.findall(r'<path d="([^"]*)" stroke="#', svg)
    assert [path.count("M") for path in paths if "L" in path] == [2, 2]


def test_monitors_and_slos_are_those_of_the_resources(story: Recorded) -> None:
    account = SimulatedAccount(RESOURCES, story)
    found = account.states('tag:"integration:model-serving" tag:"pack:gpu"')
    gpu = [one.body["name"] for one in RESOURCES if one.kind == "monitor" and "pack:gpu" in one.body["tags"]]
    assert {name for name, _ in found} <= set(gpu)
    assert len(found) > 3
    reached = account.reached("${slo:availability}")
    assert reached.percent is not None
    assert 90 < reached.percent < 100


@pytest.mark.parametrize("key", DASHBOARDS)
def test_every_shipped_dashboard_is_drawn(key: str, story: Recorded) -> None:
    """Every widget is there; none is of a type that is not drawn."""
    body = DASHBOARDS[key]
    svg = draw_dashboard(body, SimulatedAccount(RESOURCES, story))
    found = text_of(svg)
    titles = [
        widget["definition"].get("title", "") for group in body["widgets"] for widget in group["definition"]["widgets"]
    ]
    assert [title for title in titles if title not in found] == []
    assert "not drawn: a widget of type" not in found


def test_the_page_needs_nothing_else(story: Recorded) -> None:
    """No script, no network, no other file; each dashboard has its section."""
    page = render_page(RESOURCES, story, ["A note <here>."])
    assert "A note &lt;here&gt;." in page
    assert re.findall(r"<script|<link|<img|url\(|@import|\bsrc=", page) == []
    assert set(re.findall(r'https?://[^"<\s]+', page)) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert re.findall(r'<section id="(\w+)">', page) == list(DASHBOARDS)
    assert render_page(RESOURCES, story, ["A note <here>."]) == page


def preview(*arguments: str) -> Result:
    """The command in this process."""
    return CliRunner().invoke(root, ["provision", "preview", *arguments])


def test_the_command_writes_the_same_page_for_the_same_seed(tmp_path: Path) -> None:
    pages = []
    for number in (1, 2):
        out = tmp_path / f"{number}.html"
        done = preview("--pack", "gpu", "--minutes", "2", "--out", str(out))
        assert (done.exit_code, done.output) == (0, f"1 dashboard in {out}\n")
        pages.append(out.read_text(encoding="utf-8"))
    assert pages[0] == pages[1]


def test_a_scope_is_taken_as_met_and_that_is_said(tmp_path: Path) -> None:
    """No simulated series has the user's tags: with the scope everything would be empty."""
    values, out = tmp_path / "values.yaml", tmp_path / "page.html"
    values.write_text('prefix: "[prod] "\nscope: env:prod\n', encoding="utf-8")
    done = preview("--pack", "cost", "--values", str(values), "--minutes", "2", "--out", str(out))
    assert done.exit_code == 0, done.output
    page = out.read_text(encoding="utf-8")
    assert "[prod] Cost" in page
    assert f"In scopes of {values}, `env:prod` is taken as met: simulated series have no such tags." in page


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--pack", "saturation", "--out", "x.html"], 2, "the packs that were chosen have none; golden_signals"),
        (["--pack", "gpus", "--out", "x.html"], 2, "there is no pack `gpus`"),
        (["--pack", "gpu"], 2, "Missing option '--out'"),
        (["--minutes", "0", "--out", "x.html"], 2, "--minutes"),
    ],
)
def test_mistakes(arguments: list[str], status: int, message: str) -> None:
    done = preview(*arguments)
    assert done.exit_code == status
    assert message in done.output


def test_the_library_that_draws_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        provision_preview, "find_spec", lambda name: None if name == "vl_convert" else util.find_spec(name)
    )
    done = preview("--out", "x.html")
    assert done.exit_code == 1
    assert "pip install '.[cli,preview]'" in done.output


def test_every_dashboard_has_its_picture(story: Recorded) -> None:
    """That they are fresh is not looked at, for an hour of simulated time takes too long; the tool works."""
    found = previews.pictures(story)
    assert found.keys() == {previews.path_of(key) for key in DASHBOARDS}
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / "images").glob("dashboard_*.svg")}
    assert there == found.keys(), "run `python tools/previews.py`"
    media = json.loads((ROOT / "manifest.json").read_text(encoding="utf-8"))["tile"]["media"]
    assert {one["image_url"] for one in media} == {path.replace(".svg", ".png") for path in found}
    assert all((ROOT / one["image_url"]).stat().st_size < 1_000_000 for one in media), "Datadog takes no larger ones"
