"""Queries of metrics over time, v1: one metric, its tags, buckets of time, and sums, means or extremes of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from .account import Account, Json, Metric, Refusal, Request
from .queries import TERM
from .routes import operation

AGGREGATORS: dict[str, Callable[[list[float]], float]] = {
    "sum": sum,
    "avg": lambda values: sum(values) / len(values),
    "min": min,
    "max": max,
}
SUFFIX = re.compile(r"\.(as_count|rollup)\(([^()]*)\)")
LENGTHS = ((3600, 20), (4 * 3600, 60), (86400, 300), (2 * 86400, 600), (7 * 86400, 3600))
"""Length of a bucket, in seconds, by the longest period that has it, where the query names none."""

LONGEST = 4 * 3600
MISSING = "N/A"


@operation("GET", "/api/v1/query", "QueryMetrics", "timeseries_query")
def query(account: Account, request: Request) -> Json:
    """The series of one metric, one for each group."""
    start, end, text = request.number("from"), request.number("to"), request.query.get("query", "")
    if start is None or end is None or not text:
        raise Refusal(400, "The parameters 'from', 'to' and 'query' are required")
    term = TERM.fullmatch(text)
    space = text.partition(":")[0]
    if term is None or space not in AGGREGATORS:
        raise Refusal(400, f"Error parsing query: unable to parse {text}: Rule 'scope_expr' didn't match")
    name, tags = term["metric"], [tag.strip() for tag in (term["by"] or "").split(",") if tag.strip()]
    length = next((seconds for longest, seconds in LENGTHS if end - start <= longest), LONGEST)
    over_time, counts = "avg", False
    for function, arguments in SUFFIX.findall(term["suffix"]):
        if function == "as_count":
            over_time, counts = "sum", True
        else:
            over_time, _, given = (part.strip() for part in arguments.partition(","))
            length = int(given or length)
    kind = account.state.metrics.get(name, Metric()).kind
    if counts and kind == "gauge":
        # Modifiers of a count do nothing to a gauge.
        over_time = over_time if "rollup" in term["suffix"] else "avg"
    points = [
        point
        for point in account.state.points.get(name, ())
        if start <= point.moment <= end and _matches(term["scope"], point.tags)
    ]
    groups: dict[tuple[str, ...], dict[int, dict[frozenset[str], list[float]]]] = {}
    for point in points:
        bucket = int(point.moment // length * length)
        if bucket >= start:
            key = tuple(f"{tag}:{_value(tag, point.tags)}" for tag in tags)
            groups.setdefault(key, {}).setdefault(bucket, {}).setdefault(point.tags, []).append(point.value)
    series = [
        _series(
            name,
            text,
            space,
            length,
            key,
            {
                bucket: AGGREGATORS[space]([AGGREGATORS[over_time](values) for values in sources.values()])
                for bucket, sources in sorted(buckets.items())
            },
        )
        for key, buckets in sorted(groups.items())
    ]
    return {
        "status": "ok",
        "res_type": "time_series",
        "from_date": start * 1000,
        "to_date": end * 1000,
        "query": text,
        "group_by": tags,
        "message": "",
        "series": series,
    }


def _series(name: str, text: str, space: str, length: int, key: tuple[str, ...], buckets: dict[int, float]) -> Json:
    return {
        "metric": name,
        "display_name": name,
        "aggr": space,
        "expression": text,
        "scope": ",".join(key) or "*",
        "tag_set": list(key),
        "interval": length,
        "length": len(buckets),
        "start": min(buckets, default=0) * 1000,
        "end": (max(buckets, default=0) + length) * 1000 - 1,
        "pointlist": [[bucket * 1000.0, value] for bucket, value in buckets.items()],
        "query_index": 0,
        "unit": None,
    }


def _value(tag: str, tags: Iterable[str]) -> str:
    """All values of a tag, or what stands for none."""
    values = sorted(one.partition(":")[2] for one in tags if one.startswith(f"{tag}:"))
    return ",".join(values) or MISSING


def _matches(scope: str, tags: frozenset[str]) -> bool:
    for part in (one.strip() for one in scope.split(",")):
        wanted = part.removeprefix("!")
        pattern = re.compile(".*".join(map(re.escape, wanted.split("*"))))
        found = part == "*" or any(map(pattern.fullmatch, tags))
        if found == part.startswith("!"):
            return False
    return True
