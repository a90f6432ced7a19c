"""Keys and site of the account: where they come from, and how they stay out of sight."""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ...errors import OptionError
from ...http.redact import mask

WRITTEN = {
    "us1.datadoghq.com": "datadoghq.com",
    "eu1.datadoghq.com": "datadoghq.eu",
    "eu1.datadoghq.eu": "datadoghq.eu",
}
"""What the first two sites are called by those who know the names of the others."""

SITES = (
    "datadoghq.com",
    "us3.datadoghq.com",
    "us5.datadoghq.com",
    "datadoghq.eu",
    "ap1.datadoghq.com",
    "ap2.datadoghq.com",
    "uk1.datadoghq.com",
    "ddog-gov.com",
    "us2.ddog-gov.com",
)
_KEY = re.compile(r"[A-Za-z0-9_-]{8,}")


@dataclass(frozen=True, slots=True)
class AccountCredentials:
    """What a client needs to speak for an account. `url` stands in for that of the site, for proxies and tests.

    Raises OptionError for a `url` that would send the keys unencrypted over a network.
    """

    api_key: str = field(repr=False)
    app_key: str = field(repr=False)
    site: str = SITES[0]
    url: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.url is not None and not _keeps_keys(self.url):
            raise OptionError(
                "the address of the API (MODEL_SERVING_DATADOG_URL) must begin with https://, since the keys are sent "
                "there; http:// is for this machine alone, such as http://127.0.0.1:8080"
            )

    @property
    def base(self) -> str:
        """The URL that paths are put behind."""
        return self.url.rstrip("/") if self.url else f"https://api.{self.site}"

    @property
    def place(self) -> str:
        """Where the account is, as a person knows it: the site, or what stands in for it, without a login."""
        return self.site if self.url is None else self.base.rpartition("@")[2]

    def secrets(self) -> tuple[str, ...]:
        """Every text that must not be seen, longest first."""
        parts = [self.api_key, self.app_key]
        for url in (self.url, *(os.environ.get(name) for name in _PROXIES)):
            password = urlsplit(url).password if url and "@" in url else None
            parts += [password, unquote(password)] if password else []
        return tuple(sorted({part for part in parts if len(part) > 3}, key=len, reverse=True))

    def mask(self, text: str) -> str:
        """The text without any of the secrets."""
        return mask(text, self.secrets())


def _keeps_keys(url: str) -> bool:
    """Whether nobody on the way to a URL can read what is sent there."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme == "http" and host != "localhost":
            return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
    return parts.scheme in ("https", "http") and bool(host)


_PROXIES = tuple(name for scheme in ("http", "https", "all") for name in (f"{scheme}_proxy", f"{scheme.upper()}_PROXY"))


def load_credentials(
    api_key_file: Path | None = None,
    app_key_file: Path | None = None,
    site: str | None = None,
    url: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> AccountCredentials:
    """Keys from files or from DD_API_KEY and DD_APP_KEY, the site from the option or DD_SITE.

    Raises OptionError for what is missing or can't be right, without ever showing a key.
    """
    chosen = _site(site, "--site", environment)
    return AccountCredentials(
        _key("API key", "DD_API_KEY", "--api-key-file", api_key_file, environment),
        _key("application key", "DD_APP_KEY", "--app-key-file", app_key_file, environment),
        chosen,
        url,
    )


def load_intake_credentials(
    api_key_file: Path | None = None,
    site: str | None = None,
    url: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> AccountCredentials:
    """What may send metrics but not read or change anything: the API key alone, named by options of a bridge.yaml.

    Raises OptionError as `load_credentials` does.
    """
    chosen = _site(site, "site", environment)
    return AccountCredentials(_key("API key", "DD_API_KEY", "api_key_file", api_key_file, environment), "", chosen, url)


def _site(site: str | None, option: str, environment: Mapping[str, str]) -> str:
    chosen = (site or environment.get("DD_SITE") or SITES[0]).strip().lower()
    if chosen not in SITES:
        near = (
            [WRITTEN[chosen]]
            if chosen in WRITTEN
            else difflib.get_close_matches(chosen.removeprefix("app.").removeprefix("api."), SITES, n=1, cutoff=0.8)
        )
        hint = f"did you mean {near[0]}?" if near else f"it is one of {', '.join(SITES)}"
        where = option if site else "DD_SITE"
        raise OptionError(f"{where}: {chosen!r} is no site of Datadog; {hint}")
    return chosen


def _key(what: str, variable: str, option: str, path: Path | None, environment: Mapping[str, str]) -> str:
    if path is None:
        where, text = variable, environment.get(variable, "")
        if not text.strip():
            raise OptionError(f"no {what}: set {variable}, or give {option} FILE")
    else:
        where = f"{option} {path}"
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise OptionError(f"{where}: can't be read: {reason}") from None
    text = text.strip()
    # An HTTP header with anything else in it would be refused further down, in words that quote the key.
    if not _KEY.fullmatch(text):
        raise OptionError(f"{where}: this is no {what}, which is one line of letters and digits")
    return text
