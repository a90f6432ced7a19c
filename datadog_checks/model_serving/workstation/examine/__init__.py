"""What a trial run of an instance tells: systems, signals, what is mapped, cost, monitors, and the configuration.

    whole = combined(rounds)
    for run in whole.runs:
        examination = examine(runner.checks.get(run.instance), run, whole, options, seconds=30)
        show(examination, console, all_=False)
        show_configuration(examination, console)

`examine` reads what the check and the commits of its runs hold, and asks nothing of the network, so it may be called
after the runner was closed. `show` is in `.show`, with `show_configuration`, which need rich.
"""

from .examination import examine
from .model import (
    COUNTED,
    EVENT,
    FOREIGN,
    MISSING,
    Cost,
    Examination,
    MetricCost,
    MonitorState,
    ReadinessState,
    RecognisedSystem,
    SignalState,
    SignalValue,
)
from .successive import SavedAnswer, doubts, saved_answer

__all__ = [
    "COUNTED",
    "EVENT",
    "FOREIGN",
    "MISSING",
    "Cost",
    "Examination",
    "MetricCost",
    "MonitorState",
    "ReadinessState",
    "RecognisedSystem",
    "SavedAnswer",
    "SignalState",
    "SignalValue",
    "doubts",
    "examine",
    "saved_answer",
]
