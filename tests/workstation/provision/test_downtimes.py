"""Planned downtimes: from a values file into an account, and what becomes of them as time goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from datadog_checks.model_serving.errors import DocumentError, ProvisionError
from datadog_checks.model_serving.workstation.provision.access import READS, check_access
from datadog_checks.model_serving.workstation.provision.api import Client
from datadog_checks.model_serving.workstation.provision.apply import apply
from datadog_checks.model_serving.workstation.provision.desired import desired, load_values
from datadog_checks.model_serving.workstation.provision.export import TERRAFORM, export_files
from datadog_checks.model_serving.workstation.provision.mistakes import checked
from datadog_checks.model_serving.workstation.provision.model import Resource
from datadog_checks.model_serving.workstation.provision.plan import PlanChoices, destroy_plan, make_plan
from datadog_checks.model_serving.workstation.provision.render import plan_text
from datadog_checks.model_serving.workstation.provision.saved import load_plan, saved_json, settled
from datadog_checks.model_serving.workstation.provision.state import Account, read_account
from datadog_checks.model_serving.workstation.provision.values import DOWNTIME

from .resources import actions, applied, downtime, latency, planned, recurring, told
from .standin import Fault, Standin

Connect = Callable[..., Client]
Json = dict[str, Any]
BERLIN = ZoneInfo("Europe/Berlin")
ADDRESS = "downtime:nights"
DOCUMENT = (Path(__file__).parents[3] / "docs" / "provisioning.md").read_text(encoding="utf-8")


def local(hours: float) -> str:
    """The time in Berlin, so many hours from now."""
    return (datetime.now(BERLIN) + timedelta(hours=hours)).replace(tzinfo=None, microsecond=0).isoformat()


def once(start: float, end: float) -> Json:
    """A schedule from and to so many hours from now."""
    now = datetime.now(UTC).replace(microsecond=0)
    return {"start": (now + timedelta(hours=start)).isoformat(), "end": (now + timedelta(hours=end)).isoformat()}


def under_way(dd: Standin) -> None:
    """Put the clock forward for the account: what recurs has begun an hour ago."""
    for one in dd.state.downtimes.values():
        for recurrence in one["attributes"]["schedule"]["recurrences"]:
            recurrence["start"] = local(-1)


def attributes(dd: Standin) -> Json:
    """Those of the one downtime that isn't canceled."""
    (found,) = (one["attributes"] for one in dd.state.downtimes.values() if one["attributes"]["canceled"] is None)
    return dict(found)


def written(tmp_path: Path, **said: Any) -> list[Resource]:
    """The downtimes of a values file."""
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump(said, sort_keys=False), encoding="utf-8")
    return [one for one in desired(None, load_values(path)) if one.kind == "downtime"]


def test_a_values_file_becomes_what_the_api_takes(tmp_path: Path) -> None:
    said = {
        "retraining": {
            "monitors": ["latency.mean"],
            "scope": "endpoint_name IN (sdxl,flux) AND NOT model_name:sdxl-base",
            "starts": "2026-12-05T02:00",
            "lasts": "90m",
            "repeats": "weekly on sunday",
            "timezone": "Europe/Berlin",
            "message": "Retraining @slack-ml",
        },
        "migration": {"starts": datetime(2126, 7, 5, 22), "lasts": "4h", "timezone": "Europe/Berlin"},
        "quiet": {"tags": ["severity:warning", "pack:llm"], "starts": "2126-01-07 20:00", "lasts": "1d"},
    }
    found = {one.key: one.body for one in written(tmp_path, downtimes=said)}
    assert list(found) == ["retraining.latency.mean", "retraining.latency.mean.endpoint", "migration", "quiet"]
    assert found["retraining.latency.mean"] == {
        "scope": "endpoint_name:(sdxl OR flux) AND -model_name:sdxl-base",
        "message": "Retraining @slack-ml",
        "monitor_identifier": {"monitor_tags": ["integration:model-serving", "model_serving_key:latency.mean"]},
        "display_timezone": "Europe/Berlin",
        "schedule": recurring("2026-12-06T02:00:00", "FREQ=WEEKLY;BYDAY=SU", "90m"),
    }
    assert found["migration"]["schedule"] == {
        "start": "2126-07-05T20:00:00+00:00",
        "end": "2126-07-06T00:00:00+00:00",
    }
    assert found["migration"]["monitor_identifier"] == {"monitor_tags": ["integration:model-serving"]}
    assert found["quiet"]["monitor_identifier"]["monitor_tags"][1:] == ["severity:warning", "pack:llm"]
    assert found["quiet"]["display_timezone"] == "UTC"


