"""Datadog's intake: the bodies that it takes, its limits, and what its answers mean.

Limits are those of the API's description: https://docs.datadoghq.com/api/latest/metrics/
"""

from __future__ import annotations

import json
import math
import ssl
import threading
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import urllib3
from datadog_api_client import ApiClient
from datadog_api_client.exceptions import ApiException
from datadog_api_client.rest import RESTClientObject
from datadog_api_client.v1.api.authentication_api import AuthenticationApi
from datadog_api_client.v1.api.events_api import EventsApi
from datadog_api_client.v1.api.metrics_api import MetricsApi as DistributionsApi
from datadog_api_client.v1.api.service_checks_api import ServiceChecksApi
from datadog_api_client.v2.api.metrics_api import MetricsApi

from ..provision.api import client_configuration, seconds_of, transport_words, words_of
from ..provision.credentials import AccountCredentials
from ..standin.aggregation import Commit, Context
from ..standin.recorder import Event, ServiceCheck
from ..standin.runner import Round
from ..standin.sketch import MAX_KEY, value_of
from .settings import BridgeSettings
from .spool import NewBatch, dropped

SERIES, DISTRIBUTIONS, CHECKS, EVENTS = "series", "distributions", "service_checks", "events"

PATHS = {
    SERIES: "/api/v2/series",
    DISTRIBUTIONS: "/api/v1/distribution_points",
    CHECKS: "/api/v1/check_run",
    EVENTS: "/api/v1/events",
}
"""What takes each kind, for people; the client has its own list."""

TYPES = {"count": 1, "rate": 2, "gauge": 3}
"""The intake's numbers of the types that a commit knows."""


class IntakeLimit(NamedTuple):
    """What one request may hold: bytes as they are sent, and before they are compressed; and how old it may be."""

    sent: int
    plain: int
    age: float


LIMITS: Mapping[str, IntakeLimit] = {
    SERIES: IntakeLimit(512_000, 5_242_880, 3600.0),
    DISTRIBUTIONS: IntakeLimit(3_200_000, 62_914_560, 3600.0),
    # The description states no sizes of these: those of series are kept to.
    CHECKS: IntakeLimit(512_000, 5_242_880, 600.0),
    EVENTS: IntakeLimit(512_000, 5_242_880, 18 * 3600.0),
}

REQUEST_BYTES: Mapping[str, int] = {SERIES: 4_500_000, DISTRIBUTIONS: 8_000_000, CHECKS: 4_500_000, EVENTS: 1}
"""Characters of one request before they are compressed: less than the limit of distributions, as memory is bounded."""

BATCH_BYTES: Mapping[str, int] = {SERIES: 400_000, DISTRIBUTIONS: 3_000_000, CHECKS: 400_000, EVENTS: 0}
"""Characters of what is spooled as one, as it will be sent: each fits a request even where it doesn't compress."""

LONGEST_EVENT = 4000
LONGEST_TITLE = 500
LONGEST_AGGREGATION_KEY = 100
EVENT_FIELDS = {"alert_type": "alert_type", "source_type_name": "source_type_name", "priority": "priority"}

KEPT_PREFIXES = 50_000
"""Series whose text up to the value is remembered, of some 400 bytes each. More are made anew."""

CLOCK_PUT_BACK = 600.0
"""Seconds by which the clock may have been put back before times are given twice: Datadog takes none from beyond."""


