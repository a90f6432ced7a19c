"""What an instance says about Databricks: the workspace, how to log in, and which of its endpoints to watch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from datadog_checks.base import ConfigurationError

from . import login
from .model import DatabricksSettings, Selection
from .names import bare_host
from .options import Options

HOST_VARIABLE = "DATABRICKS_HOST"
LIMIT, INTERVAL = 500, 60.0
"""The endpoints that are watched at most, and the seconds between two listings, where nothing is said."""


def databricks_settings(options: Options, environ: Mapping[str, str], where: str) -> DatabricksSettings | None:
    """The source that an instance names in a workspace, None where it names none.

    Raises ConfigurationError naming the instance, the option and what to write instead.
    """
    host, choice, tags = options.workspace, options["serving_endpoints"], options["databricks_tags"]
    given = {option: options.given(option) for option in login.OPTIONS}
    if host is None and options.systems == ("databricks",) and not options.urls:
        host = environ.get(HOST_VARIABLE)
        if not host:
            raise ConfigurationError(
                f"{where}: name a workspace in `databricks_host`, or in {HOST_VARIABLE} of the Agent's environment"
            )
    if host is None:
        for option, value in {**given, "databricks_tags": tags, "serving_endpoints": choice}.items():
            if value is not None:
                raise ConfigurationError(f"{where}: `{option}` needs `databricks_host`")
        return None
    if options.urls:
        raise ConfigurationError(f"{where}: give either `openmetrics_endpoint` or `databricks_host`, not both")
    endpoint = options.endpoint_name
    for option, value in (("databricks_host", host), ("endpoint_name", endpoint)):
        if re.search(r"\[[A-Z][A-Z_]+\]|<[A-Z][A-Z_]+>", value):
            raise ConfigurationError(f"{where}: `{option}` still holds a placeholder: fill in your own")
    if not bare_host(host):
        raise ConfigurationError(f"{where}: `databricks_host` is empty: write the URL of the workspace")
    if endpoint and choice is not None:
        raise ConfigurationError(
            f"{where}: `endpoint_name` names one endpoint and `serving_endpoints` chooses among all: keep one of them"
        )
    scheme = "http" if host.strip().lower().startswith("http://") else "https"
    return DatabricksSettings(
        url=f"{scheme}://{bare_host(host)}",
        login=login.resolve(given, environ, where),
        endpoint=endpoint,
        selection=_selection(choice, where),
        interval=INTERVAL if choice is None or choice.interval is None else choice.interval,
        tags=tags or (),
    )


def _selection(choice: Any, where: str) -> Selection:
    if choice is None:
        return Selection(LIMIT)
    patterns: dict[str, tuple[re.Pattern[str], ...]] = {}
    for option, texts in (("include", choice.include), ("exclude", choice.exclude)):
        try:
            patterns[option] = tuple(re.compile(text) for text in texts or ())
        except re.error as error:
            raise ConfigurationError(
                f"{where}: `{option}` of `serving_endpoints`: {error.pattern!r} is not a valid regular expression: "
                f"{error}"
            ) from None
    return Selection(LIMIT if choice.limit is None else choice.limit, **patterns)
