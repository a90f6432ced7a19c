"""Which instance of this process reads a URL: where two read the same one, everything is sent twice."""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

from ..scrape.scraper import ServingScraper
from .source import Source

_READERS: WeakValueDictionary[tuple[str, str, str], ServingScraper] = WeakValueDictionary()
"""Who reads what: by URL, by the host that a header names, which may lead to different servers, and by workspace."""


def read_twice(check: Any, source: Source) -> list[str]:
    """A warning where another instance, that is not cancelled, reads URLs of this source. Claims all others for it."""
    shared = []
    for url, scraper in source.scrapers.items():
        key = url, str(scraper.http.options["headers"].get("Host")), getattr(scraper.access, "workspace_id", "")
        reader = _READERS.get(key)
        if reader is None or reader.check is check or reader.check.cancelled:
            _READERS[key] = scraper
        else:
            shared.append(scraper.url)
    if not shared:
        return []
    more = f" and {len(shared) - 1} more URLs are" if len(shared) > 1 else " is"
    return [
        f"{shared[0]}{more} also read by another instance of this Agent, so everything counts twice: keep one of them"
    ]
