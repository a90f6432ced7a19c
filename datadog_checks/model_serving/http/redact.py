"""What must not be shown: secrets, taken out before one reaches a tag, a message or the log."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

MASK = "********"

SHORTEST = 4
"""Shorter secrets are not looked for in text: masking every `a` would leave nothing to read."""

SECRET_NAME = re.compile(r"(?i)token|key|secret|pass|pwd|auth|sig|cred|cookie")
"""Names of headers and query parameters whose values are taken for secrets; masking one too many does no harm."""

PLACEHOLDER = re.compile(r"(?<!ENC)\[[A-Z][A-Z_]+\]|<[A-Z][A-Z_]+>|%%\w+%%")
"""What documents write where a value of one's own goes. A value that holds one is no secret yet, and must be seen."""

_SECRET_OPTION = re.compile(
    r"(?<![a-z])(api_?key|auth|authorization|credential|key|passphrase|passwd|password|secret|token)s?(?![a-z])"
)
_PLACE_OF_SECRET = re.compile(r".*_(path|file|filepath|token_env)|tls_private_key|(.*_)?auth_type")
_HEADERS = ("headers", "extra_headers")
_NAMES_OF_METRICS = ("metrics", "extra_metrics", "rename_labels", "share_labels", "exclude_metrics_by_labels")
"""Options whose keys are names in a payload: `llm_tokens` is no token there."""
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_SECRET_WORDS = SECRET_NAME.pattern.removeprefix("(?i)")
_SECRET_PARAMETER = re.compile(rf"((?:^|&)[^=&]*(?i:{_SECRET_WORDS})[^=&]*=)[^&]*")
_URL_SECRET = re.compile(rf"([?&][^=&\s]*(?i:{_SECRET_WORDS})[^=&\s]*=)[^&\s'\")]*")
_URL_USER = re.compile(r"(\b[a-z]+://)[^/@\s]+@")

PASSING_SECRETS = 64


class Secrets:
    """The secrets that one check knows, left out of its log. Any thread may register one."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._lasting: tuple[str, ...] = ()
        self._passing: tuple[str, ...] = ()

    def register(self, secret: str, passing: bool = False) -> None:
        """Leave a secret out from now on. Of `passing` ones, as tokens are that are renewed, the last are kept."""
        with self._lock:
            if not self._lasting and not self._passing:
                self._log.setup_sanitization(sanitize=self.sanitize)
            if passing:
                self._passing = (*self._passing, secret)[-PASSING_SECRETS:]
            else:
                self._lasting = tuple(dict.fromkeys((*self._lasting, secret)))

    def sanitize(self, text: str) -> str:
        """A text without the secrets that are known."""
        return mask(text, (*self._lasting, *self._passing))


def without_secrets(url: str) -> str:
    """A URL without user, password, query and fragment, any of which can hold a secret."""
    return _without_user(re.split(r"[?#]", url, maxsplit=1)[0])


def without_credentials(url: str) -> str:
    """A URL whose user, password and query parameters that sound like a secret are gone or masked.

    >>> without_credentials("http://me:pw@host/federate?match[]=up&api_key=abc")
    'http://host/federate?match[]=up&api_key=***'
    """
    address, question, query = url.partition("?")
    masked = _SECRET_PARAMETER.sub(r"\1***", query)
    return f"{_without_user(address)}{question}{masked}"


def mask_secrets(text: str) -> str:
    """Any text, with what `without_credentials` takes out of a URL taken out of all URLs in it."""
    return _URL_USER.sub(r"\1", _URL_SECRET.sub(r"\1***", text))


def mask(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret replaced by `MASK`; where one may be part of another, the longer comes first."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


def is_secret(name: str) -> bool:
    """Whether an option of this name holds a secret. It must be a word of the name: `tokenizer` is no token. A path to
    where the secret is, as `databricks_token_path` names it, is none, and nor is the name of a variable.
    """
    words = _CAMEL.sub("_", name).lower()
    return _SECRET_OPTION.search(words) is not None and not _PLACE_OF_SECRET.fullmatch(words)


def secrets_of(configuration: Any) -> tuple[str, ...]:
    """All secrets in a configuration, longest first.

    Those are texts under a name that speaks of a secret, values of headers whose name does, and users, passwords and
    secret parameters in URLs, quoted and not. Of `Bearer abc`, the `abc` is a secret by itself. A value that still
    holds a placeholder is none.
    """
    found: set[str] = set()
    for value in _secret_values(configuration):
        if PLACEHOLDER.search(value) is None:
            found |= {value, value.rpartition(" ")[2], unquote(value)}
    return tuple(sorted((value for value in found if len(value) >= SHORTEST), key=lambda value: (-len(value), value)))


def _secret_values(node: Any, name: str = "", header: bool = False) -> Iterator[str]:
    if isinstance(node, Mapping):
        if isinstance(node.get("name"), str) and is_secret(node["name"]) and isinstance(node.get("value"), str):
            yield node["value"].replace("<TOKEN>", "").strip()
        for key, value in node.items():
            if key not in _NAMES_OF_METRICS:
                yield from _secret_values(value, str(key), header=name in _HEADERS)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _secret_values(value, name)
    elif isinstance(node, str):
        if name and (is_secret(name) or (header and SECRET_NAME.search(name))):
            yield node
        elif "://" in node:
            yield from _secrets_in_url(node)


def _secrets_in_url(url: str) -> Iterator[str]:
    address, _, query = url.partition("?")
    user = address.partition("://")[2].partition("/")[0].rpartition("@")[0]
    yield from (user, user.partition(":")[2])
    for name, value in re.findall(r"([^&=#]+)=([^&#]+)", query):
        if SECRET_NAME.search(name):
            yield value


def _without_user(url: str) -> str:
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"
