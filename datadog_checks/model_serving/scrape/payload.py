"""Guards between the wire and the parsers: what is no exposition is refused, what is broken is left out and counted.

Formats: Prometheus text 0.0.4 and OpenMetrics text 1.0.0, as published by their projects.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, TextIO, cast

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_fd_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_fd_to_metric_families as parse_text
from requests import Response
from requests.exceptions import ChunkedEncodingError, ContentDecodingError, ReadTimeout
from urllib3.exceptions import DecodeError, HTTPError, ReadTimeoutError

MAX_LINE = 1 << 17
"""Longest line in bytes. Real ones stay below some thousand; a body without line ends would fill the memory."""

MAX_MALFORMED = 100
"""A payload that starts with so many broken lines and not one sound sample is no exposition at all."""

MAX_BLOCK = 1 << 20
"""Characters that are parsed together. A family beyond that arrives in several parts."""

CHUNK = 1 << 16
HEAD = 64

Malformed = Callable[[str, bool], None]
"""Takes a line that can't be read, and whether more than this line may be missing."""

# Possessive: what a line starts with is never read twice, however long and wrong the line is.
_SPACE = r"[ \t]*+"
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*+"
_QUOTED = r'"(?:[^"\\]|\\.)*+"'
_VALUE = rf"={_SPACE}{_QUOTED}{_SPACE}"
_LABEL = rf"(?:{_NAME}{_SPACE}{_VALUE}|{_QUOTED}{_SPACE}(?:{_VALUE})?)(?:,{_SPACE}|(?=\}}))"
_LABELS = rf"\{{{_SPACE}(?:{_LABEL})*+\}}{_SPACE}"
_DECIMAL = r"[+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?"
_NUMBER = rf"(?:{_DECIMAL}|[+-]?(?i:inf(?:inity)?|nan))"
_SAMPLE = re.compile(
    rf"{_SPACE}(?:{_NAME}{_SPACE}(?:{_LABELS}|(?<=[ \t]))|{_LABELS}){_NUMBER}"
    rf"(?:[ \t]++{_DECIMAL})?{_SPACE}(?P<exemplar>#{_SPACE}\{{.*)?\Z"
)
_QUOTED_SERIES = re.compile(rb'\{\s*"(?:[^"\\]|\\.)*"\s*[,}=]')
SECRET_NAME = re.compile(r"(?i)token|key|secret|pass|pwd|auth|sig|cred|cookie")
"""Names of headers and query parameters whose values are taken for secrets."""
_SECRET_WORDS = SECRET_NAME.pattern.removeprefix("(?i)")
_SECRET_PARAMETER = re.compile(rf"((?:^|&)[^=&]*(?i:{_SECRET_WORDS})[^=&]*=)[^&]*")
_URL_SECRET = re.compile(rf"([?&][^=&\s]*(?i:{_SECRET_WORDS})[^=&\s]*=)[^&\s'\")]*")
_URL_USER = re.compile(r"(\b[a-z]+://)[^/@\s]+@")
_METADATA = re.compile(rf"{_SPACE}#{_SPACE}(TYPE|HELP|UNIT)(?:[ \t]++({_QUOTED}|[^ \t]++))?")
_LEGAL_METADATA = re.compile(
    rf"{_SPACE}#[ \t]++(?:(?:HELP|UNIT)[ \t]++(?:{_NAME}|{_QUOTED})(?:[ \t]|\Z)|TYPE[ \t]++(?:{_NAME}|{_QUOTED})[ \t]++"
    rf"(?:counter|gauge|histogram|summary|untyped|unknown|info|stateset|gaugehistogram){_SPACE}\Z)"
)


class PayloadError(Exception):
    """An answer that is no exposition, or one beyond a limit. The message tells the user what to do."""


def framed(response: Response) -> bool:
    """Whether the transport tells that the body is complete. Decompression doesn't tell a stream that was cut off."""
    headers = response.headers
    return "Content-Encoding" not in headers and ("Content-Length" in headers or "Transfer-Encoding" in headers)


