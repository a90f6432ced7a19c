"""One name for one thing: no two classes of the package share one."""

import ast
from collections import defaultdict

from .conftest import ROOT

PACKAGE = ROOT / "datadog_checks" / "model_serving"
GENERATED = PACKAGE / "config_models"


def classes():
    """The places of every class, nested ones included, by its name."""
    found = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        if GENERATED not in path.parents:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    found[node.name].append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    return found


def test_no_two_classes_share_a_name():
    """A reader who looks for a name finds one thing."""
    shared = {name: places for name, places in classes().items() if len(places) > 1}
    assert shared == {}
