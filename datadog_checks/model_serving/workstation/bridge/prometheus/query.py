"""The HTTP API of Prometheus, and of what has the same one: Thanos, Mimir, VictoriaMetrics, managed services.

Each selector is asked for twice. An instant query tells which series there are: not those that have ended, nor those of
a target that is gone. A range selector at the same time tells their samples with the times at which they were taken.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ....errors import BodyError, PayloadError
from ....http.body import parse_json, read_body
from ....http.follow import ask
from ....http.redact import printable
from .entries import QueryEntry
from .payload import STRUCTURE, Payload, series_text

MAX_PAGE = 32 << 20
"""Bytes of one answer, after decompression."""

MAX_PAGE_VALUES = 2 << 20
"""Values in one answer: a series of ten labels and eight samples has about 35 of them."""

LOOK_BACK = 300.0
"""Seconds for which a server shows the last sample of a series that has not ended, unless it is set up otherwise."""

METADATA_SECONDS = 600.0
"""Types seldom change, and their list is of the whole server."""

WORDS = 300
"""Characters of what a server says that a message quotes."""

Samples = list[tuple[int, str]]
"""Milliseconds since 1970 and values, as the server writes them."""


@dataclass(frozen=True, slots=True)
class Page:
    """What one query gave: by the text of a series its name and its newest sample; `at` is when it was evaluated."""

    series: Mapping[str, tuple[str, int, str]]
    at: str


class QueryApi:
    """Asks one server for the series of an entry. `limit` is how many of them are read at most.

    `warnings` are those of the server about its last answers, each once.
    """

    def __init__(self, entry: QueryEntry, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.warnings: list[str] = []
        self._entry = entry
        self._limit = limit
        self._clock = clock
        self._types: dict[str, str] = {}
        self._types_due = -math.inf
        self._newest: dict[str, tuple[str, int, str]] = {}

    def payload(self, http: Any, deadline: float) -> Payload:
        """The series that there are now, asked for with a requests wrapper until `deadline` of the monotonic clock.

        Raises PayloadError in words for the user, and what the wrapper raises.
        """
        self.warnings = []
        newest: dict[str, tuple[str, int, str]] = {}
        for selector in self._entry.match:
            live = self._page(http, deadline, selector, "")
            if not live.series:
                continue
            if len(newest) + len(live.series) > self._limit:
                raise PayloadError(
                    f"{selector} and those before it select more series than `sample_limit` ({self._limit}): raise the "
                    "option, or select less with `match`"
                )
            sampled = self._page(http, deadline, selector, _range(self._entry.window), live.at)
            if self._entry.window < LOOK_BACK and not live.series.keys() <= sampled.series.keys():
                # Samples with a time of their own, as those of a whole minute, may be older and still shown.
                sampled = self._page(http, deadline, selector, _range(LOOK_BACK), live.at)
            for series, sample in sampled.series.items():
                if series in live.series:
                    before = self._newest.get(series)
                    # Of two replicas that answer in turn one may be behind.
                    newest[series] = sample if before is None or sample[1] >= before[1] else before
        if not newest:
            raise PayloadError(
                "`match` selects no series now: check the selectors, and that the targets of this Prometheus are up"
            )
        self._newest = newest
        payload = Payload(self._known_types(http, deadline))
        payload.doubtful = bool(self.warnings)
        for series, (name, timestamp, value) in newest.items():
            payload.add(name, series, value, timestamp)
        return payload

    def _page(self, http: Any, deadline: float, selector: str, over: str, at: str = "") -> Page:
        """The answer to one query: a selector, with the range that it goes over, evaluated at a time."""
        offset = f" offset {round(self._entry.delay * 1000)}ms" if self._entry.delay else ""
        query = {"query": f"{selector}{over}{offset}", **({"time": at} if at else {})}
        data = self._ask(http, "query", query, deadline, selector)
        kind = "matrix" if over else "vector"
        if not isinstance(data, dict) or data.get("resultType") != kind or not isinstance(data.get("result"), list):
            raise PayloadError(f"the answer is no {kind}: check that `url` leads to the HTTP API of a Prometheus")
        series: dict[str, tuple[str, int, str]] = {}
        evaluated = ""
        try:
            for one in data["result"]:
                timestamp, value = max(_samples(one))
                labels = one["metric"]
                # Without its name a series is the result of an expression.
                series[series_text(labels)] = (labels.get("__name__", ""), timestamp, value)
                evaluated = evaluated or repr(timestamp / 1000)
        except (TypeError, KeyError, ValueError, AttributeError):
            raise PayloadError("the answer is none of the HTTP API of a Prometheus: check `url`") from None
        return Page(series, at or evaluated)

    def _known_types(self, http: Any, deadline: float) -> Mapping[str, str]:
        """Types by family, as far as the server knows them. Some don't, which is no failure."""
        now = self._clock()
        if now < self._types_due:
            return self._types
        self._types_due = now + METADATA_SECONDS
        try:
            data = self._ask(http, "metadata", {"limit_per_metric": "2"}, deadline, "")
        except Exception:
            return self._types
        self._types = dict(_types(data))
        return self._types

    def _ask(self, http: Any, path: str, query: Mapping[str, str], deadline: float, selector: str) -> Any:
        """The data of an answer of the API. Raises PayloadError for any other, and what the wrapper raises."""
        url = f"{self._entry.url}/api/v1/{path}"
        response = ask(http, "get", url, params=[*self._entry.parameters, *query.items()])
        with response:
            if response.is_redirect:
                raise PayloadError(f"the server redirects (HTTP {response.status_code}): write where it leads to")
            try:
                body = read_body(response, MAX_PAGE, max(0.0, deadline - time.monotonic()))
            except BodyError as error:
                raise PayloadError(f"the answer for {selector or path} is {error}: {_LESS}") from None
            answer = parse_json(body, MAX_PAGE_VALUES)
            if not isinstance(answer, dict) or "status" not in answer:
                if response.status_code < 300 and len(body) > 1 << 20:
                    raise PayloadError(f"the answer for {selector or path} is too large to be read: {_LESS}")
                raise PayloadError(self._no_api(response))
            if answer["status"] != "success":
                raise PayloadError(self._refused(response, answer, selector))
        for warning in answer.get("warnings") or ():
            if (words := _words(warning)) not in self.warnings:
                self.warnings.append(words)
        return answer.get("data")

    def _no_api(self, response: Any) -> str:
        status = response.status_code
        if status == 404:
            return (
                "there is no HTTP API of a Prometheus (HTTP 404): write into `url` what stands before /api/v1, such as "
                "http://prometheus:9090, or http://mimir/prometheus with Mimir"
            )
        if status == 414 or status == 431:
            return f"a selector of `match` is too long for the server (HTTP {status}): split it"
        if status >= 400:
            # Refusals of logins and limits have words of their own.
            response.raise_for_status()
        return "the answer is no JSON of the HTTP API of a Prometheus: check `url`, and that no login page is behind it"

    def _refused(self, response: Any, answer: Mapping[str, Any], selector: str) -> str:
        kind, words = _words(answer.get("errorType", "error")), _words(answer.get("error", ""))
        if response.status_code in (401, 403, 407, 429):
            response.raise_for_status()
        of = f" for {selector}" if selector else ""
        if kind == "bad_data":
            return f"the server can't read `match`{of}: {words}"
        if kind in ("timeout", "canceled"):
            return f"the server gave up the query{of} ({kind}: {words}): select less with `match`, or raise its limits"
        return f"the server failed at the query{of} ({kind}: {words}): look into its log"


_LESS = "split `match` into several selectors, or shorten `window`"


def _range(seconds: float) -> str:
    return f"[{round(seconds * 1000)}ms]"


def _samples(one: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    """The samples of a series, of both kinds of results."""
    if "value" in one:
        yield _sample(*one["value"])
    if "histogram" in one:
        yield round(float(one["histogram"][0]) * 1000), STRUCTURE
    for timestamp, value in one.get("values") or ():
        yield _sample(timestamp, value)
    for timestamp, _ in one.get("histograms") or ():
        yield round(float(timestamp) * 1000), STRUCTURE


def _sample(timestamp: Any, value: Any) -> tuple[int, str]:
    # What is no number must not become another line.
    return round(float(timestamp) * 1000), repr(float(value))


def _types(data: Any) -> Iterator[tuple[str, str]]:
    """Types of families of which all targets say the same."""
    for family, entries in data.items() if isinstance(data, dict) else ():
        kinds = {str(entry.get("type")) for entry in entries if isinstance(entry, dict)}
        if len(kinds) == 1:
            yield str(family), kinds.pop()


def _words(text: Any) -> str:
    words = printable(" ".join(str(text).split()))
    return words if len(words) <= WORDS else f"{words[:WORDS]}..."
