"""Runs of the check on a user's own instances: what the page is filled with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from ..provision.simulate.observations import Observations
from ..scenarios.record import keep_round
from ..standin.runner import Round
from ..standin.sinks import combined
from .recorded import Recorded

START = 86400
"""What the time of the first run is taken to be. Buckets begin at multiples of their width, and so with it."""
ONE_RUN = (
    "One run has no counts, rates and percentiles: those are what changed between two. Run twice, or save a second "
    "answer and give both files."
)


def record_runs(rounds: Sequence[Round], seconds: float, host: str, *, saved: bool = False) -> Recorded:
    """What the check submitted in some runs, one after the other, on a host.

    `seconds` lie between two of them: rounded to whole ones, at least one, they are the interval of the points. What is
    drawn is the time from the first run to the last, and nothing of the first where there are others: what a run counts
    has come since the one before. `saved` says that answers were read whose times nobody knows.
    """
    interval = max(1, round(seconds))
    counting = max(1, len(rounds) - 1)
    seen = Observations(START, START + counting * interval)
    for number, one in enumerate(rounds):
        # In the bucket of the time since the run before; the first of several is in the one before the start.
        keep_round(one, host, seen, START + interval * (number + counting - len(rounds)))
    return Recorded(
        seen,
        _about(rounds, interval, saved),
        tuple(_sources(rounds)),
        during="these runs",
        interval=interval,
        is_judged=False,
        offset=int(rounds[-1].timestamp) - seen.end,
    )


def _about(rounds: Sequence[Round], interval: int, saved: bool) -> str:
    number = len(rounds)
    if number == 1:
        what = "of one saved answer" if saved else f"in one run of the instances below, at {_moment(rounds[0])} UTC"
        return f"The numbers are what the check submits {what}. {ONE_RUN}"
    points = "There is a point for each but the first, from which the others count."
    if saved:
        what = f"{number} saved answers of one endpoint, taken to be {interval} s apart"
        return f"The numbers are what the check submits of {what}. {points}"
    times = f"{interval} s apart, from {_moment(rounds[0])} to {_moment(rounds[-1])} UTC"
    return f"The numbers are what the check submitted in {number} runs of the instances below, {times}. {points}"


def _moment(one: Round) -> str:
    return datetime.fromtimestamp(one.timestamp, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _sources(rounds: Sequence[Round]) -> Iterator[str]:
    """Each instance, how many series it has, and what went wrong."""
    for run in combined(rounds).runs:
        series = len(run.commit.series) + len(run.commit.distributions)
        told = f"{run.label}: {series} series"
        yield f"{told}, and an error: {' '.join(run.error.split())}" if run.error else told
