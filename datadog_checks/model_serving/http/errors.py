"""What went wrong with a scrape, in words for the person who configured it."""

from __future__ import annotations

from requests.exceptions import (
    ChunkedEncodingError,
    ConnectTimeout,
    ContentDecodingError,
    InvalidHeader,
    InvalidURL,
    MissingSchema,
    ReadTimeout,
    RequestException,
    SSLError,
    Timeout,
    TooManyRedirects,
)
from requests.exceptions import ConnectionError as HTTPConnectionError

from ..errors import UserError

UNREACHABLE = "no connection: check that the server runs and listens at this host and port"

BAD_HEADER = "a header has a line break in its value, or a blank before it: mend it in `headers` or the token file"

ADVICE = {
    401: "the credentials are refused (HTTP 401): check `headers`, `username` or `auth_token`",
    403: "the credentials lack permission (HTTP 403): grant read access, or use others",
    404: "there is nothing at this path (HTTP 404): check the URL",
    429: "the endpoint limits requests (HTTP 429): raise `min_collection_interval`",
}


def connection_problem(error: Exception, status: int | None) -> str:
    """One sentence on what failed and what to do. Never holds headers, credentials or a body."""
    if status is not None:
        return ADVICE.get(status, f"the endpoint answered HTTP {status}: look into its own log")
    for kind, sentence in _SENTENCES:
        if isinstance(error, kind):
            return sentence
    if isinstance(error, ValueError) and "header" in str(error):
        # The standard library's complaint, which quotes the value.
        return BAD_HEADER
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, RequestException):
        # Its text may hold the URL with all its secrets.
        return f"the request failed ({type(error).__name__}): check the URL and the options of the connection"
    if isinstance(error, OSError) and error.filename is not None:
        return f"the file {error.filename} can't be read: {error.strerror}. Check its path and rights"
    return f"the scrape failed unexpectedly ({type(error).__name__}: {error})"


_SENTENCES: tuple[tuple[type[Exception], str], ...] = (
    (
        SSLError,
        "the TLS connection failed: set `tls_ca_cert` to the authority that signed the server's certificate, and check "
        "that the certificate is of this host and that the port speaks TLS",
    ),
    (ConnectTimeout, "no connection within the time-out: check host, port and firewall, or raise `timeout`"),
    (ReadTimeout, "connected, but no answer within the time-out: raise `timeout`, or look why the endpoint is slow"),
    (Timeout, "no answer within the time-out: raise `timeout`"),
    (TooManyRedirects, "the endpoint redirects in a circle: check the URL"),
    (ChunkedEncodingError, "the answer broke off before its end: nothing of it was used; look into the server's log"),
    (ContentDecodingError, "the answer is declared compressed but can't be decompressed: check the server or a proxy"),
    (MissingSchema, "the URL lacks http:// or https://"),
    (InvalidURL, "the URL is not valid"),
    (InvalidHeader, BAD_HEADER),
    (HTTPConnectionError, UNREACHABLE),
)
