"""Where a URL leads to: a host and port, or a Unix domain socket, as the stock requests wrapper reads them."""

from __future__ import annotations

from urllib.parse import quote, unquote, urlsplit, urlunsplit


def socket_path(url: str) -> str:
    """The path of the socket that a `unix://` URL names, empty where it names none, or for another scheme.

    >>> socket_path("unix://%2Frun%2Fserver/metrics"), socket_path("unix:///run/server.sock/metrics")
    ('/run/server', '/run/server.sock')
    """
    parts = urlsplit(url)
    if parts.scheme != "unix":
        return ""
    if parts.netloc:
        path = unquote(parts.netloc)
        return path if path.startswith("/") else ""
    path, suffix, _ = parts.path.partition(".sock")
    return path + suffix if suffix else ""


def server(url: str) -> str:
    """Host and port, or the path of the socket: what tells a server from others. User and password are left out."""
    return socket_path(url) or urlsplit(url).netloc.rpartition("@")[2]


def root(url: str) -> str:
    """The URL of the server itself, without a path, for paths to be added to it."""
    path = socket_path(url)
    if path:
        return f"unix://{quote(path, safe='')}"
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], "", "", ""))
