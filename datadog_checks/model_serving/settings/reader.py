"""From the options of an instance to its settings, or to the first of them that can't be used."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from datadog_checks.base import ConfigurationError

from ..catalog.loader import builtin_catalog, load_catalog
from ..catalog.model import NAMESPACE, Catalog
from ..config_models.instance import InstanceConfig
from ..errors import CatalogError
from ..http.redact import SECRET_NAME, without_secrets
from .databricks import databricks_settings
from .model import (
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
from .names import describe
from .options import Options

DATABRICKS_URL = re.compile(r"/api/2\.0/serving-endpoints/([^/?#]+)/metrics/?(?:[?#]|$)")
PLACEHOLDER = re.compile(r"(?<!ENC)\[[A-Z][A-Z_]+\]|<[A-Z][A-Z_]+>")


def read_settings(instance: Mapping[str, Any], model: InstanceConfig, environ: Mapping[str, str]) -> Settings:
    """The settings of an instance whose option names and types are right: `model` is what they were found to be.

    Raises ConfigurationError naming the instance, the option and what to write instead.
    """
    where = describe(instance)
    options = Options(model)
    # The stock limit is meant for one payload, and leaves out what comes last.
    limited = options.given("max_returned_metrics") is not None
    interval = options["min_collection_interval"]
    if gpu := options["gpu"]:
        return Settings(where, _gpu(options, gpu, where), limits_contexts=limited, interval=interval)
    databricks = databricks_settings(options, environ, where)
    readiness = _readiness(options)
    several = _several(options, readiness, where)
    urls = options.urls if databricks is None else (databricks.metrics_url,)
    if not urls:
        raise ConfigurationError(
            f"{where}: name a source: `openmetrics_endpoint` with the URL of the metrics, or `databricks_host`, or "
            "`gpu: nvml`"
        )
    secrets = tuple(dict.fromkeys(_secrets(options, urls, where)))
    for url in urls:
        _check_url(url, where)
    for option in ("timeout", "connect_timeout", "read_timeout"):
        _seconds(option, options[option], where)
    _check_files(options, where)
    parallel = _parallel(options, where)
    old = options.given("send_distribution_buckets")
    scrape = _scrape(instance, options, databricks, urls, old, where)
    source: SingleSettings | SeveralSettings | WorkspaceSettings
    if databricks is not None and not databricks.endpoint:
        source = WorkspaceSettings(databricks, scrape, readiness, parallel)
    elif several:
        source = SeveralSettings(urls, scrape, readiness, parallel)
    else:
        source = SingleSettings(scrape, readiness, databricks)
        limited = True
    warnings = () if old is None else (_old_spelling(where),)
    # A cluster check, as which this option marks it, may have run elsewhere meanwhile: its readings are not the last.
    restart_bytes = 0 if options["empty_default_hostname"] else options["restart_memory_bytes"]
    return Settings(where, source, warnings, secrets, limited, interval, restart_bytes)


def _gpu(options: Options, source: str, where: str) -> GpuSettings:
    others = {
        "openmetrics_endpoint": options.url,
        "openmetrics_endpoints": options.several,
        "databricks_host": options.workspace,
    }
    for option, value in others.items():
        if value:
            raise ConfigurationError(f"{where}: `gpu` and `{option}` are two sources: give each an instance of its own")
    return GpuSettings(
        optional=source == "auto",
        endpoint_name=options.endpoint_name,
        tags=options.tags,
        processes=options["gpu_processes"],
        process_limit=options["gpu_process_limit"],
    )


def _several(options: Options, readiness: ReadinessSettings, where: str) -> bool:
    """Whether the instance names several endpoints. What makes no sense then is refused."""
    urls = options.several
    if urls is None:
        return False
    of_one = {
        "openmetrics_endpoint": options.url,
        "endpoint_name": options.endpoint_name,
        "readiness_url": readiness.url,
    }
    for option, value in of_one.items():
        if value:
            raise ConfigurationError(
                f"{where}: `{option}` is of one endpoint and `openmetrics_endpoints` names several: keep one of them"
            )
    if not urls:
        raise ConfigurationError(f"{where}: `openmetrics_endpoints` is empty: give URLs, or remove it")
    twice = next((url for url in urls if urls.count(url) > 1), None)
    if twice is not None:
        raise ConfigurationError(f"{where}: `openmetrics_endpoints` names {without_secrets(twice)} twice")
    return True


def _readiness(options: Options) -> ReadinessSettings:
    return ReadinessSettings(
        enabled=options["readiness"],
        url=(options["readiness_url"] or "").rstrip("/"),
        interval=options["readiness_interval"],
        models=options["models"] or (),
    )


def _parallel(options: Options, where: str) -> ParallelSettings:
    return ParallelSettings(
        connections=options["max_connections"],
        # Not the stock default: a connection each for every endpoint and run would cost more than the scrapes.
        keep_connections=options.given("persist_connections") is not False,
        deadline=_seconds("endpoint_deadline", options["endpoint_deadline"], where),
    )


def _scrape(
    instance: Mapping[str, Any],
    options: Options,
    databricks: DatabricksSettings | None,
    urls: tuple[str, ...],
    old_distributions: bool | None,
    where: str,
) -> ScrapeSettings:
    catalog, own = _catalog(options, where)
    systems = _systems(options, catalog, where)
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
    distributions = old_distributions if distributions is None else distributions
    distributions = buckets and not separate if distributions is None else distributions
    totals = options.given("collect_counters_with_distributions")
    totals = distributions if totals is None else totals
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
        buckets=buckets,
        separate_buckets=separate,
        totals=totals,
    )


def _catalog(options: Options, where: str) -> tuple[Catalog, tuple[str, ...]]:
    """The catalog, and the systems in it that are of the user's files."""
    paths = options["catalog"]
    if not paths:
        return builtin_catalog(), ()
    try:
        catalog = load_catalog([paths] if isinstance(paths, str) else list(paths))
    except CatalogError as error:
        raise ConfigurationError(f"{where}: option `catalog`: {error}") from None
    builtin = builtin_catalog().systems
    return catalog, tuple(name for name, system in catalog.systems.items() if system != builtin.get(name))


