"""What the account has: everything that bears our mark, and the percentiles of the metrics we query."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ...errors import ProvisionError, Refused
from .api import Client, understood
from .model import KEY_TAG, Resource, attributes, mark_of, owned_key, owner_tag, resembles
from .normalise import TYPES, alike

MONITOR_PAGE = 1000
PAGE = 100
OVER = ("ended", "canceled")
"""The status of a downtime that silences nothing any more."""

TWO_WEEKS = 14 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Found:
    """A resource of the account. `body` is what the API answers, of its second version (notification rules, downtimes,
    tag configurations) only the attributes; `id` is text whatever the API makes of it. `stack` is that of its mark."""

    kind: str
    key: str
    id: str
    body: Mapping[str, Any]
    stack: str = ""

    @property
    def address(self) -> str:
        return f"{self.kind}:{self.key}"

    @property
    def age(self) -> tuple[str, int, str]:
        """What sorts by the time of creation: of several with one mark the first is the original. SLOs tell it in
        seconds, all others as text of one form."""
        created = self.body.get("created" if self.kind in ("monitor", "downtime") else "created_at")
        text = f"{created:020d}" if isinstance(created, int) else str(created or "")
        return text, int(self.id) if self.id.isdigit() else 0, self.id


@dataclass(frozen=True, slots=True)
class Stranger:
    """What looks like ours and isn't: `why` tells what it is. It is reported, and never touched."""

    found: Found
    why: str


@dataclass(slots=True)
class Account:
    """What a stack has. `owned` is by address: the original, then its twins, which are the same but for their ids.

    `others` is what the stack has, if any, from which this one is to take over, by address, and `strangers` what bears
    a part of our mark, is a copy that somebody made of ours, or is of another stack. `to_adopt` is by the address that
    it is to have; it may be ours already. `unseen` are the addresses of percentiles of metrics that the account has
    never received, or not lately; `canceled` is when downtimes of the stack were canceled that are listed still, by
    address.
    """

    stack: str = ""
    owned: dict[str, list[Found]] = field(default_factory=dict)
    others: dict[str, Found] = field(default_factory=dict)
    strangers: list[Stranger] = field(default_factory=list)
    to_adopt: dict[str, Found] = field(default_factory=dict)
    unseen: set[str] = field(default_factory=set)
    canceled: dict[str, str] = field(default_factory=dict)

    def add(self, found: Iterable[Found]) -> None:
        """Sort what the account has. Of several with one mark the oldest is the original."""
        by_address: dict[str, list[Found]] = {}
        for one in found:
            by_address.setdefault(one.address, []).append(one)
        for address, some in by_address.items():
            original, *later = sorted(some, key=lambda one: one.age)
            twins = [one for one in later if alike(one.kind, original.body, one.body)]
            self.owned[address] = [original, *twins]
            self.strangers += [
                Stranger(one, f"a copy of {original.id}, which is older: take the mark off, or delete it")
                for one in later
                if one not in twins
            ]

    def get(self, address: str) -> Found | None:
        """The original at that address."""
        at = self.owned.get(address)
        return at[0] if at else None


def read_account(
    client: Client,
    resources: Iterable[Resource],
    stack: str = "",
    source: str = "",
    adopt: Mapping[str, str] | None = None,
) -> Account:
    """Everything in the account that belongs to a stack, what looks as if it did, and how far the percentiles of
    `resources` are. `source` is the stack that this one may take over from, itself for none; `adopt` are the ids of
    what is to become ours, by address. Calls run in parallel.

    Raises ApiError where something can't be read: a plan made from half an account would create twins. Raises
    ProvisionError about what is to be adopted and isn't there.
    """
    with understood("what the account has"):
        account = _read_account(client, resources, stack, source)
    account.to_adopt = {address: _read_adopted(client, address, one) for address, one in (adopt or {}).items()}
    return account


