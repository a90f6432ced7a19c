"""Write assets/monitors/, assets/dashboards/, docs/runbooks/ and the tables of docs/provisioning.md, from the packs."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from datadog_checks.model_serving.workstation.provision.access import READS, WRITES
from datadog_checks.model_serving.workstation.provision.assets import assets
from datadog_checks.model_serving.workstation.provision.desired import desired
from datadog_checks.model_serving.workstation.provision.model import Resource
from datadog_checks.model_serving.workstation.provision.packs import MonitorEntry, builtin_packs

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "provisioning.md"
RUNBOOKS = "docs/runbooks"
FOLDERS = ("assets/monitors", "assets/dashboards", RUNBOOKS)
TABLES = re.compile(
    r"(<!-- (scopes|packs|monitors|slos): written by tools/assets\.py -->\n).*?(<!-- end -->)", re.DOTALL
)


SHOWN = {"percentiles": "percentiles of distributions", "slo": "SLOs"}


def files() -> dict[str, str]:
    """Text of every generated file by its path in the repository."""
    return {**assets(), **runbooks(), "docs/provisioning.md": document(DOCUMENT.read_text(encoding="utf-8"))}


def runbooks() -> dict[str, str]:
    """A page for each monitor, and a list of them."""
    entries = {one.key: one for pack in builtin_packs().values() for one in pack.monitors if not one.base}
    pages = {f"{RUNBOOKS}/{key}.md": _page(entry) for key, entry in entries.items()}
    rows = [f"- [`{key}`]({key}.md): {entry.title}" for key, entry in entries.items()]
    index = [
        "# Runbooks",
        "",
        "One page for each monitor. Messages link to them once the values file says where they are published",
        "([Values](../provisioning.md#values)). `python tools/assets.py` writes them.",
        "",
        *rows,
    ]
    return {**pages, f"{RUNBOOKS}/README.md": "\n".join(index) + "\n"}


def _page(entry: MonitorEntry) -> str:
    bodies = {one.key: one.body for one in _resources() if one.kind == "monitor"}
    others = [one.key for pack in builtin_packs().values() for one in pack.monitors if one.base == entry.key]
    queries = [entry.part, *(f"{entry.part}.{name}" for name in entry.guards)] if entry.is_composite else [entry.key]
    severity = f"tagged `severity:{entry.severity}`"
    lines = [
        f"# {entry.title}",
        "",
        _wrapped(f"Monitor `{entry.key}`{_beside(others)}, {severity}, priority {entry.priority}. {entry.watches}"),
        "",
        "## What it means",
        "",
        _wrapped(entry.means),
        "",
        "## What to look at",
        "",
        *(_wrapped(step, f"{number}. ") for number, step in enumerate(entry.look, 1)),
        "",
        "## How to tell a false alarm",
        "",
        *(_wrapped(one, "- ") for one in entry.false_alarm),
        "",
        "## How it is measured",
        "",
        *((_wrapped(entry.note), "") if entry.note else ()),
        "```text",
        *(bodies[key]["query"] for key in (queries if queries[0] in bodies else ())),
        *([entry.query] if queries[0] not in bodies else ()),
        "```",
        "",
    ]
    if entry.is_composite:
        lines += [f"It is a composite monitor: `{bodies[entry.key]['query']}`.", ""]
    return "\n".join([*lines, _wrapped(f"Source: {entry.source}.")]) + "\n"


def _wrapped(text: str, mark: str = "") -> str:
    """Prose as long as a line of these pages, behind the mark of an item of a list."""
    indent = " " * len(mark)
    return textwrap.fill(
        text, 120, initial_indent=mark, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )


def _beside(others: list[str]) -> str:
    return f" (and {', '.join(f'`{key}`' for key in others)})" if others else ""


@lru_cache(maxsize=1)
def _resources() -> list[Resource]:
    return desired(None, optional=True)


def document(text: str) -> str:
    """The documentation with its tables as the packs give them."""
    tables = {"scopes": _scopes, "packs": _packs, "monitors": _monitors, "slos": _slos}
    return TABLES.sub(lambda match: f"{match[1]}\n{chr(10).join(tables[match[2]]())}\n\n{match[3]}", text)


def stale() -> list[Path]:
    """Files in the folders of the assets that no pack gives any more."""
    known = {ROOT / path for path in (*assets(), *runbooks())}
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).iterdir()) if path not in known]


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
    bodies = {one.key: one.body for one in _resources() if one.kind == "monitor"}
    for pack in builtin_packs().values():
        if pack.monitors:
            yield f"### {pack.title}\n"
            yield "| monitor | what it watches | query | thresholds | source | where it differs |"
            yield "|---|---|---|---|---|---|"
            for entry in pack.monitors:
                cells = (
                    f"`{entry.key}` ({entry.severity}, P{entry.priority}{_when(entry)})",
                    entry.watches,
                    _query(entry, bodies),
                    _limits(entry, bodies),
                    entry.source,
                    entry.note,
                )
                yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
            yield ""


def _when(entry: MonitorEntry) -> str:
    if entry.named:
        return ", for named endpoints and variants"
    if entry.generative == "only":
        return ", for what is `generative`"
    return "" if entry.enabled else ", off"


def _query(entry: MonitorEntry, bodies: dict[str, Any]) -> str:
    """The query, or those of the parts of a composite."""
    if entry.named:
        return f"`{entry.query}`"
    queries = [f"`{bodies[key]['query']}`" for key in (entry.part, *(f"{entry.part}.{name}" for name in entry.guards))]
    return " and ".join([*queries, *(f"not `{key}`" for key in entry.unless)])


def _limits(entry: MonitorEntry, bodies: dict[str, Any]) -> str:
    if entry.named:
        return f"critical {entry.rates['30d']}"
    return _thresholds(entry, bodies[entry.part]["options"]["thresholds"])


def _thresholds(entry: MonitorEntry, thresholds: dict[str, float]) -> str:
    unit = f" {entry.unit}" if entry.unit else " runs" if entry.form == "service check" else ""
    return ", ".join(f"{name.replace('_', ' ')} {value}{unit}" for name, value in thresholds.items())


def _slos() -> Iterator[str]:
    yield "| SLO | type | good | target |"
    yield "|---|---|---|---|"
    for pack in builtin_packs().values():
        for entry in pack.slos:
            slices = f"`{entry.query} {entry.comparator} {entry.threshold}` in slices of {entry.slice} s"
            slices += f", where `{entry.except_for}`" if entry.except_for else ""
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
