"""From a response to its body, and to the lines of it, within limits. What is no exposition is refused.

Every body is read here, piece by piece, and decompressed here: what the libraries offer for that holds all that comes
out of a piece in memory, or of a whole body, and follows any chain of encodings.
"""

from __future__ import annotations

import json
import re
import time
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from requests import Response
from requests.exceptions import ChunkedEncodingError, ContentDecodingError, ReadTimeout
from urllib3.exceptions import HTTPError, ReadTimeoutError

from ..errors import BodyError, PayloadError
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

MAX_LABELS = 2_000_000
"""Labels of all samples together that a payload may have, or ten for each sample that it may have."""

MAX_JSON = 4 << 20
"""Largest body in bytes of an answer that is a JSON document about one thing."""

MAX_VALUES = 1 << 19
"""Values in a JSON document. Each takes up to a hundred bytes, however short it is written."""

MAX_MEMBERS = 100
"""Streams that may follow each other in a compressed body."""

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


@dataclass(frozen=True, slots=True)
class Limits:
    """What a payload may have at most: bytes after decompression, and samples."""

    bytes: int
    samples: int


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
    def of(cls, response: Response) -> Answer:
        """An answer whose body is read while it is used."""
        headers = response.headers
        return cls(
            headers.get("Content-Type", ""),
            # Decompression doesn't notice a stream that was cut off.
            "Content-Encoding" not in headers and ("Content-Length" in headers or "Transfer-Encoding" in headers),
            without_secrets(response.url) if response.history else "",
            headers.get("Content-Length"),
            pieces(response),
        )

    def keep(self, limits: Limits) -> None:
        """Read the body to its end, so that it can be used without the connection, once. Errors as in `pieces`.

        Of a body beyond a limit no more is kept than tells what it is; whoever uses that gets a PayloadError behind it.
        """
        kept: deque[bytes] = deque()
        problem = ""
        received = 0
        count = _Counter(limits)
        for chunk in self.chunks:
            received += len(chunk)
            kept.append(chunk)
            problem = _too_large(received, limits.bytes) or count.problem(chunk, kept)
            if problem or (received > MAX_BEGINNING + CHUNK and not count.ends):
                break
        else:
            self.chunks = _used_up(kept)
            return
        self.chunks = chain(_used_up(_start(kept)), _refused(problem or TOO_LONG))


class _Counter:
    """Counts samples and labels of a body that comes in chunks: roughly and fast, exactly where it may matter."""

    def __init__(self, limits: Limits) -> None:
        self.ends = 0
        self._limits = limits
        self._comments = self._labels = 0
        self._samples: int | None = None
        self._rest = b""

    def problem(self, chunk: bytes, kept: Iterable[bytes]) -> str:
        """Why the body is refused with this chunk, the last one of those that are kept. Empty if it isn't."""
        limit = self._limits.samples
        self.ends += chunk.count(b"\n")
        self._comments += chunk.count(b"\n#")
        self._labels += chunk.count(b'="')
        if self._samples is not None:
            self._samples += self._exactly(chunk)
        elif self.ends - self._comments > limit:
            self._samples = sum(map(self._exactly, kept))
        if self._samples is not None and self._samples > limit:
            return (
                f"the payload has more samples than `sample_limit` ({limit}): raise the option, or have the endpoint "
                "expose less"
            )
        most = max(MAX_LABELS, 10 * limit)
        if self._labels > most:
            return (
                f"the samples of the payload have more than {most} labels together: raise `sample_limit` ({limit}), "
                "which allows ten for each, or have the endpoint expose less"
            )
        return ""

    def _exactly(self, chunk: bytes) -> int:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        # Longer ones are left out, and what is kept here has a limit.
        self._rest = self._rest[: MAX_LINE + 2]
        return sum(1 for line in lines if (text := line.lstrip()) and not text.startswith(b"#"))


def _used_up(chunks: deque[bytes]) -> Iterator[bytes]:
    """Each chunk, which nobody holds any longer then."""
    while chunks:
        yield chunks.popleft()


def _start(kept: deque[bytes]) -> deque[bytes]:
    """As much of a body as tells what it is: its first lines, or that it has none."""
    start: deque[bytes] = deque()
    size = 0
    for chunk in kept:
        start.append(chunk)
        size += len(chunk)
        if b"\n" in chunk or size > MAX_BEGINNING + CHUNK:
            break
    return start


