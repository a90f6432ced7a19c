"""The configuration of an instance, checked before its first run and put into the terms of the stock V2 scraper."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from datadog_checks.base import ConfigurationError

from .catalog.loader import builtin_catalog, load_catalog
from .catalog.model import Catalog
from .errors import CatalogError
from .http.redact import SECRET_NAME, without_secrets
from .sources.databricks.config import DatabricksSettings, bare_host, databricks_settings

V1_OPTIONS = {
    "prometheus_url": "openmetrics_endpoint",
    "send_histograms_buckets": "collect_histogram_buckets",
    "non_cumulative_buckets": "non_cumulative_histogram_buckets",
    "prometheus_metrics_prefix": "raw_metric_prefix",
    "label_to_hostname": "hostname_label",
    "label_to_hostname_suffix": "hostname_format: <HOSTNAME>suffix",
    "labels_mapper": "rename_labels",
    "labels_rename": "rename_labels",
    "ignore_metrics": "exclude_metrics",
    "ignore_metrics_by_labels": "exclude_metrics_by_labels",
    "ignored_tags": "ignore_tags",
    "label_joins": "share_labels",
    "type_overrides": "a `type` per entry of `metrics` or `extra_metrics`",
    "health_service_check": "enable_health_service_check",
    "metadata_metric_name": "an entry of `extra_metrics` with `type: metadata`",
    "metadata_label_map": "an entry of `extra_metrics` with `type: metadata`",
    "bearer_token_auth": "auth_token",
    "bearer_token_path": "auth_token",
    "prometheus_timeout": "timeout",
    "ssl_verify": "tls_verify",
    "ssl_cert": "tls_cert",
    "ssl_private_key": "tls_private_key",
    "ssl_ca_cert": "tls_ca_cert",
    "send_monotonic_counter": "",
    "send_monotonic_with_gauge": "",
    "send_distribution_counts_as_monotonic": "",
    "send_distribution_sums_as_monotonic": "",
}
"""Options of the V1 check and their V2 spelling; empty where V2 always does it and the line can go."""

AGENT_OPTIONS = frozenset(
    (
        "collect_histograms_as_distributions",
        "debug_metrics",
        "disable_generic_tags",
        "enable_legacy_tags_normalization",
        "loader",
        "max_returned_metrics",
        "metrics",
        "name",
        "namespace",
        "no_index",
        "process_isolation",
        "set_breakpoint",
        "use_process_start_time",
    )
)
"""Options that the Agent or the stock check reads though no specification of theirs lists them on every version."""

GPU_SOURCES = ("nvml", "auto")
DATABRICKS_URL = re.compile(r"/api/2\.0/serving-endpoints/([^/?#]+)/metrics/?(?:[?#]|$)")
PLACEHOLDER = re.compile(r"(?<!ENC)\[[A-Z][A-Z_]+\]|<[A-Z][A-Z_]+>")


@dataclass(frozen=True, slots=True)
class Settings:
    """A checked instance. `config` is what a scraper is built from; `systems` is empty for `auto`.

    `endpoints` are the URLs where there are several. With `databricks` the source is a serving endpoint, or all of a
    workspace. With `gpu` (`nvml` or `auto`) it is the GPUs of the host, and nothing is scraped.
    """

    config: dict[str, Any] = field(repr=False)
    catalog: Catalog
    systems: tuple[str, ...] = ()
    own_systems: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    databricks: DatabricksSettings | None = None
    gpu: str = ""
    warnings: tuple[str, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)


def describe(instance: Mapping[str, Any]) -> str:
    """How messages call an instance: by its URL, or by Databricks host and endpoint. Without secrets."""
    url = instance.get("openmetrics_endpoint")
    if isinstance(url, str) and url:
        return f"instance `{without_secrets(url)}`"
    if instance.get("gpu"):
        return f"instance `gpu: {instance['gpu']}`"
    host, name = instance.get("databricks_host"), instance.get("endpoint_name")
    if host:
        place = without_secrets(f"https://{bare_host(str(host))}")
        return f"instance `{place}` (endpoint {name})" if name else f"instance `{place}`"
    urls = instance.get("openmetrics_endpoints")
    if isinstance(urls, list | tuple) and urls:
        return f"instance `{without_secrets(str(urls[0]))}` and {len(urls) - 1} more"
    return "instance without `openmetrics_endpoint`"


def check_option_names(instance: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Raise ConfigurationError for the first option that the check doesn't know, with the right spelling."""
    allowed = {*known, *AGENT_OPTIONS, "send_distribution_buckets"}
    for option in instance:
        if option in allowed:
            continue
        if option in V1_OPTIONS:
            instead = V1_OPTIONS[option]
            mend = f"write {_code(instead)} instead" if instead else "remove it, V2 always does what it asked for"
            raise ConfigurationError(f"{where}: option `{option}` belongs to the V1 OpenMetrics check; {mend}")
        # The one old spelling that is honoured is none to recommend.
        close = get_close_matches(str(option), sorted(allowed - {"send_distribution_buckets"}), 1, 0.6)
        mend = f"did you mean `{close[0]}`?" if close else "remove it, or see conf.yaml.example for what there is"
        raise ConfigurationError(f"{where}: unknown option `{option}`; {mend}")


