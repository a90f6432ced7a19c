"""Whether monitors did what a test expects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .buckets import Group
from .cases import NOT_SIMULATED, QUIET, STATES, ExpectedGroup, MonitorCase
from .observations import Observations
from .reading import Reading
from .simulation import MonitorHistory, Simulator
from .states import OK

DEPENDS = "which depends on what Datadog documents nowhere"
WORDS = {state: word for word, state in STATES.items()}


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Where a monitor did otherwise than expected, or where that can't be told; `group` may be empty."""

    monitor: str
    group: Group
    text: str


def judge(case: MonitorCase, simulator: Simulator) -> list[Disagreement]:
    """Everything that is not as the test expects."""
    found: list[Disagreement] = []
    for key in simulator.monitors:
        expected = case.expect.get(key, case.others)
        if expected:
            history = simulator.history(key)
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
            others = sorted({WORDS[one] for one in found.values()})
            text = f"at {clock(second)} expected {WORDS[state]}, but it is {' or '.join(others)}"
            if state in found.values():
                text += f", {DEPENDS}: {differing(found)}"
            yield Disagreement(history.key, group, text)
    yield from _notified(history, expected)


def _notified(history: MonitorHistory, expected: ExpectedGroup) -> Iterator[Disagreement]:
    told = [
        [one for one in run.notifications if has(one.group, expected.group, partly=True)]
        for run in history.runs.values()
    ]
    if expected.notified is not None:
        found = {tuple(sorted({to for one in sent for to in one.recipients})) for sent in told}
        wanted = tuple(sorted(set(expected.notified)))
        if found != {wanted}:
            yield Disagreement(
                history.key, (), f"expected to notify {_names(wanted)}, but {_either(map(_names, found))}"
            )
    if expected.notifications is not None:
        numbers = {len(sent) for sent in told}
        if numbers != {expected.notifications}:
            text = f"expected {expected.notifications} notifications, but there are {_either(map(str, numbers))}"
            yield Disagreement(history.key, (), text)


def differing(found: Mapping[Reading, str | None]) -> str:
    """Which readings give which state."""
    by_state: dict[str | None, list[Reading]] = {}
    for reading, state in found.items():
        by_state.setdefault(state, []).append(reading)
    return "; ".join(f"{WORDS[state]} with {readings[0]}" for state, readings in by_state.items())


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


def _either(texts: Iterator[str]) -> str:
    return " or ".join(sorted(texts))
