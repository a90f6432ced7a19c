"""What the bridge's file says of Prometheus: the sources `prometheus` and `remote_write` of an instance, and `expose`.

Nothing here needs the base package of checks, so that the file is read before a stand-in for the Agent is in place.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from ....http.redact import without_secrets

QUERY, RECEIVER = "prometheus", "remote_write"
OTHERS = ("openmetrics_endpoint", "openmetrics_endpoints", "databricks_host", "gpu")
WRITE_PATH = "/api/v1/write"
EXPOSE = "127.0.0.1:8688"

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:[0-9]+(?:ms|[smhd]))+\Z")
_API = re.compile(r"(?:/api/v1(?:/query)?)?/*\Z")


@dataclass(frozen=True, slots=True)
class QueryEntry:
    """What is asked of an HTTP API: series that a selector of `match` selects, as they were `delay` seconds ago, with
    samples of the `window` seconds before. `url` ends before `/api/v1`; `parameters` go with every request."""

    url: str
    match: tuple[str, ...]
    window: float
    delay: float
    parameters: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def endpoint(self) -> str:
        """The URL that names the source, as that of a federation would."""
        query = urlencode([*self.parameters, *(("match[]", one) for one in self.match)], quote_via=quote)
        return f"{self.url}/api/v1/query?{query}"


@dataclass(frozen=True, slots=True)
class ReceiverEntry:
    """Where remote write is taken. A sample shows `delay` seconds after it was taken by the sender, and until it is
    `max_age` seconds old; no more series are held than `max_series`. Without `token` everybody may write."""

    host: str
    port: int
    token: str = field(repr=False)
    delay: float
    max_age: float
    max_series: int

    @property
    def endpoint(self) -> str:
        """The URL to write to, which names the source."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{WRITE_PATH}"


@dataclass(frozen=True, slots=True)
class ExposeSettings:
    """Where the exposition of the bridge is served; with `token` only to who sends it."""

    host: str
    port: int
    token: str = field(default="", repr=False)


Entry = QueryEntry | ReceiverEntry


@dataclass(frozen=True, slots=True)
class EntryInstance:
    """An instance: its options for the check, and the entry that says what to read instead of an exposition, if it has
    one. `where` is what messages call it, `problems` all that is wrong with the entry."""

    options: dict[str, Any] = field(repr=False)
    entry: Entry | None = None
    where: str = ""
    problems: tuple[str, ...] = ()


def read_instance(instance: Mapping[str, Any], environ: Mapping[str, str]) -> EntryInstance:
    """Tell the options of an instance from its entry, and find what is wrong with that."""
    named = [key for key in (QUERY, RECEIVER) if key in instance]
    if not named:
        return EntryInstance(dict(instance))
    key = named[0]
    said = instance[key]
    reader = EntryReader(key, said if isinstance(said, Mapping) else {}, environ)
    options = {name: value for name, value in instance.items() if name not in (QUERY, RECEIVER)}
    entry: Entry
    if key == QUERY:
        entry = _query(reader)
        _log_in(options, reader)
    else:
        entry = _receiver(reader)
    reader.finish()
    problems = reader.problems if isinstance(said, Mapping) else [f"`{key}` must be a mapping, as `{_EXAMPLES[key]}`"]
    for other in (*named[1:], *(one for one in OTHERS if instance.get(one))):
        problems.append(f"`{key}` and `{other}` are two sources: give each an instance of its own")
    # A server that keeps the series of others knows nothing of their readiness.
    options = {"readiness": False, **options, "openmetrics_endpoint": entry.endpoint}
    return EntryInstance(options, entry, _where(key, said), tuple(problems))


def read_expose(said: Any, environ: Mapping[str, str]) -> tuple[ExposeSettings | None, list[str]]:
    """What `expose` of the bridge's file says, None for `false`, and all that is wrong with it."""
    if said is False:
        return None, []
    if said is not None and not isinstance(said, Mapping):
        return None, [
            f"`expose` must be a mapping, such as `expose: {{listen: {EXPOSE}}}`, or false, not {_shown(said)}"
        ]
    reader = EntryReader("expose", said or {}, environ)
    host, port = listen_address(reader, EXPOSE)
    _, token = reader.token(kept=False)
    reader.finish()
    return ExposeSettings(host, port, token), reader.problems


_EXAMPLES = {
    QUERY: "prometheus: {url: http://prometheus:9090, match: ['{job=\"mlserver\"}']}",
    RECEIVER: "remote_write: {listen: 127.0.0.1:9291}",
}


def _where(key: str, said: Any) -> str:
    of = said.get("url" if key == QUERY else "listen") if isinstance(said, Mapping) else None
    return f"instance `{key}: {without_secrets(of)}`" if isinstance(of, str) else f"instance `{key}`"


