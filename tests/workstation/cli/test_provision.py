"""`model-serving provision` as a user runs it, with the real packs, against the stand-in of the Datadog API."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from datadog_checks.model_serving.workstation.cli import provision_support
from datadog_checks.model_serving.workstation.cli.root import root
from datadog_checks.model_serving.workstation.provision.api import Client
from datadog_checks.model_serving.workstation.provision.desired import desired
from datadog_checks.model_serving.workstation.provision.state import metric_of

from ..provision.resources import numbers
from ..provision.standin import Fault, Standin
from ..provision.standin.faults import Call
from ..provision.test_routing import scope_holds
from .conftest import ROOT, on_a_terminal

WRITES = ("POST", "PUT", "PATCH", "DELETE")
EMPTY = {"percentiles": 0, "slo": 0, "monitor": 0, "dashboard": 0, "notification_rule": 0, "downtime": 0}
PACK = ("--pack", "slo", "--pack", "gpu")
PLAN = ("plan", "--detailed-exitcode")
ROUTING = """receiver: default
routes:
  - {match: {severity: critical}, receiver: pager, continue: true}
  - {match: {team: [ml-platform, ml-engineering]}, receiver: team}
receivers:
  default: {to: [ml@example.com]}
  pager: {to: [pagerduty-ml]}
  team: {to: [slack-ml], send_resolved: false}
"""


def environment(dd: Standin | None) -> dict[str, str]:
    """What the user's shell sets; nothing of Datadog's without an account."""
    clean = dict.fromkeys(("DD_API_KEY", "DD_APP_KEY", "DD_SITE", "MODEL_SERVING_DATADOG_URL"), "")
    if dd is None:
        return clean
    return {**clean, "DD_API_KEY": dd.api_key, "DD_APP_KEY": dd.app_key, "MODEL_SERVING_DATADOG_URL": dd.url}


def run(dd: Standin | None, *arguments: str) -> Result:
    """The command in this process. It never ends with a traceback."""
    done = CliRunner(env=environment(dd)).invoke(root, ["provision", *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def is_write(call: Call) -> bool:
    return call.method in WRITES and not call.path.endswith("/validate")


def test_a_life(dd: Standin) -> None:
    """Everything there is, from an empty account to an empty account."""
    dd.state.add_foreign_monitors(20)
    resources = desired(None)
    before = json.dumps(dd.state.monitors)
    assert run(dd, "plan").exit_code == 0
    planned = run(dd, *PLAN)
    assert planned.exit_code == 3
    assert f"Plan: {len(resources)} to create.\n" in planned.output
    assert not any(is_write(call) for call in dd.calls)
    applied = run(dd, "apply", "--yes")
    assert applied.exit_code == 0, applied.output
    assert f"Done: {len(resources)} created.\n" in applied.output
    for command in (PLAN, ("apply",), ("validate",)):
        dd.forget()
        again = run(dd, *command)
        assert again.exit_code == 0, again.output
        assert not any(is_write(call) for call in dd.calls)
    monitors = sum(resource.kind == "monitor" for resource in resources)
    assert again.output == f"{monitors} of {monitors} monitors are valid.\n"
    destroyed = run(dd, "destroy", "--yes")
    assert destroyed.exit_code == 0, destroyed.output
    percentiles = sum(resource.kind == "percentiles" for resource in resources)
    assert numbers(dd) == {**EMPTY, "percentiles": percentiles, "monitor": 20}
    assert json.dumps(dd.state.monitors) == before
    assert run(dd, "destroy").output == "Nothing there, nothing to do.\n"


def test_offline_needs_neither_keys_nor_network(tmp_path: Path) -> None:
    out = tmp_path / "plan.json"
    done = run(None, *PLAN, "--offline", "--out", str(out), *PACK)
    assert done.exit_code == 3, done.output
    plan = json.loads(out.read_text(encoding="utf-8"))
    chosen = desired(["slo", "gpu"])
    assert plan["site"] is None
    assert {step["address"] for step in plan["steps"]} == {resource.address for resource in chosen}
    assert {step["action"] for step in plan["steps"]} == {"create"}


def test_values_change_what_is_there(dd: Standin, tmp_path: Path) -> None:
    assert run(dd, "apply", "--yes", "--pack", "golden_signals").exit_code == 0
    ids = set(dd.state.monitors)
    values = tmp_path / "values.yaml"
    values.write_text("monitors:\n  latency.p99: {thresholds: {critical: 3}}\n", encoding="utf-8")
    planned = run(dd, *PLAN, "--values", str(values), "--pack", "golden_signals")
    assert planned.exit_code == 3
    assert "options.thresholds.critical: 2 -> 3" in planned.output
    changed = re.findall(r"~ (\S+)", planned.output)
    assert {"monitor:latency.p99", "dashboard:overview"} <= set(changed), "the monitor, and its marker in a graph"
    assert all(address.startswith(("monitor:latency.p99", "dashboard:")) for address in changed)
    assert run(dd, "apply", "--yes", "--values", str(values), "--pack", "golden_signals").exit_code == 0
    assert set(dd.state.monitors) == ids


def test_packs_left_out_of_the_values_are_orphans_until_they_are_pruned(dd: Standin, tmp_path: Path) -> None:
    assert run(dd, "apply", "--yes", *PACK).exit_code == 0
    values = tmp_path / "values.yaml"
    values.write_text("packs: [gpu]\n", encoding="utf-8")
    options = ("--values", str(values))
    left = run(dd, *PLAN, *options)
    assert left.exit_code == 0
    assert "? slo:availability" in left.output
    pruned = run(dd, "apply", "--yes", "--prune", *options)
    assert pruned.exit_code == 0, pruned.output
    assert dd.state.slos == {}
    assert "orphaned" not in run(dd, "plan", *options).output


@pytest.mark.parametrize("options", [("--pack", "cost"), ("--system", "vllm"), ("--pack", "llm", "--system", "vllm")])
def test_what_is_restricted_for_once_says_nothing_of_the_rest(dd: Standin, tmp_path: Path, options: list[str]) -> None:
    """Neither in a plan nor in one that was saved."""
    assert run(dd, "apply", "--yes", *PACK, "--pack", "cost").exit_code == 0
    before = numbers(dd)
    planned = run(dd, "plan", "--prune", *options)
    assert planned.exit_code == 0, planned.output
    assert "to delete" not in planned.output
    assert re.search(
        r"^Left alone: \d+ (dashboard|monitor)s?, .*, since (no pack that|nothing that)", planned.output, re.M
    )
    path = tmp_path / "plan.json"
    run(dd, "plan", "--prune", *options, "--out", str(path))
    applied = run(dd, "apply", str(path), "--yes")
    assert applied.exit_code == 0, applied.output
    assert "deleted" not in applied.output
    assert all(there >= before[kind] for kind, there in numbers(dd).items())


DOWNTIMES = """downtimes:
  nights:
    tags: [pack:gpu]
    starts: 2026-01-05T20:00
    lasts: 10h
    repeats: daily
    timezone: Europe/Berlin
  move: {starts: 2126-01-16T22:00, lasts: 6h}
  past: {starts: 2026-01-16T22:00, lasts: 6h}
