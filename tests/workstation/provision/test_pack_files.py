"""Packs that a user writes: as those that ship, from a file."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from datadog_checks.model_serving.errors import DocumentError, OptionError
from datadog_checks.model_serving.strict_yaml import read_yaml
from datadog_checks.model_serving.workstation.cli.root import root
from datadog_checks.model_serving.workstation.provision import packs
from datadog_checks.model_serving.workstation.provision.desired import desired, load_values, vocabulary_of
from datadog_checks.model_serving.workstation.provision.document import Node
from datadog_checks.model_serving.workstation.provision.mistakes import checked
from datadog_checks.model_serving.workstation.provision.model import Resource
from datadog_checks.model_serving.workstation.provision.packs import (
    DashboardEntry,
    builtin_packs,
    filled,
    monitor_entries,
    slo_entries,
)
from datadog_checks.model_serving.workstation.provision.packs.dashboard_files import WIDGETS, read_dashboard
from datadog_checks.model_serving.workstation.provision.packs.files import read_pack
from datadog_checks.model_serving.workstation.provision.routing import load_routing

from .test_values import DOCUMENT

EXAMPLE = next(one for one in re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL) if "gateway.spend:" in one)
CATALOG = """
system: gateway
metrics:
  - raw: gateway_spend
    type: counter
    to: gateway.spend.count
