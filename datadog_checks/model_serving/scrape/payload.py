"""Guards between the wire and the parsers: what is no exposition is refused, what is broken is left out and counted.

Formats: Prometheus text 0.0.4 and OpenMetrics text 1.0.0, as published by their projects.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO, cast

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_fd_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_fd_to_metric_families as parse_text
from requests import Response

MAX_LINE = 1 << 20
"""Longest line in bytes. Real ones stay below some thousand; a body without line ends would fill the memory."""

MAX_MALFORMED = 100
"""A payload that starts with so many broken lines and not one sound sample is no exposition at all."""

CHUNK = 1 << 16

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_LABELS = rf"\{{\s*(?:(?:{_NAME}|{_QUOTED})\s*(?:=\s*{_QUOTED})?\s*(?:,\s*|(?=\}})))*\}}"
_NUMBER = r"[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|[iI][nN][fF](?:inity)?|[nN][aA][nN])"
_SAMPLE = re.compile(
    rf"\s*(?:{_NAME})?\s*(?:{_LABELS}\s*|\s){_NUMBER}(?:\s+[+-]?\d[\d.eE+-]*)?\s*(?P<exemplar>#\s*\{{.*)?$"
)
_QUOTED_SERIES = re.compile(rb'\{\s*"(?:[^"\\]|\\.)*"\s*[,}=]')
_SECRET_PARAMETER = re.compile(r"(?i)((?:^|&)[^=&]*(?:token|key|secret|password|auth|signature)[^=&]*=)[^&]*")
_METADATA = re.compile(r"\s*#\s*(TYPE|HELP|UNIT)\s+(\S+)")
_LEGAL_METADATA = re.compile(rf"\s*#\s*(?:TYPE|HELP|UNIT)\s+(?:{_NAME}|{_QUOTED})(?:\s|$)")


class PayloadError(Exception):
    """An answer that is no exposition, or one beyond a limit. The message tells the user what to do."""


def body_lines(response: Response, max_bytes: int, malformed: Callable[[str], None]) -> Iterator[str]:
    """Lines of a streamed response body, without their ends, decoded as UTF-8.

    At most one chunk and one line are held in memory. A last line without an end is given to
    `malformed` where the transport can't tell that the body is complete: half a number is no number.

    Raises PayloadError for a line beyond `MAX_LINE`, a body beyond `max_bytes`, and HTML or JSON.
    """
    framed = "Content-Length" in response.headers or "Transfer-Encoding" in response.headers
    pending = b""
    received = 0
    started = False
    for chunk in response.iter_content(CHUNK):
        received += len(chunk)
        if received > max_bytes:
            raise PayloadError(
                f"the payload is larger than `max_payload_bytes` ({max_bytes}): raise the option, or have the endpoint "
                "expose less"
            )
        if not started and chunk.strip():
            refuse_foreign(chunk.lstrip()[:64], response)
            started = True
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace").rstrip("\r")
        if len(pending) > MAX_LINE:
            raise PayloadError(f"a line is longer than {MAX_LINE} bytes, so this is no metrics payload: check the URL")
    if pending.strip():
        last = pending.decode("utf-8", "replace").rstrip("\r")
        if framed or last.lstrip().startswith("#"):
            yield last
        else:
            malformed(last)


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
    scheme, _, rest = url.partition("://")
    place = rest.split("?")[0].split("#")[0]
    host, slash, path = place.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def without_credentials(url: str) -> str:
    """A URL whose user, password and query parameters that sound like a secret are gone or masked.

    >>> without_credentials("http://me:pw@host/federate?match[]=up&api_key=abc")
    'http://host/federate?match[]=up&api_key=***'
    """
    scheme, separator, rest = url.partition("://")
    place, question, query = rest.partition("?")
    host, slash, path = place.partition("/")
    masked = _SECRET_PARAMETER.sub(r"\1***", query)
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}{question}{masked}"


def text_families(lines: Iterable[str], malformed: Callable[[str], None]) -> Iterator[Metric]:
    """Families of a Prometheus text payload. Broken lines are given to `malformed` and left out.

    Exemplars, which only OpenMetrics knows, are cut off: servers exist that mix the two.
    """
    # The parser only iterates, though it is declared to want a file.
    yield from parse_text(cast(TextIO, _sound_lines(lines, malformed)))


def _sound_lines(lines: Iterable[str], malformed: Callable[[str], None]) -> Iterator[str]:
    broken = 0
    sound = False
    for line in lines:
        if not line or line.isspace():
            continue
        if line.lstrip().startswith("#"):
            if _METADATA.match(line) is None or _LEGAL_METADATA.match(line) is not None:
                yield line
                continue
        else:
            match = _SAMPLE.match(line)
            if match is not None:
                sound = True
                exemplar = match.start("exemplar")
                yield line if exemplar < 0 else line[:exemplar]
                continue
        malformed(line)
        broken += 1
        if not sound and broken >= MAX_MALFORMED:
            raise PayloadError(
                f"the first {broken} lines hold no metric, the last of them {excerpt(line)}: this is no metrics "
                "payload, check the URL"
            )


def openmetrics_families(lines: Iterable[str], malformed: Callable[[str], None]) -> Iterator[Metric]:
    """Families of an OpenMetrics payload, each parsed on its own, so that a broken one costs only itself.

    The strict parser otherwise refuses a whole payload for one family. What it refuses is read as
    the text format, since much of that is sound and merely unlawful (a summary whose sum is
    negative, a counter declared with `_total`); `malformed` gets the lines that are neither. A
    payload of which nothing can be read raises PayloadError.
    """
    parsed = False
    complaint = ""
    for block in _blocks(lines):
        try:
            families = list(parse_openmetrics([*(f"{line}\n" for line in block), "# EOF\n"]))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            complaint = complaint or f"{excerpt(block[0])} ({excerpt(str(error), 120)})"
            families = [_in_seconds(family) for family in text_families(block, malformed)]
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


def _blocks(lines: Iterable[str]) -> Iterator[list[str]]:
    block: list[str] = []
    name = ""
    for line in lines:
        if line.startswith("# EOF"):
            break
        if not line.strip():
            continue
        metadata = _METADATA.match(line)
        if metadata is not None and metadata.group(2) != name:
            if block:
                yield block
            block, name = [], metadata.group(2)
        block.append(line)
    if block:
        yield block


def excerpt(text: str, length: int = 60) -> str:
    """The start of a text, printable and on one line, for messages."""
    shown = repr(text[:length])
    return f"{shown}..." if len(text) > length else shown
