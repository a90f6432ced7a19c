"""Write assets/monitors/ and assets/dashboards/, and the tables of docs/provisioning.md, from the packs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from datadog_checks.model_serving.workstation.provision.access import READS, WRITES
from datadog_checks.model_serving.workstation.provision.desired import assets, desired
from datadog_checks.model_serving.workstation.provision.packs import MonitorEntry, builtin_packs

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "provisioning.md"
FOLDERS = ("assets/monitors", "assets/dashboards")
TABLES = re.compile(
    r"(<!-- (scopes|packs|monitors|slos): written by tools/assets\.py -->\n).*?(<!-- end -->)", re.DOTALL
)


SHOWN = {"percentiles": "percentiles of distributions", "slo": "SLOs"}


def files() -> dict[str, str]:
    """Text of every generated file by its path in the repository."""
    return {**assets(), "docs/provisioning.md": document(DOCUMENT.read_text(encoding="utf-8"))}


def document(text: str) -> str:
    """The documentation with its tables as the packs give them."""
    tables = {"scopes": _scopes, "packs": _packs, "monitors": _monitors, "slos": _slos}
    return TABLES.sub(lambda match: f"{match[1]}\n{chr(10).join(tables[match[2]]())}\n\n{match[3]}", text)


def stale() -> list[Path]:
    """Files in the folders of the assets that no pack gives any more."""
    known = {ROOT / path for path in assets()}
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.json")) if path not in known]


def _scopes() -> Iterator[str]:
    yield "| what is provisioned | to read it | to change it |"
    yield "|---|---|---|"
    for kind, read in READS.items():
        yield f"| {SHOWN.get(kind, f'{kind}s'.replace('_', ' '))} | `{read}` | `{WRITES[kind]}` |"


def _packs() -> Iterator[str]:
    yield "| pack | what it watches | monitors | SLOs | dashboards |"
    yield "|---|---|---|---|---|"
    for pack in builtin_packs().values():
        keys = (", ".join(f"`{one.key}`" for one in group) for group in (pack.monitors, pack.slos, pack.dashboards))
        yield f"| `{pack.name}` | {pack.description} | {' | '.join(keys)} |"


def _monitors() -> Iterator[str]:
    bodies = {one.key: one.body for one in desired(None, optional=True) if one.kind == "monitor"}
    for pack in builtin_packs().values():
        if pack.monitors:
            yield f"### {pack.title}\n"
            yield "| monitor | what it watches | query | thresholds | source | where it differs |"
            yield "|---|---|---|---|---|---|"
            for entry in pack.monitors:
                body = bodies[entry.key]
                cells = (
                    f"`{entry.key}` ({entry.severity}, P{entry.priority}{'' if entry.enabled else ', off'})",
                    entry.watches,
                    f"`{body['query']}`",
                    _thresholds(entry, body["options"]["thresholds"]),
                    entry.source,
                    entry.note,
                )
                yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
            yield ""


def _thresholds(entry: MonitorEntry, thresholds: dict[str, float]) -> str:
    unit = f" {entry.unit}" if entry.unit else " runs" if entry.form == "service check" else ""
    return ", ".join(f"{name.replace('_', ' ')} {value}{unit}" for name, value in thresholds.items())


def _slos() -> Iterator[str]:
    yield "| SLO | type | good | target |"
    yield "|---|---|---|---|"
    for pack in builtin_packs().values():
        for entry in pack.slos:
            slices = f"`{entry.query} {entry.comparator} {entry.threshold}` in slices of {entry.slice} s"
            good = f"`{entry.good}` of `{entry.total}`" if entry.type == "metric" else slices
            yield f"| `{entry.key}` | {entry.type} | {good} | {entry.target} % over {entry.timeframe} |"


if __name__ == "__main__":
    for path in stale():
        path.unlink()
        print(f"removed {path.relative_to(ROOT)}")
    for name, text in files().items():
        target = ROOT / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")
            print(f"wrote {name}")
