"""An instance with `openmetrics_endpoint`, or with one endpoint of a Databricks workspace."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import ScrapeError
from ..scrape.scraper import ServingScraper
from .databricks.access import Access, Authorized
from .probes.readiness import Readiness


class SingleEndpoint:
    """One endpoint, asked in the thread of the run. `access` is the login to its workspace, where it has one."""

    def __init__(self, scraper: ServingScraper, readiness: Readiness, access: Access | None = None) -> None:
        self.scraper = scraper
        self.readiness = readiness
        self.access = access

    @property
    def scrapers(self) -> Mapping[str, ServingScraper]:
        """The one scraper."""
        return {self.scraper.endpoint: self.scraper}

    def run(self) -> list[str]:
        """Scrape, then probe: what fails in one never stops the other."""
        problems = []
        try:
            self.scraper.scrape()
        except ScrapeError as error:
            problems.append(str(error))
        http = self.scraper.http if self.access is None else Authorized(self.scraper.http, self.access)
        self.readiness.submit(self.scraper, self.readiness.ask(self.scraper, http))
        return problems

    def close(self) -> None:
        """End the waiting for a token, or for the pace of a workspace. Other waits have their time-outs."""
        if self.access is not None:
            self.access.stop()
