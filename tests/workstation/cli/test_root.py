"""The command explains itself, quickly, and says what it lacks."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from datadog_checks.model_serving import __version__
from datadog_checks.model_serving.workstation.cli import INSTALL
from datadog_checks.model_serving.workstation.cli.root import SUBCOMMANDS, root

from .conftest import ROOT, model_serving


def test_the_version() -> None:
    assert model_serving("--version").stdout == f"model-serving {__version__}\n"


def test_the_help_lists_every_subcommand_and_examples() -> None:
    done = CliRunner().invoke(root, ["--help"])
    assert done.exit_code == 0
    assert "Examples:" in done.output
    for name, line in SUBCOMMANDS.items():
        assert f"{name} " in done.output
        assert line.split()[0] in done.output


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_subcommand_explains_itself_with_examples(name: str) -> None:
    done = CliRunner().invoke(root, [name, "--help"])
    assert done.exit_code == 0
    assert f"model-serving {name}" in done.output


def test_an_unknown_subcommand_is_a_usage_error() -> None:
    done = CliRunner().invoke(root, ["chekc"])
    assert done.exit_code == 2
    assert "No such command 'chekc'. Did you mean 'check'?" in done.output
    done = CliRunner().invoke(root, ["zzz"])
    assert done.exit_code == 2
    assert "No such command 'zzz'." in done.output
    assert "Did you mean" not in done.output


def test_what_is_to_be_installed_is_ours() -> None:
    """No page, message or comment has pip look up a name that an index does not have, and anybody could give one."""
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *(ROOT / "datadog_checks").rglob("*.py")]:
        for wanted in re.findall(r"pip install (?:-\S+ )*['\"]?([\w.-]+)", path.read_text(encoding="utf-8")):
            assert wanted in (".", "PATH", "nvidia-ml-py"), f"{path}: {wanted}"


@pytest.mark.parametrize(
    "entry",
    [["-m", "datadog_checks.model_serving", "provision"], ["scripts/provision_monitors.py"]],
    ids=["the package", "the script"],
)
def test_the_same_command_has_names_that_anyone_finds(entry: list[str]) -> None:
    command = ["plan", "--offline", "--brief", "--pack", "gpu"]
    done = subprocess.run(
        [sys.executable, *entry, *command], cwd=ROOT, capture_output=True, encoding="utf-8", timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == CliRunner().invoke(root, ["provision", *command]).output


def python(code: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=300, check=False)


HEAVY = ("datadog_checks.base", "datadog_api_client", "prometheus_client", "pydantic", "requests", "rich", "yaml")


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_the_help_loads_neither_the_check_nor_a_subcommand(option: str) -> None:
    """It is there at once: none of what takes long to import is imported."""
    done = python(
        f"sys.argv = ['model-serving', {option!r}]\n"
        "from datadog_checks.model_serving.workstation.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "names = [name for name in sys.modules if name.startswith('datadog_checks.model_serving.')]\n"
        f"print(*sorted(name.rpartition('.')[2] for name in names), {{*{HEAVY!r}}} & sys.modules.keys())"
    )
    assert done.stdout.splitlines()[-1] == "__about__ cli errors exit root workstation set()"


@pytest.mark.parametrize(("missing", "named"), [(["click"], "click"), (["click", "rich"], "click and rich")])
def test_a_missing_extra_is_one_clear_line(missing: list[str], named: str) -> None:
    done = python(
        f"sys.modules.update(dict.fromkeys({missing!r}))\n"
        "from datadog_checks.model_serving.workstation.cli import main\nmain()"
    )
    assert done.returncode == 1
    assert done.stderr == (f"model-serving needs {named}, which this Python lacks: {INSTALL}\n")


@pytest.mark.parametrize(("name", "missing"), [("demo", "trustme"), ("check", "yaml")])
def test_a_package_that_a_subcommand_lacks_is_one_clear_line(name: str, missing: str) -> None:
    done = python(
        f"sys.modules[{missing!r}] = None\nsys.argv = ['model-serving', {name!r}]\n"
        "from datadog_checks.model_serving.workstation.cli import main\nmain()"
    )
    assert done.returncode == 1
    assert done.stderr == (f"Error: {name} needs {missing}, which this Python lacks: {INSTALL}\n")
