"""What went wrong with a request, in words for the person who configured it: what, where, and what to do."""

from __future__ import annotations

import errno
import re
import ssl
from collections.abc import Iterator
from http.client import BadStatusLine, RemoteDisconnected
from socket import gaierror
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

from requests.exceptions import (
    ChunkedEncodingError,
    ConnectTimeout,
    ContentDecodingError,
    InvalidHeader,
    InvalidURL,
    MissingSchema,
    ProxyError,
    ReadTimeout,
    RequestException,
    Timeout,
    TooManyRedirects,
)
from requests.exceptions import ConnectionError as HTTPConnectionError
from urllib3.exceptions import NewConnectionError

from ..errors import UserError
from .address import socket_path
from .redact import without_secrets

UNREACHABLE = "no connection: check that the server runs and listens at this host and port"

BAD_HEADER = "a header has a line break in its value, or a blank before it: mend it in `headers` or the token file"

ADVICE = {
    401: "the credentials are refused (HTTP 401): check `headers`, `username` or `auth_token`",
    403: "the credentials lack permission (HTTP 403): grant read access, or use others",
    404: "there is nothing at this path (HTTP 404): check the URL",
    407: "the proxy refuses the credentials (HTTP 407): check user and password in the URL of `proxy`",
    429: "the endpoint limits requests (HTTP 429): raise `min_collection_interval`",
}

ErrorT = TypeVar("ErrorT", bound=BaseException)


def connection_problem(error: Exception, status: int | None, asked: str = "") -> str:
    """One sentence on what failed and what to do. Never holds headers, credentials or a body.

    `status` is that of HTTP where there was an answer, `asked` the URL of the request: where the failure is another
    host's, the sentence says that a redirect led there.
    """
    request = getattr(error, "request", None)
    url = urlsplit(str(getattr(request, "url", None) or asked))
    sentence = _of_status(status, url) if status is not None else _of_exception(error, url)
    if asked and _address(url) != _address(urlsplit(asked)):
        return f"after a redirect to {without_secrets(url.geturl())}: {sentence}"
    return sentence


def _address(url: SplitResult) -> tuple[str, str, int | None]:
    standard = {"http": 80, "https": 443}.get(url.scheme)
    if standard is None:
        return url.scheme, socket_path(url.geturl()) or url.netloc, None
    return url.scheme, url.hostname or "", url.port or standard


def _of_status(status: int, url: SplitResult) -> str:
    if status == 400 and url.scheme == "http":
        return "the endpoint answered HTTP 400: if its port speaks TLS, write https://, else look into its own log"
    if status == 404 and url.path in ("", "/"):
        return "there is nothing at this path (HTTP 404): the URL has none, and metrics are mostly at /metrics"
    return ADVICE.get(status, f"the endpoint answered HTTP {status}: look into its own log")


def _of_exception(error: Exception, url: SplitResult) -> str:
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, ProxyError):
        return _of_proxy(error)
    tls = _cause(error, ssl.SSLError)
    if tls is not None:
        return _of_tls(tls) if isinstance(error, RequestException) else _of_tls_files(tls)
    for kind, sentence in _SENTENCES:
        if isinstance(error, kind):
            return sentence
    if isinstance(error, HTTPConnectionError):
        return _of_network(error, url)
    if isinstance(error, UnicodeEncodeError):
        # It quotes a character of what can't be sent, and says where it is.
        return (
            "a header, user name or password has a character that can't be sent: keep to ASCII in `headers` and in a "
            "token file; for `password` set `use_legacy_auth_encoding: false`"
        )
    if isinstance(error, ValueError) and "header" in str(error):
        # The standard library's complaint, which quotes the value.
        return BAD_HEADER
    if isinstance(error, ValueError) and "URL" in str(error):
        # The standard library's complaint about where a redirect leads to: that of the instance was checked.
        return "the endpoint redirects to what is no web address: check the URL"
    if isinstance(error, RequestException):
        # Its text may hold the URL with all its secrets.
        return f"the request failed ({type(error).__name__}): check the URL and the options of the connection"
    if isinstance(error, OSError) and error.filename is not None:
        return f"the file {error.filename} can't be read: {error.strerror}. Check its path and rights"
    return f"the scrape failed unexpectedly ({type(error).__name__}: {error})"


