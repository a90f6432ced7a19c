"""What a configuration of Alertmanager says that a routing file says otherwise, or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...errors import DocumentError
from .document import Node, suggestion
from .model import KEY

TOP_MATCH = "the top level takes everything; write `match` in an entry of `routes`"
DOWNTIMES = "write these times under `downtimes` in the values file, which silences monitors for all receivers"
WEBHOOK = "write `to: [webhook-<name>]`, of a webhook in Datadog that calls it"
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
    "tracing": "there is nothing to set here",
    "route": "write its keys at the top level",
    "match_re": "write `match` with a list of values; regular expressions are not supported",
    "matchers": (
        "write `match`, a mapping of tags to a value or a list of values: for `=~` each value, for `!=` a route before "
        "for what is not meant"
    ),
    "slack_configs": "write `to: [slack-<channel>]`",
    "pagerduty_configs": "write `to: [pagerduty-<service>]`",
    "email_configs": "write `to: [<address>]`",
    "webhook_configs": "write `to: [webhook-<name>]`",
    "msteams_configs": "write `to: [teams-<channel>]`",
    "msteamsv2_configs": "write `to: [teams-<channel>]`",
    "opsgenie_configs": "write `to: [opsgenie-<service>]`",
    "victorops_configs": "write `to: [victorops-<routing key>]`",
    "sns_configs": "write `to: [sns-<topic>]`",
    "jira_configs": "write `to: [jira-<project>]`",
    **dict.fromkeys(
        (
            *("discord_configs", "incidentio_configs", "mattermost_configs", "pushover_configs"),
            *("rocketchat_configs", "telegram_configs", "webex_configs", "wechat_configs"),
        ),
        WEBHOOK,
    ),
    "name": "receivers are a mapping from the name",
}
"""What to write instead, by the key."""

OF_ROUTE = {
    **NOT_DATADOG,
    "repeat_interval": (
        "Datadog repeats per monitor: write it at the top level, or `renotify` of a monitor in the values file"
    ),
    "group_by": "Datadog groups per monitor: write it at the top level, or `notify_by` of one in the values file",
}
"""The same within a route below the top level."""

NEEDS_MATCH = "a route needs `match`, such as `match: {severity: critical}`"
NEEDS_RECEIVER = "the key `receiver` is missing"
SHOWN = 3
"""Places that a line names before it counts the rest."""


def refuse_alertmanager(root: Node) -> None:
    """Raise DocumentError where the file is Alertmanager's own: a first line that says so, and one about each thing
    that has to be written otherwise, with its places. Any other file is left to those who read it."""
    data = root.value
    if not isinstance(data, Mapping) or not ("route" in data or isinstance(data.get("receivers"), list)):
        return
    places: dict[str, list[str]] = {}
    for path, problem in _foreign(data):
        places.setdefault(problem, []).append(path)
    lines = [
        "this is a configuration of Alertmanager; a routing file has its form, with handles of Datadog for receivers: "
        "docs/provisioning.md, `Routing`, has an example and a table of what differs"
    ]
    for problem, paths in places.items():
        more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
        lines.append(f"{', '.join(paths[:SHOWN])}{more}: {problem}")
    raise DocumentError("\n".join(str(root.fail(line)) for line in lines))


def _foreign(data: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """The places of what is to be written otherwise, and how."""
    for key, value in data.items():
        match key, value:
            case "receivers", list():
                yield key, "write a mapping from their names, such as `ml: {to: [slack-ml-alerts]}`"
                for index, one in enumerate(value):
                    yield from _of_receiver(f"{key}[{index}]", one)
            case (("receivers" | "receiver" | "routes" | "group_by" | "repeat_interval" | "as"), _):
                pass
            case "match", _:
                yield key, TOP_MATCH
            case _:
                yield key, NOT_DATADOG.get(key) or f"unknown key; {suggestion(key, NOT_DATADOG)}"
    top = data.get("route")
    if isinstance(top, Mapping):
        yield from _of_route("route", top, top=True)
    yield from _of_routes("", data.get("routes"))


def _of_route(path: str, route: Mapping[str, object], *, top: bool = False) -> Iterator[tuple[str, str]]:
    known = (
        ("receiver", "routes", "group_by", "repeat_interval") if top else ("receiver", "routes", "match", "continue")
    )
    advice = {**NOT_DATADOG, "match": TOP_MATCH, "continue": "leave it out"} if top else OF_ROUTE
    for key in route:
        if key not in known:
            yield f"{path}.{key}", advice.get(key) or f"unknown key; {suggestion(key, known)}"
    if not top and not any(route.get(key) for key in ("match", "match_re", "matchers")):
        yield path, NEEDS_MATCH
    if not top and "receiver" not in route:
        yield path, f"{NEEDS_RECEIVER}: write that of the route above"
    yield from _of_routes(f"{path}.", route.get("routes"))


def _of_routes(path: str, routes: object) -> Iterator[tuple[str, str]]:
    for index, route in enumerate(routes if isinstance(routes, list) else ()):
        if isinstance(route, Mapping):
            yield from _of_route(f"{path}routes[{index}]", route)


def _of_receiver(path: str, receiver: object) -> Iterator[tuple[str, str]]:
    if not isinstance(receiver, Mapping):
        return
    name = receiver.get("name")
    if isinstance(name, str) and not KEY.fullmatch(name):
        yield f"{path}.name", f"`{name}` is no name of a receiver here: write small letters, digits and _ . - alone"
    integrations = [key for key in receiver if key != "name"]
    for key in integrations:
        yield f"{path}.{key}", NOT_DATADOG.get(key) or f"unknown key; {suggestion(key, NOT_DATADOG)}"
        configs = receiver[key]
        for index, one in enumerate(configs if isinstance(configs, list) else ()):
            if isinstance(one, Mapping) and "send_resolved" in one:
                yield f"{path}.{key}[{index}].send_resolved", "write it beside `to`; without it recoveries are told"
    if not integrations:
        yield (
            path,
            "Datadog has no receiver of nobody: leave its routes out, and of monitors that nobody is to hear of write "
            "`enabled: false` in the values file",
        )
