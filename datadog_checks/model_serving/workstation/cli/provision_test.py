"""`model-serving provision test`: monitors tried offline on what they would see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import click

from ...errors import OptionError
from ..files import json_text
from ..provision.desired import desired
from ..provision.document import suggestion
from ..provision.model import Resource
from ..provision.simulate.cases import MonitorCases, load_cases
from ..provision.simulate.judge import judge
from ..provision.simulate.report import CaseReport, case_text, cases_json, summary_text
from ..provision.simulate.simulation import Simulator
from ..scenarios import MATRIX
from ..scenarios.record import record
from ..scenarios.script import scripts
from .progress import Tell, progress
from .provision_support import ProvisionOptions, show, values_of, wanted


def run_tests(files: Sequence[Path], only: str, settings: ProvisionOptions, as_json: bool) -> bool:
    """Run the tests of the files, or those that ship, and print what happened. Whether all is as expected."""
    reports: list[CaseReport] = []
    with progress() as tell:
        for file in files or (MATRIX,):
            found = load_cases(file, tuple(scripts()))
            chosen = _settings(found, settings)
            for report in _reports(found, only, wanted(chosen, values_of(chosen)), tell):
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


def _settings(found: MonitorCases, settings: ProvisionOptions) -> ProvisionOptions:
    """What the command names comes before what the file does."""
    return replace(settings, values=settings.values or found.values, routing=settings.routing or found.routing)


def _reports(found: MonitorCases, only: str, resources: Sequence[Resource], tell: Tell) -> Iterator[CaseReport]:
    monitors = {one.key for one in resources if one.kind == "monitor"}
    # Without a pack there are none of its monitors, which a test can't know.
    known = monitors | {one.key for one in desired(None) if one.kind == "monitor"}
    for case in found.cases:
        for key in case.expect:
            if key not in known:
                hint = suggestion(key, sorted(known))
                raise found.fail(f"{case.path}.expect", f"there is no monitor `{key}`; {hint}")
    chosen = [case for case in found.cases if only in case.name]
    for number, case in enumerate(chosen, 1):
        tell(f"test {number} of {len(chosen)}: {case.name}")
        seen = case.seen or record(scripts()[case.scenario])
        simulator = Simulator(resources, seen)
        yield CaseReport(found.file, case, simulator, tuple(judge(case, simulator)))
