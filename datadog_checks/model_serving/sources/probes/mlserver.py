"""Readiness of MLServer over the Open Inference Protocol (V2): health, repository index, models.

Readiness requests are not inference and never enter `request.count`.
"""

from __future__ import annotations

from urllib.parse import quote

from .base import CRITICAL, OK, Probe, SystemProbe, mapping, other_port

NO_VERSION = ("", "None", "default")
READY = "READY"
PASSING = ("LOADING", "UNLOADING")
"""States of a model that is in memory in part. In any other one but `READY` it is only known, and not there."""


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
    known = [] if probe.models else _repository(probe)
    ready = set()
    for name in probe.models or dict.fromkeys(name for name, _, _ in known) or probe.seen_models:
        response = probe.get(f"/v2/models/{quote(name, safe='')}/ready")
        if response is None:
            probe.model(name, CRITICAL, probe.problem)
        elif response.status_code >= 400:
            probe.model(name, CRITICAL, f"the model is not ready: HTTP {response.status_code}")
        else:
            probe.model(name, OK)
            ready.add(name)
    for name, version, state in known or [(name, "", "") for name in sorted(ready)]:
        state = state or (READY if name in ready else "")
        if state == READY or state in PASSING:
            probe.has(name, version, state, serving=state == READY)


def _repository(probe: Probe) -> list[tuple[str, str, str]]:
    """Name, version and state of what the repository lists. The last two are empty where it doesn't say."""
    response = probe.post("/v2/repository/index", {})
    if response is None or response.status_code >= 400:
        return []
    entries = response.value if isinstance(response.value, list) else []
    return [
        (entry["name"], "" if version in NO_VERSION else version, str(entry.get("state") or ""))
        for entry in map(mapping, entries)
        if isinstance(entry.get("name"), str) and entry["name"]
        for version in (str(entry.get("version") or ""),)
    ]


def _version(probe: Probe) -> None:
    if not probe.wants_metadata():
        return
    response = probe.get("/v2")
    if response is not None and response.status_code < 400:
        version = response.object.get("version")
        if isinstance(version, str):
            probe.server_version(version)


PROBE = SystemProbe(probe, other_port)
