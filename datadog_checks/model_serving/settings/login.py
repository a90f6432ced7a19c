"""How to log in to a Databricks workspace: what an instance or the environment says, checked before the first run.

The environment is read under the names that Databricks' own tools use.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from .problems import Problems

SENDABLE = re.compile(r"[!-~]+")
"""What may stand in a header: visible ASCII."""

TOKEN, OAUTH = "token", "oauth"
INSTANCE, ENVIRONMENT = "instance", "environment"

VARIABLES = {
    "databricks_token": "DATABRICKS_TOKEN",
    "databricks_client_id": "DATABRICKS_CLIENT_ID",
    "databricks_client_secret": "DATABRICKS_CLIENT_SECRET",
}
OPTIONS = (*VARIABLES, "databricks_token_path", "databricks_client_secret_path")
_PATHS = {"databricks_token_path": "databricks_token", "databricks_client_secret_path": "databricks_client_secret"}

CHOICES = (
    "`databricks_token`, `databricks_token_path`, or `databricks_client_id` with `databricks_client_secret` or "
    "`databricks_client_secret_path`"
)
_HANDLE = re.compile(r"\s*ENC\[.*\]\s*", re.DOTALL)
# Broader than what a URL is searched for: no token or secret has such brackets.
_PLACEHOLDER = re.compile(r"[<\[{]\s*[A-Za-z][\w .-]*\s*[>\]}]|%%\w+%%")


@dataclass(frozen=True, slots=True)
class Login:
    """One way to log in: `kind` is `token` or `oauth`, `source` is `instance` or `environment`."""

    kind: str
    source: str
    secret: str = field(default="", repr=False)
    path: str = ""
    client_id: str = field(default="", repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What is known to be secret now, in every form that could be logged."""
        return secret_forms(self.secret, self.client_id)

    def describe(self) -> str:
        """In words for the log, without secrets."""
        where = f"the file {self.path}" if self.path else f"the {self.source}"
        if self.kind == TOKEN:
            return f"the token from {where}"
        secret = f" with the secret from {where}" if self.path else f" from {where}"
        return f"OAuth of client {short(self.client_id)}{secret}"


def resolve(config: Mapping[str, Any], environ: Mapping[str, str], problems: Problems) -> Login:
    """The login that an instance names, or else the environment; never some of both.

    Complains about what is wrong; what is returned then is of no use. Files are not read here.
    """
    source = INSTANCE
    given = {option: config[option] for option in OPTIONS if config.get(option) is not None}
    if not given:
        source = ENVIRONMENT
        given = {option: environ[name] for option, name in VARIABLES.items() if environ.get(name)}
    if not given and problems.needs(*OPTIONS):
        problems.add(
            f"there are no credentials for Databricks: give {CHOICES}, or set DATABRICKS_TOKEN or "
            "DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET in the Agent's environment"
        )
    names = {option: _name(option, source) for option in OPTIONS}
    values = {
        option: (_path if option in _PATHS else _text)(value, option, names[option], problems)
        for option, value in given.items()
    }
    _one_method(given, names, problems)
    if "databricks_token" in values:
        return Login(TOKEN, source, secret=values["databricks_token"])
    if "databricks_token_path" in values:
        return Login(TOKEN, source, path=values["databricks_token_path"])
    secret, path = values.get("databricks_client_secret", ""), values.get("databricks_client_secret_path", "")
    return Login(OAUTH, source, secret, path, values.get("databricks_client_id", ""))


def secret_forms(secret: str, client_id: str = "") -> tuple[str, ...]:
    """A secret as it is, quoted for a URL or a form, and as HTTP Basic sends it. What is too short to mask is left."""
    forms = [secret, quote(secret, safe=""), quote_plus(secret)]
    if client_id and secret:
        forms.append(b64encode(f"{client_id}:{secret}".encode()).decode())
    return tuple(form for form in dict.fromkeys(forms) if len(form) > 3)


def short(client_id: str) -> str:
    return f"{client_id[:4]}.." if len(client_id) >= 12 else "(id not shown)"


def _name(option: str, source: str) -> str:
    return f"`{option}`" if source == INSTANCE else f"{VARIABLES.get(option, option)} in the Agent's environment"


def _one_method(given: Mapping[str, Any], names: Mapping[str, str], problems: Problems) -> None:
    client = [option for option in given if "_client_" in option]
    methods = [names[option] for option in given if option not in client]
    methods += [names[client[0]]] if client else []
    if len(methods) > 1:
        problems.add(f"{' and '.join(methods)} are different ways to log in: keep one of them", *given)
    elif client and "databricks_client_id" not in given:
        if problems.needs("databricks_client_id"):
            problems.add(f"{names[client[0]]} needs {names['databricks_client_id']} beside it", client[0])
    elif len(client) == 1:
        if problems.needs("databricks_client_secret", "databricks_client_secret_path"):
            problems.add(
                f"{names['databricks_client_id']} needs {names['databricks_client_secret']} beside it", client[0]
            )
    elif len(client) > 2:
        problems.add(
            "`databricks_client_secret` and `databricks_client_secret_path` are both given: keep one of them", *client
        )


def _text(value: Any, option: str, name: str, problems: Problems) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not isinstance(value, str):
        wrong = "must be text: put it between quotes"
    else:
        wrong = flaw(text) if text else "is empty: fill it in, or remove it"
    if wrong:
        problems.add(f"{name} {wrong}", option)
    return text


def _path(value: Any, option: str, name: str, problems: Problems) -> str:
    if not isinstance(value, str) or not value.strip():
        problems.add(f"{name} must be the path of a file", option)
        return ""
    if _HANDLE.fullmatch(value) or _PLACEHOLDER.search(value):
        problems.add(f"{name} {flaw(value)}", option)
        return ""
    path = Path(value.strip()).expanduser()
    if not path.is_absolute():
        # Not quoted: it may be the secret itself.
        problems.add(
            f"{name} must be the absolute path of a file; the secret itself goes into `{_PATHS[option]}`", option
        )
    return str(path)


def flaw(value: str) -> str:
    """What is wrong with a token, secret or id; empty when nothing is. Never quotes it."""
    if _HANDLE.fullmatch(value):
        return (
            "still holds an ENC[...] handle: the Agent's secrets backend has not resolved it. Check "
            "`secret_backend_command` in datadog.yaml, and what `datadog-agent secret` says"
        )
    if _PLACEHOLDER.search(value):
        return "still holds a placeholder: fill in your own"
    if value.lower().startswith("bearer "):
        return "starts with `Bearer`: leave that word out"
    if re.search(r"\s", value):
        return "has a blank or a line break in it: it must be one word"
    if not SENDABLE.fullmatch(value):
        return "has a character in it that no token has: copy it once more"
    return ""
