"""The settings of an instance as values: everything that the check knows of its options."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from ..catalog.model import Catalog
from .login import Login

SERVING_ENDPOINTS = "/api/2.0/serving-endpoints"
"""Where the endpoints of a Databricks workspace are listed."""

DATABRICKS_URL = re.compile(r"/api/2\.0/serving-endpoints/([^/?#]+)/metrics/?(?:[?#]|$)")
"""Where the metrics of one of them are, on any host."""


def endpoint_path(name: str) -> str:
    """Where a serving endpoint is described, below the workspace. Its metrics are below that."""
    return f"{SERVING_ENDPOINTS}/{quote(name, safe='')}"


@dataclass(frozen=True, slots=True)
class ScrapeSettings:
    """How endpoints are read.

    `options` are those of the stock check, for its classes. `systems` is empty where they are to be recognised;
    `own_systems` are those of the user's catalog files. Of the limits on a payload those on labels may be 0, for none.
    `stale_after` is in seconds, None for the time that pushed values have by default. The last three say how histograms
    are sent that are no distributions: with buckets, each with a count of its own; and whether sum and count are sent
    as well.
    """

    options: Mapping[str, Any] = field(repr=False)
    catalog: Catalog = field(repr=False)
    systems: tuple[str, ...]
    own_systems: tuple[str, ...]
    endpoint_name: str
    tags: tuple[str, ...]
    namespace: str
    keep_labels: frozenset[str]
    max_payload_bytes: int
    sample_limit: int
    label_limit: int
    label_value_length_limit: int
    stale_after: float | None
    buckets: bool
    separate_buckets: bool
    totals: bool

    def at(self, url: str, endpoint_name: str = "", tags: tuple[str, ...] = ()) -> ScrapeSettings:
        """The same for one of several endpoints, with a name and more tags of its own. Databricks shows in the URL."""
        tags = (*self.tags, *tags)
        databricks = not self.systems and DATABRICKS_URL.search(url) is not None
        return replace(
            self,
            options={**self.options, "openmetrics_endpoint": url, "tags": list(tags)},
            systems=("databricks",) if databricks else self.systems,
            endpoint_name=endpoint_name or self.endpoint_name,
            tags=tags,
        )


@dataclass(frozen=True, slots=True)
class ReadinessSettings:
    """Whether, where and how often readiness is probed; None is what the system's probe says."""

    enabled: bool | None
    url: str
    interval: float | None
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ParallelSettings:
    """How several endpoints are asked at the same time: over how many connections, which may be kept.

    `deadline` is in seconds, None for the sum of the time-outs.
    """

    connections: int
    keep_connections: bool
    deadline: float | None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which endpoints are watched: those whose name an `include` matches and no `exclude`, at most `limit`.

    `pay_per_token` says whether the models that Databricks hosts for everybody are among them.
    """

    limit: int
    include: tuple[re.Pattern[str], ...] = ()
    exclude: tuple[re.Pattern[str], ...] = ()
    pay_per_token: bool = False

    def of(self, names: Iterable[str]) -> tuple[list[str], int]:
        """The names that are watched, in alphabetical order, and how many more there would be."""
        chosen = sorted(
            name
            for name in names
            if (not self.include or any(pattern.search(name) for pattern in self.include))
            and not any(pattern.search(name) for pattern in self.exclude)
        )
        return chosen[: self.limit], max(0, len(chosen) - self.limit)


@dataclass(frozen=True, slots=True)
class DatabricksSettings:
    """A workspace, and how to log in to it. `url` is scheme and host.

    `endpoint` is empty for all endpoints that `selection` takes. They are listed every `interval` seconds, and asked
    for the first time with at most `initial_rate` requests per second; `tags` are the keys of Databricks tags to send.
    `workspace_id` tells the workspace from others of the host, `account_id` is that of its account; both are empty
    where nobody says.
    """

    url: str
    login: Login
    endpoint: str
    selection: Selection
    interval: float
    tags: tuple[str, ...]
    initial_rate: float
    workspace_id: str = ""
    account_id: str = ""

    @property
    def metrics_url(self) -> str:
        """Of the one endpoint; of a workspace the list, which names it in messages."""
        path = f"{endpoint_path(self.endpoint)}/metrics" if self.endpoint else SERVING_ENDPOINTS
        return f"{self.url}{path}"


@dataclass(frozen=True, slots=True)
class GpuSettings:
    """The GPUs of the host. `optional` says that there may be none; `process_limit` is the owners that are reported."""

    optional: bool
    endpoint_name: str
    tags: tuple[str, ...]
    processes: bool
    process_limit: int


@dataclass(frozen=True, slots=True)
class SingleSettings:
    """One endpoint; with `databricks` it is one of that workspace. `deadline` is as that of `ParallelSettings`."""

    scrape: ScrapeSettings
    readiness: ReadinessSettings
    deadline: float | None
    databricks: DatabricksSettings | None


@dataclass(frozen=True, slots=True)
class SeveralSettings:
    """Several endpoints that are read in the same way."""

    urls: tuple[str, ...] = field(repr=False)
    scrape: ScrapeSettings
    readiness: ReadinessSettings
    parallel: ParallelSettings


@dataclass(frozen=True, slots=True)
class WorkspaceSettings:
    """All endpoints of a Databricks workspace."""

    databricks: DatabricksSettings
    scrape: ScrapeSettings
    readiness: ReadinessSettings
    parallel: ParallelSettings


@dataclass(frozen=True, slots=True)
class Settings:
    """A checked instance. `instance` is what messages call it, `source` what it reads.

    `warnings` hold for as long as the instance is what it is; `secrets` must not be shown. `limits_contexts` says
    whether the stock limit on the number of metric contexts is in force, `interval` how many seconds lie between runs,
    `restart_memory_bytes` how much may be written in each to go on after a restart.
    """

    instance: str
    source: GpuSettings | SingleSettings | SeveralSettings | WorkspaceSettings
    warnings: tuple[str, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)
    limits_contexts: bool = True
    interval: float = 0.0
    restart_memory_bytes: int = 0
