"""The one tree of errors: drawn as it is, and every exception of the package has its place."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module

import pytest

import datadog_checks.model_serving as package
from datadog_checks.model_serving import errors
from datadog_checks.model_serving.errors import InternalSignal, UserError

STAND_INS = {"NVMLError", "SubprocessOutputEmptyError"}
"""Classes of pynvml and of the Agent, played by the package: what raises them there raises them here."""


def drawn(text: str) -> Iterator[str]:
    """The lines of the tree in a docstring, each as `name` and the names above it: `UserError/ConfigError`."""
    above: list[str] = []
    for indent, name in re.findall(r"^    ( *)([A-Z]\w+)(?:  .*)?$", text, re.MULTILINE):
        above[len(indent) // 2 :] = [name]
        yield "/".join(above)


def real(cls: type[UserError], above: str = "") -> Iterator[str]:
    """The same of the classes that there are."""
    place = f"{above}/{cls.__name__}".strip("/")
    yield place
    for child in cls.__subclasses__():
        yield from real(child, place)


def exceptions() -> Iterator[type[BaseException]]:
    """Every exception class that a module of the package defines."""
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith(".__main__"):
            for found in vars(import_module(module.name)).values():
                if isinstance(found, type) and issubclass(found, BaseException) and found.__module__ == module.name:
                    yield found


EXCEPTIONS = list(exceptions())


def test_the_drawn_tree_is_the_real_one() -> None:
    """Every class of the tree is drawn, in its place, in the order of the file, and nothing else is."""
    assert errors.__doc__ is not None
    assert list(drawn(errors.__doc__)) == list(real(UserError))


@pytest.mark.parametrize("cls", EXCEPTIONS, ids=lambda cls: cls.__name__)
def test_an_exception_is_for_a_person_or_for_the_package_alone(cls: type[BaseException]) -> None:
    """What a person is to read is in the tree, in its one file; any other exception is declared a signal."""
    if issubclass(cls, UserError):
        assert cls.__module__ == errors.__name__
    else:
        assert issubclass(cls, InternalSignal) or cls.__name__ in STAND_INS
    assert cls.__doc__


def test_every_kind_of_exception_is_found() -> None:
    """The walk itself: it comes to both sides of the package, and to signals."""
    names = {cls.__name__ for cls in EXCEPTIONS}
    assert {"UserError", "QueryError", "NothingExported", "Expired", "Unsupported", "Discarded"} | STAND_INS <= names