"""


def test_downtimes_are_reviewed_planned_and_canceled(dd: Standin, tmp_path: Path) -> None:
    values, saved = tmp_path / "values.yaml", tmp_path / "plan.json"
    values.write_text(DOWNTIMES, encoding="utf-8")
    options = ("--values", str(values), "--pack", "gpu")
    planned = run(dd, "plan", *options, "--out", str(saved))
    assert (
        "+ downtime:nights  new\n      silences the monitors with pack:gpu\n      daily for 10h, next "
        in planned.output
    )
    assert "silences all monitors\n      once, Wed 16 Jan 2126 22:00 to Thu 17 Jan 2126 04:00 (UTC)\n" in planned.output
    assert "1 over.\n" in planned.output
    assert run(dd, "apply", str(saved), "--yes").exit_code == 0
    assert numbers(dd)["downtime"] == 2
    assert run(dd, *PLAN, *options).exit_code == 0
    assert run(dd, "destroy", "--yes", "--pack", "gpu").exit_code == 0
    assert (numbers(dd)["monitor"], numbers(dd)["downtime"]) == (0, 2)
    destroyed = run(dd, "destroy", "--yes")
    assert "Done: 2 deleted.\n" in destroyed.output
    assert numbers(dd)["downtime"] == 0
    assert run(dd, "destroy").output == "Nothing there, nothing to do.\n"


def test_a_routing_file_becomes_rules_that_stay(dd: Standin, tmp_path: Path) -> None:
    routing = tmp_path / "routing.yaml"
    routing.write_text(
        "as: rules\nreceiver: mail\nroutes:\n  - {match: {severity: critical}, receiver: pager}\n"
        "receivers:\n  mail: {to: [ml@example.com]}\n  pager: {to: [pagerduty-ml]}\n"
    )
    options = ("--routing", str(routing), "--pack", "gpu")
    assert run(dd, "apply", "--yes", *options).exit_code == 0
    names = {rule["attributes"]["name"].partition(":")[0] for rule in dd.state.rules.values()}
    assert names == {"model-serving mail", "model-serving pager"}
    assert run(dd, *PLAN, *options).exit_code == 0
    routing.write_text(routing.read_text(encoding="utf-8").replace("pagerduty-ml", "slack-ml"))
    changed = run(dd, *PLAN, *options)
    assert changed.exit_code == 3
    assert "recipients: -pagerduty-ml +slack-ml" in changed.output


def test_without_a_routing_file_rules_are_left_alone(dd: Standin, tmp_path: Path) -> None:
    """As where somebody takes away twins; a routing file that no longer has them, and destroy, take them away."""
    routing = tmp_path / "routing.yaml"
    routing.write_text(ROUTING, encoding="utf-8")
    assert run(dd, "apply", "--yes", "--pack", "cost", "--routing", str(routing)).exit_code == 0
    for prune in ([], ["--prune"]):
        done = run(dd, "apply", "--yes", *prune, "--pack", "cost", "--pack", "versions")
        assert done.exit_code == 0, done.output
        assert "Left alone: 3 notification rules, since no --routing says whether they are wanted.\n" in done.output
        assert "Nobody hears of these monitors" not in done.output
        assert len(dd.state.rules) == 3
    routing.write_text("as: handles\nreceiver: mail\nreceivers: {mail: {to: [ml@example.com]}}\n", encoding="utf-8")
    done = run(dd, "apply", "--yes", "--prune", "--pack", "cost", "--routing", str(routing))
    assert done.exit_code == 0, done.output
    assert dd.state.rules == {}


MISTAKES: list[tuple[str, list[str], str]] = [
    ("an unknown option", ["plan", "--bogus"], "No such option"),
    ("an unknown command", ["aply"], "No such command 'aply'"),
    ("a value out of range", ["plan", "--parallel", "0"], "Invalid value for '--parallel'"),
    ("no keys", ["plan"], "no API key: set DD_API_KEY, or give --api-key-file FILE"),
    ("no such file", ["plan", "--api-key-file", "nope"], "--api-key-file nope: can't be read"),
    ("a site that is none", ["plan", "--site", "app.datadoghq.eu"], "did you mean datadoghq.eu?"),
    ("no such values file", ["plan", "--offline", "--values", "nope.yaml"], "nope.yaml"),
    ("no such routing file", ["plan", "--offline", "--routing", "nope.yaml"], "nope.yaml"),
    ("standard output", ["plan", "--offline", "--out", "-"], "standard output is for what people read: name a file"),
    ("no such folder", ["plan", "--out", "/nope/x.json"], "there is no folder /nope: make it first"),
    ("a page in no folder", ["preview", "--out", "/nope/x.html"], "there is no folder /nope: make it first"),
    ("an unknown pack", ["plan", "--offline", "--pack", "golden_signal"], "golden_signals"),
]


@pytest.mark.parametrize(("arguments", "words"), [case[1:] for case in MISTAKES], ids=[case[0] for case in MISTAKES])
def test_a_mistake_is_one_message_and_status_2(arguments: list[str], words: str) -> None:
    done = run(None, *arguments)
    assert done.exit_code == 2
    assert words in done.output


def test_a_plan_that_can_not_be_written_is_a_failure(tmp_path: Path) -> None:
    done = run(None, "plan", "--offline", "--out", str(tmp_path))
    assert done.exit_code == 1
    assert f"{tmp_path}: can't be written: Is a directory" in done.output


def test_without_a_command_the_help_is_shown(dd: Standin) -> None:
    done = run(None)
    assert done.exit_code == 2
    assert "Commands:\n  apply" in done.output


@pytest.mark.parametrize("name", ["plan", "apply", "destroy", "export", "validate"])
def test_every_command_explains_itself_with_examples(name: str) -> None:
    done = run(None, name, "--help")
    assert done.exit_code == 0
    assert f"model-serving provision {name}" in done.output
    assert "api-url" not in done.output


def test_keys_are_read_from_files(dd: Standin, tmp_path: Path) -> None:
    for name, key in (("api", dd.api_key), ("app", dd.app_key)):
        (tmp_path / name).write_text(f"{key}\n", encoding="utf-8")
    files = ("--api-key-file", str(tmp_path / "api"), "--app-key-file", str(tmp_path / "app"))
    done = CliRunner(env={**environment(None), "MODEL_SERVING_DATADOG_URL": dd.url}).invoke(
        root, ["provision", *PLAN, *files]
    )
    assert done.exit_code == 3, done.output


def test_missing_permissions_are_named_before_anything_is_read(dd: Standin) -> None:
    dd.policy.missing_permissions = {"slos_write", "monitor_config_policy_write"}
    assert run(dd, *PLAN, *PACK).exit_code == 3, "a plan only reads"
    dd.forget()
    done = run(dd, "apply", "--yes", *PACK)
    assert done.exit_code == 1
    assert "lacks the permission slos_write." in done.output
    assert dd.count("ListMonitors") == 0


def scopes_of_the_page(*columns: int) -> set[str]:
    """The scopes in some columns of the table in docs/provisioning.md."""
    page = (ROOT / "docs" / "provisioning.md").read_text(encoding="utf-8")
    table = page.partition("<!-- scopes: ")[2].partition("<!-- end -->")[0]
    rows = [line.split("|") for line in table.splitlines() if "`" in line]
    return {row[column].strip(" `") for row in rows for column in columns}


def test_the_scopes_of_the_page_are_enough_and_all_needed(dd: Standin, tmp_path: Path) -> None:
    routing = tmp_path / "routing.yaml"
    routing.write_text("as: rules\nreceiver: mail\nreceivers:\n  mail: {to: [ml@example.com]}\n", encoding="utf-8")
    values = tmp_path / "values.yaml"
    values.write_text(DOWNTIMES, encoding="utf-8")
    options = ("--routing", str(routing), "--values", str(values), *PACK)
    needed = scopes_of_the_page(2, 3)
    for missing in sorted(needed):
        dd.policy.scopes = {"user_app_keys", *needed} - {missing}
        done = run(dd, "apply", "--yes", *options)
        assert done.exit_code == 1
        assert f"limited to scopes that lack the permission {missing}." in done.output
    dd.policy.scopes = needed
    assert run(dd, "apply", "--yes", *options).exit_code == 0
    dd.policy.scopes = scopes_of_the_page(2)
    assert run(dd, "plan", *options).exit_code == 0
    assert run(dd, "validate").exit_code == 0
    dd.policy.scopes = needed
    assert run(dd, "destroy", "--yes").exit_code == 0


def test_a_conflict_is_a_failure_that_says_what_to_do(dd: Standin, tmp_path: Path) -> None:
    """Whether this is a new stack, or the one without a name that got one and more, nobody but the user knows."""
    assert run(dd, "apply", "--yes", *PACK).exit_code == 0
    there = numbers(dd)
    values = tmp_path / "values.yaml"
    values.write_text("stack: b\nprefix: '[b] '\n", encoding="utf-8")
    options = ("--values", str(values), *PACK)
    for command in (("plan",), ("apply", "--yes")):
        done = run(dd, *command, *options)
        assert done.exit_code == 1
        assert "add --move-from none; if this stack is a new one beside that, add --new-stack" in done.output
    assert numbers(dd) == there
    moved = run(dd, *PLAN, "--move-from", "none", *options)
    assert moved.exit_code == 3
    assert "moves here from the stack without a name" in moved.output
    assert run(dd, "apply", "--yes", "--new-stack", *options).exit_code == 0
    assert numbers(dd)["monitor"] == 2 * there["monitor"]
    assert run(dd, *PLAN, *options).exit_code == 0
    assert run(dd, *PLAN, *PACK).exit_code == 0


def test_another_name_of_a_stack_leads_to_its_move(dd: Standin, tmp_path: Path) -> None:
    """It can be a new stack, which would notify once more; what there is to do instead is said."""
    values = tmp_path / "values.yaml"
    options = ("--values", str(values), "--pack", "cost")
    values.write_text("stack: b\n", encoding="utf-8")
    assert run(dd, "apply", "--yes", *options).exit_code == 0
    values.write_text("stack: c\n", encoding="utf-8")
    assert "if this is what it is called now, add --move-from b" in run(dd, "plan", "--brief", *options).output
    assert "--move-from" not in run(dd, "plan", *options, "--move-from", "b").output
    values.write_text("stack: c\nprefix: '[c] '\n", encoding="utf-8")
    assert "--move-from" not in run(dd, "plan", *options).output


def test_a_move_from_a_stack_that_is_not_there_does_nothing(dd: Standin, tmp_path: Path) -> None:
    """A misspelt name would make everything once more, beside what was meant."""
    values = tmp_path / "values.yaml"
    values.write_text("stack: b\n", encoding="utf-8")
    options = ("--values", str(values), "--pack", "cost")
    assert run(dd, "apply", "--yes", "--pack", "cost").exit_code == 0
    for command in (("plan",), ("apply", "--yes")):
        done = run(dd, *command, *options, "--move-from", "nnone")
        assert done.exit_code == 1
        assert "the stack `nnone` has nothing in this account" in done.output
    assert run(dd, "apply", "--yes", *options, "--move-from", "none").exit_code == 0
    # The option may stay in the command of a job.
    assert "4 unchanged" in run(dd, "plan", *options, "--move-from", "none").output


@pytest.mark.parametrize(
    "options", [("--move-from", "A.b"), ("--move-from", "none"), ("--move-from", "b", "--new-stack")]
)
def test_a_move_that_makes_no_sense_is_a_mistake(dd: Standin, options: tuple[str, ...]) -> None:
    done = run(dd, "plan", *options)
    assert done.exit_code == 2
    assert "--move-from" in done.output


def test_two_teams_share_an_account(dd: Standin, tmp_path: Path) -> None:
    """Each applies, prunes and destroys, with routing, and the other notices nothing."""
    files = {}
    for stack in ("a", "b"):
        values, routing = tmp_path / f"{stack}.yaml", tmp_path / f"{stack}-routing.yaml"
        values.write_text(f"stack: {stack}\nprefix: '[{stack}] '\nscope: 'env:{stack},!region:eu'\n", encoding="utf-8")
        routing.write_text(f"receiver: mail\nreceivers:\n  mail: {{to: [{stack}@example.com]}}\n", encoding="utf-8")
        files[stack] = ("--values", str(values), "--routing", str(routing))
        assert run(dd, "apply", "--yes", *files[stack], *PACK).exit_code == 0
    of_a = json.dumps([one for one in dd.state.monitors.values() if one["name"].startswith("[a]")])
    shown = run(dd, "plan", *files["b"], *PACK)
    assert "seen of the stack `a`: 1 dashboard, 1 notification rule" in shown.output
    for rule in dd.state.rules.values():
        (owner,) = re.findall(r"managed_by:(\S+) AND", rule["attributes"]["filter"]["scope"])
        routed = [one["name"][:3] for one in dd.state.monitors.values() if f"managed_by:{owner}" in one["tags"]]
        assert set(routed) == {f"[{owner.rpartition('.')[2]}]"}
    with Path(files["b"][1]).open("a", encoding="utf-8") as file:
        file.write("packs: [gpu]\n")
    assert run(dd, "apply", "--yes", "--prune", *files["b"]).exit_code == 0
    assert {one["name"] for one in dd.state.slos.values()} == {"[a] Availability", "[a] Latency"}
    assert run(dd, "destroy", "--yes", "--values", files["b"][1]).exit_code == 0
    assert json.dumps(list(dd.state.monitors.values())) == of_a
    assert run(dd, *PLAN, *files["a"], *PACK).exit_code == 0


def test_destroy_takes_a_pack_and_has_a_limit(dd: Standin, tmp_path: Path) -> None:
    assert run(dd, "apply", "--yes", *PACK).exit_code == 0
    whole = numbers(dd)
    limited = run(dd, "destroy", "--yes", "--max-deletes", "3")
    assert limited.exit_code == 1
    assert re.search(r"\d+ would be deleted, and --max-deletes allows 3; nothing was changed", limited.output)
    values = tmp_path / "values.yaml"
    values.write_text("packs: [gpu]\n", encoding="utf-8")
    pruned = run(dd, "apply", "--yes", "--prune", "--max-deletes", "0", "--values", str(values))
    assert pruned.exit_code == 1
    assert numbers(dd) == whole
    assert run(dd, "destroy", "--yes", "--pack", "nope").exit_code == 2
    gone = run(dd, "destroy", "--yes", "--pack", "gpu")
    assert gone.exit_code == 0, gone.output
    assert numbers(dd)["slo"] == whole["slo"]
    assert "pack:gpu" not in json.dumps(dd.state.monitors)
    assert run(dd, *PLAN, "--pack", "slo").exit_code == 0


OWN_PACK = """title: Ours
slos:
  uploads:
    title: Uploads
    description: Uploads that did not fail.
    type: metric
    good: sum:model_serving.request.count{*}.as_count() - sum:model_serving.request.error.count{*}.as_count()
    total: sum:model_serving.request.count{*}.as_count()
    target: 99
    timeframe: 30d
