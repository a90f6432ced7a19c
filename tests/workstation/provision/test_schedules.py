"""When a downtime is, in words, in the form of the API, and as time goes on."""

from __future__ import annotations

import sys
import zoneinfo
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadog_checks.model_serving.errors import DocumentError, ProvisionError
from datadog_checks.model_serving.workstation.provision.document import Node
from datadog_checks.model_serving.workstation.provision.schedules import (
    ended,
    has_to_be_made_anew,
    in_terms_of,
    next_start,
    read_repeats,
    read_zone,
    rule_text,
    schedule_of,
    schedule_text,
    to_send,
    under_way,
    zone_of,
)

NODE = Node("values.yaml", "downtimes.quiet.repeats", None)
RULES = (
    "FREQ=DAILY",
    "FREQ=DAILY;INTERVAL=3",
    "FREQ=WEEKLY;BYDAY=SU",
    "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,FR",
    "FREQ=MONTHLY",
    "FREQ=MONTHLY;BYDAY=-1SA",
    "FREQ=MONTHLY;BYSETPOS=3;BYDAY=WE",
    "FREQ=YEARLY;BYMONTH=3,10;BYDAY=-1SU",
    "FREQ=WEEKLY;BYDAY=TU;UNTIL=20280301T000000",
)
moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)).map(lambda one: one.replace(microsecond=0))
zones = st.sampled_from(("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"))
recurrent = st.builds(schedule_of, st.just(NODE), moments, st.integers(1, 600), zones, st.sampled_from(RULES))
single = st.builds(schedule_of, st.just(NODE), moments, st.integers(1, 60_000), zones, st.none())


def in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("daily", "FREQ=DAILY"),
        ("Weekly", "FREQ=WEEKLY"),
        ("weekly on Sunday", "FREQ=WEEKLY;BYDAY=SU"),
        ("weekly on mon, wed and fridays", "FREQ=WEEKLY;BYDAY=MO,WE,FR"),
        ("weekly on weekdays", "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR"),
        ("weekly on weekends, monday", "FREQ=WEEKLY;BYDAY=SA,SU,MO"),
        ("every 2 weeks on thursday until 2027-03-31", "FREQ=WEEKLY;INTERVAL=2;BYDAY=TH;UNTIL=20270331T235959"),
        ("every 3  months", "FREQ=MONTHLY;INTERVAL=3"),
        ("every week on saturday", "FREQ=WEEKLY;BYDAY=SA"),
        ("yearly", "FREQ=YEARLY"),
        ("RRULE:freq=weekly;byday=su;", "FREQ=WEEKLY;BYDAY=SU"),
        ("FREQ=MONTHLY;BYSETPOS=3;BYDAY=WE;INTERVAL=1", "FREQ=MONTHLY;BYSETPOS=3;BYDAY=WE;INTERVAL=1"),
    ],
)
def test_words_become_a_rule(text: str, rule: str) -> None:
    assert read_repeats(Node("values.yaml", "", text)) == rule


@given(st.sampled_from(RULES))
def test_a_rule_in_words_is_read_as_the_same(rule: str) -> None:
    assert read_repeats(Node("values.yaml", "", rule_text(rule))) == rule


NAMES = (
    "FREQ",
    "INTERVAL",
    "BYDAY",
    "BYMONTHDAY",
    "BYMONTH",
    "BYSETPOS",
    "BYWEEKNO",
    "BYYEARDAY",
    "WKST",
    "UNTIL",
    "X",
)
VALUES = ("DAILY", "MONTHLY", "YEARLY", "0", "1", "-1", "53", "366", "999", "SU", "-5MO", "53MO", "20270101", "x", "")
parts = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)).map("=".join), max_size=4).map(";".join)


@settings(deadline=None)
@given(parts | st.text(max_size=20))
def test_any_text_is_a_rule_or_a_mistake(text: str) -> None:
    with suppress(DocumentError):
        rule = read_repeats(Node("values.yaml", "", text))
        if "BYMONTH" not in rule and "BYSETPOS" not in rule:
            # Days that no month has are looked for until the year 9999.
            schedule_of(NODE, datetime(2026, 12, 5, 2), 120, "Europe/Berlin", rule)


