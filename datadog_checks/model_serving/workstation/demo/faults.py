"""What can go wrong with an answer, on demand."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from .messages import Reply

LOGIN = b"<!doctype html><html><head><title>Sign in</title></head><body>Sign in to continue</body></html>"
WORKSPACE_ID = "1234567890123456"
REFUSALS: Mapping[str, tuple[int, Mapping[str, Any], Mapping[str, str]]] = {
    "token": (
        403,
        {"error_code": 403, "message": "Invalid access token."},
        {"X-Databricks-Reason-Phrase": "Invalid access token."},
    ),
    "ip list": (
        403,
        {
            "error_code": 403,
            "message": f"Source IP address: 203.0.113.7 is blocked by Databricks IP ACL for workspace: {WORKSPACE_ID}",
        },
        {},
    ),
    "not assigned": (403, {"error_code": 403, "message": f"Unauthorized access to workspace: {WORKSPACE_ID}"}, {}),
    "other workspace": (
        403,
        {"error_code": 403, "message": f"Invalid access to Org: {WORKSPACE_ID}"},
        {"X-Databricks-Reason-Phrase": f"Invalid access to Org: {WORKSPACE_ID}"},
    ),
    "scopes": (
        403,
        {
            "error_code": "PERMISSION_DENIED",
            "message": "Provided OAuth token does not have required scopes: model-serving",
        },
        {},
    ),
    "permission": (403, {"error_code": "PERMISSION_DENIED", "message": "You may not view this endpoint."}, {}),
    **{
        f"feature {status}": (
            status,
            {"error_code": "FEATURE_DISABLED", "message": "Model serving is not enabled for your workspace."},
            {},
        )
        for status in (400, 403, 404)
    },
    "private link": (303, {}, {"Location": f"/login.html?error=private-link-validation-error:{WORKSPACE_ID}"}),
}
"""Status, body and headers of refusals that were published, by what they are about."""

KINDS: Mapping[str, Mapping[str, Any]] = {
    "status": {"code": 500, "headers": {}},
    "refusal": {"reason": "permission"},
    "rate_limit": {"retry_after": 1},
    "stall": {"seconds": None},
    "drop": {},
    "cut": {"share": 0.5},
    "drip": {"interval": 0.05},
    "html": {"code": 200},
}
"""Every kind and its options with their defaults.

`status`: that code with these headers. `refusal`: one of `REFUSALS`. `rate_limit`: 429 with Retry-After to every
request from the first one on, for that many seconds. `stall`: no answer for that long, or ever (None). `drop`: the
connection closes without an answer. `cut`: it closes after that share of the body, whose Content-Length tells of all.
`drip`: a byte at a time, with that many seconds in between. `html`: a login page.
"""


@dataclass(eq=False)
class Fault:
    """One thing that goes wrong, for requests to paths that `match` fits. `times` is None until it is cleared."""

    kind: str
    match: str
    times: int | None
    how: dict[str, Any]
    hits: int = 0
    """Requests that met it."""
    _until: float = math.inf
    _stalled: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = field(default_factory=list, repr=False)
    _cleared: bool = False

    def takes(self, path: str) -> bool:
        """Tell whether a request to that path meets it, and count it if so."""
        if not fnmatchcase(path, self.match):
            return False
        if self.kind == "rate_limit":
            if time.monotonic() >= self._until:
                if self.times is not None and self.times <= 1:
                    return False
                self.times = None if self.times is None else self.times - 1
                self._until = math.inf
            if self._until == math.inf:
                self._until = time.monotonic() + self.how["retry_after"]
        elif self.times is not None:
            if self.times <= 0:
                return False
            self.times -= 1
        self.hits += 1
        return True

    def reply(self) -> Reply | None:
        """Return what is answered instead of the truth, None where the fault is of another kind."""
        match self.kind:
            case "status":
                return Reply.error(self.how["code"], "Simulated fault.", "SIMULATED", self.how["headers"])
            case "refusal":
                return Reply.json(*REFUSALS[self.how["reason"]])
            case "rate_limit":
                seconds = max(1, math.ceil(self._until - time.monotonic()))
                message = "Too many requests: slow down."
                return Reply.error(429, message, "REQUEST_LIMIT_EXCEEDED", {"Retry-After": str(seconds)})
            case "html":
                return Reply(self.how["code"], LOGIN, "text/html; charset=utf-8")
        return None

    async def stall(self) -> None:
        """Wait as long as the fault says, or until it is cleared."""
        cleared = asyncio.Event()
        self._stalled.append((asyncio.get_running_loop(), cleared))
        if self._cleared:
            # It was counted before it came here, and cleared in between, from another thread.
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(cleared.wait(), self.how["seconds"])

    def clear(self) -> None:
        """Let everything go on that waits because of it."""
        self._cleared = True
        for loop, cleared in self._stalled:
            if not loop.is_closed():
                loop.call_soon_threadsafe(cleared.set)


class Faults:
    """The faults in force, the oldest first. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: list[Fault] = []

    def add(self, kind: str, match: str, times: int | None, how: Mapping[str, Any]) -> Fault:
        """Add one. Raises ValueError for a kind or an option that there is not."""
        if kind not in KINDS:
            raise ValueError(f"no fault is called {kind!r}; there are: {', '.join(KINDS)}")
        if unknown := how.keys() - KINDS[kind].keys():
            known = ", ".join(KINDS[kind]) or "none"
            raise ValueError(f"fault {kind}: unknown option {', '.join(sorted(unknown))}; its options: {known}")
        fault = Fault(kind, match, times, {**KINDS[kind], **how})
        with self._lock:
            self._all.append(fault)
        return fault

    def take(self, path: str) -> Fault | None:
        """Return the first fault that a request to that path meets, and count it there."""
        if not self._all:
            return None
        with self._lock:
            return next((fault for fault in self._all if fault.takes(path)), None)

    def clear(self) -> None:
        """End all of them, those that hold requests back too."""
        with self._lock:
            gone, self._all = self._all, []
        for fault in gone:
            fault.clear()
