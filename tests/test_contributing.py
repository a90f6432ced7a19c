"""CONTRIBUTING.md, followed word by word: whoever adds a system as the page says has a green suite."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from .pages import ROOT, Page

PAGE = Page("CONTRIBUTING.md")
ERRAND = PAGE.section("Add a system")
FILES = re.findall(r"^`(\S+)`:\n\n```(\w+)\n(.*?)^```", ERRAND, re.MULTILINE | re.DOTALL)
[COMMANDS] = re.findall(r"^```shell\n(.*?)^```", ERRAND, re.MULTILINE | re.DOTALL)
LEFT_OUT = (".git", ".venv*", ".*cache", ".hypothesis", "build", "dist", "__pycache__", "*.egg-info")
PYTHON = ".venv/bin/python"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the repository, with this file left out: it would start itself."""
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEFT_OUT, Path(__file__).name))
    return copy


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command of the page, with this Python, which then imports what is in the folder."""
    assert command.startswith(f"{PYTHON} ")
    arguments = [sys.executable, *command.removeprefix(PYTHON).split()]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTEST_ADDOPTS": "-p no:cacheprovider -rA -n0"}
    return subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=900)


def test_add_a_system(checkout: Path) -> None:
    """The files, the row and the commands of the page, on a copy of the repository. Every command succeeds."""
    names = []
    for name, language, text in FILES:
        names.append(name)
        path = checkout / name
        if language == "markdown":
            rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
            last = max(number for number, row in enumerate(rows) if row.startswith("| ") and "`custom_ml`" in row)
            path.write_text("".join([*rows[: last + 1], text, *rows[last + 1 :]]), encoding="utf-8")
            continue
        assert not path.exists(), f"{name} is there already: the page needs another example"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert len(names) == 4
    [system] = [yaml.safe_load(text) for name, _, text in FILES if "/systems/" in name]
    commands = COMMANDS.splitlines()
    assert any("tools/metadata.py" in command for command in commands)
    for command in commands:
        done = run(command, checkout)
        assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}{done.stderr[-2000:]}"
        if "pytest" in command:
            # Among them were tests of this system.
            assert re.search(rf"^PASSED .*\[{system['system']}", done.stdout, re.MULTILINE), command


def test_without_the_other_steps_tests_say_what_is_missing(checkout: Path) -> None:
    """A catalog file alone is not enough, and the tests that fail name what to add."""
    [(name, _, text)] = [each for each in FILES if "/systems/" in each[0]]
    (checkout / name).write_text(text, encoding="utf-8")
    done = run(f"{PYTHON} -m pytest -q tests/catalog/test_tables_complete.py tests/test_documentation.py", checkout)
    assert done.returncode == 1
    assert "relay.yaml is missing: write one" in done.stdout
    assert "test_metric_tables_are_up_to_date" in done.stdout
    assert "README.md has no row for `relay`" in done.stdout
