"""State of a Databricks serving endpoint over its REST API, and what its refusals mean."""

from __future__ import annotations

import re
from typing import Any

from .base import CRITICAL, OK, UNKNOWN, WARNING, Probe, Source, json_object, mapping

DEPLOYMENT = {
    "DEPLOYMENT_READY": OK,
    "DEPLOYMENT_CREATING": WARNING,
    "DEPLOYMENT_RECOVERING": WARNING,
    "DEPLOYMENT_FAILED": CRITICAL,
    "DEPLOYMENT_ABORTED": CRITICAL,
}
"""`state.deployment` of a served entity, as the serving-endpoints API names it."""

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
    """Report `state.ready` of the endpoint and the deployment of each served entity."""
    response = probe.get("")
    if response is None or response.status_code >= 400:
        probe.endpoint(CRITICAL, probe.problem or _refusal(response.status_code))
        return
    detail = json_object(response)
    if not detail:
        probe.endpoint(UNKNOWN, "the serving-endpoints API gave no JSON object: check `databricks_host` or the URL")
        return
    state = mapping(detail.get("state"))
    ready = state.get("ready")
    status = {"READY": OK, "NOT_READY": CRITICAL}.get(str(ready), UNKNOWN)
    update = state.get("config_update") or state.get("update_state") or ""
    probe.endpoint(status, "" if status == OK else f"state {ready}, configuration update {update or 'unknown'}")
    for entity in _served_entities(detail):
        deployment = str(mapping(entity.get("state")).get("deployment") or "")
        if not deployment:
            continue
        served = str(entity.get("name") or "")
        probe.model(
            str(entity.get("entity_name") or entity.get("model_name") or served),
            DEPLOYMENT.get(deployment, UNKNOWN),
            "" if deployment == "DEPLOYMENT_READY" else _message(entity, deployment),
            str(entity.get("entity_version") or entity.get("model_version") or ""),
            (f"served_entity:{served}",) if served else (),
        )


def _served_entities(detail: dict[str, Any]) -> list[dict[str, Any]]:
    config = mapping(detail.get("config"))
    entities = config.get("served_entities") or config.get("served_models")
    return [entity for entity in entities if isinstance(entity, dict)] if isinstance(entities, list) else []


def _message(entity: dict[str, Any], deployment: str) -> str:
    text = str(mapping(entity.get("state")).get("deployment_state_message") or "").strip()
    return f"{deployment}: {text[:500]}" if text else deployment


def _refusal(status: int) -> str:
    if status == 404:
        return "there is no serving endpoint of this name (HTTP 404): check `endpoint_name`, upper and lower case count"
    return REFUSALS.get(status, f"the serving-endpoints API answers HTTP {status}")


def _detail_url(metrics_url: str, ports: dict[str, int]) -> str | None:
    match = re.match(r"(.*/api/2\.0/serving-endpoints/[^/?#]+)/metrics", metrics_url)
    return match.group(1) if match else None


SOURCE = Source(probe, _detail_url, interval=60.0, explain_status=REFUSALS.get)
