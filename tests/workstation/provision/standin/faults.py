"""Faults that a test plans: which call goes wrong, and how."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Call:
    """A request as the stand-in saw it. `status` is None where no whole answer went out."""

    number: int
    method: str
    path: str
    operation: str | None
    query: dict[str, str]
    body: Any
    headers: dict[str, str]
    status: int | None = None


Where = str | tuple[str, ...] | Callable[[Call], bool] | None


@dataclass(slots=True)
class Fault:
    """One thing that goes wrong.

    `do` is `status` (answer with `status`, and `body` if given), `hang` (no answer until the caller gives up),
    `close` (the connection is closed without an answer), `cut` (closed in the middle of the answer), `garbage` (a page
    of HTML where JSON is due), or a function, which is run with the call, that then goes on as usual.
    `where` selects calls: an operation id, several, or a predicate; None selects all. The `nth` of the selected ones
    (from 1) and the `times - 1` after it are hit. With `worked`, the call does its work first.
    """

    do: str | Callable[[Call], object]
    where: Where = None
    nth: int = 1
    times: int = 1
    worked: bool = False
    status: int = 500
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    seen: int = 0
    hit: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        if isinstance(self.do, str) and self.do not in ("status", "hang", "close", "cut", "garbage"):
            raise ValueError(f"{self.do!r} is no fault")

    def takes(self, call: Call) -> bool:
        """Whether this call is hit. Counts it."""
        if isinstance(self.where, str | tuple):
            wanted = call.operation in ((self.where,) if isinstance(self.where, str) else self.where)
        else:
            wanted = self.where is None or self.where(call)
        if not wanted:
            return False
        self.seen += 1
        if not self.nth <= self.seen < self.nth + self.times:
            return False
        self.hit.append(call)
        return True


class Faults:
    """The faults planned, in the order in which they are asked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def take(self, call: Call) -> Fault | None:
        """The first fault that hits this call. Every fault counts it."""
        with self._lock:
            hits = [fault for fault in self._faults if fault.takes(call)]
        return hits[0] if hits else None
