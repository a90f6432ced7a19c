"""Write the locks in requirements/: `python tools/lock.py [--upgrade]`, every package by version and hash.

Without `--upgrade` a lock keeps each version that still fits what is asked for. Packages come from the index that pip
is set up with.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "requirements"
EXTRAS = ("pyproject.toml", "-", "--extra", "cli")
"""What building the package needs comes in by `-`, so that pip need not fetch it by itself, unlocked."""

LOCKS: dict[str, tuple[str, tuple[str, ...]]] = {
    "lock": ("3.11", ("requirements/lock.in",)),
    "test": ("3.11", (*EXTRAS, "--extra", "test")),
    "cli": ("3.11", (*EXTRAS, "--constraint", "requirements/test.txt")),
    "agent": ("3.12", (*EXTRAS, "--extra", "test", "requirements/agent.in")),
    "ddev": ("3.13", ("requirements/ddev.in",)),
    "ddev-3.12": ("3.12", ("requirements/ddev-3.12.in",)),
}
"""By the name of the file: the lowest version of Python that it is for, and what goes in."""


def lock(uv: Path, name: str, upgrade: bool) -> None:
    """Write one lock, for every platform and every version of Python from its lowest on."""
    python, given = LOCKS[name]
    options = ["--universal", "--python-version", python, "--generate-hashes", "--quiet"]
    command = [str(uv), "pip", "compile", *options, *(["--upgrade"] if upgrade else []), *given]
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    environment = {**os.environ, "UV_CUSTOM_COMPILE_COMMAND": "make lock"}
    if index := _index():
        environment.setdefault("UV_DEFAULT_INDEX", index)
    print(f"requirements/{name}.txt", flush=True)
    output = ["--output-file", f"requirements/{name}.txt", "--no-emit-index-url", "--no-annotate"]
    subprocess.run([*command, *output], cwd=ROOT, env=environment, input="\n".join(build), text=True, check=True)


def _index() -> str:
    """The index of pip's configuration; empty where that names none."""
    for key in (":env:.index-url", "global.index-url", "install.index-url"):
        found = subprocess.run([sys.executable, "-m", "pip", "config", "get", key], capture_output=True, text=True)
        if found.returncode == 0:
            return found.stdout.strip()
    return ""


def _uv() -> Path:
    """uv as `requirements/lock.txt` has it, in an environment of its own."""
    environment = ROOT / "build" / "lock"
    venv.create(environment, clear=True, with_pip=True)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "--require-hashes", "--requirement", str(FOLDER / "lock.txt")], check=True)
    return environment / "bin" / "uv"


def main(arguments: list[str]) -> int:
    """Run the command line; return the exit status."""
    if arguments not in ([], ["--upgrade"]):
        print("The only argument is --upgrade.", file=sys.stderr)
        return 2
    try:
        uv = _uv()
        for name in LOCKS:
            lock(uv, name, upgrade=bool(arguments))
    except subprocess.CalledProcessError as error:
        print(f"This failed with status {error.returncode}: {' '.join(error.cmd)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
