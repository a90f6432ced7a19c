"""How to log in to a Databricks workspace: what an instance or the environment says, checked before the first run.

The methods, and the names of options and variables, are those of Databricks' own tools: an option is a key of their
configuration profiles with `databricks_` in front.
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

PREFIX = "databricks_"
INSTANCE, ENVIRONMENT = "instance", "environment"

PAT, M2M, FILE_OIDC, ENV_OIDC = "pat", "oauth-m2m", "file-oidc", "env-oidc"
AZURE_SECRET, AZURE_MSI = "azure-client-secret", "azure-msi"

VARIABLES = {
    "token": ("DATABRICKS_TOKEN",),
    "client_id": ("DATABRICKS_CLIENT_ID",),
    "client_secret": ("DATABRICKS_CLIENT_SECRET",),
    "oidc_token_filepath": ("DATABRICKS_OIDC_TOKEN_FILEPATH", "DATABRICKS_OIDC_TOKEN_FILE"),
    "oidc_token_env": ("DATABRICKS_OIDC_TOKEN_ENV",),
    "oidc_token": ("DATABRICKS_OIDC_TOKEN",),
    "azure_client_id": ("ARM_CLIENT_ID",),
    "azure_client_secret": ("ARM_CLIENT_SECRET",),
    "azure_tenant_id": ("ARM_TENANT_ID",),
    "azure_environment": ("ARM_ENVIRONMENT",),
    "azure_use_msi": ("ARM_USE_MSI",),
}
"""Of each key the variables that may hold it; the first that is set counts."""

AUTH_TYPE, AUTH_TYPE_VARIABLE = "databricks_auth_type", "DATABRICKS_AUTH_TYPE"
SCOPES = "databricks_scopes"
ALL_APIS = "all-apis"
"""The scope that is asked for where none is named."""


@dataclass(frozen=True, slots=True)
class _Method:
    """One way to log in: exactly one of `marks`, all of `needs`, and perhaps some of `may`, are given for it."""

    marks: tuple[str, ...]
    needs: tuple[str, ...] = ()
    may: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        return (*self.marks, *self.needs, *self.may)


METHODS = {
    PAT: _Method(("token", "token_path")),
    M2M: _Method(("client_secret", "client_secret_path"), needs=("client_id",)),
    FILE_OIDC: _Method(("oidc_token_filepath",), may=("client_id",)),
    ENV_OIDC: _Method(("oidc_token_env", "oidc_token"), may=("client_id",)),
    AZURE_SECRET: _Method(
        ("azure_client_secret", "azure_client_secret_path"),
        needs=("azure_client_id",),
        may=("azure_tenant_id", "azure_environment"),
    ),
    AZURE_MSI: _Method(("azure_use_msi",), may=("azure_client_id", "azure_tenant_id", "azure_environment")),
}
"""By the name that `DATABRICKS_AUTH_TYPE` has for it."""

_MEANT = {"client_id": M2M, "azure_client_id": AZURE_SECRET}
"""The method that is missed where one of these is given and belongs to none that is there."""

OFFICIAL_ONLY = frozenset(
    (
        "azure-cli",
        "azure-devops-oidc",
        "basic",
        "databricks-cli",
        "external-browser",
        "github-oidc",
        "github-oidc-azure",
        "google-credentials",
        "google-id",
        "metadata-service",
        "model-serving",
        "runtime",
        "runtime-oauth",
    )
)
"""Methods of Databricks' own tools that the check doesn't know: most of them need a person, or a build server."""

KEYS = tuple(dict.fromkeys(key for method in METHODS.values() for key in method.keys))
# A token that ends soon has no place in a configuration file.
OPTIONS = tuple(f"{PREFIX}{key}" for key in KEYS if key != "oidc_token")

_SECRET_OF = {
    "token_path": "databricks_token",
    "client_secret_path": "databricks_client_secret",
    "azure_client_secret_path": "databricks_azure_client_secret",
    "oidc_token_filepath": "",
}
"""Keys that are paths of files, and the option for what such a file holds."""

AUTHORITIES = {
    "public": "https://login.microsoftonline.com",
    "usgovernment": "https://login.microsoftonline.us",
    "china": "https://login.chinacloudapi.cn",
}
"""Where Entra ID gives tokens, by Azure's environment."""

AZURE_ZONES = {
    ".azuredatabricks.net": "public",
    ".databricks.azure.us": "usgovernment",
    ".databricks.azure.cn": "china",
}
"""The environment of a workspace by the end of its host's name."""

METADATA = "http://169.254.169.254/metadata/identity/oauth2/token"
"""Where a host in Azure gives tokens for its managed identities."""