def test_a_downtime_is_of_the_monitors_that_there_are(tmp_path: Path) -> None:
    """What is said of a monitor is said of its variants, and of those that complement it."""
    path = tmp_path / "values.yaml"
    said = {"monitors": ["latency.week", "gpu.idle"], "starts": "2126-01-05T20:00", "lasts": "2h"}
    variants = {"latency.week": {"variants": {"sdxl": {"scope": "endpoint_name:sdxl"}}}}
    path.write_text(yaml.safe_dump({"downtimes": {"quiet": said}, "monitors": variants}), encoding="utf-8")
    values = load_values(path)

    def keys(*packs: str, left_out: tuple[str, ...] = ()) -> set[str]:
        resources = desired(packs or None, values, left_out=left_out)
        return {one.key.removeprefix("quiet.") for one in resources if one.kind == "downtime"}

    week = {"latency.week", "latency.week.sdxl", "latency.week.endpoint", "latency.week.endpoint.sdxl"}
    assert keys() == week | {"gpu.idle", "gpu.idle.index", "gpu.idle.uuid"}
    assert keys("regressions") == week
    assert keys("slo") == set()
    assert keys("regressions", left_out=("monitor:latency.week",)) == {
        "latency.week.endpoint",
        "latency.week.endpoint.sdxl",
    }


def test_a_plan_for_some_packs_has_what_of_a_downtime_is_for_them(tmp_path: Path) -> None:
    """A scope that fits the monitors of other packs alone is no mistake, and nothing to plan."""
    path = tmp_path / "values.yaml"
    said = {"scope": "gpu_uuid:GPU-1", "starts": "2126-01-05T20:00", "lasts": "2h"}
    named = {**said, "monitors": ["gpu.temperature", "gpu.idle"]}
    path.write_text(yaml.safe_dump({"downtimes": {"all": said, "named": named}}), encoding="utf-8")
    values = load_values(path)

    def keys(*packs: str) -> set[str]:
        return {one.key for one in desired(packs or None, values) if one.kind == "downtime"}

    assert keys("gpu") == {"all", "named.gpu.temperature"}
    assert keys("regressions") == {"all"}
    assert keys("golden_signals") == set()


def test_no_downtime_is_planned_that_silences_nothing(tmp_path: Path) -> None:
    """A monitor without a tag that must be there is never silent; what must not be there doesn't matter to it."""
    said = {"monitors": ["latency.p99", "gpu.idle"], "starts": "2126-01-05T20:00", "lasts": "2h"}

    def keys(scope: str) -> list[str]:
        found = written(tmp_path, downtimes={"quiet": {**said, "scope": scope}})
        return [one.key.removeprefix("quiet.") for one in found]

    endpoint = ["latency.p99", "latency.p99.endpoint", "gpu.idle", "gpu.idle.index", "gpu.idle.uuid"]
    assert keys("endpoint_name:a") == keys("endpoint_name:a,!gpu_uuid:b") == endpoint
    said["monitors"] = ["latency.p99"]
    assert keys("model_name:a") == keys("model_name IN (a,b)") == ["latency.p99"]


def test_the_example_and_the_table_of_the_documentation(tmp_path: Path) -> None:
    section = DOCUMENT.partition("\n## Downtimes\n")[2].partition("\n## ")[0]
    example = yaml.safe_load(section.partition("```yaml\n")[2].partition("```")[0])
    retraining = {f"sdxl-retraining.{key}{end}" for key in ("latency.p99", "traffic.none") for end in ("", ".endpoint")}
    assert {one.key for one in written(tmp_path, **example)} == {*retraining, "quiet-nights", "cluster-move"}
    table = section.partition("| key of a downtime |")[2].partition("\n\n")[0].splitlines()[2:]
    assert {re.findall(r"`(\w+)`", line)[0] for line in table} == set(DOWNTIME)


