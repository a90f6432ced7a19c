"""What must not be shown: secrets, before one reaches a tag, a message or the log, and what steers a terminal."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus, unquote
from weakref import WeakSet

from datadog_checks.base.utils import http, tls

MASK = "********"

SHORTEST = 4
"""Shorter secrets are not looked for in text: masking every `a` would leave nothing to read."""

SECRET_NAME = re.compile(r"(?i)token|key|secret|pass|pwd|auth|sig|cred|cookie")
"""Names of headers and query parameters whose values are taken for secrets; masking one too many does no harm."""

PLACEHOLDER = re.compile(r"(?<!ENC)\[[A-Z][A-Z_]+\]|<[A-Z][A-Z_]+>|%%\w+%%")
"""What documents write where a value of one's own goes. A value that holds one is no secret yet, and must be seen."""

_SECRET_OPTION = re.compile(
    r"(?<![a-z])(api_?key|auth|authorization|cookie|cred|credential|key|passphrase|passwd|password|pwd|secret|sig"
    r"|signature|token)s?(?![a-z])"
)
_PLACE_OF_SECRET = re.compile(r".*_(path|file|filepath|token_env)|tls_private_key|(.*_)?auth_type")
_HEADERS = ("headers", "extra_headers")
_NAMES_OF_METRICS = ("metrics", "extra_metrics", "rename_labels", "share_labels", "exclude_metrics_by_labels")
"""Options whose keys are names in a payload: `llm_tokens` is no token there."""
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")

PASSING_SECRETS = 64

LONGEST = 16_384
"""Characters of a record that are kept: what it costs to look through one has a limit, whoever wrote the text."""

LONGEST_WARNING = 1_000
"""Characters of what the Agent shows of one warning: five names of a payload may have any length."""

LONGEST_URL = 500
"""Characters of a URL that a message repeats."""

HIDDEN = "***"
"""What stands for a part of a URL that is not shown."""

HTTP_LOGGERS = (
    "http.client",
    "oauthlib",
    "requests",
    "requests_kerberos",
    "requests_ntlm",
    "requests_oauthlib",
    "requests_toolbelt",
    "requests_unixsocket",
    "urllib3",
    http.__file__,
    tls.__file__,
)
"""Loggers whose records hold URLs, headers and options of requests; those below them are meant as well. The last two
are modules of the base package, which call their loggers by the path of their file."""

OUR_LOGGERS = __name__.rpartition(".http.")[0]
_END_OF_AUTHORITY = re.compile(r"[/?#]")
_WORD = re.compile(r"\S+")
_PUNCTUATION = "'\"`)]}>,.;:"
_HEXADECIMAL = re.compile(r"%[0-9A-F]{2}")
_MASKED = "_model_serving_masked"


class Secrets:
    """The secrets that one check knows, left out of all that is logged. Any thread may register one.

    As long as this lives, the records of the check's logger, of our own and of the HTTP stack are masked, by
    `mask_record`. Records of other loggers pass untouched.
    """

    def __init__(self, log: Any) -> None:
        self._lock = threading.Lock()
        self._lasting: tuple[str, ...] = ()
        self._passing: tuple[str, ...] = ()
        _RECORDS.watch(self, log.logger)

    def register(self, secret: str, passing: bool = False) -> None:
        """Leave a secret out from now on. Of `passing` ones, as tokens are that are renewed, the last are kept."""
        with self._lock:
            if passing:
                self._passing = (*self._passing, secret)[-PASSING_SECRETS:]
            else:
                self._lasting = tuple(dict.fromkeys((*self._lasting, secret)))
        _RECORDS.learn()

    @property
    def known(self) -> tuple[str, ...]:
        """All of them that text is searched for."""
        return (*self._lasting, *self._passing)

    def shown(self, text: str, longest: int = LONGEST) -> str:
        """A message of ours on one line: without the secrets that are known, printable, and not too long."""
        kept = printable(_replaced(text, _spellings(self.known), longest))
        return kept if len(text) <= longest else f"{kept}... ({len(text) - longest} more characters)"


