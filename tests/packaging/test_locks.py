"""The locks in requirements/: complete, by version and hash, and in line with what is asked for."""

import re
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from itertools import pairwise

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .conftest import ROOT

FOLDER = ROOT / "requirements"
PIN = re.compile(
    r"^([a-z0-9-]+)==(\S+)(?: ; ([^\\\n]+?))? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)


def load_tool():
    spec = spec_from_file_location("lock_tool", ROOT / "tools" / "lock.py")
    tool = module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


LOCKS = load_tool().LOCKS


def text_of(name):
    return (FOLDER / f"{name}.txt").read_text(encoding="utf-8")


def asked_for(name):
    """The requirements that a lock is made from."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    given = LOCKS[name][1]
    if "pyproject.toml" in given:
        yield from project["build-system"]["requires"]
        yield from project["project"]["dependencies"]
        for option, extra in pairwise(given):
            if option == "--extra":
                yield from project["project"]["optional-dependencies"][extra]
    for path in given:
        if path.endswith(".in"):
            lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
            yield from (line for line in lines if line and not line.startswith("#"))


def test_every_lock_has_its_inputs():
    assert {path.stem for path in FOLDER.glob("*.txt")} == LOCKS.keys()


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_is_nothing_but_versions_with_hashes(name):
    """No package without a hash, no option, and no host of an index."""
    rest = PIN.sub("", text_of(name))
    assert [line for line in rest.splitlines() if line and not line.startswith("#")] == []
    assert "://" not in text_of(name)


VERSIONS = ("3.11", "3.12", "3.13", "3.14")


@pytest.mark.parametrize(
    ("name", "python"),
    [(name, python) for name, (lowest, _) in LOCKS.items() for python in VERSIONS if python >= lowest],
)
def test_a_lock_has_what_is_asked_for(name, python):
    """A changed requirement needs `make lock`."""
    environment = {"python_version": python, "python_full_version": f"{python}.1", "sys_platform": "linux"}
    pins = {}
    for package, version, marker, _ in PIN.findall(text_of(name)):
        if not marker or Requirement(f"x ; {marker}").marker.evaluate(environment):
            assert package not in pins, f"{package} is there twice for Python {python}"
            pins[package] = version
    for text in asked_for(name):
        requirement = Requirement(text)
        version = pins.get(canonicalize_name(requirement.name))
        assert version is not None, f"{text} is missing: run `make lock`"
        assert requirement.specifier.contains(version), f"{text} doesn't take {version}: run `make lock`"


def test_two_locks_of_one_environment_agree():
    """`make demo` and then `make test` change no version."""
    versions = [{package: version for package, version, _, _ in PIN.findall(text_of(name))} for name in ("cli", "test")]
    assert versions[0].items() <= versions[1].items()