class EntryReader:
    """Reads the options of one entry, each once, and complains of the others in the end."""

    def __init__(self, key: str, said: Mapping[Any, Any], environ: Mapping[str, str]) -> None:
        self.key = key
        self.problems: list[str] = []
        self._said = dict(said)
        self._environ = environ
        self.given = set(map(str, said))
        self._known: list[str] = []

    def take(self, option: str) -> Any:
        self._known.append(option)
        return self._said.pop(option, None)

    def complain(self, option: str, problem: str) -> None:
        self.problems.append(f"`{self.key}.{option}`: {problem}")

    def text(self, option: str, example: str) -> str:
        value = self.take(option)
        if isinstance(value, str) and value.strip():
            return value.strip()
        self.complain(option, f"must be given, as a text such as `{example}`")
        return ""

    def seconds(self, option: str, default: float, least: float = 0.0) -> float:
        value = self.take(option)
        if value is None:
            return default
        seconds = _seconds(value)
        if seconds is None or seconds < least:
            self.complain(option, f"must be a time of {least:g} s or more, such as `30s` or `2m`, not {_shown(value)}")
            return default
        return seconds

    def number(self, option: str, default: int) -> int:
        value = self.take(option)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            self.complain(option, f"must be a whole number above 0, not {_shown(value)}")
            return default
        return value

    def token(self, kept: bool) -> tuple[str, str]:
        """The path of the file with a token where that is `kept`, to be read again and again, and else the token."""
        path, variable = self.take("token_file"), self.take("token_env")
        if path is not None and variable is not None:
            self.complain("token_file", "and `token_env` are two places of one token: keep one of them")
        elif variable is not None:
            token = self._environ.get(str(variable), "").strip()
            if not token:
                self.complain("token_env", f"the variable {_shown(variable)} is not set: set it, or write another name")
            return "", token
        elif path is not None:
            if not isinstance(path, str) or not path:
                self.complain("token_file", "must be the path of a file that holds the token")
            elif kept:
                return path, ""
            else:
                try:
                    token = Path(path).read_text(encoding="utf-8").strip()
                except (OSError, UnicodeDecodeError) as error:
                    reason = error.strerror if isinstance(error, OSError) else "it is no text"
                    self.complain("token_file", f"{path} can't be read: {reason}. Check its path and rights")
                else:
                    if not token:
                        self.complain("token_file", f"{path} is empty: write the token into it")
                    return "", token
        return "", ""

    def finish(self) -> None:
        for option in map(str, self._said):
            close = get_close_matches(option, self._known, 1, 0.6)
            mend = f"did you mean `{close[0]}`?" if close else f"there are {', '.join(self._known)}"
            self.problems.append(f"`{self.key}` has no option `{option}`: {mend}")


def _query(reader: EntryReader) -> QueryEntry:
    url = reader.text("url", "http://prometheus:9090")
    parts = urlsplit(url)
    if url and (parts.scheme not in ("http", "https") or not parts.hostname):
        reader.complain(
            "url", f"must start with http:// or https:// and name a host, not {_shown(without_secrets(url))}"
        )
    base = urlunsplit((parts.scheme, parts.netloc, _API.sub("", parts.path), "", ""))
    match = reader.take("match")
    selectors = [match] if isinstance(match, str) else match
    if not isinstance(selectors, list) or not selectors or not all(isinstance(one, str) for one in selectors):
        reader.complain("match", "must be a list of selectors, such as `['{job=\"mlserver\"}']`: what of it is read")
        selectors = []
    for selector in selectors:
        if not selector.strip().endswith("}") and not re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", selector.strip()):
            reader.complain(
                "match",
                f"{_shown(selector)} is no selector of series: write a name, labels in braces or both, without a range "
                "or a function around it",
            )
    return QueryEntry(
        base,
        tuple(dict.fromkeys(selector.strip() for selector in selectors)),
        reader.seconds("window", 120.0, least=1.0),
        reader.seconds("delay", 0.0),
        tuple(parse_qsl(parts.query, keep_blank_values=True)),
    )


def _log_in(options: dict[str, Any], reader: EntryReader) -> None:
    """Put the token where the check's own requests take it from."""
    path, token = reader.token(kept=True)
    if not path and not token:
        return
    others = [name for name in ("auth_token", "username") if options.get(name)]
    if others:
        reader.problems.append(f"`{reader.key}` has a token and the instance `{others[0]}`: keep one of them")
    elif path:
        options["auth_token"] = {
            "reader": {"type": "file", "path": path},
            "writer": {"type": "header", "name": "Authorization", "value": "Bearer <TOKEN>"},
        }
    else:
        headers = options.get("headers")
        options["headers"] = {**(headers if isinstance(headers, Mapping) else {}), "Authorization": f"Bearer {token}"}


def _receiver(reader: EntryReader) -> ReceiverEntry:
    host, port = listen_address(reader, "127.0.0.1:9291")
    _, token = reader.token(kept=False)
    if not is_loopback(host) and reader.given.isdisjoint(("token_file", "token_env")):
        reader.complain(
            "listen",
            f"{host} can be reached from elsewhere: set `token_file` or `token_env`, which senders then have to send, "
            "or listen on 127.0.0.1",
        )
    return ReceiverEntry(
        host,
        port,
        token,
        reader.seconds("delay", 10.0),
        reader.seconds("max_age", 300.0, least=1.0),
        reader.number("max_series", 100_000),
    )


def listen_address(reader: EntryReader, default: str) -> tuple[str, int]:
    """Host and port of the option `listen`."""
    listen = reader.take("listen")
    host, _, port = (default if listen is None else str(listen)).rpartition(":")
    if host and port.isdecimal() and int(port) < 65536:
        return host.strip("[]"), int(port)
    reader.complain("listen", f"must be an address and a port, such as `{default}`, not {_shown(listen)}")
    return listen_address(EntryReader("", {}, {}), default)


def is_loopback(host: str) -> bool:
    """Whether an address is one that only this machine reaches.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _seconds(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if 0 <= value < 1e9 else None
    if isinstance(value, str) and _DURATION.match(value.strip()):
        return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9]+)(ms|[smhd])", value))
    return None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
