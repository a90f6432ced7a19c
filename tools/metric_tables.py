"""Write docs/metrics.md, which shows per system what becomes of each raw metric, from the catalog."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from datadog_checks.model_serving.catalog.loader import builtin_catalog
from datadog_checks.model_serving.catalog.model import NAMESPACE, CanonicalMetric, Catalog, Derived, RawMetric, Target
from datadog_checks.model_serving.sources.gpu.device import table as nvml_table

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "metrics.md"
INTRODUCTION = f"""\
# Metrics

Every metric is submitted as `{NAMESPACE}.<name>`. A distribution also comes as `<name>.sum` and `<name>.count`.
The type of a raw metric is what it truly is, whatever a payload declares: `window_*` hold one minute, `last_code` the
code of the last error. Counters are found with and without `_total`, histograms and summaries also in pieces.
`make generate` writes this file from the catalog.
"""

SHARED = """\
Of every system that has them; behind a federation, of targets of a known system.
"""


def render() -> str:
    """Return the text of docs/metrics.md."""
    catalog = builtin_catalog()
    own = {metric.name for system in catalog.systems.values() for metric in system.own_metrics}
    parts = [INTRODUCTION, "## Canonical vocabulary\n"]
    parts.append(_table(metric for name, metric in catalog.metrics.items() if name not in own))
    parts += ["## GPUs of the host, through NVML\n", "`gpu: nvml`\n", _gpus(catalog)]
    parts += ["## Processes\n", SHARED, _mapping(next(iter(catalog.systems.values())).shared)]
    for system in catalog.systems.values():
        parts += [f"## {system.title}\n", f"`serving_system: {system.name}`\n"]
        if system.prefixes:
            prefixes = ", ".join(f"`{prefix}`" for prefix in system.prefixes)
            parts.append(f"Names below stand behind one of the prefixes {prefixes}.\n")
        parts.append(_mapping(system.metrics, system.derived))
        if system.own_metrics:
            parts += ["Metrics of this system alone:\n", _table(system.own_metrics)]
    return "\n".join(parts)


def _table(metrics: Iterator[CanonicalMetric] | tuple[CanonicalMetric, ...]) -> str:
    lines = ["| metric | type | unit | description |", "|---|---|---|---|"]
    for metric in metrics:
        unit = f"{metric.unit} per {metric.per_unit}" if metric.per_unit else metric.unit
        lines.append(f"| `{metric.name}` | {metric.type} | {unit} | {metric.description} |")
    return "\n".join(lines) + "\n"


def _gpus(catalog: Catalog) -> str:
    """NVML beside DCGM: what one monitor watches, whichever of the two is read."""
    rows: dict[tuple[str, str], list[str]] = {}
    tables = nvml_table()
    for entry in (*tables["fields"], *tables["calls"], *tables["settings"]):
        tags = ", ".join(f"{name}:{value}" for name, value in entry.get("tags", {}).items())
        source = entry.get("field") or f"{entry['call']}({', '.join(entry.get('with', []))})"
        for metric in entry["values"].values() if "values" in entry else (entry["metric"],):
            rows.setdefault((metric, tags), []).append(f"`{source}`")
    lines = ["| metric | tags | NVML | DCGM |", "|---|---|---|---|"]
    memory = {f"gpu.memory.{part}": ["`nvmlDeviceGetMemoryInfo`"] for part in ("used", "free", "reserved", "total")}
    rows |= {(metric, ""): sources for metric, sources in memory.items()}
    rows["gpu.memory.utilization", ""] = ["used / total"]
    rows["gpu.xid.count", "xid"] = ["`nvmlEventTypeXidCriticalError`"]
    for (metric, tags), sources in sorted(rows.items()):
        dcgm = ", ".join(f"`{name}`" for name in _dcgm_fields(catalog, metric, tags))
        lines.append(f"| `{metric}` | {tags} | {', '.join(sources)} | {dcgm} |")
    return "\n".join(lines) + "\n"


def _dcgm_fields(catalog: Catalog, metric: str, tags: str) -> Iterator[str]:
    dcgm = catalog.systems["dcgm"]
    for raw in dcgm.metrics:
        for target in raw.targets:
            said = ", ".join(f"{name}:{value}" for name, value in target.tags if name not in dcgm.definition["tags"])
            if target.metric.name == metric and said in (tags, "" if tags == "xid" else tags):
                yield raw.names[0]
                break


def _mapping(metrics: Iterable[RawMetric], computed: Iterable[Derived] = ()) -> str:
    lines = ["| raw metric | type | factor | becomes |", "|---|---|---|---|"]
    for raw in metrics:
        names = " with ".join(_names(raw)) if raw.pair else ", ".join(_names(raw))
        lines.append(f"| {names} | {raw.type} | {raw.scale:g} | {'; '.join(_targets(raw))} |")
    lines += [f"| computed | gauge | | `{derived.metric.name}` |" for derived in computed]
    return "\n".join(lines) + "\n"


def _names(raw: RawMetric) -> list[str]:
    """The names of a raw metric, without the prefixes of its system; those of a pair are sum and count."""
    prefixes = builtin_catalog().systems[raw.system].prefixes
    bare = [next((name.removeprefix(each) for each in prefixes if name.startswith(each)), name) for name in raw.names]
    return [f"`{name}`" for name in dict.fromkeys(bare)]


def _targets(raw: RawMetric) -> Iterator[str]:
    for target in raw.targets:
        part = f"{'0' if target.value == 'zero' else target.value} as " if target.value else ""
        yield f"{part}`{target.metric.name}`{_condition(target)}"


def _condition(target: Target) -> str:
    said = []
    if target.when is not None:
        said.append(f"some values of {', '.join(label for label, _ in target.when.patterns)}")
    if target.unless is not None:
        said.append(f"other values of {', '.join(label for label, _ in target.unless.patterns)}")
    if target.present:
        said.append("with " + " or ".join(f"`{name}`" for name in target.present))
    if target.absent:
        said.append("without " + " and ".join(f"`{name}`" for name in target.absent))
    return f" ({', '.join(said)})" if said else ""


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
    print(f"wrote {TARGET.relative_to(ROOT)}")
