"""What an instance reads, as the check sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ..scrape.scraper import ServingScraper
from .loaded import LoadedVersion


class Source(Protocol):
    """One endpoint, several, a Databricks workspace, or the GPUs of the host."""

    @property
    def scrapers(self) -> Mapping[str, ServingScraper]:
        """Scrapers by URL, as the base class wants to know them; empty where nothing is scraped, or not yet known."""

    @property
    def loaded(self) -> Mapping[str, Sequence[LoadedVersion]]:
        """The versions of models that there were when they were asked for last, by the URL of the metrics.

        Without readiness nobody asks.
        """

    def run(self) -> list[str]:
        """Read and submit. Returns why nothing could be read, in words for the user; empty where something was.

        What is wrong with a part is reported as a warning of the check.
        """

    def close(self) -> None:
        """End what goes on, for good. May be called by another thread while `run` runs."""
