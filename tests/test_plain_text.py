"""Nobody outside notifies people, or breaks the markdown of what they read, by a label or by an answer."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from datadog_checks.model_serving.catalog.codes import CodeEvent, Codes
from datadog_checks.model_serving.catalog.plain_text import plain_text
from datadog_checks.model_serving.sources.databricks.description import read
from datadog_checks.model_serving.sources.databricks.events import ReportedState, event, since

from .conftest import Endpoint, make_check

anything = st.text(st.sampled_from("@%a \n") | st.characters(codec="utf-8"), max_size=20)
HOSTILE = "@pagerduty-bank %%% \n# all is well\n %%%"


def is_plain(text: str) -> bool:
    return "@" not in text and "%%%" not in text


@given(st.lists(anything, max_size=5))
@example(["%", "%", "%"])
@example(["%%", "%"])
@example([HOSTILE])
def test_texts_side_by_side_are_plain(parts: list[str]) -> None:
    shown = "".join(map(plain_text, parts))
    assert is_plain(shown)
    assert len(shown) == sum(map(len, parts)), "a limit on its length counts before and after"
    assert plain_text(plain_text(shown)) == plain_text(shown)


@given(anything.filter(lambda text: "@" not in text and "%" not in text))
@example("90% of the traffic, 5 % more")
def test_other_text_stays(text: str) -> None:
    assert plain_text(text) == text


@given(anything, anything)
def test_tags_of_a_code_are_plain_and_a_catalog_may_notify(device: str, model: str) -> None:
    written = CodeEvent("{device}{model}", "@oncall {why} {model}{device}", "failure", "{device}")
    codes = Codes("code", written, {1: {"why": "%%%"}})
    found = codes.event_of(1, [f"device:{device}", f"model:{model}"], "h", 0)
    assert found is not None
    assert is_plain(found["msg_title"])
    assert found["msg_text"].startswith("@oncall %%% ")
    assert is_plain(found["msg_text"].removeprefix("@oncall %%%"))
    assert found["aggregation_key"] == device
    assert found["tags"] == [f"device:{device}", f"model:{model}"]


def test_a_label_of_a_payload(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    label = json.dumps(HOSTILE)
    old = 'model_infer_request_success_total{model="a",version="1"} 1\n'
    check = make_check(openmetrics_endpoint=endpoint.url, serving_system="mlserver", readiness=False)
    for payload in (old, f"{old}model_infer_request_success_total{{model={label},version={label}}} 1\n"):
        endpoint.serve(payload)
        assert check.run() == ""
    (found,) = aggregator.events
    assert "pagerduty-bank" in found["msg_title"]
    assert is_plain(found["msg_title"] + found["msg_text"])


def test_the_message_of_a_service_check(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    check = make_check(openmetrics_endpoint=endpoint.url)
    check.service_check("model.ready", check.CRITICAL, tags=["a:b"], message=f"the server says {HOSTILE}")
    check.service_check("model.ready", check.OK)
    critical, ok = aggregator.service_checks("model_serving.model.ready")
    assert "the server says" in critical.message
    assert is_plain(critical.message)
    assert (critical.tags, ok.message) == (["a:b"], "")


@given(anything, anything)
@example(HOSTILE, HOSTILE)
def test_an_answer_of_databricks(name: str, message: str) -> None:
    entity: dict[str, Any] = {"name": name, "entity_name": name, "entity_version": "1"}
    entity |= {"state": {"deployment": "DEPLOYMENT_FAILED", "deployment_state_message": message}}
    config = {"config_version": 1, "served_entities": [entity]}
    state = {"ready": "READY", "config_update": "UPDATE_FAILED"}
    detail = read({"name": name, "state": state, "config": config, "pending_config": config}, "e", detailed=True)
    assert detail is not None
    _, changes = since(ReportedState(version=1, update="IN_PROGRESS", under_way=True), detail)
    found = [event(change, name, "", []) for change in changes]
    assert {each["event_type"] for each in found} >= {"databricks_update_failed", "databricks_deployment_failed"}
    assert all(is_plain(each["msg_title"]) and is_plain(each["msg_text"]) for each in found)
