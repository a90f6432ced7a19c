"""Secrets of URLs and configurations are found and kept out of text."""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from datadog_checks.base.log import AgentLogHandler
from datadog_checks.base.utils import http, tls
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.model_serving.http.redact import (
    HTTP_LOGGERS,
    LONGEST,
    LONGEST_URL,
    LONGEST_WARNING,
    MASK,
    Secrets,
    is_secret,
    mask,
    mask_secrets,
    masked,
    secrets_of,
    without_credentials,
    without_secrets,
)

from ..conftest import Endpoint, make_check


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("databricks_token", True),
        ("Authorization", True),
        ("X-API-Key", True),
        ("apiKey", True),
        ("cookie", True),
        ("sig", True),
        ("accessToken", True),
        ("password", True),
        ("client_secret", True),
        ("proxy_authorization", True),
        ("tls_private_key_password", True),
        ("databricks_token_path", False),
        ("databricks_oidc_token_filepath", False),
        ("databricks_oidc_token_env", False),
        ("databricks_azure_client_secret", True),
        ("databricks_azure_client_secret_path", False),
        ("databricks_auth_type", False),
        ("tls_private_key", False),
        ("keep_labels", False),
        ("openmetrics_endpoint", False),
        ("endpoint_name", False),
        ("tokenizer", False),
        ("monkey", False),
        ("design", False),
        ("username", False),
    ],
)
def test_names_of_secrets(name: str, secret: bool) -> None:
    assert is_secret(name) is secret


@pytest.mark.parametrize(
    ("configuration", "secrets"),
    [
        ({"databricks_token": "dapi123456"}, {"dapi123456"}),
        ({"headers": {"Authorization": "Bearer abc123"}}, {"Bearer abc123", "abc123"}),
        ({"headers": {"Accept": "text/plain"}, "keep_labels": ["token_name"]}, set()),
        (
            [{"password": "hunter22"}, {"a": [{"secret": ["one-secret", "two-secret"]}]}],
            {"hunter22", "one-secret", "two-secret"},
        ),
        (
            {"openmetrics_endpoint": "http://me:pa55word@h:1/metrics?api_key=k3y-k3y&x=other"},
            {"me:pa55word", "pa55word", "k3y-k3y"},
        ),
        (
            {"openmetrics_endpoints": ("http://t0ken%2F1@h/m", "http://h/m?sig=a%2Bbcd")},
            {"t0ken%2F1", "t0ken/1", "a%2Bbcd", "a+bcd"},
        ),
        ({"proxy": {"https": "http://me:pa55word@proxy:3128"}}, {"me:pa55word", "pa55word"}),
        ({"headers": {"Cookie": "id=abcd", "X-Signature": "5678", "X-Team": "ml-platform"}}, {"id=abcd", "5678"}),
        ({"headers": {"Authorization": "Bearer [PAT]"}, "password": "<PASSWORD>"}, set()),
        ({"extra_metrics": [{"llm_tokens": "llm.tokens"}], "rename_labels": {"token": "token_kind"}}, set()),
        ({"proxy": {"http": "me:pa55word@proxy:3128"}}, {"me:pa55word", "pa55word"}),
        ({"username": "me", "password": "pa55word"}, {"pa55word", "me:pa55word"}),
        (
            {"openmetrics_endpoint": "http://u:abcd/SECRET@host/m"},
            {"u:abcd/SECRET", "abcd/SECRET", "abcd", "SECRET"},
        ),
        ({"openmetrics_endpoint": "http://host:8080/metrics/@me"}, {"host:8080/metrics/", "8080/metrics/"}),
        ({"databricks_token_path": "/run/token", "tls_private_key": "/etc/key.pem"}, set()),
        ({"openmetrics_endpoint": "http://me:pass@[broken"}, {"me:pass", "pass"}),
        (
            {"auth_token": {"writer": {"type": "header", "name": "Authorization", "value": "Bearer xyz999"}}},
            {"Bearer xyz999", "xyz999"},
        ),
        (
            {
                "auth_token": {
                    "reader": {"type": "file", "path": "/run/t"},
                    "writer": {"type": "header", "name": "Auth"},
                }
            },
            set(),
        ),
        ({"password": "abc"}, set()),
        ({"token": 123456, "use_token": True, "password": None}, set()),
    ],
)
def test_secrets_are_found(configuration: Any, secrets: set[str]) -> None:
    assert set(secrets_of(configuration)) == secrets


