"""What an instance says about Databricks: the workspace, how to log in, and which of its endpoints to watch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datadog_checks.base import ConfigurationError

from .discovery import LIST, Selection, endpoint_path
from .login import OPTIONS, Login, resolve

HOST_VARIABLE = "DATABRICKS_HOST"
OWN_OPTIONS = (*OPTIONS, "databricks_tags", "serving_endpoints")
LIMIT, INTERVAL = 500, 60.0
EVERYTHING = Selection(limit=LIMIT)


@dataclass(frozen=True, slots=True)
class DatabricksSettings:
    """A checked source in a workspace. `url` is scheme and host; `endpoint` is empty for all that `selection` takes."""

    url: str
    login: Login
    endpoint: str = ""
    selection: Selection = EVERYTHING
    interval: float = INTERVAL
    tags: tuple[str, ...] = ()

    @property
    def metrics_url(self) -> str:
        """Of the one endpoint; of a workspace the list, which names it in messages."""
        return f"{self.url}{endpoint_path(self.endpoint)}/metrics" if self.endpoint else f"{self.url}{LIST}"


def databricks_settings(config: Mapping[str, Any], environ: Mapping[str, str], where: str) -> DatabricksSettings | None:
    """The source that an instance names in a workspace, None where it names none.

    Raises ConfigurationError naming the instance, the option and what to write instead.
    """
    host: Any = config.get("databricks_host")
    if host is None and config.get("serving_system") == "databricks" and not _has_url(config):
        host = environ.get(HOST_VARIABLE)
        if not host:
            raise ConfigurationError(
                f"{where}: name a workspace in `databricks_host`, or in {HOST_VARIABLE} of the Agent's environment"
            )
    if host is None:
        for option in OWN_OPTIONS:
            if config.get(option) is not None:
                raise ConfigurationError(f"{where}: `{option}` needs `databricks_host`")
        return None
    if _has_url(config):
        raise ConfigurationError(f"{where}: give either `openmetrics_endpoint` or `databricks_host`, not both")
    endpoint = str(config.get("endpoint_name") or "")
    for option, value in (("databricks_host", str(host)), ("endpoint_name", endpoint)):
        if re.search(r"\[[A-Z][A-Z_]+\]|<[A-Z][A-Z_]+>", value):
            raise ConfigurationError(f"{where}: `{option}` still holds a placeholder: fill in your own")
    if not bare_host(str(host)):
        raise ConfigurationError(f"{where}: `databricks_host` is empty: write the URL of the workspace")
    choice = config.get("serving_endpoints")
    if endpoint and choice is not None:
        raise ConfigurationError(
            f"{where}: `endpoint_name` names one endpoint and `serving_endpoints` chooses among all: keep one of them"
        )
    selection, interval = _selection(choice or {}, where)
    scheme = "http" if str(host).strip().lower().startswith("http://") else "https"
    return DatabricksSettings(
        f"{scheme}://{bare_host(str(host))}",
        resolve(config, environ, where),
        endpoint,
        selection,
        interval,
        tuple(config.get("databricks_tags") or ()),
    )


def bare_host(host: str) -> str:
    """Host and port. People copy it from the browser, with a path and `?o=` behind it."""
    return re.split(r"[/?#]", re.sub(r"^https?://", "", host.strip(), flags=re.IGNORECASE))[0]


def _has_url(config: Mapping[str, Any]) -> bool:
    return bool(config.get("openmetrics_endpoint") or config.get("openmetrics_endpoints"))


def _selection(choice: Mapping[str, Any], where: str) -> tuple[Selection, float]:
    known = ("include", "exclude", "limit", "interval")
    for option in choice:
        if option not in known:
            raise ConfigurationError(
                f"{where}: `serving_endpoints` has no option `{option}`: there are {', '.join(known)}"
            )
    patterns: dict[str, tuple[re.Pattern[str], ...]] = {}
    for option in ("include", "exclude"):
        try:
            patterns[option] = tuple(re.compile(text) for text in choice.get(option) or ())
        except re.error as error:
            raise ConfigurationError(
                f"{where}: `{option}` of `serving_endpoints`: {error.pattern!r} is not a valid regular expression: "
                f"{error}"
            ) from None
    limit = choice.get("limit")
    interval = choice.get("interval")
    return (
        Selection(LIMIT if limit is None else int(limit), patterns["include"], patterns["exclude"]),
        INTERVAL if interval is None else float(interval),
    )
