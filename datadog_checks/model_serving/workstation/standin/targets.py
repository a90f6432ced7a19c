"""What a person points `model-serving check` at, URLs or saved payloads, as instances of a configuration."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ...errors import OptionError
from ...http.redact import SECRET_NAME, secrets_of, without_secrets
from ..files import is_there
from .configuration import STANDARD_INPUT, Configuration

LARGEST = 64 * 1024 * 1024 + 1
"""Bytes of a saved payload that are read: one more than the check takes, which says so in its own words."""

SCHEMES = ("http", "https", "unix")
PLACE = "http://HOST:PORT/metrics"
"""What stands for the URL where only a payload is known."""

_ADDRESS = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.%]+\]):\d{1,5}(?:/\S*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class SavedPayload:
    """What an endpoint answered once. `name` is what messages call it."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class ScrapeTargets:
    """URLs to scrape, each an endpoint of its own, or the payloads that one endpoint answered, one after the other.

    `notes` say what was made of what a person wrote.
    """

    urls: tuple[str, ...] = ()
    payloads: tuple[SavedPayload, ...] = ()
    notes: tuple[str, ...] = ()


def read_targets(texts: Sequence[str]) -> ScrapeTargets:
    """What the arguments of the command name: URLs, files, or `-` for standard input.

    An address without a scheme, such as `localhost:8082`, is taken as one of HTTP, unless there is a file of that name.
    Raises OptionError.
    """
    urls, payloads, notes = [], [], []
    for text in texts:
        if "://" in text:
            urls.append(_checked_url(text))
        elif text == STANDARD_INPUT or is_there(Path(text)):
            payloads.append(text)
        elif _ADDRESS.fullmatch(text):
            urls.append(_checked_url(f"http://{text}" if "/" in text else f"http://{text}/metrics"))
            notes.append(f"{text} is taken as {urls[-1]}")
        else:
            raise OptionError(_neither(text))
    if urls and payloads:
        raise OptionError(
            "URLs and saved payloads can't be checked in one call: several payloads are taken as successive answers of "
            "one endpoint. Call the command once for each."
        )
    if payloads.count(STANDARD_INPUT) > 1:
        raise OptionError("`-` is standard input, which can be read but once.")
    return ScrapeTargets(tuple(urls), tuple(map(_payload, payloads)), tuple(notes))


def instance_of(
    url: str,
    serving_system: str | None = None,
    endpoint_name: str | None = None,
    catalog: Sequence[str] = (),
    headers: Sequence[str] = (),
) -> dict[str, Any]:
    """The instance of a URL with the options of a trial, as a person would write it. Raises OptionError."""
    options = {
        "openmetrics_endpoint": url,
        "serving_system": serving_system,
        "endpoint_name": endpoint_name,
        "catalog": list(catalog),
        "headers": dict(map(_header, headers)),
    }
    return {name: value for name, value in options.items() if value}


def replayed_configuration(configuration: Configuration, url: str, payloads: Sequence[SavedPayload]) -> Configuration:
    """The configuration whose one instance reads saved payloads at `url`, which is called by their names instead."""
    name = ", ".join(payload.name for payload in payloads)
    besides = {"endpoint_name": Path(payloads[0].name).name}
    # It is the URL of the server that replays them: no tag has it, no proxy leads there, and it answers nothing else.
    own = {"openmetrics_endpoint": url, "tag_by_endpoint": False, "readiness": False, "skip_proxy": True}
    tags = {"tags": [f"endpoint:{PLACE}"]}
    instances = [(number, {**besides, **one, **own, **tags}) for number, one in configuration.instances]
    return replace(configuration, instances=tuple(instances), urls={url: name})


def _checked_url(text: str) -> str:
    scheme = text.partition("://")[0]
    if scheme.lower() not in SCHEMES:
        raise OptionError(f"{without_secrets(text)}: only http://, https:// and unix:// can be read.")
    try:
        user = "@" in urlsplit(text).netloc
    except ValueError:
        # The check says what is wrong with it.
        user = False
    if user or secrets_of({"openmetrics_endpoint": text}):
        raise OptionError(
            f"{without_secrets(text)}: this URL holds a user, a password or a token, and every user of this machine "
            "can read the command line. Write it into a configuration, `-c FILE`, or give a header, as in "
            f"{_HEADER_EXAMPLE}."
        )
    return text


_HEADER_EXAMPLE = "`--header 'Authorization: ENC[login]' --secret login=FILE`"


def _header(text: str) -> tuple[str, str]:
    name, colon, value = (part.strip() for part in text.partition(":"))
    if not (name and colon and value):
        # What stands there may be a secret, so it is not repeated.
        raise OptionError(f"--header takes 'NAME: VALUE', as in {_HEADER_EXAMPLE}; one of yours is not of this form.")
    if SECRET_NAME.search(name) and "ENC[" not in value:
        raise OptionError(
            f"--header {name}: its value is a secret, and every user of this machine can read the command line. Put "
            "all of the value, such as `Bearer ...`, into a file or a variable of the environment, and write "
            f"`--header '{name}: ENC[login]'` with `--secret login=FILE` or `--secret login=env:VARIABLE`."
        )
    return name, value


def _neither(text: str) -> str:
    shown = without_secrets(text)
    if text.endswith((".yaml", ".yml", ".txt", ".prom")) or text.startswith((".", "/", "~")):
        return f"{shown}: there is no such file. Give a saved payload, or the URL of an endpoint: {PLACE}"
    return f"{shown} is neither a file here nor a URL. For an endpoint write all of its URL, such as {PLACE}"


def _payload(text: str) -> SavedPayload:
    if text == STANDARD_INPUT:
        return SavedPayload("standard input", sys.stdin.buffer.read(LARGEST))
    path = Path(text)
    if path.suffix in (".yaml", ".yml"):
        raise OptionError(f"{path} seems to be a configuration: write `-c {path}`. A target is a URL or a payload.")
    try:
        with path.open("rb") as file:
            return SavedPayload(str(path), file.read(LARGEST))
    except IsADirectoryError:
        raise OptionError(f"{path} is a directory: give the path of a saved payload in it.") from None
    except OSError as error:
        raise OptionError(f"{path} can't be read: {error.strerror}. Check its permissions.") from None
