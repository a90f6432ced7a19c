"""A configuration profile of Databricks' own tools becomes options of an instance, on a person's machine only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from datadog_checks.model_serving.errors import ConfigurationFileError
from datadog_checks.model_serving.workstation.standin.configuration import Configuration
from datadog_checks.model_serving.workstation.standin.profiles import with_profile

HOST = "https://dbc-1.cloud.databricks.com"
MARK = "sEcReT"
FILE = f"""
; written by `databricks configure`
[DEFAULT]
host  = {HOST}
token = dapi-{MARK}-1

[prod]
host          = https://acme.databricks.com/?o=12345
client_id     = 0a1b2c3d
client_secret = 50%{MARK}=%(x)s
scopes        = model-serving:read, unity-catalog:read
account_id    = aaaabbbb-cccc-dddd-eeee-ffff00001111
cluster_id    = 1

[azure]
host = https://adb-1.2.azuredatabricks.net
azure_use_msi = TRUE
auth_type = azure-msi
oidc_token = {MARK}
"""
WHOLE: dict[str, Any] = {"serving_system": "databricks"}


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    path = tmp_path / "profiles"
    path.write_text(FILE)
    return {"DATABRICKS_CONFIG_FILE": str(path)}


def filled(instance: dict[str, Any], environ: dict[str, str]) -> tuple[dict[str, Any], bool]:
    """What becomes of an instance, and whether that is told."""
    configuration, told = with_profile(Configuration("conf.yaml", {}, ((1, instance),)), environ)
    assert MARK not in repr(told)
    return configuration.instances[0][1], 1 in told


def test_default(environ: dict[str, str]) -> None:
    expected = {**WHOLE, "databricks_host": HOST, "databricks_token": f"dapi-{MARK}-1"}
    assert filled(WHOLE, environ) == (expected, True)


def test_named(environ: dict[str, str]) -> None:
    """Nothing of the default profile comes into another, and what the check has no use for is left out."""
    expected = {
        **WHOLE,
        "databricks_host": "https://acme.databricks.com/?o=12345",
        "databricks_client_id": "0a1b2c3d",
        "databricks_client_secret": f"50%{MARK}=%(x)s",
        "databricks_scopes": ["model-serving:read", "unity-catalog:read"],
        "databricks_account_id": "aaaabbbb-cccc-dddd-eeee-ffff00001111",
    }
    assert filled(WHOLE, {**environ, "DATABRICKS_CONFIG_PROFILE": "prod"}) == (expected, True)
    azure, _ = filled(WHOLE, {**environ, "DATABRICKS_CONFIG_PROFILE": "azure"})
    assert azure == {
        **WHOLE,
        "databricks_host": "https://adb-1.2.azuredatabricks.net",
        "databricks_azure_use_msi": True,
        "databricks_auth_type": "azure-msi",
    }


def test_default_that_is_another(environ: dict[str, str]) -> None:
    path = Path(environ["DATABRICKS_CONFIG_FILE"])
    path.write_text(f"{FILE}\n[__settings__]\ndefault_profile = azure\n")
    assert filled(WHOLE, environ)[0]["databricks_auth_type"] == "azure-msi"
    with pytest.raises(ConfigurationFileError, match=r"has no profile __settings__\. There are: DEFAULT, prod, azure"):
        filled(WHOLE, {**environ, "DATABRICKS_CONFIG_PROFILE": "__settings__"})


LEFT: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "a login of its own": ({**WHOLE, "databricks_oidc_token_filepath": "/x"}, {"DATABRICKS_CONFIG_PROFILE": "prod"}),
    "a choice of its own": ({**WHOLE, "databricks_auth_type": "pat"}, {}),
    "a login in the environment": (WHOLE, {"DATABRICKS_TOKEN": "x", "DATABRICKS_CONFIG_PROFILE": "prod"}),
    "a host of its own": ({"databricks_host": HOST}, {}),
    "a host in the environment": (WHOLE, {"DATABRICKS_HOST": HOST}),
    "another system": ({"openmetrics_endpoint": "http://h/metrics"}, {"DATABRICKS_CONFIG_PROFILE": "prod"}),
    "a URL": ({**WHOLE, "openmetrics_endpoint": "http://h/metrics"}, {"DATABRICKS_CONFIG_PROFILE": "prod"}),
}


@pytest.mark.parametrize("name", LEFT)
def test_left_alone(name: str, environ: dict[str, str]) -> None:
    instance, more = LEFT[name]
    assert filled(instance, {**environ, **more}) == (instance, False)


def test_named_for_the_host_of_the_instance(environ: dict[str, str]) -> None:
    named = {**environ, "DATABRICKS_CONFIG_PROFILE": "DEFAULT"}
    same = {"databricks_host": "DBC-1.cloud.databricks.com/"}
    assert filled(same, named)[0] == {**same, "databricks_token": f"dapi-{MARK}-1"}
    with pytest.raises(ConfigurationFileError, match="instance 1 names another host than profile DEFAULT of") as caught:
        filled({"databricks_host": "evil.example.com"}, named)
    assert MARK not in str(caught.value)


def test_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is nothing to complain about where nobody asks for it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert filled(WHOLE, {}) == (WHOLE, False)
    for more in ({"DATABRICKS_CONFIG_PROFILE": "prod"}, {"DATABRICKS_CONFIG_FILE": str(tmp_path / "x")}):
        with pytest.raises(ConfigurationFileError, match="there is no such file"):
            filled(WHOLE, more)
    (tmp_path / ".databrickscfg").write_text(FILE)
    assert filled(WHOLE, {})[1]


@pytest.mark.parametrize(
    "text", [f"token = {MARK}\n", f"[a]\n{MARK}\n", f"[a]\ntoken = {MARK}\n[a]\n", f"[a]\ntoken = {MARK}\ntoken = x\n"]
)
def test_file_of_another_kind(text: str, environ: dict[str, str]) -> None:
    """What is wrong with it is said without a word of it."""
    Path(environ["DATABRICKS_CONFIG_FILE"]).write_text(text)
    with pytest.raises(ConfigurationFileError, match=r"it is no file of profiles: check line [12345]") as caught:
        filled(WHOLE, environ)
    assert MARK not in repr(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None