CHOICES = (
    "`databricks_client_id` with `databricks_client_secret` or `databricks_client_secret_path`; "
    "`databricks_oidc_token_filepath` for workload identity federation; `databricks_token` or `databricks_token_path`; "
    "in Azure `databricks_azure_client_id` with `databricks_azure_client_secret`, or `databricks_azure_use_msi`"
)
_HANDLE = re.compile(r"\s*ENC\[.*\]\s*", re.DOTALL)
# Broader than what a URL is searched for: no token or secret has such brackets.
_PLACEHOLDER = re.compile(r"[<\[{]\s*[A-Za-z][\w .-]*\s*[>\]}]|%%\w+%%")
_SCOPE = re.compile(r"[A-Za-z][\w.:-]{0,99}")
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,99}")
_YES, _NO = ("true", "1", "t", "yes"), ("false", "0", "f", "no")


@dataclass(frozen=True, slots=True)
class Login:
    """One way to log in: `kind` is a name of `METHODS`, `source` is `instance` or `environment`.

    `secret` is the token, the client's secret, or the token of an identity provider that is exchanged for one; or
    `path` is the file that holds it. `authority` is where Azure gives tokens, `tenant` whose they are.
    """

    kind: str
    source: str
    secret: str = field(default="", repr=False)
    path: str = ""
    client_id: str = field(default="", repr=False)
    scopes: tuple[str, ...] = (ALL_APIS,)
    authority: str = ""
    tenant: str = ""

    @property
    def secrets(self) -> tuple[str, ...]:
        """What is known to be secret now, in every form that could be logged."""
        return secret_forms(self.secret, self.client_id)

    @property
    def holder(self) -> str:
        """What the secret or its path is given in, as messages spell it."""
        marks = METHODS[self.kind].marks
        return _name(marks[-1] if self.path else marks[0], self.source)

    def describe(self) -> str:
        """In words for the log, without secrets."""
        where = f"the file {self.path}" if self.path else f"the {self.source}"
        if self.kind == PAT:
            return f"the token from {where}"
        if self.kind in (FILE_OIDC, ENV_OIDC):
            where = where if self.path else "the environment"
            return f"workload identity federation of {self.who}, with the OIDC token from {where}"
        if self.kind == AZURE_MSI:
            return f"{self.who} of this host"
        secret = f" with the secret from {where}" if self.path else f" from {where}"
        entra = "Entra ID" if self.kind == AZURE_SECRET else "OAuth"
        return f"{entra} of client {short(self.client_id)}{secret}"

    @property
    def who(self) -> str:
        """Whom a request is sent as, without secrets."""
        if self.kind == PAT:
            return "the token"
        if self.kind == AZURE_MSI:
            return f"managed identity {short(self.client_id)}" if self.client_id else "the managed identity"
        return f"service principal {short(self.client_id)}" if self.client_id else "the federated identity"


def resolve(config: Mapping[str, Any], environ: Mapping[str, str], problems: Problems, host: str = "") -> Login:
    """The login that an instance names, or else the environment; never some of both.

    `host` tells in which of Azure's environments a workspace is. Complains about what is wrong; what is returned then
    is of no use. Files are not read here.
    """
    source = INSTANCE
    given = {key: config[f"{PREFIX}{key}"] for key in KEYS if config.get(f"{PREFIX}{key}") is not None}
    given = _with_flag(given, source, problems)
    chosen, chooser = config.get(AUTH_TYPE), f"`{AUTH_TYPE}`"
    if not given:
        source = ENVIRONMENT
        given = _with_flag(_of_environment(environ), source, problems)
        if chosen is None:
            chosen, chooser = (
                environ.get(AUTH_TYPE_VARIABLE) or None,
                f"{AUTH_TYPE_VARIABLE} in the Agent's environment",
            )
        if chosen is None and _azure(host) is None:
            # Other tools of Azure have the same variables.
            given = {key: value for key, value in given.items() if not key.startswith("azure_")}
    kind = _kind(given, source, chosen, chooser, problems)
    values = {key: _value(given[key], key, source, problems) for key in METHODS[kind].keys if key in given}
    _complete(kind, values, source, problems)
    if kind == ENV_OIDC and "oidc_token_env" in values:
        values["oidc_token"] = _of_variable(values["oidc_token_env"], source, environ, problems)
    secrets = ("token", "client_secret", "azure_client_secret", "oidc_token")
    return Login(
        kind,
        source,
        secret=next((values[key] for key in secrets if key in values), ""),
        path=next((values[key] for key in _SECRET_OF if key in values), ""),
        client_id=values.get("client_id", values.get("azure_client_id", "")),
        scopes=_scopes(config.get(SCOPES), kind, problems),
        authority=_authority(kind, values, source, host, problems),
        tenant=values.get("azure_tenant_id", ""),
    )


