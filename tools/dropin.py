"""Lay the check out as a drop-in: `python tools/dropin.py DEST` fills DEST/checks.d and DEST/conf.d.

The check goes to checks.d/datadog_checks/model_serving, the one place in checks.d where an Agent finds the
configuration models and the version. `datadog_checks/__init__.py` stays out: the Agent has its own. The workstation
side stays out too, since an Agent lacks what it imports.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path("datadog_checks/model_serving")
EXAMPLE = Path("conf.d/model_serving.d/conf.yaml.example")
WORKSTATION = "workstation"


def lay(destination: Path) -> list[Path]:
    """Write the drop-in below `destination` and return the two paths written.

    An earlier drop-in of the check is replaced; everything else below `destination` is left alone, the user's own
    configuration included. Raises OSError where that fails, and where a symbolic link below `destination` leads away:
    who runs this may write where those who own that folder may not.
    """
    check = destination / "checks.d" / PACKAGE
    for path in (check, destination / EXAMPLE):
        _refuse_links(path, destination)
    check.parent.mkdir(parents=True, exist_ok=True)
    if check.exists():
        shutil.rmtree(check)
    shutil.copytree(ROOT / PACKAGE, check, ignore=_left_out)
    example = destination / EXAMPLE
    example.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=example.parent, prefix=f".{example.name}.", delete=False) as temporary:
        temporary.write((ROOT / EXAMPLE).read_bytes())
    # Nothing in it is secret; the Agent's user is another than who runs this.
    Path(temporary.name).chmod(0o644)
    Path(temporary.name).replace(example)
    return [check, example]


def _refuse_links(path: Path, destination: Path) -> None:
    for one in (path, *path.parents[: len(path.parent.relative_to(destination).parts)]):
        if one.is_symlink():
            raise OSError(0, "a symbolic link is not followed; remove it", str(one))


def _left_out(folder: str, names: list[str]) -> set[str]:
    left_out = {name for name in names if name.startswith((".", "__pycache__")) or name.endswith(".pyc")}
    if Path(folder) == ROOT / PACKAGE:
        left_out.add(WORKSTATION)
    return left_out


def _as_root(destination: str) -> str:
    if sys.platform == "win32":
        return "Run this again in a PowerShell that was started as administrator."
    # Root's own PATH may have no Python that is new enough.
    command = f"sudo make dropin DEST={shlex.quote(destination)} PYTHON={shlex.quote(sys.executable)}"
    return f"Where that is the Agent's folder, run: {command}"


def main(arguments: list[str]) -> int:
    """Run the command line; return the exit status."""
    if len(arguments) != 1 or not arguments[0]:
        print("Name the folder to fill: make dropin DEST=/etc/datadog-agent", file=sys.stderr)
        return 2
    destination = Path(arguments[0]).expanduser()
    try:
        written = lay(destination)
    except PermissionError as error:
        print(f"You may not write to {error.filename}. {_as_root(arguments[0])}", file=sys.stderr)
        return 1
    except OSError as error:
        reason = f"{error.strerror}: {error.filename}"
        print(f"The drop-in could not be written to {destination}: {reason}", file=sys.stderr)
        return 1
    for path in written:
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
