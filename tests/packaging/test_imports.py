"""The two sides of the package: what runs in the Agent imports only what the Agent ships."""

import ast
import sys
from importlib.util import resolve_name

import pytest

from .conftest import ROOT

NAME = "datadog_checks.model_serving"
PACKAGE = ROOT / "datadog_checks" / "model_serving"
WORKSTATION = "workstation"
SHIPPED_WITH_AGENT = {"prometheus_client", "pydantic", "requests", "typing_extensions", "urllib3", "yaml"}
BUILT_INTO_AGENT = {"aggregator", "datadog_agent", "tagger"}
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
AGENT_SIDE = [module for module in MODULES if module.split("/")[0] not in (WORKSTATION, "__main__.py")]


def imports(source, package):
    """Yield the absolute name of everything that the source imports, in functions and conditions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module
            # `from . import cli` names a module only in the list of names.
            yield from (f"{module}.{alias.name}" for alias in node.names)


def not_for_agent(name):
    parts = name.split(".")
    if name.startswith(f"{NAME}."):
        return parts[2] == WORKSTATION
    if parts[0] == "datadog_checks":
        return parts[1] != "base"
    return parts[0] not in sys.stdlib_module_names | SHIPPED_WITH_AGENT | BUILT_INTO_AGENT


@pytest.mark.parametrize("module", AGENT_SIDE)
def test_agent_side_imports_only_what_the_agent_ships(module):
    """No module of the Agent side imports the workstation side, nor a package that the Agent lacks."""
    path = PACKAGE / module
    package = ".".join((NAME, *path.relative_to(PACKAGE).parts[:-1]))
    found = set(imports(path.read_text(encoding="utf-8"), package))
    assert {name for name in found if not_for_agent(name)} == set()


@pytest.mark.parametrize(
    ("source", "package", "refused"),
    [
        ("import click", NAME, ["click"]),
        ("def f():\n    from rich.table import Table", NAME, ["rich.table.Table"]),
        ("from . import workstation", NAME, [f"{NAME}.workstation"]),
        ("from ..workstation.cli import main", f"{NAME}.scrape", [f"{NAME}.workstation.cli.main"]),
        ("from datadog_checks.model_serving.workstation.demo import run", NAME, [f"{NAME}.workstation.demo.run"]),
        ("from datadog_checks.dev import get_here", NAME, ["datadog_checks.dev.get_here"]),
        ("import os, yaml\nfrom .check import ModelServingCheck\nfrom datadog_checks.base import AgentCheck", NAME, []),
    ],
)
def test_the_rule_sees_every_form_of_import(source, package, refused):
    """The rule itself: what it has to refuse and what it has to let pass."""
    assert [name for name in imports(source, package) if not_for_agent(name)] == refused


def test_the_package_offers_the_agent_one_class():
    """The package has the version and one check class, so that the Agent's search cannot go astray."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert names == {"ModelServingCheck", "__version__"}