@given(recurrent | single, moments, st.integers(0, 700 * 24 * 60))
def test_what_is_sent_is_no_difference_then_or_later(
    wanted: dict[str, object], sent_at: datetime, minutes: int
) -> None:
    """Whenever it is sent, and whenever it is compared: the API takes what is sent, and one plan is as the next."""
    now = in_utc(sent_at)
    if next_start(wanted, now + timedelta(minutes=1)) is None and under_way(wanted, now) is None:
        return
    sent = to_send(wanted, now)
    begins = next_start(sent, now)
    assert begins is not None or "start" not in sent
    # The account says when it began.
    there = sent if "recurrences" in sent else {"start": now.isoformat(), **sent}
    later = now + timedelta(minutes=minutes)
    assert in_terms_of(wanted, there, later) == there
    assert not has_to_be_made_anew(wanted, there, under_way(there, later) is not None, later)


@given(recurrent | single, moments)
def test_a_downtime_is_to_come_under_way_or_over(schedule: dict[str, object], moment: datetime) -> None:
    now = in_utc(moment)
    to_come, end, over = next_start(schedule, now), under_way(schedule, now), ended(schedule, now)
    assert (to_come is not None or end is not None) == (over is None)
    assert to_come is None or to_come > now
    assert end is None or end > now
    assert over is None or over <= now


def test_a_day_is_that_of_the_time_zone() -> None:
    """The night in which the clocks go back is an hour longer; the time of the day stays."""
    schedule = schedule_of(NODE, datetime(2026, 10, 1, 2), 120, "Europe/Berlin", "FREQ=WEEKLY;BYDAY=SU")
    (recurrence,) = schedule["recurrences"]
    assert recurrence == {"start": "2026-10-04T02:00:00", "duration": "2h", "rrule": "FREQ=WEEKLY;BYDAY=SU"}
    before, after = datetime(2026, 10, 20, tzinfo=UTC), datetime(2026, 10, 26, tzinfo=UTC)
    starts = [next_start(schedule, now) for now in (before, after)]
    assert [one.astimezone(UTC).hour for one in starts if one] == [0, 1]
    assert schedule_text(schedule, "Europe/Berlin", before) == (
        "weekly on Sunday for 2h, next Sun 25 Oct 2026 02:00 (Europe/Berlin)"
    )
    once = schedule_of(NODE, datetime(2026, 10, 25, 1), 240, "Europe/Berlin", None)
    assert once == {"start": "2026-10-24T23:00:00+00:00", "end": "2026-10-25T03:00:00+00:00"}
    assert schedule_text(once, "Europe/Berlin", before) == "once, Sun 25 Oct 2026 01:00 to 04:00 (Europe/Berlin)"


def test_zones_are_known_on_a_machine_without_any(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows, and small images of containers. `zoneinfo` looks into folders, and then for a package."""
    folders = zoneinfo.TZPATH
    monkeypatch.setitem(sys.modules, "tzdata", None)
    zoneinfo.reset_tzpath(to=())
    zoneinfo.ZoneInfo.clear_cache()
    try:
        assert read_zone(Node("values.yaml", "", "Europe/Berlin")) == "Europe/Berlin"
        assert datetime(2026, 7, 1, tzinfo=zone_of("Europe/Berlin")).utcoffset() == timedelta(hours=2)
        with pytest.raises(ProvisionError, match="there is no time zone `Mars/Olympus`"):
            zone_of("Mars/Olympus")
    finally:
        zoneinfo.reset_tzpath(to=folders)


def test_weekends_may_be_silent_as_a_whole() -> None:
    """Two days in a row without a pause are no downtime without an end."""
    schedule = schedule_of(NODE, datetime(2026, 12, 5), 24 * 60, "UTC", "FREQ=WEEKLY;BYDAY=SA,SU")
    now = datetime(2026, 12, 12, 12, tzinfo=UTC)
    assert under_way(schedule, now) == datetime(2026, 12, 13, tzinfo=UTC)
    assert next_start(schedule, now) == datetime(2026, 12, 13, tzinfo=UTC)


def test_what_a_person_wrote_in_datadog_is_read_as_well() -> None:
    """An end in UTC, another order of the parts, a duration in another unit, a start without seconds."""
    ours = schedule_of(NODE, datetime(2026, 12, 6, 2), 120, "Europe/Berlin", "FREQ=WEEKLY;BYDAY=SU")
    other = {"start": "2026-12-06T02:00", "duration": "120m", "rrule": "BYDAY=SU;INTERVAL=1;FREQ=WEEKLY"}
    theirs = {"timezone": "Europe/Berlin", "recurrences": [other]}
    now = datetime(2026, 12, 1, tzinfo=ZoneInfo("Europe/Berlin"))
    assert in_terms_of(ours, theirs, now) == theirs
    until = {**theirs, "recurrences": [{**other, "rrule": "FREQ=WEEKLY;BYDAY=SU;UNTIL=20270101T000000Z"}]}
    assert next_start(until, now) is not None
    assert in_terms_of(ours, until, now) != until
