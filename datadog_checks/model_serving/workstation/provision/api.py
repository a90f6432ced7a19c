"""Calls to the Datadog API, through datadog-api-client: limits obeyed, failures told apart."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from datadog_api_client import ApiClient, Configuration
from datadog_api_client.exceptions import ApiException, OpenApiException
from datadog_api_client.rest import RESTClientObject
from datadog_api_client.v1.api.authentication_api import AuthenticationApi
from datadog_api_client.v1.api.dashboards_api import DashboardsApi
from datadog_api_client.v1.api.metrics_api import MetricsApi as QueriesApi
from datadog_api_client.v1.api.monitors_api import MonitorsApi
from datadog_api_client.v1.api.service_level_objectives_api import ServiceLevelObjectivesApi
from datadog_api_client.v2.api.downtimes_api import DowntimesApi
from datadog_api_client.v2.api.key_management_api import KeyManagementApi
from datadog_api_client.v2.api.metrics_api import MetricsApi
from datadog_api_client.v2.api.monitors_api import MonitorsApi as RulesApi
from datadog_api_client.v2.api.users_api import UsersApi

from ...errors import ApiError, InternalSignal, Refused, Stopped, Unsure
from .credentials import AccountCredentials

DUPLICATES = re.compile(r"duplicate monitors", re.IGNORECASE)

STOPPED = "the run was stopped"
ATTEMPTS = 3
LONGEST_WORDS = 600


class Client:
    """One account. Every method may be called from several threads at once.

    The client's own retry stays off: it would send a create again after an error that left it open whether the first
    one was carried out. Calls that may be repeated safely are, up to `ATTEMPTS` times, with `pause` seconds between,
    doubled each time. A call that the API limits waits as long as the headers say, up to `patience` seconds in all.
    """

    def __init__(
        self,
        credentials: AccountCredentials,
        *,
        parallel: int = 8,
        timeout: float = 30.0,
        pause: float = 1.0,
        patience: float = 900.0,
    ) -> None:
        self.credentials = credentials
        self.parallel = parallel
        self.pause = pause
        self.patience = patience
        self.calls = 0
        self.stop = threading.Event()
        self._lock = threading.Lock()
        self._closed_until: dict[str, float] = {}
        configuration = client_configuration(credentials, timeout)
        self._client = ApiClient(configuration)
        self._client.rest_client = RESTClientObject(configuration, maxsize=parallel)

    @cached_property
    def monitors(self) -> MonitorsApi:
        return MonitorsApi(self._client)

    @cached_property
    def slos(self) -> ServiceLevelObjectivesApi:
        return ServiceLevelObjectivesApi(self._client)

    @cached_property
    def dashboards(self) -> DashboardsApi:
        return DashboardsApi(self._client)

    @cached_property
    def rules(self) -> RulesApi:
        return RulesApi(self._client)

    @cached_property
    def downtimes(self) -> DowntimesApi:
        return DowntimesApi(self._client)

    @cached_property
    def users(self) -> UsersApi:
        return UsersApi(self._client)

    @cached_property
    def keys(self) -> KeyManagementApi:
        return KeyManagementApi(self._client)

    @cached_property
    def authentication(self) -> AuthenticationApi:
        return AuthenticationApi(self._client)

    @cached_property
    def metrics(self) -> MetricsApi:
        return MetricsApi(self._client)

    @cached_property
    def queries(self) -> QueriesApi:
        return QueriesApi(self._client)

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def call(self, operation: Callable[..., Any], *, once: bool = False, **arguments: Any) -> Any:
        """The answer's JSON, None where it has none. `once` is for calls that must not be sent twice unseen.

        Raises Refused where the API said no, Unsure where it is open what happened, Stopped when `stop` is set.
        """
        name = operation.__name__
        waited = 0.0
        attempt = 1
        while True:
            waited += self._wait_turn(name)
            try:
                return self._send(name, operation, arguments)
            except _Limited as limit:
                # The call was turned away at the door: it may be sent again whatever it does.
                if waited + limit.seconds > self.patience:
                    raise Refused(limit.words, 429) from None
                self._close(name, limit.seconds)
            except Unsure:
                if once or attempt == ATTEMPTS:
                    raise
                self.sleep(self.pause * 2 ** (attempt - 1))
                attempt += 1

    def sleep(self, seconds: float) -> None:
        """Wait. Raises Stopped as soon as the user stops the run."""
        if self.stop.wait(seconds):
            raise Stopped(STOPPED)

    def _send(self, name: str, operation: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
        with self._lock:
            self.calls += 1
        try:
            response = operation(**arguments)
            data = response.data
            self._note_limit(name, response.headers)
            return json.loads(data) if data.strip() else None
        except ApiException as error:
            raise self._failure(name, error) from None
        except OpenApiException as error:
            # The client itself won't send it.
            raise Refused(self.credentials.mask(str(error))) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unsure(self.credentials.mask(transport_words(error))) from None
        except ValueError:
            raise Unsure(f"the answer of {urlsplit(self.credentials.base).hostname} is no JSON") from None

    def _failure(self, name: str, error: ApiException) -> ApiError | _Limited:
        words = self.credentials.mask(words_of(error.body) or str(error.reason or "no reason given"))
        # Waiting is no cure for duplicates: the next ones would be refused as well.
        if error.status == 429 and not DUPLICATES.search(words):
            return _Limited(words, max(self.pause, seconds_of(error.headers or {}, 0.0)))
        # No answer at all (0, as the client calls it) and 408 leave it open too.
        if not error.status or error.status >= 500 or error.status == 408:
            return Unsure(words, error.status or None)
        return Refused(words, error.status)

    def _note_limit(self, name: str, headers: Mapping[str, str]) -> None:
        if headers.get("X-Ratelimit-Remaining") == "0":
            self._close(name, seconds_of(headers, 0.0))

    def _close(self, name: str, seconds: float) -> None:
        with self._lock:
            self._closed_until[name] = max(self._closed_until.get(name, 0.0), time.monotonic() + seconds)

    def _wait_turn(self, name: str) -> float:
        """Seconds waited until calls of this name are allowed again."""
        begun = time.monotonic()
        while True:
            if self.stop.is_set():
                raise Stopped(STOPPED)
            with self._lock:
                left = self._closed_until.get(name, 0.0) - time.monotonic()
            if left <= 0:
                return time.monotonic() - begun
            self.sleep(left)


class _Limited(InternalSignal):
    """429: come again in so many seconds."""

    def __init__(self, words: str, seconds: float) -> None:
        super().__init__(words)
        self.words = words
        self.seconds = seconds


@contextmanager
def understood(what: str) -> Iterator[None]:
    """Where answers are taken apart: raises Unsure for one of another shape than the API's description says."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise Unsure(f"{what}: the answer is not what the API is documented to give") from error


