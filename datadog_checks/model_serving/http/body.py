"""From a response to the lines of its body, within limits. What is no exposition, or breaks off, is refused."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from requests import Response
from requests.exceptions import ChunkedEncodingError, ContentDecodingError, ReadTimeout
from urllib3.exceptions import DecodeError, HTTPError, ReadTimeoutError

from ..errors import PayloadError
from .redact import without_secrets

MAX_LINE = 1 << 17
"""Longest line in bytes, without its end. Real ones stay below some thousand. A longer one is left out."""

TOO_LONG = f"a line is longer than {MAX_LINE} bytes, and no other has come: this is no metrics payload, check the URL"
BROKEN_OFF = (
    "the answer ends within its first line, as if it broke off on its way or while it was compressed: nothing of it "
    "was used; check the URL, and look into the server's log"
)
"""What is wrong with a body of such a line alone."""

MAX_BEGINNING = 1 << 20
"""A body that begins with so many bytes without a line end is no exposition."""

CHUNK = 1 << 16
HEAD = 1024
EXCERPT = 1024
BLANK = " \t\r\v\f"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Malformed = Callable[[str, bool], None]
"""Takes a line that can't be read, and whether more than this line may be missing."""

_SERIES_IN_BRACES = re.compile(rb'\{\s*(?:"(?:[^"\\]|\\.)*"\s*[,}=]|[a-zA-Z_])')

_FOREIGN = (
    (b"\x1f\x8b", "compressed with gzip", "send the header `Content-Encoding: gzip`, which says so"),
    (b"\xff\xfe", "UTF-16", "send UTF-8"),
    (b"\xfe\xff", "UTF-16", "send UTF-8"),
)
"""How a body starts that is no text, what it is, and what the server has to do instead."""


@dataclass(slots=True)
class Answer:
    """A response to read metrics from: `chunks` of its body as they come, or as they came.

    `framed` says whether the transport shows that the body is complete, `redirected` is the URL that a redirect led
    to, without secrets, empty where there was none.
    """

    content_type: str
    framed: bool
    redirected: str
    length: str | None
    chunks: Iterable[bytes]

    @classmethod
    def of(cls, response: Response, seconds: float) -> Answer:
        """An answer whose body is read while it is used, with at most `seconds` of waiting."""
        headers = response.headers
        return cls(
            headers.get("Content-Type", ""),
            # Decompression doesn't notice a stream that was cut off.
            "Content-Encoding" not in headers and ("Content-Length" in headers or "Transfer-Encoding" in headers),
            without_secrets(response.url) if response.history else "",
            headers.get("Content-Length"),
            _chunks(response, seconds),
        )

    def keep(self, max_bytes: int) -> None:
        """Read the body to its end, so that it can be used without the connection. Errors as in `body_chunks`."""
        kept: list[bytes] = []
        received = 0
        for chunk in self.chunks:
            received += len(chunk)
            _refuse_large(received, max_bytes)
            kept.append(chunk)
        self.chunks = kept


def body_chunks(answer: Answer, max_bytes: int, malformed: Malformed) -> Generator[list[str], None, int]:
    """Lines of a streamed response body as they come, without their ends, decoded as UTF-8. Empty ones are left out,
    and so is a byte order mark at the start.

    At most one chunk and one line are held in memory. `malformed` gets the start of each line beyond `MAX_LINE`, and of
    a last line without an end where the body is not `framed`: half a number is no number. Returns the size of the rest.

    Raises PayloadError for a body that has only lines like these, is beyond `max_bytes` or the answer's time, or is
    HTML, JSON or no text; an exception of requests for what breaks off or can't be decompressed.
    """
    pending = head = b""
    received = skipped = 0
    taken, problem = False, ""

    def leave_out(line: bytes, what: str, cut: bool = False) -> None:
        nonlocal problem
        problem = what
        malformed(line[:EXCERPT].decode("utf-8", "replace"), cut)

    for chunk in _without_mark(answer.chunks):
        received += len(chunk)
        _refuse_large(received, max_bytes)
        if len(head) < HEAD and b"\n" not in head:
            head = (head + chunk).lstrip()[:HEAD]
            if len(head) == HEAD or b"\n" in head:
                _refuse_foreign(head, answer)
        if skipped:
            rest, end, chunk = chunk.partition(b"\n")
            skipped = 0 if end else skipped + len(rest)
        complete, end, pending = (pending + chunk).rpartition(b"\n")
        if len(complete) > MAX_LINE and max(map(len, lines := complete.split(b"\n"))) > MAX_LINE:
            for line in filter(_too_long, lines):
                leave_out(line, TOO_LONG)
            complete = b"\n".join(line for line in lines if not _too_long(line))
        if end:
            decoded = _decoded(complete)
            taken = taken or bool(decoded)
            yield decoded
        # One byte more may belong to the end of the line.
        if len(pending) > MAX_LINE + 1:
            leave_out(pending, TOO_LONG)
            skipped, pending = len(pending), b""
        if skipped > MAX_BEGINNING and not taken:
            break
    if len(head) < HEAD and b"\n" not in head:
        _refuse_foreign(head, answer)
    if _too_long(pending):
        leave_out(pending, TOO_LONG)
    elif pending.strip():
        if answer.framed or pending.lstrip().startswith(b"#"):
            taken = True
            yield _decoded(pending)
        else:
            leave_out(pending, BROKEN_OFF, cut=True)
    if problem and not taken:
        raise PayloadError(problem)
    return received