def _refused(problem: str) -> Iterator[bytes]:
    raise PayloadError(problem)
    yield b""


def body_chunks(answer: Answer, malformed: Malformed) -> Generator[list[str], None, int]:
    """Lines of a streamed response body as they come, without their ends, decoded as UTF-8. Empty ones are left out,
    and so is a byte order mark at the start.

    At most one chunk and one line are held in memory. `malformed` gets the start of each line beyond `MAX_LINE`, and of
    a last line without an end where the body is not `framed`: half a number is no number. Returns the size of the rest.

    Raises PayloadError for a body that has only lines like these, or is HTML, JSON or no text, and what the chunks
    raise.
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
    """What has come of a body, as it comes, decompressed, at most `CHUNK` bytes at a time.

    `iter_content` would wait until a slow drip has filled its chunk. Raises exceptions of requests, which name the kind
    of error and nothing of what was asked for, and PayloadError for an encoding that nothing here reads.
    """
    loaded = response.__dict__.get("_content", False)
    if isinstance(loaded, bytes):
        return iter([loaded] if loaded else [])
    return decompressed(_received(response), response.headers.get("Content-Encoding", ""))


def load(response: Response, body: bytes) -> None:
    """Give a response the body that was read of it, decompressed, for whoever reads it from now on."""
    held: Any = response
    held._content, held._content_consumed = body, True


def decompressed(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """A body as it is behind its Content-Encoding. Raises what `pieces` raises."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return chunks
    if encoding in ("gzip", "x-gzip", "deflate"):
        return _inflated(chunks, encoding == "deflate")
    raise PayloadError(
        f"the answer is encoded as {excerpt(encoding)}, which is not read: have the server, or a proxy in between, "
        "send gzip or deflate, once, or no encoding"
    )


def _received(response: Response) -> Iterator[bytes]:
    raw: Any = response.raw
    try:
        while chunk := raw.read1(CHUNK, decode_content=False):
            yield chunk
    except ReadTimeoutError as error:
        raise ReadTimeout(type(error).__name__) from None
    except (HTTPError, OSError) as error:
        raise ChunkedEncodingError(type(error).__name__) from None


def _inflated(chunks: Iterable[bytes], deflate: bool) -> Iterator[bytes]:
    """What was compressed as gzip, or with zlib with or without its header. What isn't complete is no error here."""
    decoder: Any = None
    members = 0
    for chunk in chunks:
        while chunk:
            if decoder is None:
                # Some write deflate without the header of zlib, which begins with the number of the method.
                bare = deflate and chunk[0] & 15 != zlib.DEFLATED
                decoder = zlib.decompressobj(-zlib.MAX_WBITS if bare else zlib.MAX_WBITS | (0 if deflate else 16))
            try:
                text, chunk = decoder.decompress(chunk, CHUNK), decoder.unconsumed_tail
                while text:
                    yield text
                    # It may hold more than it has given, without anything left to take.
                    text, chunk = decoder.decompress(chunk, CHUNK), decoder.unconsumed_tail
            except zlib.error as error:
                if members:
                    # Padding.
                    return
                raise ContentDecodingError(type(error).__name__) from None
            if decoder.eof:
                members += 1
                if deflate or members > MAX_MEMBERS:
                    return
                chunk, decoder = decoder.unused_data.lstrip(b"\0"), None


def read_body(response: Response, limit: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> bytes:
    """The whole body of a streamed response.

    Raises BodyError for one of more than `limit` bytes, or that isn't complete within `seconds`, and what `pieces`
    raises.
    """
    end = clock() + seconds
    body = bytearray()
    for chunk in pieces(response):
        body += chunk
        if len(body) > limit:
            raise BodyError(f"more than {limit >> 20} MiB")
        if clock() > end:
            raise BodyError(f"incomplete after {seconds:.0f} s")
    return bytes(body)


def parse_json(body: bytes, most: int = MAX_VALUES) -> Any:
    """The value of a JSON document, None where it is none, or has more than `most` values, for their memory."""
    if sum(map(body.count, (b",", b"[", b"{"))) > most:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _too_large(received: int, max_bytes: int) -> str:
    if received <= max_bytes:
        return ""
    return (
        f"the payload is larger than `max_payload_bytes` ({max_bytes}): raise the option, or have the endpoint expose "
        "less"
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
