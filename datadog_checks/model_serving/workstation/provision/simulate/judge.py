"""Whether monitors did what a test expects."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from .buckets import Group
from .cases import DEPENDING, NOT_SIMULATED, QUIET, STATES, ExpectedGroup, MonitorCase
from .observations import Observations
from .recipients import KINDS, SentNotification
from .simulation import MonitorHistory, MonitorRun, Simulator
from .states import OK, SEVERITY
from .variants import Variant

RECOVERY = KINDS[OK]
DEPENDS = "which depends on what Datadog documents nowhere"
NAMES = {state: word for word, state in STATES.items()}


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Where a monitor did otherwise than expected, or where that can't be told; `group` may be empty."""

    monitor: str
    group: Group
    text: str


def judge(case: MonitorCase, simulator: Simulator, among: Collection[str] | None = None) -> list[Disagreement]:
    """Everything that is not as the test expects. What it expects of others than it names is expected of those
    `among` these only, if that is given."""
    found: list[Disagreement] = []
    for key in simulator.monitors:
        expected = case.expect.get(key, case.others if among is None or key in among else "")
        if not expected:
            continue
        history = simulator.history(key)
        if key in case.expect or not simulator.is_silent_part(history):
            found += _judged(history, expected, simulator.seen)
    return found


def _judged(
    history: MonitorHistory, expected: str | tuple[ExpectedGroup, ...], seen: Observations
) -> Iterator[Disagreement]:
    if history.not_simulated:
        if expected != NOT_SIMULATED:
            yield Disagreement(history.key, (), f"not simulated: {history.not_simulated}")
        return
    if expected == NOT_SIMULATED:
        yield Disagreement(history.key, (), "is simulated: say what is expected of it")
    elif expected == QUIET:
        yield from _quiet(history)
    elif expected == DEPENDING:
        if not history.depends:
            yield Disagreement(history.key, (), "is the same in every way that it may be: say what is expected of it")
    elif not isinstance(expected, str):
        for one in expected:
            yield from _group(history, one, seen)


def _quiet(history: MonitorHistory) -> Iterator[Disagreement]:
    for group in history.groups:
        loud = [story for story in history.stories(group) if set(story) - {OK}]
        if loud:
            sure = len(loud) == len(history.stories(group))
            text = f"goes {' -> '.join(loud[0])}" + (
                "" if sure else ", which depends on what Datadog documents nowhere"
            )
            yield Disagreement(history.key, group, f"expected to stay quiet, but {text}")


def _group(history: MonitorHistory, expected: ExpectedGroup, seen: Observations) -> Iterator[Disagreement]:
    groups = [group for group in history.groups if has(group, expected.group)]
    if not groups:
        if any(state is not None for state in expected.states.values()):
            named = ", ".join(f"{key}:{value}" for key, value in expected.group.items())
            yield Disagreement(history.key, (), f"has no group{f' with {named}' if named else ''}")
        groups = []
    for group in groups:
        for second, state in expected.states.items():
            found = history.states_at(group, seen.start + second)
            if set(found.values()) == {state}:
                continue
            others = sorted({NAMES[one] for one in found.values()})
            text = f"at {clock(second)} expected {NAMES[state]}, but it is {' or '.join(others)}"
            if state in found.values():
                text += f", {DEPENDS}: {differing(found)}"
            yield Disagreement(history.key, group, text)
    if expected.worst:
        yield from _worst(history, expected, groups)
    yield from _notified(history, expected)


def _worst(history: MonitorHistory, expected: ExpectedGroup, groups: list[Group]) -> Iterator[Disagreement]:
    found = {worst_of(run, groups) for run in history.runs.values()}
    if found != {expected.worst}:
        text = f"expected to be {NAMES[expected.worst]} at worst, but is {_either(NAMES[one] for one in found)}"
        yield Disagreement(history.key, (), text if expected.worst not in found else f"{text}, {DEPENDS}")


def worst_of(run: MonitorRun, groups: list[Group]) -> str | None:
    """The most severe state that any of these groups has at any time; None where there is no such group."""
    states = [change.after for change in run.changes if change.group in groups]
    return max(states, key=lambda state: SEVERITY[state], default=None)


def alarms(run: MonitorRun) -> list[SentNotification]:
    """Notifications that something is wrong, what is repeated left out."""
    return [one for one in run.notifications if one.kind != RECOVERY and not one.repeated]


def _notified(history: MonitorHistory, expected: ExpectedGroup) -> Iterator[Disagreement]:
    told = [
        [one for one in run.notifications if has(one.group, expected.group, partly=True)]
        for run in history.runs.values()
    ]
    if expected.notified is not None:
        found = {tuple(sorted({to for one in sent for to in one.recipients})) for sent in told}
        wanted = tuple(sorted(set(expected.notified)))
        if found != {wanted}:
            text = f"expected to notify {_names(wanted)}, but notified is {_either(map(_names, found))}"
            yield Disagreement(history.key, (), text)
    if expected.notifications is not None:
        numbers = {
            sum(has(one.group, expected.group, partly=True) for one in alarms(run)) for run in history.runs.values()
        }
        found_range = min(numbers, default=0), max(numbers, default=0)
        if found_range != expected.notifications:
            text = f"expected {range_text(*expected.notifications)} notifications, not {range_text(*found_range)}"
            yield Disagreement(history.key, (), text)


def range_text(least: int, most: int) -> str:
    """`3`, or `3-6`."""
    return str(least) if least == most else f"{least}-{most}"


def differing(found: Mapping[Variant, str | None]) -> str:
    """Which variants give which state."""
    by_state: dict[str | None, list[Variant]] = {}
    for variant, state in found.items():
        by_state.setdefault(state, []).append(variant)
    return "; ".join(f"{NAMES[state]} with {variants[0]}" for state, variants in by_state.items())


def has(group: Group, tags: Mapping[str, str], partly: bool = False) -> bool:
    """Whether a group has all these tags; `partly`, of those that it has at all."""
    own = dict(group)
    return all(own.get(key) == value or (partly and key not in own) for key, value in tags.items())


def clock(seconds: float) -> str:
    """Seconds as a test file has them.

    >>> clock(5400), clock(90), clock(0)
    ('1h30m', '1m30s', '0m')
    """
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    parts = [f"{number}{unit}" for number, unit in ((hours, "h"), (minutes, "m"), (rest, "s")) if number]
    return "".join(parts) or "0m"


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "nobody"


def _either(texts: Iterable[str]) -> str:
    return " or ".join(sorted(texts))
