"""Why an answer is refused, and what a person can do about it: one table of all that is known, and its reader.

What a workspace says beside the status can hold names, addresses and secrets, so none of it is repeated. It is searched
for the phrases and codes of this table, and the table's own words are shown. Of an answer itself only the status is
shown, the host that a redirect leads to, and a code that is one of this file or looks like Databricks' (capitals).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from requests.exceptions import RequestException

from ...errors import PayloadError
from ...http.body import pieces

MAX_EXCERPT = 1 << 12
EXCERPT_SECONDS = 5.0
"""How much of a refusal's body is read, and for how long at most."""

API, ENDPOINT, TOKEN, ENTRA, IDENTITY = "api", "endpoint", "token", "entra", "identity"
"""What was asked: the REST API of a workspace, there for one endpoint, its OAuth, Entra ID, or Azure's host."""

ALL = (API, ENDPOINT, TOKEN, ENTRA, IDENTITY)
WORKSPACE = (API, ENDPOINT, TOKEN)
REST = (API, ENDPOINT)

REDIRECTS, FAILURES = range(300, 400), range(500, 600)

WITHOUT_LOGIN = {
    "who": "the token",
    "owner": "the owner of the token",
    "token": "the token",
    "renew": "it has expired or was revoked. Create a new one (workspace settings, Developer, Access tokens) and put "
    "it into `databricks_token` or the Authorization header",
    "grant": "grant its owner `Can View` or `Can Query` on the endpoint, or use the token of somebody who has it",
    "scope": "make a token that has it, such as `model-serving:read`",
}
"""Words of the table for a token that came from who knows where."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row: an answer of one of `statuses`, in one of `places`, with one of `codes` or a text that `marker` finds; of
    neither where the row has none. `sentence` and `cure` may name words of the login in braces.
    """

    name: str
    places: tuple[str, ...]
    statuses: range | tuple[int, ...]
    sentence: str
    cure: str
    codes: frozenset[str] = frozenset()
    marker: re.Pattern[str] | None = None


def _row(
    name: str,
    places: tuple[str, ...],
    statuses: range | tuple[int, ...],
    sentence: str,
    cure: str,
    codes: str = "",
    marker: str = "",
) -> Refusal:
    pattern = re.compile(marker, re.IGNORECASE) if marker else None
    return Refusal(name, places, statuses, sentence, cure, frozenset(codes.split()), pattern)


TOKEN_REFUSED = "token refused"
NOT_FOUND = "not found"

_PAUSE = "Retry-After"
_CHECK_HOST = "check `databricks_host`, which must be the URL of a workspace"