def words_of(body: Any) -> str:
    """What the API says in the body of an error, in its own words, on one line."""
    told = body
    if isinstance(body, Mapping):
        told = body.get("errors") or body.get("error") or body
    if isinstance(told, Mapping):
        told = told.get("detail") or told.get("title") or json.dumps(told)
    elif isinstance(told, list):
        told = "; ".join(words_of({"error": one}) if isinstance(one, Mapping) else str(one) for one in told)
    text = re.sub(r"<[^>]*>", " ", str(told or "")) if "<html" in str(told or "").lower() else str(told or "")
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_WORDS else f"{text[:LONGEST_WORDS]}..."


def seconds_of(headers: Mapping[str, str], otherwise: float) -> float:
    lower = {name.lower(): value for name, value in headers.items()}
    for name in ("x-ratelimit-reset", "retry-after"):
        try:
            return max(0.0, float(lower[name]))
        except (KeyError, ValueError):
            continue
    return otherwise


def transport_words(error: BaseException) -> str:
    if isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason is not None:
        error = error.reason
    # The text of these ends in the reason; before it stands the connection, as an object.
    text = str(error).rpartition(">: ")[2] or type(error).__name__
    # To be refused is a kind of time-out for some versions of urllib3.
    refused = isinstance(error, urllib3.exceptions.NewConnectionError)
    if isinstance(error, urllib3.exceptions.TimeoutError) and not refused:
        return f"no answer in time ({text})"
    return f"the connection failed ({text})"


def client_configuration(credentials: AccountCredentials, timeout: float) -> Configuration:
    """What the client is to know of an account: no redirect, no retry of its own, `timeout` seconds for a request."""
    keys = {"apiKeyAuth": credentials.api_key, "appKeyAuth": credentials.app_key}
    configuration = Configuration(
        host=credentials.base,
        api_key={name: key for name, key in keys.items() if key},
        # The answers are read by the caller: the client's models drop what they don't know.
        preload_content=False,
        check_input_type=False,
        request_timeout=timeout,
        retry_policy=urllib3.Retry(total=0, redirect=0, raise_on_redirect=False),
    )
    _use_proxy(configuration, credentials.base)
    return configuration


def _use_proxy(configuration: Configuration, base: str) -> None:
    """The proxy of the environment (HTTPS_PROXY, NO_PROXY), which the client itself doesn't look at."""
    parts = urlsplit(base)
    proxy = getproxies().get(parts.scheme)
    if not proxy or (parts.hostname and proxy_bypass(parts.hostname)):
        return
    at = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    configuration.proxy = f"{at.scheme}://{at.netloc.rpartition('@')[2]}"
    if at.username is not None:
        login = f"{unquote(at.username)}:{unquote(at.password or '')}"
        configuration.proxy_headers = urllib3.make_headers(proxy_basic_auth=login)
