"""Adopts what a person has made: it becomes that of a key, in place, with its id and its history."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from ...errors import OptionError, ProvisionError
from ...http.redact import printable
from .model import NO_STACK, Resource, owner_tag, quoted, title_of
from .normalise import type_change
from .state import Account, Found, stack_name

IDS: Mapping[str, tuple[str, str]] = {
    "monitor": (r"[1-9]\d*", "the number in its URL"),
    "slo": (r"[\w-]+", "its id alone, as its URL has it"),
    "dashboard": (r"[\w-]+", "its id alone, as its URL has it"),
    "notification_rule": (r"[\w-]+", "its id alone, as the API tells it"),
}
"""What ids of each kind that can be adopted look like, and how to write one. Percentiles have none, and a
downtime has no history that would be lost."""


def read_adoptions(given: Iterable[str], wanted: Collection[str], known: Collection[str]) -> dict[str, str]:
    """The ids of what is to be adopted by the addresses that it is to have, of texts `KEY=ID`. A key alone is that of a
    monitor. `wanted` are the addresses of what is provisioned, `known` those of all that could be.

    Raises OptionError about a text that can't be meant.
    """
    found: dict[str, str] = {}
    for text in given:
        key, _, identity = text.partition("=")
        address = key if ":" in key else f"monitor:{key}"
        kind = address.partition(":")[0]
        if not key or not identity:
            raise _wrong(text, "write KEY=ID, such as `latency.p99=12345678` or `slo:availability=` and its id")
        if kind not in IDS:
            raise _wrong(text, f"`{kind}` can't be adopted: write {', '.join(f'`{one}:`' for one in IDS)}")
        if address not in wanted:
            raise _wrong(text, _unwanted(address, wanted, known))
        pattern, advice = IDS[kind]
        if not re.fullmatch(pattern, identity, re.ASCII):
            raise _wrong(text, f"`{identity}` can't be its id: write {advice}")
        if found.setdefault(address, identity) != identity:
            raise _wrong(text, f"{address} is to be {found[address]} as well, and can be one of them")
        for other, one in found.items():
            if one == identity and other != address and other.startswith(f"{kind}:"):
                raise _wrong(text, f"{identity} is to be {other} as well, and can be one of them")
    return found


def adoptable(resources: Iterable[Resource], account: Account, moved: Mapping[str, Found]) -> dict[str, Found]:
    """What of `account.to_adopt` isn't ours yet, by address. `moved` is what the stack takes over from another.

    Raises ProvisionError about all that can't be adopted, and why.
    """
    wanted = {one.address: one for one in resources}
    found, refused = {}, []
    for address, one in account.to_adopt.items():
        there = account.get(address) or moved.get(address)
        if there is not None and there.id == one.id:
            continue
        why = next(_obstacles(wanted[address], one, there, account.stack), None)
        if why is None:
            found[address] = one
        else:
            title = quoted(title_of(one.body))
            refused.append(printable(f"  --adopt {address}={one.id}, {title}: {why}"))
    if refused:
        raise ProvisionError("\n".join(("nothing was changed, since this can't be adopted:", *refused)))
    return found


def marks_of_others(body: Mapping[str, Any], stack: str) -> list[str]:
    """The tags that say that a resource is another tool's, or another stack's."""
    return [tag for tag in map(str, body.get("tags") or ()) if _is_mark_of_another(tag, stack)]


def _is_mark_of_another(tag: str, stack: str) -> bool:
    name, _, value = tag.lower().partition(":")
    return name in ("managed_by", "managed-by", "terraform") and bool(value) and tag != owner_tag(stack)


def _obstacles(resource: Resource, one: Found, there: Found | None, stack: str) -> Iterator[str]:
    """Why something can't become that resource. `there` is what the account has, or gets, under its key."""
    address = resource.address
    if one.key and one.stack != stack:
        yield (
            f"it is {one.address} of {stack_name(one.stack)}; take that stack over with --move-from "
            f"{one.stack or NO_STACK}, or take the mark off it in Datadog first"
        )
    if one.key and one.address != address:
        yield f"it is ours already, as {one.address}; take the mark off it in Datadog first, or leave it as it is"
    if others := marks_of_others(one.body, stack):
        yield (
            f"it belongs to somebody else ({', '.join(others)}); once it is managed there no longer, take the tag off "
            "it in Datadog"
        )
    if there is not None:
        moving = f", of {stack_name(there.stack)}, which is taken over" if there.stack != stack else ""
        yield (
            f"{address} is {there.id} already, {quoted(title_of(there.body))}{moving}; delete "
            "that in Datadog first, or name another key"
        )
    if change := type_change(resource.kind, resource.body, one.body):
        yield (
            f"its {change.path} is `{change.old}`, that of {address} is `{change.new}`, and Datadog can't change "
            f"it; {_instead(resource)}"
        )


def _instead(resource: Resource) -> str:
    parts = sorted(one for one in resource.references() if one.startswith(f"{resource.address}.part"))
    return f"it may fit a part of that, {' or '.join(parts)}" if parts else "leave it as it is, or name another key"


def _unwanted(address: str, wanted: Collection[str], known: Collection[str]) -> str:
    if address in known:
        return (
            f"{address} isn't provisioned here: its pack isn't chosen, it is off (`enabled` in the values file), or "
            "nothing that --for or --system names feeds it"
        )
    everything = sorted({one for one in (*wanted, *known) if one.partition(":")[0] in IDS})
    key = address.partition(":")[2]
    near = [one for one in everything if one.partition(":")[2] == key] or get_close_matches(address, everything, 3)
    advice = f"did you mean {' or '.join(f'`{one}`' for one in near)}?" if near else "`plan --offline --brief` has all"
    return f"there is no {address}; {advice}"


def _wrong(text: str, why: str) -> OptionError:
    return OptionError(printable(f"--adopt {text}: {why}"))