_SENTENCES: tuple[tuple[type[Exception], str], ...] = (
    (ConnectTimeout, "no connection within the time-out: check host, port and firewall, or raise `timeout`"),
    (ReadTimeout, "connected, but no answer within the time-out: raise `timeout`, or look why the endpoint is slow"),
    (Timeout, "no answer within the time-out: raise `timeout`"),
    (TooManyRedirects, "the endpoint redirects in a circle: check the URL"),
    (ChunkedEncodingError, "the answer broke off before its end: nothing of it was used; look into the server's log"),
    (ContentDecodingError, "the answer is declared compressed but can't be decompressed: check the server or a proxy"),
    (MissingSchema, "the URL lacks http:// or https://"),
    (InvalidURL, "the URL is not valid"),
    (InvalidHeader, BAD_HEADER),
)


def _of_network(error: Exception, url: SplitResult) -> str:
    """What a failure to connect, or of a connection, means."""
    if _cause(error, gaierror) is not None:
        return (
            f"the host name {url.hostname} is not known: check its spelling, and that the host of the Agent can "
            "resolve it"
        )
    answer = _cause(error, BadStatusLine)
    if answer is not None and not isinstance(answer, RemoteDisconnected):
        if str(answer).lstrip("'\"").startswith(("\x15\x03", r"\x15\x03")):
            return "the port speaks TLS: write https:// instead of http://"
        return "what answers there speaks no HTTP: check the port"
    cause = _cause(error, OSError, lambda found: found.errno is not None)
    if url.scheme == "unix" and cause is not None:
        if cause.errno == errno.EACCES:
            return "the user of the Agent may not use the socket: grant the right to write to it"
        if cause.errno in (errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED, errno.EINVAL):
            return "no connection: check that the server runs, and that its socket has this path"
    if isinstance(answer, RemoteDisconnected) or isinstance(cause, ConnectionResetError | BrokenPipeError):
        hint = {
            "http": "if its port speaks TLS, write https://, else look into its own log",
            "https": "look into its own log; if it wants a client certificate, check `tls_cert` and `tls_private_key`",
        }
        return f"the server closed the connection without an answer: {hint.get(url.scheme, 'look into its own log')}"
    if cause is not None and cause.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return "there is no route to this host: check its address, the network and firewalls"
    return UNREACHABLE


def _of_proxy(error: ProxyError) -> str:
    """What a failure means that is a proxy's, or on the way to it."""
    tunnel = re.search(r"Tunnel connection failed: (\d{3})", str(error))
    if tunnel is not None:
        if tunnel.group(1) == "407":
            return ADVICE[407]
        return (
            f"the proxy refuses to connect to this host (HTTP {tunnel.group(1)}): allow it there, or go past the proxy "
            "with `no_proxy` of `proxy`, or `skip_proxy: true`"
        )
    opening = _cause(error, NewConnectionError)
    connection = getattr(opening, "conn", None)
    name = f" {connection.host}:{connection.port}" if connection is not None else ""
    if _cause(error, ssl.SSLError) is not None:
        return "the TLS connection to the proxy failed: for a proxy that speaks plain HTTP write http:// in its URL"
    return (
        f"no connection to the proxy{name}: check that it runs, and its URL in `proxy`, in the Agent's own `proxy` or "
        "in the environment; `skip_proxy: true` goes past it"
    )


