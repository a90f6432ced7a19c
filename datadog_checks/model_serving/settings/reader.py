"""From the options of an instance to its settings, or to all that is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from difflib import get_close_matches
from math import inf
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from datadog_checks.base.checks.openmetrics.v2.transform import TRANSFORMERS

from ..catalog.loader import builtin_catalog, load_catalog
from ..catalog.model import NAMESPACE, Catalog
from ..config_models.instance import InstanceConfig
from ..errors import CatalogError
from ..http.address import socket_path
from ..http.redact import PLACEHOLDER, secrets_of, without_secrets
from .databricks import databricks_settings
from .model import (
    DATABRICKS_URL,
    DatabricksSettings,
    GpuSettings,
    ParallelSettings,
    ReadinessSettings,
    ScrapeSettings,
    Settings,
    SeveralSettings,
    SingleSettings,
    WorkspaceSettings,
)
from .names import MOOT_OPTIONS, describe
from .options import Options
from .problems import Problems

OLD_SPELLING = "send_distribution_buckets"
"""The one option of the V1 check that is honoured, as published configurations have it."""

MINUTE = 60.0
"""Seconds that each value of Databricks stands for."""

PATTERNS = ("exclude_metrics", "raw_line_filters", "ignore_tags")
"""Options that are lists of regular expressions."""


def read_settings(
    instance: Mapping[str, Any],
    model: InstanceConfig | None,
    environ: Mapping[str, str],
    problems: Problems | None = None,
) -> Settings:
    """The settings of an instance. `model` is what the names and types of its options were found to be, None where
    some are wrong; `problems` are the complaints so far.

    Raises ConfigurationError with all complaints, each naming the option and what to write instead.
    """
    # What is wrong with a value may be mended by the next run, as a file that was missing.
    problems = Problems(describe(instance)) if problems is None else deepcopy(problems)
    if model is None:
        # The rest may be wrong as well.
        right = {option: value for option, value in instance.items() if str(option) not in problems.options}
        model = InstanceConfig.model_validate(right, context={"configured_fields": frozenset(right)})
    settings = _settings(instance, Options(model), environ, problems)
    problems.check()
    return settings


def _settings(
    instance: Mapping[str, Any], options: Options, environ: Mapping[str, str], problems: Problems
) -> Settings:
    where = problems.where
    _check_values(options, problems)
    # The stock limit is meant for one payload, and leaves out what comes last.
    limited = options.given("max_returned_metrics") is not None
    interval = options["min_collection_interval"]
    gpu = _gpu(options, problems)
    if gpu is not None and not options.urls and options.workspace is None:
        return Settings(where, gpu, limits_contexts=limited, interval=interval)
    databricks = databricks_settings(options, environ, problems)
    readiness = _readiness(options)
    several = _several(options, readiness, problems)
    urls = options.urls if databricks is None else (databricks.metrics_url,)
    if not urls and problems.needs("openmetrics_endpoint", "openmetrics_endpoints", "databricks_host", "gpu"):
        problems.add(
            "name a source: `openmetrics_endpoint` with the URL of the metrics, or `databricks_host`, or `gpu: nvml`"
        )
    _check_urls(options, databricks, problems)
    parallel = _parallel(options, problems)
    scrape = _scrape(instance, options, databricks, urls or ("",), problems)
    source: SingleSettings | SeveralSettings | WorkspaceSettings
    if databricks is not None and not databricks.endpoint:
        source = WorkspaceSettings(databricks, scrape, readiness, parallel)
    elif several:
        source = SeveralSettings(urls, scrape, readiness, parallel)
    else:
        source = SingleSettings(scrape, readiness, parallel.deadline, databricks)
        limited = True
    warnings = _warnings(where, instance, scrape, options)
    # A cluster check, as which this option marks it, may have run elsewhere meanwhile: its readings are not the last.
    restart_bytes = 0 if options["empty_default_hostname"] else options["restart_memory_bytes"]
    return Settings(where, source, warnings, secrets_of(instance), limited, interval, restart_bytes)


def _gpu(options: Options, problems: Problems) -> GpuSettings | None:
    source = options["gpu"]
    if not source:
        return None
    others = {
        "openmetrics_endpoint": options.url,
        "openmetrics_endpoints": options.several,
        "databricks_host": options.workspace,
    }
    for option, value in others.items():
        if value:
            problems.add(f"`gpu` and `{option}` are two sources: give each an instance of its own", "gpu")
    return GpuSettings(
        optional=source == "auto",
        endpoint_name=options.endpoint_name,
        tags=options.tags,
        processes=options["gpu_processes"],
        process_limit=options["gpu_process_limit"],
    )


def _several(options: Options, readiness: ReadinessSettings, problems: Problems) -> bool:
    """Whether the instance names several endpoints. Complains about what makes no sense then."""
    urls = options.several
    if urls is None:
        return False
    if not urls:
        problems.add("`openmetrics_endpoints` is empty: give URLs, or remove it", "openmetrics_endpoints")
        return True
    of_one = {
        "openmetrics_endpoint": options.url,
        "endpoint_name": options.endpoint_name,
        "readiness_url": readiness.url,
    }
    for option, value in of_one.items():
        if value:
            problems.add(
                f"`{option}` is of one endpoint and `openmetrics_endpoints` names several: keep one of them", option
            )
    for url in dict.fromkeys(url for url in urls if urls.count(url) > 1):
        problems.add(f"`openmetrics_endpoints` names {without_secrets(url)} twice", "openmetrics_endpoints")
    return True


def _readiness(options: Options) -> ReadinessSettings:
    return ReadinessSettings(
        enabled=options["readiness"],
        url=(options["readiness_url"] or "").rstrip("/"),
        interval=options["readiness_interval"],
        models=options["models"] or (),
    )


def _parallel(options: Options, problems: Problems) -> ParallelSettings:
    return ParallelSettings(
        connections=options["max_connections"],
        # Not the stock default: a connection each for every endpoint and run would cost more than the scrapes.
        keep_connections=options.given("persist_connections") is not False,
        deadline=_seconds("endpoint_deadline", options["endpoint_deadline"], problems),
    )


def _scrape(
    instance: Mapping[str, Any],
    options: Options,
    databricks: DatabricksSettings | None,
    urls: tuple[str, ...],
    problems: Problems,
) -> ScrapeSettings:
    catalog, own = _catalog(options, problems)
    systems = _systems(options, catalog, problems)
    if databricks is not None and not systems:
        systems = ("databricks",)
    endpoint_name, tags = options.endpoint_name, options.tags
    named = DATABRICKS_URL.search(urls[0]) if len(urls) == 1 else None
    if named is not None and systems in ((), ("databricks",)):
        systems = ("databricks",)
        endpoint_name = endpoint_name or unquote(named.group(1))
    buckets, separate = options["collect_histogram_buckets"], options["non_cumulative_histogram_buckets"]
    # Distributions, with `.sum` and `.count`, unless the instance asks for buckets, or for none.
    distributions = options.given("histogram_buckets_as_distributions")
    distributions = options.given(OLD_SPELLING) if distributions is None else distributions
    distributions = buckets and not separate if distributions is None else distributions
    totals = options.given("collect_counters_with_distributions")
    totals = distributions if totals is None else totals
    stale_after = options.given("stale_after")
    return ScrapeSettings(
        options={
            **instance,
            "openmetrics_endpoint": urls[0],
            "histogram_buckets_as_distributions": distributions,
            "collect_counters_with_distributions": totals,
        },
        catalog=catalog,
        systems=systems,
        own_systems=own,
        endpoint_name=endpoint_name,
        tags=tags,
        namespace=options["namespace"] or NAMESPACE,
        keep_labels=frozenset(options["keep_labels"] or ()),
        max_payload_bytes=options["max_payload_bytes"],
        sample_limit=options["sample_limit"],
        label_limit=options["label_limit"],
        label_value_length_limit=options["label_value_length_limit"],
        stale_after=inf if stale_after == 0 else stale_after,
        buckets=buckets,
        separate_buckets=separate,
        totals=totals,
    )


def _catalog(options: Options, problems: Problems) -> tuple[Catalog, tuple[str, ...]]:
    """The catalog, and the systems in it that are of the user's files."""
    builtin = builtin_catalog()
    paths = options["catalog"]
    if not paths:
        return builtin, ()
    try:
        catalog = load_catalog([paths] if isinstance(paths, str) else list(paths))
    except CatalogError as error:
        problems.add(f"option `catalog`: {error}", "catalog")
        return builtin, ()
    return catalog, tuple(name for name, system in catalog.systems.items() if system != builtin.systems.get(name))