REFUSALS = (
    # The network, before anybody looks at who asks.
    _row(
        "private link",
        WORKSPACE,
        REDIRECTS,
        "the workspace is open to its Private Link only, and this request came another way",
        "let the Agent's host reach it through the private endpoint, to whose address the name of the workspace must "
        "resolve there, or allow public access in the workspace's network settings",
        marker=r"/login\.html\?\S*error=private-link-validation-error",
    ),
    _row(
        "login page",
        WORKSPACE,
        REDIRECTS,
        "it redirects to {there}, a login for persons",
        "check `databricks_host`, which must be the URL of a workspace as the browser shows it, with `?o=` where it "
        "has that; a program logs in with OAuth or a token, not there",
        marker=r"^(?:https?://[^/]*)?/(?:login|signin|aad/|oauth2/|oidc/(?:oauth2|v1/authorize))"
        r"|^https?://(?:[^/@]*@)?(?:login|accounts)\.",
    ),
    _row(
        "redirect",
        REST,
        REDIRECTS,
        "it redirects to {there}",
        "that is not followed with a token. Check `databricks_host`, which must be the URL of a workspace as the "
        "browser shows it",
    ),
    _row(
        "redirect",
        ALL,
        REDIRECTS,
        "it redirects to {there}",
        "check `databricks_host`, which must be the URL of a workspace as the browser shows it",
    ),
    _row(
        "IP access list",
        WORKSPACE,
        (401, 403),
        "an IP access list of the workspace or the account blocks the address that this request came from",
        "have the address that the Agent's host goes out with added to it (workspace settings, Security)",
        marker=r"\bIP ACL\b|\bIP access list",
    ),
    # Who asks.
    _row(
        "missing scope",
        REST,
        (401, 403),
        "{who} lacks the scope that this call needs",
        "{scope}",
        marker=r"required scopes?\b|\binsufficient[_ ]scope",
        codes="insufficient_scope",
    ),
    _row(
        "not assigned",
        WORKSPACE,
        (401, 403),
        "{owner} is not assigned to this workspace",
        "assign the user or service principal to it (account console, the workspace, Permissions), and check that "
        "`databricks_host`, with its `?o=`, is of the right workspace",
        marker=r"\bunauthorized access to (?:workspace|org)\b|\binvalid access to org\b",
    ),
    _row(
        "no credentials seen",
        REST,
        (401,),
        "the workspace saw no credentials of a kind that it takes",
        "check that no proxy takes the Authorization header away, and that the workspace allows this way to log in",
        marker=r"\bcredential was not sent\b",
    ),
    _row(
        TOKEN_REFUSED,
        REST,
        (403,),
        "Databricks refuses {token}",
        "{renew}",
        marker=r"\b(?:invalid|expired) (?:access )?token\b|\btoken (?:is |has )?expir",
    ),
    _row(TOKEN_REFUSED, REST, (401,), "Databricks refuses {token}", "{renew}"),
    # What is asked for.
    _row(
        "feature disabled",
        REST,
        (400, 403, 404),
        "model serving, or the part of it that was asked for, is disabled in this workspace",
        "have an administrator of the workspace enable it, or leave the workspace out; not every region has it",
        codes="FEATURE_DISABLED",
        marker=r"\bFEATURE_DISABLED\b",
    ),
    _row("no permission", REST, (403,), "{who} lacks permission", "{grant}"),
    _row(
        NOT_FOUND,
        (ENDPOINT,),
        (404,),
        "there is no serving endpoint of this name",
        "check `endpoint_name`, upper and lower case count",
    ),
    _row(
        NOT_FOUND,
        (API,),
        (404,),
        "there is nothing at this path",
        "check that `databricks_host` is the URL of a workspace",
    ),
    _row(
        "not understood",
        REST,
        (400,),
        "the request is not understood",
        "check that `databricks_host` is the URL of a workspace; that of an account needs `?o=` with the id of one",
    ),
    _row(
        "rate limit",
        REST,
        (429,),
        "Databricks limits requests",
        "raise `min_collection_interval` to 60, metrics change once a minute",
    ),
    _row("failure", REST, FAILURES, "the workspace fails", "it is asked again by itself"),
    # Tokens of Databricks.
    _row("rate limit", ALL, (429,), "it limits requests", "it is asked again by itself, after a pause"),
    _row("rate limit", ALL, (503,), "it limits requests", "it is asked again by itself, after a pause", marker=_PAUSE),
    _row(
        "scope refused",
        (TOKEN,),
        range(400, 500),
        "the scope {scopes} is refused",
        "name in `databricks_scopes` what the OAuth secret or the federation policy allows, such as "
        "`model-serving:read`, or have it allow this",
        codes="invalid_scope",
    ),
    _row(
        "unknown grant",
        (TOKEN,),
        range(400, 500),
        "it knows no login of the kind `{kind}`",
        f"{_CHECK_HOST}",
        codes="unsupported_grant_type",
    ),
    _row("client refused", (TOKEN,), (400, 401), "{credential} is refused", "{mend}"),
    _row(
        "forbidden",
        (TOKEN,),
        (403,),
        "access is forbidden",
        "check the IP access list of the workspace, and that the service principal is active",
    ),
    _row(
        NOT_FOUND,
        (TOKEN,),
        (404,),
        "there is no token endpoint",
        f"{_CHECK_HOST} and not that of the account console",
    ),
    # Tokens of Entra ID, https://learn.microsoft.com/entra/identity-platform/reference-error-codes.
    _row(
        "secret refused",
        (ENTRA,),
        range(400, 500),
        "the secret of the application is refused",
        "put the value of a client secret of this application into {holder}, not the id of the secret",
        codes="AADSTS7000215",
    ),
    _row(
        "secret expired",
        (ENTRA,),
        range(400, 500),
        "the secret of the application has expired",
        "create a new one (App registrations, the application, Certificates & secrets) and put it into {holder}",
        codes="AADSTS7000222",
    ),
    _row(
        "unknown application",
        (ENTRA,),
        range(400, 500),
        "the tenant has no such application",
        "check `databricks_azure_client_id` and `databricks_azure_tenant_id` (ARM_CLIENT_ID and ARM_TENANT_ID)",
        codes="AADSTS700016 unauthorized_client",
    ),
    _row(
        "unknown tenant",
        (ENTRA,),
        range(400, 500),
        "there is no such tenant",
        "check `databricks_azure_tenant_id` (ARM_TENANT_ID), and `databricks_azure_environment` where the workspace is "
        "in a national cloud",
        codes="AADSTS90002 AADSTS900023",
    ),
    _row(
        "conditional access",
        (ENTRA,),
        range(400, 500),
        "a Conditional Access policy of the tenant blocks the application",
        "have the policy allow it from the address of the Agent's host",
        codes="AADSTS53003",
    ),
    _row(
        "application refused",
        (ENTRA,),
        range(400, 500),
        "the application is refused",
        "check its id, secret and tenant: `databricks_azure_client_id`, {holder} and `databricks_azure_tenant_id`",
    ),
    # Tokens of a managed identity.
    _row(
        "no identity",
        (IDENTITY,),
        (400, 403, 404),
        "the host has no managed identity of that kind",
        "assign one to the machine (or, in Kubernetes, to its nodes) and, where it has several, say which in "
        "`databricks_azure_client_id` (ARM_CLIENT_ID)",
        codes="invalid_request unauthorized_client",
    ),
    _row(
        "no identity",
        (IDENTITY,),
        range(400, 500),
        "the host gives no token for a managed identity",
        "check that it is in Azure and has one; elsewhere use another way to log in",
    ),
    _row("failure", ALL, FAILURES, "it fails", "it is asked again by itself"),
    _row("other", REST, range(400, 600), "the workspace refuses the request", "look into its audit log"),
    _row("other", ALL, range(300, 600), "it refuses the request", "check `databricks_host`, and a proxy in between"),
)
"""The first row that fits counts."""

