"""Programs the tests need that are not Python packages of the test environment, kept between runs.

They lie in the folder named by MODEL_SERVING_TEST_CACHE, by default `.cache` in the root of the repository.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CACHE_VARIABLE = "MODEL_SERVING_TEST_CACHE"

# uvloop 0.22 removed the implicit event loop that MLServer's workers rely on.
MLSERVER_REQUIREMENTS = ("mlserver==1.7.1", "uvloop<0.22")
MLSERVER_PYTHONS = ("3.11", "3.12")

INSTALL_SECONDS = 900


class Unavailable(Exception):
    """The program cannot be had here; the message says why and what would help."""


def cache_folder() -> Path:
    """The cache folder, made on first use so that git never sees what is in it."""
    folder = Path(os.environ.get(CACHE_VARIABLE) or ROOT / ".cache").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")
    return folder


@contextmanager
def only_one(name: str) -> Iterator[Path]:
    """Holds a lock on `name` in the cache folder, so that test runs side by side install it once; yields its path."""
    folder = cache_folder()
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder / name


def run_quietly(command: list[str], cwd: Path, what: str) -> None:
    """Runs an installation step; raises Unavailable with the end of its output when it fails."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=INSTALL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{what} took longer than {INSTALL_SECONDS} s") from None
    if done.returncode:
        raise Unavailable(f"{what} failed: {' / '.join(done.stdout.strip().splitlines()[-3:])}")


def pythons(versions: Sequence[str]) -> Iterator[str]:
    """Interpreters of these versions: the one in use first, then every one on PATH, not yet tried out."""
    if sys.version_info[:2] in {tuple(map(int, version.split("."))) for version in versions}:
        yield sys.executable
    for version in versions:
        for folder in os.get_exec_path():
            if found := shutil.which(f"python{version}", path=folder):
                yield found


def can_make_venv(python: str) -> bool:
    """Whether `python` runs (a version manager's shim may not) and can make an environment with pip."""
    probe = [python, "-c", "import ensurepip, venv"]
    return subprocess.run(probe, check=False, capture_output=True, timeout=60).returncode == 0


def environment(name: str, installs: Sequence[Sequence[str]], versions: Sequence[str]) -> Path:
    """An environment of a server's own, made once: `installs` are the arguments of one `pip install` after the other,
    `versions` those of Python that the server runs on. Raises Unavailable where no such Python or package is found.
    """
    with only_one(f"{name}-venv") as venv:
        stamp = venv / "complete"
        asked = "\n".join("\n".join(packages) for packages in installs)
        wanted = hashlib.sha256(asked.encode()).hexdigest()
        # The interpreter behind an old environment may be gone.
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted and (venv / "bin" / "python").exists():
            return venv
        python = next(filter(can_make_venv, pythons(versions)), None)
        if python is None:
            raise Unavailable(f"{name} needs Python {' or '.join(versions)} with venv and ensurepip: none on PATH")
        shutil.rmtree(venv, ignore_errors=True)
        run_quietly([python, "-m", "venv", str(venv)], venv.parent, f"Making an environment with {python}")
        for packages in installs:
            install = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages]
            run_quietly(install, venv.parent, "pip install " + " ".join(packages))
        stamp.write_text(wanted, encoding="utf-8")
        return venv


def without_ours(venv: Path) -> dict[str, str]:
    """Environment variables for a program of `venv`: nothing of the environment of these tests is among them."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    env["PATH"] = f"{venv / 'bin'}{os.pathsep}{env['PATH']}"
    return env


def prometheus_binary() -> Path:
    """The Prometheus server from PATH, or unpacked (not installed) from Debian's package; raises Unavailable."""
    if found := shutil.which("prometheus"):
        return Path(found)
    with only_one("prometheus") as folder:
        binary = folder / "root" / "usr" / "bin" / "prometheus"
        if binary.is_file():
            return binary
        missing = [tool for tool in ("apt-get", "dpkg") if not shutil.which(tool)]
        if missing:
            raise Unavailable(f"No prometheus on PATH, and no {' or '.join(missing)} to fetch Debian's package with")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        run_quietly(["apt-get", "download", "prometheus"], folder, "No prometheus on PATH; apt-get download prometheus")
        package = next(folder.glob("prometheus_*.deb"), None)
        if package is None:
            raise Unavailable("No prometheus on PATH, and apt-get download prometheus left no package")
        # dpkg cannot be trusted to have written everything when it is cut off: the name appears last.
        run_quietly(["dpkg", "-x", package.name, "unpacking"], folder, f"dpkg -x {package.name}")
        (folder / "unpacking").rename(folder / "root")
        package.unlink()
        if not binary.is_file():
            raise Unavailable(f"Debian's {package.name} holds no usr/bin/prometheus")
        return binary
