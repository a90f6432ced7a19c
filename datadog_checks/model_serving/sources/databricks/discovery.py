"""Which serving endpoints a Databricks workspace has, and what it says of each, kept up to date in the background."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import AccessError, NotYet, UserError
from ...settings.model import SERVING_ENDPOINTS, Selection, endpoint_path
from .access import Access
from .description import EndpointDescription, read

DETAIL_SECONDS = 300.0
"""Age at which a description is asked for again though the list shows no change: replicas may have failed."""


@dataclass(frozen=True, slots=True)
class _Described:
    """`updated` is what the list said when it was `asked` for; `failed` that there was no answer then."""

    endpoint: EndpointDescription | None
    asked: float
    updated: int | None
    failed: bool = False


class Discovery:
    """The endpoints of the workspace at `url`, for the threads that ask it and the one that looks.

    `problem` is why the last listing failed, empty when it was good; `beyond` how many endpoints exceed the limit,
    `left_out` how many are pay-per-token; `listed` whether there was a good one yet. `clock` schedules requests.
    """

    def __init__(
        self,
        url: str,
        access: Access,
        selection: Selection,
        interval: float,
        clock: Callable[[], float],
    ) -> None:
        self.url = url
        self._clock = clock
        self.access = access
        self.selection = selection
        self.interval = interval
        self.problem = ""
        self.beyond = self.left_out = 0
        self.listed = False
        self._lock = threading.Lock()
        self._names: tuple[str, ...] = ()
        self._list: Mapping[str, EndpointDescription] = {}
        self._described: dict[str, _Described] = {}
        self._next_list = 0.0

    def metrics_url(self, name: str) -> str:
        """Where the metrics of an endpoint are."""
        return f"{self.url}{endpoint_path(name)}/metrics"

    def scheduled(self) -> bool:
        """Whether it is time for a listing. Says so once, and not again before the next interval."""
        now = self._clock()
        if self.listed and now < self._next_list:
            return False
        self._next_list = now + self.interval
        return True

    def refresh(self, http: Any, deadline: float) -> None:
        """List the endpoints. What goes wrong is left in `problem`, and the endpoints as they were."""
        began = time.monotonic()
        try:
            answer = self.access.get_json(http, f"{self.url}{SERVING_ENDPOINTS}", deadline)
        except NotYet as error:
            if not self.listed:
                self.problem = str(error)
            self._next_list = 0.0
            return
        except UserError as error:
            self.problem = str(error)
            if isinstance(error, AccessError) and error.status in (None, 200) and time.monotonic() >= deadline:
                # What it says is that it was cut.
                self.problem = (
                    f"{self.url}{SERVING_ENDPOINTS}: no complete answer within {round(deadline - began, 1):g} s"
                )
            return
        entries = answer.get("endpoints")
        found = (read(entry, detailed=False) for entry in (entries if isinstance(entries, list) else ()))
        endpoints = {endpoint.name: endpoint for endpoint in found if endpoint is not None}
        watched = [name for name, one in endpoints.items() if self.selection.pay_per_token or not one.pay_per_token]
        names, beyond = self.selection.of(watched)
        with self._lock:
            self._list = {name: endpoints[name] for name in names}
            self._names = tuple(names)
            self._described = {name: known for name, known in self._described.items() if name in self._list}
            self.problem, self.beyond, self.listed = "", beyond, True
            self.left_out = len(endpoints) - len(watched)

    def names(self) -> tuple[str, ...]:
        """The endpoints that are watched."""
        return self._names

    def endpoint(self, name: str) -> EndpointDescription | None:
        """What is known of an endpoint: its description, or what the list says as long as there is none."""
        listed, known = self._known(name)
        if known is not None and known.endpoint is not None:
            return known.endpoint
        return listed

    def state(self, name: str) -> tuple[object, ...]:
        """What is another when an endpoint was changed, or has become ready, since the list was had before."""
        listed, _ = self._known(name)
        return (listed.updated, listed.ready, listed.update, listed.suspend) if listed is not None else ()

    def stopped(self, name: str) -> bool:
        """Whether the list, or the description of an endpoint, says that somebody has stopped it."""
        listed, known = self._known(name)
        described = known.endpoint if known is not None else None
        return any(one is not None and one.stopped for one in (listed, described))

    def stale(self, name: str) -> bool:
        """Whether it is time to ask for the description of an endpoint."""
        listed, known = self._known(name)
        return listed is not None and self._outdated(name, listed, known)

    def describe(self, name: str, http: Any, deadline: float, doubted: bool = False) -> bool:
        """Ask for the description of an endpoint, if it is time for that or the last one is `doubted`.

        Without an answer the last one stays. Returns whether it was asked for.
        """
        now = self._clock()
        listed, known = self._known(name)
        if listed is None or not (doubted or self._outdated(name, listed, known)):
            return False
        endpoint = known.endpoint if known is not None else None
        failed = False
        try:
            answer = self.access.get_json(http, f"{self.url}{endpoint_path(name)}", deadline)
            endpoint = read(answer, detailed=True) or endpoint
        except NotYet:
            return True
        except AccessError as error:
            # It may be seen in the list and not be looked at, or it has just been deleted.
            failed = error.status not in (403, 404)
            endpoint = endpoint if failed else None
        except UserError:
            failed = True
        with self._lock:
            if name in self._list:
                self._described[name] = _Described(endpoint, now, listed.updated, failed)
        return True

    def _known(self, name: str) -> tuple[EndpointDescription | None, _Described | None]:
        """What the list, and what its own description, said of an endpoint."""
        with self._lock:
            return self._list.get(name), self._described.get(name)

    def _outdated(self, name: str, listed: EndpointDescription, known: _Described | None) -> bool:
        if listed.pay_per_token:
            # Its description is what the list says already.
            return False
        if known is None:
            return True
        age = self._clock() - known.asked
        if known.failed:
            return age >= self.interval / 2
        if known.updated != listed.updated:
            return True
        described = known.endpoint
        if described is not None and not described.agrees(listed):
            return age >= self.interval / 2
        unsettled = listed.update == "IN_PROGRESS" or (listed.ready != "READY" and not listed.stopped)
        # Descriptions of endpoints that were found together are not to be asked for together for ever.
        spread = 0.75 + hash(name) % 64 / 256
        return age >= (self.interval / 2 if unsettled else DETAIL_SECONDS * spread)