class Encoder:
    """Makes batches of what runs give, with the host and the tags of the bridge.

    `latest` is a time up to which the process before may have given points of any series.
    """

    def __init__(self, settings: BridgeSettings, latest: int = 0) -> None:
        self._host = settings.host
        self._tags = settings.tags
        self._most = settings.max_observations
        self._prefixes: dict[tuple[Context, str, int, str], str] = {}
        self._latest = latest
        self._times: dict[Context, int] = {}
        self._many_times = KEPT_PREFIXES
        self._lock = threading.Lock()

    def encode(
        self, round_: Round, timestamp: int, interval: int, hostless: bool = False
    ) -> tuple[list[NewBatch], Counter[str]]:
        """Batches of a run's points, of `timestamp`, whose counts are of `interval` seconds; and the totals of
        what was thinned or left out.

        `hostless` leaves the host of the bridge out where the run names none.
        """
        host = "" if hostless else self._host
        batches: list[NewBatch] = []
        thinned: Counter[str] = Counter()
        for run in round_.runs:
            batches += self.series(run.commit, timestamp, interval, host)
            if infinite := sum(not math.isfinite(point.value) for point in run.commit.series):
                thinned += dropped(SERIES, "invalid", infinite)
            items, left_out = self._distributions(run.commit, timestamp, host)
            batches += _gathered(DISTRIBUTIONS, timestamp, items)
            thinned.update(left_out)
        checks = [self._check(check, round_, host) for check in round_.service_checks]
        batches += _gathered(CHECKS, round_.timestamp, checks)
        for event in round_.events:
            body, when = self._event(event, round_, host)
            batches.append(NewBatch(EVENTS, when, 1, len(body), body))
        return batches, thinned

    def claim(self, commit: Commit, timestamp: int) -> int:
        """The first time from `timestamp` on at which no series of a commit has a point of another instance.

        Two instances may give the same series: an Agent would send both points, at times of its own.
        """
        with self._lock:
            if len(self._times) > self._many_times:
                oldest = timestamp - CLOCK_PUT_BACK
                self._times = {context: time for context, time in self._times.items() if time > oldest}
                self._many_times = max(KEPT_PREFIXES, 2 * len(self._times))
            latest = max((self._times.get(point.context, self._latest) for point in commit.series), default=0)
            if timestamp <= latest <= timestamp + CLOCK_PUT_BACK:
                timestamp = latest + 1
            self._times.update((point.context, timestamp) for point in commit.series)
        return timestamp

    def series(self, commit: Commit, timestamp: int, interval: int, host: str) -> Iterator[NewBatch]:
        """Batches of the series of a commit, without sums that have grown too large for a number."""
        if len(self._prefixes) > KEPT_PREFIXES:
            self._prefixes.clear()
        items = []
        for point in commit.series:
            if not math.isfinite(point.value):
                continue
            key = (point.context, point.type, interval, host)
            prefix = self._prefixes.get(key)
            if prefix is None:
                prefix = self._prefixes[key] = self._prefix(*key)
            text = f'{prefix}{timestamp},"value":{point.value!r}}}]}}'
            items.append((text, len(text), 1))
        yield from _gathered(SERIES, timestamp, items)

    def _prefix(self, context: Context, kind: str, interval: int, host: str) -> str:
        """A series up to the time of its only point."""
        series: dict[str, Any] = {"metric": context.name, "tags": self._all_tags(context.tags), "type": TYPES[kind]}
        if kind != "gauge":
            series["interval"] = interval
        if context.host or host:
            series["resources"] = [{"type": "host", "name": context.host or host}]
        return f'{_json(series)[:-1]},"points":[{{"timestamp":'

    def _distributions(
        self, commit: Commit, timestamp: int, host: str
    ) -> tuple[list[tuple[str, int, int]], Counter[str]]:
        items, thinned = [], Counter[str]()
        for distribution in commit.distributions:
            context, bins = distribution.context, sorted(distribution.sketch.bins.items())
            kept = thin([count for _, count in bins], self._most)
            left_out = distribution.sketch.count - sum(kept)
            if left_out:
                thinned[f"thinned {context.name}"] += left_out
            values = [
                (f"{value_of(key):.9g}", count)
                for (key, _), count in zip(bins, kept, strict=True)
                # The outermost keys stand for infinity, of which JSON has none.
                if count and abs(key) < MAX_KEY
            ]
            item: dict[str, Any] = {"metric": context.name, "tags": self._all_tags(context.tags)}
            if context.host or host:
                item["host"] = context.host or host
            whole = {"series": item, "time": timestamp, "values": values}
            items.append((_json(whole), _length(whole), sum(kept)))
        return items, thinned

    def _check(self, check: ServiceCheck, round_: Round, host: str) -> tuple[str, int, int]:
        text = _json(
            {
                "check": check.name,
                "host_name": check.host or host,
                "message": check.message,
                "status": int(check.status),
                "tags": self._all_tags(check.tags),
                "timestamp": int(round_.timestamp),
            }
        )
        return text, len(text), 1

    def _event(self, event: Event, round_: Round, host: str) -> tuple[str, float]:
        fields = event.fields
        when = int(fields.get("timestamp") or round_.timestamp)
        body: dict[str, Any] = {
            "title": str(fields.get("msg_title", ""))[:LONGEST_TITLE],
            "text": str(fields.get("msg_text", ""))[:LONGEST_EVENT],
            "date_happened": when,
            "tags": self._all_tags(fields.get("tags") or ()),
        }
        body |= {name: fields[ours] for ours, name in EVENT_FIELDS.items() if fields.get(ours)}
        if fields.get("aggregation_key"):
            body["aggregation_key"] = str(fields["aggregation_key"])[:LONGEST_AGGREGATION_KEY]
        if fields.get("host") or host:
            body["host"] = fields.get("host") or host
        return _json(body), float(when)

    def _all_tags(self, tags: Iterable[str]) -> list[str]:
        return list(dict.fromkeys((*tags, *self._tags)))


