"""The built wheel, installed beside datadog-checks-base as an Agent installs it."""

import email
import subprocess
import sys
import zipfile

import pytest

from datadog_checks.model_serving.__about__ import __version__

from .conftest import ROOT

PACKAGE = "datadog_checks/model_serving"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [built] = folder.glob("*.whl")
    return built


def test_wheel_holds_the_whole_package_and_nothing_else(wheel):
    """Every file of the package ships, data files included, and no test, tool or namespace file does."""
    source = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / PACKAGE).rglob("*")
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in path.relative_to(ROOT).parts)
    }
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert shipped == source
    assert {
        f"{PACKAGE}/catalog/canonical.yaml",
        f"{PACKAGE}/catalog/systems/mlserver.yaml",
        f"{PACKAGE}/config_models/instance.py",
        f"{PACKAGE}/data/conf.yaml.example",
    } <= shipped


def test_wheel_metadata_lets_the_agent_install_it(wheel):
    """The name, the version and the requirement on the base package are those that the Agent looks for."""
    prefix = f"datadog_model_serving-{__version__}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        metadata = email.message_from_bytes(archive.read(f"{prefix}/METADATA"))
        entry_points = archive.read(f"{prefix}/entry_points.txt").decode()
    assert metadata["Name"] == "datadog-model-serving"
    assert metadata["Version"] == __version__
    unconditional = [requirement for requirement in metadata.get_all("Requires-Dist") if "extra ==" not in requirement]
    assert unconditional == ["datadog-checks-base>=37.21.1"]
    assert "model-serving = datadog_checks.model_serving.workstation.cli:main" in entry_points


def test_installed_wheel_runs(wheel, agent, metrics_url, assert_gpu_was_read, assert_workstation_stayed_out):
    """The check runs from the installed wheel, with its version and its configuration models."""
    agent.install(wheel)
    result = agent.run_check({"openmetrics_endpoint": metrics_url})
    assert result["file"] == str(agent.site_packages / PACKAGE / "__init__.py")
    assert result["version"] == __version__
    assert result["config_model"] == "datadog_checks.model_serving.config_models.instance"
    assert_gpu_was_read(result)
    assert_workstation_stayed_out(result)


def test_installed_wheel_leaves_the_base_package_alone(wheel, agent):
    """The namespace package stays the one of datadog-checks-base."""
    before = (agent.site_packages / "datadog_checks" / "__init__.py").read_bytes()
    agent.install(wheel)
    assert (agent.site_packages / "datadog_checks" / "__init__.py").read_bytes() == before
