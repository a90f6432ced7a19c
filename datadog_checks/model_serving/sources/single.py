"""An instance with `openmetrics_endpoint`, or with one endpoint of a Databricks workspace."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ScrapeError
from ..http.body import Answer
from ..http.transport import Transport
from ..scrape.endpoint import late
from ..scrape.scraper import ServingScraper
from .databricks.access import Access, Authorized
from .loaded import LoadedVersion
from .probes.readiness import Readiness


class SingleEndpoint:
    """One endpoint, asked in the thread of the run, over `transport`, with `seconds` for the whole of its answer.

    Readiness has as many. `access` is the login to its workspace, where it has one.
    """

    def __init__(
        self,
        scraper: ServingScraper,
        readiness: Readiness,
        transport: Transport,
        seconds: float,
        access: Access | None = None,
    ) -> None:
        self.scraper = scraper
        self.readiness = readiness
        self.transport = transport
        self.seconds = seconds
        self.access = access
        self._http: Any = None

    @property
    def scrapers(self) -> Mapping[str, ServingScraper]:
        """The one scraper."""
        return {self.scraper.endpoint: self.scraper}

    @property
    def loaded(self) -> Mapping[str, Sequence[LoadedVersion]]:
        """The versions that the system said it has, when it was asked last."""
        return self.readiness.loaded

    def fetch(self, http: Any, deadline: float) -> Answer:
        """What the scraper is to read, or an exception that says why there is nothing."""
        return self.scraper.fetch(http, deadline)

    def run(self) -> list[str]:
        """Scrape, then probe: what fails in one never stops the other."""
        problems = []
        with self.transport.limit(self.seconds) as limit:
            try:
                if not self.transport.keep:
                    self._http = None
                self._http = self._http or self.transport.wrapper()
                self.scraper.fetched = self.fetch(self._http, time.monotonic() + self.seconds)
            except Exception as error:
                self.scraper.fetched = error
        if limit.expired:
            # Without an error it may be a body whose end nobody has told, for which a cut looks like one.
            self.scraper.fetched = late(self.seconds)
        try:
            self.scraper.scrape()
        except ScrapeError as error:
            problems.append(str(error))
        if self._http is not None:
            http = self._http if self.access is None else Authorized(self._http, self.access)
            deadline = time.monotonic() + self.seconds
            with self.transport.limit(self.seconds):
                findings = self.readiness.ask(self.scraper, http, deadline)
            self.readiness.submit(self.scraper, findings)
        return problems

    def close(self) -> None:
        """End what the run waits for, whatever that is, and let go of the connections."""
        if self.access is not None:
            self.access.stop()
        self.transport.close()
