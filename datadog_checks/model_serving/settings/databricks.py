"""What an instance says about Databricks: the workspace, how to log in, and which of its endpoints to watch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..http.redact import PLACEHOLDER
from . import login
from .model import DatabricksSettings, Selection
from .names import bare_host
from .options import Options
from .problems import Problems

HOST_VARIABLE = "DATABRICKS_HOST"
LIMIT, INTERVAL = 500, 60.0
"""The endpoints that are watched at most, and the seconds between two listings, where nothing is said."""

INITIAL_RATE = 15.0
"""Requests per second with which endpoints are asked for the first time, as Databricks' Go tools hold themselves to."""


def databricks_settings(options: Options, environ: Mapping[str, str], problems: Problems) -> DatabricksSettings | None:
    """The source that an instance names in a workspace, None where it names none. Complains about what is wrong."""
    host, choice, tags = options.workspace, options["serving_endpoints"], options["databricks_tags"]
    given = {option: options.given(option) for option in login.OPTIONS}
    if host is None and options.systems == ("databricks",) and not options.urls:
        host = environ.get(HOST_VARIABLE) or None
        if host is None and problems.needs("databricks_host", "openmetrics_endpoint", "openmetrics_endpoints", "gpu"):
            problems.add(
                f"name a workspace in `databricks_host`, or in {HOST_VARIABLE} of the Agent's environment",
                "databricks_host",
            )
    if host is None:
        for option, value in {**given, "databricks_tags": tags, "serving_endpoints": choice}.items():
            if value is not None and problems.needs("databricks_host"):
                problems.add(f"`{option}` needs `databricks_host`", option)
        return None
    if options.urls:
        problems.add("give either `openmetrics_endpoint` or `databricks_host`, not both", "databricks_host")
    endpoint = options.endpoint_name
    for option, value in (("databricks_host", host), ("endpoint_name", endpoint)):
        if PLACEHOLDER.search(value):
            problems.add(f"`{option}` still holds a placeholder: fill in your own", option)
    if not bare_host(host):
        problems.add("`databricks_host` is empty: write the URL of the workspace", "databricks_host")
    if endpoint and choice is not None:
        problems.add(
            "`endpoint_name` names one endpoint and `serving_endpoints` chooses among all: keep one of them",
            "serving_endpoints",
        )
    scheme = "http" if host.strip().lower().startswith("http://") else "https"
    return DatabricksSettings(
        url=f"{scheme}://{bare_host(host)}",
        login=login.resolve(given, environ, problems),
        endpoint=endpoint,
        selection=_selection(choice, problems),
        interval=INTERVAL if choice is None or choice.interval is None else choice.interval,
        tags=tags or (),
        initial_rate=(choice and choice.initial_requests_per_second) or INITIAL_RATE,
    )


def _selection(choice: Any, problems: Problems) -> Selection:
    if choice is None:
        return Selection(LIMIT)
    patterns: dict[str, tuple[re.Pattern[str], ...]] = {}
    for option, texts in (("include", choice.include), ("exclude", choice.exclude)):
        try:
            patterns[option] = tuple(re.compile(text) for text in texts or ())
        except re.error as error:
            problems.add(
                f"`{option}` of `serving_endpoints`: {error.pattern!r} is not a valid regular expression: {error}",
                "serving_endpoints",
            )
    limit = LIMIT if choice.limit is None else choice.limit
    return Selection(limit, **patterns, pay_per_token=choice.pay_per_token is True)