monitors:
  uploads.failing:
    title: Uploads fail
    subject: failed uploads
    query: sum(last_1h):sum:model_serving.request.error.count{*} by {endpoint_name}.as_count() > 50
    guards:
      requests: sum(last_1h):sum:model_serving.request.count{*} by {endpoint_name}.as_count() >= 100
    severity: warning
    priority: 3
    look: [Who uploads.]
"""


@pytest.mark.parametrize("by_name", [False, True])
def test_destroy_takes_all_of_a_pack_of_the_users_own(dd: Standin, tmp_path: Path, by_name: bool) -> None:
    """Also the parts of composite monitors, and an SLO, that bear no tag of it."""
    pack, values = tmp_path / "ours.yaml", tmp_path / "values.yaml"
    pack.write_text(OWN_PACK, encoding="utf-8")
    values.write_text("packs: [saturation, ./ours.yaml]\n", encoding="utf-8")
    assert run(dd, "apply", "--yes", "--values", str(values)).exit_code == 0
    (slo,) = dd.state.slos.values()
    slo["tags"] = [tag for tag in slo["tags"] if not tag.startswith("pack:")]
    gone = run(dd, "destroy", "--yes", "--pack", "ours" if by_name else str(pack), "--values", str(values))
    assert gone.exit_code == 0, gone.output
    assert numbers(dd)["slo"] == 0
    assert not [one["name"] for one in dd.state.monitors.values() if "Uploads" in one["name"]]
    assert run(dd, *PLAN, "--pack", "saturation").exit_code == 0, "the other pack is whole"


def test_before_any_data_it_does_not_call_itself_done() -> None:
    """Status 3, and the monitors and SLOs that have nothing to look at; once the metrics are there, all is done."""
    with Standin() as dd:
        options = ("--pack", "golden_signals", "--pack", "slo")
        for _ in range(2):
            done = run(dd, "apply", "--yes", *options)
            assert done.exit_code == 3, done.output
            assert "Done:" not in done.output
            assert "can't work yet" in done.output
            assert "\n  monitor:latency.p99\n" in done.output
            assert "\n  slo:latency\n" in done.output
            assert "monitor:latency.mean\n" not in done.output
        for resource in desired(None):
            if resource.kind == "percentiles":
                dd.state.see(metric_of(resource), "distribution", ["env:prod"])
        done = run(dd, "apply", "--yes", *options)
        assert done.exit_code == 0, done.output
        assert "Done:" in done.output


def test_failures_are_listed_at_the_end_in_the_words_of_the_api(dd: Standin) -> None:
    dd.faults.add(Fault("status", where="CreateSLO", status=400, body={"errors": ["No SLOs on Fridays"]}))
    done = run(dd, "apply", "--yes", "--parallel", "1", *PACK)
    assert done.exit_code == 1
    assert re.search(r"1 failed:\n  slo:\w+: 400: No SLOs on Fridays\n", done.output)
    assert re.search(r"not done:\n(?:  .+\n)*?  \w+:\S+: needs slo:\w+, which failed\n", done.output)
    assert run(dd, "apply", "--yes", *PACK).exit_code == 0


def test_monitors_that_datadog_refuses_are_named(dd: Standin) -> None:
    dd.faults.add(Fault("status", where="ValidateMonitor", status=400, body={"errors": ["The query is invalid"]}))
    done = run(dd, "validate", "--pack", "gpu")
    assert done.exit_code == 3
    assert re.search(r"refused monitor:\S+: 400: The query is invalid\n", done.output)
    assert not any(is_write(call) for call in dd.calls)


@pytest.mark.parametrize("status", [403, 500])
def test_a_monitor_that_could_not_be_checked_is_a_failure(
    dd: Standin, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Client.__init__.__kwdefaults__, "pause", 0.001)
    dd.faults.add(Fault("status", where="ValidateMonitor", times=3, status=status, body={"errors": ["No luck"]}))
    done = run(dd, "validate", "--pack", "gpu", "--parallel", "1")
    assert done.exit_code == 1
    assert re.search(rf"failed monitor:\S+: {status}: No luck\n", done.output)
    assert "not checked." in done.output


def test_the_export_is_whole_bears_no_mark_and_can_be_imported(dd: Standin, tmp_path: Path) -> None:
    done = run(None, "export", str(tmp_path))
    assert done.exit_code == 0, done.output
    files = {
        str(path.relative_to(tmp_path)): path.read_text(encoding="utf-8") for path in sorted(tmp_path.rglob("*.json"))
    }
    terraform = json.loads(files.pop("model_serving.tf.json"))
    resources = desired(None)
    assert len(files) == len(resources)
    assert "managed_by:model-serving" not in "".join(files.values())
    for resource in resources:
        if resource.kind in ("slo", "monitor", "dashboard"):
            assert json.loads(files[f"{resource.kind}s/{resource.key}.json"]) == resource.body
    blocks = terraform["resource"]
    assert sum(len(named) for named in blocks.values()) == len(resources)
    text = json.dumps(terraform)
    for kind, label in re.findall(r"(datadog_\w+)\.([\w-]+)\.id", text):
        assert label in blocks[kind], "a reference leads to a resource of the same configuration"
    assert "datadog_service_level_objective.availability.id" in text
    quoted = [*blocks["datadog_monitor_json"].values(), *blocks["datadog_dashboard_json"].values()]
    read = re.findall(r"\$\{path\.module\}/([\w./-]+\.json)", json.dumps(quoted))
    assert sorted(read) == sorted(name for name in files if name.startswith(("monitors/", "dashboards/")))


def test_an_export_over_another_leaves_nothing_of_it_unsaid(tmp_path: Path) -> None:
    """Rules of an earlier export would be imported, too, and notify whom nobody means any more."""
    routing, out = tmp_path / "routing.yaml", tmp_path / "out"
    routing.write_text(ROUTING, encoding="utf-8")
    export = ("export", str(out), "--pack", "cost")
    for _ in range(2):
        assert run(None, *export, "--routing", str(routing)).exit_code == 0
    (out / "README.md").write_text("Ours.\n", encoding="utf-8")
    before = {path: path.read_bytes() for path in out.rglob("*.*")}
    again = run(None, *export)
    assert again.exit_code == 2
    assert "delete them, or name an empty folder:\n  notification_rules/default.json\n" in again.output
    assert {path: path.read_bytes() for path in out.rglob("*.*")} == before
    for path in (out / "notification_rules").iterdir():
        path.unlink()
    assert run(None, *export).exit_code == 0


@pytest.mark.parametrize("stack", ["", "ml"])
def test_every_exported_rule_matches_an_exported_monitor(tmp_path: Path, stack: str) -> None:
    """Whoever applies the export with Terraform hears of what the routing file says."""
    routing, values = tmp_path / "routing.yaml", tmp_path / "values.yaml"
    routing.write_text(ROUTING, encoding="utf-8")
    values.write_text(f"stack: {stack}\n" if stack else "prefix: 'M '\n", encoding="utf-8")
    out = tmp_path / "out"
    done = run(None, "export", str(out), "--routing", str(routing), "--values", str(values))
    assert done.exit_code == 0, done.output
    tags = [
        dict(tag.split(":", 1) for tag in json.loads(path.read_text(encoding="utf-8"))["tags"])
        for path in (out / "monitors").iterdir()
    ]
    rules = [json.loads(path.read_text(encoding="utf-8")) for path in (out / "notification_rules").iterdir()]
    assert len(rules) == 3
    for rule in rules:
        scope = rule["data"]["attributes"]["filter"]["scope"]
        assert any(scope_holds(scope, one) for one in tags), scope
        assert ("model_serving_stack:ml" in scope) is bool(stack)
    blocks = json.loads((out / "model_serving.tf.json").read_text(encoding="utf-8"))["resource"]
    scopes = {one["filter"]["scope"] for one in blocks["datadog_monitor_notification_rule"].values()}
    assert scopes == {rule["data"]["attributes"]["filter"]["scope"] for rule in rules}
    # Whether a list of tags to hide may be empty is documented nowhere.
    assert all(one["tags"] for one in blocks["datadog_metric_tag_configuration"].values())


@pytest.mark.parametrize("nth", [1, 2, 5, 9, 14])
def test_killed_at_any_write_the_next_run_finishes(dd: Standin, nth: int) -> None:
    whole = [resource.kind for resource in desired(["slo", "gpu"])]
    process = subprocess.Popen(
        [sys.executable, "-m", "datadog_checks.model_serving", "provision", "apply", "--yes", *PACK],
        env={**os.environ, **environment(dd), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    # The server still does the work of the call that the process dies in.
    dd.faults.add(Fault(lambda call: process.kill(), where=is_write, nth=nth))
    assert process.wait(timeout=300) == -signal.SIGKILL
    dd.faults.clear()
    done = run(dd, "apply", "--yes", *PACK)
    assert done.exit_code == 0, done.output
    assert numbers(dd) == {kind: whole.count(kind) for kind in EMPTY}
    assert run(dd, *PLAN, *PACK).exit_code == 0


def test_it_asks_first_and_no_means_no(dd: Standin) -> None:
    code, shown = on_a_terminal("provision", "apply", "--pack", "gpu", answer="n\n", environment=environment(dd))
    assert code == 1
    assert "Apply this plan? [y/N]" in shown
    assert numbers(dd) == EMPTY


@pytest.mark.parametrize("answer", ["{place} 1", "{place} {number}"])
def test_what_deletes_asks_for_the_site_and_the_number(dd: Standin, answer: str) -> None:
    assert run(dd, "apply", "--yes", "--pack", "gpu").exit_code == 0
    number = sum(count for kind, count in numbers(dd).items() if kind != "percentiles")
    typed = answer.format(place=dd.url, number=number)
    code, shown = on_a_terminal("provision", "destroy", answer=f"{typed}\n", environment=environment(dd))
    assert f"To delete {number} at {dd.url}, type the site and the number" in " ".join(shown.split())
    agreed = "{number}" in answer
    assert (code, numbers(dd) == EMPTY) == ((0, True) if agreed else (1, False))


def test_yes_means_yes_and_a_bar_shows_how_far_it_is(dd: Standin) -> None:
    code, shown = on_a_terminal("provision", "apply", "--pack", "gpu", answer="y\n", environment=environment(dd))
    assert code == 0, shown
    total = len(desired(["gpu"]))
    assert f"{total}/{total}" in shown
    assert "━" in shown


def test_no_bar_is_shown_of_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As while dashboards alone change, and there is no monitor to check."""
    monkeypatch.setattr(provision_support, "is_terminal", lambda stream: True)
    for total, is_shown in ((1, True), (0, False)):
        with provision_support.progress_bar(total):
            pass
        assert bool(capsys.readouterr().err) is is_shown


