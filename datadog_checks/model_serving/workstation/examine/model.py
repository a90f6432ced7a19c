"""What an examination holds, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...catalog.model import Verification
from ...scrape.inventory import FamilyState
from ..standin.recorder import ServiceCheck

if TYPE_CHECKING:
    from .monitors import Ground

OPTION, ADDRESS, NAMES, HINTS = "option", "address", "names", "hints"
"""How it is known which system is there: `serving_system` says it, its URL or workspace does, names do that no other
system has, or names that any application may use."""

COUNTED, EVENT, MISSING, FOREIGN = "data", "event", "missing", "foreign"
"""What a monitor has: data now; data when what it counts happens; none, though the system may send it; and none, since
only other systems send it."""


@dataclass(frozen=True, slots=True)
class RecognisedSystem:
    """A system of the payload. `evidence` is one of the four above, `names` are what shows it.

    Where it is not `sure`, nothing is mapped until `serving_system` names it. `verified` is None where its catalog file
    does not say what it rests on.
    """

    name: str
    title: str
    evidence: str
    names: tuple[str, ...] = ()
    sure: bool = True
    verified: Verification | None = None


@dataclass(frozen=True, slots=True)
class ReadinessState:
    """Whether a system was asked if it is ready: `url` is where, `answers` what came of it, `why` why it was not."""

    title: str
    url: str = ""
    answers: tuple[ServiceCheck, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class SignalValue:
    """A golden signal of one subject, such as `model_name:fraud`; of all together without one.

    `numbers` are by what they are: `per_second`, `total`, `share` (percent), `p50`, `p99`, `mean`, `value`. They are
    in `unit`, but for a share. `metric` is what told them; with `so_far` nothing has come between the runs, and they
    are of all since the process started.
    """

    subject: str
    metric: str
    unit: str
    numbers: Mapping[str, float]
    so_far: bool = False


@dataclass(frozen=True, slots=True)
class SignalState:
    """One golden signal of the catalog. Without `values` it is missing, and `advice` says what to do about that."""

    key: str
    title: str
    group: str
    form: str
    values: tuple[SignalValue, ...] = ()
    advice: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MetricCost:
    """What one metric costs: contexts, the custom metrics that are billed for them, and those that percentiles add.

    `percentiles` is 0 for what is no distribution; `wanted` says that `provision` switches them on.
    """

    name: str
    type: str
    contexts: int
    custom_metrics: int
    percentiles: int = 0
    wanted: bool = False


@dataclass(frozen=True, slots=True)
class Cost:
    """What a source costs, the most expensive metric first. `sources` is how many endpoints that is of.

    All of it without what the check says about itself, `own` contexts for each source. `kind` is what a source is.
    """

    metrics: tuple[MetricCost, ...] = ()
    sources: int = 1
    own: int = 4
    kind: str = "endpoint"

    @property
    def contexts(self) -> int:
        return sum(metric.contexts for metric in self.metrics)

    @property
    def custom_metrics(self) -> int:
        """Without percentiles."""
        return sum(metric.custom_metrics for metric in self.metrics)

    @property
    def with_percentiles(self) -> int:
        """With percentiles for the metrics for which `provision` switches them on."""
        return self.custom_metrics + sum(metric.percentiles for metric in self.metrics if metric.wanted)

    def forecast(self, endpoints: int, percentiles: bool = False) -> int:
        """Custom metrics of so many endpoints like these."""
        one = self.with_percentiles if percentiles else self.custom_metrics
        return round((one / max(1, self.sources) + self.own) * endpoints)


@dataclass(frozen=True, slots=True)
class MonitorState:
    """What a shipped monitor has to look at, with those by other levels of the same: one of the four above, and why."""

    key: str
    title: str
    pack: str
    state: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Examination:
    """What a trial run of one instance tells.

    `error` says why nothing could be read; `quiet` why that is by design; `warnings` are those of the check. `seconds`
    lie between the first run and the last, None where there was one. `mapped` is whether anything is sent of what was
    read. `configuration` is YAML to paste, `advice` how servers are told to show more than they do. `ground` is what
    monitors can look at.
    """

    label: str
    seconds: float | None
    systems: tuple[RecognisedSystem, ...] = ()
    families: tuple[FamilyState, ...] = ()
    readiness: tuple[ReadinessState, ...] = ()
    signals: tuple[SignalState, ...] = ()
    cost: Cost = field(default_factory=Cost)
    monitors: tuple[MonitorState, ...] = ()
    configuration: str = ""
    error: str = ""
    quiet: str = ""
    warnings: tuple[str, ...] = ()
    mapped: bool = False
    advice: tuple[str, ...] = ()
    ground: Ground | None = field(default=None, repr=False)
