"""Who hears about what: a routing file in the shape of Alertmanager's, turned into notification rules or handles."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .audience import Route, conditional, known_part, reached, worded
from .document import Node, read_all, read_document, suggestion
from .model import KEY, Resource, owner_tag
from .packs import SEVERITIES, Pack, builtin_packs
from .packs.bodies import INTEGRATION_TAG
from .packs.settle import EACH_GROUP
from .query.tree import Everything

FORMS = ("rules", "handles")
MOST_RECIPIENTS = 20
LONGEST_SCOPE = 3000
UNRESOLVED = ("is_alert", "is_warning", "is_no_data")
"""Transitions that a receiver hears of which wants none about recoveries."""

TOP_MATCH = "the top level takes everything; write `match` in an entry of `routes`"
DOWNTIMES = "write these times under `downtimes` in the values file, which silences monitors for all receivers"
NOT_DATADOG = {
    "group_wait": "Datadog notifies at once; there is nothing to set here",
    "group_interval": "Datadog has no such delay; there is nothing to set here",
    "inhibit_rules": "write a composite monitor `A && !B`, or a downtime, in Datadog",
    "mute_time_intervals": DOWNTIMES,
    "active_time_intervals": f"{DOWNTIMES}, for the times at which nobody is to hear",
    "time_intervals": DOWNTIMES,
    "global": "there is nothing to set here; a receiver has `to`, a list of handles",
    "resolve_timeout": "write `auto_resolve` in the values file",
    "templates": "messages come from the packs",
    "route": "write its keys at the top level",
    "match_re": "write `match` with a list of values; regular expressions are not supported",
    "matchers": "write `match`, a mapping of tags to a value or a list of values",
    "slack_configs": "write `to: [slack-<channel>]`",
    "pagerduty_configs": "write `to: [pagerduty-<service>]`",
    "email_configs": "write `to: [<address>]`",
    "webhook_configs": "write `to: [webhook-<name>]`",
    "name": "receivers are a mapping from the name",
}


@dataclass(frozen=True, slots=True)
class Receiver:
    """Handles without `@`, and whether they hear of recoveries."""

    to: tuple[str, ...]
    send_resolved: bool = True


@dataclass(frozen=True, slots=True)
class Routing:
    """A routing file. `form` is `rules` or `handles`; `repeat` the minutes after which an alert is repeated; `group_by`
    the tags by which notifications are grouped, None for what the packs say."""

    file: str
    form: str
    repeat: int | None
    root: Route
    receivers: Mapping[str, Receiver]
    group_by: tuple[str, ...] | None = None

    def tags(self) -> Iterator[tuple[str, str, str]]:
        """Every tag that a route looks at, with a value and the place in the file."""
        yield from _tags(self.root)


def load_routing(path: str | Path, packs: Mapping[str, Pack] | None = None) -> Routing:
    """Read a routing file, for the monitors of the packs, or of those that ship. Raises DocumentError with the file,
    the key and the mend."""
    root = read_document(path, "routing file")
    known = packs or builtin_packs()
    said = root.read(
        {
            "as": lambda node: node.choice(FORMS),
            "group_by": lambda node: _group_by(node, known),
            "repeat_interval": lambda node: node.minutes(10, 1440),
            "receiver": lambda node: node,
            "routes": lambda node: node,
            "receivers": _receivers,
        },
        advice={**NOT_DATADOG, "match": TOP_MATCH},
    )
    for key in ("receiver", "receivers"):
        if key not in said:
            raise root.fail(f"the key `{key}` is missing")
    return Routing(
        file=root.file,
        form=said.get("as", FORMS[0]),
        repeat=said.get("repeat_interval"),
        root=_route(root, {key: said[key] for key in ("receiver", "routes") if key in said}, said["receivers"]),
        receivers=said["receivers"],
        group_by=said.get("group_by"),
    )


def _group_by(node: Node, packs: Mapping[str, Pack]) -> tuple[str, ...]:
    """As Alertmanager's. Every monitor is an alert of its own, with one severity, so these two go without saying."""
    groups = {tag for pack in packs.values() for entry in pack.monitors for tag in entry.groups}
    names = node.texts()
    for index, name in enumerate(names):
        if name not in (*groups, "alertname", "severity", EACH_GROUP):
            item = Node(node.file, f"{node.path}[{index}]", name)
            raise item.fail(f"no monitor is grouped by `{name}`; {suggestion(name, sorted(groups))}")
    return (EACH_GROUP,) if EACH_GROUP in names else tuple(name for name in names if name in groups)


def check_routing(routing: Routing, known: Mapping[str, Collection[str] | None]) -> None:
    """Raise DocumentError about a tag or a value that no monitor and none of its groups has: the route would never
    match. `known` are the values by tag, None where any may come.
    """

    def check(said: tuple[str, str, str]) -> None:
        tag, value, path = said
        values = known.get(tag)
        if values is not None and value not in values:
            near = suggestion(value, sorted(values))
            raise Node(routing.file, path, None).fail(f"no monitor has `{tag}:{value}`, so this never matches; {near}")
        if tag not in known:
            raise Node(routing.file, path, None).fail(
                f"no monitor and no group of one has the tag `{tag}`, so this never matches; "
                f"{suggestion(tag, sorted(known))}. Tags of your own go into `tags` of the values file"
            )

    read_all(check, routing.tags())


