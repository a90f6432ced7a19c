"""Readiness of one Databricks serving endpoint over the REST API, and what its refusals mean."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from ...submit.series import tag_value
from ..databricks import refusals
from ..databricks.access import Authorized
from ..databricks.description import read
from ..databricks.refusals import ENDPOINT, NOT_FOUND, refusal
from ..databricks.state import StateReporter, loaded_entities
from .base import CRITICAL, UNKNOWN, Probe, SystemProbe


def probe(probe: Probe) -> None:
    """Report the one endpoint of an instance."""
    response = probe.get("")
    access = probe.http if isinstance(probe.http, Authorized) else None
    if response is None:
        probe.endpoint(CRITICAL, probe.problem)
        return
    if response.status_code >= 300:
        explained = access.explain if access is not None else _explain
        probe.endpoint(CRITICAL, explained(response.response, ENDPOINT))
        return
    endpoint = read(response.object, tag_value(probe.tags, "endpoint_name"), detailed=True)
    if endpoint is None:
        probe.endpoint(UNKNOWN, "the serving-endpoints API gave no JSON object: check `databricks_host` or the URL")
        return
    probe.loaded += loaded_entities(endpoint, probe.tags)
    host = urlsplit(probe.base).netloc.rpartition("@")[2]
    workspace = access.selector(host) if access is not None else host

    def report(check: Any) -> None:
        """With the reporter of this workspace, which remembers what was reported before."""
        reporter = probe.remembered.get(workspace)
        if reporter is None:
            reporter = probe.remembered[workspace] = StateReporter(check, check.cache, workspace=workspace)
        reporter.report(endpoint, probe.tags)
        reporter.flush()

    probe.findings.append(report)


def explain(response: Any) -> str:
    """What a refused request for metrics means; empty where the answer is that there are none."""
    if response.status_code == 404 and refusal(response)[0].name == NOT_FOUND:
        # Pay-per-token foundation models, among others, export nothing.
        return ""
    return refusals.explain(response)


def _explain(response: Any, place: str) -> str:
    return refusals.explain(response, place=place)


def _detail_url(metrics_url: str, ports: dict[str, int]) -> str | None:
    match = re.match(r"(.*/api/2\.0/serving-endpoints/[^/?#]+)/metrics", metrics_url)
    return match.group(1) if match else None


PROBE = SystemProbe(probe, _detail_url, interval=60.0, explain=explain)
