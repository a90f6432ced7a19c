"""What a new resource is, in a few lines: what it watches, from when on it alerts, and who hears of it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from .model import KEY_TAG, OWNER_TAGS, REFERENCE, Resource, attributes
from .packs.bodies import INTEGRATION_TAG
from .packs.queries import number_text
from .schedules import length_text, schedule_text
from .simulate.recipients import BLOCK, HANDLE, RuleScope, read_rule_scope
from .simulate.variants import NotSimulated

BY = re.compile(r"\bby \{([^{}]*)\}|\.by\(([^()]*)\)")
SHOWN_TAGS = ("severity:", "team:")
SOME = "some groups"


class Hearers:
    """Who hears of the monitors among some resources, by the rules and the handles among them."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        listed = list(resources)
        self._queries = {one.address: str(one.body.get("query") or "") for one in listed if one.kind == "monitor"}
        self._rules = [attributes(one.body) for one in listed if one.kind == "notification_rule"]
        # Whatever hears of some monitor makes a monitor of which nobody does worth telling.
        self.nobody = not self._rules and not any(
            HANDLE.search(str(one.body.get("message") or "")) for one in listed if one.kind == "monitor"
        )

    def of(self, body: Mapping[str, Any]) -> list[str]:
        """Recipients without `@`, with a word on those who hear of some groups only."""
        found: dict[str, bool] = dict(_handles(str(body.get("message") or "")))
        tags = [str(tag) for tag in body.get("tags") or ()]
        groups = self._groups(str(body.get("query") or "")) - {tag.partition(":")[0] for tag in tags}
        for rule in self._rules:
            taken = _holds(_scope(rule), tags, groups)
            for name in recipients_of(rule) if taken is not False else ():
                found[name] = found.get(name, False) or taken is True
        return [name if whole else f"{name} ({SOME})" for name, whole in sorted(found.items())]

    def lost(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
        """Those whom a monitor names in its texts, and who hear of it no more as it will be, without `@`."""
        options = before.get("options") or {}
        texts = f"{before.get('message') or ''}\n{options.get('escalation_message') or ''}"
        still = {name.removesuffix(f" ({SOME})") for name in self.of(after)}
        return sorted(name for name, _ in _handles(texts) if name not in still)

    def _groups(self, query: str) -> set[str]:
        """The tags by which a query groups; of a composite monitor those of its parts."""
        listed = ",".join("".join(match.groups("")) for match in BY.finditer(query))
        own = {name.strip(" \"'") for name in listed.split(",")} - {""}
        return own.union(*(self._groups(self._queries.get(address, "")) for address in REFERENCE.findall(query)))


def described(resource: Resource, hearers: Hearers) -> Iterator[str]:
    """Lines on something new; its other fields are in the JSON."""
    body = attributes(resource.body)
    if resource.kind == "monitor":
        yield str(body["query"])
        yield from filter(None, [", ".join(_alerts(body))])
        to = hearers.of(body)
        if to or not hearers.nobody:
            yield f"notifies {', '.join(to) or 'nobody'}"
    elif resource.kind == "slo":
        query = body.get("query") or {}
        yield from (f"{part}: {query[part]}" for part in ("numerator", "denominator") if part in query)
        if slice_ := body.get("sli_specification", {}).get("time_slice"):
            queries = ", ".join(one["query"] for one in slice_["query"]["queries"])
            yield f"{queries} {slice_['comparator']} {number_text(slice_['threshold'])}"
        yield ", ".join(f"{one['target']:g} % in {one['timeframe']}" for one in body.get("thresholds", ()))
    elif resource.kind == "dashboard":
        count = sum(1 for _ in _widgets(body))
        yield f"{count} widget{'s'[: count != 1]}"
    elif resource.kind == "notification_rule":
        yield _scope(body) or "everything"
        yield f"notifies {', '.join(recipients_of(body))}"
    elif resource.kind == "downtime":
        yield f"silences {_silenced(body)}"
        yield when(resource)


def when(downtime: Resource) -> str:
    """When a downtime is, in words."""
    body = attributes(downtime.body)
    return schedule_text(body["schedule"], body["display_timezone"], datetime.now(UTC))


def _silenced(body: Mapping[str, Any]) -> str:
    tags = [tag for tag in body["monitor_identifier"]["monitor_tags"] if tag != INTEGRATION_TAG]
    keys = [tag.partition(":")[2] for tag in tags if tag.startswith(f"{KEY_TAG}:")]
    others = [tag for tag in tags if not OWNER_TAGS.fullmatch(tag) and not tag.startswith(f"{KEY_TAG}:")]
    what = keys[0] if keys else f"the monitors with {', '.join(others)}" if others else "all monitors"
    return what if body["scope"] == "*" else f"{what} where {body['scope']}"


def recipients_of(rule: Mapping[str, Any]) -> list[str]:
    """Everybody whom a rule notifies of anything."""
    conditional = rule.get("conditional_recipients") or {}
    conditions = (one for each in conditional.get("conditions") or () for one in each["recipients"])
    return sorted({*(rule.get("recipients") or ()), *conditions, *(conditional.get("fallback_recipients") or ())})


def _alerts(body: Mapping[str, Any]) -> Iterator[str]:
    """Thresholds, priority, what else decides when it notifies, severity and team."""
    options = body.get("options") or {}
    thresholds = options.get("thresholds") or {}
    for name in ("critical", "warning", "ok", "critical_recovery", "warning_recovery", "unknown"):
        if thresholds.get(name) is not None:
            yield f"{name.replace('_', ' ')} {number_text(thresholds[name])}"
    if options.get("notify_no_data"):
        minutes = options.get("no_data_timeframe")
        yield f"no data for {length_text(minutes)}" if minutes else "no data"
    elif options.get("on_missing_data") == "show_and_notify_no_data":
        yield "no data"
    if body.get("priority"):
        yield f"P{body['priority']}"
    if options.get("renotify_interval"):
        yield f"repeated every {length_text(options['renotify_interval'])}"
    if options.get("notify_by"):
        by = ", ".join(options["notify_by"])
        yield "once for all groups" if by == "*" else f"once per {by}"
    yield from (str(tag) for tag in body.get("tags") or () if str(tag).startswith(SHOWN_TAGS))


def _widgets(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Those of a dashboard, and of its groups, without the groups themselves."""
    for widget in body.get("widgets", ()):
        definition = widget["definition"]
        yield from _widgets(definition) if definition.get("type") == "group" else (definition,)


def _handles(message: str) -> Iterator[tuple[str, bool]]:
    """The handles of a message, and whether they are there whatever the group is."""
    blocks: list[str] = []
    at = 0
    found: dict[str, bool] = {}
    for block in (*BLOCK.finditer(message), None):
        whole = not any("match" in name for name in blocks)
        for name in HANDLE.findall(message[at : block.start() if block else None]):
            found[name.rstrip(".")] = found.get(name.rstrip("."), False) or whole
        if block is not None:
            at = block.end()
            if block.group(1) == "/":
                blocks = blocks[:-1]
            else:
                blocks.append(block[2])
    yield from found.items()


def _scope(rule: Mapping[str, Any]) -> str:
    taken = rule.get("filter") or {}
    return str(taken.get("scope") or " AND ".join(taken.get("tags") or ()))


def _holds(scope: str, tags: Collection[str], groups: Collection[str]) -> bool | None:
    """Whether a rule takes what a monitor with these tags notifies of, None where that is so of some groups."""
    if not scope:
        return True
    try:
        return _decided(read_rule_scope(scope), tags, groups)
    except NotSimulated:
        return False


def _decided(scope: RuleScope, tags: Collection[str], groups: Collection[str]) -> bool | None:
    if scope.operator == "tag":
        return None if scope.tag.partition(":")[0] in groups else scope.holds(tags)
    parts = [_decided(part, tags, groups) for part in scope.parts]
    if scope.operator == "not":
        return None if parts[0] is None else not parts[0]
    # Of `and` one that is false decides, of `or` one that is true.
    deciding = scope.operator == "or"
    return deciding if deciding in parts else None if None in parts else not deciding
