"""Who is notified of what: changes of states to notifications, notifications to recipients."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from ..model import Resource, attributes
from .buckets import Group
from .states import ALERT, NO_DATA, OK, SEVERITY, WARN, StateChange
from .variants import NotSimulated

MINUTE = 60
BLOCK = re.compile(r"\{\{([#^/])\s*(\w+)([^{}]*)\}\}")
HANDLE = re.compile(r"(?<![\w@.])@([\w][\w.+-]*(?:@[\w-]+(?:\.[\w-]+)+)?)")
WORD = re.compile(r'"([^"]*)"|(\S+)')
FORGOTTEN = 30 * 3600
"""How long an alert is repeated."""

KINDS = {ALERT: "alert", WARN: "warning", NO_DATA: "no data", OK: "recovery"}


@dataclass(frozen=True, slots=True)
class SentNotification:
    """One notification: `kind` is alert, warning, no data or recovery, `repeated` that nothing has changed."""

    time: float
    monitor: str
    group: Group
    kind: str
    recipients: tuple[str, ...]
    repeated: bool = False


class Broadcaster:
    """Sends what the monitors of some resources notify of, to whom the rules and the handles among them say."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._rules = [dict(attributes(one.body)) for one in resources if one.kind == "notification_rule"]

    def sent(
        self, monitor: str, body: Mapping[str, Any], changes: Sequence[StateChange], tells_no_data: bool, end: float
    ) -> list[SentNotification]:
        """Every notification of a monitor, in the order of time."""
        options = body.get("options") or {}
        found: list[SentNotification] = []
        for group, own in _notified(changes, options).items():
            steps = [one for one in own if _tells(one, tells_no_data)]
            for number, change in enumerate(steps):
                until = steps[number + 1].time if number + 1 < len(steps) else end
                found += self._one(monitor, body, group, change, until)
        return sorted(found, key=lambda one: one.time)

    def _one(
        self, monitor: str, body: Mapping[str, Any], group: Group, change: StateChange, until: float
    ) -> Iterator[SentNotification]:
        recipients = self.recipients(body, group, change.before, change.after)
        yield SentNotification(change.time, monitor, group, KINDS[change.after], recipients)
        options = body.get("options") or {}
        interval = MINUTE * float(options.get("renotify_interval") or 0)
        statuses = options.get("renotify_statuses") or ["alert", "no data"]
        if interval and KINDS[change.after].replace("warning", "warn") in statuses:
            most = options.get("renotify_occurrences")
            times, now = 0, change.time + interval
            while now <= min(until, change.time + FORGOTTEN) and (most is None or times < int(most)):
                yield SentNotification(now, monitor, group, KINDS[change.after], recipients, repeated=True)
                now, times = now + interval, times + 1

    def recipients(self, body: Mapping[str, Any], group: Group, before: str | None, after: str) -> tuple[str, ...]:
        """Who hears of a change: all rules that match and all handles of the message, each once."""
        flags = flags_of(before, after)
        found = list(handles_in(str(body.get("message") or ""), flags, dict(group)))
        tags = {str(tag) for tag in body.get("tags") or ()} | {f"{key}:{value}" for key, value in group}
        for rule in self._rules:
            if read_rule_scope(str(rule["filter"]["scope"])).holds(tags):
                found += _of_rule(rule, flags, tags)
        return tuple(dict.fromkeys(found))


def flags_of(before: str | None, after: str) -> frozenset[str]:
    """What a message can ask of a change, such as `is_alert`."""
    flags = {ALERT: {"is_alert"}, WARN: {"is_warning"}, NO_DATA: {"is_no_data"}, OK: {"is_recovery"}}[after]
    part = {ALERT: "is_alert_recovery", WARN: "is_warning_recovery", NO_DATA: "is_no_data_recovery"}
    if after == OK and before in part:
        flags = flags | {part[before]}
    if (before, after) == (ALERT, WARN):
        flags = flags | {"is_alert_to_warning"}
    return frozenset(flags)


def handles_in(message: str, flags: frozenset[str], tags: Mapping[str, str]) -> Iterator[str]:
    """The handles of a message that are in force, without `@`."""
    text, shown, at = "", [True], 0
    for block in BLOCK.finditer(message):
        if shown[-1]:
            text += message[at : block.start()]
        at = block.end()
        mark, name, rest = block.groups()
        if mark == "/":
            shown = shown[:-1] or [True]
        else:
            shown.append(shown[-1] and _asks(name, rest, flags, tags) == (mark == "#"))
    if shown[-1]:
        text += message[at:]
    yield from (handle.rstrip(".") for handle in HANDLE.findall(text))


def _asks(name: str, rest: str, flags: frozenset[str], tags: Mapping[str, str]) -> bool:
    if name not in ("is_match", "is_exact_match"):
        if not name.startswith("is_"):
            raise NotSimulated(f"`{{{{#{name}}}}}` in a message")
        return name in flags
    words = [quoted or bare for quoted, bare in WORD.findall(rest)]
    value = tags.get(words[0].removesuffix(".name").strip("[]"), "") if words else ""
    if name == "is_exact_match":
        return value in words[1:]
    return any(word in value if word else not value for word in words[1:])