def _too_long(line: bytes) -> bool:
    return len(line) > MAX_LINE and len(line.removesuffix(b"\r")) > MAX_LINE


def _without_mark(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks of a body without its byte order mark, if it has one."""
    start, chunks = b"", iter(chunks)
    for chunk in chunks:
        start += chunk
        if not BYTE_ORDER_MARK.startswith(start):
            break
    yield start.removeprefix(BYTE_ORDER_MARK)
    yield from chunks


def _decoded(text: bytes) -> list[str]:
    # No part of a character can be a line end, so what is no UTF-8 is replaced within its line.
    lines = text.decode("utf-8", "replace").split("\n")
    if not all(map(str.strip, lines)):
        lines = [line for line in lines if line.strip(BLANK)]
    return [line.rstrip("\r") for line in lines] if b"\r" in text else lines


def pieces(response: Response) -> Iterator[bytes]:
    """What has come of a body, as it comes: `iter_content` would wait until a slow drip has filled its chunk.

    Raises exceptions of requests, which name the kind of error and nothing of what was asked for.
    """
    raw: Any = response.raw
    try:
        while chunk := raw.read1(CHUNK, decode_content=True):
            yield chunk
    except ReadTimeoutError as error:
        raise ReadTimeout(type(error).__name__) from None
    except DecodeError as error:
        raise ContentDecodingError(type(error).__name__) from None
    except (HTTPError, OSError) as error:
        raise ChunkedEncodingError(type(error).__name__) from None


def _chunks(response: Response, seconds: float) -> Iterator[bytes]:
    """A body as it comes, with at most `seconds` of waiting."""
    body = pieces(response)
    waited = 0.0
    while True:
        asked = time.monotonic()
        chunk = next(body, None)
        waited += time.monotonic() - asked
        if chunk is None:
            return
        if waited > seconds:
            raise PayloadError(
                f"the answer was not complete after {seconds:g} s of waiting: look why the endpoint is slow, or "
                "raise `read_timeout`, of which that is six times"
            )
        yield chunk


def _refuse_large(received: int, max_bytes: int) -> None:
    if received > max_bytes:
        raise PayloadError(
            f"the payload is larger than `max_payload_bytes` ({max_bytes}): raise the option, or have the endpoint "
            "expose less"
        )


def _refuse_foreign(start: bytes, answer: Answer) -> None:
    """Raise PayloadError when a body starts like HTML, JSON or no text, naming the redirect or content type behind."""
    content_type = answer.content_type or "none"
    for mark, what, cure in _FOREIGN:
        if start.startswith(mark):
            raise PayloadError(f"the answer is {what} (content type {content_type}): have the server {cure}")
    kind = "an HTML page" if start.startswith(b"<") else "JSON" if start[:1] in (b"{", b"[") else ""
    if not kind or _SERIES_IN_BRACES.match(start):
        return
    if answer.redirected:
        raise PayloadError(
            f"the answer is {kind} (content type {content_type}) after a redirect to {answer.redirected}, probably a "
            "login page: check the credentials and the URL"
        )
    raise PayloadError(
        f"the answer is {kind} (content type {content_type}) instead of metrics: check the path of the URL and that "
        "it needs no login"
    )


def excerpt(text: str, length: int = 60) -> str:
    """The start of a text, printable and on one line, for messages."""
    shown = repr(text[:length])
    return f"{shown}..." if len(text) > length else shown
