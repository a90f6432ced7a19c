"""Finds monitors, dashboards and SLOs in a JSON document, whichever way they were exported, and checks them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from .dashboards import check_dashboard, variables_of
from .known import Known
from .monitors import check_monitor
from .problems import Place, Problem
from .slos import check_slo
from .words import grammar

LISTS = ("monitors", "dashboards", "slos", "resources", "data")
"""Keys under which answers of the API and exports hold several."""
WRAPPERS = ("definition", "body")
"""Keys under which the assets of an integration, and exports, hold one."""
UNCHECKED = ("manage_tags", "monitor-notification-rule", "downtime")
"""Types of the API's second version of what has no query: percentiles of a metric, notification rules, downtimes."""
SLO_TYPES = ("metric", "monitor", "time_slice")


def check_document(document: Any, known: Known | None = None, path: str = "") -> list[Problem]:
    """What is wrong with a monitor, a dashboard, an SLO or several of them, as JSON. What else an export has, such as
    notification rules, has nothing to check."""
    return list(_check(document, known or Known(), path))


def _check(
    document: Any, known: Known, path: str, variables: Mapping[str, str | None] | None = None
) -> Iterator[Problem]:
    """`variables` are the template variables of the asset around the document, None where there is no asset."""
    place = Place(path, known)
    if isinstance(document, list) and document:
        for index, item in enumerate(document):
            yield from _check(item, known, place.within(index).path)
        return
    if isinstance(document, Mapping):
        if _is_unchecked(document):
            return
        if "widgets" in document:
            yield from check_dashboard(document, known, path)
            return
        if document.get("type") in SLO_TYPES or "sli_specification" in document:
            yield from check_slo(document, known, path)
            return
        types = {*grammar()["unchecked_monitor_types"], *chain(*grammar()["monitor_types"].values())}
        if isinstance(document.get("query"), str) or str(document.get("type")) in types:
            yield from check_monitor(document, known, path, variables)
            return
        for key in WRAPPERS:
            if isinstance(document.get(key), Mapping):
                yield from _check(document[key], known, place.within(key).path, variables_of(document, place) or None)
                return
        lists = [key for key in LISTS if isinstance(document.get(key), list) and document[key]]
        if lists:
            for key in lists:
                yield from _check(document[key], known, place.within(key).path)
            return
    yield place.error("file/content", "holds no monitor, dashboard or SLO, nor a list of them, as the API gives them")


def _is_unchecked(document: Mapping[str, Any]) -> bool:
    """Whether a document is of a kind that has no query, or Terraform's configuration of what other files hold."""
    data = document.get("data", document)
    return (isinstance(data, Mapping) and data.get("type") in UNCHECKED) or "terraform" in document
