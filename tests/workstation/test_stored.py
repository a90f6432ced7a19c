"""Tags as Datadog stores them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.model_serving.workstation.stored import needs_spelling, stored, stored_pattern


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("path:/v2/models/{model_name}/infer", "path:/v2/models/_model_name_/infer"),
        ("gpu_model:NVIDIA A100 80GB", "gpu_model:nvidia_a100_80gb"),
        ("Team:ML-Ops", "team:ml-ops"),
        ("model_name:fraud__v2_", "model_name:fraud_v2"),
        ("model_name:fraud (beta)", "model_name:fraud_beta"),
        ("url:http://a.b:80/c?d=e", "url:http://a.b:80/c_d_e"),
        ("model_name:Модель-1", "model_name:модель-1"),
        ("plain", "plain"),
        ("", ""),
    ],
)
def test_stored(tag: str, expected: str) -> None:
    """What Datadog documents, rule by rule."""
    assert stored(tag) == expected


def test_what_is_too_long_is_cut() -> None:
    """With the key, and no underscore comes to stand at the end."""
    assert stored("k:" + "x" * 300) == "k:" + "x" * 198
    assert stored("k:" + "x" * 197 + "_yyy") == "k:" + "x" * 197


@given(st.text())
def test_what_is_stored_stays(tag: str) -> None:
    """A tag that is copied out of Datadog is found there; so is what a wildcard stands beside."""
    once = stored(tag)
    assert stored(once) == once
    assert len(once) <= 200
    assert not needs_spelling(once)
    assert stored_pattern(once) == once
    assert stored_pattern(f"{once}*") == f"{once}*"
