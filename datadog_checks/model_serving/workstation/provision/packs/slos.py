"""An SLO of a pack, those of single endpoints and of variants, and the alerts on their burn rates."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, replace

from ..query import parse_metric_expression
from ..query.rules import metrics_of
from ..query.tree import Condition, Tag
from ..values import SloValues, Values
from . import MonitorEntry, SloEntry
from .queries import keys_of, negated, number_text, read_condition, takes_all
from .variants import divided, generating, lacking_tags, may_meet

OF_THE_WHOLE = ("enabled", "scope", "endpoints", "variants")
"""What is said of an SLO itself, and not handed down to that of an endpoint or of a variant."""


def settle_slo(entry: SloEntry, values: Values) -> SloEntry:
    """The SLO as it will be, of all endpoints, of one, or of a variant. Raises DocumentError about a value that is
    impossible."""
    said, path = slo_values(entry, values)
    if said is None:
        return entry
    if said.target is not None and not 0 < said.target < 100:
        raise values.fail(f"{path}.target", f"must be a percentage between 0 and 100, such as 99.5, not {said.target}")
    if said.target is not None and said.target < 1:
        raise values.fail(f"{path}.target", f"is {said.target} %: for a share of 1 write {said.target * 100:g}")
    target = entry.target if said.target is None else said.target
    if said.warning is not None and not target < said.warning < 100:
        raise values.fail(
            f"{path}.warning", f"{said.warning} must lie between the target {number_text(target)} and 100"
        )
    for name in ("threshold", "slice"):
        if getattr(said, name) is not None and entry.type != "time_slice":
            raise values.fail(f"{path}.{name}", "is for an SLO by time slices; this one counts requests")
    if said.threshold is not None and said.threshold <= 0:
        raise values.fail(f"{path}.threshold", f"must be a number of seconds above 0, not {said.threshold}")
    return replace(
        entry,
        target=target,
        timeframe=said.timeframe or entry.timeframe,
        threshold=entry.threshold if said.threshold is None else said.threshold,
        slice=said.slice or entry.slice,
    )


def slo_values(entry: SloEntry, values: Values) -> tuple[SloValues | None, str]:
    """What is said of an SLO, and where; of one endpoint or a variant also what is said of the SLO itself."""
    base = values.slos.get(entry.base or entry.key)
    if base is None or not entry.base:
        return base, f"slos.{entry.base or entry.key}"
    if entry.variant:
        own, place = base.variants[entry.variant], f"variants.{entry.variant}"
    else:
        own = next(said for name, said in base.endpoints.items() if name.lower() == entry.endpoint)
        place = f"endpoints.{entry.endpoint}"
    merged = {
        one.name: value
        for one in fields(SloValues)
        if one.name not in OF_THE_WHOLE and (value := getattr(own, one.name)) not in (None, ())
    }
    return replace(base, **merged), f"slos.{entry.base}.{place}"


def slo_conditions(entry: SloEntry, values: Values) -> list[Condition]:
    """What narrows the queries of an SLO: the user's scope, what it is of, and what others are of. That of an endpoint
    or of a variant is of what the user names, generative or not, whatever serves it."""
    said = slo_values(entry, values)[0] or SloValues()
    scope = said.scope or values.everywhere.scope
    conditions = [read_condition(scope)] if scope else []
    if entry.endpoint:
        conditions.append(Tag("endpoint_name", entry.endpoint))
    elif entry.variant:
        conditions.append(read_condition(entry.within))
    else:
        if entry.generative and values.generative:
            conditions.append(generating(values, entry.generative))
        if entry.except_for:
            conditions.append(read_condition(entry.except_for))
    return [*conditions, *(negated(read_condition(one)) for one in entry.beyond)]


def slos_of(entry: SloEntry, values: Values) -> list[SloEntry]:
    """The SLO itself, those of the endpoints that the values name, and those of variants, each in their order.

    A series that a variant takes is of that variant alone. Raises DocumentError about an endpoint or a variant that is
    impossible.
    """
    said = values.slos.get(entry.key) or SloValues()
    endpoints = [_of_endpoint(entry, name, values) for name in said.endpoints]
    variants = list(_variants(entry, said, values, endpoints))
    whole = replace(entry, beyond=tuple(one.scope or "*" for one in said.variants.values()))
    return [whole, *endpoints, *variants]


def alerts_of(entry: MonitorEntry, slo: SloEntry, values: Values) -> list[MonitorEntry]:
    """The alert on the burn rate of an SLO: of the endpoints that the values name, or, if they name none, of all; and
    of its variants."""
    parts = slos_of(slo, values)[1:]
    if entry.named and not parts and entry.key in values.monitors:
        raise values.fail(
            f"monitors.{entry.key}",
            "is there only for endpoints and variants that have an SLO of their own: name them under `slos`, "
            f"`{slo.key}`, `endpoints` or `variants`",
        )
    whole = [] if entry.named or any(one.endpoint for one in parts) else [entry]
    return [
        *whole,
        *(
            replace(
                entry,
                key=f"{entry.key}{one.key.removeprefix(slo.key)}",
                base=entry.key,
                title=f"{entry.title}: {one.endpoint or one.variant}",
                query=entry.query.replace(f"${{slo:{slo.key}}}", f"${{slo:{one.key}}}"),
                endpoint=one.endpoint,
                within=one.within,
            )
            for one in parts
        ),
    ]


def _of_endpoint(entry: SloEntry, name: str, values: Values) -> SloEntry:
    path, said = f"slos.{entry.key}.endpoints", values.slos[entry.key]
    if not re.fullmatch(r"[\w./-]+", name):
        raise values.fail(path, f"`{name}` is no value of the tag endpoint_name: write it as Datadog shows it")
    twins = [one for one in said.endpoints if _slug(one) == _slug(name)]
    if len(twins) > 1:
        raise values.fail(path, f"{' and '.join(f'`{one}`' for one in twins)} are one endpoint to Datadog")
    # Datadog keeps values of tags in small letters.
    own = Tag("endpoint_name", name.lower())
    scopes = {variant: one.scope or "*" for variant, one in said.variants.items()}
    for variant, scope in scopes.items():
        if takes_all(read_condition(scope), own):
            raise values.fail(
                f"{path}.{name}",
                f"the variant `{variant}` takes all of this endpoint with `{scope}`: leave the endpoint out, or write "
                "the variant without it",
            )
    return replace(
        entry,
        key=f"{entry.key}.{_slug(name)}",
        base=entry.key,
        title=f"{entry.title}: {name}",
        endpoint=name.lower(),
        beyond=tuple(scope for scope in scopes.values() if may_meet(own, read_condition(scope))),
    )


def _variants(entry: SloEntry, said: SloValues, values: Values, endpoints: list[SloEntry]) -> Iterator[SloEntry]:
    """The variants that are not left out."""
    path = f"slos.{entry.key}.variants"
    taken = {one.key for pack in values.available.values() for one in pack.slos} | {one.key for one in endpoints}
    texts = [text for text in (entry.good, entry.total, entry.query) if text]
    counted = sorted({one.name for text in texts for one in metrics_of(parse_metric_expression(text))})
    for one in divided(entry.key, said.variants, values, path, taken, "SLO"):
        for tag in sorted(keys_of(one.condition)):
            # Good and all events have to be those of the same series.
            if lacking := [metric for metric in counted if lacking_tags([metric])(tag)]:
                raise values.fail(
                    f"{path}.{one.name}.scope",
                    f"{entry.key} can't be told apart by `{tag}`, which the series of {', '.join(lacking)} lack: write "
                    "a scope by `endpoint_name` or by tags of your own",
                )
        if said.variants[one.name].enabled:
            yield replace(
                entry,
                key=f"{entry.key}.{one.name}",
                base=entry.key,
                title=f"{entry.title}: {one.name}",
                variant=one.name,
                within=one.scope,
                beyond=one.beyond,
            )


def _slug(name: str) -> str:
    """The name of an endpoint as a part of a key."""
    return re.sub(r"[^a-z0-9_.-]", "_", name.lower())