def test_the_longest_secret_is_masked_first() -> None:
    secrets = secrets_of({"token": "abcd", "password": "abcdefgh"})
    assert mask("x abcdefgh y abcd z", secrets) == f"x {MASK} y {MASK} z"


def test_secrets_of_a_configuration_that_holds_itself() -> None:
    """Aliases in YAML share values, and may lead back: each is looked at once."""
    node: dict[str, Any] = {"password": "pa55word"}
    node["tags"] = [node]
    for _ in range(60):
        node = {"a": [node, node], "b": node}
    assert secrets_of(node) == ("pa55word",)


OTHER = without_credentials("http://h/m?x=1").partition("?")[2]


@pytest.mark.parametrize(
    ("url", "secrets", "credentials"),
    [
        ("http://h/metrics", "http://h/metrics", "http://h/metrics"),
        ("https://me:pw@h:1/m#f", "https://h:1/m", "https://h:1/m"),
        ("http://h/federate?match[]=up&api_key=x", "http://h/federate", "http://h/federate?match[]=up"),
        ("http://h/f?match%5B%5D=up&match[]=b@c", "http://h/f", "http://h/f?match%5B%5D=up&match[]=b@c"),
        ("http://h/m?sig=a%2Bb&x=1&PASSWORD=c", "http://h/m", f"http://h/m?{OTHER}"),
        ("http://h/m?x=1&match[]=up", "http://h/m", f"http://h/m?match[]=up&{OTHER}"),
        ("http://h/m?x=1#SECRET", "http://h/m", f"http://h/m?{OTHER}"),
        ("me:pw@h/m?token=x", "h/m", "h/m"),
        ("unix://%2Frun%2Fs.sock/metrics", "unix://%2Frun%2Fs.sock/metrics", "unix://%2Frun%2Fs.sock/metrics"),
        ("http://me:p@[::1]:80/m", "http://[::1]:80/m", "http://[::1]:80/m"),
        # A password that is not escaped: what follows the host may be part of it.
        ("http://u:ab/SECRET@host", "http://***", "http://***"),
        ("http://u:12/SECRET@host", "http://***", "http://***"),
        ("http://u:ab?SECRET@host/m", "http://***", "http://***"),
        ("http://u:12?SECRET@host/m?a=b", "http://***", "http://***"),
        ("http://u:12?a=SECRET#b@host", "http://***", "http://***"),
        ("http://h/a@b", "http://***", "http://***"),
        ("u:ab/SECRET@host", "***", "***"),
    ],
)
def test_urls(url: str, secrets: str, credentials: str) -> None:
    """What is left of a URL in a message, and what in a tag."""
    assert without_secrets(url) == secrets
    assert without_credentials(url) == credentials


def test_a_long_url_is_not_repeated_in_full() -> None:
    assert len(without_secrets("http://h/" + "a" * 100_000)) == LONGEST_URL + len("...")


def test_sources_that_differ_in_a_parameter_stay_apart() -> None:
    shown = [without_credentials(f"http://h/probe?{query}") for query in ("target=a", "target=b", "target=b&x=1")]
    assert len(set(shown)) == 3
    assert all(len(one) == len("http://h/probe?digest=12345678") for one in shown)
    assert without_credentials("http://h/p?b=2&a=1") == without_credentials("http://h/p?a=1&b=2")
    # A renewed token makes no new source.
    assert without_credentials("http://h/p?b=2&token=1") == without_credentials("http://h/p?b=2&token=2")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("No answer from http://h/metrics (or so).", "No answer from http://h/metrics (or so)."),
        ("(url=http://h:1/metrics?api_key=SECRET1xyz)", "(url=http://h:1/metrics?api_key=***)"),
        ('"GET /metrics?jwt=SECRET&x=1 HTTP/1.1" 200', '"GET /metrics?jwt=***&x=*** HTTP/1.1" 200'),
        ("with url: /f?match[]=up&token=x'", "with url: /f?match[]=up&token=***'"),
        ("see https://me:pw@h:1/m#part,", "see https://***@h:1/m#***,"),
        ("to http://h/m?SECRET or /m?c2VjcmV0==", "to http://h/m?*** or /m?***"),
        ("proxy=http://u:ab/SECRET@host: broken", "proxy=http://***: broken"),
        ("/login?next=http://u:p@h/&a=b", "/login?next=***&a=***"),
        ("Is it up? Why? {x?y}", "Is it up? Why? {x?y}"),
        ("nothing to see, a@b", "nothing to see, a@b"),
    ],
)
def test_urls_in_text(text: str, shown: str) -> None:
    assert mask_secrets(text) == shown
    assert masked(text) == shown


