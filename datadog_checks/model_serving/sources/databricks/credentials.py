"""The Authorization header for a Databricks workspace: a personal token or OAuth, also from files that rotate."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import requests

from ...errors import CredentialsError
from ...settings.login import ENVIRONMENT, INSTANCE, OAUTH, TOKEN, Login, flaw, resolve, secret_forms, short
from .oauth import TokenKeeper, ask_token

__all__ = ["Login", "WorkspaceCredentials", "resolve"]

MAX_FILE = 1 << 16
GRACE = 60.0
"""Seconds that the last content of a file is used while it can't be read: rotation may empty or replace it."""


class WorkspaceCredentials:
    """The Authorization header for one workspace, for all threads.

    `base` is scheme and host of the workspace. `post` sends token requests, from one thread at a time;
    `on_secret` gets every secret before it is used, from one thread at a time as well. Each token request is in a
    context that `limit` makes.
    """

    def __init__(
        self,
        login: Login,
        base: str,
        post: Callable[..., requests.Response],
        on_secret: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        limit: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.login = login
        self._limit = limit
        self._base = base.rstrip("/")
        self._post = post
        self._on_secret = on_secret
        self._clock = clock
        self._register(login.secrets)
        self._file = _SecretFile(login, self._register, clock) if login.path else None
        self._keeper = TokenKeeper(self._ask, clock, self._watch) if login.kind == OAUTH else None

    def header(self, deadline: float | None = None) -> str:
        """`Bearer ...`. May send a token request, or wait until `deadline` (clock time) for that of another thread.

        Raises CredentialsError, or TokenLimited where the token endpoint limits requests.
        """
        if self._keeper is not None:
            return self._keeper.header(deadline)
        return f"Bearer {self._file.read() if self._file is not None else self.login.secret}"

    def refused(self, header: str, deadline: float | None = None) -> bool:
        """To be called with a header that got HTTP 401. True when another attempt makes sense: there is a newer one.

        A token from OAuth is renewed, once for all threads that were refused with it. Raises what `header` raises.
        """
        if self._keeper is not None:
            return self._keeper.refused(header, deadline)
        return self._file is not None and f"Bearer {self._file.read(again=True)}" != header

    def accepted(self, header: str) -> None:
        """To be called with a header that was good: one that is refused later has ended and is worth renewing."""
        if self._keeper is not None:
            self._keeper.accepted(header)

    def stop(self) -> None:
        """Send no more token requests and wake those who wait for one; they get CredentialsError."""
        if self._keeper is not None:
            self._keeper.stop()

    def advice(self, status: int) -> str | None:
        """What the user can do about an HTTP status of the REST API; None where the login makes no difference."""
        login = self.login
        if login.kind == OAUTH:
            who = f"service principal {short(login.client_id)}"
            return {
                401: f"Databricks refuses the token that {who} was just given (HTTP 401): check that the service "
                "principal is active and part of this workspace",
                403: f"{who} lacks permission (HTTP 403): grant it `Can View` or `Can Query` on the serving endpoint, "
                "and check the IP access list of the workspace",
            }.get(status)
        target = {INSTANCE: "into `databricks_token`", ENVIRONMENT: "into DATABRICKS_TOKEN, and restart the Agent"}
        put = f"into {login.path}, which is read again by itself" if login.path else target[login.source]
        return {
            401: "Databricks refuses the token (HTTP 401): it has expired or was revoked, or is of another workspace. "
            f"Create a new one (workspace settings, Developer, Access tokens) and put it {put}",
            403: "the token lacks permission (HTTP 403): grant its owner `Can View` or `Can Query` on the serving "
            "endpoint, or use the token of somebody who has it; check the IP access list of the workspace",
        }.get(status)

    def _register(self, forms: tuple[str, ...]) -> None:
        for form in forms:
            self._on_secret(form)

    def _watch(self) -> object:
        return self._file.signature() if self._file is not None else None

    def _ask(self) -> tuple[str, float]:
        login = self.login
        secret = self._file.read(again=True) if self._file is not None else login.secret
        with self._limit():
            token, life = ask_token(self._post, self._base, login.client_id, secret, self._clock)
        self._register(secret_forms(token))
        return token, life


class _SecretFile:
    """A file with one secret, read again when it has changed."""

    def __init__(self, login: Login, register: Callable[[tuple[str, ...]], None], clock: Callable[[], float]) -> None:
        self._path = Path(login.path)
        self._client_id = login.client_id
        self._option = "databricks_token_path" if login.kind == TOKEN else "databricks_client_secret_path"
        self._register = register
        self._clock = clock
        self._lock = threading.Lock()
        self._signature: tuple[int, ...] | None = None
        self._secret = ""
        self._failing_since: float | None = None

    def signature(self) -> tuple[int, ...] | None:
        """What is different after the file has changed; None while there is none."""
        try:
            return _signature(self._path.stat())
        except OSError:
            return None

    def read(self, again: bool = False) -> str:
        """The secret; with `again` even if the file looks unchanged. Raises CredentialsError."""
        with self._lock:
            if not again and self._secret and self.signature() == self._signature is not None:
                return self._secret
            content, signature, failed = self._content()
            if not failed:
                if content != self._secret:
                    self._register(secret_forms(content, self._client_id))
                self._secret, self._signature, self._failing_since = content, signature, None
                return content
            now = self._clock()
            self._failing_since = now if self._failing_since is None else self._failing_since
            if self._secret and now < self._failing_since + GRACE:
                return self._secret
            raise CredentialsError(f"`{self._option}`: the file {self._path} {failed}")

    def _content(self) -> tuple[str, tuple[int, ...] | None, str]:
        try:
            with self._path.open("rb") as file:
                signature, raw = _signature(os.fstat(file.fileno())), file.read(MAX_FILE + 1)
        except OSError as error:
            return "", None, f"can't be read: {error.strerror}. Check its path, and that the Agent's user may read it"
        content = raw.decode("utf-8", "replace").strip()
        failed = "is empty: write the secret into it" if not content else flaw(content)
        if len(raw) > MAX_FILE:
            failed = "is too long for a secret: it must hold the secret and nothing else"
        return content, signature, failed


def _signature(stat: os.stat_result) -> tuple[int, ...]:
    return stat.st_mtime_ns, stat.st_ino, stat.st_dev, stat.st_size
