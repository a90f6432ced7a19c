"""Puts together what a trial run of one instance tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from ...catalog.loader import builtin_catalog
from ...catalog.model import NAMESPACE, Catalog, System
from ...scrape.scraper import ServingScraper
from ...settings import GpuSettings, ScrapeSettings, WorkspaceSettings
from ...sources.probes.readiness import probe_of
from ..provision.vocabulary import documented
from ..standin.recorder import ServiceCheck
from ..standin.runner import Round, Run
from ..stored import stored
from .cost import cost
from .facts import Facts, gather, is_own
from .model import ADDRESS, HINTS, NAMES, OPTION, Examination, ReadinessState, RecognisedSystem
from .monitors import Ground, full, monitors
from .paste import configuration
from .readiness import readiness
from .signals import fed_by, signals, speaking, spoken

GPU_ERRORS = "gpu.xid.count"
DATABRICKS = "databricks"
"""The one system that a URL, or a workspace, tells."""


def examine(
    check: Any | None, run: Run, round_: Round, options: Mapping[str, Any], *, seconds: float | None
) -> Examination:
    """What a run of an instance tells, or several that `combined` made one.

    `check` is what ran, as `Runner.checks` has it, None where it could not be constructed; `round_` is what `run` is
    part of, `options` is the instance as it was run. `seconds` lie between the first run and the last, None where there
    was but one, of which no increments are known.
    """
    settings = getattr(check, "settings", None)
    source = settings.source if settings is not None else None
    scrapers = list(check.source.scrapers.values()) if check is not None and check.source is not None else []
    facts = gather(check, run.commit)
    checks = tuple(one for one in round_.service_checks if one.check_id == run.check_id)
    catalog = _catalog(source)
    recognised = tuple(_recognised(scrapers, options))
    systems = [catalog.systems[name] for name in dict.fromkeys(one.name for one in recognised if one.sure)]
    gpus = isinstance(source, GpuSettings)
    # Where nothing was read it is that which has to be mended first.
    asked = tuple(state for state in readiness(check, scrapers, checks) if facts.families or state.answers)
    sent = any(not is_own(fact.context.name) for fact in facts.sent) or bool(facts.expected)
    endpoints = sum(bool(scraper.collector.frame) for scraper in scrapers)
    default = scrapers[0].collector.rules.default_endpoint_name if len(scrapers) == 1 else ""
    read = bool(facts.families) or sent
    told = signals(facts, systems, catalog, seconds, (GPU_ERRORS,) if gpus and sent else ()) if read else ()
    said = {text for signal in told for text in signal.advice}
    return Examination(
        run.label,
        seconds,
        systems=recognised,
        families=facts.families,
        readiness=asked,
        signals=told,
        cost=cost(facts, endpoints, host=gpus),
        monitors=monitors(
            replace(_ground(facts, systems, checks, source, sent), unasked=_unasked(asked)),
        ),
        configuration=configuration(options, recognised, asked, default),
        error=run.error or "",
        quiet=_quiet(source, run, sent),
        warnings=tuple(run.warnings),
        mapped=sent,
        advice=tuple(_advice(facts, systems, catalog, scrapers, said)),
    )


def _unasked(asked: tuple[ReadinessState, ...]) -> str:
    return "readiness was not asked" if any(state.why for state in asked) else ""


def _catalog(source: Any) -> Catalog:
    scrape = getattr(source, "scrape", None)
    return scrape.catalog if isinstance(scrape, ScrapeSettings) else builtin_catalog()


def _quiet(source: Any, run: Run, sent: bool) -> str:
    if isinstance(source, GpuSettings) and source.optional and not sent and run.error is None:
        return "no NVIDIA driver here: with `gpu: auto` the check is quiet by design"
    return ""


def _recognised(scrapers: list[ServingScraper], options: Mapping[str, Any]) -> Iterator[RecognisedSystem]:
    """The systems of all endpoints, each once."""
    named = options.get("serving_system") not in (None, "auto", ["auto"])
    found: dict[str, RecognisedSystem] = {}
    for scraper in scrapers:
        recogniser = scraper.recogniser
        for name in recogniser.active:
            system = recogniser.systems[name]
            if not recogniser.automatic:
                evidence, names = ADDRESS if not named and name == DATABRICKS else OPTION, set[str]()
            else:
                names, hinted = recogniser.evidence(name)
                # A file of the user's own is in force by being named.
                evidence = HINTS if hinted and names else NAMES if names else OPTION
            shown = tuple(sorted(names))
            found.setdefault(name, RecognisedSystem(name, system.title, evidence, shown, verified=system.verified))
        if recogniser.automatic:
            for name, hints in recogniser.unproven().items():
                system, shown = recogniser.systems[name], tuple(sorted(hints))
                found.setdefault(
                    name, RecognisedSystem(name, system.title, HINTS, shown, sure=False, verified=system.verified)
                )
    yield from found.values()


def _ground(facts: Facts, systems: list[System], checks: tuple[ServiceCheck, ...], source: Any, sent: bool) -> Ground:
    tags: dict[str, set[frozenset[str]]] = {}
    for fact in (*facts.sent, *facts.expected):
        tags.setdefault(fact.context.name, set()).add(frozenset(map(stored, fact.context.tags)))
    fed = {metric for system in systems for metric in fed_by(system)}
    possible = {*facts.possible, "scrape.samples.rejected"}
    for system in systems:
        # What has no line before it happens.
        codes = (raw for raw in system.metrics if raw.codes is not None)
        possible |= {target.metric.name for raw in codes for target in raw.targets}
    told = {"openmetrics.health"}
    own = set(documented()["own"])
    if isinstance(source, GpuSettings):
        fed |= {name for name in builtin_catalog().metrics if name.startswith("gpu.")}
        told = {"gpu.health"}
        possible |= {GPU_ERRORS} if sent else set()
    for probe in filter(None, map(probe_of, systems)):
        told |= {"endpoint.ready", "model.ready"} if probe.models else {"endpoint.ready"}
    fed |= own if isinstance(source, WorkspaceSettings) else {name for name in own if name.startswith("scrape.")}
    return Ground(tags, full(possible), full(fed), checks, frozenset(f"{NAMESPACE}.{name}" for name in told))


def _advice(
    facts: Facts, systems: list[System], catalog: Catalog, scrapers: list[ServingScraper], said: set[str]
) -> Iterator[str]:
    """How the servers are told to show what they do not, beside what was `said` of golden signals.

    Where nothing could be read, it is how the system that is meant is told to show metrics at all.
    """
    if facts.families:
        for switch in speaking(facts, systems):
            if spoken(switch) not in said:
                yield f"{', '.join(switch.gives)}: {spoken(switch)}" if switch.gives else spoken(switch)
        return
    meant = systems or [system for scraper in scrapers for system in _by_port(catalog, scraper)]
    for system in {system.name: system for system in meant}.values():
        yield from (f"{system.title}: {spoken(switch)}" for switch in system.switches if not switch.gives)


def _by_port(catalog: Catalog, scraper: ServingScraper) -> list[System]:
    """The systems whose metrics are at the port of an endpoint, unless told otherwise."""
    try:
        port = urlsplit(scraper.endpoint).port
    except ValueError:
        return []
    return [system for system in catalog.systems.values() if port and system.ports.get("metrics") == port]
