"""Configuration profiles of Databricks' own tools, for a person's machine: an Agent reads no user's home.

Every key of a profile is an option of the check with `databricks_` in front, so a profile becomes options of the
instances that name a workspace and no login.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import ConfigurationFileError
from ...settings.login import AUTH_TYPE, AUTH_TYPE_VARIABLE, KEYS, OPTIONS, PREFIX, SCOPES, VARIABLES
from ...settings.names import bare_host
from .configuration import Configuration

PROFILE_VARIABLE, FILE_VARIABLE, HOST_VARIABLE = (
    "DATABRICKS_CONFIG_PROFILE",
    "DATABRICKS_CONFIG_FILE",
    "DATABRICKS_HOST",
)
USUAL_FILE = "~/.databrickscfg"
_SETTINGS, _DEFAULT = "__settings__", "DEFAULT"
_OTHER_KEYS = ("host", "auth_type", "scopes", "workspace_id", "account_id")


def with_profile(configuration: Configuration, environ: Mapping[str, str]) -> tuple[Configuration, dict[int, str]]:
    """The configuration with a profile's options in the instances that log in with it, and which profile that is.

    As with Databricks' own tools a profile is used where DATABRICKS_CONFIG_PROFILE names it, or where neither a host
    nor a login is given; and a login that is given comes before it. Raises ConfigurationFileError.
    """
    instances, told = [], {}
    for number, instance in configuration.instances:
        if _wants(instance, environ):
            found = _profile(environ)
            if found is not None:
                where, values = found
                instance = _filled(number, instance, where, values, environ)
                told[number] = where
        instances.append((number, instance))
    return replace(configuration, instances=tuple(instances)), told


def _wants(instance: Mapping[str, Any], environ: Mapping[str, str]) -> bool:
    systems = instance.get("serving_system")
    urls = any(instance.get(option) for option in ("openmetrics_endpoint", "openmetrics_endpoints", "gpu"))
    host = instance.get("databricks_host")
    if urls or not (host or systems in ("databricks", ["databricks"])):
        return False
    if any(instance.get(option) is not None for option in (*OPTIONS, AUTH_TYPE)):
        return False
    if any(environ.get(name) for names in VARIABLES.values() for name in names) or environ.get(AUTH_TYPE_VARIABLE):
        return False
    return bool(environ.get(PROFILE_VARIABLE)) or not (host or environ.get(HOST_VARIABLE))


def _profile(environ: Mapping[str, str]) -> tuple[str, dict[str, str]] | None:
    """A profile and what messages call it; None where there is none and nobody asked for one."""
    path = Path(environ.get(FILE_VARIABLE) or USUAL_FILE).expanduser()
    named = environ.get(PROFILE_VARIABLE) or ""
    sections = _sections(path, bool(named or environ.get(FILE_VARIABLE)))
    name = named or sections.get(_SETTINGS, {}).get("default_profile", "").strip() or _DEFAULT
    if name != _SETTINGS and name in sections:
        return f"profile {name} of {path}", sections[name]
    if not named and name == _DEFAULT:
        return None
    known = ", ".join(section for section in sections if section != _SETTINGS) or "none"
    raise ConfigurationFileError(f"{path} has no profile {name}. There are: {known}. Check {PROFILE_VARIABLE}.")


def _sections(path: Path, wanted: bool) -> dict[str, dict[str, str]]:
    """All profiles of a file. What its section DEFAULT says is of no other."""
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    problem = ""
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if not wanted:
            return {}
        problem = f"there is no such file. Write its path into {FILE_VARIABLE}, or make it with `databricks configure`"
    except OSError as error:
        problem = f"it can't be read: {error.strerror}"
    except (configparser.Error, UnicodeDecodeError) as error:
        lines = [number for number, _ in getattr(error, "errors", ())]
        line = lines[0] if lines else getattr(error, "lineno", None)
        problem = f"it is no file of profiles: check {f'line {line}' if line else 'its lines'}, such as `token = ...`"
    if problem:
        # Outside of the except clauses: what the parser complains about quotes the line, which may hold a secret.
        raise ConfigurationFileError(f"{path}, the profiles of Databricks' tools: {problem}.")
    return {section: dict(parser.items(section)) for section in parser.sections()}


def _filled(
    number: int, instance: dict[str, Any], where: str, values: Mapping[str, str], environ: Mapping[str, str]
) -> dict[str, Any]:
    options: dict[str, Any] = {
        f"{PREFIX}{key}": values[key]
        for key in (*KEYS, *_OTHER_KEYS)
        if values.get(key) and f"{PREFIX}{key}" in (*OPTIONS, *(f"{PREFIX}{other}" for other in _OTHER_KEYS))
    }
    host = str(instance.get("databricks_host") or environ.get(HOST_VARIABLE) or "")
    there = str(options.get("databricks_host") or "")
    if host and there and bare_host(host).lower() != bare_host(there).lower():
        raise ConfigurationFileError(
            f"instance {number} names another host than {where}, whose login is not sent there: correct one of them, "
            f"or unset {PROFILE_VARIABLE}."
        )
    if SCOPES in options:
        options[SCOPES] = re.split(r"[,\s]+", options[SCOPES].strip(", "))
    use_msi = options.get(f"{PREFIX}azure_use_msi")
    if use_msi is not None and use_msi.lower() in ("true", "false"):
        options[f"{PREFIX}azure_use_msi"] = use_msi.lower() == "true"
    return {**options, **instance}
