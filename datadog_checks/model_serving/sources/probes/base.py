"""The frame of a readiness probe: a way to ask the endpoint, and service checks under the common tags."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from requests.exceptions import RequestException

from ...errors import UserError
from ...http.errors import connection_problem
from ...http.redact import without_secrets

OK, WARNING, CRITICAL, UNKNOWN = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class Source:
    """How one system is probed.

    `probe` asks and submits; `base_url` finds the API from the metrics URL and the catalog's ports,
    or gives None when it can't be told. `interval` seconds lie between two probes at least.
    `explain_status` turns an HTTP status of the metrics URL into advice; an empty text means that
    the status is an answer ("exports nothing") and no failure.
    """

    probe: Callable[[Probe], None]
    base_url: Callable[[str, dict[str, int]], str | None]
    default_on: bool = True
    interval: float = 0.0
    explain_status: Callable[[int], str | None] = lambda status: None


@dataclass(slots=True)
class Probe:
    """One probe going on: `get` and `post` ask below `base`, `endpoint` and `model` report what was found."""

    check: Any
    http: Any
    base: str
    tags: list[str]
    models: tuple[str, ...] = ()
    seen_models: tuple[str, ...] = ()
    problem: str = field(default="", init=False)

    def get(self, path: str) -> Any:
        """The response to a GET, or None when none came; `problem` then says why."""
        return self._ask(self.http.get, path)

    def post(self, path: str, json: Any) -> Any:
        """The response to a POST of a JSON body, or None when none came."""
        return self._ask(self.http.post, path, json=json)

    def _ask(self, method: Callable[..., Any], path: str, **options: Any) -> Any:
        try:
            return method(f"{self.base}{path}", extra_headers={"Accept": "application/json"}, **options)
        except (RequestException, OSError, UserError) as error:
            self.problem = f"{without_secrets(self.base + path)}: {connection_problem(error, None)}"
            return None

    def submit(self, work: Callable[[Any], None]) -> None:
        """Have `work` done with the check itself, in the thread of the run."""
        if isinstance(self.check, Recorded):
            self.check.later(work)
        else:
            work(self.check)

    def endpoint(self, status: int, message: str = "") -> None:
        """Report `model_serving.endpoint.ready`."""
        self.check.service_check("endpoint.ready", status, tags=self.tags, message=message or None)

    def model(self, name: str, status: int, message: str = "", version: str = "", extra: tuple[str, ...] = ()) -> None:
        """Report `model_serving.model.ready` of one model, or one version of it."""
        tags = [*self.tags, f"model_name:{name}", *extra]
        if version:
            tags.append(f"model_version:{version}")
        self.check.service_check("model.ready", status, tags=tags, message=message or None)


def json_object(response: Any) -> dict[str, Any]:
    """The JSON object in a response's body, empty where it is anything else."""
    try:
        body = response.json()
    except ValueError:
        return {}
    return mapping(body)


def mapping(value: Any) -> dict[str, Any]:
    """`value` when it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def other_port(metrics_url: str, ports: dict[str, int]) -> str | None:
    """Base URL of the API beside a metrics URL, when that is on the port the system uses for metrics by default."""
    parts = urlsplit(metrics_url)
    if parts.port is None or parts.port != ports.get("metrics") or "api" not in ports or not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return urlunsplit((parts.scheme, f"{host}:{ports['api']}", "", "", ""))


def same_port(metrics_url: str, ports: dict[str, int]) -> str | None:
    """Base URL of the API on the very port of the metrics."""
    parts = urlsplit(metrics_url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], "", "", ""))


class Recorded:
    """Stands for the check in a thread that must not submit: what a probe reports waits for `replay`."""

    def __init__(self, check: Any) -> None:
        self._check = check
        self._calls: list[Callable[[Any], None]] = []

    def service_check(self, *args: Any, **options: Any) -> None:
        """As that of the check."""
        self.later(lambda check: check.service_check(*args, **options))

    def set_metadata(self, *args: Any, **options: Any) -> None:
        """As that of the check."""
        self.later(lambda check: check.set_metadata(*args, **options))

    def is_metadata_collection_enabled(self) -> bool:
        """As that of the check."""
        return bool(self._check.is_metadata_collection_enabled())

    def later(self, work: Callable[[Any], None]) -> None:
        """Have something done with the check."""
        self._calls.append(work)

    def replay(self) -> None:
        """Submit, in the thread of the run, what was reported."""
        calls, self._calls = self._calls, []
        for call in calls:
            call(self._check)