def body_lines(response: Response, max_bytes: int, seconds: float, malformed: Malformed) -> Generator[str, None, int]:
    """Lines of a streamed response body, without their ends, decoded as UTF-8. Empty ones are left out.

    At most one chunk and one line are held in memory. A last line without an end is given to
    `malformed` where the body is not `framed`: half a number is no number. Returns the size of the body.

    Raises PayloadError for a line beyond `MAX_LINE`, a body beyond `max_bytes` or `seconds`, and HTML
    or JSON; an exception of requests for what breaks off or can't be decompressed.
    """
    pending = head = b""
    received = 0
    for chunk in _chunks(response, seconds):
        received += len(chunk)
        if received > max_bytes:
            raise PayloadError(
                f"the payload is larger than `max_payload_bytes` ({max_bytes}): raise the option, or have the endpoint "
                "expose less"
            )
        if len(head) < HEAD and b"\n" not in head:
            head = (head + chunk).lstrip()[:HEAD]
            if len(head) == HEAD or b"\n" in head:
                refuse_foreign(head, response)
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            if line and not line.isspace():
                yield line.decode("utf-8", "replace").rstrip("\r")
        if len(pending) > MAX_LINE:
            raise PayloadError(f"a line is longer than {MAX_LINE} bytes, so this is no metrics payload: check the URL")
    if len(head) < HEAD and b"\n" not in head:
        refuse_foreign(head, response)
    if pending.strip():
        last = pending.decode("utf-8", "replace").rstrip("\r")
        if framed(response) or last.lstrip().startswith("#"):
            yield last
        else:
            malformed(last, True)
    return received


def _chunks(response: Response, seconds: float) -> Iterator[bytes]:
    """What has come of a body, as it comes: `iter_content` would wait until a slow drip has filled its chunk."""
    raw: Any = response.raw
    waited = 0.0
    try:
        while True:
            asked = time.monotonic()
            chunk = raw.read1(CHUNK, decode_content=True)
            waited += time.monotonic() - asked
            if not chunk:
                return
            if waited > seconds:
                raise PayloadError(
                    f"the answer was not complete after {seconds:g} s of waiting: look why the endpoint is slow, or "
                    "raise `read_timeout`, of which that is six times"
                )
            yield chunk
    except ReadTimeoutError as error:
        raise ReadTimeout(error) from None
    except DecodeError as error:
        raise ContentDecodingError(error) from None
    except (HTTPError, OSError) as error:
        raise ChunkedEncodingError(error) from None


def refuse_foreign(start: bytes, response: Response) -> None:
    """Raise PayloadError when a body starts like HTML or JSON, naming the redirect or content type behind it."""
    kind = "an HTML page" if start.startswith(b"<") else "JSON" if start[:1] in (b"{", b"[") else ""
    if not kind or _QUOTED_SERIES.match(start):
        return
    content_type = response.headers.get("Content-Type", "none")
    if response.history:
        raise PayloadError(
            f"the answer is {kind} (content type {content_type}) after a redirect to "
            f"{without_secrets(response.url)}, probably a login page: check the credentials and the URL"
        )
    raise PayloadError(
        f"the answer is {kind} (content type {content_type}) instead of metrics: check the path of the URL and that "
        "it needs no login"
    )


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


def text_families(lines: Iterable[str], malformed: Malformed) -> Iterator[Metric]:
    """Families of a Prometheus text payload. Broken lines are given to `malformed` and left out.

    Exemplars, which only OpenMetrics knows, are cut off: servers exist that mix the two.
    """
    for block in _blocks(_sound_lines(lines, malformed, MAX_MALFORMED)):
        yield from _sound_families(block, malformed)


def _sound_families(block: list[str], malformed: Malformed) -> list[Metric]:
    try:
        return _parsed(block)
    except (ValueError, IndexError):
        return _parsed([line for line in block if _parsable(line, malformed)])


def _parsed(lines: list[str]) -> list[Metric]:
    # The parser only iterates, though it is declared to want a file.
    return list(parse_text(cast(TextIO, lines)))


def _parsable(line: str, malformed: Malformed) -> bool:
    """Whether the parser takes a line that looks sound, which it refuses for a label named twice, among others."""
    try:
        _parsed([line])
    except (ValueError, IndexError):
        malformed(line, False)
        return False
    return True


