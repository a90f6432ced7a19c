"""Puts the builtin modules where checks import them from, and takes them away again."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from ...errors import RealAgentError
from .builtins import CONTENTS, TRACE
from .standin import StandIn, activated

BASE = "datadog_checks.base"


def _module(name: str) -> ModuleType:
    module = ModuleType(name, f"Stand-in for the Agent's builtin module `{name}`.")
    vars(module).update(CONTENTS[name])
    return module


MODULES = {name: _module(name) for name in CONTENTS}
"""One set for the life of the process: the base package keeps references to them."""


@contextmanager
def standing_in(stand_in: StandIn | None = None) -> Iterator[StandIn]:
    """Make this process look like an Agent to checks, as long as the context lasts.

    Best entered before anything imports `datadog_checks.base`: that package then finds the builtin modules by
    itself and runs as it does in the Agent, for the rest of the process. Where it was imported already, with its own
    stubs, every reference to a stub in a loaded `datadog_checks` module is exchanged for the stand-in, and back at
    the end. Contexts may be nested; the innermost stand-in gets the submissions.

    Raises RealAgentError, and changes nothing, where the builtin modules exist already.
    """
    _refuse_real_agent()
    stand_in = stand_in or StandIn()
    with ExitStack() as undo:
        if sys.modules.get("aggregator") is not MODULES["aggregator"]:
            undo.enter_context(_in_place())
        undo.enter_context(_logging_level(str(stand_in.config["log_level"])))
        undo.enter_context(activated(stand_in))
        yield stand_in


def _refuse_real_agent() -> None:
    for name in ("aggregator", "datadog_agent"):
        loaded = sys.modules.get(name)
        if loaded is MODULES[name]:
            continue
        if loaded is not None or find_spec(name) is not None:
            raise RealAgentError(
                f"The stand-in for the Agent found a module `{name}`: this Python belongs to an Agent, or a file of "
                "that name is in its path. Inside an Agent use `datadog-agent check model_serving`; else rename the "
                "file."
            )


@contextmanager
def _in_place() -> Iterator[None]:
    hidden = {name: sys.modules[name] for name in MODULES if name in sys.modules}
    sys.modules.update(MODULES)
    try:
        if f"{BASE}.agent" in sys.modules:
            with _instead_of_stubs():
                yield
        else:
            yield
    finally:
        base = sys.modules.get(f"{BASE}.agent")
        # A base package that was imported meanwhile believes in the Agent for good: its modules must stay. They do
        # nothing until the next stand-in.
        if base is None or not base.AGENT_RUNNING:
            for name in MODULES:
                sys.modules.pop(name, None)
            sys.modules.update(hidden)


@contextmanager
def _instead_of_stubs() -> Iterator[None]:
    stubs, util_stub = import_module(f"{BASE}.stubs"), import_module(f"{BASE}.stubs._util")
    log: Any = import_module(f"{BASE}.log")
    checks_base: Any = import_module(f"{BASE}.checks.base")
    util = MODULES["_util"]
    pairs = [
        *((getattr(stubs, name), MODULES[name]) for name in ("aggregator", "datadog_agent", "tagger")),
        (util_stub.subprocess_output, util.subprocess_output),
        (util_stub.SubprocessOutputEmptyError, util.SubprocessOutputEmptyError),
    ]
    adapter = checks_base.CheckLoggingAdapter
    handler = log.AgentLogHandler()
    _exchange(pairs, running=True)
    checks_base.CheckLoggingAdapter = log.CheckLoggingAdapter
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        checks_base.CheckLoggingAdapter = adapter
        # Modules that were first imported meanwhile took the stand-in from the others: they are covered here, too.
        _exchange([(ours, stub) for stub, ours in pairs], running=False)


def _exchange(pairs: list[tuple[Any, Any]], running: bool) -> None:
    """Replace objects in all loaded modules of checks and of the base package, less its stubs and this stand-in."""
    own = __name__.rpartition(".")[0]
    for module_name, module in list(sys.modules.items()):
        if not module_name.startswith("datadog_checks.") or ".stubs" in module_name or module_name.startswith(own):
            continue
        for name, value in list(vars(module).items()):
            if name == "AGENT_RUNNING":
                setattr(module, name, running)
            for old, new in pairs:
                if value is old:
                    setattr(module, name, new)


@contextmanager
def _logging_level(name: str) -> Iterator[None]:
    """Let through the root logger what the Agent's `log_level` lets through; checks inherit their level from it."""
    root = logging.getLogger()
    before = root.level
    root.setLevel({"trace": TRACE, "warn": logging.WARNING}.get(name.lower(), name.upper()))
    try:
        yield
    finally:
        root.setLevel(before)
