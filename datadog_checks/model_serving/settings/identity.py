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
NAMES = ("endpoint_name", "serving_system", "gpu", "name", "namespace")


def source_id(instance: Mapping[str, Any]) -> str:
    """A digest of what an instance reads and what it calls that; of nothing else, so that it outlasts most edits.

    Tags make no difference, nor does the order of a list, nor a secret, in a URL or out of it.
    """
    said = {
        **{option: sorted(map(_address, _list(instance.get(option)))) for option in URLS},
        **{option: [bare_host(str(host)).lower() for host in _list(instance.get(option))] for option in HOSTS},
        **{option: sorted(map(str, _list(instance.get(option)))) for option in NAMES},
    }
    text = json.dumps({option: values for option, values in said.items() if values}, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _address(url: object) -> str:
    return without_credentials(str(url).partition("#")[0])


def _list(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
