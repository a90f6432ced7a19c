"""tools/install.py: pip with a word on how far it is, for a terminal and for the log of a CI system."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from .conftest import ROOT

COMMAND = [sys.executable, str(ROOT / "tools" / "install.py")]


@pytest.fixture
def offline(tmp_path: Path) -> list[str]:
    """Arguments that install two packages, from a lock, without a network and into a folder of the test."""
    for name in ("quiet_one", "quiet_two"):
        info = f"{name}-1.0.dist-info"
        with zipfile.ZipFile(tmp_path / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}.py", "")
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
    lock = "# by hand == not a package\nquiet-one==1.0 ; os_name != 'no==such'\nquiet-two==1.0\n"
    (tmp_path / "lock.txt").write_text(lock, encoding="utf-8")
    folder = str(tmp_path)
    return ["--no-index", "--find-links", folder, "--target", f"{folder}/target", "-r", f"{folder}/lock.txt"]


@pytest.mark.parametrize("more", [{}, {"FORCE_COLOR": "1", "LC_ALL": "C"}], ids=["plain", "coloured"])
def test_a_log_gets_a_line_per_phase(offline: list[str], more: dict[str, str], tmp_path: Path) -> None:
    environment = {**os.environ, **more}
    done = subprocess.run([*COMMAND, *offline], capture_output=True, encoding="utf-8", env=environment, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    what = f"2 packages of {tmp_path / 'lock.txt'}"
    begun, unpacking, ended, rest = done.stderr.split("\n")
    assert (begun, rest) == (f"installing {what}", "")
    assert unpacking.startswith(f"unpacking {what}, after ")
    assert ended.startswith(f"installed {what} in ")
    assert "\x1b" not in done.stderr
    assert (tmp_path / "target" / "quiet_two.py").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_a_terminal_gets_one_line_that_is_written_over(offline: list[str]) -> None:
    ours, theirs = os.openpty()
    os.set_inheritable(theirs, True)
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "60"}
    with subprocess.Popen([*COMMAND, *offline], stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        while chunk := _read(ours):
            shown += chunk
    os.close(ours)
    assert process.returncode == 0
    lines = shown.decode().replace("\r\n", "\n").split("\n")
    assert len(lines) == 3
    drawn = lines[1].split("\r")
    assert all(len(text) < 60 for text in drawn[:-1])
    assert sum(text.startswith("installing 2 packages of ") for text in drawn) >= 2
    assert drawn[-1].startswith("installed 2 packages of ")
    assert "\x1b" not in shown.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:
        # Nobody has it open for writing any more.
        return b""


def test_what_pip_says_is_shown_where_it_fails() -> None:
    done = subprocess.run([*COMMAND, "--no-index", "no-such"], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 1
    assert "pip failed with status 1. Its last lines:\n" in done.stderr
    assert done.stderr.endswith("ERROR: No matching distribution found for no-such\n")
    assert "Traceback" not in done.stderr