def thin(counts: Sequence[int], most: int) -> list[int]:
    """So much of each count that together they are `most`, where they are more: every quantile stays in its place.

    The first and the last keep one, so that the smallest and the largest value stay.
    """
    total = sum(counts)
    if total <= most:
        return list(counts)
    reached = [0, *(reached * most // total for reached in accumulate(counts))]
    kept = [after - before for before, after in pairwise(reached)]
    kept[0], kept[-1] = max(1, kept[0]), max(1, kept[-1])
    return kept


def _gathered(kind: str, time: float, items: Iterable[tuple[str, int, int]]) -> Iterator[NewBatch]:
    """Batches of items, each with the characters that it takes when sent, and its points."""
    texts: list[str] = []
    size = points = 0
    for text, length, count in items:
        if texts and size + length > BATCH_BYTES[kind]:
            yield NewBatch(kind, time, points, size, ",".join(texts))
            texts, size, points = [], 0, 0
        texts.append(text)
        size += length + 1
        points += count
    if texts:
        yield NewBatch(kind, time, points, size, ",".join(texts))


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def body_of(kind: str, items: Sequence[str]) -> str:
    """The body of a request that delivers batches of a kind, each as it was spooled."""
    if kind == EVENTS:
        return items[0]
    if kind == CHECKS:
        return f"[{','.join(items)}]"
    if kind == DISTRIBUTIONS:
        expanded = [_expanded(item) for item in json.loads(f"[{','.join(items)}]")]
        return f'{{"series":[{",".join(expanded)}]}}'
    return f'{{"series":[{",".join(items)}]}}'


def _expanded(item: Mapping[str, Any]) -> str:
    """A distribution as the intake takes it: each value as often as it was observed."""
    values = "".join(f"{value}," * count for value, count in item["values"])[:-1]
    return f'{_json(item["series"])[:-1]},"type":"distribution","points":[[{item["time"]},[{values}]]]}}'


def _length(item: Mapping[str, Any]) -> int:
    """About how many characters `_expanded` makes of an item, and no fewer."""
    values: int = sum((len(value) + 1) * count for value, count in item["values"])
    return 100 + len(_json(item["series"])) + values


def halves(kind: str, body: str) -> tuple[list[Any], list[Any]]:
    """The items of a batch in two lists, of which the second is empty where there is nothing to divide.

    A distribution can be divided too, as observations of the same time add up.
    """
    items = [json.loads(body)] if kind == EVENTS else json.loads(f"[{body}]")
    if kind == DISTRIBUTIONS and len(items) == 1:
        (item,) = items
        first = [(value, (count + number % 2) // 2) for number, (value, count) in enumerate(item["values"])]
        second = [(value, count - less) for (value, count), (_, less) in zip(item["values"], first, strict=True)]
        parts = [[{**item, "values": [one for one in part if one[1]]}] for part in (first, second)]
        return (parts[0], parts[1]) if parts[0][0]["values"] and parts[1][0]["values"] else (items, [])
    middle = (len(items) + 1) // 2
    return items[:middle], items[middle:]


def batch_of(kind: str, time: float, items: Sequence[Any]) -> NewBatch:
    """A batch of items that were one with others."""
    texts = list(map(_json, items))
    if kind != DISTRIBUTIONS:
        return NewBatch(kind, time, len(items), sum(map(len, texts)), ",".join(texts))
    points = sum(count for item in items for _, count in item["values"])
    return NewBatch(kind, time, points, sum(map(_length, items)), ",".join(texts))


class Verdict(Enum):
    """What an answer means for what was sent."""

    TAKEN = "taken"
    NOT_TAKEN = "not taken"
    """Surely not: no connection, or an answer that says so. It may be sent again."""
    LIMITED = "limited"
    """As NOT_TAKEN, with the seconds to wait."""
    UNSURE = "unsure"
    """It may have been taken or not."""
    TOO_LARGE = "too large"
    INVALID = "invalid"
    FORBIDDEN = "forbidden"
    """Neither waiting nor another body is a cure: the key, or the address."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a request. `words` are for a person, without secrets, and may come with TAKEN as well; `seconds`
    are how long to wait.
    """

    verdict: Verdict
    words: str = ""
    seconds: float = 0.0


class Encoded(str):
    """The text of a body, which needs no more encoding: `sent` is what goes over the wire, compressed."""

    sent: bytes = b""


class _EncodedBodies(RESTClientObject):
    """Sends `Encoded` bodies as they are; the client itself would encode and compress them once more."""

    def request(self, method: str, url: str, *arguments: Any, **named: Any) -> Any:
        body = named.get("body")
        if not isinstance(body, Encoded):
            return super().request(method, url, *arguments, **named)  # type: ignore[no-untyped-call]
        answer = self.pool_manager.request(
            method,
            url,
            body=body.sent,
            headers=named["headers"],
            preload_content=True,
            timeout=urllib3.Timeout(total=named["request_timeout"]),
        )
        if not 200 <= answer.status <= 299:
            raise ApiException(http_resp=answer)
        return answer


def encoded(kind: str, body: str) -> Encoded:
    """A body ready to be sent. Service checks and events are not compressed: nothing says that they may be."""
    made = Encoded(body)
    made.sent = zlib.compress(body.encode(), level=6) if kind in (SERIES, DISTRIBUTIONS) else body.encode()
    return made


class Intake:
    """Datadog's intake for one API key, through datadog-api-client. `timeout` is seconds for a whole request."""

    def __init__(self, credentials: AccountCredentials, timeout: float = 30.0) -> None:
        self.credentials = credentials
        configuration = client_configuration(credentials, timeout)
        self._client = ApiClient(configuration)
        self._client.rest_client = _EncodedBodies(configuration)  # type: ignore[no-untyped-call]
        self._authentication = AuthenticationApi(self._client)
        series, distributions = MetricsApi(self._client), DistributionsApi(self._client)
        checks, events = ServiceChecksApi(self._client), EventsApi(self._client)
        deflated: dict[str, Any] = {"content_encoding": "deflate"}
        self._calls: Mapping[str, Any] = {
            SERIES: lambda body: series.submit_metrics(body=body, **deflated),
            DISTRIBUTIONS: lambda body: distributions.submit_distribution_points(body=body, **deflated),
            CHECKS: lambda body: checks.submit_service_check(body=body),
            EVENTS: lambda body: events.create_event(body=body),
        }

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def send(self, kind: str, body: Encoded) -> Delivery:
        """Send one request."""
        return self._outcome(lambda: self._calls[kind](body))

    def probe(self, kind: str) -> Delivery:
        """Send no distributions to what takes them; for other kinds, ask whether the key is valid."""
        if kind == DISTRIBUTIONS:
            return self.send(kind, encoded(kind, body_of(kind, [])))
        return self._outcome(self._authentication.validate)

    def _outcome(self, call: Any) -> Delivery:
        try:
            answer = _text(call().data)
        except ApiException as error:
            return self._refusal(error)
        except urllib3.exceptions.HTTPError as error:
            verdict = Verdict.NOT_TAKEN if _never_sent(getattr(error, "reason", None) or error) else Verdict.UNSURE
            return Delivery(verdict, self.credentials.mask(transport_words(error)))
        except OSError as error:
            return Delivery(Verdict.UNSURE, self.credentials.mask(transport_words(error)))
        errors = answer.get("errors") if isinstance(answer, Mapping) else None
        return Delivery(Verdict.TAKEN, self.credentials.mask(words_of({"errors": errors})) if errors else "")

    def _refusal(self, error: ApiException) -> Delivery:
        status = error.status or 0
        words = self.credentials.mask(words_of(_text(error.body)) or str(error.reason or "no reason given"))
        words = f"{status}: {words}" if status else words
        match status:
            case 400 | 422:
                return Delivery(Verdict.INVALID, words)
            case 413:
                return Delivery(Verdict.TOO_LARGE, words)
            case 429:
                return Delivery(Verdict.LIMITED, words, seconds_of(error.headers or {}, 0.0))
            case 401 | 403:
                return Delivery(Verdict.FORBIDDEN, f"the API key is refused ({words}): check DD_API_KEY and the site")
            case 404 | 405 | 410:
                return Delivery(Verdict.FORBIDDEN, f"no intake is there ({words}): check the site and the proxy")
            case 408 | 500 | 503:
                # They say so, and the Agent takes them at their word, too.
                return Delivery(Verdict.NOT_TAKEN, words, seconds_of(error.headers or {}, 0.0))
        # A redirect or another refusal took nothing; no status at all is an answer that broke off.
        return Delivery(Verdict.NOT_TAKEN if 300 <= status < 500 else Verdict.UNSURE, words)


_NEVER_SENT = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.ProxyError,
)


def _never_sent(reason: BaseException) -> bool:
    """Whether the request never left. TLS may also fail while the answer is on its way."""
    certificate = isinstance(reason, urllib3.exceptions.SSLError) and isinstance(
        reason.args[0], ssl.SSLCertVerificationError
    )
    return certificate or isinstance(reason, _NEVER_SENT)


def _text(body: Any) -> Any:
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return text