MISTAKES: list[tuple[str, Json, str, str]] = [
    ("no start", {"starts": None}, "", "the key `starts` is missing: write one such as `starts: 2026-12-05T02:00`"),
    ("no length", {"lasts": None}, "", "the key `lasts` is missing: write one such as `lasts: 2h`"),
    ("a key of another tool", {"rrule": "FREQ=DAILY"}, "", "unknown key `rrule`; write `repeats`"),
    ("a pack", {"pack": "llm"}, "", "unknown key `pack`; write `tags: [pack:<name>]`"),
    ("a typing error", {"message_": "x"}, "", "unknown key `message_`; did you mean `message`?"),
    ("both", {"monitors": ["gpu.idle"], "tags": ["pack:gpu"]}, "", "write `monitors`, their keys, or `tags`"),
    ("no monitor", {"monitors": ["latency.p9"]}, "monitors[0]", "there is no monitor `latency.p9`; did you mean"),
    ("none at all", {"monitors": []}, "monitors", "names nothing: leave it out for all monitors"),
    ("a part", {"monitors": ["errors.share.part"]}, "monitors[0]", "there is no monitor `errors.share.part`; did you"),
    (
        "no tag",
        {"tags": ["severity:warn"]},
        "tags[0]",
        "no monitor has the tag `severity:warn`; did you mean `severity:",
    ),
    ("no monitor with both", {"tags": ["pack:gpu", "pack:llm"]}, "tags", "no monitor has all of pack:gpu, pack:llm"),
    ("a date alone", {"starts": "2026-12-05"}, "starts", "must be a date and a time such as 2026-12-05T02:00, not"),
    ("no such day", {"starts": "2026-02-30T02:00"}, "starts", "must be a date and a time such as"),
    ("an offset", {"starts": "2026-12-05T02:00+01:00"}, "starts", "has an offset: write the local time"),
    ("no duration", {"lasts": "soon"}, "lasts", "must be a duration such as 30m, 4h or 1d, not `soon`"),
    ("seconds", {"lasts": "90s"}, "lasts", "must be a duration such as 30m"),
    ("too long", {"lasts": "400d"}, "lasts", "must be from 1 to 527040 minutes long"),
    (
        "a time zone",
        {"timezone": "Europe/Berln"},
        "timezone",
        "no time zone `Europe/Berln`; did you mean `Europe/Berlin`",
    ),
    ("a short one", {"timezone": "CEST"}, "timezone", "no time zone `CEST`; write one such as Europe/Berlin or UTC"),
    ("words", {"repeats": "sometimes"}, "repeats", "`sometimes` isn't understood: write `daily`, `weekly on sunday`"),
    ("no day", {"repeats": "weekly on sunnyday"}, "repeats", "`sunnyday` is no day; did you mean `sunday`?"),
    (
        "days of months",
        {"repeats": "monthly on sunday"},
        "repeats",
        "days are for weeks: `weekly on sunday`, or an RRULE",
    ),
    ("every nothing", {"repeats": "every 0 days"}, "repeats", "must repeat every 1 or more"),
    ("until no day", {"repeats": "daily until 2026-02-30"}, "repeats", "there is no day 2026-02-30"),
    (
        "a time that clocks skip",
        {"starts": "2027-03-28T02:30", "timezone": "Europe/Berlin"},
        "starts",
        "clocks go forward over this time in Europe/Berlin: write one before or after",
    ),
    (
        "a start in the rule",
        {"repeats": "DTSTART=20260101;FREQ=DAILY"},
        "repeats",
        "has DTSTART: Datadog takes none: write `starts`",
    ),
    (
        "a duration in it",
        {"repeats": "FREQ=DAILY;DURATION=PT2H"},
        "repeats",
        "has DURATION: Datadog takes none: write `lasts`",
    ),
    ("a count", {"repeats": "FREQ=DAILY;COUNT=3"}, "repeats", "has COUNT: a number would begin anew"),
    ("hours", {"repeats": "FREQ=DAILY;BYHOUR=2,14"}, "repeats", "has BYHOUR: the time of the day is that of `starts`"),
    (
        "less than a day",
        {"repeats": "FREQ=HOURLY"},
        "repeats",
        "`FREQ=HOURLY`: a downtime is one of DAILY, WEEKLY, MONTHLY, YEARLY",
    ),
    ("no frequency", {"repeats": "BYDAY=SU"}, "repeats", "needs FREQ, one of DAILY"),
    (
        "an unknown part",
        {"repeats": "FREQ=DAILY;BYDY=SU"},
        "repeats",
        "`BYDY=SU` is no part of an RRULE; did you mean `BYDAY`?",
    ),
    ("a day that is none", {"repeats": "FREQ=WEEKLY;BYDAY=XX"}, "repeats", "`BYDAY=XX` is no BYDAY of an RRULE"),
    ("no interval", {"repeats": "FREQ=DAILY;INTERVAL=0"}, "repeats", "`INTERVAL=0` is no INTERVAL of an RRULE"),
    ("a day of no month", {"repeats": "FREQ=MONTHLY;BYMONTHDAY=32"}, "repeats", "`BYMONTHDAY=32` is no BYMONTHDAY"),
    ("a weekly one of a month", {"repeats": "FREQ=WEEKLY;BYDAY=1SU"}, "repeats", "`BYDAY=1SU` is for months and years"),
    ("twice", {"repeats": "FREQ=DAILY;FREQ=WEEKLY"}, "repeats", "says one thing twice"),
    ("no such end", {"repeats": "FREQ=DAILY;UNTIL=20270230"}, "repeats", "is no RRULE"),
    ("another age", {"starts": "1026-12-05T02:00"}, "starts", "is no year of a downtime"),
    (
        "an end in UTC",
        {"repeats": "FREQ=DAILY;UNTIL=20300101T000000Z"},
        "repeats",
        "UNTIL is in the time of `timezone`",
    ),
    ("an end before", {"repeats": "daily until 2020-01-01"}, "repeats", "has no day from 2026-12-05 on"),
    (
        "no pause",
        {"repeats": "daily", "lasts": "1d"},
        "repeats",
        "lasts 1d, until it starts again, so it would never end",
    ),
    ("braces", {"scope": "{env:prod}"}, "scope", "leave the braces out"),
    (
        "a tag of no monitor",
        {"scope": "env:prod"},
        "scope",
        "`env:prod`: none of the monitors is grouped by `env` or has it",
    ),
    ("a near one", {"scope": "endpoint:sdxl"}, "scope", "so nothing would be silent; did you mean `endpoint_name`?"),
    ("no tag at all", {"monitors": ["slo.availability.fast"], "scope": "model_name:a"}, "scope", "leave `scope` out"),
    (
        "OR",
        {"scope": "model_name:a OR endpoint_name:b"},
        "scope",
        "and no OR between others: write a downtime for each",
    ),
    ("not both", {"scope": "NOT (model_name:a AND endpoint_name:b)"}, "scope", "no OR between others"),
    ("a value without one", {"scope": "sdxl"}, "scope", "grouped by `sdxl`"),
    ("two languages", {"scope": "!model_name:a,endpoint_name IN (b,c)"}, "scope", "don't mix with AND, OR, NOT and IN"),
    ("a value as nobody stores it", {"scope": "endpoint_name:Sdxl+1"}, "scope", "so write that"),
]


