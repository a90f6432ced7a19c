"""When a downtime is: its schedule in the form of Datadog's API, and where it stands at a moment.

A schedule is `{start, end}`, both in UTC, or `{timezone, recurrences}` with `{start, duration, rrule}` in local time.
Datadog takes no start in the past, and no other start for a downtime that is under way. So what is wanted keeps the
start that a person wrote, and is read anew at the moment at which it is compared or sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice, pairwise, zip_longest
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from dateutil.rrule import rrulestr
from dateutil.zoneinfo import get_zonefile_instance

from ...errors import ProvisionError
from .document import Node, suggestion
from .query.tree import seconds

Json = dict[str, Any]

UTC_NAME = "UTC"
AT_ONCE = timedelta(minutes=1)
"""What starts sooner than this may have started by the time that Datadog looks at it."""

LONGEST = 366 * 24 * 60
"""Minutes that a downtime may last."""

SAMPLE = 60
"""How many starts tell whether there is ever a pause between two downtimes: more than there are days in a month."""

DAYS = {
    "monday": "MO",
    "tuesday": "TU",
    "wednesday": "WE",
    "thursday": "TH",
    "friday": "FR",
    "saturday": "SA",
    "sunday": "SU",
}
GROUPS_OF_DAYS = {"weekdays": ("MO", "TU", "WE", "TH", "FR"), "weekends": ("SA", "SU")}
FREQUENCIES = {"day": "DAILY", "week": "WEEKLY", "month": "MONTHLY", "year": "YEARLY"}
REPEATS = re.compile(
    r"(?:(?P<once>daily|weekly|monthly|yearly)|every (?:(?P<number>\d{1,3}) )?(?P<unit>day|week|month|year)s?)"
    r"(?: on (?P<days>[a-z]+(?:(?:,\s*| and )[a-z]+)*))?(?: until (?P<until>\d{4}-\d{2}-\d{2}))?"
)
FORMS = "write `daily`, `weekly on sunday`, `every 2 weeks on monday, friday until 2027-03-31`, or an RRULE such as "
EXAMPLE = "FREQ=MONTHLY;BYDAY=1SU"

DAY = "(?:MO|TU|WE|TH|FR|SA|SU)"
YEAR_DAY = r"-?(?:[1-9]\d?|[12]\d\d|3[0-5]\d|36[0-6])"
WEEK = r"(?:[1-9]|[1-4]\d|5[0-3])"
PARTS = {
    "FREQ": "|".join(FREQUENCIES.values()),
    "INTERVAL": r"[1-9]\d{0,2}",
    "BYDAY": rf"(?:[+-]?{WEEK})?{DAY}",
    "BYMONTHDAY": r"-?(?:[1-9]|[12]\d|3[01])",
    "BYMONTH": r"[1-9]|1[0-2]",
    "BYSETPOS": YEAR_DAY,
    "BYWEEKNO": f"-?{WEEK}",
    "BYYEARDAY": YEAR_DAY,
    "WKST": DAY,
    "UNTIL": r"\d{8}(?:T\d{6})?",
}
"""What an RRULE of a downtime may say: the forms of RFC 5545, of which the `BY` ones may be lists."""

NOT_TAKEN = {
    "DTSTART": "Datadog takes none: write `starts`",
    "DTEND": "Datadog takes none: write `lasts`",
    "DURATION": "Datadog takes none: write `lasts`",
    "COUNT": "a number would begin anew each time that the downtime is made again: write UNTIL",
    "BYHOUR": "the time of the day is that of `starts`; for several a day write several downtimes",
    "BYMINUTE": "the time of the day is that of `starts`",
    "BYSECOND": "the time of the day is that of `starts`",
}
"""Parts of an RRULE that a downtime can't have."""


def read_zone(node: Node) -> str:
    """The name of a time zone. Raises DocumentError."""
    name = node.text()
    if name == UTC_NAME:
        return name
    known = available_timezones() or set(get_zonefile_instance().zones)
    if name not in known:
        # Abbreviations look alike and mean other times.
        near = suggestion(name, sorted(one for one in known if "/" in one))
        hint = near if near.startswith("did you mean") else "write one such as Europe/Berlin or UTC"
        raise node.fail(f"there is no time zone `{name}`; {hint}")
    return name


def read_start(node: Node) -> datetime:
    """A local time. Raises DocumentError."""
    value, found = node.value, None
    if isinstance(value, datetime):
        found = value
    elif isinstance(value, str) and re.match(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}", value):
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            found = None
    if found is None:
        raise node.fail(f"must be a date and a time such as 2026-12-05T02:00, not `{value}`")
    if found.tzinfo is not None:
        raise node.fail(f"`{value}` has an offset: write the local time, such as 2026-12-05T02:00, and `timezone`")
    if not 2000 <= found.year < 2200:
        raise node.fail(f"`{value}` is no year of a downtime")
    return found.replace(microsecond=0)