def _of_tls(error: ssl.SSLError) -> str:
    """What a failure of TLS with the server means."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _VERIFICATION.get(error.verify_code, f"{_UNTRUSTED} ({error.verify_message}): {_TRUST}")
    for reasons, sentence in _TLS_REASONS:
        if re.search(reasons, error.reason or ""):
            return sentence
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return _ENDED
    return (
        f"the TLS connection failed ({error.reason or type(error).__name__}): check that the port speaks TLS, and "
        "`tls_protocols_allowed` and `tls_ciphers`"
    )


# Its last word, the alert, may be lost when a server closes the connection at once.
_ENDED = (
    "the TLS connection failed: the server closed it without an answer. Look into its own log; if it wants a client "
    "certificate, check `tls_cert` and `tls_private_key`, else that the port speaks TLS"
)
_UNTRUSTED = "the TLS connection failed: the server's certificate is not trusted"
_TRUST = (
    "set `tls_ca_cert` to the file of the authority that signed it, or of the certificate itself where it is "
    "self-signed; `tls_verify: false` trusts any"
)
_UNKNOWN_AUTHORITY = f"{_UNTRUSTED}, as its authority is not known here: {_TRUST}"
_ANOTHER_HOST = (
    f"{_UNTRUSTED}, as it is not of this host: write a name into the URL that it is of; "
    "`tls_validate_hostname: false` lets any pass"
)
_VERIFICATION = {
    # X509_V_ERR_* of OpenSSL.
    **dict.fromkeys((2, 18, 19, 20, 21), _UNKNOWN_AUTHORITY),
    **dict.fromkeys((62, 64), _ANOTHER_HOST),
    9: f"{_UNTRUSTED}, as it is not valid yet: check the clocks of both hosts",
    10: f"{_UNTRUSTED}, as it has expired: have it renewed on the server",
}
_TLS_REASONS = (
    (
        "WRONG_VERSION_NUMBER|HTTP_REQUEST|RECORD_LAYER_FAILURE|PACKET_LENGTH_TOO_LONG|UNKNOWN_PROTOCOL",
        "the TLS connection failed: the port speaks plain HTTP, or nothing like TLS. Write http:// instead of "
        "https://, or the port that speaks TLS",
    ),
    (
        "ALERT_CERTIFICATE_REQUIRED|ALERT_HANDSHAKE_FAILURE",
        "the TLS connection failed: the server ended the handshake, most likely because it wants a client certificate. "
        "Check `tls_cert` and `tls_private_key`",
    ),
    (
        "ALERT_(UNKNOWN_CA|BAD_CERTIFICATE|ACCESS_DENIED|(UNSUPPORTED_)?CERTIFICATE_)|ALERT_CERTIFICATE",
        "the TLS connection failed: the server refuses the client certificate. Write one into `tls_cert` that is valid "
        "and of an authority that the server trusts",
    ),
)


def _of_tls_files(error: ssl.SSLError) -> str:
    """What it means that the files of TLS can't be used. Nothing has been sent then."""
    reason = error.reason or ""
    if "KEY_VALUES_MISMATCH" in reason:
        return "`tls_private_key` is not the key of `tls_cert`: write the two files that belong together"
    if "NO_CERTIFICATE" in reason or "CRL" in reason:
        return "`tls_ca_cert` holds no certificate: write a file in PEM form"
    if "cipher" in str(error).lower():
        return "`tls_ciphers` names no cipher that there is: correct it, or leave it out"
    return (
        "the client certificate or its key can't be read: check `tls_private_key_password`, and that `tls_cert` and "
        "`tls_private_key` are files in PEM form with the certificate and the key"
    )


def _cause(error: BaseException, kind: type[ErrorT], wanted: object = None) -> ErrorT | None:
    """The innermost cause of a kind, among those of which `wanted` is true."""
    found = [each for each in _causes(error, set()) if isinstance(each, kind)]
    if callable(wanted):
        found = [each for each in found if wanted(each)]
    return found[-1] if found else None


def _causes(error: BaseException, seen: set[int]) -> Iterator[BaseException]:
    """An error and what it was raised for. Libraries put that into arguments as well as into the chain."""
    if id(error) in seen:
        return
    seen.add(id(error))
    yield error
    reasons = (getattr(error, "reason", None), getattr(error, "original_error", None), *error.args)
    for other in (*reasons, error.__cause__):
        if isinstance(other, BaseException):
            yield from _causes(other, seen)