@pytest.mark.parametrize(("change", "path", "words"), [one[1:] for one in MISTAKES], ids=[one[0] for one in MISTAKES])
def test_mistakes_are_told_with_the_place_and_the_mend(tmp_path: Path, change: Json, path: str, words: str) -> None:
    said = {"starts": "2026-12-05T02:00", "lasts": "2h", **change}
    said = {key: value for key, value in said.items() if value is not None}
    with pytest.raises(DocumentError) as error:
        written(tmp_path, downtimes={"quiet": said})
    assert f"values.yaml: downtimes.quiet{f'.{path}' if path else ''}: " in str(error.value)
    assert words in str(error.value)


def test_a_monitor_that_a_scope_cannot_fit_is_told(tmp_path: Path) -> None:
    said = {"starts": "2026-12-05T02:00", "lasts": "2h"}
    wrong = {
        "a": {**said, "monitors": ["gpu.idle", "latency.p99"], "scope": "gpu_uuid:b"},
        "b": {**said, "tags": ["severity:warning"], "scope": "gpu_uuid:b,model_name:c"},
    }
    with pytest.raises(DocumentError) as error:
        written(tmp_path, downtimes=wrong)
    first, second = str(error.value).splitlines()
    assert "downtimes.a.monitors[1]: `latency.p99` is not grouped by `gpu_uuid` and doesn't have it" in first
    assert "downtimes.b.scope: `gpu_uuid:b,model_name:c`: no monitor has all of `gpu_uuid`, `model_name`" in second


