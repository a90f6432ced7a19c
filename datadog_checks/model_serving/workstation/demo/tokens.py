"""Who may call a workspace: personal tokens, and OAuth tokens for the clients that ask for one."""

from __future__ import annotations

import base64
import binascii
import math
import secrets
import threading
import time
from urllib.parse import parse_qs

from .messages import Reply, Request

FORM = "application/x-www-form-urlencoded"


class TokenIssuer:
    """The tokens and clients that a workspace knows. OAuth tokens live for `token_seconds`."""

    def __init__(self, token_seconds: float) -> None:
        self.token_seconds = token_seconds
        self.personal_tokens: set[str] = set()
        self.clients: dict[str, str] = {}
        """Secret by client id."""
        self.tokens_issued = 0
        self.refusal = 401
        """The status that unknown and expired tokens are refused with. Workspaces were seen to answer 403 as well."""
        self._lock = threading.RLock()
        self._oauth: dict[str, float] = {}

    def expire_tokens(self) -> None:
        """Let every OAuth token that was issued so far expire."""
        with self._lock:
            self._oauth = dict.fromkeys(self._oauth, 0.0)

    def token_kind(self, authorization: str) -> str:
        """Tell what an Authorization header holds: none, basic, personal, oauth, expired (once oauth) or unknown."""
        scheme, _, token = authorization.partition(" ")
        if scheme != "Bearer":
            return "basic" if scheme == "Basic" else "unknown" if scheme else "none"
        if token in self.personal_tokens:
            return "personal"
        with self._lock:
            expires = self._oauth.get(token)
        if expires is None:
            return "unknown"
        return "oauth" if time.monotonic() < expires else "expired"

    def refused(self, kind: str) -> Reply | None:
        """Return the answer to a call of the API with that kind of token, None where it opens the door."""
        match kind:
            case "personal" | "oauth":
                return None
            case "none" | "basic":
                return Reply.error(401, "Credential was not sent or was of an unsupported type for this API.")
            case "expired":
                return Reply.error(self.refusal, "Token is expired.")
        return Reply.error(self.refusal, "Invalid access token.")

    def grant(self, request: Request) -> Reply:
        """Answer `POST /oidc/v1/token`, as RFC 6749 has it in sections 4.4 and 5.2."""
        client, secret = _basic(request.authorization)
        if not client or self.clients.get(client) != secret:
            return _refusal(401, "invalid_client", "Client authentication failed")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
            return _refusal(400, "invalid_request", f"the body must be {FORM}")
        form = parse_qs(request.body.decode("latin-1"))
        due = {"grant_type": ("client_credentials", "unsupported_grant_type"), "scope": ("all-apis", "invalid_scope")}
        for name, (value, error) in due.items():
            if form.get(name) != [value]:
                return _refusal(400, error if name in form else "invalid_request", f"{name} must be {value}")
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._oauth[token] = time.monotonic() + self.token_seconds
            self.tokens_issued += 1
        expires = math.ceil(self.token_seconds)
        body = {"access_token": token, "scope": "all-apis", "token_type": "Bearer", "expires_in": expires}
        return Reply.json(200, body, {"Cache-Control": "no-store"})


def _refusal(status: int, error: str, description: str) -> Reply:
    headers = {"WWW-Authenticate": 'Basic realm="databricks"'} if status == 401 else {}
    return Reply.json(status, {"error": error, "error_description": description}, headers)


def _basic(authorization: str) -> tuple[str, str]:
    scheme, _, encoded = authorization.partition(" ")
    try:
        client, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return (client, secret) if scheme == "Basic" else ("", "")
