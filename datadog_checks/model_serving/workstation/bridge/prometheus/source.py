"""A check whose instance may also name a Prometheus: what that holds is read as an endpoint's exposition would be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from ....check import ModelServingCheck
from ....errors import PayloadError
from ....http.body import Answer
from ....scrape.endpoint import NothingYet
from ....settings import Problems
from ....sources.single import SingleEndpoint
from .entries import Entry, QueryEntry, ReceiverEntry, read_instance
from .payload import CONTENT_TYPE, Payload
from .query import QueryApi
from .receiver import SILENCE, RemoteWriteReceiver


class BridgeCheck(ModelServingCheck):
    """The check with two sources more, `prometheus` and `remote_write` (see `entries`). All else is the same.

    Raises ConfigurationError with all that is wrong with such an entry.
    """

    def __init__(self, name: str, init_config: dict[str, Any], instances: Any) -> None:
        read = read_instance(instances[0], os.environ)
        problems = Problems(read.where)
        for problem in read.problems:
            problems.add(problem)
        problems.check()
        self.entry = read.entry
        super().__init__(name, init_config, (read.options,))

    def configure_scrapers(self) -> None:
        """As the check, with the source of the entry in the place of the endpoint that its options name."""
        super().configure_scrapers()
        if self.entry is not None and isinstance(self.source, SingleEndpoint):
            self.source = source_of(self.entry, self.source)


def source_of(entry: Entry, single: SingleEndpoint) -> SingleEndpoint:
    """The source of an entry, with the scraper, the connections and the time of the one that its options make."""
    if isinstance(entry, QueryEntry):
        return _Queried(entry, single)
    return _Written(entry, single)


class _Held(SingleEndpoint):
    """What a Prometheus holds, in the place of an answer."""

    def __init__(self, single: SingleEndpoint) -> None:
        super().__init__(single.scraper, single.readiness, single.transport, single.seconds)

    def answer(self, payload: Payload) -> Answer:
        return Answer(CONTENT_TYPE, True, "", None, self._chunks(payload))

    def _chunks(self, payload: Payload) -> Iterator[bytes]:
        if payload.doubtful:
            # What shows first in the next scrape need not be new.
            self.scraper.collector.doubt(None)
        yield from payload.chunks()


class _Queried(_Held):
    """Series that the HTTP API of a Prometheus tells."""

    def __init__(self, entry: QueryEntry, single: SingleEndpoint) -> None:
        super().__init__(single)
        self.api = QueryApi(entry, single.scraper.limits.samples)

    def fetch(self, http: Any, deadline: float) -> Answer:
        payload = self.api.payload(http, deadline)
        for warning in self.api.warnings:
            self.scraper.check.warning("%s: the answer may be incomplete: %s", self.scraper.url, warning)
        return self.answer(payload)


class _Written(_Held):
    """Series that senders of remote write have sent."""

    def __init__(self, entry: ReceiverEntry, single: SingleEndpoint) -> None:
        super().__init__(single)
        self.receiver = RemoteWriteReceiver(entry)

    def fetch(self, http: Any, deadline: float) -> Answer:
        self.receiver.start()
        self._tell()
        payload = self.receiver.store.payload()
        if payload.samples > self.scraper.limits.samples:
            raise PayloadError(
                f"more series were written than `sample_limit` ({self.scraper.limits.samples}): raise the option, or "
                "lower `max_series`"
            )
        if payload.samples:
            return self.answer(payload)
        if (seconds := self.receiver.silent()) > SILENCE:
            raise PayloadError(
                f"nothing was written for {seconds:.0f} s: check the `remote_write` of the sender, whose `url` must "
                "lead here, and its log"
            )
        raise NothingYet("nothing has been written yet")

    def _tell(self) -> None:
        check, tags = self.scraper.check, self.scraper.report.own_tags()
        accepted, refused = self.receiver.store.taken()
        check.count("bridge.remote_write.samples.count", accepted, tags=tags)
        for reason, number in sorted(refused.items()):
            check.count("bridge.remote_write.samples.rejected", number, tags=[*tags, f"reason:{reason}"])

    def close(self) -> None:
        super().close()
        self.receiver.close()
