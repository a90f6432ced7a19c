"""What an instance may say about a workspace, and what it is told when that makes no sense."""

from __future__ import annotations

from typing import Any

import pytest
from datadog_checks.base import ConfigurationError

from datadog_checks.model_serving.config_models import InstanceConfig
from datadog_checks.model_serving.settings import DatabricksSettings, Problems, check_option_names
from datadog_checks.model_serving.settings import databricks as module
from datadog_checks.model_serving.settings.options import Options

HOST = "https://example.cloud.databricks.com"
LOGIN = {"databricks_token": "dapi-0123456789"}
NAMES = ["dev-a", "prod-a", "prod-b", "prod-b-test"]


def databricks_settings(config: dict[str, Any], environ: dict[str, str], where: str) -> DatabricksSettings | None:
    """What is read from an instance, as the check has it done."""
    problems = Problems(where)
    check_option_names(config, InstanceConfig.model_fields, problems)
    model = InstanceConfig.model_validate(config, context={"configured_fields": frozenset(config)})
    found = module.databricks_settings(Options(model), environ, problems)
    problems.check()
    return found


@pytest.mark.parametrize(
    ("config", "environ", "url", "endpoint"),
    [
        ({"databricks_host": HOST}, {}, HOST, ""),
        ({"databricks_host": HOST, "endpoint_name": "e"}, {}, HOST, "e"),
        ({"databricks_host": f" {HOST}/ml/endpoints?o=1#x "}, {}, HOST, ""),
        ({"databricks_host": "example.cloud.databricks.com"}, {}, HOST, ""),
        ({"databricks_host": "HTTP://127.0.0.1:8080"}, {}, "http://127.0.0.1:8080", ""),
        ({"serving_system": "databricks"}, {"DATABRICKS_HOST": HOST}, HOST, ""),
        ({"serving_system": "databricks", "endpoint_name": "e"}, {"DATABRICKS_HOST": HOST}, HOST, "e"),
        ({"serving_system": "databricks", "databricks_host": HOST}, {"DATABRICKS_HOST": "https://other"}, HOST, ""),
    ],
)
def test_source(config: dict[str, Any], environ: dict[str, str], url: str, endpoint: str) -> None:
    found = databricks_settings({**config, **LOGIN}, environ, "instance")
    assert found is not None
    assert (found.url, found.endpoint) == (url, endpoint)
    assert found.metrics_url.startswith(f"{url}/api/2.0/serving-endpoints")
    assert "dapi-0123456789" not in repr(found)


ACCOUNT = "aaaabbbb-cccc-dddd-eeee-ffff00001111"
OF_HOST = {"DATABRICKS_WORKSPACE_ID": "7", "DATABRICKS_ACCOUNT_ID": ACCOUNT}


@pytest.mark.parametrize(
    ("config", "environ", "url", "ids"),
    [
        ({"databricks_host": f"{HOST}/?o=12345"}, {}, HOST, ("12345", "")),
        ({"databricks_host": "acme.databricks.com/ml?x=1&o=12345#y"}, {}, "https://acme.databricks.com", ("12345", "")),
        ({"databricks_host": HOST, "databricks_workspace_id": "12345"}, {}, HOST, ("12345", "")),
        ({"databricks_host": HOST, "databricks_workspace_id": 12345}, {}, HOST, ("12345", "")),
        ({"databricks_host": f"{HOST}?o=12345", "databricks_workspace_id": 12345}, {}, HOST, ("12345", "")),
        ({"databricks_host": HOST, "databricks_account_id": ACCOUNT}, {}, HOST, ("", ACCOUNT)),
        # What the environment says of its own host is nothing to another.
        ({"databricks_host": HOST}, OF_HOST, HOST, ("", "")),
        ({"serving_system": "databricks"}, {"DATABRICKS_HOST": HOST, **OF_HOST}, HOST, ("7", ACCOUNT)),
        ({"serving_system": "databricks"}, {"DATABRICKS_HOST": f"{HOST}/?o=8"}, HOST, ("8", "")),
    ],
)
def test_workspace_of_a_host(config: dict[str, Any], environ: dict[str, str], url: str, ids: tuple[str, str]) -> None:
    """The id that the browser shows, an option or a variable give, stays beside the host."""
    found = databricks_settings({**config, **LOGIN}, environ, "instance")
    assert found is not None
    assert (found.url, (found.workspace_id, found.account_id)) == (url, ids)


@pytest.mark.parametrize(
    "config",
    [
        {"openmetrics_endpoint": "http://h/metrics"},
        {"openmetrics_endpoint": "http://h/metrics", "serving_system": "databricks"},
        {"openmetrics_endpoints": ["http://h/metrics"], "serving_system": "databricks"},
        {"serving_system": "mlserver"},
        {},
    ],
)
def test_no_workspace(config: dict[str, Any]) -> None:
    """The environment names a workspace only for an instance that has no source of its own and asks for one."""
    assert databricks_settings(config, {"DATABRICKS_HOST": HOST, "DATABRICKS_TOKEN": "t"}, "instance") is None