def test_without_a_terminal_it_wants_yes(dd: Standin) -> None:
    done = run(dd, "apply", "--pack", "gpu")
    assert done.exit_code == 2
    assert "there is nobody to ask: give --yes" in done.output
    assert numbers(dd) == EMPTY


ECHOES: dict[str, dict[str, Any]] = {
    "an echo in the words of a refusal": {"do": "status", "status": 400},
    "an echo in an error of the server": {"do": "status", "status": 500},
    "an echo in a refusal of the keys": {"do": "status", "status": 403},
    "an echo in a limit": {"do": "status", "status": 429, "headers": {"X-Ratelimit-Reset": "9999"}},
    "no connection": {"do": "close"},
    "a page": {"do": "garbage"},
}


@pytest.mark.parametrize("name", ECHOES)
def test_no_key_is_ever_shown(
    dd: Standin, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in output, plan files or errors, whatever call goes wrong, even where the API repeats a key."""
    caplog.set_level("DEBUG")
    monkeypatch.setitem(Client.__init__.__kwdefaults__, "pause", 0.001)
    body = {"errors": [f"key {dd.api_key} with {dd.app_key} is not welcome"]}
    shown = ""
    for where in (None, "ListMonitors", "ListSLOs", "CreateSLO", "CreateMonitor", "ValidateMonitor", "DeleteMonitor"):
        dd.faults.clear()
        dd.faults.add(
            Fault(**ECHOES[name], **({"body": body} if "status" in ECHOES[name] else {}), where=where, times=3)
        )
        for command in (
            ("plan", "--out", str(tmp_path / "plan.json")),
            ("validate",),
            ("apply", "--yes"),
            ("destroy", "--yes"),
        ):
            shown += run(dd, *command, *(PACK if command[0] != "destroy" else ())).output
    dd.faults.clear()
    run(dd, "plan", "--out", str(tmp_path / "plan.json"))
    shown += (tmp_path / "plan.json").read_text(encoding="utf-8")
    assert dd.api_key not in shown
    assert dd.app_key not in shown
    assert ("is not welcome" in shown) is ("status" in ECHOES[name])
    # The client logs the bodies of answers, not the headers that it sends.
    sent = [record.getMessage() for record in caplog.records if "is not welcome" not in record.getMessage()]
    assert not [line for line in sent if dd.api_key in line or dd.app_key in line]


STEERING = "\x1b]0;OWNED\x07\x1b[2J\x1b[1;1H\x9b8m\u202eb\u2066"


def unprintable(text: str) -> list[str]:
    return [char for char in text if not char.isprintable() and char != "\n"]


def test_nothing_of_an_account_steers_the_terminal(dd: Standin, tmp_path: Path) -> None:
    """Whoever may edit a monitor of ours can't hide from others what a plan is about to do."""
    assert run(dd, "apply", "--yes", *PACK).exit_code == 0
    for monitor in dd.state.monitors.values():
        monitor["name"] = f"n{STEERING}"
        monitor["message"] = f"m\n\nPlan: 0 to change.\n{STEERING}\u2028Plan: 0 to change."
        monitor["tags"] = [*monitor["tags"], f"t{STEERING}"]
    out = tmp_path / "plan.json"
    values = tmp_path / "values.yaml"
    values.write_text("packs: [cost]\n", encoding="utf-8")
    prune = ("plan", "--prune", "--values", str(values))
    for command in (("plan", "--out", str(out)), prune, ("apply",), ("destroy",)):
        done = run(dd, *command, *(() if command == prune or command[0] == "destroy" else PACK))
        assert unprintable(done.output) == []
        assert not [line for line in done.output.splitlines() if line.startswith("Plan: 0 to")]
        assert r"\x1b[2J" in done.output or r"\u001b[2J" in done.output
    assert unprintable(out.read_text(encoding="utf-8")) == []
    changes = [change for step in json.loads(out.read_text(encoding="utf-8"))["steps"] for change in step["changes"]]
    assert f"n{STEERING}" in [change["old"] for change in changes]


def test_a_tag_that_is_no_key_makes_nothing_ours(dd: Standin) -> None:
    assert run(dd, "apply", "--yes", *PACK).exit_code == 0
    monitor = next(iter(dd.state.monitors.values()))
    monitor["tags"] = ["managed_by:model-serving", f"model_serving_key:{STEERING}"]
    done = run(dd, "destroy", "--yes")
    assert done.exit_code == 0
    assert unprintable(done.output) == []
    assert list(dd.state.monitors.values()) == [monitor]


@pytest.mark.parametrize("command", ["validate", "apply"])
def test_nothing_that_the_api_says_steers_the_terminal(dd: Standin, command: str) -> None:
    said = {"errors": [f"no\nDone: 1 created.\n{STEERING}"]}
    for where in ("ValidateMonitor", "CreateSLO"):
        dd.faults.add(Fault("status", where=where, status=400, body=said))
    done = run(dd, command, *(["--yes"] if command == "apply" else []), *PACK)
    assert done.exit_code in (1, 3)
    assert unprintable(done.output) == []
    assert r"no Done: 1 created. \x1b]0;OWNED" in done.output


def test_files_are_for_their_owner_and_no_link_is_followed(tmp_path: Path) -> None:
    """They hold names of routing and whom it reaches; who may write beside them must not choose what is overwritten."""
    victim = tmp_path / "victim"
    victim.write_text("untouched", encoding="utf-8")
    victim.chmod(0o644)
    out = tmp_path / "plan.json"
    out.symlink_to(victim)
    done = run(None, "plan", "--offline", "--out", str(out), *PACK)
    assert (done.exit_code, done.output.count("plan.json: can't be written: it is a symbolic link")) == (1, 1)
    out.unlink()
    out.hardlink_to(victim)
    assert run(None, "plan", "--offline", "--out", str(out), *PACK).exit_code == 0
    assert out.stat().st_mode & 0o777 == 0o600
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "monitors").symlink_to(tmp_path)
    done = run(None, "export", str(folder), *PACK)
    assert (done.exit_code, "monitors is a symbolic link" in done.output) == (1, True)
    (folder / "monitors").unlink()
    assert run(None, "export", str(folder), *PACK).exit_code == 0
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in written} == {0o600}
    # One that is there for all to read becomes private with its new text.
    written[0].chmod(0o644)
    assert run(None, "export", str(folder), *PACK).exit_code == 0
    assert written[0].stat().st_mode & 0o777 == 0o600
    assert victim.read_text(encoding="utf-8") == "untouched"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export", "plan.json", "victim"]