own_metrics:
  gateway.spend.count: {type: count, unit: dollar, description: "Money spent on upstream calls."}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the documented pack and the catalog file that it names."""
    (tmp_path / "gateway_costs.yaml").write_text(EXAMPLE, encoding="utf-8")
    (tmp_path / "gateway.yaml").write_text(CATALOG, encoding="utf-8")
    return tmp_path


def found(resources: list[Resource]) -> dict[str, Any]:
    return {one.key: one.body for one in resources if one.kind == "monitor"}


def test_documented_pack(folder: Path) -> None:
    """Alone on the command line, it is all there is, and passes what everything passes before it is sent."""
    path = str(folder / "gateway_costs.yaml")
    values = load_values(None, [path])
    resources = desired([path], values)
    assert [one.address for one in resources] == ["monitor:gateway.spend", "dashboard:gateway"]
    body = resources[0].body
    assert body["tags"] == [
        "integration:model-serving",
        "pack:gateway_costs",
        "severity:warning",
        "team:search",
    ]
    assert body["options"]["thresholds"] == {"critical": 50, "warning": 30, "critical_recovery": 40}
    assert "For: cost_center {{cost_center.name}}" in body["message"]
    assert body["message"].endswith("Runbook: https://wiki.example.com/gateway-spend")
    assert len(checked(resources, vocabulary=vocabulary_of(values))) == 2
    graph, number = (one["definition"] for one in resources[1].body["widgets"][0]["definition"]["widgets"])
    # A tag of the check by its metrics, which its catalog file tells; one of the user on all.
    query = graph["requests"][0]["queries"][0]["query"]
    assert query.startswith("sum:model_serving.gateway.spend.count{$system,$team} by {cost_center}")
    assert [one["value"] for one in graph["markers"]] == ["y = 30", "y = 50"]
    assert number["requests"][0]["formulas"] == [{"formula": "a", "alias": "Spend"}]


def test_documented_widgets() -> None:
    """Each key of each type is in the table."""
    table = DOCUMENT.partition("\n| type | what it needs | what else it may have |\n")[2].partition("\n\n")[0]
    rows = {kind: row for row in table.splitlines() for kind in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert set(rows) == set(WIDGETS)
    for kind, (needed, further) in WIDGETS.items():
        row = rows[kind] if kind != "value" else rows["timeseries"] + rows["value"]
        assert [key for key in (*needed, *further) if f"`{key}`" not in row] == []


def test_values_name_a_pack(folder: Path) -> None:
    """Relative to the values file, beside all that ship; the file says of its monitors what it says of others, and so
    does a routing file."""
    (folder / "values.yaml").write_text(
        "packs: [all, ./gateway_costs.yaml]\nteams: {gateway_costs: money}\nmonitors: {gateway.spend: {priority: 1, "
        "variants: {dev: {scope: 'env:dev', thresholds: {critical: 5}}}}}",
        encoding="utf-8",
    )
    values = load_values(folder / "values.yaml")
    bodies = found(desired(None, values))
    assert set(bodies) == {*found(desired(None)), "gateway.spend", "gateway.spend.dev"}
    assert (bodies["gateway.spend"]["priority"], bodies["gateway.spend.dev"]["priority"]) == (1, 1)
    assert "team:money" in bodies["gateway.spend"]["tags"]
    assert set(found(desired(["gateway_costs"], values))) == {"gateway.spend", "gateway.spend.dev"}
    (folder / "routing.yaml").write_text("group_by: [cost_center]\nreceiver: a\nreceivers: {a: {to: [slack-a]}}")
    routing = load_routing(folder / "routing.yaml", values.available)
    assert routing.group_by == ("cost_center",)
    # What the file does not choose is not there.
    (folder / "values.yaml").write_text("packs: [./gateway_costs.yaml]", encoding="utf-8")
    assert set(found(desired(None, load_values(folder / "values.yaml")))) == {"gateway.spend"}


def test_shipped_packs_are_of_this_form(tmp_path: Path) -> None:
    """What a pack that ships may say, one of a user may say, and means the same."""
    for name, pack in builtin_packs().items():
        others = {key: one for key, one in builtin_packs().items() if key != name}
        again = read_pack(Path(packs.__file__).with_name(f"{name}.yaml"), others)
        shipped = [replace(one, means="", false_alarm=(), created="") for one in pack.monitors]
        assert list(again.monitors) == shipped
        assert again.slos == pack.slos


@pytest.mark.parametrize(
    "entry", [one for pack in builtin_packs().values() for one in pack.dashboards], ids=lambda one: one.key
)
def test_shipped_dashboards_are_of_this_form(entry: DashboardEntry) -> None:
    """The same of dashboards, which of those that ship have files of their own."""
    data = filled(read_yaml(packs.HERE / "dashboards" / f"{entry.key}.yaml"))
    del data["pack"]
    marks = [one for one, monitor in monitor_entries().items() if monitor.form == "metric"]
    assert read_dashboard(Node("x.yaml", "", data), entry.key, entry.pack, list(slo_entries()), marks) == entry


MONITOR = {
    "title": "Slow",
    "subject": "the time",
    "query": "avg(last_5m):avg:model_serving.cpu.utilization{*} by {endpoint_name} > 90",
    "severity": "warning",
    "priority": 3,
    "look": ["The graphs."],
}


def pack(**changed: Any) -> str:
    """A pack with one monitor, of which some keys are others, or are not there."""
    monitor = {**MONITOR, **changed}
    return yaml.safe_dump({"title": "Mine", "monitors": {"mine.slow": {k: v for k, v in monitor.items() if v != "-"}}})


WIDGET = {
    "type": "timeseries",
    "title": "CPU",
    "queries": {"a": "avg:model_serving.cpu.utilization{*} by {endpoint_name}"},
    "show": {"CPU": "a"},
}


def board(*, top: Any = None, group: Any = None, **changed: Any) -> str:
    """A pack with a dashboard of one widget, of which some keys are others, or are not there."""
    widget = {key: value for key, value in {**WIDGET, **changed}.items() if value != "-"}
    body = {"title": "Mine", "groups": [{"title": "Now", "widgets": [widget], **(group or {})}], **(top or {})}
    return yaml.safe_dump({"title": "Mine", "dashboards": {"mine": body}}, sort_keys=False)


CHECK = '"model_serving.gpu.health".over("*").by("gpu_uuid").last(4).count_by_status()'
BURN = 'burn_rate("${slo:NAME}").over("30d").long_window("1h").short_window("5m") > 14.4'
RATES = {"7d": 16.8, "30d": 14.4, "90d": 21.6}

REFUSED = {
    # the file
    "": "the key `title` is missing",
    "title: x": "has nothing in it: write `monitors`, `slos` or `dashboards`",
    "title: x\nmonitors: {a: {}}": "monitors.a: the key `title` is missing",
    "packs: [gpu]": "unknown key `packs`; this is of a values file, which `model-serving provision plan --offline",
    "receiver: a": "unknown key `receiver`; this is of a routing file, which `model-serving provision plan --offline",
    "title: x\nmonitor: {}": "unknown key `monitor`; did you mean `monitors`?",
    "title: x\nteam: A B\nmonitors: {}": "team: must be the value of a tag",
    "title: x\ncatalog: {a: 1}\nmonitors: {}": "catalog: must be a text or a list of texts, not a mapping",
    "title: [": "not valid YAML",
    # keys
    "title: x\nmonitors: {gpu.idle: {}}": "monitors.gpu.idle: is a key of the pack `cost`: choose another one",
    "title: x\nmonitors: {'A b': {}}": "monitors.A b: a key is small letters, digits and _",
    "title: x\nslos: {latency: {}}\nmonitors: {}": "slos.latency: is a key of the pack `slo`: choose another one",
    # fields
    pack(look="-"): "monitors.mine.slow: the key `look` is missing",
    pack(sevrity="warning"): "monitors.mine.slow: unknown key `sevrity`; did you mean `severity`?",
    pack(severity="high"): "monitors.mine.slow.severity: must be one of critical, warning, not `high`",
    pack(priority=9): "monitors.mine.slow.priority: must be a whole number from 1 to 5, not `9`",
    pack(full_window="yes"): "monitors.mine.slow.full_window: must be true or false, not `yes`",
    pack(bounds=[5]): "monitors.mine.slow.bounds: must be the lowest and the highest value, such as [0, 100]",
    pack(runbook="wiki"): "monitors.mine.slow.runbook: must be a URL such as https://",
    pack(generative="yes"): "monitors.mine.slow.generative: must be one of except, only",
    pack(unless=["mine.fast"]): "mine.slow: unless: there is no monitor `mine.fast`; did you mean `mine.slow`?",
    pack(base="x"): "monitors.mine.slow: base: there is no monitor `x` in this file",
    pack(without={"gpu": "x"}): "monitors.mine.slow: without: the query is not grouped by `gpu`",
    pack(notify_by=["gpu"]): "monitors.mine.slow: notify_by: `gpu` is no group of the query",
    # queries
    pack(query="avg(last_5m):avg:x{* > 9"): "monitors.mine.slow.query: column ",
    pack(except_for="env:prod,,x"): "monitors.mine.slow.except_for: column 10: ",
    pack(query="1 && 2"): "monitors.mine.slow.query: must be a monitor of metrics, of a service check",
    pack(guards={"a": CHECK}): "monitors.mine.slow.guards.a: must be a monitor of metrics",
    pack(query=BURN): "monitors.mine.slow: rates: a burn rate needs one for each of 7d, 30d, 90d",
    pack(query=BURN, rates=RATES): "monitors.mine.slow: query: there is no SLO `NAME`; known are",
    # thresholds
    pack(thresholds={"critical": 95}): "thresholds: a monitor of this kind has no `critical` here: write it at the end",
    pack(thresholds={"warning": 95}): "monitors.mine.slow: thresholds: `warning` must be below `critical`",
    pack(query=CHECK): "monitors.mine.slow: thresholds: a service check needs `critical` and `ok`",
    # what lint finds
    pack(query="avg(last_5m):avg:model_serving.cpu.utilisation{*} by {endpoint_name} > 90"): (
        "monitors.mine.slow.query: the check sends no `model_serving.cpu.utilisation`"
    ),
    pack(guards={"many": "sum(last_5m):sum:model_serving.requests{*}.as_count() > 5"}): (
        "monitors.mine.slow.guards.many: the check sends no `model_serving.requests`"
    ),
    pack(query="avg(last_5m):avg:model_serving.cpu.utilization{*} by {endpoint_name} > 900"): "900",
    # dashboards
    "title: x\ndashboards: {gpu: {}}": "dashboards.gpu: is a key of the pack `gpu`: choose another one for",
    "title: x\ndashboards: {mine: {title: x}}": "dashboards.mine: the key `groups` is missing",
    "title: x\ndashboards: {mine: {title: x, groups: []}}": "dashboards.mine.groups: must have one at least",
    "title: x\ndashboards: {mine: {title: x, widgets: []}}": "unknown key `widgets`; widgets are in `groups`, such as",
    board(type="-"): "widgets[0]: the key `type` is missing: one of timeseries, value, top,",
    board(type="heatmap"): "widgets[0].type: must be one of timeseries, value, top, table, check,",
    board(
        requests=[]
    ): "widgets[0]: unknown key `requests`; write `queries` and `show`: docs/provisioning.md shows how",
    board(title="-"): "widgets[0]: the key `title` is missing",
    board(show="-"): "widgets[0]: the key `show` is missing",
    board(type="value"): "widgets[0]: the key `aggregate` is missing",
    board(expression="avg:x{*}"): "widgets[0]: has both `expression` and `queries`: write one of them",
    board(type="top", expression="avg:x{*}", aggregate="avg"): "widgets[0]: unknown key `expression`",
    board(size=[13, 3]): "widgets[0].size[0]: must be a whole number from 1 to 12, not `13`",
    board(size=[6]): "widgets[0].size: must be the width and the height, such as [6, 3]",
    board(display="pie"): "widgets[0].display: must be one of line, area, bars, not `pie`",
    board(show={}): "widgets[0].show: must show one formula at least",
    board(queries={"a b": "avg:x{*}"}): "widgets[0].queries.a b: the name of a query is letters, digits and _",
    board(queries={"a": "avg:x{*"}): "widgets[0].queries.a: column ",
    board(queries={"a": "avg:x{*} * ${gpu_hour_price}"}): (
        "widgets[0].queries.a: has a number only where the widget has `needs: gpu_hour_price`: add that"
    ),
    board(mark="gpu.idl"): "widgets[0].mark: there is no monitor of metrics `gpu.idl`; did you mean `gpu.idle`?",
    board(mark="model.ready"): "widgets[0].mark: there is no monitor of metrics `model.ready`",
    board(variables=["model"]): "widgets[0].variables[0]: there is no template variable `model`; there is none",
    board(group={"type": "note", "text": "x"}): "groups[0]: unknown key `type`; widgets are in `groups`, such as",
    board(
        top={"variables": {"model": "model name"}}
    ): "dashboards.mine.variables.model: must be the name of a tag, such",
    "title: x\ndashboards: {mine: {title: x, groups: [{title: y, widgets: [{type: slo, title: z, slo: a}]}]}}": (
        "widgets[0].slo: there is no SLO `a`; known are first_token, availability, latency"
    ),
    # what lint finds
    board(queries={"a": "avg:model_serving.cpu.utilisation{*}"}): (
        "dashboards.mine.groups[0].widgets[0].queries.a: the check sends no `model_serving.cpu.utilisation`; did you"
    ),
    board(queries="-", show="-", expression="avg:model_serving.cpu.utilisation{*}"): (
        "dashboards.mine.groups[0].widgets[0].expression: the check sends no `model_serving.cpu.utilisation`"
    ),
    board(show={"CPU": "a", "GPU": "b"}): "widgets[0].show.GPU: the formula names `b`, which is no query; known are a",
}


@pytest.mark.parametrize(("text", "said"), REFUSED.items(), ids=range(len(REFUSED)))
def test_what_cannot_be_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """With the file, the key and what to write."""
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DocumentError) as caught:
        checked(desired([str(path)]))
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


def test_all_mistakes_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    """Of several monitors, and within one."""
    path = tmp_path / "mine.yaml"
    wrong = {
        "mine.slow": {**MONITOR, "guards": {"a": CHECK, "B": MONITOR["query"]}},
        "Mine": MONITOR,
        "mine.hot": {**MONITOR, "severity": "high"},
    }
    path.write_text(yaml.safe_dump({"title": "Mine", "monitors": wrong}, sort_keys=False), encoding="utf-8")
    with pytest.raises(DocumentError) as caught:
        read_pack(path, builtin_packs())
    places = [line.removeprefix(f"{path}: monitors.").partition(": ")[0] for line in str(caught.value).splitlines()]
    assert places == ["mine.slow.guards.a", "mine.slow.guards.B", "Mine", "mine.hot.severity"]


def test_what_is_made_of_an_entry_is_told_of_at_its_place(tmp_path: Path) -> None:
    """Levels, variants, endpoints and parts alike, and of each query once."""
    (tmp_path / "mine.yaml").write_text(
        yaml.safe_dump(
            {
                "title": "Mine",
                "slos": {
                    "mine": {
                        "title": "Mine", "description": "Mine.", "type": "metric", "target": 99, "timeframe": "30d",
                        "good": "sum:model_serving.good{*}.as_count()", "total": "sum:model_serving.request.count{*}",
                    }
                },
                "monitors": {
                    "mine.a": {**MONITOR, "query": MONITOR["query"].replace("cpu", "cpus"),
                               "without": {"model_name": "b"},
                               "guards": {"many": "sum(last_5m):sum:model_serving.many{*}.as_count() > 5"}},
                    "mine.c": {**MONITOR, "query": MONITOR["query"].replace("cpu", "cpuses"), "base": "mine.a"},
                    "mine.d": {**MONITOR, "query": BURN.replace("NAME", "mine"), "rates": RATES},
                },
            }
        ).replace("by {endpoint_name}", "by {endpoint_name,model_name}"),
        encoding="utf-8",
    )  # fmt: skip
    (tmp_path / "values.yaml").write_text(
        "packs: [./mine.yaml]\nmonitors: {mine.a: {variants: {x: {scope: 'env:x'}}}}\n"
        "slos: {mine: {endpoints: [a], variants: {x: {scope: 'env:x'}}}}",
        encoding="utf-8",
    )
    resources = desired(None, load_values(tmp_path / "values.yaml"))
    with pytest.raises(DocumentError) as caught:
        checked(resources)
    places = [line.removeprefix(f"{tmp_path}/mine.yaml: ").partition(": ")[0] for line in str(caught.value).split("\n")]
    assert places == ["slos.mine.good", "monitors.mine.a.query", "monitors.mine.a.guards.many", "monitors.mine.c.query"]
    assert [one.key for one in resources if one.kind == "slo"] == ["mine", "mine.a", "mine.x"]
    assert {"mine.a.b.x", "mine.d.x", "mine.d.a"} <= {one.key for one in resources}


def test_all_widgets_that_cannot_be_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    widgets = [{**WIDGET, "size": [13, 3]}, WIDGET, {**WIDGET, "mark": "x"}, {"type": "note", "txt": "x"}]
    groups = [{"title": "A", "widgets": widgets}, {"title": "B", "color": "red", "widgets": widgets[1:2]}]
    path.write_text(yaml.safe_dump({"title": "x", "dashboards": {"mine": {"title": "x", "groups": groups}}}))
    with pytest.raises(DocumentError) as caught:
        desired([str(path)])
    told = str(caught.value).replace(f"{path}: dashboards.mine.groups", "")
    found = [line.partition(": ")[0] for line in told.splitlines()]
    unknown_and_missing = ["[0].widgets[3]"] * 2
    assert found == ["[0].widgets[0].size[0]", "[0].widgets[2].mark", *unknown_and_missing, "[1].color"]


def test_all_monitors_that_cannot_be_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    wrong = {"title": 5, "priority": 9, "severity": "bad", "colour": "red"}
    path.write_text(yaml.safe_dump({"title": "x", "monitors": {"a": wrong, "gpu.idle": {}}}), encoding="utf-8")
    with pytest.raises(DocumentError) as caught:
        read_pack(path, builtin_packs())
    told = [line.removeprefix(f"{path}: monitors.") for line in str(caught.value).splitlines()]
    assert sorted(line.partition(":")[0] for line in told) == [
        *("a", "a", "a", "a", "a.priority", "a.severity", "a.title", "gpu.idle"),
    ], "an unknown key, and `subject`, `query` and `look` are missing"


def test_names_of_packs(tmp_path: Path) -> None:
    """A pack has the name of its file, which is no other pack's."""
    for name, said in (
        ("gpu", "there is a pack `gpu` already: rename the file"),
        ("My-Pack", "rename `My-Pack.yaml`"),
    ):
        path = tmp_path / f"{name}.yaml"
        path.write_text(pack(), encoding="utf-8")
        with pytest.raises(DocumentError, match=said):
            desired([str(path)])
    with pytest.raises(DocumentError, match=r"none\.yaml: the pack can't be read: No such file"):
        desired([str(tmp_path / "none.yaml")])
    with pytest.raises(OptionError, match="there is no pack `mine`"):
        desired(["mine"])
    two = tmp_path / "mine.yaml"
    two.write_text(pack(), encoding="utf-8")
    other = tmp_path / "other.yaml"
    other.write_text(pack(), encoding="utf-8")
    with pytest.raises(DocumentError, match="is a key of the pack `mine`"):
        desired([str(two), str(other)])
    assert len(found(desired([str(two), str(two)]))) == 1


