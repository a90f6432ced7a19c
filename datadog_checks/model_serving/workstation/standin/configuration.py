"""Reads a configuration file of the Agent for one check: `init_config` and `instances`."""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ...errors import ConfigurationFileError
from ...strict_yaml import UnreadableYaml, decode_yaml, read_yaml
from .secrets import filled, handles_in, values_of

STANDARD_INPUT = "-"

DEFAULT_INTERVAL = 15.0
"""Seconds between runs where an instance does not set `min_collection_interval`, as in the Agent."""

LONGEST_INTERVAL = 366 * 86400.0
"""No system sleeps for as long as a mistaken number may say."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """The configuration of one check, `name` in messages. `instances` hold their numbers in it, counted from 1.

    `secrets` are the values that stand where a person wrote `ENC[...]`, which `written` still has, by number. `urls`
    are those of no endpoint of a person's, and what they are called instead. `is_trial` tells that no file holds it.
    """

    name: str
    init_config: dict[str, Any]
    instances: tuple[tuple[int, dict[str, Any]], ...]
    written: Mapping[int, dict[str, Any]] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    urls: Mapping[str, str] = field(default_factory=dict)
    is_trial: bool = False

    def only(self, numbers: tuple[int, ...]) -> Configuration:
        """The same with some instances only. Raises ConfigurationFileError for a number that is not there."""
        present = dict(self.instances)
        for number in numbers:
            if number not in present:
                raise ConfigurationFileError(
                    f"{self.name} has no instance {number}: it has {len(present)}, counted from 1."
                )
        return replace(self, instances=tuple((n, present[n]) for n in dict.fromkeys(numbers)))

    def interval(self) -> float:
        """Seconds between runs at which every instance is due: the longest `min_collection_interval`."""
        return max(interval_of(instance) for _, instance in self.instances)


def load_configuration(
    path: Path, given: Sequence[str] = (), environ: Mapping[str, str] = MappingProxyType({})
) -> Configuration:
    """Read and check a configuration file, or standard input for `-`, with the secrets that `secrets.values_of` finds.

    Raises ConfigurationFileError for what is wrong with the file itself; the options are the business of the check.
    Raises OptionError for a secret.
    """
    return read_configuration(path, given, environ)[1]


def read_configuration(
    path: Path, given: Sequence[str] = (), environ: Mapping[str, str] = MappingProxyType({})
) -> tuple[dict[str, Any], Configuration]:
    """All that a file holds, and the configuration in it. Raises what `load_configuration` does."""
    name, data, init_config, instances = _parts(path)
    return data, with_secrets(name, init_config, instances, given, environ)


def written_instances(path: Path) -> list[dict[str, Any]]:
    """The instances of a file as they are written, without a secret. Raises ConfigurationFileError."""
    return _parts(path)[3]


def _parts(path: Path) -> tuple[str, dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    """What a file is called, all that it holds, and the two parts of it that count."""
    name = "standard input" if str(path) == STANDARD_INPUT else str(path)
    data = _read(path, name)
    if not isinstance(data, dict):
        raise ConfigurationFileError(
            f"{name} holds {_kind(data)}, not a mapping with `init_config:` and `instances:`. Is it the right file?"
        )
    instances = _instances(name, data)
    init_config = data.get("init_config") or {}
    if not isinstance(init_config, dict):
        raise ConfigurationFileError(f"{name}: `init_config` must be a mapping, or empty, not {_kind(init_config)}.")
    return name, data, init_config, instances


def with_secrets(
    name: str,
    init_config: dict[str, Any],
    instances: Sequence[dict[str, Any]],
    given: Sequence[str],
    environ: Mapping[str, str],
) -> Configuration:
    """A configuration in which the secrets have taken the place of `ENC[...]`. Raises OptionError."""
    handles = [*handles_in(init_config, "init_config"), *handles_in(list(instances), "instances")]
    values = values_of(name, handles, given, environ)
    return Configuration(
        name,
        filled(init_config, values),
        tuple(enumerate(filled(list(instances), values), 1)),
        dict(enumerate(instances, 1)),
        tuple(values.values()),
    )


def _read(path: Path, name: str) -> Any:
    try:
        return decode_yaml(sys.stdin.buffer) if str(path) == STANDARD_INPUT else read_yaml(path)
    except FileNotFoundError:
        if ":/" in name:
            raise ConfigurationFileError(f"{name} is a URL and no file: write it without `-c`.") from None
        raise ConfigurationFileError(
            f"{name} does not exist. Give the path of a configuration, such as the Agent's "
            "conf.d/model_serving.d/conf.yaml; one to copy is conf.yaml.example, for the bridge "
            "deploy/bridge/bridge.yaml."
        ) from None
    except IsADirectoryError:
        raise ConfigurationFileError(f"{name} is a directory: give the path of a file in it.") from None
    except UnicodeDecodeError as error:
        raise ConfigurationFileError(
            f"{name} is not text in UTF-8: byte {error.start + 1} is {error.object[error.start]:#04x}. "
            "Save it in that encoding."
        ) from None
    except OSError as error:
        raise ConfigurationFileError(f"{name} cannot be read: {error.strerror}. Check its permissions.") from None
    except UnreadableYaml as error:
        place = f"{name}, {error.place}" if error.place else f"{name}{' is not valid YAML' if error.syntax else ''}"
        advice = " Check indentation, quotes and colons there." if error.syntax and error.place else ""
        raise ConfigurationFileError(f"{place}: {error.problem}.{advice}") from None


def _instances(name: str, data: dict[Any, Any]) -> list[dict[str, Any]]:
    if "instances" not in data:
        close = difflib.get_close_matches("instances", [str(key) for key in data], 1)
        hint = f"Did you mean it by `{close[0]}`?" if close else "Add the endpoints to scrape as a list under it."
        raise ConfigurationFileError(f"{name} has no `instances`. {hint}")
    instances = data["instances"]
    if instances is None or instances == []:
        raise ConfigurationFileError(f"{name}: `instances` is empty. Add an endpoint, such as\n{_EXAMPLE}")
    if not isinstance(instances, list):
        raise ConfigurationFileError(
            f"{name}: `instances` must be a list, not {_kind(instances)}: begin each instance with `- `."
        )
    for number, instance in enumerate(instances, 1):
        if not isinstance(instance, dict) or not instance:
            raise ConfigurationFileError(
                f"{name}: instance {number} must be a mapping of options, not {_kind(instance)}, such as\n{_EXAMPLE}"
            )
    return instances


_EXAMPLE = "instances:\n  - openmetrics_endpoint: http://localhost:8082/metrics"


def interval_of(instance: Mapping[str, Any]) -> float:
    """Seconds between two runs of an instance."""
    value = instance.get("min_collection_interval")
    if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        return DEFAULT_INTERVAL
    return min(float(value), LONGEST_INTERVAL)


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "a text", bool: "true or false", type(None): "nothing"}
    return "an empty mapping" if value == {} else names.get(type(value), "a number")
