"""The exit statuses: the same in every subcommand, as docs/command.md says, and decided in one place."""

from __future__ import annotations

import ast
import re

import pytest
from click.testing import CliRunner

from datadog_checks.model_serving import errors
from datadog_checks.model_serving.errors import UserError
from datadog_checks.model_serving.workstation.cli.exit import ExitStatus, status_of
from datadog_checks.model_serving.workstation.cli.root import SUBCOMMANDS, root

from .conftest import ROOT, model_serving

DOCUMENT = (ROOT / "docs" / "command.md").read_text(encoding="utf-8")
FOLDER = ROOT / "datadog_checks" / "model_serving" / "workstation" / "cli"
MODULES = sorted(path.name for path in FOLDER.glob("*.py"))
COMMANDS = [["bridge"], ["check"], ["demo"], ["lint"]]
COMMANDS += [
    *(["provision", name] for name in ("plan", "apply", "destroy", "export", "preview", "validate", "test")),
    ["versions"],
]


def rows(pattern: str) -> list[tuple[str, ...]]:
    """The cells of the document's tables whose first one has this pattern."""
    return [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in re.findall(rf"^\| {pattern} +\|.*\|$", DOCUMENT, re.MULTILINE)
    ]


def test_the_documented_statuses_are_the_statuses() -> None:
    """Number and name of each."""
    assert [(int(number), name) for number, name, _ in rows(r"\d")] == [(one.value, one.name) for one in ExitStatus]


def test_every_subcommand_is_documented() -> None:
    """With the line of the help, and with what each status means there."""
    described = [(cells[0].strip("`"), cells[1]) for cells in rows(r"`\w+`") if len(cells) == 2]
    assert described == list(SUBCOMMANDS.items())
    explained = [cells[0].strip("`").split() for cells in rows(r"`[\w ]+`") if len(cells) == 4]
    assert explained == COMMANDS


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_unknown_option_is_wrong_usage(command: list[str]) -> None:
    done = CliRunner().invoke(root, [*command, "--bogus"])
    assert done.exit_code == ExitStatus.USAGE
    assert "No such option" in done.output


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_help_names_the_statuses(command: list[str]) -> None:
    assert "Exit status: 0 " in CliRunner().invoke(root, [*command, "--help"]).output


def test_the_statuses_reach_the_shell() -> None:
    """Of a process, not only of a function: done, wrong usage, and something found."""
    assert model_serving("provision", "plan", "--offline", "--pack", "gpu").returncode == 0
    assert model_serving("provision", "plan", "--offline", "--pack", "gpus").returncode == 2
    assert model_serving("provision", "plan", "--offline", "--pack", "gpu", "--detailed-exitcode").returncode == 3


def test_every_error_has_a_status() -> None:
    """What a person wrote is wrong usage; everything else that can end a subcommand is a failure."""
    usage = {"ConfigError", "ConfigurationFileError", "CatalogError", "DocumentError", "OptionError", "QueryError"}
    for name, cls in vars(errors).items():
        if isinstance(cls, type) and issubclass(cls, UserError):
            status = status_of(cls.__new__(cls))
            assert status == (ExitStatus.USAGE if name in usage else ExitStatus.FAILED)


@pytest.mark.parametrize("module", MODULES)
def test_errors_are_caught_in_one_place(module: str) -> None:
    """No subcommand translates errors on its own: the group does it for all."""
    tree = ast.parse((FOLDER / module).read_text(encoding="utf-8"))
    caught = {ast.unparse(node.type) for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.type}
    names = {name for text in caught for name in re.findall(r"\w+", text) if isinstance(vars(errors).get(name), type)}
    assert names == ({"UserError"} if module == "root.py" else set())
