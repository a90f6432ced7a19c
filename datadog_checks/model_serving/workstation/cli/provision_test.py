"""`model-serving provision test`: monitors tried offline on what they would see."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import click

from ...errors import OptionError
from ...http.redact import printable
from ..files import json_text
from ..provision.desired import chosen_packs, desired, known_packs
from ..provision.document import suggestion
from ..provision.model import Resource
from ..provision.routing import load_routing
from ..provision.simulate.adjustments import Adjustments, assume_scopes, met_note
from ..provision.simulate.cases import MonitorCase, MonitorCases, load_cases
from ..provision.simulate.judge import judge
from ..provision.simulate.report import CaseReport, case_text, cases_json, summary_text
from ..provision.simulate.simulation import Simulator
from ..scenarios import MATRIX
from ..scenarios.record import record
from ..scenarios.script import scripts, series_tags
from .progress import Tell, progress
from .provision_support import ProvisionOptions, show, values_of, wanted

NOTHING_LEFT = "nothing that it expects is left"
NOTHING_SEEN = "no monitor that is chosen sees anything of it"


def run_tests(files: Sequence[Path], only: str, settings: ProvisionOptions, as_json: bool) -> bool:
    """Run the tests of the files, or those that ship, and print what happened. Whether all is as expected."""
    reports: list[CaseReport] = []
    with progress() as tell:
        for file in files or (MATRIX,):
            run = CaseRun(load_cases(file, tuple(scripts())), settings)
            for note in run.notes():
                click.echo(printable(f"Note: {note}"), err=True)
            for report in run.reports(only, tell):
                reports.append(report)
                if not as_json:
                    tell("")
                    show(case_text(report), None)
    if not reports:
        raise OptionError(f"--only: no test has `{only}` in its name")
    if as_json:
        click.echo(json_text(cases_json(reports)), nl=False)
    else:
        show(summary_text(reports), None)
    return not any(report.disagreements for report in reports)


class CaseRun:
    """The tests of one file, on what is wanted by the values and the routing that the command names, or else the file.

    The tests that ship say what the packs do by themselves, also to whoever has something otherwise: they expect
    nothing of monitors that the user leaves out or adds, or narrows to what a scenario has not.
    """

    def __init__(self, found: MonitorCases, settings: ProvisionOptions) -> None:
        self._found = found
        self._ships = Path(found.file) == MATRIX
        self._compares_recipients = not (self._ships and settings.routing)
        self._settings = replace(
            settings, values=settings.values or found.values, routing=settings.routing or found.routing
        )
        self._values = values_of(self._settings)
        self._assumed_values, self._met = assume_scopes(self._values, series_tags())
        self._builtin = {one.key for one in desired(None) if one.kind == "monitor"}

    @cached_property
    def _resources(self) -> list[Resource]:
        return wanted(self._settings, self._values)

    @cached_property
    def _assumed(self) -> list[Resource]:
        """What is wanted, as simulated series need it."""
        return wanted(self._settings, self._assumed_values) if self._met else self._resources

    @cached_property
    def _adjustments(self) -> Adjustments:
        settings, values = self._settings, self._assumed_values
        names = known_packs(settings.packs, values)[0] if settings.packs else None
        routing = load_routing(settings.routing, values.available) if settings.routing else None
        return Adjustments(values, [one.name for one in chosen_packs(names, values)], routing)

    def notes(self) -> Iterator[str]:
        """What holds for all tests of the file."""
        if self._met and any(case.scenario for case in self._found.cases):
            yield met_note(self._met, self._settings.values, "the simulated series of scenarios have no such tags")
        if not self._compares_recipients:
            yield (
                f"Whom {self._settings.routing} notifies is told, and not compared: the tests that ship expect the "
                "recipients of a routing file of their own."
            )

    def reports(self, only: str, tell: Tell) -> Iterator[CaseReport]:
        """What becomes of the tests with a text in their name. Raises DocumentError about a monitor that there is
        not."""
        # Without a pack there are none of its monitors, which a test can't know.
        known = self._builtin | self._monitors
        for case in self._found.cases:
            for key in case.expect:
                if key not in known:
                    hint = suggestion(key, sorted(known))
                    raise self._found.fail(f"{case.path}.expect", f"there is no monitor `{key}`; {hint}")
        chosen = [case for case in self._found.cases if only in case.name]
        for number, case in enumerate(chosen, 1):
            tell(f"test {number} of {len(chosen)}: {case.name}")
            yield self._report(case)

    @cached_property
    def _monitors(self) -> set[str]:
        return {one.key for one in self._assumed if one.kind == "monitor"}

    def _report(self, case: MonitorCase) -> CaseReport:
        left_out = {key: self._adjustments.absence(key) for key in case.expect if key not in self._monitors}
        if case.expect and len(left_out) == len(case.expect):
            return CaseReport(self._found.file, case, None, (), left_out, skipped=NOTHING_LEFT)
        seen = case.seen or record(scripts()[case.scenario])
        simulator = Simulator(self._assumed if case.scenario else self._resources, seen)
        compared = case if self._compares_recipients else case.without_recipients()
        differing = judge(compared, simulator, self._builtin if self._ships else None)
        if self._ships:
            left_out |= self._outside(case, simulator)
        differing = [one for one in differing if one.monitor not in left_out]
        because = {}
        if self._ships:
            because = {one.monitor: self._adjustments.bearing_on(one.monitor) for one in differing}
        skipped = "" if differing else _emptiness(case, simulator, left_out)
        return CaseReport(self._found.file, case, simulator, tuple(differing), left_out, because, skipped)

    def _outside(self, case: MonitorCase, simulator: Simulator) -> dict[str, str]:
        """The monitors whose scope takes nothing of what a test is of, and the scope."""
        found = {}
        for key in case.expect:
            scope = self._adjustments.scope(key) if key in simulator.monitors else ""
            if scope and not simulator.history(key).groups and not simulator.history(key).not_simulated:
                found[key] = f"nothing here is within {scope}"
        return found


def _emptiness(case: MonitorCase, simulator: Simulator, left_out: Collection[str]) -> str:
    """Why nothing of a test is left; empty where something is."""
    if case.expect:
        return NOTHING_LEFT if all(key in left_out for key in case.expect) else ""
    return "" if any(one.groups or one.not_simulated for one in simulator.all()) else NOTHING_SEEN
