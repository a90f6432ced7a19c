"""A monitor of a pack, with what the user's values make of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from ..query.known import Known
from ..query.problems import Place
from ..query.tree import (
    EventMonitor,
    MetricMonitor,
    MonitorQuery,
    ServiceCheckMonitor,
    SloMonitor,
    Text,
    Window,
    seconds,
)
from ..query.windows import check_window
from ..values import Values
from . import MonitorEntry, SloEntry
from .queries import (
    joined,
    number_text,
    plain_tags,
    read_condition,
    scoped,
    window_of,
    with_window,
)
from .slos import slo_conditions, slo_values
from .thresholds import settle_thresholds
from .variants import generating, of_variant

EACH_GROUP = "..."
"""In place of tags by which notifications are grouped: all groups that a monitor has."""

LONGEST_BURN_WINDOW = 48 * 3600
SHORTEST_BURN_WINDOW = 3600


@dataclass(frozen=True, slots=True)
class Settled:
    """What is final about a monitor. `no_data` is in minutes, `auto_resolve` in hours, None for never.

    `guards` are the queries that must alert with it; `runbook` is empty where none is published. Of `notify_by` None is
    a notification for each group.
    """

    entry: MonitorEntry
    query: MonitorQuery
    thresholds: Mapping[str, float]
    severity: str
    priority: int
    team: str
    tags: tuple[str, ...]
    runbook: str
    no_data: int | None
    auto_resolve: int | None
    renotify: int | None
    evaluation_delay: int | None
    notify_by: tuple[str, ...] | None = None
    guards: Mapping[str, MetricMonitor] = field(default_factory=dict)


def settle(entry: MonitorEntry, values: Values, slo: SloEntry | None) -> Settled:
    """The monitor as it will be; `slo` is the settled SLO that it watches.

    Raises DocumentError about a value that is impossible for this monitor.
    """
    own = {name: values.own(entry, name)[0] for name in ("severity", "team", "tags", "runbook")}
    said = {name: values.said(entry, name)[0] for name in ("priority", "renotify", "evaluation_delay")}
    auto_resolve, path = values.said(entry, "auto_resolve")
    if auto_resolve is not None and auto_resolve % 60:
        raise values.fail(path, "must be whole hours, such as 2h")
    query, thresholds = _query(entry, values, slo)
    for name in ("min_errors", "min_requests"):
        value, path = values.own(entry, name)
        if value is not None and name.removeprefix("min_") not in entry.guards:
            raise values.fail(path, f"is not for {entry.key}, which asks for no number of {name.removeprefix('min_')}")
    page = entry.base or entry.origin or entry.key
    endpoint = (f"endpoint_name:{entry.endpoint}",) if entry.endpoint else ()
    delay = said["evaluation_delay"]
    return Settled(
        entry=entry,
        query=query,
        thresholds=thresholds,
        severity=own["severity"] or entry.severity,
        priority=said["priority"] or entry.priority,
        team=own["team"] or values.teams.get(entry.pack) or values.everywhere.team or entry.team,
        tags=(*endpoint, *(values.everywhere.tags or ()), *(own["tags"] or ())),
        runbook=own["runbook"] or entry.runbook or values.runbooks.replace("{monitor}", page),
        no_data=_no_data(entry, values, query),
        auto_resolve=entry.auto_resolve if auto_resolve is None else auto_resolve // 60 or None,
        renotify=said["renotify"] or None,
        evaluation_delay=delay * 60 if delay else None,
        notify_by=_notify_by(entry, values),
        guards=_guards(entry, values, query, slo),
    )


def _guards(
    entry: MonitorEntry, values: Values, settled: MonitorQuery, slo: SloEntry | None
) -> dict[str, MetricMonitor]:
    """The queries that must alert as well, with the user's scope, window and least numbers.

    Of an alert on an SLO they count what the SLO counts, over the long window.
    """
    guards = {}
    for name, query in entry.guard_trees().items():
        if slo is None:
            query = _narrowed(entry, values, query)
            window, _ = _window(entry, values)
        else:
            conditions = slo_conditions(slo, values)
            query = replace(query, expression=scoped(query.expression, *conditions)) if conditions else query
            window = window_of(settled)
        if window is not None:
            query = with_window(query, window)
        least, _ = values.said(entry, f"min_{name}")
        if least is not None:
            query = replace(query, comparison=replace(query.comparison, threshold=number_text(least)))
        guards[name] = query
    return guards


def _narrowed(entry: MonitorEntry, values: Values, query: MetricMonitor) -> MetricMonitor:
    """The query with the user's scope, and without or with what generates."""
    scope, _ = values.said(entry, "scope")
    conditions = [read_condition(scope)] if scope is not None else []
    conditions += of_variant(entry, query)
    # A variant is of what its scope says, generative or not.
    if entry.generative and values.generative and not (entry.variant and entry.generative == "except"):
        conditions.append(generating(values, entry.generative))
    return replace(query, expression=scoped(query.expression, *conditions)) if conditions else query