def notification_rules(routing: Routing, stack: str = "") -> list[Resource]:
    """One rule per receiver, for all notifications of our monitors that Alertmanager would send there.

    All rules that match fire, where the first route that matches stops the others, so each scope says which earlier
    routes must not match.
    """
    resources = []
    for name, condition in reached(routing.root).items():
        # The parts of composite monitors lack this tag.
        scope = INTEGRATION_TAG
        if not isinstance(condition, Everything):
            scope = f"{INTEGRATION_TAG} AND {worded(condition, 2)}"
        if len(scope) + len(f"{owner_tag(stack)} AND ") > LONGEST_SCOPE:
            raise Node(routing.file, f"receivers.{name}", None).fail(
                f"the rule for this receiver needs a scope of {len(scope)} characters, of which Datadog takes "
                f"{LONGEST_SCOPE}: use fewer routes, or `continue: true` on those before"
            )
        receiver = routing.receivers[name]
        to = list(receiver.to)
        silent = {"conditions": [{"scope": f"transition_type:{state}", "recipients": to} for state in UNRESOLVED]}
        body = {
            "name": f"notify {name}",
            "filter": {"scope": scope},
            **({"recipients": to} if receiver.send_resolved else {"conditional_recipients": silent}),
        }
        resources.append(Resource("notification_rule", name, body))
    return resources


def handles(routing: Routing, tags: Collection[str], groups: Collection[str]) -> str:
    """What the message of a monitor with these tags and groups ends with, so that the same receivers hear of it."""
    blocks = []
    for name, condition in reached(routing.root).items():
        receiver = routing.receivers[name]
        text = " ".join(f"@{handle}" for handle in receiver.to)
        if not receiver.send_resolved:
            text = f"{{{{^is_recovery}}}}{text}{{{{/is_recovery}}}}"
        blocks.append(conditional(known_part(condition, tags, groups), text))
    return "\n".join(block for block in blocks if block)


def _route(node: Node, entries: Mapping[str, Node], receivers: Collection[str]) -> Route:
    if "receiver" not in entries:
        raise node.fail("the key `receiver` is missing")
    receiver = entries["receiver"].text()
    if receiver not in receivers:
        raise entries["receiver"].fail(f"there is no receiver `{receiver}`; {suggestion(receiver, receivers)}")
    match = {tag: _values(tag, item) for tag, item in entries["match"].items()} if "match" in entries else {}
    below = entries["routes"].each() if "routes" in entries else []
    return Route(
        path=node.path,
        receiver=receiver,
        match=match,
        go_on="continue" in entries and entries["continue"].flag(),
        routes=tuple(read_all(lambda item: _route(item, _entries(item), receivers), below)),
    )


def _entries(node: Node) -> dict[str, Node]:
    repeat = "Datadog repeats per monitor: write it at the top level, or `renotify` of a monitor in the values file"
    advice = {**NOT_DATADOG, "repeat_interval": repeat}
    entries = node.entries(("match", "receiver", "continue", "routes"), advice=advice)
    if not entries.get("match") or not dict(entries["match"].items()):
        raise node.fail("a route needs `match`, such as `match: {severity: critical}`")
    return entries


def _values(tag: str, node: Node) -> tuple[str, ...]:
    values = node.texts()
    if not values:
        raise node.fail("names no value")
    for value in values:
        if not re.fullmatch(r"[^\s(){}\[\]\"'*,:]+", value):
            raise node.fail(f"`{value}` is no value of a tag: write it as Datadog shows it, without wildcards")
        if tag == "severity" and value not in SEVERITIES:
            raise node.fail(f"no monitor has the severity `{value}`; {suggestion(value, SEVERITIES)}")
    return values


def _receivers(node: Node) -> dict[str, Receiver]:
    return dict(read_all(lambda entry: (entry[0], _receiver(*entry)), node.items()))


def _receiver(name: str, node: Node) -> Receiver:
    if not KEY.fullmatch(name):
        raise node.fail(f"`{name}` is no name of a receiver: write small letters, digits and _ . - alone")
    entries = node.entries(("to", "send_resolved"), advice=NOT_DATADOG)
    if "to" not in entries:
        raise node.fail("the key `to` is missing: a list of handles such as `slack-ml-alerts`")
    to = tuple(dict.fromkeys(handle.removeprefix("@") for handle in entries["to"].texts()))
    if not 1 <= len(to) <= MOST_RECIPIENTS:
        raise entries["to"].fail(f"a receiver has 1 to {MOST_RECIPIENTS} handles, not {len(to)}")
    for handle in to:
        if not re.fullmatch(r"[\w.+-]+(@[\w.-]+)?", handle):
            hint = f"`slack-{handle.removeprefix('#')}`" if handle.startswith("#") else "one such as `slack-ml-alerts`"
            raise entries["to"].fail(f"`{handle}` is no handle: write {hint}")
    return Receiver(to, entries["send_resolved"].flag() if "send_resolved" in entries else True)


def _tags(route: Route) -> Iterator[tuple[str, str, str]]:
    for tag, values in route.match.items():
        for value in values:
            yield tag, value, f"{route.path}.match.{tag}"
    for child in route.routes:
        yield from _tags(child)