def _systems(options: Options, catalog: Catalog, problems: Problems) -> tuple[str, ...]:
    names = options.systems
    if names == ("auto",):
        return ()
    if "auto" in names:
        problems.add("`serving_system: auto` stands alone, not in a list with others", "serving_system")
        return ()
    for name in names:
        # It may be of a file that can't be used.
        if name not in catalog.systems and problems.needs("catalog"):
            close = get_close_matches(name.lower(), catalog.systems, 1)
            hint = f"did you mean `{close[0]}`? " if close else ""
            problems.add(
                f"`serving_system: {name}` is not known; {hint}Known: auto, {', '.join(catalog.systems)}",
                "serving_system",
            )
    return tuple(dict.fromkeys(names))


def _check_urls(options: Options, databricks: DatabricksSettings | None, problems: Problems) -> None:
    for option, urls in (("openmetrics_endpoint", (options.url,)), ("openmetrics_endpoints", options.several or ())):
        for url in filter(None, urls):
            _check_url(url, option, problems)
    if databricks is not None and problems.needs("databricks_host"):
        _check_url(databricks.url, "databricks_host", problems)


def _check_url(url: str, option: str, problems: Problems) -> None:
    if not re.match(r"(https?|unix)://", url, re.IGNORECASE):
        problems.add(f"`{option}` must start with http://, https:// or unix://", option)
        return
    if wrong := _unfilled(url):
        problems.add(f"`{option}` {wrong}", option)
        return
    if url[:4].lower() == "unix":
        if not socket_path(url):
            problems.add(
                f"`{option}` must name the path of a socket that ends in .sock, as in unix:///run/server.sock/metrics, "
                "or write its slashes as %2F, as in unix://%2Frun%2Fserver/metrics",
                option,
            )
        return
    try:
        parts = urlsplit(url)
        sound = bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        advice = "; in a password write %2F for `/`, %3F for `?` and %23 for `#`" if "@" in url else ""
        problems.add(f"`{option}` is not a valid URL: check its host and port{advice}", option)


