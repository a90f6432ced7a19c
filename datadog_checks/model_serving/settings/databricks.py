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
WORKSPACE_VARIABLE, ACCOUNT_VARIABLE = "DATABRICKS_WORKSPACE_ID", "DATABRICKS_ACCOUNT_ID"
"""Say more of the host in `HOST_VARIABLE`, and nothing of one that an instance names."""

LIMIT, INTERVAL = 500, 60.0
"""The endpoints that are watched at most, and the seconds between two listings, where nothing is said."""

INITIAL_RATE = 15.0
"""Requests per second with which endpoints are asked for the first time, as Databricks' Go tools hold themselves to."""


def databricks_settings(options: Options, environ: Mapping[str, str], problems: Problems) -> DatabricksSettings | None:
    """The source that an instance names in a workspace, None where it names none. Complains about what is wrong."""
    host, choice, tags = options.workspace, options["serving_endpoints"], options["databricks_tags"]
    given = {option: options.given(option) for option in (*login.OPTIONS, login.AUTH_TYPE, login.SCOPES)}
    ids = {
        "databricks_workspace_id": options.given("databricks_workspace_id"),
        "databricks_account_id": options.given("databricks_account_id"),
    }
    of_host: Mapping[str, str] = {}
    if host is None and options.systems == ("databricks",) and not options.urls:
        host, of_host = environ.get(HOST_VARIABLE) or None, environ
        if host is None and problems.needs("databricks_host", "openmetrics_endpoint", "openmetrics_endpoints", "gpu"):
            problems.add(
                f"name a workspace in `databricks_host`, or in {HOST_VARIABLE} of the Agent's environment",
                "databricks_host",
            )
    if host is None:
        for option, value in {**given, **ids, "databricks_tags": tags, "serving_endpoints": choice}.items():
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
    workspace_id = _workspace_id(host, ids["databricks_workspace_id"], of_host, problems)
    _account_host(bare_host(host).lower(), workspace_id, problems)
    return DatabricksSettings(
        url=f"{scheme}://{bare_host(host)}",
        login=login.resolve(given, environ, problems, bare_host(host)),
        endpoint=endpoint,
        selection=_selection(choice, problems),
        interval=INTERVAL if choice is None or choice.interval is None else choice.interval,
        tags=tags or (),
        initial_rate=(choice and choice.initial_requests_per_second) or INITIAL_RATE,
        workspace_id=workspace_id,
        account_id=_account_id(ids["databricks_account_id"], of_host, problems),
    )


def _workspace_id(host: str, given: Any, of_host: Mapping[str, str], problems: Problems) -> str:
    """The id of the workspace that is meant, of those at one host: from the option, the URL or the environment."""
    option = "databricks_workspace_id"
    shown = re.search(r"[?&]o=([^&#\s]*)", host)
    found = {
        f"`{option}`": "" if given is None else str(given).strip(),
        "`?o=` of the host": shown.group(1) if shown is not None else "",
        f"{WORKSPACE_VARIABLE} in the Agent's environment": (of_host.get(WORKSPACE_VARIABLE) or "").strip(),
    }
    found = {where: value for where, value in found.items() if value or (where == f"`{option}`" and given is not None)}
    for where, value in found.items():
        if not re.fullmatch(r"[0-9]{1,20}", value):
            problems.add(f"{where} is no id of a workspace: write the number behind `?o=` in the browser", option)
    if len(set(found.values())) > 1:
        problems.add(f"{' and '.join(found)} name different workspaces: keep one of them", option)
    return next(iter(found.values()), "")


def _account_id(given: Any, of_host: Mapping[str, str], problems: Problems) -> str:
    name, value = "`databricks_account_id`", given
    if value is None:
        name, value = f"{ACCOUNT_VARIABLE} in the Agent's environment", of_host.get(ACCOUNT_VARIABLE) or None
    if value is None:
        return ""
    if not re.fullmatch(r"[0-9A-Fa-f-]{36}", str(value).strip()):
        problems.add(
            f"{name} is no id of an account: write the one that the account console shows", "databricks_account_id"
        )
    return str(value).strip()


def _account_host(host: str, workspace_id: str, problems: Problems) -> None:
    """Complain about the host of an account that does not say which of its workspaces is meant."""
    host = host.partition(":")[0]
    if re.match(
        r"accounts\.(?:cloud|gcp)\.databricks\.|accounts\.azuredatabricks\.|accounts\.databricks\.azure\.", host
    ):
        problems.add(
            "`databricks_host` is the account console: write the URL of a workspace, as the browser shows it there",
            "databricks_host",
        )
    elif (
        re.fullmatch(r"[^.]+\.databricks\.(?:com|us)", host)
        and not workspace_id
        and problems.needs("databricks_workspace_id")
    ):
        problems.add(
            "`databricks_host` is the URL of an account: add `?o=` with the id of the workspace, as the browser shows "
            "it, or give `databricks_workspace_id`",
            "databricks_host",
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
