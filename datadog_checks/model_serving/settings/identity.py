"""What makes two instances one source: by this, what was counted is found again after a restart of the Agent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ..http.redact import without_credentials
from .names import bare_host

URLS = ("openmetrics_endpoint", "openmetrics_endpoints")
HOSTS = ("databricks_host",)
HEADERS = ("headers", "extra_headers")
"""Where a header may name another virtual host at the same address."""

NAMES = ("endpoint_name", "serving_system", "gpu", "name", "namespace")


def source_id(instance: Mapping[str, Any]) -> str:
    """A digest of what an instance reads and what it calls that; of nothing else, so that it outlasts most edits.

    Tags make no difference, nor does the order of a list, nor a secret, in a URL or out of it.
    """
    said = {
        **{option: sorted(map(_address, _list(instance.get(option)))) for option in URLS},
        **{option: [bare_host(str(host)).lower() for host in _list(instance.get(option))] for option in HOSTS},
        **{option: sorted(map(str, _list(instance.get(option)))) for option in NAMES},
        "Host": [str(value) for option in HEADERS for name, value in _headers(instance.get(option)) if name == "host"],
    }
    text = json.dumps({option: values for option, values in said.items() if values}, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _address(url: object) -> str:
    return without_credentials(str(url).partition("#")[0])


def _headers(value: Any) -> list[tuple[str, Any]]:
    return [(str(name).lower(), text) for name, text in value.items()] if isinstance(value, Mapping) else []


def _list(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
