"""The stand-in workspace over real HTTPS: every route, refusal and fault, the life of an update, and a clean end."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import logging
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import requests

from datadog_checks.model_serving.workstation.demo.dialects.databricks import CONTENT_TYPE
from datadog_checks.model_serving.workstation.demo.faults import REFUSALS, Faults
from datadog_checks.model_serving.workstation.demo.workspace import (
    API,
    TOKEN_PATH,
    Served,
    SimulatedWorkspace,
    minute_page,
    serve_workspace,
)

from ...leftovers import wait_until
from .conftest import parse, total

LIST = Path(__file__).parents[2] / "fixtures" / "databricks" / "list.json"
MINUTE = 1_788_718_020_000
FORM = {"grant_type": "client_credentials", "scope": "all-apis"}
BEARER = {"Authorization": "Bearer pat"}
CHURN = f"{API}/churn"
TIMEOUT = 60
Timeout = float | tuple[float, float]


class Client(NamedTuple):
    """A workspace that is served, and a session with it."""

    workspace: SimulatedWorkspace
    served: Served
    session: requests.Session

    def get(self, path: str, headers: dict[str, str] | None = None, timeout: Timeout = TIMEOUT) -> requests.Response:
        return self.session.get(self.served.url + path, headers=BEARER if headers is None else headers, timeout=timeout)

    def token(self, secret: str = "secret", **options: Any) -> requests.Response:
        options = {"auth": ("client", secret), "data": FORM, **options}
        return self.session.post(self.served.url + TOKEN_PATH, timeout=TIMEOUT, **options)


@pytest.fixture
def client() -> Iterator[Client]:
    workspace = SimulatedWorkspace()
    workspace.personal_tokens.add("pat")
    workspace.clients["client"] = "secret"
    workspace.add("churn", export=lambda: minute_page("churn", MINUTE, 3), tags={"team": "risk", "flag": ""})
    workspace.add("hosted", entities=[{"name": "llama", "foundation_model": {"name": "llama"}}], task="llm/v1/chat")
    with serve_workspace(workspace) as served, session_with(served) as session:
        yield Client(workspace, served, session)


def session_with(served: Served) -> requests.Session:
    session = requests.Session()
    # A bundle named in the environment would replace the CA.
    session.trust_env = False
    session.verify = served.ca
    return session


ROUTES = [
    (API, 200, ""),
    (CHURN, 200, ""),
    (f"{CHURN}?view=full", 200, ""),
    (f"{CHURN}/metrics", 200, ""),
    (f"{API}/hosted", 200, ""),
    (f"{API}/hosted/metrics", 404, "RESOURCE_DOES_NOT_EXIST"),
    (f"{API}/nobody", 404, "RESOURCE_DOES_NOT_EXIST"),
    (f"{API}/nobody/metrics", 404, "RESOURCE_DOES_NOT_EXIST"),
    (f"{API}/churn%2Fmetrics", 404, "RESOURCE_DOES_NOT_EXIST"),
    (f"{API}/", 404, "ENDPOINT_NOT_FOUND"),
    (f"{CHURN}/logs", 404, "ENDPOINT_NOT_FOUND"),
    (TOKEN_PATH, 404, "ENDPOINT_NOT_FOUND"),
    ("/", 404, "ENDPOINT_NOT_FOUND"),
]


@pytest.mark.parametrize(("path", "status", "code"), ROUTES)
def test_a_route_answers(client: Client, path: str, status: int, code: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["error_code"] if code else "") == (status, code)
    assert answer.headers["Content-Type"] == (CONTENT_TYPE if path == f"{CHURN}/metrics" else "application/json")
    (call,) = client.workspace.calls
    assert (call.method, call.path, call.status, call.token) == ("GET", path.partition("?")[0], status, "personal")


def test_only_get_is_known(client: Client) -> None:
    answer = client.session.delete(client.served.url + CHURN, headers=BEARER, timeout=TIMEOUT)
    assert (answer.status_code, answer.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")
    assert client.workspace.names() == ["churn", "hosted"]


def test_the_list_tells_less_than_the_detail(client: Client) -> None:
    listed = {one["name"]: one for one in client.get(API).json()["endpoints"]}
    detail = client.get(CHURN).json()
    churn = listed["churn"]
    assert set(detail) == set(churn)
    assert churn["config"] == {
        "served_entities": [
            {"name": "churn-1", "entity_name": "main.models.churn", "entity_version": "1", "type": "UC_MODEL"}
        ],
        "served_models": [
            {"name": "churn-1", "model_name": "main.models.churn", "model_version": "1", "type": "UC_MODEL"}
        ],
    }
    assert churn["tags"] == [{"key": "team", "value": "risk"}, {"key": "flag"}]
    (entity,) = detail["config"]["served_entities"]
    assert entity["state"] == {"deployment": "DEPLOYMENT_READY", "deployment_state_message": ""}
    assert (entity["workload_type"], entity["workload_size"]) == ("CPU", "Small")
    (secret,) = entity["environment_vars"].values()
    assert secret not in json.dumps(listed)
    assert detail["config"]["traffic_config"] == {
        "routes": [{"served_model_name": "churn-1", "served_entity_name": "churn-1", "traffic_percentage": 100}]
    }
    assert detail == client.workspace.endpoint("churn")


REAL = {one["name"]: one for one in json.loads(LIST.read_text(encoding="utf-8"))["endpoints"]}
ALIKE = {"custom": "fraud-scorer", "tile": "mas-0000-endpoint", "pay_per_token": "databricks-some-model"}


@pytest.mark.parametrize("kind", ALIKE)
def test_the_list_has_the_keys_of_a_real_one(client: Client, kind: str) -> None:
    """Each kind of element has every key that it has in a list of a real workspace, and none that it has not there."""
    name, real = ALIKE[kind], REAL[ALIKE[kind]]
    client.workspace.add(name, kind=kind, task=real.get("task", ""))
    (listed,) = [one for one in client.get(API).json()["endpoints"] if one["name"] == name]
    assert listed.keys() == real.keys()
    assert listed["state"].keys() == real["state"].keys()
    assert listed["config"].keys() == real["config"].keys()
    for key in listed["config"]:
        assert [one.keys() for one in listed["config"][key]] == [one.keys() for one in real["config"][key]]
    if kind != "custom":
        # What Databricks hosts is described in no other words.
        assert client.get(f"{API}/{name}").json() == listed


def test_what_may_not_be_seen_is_not_listed(client: Client) -> None:
    client.workspace.unlisted.add("churn")
    assert [one["name"] for one in client.get(API).json()["endpoints"]] == ["hosted"]


def test_an_endpoint_is_stopped_and_started(client: Client) -> None:
    workspace = client.workspace
    workspace.stop("churn")
    detail = client.get(CHURN).json()
    assert (detail["state"]["ready"], detail["state"]["suspend"]) == ("NOT_READY", "STOPPED")
    assert client.get(API).json()["endpoints"][0]["state"] == detail["state"]
    assert shape(detail)["config"] == (1, {"churn-1": "DEPLOYMENT_ABORTED"}, {"churn-1": 100})
    workspace.start("churn")
    detail = client.get(CHURN).json()
    assert detail["state"]["suspend"] == "NOT_SUSPENDED"
    assert shape(detail)["state"] == ("NOT_READY", "IN_PROGRESS")
    assert shape(detail)["pending_config"][0] == 2
    workspace.finish_update("churn")
    assert shape(client.get(CHURN).json()) == {
        "state": ("READY", "NOT_UPDATING"),
        "config": (2, {"churn-1": READY}, {"churn-1": 100}),
    }


@pytest.mark.parametrize("reason", REFUSALS)
def test_a_refusal_is_one_that_was_seen(client: Client, reason: str) -> None:
    status, body, headers = REFUSALS[reason]
    client.workspace.fault("refusal", reason=reason)
    answer = client.session.get(client.served.url + CHURN, headers=BEARER, timeout=TIMEOUT, allow_redirects=False)
    assert (answer.status_code, answer.json()) == (status, body)
    assert headers.items() <= answer.headers.items()


def test_an_empty_list_is_left_out(client: Client) -> None:
    for name in client.workspace.names():
        client.workspace.remove(name)
    assert client.get(API).json() == {}


REFUSED = [
    ({}, "none", 401),
    ({"Authorization": "pat"}, "unknown", 401),
    ({"Authorization": "Basic cGF0"}, "basic", 401),
    ({"Authorization": "Bearer other"}, "unknown", 401),
    ({"Authorization": "Bearer other"}, "unknown", 403),
]


@pytest.mark.parametrize(("headers", "kind", "status"), REFUSED)
def test_the_api_asks_for_a_token_it_knows(client: Client, headers: dict[str, str], kind: str, status: int) -> None:
    client.workspace.refusal = status
    for path in (API, CHURN, f"{CHURN}/metrics", f"{API}/nobody", "/"):
        answer = client.get(path, headers)
        assert (answer.status_code, answer.json()["error_code"]) == (status, str(status))
    assert {call.token for call in client.workspace.calls} == {kind}
    assert "other" not in repr(client.workspace.calls)


def test_a_personal_token_can_be_rotated(client: Client) -> None:
    client.workspace.personal_tokens = {"new"}
    assert client.get(API).status_code == 401
    assert client.get(API, {"Authorization": "Bearer new"}).status_code == 200


def test_an_oauth_token_opens_the_door_until_it_expires(client: Client) -> None:
    granted = client.token().json()
    assert (granted["token_type"], granted["expires_in"]) == ("Bearer", 3600)
    headers = {"Authorization": f"Bearer {granted['access_token']}"}
    assert client.get(API, headers).status_code == 200
    client.workspace.expire_tokens()
    assert client.get(API, headers).status_code == 401
    again = {"Authorization": f"Bearer {client.token().json()['access_token']}"}
    assert client.get(API, again).status_code == 200
    assert client.workspace.tokens_issued == 2
    assert [call.token for call in client.workspace.calls] == ["basic", "oauth", "expired", "basic", "oauth"]
    assert granted["access_token"] not in repr(client.workspace.calls)


def test_an_oauth_token_lives_as_long_as_it_says(client: Client) -> None:
    client.workspace.token_seconds = 0
    token = client.token().json()
    assert token["expires_in"] == 0
    assert client.get(API, {"Authorization": f"Bearer {token['access_token']}"}).status_code == 401


GRANT = "grant_type=client_credentials"
BAD_GRANTS: list[tuple[dict[str, Any], int, str]] = [
    ({"auth": ("client", "wrong")}, 401, "invalid_client"),
    ({"auth": ("nobody", "")}, 401, "invalid_client"),
    ({"auth": None}, 401, "invalid_client"),
    ({"auth": None, "headers": {"Authorization": "Basic ?"}}, 401, "invalid_client"),
    ({"auth": None, "headers": BEARER}, 401, "invalid_client"),
    ({"auth": None, "data": {**FORM, "client_id": "client", "client_secret": "secret"}}, 401, "invalid_client"),
    ({"data": {"scope": "all-apis"}}, 400, "invalid_request"),
    ({"data": {"grant_type": "client_credentials"}}, 400, "invalid_request"),
    ({"data": {**FORM, "grant_type": "password"}}, 400, "unsupported_grant_type"),
    ({"data": {**FORM, "scope": "sql"}}, 400, "invalid_scope"),
    ({"data": None, "json": FORM}, 400, "invalid_request"),
    ({"data": None}, 400, "invalid_request"),
]


@pytest.mark.parametrize(("options", "status", "error"), BAD_GRANTS)
def test_the_token_endpoint_refuses(client: Client, options: dict[str, Any], status: int, error: str) -> None:
    answer = client.token(**options)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert client.workspace.tokens_issued == 0


def test_a_secret_may_hold_a_colon(client: Client) -> None:
    client.workspace.clients["client"] = "a:b"
    assert client.token("a:b").status_code == 200


def test_metrics_can_be_forbidden(client: Client) -> None:
    client.workspace.forbidden.add("churn")
    answers = [client.get(path) for path in (API, CHURN, f"{CHURN}/metrics")]
    assert [answer.status_code for answer in answers] == [200, 200, 403]
    assert answers[-1].json()["error_code"] == "PERMISSION_DENIED"


def test_endpoints_come_go_and_change_names(client: Client) -> None:
    workspace = client.workspace
    old = workspace.endpoint("churn")["id"]
    workspace.rename("churn", "retention")
    assert workspace.names() == ["retention", "hosted"]
    assert [client.get(f"{API}/{name}").status_code for name in ("churn", "retention")] == [404, 200]
    assert workspace.endpoint("retention")["id"] == old
    workspace.remove("retention")
    workspace.add("retention", creator="other@example.com")
    assert client.get(f"{API}/retention").json()["creator"] == "other@example.com"
    assert workspace.endpoint("retention")["id"] != old
    assert client.get(f"{API}/retention/metrics").status_code == 404
    workspace.set_export("retention", lambda: "up 1\n")
    assert client.get(f"{API}/retention/metrics").text == "up 1\n"


def test_an_export_may_take_a_lock_whose_owner_changes_the_workspace(client: Client) -> None:
    lock, asked, seen = threading.Lock(), threading.Event(), []

    def export() -> str:
        asked.set()
        with lock:
            return "up 1\n"

    client.workspace.set_export("churn", export)
    caller = threading.Thread(target=lambda: seen.append(client.get(f"{CHURN}/metrics").text))
    with lock:
        caller.start()
        assert asked.wait(TIMEOUT)
        client.workspace.add("meanwhile")
    caller.join(TIMEOUT)
    assert seen == ["up 1\n"]


def test_an_export_that_fails_is_told(client: Client) -> None:
    client.workspace.set_export("churn", lambda: str(1 // 0))
    for latency in (0.0, 0.01):
        client.workspace.latency = latency
        answer = client.get(f"{CHURN}/metrics")
        assert (answer.status_code, answer.json()["error_code"]) == (500, "INTERNAL_ERROR")
        assert "ZeroDivisionError" in answer.text
    assert client.workspace.connections_opened == 1


MISTAKES: list[tuple[Callable[[SimulatedWorkspace], Any], type[Exception], str]] = [
    (lambda workspace: workspace.add("churn"), ValueError, "there is an endpoint churn already"),
    (lambda workspace: workspace.rename("churn", "hosted"), ValueError, "there is an endpoint hosted already"),
    (lambda workspace: workspace.remove("nobody"), KeyError, "no endpoint nobody; there are: churn, hosted"),
    (lambda workspace: workspace.finish_update("churn"), ValueError, "not being updated"),
    (lambda workspace: workspace.set_deployment("churn", "x", "y"), KeyError, "no entity x; it has: churn-1"),
    (lambda workspace: workspace.add("new", traffic={"other": 100}), ValueError, "100 percent to some of new-1"),
    (lambda workspace: workspace.add("new", traffic={"new-1": 99}), ValueError, "100 percent"),
    (lambda workspace: workspace.add("new", entities=[{}, {}]), ValueError, "names of their own"),
    (lambda workspace: workspace.add("new", kind="other"), ValueError, "there are: custom, pay_per_token, tile"),
    (lambda workspace: workspace.start("churn"), ValueError, "stop it first"),
    (lambda workspace: [workspace.stop("churn") for _ in "ab"], ValueError, "serves nothing that could be stopped"),
    (lambda workspace: workspace.fault("melt"), ValueError, "there are: status, refusal"),
    (lambda workspace: workspace.fault("stall", minutes=1), ValueError, "minutes; its options: seconds"),
    (lambda _: minute_page("x", MINUTE, 1, idle=True), ValueError, "idle"),
    (lambda _: minute_page("x", MINUTE, 1, errors_4xx=2), ValueError, "more errors than requests"),
    (lambda _: minute_page("x", MINUTE + 1, 1), ValueError, "no minute starts at"),
]


@pytest.mark.parametrize(("mistake", "error", "message"), MISTAKES)
def test_a_mistake_is_told(
    client: Client, mistake: Callable[[SimulatedWorkspace], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        mistake(client.workspace)
    assert client.workspace.names() == ["churn", "hosted"]


def shape(detail: dict[str, Any]) -> dict[str, Any]:
    """What an update changes: of each configuration its version, deployments and traffic."""
    found: dict[str, Any] = {"state": (detail["state"]["ready"], detail["state"]["config_update"])}
    for key in ("config", "pending_config"):
        if key in detail:
            config = detail[key]
            states = {one["name"]: one["state"]["deployment"] for one in config["served_entities"]}
            routes = config["traffic_config"]["routes"]
            traffic = {route["served_entity_name"]: route["traffic_percentage"] for route in routes}
            found[key] = config["config_version"], states, traffic
    return found


TWO = [{"entity_name": "main.models.churn", "entity_version": version} for version in ("1", "2")]
CREATING, READY = "DEPLOYMENT_CREATING", "DEPLOYMENT_READY"
ONE_SERVES = (1, {"churn-1": READY}, {"churn-1": 100})
PENDING = (2, {"churn-1": READY, "churn-2": CREATING}, {"churn-1": 90, "churn-2": 10})
BOTH_SERVE = (2, {"churn-1": READY, "churn-2": READY}, {"churn-1": 90, "churn-2": 10})
FAILED = (2, {"churn-1": READY, "churn-2": "DEPLOYMENT_FAILED"}, {"churn-1": 90, "churn-2": 10})
ENDS: list[tuple[Callable[[SimulatedWorkspace], None], dict[str, Any]]] = [
    (
        lambda workspace: workspace.finish_update("churn"),
        {"state": ("READY", "NOT_UPDATING"), "config": BOTH_SERVE},
    ),
    (
        lambda workspace: workspace.fail_update("churn", keep_pending=False),
        {"state": ("READY", "UPDATE_FAILED"), "config": ONE_SERVES},
    ),
    (
        lambda workspace: workspace.fail_update("churn"),
        {"state": ("READY", "UPDATE_FAILED"), "config": ONE_SERVES, "pending_config": FAILED},
    ),
    (
        lambda workspace: workspace.cancel_update("churn"),
        {"state": ("READY", "UPDATE_CANCELED"), "config": ONE_SERVES},
    ),
]


@pytest.mark.parametrize(("end", "after"), ENDS, ids=["finished", "failed", "failed and still shown", "canceled"])
def test_an_update_lives_and_ends(
    client: Client, end: Callable[[SimulatedWorkspace], None], after: dict[str, Any]
) -> None:
    before = client.get(CHURN).json()
    assert shape(before) == {"state": ("READY", "NOT_UPDATING"), "config": ONE_SERVES}
    client.workspace.begin_update("churn", TWO, {"churn-1": 90, "churn-2": 10})
    during = client.get(CHURN).json()
    assert shape(during) == {
        "state": ("READY", "IN_PROGRESS"),
        "config": ONE_SERVES,
        "pending_config": PENDING,
    }
    assert during["last_updated_timestamp"] > before["last_updated_timestamp"]
    assert during["pending_config"]["start_time"] == during["last_updated_timestamp"]
    listed = client.get(API).json()["endpoints"][0]
    assert (listed["state"], "pending_config" in listed) == (during["state"], False)
    assert [one["name"] for one in listed["config"]["served_entities"]] == ["churn-1"]
    with pytest.raises(ValueError, match="is being updated already"):
        client.workspace.begin_update("churn", TWO)
    end(client.workspace)
    ended = client.get(CHURN).json()
    assert shape(ended) == after
    assert "start_time" not in ended["config"]
    assert ended["last_updated_timestamp"] == during["last_updated_timestamp"]


def test_a_new_version_under_an_old_name_is_deployed_anew(client: Client) -> None:
    workspace = client.workspace
    for version, change in (("1", {}), ("2", {}), ("2", {"workload_size": "Large"})):
        if version == "1":
            workspace.add("named", entities=[{"name": "current", "entity_version": "1"}])
            continue
        workspace.begin_update("named", [{"name": "current", "entity_version": version, **change}])
        pending = workspace.endpoint("named")["pending_config"]["served_entities"]
        assert [one["state"]["deployment"] for one in pending] == [CREATING]
        workspace.finish_update("named")
    workspace.begin_update("named", [{"name": "current", "entity_version": "2", "workload_size": "Large"}])
    pending = workspace.endpoint("named")["pending_config"]
    assert [one["state"]["deployment"] for one in pending["served_entities"]] == [READY]
    assert pending["config_version"] == 4


def test_an_endpoint_that_is_created_has_no_configuration_yet(client: Client) -> None:
    workspace = client.workspace
    workspace.add("new", creating=True)
    created = (1, {"new-1": CREATING}, {"new-1": 100})
    assert shape(client.get(f"{API}/new").json()) == {
        "state": ("NOT_READY", "IN_PROGRESS"),
        "pending_config": created,
    }
    assert "config" not in client.get(API).json()["endpoints"][-1]
    workspace.finish_update("new")
    assert shape(workspace.endpoint("new")) == {
        "state": ("READY", "NOT_UPDATING"),
        "config": (1, {"new-1": READY}, {"new-1": 100}),
    }


def test_readiness_and_deployment_can_be_set(client: Client) -> None:
    workspace = client.workspace
    workspace.set_ready("churn", False)
    assert shape(workspace.endpoint("churn"))["config"][1] == {"churn-1": "DEPLOYMENT_RECOVERING"}
    workspace.set_ready("churn", True)
    workspace.set_deployment("churn", "churn-1", "DEPLOYMENT_FAILED", "no such image")
    (entity,) = workspace.endpoint("churn")["config"]["served_entities"]
    assert entity["state"] == {"deployment": "DEPLOYMENT_FAILED", "deployment_state_message": "no such image"}


@pytest.mark.parametrize(("number", "shares"), [(1, [100]), (3, [34, 33, 33])])
def test_traffic_is_shared_in_whole_percents(client: Client, number: int, shares: list[int]) -> None:
    client.workspace.add("split", entities=[{"entity_version": str(version)} for version in range(number)])
    routes = client.workspace.endpoint("split")["config"]["traffic_config"]["routes"]
    assert [route["traffic_percentage"] for route in routes] == shares


def outcome(client: Client, timeout: Timeout = TIMEOUT, path: str = API) -> str:
    """What a caller sees: status, Retry-After and type, or the error."""
    try:
        answer = client.get(path, timeout=timeout)
    except requests.RequestException as error:
        return type(error).__name__
    return f"{answer.status_code} {answer.headers.get('Retry-After', '-')} {answer.headers['Content-Type']}"


FAULTS: list[tuple[str, dict[str, Any], str]] = [
    ("status", {}, "500 - application/json"),
    ("status", {"code": 503, "headers": {"Retry-After": "7"}}, "503 7 application/json"),
    ("rate_limit", {"retry_after": 600}, "429 600 application/json"),
    ("drop", {}, "ConnectionError"),
    ("cut", {}, "ChunkedEncodingError"),
    ("cut", {"share": 0}, "ChunkedEncodingError"),
    ("drip", {"interval": 0}, "200 - application/json"),
    ("html", {}, "200 - text/html; charset=utf-8"),
    ("html", {"code": 403}, "403 - text/html; charset=utf-8"),
    ("stall", {"seconds": 0.01}, "200 - application/json"),
]
FINE = "200 - application/json"


@pytest.mark.parametrize(("kind", "how", "seen"), FAULTS)
def test_a_fault_is_met_and_goes(client: Client, kind: str, how: dict[str, Any], seen: str) -> None:
    elsewhere = client.workspace.fault("drop", match="*/other*")
    fault = client.workspace.fault(kind, match=f"{API}*", **how)
    assert outcome(client) == seen
    if kind == "rate_limit":
        # It lasts for its time, however many requests come.
        assert outcome(client).startswith("429 ")
        client.workspace.clear_faults()
    hits = 2 if kind == "rate_limit" else 1
    assert outcome(client) == FINE
    assert (fault.hits, elsewhere.hits) == (hits, 0)
    answered = seen.partition(" ")[0]
    due = int(answered) if answered.isdecimal() else 200 if kind == "cut" else None
    assert [call.status for call in client.workspace.calls] == [due] * hits + [200]
    assert [call.fault for call in client.workspace.calls] == [fault] * hits + [None]


def test_faults_last_until_they_are_cleared_and_the_oldest_comes_first(client: Client) -> None:
    client.workspace.fault("status", times=None, code=502)
    client.workspace.fault("status", times=2, code=504)
    assert [outcome(client)[:3] for _ in range(3)] == ["502"] * 3
    client.workspace.clear_faults()
    assert outcome(client) == FINE


def test_a_rate_limit_ends_by_itself(client: Client) -> None:
    fault = client.workspace.fault("rate_limit", retry_after=0)
    assert outcome(client) == "429 1 application/json"
    assert outcome(client) == FINE
    assert fault.hits == 1


def test_a_dripped_answer_is_whole(client: Client) -> None:
    whole = client.get(f"{CHURN}/metrics").text
    client.workspace.fault("drip", interval=0)
    assert client.get(f"{CHURN}/metrics").text == whole


def test_a_stall_ends_when_it_is_cleared(client: Client) -> None:
    fault = client.workspace.fault("stall")
    seen: list[str] = []
    caller = threading.Thread(target=lambda: seen.append(outcome(client)))
    caller.start()
    wait_until(lambda: fault.hits == 1)
    assert seen == []
    client.workspace.clear_faults()
    caller.join(TIMEOUT)
    assert seen == [FINE]


def test_a_caller_who_gives_up_is_let_go(client: Client) -> None:
    client.workspace.fault("stall", match=API)
    assert outcome(client, timeout=(TIMEOUT, 0.05)) == "ReadTimeout"
    wait_until(lambda: client.workspace.open_connections == 0)
    assert [call.status for call in client.workspace.calls] == [None]
    assert outcome(client) == FINE


def test_a_connection_is_kept_and_may_be_closed_by_the_server(client: Client) -> None:
    for _ in range(5):
        assert outcome(client) == FINE
    assert client.token().status_code == 200
    assert (client.workspace.connections_opened, client.workspace.open_connections) == (1, 1)
    client.served.disconnect()
    assert outcome(client) == FINE
    assert client.workspace.connections_opened == 2
    assert [call.connection for call in client.workspace.calls] == [1] * 6 + [2]


def test_a_connection_closes_on_request(client: Client) -> None:
    answer = client.get(API, {**BEARER, "Connection": "close"})
    assert (answer.status_code, answer.headers["Connection"]) == (200, "close")
    wait_until(lambda: client.workspace.open_connections == 0)


def test_requests_are_answered_at_the_same_time(client: Client) -> None:
    fault = client.workspace.fault("stall", times=8)
    callers = [threading.Thread(target=outcome, args=(client,)) for _ in range(8)]
    for caller in callers:
        caller.start()
    wait_until(lambda: fault.hits == 8)
    # Eight that wait keep nobody else waiting.
    assert outcome(client) == FINE
    client.workspace.clear_faults()
    for caller in callers:
        caller.join(TIMEOUT)
    assert client.workspace.concurrent_peak == 9
    assert [call.status for call in client.workspace.calls] == [200] * 9


def test_latency_comes_before_every_answer(client: Client) -> None:
    client.workspace.latency = 0.01
    assert outcome(client) == FINE
    assert client.token().status_code == 200
    assert [call.latency for call in client.workspace.calls] == [0.01, 0.01]


RAW = [
    (b"GET / HTTP/1.0\r\n\r\n", [b"HTTP/1.1 401 Unauthorized"]),
    (b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.0\r\n\r\n", [b"HTTP/1.1 401 Unauthorized"] * 2),
    (b"nonsense\r\n\r\n", [b"HTTP/1.1 400 Bad Request"]),
    (b"GET / HTTP/2.0\r\n\r\n", [b"HTTP/1.1 400 Bad Request"]),
    (b"GET / HTTP/1.1\r\nbroken\r\n\r\n", [b"HTTP/1.1 400 Bad Request"]),
    (b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", [b"HTTP/1.1 400 Bad Request"]),
    (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", [b"HTTP/1.1 400 Bad Request"]),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", [b"HTTP/1.1 411 Length Required"]),
    (b"GET /" + b"x" * 70_000, [b"HTTP/1.1 431 Request Header Fields Too Large"]),
]


@pytest.mark.parametrize(("sent", "statuses"), RAW)
def test_what_is_no_request_is_refused(client: Client, sent: bytes, statuses: list[bytes]) -> None:
    with raw(client.served) as connection:
        connection.sendall(sent)
        received = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert re.findall(rb"HTTP/1\.1 \d{3} [A-Za-z ]+", received) == statuses


def test_a_request_may_come_in_pieces(client: Client) -> None:
    basic = base64.b64encode(b"client:secret")
    form = b"grant_type=client_credentials&scope=all-apis"
    head = b"POST /oidc/v1/token HTTP/1.0\r\nAuthorization: Basic " + basic
    head += b"\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: %d\r\n\r\n" % len(form)
    with raw(client.served) as connection:
        for part in (head[:30], head[30:] + form[:5], form[5:]):
            connection.sendall(part)
        received = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")


def raw(served: Served) -> ssl.SSLSocket:
    """A TLS connection that whoever uses it speaks on."""
    context = ssl.create_default_context(cafile=served.ca)
    port = urlsplit(served.url).port
    plain = socket.create_connection(("127.0.0.1", port or 0), timeout=TIMEOUT)
    return context.wrap_socket(plain, server_hostname="localhost")


def test_a_stranger_to_the_ca_is_not_served(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with serve_workspace(SimulatedWorkspace()) as other, session_with(other) as session, caplog.at_level(logging.INFO):
        with pytest.raises(requests.exceptions.SSLError):
            session.get(client.served.url + API, headers=BEARER, timeout=TIMEOUT)
        assert outcome(client) == FINE
    assert client.workspace.connections_opened == 1
    assert [record.message for record in caplog.records if record.name.startswith("asyncio")] == []


def test_a_client_that_says_nothing_keeps_nobody_waiting(client: Client) -> None:
    port = urlsplit(client.served.url).port
    with socket.create_connection(("127.0.0.1", port or 0)):
        assert outcome(client) == FINE


def test_the_end_interrupts_everything_and_leaves_nothing(caplog: pytest.LogCaptureFixture) -> None:
    threads, descriptors = set(threading.enumerate()), open_sockets()
    workspace = SimulatedWorkspace()
    workspace.personal_tokens.add("pat")
    seen: list[str] = []
    with caplog.at_level(logging.INFO), serve_workspace(workspace) as served:
        assert [thread.name for thread in set(threading.enumerate()) - threads] == ["demo-workspace"]
        client = Client(workspace, served, session_with(served))
        assert outcome(client) == FINE
        fault = workspace.fault("stall", times=3)
        drip = workspace.fault("drip", match=CHURN, interval=3600)
        callers = [threading.Thread(target=lambda: seen.append(outcome(client))) for _ in range(3)]
        callers.append(threading.Thread(target=lambda: seen.append(outcome(client, path=CHURN))))
        for caller in callers[:3]:
            caller.start()
        wait_until(lambda: fault.hits == 3)
        callers[3].start()
        wait_until(lambda: drip.hits == 1)
        silent = socket.create_connection(("127.0.0.1", urlsplit(served.url).port or 0))
        idle = raw(served)
        wait_until(lambda: workspace.open_connections == 5)
    for caller in callers:
        caller.join(TIMEOUT)
    assert seen == ["ConnectionError"] * 4
    assert idle.recv(1) == b""
    for connection in (silent, idle, client.session):
        connection.close()
    assert workspace.open_connections == 0
    assert set(threading.enumerate()) <= threads
    assert open_sockets() <= descriptors
    assert not Path(served.ca).parent.exists()
    assert [record.message for record in caplog.records if record.name.startswith("asyncio")] == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", urlsplit(served.url).port or 0), timeout=TIMEOUT)


def open_sockets() -> int:
    """How many sockets and event loops are open, counted by what the collector knows of."""
    gc.collect()
    kinds = (socket.socket, asyncio.AbstractEventLoop)
    found = [each for each in gc.get_objects() if isinstance(each, kinds)]
    return sum(not each.is_closed() if isinstance(each, kinds[1]) else each.fileno() >= 0 for each in found)


PAGES: list[tuple[dict[str, Any], dict[str, float]]] = [
    ({"requests": 0, "idle": True}, {"request_count_total": 0, "request_latency_ms_count": 0}),
    ({"requests": 0}, {"request_count_total": 0, "model_queue_time_ms_count": 0}),
    (
        {"requests": 5, "errors_4xx": 1, "errors_5xx": 2, "latencies_ms": (4, 700)},
        {
            "request_count_total": 5,
            "request_4xx_count_total": 1,
            "request_5xx_count_total": 2,
            "request_latency_ms_count": 5,
            "request_latency_ms_sum": 3 * 4 + 2 * 700,
            "model_queue_time_ms_count": 5,
        },
    ),
]


@pytest.mark.parametrize(("minute", "values"), PAGES)
def test_a_minutes_page_holds_what_it_is_told(minute: dict[str, Any], values: dict[str, float]) -> None:
    families = parse(minute_page("churn", MINUTE, **minute))
    assert {name: total(families, name, endpoint_name="churn") for name in values} == values
    assert {found.timestamp for family in families.values() for found in family.samples} == {MINUTE / 1000}
    assert ("cpu_usage_percentage" in families) is not minute.get("idle", False)


def test_the_command_serves_until_its_input_ends() -> None:
    command = [sys.executable, "-m", "datadog_checks.model_serving.workstation.demo.synthetic", "--endpoints", "3"]
    command += ["--minute-seconds", "0.001"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        client = Client(SimulatedWorkspace(), Served(told["url"], told["ca"], lambda: None), requests.Session())
        client.session.trust_env, client.session.verify = False, told["ca"]
        bearer = {"Authorization": f"Bearer {told['token']}"}
        with client.session:
            granted = client.token(auth=(told["client_id"], told["client_secret"]))
            listed = client.get(API, {"Authorization": f"Bearer {granted.json()['access_token']}"}).json()
            path = f"{API}/{listed['endpoints'][2]['name']}/metrics"
            pages = [parse(client.get(path, bearer).text)["request_count_total"].samples[0] for _ in "ab"]
        process.stdin.write("stats\n")
        process.stdin.flush()
        stats = json.loads(process.stdout.readline())
        rest, _ = process.communicate(timeout=300)
    assert (len(listed["endpoints"]), process.returncode, rest) == (3, 0, "")
    assert float(pages[0].timestamp or 0) < float(pages[1].timestamp or 0)
    assert {name: stats[name] for name in ("connections_opened", "calls")} == {"connections_opened": 1, "calls": 4}
    assert not Path(told["ca"]).exists()


def test_what_is_cleared_before_it_waits_does_not_wait() -> None:
    """A request meets a fault, is counted, and then waits; a test may clear all faults in between."""
    faults = Faults()
    faults.add("stall", "*", 1, {})
    met = faults.take("/")
    faults.clear()
    assert met is not None
    asyncio.run(asyncio.wait_for(met.stall(), 30))
