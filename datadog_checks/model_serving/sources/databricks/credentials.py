"""The Authorization header for a Databricks workspace: a token, or what a login gives; also from files that rotate."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ...errors import CredentialsError
from ...http.redact import without_secrets
from ...settings.login import (
    AZURE_MSI,
    AZURE_SECRET,
    ENV_OIDC,
    ENVIRONMENT,
    FILE_OIDC,
    INSTANCE,
    M2M,
    PAT,
    Login,
    flaw,
    resolve,
    secret_forms,
)
from .oauth import TokenKeeper, TokenRequest, ask_token, read_answer, send
from .refusals import ENTRA, IDENTITY, TOKEN
from .rest import drop_authorization, limits

__all__ = ["Login", "WorkspaceCredentials", "resolve"]

MAX_FILE = 1 << 16
GRACE = 60.0
"""Seconds that the last content of a file is used while it can't be read: rotation may empty or replace it."""

TOKEN_PATH = "/oidc/v1/token"
HOST_METADATA = "/.well-known/databricks-config"
SERVER_METADATA = "/.well-known/oauth-authorization-server"
"""Below the root of a host, and of its OAuth, what tells more: the root of the one, the token endpoint of the other."""

DATABRICKS_IN_AZURE = "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d"
"""What a token of Entra ID must be for: the application that stands for Databricks in every tenant."""

IDENTITY_VERSION = "2018-02-01"
_OWN_ZONES = (
    ".databricks.com",
    ".databricks.us",
    ".azuredatabricks.net",
    ".databricks.azure.us",
    ".databricks.azure.cn",
)
"""Where the OAuth of a Databricks host may be. A secret is sent nowhere else, whatever a host says."""

_TENANT = re.compile(r"/([A-Za-z0-9][A-Za-z0-9.-]{0,99})/")


