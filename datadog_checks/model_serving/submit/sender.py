"""Hands metrics to the Agent as the check's own methods do, but makes names and tags ready only once."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from datadog_checks.base import AgentCheck

from ..catalog.model import BILLED_PER_DISTRIBUTION

METHODS = (
    "gauge",
    "count",
    "submit_histogram_bucket",
    "_submit_metric",
    "_normalize_tags_type",
    "degeneralise_tag",
    "should_send_metric",
)

Context = tuple[str, tuple[str, ...], str]
"""Name, tags and host."""


@dataclass(frozen=True, slots=True)
class Sent:
    """How many different contexts were sent, and how many custom metrics these are."""

    contexts: int
    custom_metrics: int

    def __add__(self, other: Sent) -> Sent:
        return Sent(self.contexts + other.contexts, self.custom_metrics + other.custom_metrics)


@dataclass(slots=True)
class Ready:
    """A context as the Agent takes it: its tags, whether it is wanted at all, by what the limit on contexts knows it
    where it may come more than once, how many custom metrics it is, and whether this scrape has sent it.
    """

    tags: list[str]
    wanted: bool
    uid: str
    custom_metrics: int
    sent: bool = False


class Sender:
    """Sends for one check. Where one of the `METHODS` isn't the base class's own, they are called as they are."""

    def __init__(self, check: Any) -> None:
        self.check = check
        self._ready: dict[Context, Ready] = {}
        self._before: dict[Context, Ready] = {}
        self._aggregator: Any = None

    def begin(self) -> None:
        """Another scrape begins: what was sent neither in the one before nor in this one is forgotten."""
        self._before, self._ready = self._ready, {}
        own, kind = vars(self.check), type(self.check)
        stock = all(name not in own and getattr(kind, name) is getattr(AgentCheck, name) for name in METHODS)
        self._aggregator = aggregator_of(self.check) if stock else None

    def sent(self) -> Sent:
        """What the scrape has sent."""
        sent = [ready.custom_metrics for ready in self._ready.values() if ready.sent]
        return Sent(len(sent), sum(sent))

    def count(self, name: str, value: float, tags: tuple[str, ...], host: str) -> None:
        ready, to, check = self._context(name, tags, host), self._aggregator, self.check
        if to is None:
            check.count(name, value, tags=list(tags), hostname=host, raw=True)
            ready.sent = ready.sent or not _cut_off(check, name)
        elif ready.wanted and not (check.metric_limiter and check.metric_limiter.is_reached(ready.uid)):
            to.submit_metric(check, check.check_id, to.COUNT, name, float(value), ready.tags, host, False)
            ready.sent = True

    def gauge(self, name: str, value: float, tags: tuple[str, ...], host: str) -> None:
        ready, to, check = self._context(name, tags, host), self._aggregator, self.check
        if to is None:
            check.gauge(name, value, tags=list(tags), hostname=host, raw=True)
            ready.sent = ready.sent or not _cut_off(check, name)
        elif ready.wanted and not (check.metric_limiter and check.metric_limiter.is_reached()):
            to.submit_metric(check, check.check_id, to.GAUGE, name, float(value), ready.tags, host, False)
            ready.sent = True

    def distribution(
        self, name: str, spans: Iterable[tuple[float, float, int]], tags: tuple[str, ...], host: str
    ) -> None:
        """Send observations as (lower bound, upper bound, how many)."""
        ready, to, check = self._context(name, tags, host, BILLED_PER_DISTRIBUTION), self._aggregator, self.check
        # The base class lets every bucket pass: neither `metric_patterns` nor the limit on contexts is for them.
        if not ready.wanted or (check.metric_limiter and check.metric_limiter.is_reached(ready.uid)):
            return
        for lower, upper, count in spans:
            ready.sent = True
            if to is None:
                check.submit_histogram_bucket(name, count, lower, upper, False, host, list(tags), raw=True)
            else:
                to.submit_histogram_bucket(
                    check, check.check_id, name, count, lower, upper, False, host, ready.tags, False
                )

    def _context(self, name: str, tags: tuple[str, ...], host: str, custom_metrics: int = 1) -> Ready:
        context = (name, tags, host)
        ready = self._ready.get(context)
        if ready is None:
            ready = self._before.get(context) or self._made(name, tags, host, custom_metrics)
            ready.sent = False
            self._ready[context] = ready
        return ready

    def _made(self, name: str, tags: tuple[str, ...], host: str, custom_metrics: int) -> Ready:
        check = self.check
        normal = check._normalize_tags_type(tags, None, name)
        kind = aggregator_of(check).COUNT if custom_metrics == 1 else "distribution"
        uid = check._context_uid(kind, name, normal, host)
        return Ready(normal, check.should_send_metric(name), uid, custom_metrics)


def _cut_off(check: Any, name: str) -> bool:
    """Whether a metric that was just handed to the check's own method went no further."""
    # The limiter cuts off everything from where it is reached.
    limiter = check.metric_limiter
    return not check.should_send_metric(name) or bool(limiter and limiter.reached_limit)


class UserMetrics:
    """A check as the stock transformers use it, for the metrics that a user names: it knows what they send.

    Distributions are subject to `metric_patterns` and `max_returned_metrics`, which the base class doesn't see to.
    """

    def __init__(self, check: Any) -> None:
        self._check = check
        self._sent: dict[Context, int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._check, name)

    def begin(self) -> None:
        """Another scrape begins."""
        self._sent = {}

    def sent(self) -> Sent:
        """What the scrape has sent of them."""
        return Sent(len(self._sent), sum(self._sent.values()))

    def gauge(self, name: str, value: float, **options: Any) -> None:
        self._check.gauge(name, value, **options)
        self._note(name, **options)

    def rate(self, name: str, value: float, **options: Any) -> None:
        self._check.rate(name, value, **options)
        self._note(name, **options)

    def monotonic_count(self, name: str, value: float, **options: Any) -> None:
        self._check.monotonic_count(name, value, **options)
        self._note(name, **options)

    def submit_histogram_bucket(
        self,
        name: str,
        value: float,
        lower_bound: float,
        upper_bound: float,
        monotonic: bool,
        hostname: str,
        tags: list[str],
        **options: Any,
    ) -> None:
        check = self._check
        full = check._format_namespace(name, options.get("raw", False))
        uid = check._context_uid("distribution", full, tags, hostname)
        if check.should_send_metric(full) and not (check.metric_limiter and check.metric_limiter.is_reached(uid)):
            check.submit_histogram_bucket(name, value, lower_bound, upper_bound, monotonic, hostname, tags, **options)
            self._sent[full, tuple(tags), hostname or ""] = BILLED_PER_DISTRIBUTION

    def _note(self, name: str, tags: list[str], hostname: str | None = None, raw: bool = False, **_: Any) -> None:
        full = self._check._format_namespace(name, raw)
        if not _cut_off(self._check, full):
            self._sent[full, tuple(tags), hostname or ""] = 1


def aggregator_of(check: Any) -> Any:
    """The aggregator that the check's own methods would use, in every version of the base package."""
    chosen = getattr(check, "_aggregator", None)
    return chosen() if chosen is not None else sys.modules["datadog_checks.base.checks.base"].aggregator
