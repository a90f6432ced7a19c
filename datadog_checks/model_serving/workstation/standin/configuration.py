"""Reads a configuration file of the Agent for one check: `init_config` and `instances`."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ConfigurationFileError
from ...strict_yaml import UnreadableYaml, read_yaml

DEFAULT_INTERVAL = 15.0
"""Seconds between runs where an instance does not set `min_collection_interval`, as in the Agent."""

LONGEST_INTERVAL = 366 * 86400.0
"""No system sleeps for as long as a mistaken number may say."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """The configuration of one check. `instances` hold their numbers in the file, counted from 1."""

    path: Path
    init_config: dict[str, Any]
    instances: tuple[tuple[int, dict[str, Any]], ...]

    def only(self, numbers: tuple[int, ...]) -> Configuration:
        """The same with some instances only. Raises ConfigurationFileError for a number that is not there."""
        present = dict(self.instances)
        for number in numbers:
            if number not in present:
                raise ConfigurationFileError(
                    f"{self.path} has no instance {number}: it has {len(present)}, counted from 1."
                )
        return Configuration(self.path, self.init_config, tuple((n, present[n]) for n in dict.fromkeys(numbers)))

    def interval(self) -> float:
        """Seconds between runs at which every instance is due: the longest `min_collection_interval`."""
        return max(interval_of(instance) for _, instance in self.instances)


def load_configuration(path: Path) -> Configuration:
    """Read and check a configuration file.

    Raises ConfigurationFileError for what is wrong with the file itself; the options are the business of the check.
    """
    return read_configuration(path)[1]


def read_configuration(path: Path) -> tuple[dict[str, Any], Configuration]:
    """All that a file holds, and the configuration in it.

    Raises ConfigurationFileError as `load_configuration` does.
    """
    data = _read(path)
    if not isinstance(data, dict):
        raise ConfigurationFileError(
            f"{path} holds {_kind(data)}, not a mapping with `init_config:` and `instances:`. Is it the right file?"
        )
    instances = _instances(path, data)
    init_config = data.get("init_config") or {}
    if not isinstance(init_config, dict):
        raise ConfigurationFileError(f"{path}: `init_config` must be a mapping, or empty, not {_kind(init_config)}.")
    for place, handle in _encrypted({"init_config": init_config, "instances": instances}):
        raise ConfigurationFileError(
            f"{path}, {place}: {handle} is a secret that only an Agent can fetch from its secrets backend. "
            "Run this inside the Agent, or put the value itself into a copy of the file that only you can read."
        )
    return data, Configuration(path, init_config, tuple(enumerate(instances, 1)))


def _read(path: Path) -> Any:
    try:
        return read_yaml(path)
    except FileNotFoundError:
        raise ConfigurationFileError(
            f"{path} does not exist. Give the path of an Agent configuration, such as "
            "conf.d/model_serving.d/conf.yaml; conf.yaml.example is one to copy."
        ) from None
    except IsADirectoryError:
        raise ConfigurationFileError(f"{path} is a directory: give the path of a file in it.") from None
    except UnicodeDecodeError as error:
        raise ConfigurationFileError(
            f"{path} is not text in UTF-8: byte {error.start + 1} is {error.object[error.start]:#04x}. "
            "Save it in that encoding."
        ) from None
    except OSError as error:
        raise ConfigurationFileError(f"{path} cannot be read: {error.strerror}. Check its permissions.") from None
    except UnreadableYaml as error:
        place = f"{path}, {error.place}" if error.place else f"{path}{' is not valid YAML' if error.syntax else ''}"
        advice = " Check indentation, quotes and colons there." if error.syntax and error.place else ""
        raise ConfigurationFileError(f"{place}: {error.problem}.{advice}") from None


def _instances(path: Path, data: dict[Any, Any]) -> list[dict[str, Any]]:
    if "instances" not in data:
        close = difflib.get_close_matches("instances", [str(key) for key in data], 1)
        hint = f"Did you mean it by `{close[0]}`?" if close else "Add the endpoints to scrape as a list under it."
        raise ConfigurationFileError(f"{path} has no `instances`. {hint}")
    instances = data["instances"]
    if instances is None or instances == []:
        raise ConfigurationFileError(f"{path}: `instances` is empty. Add an endpoint, such as\n{_EXAMPLE}")
    if not isinstance(instances, list):
        raise ConfigurationFileError(
            f"{path}: `instances` must be a list, not {_kind(instances)}: begin each instance with `- `."
        )
    for number, instance in enumerate(instances, 1):
        if not isinstance(instance, dict) or not instance:
            raise ConfigurationFileError(
                f"{path}: instance {number} must be a mapping of options, not {_kind(instance)}, such as\n{_EXAMPLE}"
            )
    return instances


_EXAMPLE = "instances:\n  - openmetrics_endpoint: http://localhost:8082/metrics"


def _encrypted(node: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Every `ENC[...]` handle, with its place, such as `instances[1].databricks_token`."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _encrypted(value, f"{place}.{key}" if place else str(key))
    elif isinstance(node, list):
        for number, value in enumerate(node, 1):
            yield from _encrypted(value, f"{place}[{number}]")
    elif isinstance(node, str) and node.strip().startswith("ENC[") and node.strip().endswith("]"):
        yield place, node.strip()


def interval_of(instance: Mapping[str, Any]) -> float:
    """Seconds between two runs of an instance."""
    value = instance.get("min_collection_interval")
    if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        return DEFAULT_INTERVAL
    return min(float(value), LONGEST_INTERVAL)


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "a text", bool: "true or false", type(None): "nothing"}
    return "an empty mapping" if value == {} else names.get(type(value), "a number")