def test_mistakes_are_told_all_at_once(tmp_path: Path) -> None:
    said = {"starts": "2026-12-05T02:00", "lasts": "2h"}
    wrong = {"a": {**said, "lasts": "2", "repeats": "often"}, "b": {**said, "timezone": "Here"}}
    with pytest.raises(DocumentError) as error:
        written(tmp_path, downtimes=wrong)
    lines = [line.partition("downtimes.")[2].partition(":")[0] for line in str(error.value).splitlines()]
    assert lines == ["a.lasts", "a.repeats", "b.timezone"]
    with pytest.raises(DocumentError) as error:
        written(tmp_path, downtimes={"a": {**said, "monitors": ["x"]}, "b": {**said, "scope": "env:prod"}})
    assert len(str(error.value).splitlines()) == 2


def test_a_name_has_no_dot(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"`a\.b` is no name of a downtime"):
        written(tmp_path, downtimes={"a.b": {"starts": "2026-12-05T02:00", "lasts": "2h"}})


def test_the_scope_of_all_monitors_may_be_that_of_a_downtime(tmp_path: Path) -> None:
    """Datadog looks at the tags of the query, too."""
    said = {"starts": "2126-12-05T02:00", "lasts": "2h", "scope": "env:prod"}
    (found,) = written(tmp_path, scope="env:prod", downtimes={"quiet": said})
    assert found.body["scope"] == "env:prod"


@pytest.mark.parametrize(
    "schedule",
    [
        recurring("2026-01-05T22:00:00"),
        recurring("2026-01-04T02:00:00", "FREQ=WEEKLY;BYDAY=SU", "2h"),
        recurring("2026-01-05T22:00:00", "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,FR", "90m"),
        recurring("2026-01-01T22:00:00", "FREQ=MONTHLY;BYDAY=1SU", "1d"),
        recurring("2126-01-05T22:00:00"),
        once(2, 4),
        once(-1, 4),
    ],
)
def test_a_second_run_has_nothing_to_do(dd: Standin, connect: Connect, schedule: Json) -> None:
    """Also where the start has passed, which the API doesn't take, and the account has another."""
    wanted = [latency(), downtime(schedule=schedule)]
    assert told(applied(connect(), wanted))[ADDRESS] == "done"
    dd.forget()
    assert applied(connect(), wanted) == []
    assert not planned(connect(), wanted).differs
    assert dd.count("CreateDowntime", "UpdateDowntime", "CancelDowntime") == 0


def test_a_start_that_lies_in_the_past_is_no_difference(dd: Standin, connect: Connect) -> None:
    """So it becomes in time, and some accounts have taken one from the beginning."""
    applied(connect(), [downtime()])
    recurrence = attributes(dd)["schedule"]["recurrences"][0]
    assert recurrence["start"] > datetime.now(UTC).isoformat()
    recurrence["start"] = "2025-03-01T22:00:00"
    assert not planned(connect(), [downtime()]).differs
    recurrence["start"] = "2025-03-01T21:00:00"
    assert [one.path for one in planned(connect(), [downtime()]).steps[0].changes] == ["schedule.recurrences[0].start"]