def _unfilled(value: str) -> str:
    """What is said of a value that still holds placeholders, empty where it holds none."""
    found = list(dict.fromkeys(PLACEHOLDER.findall(value)))
    if not found:
        return ""
    text = f"still holds the placeholder{'s' * (len(found) > 1)} {' and '.join(found)}"
    if any(placeholder.startswith("%%") for placeholder in found):
        text += (
            ", which only the Agent's Autodiscovery fills in: write the host itself, or put the configuration into the "
            "annotations or labels of the pod or container"
        )
    return text


def _check_values(options: Options, problems: Problems) -> None:
    """Complain about values that can't be right, whatever the source is."""
    for option in ("timeout", "connect_timeout", "read_timeout"):
        _seconds(option, options[option], problems)
    for option in ("tls_ca_cert", "tls_cert", "tls_private_key"):
        path = options[option]
        if path and not Path(path).expanduser().exists():
            problems.add(f"option `{option}`: there is no file {path}", option)
    key = options["tls_private_key"] or options["tls_cert"]
    if key and not options["tls_private_key_password"] and problems.needs("tls_private_key", "tls_cert"):
        with suppress(OSError):
            # OpenSSL would ask for it at the terminal.
            if b"ENCRYPTED" in Path(key).expanduser().read_bytes():
                problems.add(f"the key in {key} is encrypted: give `tls_private_key_password`", "tls_private_key")
    for option in PATTERNS:
        for text in options[option] or ():
            try:
                re.compile(text)
            except re.error as error:
                problems.add(f"option `{option}`: {text!r} is not a valid regular expression: {error}", option)
    for option in ("metrics", "extra_metrics"):
        for wrong in _wrong_types(options[option] or ()):
            problems.add(f"option `{option}`: {wrong}", option)
    for option in ("headers", "extra_headers"):
        for name, value in (options[option] or {}).items():
            if wrong := _unfilled(str(value)):
                problems.add(f"header `{name}` of `{option}` {wrong}", option)
            elif "ENC[" in str(value):
                problems.add(
                    f"header `{name}` of `{option}` still holds an ENC[...] handle: the Agent resolves it only where "
                    "it is the whole value, so keep all of it, as in `Bearer ...`, in the secret",
                    option,
                )
    if options["use_legacy_auth_encoding"] and options["auth_type"].lower() == "basic":
        for option in ("username", "password"):
            if not _in_latin_1(options[option] or ""):
                # No more of it: each character is one of the secret.
                problems.add(
                    f"`{option}` has a character that ISO 8859-1 lacks: set `use_legacy_auth_encoding: false`, which "
                    "sends UTF-8",
                    option,
                )


def _in_latin_1(text: str) -> bool:
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True


def _wrong_types(entries: tuple[Any, ...]) -> Iterator[str]:
    """What is wrong with the types that metrics are given. The rest is checked by the stock check."""
    for entry in entries:
        for metric, value in entry.items() if isinstance(entry, Mapping) else ():
            kind = value.get("type") if isinstance(value, Mapping) else getattr(value, "type", None)
            if isinstance(kind, str) and kind not in TRANSFORMERS:
                close = get_close_matches(kind, TRANSFORMERS, 1)
                hint = f"did you mean `{close[0]}`? " if close else ""
                yield f"metric `{metric}`: unknown type `{kind}`; {hint}There are {', '.join(TRANSFORMERS)}"


def _seconds(option: str, value: float | None, problems: Problems) -> float | None:
    if value is not None and value <= 0:
        problems.add(f"option `{option}` must be more than 0 seconds, not {value:g}", option)
    return value


def _warnings(where: str, instance: Mapping[str, Any], scrape: ScrapeSettings, options: Options) -> tuple[str, ...]:
    """What the Agent's status shows for as long as the instance is what it is."""
    found = [
        f"option `{option}` has no effect: {why}. Remove it"
        for option, why in MOOT_OPTIONS.items()
        if option in instance
    ]
    if options.given(OLD_SPELLING) is not None:
        found.append(
            f"option `{OLD_SPELLING}` belongs to the V1 OpenMetrics check. It is honoured; write "
            "`histogram_buckets_as_distributions` instead, or leave it out: distributions are the default here"
        )
    interval = options["min_collection_interval"]
    if interval > MINUTE and "databricks" in scrape.systems:
        found.append(
            f"`min_collection_interval: {interval:g}` misses minutes: Databricks publishes the totals of one minute at "
            "a time, and those between two runs are lost. Write 60 or less; the default of 15 is right"
        )
    return tuple(f"{where}: {text}" for text in found)
