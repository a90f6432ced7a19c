"""Only what the instances at hand can feed is planned, and what is left out is told."""

from __future__ import annotations

import json
from pathlib import Path

import datadog_checks.base.checks.openmetrics.v2.base  # noqa: F401  (with its stubs, as other tests expect it)
import pytest

from .conftest import Endpoint
from .test_provision import run


def conf(folder: Path, *instances: str) -> str:
    path = folder / "conf.yaml"
    path.write_text("instances:\n" + "".join(f"  - {one}\n" for one in instances), encoding="utf-8")
    return str(path)


def test_by_the_catalog_without_a_secret_or_a_call(tmp_path: Path) -> None:
    file = conf(
        tmp_path,
        "{openmetrics_endpoint: 'http://127.0.0.1:9/metrics', serving_system: vllm, password: 'ENC[x]'}",
        "{gpu: auto}",
    )
    out = tmp_path / "plan.json"
    done = run(None, "plan", "--offline", "--brief", "--for", file, "--out", str(out))
    assert done.exit_code == 0, done.output
    plan = json.loads(out.read_text(encoding="utf-8"))
    planned = {step["address"] for step in plan["steps"]}
    assert "monitor:gpu.temperature" in planned
    assert "monitor:cpu.high" not in planned
    assert plan["left_out"]["monitor:cpu.high"] == "cpu.utilization is of other systems"
    assert f"Left out are {len(plan['left_out'])}, since nothing here feeds them.\n" in done.output
    assert file in plan["inputs"]


def test_an_instance_that_leaves_its_system_open_keeps_all(tmp_path: Path) -> None:
    file = conf(tmp_path, "{openmetrics_endpoint: 'http://127.0.0.1:9/metrics'}")
    done = run(None, "plan", "--offline", "--brief", "--for", file)
    assert done.exit_code == 0
    assert "Note: instance 1 (http://127.0.0.1:9/metrics) doesn't say its `serving_system`" in done.output
    assert "Left out are 0" in done.output


def test_a_trial_goes_by_what_comes(endpoint: Endpoint, tmp_path: Path) -> None:
    file = conf(tmp_path, f"{{openmetrics_endpoint: '{endpoint.url}'}}")
    done = run(None, "plan", "--offline", "--for", file, "--try")
    assert done.exit_code == 0, done.output
    assert endpoint.scrapes == 1
    lines = done.output.splitlines()
    assert "    monitor:queue.depth  no request.queue.depth.sum" in lines
    assert "    monitor:gpu.temperature  gpu.temperature is of other systems" in lines
    assert any(line.startswith("  + monitor:traffic.none ") for line in lines)
    assert any(line.startswith("  + monitor:errors.share.rest ") for line in lines), "nothing has failed yet"
    assert any(line.startswith("  + dashboard:overview ") for line in lines)


def test_an_instance_that_gives_nothing_goes_by_the_catalog(tmp_path: Path) -> None:
    file = conf(tmp_path, "{openmetrics_endpoint: 'http://127.0.0.1:9/metrics', serving_system: vllm}")
    done = run(None, "plan", "--offline", "--brief", "--for", file, "--try")
    assert done.exit_code == 0
    assert "Note: instance 1 (http://127.0.0.1:9/metrics) gives nothing, so it goes by the catalog: " in done.output
    assert "Left out are " in done.output
    assert "monitor:llm.first_token " in done.output


MISTAKES: list[tuple[list[str], str]] = [
    (["--system", "vlm"], "there is no serving system `vlm`; did you mean `vllm`?"),
    (["--try"], "--try scrapes what --for names: give --for FILE"),
    (["--for", "nope.yaml"], "nope.yaml does not exist"),
    (["--system", "vllm", "--secret", "a=env:B"], "--secret is for --try"),
]


@pytest.mark.parametrize(("options", "words"), MISTAKES)
def test_a_mistake_is_one_message_and_status_2(options: list[str], words: str) -> None:
    done = run(None, "plan", "--offline", *options)
    assert (done.exit_code, words in done.output) == (2, True), done.output


def test_a_system_that_nobody_knows_leaves_out_nothing_unseen(tmp_path: Path) -> None:
    file = conf(tmp_path, "{gpu: auto}", "{openmetrics_endpoint: 'http://127.0.0.1:9/metrics', serving_system: vlm}")
    done = run(None, "plan", "--offline", "--for", file)
    assert done.exit_code == 2
    assert f"{file}, instance 2: `serving_system: vlm` is not known; did you mean `vllm`?" in done.output


def test_export_leaves_out_the_same(tmp_path: Path) -> None:
    assert run(None, "export", str(tmp_path), "--system", "gpu").exit_code == 0
    assert (tmp_path / "monitors" / "gpu.temperature.json").exists()
    assert not (tmp_path / "monitors" / "cpu.high.json").exists()


def test_a_scope_of_one_system_is_told_in_a_line(tmp_path: Path) -> None:
    """What can have no data within it is left out, with no warning about the scopes of each."""
    values = tmp_path / "values.yaml"
    values.write_text("scope: serving_system:mlserver", encoding="utf-8")
    done = run(None, "plan", "--offline", "--brief", "--values", str(values))
    assert (done.exit_code, done.stderr) == (0, "")
    first = done.output.splitlines()[0]
    assert first.startswith("Left out are ")
    assert first.endswith(", since nothing within the scope `serving_system:mlserver` of the values file feeds them.")
    assert "monitor:llm.first_token" not in done.output
    whole = run(None, "plan", "--offline", "--values", str(values))
    assert "    monitor:errors.share  it leaves out mlserver\n" in whole.output
    named = run(None, "plan", "--offline", "--brief", "--values", str(values), "--system", "mlserver")
    assert named.output.replace("here", "within the scope `serving_system:mlserver` of the values file") == done.output