def test_lint_takes_a_pack(folder: Path) -> None:
    """All that is wrong with its queries, those of monitors that are off and what may be meant included."""
    done = CliRunner().invoke(root, ["lint", str(folder / "gateway_costs.yaml")])
    assert done.output.splitlines()[-1].startswith("0 errors, ")
    monitors = {
        "mine.a": {**MONITOR, "query": "avg(last_5m):avg:model_serving.cpu.usage{*} by {endpoint_name} > 90"},
        "mine.b": {**MONITOR, "query": "avg(last_5m):avg:model_serving.gpu.heat{*} > 90", "enabled": False},
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump({"title": "Mine", "monitors": monitors}), encoding="utf-8")
    (folder / "rules.yml").write_text("groups: []", encoding="utf-8")
    done = CliRunner().invoke(root, ["lint", str(folder / "mine.yaml"), str(folder / "rules.yml")])
    assert done.exit_code == 3
    lines = [line for line in done.output.splitlines() if ": error: " in line]
    assert "monitors.mine.a.query, column 18: error: the check sends no `model_serving.cpu.usage`" in lines[0]
    assert "monitors.mine.b.query, column 18: error: the check sends no `model_serving.gpu.heat`" in lines[1]
    assert lines[2].startswith(f"{folder}/rules.yml: error: unknown key `groups`; these are rules of Prometheus")
