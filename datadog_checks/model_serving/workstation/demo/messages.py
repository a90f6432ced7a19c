"""HTTP requests and answers as values."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class Request(NamedTuple):
    """One request, its path without query, its header names in lower case. `connection` counts from 1."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    connection: int

    @property
    def authorization(self) -> str:
        """The header of that name."""
        return self.headers.get("authorization", "")


class Reply(NamedTuple):
    """What to answer."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = {}

    @classmethod
    def json(cls, status: int, body: object, headers: Mapping[str, str] | None = None) -> Reply:
        """Return an answer with a JSON body."""
        return cls(status, json.dumps(body).encode(), headers=headers or {})

    @classmethod
    def error(cls, status: int, message: str, code: str = "", headers: Mapping[str, str] | None = None) -> Reply:
        """Return a refusal as Databricks' REST API words them; the code is the status unless it has a name."""
        body = {"error_code": code or str(status), "message": f"{message} [ReqId: {uuid.uuid4()}]"}
        return cls.json(status, body, headers)

    def head(self, *, close: bool) -> bytes:
        """Return the status line and the headers."""
        lines = [
            f"HTTP/1.1 {self.status} {_PHRASES.get(self.status, 'Unknown')}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
            *(["Connection: close"] if close else []),
        ]
        return "\r\n".join([*lines, "\r\n"]).encode("latin-1")


def parse_head(head: bytes) -> tuple[str, str, str, dict[str, str]]:
    """Return method, path without query, version and headers. Raises ValueError for what is no HTTP."""
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, version = first.split(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError(f"not HTTP/1: {version}")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or name != name.strip():
            raise ValueError("a header without a name")
        headers[name.lower()] = value.strip()
    return method, target.partition("?")[0], version, headers