def read_repeats(node: Node) -> str:
    """An RRULE, also from words such as `weekly on sunday`. Raises DocumentError."""
    text = " ".join(node.text().split())
    if match := REPEATS.fullmatch(text.lower()):
        return _rule_of_words(node, match)
    if "=" not in text:
        raise node.fail(f"`{text}` isn't understood: {FORMS}`{EXAMPLE}`")
    rule = text.upper().removeprefix("RRULE:").strip(";")
    parts = _parts(rule)
    for name, value in parts.items():
        _check_part(node, name, value)
    if len(parts) < rule.count(";") + 1:
        raise node.fail(f"`{rule}` says one thing twice")
    if "FREQ" not in parts:
        raise node.fail(f"needs FREQ, one of {', '.join(FREQUENCIES.values())}, as in `{EXAMPLE}`")
    if re.search(r"\d", parts.get("BYDAY", "")) and parts["FREQ"] in ("DAILY", "WEEKLY"):
        raise node.fail(f"`BYDAY={parts['BYDAY']}` is for months and years, as in `{EXAMPLE}`")
    try:
        rrulestr(rule, dtstart=datetime(2026, 1, 1))
    except ValueError as error:
        raise node.fail(f"`{rule}` is no RRULE ({error}); write one such as `{EXAMPLE}`") from None
    return rule


def _check_part(node: Node, name: str, value: str) -> None:
    if name in NOT_TAKEN:
        raise node.fail(f"has {name}: {NOT_TAKEN[name]}")
    if name not in PARTS:
        raise node.fail(f"`{name}={value}` is no part of an RRULE; {suggestion(name, PARTS)}")
    if name == "UNTIL" and value.endswith("Z"):
        raise node.fail("UNTIL is in the time of `timezone`: write it without Z, such as UNTIL=20270331T000000")
    if name == "FREQ" and value not in FREQUENCIES.values():
        raise node.fail(f"`FREQ={value}`: a downtime is one of {', '.join(FREQUENCIES.values())}")
    values = value.split(",") if name.startswith("BY") else [value]
    if not all(re.fullmatch(PARTS[name], one, re.ASCII) for one in values):
        raise node.fail(f"`{name}={value}` is no {name} of an RRULE; write one such as `{EXAMPLE}`")


def _rule_of_words(node: Node, match: re.Match[str]) -> str:
    frequency = match["once"].upper() if match["once"] else FREQUENCIES[match["unit"]]
    rule = f"FREQ={frequency}"
    if match["number"]:
        if not int(match["number"]):
            raise node.fail("must repeat every 1 or more")
        rule += f";INTERVAL={int(match['number'])}"
    if match["days"]:
        if frequency != "WEEKLY":
            raise node.fail(f"days are for weeks: `weekly on {match['days']}`, or an RRULE such as `{EXAMPLE}`")
        rule += f";BYDAY={','.join(_days(node, match['days']))}"
    if match["until"]:
        try:
            datetime.fromisoformat(match["until"])
        except ValueError:
            raise node.fail(f"there is no day {match['until']}") from None
        rule += f";UNTIL={match['until'].replace('-', '')}T235959"
    return rule


def _days(node: Node, text: str) -> list[str]:
    found: list[str] = []
    for word in re.split(r",\s*| and ", text):
        # As people shorten them: `sun`, and `sundays`.
        days = [code for name, code in DAYS.items() if len(word) > 2 and name.startswith(word.removesuffix("s"))]
        if word not in GROUPS_OF_DAYS and len(days) != 1:
            raise node.fail(f"`{word}` is no day; {suggestion(word, (*DAYS, *GROUPS_OF_DAYS))}")
        found += GROUPS_OF_DAYS.get(word, days)
    return list(dict.fromkeys(found))


def schedule_of(node: Node, starts: datetime, minutes: int, zone: str, rule: str | None) -> Json:
    """The schedule of a downtime that lasts so many minutes. Raises DocumentError about one that can't be."""
    if rule is None:
        # In UTC: between two local times there may be an hour more or less.
        start = starts.replace(tzinfo=zone_of(zone)).astimezone(UTC)
        return {"start": start.isoformat(), "end": (start + timedelta(minutes=minutes)).isoformat()}
    some = list(islice(rrulestr(rule, dtstart=starts), SAMPLE))
    if not some:
        raise node.fail(f"`{rule}` has no day from {starts:%Y-%m-%d} on")
    length = timedelta(minutes=minutes)
    if len(some) == SAMPLE and all(later - earlier <= length for earlier, later in pairwise(some)):
        raise node.fail(f"lasts {length_text(minutes)}, until it starts again, so it would never end: make it shorter")
    # Datadog's guide wants the start of the first one, which a rule may have on a later day.
    recurrence = {"start": some[0].isoformat(), "duration": length_text(minutes), "rrule": rule}
    return {"timezone": zone, "recurrences": [recurrence]}


