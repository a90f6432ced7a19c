"""Finds the secrets of a configuration, and keeps them out of text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

MASK = "********"

SHORTEST = 4
"""Shorter secrets are not looked for in text: masking every `a` would leave nothing to read."""

_SECRET_NAME = re.compile(
    r"(?<![a-z])(api_?key|auth|authorization|credential|key|passphrase|passwd|password|secret|token)s?(?![a-z])"
)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def is_secret(name: str) -> bool:
    """Whether an option, header or URL parameter of this name holds a secret."""
    return _SECRET_NAME.search(_CAMEL.sub("_", name).lower()) is not None


def secrets_of(configuration: Any) -> tuple[str, ...]:
    """All secrets in a configuration, longest first.

    Those are texts under a name that speaks of a secret, header values given as `name` and `value`, and passwords
    and secret parameters in URLs. Of `Bearer abc`, the `abc` is a secret by itself.
    """
    found: set[str] = set()
    for value in _secret_values(configuration):
        found.add(value)
        found.add(value.rpartition(" ")[2])
    return tuple(sorted((value for value in found if len(value) >= SHORTEST), key=lambda value: (-len(value), value)))


def mask(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret replaced by `MASK`; `secrets` come longest first."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


def _secret_values(node: Any, name: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("name"), str) and is_secret(node["name"]) and isinstance(node.get("value"), str):
            yield node["value"].replace("<TOKEN>", "").strip()
        for key, value in node.items():
            yield from _secret_values(value, str(key))
    elif isinstance(node, list):
        for value in node:
            yield from _secret_values(value, name)
    elif isinstance(node, str):
        if name and is_secret(name):
            yield node
        elif "://" in node:
            yield from _secrets_in_url(node)


def _secrets_in_url(url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    if parts.password:
        yield parts.password
    for name, value in parse_qsl(parts.query):
        if is_secret(name):
            yield value
