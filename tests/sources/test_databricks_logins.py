"""Logins without a stored secret, in Azure, and at the host of an account: which is meant, and what is sent where."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from datadog_checks.base import ConfigurationError
from datadog_checks.base.utils.http import RequestsWrapper
from hypothesis import given, settings
from hypothesis import strategies as st

from datadog_checks.model_serving.errors import CredentialsError, TokenLimited
from datadog_checks.model_serving.settings import Problems
from datadog_checks.model_serving.settings.login import METHODS, OFFICIAL_ONLY, OPTIONS, VARIABLES
from datadog_checks.model_serving.sources.databricks.access import Access
from datadog_checks.model_serving.sources.databricks.credentials import Login, WorkspaceCredentials, resolve

from ..conftest import make_check
from .databricks_http import (
    BASIC,
    CLIENT,
    MARK,
    SECRET,
    TOKEN_PATH,
    Answer,
    Asked,
    Clock,
    Server,
    assert_silent,
    serve,
    shown,
)

WHERE = "instance `https://a.cloud.databricks.com`"
AZURE = "adb-1.2.azuredatabricks.net"
PAT = f"dapi-{MARK}-0123"
JWT = f"eyJh.{MARK}.c2ln"
TENANT = "11112222-3333-4444-5555-666677778888"
ACCOUNT = "aaaabbbb-cccc-dddd-eeee-ffff00001111"
LIST = "/api/2.0/serving-endpoints"
METADATA_PATH, SERVER_PATH = "/.well-known/databricks-config", "/.well-known/oauth-authorization-server"
EXCHANGE = {
    "grant_type": ["urn:ietf:params:oauth:grant-type:token-exchange"],
    "subject_token_type": ["urn:ietf:params:oauth:token-type:jwt"],
    "subject_token": [JWT],
    "scope": ["all-apis"],
}


@pytest.fixture
def server() -> Iterator[Server]:
    with serve() as server:
        yield server


def made(server: Server, login: Login, clock: Any = None, **options: Any) -> WorkspaceCredentials:
    headers = {"headers": {"Authorization": f"Bearer wrong-{MARK}", "X-Own": f"{MARK}"}}
    http = RequestsWrapper({"timeout": 10, "username": "u", "password": MARK, **headers}, {})
    return WorkspaceCredentials(login, server.url, lambda: http, [].append, clock or Clock(), **options)


def issuing(server: Server, *paths: str, life: Any = 3600, more: Any = None) -> None:
    """Let the server give tokens at these paths, whoever asks."""
    before = server.answer

    def answer(asked: Asked) -> Answer:
        if asked.path.partition("?")[0] not in paths:
            return before(asked)
        with server.lock:
            server.asked.append(asked)
            server.issued += 1
            token = f"tok-{MARK}-{server.issued}"
            server.valid = {token}
        return Answer(200, {"access_token": token, "token_type": "Bearer", "expires_in": life, **(more or {})})

    server.answer = answer  # type: ignore[method-assign]


# Which login is meant.

OIDC = {"databricks_oidc_token_filepath": "/run/jwt"}
ENTRA = {"databricks_azure_client_id": CLIENT, "databricks_azure_client_secret": SECRET}
MEANT: dict[str, tuple[dict[str, Any], dict[str, str], str, str]] = {
    "a file with an OIDC token": (
        {**OIDC, "databricks_client_id": CLIENT},
        {},
        "file-oidc",
        "workload identity federation of service principal 0a1b.., with the OIDC token from the file /run/jwt",
    ),
    "a policy of the account": (
        OIDC,
        {},
        "file-oidc",
        "workload identity federation of the federated identity, with the OIDC token from the file /run/jwt",
    ),
    "a variable with an OIDC token": (
        {"databricks_oidc_token_env": "MY_JWT"},
        {"MY_JWT": JWT},
        "env-oidc",
        "workload identity federation of the federated identity, with the OIDC token from the environment",
    ),
    "the variables for a file": (
        {},
        {"DATABRICKS_CLIENT_ID": CLIENT, "DATABRICKS_OIDC_TOKEN_FILEPATH": "/run/jwt"},
        "file-oidc",
        "workload identity federation of service principal 0a1b.., with the OIDC token from the file /run/jwt",
    ),
    "the older name of it": (
        {},
        {"DATABRICKS_OIDC_TOKEN_FILE": "/run/jwt"},
        "file-oidc",
        "workload identity federation of the federated identity, with the OIDC token from the file /run/jwt",
    ),
    "the variable of the official tools": (
        {},
        {"DATABRICKS_CLIENT_ID": CLIENT, "DATABRICKS_OIDC_TOKEN": JWT},
        "env-oidc",
        "workload identity federation of service principal 0a1b.., with the OIDC token from the environment",
    ),
    "another variable": (
        {},
        {"DATABRICKS_OIDC_TOKEN_ENV": "MY_JWT", "MY_JWT": JWT, "DATABRICKS_OIDC_TOKEN": "old"},
        "env-oidc",
        "workload identity federation of the federated identity, with the OIDC token from the environment",
    ),
    "Entra ID": (ENTRA, {}, "azure-client-secret", "Entra ID of client 0a1b.. from the instance"),
    "Entra ID from the environment": (
        {},
        {"ARM_CLIENT_ID": CLIENT, "ARM_CLIENT_SECRET": SECRET, "ARM_TENANT_ID": TENANT},
        "azure-client-secret",
        "Entra ID of client 0a1b.. from the environment",
    ),
    "a managed identity": ({"databricks_azure_use_msi": True}, {}, "azure-msi", "the managed identity of this host"),
    "one of several": (
        {},
        {"ARM_USE_MSI": "true", "ARM_CLIENT_ID": CLIENT},
        "azure-msi",
        "managed identity 0a1b.. of this host",
    ),
    "no managed identity": (
        {},
        {"ARM_USE_MSI": "false", "ARM_CLIENT_ID": CLIENT, "ARM_CLIENT_SECRET": SECRET},
        "azure-client-secret",
        "Entra ID of client 0a1b.. from the environment",
    ),
    "a flag that is off": (
        {"databricks_azure_use_msi": False},
        {"DATABRICKS_TOKEN": PAT},
        "pat",
        "the token from the environment",
    ),
    "a choice in the instance": (
        {"databricks_token": PAT, **OIDC, "databricks_auth_type": "file-oidc"},
        {},
        "file-oidc",
        "workload identity federation of the federated identity, with the OIDC token from the file /run/jwt",
    ),
    "a choice in the environment": (
        {},
        {"DATABRICKS_TOKEN": PAT, "DATABRICKS_CLIENT_ID": CLIENT, "DATABRICKS_AUTH_TYPE": "pat"},
        "pat",
        "the token from the environment",
    ),
    "a choice in the instance of what the environment has": (
        {"databricks_auth_type": "oauth-m2m"},
        {"DATABRICKS_TOKEN": PAT, "DATABRICKS_CLIENT_ID": CLIENT, "DATABRICKS_CLIENT_SECRET": SECRET},
        "oauth-m2m",
        "OAuth of client 0a1b.. from the environment",
    ),
    "a choice in the environment is nothing to an instance": (
        {"databricks_token": PAT},
        {"DATABRICKS_AUTH_TYPE": "azure-cli"},
        "pat",
        "the token from the instance",
    ),
}


@pytest.mark.parametrize("name", MEANT)
def test_meant(name: str) -> None:
    config, environ, kind, described = MEANT[name]
    problems = Problems(WHERE)
    login = resolve(config, environ, problems, AZURE)
    problems.check()
    assert (login.kind, login.describe()) == (kind, described)
    assert_silent(shown(login))


def test_variables_of_azure_are_of_azure() -> None:
    """They may be there for other tools, and say nothing about a workspace elsewhere."""
    environ = {"ARM_CLIENT_ID": CLIENT, "ARM_CLIENT_SECRET": SECRET, "DATABRICKS_TOKEN": PAT}
    for host, count in (("dbc-1.cloud.databricks.com", 0), (AZURE, 1)):
        problems = Problems(WHERE)
        resolve({}, environ, problems, host)
        assert bool(problems.options) == bool(count)


@pytest.mark.parametrize(
    ("host", "named", "authority"),
    [
        (AZURE, None, "https://login.microsoftonline.com"),
        ("adb-1.2.databricks.azure.us", None, "https://login.microsoftonline.us"),
        ("adb-1.2.databricks.azure.cn:443", None, "https://login.chinacloudapi.cn"),
        ("acme.example.com", None, "https://login.microsoftonline.com"),
        (AZURE, "USGovernment", "https://login.microsoftonline.us"),
    ],
)
def test_authority(host: str, named: str | None, authority: str) -> None:
    assert resolve({**ENTRA, "databricks_azure_environment": named}, {}, Problems(WHERE), host).authority == authority


WRONG: dict[str, tuple[dict[str, Any], dict[str, str], str]] = {
    "OAuth and an OIDC token": (
        {"databricks_client_id": CLIENT, "databricks_client_secret": SECRET, **OIDC},
        {},
        "`databricks_client_secret` and `databricks_oidc_token_filepath` are different ways to log in: keep one of "
        "them, or say which in `databricks_auth_type`",
    ),
    "three ways": (
        {},
        {"DATABRICKS_TOKEN": PAT, "ARM_USE_MSI": "1", "DATABRICKS_OIDC_TOKEN": JWT},
        "DATABRICKS_TOKEN in the Agent's environment and DATABRICKS_OIDC_TOKEN in the Agent's environment and "
        "ARM_USE_MSI in the Agent's environment are different ways to log in: keep one of them, or say which in "
        "`databricks_auth_type` or DATABRICKS_AUTH_TYPE",
    ),
    "a login of a person": (
        {},
        {"DATABRICKS_AUTH_TYPE": "databricks-cli"},
        "DATABRICKS_AUTH_TYPE in the Agent's environment is `databricks-cli`, which the check doesn't know: write one "
        "of pat, oauth-m2m",
    ),
    "a secret for a choice": (
        {"databricks_token": PAT, "databricks_auth_type": PAT},
        {},
        "`databricks_auth_type` names no way to log in: write one of pat",
    ),
    "a choice of what isn't there": (
        {"databricks_auth_type": "azure-client-secret"},
        {"DATABRICKS_TOKEN": PAT},
        "the login `azure-client-secret` needs ARM_CLIENT_ID in the Agent's environment and ARM_CLIENT_SECRET",
    ),
    "half of Entra ID": (
        {"databricks_azure_client_id": CLIENT},
        {},
        "`databricks_azure_client_id` needs `databricks_azure_client_secret` beside it",
    ),
    "the other half": (
        {},
        {"ARM_CLIENT_SECRET": SECRET},
        "ARM_CLIENT_SECRET in the Agent's environment needs ARM_CLIENT_ID in the Agent's environment beside it",
    ),
    "a secret of Entra ID twice": (
        {**ENTRA, "databricks_azure_client_secret_path": "/run/secret"},
        {},
        "`databricks_azure_client_secret` and `databricks_azure_client_secret_path` are both given: keep one of them",
    ),
    "no flag": (
        {},
        {"ARM_USE_MSI": f"{MARK}"},
        "ARM_USE_MSI in the Agent's environment must be true or false",
    ),
    "no environment": (
        {**ENTRA, "databricks_azure_environment": MARK},
        {},
        "`databricks_azure_environment` names no environment of Azure: write one of PUBLIC, USGOVERNMENT, CHINA",
    ),
    "no tenant": (
        {**ENTRA, "databricks_azure_tenant_id": f"../{MARK}"},
        {},
        "`databricks_azure_tenant_id` is no tenant: write its id",
    ),
    "a token for a path": (
        {"databricks_oidc_token_filepath": JWT},
        {},
        "`databricks_oidc_token_filepath` must be the absolute path of a file",
    ),
    "a token for the name of a variable": (
        {"databricks_oidc_token_env": JWT},
        {},
        "`databricks_oidc_token_env` must be the name of a variable",
    ),
    "a variable that isn't there": (
        {"databricks_oidc_token_env": "MY_JWT"},
        {},
        "`databricks_oidc_token_env` names MY_JWT, which is not set",
    ),
    "scopes of a token": (
        {"databricks_token": PAT, "databricks_scopes": ["model-serving:read"]},
        {},
        "`databricks_scopes` says what a token of Databricks' own OAuth may do; that of the login `pat` has what it",
    ),
    "no scope": (
        {**OIDC, "databricks_scopes": [f"{MARK} x"]},
        {},
        "`databricks_scopes` must be a list of scopes, such as `model-serving:read`",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong(name: str) -> None:
    config, environ, said = WRONG[name]
    problems = Problems(WHERE)
    resolve(config, environ, problems, AZURE)
    with pytest.raises(ConfigurationError) as caught:
        problems.check()
    assert str(caught.value).startswith(f"{WHERE}: {said}"), str(caught.value)
    assert_silent(shown(caught.value))


@pytest.mark.parametrize("name", sorted(OFFICIAL_ONLY))
def test_official_methods_that_are_not_known(name: str) -> None:
    problems = Problems(WHERE)
    resolve({"databricks_auth_type": name, "databricks_token": PAT}, {}, problems)
    with pytest.raises(ConfigurationError, match=f"is `{name}`, which the check doesn't know"):
        problems.check()


def values(name: str) -> st.SearchStrategy[Any]:
    """What may be given under a name, the right thing more often than not: it tells where it is from."""
    if name in ("databricks_azure_use_msi", "ARM_USE_MSI"):
        return st.sampled_from([True, False] if name.islower() else ["true", "false", MARK])
    if name.endswith(("_path", "_filepath", "_FILEPATH", "_FILE")):
        return st.sampled_from([f"/run/{name}", f"/run/{name}", f"{MARK}-{name}"])
    if name.lower().endswith(("tenant_id", "azure_environment", "arm_environment")):
        return st.sampled_from([TENANT, "china", "a/b"])
    if name.lower().endswith("_env"):
        return st.just("MY_JWT")
    right = f"{MARK}-{name}"
    return st.sampled_from([right, right, right, f"ENC[{MARK}]", f"{MARK} x"])


OF_INSTANCE = {
    **{option: values(option) for option in OPTIONS},
    "databricks_auth_type": st.sampled_from([*METHODS, "azure-cli", MARK]),
    "databricks_scopes": st.sampled_from([["all-apis"], [], [f"{MARK} x"]]),
}
OF_ENVIRONMENT = {
    **{name: values(name) for names in VARIABLES.values() for name in names},
    "DATABRICKS_AUTH_TYPE": st.sampled_from([*METHODS, "azure-cli", MARK]),
    "MY_JWT": st.just(f"{MARK}-MY_JWT"),
}


def some(options: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """A few of them, where most would only be complained about."""
    names = st.lists(st.sampled_from(sorted(options)), max_size=5, unique=True)
    return names.flatmap(lambda chosen: st.fixed_dictionaries({name: options[name] for name in chosen}))


@settings(max_examples=1500, deadline=None)
@given(some(OF_INSTANCE), some(OF_ENVIRONMENT))
def test_any_combination(config: dict[str, Any], environ: dict[str, str]) -> None:
    """There is one login, from one place, with what it needs and nothing of another; or a complaint without secrets."""
    problems = Problems(WHERE)
    login = resolve(config, environ, problems, AZURE)
    try:
        problems.check()
    except ConfigurationError as error:
        assert_silent(str(error))
        return
    own = any(config.get(option) not in (None, False) for option in OPTIONS)
    assert login.source == ("instance" if own else "environment")
    method = METHODS[login.kind]
    spelled = {key: {f"databricks_{key}"} if own else set(VARIABLES.get(key, ())) for key in method.keys}
    of_marks = {name for mark in method.marks for name in spelled[mark]}
    if login.kind == "env-oidc":
        of_marks.add("MY_JWT")
    assert bool(login.secret) + bool(login.path) == (login.kind != "azure-msi")
    assert not login.secret or login.secret.removeprefix(f"{MARK}-") in of_marks
    assert not login.path or login.path.removeprefix("/run/") in of_marks
    ids = {name for key in method.keys if key.endswith("client_id") for name in spelled[key]}
    assert not login.client_id or login.client_id.removeprefix(f"{MARK}-") in ids
    assert login.client_id or not method.needs
    assert not login.tenant or "azure_tenant_id" in method.keys
    chosen = config.get("databricks_auth_type") or (None if own else environ.get("DATABRICKS_AUTH_TYPE"))
    assert login.kind == (chosen or login.kind)
    for kind, other in METHODS.items():
        for mark in other.marks if kind != login.kind and not chosen else ():
            names = {f"databricks_{mark}"} if own else set(VARIABLES.get(mark, ()))
            assert not any((config if own else environ).get(name) not in (None, False, "false") for name in names)
    assert_silent(shown(login))


# Workload identity federation.


@pytest.mark.parametrize("client", [CLIENT, ""])
def test_exchange(client: str, server: Server, tmp_path: Path) -> None:
    """A token of an identity provider becomes one of Databricks, without a secret and without what else logs in."""
    issuing(server, TOKEN_PATH)
    file = tmp_path / "jwt"
    file.write_text(f"{JWT}\n")
    one = made(server, Login("file-oidc", "instance", path=str(file), client_id=client))
    assert one.header() == f"Bearer tok-{MARK}-1"
    (asked,) = server.asked
    assert (asked.method, asked.path, asked.authorization) == ("POST", TOKEN_PATH, "")
    assert asked.form == {**EXCHANGE, **({"client_id": [client]} if client else {})}


def test_token_of_the_provider_that_rotates(server: Server, tmp_path: Path) -> None:
    """What Kubernetes writes anew is read for each exchange; a token that holds outlasts a file that is away."""
    issuing(server, TOKEN_PATH)
    file, clock = tmp_path / "jwt", Clock()
    file.write_text(JWT)
    one = made(server, Login("file-oidc", "instance", path=str(file)), clock)
    one.header()
    file.write_text(f"{JWT}2")
    clock.now += 3400
    assert one.header() == f"Bearer tok-{MARK}-2"
    assert [asked.form["subject_token"] for asked in server.asked] == [[JWT], [f"{JWT}2"]]
    file.unlink()
    clock.now += 3400
    assert one.header() == f"Bearer tok-{MARK}-3"
    clock.now += 3700
    with pytest.raises(
        CredentialsError, match=r"`databricks_oidc_token_filepath`: the file .* can't be read"
    ) as caught:
        one.header()
    assert_silent(shown(caught.value))


def test_file_of_the_environment_is_named_as_there(server: Server, tmp_path: Path) -> None:
    one = made(server, Login("file-oidc", "environment", path=str(tmp_path / "none")))
    with pytest.raises(CredentialsError, match=r"^DATABRICKS_OIDC_TOKEN_FILEPATH in the Agent's environment: the file"):
        one.header()


def test_variable_is_told_how_to_last(server: Server) -> None:
    server.script(TOKEN_PATH, Answer(400, {"error": "invalid_grant", "error_description": MARK}))
    one = made(server, Login("env-oidc", "environment", JWT, client_id=CLIENT))
    with pytest.raises(CredentialsError) as caught:
        one.header()
    assert "the OIDC token in DATABRICKS_OIDC_TOKEN" in str(caught.value)
    assert "`databricks_oidc_token_filepath` takes a file that is renewed" in str(caught.value)
    assert_silent(shown(caught.value))


def test_scopes(server: Server) -> None:
    scopes = ("model-serving:read", "unity-catalog:read")
    one = made(server, Login("oauth-m2m", "instance", SECRET, client_id=CLIENT, scopes=scopes))
    one.header()
    (asked,) = server.asked
    assert asked.form["scope"] == ["model-serving:read unity-catalog:read"]
    server.script(TOKEN_PATH, Answer(400, {"error": "invalid_scope"}))
    one = made(server, Login("oauth-m2m", "instance", SECRET, client_id=CLIENT, scopes=scopes))
    with pytest.raises(CredentialsError, match="the scope `model-serving:read`, `unity-catalog:read` is refused"):
        one.header()


# Azure.


def test_entra(server: Server) -> None:
    """The application logs in at Entra ID, which gets nothing of what the instance says for the workspace."""
    with serve() as entra:
        issuing(entra, f"/{TENANT}/oauth2/token", life="3599")
        login = Login("azure-client-secret", "instance", SECRET, client_id=CLIENT, authority=entra.url, tenant=TENANT)
        clock = Clock()
        one = made(server, login, clock)
        assert one.header() == f"Bearer tok-{MARK}-1"
        clock.now += 3290
        assert one.header() == f"Bearer tok-{MARK}-1"
        clock.now += 20
        assert one.header() == f"Bearer tok-{MARK}-2"
        asked = entra.asked[0]
        assert (asked.method, asked.authorization, asked.headers.get("X-Own")) == ("POST", "", None)
        assert asked.form == {
            "grant_type": ["client_credentials"],
            "client_id": [CLIENT],
            "client_secret": [SECRET],
            "resource": ["2ff814a6-3304-4ab8-85cb-cd0e6f879c1d"],
        }
    assert server.asked == []


def test_tenant_of_the_workspace(server: Server) -> None:
    """Where no tenant is given, the login of the workspace tells it; the secret goes to the known host alone."""
    with serve() as entra:
        issuing(entra, f"/{TENANT}/oauth2/token")
        elsewhere = f"https://evil.example.com/{TENANT}/oauth2/authorize?state={MARK}"
        server.script("/aad/auth", Answer(302, b"", {"Location": elsewhere}))
        one = made(server, Login("azure-client-secret", "instance", SECRET, client_id=CLIENT, authority=entra.url))
        assert one.header() == f"Bearer tok-{MARK}-1"
        assert [asked.authorization for asked in server.asked] == [""]
        assert entra.count(f"/{TENANT}/oauth2/token") == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer(404, MARK.encode()),
        Answer(200, {}, {"Location": f"https://h/{TENANT}/x"}),
        Answer(302, b""),
        Answer(302, b"", {"Location": f"/%2e%2e{MARK}/x"}),
    ],
)
def test_tenant_that_is_not_told(answer: Answer, server: Server) -> None:
    server.script("/aad/auth", answer)
    one = made(server, Login("azure-client-secret", "instance", SECRET, client_id=CLIENT, authority="http://h"))
    with pytest.raises(
        CredentialsError, match=r"no tenant from .*/aad/auth \(HTTP \d+\): give `databricks_azure_ten"
    ) as e:
        one.header()
    assert_silent(shown(e.value))


@pytest.mark.parametrize("client", [CLIENT, ""])
def test_managed_identity(client: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host itself gives the token. It is asked past any proxy; what is left of the token is told as a date."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with serve() as host:
        issuing(host, "/identity", life="86399", more={"expires_on": str(int(time.time()) + 600)})
        clock = Clock()
        one = made(server, Login("azure-msi", "instance", client_id=client, authority=f"{host.url}/identity"), clock)
        assert one.header() == f"Bearer tok-{MARK}-1"
        clock.now += 500
        assert one.header() == f"Bearer tok-{MARK}-1"
        clock.now += 60
        assert one.header() == f"Bearer tok-{MARK}-2"
        asked = host.asked[0]
        query = f"&client_id={client}" if client else ""
        resource = "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d"
        assert asked.path == f"/identity?api-version=2018-02-01&resource={resource}{query}"
        assert (asked.method, asked.authorization, asked.headers.get("X-Own")) == ("GET", "", None)
        assert asked.headers["Metadata"] == "true"


# The host of an account.

M2M = Login("oauth-m2m", "instance", SECRET, client_id=CLIENT)
ACCOUNT_TOKEN = f"/oidc/accounts/{ACCOUNT}/v1/token"


def told(server: Server, root: Any = "", **more: Any) -> None:
    """Let the host tell the root of its OAuth, and that its token endpoint."""
    root = root or f"{server.url}/oidc/accounts/{{account_id}}"
    server.script(METADATA_PATH, Answer(200, {"oidc_endpoint": root, **more}))
    endpoint = {"token_endpoint": f"{server.url}{ACCOUNT_TOKEN}"}
    server.script(f"/oidc/accounts/{ACCOUNT}{SERVER_PATH}", Answer(200, endpoint))


@pytest.mark.parametrize("given", [True, False])
def test_account(given: bool, server: Server) -> None:
    """The token endpoint is that of the account, and requests say which of its workspaces is meant."""
    issuing(server, ACCOUNT_TOKEN)
    told(server, **({} if given else {"account_id": ACCOUNT}))
    one = made(server, M2M, discover=True, account_id=ACCOUNT if given else "")
    clock = Clock()
    access = Access(one, clock=clock, wait=clock.wait, workspace_id="1234567890")
    assert access.get_json(RequestsWrapper({"timeout": 10}, {}), f"{server.url}{LIST}") == {}
    paths = [METADATA_PATH, f"/oidc/accounts/{ACCOUNT}{SERVER_PATH}", ACCOUNT_TOKEN, LIST]
    assert [asked.path for asked in server.asked] == paths
    assert [asked.authorization for asked in server.asked] == ["", "", f"Basic {BASIC}", f"Bearer tok-{MARK}-1"]
    assert server.asked[-1].headers["X-Databricks-Workspace-Id"] == "1234567890"
    # It is found once.
    server.valid.clear()
    assert access.get_json(RequestsWrapper({"timeout": 10}, {}), f"{server.url}{LIST}") == {}
    assert server.count(METADATA_PATH) == 1


FALLBACKS: dict[str, tuple[Callable[[Server], None], str]] = {
    "no page": (lambda server: server.script(METADATA_PATH, Answer(404, b"")), TOKEN_PATH),
    "a login in its place": (
        lambda server: server.script(METADATA_PATH, Answer(302, b"", {"Location": "/login.html"})),
        TOKEN_PATH,
    ),
    "a page for persons": (lambda server: server.script(METADATA_PATH, Answer(200, b"<html>")), TOKEN_PATH),
    "an empty page": (lambda server: server.script(METADATA_PATH, Answer(200, {})), TOKEN_PATH),
    "no page of the OAuth": (
        lambda server: (
            server.script(METADATA_PATH, Answer(200, {"oidc_endpoint": f"{server.url}/oidc/"})),
            server.script(f"/oidc{SERVER_PATH}", Answer(404, b"")),
        )[0],
        TOKEN_PATH,
    ),
}


@pytest.mark.parametrize("name", FALLBACKS)
def test_host_that_tells_nothing(name: str, server: Server) -> None:
    """It has its token endpoint where all workspaces have it."""
    script, path = FALLBACKS[name]
    script(server)
    assert made(server, M2M, discover=True).header() == f"Bearer tok-{MARK}-1"
    assert server.count(path) == 1


UNTOLD: dict[str, tuple[dict[str, Any], str]] = {
    "several accounts": ({}, "is the host of several accounts: give `databricks_account_id`"),
    "another host": (
        {"root": "https://evil.example.com/oidc"},
        "on a host that is not Databricks', to which no secret",
    ),
    "another host in disguise": ({"root": f"https://a.databricks.com@evil.example.com/{MARK}"}, "not Databricks'"),
    "another zone": ({"root": "https://evil-databricks.com/oidc"}, "on a host that is not Databricks'"),
    "another scheme": ({"root": "http://acme.databricks.com/oidc"}, "on a host that is not Databricks'"),
}


@pytest.mark.parametrize("name", UNTOLD)
def test_host_that_tells_something_else(name: str, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    options, said = UNTOLD[name]
    told(server, **options)
    with pytest.raises(CredentialsError) as caught:
        made(server, M2M, discover=True).header()
    assert said in str(caught.value)
    assert server.token_requests == 0
    assert_silent(shown(caught.value))


def test_host_that_tells_nothing_now(server: Server) -> None:
    """A failure is no answer: nothing is sent to a token endpoint that is only guessed."""
    clock = Clock()
    one = made(server, M2M, clock, discover=True)
    server.script(METADATA_PATH, Answer(429, {}, {"Retry-After": "7"}), Answer(503, b""))
    with pytest.raises(TokenLimited, match=r"no token endpoint from .*/\.well-known/databricks-config: it limits"):
        one.header()
    clock.now += 7
    with pytest.raises(CredentialsError, match=r"it fails \(HTTP 503\): it is asked again by itself"):
        one.header()
    assert server.token_requests == 0


@pytest.mark.parametrize("endpoint_name", ["", "fraud"])
def test_check(endpoint_name: str, server: Server, tmp_path: Path, aggregator: Any, datadog_agent: Any) -> None:
    """A whole check at the host of an account, with federation, scopes and nothing secret in its configuration."""
    issuing(server, ACCOUNT_TOKEN)
    told(server)
    (tmp_path / "jwt").write_text(JWT)
    options = {
        "databricks_host": f"{server.url}/?o=1234567890",
        "databricks_account_id": ACCOUNT,
        "databricks_client_id": CLIENT,
        "databricks_oidc_token_filepath": str(tmp_path / "jwt"),
        "databricks_scopes": ["model-serving:read"],
        **({"endpoint_name": endpoint_name} if endpoint_name else {}),
    }
    metrics = b"# TYPE cpu_usage_percentage gauge\ncpu_usage_percentage 7\n"
    server.script(LIST, Answer(200, {"endpoints": [{"name": "fraud", "state": {"ready": "READY"}}]}))
    server.script(f"{LIST}/fraud/metrics", Answer(200, metrics))
    check = make_check(**options)
    assert check.run() == ""
    aggregator.assert_metric("model_serving.cpu.utilization", value=7)
    (exchange,) = (asked for asked in server.asked if asked.path == ACCOUNT_TOKEN)
    assert exchange.form == {**EXCHANGE, "client_id": [CLIENT], "scope": ["model-serving:read"]}
    api = [asked for asked in server.asked if asked.path.startswith(LIST)]
    assert len(api) > 1
    assert {asked.headers["X-Databricks-Workspace-Id"] for asked in api} == {"1234567890"}
    assert {asked.authorization for asked in api} == {f"Bearer tok-{MARK}-1"}
    for found in aggregator.service_checks("model_serving.workspace.health"):
        assert {f"databricks_host:{server.url.partition('//')[2]}", "databricks_workspace_id:1234567890"} <= set(
            found.tags
        )
    check.cancel()


def test_two_workspaces_of_one_host(server: Server, aggregator: Any, datadog_agent: Any) -> None:
    """They are no instance read twice, and no workspace's endpoints are taken for the other's."""
    server.valid.add(PAT)
    checks = []
    for number in ("1", "2", "2"):
        server.script(LIST, Answer(200, {"endpoints": [{"name": "fraud", "state": {"ready": "READY"}}]}))
        server.script(f"{LIST}/fraud/metrics", Answer(200, b"cpu_usage_percentage 7\n"))
        checks.append(make_check(databricks_host=f"{server.url}?o={number}", databricks_token=PAT))
        assert checks[-1].run() == ""
    warned = [any("also read by another instance" in text for text in check.get_warnings()) for check in checks]
    assert warned == [False, False, True]
    keys = [check.source.reporter.workspace for check in checks]
    assert keys[0] != keys[1] == keys[2]
    for check in checks:
        check.cancel()


# What a user is told of a token that is refused.

ADVICE = {
    (Login("pat", "instance", PAT), 401): "put it into `databricks_token`",
    (Login("pat", "environment", PAT), 401): "put it into DATABRICKS_TOKEN, and restart the Agent",
    (Login("pat", "instance", path="/run/token"), 401): "put it into /run/token, which is read again by itself",
    (Login("pat", "instance", PAT), 403): "the token lacks permission (HTTP 403): grant its owner `Can View`",
    (M2M, 401): "the token that service principal 0a1b.. was just given (HTTP 401): check",
    (M2M, 403): "service principal 0a1b.. lacks permission (HTTP 403): grant it `Can View`",
    (Login("file-oidc", "instance", path="/x"), 403): "the federated identity lacks permission (HTTP 403): grant the",
    (Login("azure-msi", "instance"), 401): "the managed identity was just given (HTTP 401): check",
}


@pytest.mark.parametrize(("login", "status"), ADVICE)
def test_advice(login: Login, status: int, server: Server) -> None:
    server.answer = lambda asked: Answer(status, {"message": MARK})  # type: ignore[method-assign]
    response = RequestsWrapper({"timeout": 10}, {}).get(server.url)
    text = Access(made(server, login)).explain(response)
    assert ADVICE[login, status] in text
    assert_silent(text)