class _MaskingFilter(logging.Filter):
    """Masks the records of some loggers, in place, with the secrets of all checks. Keeps no record back.

    It is a filter of these loggers, for any handler that they have, and of the handlers of the root logger, for the
    loggers below them, whose records don't pass the filters of those above.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._checks: WeakSet[Secrets] = WeakSet()
        self._names: frozenset[str] = frozenset((*HTTP_LOGGERS, OUR_LOGGERS))
        self._known: tuple[str, ...] = ()

    def watch(self, secrets: Secrets, logger: logging.Logger) -> None:
        """Mask what is logged from now on, that of the check's logger included."""
        with self._lock:
            self._checks.add(secrets)
            self._names |= {logger.name}
            for name in self._names:
                logging.getLogger(name).addFilter(self)
            for name, known in list(logging.root.manager.loggerDict.items()):
                if isinstance(known, logging.Logger) and self.covers(name):
                    known.addFilter(self)
            for handler in (*logging.root.handlers, *logger.handlers):
                handler.addFilter(self)

    def learn(self) -> None:
        """Take up what the checks have registered."""
        with self._lock:
            self._known = tuple(dict.fromkeys(secret for secrets in self._checks for secret in secrets.known))

    def covers(self, name: str) -> bool:
        """Whether a logger is one of those whose records are masked, or below one."""
        return name in self._names or any(name.startswith(f"{above}.") for above in self._names)

    def filter(self, record: logging.LogRecord) -> bool:
        """As logging asks for it; True for every record."""
        if self.covers(record.name) and not getattr(record, _MASKED, False):
            setattr(record, _MASKED, True)
            try:
                mask_record(record, self._known)
            except Exception as error:
                # Logging must not end what logs, and what can't be masked must not be shown.
                record.msg, record.args = f"a record that can't be masked: {type(error).__name__}", None
                record.exc_info = record.exc_text = record.stack_info = None
        return True


_RECORDS = _MaskingFilter()


def mask_record(record: logging.LogRecord, secrets: Iterable[str]) -> None:
    """Take secrets out of a record: known ones and those of URLs, from its message, exception and stack."""
    secrets = tuple(secrets)
    if isinstance(record.args, Mapping):
        record.args = {name: MASK if value and is_secret(str(name)) else value for name, value in record.args.items()}
    try:
        message = record.getMessage()
    except Exception:
        # The handler would fail as well, and print the arguments as they are.
        message = "a record that can't be formatted"
    record.msg, record.args = printable(masked(message, secrets), lines=True), None
    if record.exc_info and not record.exc_text:
        record.exc_text = _EXCEPTIONS.formatException(record.exc_info)
    record.exc_info = None
    if record.exc_text:
        record.exc_text = printable(masked(record.exc_text, secrets), lines=True)
    if record.stack_info:
        record.stack_info = masked(record.stack_info, secrets)


_EXCEPTIONS = logging.Formatter()


def masked(text: str, secrets: Iterable[str] = ()) -> str:
    """A text for the log: without the secrets that are known and those of URLs, and cut where it is too long."""
    kept = _replaced(text, _spellings(secrets), LONGEST)
    if len(text) <= LONGEST:
        return mask_secrets(kept)
    last = kept[len(kept.rstrip()) :] or kept.rsplit(None, 1)[-1]
    if "://" in last:
        # What would tell a password from a host may be cut off.
        kept = kept[: len(kept) - len(last) + last.index("://") + len("://")]
    return f"{mask_secrets(kept)}... ({len(text) - LONGEST} more characters)"


def without_secrets(url: str) -> str:
    """A URL without user, password, query and fragment, any of which can hold a secret, and not too long."""
    scheme, rest = _parts(url)
    if _is_broken(rest):
        return f"{scheme}{HIDDEN}"
    authority, path, _, _ = _split(rest)
    shown = f"{scheme}{authority}{path}"
    return shown if len(shown) <= LONGEST_URL else f"{shown[:LONGEST_URL]}..."