def secret_forms(secret: str, client_id: str = "") -> tuple[str, ...]:
    """A secret as it is, quoted for a URL or a form, and as HTTP Basic sends it. What is too short to mask is left."""
    forms = [secret, quote(secret, safe=""), quote_plus(secret)]
    if client_id and secret:
        forms.append(b64encode(f"{client_id}:{secret}".encode()).decode())
    return tuple(form for form in dict.fromkeys(forms) if len(form) > 3)


def short(client_id: str) -> str:
    return f"{client_id[:4]}.." if len(client_id) >= 12 else "(id not shown)"


def _of_environment(environ: Mapping[str, str]) -> dict[str, str]:
    found = {
        key: next((environ[name] for name in names if environ.get(name)), None) for key, names in VARIABLES.items()
    }
    return {key: value for key, value in found.items() if value is not None}


def _name(key: str, source: str) -> str:
    if source == INSTANCE or key not in VARIABLES:
        return f"`{PREFIX}{key}`"
    return f"{VARIABLES[key][0]} in the Agent's environment"


def _kind(given: Mapping[str, Any], source: str, chosen: Any, chooser: str, problems: Problems) -> str:
    """The method that is meant: the one that is chosen, or else the only one that something is given for."""
    if chosen is not None:
        name = chosen.strip() if isinstance(chosen, str) else ""
        if name in METHODS:
            return name
        # What is no name of a method may be a secret in the wrong place.
        what = f"is `{name}`, which the check doesn't know" if name in OFFICIAL_ONLY else "names no way to log in"
        problems.add(f"{chooser} {what}: write one of {', '.join(METHODS)}", AUTH_TYPE)
    marks = {
        kind: next(mark for mark in method.marks if mark in given)
        for kind, method in METHODS.items()
        if any(mark in given for mark in method.marks)
    }
    for key, kind in _MEANT.items():
        if key in given and not any(key in METHODS[found].keys for found in marks):
            marks[kind] = key
    if len(marks) > 1 and chosen is None:
        names = [_name(mark, source) for mark in marks.values()]
        problems.add(
            f"{' and '.join(names)} are different ways to log in: keep one of them, or say which in "
            f"`{AUTH_TYPE}`" + (f" or {AUTH_TYPE_VARIABLE}" if source == ENVIRONMENT else ""),
            *(f"{PREFIX}{key}" for key in given),
        )
    if not given and chosen is None and problems.needs(*OPTIONS):
        problems.add(
            f"there are no credentials for Databricks: give {CHOICES}; or set the variables of Databricks' own tools "
            "in the Agent's environment, as DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET, "
            "DATABRICKS_OIDC_TOKEN_FILEPATH, DATABRICKS_TOKEN, or ARM_CLIENT_ID, ARM_CLIENT_SECRET and ARM_TENANT_ID. "
            "A configuration profile is read by the command `model-serving check` alone"
        )
    return next(iter(marks), PAT)


def _complete(kind: str, values: Mapping[str, Any], source: str, problems: Problems) -> None:
    """Complain where something is missing that belongs to a method, or is there twice."""
    method = METHODS[kind]
    marks = [mark for mark in method.marks if mark in values]
    needed = [*marks, *(key for key in method.needs if key in values)]
    # Without any of it there are other complaints, unless it was chosen.
    if not needed and not problems.needs(AUTH_TYPE, *OPTIONS):
        return
    if len(marks) > 1 and kind != ENV_OIDC:
        names = " and ".join(_name(mark, source) for mark in marks)
        problems.add(
            f"{names} are both given: keep one of them"
            if kind != PAT
            else f"{names} are different ways to give the token: keep one of them",
            *(f"{PREFIX}{mark}" for mark in marks),
        )
    missing = [key for key in method.needs if key not in values]
    if not marks:
        missing.append(method.marks[0] if source == INSTANCE or method.marks[0] in VARIABLES else method.marks[-1])
    for key in missing:
        alternatives = method.marks if key in method.marks else (key,)
        if not problems.needs(*(f"{PREFIX}{each}" for each in alternatives)):
            continue
        beside = _name(needed[0], source) if needed else f"the login `{kind}`"
        other = ""
        if kind == M2M and key in method.marks:
            other = f" (or {_name('oidc_token_filepath', source)} for workload identity federation)"
        problems.add(
            f"{beside} needs {_name(key, source)} beside it{other}"
            if needed
            else f"{beside} needs {' and '.join(_name(each, source) for each in missing)}",
            *(f"{PREFIX}{each}" for each in needed[:1]),
        )
        if not needed:
            return


