"""The two sides of the package and its rooms: what runs in the Agent imports only what the Agent ships, and every
import leads down."""

import ast
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from importlib.util import resolve_name

import pytest

from .conftest import ROOT

NAME = "datadog_checks.model_serving"
PACKAGE = ROOT / "datadog_checks" / "model_serving"
WORKSTATION = "workstation"
SHIPPED_WITH_AGENT = {
    *("prometheus_client", "pydantic", "requests", "requests_unixsocket", "typing_extensions", "urllib3", "yaml")
}
BUILT_INTO_AGENT = {"aggregator", "datadog_agent", "tagger"}
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
AGENT_SIDE = [module for module in MODULES if module.split("/")[0] not in (WORKSTATION, "__main__.py")]


def imports(tree, package):
    """Yield the absolute name of everything that a module imports, in functions and conditions too."""
    for node in ast.walk(tree):
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
    found = set(imports(ast.parse(path.read_text(encoding="utf-8")), package))
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
    assert [name for name in imports(ast.parse(source), package) if not_for_agent(name)] == refused


def test_the_package_offers_the_agent_one_class():
    """The package shows the version and one check class, so that the Agent's search cannot go astray."""
    module = import_module(NAME)
    assert dir(module) == ["ModelServingCheck", "__version__"]
    assert module.ModelServingCheck.__module__ == f"{NAME}.check"
    with pytest.raises(AttributeError, match="has no attribute 'OtherCheck'"):
        _ = module.OtherCheck


class WithoutTypeChecking(ast.NodeTransformer):
    """Takes out what only a type checker imports."""

    def visit_If(self, node):
        if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            return node.orelse
        return self.generic_visit(node)


def module_name(path):
    return ".".join((NAME, *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


FILES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def modules_imported(source, importer, package):
    """The modules of this package that the source imports, and the packages above them, which that runs first."""
    for name in imports(WithoutTypeChecking().visit(ast.parse(source)), package):
        module = name if name in FILES else name.rpartition(".")[0]
        while module in FILES and module != NAME and not f"{importer}.".startswith(f"{module}."):
            yield module
            module = module.rpartition(".")[0]
        if module == NAME == name.rpartition(".")[0] and name not in FILES:
            yield NAME


@cache
def graph():
    """The modules that each imports."""
    found = {}
    for module, path in FILES.items():
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        found[module] = set(modules_imported(path.read_text(encoding="utf-8"), module, package))
    return found


def test_no_module_imports_itself_by_way_of_others():
    """There is no circle of imports, those within functions included."""
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        pytest.fail(f"imported in a circle: {' <- '.join(error.args[1])}")


GROUND = {"errors", "log_once", "strict_yaml", "__about__"}
"""What any room may use."""

BELOW = {
    "__init__": {"check"},
    "__main__": {"workstation"},
    "check": {"settings", "sources", "scrape", "submit", "http", "catalog", "config_models"},
    "sources": {"settings", "scrape", "submit", "http", "catalog"},
    "settings": {"http", "catalog", "config_models"},
    "scrape": {"settings", "submit", "http", "catalog"},
    "submit": {"catalog"},
    "http": set(),
    "catalog": set(),
    "config_models": set(),
    "errors": set(),
    "log_once": set(),
    "strict_yaml": set(),
    "__about__": set(),
}
"""The rooms that each may import from. The workstation, which nothing else imports, may import all of them."""


def room(module):
    return module.removeprefix(NAME).lstrip(".").partition(".")[0] or "__init__"


def climbing():
    for module, imported in graph().items():
        for other in imported:
            here, there = room(module), room(other)
            above_another = any(name.startswith(f"{other}.") for name in imported)
            if not above_another and here not in (there, WORKSTATION) and there not in BELOW[here] | GROUND:
                yield module.removeprefix(f"{NAME}."), other.removeprefix(f"{NAME}.")


def test_arrows_between_rooms_point_down():
    """A room imports only from those below it."""
    assert set(climbing()) == set()


def test_every_room_has_its_place():
    """A new module at the top of the package is placed among the others."""
    assert {room(module) for module in FILES} - {WORKSTATION} == BELOW.keys()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from .. import errors", {"errors"}),
        ("from ..http.redact import mask_secrets", {"http.redact", "http"}),
        ("def f():\n    from ..catalog import loader", {"catalog.loader", "catalog"}),
        ("from .series import Series", {"submit.series"}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..check import ModelServingCheck", set()),
        ("if True:\n    from ..check import ModelServingCheck", {"check"}),
        ("import yaml\nfrom datadog_checks.base import AgentCheck", set()),
    ],
)
def test_the_graph_sees_every_form_of_import(source, found):
    """The graph itself, for a module in `submit`."""
    imported = set(modules_imported(source, f"{NAME}.submit.sender", f"{NAME}.submit"))
    assert imported == {f"{NAME}.{name}" for name in found}