def without_credentials(url: str) -> str:
    """What a tag says of a URL: what tells sources apart, and no secret.

    Of the query, `match[]` is kept as it is; a short digest stands for the other parameters, but for those whose names
    sound like a secret, so that a new token makes no new source. A password that is not escaped may be anywhere in
    the URL, of which only the scheme is left then.

    >>> without_credentials("http://me:pw@host/federate?match[]=up&api_key=abc")
    'http://host/federate?match[]=up'
    >>> without_credentials("http://host/probe?target=a")
    'http://host/probe?digest=419c7fa3'
    """
    scheme, rest = _parts(url)
    if _is_broken(rest):
        return f"{scheme}{HIDDEN}"
    authority, path, query, _ = _split(rest)
    parameters = [part for part in query.split("&") if part]
    kept = [part for part in parameters if _is_match(part)]
    others = sorted(
        part for part in parameters if not _is_match(part) and not SECRET_NAME.search(unquote(part.partition("=")[0]))
    )
    if others:
        digest = hashlib.sha256("&".join(others).encode("utf-8", "surrogatepass")).hexdigest()
        kept.append(f"digest={digest[:8]}")
    return f"{scheme}{authority}{path}{'?' if kept else ''}{'&'.join(kept)}"


def mask_secrets(text: str) -> str:
    """Any text, without what URLs in it, whole or from the path on, have of users, queries and fragments.

    Names of parameters stay, and `match[]`. Takes time in proportion to the text: it is cut into words, once.
    """
    return _WORD.sub(_masked_word, text) if "?" in text or "://" in text else text


def mask(text: str, secrets: Iterable[str]) -> str:
    """The text with `MASK` for every secret, as it is and quoted, escaped or in Base64. A secret that is too short to
    be told from other text stays.
    """
    return _replaced(text, _spellings(secrets), len(text))


def printable(text: str, lines: bool = False) -> str:
    """The text with all that is not printed spelt out, as in `\\x1b`: control characters, marks that turn the direction
    of writing, what is invisible. No label, message or file steers a terminal so. With `lines` it may have several.
    """
    if text.isprintable():
        return text
    kept = "\n" if lines else ""
    return "".join(
        char if char.isprintable() or char == kept else char.encode("unicode_escape").decode() for char in text
    )


def _replaced(text: str, needles: Iterable[str], length: int) -> str:
    """The first `length` characters, with `MASK` for each stretch that needles cover, also beyond that end."""
    found = []
    for needle in needles:
        limit = length + len(needle) - 1
        at = text.find(needle, 0, limit)
        while at >= 0:
            found.append((at, at + len(needle)))
            at = text.find(needle, at + len(needle), limit)
    if not found:
        return text[:length]
    parts = []
    last = 0
    for start, end in sorted(found):
        if start >= last:
            parts += [text[last:start], MASK]
        last = max(last, end)
    return "".join((*parts, text[last : max(last, length)]))


def _spellings(secrets: Iterable[str]) -> Iterator[str]:
    for secret in secrets:
        yield from spellings(secret)


@lru_cache(maxsize=1024)
def spellings(secret: str) -> tuple[str, ...]:
    """A secret in the forms that it takes in URLs, in `repr`, in JSON and in Base64, each long enough to look for."""
    found: dict[str, None] = {}
    for text in (secret, unquote(secret)) if len(secret) >= SHORTEST else ():
        data = text.encode("utf-8", "surrogatepass")
        quoted = [
            quote(data, safe="/"),
            quote(data, safe=""),
            quote_plus(data),
            quote(data, safe="!#$%&'()*+,/:;=?@[]~"),
        ]
        encoded = base64.b64encode(data).decode()
        found |= dict.fromkeys(
            (
                text,
                *quoted,
                *(_HEXADECIMAL.sub(lambda match: match[0].lower(), one) for one in quoted),
                repr(text)[1:-1],
                repr(data)[2:-1],
                json.dumps(text)[1:-1],
                json.dumps(text, ensure_ascii=False)[1:-1],
                encoded.rstrip("="),
                encoded.rstrip("=").translate(str.maketrans("+/", "-_")),
            )
        )
    return tuple(one for one in found if len(one) >= SHORTEST)


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
    for value in _secret_values(configuration, set()):
        if PLACEHOLDER.search(value) is None:
            found |= {value, value.rpartition(" ")[2], unquote(value)}
    return tuple(sorted((value for value in found if len(value) >= SHORTEST), key=lambda value: (-len(value), value)))