def test_a_life(dd: Standin, connect: Connect) -> None:
    """Made, changed, changed by somebody else, canceled by somebody, and taken away."""
    client = connect()
    applied(client, [downtime()])
    made = attributes(dd)
    assert made["message"] == "Nobody is there.\n\nmanaged by model-serving (key: nights)"
    assert made["monitor_identifier"] == {"monitor_tags": ["managed_by:model-serving", "team:ml"]}
    wanted = [downtime(scope="env:prod", message="Quiet.", schedule=recurring("2026-01-05T20:00:00"))]
    plan = planned(client, wanted)
    assert actions(plan) == {ADDRESS: "change"}
    assert [one.path for one in plan.steps[0].changes] == ["scope", "message", "schedule.recurrences[0].start"]
    identity = next(iter(dd.state.downtimes))
    applied(client, wanted)
    assert list(dd.state.downtimes) == [identity]
    assert not planned(client, wanted).differs
    kept = dd.state.downtimes[identity]["attributes"]
    kept["scope"] = "*"
    kept["mute_first_recovery_notification"] = True
    kept["schedule"]["recurrences"].append({"start": "2126-01-01T00:00:00", "duration": "1h", "rrule": "FREQ=DAILY"})
    shown = plan_text(planned(client, wanted)).plain
    assert 'scope: "*" -> "env:prod"' in shown
    assert "schedule.recurrences[1]:" in shown
    applied(client, wanted)
    assert len(attributes(dd)["schedule"]["recurrences"]) == 1
    assert attributes(dd)["mute_first_recovery_notification"], "what the values file doesn't know is left alone"
    client.call(client.downtimes.cancel_downtime, downtime_id=identity)
    plan = planned(client, wanted)
    assert actions(plan) == {ADDRESS: "create"}
    assert f"one was canceled on {datetime.now(UTC):%a}" in plan_text(plan).plain
    applied(client, wanted)
    assert not planned(client, wanted).differs
    assert set(actions(planned(client, []))) == {ADDRESS}
    apply(client, destroy_plan(read_account(client, ())))
    assert len(dd.state.downtimes) == 2
    assert planned(client, []).steps == (), "those that are canceled are in the list for some days"


def test_one_that_has_begun_is_told_of_and_can_be_made_longer(dd: Standin, connect: Connect) -> None:
    client = connect()
    applied(client, [downtime(schedule=once(-1, 3))])
    assert attributes(dd)["schedule"]["start"] > once(-0.1, 0)["start"], "it starts at once"
    plan = planned(client, [downtime(schedule=once(-1, 3))])
    assert not plan.differs
    assert "silences now, until " in plan_text(plan).plain
    longer = [downtime(schedule=once(-1, 5), message="It takes longer.")]
    assert actions(planned(client, longer)) == {ADDRESS: "change"}
    assert told(applied(client, longer)) == {ADDRESS: "done"}
    assert len(dd.state.downtimes) == 1
    assert attributes(dd)["schedule"]["end"] == longer[0].body["schedule"]["end"]
    assert not planned(client, longer).differs


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (once(-1, 3), once(2, 3)),
        (once(2, 3), once(-1, 3)),
        (once(2, 3), recurring("2026-01-05T22:00:00")),
        (recurring("2026-01-05T22:00:00"), once(2, 3)),
    ],
    ids=["begun, and is to be later", "later, and is to have begun", "once, and is to recur", "recurs, and is not to"],
)
def test_what_the_api_cannot_change_is_made_anew(dd: Standin, connect: Connect, before: Json, after: Json) -> None:
    client = connect()
    applied(client, [downtime(schedule=before)])
    plan = planned(client, [downtime(schedule=after)])
    assert actions(plan) == {ADDRESS: "replace"}
    assert "is canceled and planned anew, since Datadog doesn't change when" in plan_text(plan).plain
    assert told(apply(client, plan)) == {ADDRESS: "done"}
    assert not planned(client, [downtime(schedule=after)]).differs


