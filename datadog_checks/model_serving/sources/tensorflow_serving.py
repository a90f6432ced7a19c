"""Readiness of TensorFlow Serving over its REST model status.

The server counts each status request as traffic of the model, so the probe is off unless asked for.
"""

from __future__ import annotations

from urllib.parse import quote

from .base import CRITICAL, OK, WARNING, Probe, Source, json_object, same_port

STATES = {"AVAILABLE": OK, "START": WARNING, "LOADING": WARNING, "UNLOADING": WARNING}


def probe(probe: Probe) -> None:
    """Report every version of the models configured, or of those that the metrics have shown."""
    answered = False
    for name in probe.models or probe.seen_models:
        response = probe.get(f"/v1/models/{quote(name, safe='')}")
        if response is None:
            probe.model(name, CRITICAL, probe.problem)
            continue
        answered = True
        versions = json_object(response).get("model_version_status")
        if response.status_code >= 400 or not isinstance(versions, list):
            probe.model(name, CRITICAL, f"no status of this model: HTTP {response.status_code}")
            continue
        for entry in versions:
            state = str(entry.get("state", "UNKNOWN")) if isinstance(entry, dict) else "UNKNOWN"
            # A version that was replaced stays listed as END; it is no model that should serve.
            if state != "END":
                error = str((entry.get("status") or {}).get("error_message") or "")
                probe.model(name, STATES.get(state, CRITICAL), error or f"state {state}", str(entry.get("version", "")))
    if answered:
        probe.endpoint(OK)
    elif probe.problem:
        probe.endpoint(CRITICAL, probe.problem)


SOURCE = Source(probe, same_port, default_on=False)
