"""The programs in benchmarks/ run: each in its small form, which measures little but takes every step."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAMS = sorted(path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py"))
RATIO = re.compile(r"\d+(\.\d+)?x\b")


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_runs_and_prints_ratios(name: str) -> None:
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=300, check=False)
    if done.stdout.startswith("Nothing measured: "):
        pytest.skip(done.stdout.strip())
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert RATIO.search(done.stdout)
