"""Puts together what a trial run of one instance tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..standin.runner import Round, Run
from .model import Examination


def examine(
    check: Any | None, run: Run, round_: Round, options: Mapping[str, Any], *, seconds: float | None
) -> Examination:
    """What a run of an instance tells, or several that `combined` made one.

    `check` is what ran, as `Runner.checks` has it, None where it could not be constructed; `round_` is what `run` is
    part of, `options` is the instance as it was run. `seconds` lie between the first run and the last, None where there
    was but one, of which no increments are known.
    """
    return Examination(run.label, seconds, error=run.error or "", warnings=tuple(run.warnings))
