"""A pack of the user's own, with its dashboard, through the life of `model-serving provision`."""

from __future__ import annotations

import json
from pathlib import Path

import datadog_checks.base.checks.openmetrics.v2.base  # noqa: F401  (with its stubs, as other tests expect it)
import pytest
from click.testing import CliRunner

from datadog_checks.model_serving.workstation.cli.root import root

from ..provision.resources import numbers
from ..provision.standin import Standin
from ..provision.test_pack_files import CATALOG, EXAMPLE, board
from .test_provision import PLAN, run


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """The documented pack, with its catalog file."""
    (tmp_path / "gateway.yaml").write_text(CATALOG, encoding="utf-8")
    path = tmp_path / "gateway_costs.yaml"
    path.write_text(EXAMPLE, encoding="utf-8")
    return path


def test_a_life(dd: Standin, pack: Path, tmp_path: Path) -> None:
    """It comes, changes and goes alone, beside a pack that ships."""
    both = ("--pack", str(pack), "--pack", "cost")
    planned = run(None, "plan", "--offline", *both)
    assert "  + dashboard:gateway  " in planned.output, planned.output
    assert run(dd, "apply", "--yes", *both).exit_code == 0
    assert run(dd, *PLAN, *both).exit_code == 0
    whole = numbers(dd)
    pack.write_text(EXAMPLE.replace("size: [9, 3]", "size: [8, 3]"), encoding="utf-8")
    changed = run(dd, *PLAN, *both)
    assert (changed.exit_code, "  ~ dashboard:gateway " in changed.output) == (3, True)
    out = tmp_path / "out"
    assert run(None, "export", str(out), *both).exit_code == 0
    assert [one.stem for one in sorted(out.glob("dashboard*/*"))] == ["cost", "gateway"]
    # By its file; by its name where the values file says which file that is.
    values = tmp_path / "values.yaml"
    values.write_text("packs: [all, ./gateway_costs.yaml]", encoding="utf-8")
    assert run(dd, "destroy", "--yes", "--pack", "gateway_costs").exit_code == 2
    gone = run(dd, "destroy", "--yes", "--values", str(values), "--pack", "gateway_costs")
    assert gone.exit_code == 0, gone.output
    after = numbers(dd)
    assert (after["monitor"], after["dashboard"]) == (whole["monitor"] - 1, whole["dashboard"] - 1)
    assert run(dd, "apply", "--yes", *both).exit_code == 0
    assert run(dd, "destroy", "--yes", "--pack", str(pack)).exit_code == 0
    assert numbers(dd) == after
    assert run(dd, *PLAN, "--pack", "cost").exit_code == 0


def test_values_leave_a_dashboard_out(pack: Path, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("packs: [./gateway_costs.yaml]\ndashboards: {gateway: false}\nteam: money", encoding="utf-8")
    shown = run(None, "plan", "--offline", "--values", str(values))
    assert (shown.exit_code, "dashboard:gateway" in shown.output) == (0, False)
    values.write_text("packs: [./gateway_costs.yaml]\ndashboards: {gatway: false}", encoding="utf-8")
    shown = run(None, "plan", "--offline", "--values", str(values))
    assert shown.exit_code == 2
    assert "dashboards: unknown dashboard `gatway`; did you mean `gateway`?" in shown.output


def test_only_what_comes(pack: Path, tmp_path: Path) -> None:
    """By the catalog files of the instances; what others than the check send is nobody's to leave out."""
    conf = tmp_path / "conf.yaml"
    instance = {"openmetrics_endpoint": "http://127.0.0.1:9/metrics", "catalog": [str(tmp_path / "gateway.yaml")]}
    conf.write_text(json.dumps({"instances": [{**instance, "serving_system": "gateway"}]}), encoding="utf-8")
    other = tmp_path / "other.yaml"
    query = "avg(last_5m):avg:kubernetes.pods.running{*} by {kube_namespace} < 1"
    other.write_text(
        json.dumps(
            {
                "title": "Pods",
                "monitors": {"pods": {"title": "No pod", "subject": "the pods", "query": query, "severity": "warning",
                                      "priority": 3, "look": ["The pods."]}},
                "dashboards": {"pods": {"title": "Pods", "groups": [{"title": "Now", "widgets": [
                    {"type": "timeseries", "title": "Pods", "expression": "avg:kubernetes.pods.running{*}"}]}]}},
            }
        ),
        encoding="utf-8",
    )  # fmt: skip
    packs = ("--pack", str(pack), "--pack", str(other))
    for given, left in (
        (("--for", str(conf)), set[str]()),
        (("--system", "vllm"), {"monitor:gateway.spend", "dashboard:gateway"}),
    ):
        out = tmp_path / "plan.json"
        done = run(None, "plan", "--offline", "--out", str(out), *given, *packs)
        assert done.exit_code == 0, done.output
        plan = json.loads(out.read_text(encoding="utf-8"))
        assert set(plan["left_out"]) == left
        assert {"monitor:pods", "dashboard:pods"} <= {step["address"] for step in plan["steps"]}
        assert {str(pack), str(tmp_path / "gateway.yaml"), str(other)} <= set(plan["inputs"])


def test_mistakes_of_a_file_are_told_all_at_once(tmp_path: Path) -> None:
    """Before anything is sent, each with its place; what may be meant is said once."""
    text = board(queries={"a": "avg:model_serving.cpu.utilisation{*}"}, show={"A": "a", "B": "b"})
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    done = run(None, "plan", "--offline", "--pack", str(path))
    assert done.exit_code == 2
    place = f"{path}: dashboards.mine.groups[0].widgets[0]"
    assert f"{place}.queries.a: the check sends no `model_serving.cpu.utilisation`" in done.output
    assert f"{place}.show.B: the formula names `b`, which is no query" in done.output
    linted = CliRunner().invoke(root, ["lint", str(path)])
    assert linted.exit_code == 3
    assert f"{place}.queries.a, column 5: error: the check sends no" in linted.output
    assert "2 errors, 0 warnings in 1 file" in linted.output


def test_lint_knows_widgets_that_need_a_price(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    expression = "${gpu_hour_price} * sum:model_serving.gpu.heat{*}"
    path.write_text(board(queries="-", show="-", needs="gpu_hour_price", expression=expression), encoding="utf-8")
    linted = CliRunner().invoke(root, ["lint", str(path)])
    assert "dashboards.mine.groups[0].widgets[0].expression, column 9: error: the check sends no" in linted.output
    assert run(None, "plan", "--offline", "--pack", str(path)).exit_code == 0, "there is no price"


def test_a_preview(pack: Path, tmp_path: Path) -> None:
    """Drawn as those that ship; of metrics that no simulated system has there is no data."""
    pytest.importorskip("vl_convert")
    other = tmp_path / "mine.yaml"
    other.write_text(board(title="Busy processors"), encoding="utf-8")
    out = tmp_path / "page.html"
    done = CliRunner().invoke(
        root,
        ["provision", "preview", "--minutes", "2", "--out", str(out), "--pack", str(pack), "--pack", str(other)],
    )
    assert done.exit_code == 0, done.output
    page = out.read_text(encoding="utf-8")
    assert f"2 dashboards in {out}\n" in done.output
    assert "Busy processors" in page
    assert "Dollars an hour" in page