class WorkspaceCredentials:
    """The Authorization header for one workspace, for all threads.

    `base` is scheme and host of the workspace. `http` gives a requests wrapper for token requests, from one thread at a
    time; `on_secret` gets every secret before it is used, from one thread at a time as well. With `discover` the host
    is asked where its token endpoint is, as that of an account has to be; `account_id` is of that account. All that is
    asked for one token is in a context that `limit` makes.
    """

    def __init__(
        self,
        login: Login,
        base: str,
        http: Callable[[], Any],
        on_secret: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        discover: bool = False,
        account_id: str = "",
        limit: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.login = login
        self._limit = limit
        self._base = base.rstrip("/")
        self._http = http
        self._on_secret = on_secret
        self._clock = clock
        self._account_id = account_id
        self._token_url = "" if discover else f"{self._base}{TOKEN_PATH}"
        self._tenant = login.tenant
        self._register(login.secrets)
        self._file = _SecretFile(login, self._register, clock) if login.path else None
        self._keeper = None if login.kind == PAT else TokenKeeper(self._ask, clock, self._watch)

    def header(self, deadline: float | None = None) -> str:
        """`Bearer ...`. May send a token request, or wait until `deadline` (clock time) for that of another thread.

        Raises CredentialsError, or TokenLimited where the token endpoint limits requests.
        """
        if self._keeper is not None:
            return self._keeper.header(deadline)
        return f"Bearer {self._file.read() if self._file is not None else self.login.secret}"

    def refused(self, header: str, deadline: float | None = None) -> bool:
        """To be called with a header that got HTTP 401. True when another attempt makes sense: there is a newer one.

        A token that was issued is renewed, once for all threads that were refused with it. Raises what `header` raises.
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

    def words(self) -> Mapping[str, str]:
        """What the sentences about refusals need to know of the login."""
        login, who = self.login, self.login.who
        words = {"who": who, "owner": who, "kind": login.kind, "holder": login.holder}
        words["scopes"] = ", ".join(f"`{scope}`" for scope in login.scopes)
        words["scope"] = "name it in `databricks_scopes`, as `model-serving:read`, and have the login allow it"
        words["grant"] = (
            f"grant {'it' if login.client_id else 'the one that it stands for'} `Can View` or `Can Query` on the "
            "serving endpoint, and check the IP access list of the workspace"
        )
        words["token"] = f"the token that {who} was just given"
        words["renew"] = "check that the service principal is active and part of this workspace"
        words["credential"] = "the client id or the secret"
        words["mend"] = (
            "check that both belong to one service principal, that the service principal is part of this workspace, "
            "and that the secret has not expired (create a new one on the service principal's page, Secrets)"
        )
        if login.kind in (FILE_OIDC, ENV_OIDC):
            words["credential"] = f"the OIDC token in {login.holder}"
            words["mend"] = (
                "check that a federation policy of the service principal in `databricks_client_id` (or of the account, "
                "where none is given) has its issuer, subject and audience, and that it has not expired"
            )
            if login.kind == ENV_OIDC:
                words["mend"] += (
                    "; a variable keeps the one that the process was started with: `databricks_oidc_token_filepath` "
                    "takes a file that is renewed"
                )
        if login.kind in (AZURE_SECRET, AZURE_MSI):
            words["renew"] = "check that the service principal is active and was added to this workspace"
        if login.kind == PAT:
            target = {INSTANCE: "into `databricks_token`", ENVIRONMENT: "into DATABRICKS_TOKEN, and restart the Agent"}
            put = f"into {login.path}, which is read again by itself" if login.path else target[login.source]
            words["owner"], words["token"] = "the owner of the token", "the token"
            words["renew"] = (
                "it has expired or was revoked, or is of another workspace. Create a new one (workspace settings, "
                f"Developer, Access tokens) and put it {put}"
            )
            words["grant"] = (
                "grant its owner `Can View` or `Can Query` on the serving endpoint, or use the token of somebody who "
                "has it; check the IP access list of the workspace"
            )
            words["scope"] = f"make a token that has it, such as `model-serving:read`, and put it {put}"
        return words

    def _register(self, forms: tuple[str, ...]) -> None:
        for form in forms:
            self._on_secret(form)

    def _watch(self) -> object:
        return self._file.signature() if self._file is not None else None

    def _ask(self) -> tuple[str, float]:
        secret = self._file.read(again=True) if self._file is not None else self.login.secret
        with self._limit():
            http = self._http()
            token, life = ask_token(http, self._request(http, secret), self._clock)
        self._register(secret_forms(token))
        return token, life

    def _request(self, http: Any, secret: str) -> TokenRequest:
        """The token request of the method. Raises CredentialsError where it can't be made."""
        login, words = self.login, self.words()
        if login.kind == AZURE_MSI:
            query = {"api-version": IDENTITY_VERSION, "resource": DATABRICKS_IN_AZURE}
            if login.client_id:
                query["client_id"] = login.client_id
            return TokenRequest(
                login.authority, IDENTITY, words, query=query, headers={"Metadata": "true"}, foreign=True, direct=True
            )
        if login.kind == AZURE_SECRET:
            self._tenant = self._tenant or self._find_tenant(http)
            form = {
                "grant_type": "client_credentials",
                "client_id": login.client_id,
                "client_secret": secret,
                "resource": DATABRICKS_IN_AZURE,
            }
            return TokenRequest(f"{login.authority}/{self._tenant}/oauth2/token", ENTRA, words, form, foreign=True)
        self._token_url = self._token_url or self._find_token_url(http, words)
        scope = " ".join(login.scopes)
        if login.kind == M2M:
            form = {"grant_type": "client_credentials", "scope": scope}
            return TokenRequest(self._token_url, TOKEN, words, form, client=(login.client_id, secret))
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "subject_token": secret,
            "scope": scope,
        }
        if login.client_id:
            form["client_id"] = login.client_id
        return TokenRequest(self._token_url, TOKEN, words, form)

    def _find_tenant(self, http: Any) -> str:
        """The tenant of a workspace in Azure, whose login leads to its Entra ID."""
        url = f"{self._base}/aad/auth"
        failed = f"no tenant from {without_secrets(url)}"
        response = send(http, "get", url, failed, {"auth": drop_authorization})
        response.close()
        found = _TENANT.match(urlsplit(str(response.headers.get("Location") or "")).path)
        if not 300 <= response.status_code < 400 or found is None:
            raise CredentialsError(
                f"{failed} (HTTP {response.status_code}): give `databricks_azure_tenant_id`, or ARM_TENANT_ID in the "
                "Agent's environment"
            )
        return found.group(1)

    def _find_token_url(self, http: Any, words: Mapping[str, str]) -> str:
        """The token endpoint as the host tells it; that of a workspace where the host tells nothing."""
        answer = self._metadata(http, f"{self._base}{HOST_METADATA}", words)
        root = answer.get("oidc_endpoint")
        if not isinstance(root, str) or not root:
            return f"{self._base}{TOKEN_PATH}"
        if "{account_id}" in root:
            account = self._account_id or str(answer.get("account_id") or "")
            if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", account):
                raise CredentialsError(
                    f"{without_secrets(self._base)} is the host of several accounts: give `databricks_account_id`, or "
                    "DATABRICKS_ACCOUNT_ID beside DATABRICKS_HOST in the Agent's environment"
                )
            root = root.replace("{account_id}", account)
        root = self._own(root.rstrip("/"))
        found = self._metadata(http, f"{root}{SERVER_METADATA}", words).get("token_endpoint")
        return self._own(found) if isinstance(found, str) and found else f"{root}/v1/token"

    def _metadata(self, http: Any, url: str, words: Mapping[str, str]) -> dict[str, Any]:
        """What a host says about itself; nothing where it has no such page, whatever it shows instead.

        A failure is no answer: it raises CredentialsError, or TokenLimited.
        """
        failed = f"no token endpoint from {without_secrets(url)}"
        response = send(http, "get", url, failed, {"auth": drop_authorization})
        if 300 <= response.status_code < 500 and not limits(response):
            # What stands in the way of that, as a private link, is told by the request for a token.
            response.close()
            return {}
        return read_answer(response, failed, TokenRequest(url, TOKEN, words), self._clock, other={})

    def _own(self, url: str) -> str:
        """A URL of this host, or of Databricks over TLS. Raises CredentialsError for any other."""
        there, here = urlsplit(url), urlsplit(self._base)
        name = (there.hostname or "").lower()
        if (there.scheme, there.netloc) == (here.scheme, here.netloc.rpartition("@")[2]):
            return url
        if there.scheme == "https" and "@" not in there.netloc and name.endswith(_OWN_ZONES):
            return url
        raise CredentialsError(
            f"{without_secrets(self._base)} names a token endpoint on a host that is not Databricks', to which no "
            "secret is sent: check `databricks_host`"
        )


class _SecretFile:
    """A file with one secret, read again when it has changed."""

    def __init__(self, login: Login, register: Callable[[tuple[str, ...]], None], clock: Callable[[], float]) -> None:
        self._path = Path(login.path)
        self._client_id = login.client_id
        self._holder = login.holder
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
            raise CredentialsError(f"{self._holder}: the file {self._path} {failed}")

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
