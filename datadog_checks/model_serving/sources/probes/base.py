"""The frame of a readiness probe: a way to ask the endpoint, and service checks under the common tags."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from requests import Response
from requests.exceptions import ContentDecodingError, RequestException

from ...errors import BodyError, PayloadError, UserError
from ...http.address import root
from ...http.body import MAX_JSON, load, parse_json, read_body
from ...http.errors import connection_problem
from ...http.follow import ask
from ...http.redact import without_secrets
from ...scrape.tags import CONTROL, LONGEST
from ...scrape.versions import Version
from ..loaded import LoadedVersion

OK, WARNING, CRITICAL, UNKNOWN = 0, 1, 2, 3

LATE = "no complete answer in time: look why the API is slow, or raise `endpoint_deadline`"

BODY_SECONDS = 60.0
"""Seconds for the body of an answer, whatever the time-outs are."""

Finding = Callable[[Any], None]
"""Submits something that was found, through the check that it is given, in the thread of the run."""


@dataclass(frozen=True, slots=True)
class SystemProbe:
    """How one system is probed.

    `probe` asks and submits; `base_url` finds the API from the metrics URL and the catalog's ports,
    or gives None where it isn't known. `interval` seconds lie between two probes at least. `models` says whether the
    API tells of models, `because` why it isn't `default_on`. `explain` turns a refused answer of the
    metrics URL into advice; an empty text means that it is an answer ("exports nothing") and no failure.
    """

    probe: Callable[[Probe], None]
    base_url: Callable[[str, dict[str, int]], str | None]
    default_on: bool = True
    interval: float = 0.0
    models: bool = True
    because: str = ""
    explain: Callable[[Any], str | None] = lambda response: None


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """An answer to a probe: its HTTP status, and the value of the JSON document that it is, None where it is none.

    `response` is closed, and holds what was read of its body.
    """

    status_code: int
    value: Any
    response: Response = field(repr=False)

    @classmethod
    def of(cls, response: Response) -> ProbeAnswer:
        """An answer that has been read. What its status says holds whatever its body is, or isn't."""
        try:
            body = read_body(response, MAX_JSON, BODY_SECONDS)
        except (BodyError, PayloadError, ContentDecodingError):
            body = b""
        load(response, body)
        return cls(response.status_code, parse_json(body), response)

    @property
    def object(self) -> dict[str, Any]:
        """The JSON object that it is, empty where it is anything else."""
        return mapping(self.value)


@dataclass(slots=True)
class Probe:
    """One probe going on: `get` and `post` ask below `base`, `endpoint` and `model` report what was found.

    It may be in any thread, so nothing is submitted before the thread of the run takes the `findings`. `remembered` is
    kept from probe to probe of an instance, for that thread; `loaded` are the versions that the system says it has.
    `deadline` is when its time is over, by the monotonic clock. `told` are the tags that its metrics lack and its API
    knows, and `unanswered` what could not be found out, in words.
    """

    http: Any
    base: str
    tags: list[str]
    models: tuple[str, ...] = ()
    seen_models: tuple[str, ...] = ()
    deadline: float = inf
    wants_metadata: Callable[[], bool] = lambda: False
    findings: list[Finding] = field(default_factory=list)
    remembered: dict[str, Any] = field(default_factory=dict)
    loaded: list[LoadedVersion] = field(default_factory=list)
    told: dict[str, str] = field(default_factory=dict)
    unanswered: list[str] = field(default_factory=list)
    problem: str = field(default="", init=False)

    def get(self, path: str) -> ProbeAnswer | None:
        """The answer to a GET, or None when none came; `problem` then says why."""
        return self._ask("get", path)

    def post(self, path: str, json: Any) -> ProbeAnswer | None:
        """The answer to a POST of a JSON body, or None when none came."""
        return self._ask("post", path, json=json)

    def over(self) -> bool:
        """Whether its time is over. What it waits for has been cut then, and so is what it would ask."""
        return time.monotonic() >= self.deadline

    def _ask(self, method: str, path: str, **options: Any) -> ProbeAnswer | None:
        answer = None if self.over() else self._answer(method, path, **options)
        if self.over():
            # A cut looks like the end of an answer.
            self.problem = f"{without_secrets(self.base + path)}: {LATE}"
            return None
        return answer

    def _answer(self, method: str, path: str, **options: Any) -> ProbeAnswer | None:
        try:
            response = ask(self.http, method, f"{self.base}{path}", headers={"Accept": "application/json"}, **options)
            try:
                return ProbeAnswer.of(response)
            finally:
                response.close()
        except (RequestException, OSError, UserError) as error:
            self.problem = f"{without_secrets(self.base + path)}: {connection_problem(error, None, self.base)}"
            return None

    def endpoint(self, status: int, message: str = "") -> None:
        """Report `model_serving.endpoint.ready`."""
        self._service_check("endpoint.ready", status, self.tags, message)

    def model(self, name: str, status: int, message: str = "", version: str = "", extra: tuple[str, ...] = ()) -> None:
        """Report `model_serving.model.ready` of one model, or one version of it."""
        self._service_check("model.ready", status, [*self._of(name, version), *extra], message)

    def has(self, name: str, version: str, state: str, serving: bool) -> None:
        """Take note of a version that the system has, in its own word for the state, and whether that serves."""
        self.loaded.append(LoadedVersion(tuple(self._of(name, version)), state, serving))

    def gauge(self, metric: str, value: float, name: str, version: str) -> None:
        """Report a number that is told of a model, or of one version of it."""
        tags = self._of(name, version)
        self.findings.append(lambda check: check.gauge(metric, value, tags=tags, raw=True))

    def server_version(self, version: str) -> None:
        """Report the version of the serving system, as metadata of the check, and by an event where it is new."""
        found = [Version("server_version", "", version)]
        self.findings.append(lambda check: check.set_metadata("version", version))
        self.findings.append(lambda check: check.versions.see(tuple(self.tags), found, "Serving system"))

    def _of(self, model: str, version: str) -> list[str]:
        """Tags of what is said of a model, as the metrics have them. What is told of it comes before a tag of its own
        that the instance has.
        """
        said = [f"model_name:{model}", *([f"model_version:{version}"] if version else [])]
        keys = tuple(f"{tag.partition(':')[0]}:" for tag in said)
        own = [tag for tag in self.tags if not tag.lower().startswith(keys)]
        return own + [CONTROL.sub("_", tag)[:LONGEST] for tag in said]

    def _service_check(self, name: str, status: int, tags: list[str], message: str) -> None:
        self.findings.append(lambda check: check.service_check(name, status, tags=tags, message=message or None))


def mapping(value: Any) -> dict[str, Any]:
    """`value` when it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def other_port(metrics_url: str, ports: dict[str, int]) -> str | None:
    """Base URL of the API that goes with a metrics URL, when that is on the system's default port for metrics."""
    parts = urlsplit(metrics_url)
    if parts.port is None or parts.port != ports.get("metrics") or "api" not in ports or not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return urlunsplit((parts.scheme, f"{host}:{ports['api']}", "", "", ""))


def same_port(metrics_url: str, ports: dict[str, int]) -> str | None:
    """Base URL of the API on the very port, or the very socket, of the metrics."""
    return root(metrics_url)