_OAUTH = frozenset(
    (
        "access_denied",
        "invalid_client",
        "invalid_grant",
        "invalid_request",
        "invalid_resource",
        "invalid_scope",
        "invalid_target",
        "unauthorized_client",
        "unsupported_grant_type",
    )
)
"""The words of OAuth that are shown as codes."""

_CODE = re.compile(r"[A-Z][A-Z_]{2,59}")
_PLAIN_TEXT = re.compile(r"\s*([A-Z][A-Z_]{2,59}):")
_EXCERPT = "databricks_excerpt"


@dataclass(frozen=True, slots=True)
class _Excerpt:
    """What an answer said when it came."""

    status: int
    text: str


def remember(response: Any, seconds: float = EXCERPT_SECONDS) -> None:
    """Keep what tells the reason of a refusal, as long as the body can be read. A second call does nothing."""
    held = response.__dict__
    if _EXCERPT in held:
        return
    status = response.status_code
    if 300 <= status < 400:
        text = str(response.headers.get("Location") or "")
    else:
        text = str(response.headers.get("X-Databricks-Reason-Phrase") or "")
        if 400 <= status < 500:
            text = f"{_beginning(response, seconds)}\n{text}"
        elif response.headers.get(_PAUSE):
            text = f"{text}\n{_PAUSE}"
    held[_EXCERPT] = _Excerpt(status, text)


def refusal(response: Any, place: str = API) -> tuple[Refusal, str]:
    """The row for an answer of 300 or more, and the code to show, which may be empty."""
    remember(response)
    excerpt: _Excerpt = response.__dict__[_EXCERPT]
    codes = _codes(excerpt.text)
    for row in REFUSALS:
        if place not in row.places or excerpt.status not in row.statuses:
            continue
        known = next((code for code in codes if code in row.codes), "")
        found = row.marker is not None and row.marker.search(excerpt.text) is not None
        if known or found or not (row.codes or row.marker):
            return row, known or next((code for code in codes if code in _OAUTH or _CODE.fullmatch(code)), "")
    return REFUSALS[-1], ""


def refuses_token(response: Any) -> bool:
    """Whether an answer says that the token is no good: 401, or one of the 403 that Databricks gives for that."""
    if response.status_code not in (401, 403):
        return False
    return response.status_code == 401 or refusal(response)[0].name == TOKEN_REFUSED


def explain(response: Any, words: Mapping[str, str] = WITHOUT_LOGIN, place: str = API) -> str:
    """What an answer of 300 or more means and what to do, in one sentence and without anything that it said."""
    row, code = refusal(response, place)
    status = response.__dict__[_EXCERPT].status
    words = {**words, "there": redirect_host(response)}
    shown = f"HTTP {status}, {code}" if code else f"HTTP {status}"
    return f"{row.sentence.format_map(words)} ({shown}): {row.cure.format_map(words)}"


def redirect_host(response: Any) -> str:
    """Where a redirect leads to: scheme and host, since path and query may hold what nobody is to see."""
    parts = urlsplit(str(response.headers.get("Location") or ""))
    return f"{parts.scheme}://{parts.hostname}" if parts.hostname else "another path of the same host"


def _codes(text: str) -> list[str]:
    """The codes in a body: those of Databricks, of OAuth, and the numbers of Entra ID."""
    plain = _PLAIN_TEXT.match(text)
    if plain is not None:
        return [plain.group(1)]
    try:
        body = json.JSONDecoder().raw_decode(text.lstrip())[0]
    except (ValueError, RecursionError):
        return []
    if not isinstance(body, dict):
        return []
    numbers = body.get("error_codes")
    found = [f"AADSTS{number}" for number in numbers if type(number) is int] if isinstance(numbers, list) else []
    return found + [code for code in (body.get("error_code"), body.get("error")) if isinstance(code, str)]


def _beginning(response: Any, seconds: float) -> str:
    """The first part of a body; what can't be read is left out."""
    body, end = bytearray(), time.monotonic() + seconds
    try:
        for chunk in pieces(response):
            body += chunk
            if len(body) >= MAX_EXCERPT or time.monotonic() > end:
                break
    except (RequestException, PayloadError, OSError):
        pass
    return bytes(body[:MAX_EXCERPT]).decode("utf-8", "replace")