def length_text(minutes: int) -> str:
    """A duration as people and Datadog write it, such as `90m`, `2h` or `1d`."""
    for unit, size in (("d", 24 * 60), ("h", 60)):
        if minutes % size == 0:
            return f"{minutes // size}{unit}"
    return f"{minutes}m"


def zone_of(name: str | None) -> tzinfo:
    """The time zone, UTC without a name. Raises ProvisionError for one that nobody here knows."""
    if name in (None, "", UTC_NAME):
        return UTC
    try:
        return ZoneInfo(str(name))
    except (OSError, ValueError, KeyError):
        # Windows and small images know none by themselves.
        found: tzinfo | None = get_zonefile_instance().get(name)
        if found is None:
            raise ProvisionError(
                f"there is no time zone `{name}` on this machine: install the package `tzdata`"
            ) from None
        return found


def is_skipped(local: datetime, zone: str) -> bool:
    """Whether there is no such local time, since clocks go forward over it."""
    there = zone_of(zone)
    return local.replace(tzinfo=there).astimezone(UTC).astimezone(there).replace(tzinfo=None) != local


def moment_of(text: Any) -> datetime | None:
    """A moment of the API, which is in UTC where it doesn't say."""
    if not text:
        return None
    found = datetime.fromisoformat(str(text))
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def next_start(schedule: Mapping[str, Any], now: datetime) -> datetime | None:
    """When it starts next, None where it doesn't any more."""
    if "recurrences" not in schedule:
        start = moment_of(schedule.get("start"))
        return start if start is not None and start > now else None
    zone = zone_of(schedule.get("timezone"))
    local = now.astimezone(zone).replace(tzinfo=None)
    found = [start for one in _rules(schedule) if (start := one[0].after(local))]
    return min(found).replace(tzinfo=zone) if found else None


def under_way(schedule: Mapping[str, Any], now: datetime) -> datetime | None:
    """When what is under way ends, None where nothing is. One without an end is of no values file."""
    for start, end in _latest(schedule, now):
        if start <= now < end:
            return end
    return None


def ended(schedule: Mapping[str, Any], now: datetime) -> datetime | None:
    """When it was over for good, None where it isn't."""
    if next_start(schedule, now) is not None:
        return None
    ends = [end for _, end in _latest(schedule, now)]
    return max(ends) if ends and max(ends) <= now else None


