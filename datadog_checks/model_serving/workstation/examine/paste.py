"""The configuration that does what a trial run did, to be pasted into an Agent's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from ...http.redact import is_secret, secrets_of
from .model import ReadinessState, RecognisedSystem

LEFT_OUT = frozenset(("min_collection_interval",))
"""Options of which a trial says nothing about what an Agent should do."""

NAME = "endpoint_name"


def configuration(
    options: Mapping[str, Any], systems: Sequence[RecognisedSystem], readiness: Sequence[ReadinessState], default: str
) -> str:
    """YAML of one instance, without secrets. `default` is what the endpoint is called without an `endpoint_name`."""
    shown: dict[str, Any] = {str(key): _without_secrets(options, str(key), value) for key, value in options.items()}
    shown = {key: value for key, value in shown.items() if key not in LEFT_OUT or value != 0}
    advice: list[str] = []
    hinted = [system.name for system in systems if not system.sure]
    if hinted and options.get("serving_system", "auto") == "auto":
        sure = [system.name for system in systems if system.sure]
        names = [*sure, *hinted]
        shown["serving_system"] = names[0] if len(names) == 1 else names
        advice.append("# serving_system: names of metrics alone do not prove it, so look whether it is right.")
    if options.get("openmetrics_endpoint") and NAME not in options and default:
        advice.append(f"# {NAME}: what you call this endpoint; without it, it is {default}.")
    if any(state.why and "readiness_url" in state.why for state in readiness) and "readiness_url" not in options:
        advice.append("# readiness_url: the URL of the API, to have readiness asked.")
    handles = _handles(shown)
    if handles:
        advice.append(f"# {', '.join(handles)}: put each secret into the Agent's secrets backend, under this name.")
    text = yaml.safe_dump([_plain(shown)], sort_keys=False, allow_unicode=True, width=1000, default_flow_style=False)
    lines = ["instances:", *(f"  {line}" for line in text.splitlines())]
    lines += [f"    {line}" for line in advice]
    return "\n".join(lines) + "\n"


def _without_secrets(options: Mapping[str, Any], key: str, value: Any, name: str = "") -> Any:
    """A value with a handle in place of each text that is a secret or holds one."""
    handle = f"ENC[{re.sub(r'[^a-z0-9]+', '_', (name or key).lower()).strip('_')}]"
    if isinstance(value, Mapping):
        return {
            str(one): _without_secrets(options, str(one), each, f"{name or key}_{one}") for one, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [
            _without_secrets(options, key, each, f"{name or key}_{number}" if len(value) > 1 else name)
            for number, each in enumerate(value, 1)
        ]
    if not isinstance(value, str) or value.startswith("ENC["):
        return value
    if value and is_secret(key):
        return handle
    return handle if any(secret in value for secret in secrets_of(options)) else value


def _handles(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [handle for each in value.values() for handle in _handles(each)]
    if isinstance(value, list):
        return [handle for each in value for handle in _handles(each)]
    return [value] if isinstance(value, str) and value.startswith("ENC[") else []


def _plain(value: Any) -> Any:
    """What YAML can write, whatever kind of mapping or list it is."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
