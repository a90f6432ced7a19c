"""What tests of monitors tell: states over time, who is notified, and whether it is as expected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from rich.text import Text

from .buckets import Group
from .cases import MonitorCase
from .judge import DEPENDS, NAMES, Disagreement, clock
from .simulation import MonitorHistory, MonitorRun, Simulator


@dataclass(frozen=True, slots=True)
class CaseReport:
    """One test, the simulation of its monitors and what is not as expected.

    `left_out` are the monitors of which nothing is expected after all, and why. `skipped` says why nothing of the test
    is left, else it is empty; without need for it there is no `simulator`. `because` are the keys of the user's files
    that bear on a monitor which does otherwise.
    """

    file: str
    case: MonitorCase
    simulator: Simulator | None
    disagreements: tuple[Disagreement, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    because: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    skipped: str = ""

    @property
    def told(self) -> list[MonitorHistory]:
        """The monitors that the test names, and those that did something; none where it is skipped."""
        if self.simulator is None or self.skipped:
            return []
        return [
            history
            for history in self.simulator.all()
            if (history.key in self.case.expect and history.key not in self.left_out)
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
    told = report.told
    for history in told:
        _monitor(text, report, history)
    if report.simulator is not None and not report.skipped:
        quiet = len(report.simulator.monitors) - len(told)
        text.append(f"  {quiet} other monitors stay OK or have no group.\n" if quiet else "")
    if report.skipped:
        text.append("  skipped: ", style="yellow")
        text.append(f"{report.skipped}\n")
    for why in dict.fromkeys(report.left_out.values()):
        keys = ", ".join(key for key, own in report.left_out.items() if own == why)
        text.append("  left out: ", style="yellow")
        text.append(f"{keys} ({why})\n")
    for key, differing in groupby(report.disagreements, lambda one: one.monitor):
        for one in differing:
            text.append("  differs: ", style="red")
            text.append(f"{one.monitor}{_in_braces(one.group)}: {one.text}\n")
        for said in report.because.get(key, ()):
            text.append(f"    may follow from {said}\n", style="yellow")
    text.append("\n")
    return text


def summary_text(reports: list[CaseReport]) -> Text:
    """How many tests are as expected."""
    tried = [report for report in reports if not report.skipped]
    wrong = sum(bool(report.disagreements) for report in tried)
    skipped = f"; {len(reports) - len(tried)} skipped" if len(tried) < len(reports) else ""
    return Text(f"{len(tried) - wrong} of {len(tried)} tests are as expected{skipped}.\n", style="bold")


def cases_json(reports: list[CaseReport]) -> list[dict[str, Any]]:
    """The same, for programs. Times are seconds since the start of the test; what is skipped is neither as expected nor
    not."""
    return [
        {
            "file": report.file,
            "test": report.case.name,
            "as_expected": None if report.skipped else not report.disagreements,
            "skipped": report.skipped,
            "left_out": dict(report.left_out),
            "monitors": [_monitor_json(history, _start(report)) for history in report.told],
            "disagreements": [
                {
                    "monitor": one.monitor,
                    "group": dict(one.group),
                    "text": one.text,
                    "because": list(report.because.get(one.monitor, ())),
                }
                for one in report.disagreements
            ],
        }
        for report in reports
    ]


def _start(report: CaseReport) -> float:
    return report.simulator.seen.start if report.simulator is not None else 0


def _monitor(text: Text, report: CaseReport, history: MonitorHistory) -> None:
    if history.not_simulated:
        text.append(f"  {history.key}: ")
        text.append("not simulated", style="yellow")
        text.append(f": {history.not_simulated}\n")
        return
    start = _start(report)
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
