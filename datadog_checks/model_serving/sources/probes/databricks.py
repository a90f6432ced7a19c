"""Readiness of one Databricks serving endpoint over the REST API, and what its refusals mean."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from ..databricks.description import read
from ..databricks.state import StateReporter
from .base import CRITICAL, UNKNOWN, Probe, SystemProbe

REFUSALS = {
    401: (
        "Databricks refuses the token (HTTP 401): it has expired or was revoked. Create a new one (workspace settings, "
        "Developer, Access tokens) and put it into `databricks_token` or the Authorization header"
    ),
    403: (
        "the token lacks permission on this serving endpoint (HTTP 403): grant its owner `Can View` or `Can Query` on "
        "the endpoint, or use the token of somebody who has it"
    ),
    # Pay-per-token foundation models, among others, export nothing.
    404: "",
    429: "Databricks limits requests (HTTP 429): raise `min_collection_interval` to 60, metrics change once a minute",
}


def probe(probe: Probe) -> None:
    """Report the one endpoint of an instance."""
    response = probe.get("")
    if response is None:
        probe.endpoint(CRITICAL, probe.problem)
        return
    if response.status_code >= 400:
        probe.endpoint(CRITICAL, refusal(response.status_code))
        return
    named = next((tag.partition(":")[2] for tag in probe.tags if tag.startswith("endpoint_name:")), "")
    endpoint = read(response.object, named)
    if endpoint is None:
        probe.endpoint(UNKNOWN, "the serving-endpoints API gave no JSON object: check `databricks_host` or the URL")
        return
    host = urlsplit(probe.base).netloc.rpartition("@")[2]

    def report(check: Any) -> None:
        """With the reporter of this workspace, which remembers what was reported before."""
        reporter = probe.remembered.get(host)
        if reporter is None:
            reporter = probe.remembered[host] = StateReporter(check, check.cache, workspace=host)
        reporter.report(endpoint, probe.tags)
        reporter.flush()

    probe.findings.append(report)


def refusal(status: int) -> str:
    """What an HTTP status of 400 or more means in answer to the request for an endpoint's description."""
    if status == 404:
        return "there is no serving endpoint of this name (HTTP 404): check `endpoint_name`, upper and lower case count"
    return REFUSALS.get(status, f"the serving-endpoints API answers HTTP {status}")


def _detail_url(metrics_url: str, ports: dict[str, int]) -> str | None:
    match = re.match(r"(.*/api/2\.0/serving-endpoints/[^/?#]+)/metrics", metrics_url)
    return match.group(1) if match else None


PROBE = SystemProbe(probe, _detail_url, interval=60.0, explain_status=REFUSALS.get)
