"""Every second scenario of the matrix. Tests run in a process for each file, so that two of them share these."""

from __future__ import annotations

import pytest

from datadog_checks.model_serving.workstation.provision.simulate.cases import MonitorCase

from .test_matrix import CASES, differences


@pytest.mark.parametrize("case", CASES.cases[::2], ids=[case.name for case in CASES.cases[::2]])
def test_monitors_do_what_the_file_says(case: MonitorCase) -> None:
    assert differences(case) == []