def test_a_device_is_written_to_as_it_is() -> None:
    assert run(None, "plan", "--offline", "--out", "/dev/null", *PACK).exit_code == 0
    full = run(None, "plan", "--offline", "--out", "/dev/full", *PACK)
    assert full.exit_code == 1
    assert "/dev/full: can't be written: No space left on device" in full.output


def test_a_threshold_in_another_unit_is_a_warning(tmp_path: Path) -> None:
    """0.8 of a percent may be meant, and seldom is: the plan is made, and says so."""
    values = tmp_path / "values.yaml"
    values.write_text("monitors: {llm.kv_cache: {thresholds: {critical: 0.8}}}", encoding="utf-8")
    done = CliRunner().invoke(root, ["provision", "plan", "--offline", "--brief", "--values", str(values)])
    assert done.exit_code == 0
    matched = run(None, "plan", "--offline", "--brief", "--system", "vllm", "--values", str(values))
    assert matched.stderr.count("Warning: ") == 1
    (warning,) = [line for line in done.stderr.splitlines() if line.startswith("Warning: ")]
    assert warning.startswith(f"Warning: {values}: monitors.llm.kv_cache.thresholds.critical: 0.8 ")
    assert "write 80" in warning
    assert not CliRunner().invoke(root, ["provision", "plan", "--offline", "--brief"]).stderr


