"""Shows rounds of runs: to machines as JSON, to people as tables.

The JSON of a round is one object with these keys:

- `round`: number, from 1; `timestamp`: seconds since the epoch; `healthy`: whether all went well
- `instances`: objects with `instance` (number in the file), `label`, `check_id`, `error` (null when it ran),
  `misconfigured`, `warnings`, `metadata` (an object) and `discarded` (what the Agent drops, and why)
- `metrics`: objects with `instance`, `name`, `type` (gauge, count, rate or distribution), `unit` (or null), `tags`,
  `stored_tags`, `host` (empty for the Agent's own) and `value`; a distribution has `count`, `sum`, `min`, `max`,
  `avg`, `p50`, `p75`, `p90`, `p95` and `p99` instead of `value`
- `service_checks`: objects with `instance`, `name`, `status` (ok, warning, critical or unknown), `tags`, `stored_tags`,
  `host` and `message`
- `events`: objects with `instance` and what the check put into the event
- `logs`: objects with `level` and `message`, from level warning up

`tags` are as the check hands them over, `stored_tags` as Datadog stores them and queries must spell them.

An `instance` of null belongs to a check that is not among the instances.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..stored import stored
from .aggregation import Commit, Distribution, SeriesPoint, combine
from .runner import Round, Run

Units = Callable[[str], str | None]
PERCENTILES = (50, 75, 90, 95, 99)


def to_json(round_: Round, units: Units) -> dict[str, Any]:
    """The round in the form that this module describes, ready for `json.dumps`."""
    numbers = {run.check_id: run.instance for run in round_.runs}
    return {
        "round": round_.number,
        "timestamp": round_.timestamp,
        "healthy": round_.healthy,
        "instances": [_instance(run, round_) for run in round_.runs],
        "metrics": [metric for run in round_.runs for metric in _metrics(run, units)],
        "service_checks": [
            {
                "instance": numbers.get(check.check_id),
                "name": check.name,
                "status": check.status.name.lower(),
                "tags": list(check.tags),
                "stored_tags": _stored(check.tags),
                "host": check.host,
                "message": check.message,
            }
            for check in round_.service_checks
        ],
        "events": [{"instance": numbers.get(event.check_id), **event.fields} for event in round_.events],
        "logs": [{"level": logging.getLevelName(line.level).lower(), "message": line.message} for line in round_.logs],
    }


def combined(rounds: Sequence[Round]) -> Round:
    """Several rounds as one, for people.

    Counts and distributions add up, gauges and rates are the last. Of service checks the last of each kind stays, of
    errors and warnings those of any round, once each.
    """
    last = rounds[-1]
    whole = Round(len(rounds), last.timestamp)
    for place, latest in enumerate(last.runs):
        runs = [round_.runs[place] for round_ in rounds]
        errors = list(dict.fromkeys(run.error for run in runs if run.error is not None))
        whole.runs.append(
            Run(
                latest.instance,
                latest.label,
                latest.check_id,
                combine(run.commit for run in runs),
                "\n".join(errors) or None,
                any(run.misconfigured for run in runs),
                list(dict.fromkeys(text for run in runs for text in run.warnings)),
                latest.ended,
            )
        )
    checks = {}
    for round_ in rounds:
        for check in round_.service_checks:
            checks[check.check_id, check.name, check.tags, check.host] = check
        whole.events += round_.events
        whole.metadata.update(round_.metadata)
        whole.logs += [line for line in round_.logs if line not in whole.logs]
    whole.service_checks = list(checks.values())
    return whole


def distribution_summary(distribution: Distribution) -> dict[str, float]:
    """Count, sum, smallest, largest, average and percentiles of a distribution."""
    sketch = distribution.sketch
    summary = {"count": sketch.count, "sum": sketch.sum, "min": sketch.min, "max": sketch.max, "avg": sketch.avg}
    return summary | {f"p{percentile}": sketch.quantile(percentile / 100) for percentile in PERCENTILES}


def common_tags(commit: Commit) -> tuple[str, ...]:
    """The tags that every metric of a commit has."""
    entries: Iterable[SeriesPoint | Distribution] = (*commit.series, *commit.distributions)
    sets = [set(entry.context.tags) for entry in entries]
    return tuple(sorted(set.intersection(*sets))) if len(sets) > 1 else ()


def _instance(run: Run, round_: Round) -> dict[str, Any]:
    return {
        "instance": run.instance,
        "label": run.label,
        "check_id": run.check_id,
        "error": run.error,
        "misconfigured": run.misconfigured,
        "warnings": run.warnings,
        "metadata": {name: value for (check_id, name), value in round_.metadata.items() if check_id == run.check_id},
        "discarded": run.commit.discarded,
    }


def _metrics(run: Run, units: Units) -> Iterable[dict[str, Any]]:
    entries: list[tuple[SeriesPoint | Distribution, str, dict[str, Any]]] = [
        *((series, series.type, {"value": series.value}) for series in run.commit.series),
        *((each, "distribution", dict(distribution_summary(each))) for each in run.commit.distributions),
    ]
    for entry, kind, numbers in sorted(entries, key=lambda item: item[0].context):
        name, tags, host = entry.context
        yield {
            "instance": run.instance,
            "name": name,
            "type": kind,
            "unit": units(name),
            "tags": list(tags),
            "stored_tags": _stored(tags),
            "host": host,
            **numbers,
        }


def _stored(tags: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(map(stored, tags)))
