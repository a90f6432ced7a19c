"""The names of options and of instances, as users write them and as messages spell them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from ..http.redact import without_secrets
from .problems import Problems

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

MOOT_OPTIONS = {
    "omit_histogram_bound_tags": "histograms are sent as distributions without tags of their bounds in any case",
    "histogram_bound_tag_prefixes": "histograms are sent as distributions without tags of their bounds; "
    "`rename_labels` renames `upper_bound` where `histogram_buckets_as_distributions: false` brings them back",
}
"""Options of newer stock checks that there is nothing to do for, and why. They are taken, and a warning says so."""

CHOICE_OPTIONS = ("include", "exclude", "limit", "interval", "pay_per_token", "initial_requests_per_second")
"""What `serving_endpoints` may say."""


def describe(instance: Mapping[str, Any]) -> str:
    """How messages call an instance: by its URL, or by Databricks host and endpoint. Without secrets."""
    url = instance.get("openmetrics_endpoint")
    if isinstance(url, str) and url:
        return f"instance `{without_secrets(url)}`"
    if instance.get("gpu"):
        return f"instance `gpu: {instance['gpu']}`"
    host, name = instance.get("databricks_host"), instance.get("endpoint_name")
    if host:
        url = without_secrets(f"https://{bare_host(str(host))}")
        return f"instance `{url}` (endpoint {name})" if name else f"instance `{url}`"
    urls = instance.get("openmetrics_endpoints")
    if isinstance(urls, str) and urls:
        return f"instance `{without_secrets(urls)}`"
    if isinstance(urls, list | tuple) and urls:
        return f"instance `{without_secrets(str(urls[0]))}` and {len(urls) - 1} more"
    return "instance without `openmetrics_endpoint`"


def bare_host(host: str) -> str:
    """Host and port. People copy it from the browser, with a path behind it, and the workspace in `?o=`."""
    return re.split(r"[/?#]", re.sub(r"^https?://", "", host.strip(), flags=re.IGNORECASE))[0]


def check_option_names(instance: Mapping[str, Any], known: Collection[str], problems: Problems) -> None:
    """Complain about every option that the check doesn't know, with the right spelling."""
    allowed = {*known, *AGENT_OPTIONS, *MOOT_OPTIONS, "send_distribution_buckets"}
    for option in map(str, instance):
        if option in allowed:
            continue
        if option in V1_OPTIONS:
            instead = V1_OPTIONS[option]
            mend = f"write {_code(instead)} instead" if instead else "remove it, V2 always does what it asked for"
            problems.add(
                f"option `{option}` belongs to the V1 OpenMetrics check; {mend}", option, *{instead} - instance.keys()
            )
            continue
        # The one old spelling that is honoured is none to recommend.
        close = get_close_matches(option, sorted(allowed - {"send_distribution_buckets", *MOOT_OPTIONS}), 1, 0.6)
        mend = f"did you mean `{close[0]}`?" if close else "remove it, or see conf.yaml.example for what there is"
        problems.add(f"unknown option `{option}`; {mend}", option, *set(close) - instance.keys())
    choice = instance.get("serving_endpoints")
    for option in choice if isinstance(choice, Mapping) else ():
        if option not in CHOICE_OPTIONS:
            problems.add(
                f"`serving_endpoints` has no option `{option}`: there are {', '.join(CHOICE_OPTIONS)}",
                "serving_endpoints",
            )


def check_option_types(report: str, problems: Problems) -> None:
    """Complain about every option of a wrong type, in words of YAML: `report` is what the base check says of them."""
    lines = [line.strip() for line in report.splitlines()]
    if not lines or not lines[0].startswith("Detected "):
        problems.add(" ".join(lines))
        return
    place = "option of `init_config`" if "`SharedConfig`" in lines[0] else "option"
    found: dict[str, str] = {}
    for option, problem in zip(lines[1::2], lines[2::2], strict=False):
        # Where several types will do, each is complained about on its own.
        option = re.sub(r" -> (?:str|bool|tuple\[.*|.*mappingproxy.*)$", "", option)
        problem = problem.replace("valid tuple", "list, each entry of which begins with `- `")
        problem = problem.replace("an instance of mappingproxy", "a mapping")
        found[option] = f"{found[option]}, or else {problem[0].lower()}{problem[1:]}" if option in found else problem
    for option, problem in found.items():
        problems.add(f"{place} `{option}`: {problem}", *([option.partition(" -> ")[0]] if place == "option" else []))


def _code(text: str) -> str:
    return text if "`" in text else f"`{text}`"