def _value(value: Any, key: str, source: str, problems: Problems) -> Any:
    name, option = _name(key, source), f"{PREFIX}{key}"
    if key == "azure_use_msi":
        return True
    if key in _SECRET_OF:
        return _path(value, option, name, _SECRET_OF[key], problems)
    text = _text(value, option, name, problems)
    if key == "azure_tenant_id" and text and problems.needs(option) and not _TENANT.fullmatch(text):
        problems.add(f"{name} is no tenant: write its id, or one of its domains", option)
    return text


def _with_flag(given: Mapping[str, Any], source: str, problems: Problems) -> dict[str, Any]:
    """What is given, where `azure_use_msi: false` is as good as nothing."""
    text = str(given.get("azure_use_msi", "")).strip().lower()
    if "azure_use_msi" in given and text not in (*_YES, *_NO):
        problems.add(f"{_name('azure_use_msi', source)} must be true or false", f"{PREFIX}azure_use_msi")
    return {key: value for key, value in given.items() if key != "azure_use_msi" or text in _YES}


def _of_variable(name: str, source: str, environ: Mapping[str, str], problems: Problems) -> str:
    """The OIDC token in the variable that is named."""
    option, spelled = f"{PREFIX}oidc_token_env", _name("oidc_token_env", source)
    if not problems.needs(option):
        return ""
    if not re.fullmatch(r"[A-Za-z_]\w{0,99}", name):
        # Not quoted: it may be the token itself.
        problems.add(f"{spelled} must be the name of a variable, in the Agent's environment, with the token", option)
        return ""
    token = (environ.get(name) or "").strip()
    wrong = flaw(token) if token else "is not set"
    if wrong:
        problems.add(f"{spelled} names {name}, which {wrong}", option)
    return token


def _scopes(value: Any, kind: str, problems: Problems) -> tuple[str, ...]:
    """The scopes to ask for, each once."""
    if value is None:
        return (ALL_APIS,)
    scopes = tuple(dict.fromkeys(str(each).strip() for each in value))
    if not scopes or not all(_SCOPE.fullmatch(scope) for scope in scopes):
        problems.add(f"`{SCOPES}` must be a list of scopes, such as `model-serving:read`, or be left out", SCOPES)
    elif kind not in (M2M, FILE_OIDC, ENV_OIDC) and problems.needs(SCOPES, AUTH_TYPE, *OPTIONS):
        problems.add(
            f"`{SCOPES}` says what a token of Databricks' own OAuth may do; that of the login `{kind}` has what it was "
            "made with: remove the option",
            SCOPES,
        )
    return scopes


def _azure(host: str) -> str | None:
    """The environment of Azure that a host is of, None where it is not known to be in Azure."""
    name = host.rpartition("//")[2].partition(":")[0].lower()
    return next((environment for zone, environment in AZURE_ZONES.items() if name.endswith(zone)), None)


def _authority(kind: str, values: Mapping[str, Any], source: str, host: str, problems: Problems) -> str:
    if kind == AZURE_MSI:
        return METADATA
    if kind != AZURE_SECRET:
        return ""
    named = str(values.get("azure_environment") or _azure(host) or "public").lower()
    if named not in AUTHORITIES and problems.needs(f"{PREFIX}azure_environment"):
        known = ", ".join(each.upper() for each in AUTHORITIES)
        problems.add(
            f"{_name('azure_environment', source)} names no environment of Azure: write one of {known}, or remove it",
            f"{PREFIX}azure_environment",
        )
    return AUTHORITIES.get(named, "")


def _text(value: Any, option: str, name: str, problems: Problems) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not isinstance(value, str):
        wrong = "must be text: put it between quotes"
    else:
        wrong = flaw(text) if text else "is empty: fill it in, or remove it"
    if wrong:
        problems.add(f"{name} {wrong}", option)
    return text


def _path(value: Any, option: str, name: str, of: str, problems: Problems) -> str:
    if not isinstance(value, str) or not value.strip():
        problems.add(f"{name} must be the path of a file", option)
        return ""
    if _HANDLE.fullmatch(value) or _PLACEHOLDER.search(value):
        problems.add(f"{name} {flaw(value)}", option)
        return ""
    path = Path(value.strip()).expanduser()
    if not path.is_absolute():
        # Not quoted: it may be the secret itself.
        instead = f"; the secret itself goes into `{of}`" if of else ""
        problems.add(f"{name} must be the absolute path of a file{instead}", option)
        return ""
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