def _read_account(client: Client, resources: Iterable[Resource], stack: str, source: str) -> Account:
    account = Account(stack)
    resources = list(resources)
    percentiles = [resource for resource in resources if resource.kind == "percentiles"]
    stacks = tuple(dict.fromkeys((stack, source)))
    with ThreadPoolExecutor(client.parallel) as pool:
        lists = [pool.submit(_in_lists, client, kind, stacks) for kind in ("monitor", "slo", "notification_rule")]
        # Without resources everything is asked for, as what takes all of it away does.
        needed = not resources or any(one.kind == "downtime" for one in resources)
        downtimes = pool.submit(_planned, client, needed)
        dashboards = pool.submit(lambda: [one for one in _dashboards(client) if mark_of("dashboard", one)])
        configured = pool.map(lambda one: _percentiles(client, one), percentiles)
        try:
            found: list[Found] = []
            whole = pool.map(
                # Those of other stacks are only counted.
                lambda one: _whole(client, one) if _stack_of(one) in stacks else [found_in("dashboard", one)],
                dashboards.result(),
            )
            found += [one for some in whole for one in some]
            for future in lists:
                found += future.result()
            planned = sorted(downtimes.result(), key=lambda one: one.age)
            found += [one for one in planned if one.body.get("status") not in OVER]
            canceled = [one for one in planned if one.stack == stack and one.body.get("canceled")]
            account.canceled = {one.address: str(one.body["canceled"]) for one in canceled}
            account.add(one for one in found if one.key and one.stack == stack)
            _add_others(account, found, source)
            for resource, (configuration, seen) in zip(percentiles, configured, strict=True):
                if configuration is not None:
                    account.add([configuration])
                elif not seen:
                    account.unseen.add(resource.address)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return account


def _add_others(account: Account, found: Iterable[Found], source: str) -> None:
    """What is not of this stack: of the one to take over from, of others, and what bears no whole mark."""
    taken = Account(source)
    if source != account.stack:
        taken.add(one for one in found if one.key and one.stack == source)
    account.others = {address: some[0] for address, some in taken.owned.items()}
    for one in found:
        if not one.key:
            account.strangers.append(Stranger(one, "it bears a part of a mark of ours, or more than one mark"))
        elif one.stack != account.stack:
            account.strangers.append(Stranger(one, f"of {stack_name(one.stack)}"))


def stack_name(stack: str) -> str:
    return f"the stack `{stack}`" if stack else "the stack without a name"


def look_up(client: Client, kind: str, key: str, stack: str) -> list[Found]:
    """What a stack has under one key, asked anew, the oldest first."""
    with understood("what the account has"):
        if kind == "dashboard":
            same = [one for one in _dashboards(client) if owned_key(kind, one, stack) == key]
            found = [one for summary in same for one in _whole(client, summary)]
        else:
            found = [one for one in _in_list(client, kind, stack, key) if (one.stack, one.key) == (stack, key)]
        return sorted(found, key=lambda one: one.age)


def read_stack(client: Client, kind: str, stack: str) -> list[Found]:
    """What a stack has of one kind."""
    with understood("what the account has"):
        if kind == "dashboard":
            same = [one for one in _dashboards(client) if _stack_of(one) == stack]
            return [one for summary in same for one in _whole(client, summary)]
        return [one for one in _in_list(client, kind, stack) if one.key and one.stack == stack]


def read_one(client: Client, kind: str, identity: str) -> Found:
    """One resource by its id, ours or not; percentiles have none. Raises Refused with the status 404 where it isn't
    there."""
    with understood(f"{kind} {identity}"):
        if kind == "monitor":
            body = client.call(client.monitors.get_monitor, monitor_id=int(identity))
        elif kind == "slo":
            body = client.call(client.slos.get_slo, slo_id=identity)["data"]
        elif kind == "dashboard":
            body = client.call(client.dashboards.get_dashboard, dashboard_id=identity)
        else:
            body = client.call(client.rules.get_monitor_notification_rule, rule_id=identity)["data"]
        found = found_in(kind, body)
        if found.id != identity or (kind in TYPES and TYPES[kind] not in found.body):
            raise ValueError(identity)
        return found


