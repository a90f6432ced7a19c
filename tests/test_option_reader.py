"""Each option is read in one place, and its default is that of the specification."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from datadog_checks.model_serving.config_models import InstanceConfig
from datadog_checks.model_serving.settings import GpuSettings, Settings, read_settings
from datadog_checks.model_serving.settings.login import AUTH_TYPE, SCOPES
from datadog_checks.model_serving.settings.login import OPTIONS as LOGIN

from .conftest import make_check

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "datadog_checks" / "model_serving"
READERS = PACKAGE / "settings"
OTHERS = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.relative_to(PACKAGE).parts[0] not in ("settings", "config_models", "workstation")
]
[FILE] = yaml.safe_load((ROOT / "assets/configuration/spec.yaml").read_text(encoding="utf-8"))["files"]
OWN = {
    option["name"]: option["value"]
    for option in FILE["options"][1]["options"]
    if "name" in option and not option.get("hidden")
}
"""The options that the stock check doesn't have, with their types and examples."""

ONE = {"openmetrics_endpoint": "http://127.0.0.1:9/metrics"}
SEVERAL = {"openmetrics_endpoints": ["http://127.0.0.1:9/a", "http://127.0.0.1:9/b"]}
WORKSPACE = {"databricks_host": "h.example", "databricks_token": "dapi-1"}
OAUTH = {"databricks_host": "h.example", "databricks_client_id": "a", "databricks_client_secret": "b"}
AZURE = {
    "databricks_host": "adb-1.2.azuredatabricks.net",
    "databricks_azure_client_id": "a",
    "databricks_azure_client_secret": "b",
}
TWO_LOGINS = {**OAUTH, "databricks_token": "dapi-1", "databricks_auth_type": "pat"}
ACCOUNT = {
    "databricks_host": "https://acme.databricks.com/?o=1",
    "databricks_client_id": "a",
    "databricks_client_secret": "b",
}
GPU = {"gpu": "nvml"}
CHANGES: dict[str, tuple[dict[str, Any], Any]] = {
    "serving_system": (ONE, "mlserver"),
    "endpoint_name": (ONE, "fraud"),
    "databricks_host": (WORKSPACE, "other.example"),
    "databricks_client_id": (OAUTH, "c"),
    "databricks_client_secret": (OAUTH, "c"),
    "databricks_client_secret_path": (OAUTH, "/run/secret"),
    "databricks_token": (WORKSPACE, "dapi-2"),
    "databricks_token_path": (WORKSPACE, "/run/token"),
    "databricks_oidc_token_filepath": (OAUTH, "/run/token"),
    "databricks_oidc_token_env": (OAUTH, "OIDC_TOKEN"),
    "databricks_azure_client_id": (AZURE, "c"),
    "databricks_azure_client_secret": (AZURE, "c"),
    "databricks_azure_client_secret_path": (AZURE, "/run/secret"),
    "databricks_azure_tenant_id": (AZURE, "11111111-2222-3333-4444-555555555555"),
    "databricks_azure_environment": (AZURE, "CHINA"),
    "databricks_azure_use_msi": (AZURE, True),
    "databricks_auth_type": (TWO_LOGINS, "oauth-m2m"),
    "databricks_scopes": (OAUTH, ["model-serving:read"]),
    "databricks_workspace_id": (WORKSPACE, "1234567890123456"),
    "databricks_account_id": (ACCOUNT, "11111111-2222-3333-4444-555555555555"),
    "databricks_tags": (WORKSPACE, ["team"]),
    "serving_endpoints": (WORKSPACE, {"limit": 3}),
    "openmetrics_endpoints": (SEVERAL, ["http://127.0.0.1:9/c"]),
    "max_connections": (SEVERAL, 3),
    "endpoint_deadline": (SEVERAL, 3),
    "catalog": (ONE, ""),
    "readiness": (ONE, True),
    "readiness_url": (ONE, "http://127.0.0.1:8"),
    "readiness_interval": (ONE, 5),
    "models": (ONE, ["fraud"]),
    "gpu": (GPU, "auto"),
    "gpu_processes": (GPU, False),
    "gpu_process_limit": (GPU, 3),
    "keep_labels": (ONE, ["id"]),
    "stale_after": (ONE, 60),
    "max_payload_bytes": (ONE, 1000),
    "sample_limit": (ONE, 1000),
    "label_limit": (ONE, 30),
    "label_value_length_limit": (ONE, 1000),
    "restart_memory_bytes": (ONE, 0),
}
"""An instance, and another value of the option than the instance has."""

