"""What tests of monitors tell: states over time, who is notified, and whether it is as expected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from .buckets import Group
from .cases import MonitorCase
from .judge import DEPENDS, NAMES, Disagreement, clock
from .simulation import MonitorHistory, MonitorRun, Simulator


@dataclass(frozen=True, slots=True)
class CaseReport:
    """One test, the simulation of its monitors and what is not as expected."""

    file: str
    case: MonitorCase
    simulator: Simulator
    disagreements: tuple[Disagreement, ...]

    @property
    def told(self) -> list[MonitorHistory]:
        """The monitors that the test names, and those that did something."""
        return [
            history
            for history in self.simulator.all()
            if history.key in self.case.expect
            or (is_loud(history) and not self.simulator.is_silent_part(history))
            or (history.not_simulated and self.case.others)
        ]


def is_loud(history: MonitorHistory) -> bool:
    """Whether any group is anything but OK under some variant, or anybody is notified."""
    changes = (change for run in history.runs.values() for change in run.changes)
    return any(NAMES[change.after] != "ok" for change in changes)


def case_text(report: CaseReport) -> Text:
    """One test, for a person."""
    text = Text()
    text.append(f"{report.case.name}", style="bold")
    text.append(f"  ({report.file})\n", style="dim")
    for history in report.told:
        _monitor(text, report, history)
    quiet = len(report.simulator.monitors) - len(report.told)
    text.append(f"  {quiet} other monitors stay OK or have no group.\n" if quiet else "")
    for one in report.disagreements:
        text.append("  differs: ", style="red")
        text.append(f"{one.monitor}{_in_braces(one.group)}: {one.text}\n")
    text.append("\n")
    return text


def summary_text(reports: list[CaseReport]) -> Text:
    """How many tests are as expected."""
    wrong = sum(bool(report.disagreements) for report in reports)
    return Text(f"{len(reports) - wrong} of {len(reports)} tests are as expected.\n", style="bold")


def cases_json(reports: list[CaseReport]) -> list[dict[str, Any]]:
    """The same, for programs. Times are seconds since the start of the test."""
    return [
        {
            "file": report.file,
            "test": report.case.name,
            "as_expected": not report.disagreements,
            "monitors": [_monitor_json(history, report.simulator.seen.start) for history in report.told],
            "disagreements": [
                {"monitor": one.monitor, "group": dict(one.group), "text": one.text} for one in report.disagreements
            ],
        }
        for report in reports
    ]


def _monitor(text: Text, report: CaseReport, history: MonitorHistory) -> None:
    if history.not_simulated:
        text.append(f"  {history.key}: ")
        text.append("not simulated", style="yellow")
        text.append(f": {history.not_simulated}\n")
        return
    start = report.simulator.seen.start
    for group in history.groups or [()]:
        text.append(f"  {history.key}{_in_braces(group)}: {_story(history, group, start)}\n")
        if len(history.stories(group)) > 1:
            text.append(f"    {DEPENDS.removeprefix('which ')}:\n", style="yellow")
            for story, variants in history.stories(group).items():
                text.append(f"      {' -> '.join(story) or 'no group'} with {variants[0]}")
                text.append(f" and {len(variants) - 1} other variants\n" if len(variants) > 1 else "\n")
    for line in _told(_shown(history), start):
        text.append(f"    {line}\n")
    for reason in sorted(history.inferred) if is_loud(history) else ():
        text.append(f"    rests on no documentation: {reason}\n", style="dim")


def _shown(history: MonitorHistory) -> MonitorRun:
    """The run that stands for all of them."""
    return next(iter(history.runs.values()), MonitorRun((), ()))


def _story(history: MonitorHistory, group: Group, start: float) -> str:
    changes = [change for change in _shown(history).changes if change.group == group]
    return ", ".join(f"{clock(change.time - start)} {change.after}" for change in changes) or "no group"


def _told(run: MonitorRun, start: float) -> Iterator[str]:
    """Notifications: of what is repeated only how often."""
    repeats = 0
    for one in run.notifications:
        if one.repeated:
            repeats += 1
            continue
        whom = ", ".join(one.recipients) or "nobody"
        yield f"{clock(one.time - start)} {one.kind}{_in_braces(one.group)} -> {whom}"
    if repeats:
        yield f"repeated {repeats} times"


def _monitor_json(history: MonitorHistory, start: float) -> dict[str, Any]:
    run = _shown(history)
    groups = [
        {
            "group": dict(group),
            "states": [
                {"at": change.time - start, "state": NAMES[change.after], "value": change.value}
                for change in run.changes
                if change.group == group
            ],
            "depends": [
                {"states": [NAMES[state] for state in story], "variants": [str(one) for one in variants]}
                for story, variants in history.stories(group).items()
            ]
            if len(history.stories(group)) > 1
            else [],
        }
        for group in history.groups
    ]
    sent = [
        {
            "at": one.time - start,
            "kind": one.kind,
            "group": dict(one.group),
            "recipients": list(one.recipients),
            "repeated": one.repeated,
        }
        for one in run.notifications
    ]
    return {
        "monitor": history.key,
        "not_simulated": history.not_simulated,
        "groups": groups,
        "notifications": sent,
        "inferred": sorted(history.inferred),
    }


def _in_braces(group: Group) -> str:
    return "{" + ",".join(f"{key}:{value}" for key, value in group) + "}" if group else ""
