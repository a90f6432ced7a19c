"""Calls of models as a Datadog account has them, from what the check sends."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...catalog.model import NAMESPACE, System
from ...errors import ApiError, OptionError, QueryError, Refused, TrafficError
from ..provision.api import Client, understood
from ..provision.packs.queries import read_condition, scoped
from ..provision.query import parse_metric_expression, render
from ..stored import stored
from .call_metrics import call_metrics_of
from .inventory import Listed
from .traffic import HOUR, OWN_ENDPOINT, THINGS, Calls, Hours, Period, RecordedTraffic, Seen, loaded_in

TAGS = ("serving_system", "endpoint_name", *THINGS)
NONE = "n/a"
"""The value of a tag that a series lacks, in any letter case, where a query groups by it."""

Named = dict[str, str]


class DatadogTraffic:
    """The traffic that an account knows. `where` is the scope of queries that narrows it, such as `env:prod`.

    Metrics of one endpoint come from the check that reads it, so an hour of it was seen if the check has read it then.
    """

    name = "datadog"

    def __init__(self, client: Client, systems: Mapping[str, System], where: str = "") -> None:
        self._client = client
        self._systems = systems
        try:
            self._where = read_condition(where) if where else None
        except QueryError as error:
            raise OptionError(f"--where {where}: this is no scope of a Datadog query: {error.message}") from None

    def observe(self, listed: Sequence[Listed], hours: int, now: float | None = None) -> RecordedTraffic:
        """What it tells of the last full hours of the clock before `now`, and of the one that goes on.

        Raises TrafficError.
        """
        now = time.time() if now is None else now
        period = Period(hours, now // HOUR * HOUR)
        systems = [self._systems[name] for name in dict.fromkeys(one.system for one in listed)]
        calls = [one for system in systems for one in self._calls(system, period, now)]
        scraped = self._hours("avg", "scrape.samples", TAGS[:2], "rollup(avg, 3600)", period, now)
        loaded = self._hours("max", "model.loaded", TAGS, "rollup(max, 3600)", period, now)
        traffic = RecordedTraffic(period, calls, {}, stored)
        seen = {one: self._seen(one, period, scraped, loaded, traffic) for one in listed}
        return RecordedTraffic(period, calls, seen, stored)

    def _calls(self, system: System, period: Period, now: float) -> Iterator[Calls]:
        """Calls by what they name, at each endpoint from the metrics that tell most of them."""
        only = f"serving_system:{system.name}"
        having: dict[str, set[str]] = {}
        for metric in call_metrics_of(system):
            full = f"{metric.name}.count" if self._is_distribution(system, metric.name) else metric.name
            found = list(self._query("sum", full, TAGS, "as_count().rollup(sum, 3600)", period, now, only))
            having[metric.name] = {named.get("endpoint_name", "") for named, _ in found}
            better = set().union(*(having.get(name, ()) for name in metric.unless))
            for named, counts in found:
                if named.get("endpoint_name", "") not in better:
                    rates = {hour: count / HOUR for hour, count in counts.items()}
                    called = frozenset(hour for hour, count in counts.items() if count > 0)
                    server = "" if system.name in OWN_ENDPOINT else named.get("endpoint_name", "")
                    yield Calls(system.name, named, rates, called, measure=metric.measure, server=server)

    @staticmethod
    def _is_distribution(system: System, metric: str) -> bool:
        targets = (target.metric for raw in system.metrics for target in raw.targets)
        return any(one.name == metric and one.type == "distribution" for one in targets)

    def _seen(
        self,
        one: Listed,
        period: Period,
        scraped: Sequence[tuple[Named, Hours]],
        loaded: Sequence[tuple[Named, Hours]],
        traffic: RecordedTraffic,
    ) -> Seen:
        endpoint = stored(one.endpoint)
        hours = frozenset[int]().union(*(some for named, some in scraped if _is_of(named, one.system, endpoint)))
        why = "" if hours else f"the check has sent nothing of endpoint_name:{endpoint}"
        there = [(named, some) for named, some in loaded if _is_of(named, one.system, endpoint)]
        if not there:
            return Seen(hours.intersection(range(period.hours)), why, servers=frozenset((endpoint,)))
        own = [some for named, some in there if traffic.may_be_of(Calls(one.system, named), one)]
        seen = loaded_in(frozenset().union(*own), [some for _, some in there], hours, period, why)
        return replace(seen, servers=frozenset((endpoint,)))

    def _hours(
        self, aggregator: str, metric: str, tags: Sequence[str], rollup: str, period: Period, now: float
    ) -> list[tuple[Named, Hours]]:
        """The hours in which each series has a value."""
        found = self._query(aggregator, metric, tags, rollup, period, now)
        return [(named, frozenset(values)) for named, values in found if values]

    def _query(
        self,
        aggregator: str,
        metric: str,
        tags: Sequence[str],
        rollup: str,
        period: Period,
        now: float,
        only: str = "*",
    ) -> Iterator[tuple[Named, dict[int, float]]]:
        """The tags of each series, and its value in each hour, the one that goes on included."""
        expression = parse_metric_expression(
            f"{aggregator}:{NAMESPACE}.{metric}{{{only}}} by {{{','.join(tags)}}}.{rollup}"
        )
        query = render(expression if self._where is None else scoped(expression, self._where))
        answer = self._answer(query, period, now)
        with understood(f"the query {query}"):
            for series in answer.get("series") or ():
                values = {
                    int((moment / 1000 - period.start) // HOUR): float(value)
                    for moment, value in series["pointlist"]
                    if value is not None and math.isfinite(value)
                }
                yield _named(series), {hour: value for hour, value in values.items() if 0 <= hour <= period.hours}

    def _answer(self, query: str, period: Period, now: float) -> Any:
        client = self._client
        try:
            answer = client.call(client.queries.query_metrics, _from=int(period.start), to=math.ceil(now), query=query)
        except Refused as error:
            need = " Its owner needs the permission timeseries_query." if error.status == 403 else ""
            raise TrafficError(f"Datadog refuses the query {query}: {error}.{need}") from None
        except ApiError as error:
            raise TrafficError(f"Datadog has not answered the query {query}: {error}") from None
        if not isinstance(answer, dict) or answer.get("status", "ok") != "ok":
            said = answer.get("error") if isinstance(answer, dict) else answer
            raise TrafficError(f"Datadog could not answer the query {query}: {said}")
        return answer


def _named(series: Mapping[str, Any]) -> Named:
    tags = series.get("tag_set") or str(series.get("scope") or "").split(",")
    pairs = (str(tag).partition(":")[::2] for tag in tags)
    return {name: value for name, value in pairs if name in TAGS and value and value.lower() != NONE}


def _is_of(named: Named, system: str, endpoint: str) -> bool:
    return named.get("endpoint_name") == endpoint and named.get("serving_system", system) == system
