"""The configuration to paste: what the trial did, without what is secret."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.model_serving.http.redact import secrets_of
from datadog_checks.model_serving.workstation.examine import ReadinessState, RecognisedSystem
from datadog_checks.model_serving.workstation.examine.paste import configuration

URL = "http://server:8082/metrics"


def pasted(options: dict[str, Any], *systems: RecognisedSystem, readiness: tuple[ReadinessState, ...] = ()) -> str:
    return configuration(options, systems, readiness, "server:8082")


def instance(text: str) -> dict[str, Any]:
    [found] = yaml.safe_load(text)["instances"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"databricks_token": "dapi-0123456789"}, {"databricks_token": "ENC[databricks_token]"}),
        ({"password": "hunter2-hunter2"}, {"password": "ENC[password]"}),
        (
            {"headers": {"Authorization": "Bearer dapi-0123456789", "X-Team": "ml"}},
            {"headers": {"Authorization": "ENC[headers_authorization]", "X-Team": "ml"}},
        ),
        (
            {"openmetrics_endpoint": "http://user:hunter2-hunter2@server/metrics"},
            {"openmetrics_endpoint": "ENC[openmetrics_endpoint]"},
        ),
        (
            {"openmetrics_endpoints": [URL, "http://server/metrics?token=0123456789abcdef"]},
            {"openmetrics_endpoints": [URL, "ENC[openmetrics_endpoints_2]"]},
        ),
        ({"databricks_client_secret": "ENC[theirs]"}, {"databricks_client_secret": "ENC[theirs]"}),
        ({"tags": ["team:ml"], "timeout": 5}, {"tags": ["team:ml"], "timeout": 5}),
    ],
)
def test_secrets_become_handles(options: dict[str, Any], expected: dict[str, Any]) -> None:
    text = pasted(options)
    assert instance(text) == expected
    for secret in secrets_of(options):
        assert secret not in text or secret.startswith("ENC[")


# Of letters of which no four are in the name of an option or in the URL, which are no secrets.
secrets = st.text("qzxjQZXJ13579-_%:/@ é", min_size=8, max_size=20)


@given(
    st.fixed_dictionaries(
        {"openmetrics_endpoint": st.just(URL)},
        optional={
            "password": secrets,
            "headers": st.dictionaries(st.sampled_from(["Authorization", "X-Api-Key", "Accept"]), secrets, max_size=3),
            "auth_token": st.fixed_dictionaries(
                {"reader": st.fixed_dictionaries({"client_secret": secrets, "url": st.just(URL)})}
            ),
        },
    )
)
def test_no_secret_is_ever_in_it(options: dict[str, Any]) -> None:
    text = pasted(options)
    found = instance(text)
    assert found.keys() == options.keys()
    for secret in secrets_of(options):
        assert secret not in yaml.safe_dump(found, allow_unicode=True)


def test_a_system_that_is_not_sure_has_to_be_named() -> None:
    hinted = RecognisedSystem("custom_ml", "Custom ML exporter", "hints", sure=False)
    assert instance(pasted({"openmetrics_endpoint": URL}, hinted))["serving_system"] == "custom_ml"
    text = pasted({"openmetrics_endpoint": URL}, RecognisedSystem("dcgm", "DCGM", "names"), hinted)
    assert instance(text)["serving_system"] == ["dcgm", "custom_ml"]
    assert "serving_system" not in instance(
        pasted({"openmetrics_endpoint": URL}, RecognisedSystem("dcgm", "D", "names"))
    )


def test_advice_is_a_comment() -> None:
    """What the endpoint is called, and where its API is, nobody but the user knows."""
    unasked = (ReadinessState("MLServer", why="set `readiness_url`"),)
    text = pasted({"openmetrics_endpoint": URL}, readiness=unasked)
    assert "# endpoint_name: what you call this endpoint; without it, it is server:8082." in text
    assert "# readiness_url:" in text
    assert instance(text) == {"openmetrics_endpoint": URL}
    named = {"openmetrics_endpoint": URL, "endpoint_name": "reco", "readiness_url": "http://server:8080"}
    assert "#" not in pasted(named, readiness=unasked)