def _systems(options: Options, catalog: Catalog, where: str) -> tuple[str, ...]:
    names = options.systems
    if names == ("auto",):
        return ()
    if "auto" in names:
        raise ConfigurationError(f"{where}: `serving_system: auto` stands alone, not in a list with others")
    for name in names:
        if name not in catalog.systems:
            close = get_close_matches(name.lower(), catalog.systems, 1)
            hint = f"did you mean `{close[0]}`? " if close else ""
            raise ConfigurationError(
                f"{where}: `serving_system: {name}` is not known; {hint}Known: auto, {', '.join(catalog.systems)}"
            )
    return tuple(dict.fromkeys(names))


def _check_url(url: str, where: str) -> None:
    if not re.match(r"https?://", url, re.IGNORECASE):
        raise ConfigurationError(f"{where}: `openmetrics_endpoint` must start with http:// or https://")
    placeholder = PLACEHOLDER.search(url)
    if placeholder:
        raise ConfigurationError(f"{where}: `openmetrics_endpoint` still holds the placeholder {placeholder.group()}")
    try:
        parts = urlsplit(url)
        sound = bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise ConfigurationError(f"{where}: `openmetrics_endpoint` is not a valid URL: check its host and port")


def _check_files(options: Options, where: str) -> None:
    for option in ("tls_ca_cert", "tls_cert", "tls_private_key"):
        path = options[option]
        if path and not Path(path).expanduser().exists():
            raise ConfigurationError(f"{where}: option `{option}`: there is no file {path}")


def _seconds(option: str, value: float | None, where: str) -> float | None:
    if value is not None and value <= 0:
        raise ConfigurationError(f"{where}: option `{option}` must be more than 0 seconds, not {value:g}")
    return value


def _secrets(options: Options, urls: tuple[str, ...], where: str) -> list[str]:
    """What headers, passwords and the URLs hold that must not be shown anywhere."""
    secrets = [options[option] for option in ("password", "tls_private_key_password") if options[option]]
    for option in ("headers", "extra_headers"):
        for name, value in (options[option] or {}).items():
            placeholder = PLACEHOLDER.search(str(value))
            if placeholder:
                raise ConfigurationError(
                    f"{where}: header `{name}` of `{option}` still holds the placeholder {placeholder.group()}"
                )
            if SECRET_NAME.search(str(name)):
                secrets += [str(value), *str(value).split()[1:]]
    for url in urls:
        location, _, query = url.partition("?")
        secrets += [value for name, value in re.findall(r"([^&=#]+)=([^&#]+)", query) if SECRET_NAME.search(name)]
        user = location.partition("://")[2].partition("/")[0].rpartition("@")[0]
        secrets += [user, user.partition(":")[2]]
    return [text for secret in secrets for text in {secret, unquote(secret)} if len(text) > 3]


def _old_spelling(where: str) -> str:
    return (
        f"{where}: option `send_distribution_buckets` belongs to the V1 OpenMetrics check. It is honoured; write "
        "`histogram_buckets_as_distributions` instead, or leave it out: distributions are the default here"
    )
