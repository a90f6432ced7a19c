"""Run ddev, Datadog's tool for integrations, on this repository: `python tools/ddev.py test|validate|generate`.

ddev is installed into build/ddev with a Python that it runs on; `DDEV=/path/to/ddev` uses one that is there already.
Its configuration and its environments live in build/ddev too, so the user's own ddev is left alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / "build" / "ddev"
CHECK = "model_serving"
VALIDATIONS = ("config", "models", "metadata", "service-checks", "readmes", "package", "imports")
# ddev 20 runs on Python 3.13 only. What an older ddev would generate differs, so it may only run the tests. Both are
# installed as their locks say, requirements/*.txt.
NEWEST = ("3.13", "ddev")
OLDER = ("3.12", "ddev-3.12")
# How generated code is formatted. Where a repository has no configuration for ruff, ddev takes the first one above the
# folder that it is installed in, so that what it writes would depend on where that is.
FORMAT = """\
[tool.ruff]
line-length = 120
[tool.ruff.format]
quote-style = "preserve"
"""


class Missing(Exception):
    """Something that ddev needs is not on this machine; the message says what, and what to do."""


def test(arguments: list[str]) -> int:
    """Run `ddev -x test --compat .`, the tests with the oldest base package that is allowed; return the exit status."""
    python, ddev = _ddev(NEWEST, OLDER)
    _require_git(ROOT)
    if python == NEWEST[0]:
        return _run(ddev, ["test", "--compat", ".", *arguments], ROOT)
    return _run(ddev, ["test", "--compat", ".", *arguments], _copy_for(python))


def validate(arguments: list[str]) -> int:
    """Run the validations that work outside Datadog's own repositories, or those named; return the exit status."""
    _, ddev = _ddev(NEWEST)
    with tempfile.TemporaryDirectory(prefix="model-serving-") as folder:
        tree = _tree(Path(folder))
        # Every validation runs, so that one look shows everything there is to mend.
        statuses = [_run(ddev, ["validate", name, CHECK], tree) for name in arguments or VALIDATIONS]
    return max(statuses)


def generate(arguments: list[str]) -> int:
    """Write conf.yaml.example, its copy in conf.d and config_models/ from the specification; return the exit status."""
    if arguments:
        raise Missing(f"generate takes no arguments, not {arguments}.")
    _, ddev = _ddev(NEWEST)
    with tempfile.TemporaryDirectory(prefix="model-serving-") as folder:
        tree = _tree(Path(folder))
        for name in ("config", "models"):
            if status := _run(ddev, ["validate", name, "--sync", CHECK], tree):
                return status
    shutil.copyfile(
        ROOT / "datadog_checks" / CHECK / "data" / "conf.yaml.example",
        ROOT / "conf.d" / f"{CHECK}.d" / "conf.yaml.example",
    )
    return 0


def _ddev(*choices: tuple[str, str]) -> tuple[str, Path]:
    """Return the Python version and the path of ddev, installed first where it is not there as it should be."""
    if given := os.environ.get("DDEV"):
        return choices[0][0], Path(given)
    for version, name in choices:
        lock = ROOT / "requirements" / f"{name}.txt"
        environment = HOME / f"venv{version}"
        ddev, installed = environment / "bin" / "ddev", environment / "installed.txt"
        wanted = lock.read_text(encoding="utf-8")
        if ddev.exists() and installed.exists() and installed.read_text(encoding="utf-8") == wanted:
            return version, ddev
        if (python := _python(version)) is None:
            continue
        print(f"making a virtual environment in {environment.relative_to(ROOT)}", file=sys.stderr, flush=True)
        subprocess.run([python, "-m", "venv", "--clear", str(environment)], check=True)
        install = [str(ddev.parent / "python"), str(ROOT / "tools" / "install.py")]
        subprocess.run([*install, "--require-hashes", "-r", str(lock.relative_to(ROOT))], cwd=ROOT, check=True)
        installed.write_text(wanted, encoding="utf-8")
        return version, ddev
    pythons = " or ".join(f"Python {version}" for version, _ in choices)
    raise Missing(f"ddev needs {pythons}, which was not found. Install it, or set DDEV to the path of a ddev.")


def _python(version: str) -> str | None:
    found = subprocess.run([str(ROOT / "tools" / "find_python.sh"), version], capture_output=True, text=True)
    return found.stdout.strip() if found.returncode == 0 else None


def _run(ddev: Path, arguments: list[str], folder: Path) -> int:
    HOME.mkdir(parents=True, exist_ok=True)
    settings, hatch_settings = HOME / "config.toml", HOME / "hatch.toml"
    settings.write_text("upgrade_check = false\n", encoding="utf-8")
    hatch_settings.touch()
    environment = {
        **os.environ,
        "DDEV_CONFIG": str(settings),
        "HATCH_CONFIG": str(hatch_settings),
        "HATCH_DATA_DIR": str(HOME / "hatch"),
        # What ddev and hatch install into the environment of the tests is locked too; uv checks the hashes.
        "UV_CONSTRAINT": str(ROOT / "requirements" / "agent.txt"),
        # uv and the Python of the tests' environment are looked for on PATH.
        "PATH": f"{ddev.parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    print(f"\n$ ddev -x {' '.join(arguments)}", flush=True)
    return subprocess.run([str(ddev), "-x", *arguments], cwd=folder, env=environment).returncode


def _tree(folder: Path) -> Path:
    """Make `folder` a repository of integrations with this one in it, which is what the validations expect."""
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    (folder / "pyproject.toml").write_text(FORMAT, encoding="utf-8")
    (folder / CHECK).symlink_to(ROOT, target_is_directory=True)
    return folder


def _copy_for(python: str) -> Path:
    """Copy the checkout into build/ddev with `python` as the version of the tests' environment."""
    copy = HOME / CHECK
    shutil.rmtree(copy, ignore_errors=True)
    left_out = shutil.ignore_patterns(".git", ".venv*", ".*cache", "build", "dist", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=left_out)
    settings = copy / "hatch.toml"
    settings.write_text(settings.read_text(encoding="utf-8").replace(NEWEST[0], python), encoding="utf-8")
    subprocess.run(["git", "init", "--quiet", str(copy)], check=True)
    return copy


def _require_git(folder: Path) -> None:
    found = subprocess.run(["git", "rev-parse", "--is-inside-work-tree"], cwd=folder, capture_output=True)
    if found.returncode:
        raise Missing(f"ddev test works in a git checkout, and {folder} is none. Run `git init` there first.")


def main(arguments: list[str]) -> int:
    """Run the command line; return the exit status."""
    commands = {"test": test, "validate": validate, "generate": generate}
    if not arguments or arguments[0] not in commands:
        print(f"Name one of: {', '.join(commands)}", file=sys.stderr)
        return 2
    try:
        return commands[arguments[0]](arguments[1:])
    except Missing as error:
        print(error, file=sys.stderr)
    except FileNotFoundError as error:
        print(f"{error.filename} was not found. Install it, or put it on PATH.", file=sys.stderr)
    except subprocess.CalledProcessError as error:
        print(f"This failed with status {error.returncode}: {' '.join(error.cmd)}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
