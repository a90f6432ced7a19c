"""Request bodies must be what the models of datadog-api-client read, to the last field and value."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module
from typing import Any

from datadog_api_client import Configuration
from datadog_api_client.exceptions import OpenApiException
from datadog_api_client.model_utils import (
    ModelComposed,
    ModelNormal,
    ModelSimple,
    OpenApiModel,
    UnparsedObject,
    is_type_nullable,
    validate_and_convert_types,
)

from .account import Refusal

_CONFIGURATION: Any = Configuration()  # type: ignore[no-untyped-call]


def check(name: str, body: Any) -> None:
    """Refuse a body that the model doesn't read, e.g. `v1.monitor.Monitor`. Fields that only the server may set pass,
    for the API ignores them."""
    problem = _problem(name, json.dumps(body))
    if problem:
        raise Refusal(400, f"Invalid payload: {problem}")


@lru_cache(4096)
def _problem(name: str, text: str) -> str | None:
    """What is wrong with a body. Remembered, for a test that tries every fault sends the same bodies each time, and
    the models take a tenth of a second for a dashboard."""
    version, module, model = name.split(".")
    wanted = getattr(import_module(f"datadog_api_client.{version}.model.{module}"), model)
    try:
        parsed: Any = validate_and_convert_types(  # type: ignore[no-untyped-call]
            json.loads(text), (wanted,), ["body"], True, True, configuration=_CONFIGURATION
        )
    except (OpenApiException, TypeError, ValueError) as error:
        missing = re.search(r"missing \d+ required positional arguments?: '(\w+)'", str(error))
        return f"Required parameter '{missing[1]}' is missing" if missing else " ".join(str(error).split())
    return next(_problems(parsed, "body"), None)


def _problems(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, UnparsedObject):
        yield f"{path} fits no model: {value._data_store}"
    elif isinstance(value, ModelComposed):
        for instance in value._composed_instances:
            yield from _problems(instance, path)
    elif isinstance(value, ModelSimple):
        if value._unparsed:
            yield f"{path}: {value.value!r} is not one of {sorted(value.allowed_values)}"
    elif isinstance(value, ModelNormal):
        for name, item in value._data_store.items():
            # Models without a property of their own take any, such as the thresholds of a check by status.
            types = value.openapi_types.get(name)
            if types is None and value.openapi_types:
                yield f"{path}.{name} is not a field of {type(value).__name__}"
            elif item is None and not any(_nullable(one) for one in types or ()):
                yield f"{path}.{name} must not be null"
            yield from _problems(item, f"{path}.{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _problems(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _problems(item, f"{path}.{name}")
    elif isinstance(value, OpenApiModel):
        yield f"{path} is a {type(value).__name__} that nothing checks"


def _nullable(kind: Any) -> bool:
    return isinstance(kind, type) and bool(is_type_nullable(kind))  # type: ignore[no-untyped-call]