@pytest.mark.parametrize(
    ("choice", "watched", "beyond", "interval"),
    [
        (None, NAMES, 0, 60.0),
        ({}, NAMES, 0, 60.0),
        ({"include": [], "exclude": []}, NAMES, 0, 60.0),
        ({"include": ["^prod"], "exclude": ["test"], "interval": 300}, ["prod-a", "prod-b"], 0, 300.0),
        # Anywhere in the name, upper and lower case apart.
        ({"include": ["a", "TEST"]}, ["dev-a", "prod-a"], 0, 60.0),
        ({"limit": 1}, ["dev-a"], 3, 60.0),
        ({"limit": 4}, NAMES, 0, 60.0),
        ({"exclude": [""]}, [], 0, 60.0),
    ],
)
def test_choice(choice: dict[str, Any] | None, watched: list[str], beyond: int, interval: float) -> None:
    found = databricks_settings({"databricks_host": HOST, "serving_endpoints": choice, **LOGIN}, {}, "instance")
    assert found is not None
    assert found.selection.of(reversed(NAMES)) == (watched, beyond)
    assert found.interval == interval


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"serving_system": "databricks"}, "`databricks_host`, or in DATABRICKS_HOST"),
        ({"databricks_token": "t"}, "`databricks_token` needs `databricks_host`"),
        ({"databricks_client_id": "t"}, "`databricks_client_id` needs `databricks_host`"),
        ({"databricks_tags": ["team"]}, "`databricks_tags` needs `databricks_host`"),
        ({"serving_endpoints": {}}, "`serving_endpoints` needs `databricks_host`"),
        ({"databricks_host": HOST, "openmetrics_endpoint": "http://h"}, "either `openmetrics_endpoint` or"),
        ({"databricks_host": HOST, "openmetrics_endpoints": ["http://h"]}, "either `openmetrics_endpoint` or"),
        ({"databricks_host": "https://<WORKSPACE>.cloud.databricks.com", **LOGIN}, "still holds a placeholder"),
        ({"databricks_host": HOST, "endpoint_name": "[ENDPOINT_NAME]", **LOGIN}, "`endpoint_name` still holds"),
        ({"databricks_host": " https:// ", **LOGIN}, "`databricks_host` is empty"),
        ({"databricks_host": HOST, "endpoint_name": "e", "serving_endpoints": {}, **LOGIN}, "keep one of them"),
        ({"databricks_host": HOST, "serving_endpoints": {"only": ["a"]}, **LOGIN}, "there are include, exclude, limit"),
        ({"databricks_host": HOST, "serving_endpoints": {"exclude": ["a", "("]}, **LOGIN}, "`exclude` of"),
        ({"databricks_host": HOST}, "no credentials for Databricks"),
        ({"databricks_scopes": ["all-apis"]}, "`databricks_scopes` needs `databricks_host`"),
        ({"databricks_workspace_id": "1"}, "`databricks_workspace_id` needs `databricks_host`"),
        ({"databricks_host": f"{HOST}?o=me", **LOGIN}, "`?o=` of the host is no id of a workspace"),
        ({"databricks_host": HOST, "databricks_workspace_id": "x", **LOGIN}, "`databricks_workspace_id` is no id"),
        ({"databricks_host": HOST, "databricks_workspace_id": "", **LOGIN}, "`databricks_workspace_id` is no id"),
        ({"databricks_host": f"{HOST}?o=1", "databricks_workspace_id": "2", **LOGIN}, "name different workspaces"),
        ({"databricks_host": HOST, "databricks_account_id": "me", **LOGIN}, "`databricks_account_id` is no id"),
        ({"databricks_host": "acme.databricks.com", **LOGIN}, "is the URL of an account: add `?o=` with the id"),
        ({"databricks_host": "accounts.cloud.databricks.com", **LOGIN}, "is the account console: write the URL"),
        ({"databricks_host": "accounts.azuredatabricks.net/?o=1", **LOGIN}, "is the account console: write the URL"),
    ],
)
def test_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^instance `x`: ") as caught:
        databricks_settings(config, {}, "instance `x`")
    assert words in str(caught.value)


def test_all_that_is_wrong_at_once() -> None:
    """The host, what goes with it and the login, in one message."""
    config = {
        "databricks_host": "acme.databricks.com",
        "databricks_account_id": "me",
        "databricks_token": "t x",
        "databricks_oidc_token_filepath": "/run/jwt",
        "databricks_scopes": [],
    }
    with pytest.raises(ConfigurationError, match=r"^instance `x`: 5 problems: ") as caught:
        databricks_settings(config, {}, "instance `x`")
    for option in config:
        assert f"`{option}`" in str(caught.value)