def _notify_by(entry: MonitorEntry, values: Values) -> tuple[str, ...] | None:
    """The groups that have a notification of their own. Said of all monitors, those of them that this one has."""
    said, path = values.said(entry, "notify_by")
    if said is None:
        return entry.notify_by
    if not path.startswith("monitors."):
        return notified(entry, said)
    if entry.is_composite or not entry.groups:
        kind = "a composite monitor" if entry.is_composite else "a monitor without groups"
        raise values.fail(path, f"{entry.key} is {kind}, which Datadog does not group its notifications of")
    if not path.startswith(f"monitors.{entry.origin or entry.key}."):
        # Said of the one that this one complements, which has a tag more.
        return notified(entry, said)
    wrong = [tag for tag in said if tag != "*" and tag not in entry.groups]
    if wrong:
        raise values.fail(path, f"`{wrong[0]}` is no group of {entry.key}; it has {', '.join(entry.groups)}")
    return None if set(said) == set(entry.groups) else said


def notified(entry: MonitorEntry, tags: Collection[str]) -> tuple[str, ...] | None:
    """Those of the tags by which this monitor can group its notifications; `*` where it has none of them, None where
    it has a notification for each group anyhow."""
    if entry.is_composite or not entry.groups or entry.form in ("slo", "event"):
        return None
    if entry.notify_by == ("*",):
        return entry.notify_by
    if EACH_GROUP in tags:
        return None
    common = tuple(tag for tag in entry.groups if tag in tags)
    return None if common == entry.groups else common or ("*",)


def _query(entry: MonitorEntry, values: Values, slo: SloEntry | None) -> tuple[MonitorQuery, dict[str, float]]:
    query = entry.tree
    match query:
        case MetricMonitor():
            _refuse(entry, values, ("long_window", "short_window"), "is for burn rates; write `window`")
            return _metric(entry, values, query)
        case ServiceCheckMonitor():
            _refuse(
                entry,
                values,
                ("window", "long_window", "short_window"),
                "means nothing to a service check, which counts runs: write `thresholds`",
            )
            return _service_check(entry, values, query)
        case SloMonitor():
            _refuse(entry, values, ("window",), "is for metrics; write `long_window` and `short_window`")
            _refuse(entry, values, ("scope",), f"is that of the SLO: write it under `slos`, `{entry.slo}`")
            assert slo is not None
            return _burn_rate(entry, values, query, slo)
        case EventMonitor():
            critical = {"critical": float(query.comparison.threshold)}
            _refuse(
                entry, values, ("thresholds", "scope", "long_window", "short_window"), "is not for monitors of events"
            )
            window, _ = values.own(entry, "window")
            return replace(query, window=Window(window)) if window else query, critical
        case _:
            raise AssertionError(f"{entry.key}: no pack has monitors of this form")


def _refuse(entry: MonitorEntry, values: Values, names: tuple[str, ...], why: str) -> None:
    for name in names:
        value, path = values.own(entry, name)
        if value is not None:
            raise values.fail(path, why)


def _metric(entry: MonitorEntry, values: Values, query: MetricMonitor) -> tuple[MonitorQuery, dict[str, float]]:
    query = _narrowed(entry, values, query)
    window, path = _window(entry, values)
    if window is not None:
        problem = next(check_window(Window(window), Place("", Known())), None)
        if problem is not None or not window.startswith(("last_", "current_")):
            raise values.fail(path, problem.message if problem else f"`{window}` is no window: write 5m, 1h or 1d")
        query = with_window(query, window)
    comparison = query.comparison
    thresholds = settle_thresholds(entry, values, comparison.operator, float(comparison.threshold))
    critical = number_text(thresholds["critical"])
    return replace(query, comparison=replace(comparison, threshold=critical)), thresholds


def _window(entry: MonitorEntry, values: Values) -> tuple[str | None, str]:
    """The window that the user says, and where; what is said of all monitors is not about one of a fixed window."""
    if not entry.fixed_window:
        return values.said(entry, "window")
    window, path = values.own(entry, "window")
    if window is not None:
        assert isinstance(entry.tree, MetricMonitor)
        raise values.fail(path, f"the query of {entry.key} holds for its window of {entry.tree.window.text} alone")
    return None, path


def check_scope(entries: Iterable[MonitorEntry], values: Values) -> None:
    """Raise DocumentError about a scope of all monitors that service checks can't have: about all of these at once."""
    scope = values.everywhere.scope
    if scope is None or plain_tags(read_condition(scope)) is not None:
        return
    keys = [one.key for one in entries if one.form == "service check" and values.own(one, "scope")[0] is None]
    if keys:
        raise values.fail(
            "scope",
            f"`{scope}`: {_too_much(', '.join(keys))}; give each of these a scope of its own under `monitors`, "
            f"such as `{keys[0]}: {{scope: env:prod}}`",
        )


