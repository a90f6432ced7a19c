"""What must not be shown: secrets in URLs, taken out before one reaches a tag, a message or the log."""

from __future__ import annotations

import re

SECRET_NAME = re.compile(r"(?i)token|key|secret|pass|pwd|auth|sig|cred|cookie")
"""Names of headers and query parameters whose values are taken for secrets."""
_SECRET_WORDS = SECRET_NAME.pattern.removeprefix("(?i)")
_SECRET_PARAMETER = re.compile(rf"((?:^|&)[^=&]*(?i:{_SECRET_WORDS})[^=&]*=)[^&]*")
_URL_SECRET = re.compile(rf"([?&][^=&\s]*(?i:{_SECRET_WORDS})[^=&\s]*=)[^&\s'\")]*")
_URL_USER = re.compile(r"(\b[a-z]+://)[^/@\s]+@")


def without_secrets(url: str) -> str:
    """A URL without user, password, query and fragment, any of which can hold a secret."""
    return _without_user(re.split(r"[?#]", url, maxsplit=1)[0])


def without_credentials(url: str) -> str:
    """A URL whose user, password and query parameters that sound like a secret are gone or masked.

    >>> without_credentials("http://me:pw@host/federate?match[]=up&api_key=abc")
    'http://host/federate?match[]=up&api_key=***'
    """
    place, question, query = url.partition("?")
    masked = _SECRET_PARAMETER.sub(r"\1***", query)
    return f"{_without_user(place)}{question}{masked}"


def mask_secrets(text: str) -> str:
    """Any text, with what `without_credentials` takes out of a URL taken out of all URLs in it."""
    return _URL_USER.sub(r"\1", _URL_SECRET.sub(r"\1***", text))


def _without_user(url: str) -> str:
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"
