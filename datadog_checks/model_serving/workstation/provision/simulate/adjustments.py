"""What a user's values and routing have otherwise, where monitors are held against what the packs do by themselves."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from ..packs import MonitorEntry
from ..packs.queries import joined, read_condition
from ..packs.settle import notified
from ..query.render import render_scope
from ..query.tree import And, Condition, Everything, In, Not, Or, Tag, conjuncts
from ..routing import Routing
from ..values import SloValues, Values

ANYTHING = "*"
DECIDING = (
    "thresholds",
    "window",
    "long_window",
    "short_window",
    "scope",
    "severity",
    "no_data",
    "auto_resolve",
    "evaluation_delay",
    "min_errors",
    "min_requests",
    "notify_by",
    "variants",
)
"""What of a monitor's values decides about its states, and how often and by what severity it notifies."""
OF_SLO = ("target", "timeframe", "threshold", "slice", "scope")


def assume_scopes(values: Values, borne: Collection[str]) -> tuple[Values, tuple[str, ...]]:
    """The values for series that bear only tags of these names, and what of the scopes is taken as met.

    An Agent adds tags such as `env` to all that its host sends, and simulated series have none of them. So what a scope
    asks of other tags than those `borne` is left out of it. Scopes of variants stay: they tell series apart. Downtimes
    go, which nothing simulates.
    """
    met: dict[str, None] = {}

    def rest(scope: str | None) -> str | None:
        if scope is None:
            return None
        parts = conjuncts(read_condition(scope))
        met.update((render_scope(one), None) for one in parts if _is_met(one, borne))
        left = [one for one in parts if not _is_met(one, borne)]
        # Not None, which for one monitor would mean the scope of all.
        return render_scope(joined(*left)) if left else ANYTHING

    changed = replace(
        values,
        everywhere=replace(values.everywhere, scope=rest(values.everywhere.scope)),
        monitors={key: replace(said, scope=rest(said.scope)) for key, said in values.monitors.items()},
        slos={key: replace(said, scope=rest(said.scope)) for key, said in values.slos.items()},
        downtimes={},
    )
    return changed, tuple(met)


def met_note(met: Sequence[str], file: object, why: str) -> str:
    """What is said of scopes in a values file that are taken as met, and why they are."""
    return f"In scopes of {file}, {', '.join(f'`{one}`' for one in met)} is taken as met: {why}."


def _is_met(condition: Condition, borne: Collection[str], wanted: bool = True) -> bool:
    """Whether tags of other names than these can decide that a series is within, or, not `wanted`, outside."""
    match condition:
        case Tag(key=key) | In(key=key):
            return key not in borne
        case Not(operand=operand):
            return _is_met(operand, borne, not wanted)
        case And(operands=operands) | Or(operands=operands):
            every = isinstance(condition, And) == wanted
            return (all if every else any)(_is_met(operand, borne, wanted) for operand in operands)
        case _:
            return isinstance(condition, Everything) and wanted


@dataclass(frozen=True, slots=True)
class Adjustments:
    """What was chosen: the `packs`, the values of their monitors, and the routing, if there is one."""

    values: Values
    packs: Sequence[str]
    routing: Routing | None = None

    @property
    def _entries(self) -> Mapping[str, MonitorEntry]:
        return {one.key: one for pack in self.values.available.values() for one in pack.monitors}

    def absence(self, key: str) -> str:
        """Why a monitor of the packs is not there."""
        entry, values = self._entries.get(key), self.values
        if entry is None:
            return "no monitor that is chosen has this key"
        slo = values.slos.get(entry.slo, SloValues())
        said, path = values.own(entry, "enabled")
        if entry.pack not in self.packs:
            return f"the pack {entry.pack} is not chosen"
        if said is False:
            return f"{path}: false"
        if not slo.enabled:
            return f"slos.{entry.slo}.enabled: false"
        if slo.endpoints or slo.variants:
            return f"slos.{entry.slo} names what has an SLO, and alerts, of its own"
        return "it is off unless the values file asks for it"

    def scope(self, key: str) -> str:
        """The scope that narrows a monitor, with the place of it; empty where nothing does."""
        entry = self._entries.get(key)
        if entry is None:
            return ""
        scope, path = self.values.said(entry, "scope")
        own = self.values.slos.get(entry.slo, SloValues()).scope
        if own is not None:
            scope, path = own, f"slos.{entry.slo}.scope"
        return f"{path}: {scope}" if scope not in (None, ANYTHING) else ""

    def bearing_on(self, key: str) -> tuple[str, ...]:
        """The keys of the files that bear on what a monitor does, each file with its keys."""
        entry = self._entries.get(key)
        if entry is None:
            return ()
        keys = list(dict.fromkeys(self._of_values(entry)))
        found = [f"{self.values.file}: {', '.join(keys)}"] if keys else []
        if self.routing is not None and self._regroups(self.routing, entry):
            found.append(f"{self.routing.file}: group_by")
        return tuple(found)

    def _regroups(self, routing: Routing, entry: MonitorEntry) -> bool:
        if routing.group_by is None or self.values.said(entry, "notify_by")[0] is not None:
            return False
        return notified(entry, routing.group_by) != entry.notify_by

    def _of_values(self, entry: MonitorEntry) -> Iterator[str]:
        values = self.values
        for name in DECIDING:
            value, path = values.said(entry, name)
            if value is not None and (name != "scope" or value != ANYTHING) and _bears(entry, name, path):
                yield path
        if entry.generative and values.generative:
            yield "generative"
        if entry.slo in values.slos:
            own = values.slos[entry.slo]
            usual = {one.name: one.default for one in fields(SloValues)}
            yield from (
                f"slos.{entry.slo}.{name}" for name in OF_SLO if getattr(own, name) not in (usual[name], ANYTHING)
            )
        # What keeps this one still, and does otherwise.
        for key in entry.unless:
            other = self._entries[key]
            if values.own(other, "enabled")[0] is False:
                yield f"monitors.{key}.enabled"
            yield from self._of_values(other)


def _bears(entry: MonitorEntry, name: str, path: str) -> bool:
    """Whether what is said of all monitors, if that it is, is about one like this, too."""
    if path.startswith("monitors."):
        return True
    match name:
        case "window":
            return entry.form == "metric" and not entry.fixed_window
        case "no_data":
            return entry.no_data is not None
        case "min_errors" | "min_requests":
            return name.removeprefix("min_") in entry.guards
        case "notify_by":
            return bool(entry.groups) and not entry.is_composite and entry.form not in ("slo", "event")
        case "scope":
            return entry.form != "event"
        case "auto_resolve":
            return entry.form in ("metric", "service check")
        case _:
            return entry.form == "metric"
