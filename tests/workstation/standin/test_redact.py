"""Secrets of a configuration are found and kept out of text."""

from __future__ import annotations

from typing import Any

import pytest

from datadog_checks.model_serving.workstation.standin.redact import MASK, is_secret, mask, secrets_of


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
        ({"openmetrics_endpoint": "http://me:pa55word@h:1/metrics?api_key=k3y-k3y&x=other"}, {"pa55word", "k3y-k3y"}),
        ({"openmetrics_endpoint": "http://[broken"}, set()),
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
