"""The drop-in layout, loaded from checks.d the way the Agent does."""

import importlib.util
import os
import shlex
import subprocess
import sys

import pytest
import yaml

from datadog_checks.model_serving.__about__ import __version__

from .conftest import ROOT


@pytest.fixture
def dropin(tmp_path):
    destination = tmp_path / "etc"
    subprocess.run(["make", "dropin", f"DEST={destination}"], cwd=ROOT, check=True, capture_output=True)
    return destination


def test_dropin_runs(dropin, agent, metrics_url, assert_gpu_was_read, assert_workstation_stayed_out):
    """The Agent finds the check in checks.d, with its version and its configuration models."""
    result = agent.run_check({"openmetrics_endpoint": metrics_url}, checks_d=dropin / "checks.d")
    assert result["class"] == "ModelServingCheck"
    assert result["file"] == str(dropin / "checks.d/datadog_checks/model_serving/__init__.py")
    assert result["version"] == __version__ != "0.0.0"
    assert result["config_model"] == "datadog_checks.model_serving.config_models.instance"
    assert_gpu_was_read(result)
    assert_workstation_stayed_out(result)


@pytest.mark.parametrize(
    ("planted", "cause"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def broken(:", "SyntaxError: "),
        ("raise RuntimeError('planted')", "RuntimeError: planted"),
    ],
)
def test_dropin_that_can_not_be_loaded_says_why(dropin, agent, metrics_url, planted, cause):
    """The Agent only finds no check class; the log has the error that is behind it, with its place."""
    broken = dropin / "checks.d/datadog_checks/model_serving/check.py"
    broken.write_text(f"{broken.read_text(encoding='utf-8')}\n{planted}\n", encoding="utf-8")
    result = agent.run_check({"openmetrics_endpoint": metrics_url}, checks_d=dropin / "checks.d")
    assert result["error"] == "no check class"
    [line] = result["log"]
    assert line.startswith("The check model_serving could not be loaded\nTraceback")
    assert str(broken) in line
    assert cause in line.splitlines()[-1]


@pytest.mark.parametrize(
    ("option", "value"),
    [("max_payload_bytes", "many"), ("tags", {"team": "ml"}), ("request_size", "large")],
)
def test_dropin_refuses_a_wrong_type(dropin, agent, metrics_url, option, value):
    """The configuration models are in force in a drop-in: a wrong type is an error that names the option."""
    result = agent.run_check({"openmetrics_endpoint": metrics_url, option: value}, checks_d=dropin / "checks.d")
    assert option in result["error"]
    assert not result.get("metrics")


def test_dropin_brings_a_configuration_to_start_from(dropin):
    """The example lies where the Agent's configurations lie, under a name that the Agent does not load."""
    [example] = [path for path in (dropin / "conf.d").rglob("*") if path.is_file()]
    assert example.relative_to(dropin / "conf.d").as_posix() == "model_serving.d/conf.yaml.example"
    assert yaml.safe_load(example.read_text(encoding="utf-8"))["instances"]


def test_dropin_is_replaced_and_the_users_files_stay(dropin):
    """A second run takes old files of the check away and leaves the user's configuration and other checks alone."""
    stale = dropin / "checks.d/datadog_checks/model_serving/stale.py"
    other = dropin / "checks.d/other.py"
    configuration = dropin / "conf.d/model_serving.d/conf.yaml"
    for path in (stale, other, configuration):
        path.write_text("", encoding="utf-8")
    subprocess.run(["make", "dropin", f"DEST={dropin}"], cwd=ROOT, check=True, capture_output=True)
    assert not stale.exists()
    assert other.exists()
    assert configuration.exists()


@pytest.mark.parametrize(("destination", "message"), [("", "DEST="), ("{file}/etc", "could not be written")])
def test_dropin_says_what_is_wrong_with_dest(tmp_path, destination, message):
    """Without a folder, or with one that cannot be made, the message says what to do and nothing is written."""
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    command = ["make", "dropin", f"DEST={destination.format(file=file)}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
def test_dropin_without_permission_says_how_to_get_it(tmp_path, capsys):
    """Whoever forgets sudo gets the command to run, with a Python that is known to do."""
    spec = importlib.util.spec_from_file_location("dropin_tool", ROOT / "tools" / "dropin.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    destination = tmp_path / "the agent's"
    destination.mkdir(mode=0o500)
    user = os.geteuid()
    # Root may write everywhere.
    os.seteuid(user or 65534)
    try:
        status = tool.main([str(destination)])
    finally:
        os.seteuid(user)
    said = capsys.readouterr()
    assert (status, said.out) == (1, "")
    assert said.err.startswith(f"You may not write to {destination}/checks.d")
    assert f"run: sudo make dropin DEST={shlex.quote(str(destination))} PYTHON={sys.executable}\n" in said.err


@pytest.mark.parametrize(
    "link",
    [
        "conf.d",
        "conf.d/model_serving.d/conf.yaml.example",
        "checks.d/datadog_checks",
        "checks.d/datadog_checks/model_serving",
    ],
)
def test_dropin_follows_no_link(tmp_path, link):
    """It is laid by root, into folders of the Agent's user."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "conf.yaml.example").write_text("untouched", encoding="utf-8")
    path = tmp_path / "etc" / link
    path.parent.mkdir(parents=True)
    path.symlink_to(victim / path.name if path.suffix == ".example" else victim)
    command = ["make", "dropin", f"DEST={tmp_path / 'etc'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"a symbolic link is not followed; remove it: {path}" in done.stderr
    assert [one.read_text(encoding="utf-8") for one in victim.rglob("*")] == ["untouched"]


def test_dropin_can_be_read_by_the_agent(dropin):
    """Whoever laid it."""
    files = [path for path in dropin.rglob("*") if path.is_file()]
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in files)
    assert not [path for path in files if path.name.startswith(".conf")]