def _latest(schedule: Mapping[str, Any], now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Start and end of what started last, of each recurrence."""
    if "recurrences" not in schedule:
        start, end = (moment_of(schedule.get(name)) for name in ("start", "end"))
        if start is not None and end is not None:
            yield start, end
        return
    zone = zone_of(schedule.get("timezone"))
    local = now.astimezone(zone).replace(tzinfo=None)
    for rules, length in _rules(schedule):
        if last := rules.before(local, inc=True):
            start = last.replace(tzinfo=zone)
            yield start, (start.astimezone(UTC) + length).astimezone(zone)


def to_send(schedule: Mapping[str, Any], now: datetime) -> Json:
    """The schedule of a new downtime: without a start that has passed, thus from now on, and where it recurs from the
    next time on."""
    soon = now + AT_ONCE
    if "recurrences" not in schedule:
        start = moment_of(schedule.get("start"))
        return {name: value for name, value in schedule.items() if name != "start" or (start and start > soon)}
    zone = zone_of(schedule.get("timezone"))
    sent = []
    for one in schedule["recurrences"]:
        start = next_start({**schedule, "recurrences": [one]}, soon)
        begun = datetime.fromisoformat(one["start"]).replace(tzinfo=zone) <= soon
        sent.append({**one, "start": start.replace(tzinfo=None).isoformat()} if begun and start else dict(one))
    return {**schedule, "recurrences": sent}


def in_terms_of(wanted: Mapping[str, Any], actual: Mapping[str, Any], now: datetime) -> Json:
    """What is wanted, in the words of what the account has where both mean the same from now on."""
    if "recurrences" not in wanted:
        return {name: _same_moment(value, actual.get(name), now, name == "start") for name, value in wanted.items()}
    said = []
    for one, other in zip_longest(wanted["recurrences"], actual.get("recurrences") or ()):
        if one is not None and other is not None:
            said.append(_recurrence_in_terms_of(wanted, one, actual, other, now))
        elif one is not None:
            said.append(dict(one))
    return {**wanted, "recurrences": said}


def _recurrence_in_terms_of(
    wanted: Mapping[str, Any], one: Json, actual: Mapping[str, Any], other: Json, now: datetime
) -> Json:
    said = dict(one)
    if seconds(str(other.get("duration"))) == seconds(one["duration"]):
        said["duration"] = other["duration"]
    if not _same_rule(one["rrule"], str(other.get("rrule") or "")):
        return said
    said["rrule"] = other["rrule"]
    if other.get("start"):
        # With one rule, those that have one start in common have all later ones.
        ours, theirs = (
            next_start({**whole, "recurrences": [part]}, now + AT_ONCE)
            for whole, part in ((wanted, one), (actual, other))
        )
        if ours == theirs:
            said["start"] = other["start"]
    return said


def has_to_be_made_anew(wanted: Mapping[str, Any], actual: Mapping[str, Any], active: bool, now: datetime) -> bool:
    """Whether the API can't change a schedule into the one that is wanted: one that recurs into one that doesn't, and
    the start of what is under way, or into one that is."""
    if ("recurrences" in wanted) != ("recurrences" in actual):
        return True
    said = in_terms_of(wanted, actual, now)
    if "recurrences" in wanted:
        same = all(said.get(name) == actual.get(name) for name in ("timezone", "recurrences"))
        return active and not same
    start = moment_of(wanted.get("start"))
    return said.get("start") != actual.get("start") and (active or (start is not None and start <= now + AT_ONCE))


def _same_moment(ours: Any, theirs: Any, now: datetime, begun_is_begun: bool) -> Any:
    one, other = moment_of(ours), moment_of(theirs)
    if one is None or other is None:
        return ours
    same = one == other or (begun_is_begun and max(one, other) <= now + AT_ONCE)
    return theirs if same else ours


def _same_rule(one: str, other: str) -> bool:
    first, second = ({"INTERVAL": "1", **_parts(text.upper())} for text in (one, other))
    return first == second


def _parts(rule: str) -> dict[str, str]:
    return {name.strip(): value.strip() for name, _, value in (part.partition("=") for part in rule.split(";"))}


def _rules(schedule: Mapping[str, Any]) -> Iterator[tuple[Any, timedelta]]:
    """Of each recurrence the moments at which it starts, in local time, and how long it lasts."""
    for one in schedule["recurrences"]:
        if one.get("start"):
            rule = re.sub(r"(UNTIL=\w+)Z", r"\1", str(one["rrule"]).upper())
            start = datetime.fromisoformat(str(one["start"])).replace(tzinfo=None)
            yield rrulestr(rule, dtstart=start), timedelta(seconds=seconds(str(one["duration"])) or 0)


def moment_text(moment: datetime) -> str:
    """A moment as people write it, in its own time zone."""
    return f"{moment:%a} {moment.day} {moment:%b %Y %H:%M}"


def schedule_text(schedule: Mapping[str, Any], zone: str, now: datetime) -> str:
    """When it is, in words, with the next time at which it starts."""
    if "recurrences" not in schedule:
        start, end = (moment_of(schedule.get(name)) for name in ("start", "end"))
        begins = moment_text(start.astimezone(zone_of(zone))) if start else "at once"
        if end is None:
            return f"once, from {begins} on, without an end ({zone})"
        ends = end.astimezone(zone_of(zone))
        same_day = start is not None and start.astimezone(zone_of(zone)).date() == ends.date()
        return f"once, {begins} to {f'{ends:%H:%M}' if same_day else moment_text(ends)} ({zone})"
    rules = "; ".join(f"{rule_text(one['rrule'])} for {one['duration']}" for one in schedule["recurrences"])
    start = next_start(schedule, now)
    return f"{rules}, next {moment_text(start) if start else 'never'} ({schedule.get('timezone') or UTC_NAME})"


def rule_text(rule: str) -> str:
    """An RRULE in words, where it is one of those that have any here."""
    parts = _parts(rule)
    names = {code: name.title() for name, code in DAYS.items()}
    days = [names.get(code, "") for code in parts.get("BYDAY", "").split(",") if code]
    units = {frequency: unit for unit, frequency in FREQUENCIES.items()}
    if set(parts) - {"FREQ", "INTERVAL", "BYDAY"} or not all(days) or parts.get("FREQ") not in units:
        return rule
    number = parts.get("INTERVAL", "1")
    often = parts["FREQ"].lower() if number == "1" else f"every {number} {units[parts['FREQ']]}s"
    return f"{often} on {', '.join(days)}" if days else often