def _too_much(keys: str) -> str:
    return f"the service check of {keys} takes only tags that must all be there or must not, without OR and IN"


def _service_check(
    entry: MonitorEntry, values: Values, query: ServiceCheckMonitor
) -> tuple[MonitorQuery, dict[str, float]]:
    found, path = values.own(entry, "thresholds")
    said: Mapping[str, float | None] = found or {}
    for name, value in said.items():
        if name not in ("critical", "warning", "ok"):
            raise values.fail(f"{path}.{name}", "is for metrics; the recovery of a service check is `ok`")
        if value is not None and (value != int(value) or not 1 <= value <= 99):
            raise values.fail(f"{path}.{name}", f"must be a number of runs from 1 to 99, not {number_text(value)}")
    merged = {**entry.thresholds, **said}
    thresholds = {name: value for name, value in merged.items() if value is not None}
    query = replace(query, last=int(max(thresholds.values())) + 1)
    scope, where = values.said(entry, "scope")
    conditions = [read_condition(scope)] if scope is not None else []
    tags = plain_tags(joined(*conditions, *of_variant(entry, query)))
    if tags is None:
        raise values.fail(where, f"`{scope}`: {_too_much(entry.key)}; write tags such as `env:prod,!region:eu` alone")
    over, exclude = (tuple(Text(tag) for tag in some) for some in tags)
    return replace(query, over=over or query.over, exclude=(*query.exclude, *exclude)), thresholds


def _burn_rate(
    entry: MonitorEntry, values: Values, query: SloMonitor, slo: SloEntry
) -> tuple[MonitorQuery, dict[str, float]]:
    found, path = values.own(entry, "thresholds")
    said: Mapping[str, float | None] = found or {}
    for name in said:
        if name not in ("critical", "warning"):
            raise values.fail(f"{path}.{name}", "is not for burn rates, which have `critical` and `warning`")
    rate = said.get("critical") or entry.rates[slo.timeframe]
    most = round(100 / (100 - slo.target), 2)
    if not 0 < rate <= most:
        where = f"{path}.critical" if "critical" in said else f"{slo_values(slo, values)[1]}.target"
        raise values.fail(
            where,
            f"a target of {number_text(slo.target)} % can burn at most {number_text(most)} times as fast as allowed, "
            f"so the threshold {number_text(rate)} of {entry.key} can never be reached: give that monitor a "
            f"`critical` threshold of {number_text(most)} or less, or raise the target",
        )
    thresholds = {"critical": float(rate)}
    warning = said.get("warning")
    if warning is not None:
        if not 0 < warning < rate:
            raise values.fail(f"{path}.warning", f"{number_text(warning)} must lie between 0 and {number_text(rate)}")
        thresholds["warning"] = warning
    assert query.long_window is not None
    assert query.short_window is not None
    (own_long, long_path), (own_short, short_path) = (
        values.own(entry, name) for name in ("long_window", "short_window")
    )
    long, short = own_long or query.long_window.value, own_short or query.short_window.value
    if not SHORTEST_BURN_WINDOW <= (seconds(long) or 0) <= LONGEST_BURN_WINDOW:
        raise values.fail(long_path, f"`{long}` must be from 1h to 48h")
    if not (seconds(short) or 0) < (seconds(long) or 0):
        where = short_path if own_short else long_path
        raise values.fail(where, f"the short window `{short}` must be shorter than the long one, `{long}`")
    return (
        replace(
            query,
            over=Text(slo.timeframe),
            long_window=Text(long),
            short_window=Text(short),
            comparison=replace(query.comparison, threshold=number_text(rate)),
        ),
        thresholds,
    )


def _no_data(entry: MonitorEntry, values: Values, query: MonitorQuery) -> int | None:
    said, path = values.said(entry, "no_data")
    # Said of all monitors, it is about those that look for missing data at all.
    wanted = entry.no_data if said is None or (not path.startswith("monitors.") and entry.no_data is None) else said
    if not wanted:
        return None
    if isinstance(query, EventMonitor) or entry.on_missing_data:
        raise values.fail(path, f"{entry.key} counts what happens: that nothing happens is no missing data")
    if isinstance(query, SloMonitor):
        raise values.fail(path, "an SLO has no missing data: time without requests counts as good")
    least = 2 * query.window.seconds // 60 if isinstance(query, MetricMonitor) else 2
    if wanted >= least:
        return int(wanted)
    if path.startswith("monitors.") and said is not None:
        raise values.fail(
            path, f"{wanted} minutes are less than twice the window of {entry.key}: write {least}m or more"
        )
    return least