def _secret_values(node: Any, seen: set[tuple[int, str, bool]], name: str = "", header: bool = False) -> Iterator[str]:
    if isinstance(node, Mapping | list | tuple):
        # An alias of YAML leads to the same value, perhaps within itself.
        key = (id(node), name, header)
        if key in seen:
            return
        seen.add(key)
    if isinstance(node, Mapping):
        if isinstance(node.get("name"), str) and is_secret(node["name"]) and isinstance(node.get("value"), str):
            yield node["value"].replace("<TOKEN>", "").strip()
        if isinstance(node.get("username"), str) and isinstance(node.get("password"), str):
            yield f"{node['username']}:{node['password']}"
        for key_, value in node.items():
            if key_ not in _NAMES_OF_METRICS:
                yield from _secret_values(value, seen, str(key_), header=name in _HEADERS)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _secret_values(value, seen, name)
    elif isinstance(node, str):
        if name and (is_secret(name) or (header and SECRET_NAME.search(name))):
            yield node
        elif "://" in node or name in ("http", "https"):
            # A proxy may be named without a scheme.
            yield from _secrets_in_url(node)


def _secrets_in_url(url: str) -> Iterator[str]:
    _, rest = _parts(url)
    if _is_broken(rest):
        user = rest.rpartition("@")[0]
        password = user.partition(":")[2]
        yield from (user, password)
        if not re.match(r"[0-9]*[/?#]", password):
            yield from _END_OF_AUTHORITY.split(password)
        return
    authority = rest[: _end_of_authority(rest)]
    user = authority.rpartition("@")[0]
    yield from (user, user.partition(":")[2])
    for name, value in re.findall(r"([^&=#]+)=([^&#]+)", rest.partition("?")[2]):
        if SECRET_NAME.search(name):
            yield value


def _parts(url: str) -> tuple[str, str]:
    """The scheme of a URL with `://`, empty where there is none, and the rest."""
    scheme, separator, rest = url.partition("://")
    if not separator or _END_OF_AUTHORITY.search(scheme):
        return "", url
    return f"{scheme}{separator}", rest


def _end_of_authority(rest: str) -> int:
    found = _END_OF_AUTHORITY.search(rest)
    return found.start() if found else len(rest)


def _split(rest: str) -> tuple[str, str, str, str]:
    """Host with port, path, query and fragment of a URL after its scheme. User and password are left out."""
    end = _end_of_authority(rest)
    address, _, fragment = rest[end:].partition("#")
    path, _, query = address.partition("?")
    return rest[:end].rpartition("@")[2], path, query, fragment


def _is_broken(rest: str) -> bool:
    """Whether a password with a `/`, `?` or `#` in it, not escaped, may have shifted what is host, path and query."""
    end = _end_of_authority(rest)
    if "@" not in rest[end:]:
        return False
    authority, path, query, fragment = _split(rest)
    _, colon, port = authority.rpartition("]")[2].rpartition(":")
    wrong_port = bool(colon and port) and not (port.isascii() and port.isdigit())
    return wrong_port or "@" in path or "@" in fragment or "@" in query.partition("=")[0]


def _is_match(parameter: str) -> bool:
    return unquote(parameter.partition("=")[0]) == "match[]"


def _masked_word(match: re.Match[str]) -> str:
    word = match[0]
    if "?" not in word and "://" not in word:
        return word
    bare = word.rstrip(_PUNCTUATION)
    before, separator, rest = bare.partition("://")
    if not separator or "?" in before:
        path, question, query = bare.partition("?")
        if not question or ("=" not in query and "/" not in path):
            return word
        return f"{path}?{_masked_query(query)}{word[len(bare) :]}"
    if _is_broken(rest):
        return f"{before}://{HIDDEN}{word[len(bare) :]}"
    authority, path, query, fragment = _split(rest)
    user = f"{HIDDEN}@" if "@" in rest[: _end_of_authority(rest)] else ""
    shown = f"{before}://{user}{authority}{path}"
    shown += f"?{_masked_query(query)}" if query else ""
    shown += f"#{HIDDEN}" if fragment else ""
    return f"{shown}{word[len(bare) :]}"


def _masked_query(query: str) -> str:
    return "&".join(map(_masked_parameter, query.split("&")))


def _masked_parameter(parameter: str) -> str:
    name, _, value = parameter.partition("=")
    if not parameter or _is_match(parameter):
        return parameter
    # What has no value may be a token itself, at whose end Base64 puts `=`.
    return f"{name}={HIDDEN}" if value.strip("=") else HIDDEN