def check_settings(instance: Mapping[str, Any]) -> Settings:
    """Resolve an instance whose option names and types are right.

    Raises ConfigurationError naming the instance, the option and what to write instead.
    """
    where = describe(instance)
    config = dict(instance)
    if config.get("gpu"):
        return _gpu(config, where)
    warnings = _honour_old_spelling(config, where)
    databricks = databricks_settings(config, os.environ, where)
    endpoints = _endpoints(config, where)
    if databricks is not None:
        config["openmetrics_endpoint"] = databricks.metrics_url
        if config.get("serving_system", "auto") == "auto":
            config["serving_system"] = "databricks"
    elif endpoints:
        config["openmetrics_endpoint"] = endpoints[0]
    url = config.get("openmetrics_endpoint")
    if not url:
        raise ConfigurationError(
            f"{where}: name a source: `openmetrics_endpoint` with the URL of the metrics, or `databricks_host`, or "
            "`gpu: nvml`"
        )
    secrets = _secrets(config, endpoints or (url,), where)
    for each in endpoints or (url,):
        _check_url(each, where)
    for option in ("timeout", "connect_timeout", "read_timeout", "endpoint_deadline"):
        if (config.get(option) or 1) < 0 or config.get(option) == 0:
            raise ConfigurationError(f"{where}: option `{option}` must be more than 0 seconds, not {config[option]}")
    for option in ("tls_ca_cert", "tls_cert", "tls_private_key"):
        path = config.get(option)
        if path and not Path(path).expanduser().exists():
            raise ConfigurationError(f"{where}: option `{option}`: there is no file {path}")
    catalog, own = _catalog(config, where)
    systems = _systems(config, catalog, where)
    name = DATABRICKS_URL.search(url)
    if name is not None and not endpoints and (not systems or systems == ("databricks",)):
        systems = ("databricks",)
        config.setdefault("endpoint_name", unquote(name.group(1)))
    return Settings(
        config,
        catalog,
        systems,
        own,
        endpoints,
        databricks,
        warnings=tuple(warnings),
        secrets=tuple(dict.fromkeys(secrets)),
    )


def _gpu(config: dict[str, Any], where: str) -> Settings:
    for option in ("openmetrics_endpoint", "openmetrics_endpoints", "databricks_host"):
        if config.get(option):
            raise ConfigurationError(f"{where}: `gpu` and `{option}` are two sources: give each an instance of its own")
    if config["gpu"] not in GPU_SOURCES:
        raise ConfigurationError(
            f"{where}: `gpu` must be `nvml`, or `auto` to stay quiet where there is no GPU, not {config['gpu']!r}"
        )
    return Settings(config, builtin_catalog(), gpu=config["gpu"])


