"""Secrets of URLs and configurations are found and kept out of text."""

from __future__ import annotations

from typing import Any

import pytest

from datadog_checks.model_serving.http.redact import (
    MASK,
    is_secret,
    mask,
    mask_secrets,
    secrets_of,
    without_credentials,
    without_secrets,
)


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("databricks_token", True),
        ("Authorization", True),
        ("X-API-Key", True),
        ("apiKey", True),
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


@pytest.mark.parametrize(
    ("url", "secrets", "credentials"),
    [
        ("http://h/metrics", "http://h/metrics", "http://h/metrics"),
        ("https://me:pw@h:1/m?a=b#f", "https://h:1/m", "https://h:1/m?a=b#f"),
        ("http://h/federate?match[]=up&api_key=x", "http://h/federate", "http://h/federate?match[]=up&api_key=***"),
        ("http://h/m?sig=a%2Bb&x=1&PASSWORD=c", "http://h/m", "http://h/m?sig=***&x=1&PASSWORD=***"),
        ("me:pw@h/m?token=x", "h/m", "h/m?token=***"),
        ("/login?next=http://h/&access_token=x", "/login", "/login?next=http://h/&access_token=***"),
        ("http://h/m?next=a@b", "http://h/m", "http://h/m?next=a@b"),
        ("http://h/a@b", "http://h/a@b", "http://h/a@b"),
    ],
)
def test_urls(url: str, secrets: str, credentials: str) -> None:
    """What is left of a URL in a message, and what in a tag."""
    assert without_secrets(url) == secrets
    assert without_credentials(url) == credentials
    if "://" in url or "@" not in url:
        assert mask_secrets(f"No answer from {url.partition('#')[0]} (or so)") == (
            f"No answer from {credentials.partition('#')[0]} (or so)"
        )
