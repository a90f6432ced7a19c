"""Test files: what monitors see over time, and what is expected of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ....errors import DocumentError
from ...standin.sketch import Sketch
from ..document import Node, read_document, suggestion
from ..vocabulary import PREFIX, kind_of
from .notation import UnreadableValues, read_numbers, read_statuses
from .observations import COUNT, DISTRIBUTION, GAUGE, Observations
from .states import ALERT, NO_DATA, OK, WARN

MONOTONIC = "monotonic_count"
KINDS = (GAUGE, COUNT, MONOTONIC, DISTRIBUTION)
STATES = {"ok": OK, "warn": WARN, "alert": ALERT, "no data": NO_DATA, "none": None}
"""What a file calls the states; `none` is a group that there is not."""
QUIET, NOT_SIMULATED, DEPENDING = "quiet", "not simulated", "depends"
WORDS = (QUIET, NOT_SIMULATED, DEPENDING)
EPOCH = 1_767_225_600
"""When test files begin, a Thursday at 00:00 UTC."""
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
NAMED = re.compile(r"(?P<name>[A-Za-z][\w.]*)\s*(?:\{(?P<tags>[^{}]*)\})?")
LONGEST = 14 * 86400


@dataclass(frozen=True, slots=True)
class ExpectedGroup:
    """What is expected of a monitor, for the groups that have all tags of `group`.

    `states` are by the second, `worst` is the most severe one of any of these groups at any time; `notified` is who is
    notified of anything of them, `notifications` how often of something that is wrong, what is repeated left out: least
    and most of all ways in which it may be. None or nothing where that does not matter.
    """

    path: str
    group: Mapping[str, str] = field(default_factory=dict)
    states: Mapping[int, str | None] = field(default_factory=dict)
    worst: str = ""
    notified: tuple[str, ...] | None = None
    notifications: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class MonitorCase:
    """One test of a file: either `seen` or the name of a `scenario`, and what is expected.

    `expect` has one of `WORDS`, or groups; `others` is what monitors must be that it does not name.
    """

    name: str
    path: str
    seen: Observations | None
    scenario: str
    expect: Mapping[str, str | tuple[ExpectedGroup, ...]]
    others: str

    def without_recipients(self) -> MonitorCase:
        """The same test, of which it does not matter who is notified."""
        expect = {
            key: said if isinstance(said, str) else tuple(replace(one, notified=None) for one in said)
            for key, said in self.expect.items()
        }
        return replace(self, expect=expect)


@dataclass(frozen=True, slots=True)
class MonitorCases:
    """A test file; `values` and `routing` are files beside it."""

    file: str
    values: Path | None
    routing: Path | None
    cases: tuple[MonitorCase, ...]

    def fail(self, path: str, problem: str) -> DocumentError:
        """The error about what is at `path`."""
        return Node(self.file, path, None).fail(problem)


def load_cases(path: str | Path, scenarios: Sequence[str] = ()) -> MonitorCases:
    """Read a test file. `scenarios` are the names that it may use. Raises DocumentError."""
    root = read_document(path, "test file")
    entries = root.entries(("values", "routing", "tests"))
    if "tests" not in entries:
        raise root.fail("the key `tests` is missing: a list of what monitors see, and what is expected")
    beside = {name: Path(path).parent / entries[name].text() for name in ("values", "routing") if name in entries}
    cases = tuple(_case(node, scenarios) for node in entries["tests"].each())
    if not cases:
        raise entries["tests"].fail("holds no test")
    return MonitorCases(root.file, beside.get("values"), beside.get("routing"), cases)


def _case(node: Node, scenarios: Sequence[str]) -> MonitorCase:
    entries = node.entries(
        ("name", "scenario", "interval", "repeat", "length", "series", "checks", "events", "expect", "others")
    )
    for key in ("name", "expect"):
        if key not in entries:
            raise node.fail(f"the key `{key}` is missing")
    seen, scenario = None, ""
    if "scenario" in entries:
        scenario = entries["scenario"].text()
        if scenario not in scenarios:
            raise entries["scenario"].fail(f"there is no scenario `{scenario}`; {suggestion(scenario, scenarios)}")
        for key in ("interval", "repeat", "length", "series", "checks", "events"):
            if key in entries:
                raise entries[key].fail("a scenario brings this along: leave it out")
    else:
        seen = _observations(node, entries)
    others = entries["others"].choice((QUIET,)) if "others" in entries else ""
    expect = {key: _expected(item) for key, item in entries["expect"].items()}
    return MonitorCase(entries["name"].text(), node.path, seen, scenario, expect, others)


def _observations(node: Node, entries: Mapping[str, Node]) -> Observations:
    interval = _duration(entries["interval"]) if "interval" in entries else 15
    if interval < 1:
        raise entries["interval"].fail("must be at least 1s")
    seen = Observations(EPOCH, EPOCH)
    given = [key for key in ("series", "checks", "events") if key in entries]
    if not given:
        raise node.fail("names nothing that a monitor could see: write `series`, `checks`, `events` or `scenario`")
    for item in entries["series"].each() if "series" in entries else ():
        _series(item, seen, interval)
    for item in entries["checks"].each() if "checks" in entries else ():
        _check(item, seen, interval)
    for item in entries["events"].each() if "events" in entries else ():
        _event(item, seen)
    if "length" in entries:
        seen.end = EPOCH + _duration(entries["length"])
    if "repeat" in entries:
        seen.period = _duration(entries["repeat"])
        if not seen.period or seen.period % 60:
            raise entries["repeat"].fail("must be whole minutes, such as 10m")
    if seen.end <= seen.start:
        raise node.fail("nothing happens: give values, or a `length`")
    if seen.end - seen.start > LONGEST:
        raise node.fail("is longer than 14 days: use fewer values, or `repeat` for what came before")
    return seen


def _series(node: Node, seen: Observations, interval: int) -> None:
    entries = node.entries(("series", "values", "type", "weight"))
    name, tags = _named(node, entries, "series")
    if name.startswith(PREFIX) and kind_of(name) is None:
        raise entries["series"].fail(f"the check sends no metric `{name}`")
    known = kind_of(name)
    if "type" in entries:
        kind = entries["type"].choice(KINDS)
        if known is not None and kind.removeprefix("monotonic_") != known:
            raise entries["type"].fail(f"`{name}` is a {known}")
    elif known is None:
        raise node.fail(f"what `{name}` is is not known: write `type`, one of {', '.join(KINDS)}")
    else:
        kind = known
    weight = entries["weight"].integer(1, 1_000_000) if "weight" in entries else 1
    if "weight" in entries and kind != DISTRIBUTION:
        raise entries["weight"].fail("is how many observations each value stands for: of a distribution only")
    numbers = _read(entries, read_numbers)
    before: float | None = None
    for at, number in enumerate(numbers):
        time = EPOCH + at * interval
        seen.end = max(seen.end, time + interval)
        if number is None:
            continue
        if kind == MONOTONIC:
            # The first value is only remembered, and after a reset counting begins anew.
            if before is not None and number >= before:
                seen.point(name, COUNT, tags, time, number - before)
            before = number
        elif kind == DISTRIBUTION:
            sketch = Sketch()
            sketch.insert_bucket(number, number, weight)
            seen.point(name, kind, tags, time, sketch)
        else:
            seen.point(name, kind, tags, time, number)


def _check(node: Node, seen: Observations, interval: int) -> None:
    entries = node.entries(("check", "values"))
    name, tags = _named(node, entries, "check")
    for at, status in enumerate(_read(entries, read_statuses)):
        time = EPOCH + at * interval
        seen.end = max(seen.end, time + interval)
        if status is not None:
            seen.status(name, tags, time, status)


def _event(node: Node, seen: Observations) -> None:
    entries = node.entries(("at", "title", "tags", "source"))
    for key in ("at", "title"):
        if key not in entries:
            raise node.fail(f"the key `{key}` is missing")
    time = EPOCH + _duration(entries["at"])
    seen.end = max(seen.end, time + 60)
    fields = {"source": entries["source"].text()} if "source" in entries else {}
    tags = entries["tags"].texts() if "tags" in entries else ()
    seen.event(entries["title"].text(), tags, time, **fields)


def _named(node: Node, entries: Mapping[str, Node], key: str) -> tuple[str, list[str]]:
    """A name with tags in braces, as in `metric{key:value,key:value}`."""
    for needed in (key, "values"):
        if needed not in entries:
            raise node.fail(f"the key `{needed}` is missing")
    text = entries[key].text().strip()
    found = NAMED.fullmatch(text)
    tags = [tag.strip() for tag in (found["tags"] or "").split(",") if tag.strip()] if found else []
    if found is None or not all(re.fullmatch(r"[^\s:,=\"]+:\S+", tag) for tag in tags):
        raise entries[key].fail(
            f"`{text}` is no series: write the name and its tags, as in `name{{key:value,key:value}}`"
        )
    return found["name"], tags


def _read(entries: Mapping[str, Node], read: Any) -> Any:
    node = entries["values"]
    text = str(node.value) if isinstance(node.value, int | float) and not isinstance(node.value, bool) else node.text()
    try:
        return read(text)
    except UnreadableValues as error:
        raise node.fail(str(error)) from None


def _duration(node: Node) -> int:
    """`90s`, `12m`, `1h30m`, as seconds."""
    if node.value == 0 and not isinstance(node.value, bool):
        return 0
    text = node.value if isinstance(node.value, str) else ""
    if not re.fullmatch(r"(?:\d{1,9}[smhdw])+", text):
        raise node.fail(f"must be a duration such as 90s, 12m or 1h30m, not `{node.value}`")
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)([smhdw])", text))


def _expected(node: Node) -> str | tuple[ExpectedGroup, ...]:
    if isinstance(node.value, str):
        return str(node.choice(WORDS))
    items = node.each() if isinstance(node.value, list) else [node]
    return tuple(_group(item) for item in items)


def _group(node: Node) -> ExpectedGroup:
    entries = node.entries(("group", "states", "worst", "notified", "notifications"))
    states: dict[int, str | None] = {}
    for key, item in entries["states"].items() if "states" in entries else ():
        states[_duration(Node(node.file, item.path, key))] = STATES[item.choice(STATES)]
    group = {key: item.text() for key, item in entries["group"].items()} if "group" in entries else {}
    return ExpectedGroup(
        node.path,
        group,
        states,
        worst=STATES[entries["worst"].choice(STATES)] or "" if "worst" in entries else "",
        notified=tuple(entries["notified"].texts()) if "notified" in entries else None,
        notifications=_range(entries["notifications"]) if "notifications" in entries else None,
    )


def _range(node: Node) -> tuple[int, int]:
    """A number, or two of them as in `3-6`."""
    if isinstance(node.value, str) and (found := re.fullmatch(r"(\d{1,6})-(\d{1,6})", node.value)):
        return int(found[1]), int(found[2])
    number = node.integer(0, 999_999)
    return number, number
