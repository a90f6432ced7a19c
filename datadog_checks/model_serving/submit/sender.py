"""Hands metrics to the Agent as the check's own methods do, but makes names and tags ready only once."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from datadog_checks.base import AgentCheck

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


@dataclass(slots=True)
class Ready:
    """A context as the Agent takes it: its tags, whether it is sent at all, and by what the limit on contexts knows it
    as a count.
    """

    tags: list[str]
    wanted: bool
    uid: str


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

    def contexts(self) -> int:
        """How many different contexts the scrape has sent."""
        return len({(name, tags) for name, tags, _ in self._ready})

    def count(self, name: str, value: float, tags: tuple[str, ...], host: str) -> None:
        ready, to, check = self._context(name, tags, host), self._aggregator, self.check
        if to is None:
            check.count(name, value, tags=list(tags), hostname=host, raw=True)
        elif ready.wanted and not (check.metric_limiter and check.metric_limiter.is_reached(ready.uid)):
            to.submit_metric(check, check.check_id, to.COUNT, name, float(value), ready.tags, host, False)

    def gauge(self, name: str, value: float, tags: tuple[str, ...], host: str) -> None:
        ready, to, check = self._context(name, tags, host), self._aggregator, self.check
        if to is None:
            check.gauge(name, value, tags=list(tags), hostname=host, raw=True)
        elif ready.wanted and not (check.metric_limiter and check.metric_limiter.is_reached()):
            to.submit_metric(check, check.check_id, to.GAUGE, name, float(value), ready.tags, host, False)

    def distribution(
        self, name: str, spans: Iterable[tuple[float, float, int]], tags: tuple[str, ...], host: str
    ) -> None:
        """Send observations as (lower bound, upper bound, how many)."""
        ready, to, check = self._context(name, tags, host), self._aggregator, self.check
        for lower, upper, count in spans:
            if to is None:
                check.submit_histogram_bucket(name, count, lower, upper, False, host, list(tags), raw=True)
            else:
                to.submit_histogram_bucket(
                    check, check.check_id, name, count, lower, upper, False, host, ready.tags, False
                )

    def _context(self, name: str, tags: tuple[str, ...], host: str) -> Ready:
        context = (name, tags, host)
        ready = self._ready.get(context)
        if ready is None:
            ready = self._before.get(context) or self._made(name, tags, host)
            self._ready[context] = ready
        return ready

    def _made(self, name: str, tags: tuple[str, ...], host: str) -> Ready:
        check = self.check
        normal = check._normalize_tags_type(tags, None, name)
        uid = check._context_uid(aggregator_of(check).COUNT, name, normal, host)
        return Ready(normal, check.should_send_metric(name), uid)


def aggregator_of(check: Any) -> Any:
    """The aggregator that the check's own methods would use, in every version of the base package."""
    chosen = getattr(check, "_aggregator", None)
    return chosen() if chosen is not None else sys.modules["datadog_checks.base.checks.base"].aggregator
