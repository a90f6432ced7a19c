"""What the account has: everything that bears our mark, and the percentiles of the metrics we query."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from ...errors import Refused
from .api import Client, understood
from .model import KEY_TAG, OWNER_TAG, Resource, attributes, owned_key

MONITOR_PAGE = 1000
PAGE = 100
TWO_WEEKS = 14 * 24 * 3600

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Found:
    """A resource of the account. `body` is what the API answers, of notification rules and tag configurations only
    the attributes; `id` is text whatever the API makes of it."""

    kind: str
    key: str
    id: str
    body: Mapping[str, Any]

    @property
    def address(self) -> str:
        return f"{self.kind}:{self.key}"


@dataclass(slots=True)
class Account:
    """`owned` by address, all that carry one key. `unseen` are the addresses of percentiles of metrics that the
    account has never received, or not lately."""

    owned: dict[str, list[Found]] = field(default_factory=dict)
    unseen: set[str] = field(default_factory=set)

    def add(self, found: Iterable[Found]) -> None:
        for one in found:
            self.owned.setdefault(one.address, []).append(one)

    def get(self, address: str) -> Found | None:
        """The resource at that address, if there is exactly one."""
        at = self.owned.get(address, ())
        return at[0] if len(at) == 1 else None


def read_account(client: Client, resources: Iterable[Resource]) -> Account:
    """Everything in the account that is ours, and how far the percentiles of `resources` are. Calls run in parallel.

    Raises ApiError where something can't be read: a plan made from half an account would create twins.
    """
    with understood("what the account has"):
        return _read_account(client, resources)


def _read_account(client: Client, resources: Iterable[Resource]) -> Account:
    account = Account()
    percentiles = [resource for resource in resources if resource.kind == "percentiles"]
    with ThreadPoolExecutor(client.parallel) as pool:
        lists = [pool.submit(_in_list, client, kind) for kind in ("monitor", "slo", "notification_rule")]
        dashboards = pool.submit(lambda: [str(one["id"]) for one in _dashboards(client) if owned_key("dashboard", one)])
        configured = pool.map(lambda one: _percentiles(client, one), percentiles)
        try:
            account.add(pool.map(lambda identity: read_dashboard(client, identity), dashboards.result()))
            for future in lists:
                account.add(future.result())
            for resource, (found, seen) in zip(percentiles, configured, strict=True):
                if found is not None:
                    account.add([found])
                elif not seen:
                    account.unseen.add(resource.address)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return account


def look_up(client: Client, kind: str, key: str) -> list[Found]:
    """What the account has under one key, asked anew."""
    with understood("what the account has"):
        if kind == "dashboard":
            ids = [str(one["id"]) for one in _dashboards(client) if owned_key(kind, one) == key]
            return [read_dashboard(client, identity) for identity in ids]
        return [one for one in _in_list(client, kind, key) if one.key == key]


def read_monitor(client: Client, identity: str) -> Mapping[str, Any]:
    """One monitor, ours or not."""
    with understood(f"monitor {identity}"):
        body = client.call(client.monitors.get_monitor, monitor_id=int(identity))
        return {**body, "type": body["type"]}


def read_dashboard(client: Client, identity: str) -> Found:
    """One dashboard of ours with its widgets, which the list leaves out."""
    body = client.call(client.dashboards.get_dashboard, dashboard_id=identity)
    return Found("dashboard", owned_key("dashboard", body) or "", identity, body)


def metric_of(resource: Resource) -> str:
    """The metric whose percentiles a resource switches on."""
    data = resource.body.get("data")
    return str(data["id"]) if isinstance(data, Mapping) and "id" in data else resource.key


def read_percentiles(client: Client, metric: str) -> Mapping[str, Any] | None:
    """The tag configuration of a metric, None where it has none."""
    try:
        answer = client.call(client.metrics.list_tag_configuration_by_name, metric_name=metric)
    except Refused as error:
        if error.status == 404:
            return None
        raise
    with understood(f"the tag configuration of {metric}"):
        return attributes(answer)


def _percentiles(client: Client, resource: Resource) -> tuple[Found | None, bool]:
    metric = metric_of(resource)
    body = read_percentiles(client, metric)
    if body is not None:
        return Found("percentiles", resource.key, metric, body), True
    try:
        answer = client.call(client.metrics.list_tags_by_metric_name, metric_name=metric, window_seconds=TWO_WEEKS)
    except Refused as error:
        if error.status == 404:
            return None, False
        raise
    lists = attributes(answer)
    return None, bool(lists.get("tags") or lists.get("ingested_tags"))


def _in_list(client: Client, kind: str, key: str | None = None) -> list[Found]:
    tag = OWNER_TAG if key is None else f"{KEY_TAG}:{key}"
    pages = {"monitor": _monitors, "slo": _slos, "notification_rule": _rules}[kind]
    owned = []
    for one in pages(client, tag):
        body = one.get("attributes") or one
        own_key = owned_key(kind, body)
        if own_key is not None:
            owned.append(Found(kind, own_key, str(one["id"]), body))
    return owned


def _monitors(client: Client, tag: str) -> Iterator[Mapping[str, Any]]:
    """By id, not by page: nothing is missed or met twice when somebody else adds or removes monitors meanwhile."""
    last = 0
    while True:
        page = client.call(client.monitors.list_monitors, monitor_tags=tag, page_size=MONITOR_PAGE, id_offset=last)
        yield from page
        if len(page) < MONITOR_PAGE:
            return
        last = max(int(body["id"]) for body in page)


def _slos(client: Client, tag: str) -> Iterator[Mapping[str, Any]]:
    offset = 0
    while True:
        page = client.call(client.slos.list_slos, tags_query=tag, limit=MONITOR_PAGE, offset=offset)["data"]
        yield from page
        if len(page) < MONITOR_PAGE:
            return
        offset += len(page)


def _dashboards(client: Client) -> Iterator[Mapping[str, Any]]:
    """Summaries of all dashboards: the API can't select by what a description says."""
    start = 0
    while True:
        page = client.call(client.dashboards.list_dashboards, count=PAGE, start=start)["dashboards"]
        yield from page
        if len(page) < PAGE:
            return
        start += len(page)


def _rules(client: Client, tag: str) -> Iterator[Mapping[str, Any]]:
    """All rules: the API's filter by text is not documented to match a whole name."""
    page = 0
    while True:
        rules = client.call(client.rules.get_monitor_notification_rules, page=page, per_page=PAGE)["data"]
        yield from rules
        if len(rules) < PAGE:
            return
        page += 1
