"""`model-serving provision test`: monitors tried offline on what they would see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from ..files import json_text
from ..provision.document import suggestion
from ..provision.model import Resource
from ..provision.simulate.cases import MonitorCases, load_cases
from ..provision.simulate.judge import judge
from ..provision.simulate.report import CaseReport, cases_json, cases_text
from ..provision.simulate.simulation import Simulator
from .provision_support import ProvisionOptions, show, wanted


def run_tests(files: Sequence[Path], settings: ProvisionOptions, as_json: bool) -> bool:
    """Run the tests of the files and print what happened. Whether all is as expected."""
    reports: list[CaseReport] = []
    for file in files:
        found = load_cases(file)
        reports += _reports(found, wanted(_settings(found, settings)))
    if as_json:
        click.echo(json_text(cases_json(reports)), nl=False)
    else:
        show(cases_text(reports), None)
    return not any(report.disagreements for report in reports)


def _settings(found: MonitorCases, settings: ProvisionOptions) -> ProvisionOptions:
    """What the command names comes before what the file does."""
    return replace(settings, values=settings.values or found.values, routing=settings.routing or found.routing)


def _reports(found: MonitorCases, resources: Sequence[Resource]) -> list[CaseReport]:
    monitors = {one.key for one in resources if one.kind == "monitor"}
    reports = []
    for case in found.cases:
        for key in case.expect:
            if key not in monitors:
                raise found.fail(
                    f"{case.path}.expect", f"there is no monitor `{key}`; {suggestion(key, sorted(monitors))}"
                )
        assert case.seen is not None
        simulator = Simulator(resources, case.seen)
        reports.append(CaseReport(found.file, case, simulator, tuple(judge(case, simulator))))
    return reports
