"""Reads bridge.yaml: what to watch, where to send it, where to keep it meanwhile."""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import ConfigurationFileError, OptionError
from ..provision.credentials import AccountCredentials, load_intake_credentials
from ..standin.configuration import Configuration, read_configuration
from .prometheus.entries import ExposeSettings, read_expose, read_instance

KEYS = ("datadog", "expose", "health", "host", "init_config", "instances", "spool", "tags", "workers")
DATADOG_KEYS = ("api_key_file", "max_observations", "site")
SPOOL_KEYS = ("max_age", "max_bytes", "path")

MAX_AGE = 3600.0
"""Seconds: Datadog takes no point that is older."""

MAX_BYTES = 512 * 1024 * 1024
LEAST_BYTES = 1024 * 1024

MAX_OBSERVATIONS = 100_000
MOST_OBSERVATIONS = 200_000
"""So many, at up to 14 bytes each, fit the intake's limit for one body even where they don't compress."""

WORKERS = 4
"""Instances that run at the same time, as the Agent's `check_runners`."""

HEALTH = "127.0.0.1:8687"

_TAG = re.compile(r"[^\W\d_].*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """Where what is not delivered yet is kept, with how many bytes at most, and for how many seconds."""

    path: Path
    max_bytes: int = MAX_BYTES
    max_age: float = MAX_AGE


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where a server listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class BridgeSettings:
    """A whole bridge.yaml.

    `host` and `tags` are of everything that is sent, as the Agent's `hostname` and `tags`. `max_observations` is how
    many values of one distribution are sent for one run. `credentials` is None where nothing is to be sent, and so are
    `health` and `expose` where nothing is to be served.
    """

    configuration: Configuration
    spool: SpoolSettings
    credentials: AccountCredentials | None = None
    host: str = ""
    tags: tuple[str, ...] = ()
    workers: int = WORKERS
    max_observations: int = MAX_OBSERVATIONS
    health: ListenAddress | None = None
    expose: ExposeSettings | None = None


@dataclass(slots=True)
class Complaints:
    """All that is wrong with a file, told in one message."""

    path: Path
    texts: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        """Complain: which key, what is wrong with it, and what to write instead."""
        self.texts.append(text)

    def check(self) -> None:
        """Raise ConfigurationFileError with all complaints, if there are some."""
        if len(self.texts) > 1:
            numbered = "; ".join(f"({number}) {text}" for number, text in enumerate(self.texts, 1))
            raise ConfigurationFileError(f"{self.path}: {len(self.texts)} problems: {numbered}")
        if self.texts:
            raise ConfigurationFileError(f"{self.path}: {self.texts[0]}")


def load_settings(
    path: Path,
    environment: Mapping[str, str] = os.environ,
    *,
    secrets: Sequence[str] = (),
    sends: bool = True,
    url: str | None = None,
) -> BridgeSettings:
    """Read and check bridge.yaml. Without `sends` no key is asked for; `url` stands in for the site's.

    `secrets` says where those of `ENC[...]` are, as `standin.secrets.values_of` takes it. Raises
    ConfigurationFileError with all that is wrong with the file, and OptionError for a secret. What is wrong with the
    options of an instance is found by the check, in its first run.
    """
    data, configuration = read_configuration(path, secrets, environment)
    complaints = Complaints(path)
    unknown(data, KEYS, "", complaints)
    datadog = _mapping(data, "datadog", complaints)
    unknown(datadog, DATADOG_KEYS, "datadog.", complaints)
    settings = BridgeSettings(
        configuration=configuration,
        spool=_spool(data, path, complaints),
        credentials=_credentials(datadog, path, environment, url, complaints) if sends else None,
        host=_text(data, "host", complaints),
        tags=tuple(_tags(data.get("tags"), complaints)),
        workers=number(data, "workers", WORKERS, 1, 64, "", complaints),
        max_observations=number(
            datadog, "max_observations", MAX_OBSERVATIONS, 100, MOST_OBSERVATIONS, "datadog.", complaints
        ),
        health=address(data.get("health", HEALTH), "health", complaints),
        expose=_expose(data, environment, complaints),
    )
    _instances(configuration, environment, complaints)
    complaints.check()
    return settings


def unknown(data: Mapping[Any, Any], keys: tuple[str, ...], place: str, complaints: Complaints) -> None:
    """Complain about keys that there are not, with what may have been meant."""
    for key in data:
        if key not in keys:
            close = difflib.get_close_matches(str(key), keys, 1)
            hint = f"did you mean `{place}{close[0]}`?" if close else f"there are {', '.join(keys)}"
            complaints.add(f"`{place}{key}` is not known; {hint}")


def number(
    data: Mapping[str, Any], key: str, otherwise: int, least: int, most: int, place: str, complaints: Complaints
) -> int:
    """A whole number within bounds."""
    value = data.get(key, otherwise)
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return value
    complaints.add(f"`{place}{key}` must be a whole number from {least} to {most}, not {value!r}")
    return otherwise


def address(value: Any, key: str, complaints: Complaints) -> ListenAddress | None:
    """`HOST:PORT` on this machine alone, None where it is `false`."""
    if value is False or value is None:
        return None
    host, _, port = str(value).rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not port.isdigit() or int(port) > 65535:
        complaints.add(f"`{key}` must be HOST:PORT, such as {HEALTH}, or false, not {value!r}")
        return None
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        complaints.add(f"`{key}` must be of this machine alone, such as 127.0.0.1:{port}, not {value!r}")
        return None
    return ListenAddress(host, int(port))


def _mapping(data: Mapping[str, Any], key: str, complaints: Complaints) -> Mapping[str, Any]:
    value = data.get(key)
    if value is None or isinstance(value, Mapping):
        return value or {}
    complaints.add(f"`{key}` must be a mapping, not {value!r}")
    return {}


def _text(data: Mapping[str, Any], key: str, complaints: Complaints) -> str:
    value = data.get(key)
    if value is None or isinstance(value, str):
        return value or ""
    complaints.add(f"`{key}` must be a text, not {value!r}")
    return ""


def _tags(value: Any, complaints: Complaints) -> Iterator[str]:
    if value is not None and not isinstance(value, list):
        complaints.add(f"`tags` must be a list, such as [env:prod], not {value!r}")
        return
    for tag in value or ():
        if isinstance(tag, str) and _TAG.fullmatch(tag.strip()):
            yield tag.strip()
        else:
            complaints.add(f"`tags`: {tag!r} is no tag: write `key:value`, in quotes where it has other signs")


def _expose(data: Mapping[str, Any], environment: Mapping[str, str], complaints: Complaints) -> ExposeSettings | None:
    settings, problems = read_expose(data.get("expose"), environment)
    complaints.texts += problems
    return settings


def _instances(configuration: Configuration, environment: Mapping[str, str], complaints: Complaints) -> None:
    """Complain about sources that the check doesn't know. Its own options are its own business."""
    for number, instance in configuration.instances:
        complaints.texts += [
            f"instance {number}: {problem}" for problem in read_instance(instance, environment).problems
        ]


def _spool(data: Mapping[str, Any], path: Path, complaints: Complaints) -> SpoolSettings:
    spool = _mapping(data, "spool", complaints)
    unknown(spool, SPOOL_KEYS, "spool.", complaints)
    place = spool.get("path")
    if not isinstance(place, str) or not place.strip():
        complaints.add(
            "`spool.path` must name a file, such as /var/lib/model-serving/bridge.db: what is not delivered yet is "
            "kept there, and what was counted last"
        )
        place = "bridge.db"
    return SpoolSettings(
        path.parent / Path(place).expanduser(),
        number(spool, "max_bytes", MAX_BYTES, LEAST_BYTES, 2**40, "spool.", complaints),
        float(number(spool, "max_age", int(MAX_AGE), 60, int(MAX_AGE), "spool.", complaints)),
    )


def _credentials(
    datadog: Mapping[str, Any], path: Path, environment: Mapping[str, str], url: str | None, complaints: Complaints
) -> AccountCredentials | None:
    file, site = datadog.get("api_key_file"), datadog.get("site")
    for key, value in (("api_key_file", file), ("site", site)):
        if value is not None and not isinstance(value, str):
            complaints.add(f"`datadog.{key}` must be a text, not {value!r}")
            return None
    try:
        return load_intake_credentials(
            path.parent / Path(file).expanduser() if file else None, site, url, environment=environment
        )
    except OptionError as error:
        complaints.add(f"`datadog`: {error}")
        return None
