"""Write docs/scenarios.md's tables from the tests that ship; with --accept, first write those from what happens.

    .venv/bin/python tools/scenarios.py [--accept]

--accept runs every scenario and takes what the monitors do for what they should do: look at the difference.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from datadog_checks.model_serving.strict_yaml import read_yaml
from datadog_checks.model_serving.workstation.provision.desired import desired
from datadog_checks.model_serving.workstation.provision.mistakes import checked
from datadog_checks.model_serving.workstation.provision.routing import load_routing
from datadog_checks.model_serving.workstation.provision.simulate.cases import DEPENDING, NOT_SIMULATED, QUIET
from datadog_checks.model_serving.workstation.provision.simulate.judge import NAMES, alarms, range_text, worst_of
from datadog_checks.model_serving.workstation.provision.simulate.report import is_loud
from datadog_checks.model_serving.workstation.provision.simulate.simulation import MonitorHistory, Simulator
from datadog_checks.model_serving.workstation.provision.values import Values
from datadog_checks.model_serving.workstation.scenarios import MATRIX
from datadog_checks.model_serving.workstation.scenarios.record import record
from datadog_checks.model_serving.workstation.scenarios.script import scripts

PAGE = Path(__file__).parents[1] / "docs" / "scenarios.md"
BEGIN, END = "<!-- scenarios: begin -->", "<!-- scenarios: end -->"
HEADER = """\
# What every shipped monitor does in every scenario, as `model-serving provision test` holds it. Monitors that are not
# named stay OK, or have no group. After a change that is meant: tools/scenarios.py --accept, then look at the diff.
"""


def main(arguments: list[str]) -> None:
    if arguments == ["--accept"]:
        MATRIX.write_text(HEADER + yaml.safe_dump(accepted(), sort_keys=False, allow_unicode=True, width=120))
    elif arguments:
        sys.exit(__doc__)
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def accepted() -> dict[str, Any]:
    """The tests, as everything is now."""
    resources = checked(desired(None, None, load_routing(MATRIX.with_name("routing.yaml"))))
    tests = []
    for name, script in scripts().items():
        simulator = Simulator(resources, record(script))
        expect = {
            history.key: said
            for history in simulator.all()
            if (said := says(history)) != QUIET and not simulator.is_silent_part(history)
        }
        tests.append({"name": name, "scenario": name, "others": QUIET, "expect": expect})
        print(f"{name}: {len(expect)} of {len(simulator.monitors)} monitors are not quiet")
    return {"routing": "routing.yaml", "tests": tests}


def says(history: MonitorHistory) -> str | dict[str, Any]:
    """What a monitor does, as a test states it."""
    if history.not_simulated:
        return NOT_SIMULATED
    if not is_loud(history):
        return QUIET
    worst = {worst_of(run, history.groups) for run in history.runs.values()}
    if len(worst) > 1:
        return DEPENDING
    found: dict[str, Any] = {"worst": NAMES[worst.pop()]}
    told = {tuple(sorted({to for one in run.notifications for to in one.recipients})) for run in history.runs.values()}
    numbers = {len(alarms(run)) for run in history.runs.values()}
    if len(told) == 1:
        found["notified"] = list(told.pop())
    number = range_text(min(numbers), max(numbers))
    found["notifications"] = int(number) if number.isdigit() else number
    return found


def page(text: str) -> str:
    """The page with its tables as the tests are now."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{tables()}\n{END}{tail}"


def tables() -> str:
    """One table of all scenarios, and one for each."""
    tests = read_yaml(MATRIX)["tests"]
    lines = ["| scenario | pages | other notifications | monitors that say something |", "|---|---|---|---|"]
    for test in tests:
        said = {key: one for key, one in test["expect"].items() if isinstance(one, dict)}
        pages = count(said.values(), True)
        others = count(said.values(), False)
        lines.append(f"| [{test['name']}](#{anchor(test['name'])}) | {pages} | {others} | {len(said)} |")
    for test in tests:
        lines += ["", f"### {test['name']}", "", scripts()[test["name"]].what, ""]
        rows = [row(key, one) for key, one in test["expect"].items()]
        lines += (
            ["| monitor | at worst | who hears of it | how often |", "|---|---|---|---|", *rows]
            if rows
            else ["No monitor leaves OK."]
        )
    return "\n".join(lines)


def row(key: str, said: str | dict[str, Any]) -> str:
    title = f"`{key}` {titles()[key]}"
    if isinstance(said, str):
        return f"| {title} | {said} | | |"
    whom = {"pagerduty-ml": "on call", "slack-ml-alerts": "the chat"}
    notified = ", ".join(whom[one] for one in said.get("notified", ())) or "nobody"
    return f"| {title} | {said['worst']} | {notified} | {said['notifications']} |"


@lru_cache(maxsize=1)
def titles() -> dict[str, str]:
    """What monitors are called, by key."""
    return {one.key: one.body["name"] for one in desired(None, Values(prefix="")) if one.kind == "monitor"}


def count(said: Iterable[dict[str, Any]], pages: bool) -> str:
    """How many notifications there are, of those that page or of the others."""
    mine = [one for one in said if ("pagerduty-ml" in one.get("notified", ())) == pages]
    ends = [[int(number) for number in str(one["notifications"]).split("-")] for one in mine]
    return range_text(sum(each[0] for each in ends), sum(each[-1] for each in ends))


def anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


if __name__ == "__main__":
    main(sys.argv[1:])