INSTEAD_OF = {
    "databricks_client_secret_path": "databricks_client_secret",
    "databricks_token_path": "databricks_token",
    "databricks_oidc_token_filepath": "databricks_client_secret",
    "databricks_oidc_token_env": "databricks_client_secret",
    "databricks_azure_client_secret_path": "databricks_azure_client_secret",
    "databricks_azure_use_msi": "databricks_azure_client_secret",
}
"""Options that take the place of another one."""


def settings(instance: dict[str, Any]) -> Settings:
    """The settings of an instance, without the options that the stock classes are given."""
    check = make_check(**instance)
    check.load_configuration_models()
    found = read_settings(
        check.instance, check._config_model_instance, {"DATABRICKS_TOKEN": "dapi-0", "OIDC_TOKEN": "ey.1"}
    )
    if isinstance(found.source, GpuSettings):
        return found
    return replace(found, source=replace(found.source, scrape=replace(found.source.scrape, options={})))


@pytest.fixture
def catalog(tmp_path: Path) -> str:
    """A catalog file of the user's own."""
    text = (PACKAGE / "catalog/systems/custom_ml.yaml").read_text(encoding="utf-8")
    path = tmp_path / "other.yaml"
    path.write_text(text.replace("system: custom_ml", "system: other", 1), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", OWN)
def test_option_is_in_the_settings(name: str, catalog: str) -> None:
    """Every option of ours makes a difference to the settings."""
    instance, value = CHANGES[name]
    changed = {**instance, name: catalog if name == "catalog" else value}
    if name in INSTEAD_OF:
        changed[INSTEAD_OF[name]] = None
    assert settings(changed) != settings(instance)


@pytest.mark.parametrize("name", [name for name in OWN if CHANGES[name][0].get(name) is None])
def test_default(name: str) -> None:
    """An option that is given without a value, or with its default, is like one that is left out."""
    instance, _ = CHANGES[name]
    without = settings(instance)
    assert settings({**instance, name: None}) == without
    shown = OWN[name].get("display_default", OWN[name].get("example"))
    if shown is not None and OWN[name].get("type") in ("integer", "number", "boolean"):
        assert settings({**instance, name: shown}) == without


def reads(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Options that are read by name from something called like options, with the expression."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            receiver, key = node.value, node.slice
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            if node.func.attr not in ("get", "given", "pop", "setdefault"):
                continue
            receiver, key = node.func.value, node.args[0]
        else:
            continue
        called = receiver.id if isinstance(receiver, ast.Name) else getattr(receiver, "attr", "")
        if isinstance(receiver, ast.Attribute) and called == "options":
            # Those of a requests wrapper, or for the stock classes.
            continue
        known = called.lstrip("_") in ("config", "instance", "options", "self", "model")
        if known and isinstance(key, ast.Constant) and key.value in InstanceConfig.model_fields:
            yield key.value, node


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_options_are_read_nowhere_else(path: Path) -> None:
    """Nothing but the settings reads an option by its name."""
    assert [name for name, _ in reads(ast.parse(path.read_text(encoding="utf-8")))] == []


def test_options_are_read_once() -> None:
    """Each option of ours is read by one expression, but for the name by which messages call an instance."""
    found = Counter(
        name
        for path in READERS.glob("*.py")
        if path.name != "names.py"
        for name, _ in reads(ast.parse(path.read_text(encoding="utf-8")))
    )
    found.update((*LOGIN, AUTH_TYPE, SCOPES))
    assert {name: found[name] for name in OWN} == dict.fromkeys(OWN, 1)


def test_no_default_is_written_again() -> None:
    """A default is that of the specification: no reader has another at hand."""
    for path in READERS.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        read = {id(node) for _, node in reads(tree)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and id(node) in read:
                assert len(node.args) == 1, ast.unparse(node)
            if isinstance(node, ast.BoolOp) and id(node.values[0]) in read:
                last = node.values[-1]
                assert not (isinstance(last, ast.Constant) and last.value), ast.unparse(node)


def test_the_rule_sees_every_form_of_reading() -> None:
    """The rule itself: what it has to find and what it has to let pass."""
    found = "config.get('readiness')", "instance['tags']", "self._config.get('models', 3)", "options.given('gpu')"
    passed = "config.get('served_entities')", "http.options['timeout']", "detail.get('tags')", "config.get(name)"
    assert [len(list(reads(ast.parse(text)))) for text in found] == [1] * len(found)
    assert [len(list(reads(ast.parse(text)))) for text in passed] == [0] * len(passed)