def _sound_lines(lines: Iterable[str], malformed: Malformed, patience: int | None = None) -> Iterator[str]:
    """Lines that look sound. Raises PayloadError when so many, or all, of the lines at the start are broken."""
    broken = 0
    last = ""
    sound = False
    for line in lines:
        match = _SAMPLE.match(line)
        if match is not None:
            sound = True
            exemplar = match.start("exemplar")
            yield line if exemplar < 0 else line[:exemplar]
            continue
        if not line or line.isspace():
            continue
        if line.lstrip().startswith("#"):
            if _LEGAL_METADATA.match(line) is not None:
                yield line
                continue
            if _METADATA.match(line) is None:
                continue
        malformed(line, False)
        broken += 1
        last = line
        if not sound and broken == patience:
            break
    if broken and not sound and patience is not None:
        raise PayloadError(
            f"the first {broken} lines hold no metric, the last of them {excerpt(last)}: this is no metrics payload, "
            "check the URL"
        )


def openmetrics_families(lines: Iterable[str], malformed: Malformed, whole: bool = True) -> Iterator[Metric]:
    """Families of an OpenMetrics payload, each parsed on its own, so that a broken one costs only itself.

    The strict parser otherwise refuses a whole payload for one family. What it refuses is read as
    the text format, since much of that is sound and merely unlawful (a summary whose sum is
    negative, a counter declared with `_total`); `malformed` gets the lines that are neither. A
    payload of which nothing can be read raises PayloadError. Where nothing else tells that it is
    `whole`, one without `# EOF` has been cut off.
    """
    parsed = False
    complaint = ""
    for block in _blocks(_up_to_eof(lines, malformed, whole)):
        try:
            families = list(parse_openmetrics([*(f"{line}\n" for line in block), "# EOF\n"]))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            complaint = complaint or f"{excerpt(block[0])} ({excerpt(str(error), 120)})"
            sound = list(_sound_lines(block, malformed))
            families = [_in_seconds(family) for family in _sound_families(sound, malformed)]
        parsed = parsed or any(family.samples for family in families)
        yield from families
    if complaint and not parsed:
        raise PayloadError(
            f"the payload is declared OpenMetrics but is not, from {complaint}: check the URL, or have the server "
            "declare the format that it speaks"
        )


def _in_seconds(family: Metric) -> Metric:
    """The text format's timestamps are milliseconds, and its parser divided what were seconds already."""
    family.samples = [
        sample if sample.timestamp is None else sample._replace(timestamp=float(sample.timestamp) * 1000)
        for sample in family.samples
    ]
    return family


def _up_to_eof(lines: Iterable[str], malformed: Malformed, whole: bool) -> Iterator[str]:
    """Lines but `# EOF`. `malformed` is told of one with more behind it, and that it lacks where not all is `whole`."""
    ended = told = False
    for line in lines:
        if line.startswith("# EOF"):
            ended = True
            continue
        if ended and not told and line.strip():
            told = True
            malformed("# EOF", False)
        yield line
    if not ended and not whole:
        malformed("no # EOF at the end", True)


def _blocks(lines: Iterable[str]) -> Iterator[list[str]]:
    """Lines family by family: metadata of one name, and the samples whose names start with it.

    What is cut because it is long starts with its metadata again, and never within the buckets of a series.
    """
    block: list[str] = []
    name, metadata = "", 0
    size = 0
    bucket = False
    for line in lines:
        if not line.strip():
            continue
        declared = _METADATA.match(line)
        new, inside = name, False
        if declared is not None:
            new = declared.group(2) or ""
        else:
            start = line.lstrip()
            if not start.startswith((name, "{")):
                new = ""
            inside, bucket = bucket, start.startswith("_bucket", len(name))
            inside = inside and bucket
        if new != name:
            if block:
                yield block
            block, size, metadata = [], 0, 0
        elif size >= MAX_BLOCK and not inside:
            yield block
            block, size = block[:metadata], 0
        name = new
        block.append(line)
        size += len(line)
        if declared is not None and len(block) == metadata + 1:
            metadata += 1
    if block:
        yield block


def excerpt(text: str, length: int = 60) -> str:
    """The start of a text, printable and on one line, for messages."""
    shown = repr(text[:length])
    return f"{shown}..." if len(text) > length else shown
