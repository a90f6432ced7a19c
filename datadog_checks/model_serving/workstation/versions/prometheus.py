"""Calls of models as a Prometheus server, or what speaks its HTTP API, has recorded them."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests
from requests.exceptions import RequestException

from ...catalog.model import System
from ...errors import BodyError, TrafficError, UserError
from ...http.body import read_body
from ...http.errors import connection_problem
from ...http.redact import mask, printable, without_secrets
from .call_metrics import call_metrics_of
from .inventory import Listed
from .promql import LOAD_PATH, Expressions, loads, named, questions, up
from .traffic import HOUR, OWN_ENDPOINT, Calls, Hours, Period, RecordedTraffic, Seen, loaded_in

MAX_ANSWER = 256 << 20
ANSWER_SECONDS = 300.0
LONGEST_WORDS = 500
HARMLESS = ("PromQL info:", "PromQL warning:")
"""How remarks about an expression begin that say nothing of the data."""

Labels = Mapping[str, str]
Target = tuple[str, str]
"""Job and instance."""


class PrometheusApi:
    """Queries of one server. `token` is sent as a bearer; user and password of the URL as Basic authentication.

    Every method raises TrafficError where there is no answer that is known to be whole.
    """

    def __init__(self, url: str, token: str = "", timeout: float = 60.0) -> None:
        parts = urlsplit(url)
        self.url = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
        self.shown = without_secrets(self.url)
        self._timeout = timeout
        self._session = requests.Session()
        if token:
            self._session.auth = _Bearer(token)
        self._secrets = tuple(filter(None, (token, parts.password)))

    def close(self) -> None:
        """Give the connections back."""
        self._session.close()

    def query(self, expression: str, at: float) -> Iterator[tuple[Labels, float]]:
        """Labels and value of each series at a time, in epoch seconds."""
        for labels, values in self._ask("query", {"query": expression, "time": f"{at:.3f}"}):
            yield labels, values[0][1]

    def hours(self, expression: str, period: Period) -> Iterator[tuple[Labels, dict[int, float]]]:
        """Labels of each series, and its value at the end of each hour of the period in which it has one."""
        first = period.beginning(0) + HOUR
        asked = {"query": expression, "start": f"{first:.3f}", "end": f"{period.end:.3f}", "step": str(HOUR)}
        for labels, values in self._ask("query_range", asked):
            yield labels, {round((moment - first) / HOUR): value for moment, value in values}

    def _ask(self, path: str, parameters: Mapping[str, str]) -> Iterator[tuple[Labels, list[tuple[float, float]]]]:
        status, answer = self._answer(f"{self.url}/api/v1/{path}", parameters)
        if not isinstance(answer, dict) or answer.get("status") not in ("success", "error"):
            if status >= 400:
                raise self._failed(_advice(status))
            raise self._failed("the answer is none of Prometheus' HTTP API: check the URL, without /api/v1")
        if answer["status"] == "error":
            raise self._failed(f"{answer.get('errorType')}: {answer.get('error')}")
        warnings = [str(one) for one in answer.get("warnings") or () if not str(one).startswith(HARMLESS)]
        if warnings:
            # Whatever is left out may have been called.
            raise self._failed(f"the answer isn't whole: {'; '.join(warnings)}")
        try:
            for series in answer["data"]["result"]:
                values = [series["value"]] if "value" in series else series["values"]
                numbers = [(float(moment), float(value)) for moment, value in values]
                finite = [(moment, value) for moment, value in numbers if math.isfinite(value)]
                if finite:
                    yield dict(series["metric"]), finite
        except (KeyError, TypeError, ValueError):
            raise self._failed("the answer has another form than Prometheus' HTTP API gives") from None

    def _answer(self, url: str, parameters: Mapping[str, str]) -> tuple[int, Any]:
        try:
            with self._session.get(
                url, params=dict(parameters), stream=True, timeout=self._timeout, allow_redirects=False
            ) as response:
                if response.is_redirect:
                    there = without_secrets(str(response.headers.get("location", "")))
                    raise self._failed(f"it redirects to {there}: write that URL if it is meant")
                body = read_body(response, MAX_ANSWER, ANSWER_SECONDS)
        except BodyError as error:
            raise self._failed(f"{error}: narrow the question with --where, or ask for fewer --hours") from None
        except (RequestException, OSError, UserError, ValueError) as error:
            if isinstance(error, TrafficError):
                raise
            raise self._failed(connection_problem(error, None, url)) from None
        with suppress(ValueError, RecursionError):
            return response.status_code, json.loads(body)
        return response.status_code, None

    def _failed(self, problem: str) -> TrafficError:
        return TrafficError(f"{self.shown}: {printable(mask(problem, self._secrets))[:LONGEST_WORDS]}")


class _Bearer(requests.auth.AuthBase):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


@dataclass(slots=True)
class _Metric:
    """What is asked of one raw metric, and who has it: targets, and the tags that they have it with."""

    system: System
    measure: str
    asked: Expressions
    there: list[tuple[Target, dict[str, str]]]


class PrometheusTraffic:
    """The traffic that a Prometheus server knows. `where` are matchers of labels that narrow it, such as `job="tfs"`.

    With `where` its targets are the servers; without, a server is the target whose `instance` is its address.
    """

    name = "prometheus"

    def __init__(self, api: PrometheusApi, systems: Mapping[str, System], where: str = "") -> None:
        self._api = api
        self._systems = systems
        self._where = where.strip().strip("{}")

    def observe(self, listed: Sequence[Listed], hours: int, now: float | None = None) -> RecordedTraffic:
        """What it tells of the last hours before `now`, in epoch seconds. Raises TrafficError."""
        period = Period(hours, int(time.time() if now is None else now))
        systems = [self._systems[name] for name in dict.fromkeys(one.system for one in listed)]
        metrics = [found for system in systems for found in self._metrics(system, period)]
        calls = [one for metric in metrics for one in self._calls(metric, period)]
        loaded = {system.name: self._loaded(system, period) for system in systems}
        instances = {instance for metric in metrics for (_, instance), _ in metric.there}
        instances |= {instance for some in loaded.values() for _, (_, instance) in some}
        scraped = self._scraped(instances.union(*map(_addresses, listed)), period)
        traffic = RecordedTraffic(period, calls, {})
        seen = {one: self._seen(one, traffic, metrics, scraped, loaded[one.system]) for one in listed}
        return RecordedTraffic(period, calls, seen)

    def _metrics(self, system: System, period: Period) -> Iterator[_Metric]:
        for metric in call_metrics_of(system):
            for asked in questions(system, metric, self._where):
                found = self._api.query(asked.there(period.hours + 1), period.end)
                there = [(_target(labels), named(system, labels)) for labels, _ in found]
                if there:
                    yield _Metric(system, metric.measure, asked, there)

    def _calls(self, metric: _Metric, period: Period) -> list[Calls]:
        """Calls by what they name, whatever spelling names it."""
        rates: dict[_Key, dict[int, float]] = {}
        called: dict[_Key, set[int]] = {}
        peaks: dict[_Key, float] = {}
        for labels, values in self._api.hours(metric.asked.rate, period):
            key = _key(metric.system, labels)
            known = rates.setdefault(key, {})
            for hour, value in values.items():
                known[hour] = known.get(hour, 0.0) + value
            called.setdefault(key, set()).update(hour for hour, value in values.items() if value > 0)
        missed = "" if metric.asked.total else metric.asked.missed(sorted({job for (job, _), _ in metric.there}))
        for labels, values in self._api.hours(missed, period) if missed else ():
            called.setdefault(_key(metric.system, labels), set()).update(values)
        for labels, value in self._api.query(metric.asked.busiest(period.hours), period.end):
            key = _key(metric.system, labels)
            if not key[1]:
                peaks[key] = max(peaks.get(key, 0.0), value)
        return [
            Calls(
                metric.system.name,
                dict(key[0]),
                rates.get(key, {}),
                frozenset(called.get(key, ())),
                peaks.get(key, 0.0),
                metric.measure,
                key[1],
            )
            for key in dict.fromkeys((*rates, *called, *peaks))
        ]

    def _scraped(self, instances: Iterable[str], period: Period) -> dict[Target, dict[int, float]]:
        """Whether each target could be scraped, by hour."""
        asked = up(self._where, sorted(instances))
        return {_target(labels): values for labels, values in self._api.hours(asked, period)}

    def _loaded(self, system: System, period: Period) -> dict[tuple[str, Target], Hours]:
        """In which hours which path of a model was loaded, by path and target."""
        asked = loads(system, self._where)
        found = self._api.hours(asked, period) if asked else ()
        return {(labels.get(LOAD_PATH, ""), _target(labels)): frozenset(values) for labels, values in found}

    def _seen(
        self,
        one: Listed,
        traffic: RecordedTraffic,
        metrics: Sequence[_Metric],
        scraped: Mapping[Target, Mapping[int, float]],
        loaded: Mapping[tuple[str, Target], Hours],
    ) -> Seen:
        period = traffic.period
        own = self._targets(one, metrics, scraped)
        if not own:
            return Seen(frozenset(), self._no_target(one))
        # Others that have the model are replicas: what one of them has answered while it could not be scraped is lost.
        model = one.loaded.model
        replicas = {
            target
            for metric in metrics
            if metric.system.name == one.system
            for target, tags in metric.there
            if tags.get("model_name") == model and target in scraped
        }
        replicas |= {target for path, target in loaded if _parts(path)[-2:] == [model, one.loaded.version]} & set(
            scraped
        )
        hours, lost = set(), []
        for hour in range(period.hours):
            values = {target: scraped[target][hour] for target in own | replicas if hour in scraped[target]}
            down = [target for target, value in values.items() if not value]
            lost += down
            if values and not down:
                hours.add(hour)
        why = f"{lost[-1][1]} could not be scraped" if lost else ""
        servers = frozenset(map(_server, own | replicas))
        by_path: dict[str, Hours] = {}
        for (path, target), some in loaded.items():
            if target in own | replicas:
                by_path[path] = by_path.get(path, frozenset()) | some
        paths = _paths(one, by_path)
        if not paths:
            return Seen(frozenset(hours), why, servers=servers)
        # Where several models may have this path, it is the one that came last.
        seen = loaded_in(max(paths, key=min), by_path.values(), frozenset(hours), period, why)
        return replace(seen, servers=servers)

    def _no_target(self, one: Listed) -> str:
        if self._where:
            return f"no series `up` matches --where {self._where}"
        return f"no target of Prometheus is {one.address or one.endpoint}: say which are with --where 'job=\"...\"'"

    def _targets(
        self, one: Listed, metrics: Sequence[_Metric], scraped: Mapping[Target, Mapping[int, float]]
    ) -> set[Target]:
        """The targets that are the server of a version."""
        if self._where:
            return set(scraped)
        addresses = _addresses(one)
        own = {target for target in scraped if target[1] in addresses}
        if one.system in OWN_ENDPOINT:
            own |= {
                target
                for metric in metrics
                if metric.system.name == one.system
                for target, tags in metric.there
                if tags.get("endpoint_name") == one.endpoint and target in scraped
            }
        return own


def _target(labels: Labels) -> Target:
    return labels.get("job", ""), labels.get("instance", "")


_Key = tuple[tuple[tuple[str, str], ...], str]
"""What was called, as far as it is told, and the server that has counted it, where no model is told."""


def _key(system: System, labels: Labels) -> _Key:
    tags = named(system, labels)
    alone = "model_name" in tags or system.name in OWN_ENDPOINT
    return tuple(sorted(tags.items())), "" if alone else _server(_target(labels))


def _server(target: Target) -> str:
    return "\n".join(target)


def _addresses(one: Listed) -> set[str]:
    """How the label `instance` may spell the address of a server."""
    address = one.address
    port = {"http": 80, "https": 443}.get(urlsplit(one.url).scheme)
    return {address, f"{address}:{port}"} if port and urlsplit(one.url).port is None else {address}


def _paths(one: Listed, loaded: Mapping[str, Hours]) -> list[Hours]:
    """In which hours a version was loaded, going by the paths of models: the last part is the version."""
    model, version = one.loaded.model, one.loaded.version
    paths = [path for path in loaded if version and _parts(path)[-1] == version]
    exact = [path for path in paths if _parts(path)[-2:] == [model, version]]
    return [loaded[path] for path in exact or paths]


def _parts(path: str) -> list[str]:
    return path.rstrip("/").split("/")


def _advice(status: int) -> str:
    if status in (401, 403):
        return (
            f"it refuses the login (HTTP {status}): give --prometheus-token-file, or user and password in the URL as "
            "https://user:password@..."
        )
    return f"HTTP {status}: check the URL, without /api/v1"
