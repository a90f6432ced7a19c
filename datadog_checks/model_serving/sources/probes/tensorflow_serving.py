"""Readiness of TensorFlow Serving over its REST model status.

The server counts each status request as traffic of the model, so the probe is off unless asked for.
"""

from __future__ import annotations

from urllib.parse import quote

from .base import CRITICAL, OK, WARNING, Probe, SystemProbe, mapping, same_port

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
        versions = response.object.get("model_version_status")
        if response.status_code >= 400 or not isinstance(versions, list):
            probe.model(name, CRITICAL, f"no status of this model: HTTP {response.status_code}")
            continue
        for entry in map(mapping, versions):
            state = str(entry.get("state", "UNKNOWN"))
            # A version that was replaced stays listed as END; it is no model that should serve.
            if state != "END":
                status = STATES.get(state, CRITICAL)
                error = str(mapping(entry.get("status")).get("error_message") or "")
                message = "" if status == OK else error or f"state {state}"
                version = str(entry.get("version", ""))
                probe.model(name, status, message, version)
                probe.has(name, version, state, serving=state == "AVAILABLE")
    if answered:
        probe.endpoint(OK)
    elif probe.problem:
        probe.endpoint(CRITICAL, probe.problem)


PROBE = SystemProbe(probe, same_port, default_on=False)