ODD = [char * 60_000 for char in "?&=:/@#a "] + [
    part * (120_000 // len(part)) for part in ("?token", "://", "?a=b&", "http://u:p@", "a@b://", "? ", "&token=", "\\")
]


@pytest.mark.parametrize("text", ODD, ids=lambda text: repr(text[:8]))
def test_a_text_of_any_length_is_cut_and_looked_through_once(text: str) -> None:
    """Patterns that looked back from each place took hours for these."""
    shown = masked(text, ("pa55word", "aaaa"))
    assert len(shown) < 2 * LONGEST + 100
    assert shown.endswith(f" ({len(text) - LONGEST} more characters)")
    mask_secrets(text)
    mask(text, ("aaaa", "?token?token"))
    without_secrets(text)
    without_credentials(f"http://h/{text}")


def test_what_is_cut_leaves_no_half_of_a_secret() -> None:
    filler = "x" * (LONGEST - 20)
    assert "hunter" not in masked(f"{filler} http://me:hunter22@host/")
    assert "hunter" not in masked(f"{filler} 12345678 hunter22222222 and so on", ("hunter22222222",))
    assert "hunter" not in masked(f"{filler} /m?token=hunter2222222222222")


SECRET = st.text(st.characters(exclude_characters="*", exclude_categories=()), min_size=4, max_size=40)


def forms(secret: str) -> list[str]:
    """How a secret is spelt in URLs, in JSON, in `repr` and in headers."""
    data = secret.encode("utf-8", "surrogatepass")
    quoted = [quote(data), quote(data, safe=""), quote_plus(data)]
    return [secret, *quoted, repr(secret)[1:-1], json.dumps(secret)[1:-1], base64.b64encode(data).decode().rstrip("=")]


@given(st.lists(SECRET, min_size=1, max_size=4), st.text(max_size=30), st.data())
def test_no_known_secret_is_left_in_any_form(secrets: list[str], between: str, data: st.DataObject) -> None:
    """Wherever they stand, also next to one another and one within another."""
    spelt = [form for secret in secrets for form in forms(secret)]
    parts = data.draw(st.lists(st.sampled_from([*spelt, between]), max_size=8))
    text = "".join(parts)
    shown = mask(text, secrets)
    assert [form for form in spelt if form in shown and form not in MASK] == []


# What is logged.

NAMES = ("urllib3.connection", "urllib3.util.retry", "urllib3.a.module.yet.to.come", "requests", http.__file__,
    tls.__file__, "datadog_checks.model_serving.scrape.collector", "check")  # fmt: skip


@contextmanager
def agent_log() -> Iterator[io.StringIO]:
    """What the handler of an Agent would hand on."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(AgentLogHandler().formatter)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(1)
    try:
        yield written
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def fail(secret: str) -> None:
    raise ValueError(f"from http://h/m?code={secret}") from KeyError("pa55word")


@pytest.mark.parametrize("name", NAMES)
def test_records_are_masked(name: str) -> None:
    with agent_log() as written:
        check = logging.LoggerAdapter(logging.getLogger("check"), {})
        secrets, others = Secrets(check), Secrets(check)
        secrets.register("pa55word")
        others.register("toktoktok", passing=True)
        log = logging.getLogger(name)
        log.warning("Failed (url=%s), %r", "http://h/m?api_key=SECRETVAL", {"Cookie": "pa55word"})
        log.warning("toktoktok %s", ValueError("http://me:hunter22@h/?pa55word"), stack_info=True)
        log.warning("100% of http://h/?api_key=SECRETVAL")
        log.warning("%d", "pa55word")
        try:
            fail("SECRETVAL")
        except ValueError:
            log.exception("%s", "pa55word")
            log.warning("x", exc_info=True)
        log.warning("config: %s", {"password": "hunter22", "verify": True})
    text = written.getvalue()
    for secret in ("pa55word", "toktoktok", "SECRETVAL", "hunter22"):
        shown = [line for line in text.splitlines() if secret in line]
        # Lines of source in a traceback are code.
        assert [line for line in shown if not line.startswith("    ")] == []
    assert "Failed (url=http://h/m?api_key=***), {'Cookie': '********'}" in text
    assert "ValueError: from http://h/m?code=***" in text
    assert "'verify': True" in text


def test_other_records_are_left_as_they_are() -> None:
    """Also in the handler that all checks of an Agent share."""
    with agent_log() as written:
        secrets = Secrets(logging.LoggerAdapter(logging.getLogger("check"), {}))
        secrets.register("pa55word")
        for name in ("root", "another.check", "urllib4", "checks", "datadog_checks.base.checks.base.postgres"):
            logging.getLogger(name).warning("pa55word at http://me:pw@h/?a=b" + "x" * 2 * LONGEST)
    assert written.getvalue().count("pa55word at http://me:pw@h/?a=b" + "x" * 2 * LONGEST) == 5


def test_secrets_of_a_check_that_is_gone_are_forgotten() -> None:
    check = logging.LoggerAdapter(logging.getLogger("check"), {})
    with agent_log() as written:
        gone, stays = Secrets(check), Secrets(check)
        gone.register("word-of-one-gone")
        del gone
        stays.register("hunter22")
        check.warning("word-of-one-gone")
        check.warning("hunter22")
    assert "word-of-one-gone" in written.getvalue()
    assert "hunter22" not in written.getvalue()


def test_every_logger_of_urllib3_and_requests_is_covered() -> None:
    assert {"urllib3", "requests", http.__file__, tls.__file__} <= set(HTTP_LOGGERS)


def test_a_broken_header_keeps_the_url_out_of_the_log(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """urllib3 tells of it at WARNING, which every Agent writes."""
    endpoint.serve("up 1\n", "/metrics?api_key=SECRETVAL", headers={"X-One": "1\r\nbroken header line\r\nX-Two: 2"})
    with agent_log() as written:
        check = make_check(openmetrics_endpoint=f"{endpoint.url}?api_key=SECRETVAL", serving_system="mlserver")
        check.run()
    assert "Failed to parse headers" in written.getvalue()
    assert "SECRETVAL" not in written.getvalue()


@pytest.mark.parametrize("rest", ["u:ab/SECRET@127.0.0.1", "u:1/SECRET@127.0.0.1", "u:1?SECRET@127.0.0.1/m"])
def test_a_url_whose_password_breaks_it_is_not_repeated(rest: str, aggregator: Any, datadog_agent: Any) -> None:
    with agent_log() as written:
        check = make_check(openmetrics_endpoint=f"http://{rest}", timeout=1)
        result = check.run()
    tags = {tag for name in aggregator.metric_names for metric in aggregator.metrics(name) for tag in metric.tags}
    checks = [str(one) for one in aggregator.service_checks("model_serving.openmetrics.health")]
    for text in (result, *tags, *checks, written.getvalue()):
        assert "SECRET" not in text


def test_what_a_payload_calls_things_steers_no_terminal(
    endpoint: Endpoint, aggregator: Any, datadog_agent: Any
) -> None:
    """The Agent prints warnings and errors of a run as they are, in its status."""
    name = "x" * 100_000 + "\x1b[2J\u202e"
    with agent_log() as written:
        check = make_check(openmetrics_endpoint=endpoint.url, serving_system="mlserver")
        endpoint.serve("up 1\n")
        check.run()
        check.get_warnings()
        check.warnings.append(f"a name: {name}")
        check.log.warning("\x1b[2J %s", name[-10:])
        [warning] = check.get_warnings()
        endpoint.serve("", status=302, headers={"Location": "http://127.0.0.1:1/\u009b2J/" + name[:1000]})
        failed = check.run()
    assert len(warning) < LONGEST_WARNING + 100
    for text in (warning, failed, written.getvalue()):
        assert [char for char in text if not char.isprintable() and char != "\n"] == []