def test_a_downtime_for_nothing_that_the_values_choose_is_a_warning(tmp_path: Path) -> None:
    """What --pack leaves out for once is none."""
    values = tmp_path / "values.yaml"
    said = "downtimes: {a: {monitors: [gpu.temperature], starts: 2126-01-05T20:00, lasts: 2h}}"
    values.write_text(f"packs: [versions]\n{said}", encoding="utf-8")
    plan = ("plan", "--offline", "--brief", "--values", str(values))
    assert run(None, *plan).stderr.startswith(f"Warning: {values}: downtimes.a: none of its monitors is provisioned")
    assert not run(None, *plan, "--pack", "versions").stderr


def test_a_downtime_that_is_over_is_not_exported(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    said = "past: {starts: 2025-12-06T02:00, lasts: 2h}, next: {starts: 2126-12-06T02:00, lasts: 2h}"
    values.write_text(f"packs: [versions]\ndowntimes: {{{said}}}", encoding="utf-8")
    done = run(None, "export", str(tmp_path / "out"), "--values", str(values))
    assert (done.exit_code, done.stderr.count("\n")) == (0, 1)
    assert done.stderr.startswith("Warning: downtime:past is not exported; is over since Sat 6 Dec 2025 04:00 (UTC): ")
    assert [path.name for path in (tmp_path / "out" / "downtimes").iterdir()] == ["next.json"]