def _read_adopted(client: Client, address: str, identity: str) -> Found:
    try:
        return read_one(client, address.partition(":")[0], identity)
    except Refused as error:
        if error.status != 404:
            raise
        raise ProvisionError(
            f"--adopt {address}={identity}: the account has nothing with this id; look for the id in its URL, and "
            "whether keys and site are those of its account"
        ) from None


def _whole(client: Client, summary: Mapping[str, Any]) -> list[Found]:
    """One dashboard of ours with its widgets, which the list leaves out; none where another run has just deleted it."""
    try:
        body = client.call(client.dashboards.get_dashboard, dashboard_id=str(summary["id"]))
    except Refused as error:
        if error.status == 404:
            return []
        raise
    return [found_in("dashboard", body)]


def found_in(kind: str, one: Mapping[str, Any]) -> Found:
    """A resource as the API answers it, with an empty key where it bears no whole mark of ours."""
    body = one.get("attributes") or one
    stack, key = mark_of(kind, body) or ("", "")
    return Found(kind, key, str(one["id"]), body, stack)


def _stack_of(dashboard: Mapping[str, Any]) -> str | None:
    mark = mark_of("dashboard", dashboard)
    return mark[0] if mark else None


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


def _planned(client: Client, needed: bool) -> list[Found]:
    """Downtimes of any stack, also those that are over. Unless they are `needed`, there are none for a key that may not
    see them: who has planned none has no use for the scope."""
    try:
        return list(_marked("downtime", _downtimes(client, "")))
    except Refused as error:
        if needed or error.status != 403:
            raise
        return []


def _in_lists(client: Client, kind: str, stacks: Iterable[str]) -> list[Found]:
    """What bears a mark of these stacks, or a part of one; of rules, which can't be selected, what bears any."""
    lists = (("",) if kind == "notification_rule" else tuple(stacks)) or ("",)
    return list({one.id: one for stack in lists for one in _in_list(client, kind, stack)}.values())


def _in_list(client: Client, kind: str, stack: str, key: str | None = None) -> list[Found]:
    tag = owner_tag(stack) if key is None else f"{KEY_TAG}:{key}"
    pages = {"monitor": _monitors, "slo": _slos, "notification_rule": _rules, "downtime": _downtimes}[kind]
    found = _marked(kind, pages(client, tag))
    return [one for one in found if kind != "downtime" or one.body.get("status") not in OVER]


def _marked(kind: str, listed: Iterable[Mapping[str, Any]]) -> Iterator[Found]:
    """What bears a mark of ours, or a part of one."""
    return (one for one in (found_in(kind, each) for each in listed) if one.key or resembles(kind, one.body))


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
    listed = partial(client.call, client.slos.list_slos, tags_query=tag, limit=MONITOR_PAGE)
    return _by_offset(lambda offset: listed(offset=offset)["data"], MONITOR_PAGE)


def _dashboards(client: Client) -> Iterator[Mapping[str, Any]]:
    """Summaries of all dashboards: the API can't select by what a description says."""
    listed = partial(client.call, client.dashboards.list_dashboards, count=PAGE)
    return _by_offset(lambda offset: listed(start=offset)["dashboards"], PAGE)


def _rules(client: Client, tag: str) -> Iterator[Mapping[str, Any]]:
    """All rules: the API's filter by text is not documented to match a whole name."""
    listed = partial(client.call, client.rules.get_monitor_notification_rules, per_page=PAGE)
    return _by_offset(lambda offset: listed(page=offset // PAGE)["data"], PAGE)


def _downtimes(client: Client, tag: str) -> Iterator[Mapping[str, Any]]:
    """All downtimes. Those that are over or canceled stay in the list for some time, and can't be changed any more."""
    listed = partial(client.call, client.downtimes.list_downtimes, page_limit=PAGE)
    return _by_offset(lambda offset: listed(page_offset=offset)["data"], PAGE)


def _by_offset(page_from: Callable[[int], Sequence[Mapping[str, Any]]], size: int) -> Iterator[Mapping[str, Any]]:
    """What is in all pages of a list, each of `size` but the last."""
    offset = 0
    while True:
        page = page_from(offset)
        yield from page
        if len(page) < size:
            return
        offset += len(page)