def _endpoints(config: Mapping[str, Any], where: str) -> tuple[str, ...]:
    urls = config.get("openmetrics_endpoints")
    if urls is None:
        return ()
    for option in ("openmetrics_endpoint", "endpoint_name", "readiness_url"):
        if config.get(option):
            raise ConfigurationError(
                f"{where}: `{option}` is of one endpoint and `openmetrics_endpoints` names several: keep one of them"
            )
    if not urls:
        raise ConfigurationError(f"{where}: `openmetrics_endpoints` is empty: give URLs, or remove it")
    twice = next((url for url in urls if list(urls).count(url) > 1), None)
    if twice is not None:
        raise ConfigurationError(f"{where}: `openmetrics_endpoints` names {without_secrets(twice)} twice")
    return tuple(urls)


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


def _honour_old_spelling(config: dict[str, Any], where: str) -> list[str]:
    if "send_distribution_buckets" not in config:
        return []
    value = config.pop("send_distribution_buckets")
    config.setdefault("histogram_buckets_as_distributions", value)
    return [
        f"{where}: option `send_distribution_buckets` belongs to the V1 OpenMetrics check. It is honoured; write "
        "`histogram_buckets_as_distributions` instead, or leave it out: distributions are the default here"
    ]


def _secrets(config: Mapping[str, Any], urls: tuple[str, ...], where: str) -> list[str]:
    """What headers, passwords and the URLs hold that must not be shown anywhere."""
    secrets = [str(config[option]) for option in ("password", "tls_private_key_password") if config.get(option)]
    for option in ("headers", "extra_headers"):
        headers = config.get(option)
        for name, value in headers.items() if isinstance(headers, dict) else ():
            placeholder = PLACEHOLDER.search(str(value))
            if placeholder:
                raise ConfigurationError(
                    f"{where}: header `{name}` of `{option}` still holds the placeholder {placeholder.group()}"
                )
            if SECRET_NAME.search(str(name)):
                secrets += [str(value), *str(value).split()[1:]]
    for url in urls:
        place, _, query = url.partition("?")
        secrets += [value for name, value in re.findall(r"([^&=#]+)=([^&#]+)", query) if SECRET_NAME.search(name)]
        user = place.partition("://")[2].partition("/")[0].rpartition("@")[0]
        secrets += [user, user.partition(":")[2]]
    return [text for secret in secrets for text in {secret, unquote(secret)} if len(text) > 3]


def _catalog(config: Mapping[str, Any], where: str) -> tuple[Catalog, tuple[str, ...]]:
    paths = config.get("catalog") or []
    paths = [paths] if isinstance(paths, str) else list(paths)
    if not paths:
        return builtin_catalog(), ()
    try:
        catalog = load_catalog(paths)
    except CatalogError as error:
        raise ConfigurationError(f"{where}: option `catalog`: {error}") from None
    builtin = builtin_catalog().systems
    return catalog, tuple(name for name, system in catalog.systems.items() if system != builtin.get(name))


def _systems(config: Mapping[str, Any], catalog: Catalog, where: str) -> tuple[str, ...]:
    value = config.get("serving_system") or "auto"
    names = [value] if isinstance(value, str) else list(value)
    if names == ["auto"]:
        return ()
    if "auto" in names:
        raise ConfigurationError(f"{where}: `serving_system: auto` stands alone, not in a list with others")
    for name in names:
        if name not in catalog.systems:
            close = get_close_matches(str(name).lower(), catalog.systems, 1)
            hint = f"did you mean `{close[0]}`? " if close else ""
            raise ConfigurationError(
                f"{where}: `serving_system: {name}` is not known; {hint}Known: auto, {', '.join(catalog.systems)}"
            )
    return tuple(dict.fromkeys(names))


def _code(text: str) -> str:
    return text if "`" in text else f"`{text}`"
