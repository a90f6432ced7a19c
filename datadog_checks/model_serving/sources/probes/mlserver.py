"""Readiness of MLServer over the Open Inference Protocol (V2): health, repository index, models.

Readiness requests are not inference and never enter `request.count`.
"""

from __future__ import annotations

from urllib.parse import quote

from .base import CRITICAL, OK, Probe, SystemProbe, other_port


def probe(probe: Probe) -> None:
    """Report the server, then each model: those configured, else those of the repository, else those seen."""
    response = probe.get("/v2/health/ready")
    if response is None:
        probe.endpoint(CRITICAL, probe.problem)
        return
    # MLServer is not ready while any of its models is not, so the models are asked all the same.
    if response.status_code >= 400:
        probe.endpoint(CRITICAL, f"the server is not ready: HTTP {response.status_code}")
    else:
        probe.endpoint(OK)
    _version(probe)
    for name in probe.models or _repository(probe) or probe.seen_models:
        response = probe.get(f"/v2/models/{quote(name, safe='')}/ready")
        if response is None:
            probe.model(name, CRITICAL, probe.problem)
        elif response.status_code >= 400:
            probe.model(name, CRITICAL, f"the model is not ready: HTTP {response.status_code}")
        else:
            probe.model(name, OK)


def _repository(probe: Probe) -> tuple[str, ...]:
    response = probe.post("/v2/repository/index", {})
    if response is None or response.status_code >= 400:
        return ()
    entries = response.value
    names = (entry.get("name") for entry in entries if isinstance(entry, dict)) if isinstance(entries, list) else ()
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str) and name))


def _version(probe: Probe) -> None:
    if not probe.wants_metadata():
        return
    response = probe.get("/v2")
    if response is not None and response.status_code < 400:
        version = response.object.get("version")
        if isinstance(version, str):
            probe.server_version(version)


PROBE = SystemProbe(probe, other_port)
