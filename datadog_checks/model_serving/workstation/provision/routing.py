"""Who hears about what: a routing file in the shape of Alertmanager's, turned into notification rules or handles."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...errors import DocumentError
from .alertmanager import NEEDS_MATCH, NEEDS_RECEIVER, NOT_DATADOG, OF_ROUTE, TOP_MATCH, refuse_alertmanager
from .audience import Route, Unreached, conditional, known_part, reached, unreached, worded
from .document import Node, read_all, read_document, suggestion
from .model import KEY, KEY_TAG, Resource, owner_tag
from .packs import SEVERITIES, Pack, builtin_packs
from .packs.bodies import INTEGRATION_TAG
from .packs.settle import EACH_GROUP
from .query.tree import Everything
from .vocabulary import builtin_vocabulary

FORMS = ("rules", "handles")
MOST_RECIPIENTS = 20
LONGEST_SCOPE = 3000
UNRESOLVED = ("is_alert", "is_warning", "is_no_data")
"""Transitions that a receiver hears of which wants none about recoveries."""


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
    refuse_alertmanager(root)
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
            raise node.below(index, name).fail(f"no monitor is grouped by `{name}`; {suggestion(name, sorted(groups))}")
    return (EACH_GROUP,) if EACH_GROUP in names else tuple(name for name in names if name in groups)


def check_routing(routing: Routing, known: Mapping[str, Collection[str] | None]) -> None:
    """Raise DocumentError about routes that are never reached: others take all of it before, or it asks for a tag or a
    value that no monitor and none of its groups has. `known` are the values by tag, None where any may come.
    """

    single = {"severity", "team", "pack", *builtin_vocabulary().all_tags()}
    never = unreached(routing.root, single, {"severity": SEVERITIES})
    wrong = [*_unknown(routing.tags(), known), *((one.route.path, _never(one)) for one in never)]
    if wrong:
        lines = dict.fromkeys(str(Node(routing.file, path, None).fail(problem)) for path, problem in wrong)
        raise DocumentError("\n".join(lines))


def _unknown(
    tags: Iterable[tuple[str, str, str]], known: Mapping[str, Collection[str] | None]
) -> Iterator[tuple[str, str]]:
    """The places of tags and values that nothing has, and what to write."""
    for tag, value, path in tags:
        values = known.get(tag)
        if values is not None and value not in values:
            near = suggestion(value, sorted(values))
            yield path, f"no monitor has `{tag}:{value}`, so this never matches; {near}"
        elif tag not in known and tag == "alertname":
            instead = f"write `{KEY_TAG}` with keys of monitors, such as `latency.p99`"
            yield path, f"no monitor has the tag `{tag}`, so this never matches: {instead}"
        elif tag not in known:
            yield (
                path,
                f"no monitor and no group of one has the tag `{tag}`, so this never matches; "
                f"{suggestion(tag, sorted(known))}. Tags of your own go into `tags` of the values file",
            )


def _never(found: Unreached) -> str:
    """Why nothing reaches a route, and what to write."""
    if found.tag:
        values = ", ".join(f"`{found.tag}:{value}`" for value in found.route.match[found.tag])
        return f"is never reached: the route above takes no {values}; write this one beside it"
    takers = " and ".join(one.path for one in found.by)
    takes = "takes" if len(found.by) == 1 else "take"
    return f"is never reached: {takers} {takes} all of this; write this one before, or `continue: true` there"


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
        raise node.fail(NEEDS_RECEIVER)
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
    entries = node.entries(("match", "receiver", "continue", "routes"), advice=OF_ROUTE)
    if not entries.get("match") or not dict(entries["match"].items()):
        raise node.fail(NEEDS_MATCH)
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
    return node.mapped(_receiver)


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
