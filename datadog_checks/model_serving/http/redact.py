"""What must not be shown: secrets, taken out before one reaches a tag, a message or the log."""

from __future__ import annotations

import re
import threading
from typing import Any

SECRET_NAME = re.compile(r"(?i)token|key|secret|pass|pwd|auth|sig|cred|cookie")
"""Names of headers and query parameters whose values are taken for secrets."""
_SECRET_WORDS = SECRET_NAME.pattern.removeprefix("(?i)")
_SECRET_PARAMETER = re.compile(rf"((?:^|&)[^=&]*(?i:{_SECRET_WORDS})[^=&]*=)[^&]*")
_URL_SECRET = re.compile(rf"([?&][^=&\s]*(?i:{_SECRET_WORDS})[^=&\s]*=)[^&\s'\")]*")
_URL_USER = re.compile(r"(\b[a-z]+://)[^/@\s]+@")


MASK = "********"
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
        for secret in (*self._lasting, *self._passing):
            text = text.replace(secret, MASK)
        return text


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


def _without_user(url: str) -> str:
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"