def _notified(changes: Sequence[StateChange], options: Mapping[str, Any]) -> dict[Group, list[StateChange]]:
    """Changes by whom they are told of together: by group or, with `notify_by`, by the tags that it names."""
    by = options.get("notify_by")
    found: dict[Group, list[StateChange]] = {}
    if not by:
        for change in changes:
            found.setdefault(change.group, []).append(change)
        return found
    states: dict[Group, dict[Group, str]] = {}
    for change in changes:
        outer = tuple((key, value) for key, value in change.group if key in by)
        members = states.setdefault(outer, {})
        before = max(members.values(), key=lambda state: SEVERITY[state], default=None)
        members[change.group] = change.after
        after = max(members.values(), key=lambda state: SEVERITY[state])
        if after != before:
            found.setdefault(outer, []).append(StateChange(change.time, outer, before, after, change.value))
    return found


def _tells(change: StateChange, tells_no_data: bool) -> bool:
    if change.after == NO_DATA or (change.before == NO_DATA and change.after == OK):
        return tells_no_data
    return not (change.before is None and change.after == OK)


# Scopes of notification rules.


@dataclass(frozen=True, slots=True)
class RuleScope:
    """A condition on tags: `operator` is tag, not, and, or; `parts` are what it combines, `tag` is `key:value`."""

    operator: str
    tag: str = ""
    parts: tuple[RuleScope, ...] = ()

    def holds(self, tags: Iterable[str]) -> bool:
        """Whether a set of tags is within the scope."""
        match self.operator:
            case "tag":
                return any(fnmatchcase(tag, self.tag) for tag in tags) if self.tag.endswith(":*") else self.tag in tags
            case "not":
                return not self.parts[0].holds(tags)
            case "and":
                return all(part.holds(tags) for part in self.parts)
            case _:
                return any(part.holds(tags) for part in self.parts)


TOKEN = re.compile(
    r"""\s*(?:(\()|(\))|(AND|OR|NOT)\b|([^\s()":]+):(?=\()|([^\s()":]+:(?:"[^"]*"|[^\s()"]+))|([^\s()"]+))"""
)
UNREADABLE = "a notification rule with a scope of a form that isn't known"


@lru_cache(maxsize=256)
def read_rule_scope(text: str) -> RuleScope:
    """`key:value`, AND (which may be left out), OR, NOT and `key:(a OR b)`. Raises NotSimulated."""
    tokens = list(TOKEN.finditer(text))
    if "".join(match.group() for match in tokens).strip() != text.strip():
        raise NotSimulated(UNREADABLE)
    reader = _ScopeReader(tokens)
    scope = reader.either("")
    if reader.tokens:
        raise NotSimulated(UNREADABLE)
    return scope


class _ScopeReader:
    def __init__(self, tokens: list[re.Match[str]]) -> None:
        self.tokens = tokens

    def either(self, key: str) -> RuleScope:
        parts = [self.both(key)]
        while self._word() == "OR":
            self.tokens.pop(0)
            parts.append(self.both(key))
        return parts[0] if len(parts) == 1 else RuleScope("or", parts=tuple(parts))

    def both(self, key: str) -> RuleScope:
        parts = [self.one(key)]
        while self.tokens and self.tokens[0][2] is None and self._word() != "OR":
            if self._word() == "AND":
                self.tokens.pop(0)
            parts.append(self.one(key))
        return parts[0] if len(parts) == 1 else RuleScope("and", parts=tuple(parts))

    def one(self, key: str) -> RuleScope:
        if not self.tokens:
            raise NotSimulated(UNREADABLE)
        token = self.tokens.pop(0)
        if token[3] == "NOT":
            return RuleScope("not", parts=(self.one(key),))
        if token[1]:
            return self._closed(key)
        if token[4]:
            self.tokens.pop(0)
            return self._closed(token[4])
        word = token[5] or token[6]
        if word is None or (token[6] and not key):
            raise NotSimulated(UNREADABLE)
        return RuleScope("tag", tag=word.replace('"', "") if token[5] else f"{key}:{word}")

    def _closed(self, key: str) -> RuleScope:
        inner = self.either(key)
        if not self.tokens or not self.tokens.pop(0)[2]:
            raise NotSimulated(UNREADABLE)
        return inner

    def _word(self) -> str | None:
        return self.tokens[0][3] if self.tokens else None


def _of_rule(rule: Mapping[str, Any], flags: frozenset[str], tags: Iterable[str]) -> list[str]:
    conditional = rule.get("conditional_recipients") or {}
    found: list[str] = []
    known = tuple(tags)
    for condition in conditional.get("conditions") or ():
        scope = str(condition["scope"])
        kind, _, value = scope.partition(":")
        if value in flags if kind == "transition_type" else scope in known:
            found += condition["recipients"]
    if not found:
        found += conditional.get("fallback_recipients") or ()
    return [*found, *(rule.get("recipients") or ())]