def test_one_that_recurs_and_is_under_way(dd: Standin, connect: Connect) -> None:
    """Its other fields are changed in place; another schedule is a downtime that is made anew."""
    client = connect()
    schedule = recurring(local(20))
    applied(client, [downtime(schedule=schedule)])
    under_way(dd)
    schedule = recurring(local(-1))
    assert not planned(client, [downtime(schedule=schedule)]).differs
    assert told(applied(client, [downtime(schedule=schedule, scope="env:prod")])) == {ADDRESS: "done"}
    assert len(dd.state.downtimes) == 1
    schedule["recurrences"][0]["duration"] = "4h"
    plan = planned(client, [downtime(schedule=schedule, scope="env:prod")])
    assert actions(plan) == {ADDRESS: "replace"}
    assert told(apply(client, plan)) == {ADDRESS: "done"}
    assert not planned(client, [downtime(schedule=schedule, scope="env:prod")]).differs


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (once(-5, -2), "is over since "),
        (recurring("2025-03-01T22:00:00", "FREQ=DAILY;UNTIL=20250401T000000"), "is over since Tue 1 Apr 2025 06:00"),
        (
            recurring(local(-1), f"FREQ=DAILY;UNTIL={local(1).translate({45: None, 58: None})}"),
            "its last time has begun",
        ),
    ],
    ids=["once", "for some time", "for the last time"],
)
def test_what_has_passed_is_not_planned(dd: Standin, connect: Connect, schedule: Json, words: str) -> None:
    wanted = [latency(), downtime(schedule=schedule)]
    outcomes = told(applied(connect(), wanted))
    assert outcomes == {"monitor:latency.mean": "done"}
    plan = planned(connect(), wanted)
    assert actions(plan)[ADDRESS] == "over"
    assert not plan.differs
    assert f'  . downtime:nights  "Nobody is there." is not planned\n      {words}' in plan_text(plan).plain
    assert dd.state.downtimes == {}


def test_what_has_passed_and_was_made_longer_by_somebody_is_left_to_prune(dd: Standin, connect: Connect) -> None:
    client = connect()
    applied(client, [downtime(schedule=once(-1, 1))])
    wanted = [downtime(schedule=once(-3, -1))]
    steps = planned(client, wanted).steps
    assert [str(step.action) for step in steps] == ["over", "orphaned"]
    applied(client, wanted, prune=True)
    assert [str(step.action) for step in planned(client, wanted).steps] == ["over"]


def test_all_pages_are_read(dd: Standin, connect: Connect) -> None:
    client = connect()
    for index in range(120):
        applied_by_hand(client, f"host:h{index}")
    applied(client, [downtime()])
    assert not planned(client, [downtime()]).differs
    dd.forget()
    planned(client, [downtime()])
    assert dd.count("ListDowntimes") == 2


def applied_by_hand(client: Client, scope: str) -> None:
    own = {"scope": scope, "monitor_identifier": {"monitor_tags": ["*"]}, "schedule": {}}
    client.call(client.downtimes.create_downtime, body={"data": {"type": "downtime", "attributes": own}})


def test_a_downtime_that_a_person_made_for_our_monitors_is_shown_and_left_alone(dd: Standin, connect: Connect) -> None:
    client = connect()
    applied(client, [downtime()])
    own = attributes(dd)
    body = {"scope": "env:dev", "message": "by hand", "monitor_identifier": own["monitor_identifier"]}
    client.call(client.downtimes.create_downtime, body={"data": {"type": "downtime", "attributes": body}})
    shown = plan_text(planned(client, [downtime()])).plain
    assert "isn't ours and is left alone\n      it bears a part of a mark of ours" in shown
    assert {one.step.address for one in apply(client, destroy_plan(read_account(client, ())))} == {ADDRESS}


def test_two_runs_at_once_plan_it_once(dd: Standin, connect: Connect) -> None:
    """Datadog refuses the second as a duplicate."""
    plans = [planned(connect(), [downtime()]) for _ in range(2)]
    assert told(apply(connect(), plans[0])) == {ADDRESS: "done"}
    assert told(apply(connect(), plans[1])) == {ADDRESS: "done another run planned it at the same time"}
    assert not planned(connect(), [downtime()]).differs
    applied_by_hand(connect(), "env:dev")
    dd.faults.add(
        Fault(
            "status",
            "CreateDowntime",
            status=400,
            body={"errors": ["is a duplicate of one or more existing downtimes: ['1']"]},
        )
    )
    assert told(applied(connect(), [downtime("other")]))["downtime:other"].startswith("failed 400: is a duplicate")


