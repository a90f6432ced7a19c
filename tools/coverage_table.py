"""Write docs/coverage.md: which signals each system tells, how, and what its catalog file rests on."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from datadog_checks.model_serving.catalog.loader import builtin_catalog, golden_signals
from datadog_checks.model_serving.catalog.model import (
    BILLED_PER_DISTRIBUTION,
    CanonicalMetric,
    RawMetric,
    System,
    Target,
)

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "coverage.md"

DIRECT, PARTS, GAUGE, NONE = "yes", "sum", "gauge", "-"
"""How a system tells a signal, the best first."""

INTRODUCTION = f"""\
# Coverage

What each system that ships with the check tells, and what that rests on. `make generate` writes this page from the
catalog. [metrics.md](metrics.md) has the metrics behind it.

- `{DIRECT}`: in full; a latency has percentiles
- `{PARTS}`: from a sum, a count, or a pair of these: totals and means, without percentiles
- `{GAUGE}`: a gauge of the server's own, in place of what can be counted
- `{NONE}`: not at all

A system may have to be told to show what stands here; `model-serving check` says how.
"""

Signals = Mapping[str, tuple[Sequence[str], Sequence[str]]]

LLM: Signals = {
    "first token": (["token.time_to_first"], []),
    "inter-token": (["token.inter_token.latency"], ["token.per_output.latency"]),
    "prompt tokens": (["token.prompt.count"], []),
    "generated tokens": (["token.generation.count"], []),
    "queue time": (["request.queue.time"], []),
    "queue size": (["request.queue.size", "request.queue.depth"], []),
    "in flight": (["request.in_flight"], []),
    "KV cache": (["kv_cache.utilization"], ["kv_cache.tokens.used"]),
    "prefix cache": (["prefix_cache.hit.count"], ["prefix_cache.hit_ratio"]),
    "preemptions": (["request.preempted.count"], []),
    "speculative decoding": (["spec_decode.accepted.count"], ["spec_decode.acceptance.length"]),
}
"""Signals of language models: the metrics that tell each, and those that tell something in place of it."""


def render() -> str:
    """Return the text of docs/coverage.md."""
    systems = builtin_catalog().systems.values()
    parts = [INTRODUCTION]
    for title, signals in (("Requests", _golden("requests")), ("Language models", LLM), ("GPUs", _golden("gpus"))):
        parts += [f"## {title}\n", _signals(systems, signals)]
    parts += ["## What it rests on\n", RESTS_ON, _verified(systems)]
    return "\n".join(parts)


def _golden(group: str) -> Signals:
    return {signal.title: (signal.metrics, ()) for signal in golden_signals() if signal.group == group}


def _signals(systems: Iterable[System], signals: Signals) -> str:
    """A row for each system that tells any of the signals."""
    rows = [[system.title, *(_told(system, *metrics) for metrics in signals.values())] for system in systems]
    return _table(["system", *signals], [row for row in rows if set(row[1:]) != {NONE}])


def _told(system: System, metrics: Sequence[str], instead: Sequence[str]) -> str:
    """How a system tells a signal, by the best of its metrics."""
    found = {_way(raw, target) for raw in system.metrics for target in raw.targets if target.metric.name in metrics}
    found |= {GAUGE for raw in system.metrics for target in raw.targets if target.metric.name in instead}
    found |= {DIRECT for derived in system.derived if derived.metric.name in metrics}
    return next((way for way in (DIRECT, PARTS, GAUGE) if way in found), NONE)


def _way(raw: RawMetric, target: Target) -> str:
    if target.value == "zero":
        return NONE
    return PARTS if target.value or raw.type == "summary" else DIRECT


RESTS_ON = """\
`live`: the tests run a real server, `recorded`: they hold an answer of one, `documentation`: documents and source code
alone. Contexts are the most that one scrape of the system's table in the tests submits, which is a server with one to
three models; the last column is what Datadog bills for them, without percentiles.
"""


def _verified(systems: Iterable[System]) -> str:
    rows = []
    for system in systems:
        if system.verified is None:
            raise SystemExit(f"{system.name}: its catalog file lacks `verified`")
        documented = system.verified.documentation
        source = (
            f"{system.verified.source}. By documentation only: {documented}" if documented else system.verified.source
        )
        contexts, billed = max((_cost(lines) for lines in _scrapes(system.name)), default=(0, 0))
        rows.append([system.title, system.verified.how, source, str(contexts), str(billed)])
    return _table(["system", "verified", "source", "contexts", "custom metrics"], rows)


def _scrapes(system: str) -> Iterator[list[str]]:
    """The submissions of each scrape of a system's table."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    from tests.scrape.tables import TABLES, spelt_out, submissions_of

    for case in yaml.safe_load((TABLES / f"{system}.yaml").read_text(encoding="utf-8"))["cases"]:
        yield from (list(submissions_of(scrape.get("expect"))) for scrape in spelt_out(case))


def _cost(lines: Iterable[str]) -> tuple[int, int]:
    """Contexts, and custom metrics, of submissions; a distribution is billed with its sum and count."""
    metrics = builtin_catalog().metrics
    found = set()
    for line in lines:
        _, name, _, *tags = line.split(" ")
        found.add((name, *sorted(tags)))
    billed = 0
    for name, *_ in found:
        metric: CanonicalMetric | None = metrics.get(name)
        billed += BILLED_PER_DISTRIBUTION if metric is not None and metric.type == "distribution" else 1
    return len(found), billed


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---" for _ in header], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
