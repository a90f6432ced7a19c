"""The Agent's persistent cache, as one check uses it: it never fails a run, and trial runs leave no trace in it."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from math import inf
from typing import Any
from weakref import WeakValueDictionary

from datadog_checks.base.agent import datadog_agent
from datadog_checks.base.utils.replay.constants import EnvVars

from ..log_once import LogOnce

TRIAL_SECONDS = 10.0
"""A process that has run a check for less may be a trial, as `datadog-agent check` is."""

PUNCTUALITY = 1.0
"""Seconds by which the Agent may run a check too early."""

RUN_PATH = "/opt/datadog-agent/run"

_claims: WeakValueDictionary[str, AgentCache] = WeakValueDictionary()
_lock = threading.Lock()


def forget_claims() -> None:
    """As in a new process: no check has claimed its cache yet."""
    with _lock:
        _claims.clear()


class AgentCache:
    """What one check keeps in the Agent's persistent cache.

    Texts are kept under the check's `persistent_cache_id`, which it claims with the first use: of several checks with
    the same id in one process the first has it until its `release`, the others remember nothing. Nothing is written
    before the check has run for one `interval`, in seconds, in this process: a trial run has the same id and cache as
    the check in the Agent, and what it counts is not sent. `born` is when the first run began, by `clock`.

    `problem` is what the user should know, in words; empty where all is well.
    """

    def __init__(self, check: Any, clock: Callable[[], float]) -> None:
        self.interval = 0.0
        # Isolated, each run is a process of its own, which a trial can't be told from.
        self.born: float | None = -inf if EnvVars.CHECK_ID in os.environ else None
        self.problem = ""
        self._check = check
        self._clock = clock
        self._once = LogOnce(check.log)
        self._failed = False
        self._released = False
        self._proven: set[str] = set()

    def begin(self) -> None:
        """A run begins."""
        if self.born is None:
            self.born = self._clock()

    @property
    def lasting(self) -> bool:
        """Whether the check has run for so long that this is no trial."""
        self.begin()
        return self._clock() - (self.born or 0.0) >= max(TRIAL_SECONDS, self.interval - PUNCTUALITY)

    @property
    def short(self) -> bool:
        """Whether several runs of the Agent fall into the time of a trial."""
        return self.interval < TRIAL_SECONDS

    def read(self, key: str) -> str:
        """What was kept under a key, empty where that is nothing or can't be read."""
        self.begin()
        if not self.usable:
            return ""
        try:
            return self._check.read_persistent_cache(key) or ""
        except Exception as error:
            self._fail("read", error)
            return ""

    def write(self, key: str, text: str) -> bool:
        """Keep a text. False where it was not: it may be too early, or the cache can't be used."""
        if not self.lasting or not self.usable:
            return False
        try:
            self._check.write_persistent_cache(key, text)
            if key not in self._proven:
                # The Agent only logs what it could not write.
                if self._check.read_persistent_cache(key) != text:
                    raise OSError("what was written is not there")
                self._proven.add(key)
        except Exception as error:
            self._fail("written", error)
            return False
        return True

    def broken(self, key: str, error: Exception | str) -> None:
        """What was kept under a key makes no sense: it will be written anew. Say so once."""
        text = f"what was remembered in {self._place(key)} makes no sense ({_said(error)}): it is begun anew"
        if self._once.first(key):
            self._check.log.warning("%s", text)
            self._check.warnings.append(text)

    def say_once(self, message: str) -> None:
        """Log what is worth knowing."""
        self._once.log(message, level=logging.INFO)

    def release(self) -> None:
        """Let go of the id, for good: another check of the same source may follow."""
        with _lock:
            self._released = True
            for key in [key for key, holder in _claims.items() if holder is self]:
                del _claims[key]

    @property
    def usable(self) -> bool:
        """Whether the cache works, as far as is known, and no other check has it."""
        if self._failed or self._released:
            return False
        key = f"{self._check.name} {self._check.persistent_cache_id()}"
        with _lock:
            holder = _claims.setdefault(key, self)
        if holder is self:
            self.problem = ""
            return True
        self._say(
            f"two instances have one source, {self._check.check_id} and {holder._check.check_id}, of which only "
            f"{holder._check.check_id} remembers over a restart of the Agent what was counted: remove one of them, or "
            "give one a `name` of its own"
        )
        return False

    def _fail(self, done: str, error: Exception) -> None:
        self._failed = True
        self._say(
            f"what the check remembers over a restart of the Agent can't be {done} ({_said(error)}): around a restart, "
            "counts may be missing and a minute or an event may come twice; all else goes on. Give "
            f"{self._place()} to the Agent's user (`chown -R dd-agent: {self._place()}`), restart the Agent, and do "
            f"trial runs as that user: `sudo -u dd-agent datadog-agent check {self._check.name}`"
        )

    def _say(self, problem: str) -> None:
        """In the status for as long as it holds, in the log once."""
        self.problem = problem
        self._once.log(problem)

    def _place(self, key: str = "") -> str:
        """The directory of the check's files, or one of these."""
        try:
            path = datadog_agent.get_config("run_path")
        except Exception:
            path = None
        return f"{path or RUN_PATH}/{self._check.name}/{f'*_{key}' if key else ''}"


def _said(error: Exception | str) -> str:
    return error if isinstance(error, str) else f"{type(error).__name__}: {error}"