def test_a_key_without_the_scope_is_enough_where_there_are_none(dd: Standin, connect: Connect) -> None:
    dd.policy.missing_permissions = {"monitors_downtime"}
    assert told(applied(connect(), [latency()])) == {"monitor:latency.mean": "done"}
    with pytest.raises(ProvisionError, match="lacks the permission monitors_downtime"):
        check_access(connect(), {READS["downtime"]})
    for needed in ([downtime()], []):
        with pytest.raises(ProvisionError, match="403"):
            planned(connect(), needed)


def test_a_saved_plan_of_one_that_has_passed_since_is_stale(tmp_path: Path) -> None:
    resources = checked([downtime(schedule=once(1, 2))])
    plan = make_plan(resources, Account())
    path = tmp_path / "plan.json"
    whole = saved_json(plan, resources, "x", (), str, PlanChoices(), {})
    path.write_text(json.dumps(whole), encoding="utf-8")
    saved = load_plan(path)
    assert settled(saved, make_plan(saved.resources, Account()), str) == plan
    later = checked([downtime(schedule=once(-2, -1))])
    with pytest.raises(ProvisionError, match="downtime:nights is over since"):
        settled(saved, make_plan(later, Account()), str)


def test_exported_downtimes_are_for_exported_monitors(tmp_path: Path) -> None:
    """These bear no mark: one monitor is named by its id, others are known by their tags."""
    said = {
        "one": {"monitors": ["agent.silent"], "starts": "2126-12-05T02:00", "lasts": "2h"},
        "some": {
            "tags": ["severity:warning"],
            "starts": "2126-12-05T02:00",
            "lasts": "2h",
            "repeats": "daily",
            "timezone": "Europe/Berlin",
            "message": "Quiet ${now}",
        },
    }
    resources = [*written(tmp_path, downtimes=said), latency()]
    files = export_files(resources, "ml")
    blocks = json.loads(files[TERRAFORM])["resource"]["datadog_downtime_schedule"]
    assert blocks["one_agent_silent"] == {
        "scope": "*",
        "monitor_identifier": {"monitor_id": "${datadog_monitor_json.agent_silent.id}"},
        "display_timezone": "UTC",
        "one_time_schedule": {"start": "2126-12-05T02:00:00Z", "end": "2126-12-05T04:00:00Z"},
    }
    assert blocks["some"] == {
        "scope": "*",
        "message": "Quiet $${now}",
        "monitor_identifier": {
            "monitor_tags": ["model_serving_stack:ml", "integration:model-serving", "severity:warning"]
        },
        "display_timezone": "Europe/Berlin",
        "recurring_schedule": {
            "timezone": "Europe/Berlin",
            "recurrence": [{"start": "2126-12-05T02:00:00", "duration": "2h", "rrule": "FREQ=DAILY"}],
        },
    }
    body = json.loads(files["downtimes/one.agent.silent.json"])["data"]["attributes"]
    assert body["monitor_identifier"] == {"monitor_id": "${monitor:agent.silent}"}


def test_exported_downtimes_can_still_be_planned() -> None:
    """Datadog refuses a start in the past, and Terraform would stop at it."""
    begun = [
        downtime("once", schedule=once(-1, 4)),
        downtime("daily", schedule=recurring("2026-01-05T22:00:00", "FREQ=DAILY", "2h")),
    ]
    files = export_files(begun)
    schedules = [
        json.loads(files[f"downtimes/{key}.json"])["data"]["attributes"]["schedule"] for key in ("once", "daily")
    ]
    assert "start" not in schedules[0]
    (recurrence,) = schedules[1]["recurrences"]
    assert datetime.fromisoformat(recurrence["start"]).date() >= datetime.now(UTC).date()
    blocks = json.loads(files[TERRAFORM])["resource"]["datadog_downtime_schedule"]
    assert list(blocks["once"]["one_time_schedule"]) == ["end"]
    assert blocks["daily"]["recurring_schedule"]["recurrence"] == [recurrence]
