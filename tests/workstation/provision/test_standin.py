"""The stand-in of the Datadog API, driven by the client that provisioning uses, and by bare requests where the client
would not send what must be refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import urllib3
from datadog_api_client import ApiClient, Configuration
from datadog_api_client.exceptions import ApiException, ForbiddenException, NotFoundException
from datadog_api_client.v1.api.authentication_api import AuthenticationApi
from datadog_api_client.v1.api.dashboards_api import DashboardsApi
from datadog_api_client.v1.api.metrics_api import MetricsApi as QueriesApi
from datadog_api_client.v1.api.monitors_api import MonitorsApi
from datadog_api_client.v1.api.service_level_objectives_api import ServiceLevelObjectivesApi
from datadog_api_client.v2.api.downtimes_api import DowntimesApi
from datadog_api_client.v2.api.key_management_api import KeyManagementApi
from datadog_api_client.v2.api.metrics_api import MetricsApi
from datadog_api_client.v2.api.monitors_api import MonitorsApi as NotificationsApi
from datadog_api_client.v2.api.roles_api import RolesApi
from datadog_api_client.v2.api.users_api import UsersApi

from .standin import Call, Fault, Limit, Standin, routes

QUERY = "avg(last_5m):avg:model_serving.request.queue.size{*} by {endpoint_name} > 50"
COUNTED = "model_serving.request.count"
COUNT = "sum:model_serving.request.count{*}.as_count()"
MONITOR: dict[str, Any] = {
    "name": "Queue",
    "type": "query alert",
    "query": QUERY,
    "message": "Look. @slack-ml",
    "tags": ["managed_by:model-serving", "model_serving_key:queue"],
    "options": {"thresholds": {"critical": 50}},
}
CHECK = '"model_serving.openmetrics.health".over("*").by("endpoint").last(3).count_by_status()'
BOARD: dict[str, Any] = {
    "title": "Model serving",
    "layout_type": "ordered",
    "description": "Golden signals",
    "widgets": [
        {
            "definition": {
                "type": "group",
                "layout_type": "ordered",
                "widgets": [
                    {"definition": {"type": "timeseries", "requests": [{"q": "avg:model_serving.gpu.utilization{*}"}]}}
                ],
            }
        }
    ],
}
SLO = {
    "name": "Availability",
    "type": "metric",
    "thresholds": [{"timeframe": "30d", "target": 99, "warning": 99.5}],
    "query": {"numerator": COUNT, "denominator": COUNT},
    "tags": ["b:2", "a:1"],
}
SLICE: dict[str, Any] = {
    "time_slice": {
        "comparator": "<",
        "threshold": 2,
        "query": {
            "formulas": [{"formula": "q"}],
            "queries": [{"data_source": "metrics", "name": "q", "query": "p99:model_serving.request.latency{*}"}],
        },
    }
}
TIMED: dict[str, Any] = {"type": "time_slice", "query": None}
COUNTS = {
    "count": {
        "good_events_formula": {"formula": "all - bad"},
        "total_events_formula": {"formula": "all"},
        "queries": [
            {"data_source": "metrics", "name": "all", "query": COUNT},
            {"data_source": "metrics", "name": "bad", "query": COUNT},
        ],
    }
}
LATENCY = "model_serving.request.latency"
RULE = {"name": "Platform", "filter": {"tags": ["team:ml"]}, "recipients": ["slack-ml"]}
DOWNTIME: dict[str, Any] = {
    "scope": "env:(staging OR prod) AND -datacenter:us-east-1",
    "monitor_identifier": {"monitor_tags": ["team:ml", "service:x"]},
    "display_timezone": "Europe/Berlin",
    "schedule": {
        "timezone": "Europe/Berlin",
        "recurrences": [{"start": "2126-01-05T22:00:00", "duration": "8h", "rrule": "FREQ=DAILY"}],
    },
}


def downtime(identity: str | None = None, **own: Any) -> dict[str, Any]:
    """In the envelope of the API."""
    return {"data": {"type": "downtime", **({"id": identity} if identity else {}), "attributes": own}}


def slice_of(**change: Any) -> dict[str, Any]:
    """The time-slice specification with other formulas or queries."""
    condition = SLICE["time_slice"]
    return {"time_slice": {**condition, "query": {**condition["query"], **change}}}


@pytest.fixture
def dd() -> Iterator[Standin]:
    with Standin() as standin:
        yield standin


@pytest.fixture
def client(dd: Standin) -> Iterator[ApiClient]:
    with connect(dd) as client:
        yield client


def connect(dd: Standin, api_key: str | None = None, app_key: str | None = None) -> ApiClient:
    """The client as provisioning sets it up. Retries are off, so that each call is one call."""
    configuration = Configuration(host=dd.url)  # type: ignore[no-untyped-call]
    configuration.api_key = {"apiKeyAuth": api_key or dd.api_key, "appKeyAuth": app_key or dd.app_key}
    configuration.retry_policy = urllib3.Retry(0)
    configuration.request_timeout = 10
    return ApiClient(configuration)


def use(api: Any, client: ApiClient) -> Any:
    """One of the client's interfaces. It takes mappings for bodies, which its types don't say."""
    return api(client)


def send(dd: Standin, method: str, path: str, body: Any = None, **options: Any) -> requests.Response:
    """A bare request with the right keys."""
    headers = {"DD-API-KEY": dd.api_key, "DD-APPLICATION-KEY": dd.app_key}
    return requests.request(method, dd.url + path, json=body, headers=headers, timeout=60, **options)


def rule(**attributes: Any) -> dict[str, Any]:
    return {"data": {"type": "monitor-notification-rule", "attributes": attributes}}


def configuration(**attributes: Any) -> dict[str, Any]:
    return {"data": {"type": "manage_tags", "id": LATENCY, "attributes": attributes}}


def test_every_operation_answers_what_the_client_reads(dd: Standin, client: ApiClient) -> None:
    """Each operation is called once through the client, and its answer fits the client's model to the last field."""
    dd.state.see(LATENCY, "distribution", ["env:prod", "model_name:m"])
    answers: list[Any] = [use(AuthenticationApi, client).validate()]

    monitors = use(MonitorsApi, client)
    answers.append(monitors.validate_monitor(MONITOR))
    created = monitors.create_monitor(MONITOR)
    answers += [
        created,
        monitors.get_monitor(created.id),
        monitors.update_monitor(created.id, {"name": "Queue size"}),
        monitors.validate_existing_monitor(created.id, MONITOR),
        *monitors.list_monitors(),
        monitors.search_monitors(query='tag:"model_serving_key:queue"'),
        monitors.check_can_delete_monitor(monitor_ids=[created.id]),
        monitors.delete_monitor(created.id),
    ]

    boards = use(DashboardsApi, client)
    board = boards.create_dashboard(BOARD)
    answers += [
        board,
        boards.get_dashboard(board.id),
        boards.update_dashboard(board.id, BOARD),
        boards.list_dashboards(),
        boards.delete_dashboard(board.id),
    ]

    slos = use(ServiceLevelObjectivesApi, client)
    slo = slos.create_slo(SLO)
    identity = slo.data[0].id
    answers += [
        slo,
        slos.get_slo(identity),
        slos.update_slo(identity, SLO),
        slos.list_slos(tags_query="a:1"),
        slos.check_can_delete_slo(ids=identity),
        slos.delete_slo(identity),
    ]

    metrics = use(MetricsApi, client)
    answers += [
        metrics.create_tag_configuration(LATENCY, configuration(tags=["env"], metric_type="distribution")),
        metrics.list_tag_configuration_by_name(LATENCY),
        metrics.update_tag_configuration(LATENCY, configuration(include_percentiles=True)),
        metrics.list_tags_by_metric_name(LATENCY),
    ]
    metrics.delete_tag_configuration(LATENCY)
    dd.state.receive(COUNTED, "count", 3600.0, 1.0, ["env:prod"])
    answers.append(use(QueriesApi, client).query_metrics(3600, 7200, f"sum:{COUNTED}{{*}} by {{env}}.as_count()"))

    rules = use(NotificationsApi, client)
    kept = rules.create_monitor_notification_rule(rule(**RULE))
    changed = {"data": {**rule(**RULE)["data"], "id": kept.data.id}}
    answers += [
        kept,
        rules.get_monitor_notification_rule(kept.data.id),
        rules.update_monitor_notification_rule(kept.data.id, changed),
        rules.get_monitor_notification_rules(),
    ]
    rules.delete_monitor_notification_rule(kept.data.id)

    downtimes = use(DowntimesApi, client)
    planned = downtimes.create_downtime(downtime(**DOWNTIME))
    answers += [
        planned,
        downtimes.create_downtime(downtime(scope="*", monitor_identifier={"monitor_id": 7}, schedule={"start": None})),
        downtimes.get_downtime(planned.data.id),
        downtimes.update_downtime(planned.data.id, downtime(planned.data.id, message="light speed")),
        downtimes.list_downtimes(),
    ]
    downtimes.cancel_downtime(planned.data.id)

    user = use(UsersApi, client).get_current_user()
    answers += [
        user,
        use(UsersApi, client).list_user_permissions(user.data.id),
        use(RolesApi, client).list_permissions(),
        use(KeyManagementApi, client).list_current_user_application_keys(),
    ]

    assert {call.operation for call in dd.calls} == {one.name for one in routes.OPERATIONS}
    assert [call for call in dd.calls if call.status not in (200, 201, 204)] == []
    assert [answer for answer in answers if getattr(answer, "_unparsed", False)] == []
    assert [dd.state.monitors, dd.state.dashboards, dd.state.slos, dd.state.rules] == [{}, {}, {}, {}]
    assert dd.state.metrics[LATENCY].configuration is None


MONITOR_REFUSALS = [
    ({"query": None}, "body.query must not be null"),
    ({"type": "nope"}, "'nope' is not one of"),
    ({"colour": "red"}, "body.colour is not a field of Monitor"),
    ({"options": {"thresholds": {"critical": "50"}}}, "Required value type is float"),
    ({"options": {"colour": "red"}}, "body.options.colour is not a field of MonitorOptions"),
    ({"query": "query"}, "The value provided for parameter 'query' is invalid: invalid operator specified: "),
    ({"query": "avg(last_5m):avg:x{*} > .5"}, "'.5' is not a number"),
    ({"query": "avg(last_5m):avg:x{*} * .5 > 50"}, "leading zero"),
    ({"query": "avg(last_0m):avg:x{*} > 50"}, "'last_0m' is not a window"),
    ({"query": "avg(last_5y):avg:x{*} > 50"}, "'last_5y' is not a window"),
    ({"query": "avg(last_2mo):avg:x{*} > 50"}, "'last_2mo' is not a window"),
    ({"query": "avg(next_1d):avg:x{*} > 50"}, "forecast()"),
    ({"query": "median(last_5m):avg:x{*} > 50"}, "time aggregation"),
    ({"query": "avg(last_5m):avg:x{*} by {} > 50"}, "empty group"),
    ({"query": "avg(last_5m):avg:x{} > 50"}, "empty scope"),
    ({"query": "avg(last_5m):avg:x{a:b,c:d OR e:f} > 50"}, "do not mix"),
    ({"query": "avg(last_5m):avg:x{*} + > 50"}, "unable to parse"),
    ({"query": "avg(last_5m):halve(avg:x{*}) > 50"}, "unknown function"),
    (
        {
            "query": 'formula("a / c").last("5m") > 50',
            "options": {"variables": [{"data_source": "metrics", "name": "a", "query": "avg:x{*}"}]},
        },
        "unknown name 'c'",
    ),
    (
        {"options": {"thresholds": {"critical": 90}}},
        "Alert threshold (90.0) does not match that used in the query (50.0).",
    ),
    ({"options": {"thresholds": {"warning": 40}}}, "Alert status is required."),
    ({"options": {"thresholds": {"critical": 50, "warning": 60}}}, "Warning threshold (60.0)"),
    (
        {"options": {"thresholds": {"critical": 50, "critical_recovery": 51}}},
        "alert and alert recovery criteria are such that the monitor can be simultaneously in alert and alert recovery",
    ),
    ({"options": {"thresholds": {"critical": 50, "warning": 40, "warning_recovery": 45}}}, "warning recovery"),
    ({"options": {"notify_by": ["host"]}}, "'notify_by' is invalid: host"),
    ({"options": {"evaluation_delay": 86401}}, "'evaluation_delay' is invalid"),
    ({"options": {"notify_no_data": True, "on_missing_data": "resolve"}}, "cannot be used together"),
    ({"options": {"threshold_windows": {"trigger_window": "last_5m", "recovery_window": "last_5m"}}}, "anomaly"),
    (
        {
            "query": "avg(last_1h):anomalies(avg:x{*}, 'basic', 2, alert_window='last_15m', interval=60) >= 1",
            "options": {"threshold_windows": {"trigger_window": "last_5m"}},
        },
        "trigger_window",
    ),
    ({"priority": 6}, "'priority' is invalid"),
    (
        {"type": "service check", "query": CHECK, "options": {"thresholds": {"critical": 4}}},
        "Last field should be larger than or equal to max threshold defined in monitor options",
    ),
    (
        {"type": "service check", "query": CHECK, "options": {"thresholds": {"critical_recovery": 1}}},
        "not a field of MonitorThresholds|Invalid threshold statuses found: critical_recovery.",
    ),
    ({"type": "service check", "query": CHECK.replace("last(3)", "last(101)")}, "1 to 100"),
    ({"type": "service check", "query": CHECK.replace('.by("endpoint")', "")}, "not a service check query"),
    ({"type": "composite", "query": "1 && 2", "options": {}}, "monitor 1 cannot be part"),
    ({"type": "composite", "query": "1 &&", "options": {}}, "unable to parse the composite"),
    ({"type": "composite", "query": " || ".join("123456789AB"[:11]), "options": {}}, "unexpected|1 to 10"),
    (
        {
            "type": "slo alert",
            "query": 'burn_rate("none").over("30d").long_window("1h").short_window("5m") > 14.4',
            "options": {},
        },
        "SLO none has no target over 30d",
    ),
    (
        {
            "type": "slo alert",
            "query": 'burn_rate("none").over("30d").long_window("72h").short_window("5m") > 14.4',
            "options": {},
        },
        "the long window is 1h to 48h",
    ),
]


@pytest.mark.parametrize(("change", "words"), MONITOR_REFUSALS)
@pytest.mark.parametrize("path", ["/api/v1/monitor", "/api/v1/monitor/validate"])
def test_refuses_monitors_with_the_words_of_the_api(dd: Standin, path: str, change: dict[str, Any], words: str) -> None:
    answer = send(dd, "POST", path, {**MONITOR, **change})
    assert answer.status_code == 400
    assert any(word in answer.json()["errors"][0] for word in words.split("|"))
    assert not dd.state.monitors


MONITOR_QUERIES = [
    ("query alert", "sum(last_5m):sum:a.b{env:prod} by {m}.as_count() / sum:t{env:prod} by {m}.as_count() > 0.01", {}),
    ("query alert", "percentile(last_5m):p99:a{* AND b IN (c,d)} by {m,n} > 2", {}),
    ("query alert", "pct_change(avg(last_5m),last_1d):avg:a{!b:c*,d:e} > 5", {}),
    ("query alert", "change(avg(last_5m),1d_ago):avg:a{*} > 5", {}),
    ("query alert", "max(next_1d):forecast(avg:a{*} by {m}, 'linear', 1) >= 4", {}),
    ("query alert", "avg(last_4h):avg:a{*} - week_before(avg:a{*}) > -5.5", {}),
    (
        "query alert",
        "avg(last_4h):anomalies(avg:a{*}.rollup(avg, 60), 'agile', 3, direction='both', interval=60, "
        "alert_window='last_15m', seasonality='weekly') >= 1",
        {"threshold_windows": {"trigger_window": "last_15m", "recovery_window": "last_15m"}},
    ),
    (
        "query alert",
        'formula("a / b * 100").last("15m") >= 0.8',
        {
            "variables": [
                {"data_source": "metrics", "name": name, "query": "avg:x{*} by {m}", "aggregator": "avg"}
                for name in "ab"
            ]
        },
    ),
    ("service check", CHECK, {"thresholds": {"ok": 1, "warning": 2, "critical": 3}}),
    ("log alert", 'logs("service:foo").index("main").rollup("count").by("source").last("5m") > 2', {}),
]


@pytest.mark.parametrize(("kind", "query", "options"), MONITOR_QUERIES)
def test_takes_every_documented_form_of_query(dd: Standin, kind: str, query: str, options: dict[str, Any]) -> None:
    answer = send(dd, "POST", "/api/v1/monitor", {"name": "n", "type": kind, "query": query, "options": options})
    assert (answer.status_code, answer.json().get("errors")) == (200, None)


def test_burn_rates_and_composites_look_at_what_exists(dd: Standin) -> None:
    slo = send(dd, "POST", "/api/v1/slo", {**SLO, "thresholds": [{"timeframe": "30d", "target": 90}]}).json()["data"][0]
    query = f'burn_rate("{slo["id"]}").over("30d").long_window("1h").short_window("5m") > %s'
    refused = send(dd, "POST", "/api/v1/monitor", {"name": "b", "type": "slo alert", "query": query % 14.4})
    assert refused.json()["errors"] == [
        "Alert threshold (14.4) must be in range 0 to 10.0 for burn rate alerts (max threshold = 1/1-slo target)."
    ]
    taken = send(dd, "POST", "/api/v1/monitor", {"name": "b", "type": "slo alert", "query": query % 9}).json()
    other = send(dd, "POST", "/api/v1/monitor", MONITOR).json()
    parts = f"{taken['id']} && !{other['id']}"
    both = send(dd, "POST", "/api/v1/monitor", {"name": "c", "type": "composite", "query": parts}).json()
    assert send(dd, "DELETE", f"/api/v1/monitor/{other['id']}").status_code == 400
    refusal = send(dd, "GET", f"/api/v1/monitor/can_delete?monitor_ids={other['id']},{both['id']}")
    assert refusal.status_code == 409
    assert refusal.json()["data"]["ok"] == [both["id"]]
    assert send(dd, "DELETE", f"/api/v1/monitor/{other['id']}?force=true").status_code == 200


def test_normalises_monitors_as_the_server_does(dd: Standin) -> None:
    given = {**MONITOR, "message": "  Look. \n", "query": f" {QUERY} ", "type": "metric alert"}
    given["options"] = {"thresholds": {"critical": 50, "warning": None}, "on_missing_data": "default"}
    kept = send(dd, "POST", "/api/v1/monitor", given).json()
    assert kept["message"] == "Look."
    assert kept["query"] == QUERY
    assert kept["type"] == "query alert"
    assert kept["options"] == {
        "thresholds": {"critical": 50.0},
        "notify_audit": False,
        "include_tags": True,
        "notify_no_data": False,
        "new_host_delay": 300,
        "silenced": {},
    }
    assert {"restriction_policy", "draft_status", "assets", "overall_state", "creator", "multi"} <= set(kept)


@pytest.mark.parametrize(
    ("sent", "query", "kept"),
    [
        ("metric alert", "avg(last_5m):avg:a{*} by {m} > 1", "query alert"),
        ("query alert", "avg(last_5m):avg:a{b:c} > 1", "metric alert"),
    ],
)
def test_metric_and_query_alerts_take_each_others_place(dd: Standin, sent: str, query: str, kept: str) -> None:
    answer = send(dd, "POST", "/api/v1/monitor", {"type": sent, "query": query})
    assert answer.json()["type"] == kept
    assert answer.json()["name"] == f"`{query}`"
    assert answer.json()["options"]["thresholds"] == {"critical": 1.0}


def test_a_put_keeps_the_fields_that_it_does_not_send_and_replaces_options(dd: Standin) -> None:
    monitor = send(
        dd, "POST", "/api/v1/monitor", {**MONITOR, "priority": 2, "options": {"renotify_interval": 5}}
    ).json()
    path = f"/api/v1/monitor/{monitor['id']}"
    renamed = send(dd, "PUT", path, {"name": "New", "type": "metric alert"}).json()
    assert (renamed["name"], renamed["priority"], renamed["query"]) == ("New", 2, QUERY)
    assert renamed["options"]["renotify_interval"] == 5
    assert dd.state.query_edits[monitor["id"]] == 0
    query = QUERY.replace("50", "60")
    changed = send(dd, "PUT", path, {"query": query, "options": {"thresholds": {"critical": 60}}}).json()
    assert "renotify_interval" not in changed["options"]
    assert dd.state.query_edits[monitor["id"]] == 1
    mismatch = send(dd, "PUT", path, {"query": QUERY})
    assert "Alert threshold (60.0)" in mismatch.json()["errors"][0]
    refused = send(dd, "PUT", path, {"type": "service check", "query": CHECK})
    assert "Monitor type change not allowed" in refused.json()["errors"][0]
    assert send(dd, "POST", f"{path}/validate", {**MONITOR, "type": "composite"}).status_code == 400


def test_an_identical_monitor_is_a_duplicate_until_too_many_were_tried(dd: Standin) -> None:
    first = send(dd, "POST", "/api/v1/monitor", MONITOR).json()
    for _ in range(5):
        again = send(dd, "POST", "/api/v1/monitor", {**MONITOR, "type": "metric alert"})
        assert again.status_code == 400
        assert again.json()["errors"] == [f"Duplicate of an existing monitor_id:{first['id']} org_id:{first['org_id']}"]
    refused = send(dd, "POST", "/api/v1/monitor", MONITOR)
    assert refused.status_code == 429
    assert refused.json()["errors"][0].startswith("Can not create duplicate monitors: Rate limit of 5 requests in 600")
    assert send(dd, "POST", "/api/v1/monitor", {**MONITOR, "tags": ["other:tag"]}).status_code == 200
    dd.policy.duplicates_ignore_tags = True
    assert send(dd, "POST", "/api/v1/monitor", {**MONITOR, "tags": ["third:tag"]}).status_code == 429


def test_policies_demand_tags_and_recipients(dd: Standin) -> None:
    dd.policy.required_tags = {"team"}
    refused = send(dd, "POST", "/api/v1/monitor", MONITOR)
    assert refused.json()["errors"] == ["Missing required tag key(s): team"]
    dd.policy.recipients = {"slack-other"}
    refused = send(dd, "POST", "/api/v1/monitor", {**MONITOR, "tags": ["team:ml"]})
    assert refused.json()["errors"] == ["Invalid recipients: slack-ml not found"]
    message = "{{value}} @slack-other and @someone@example.com, not.a@mention"
    taken = send(dd, "POST", "/api/v1/monitor", {**MONITOR, "tags": ["team:ml"], "message": message})
    assert taken.status_code == 200
    refused = send(dd, "POST", "/api/v2/monitor/notification_rule", rule(**RULE))
    assert refused.json()["errors"] == ["Invalid recipients: slack-ml not found"]


def test_pages_thousands_of_monitors(dd: Standin, client: ApiClient) -> None:
    dd.state.add_foreign_monitors(2500)
    own = send(dd, "POST", "/api/v1/monitor", MONITOR).json()["id"]
    monitors = use(MonitorsApi, client)
    assert [one.id for one in monitors.list_monitors(monitor_tags="managed_by:model-serving")] == [own]
    assert monitors.list_monitors(monitor_tags="managed_by:model-serving,team:none") == []
    assert len(send(dd, "GET", "/api/v1/monitor").json()) == 2501
    assert len(send(dd, "GET", "/api/v1/monitor?page_size=10").json()) == 2501
    assert len(send(dd, "GET", "/api/v1/monitor?page=0").json()) == 100
    assert send(dd, "GET", "/api/v1/monitor?page=0&page_size=1001").status_code == 400
    dd.policy.short_pages = True
    assert len(send(dd, "GET", f"/api/v1/monitor?page_size=1000&id_offset={own - 10}").json()) == 5
    seen: list[int] = []
    while page := send(dd, "GET", f"/api/v1/monitor?page_size=1000&id_offset={seen[-1] if seen else 0}").json():
        seen += [one["id"] for one in page]
    assert seen == sorted(dd.state.monitors)
    found = send(dd, "GET", '/api/v1/monitor/search?per_page=7&query=tag:"team:team-1"').json()
    assert (len(found["monitors"]), found["metadata"]["total_count"]) == (7, 63)


BOARD_REFUSALS = [
    ({"layout_type": "spiral"}, "'spiral' is not one of"),
    ({"colour": 1}, "not a field of Dashboard"),
    ({"widgets": [{"definition": {"type": "timeseries", "requests": "x"}}]}, "fits no model"),
    ({"tags": ["managed_by:model-serving"]}, "Invalid tag format. Tag key must be `team`."),
    ({"tags": [f"team:{number}" for number in range(6)]}, "less than or equal to `5`"),
    ({"template_variables": [{"name": "a", "default": "x", "defaults": ["x"]}]}, "'template_variables' is invalid"),
    ({"template_variables": [{"name": "a"}, {"name": "a"}]}, "'template_variables' is invalid"),
    ({"layout_type": "free"}, "every widget needs a layout"),
    ({"reflow_type": "fixed"}, "every widget needs a layout"),
    ({"layout_type": "free", "reflow_type": "auto"}, "only for the layout type 'ordered'"),
    ({"widgets": [{"definition": BOARD["widgets"][0]["definition"] | {"widgets": BOARD["widgets"]}}]}, "a group"),
]


@pytest.mark.parametrize(("change", "words"), BOARD_REFUSALS)
def test_refuses_dashboards(dd: Standin, change: dict[str, Any], words: str) -> None:
    answer = send(dd, "POST", "/api/v1/dashboard", {**BOARD, **change})
    assert answer.status_code == 400
    assert words in answer.json()["errors"][0]
    assert not dd.state.dashboards


def test_dashboards_are_replaced_as_a_whole_and_listed_in_pages_without_widgets(dd: Standin) -> None:
    board = send(dd, "POST", "/api/v1/dashboard", {**BOARD, "tags": ["team:ml"]}).json()
    assert board["widgets"][0]["definition"]["widgets"][0]["id"] > 0
    replaced = send(dd, "PUT", f"/api/v1/dashboard/{board['id']}", {**BOARD, "description": None}).json()
    assert (replaced["id"], replaced["description"], "tags" in replaced) == (board["id"], None, False)
    for number in range(100):
        send(dd, "POST", "/api/v1/dashboard", {"title": f"B{number}", "layout_type": "ordered", "widgets": []})
    first = send(dd, "GET", "/api/v1/dashboard").json()["dashboards"]
    rest = send(dd, "GET", "/api/v1/dashboard?start=100").json()["dashboards"]
    assert (len(first), len(rest)) == (100, 1)
    assert not {"widgets", "tags"} & set(first[0])
    assert send(dd, "GET", "/api/v1/dashboard/abc-def-ghi").status_code == 404


SLO_REFUSALS = [
    ({"type": None}, "type"),
    ({"thresholds": []}, "different timeframes"),
    ({"thresholds": [{"timeframe": "31d", "target": 99}]}, "'31d' is not one of"),
    ({"thresholds": [{"timeframe": "7d", "target": 100}]}, "0 < target < warning < 100"),
    ({"thresholds": [{"timeframe": "7d", "target": 99, "warning": 98}]}, "0 < target < warning < 100"),
    ({"timeframe": "7d"}, "timeframe 7d has no threshold"),
    ({"timeframe": "30d", "target_threshold": 98}, "target_threshold differs"),
    ({"query": {"numerator": "sum:a{*}", "denominator": COUNT}}, "add .as_count()"),
    ({"query": {"numerator": "sum(last_5m):sum:a{*} < 1", "denominator": COUNT}}, "add .as_count()"),
    ({"query": {"numerator": COUNT}}, "Required parameter 'denominator' is missing"),
    ({"monitor_ids": [1]}, "nothing else"),
    ({"type": "monitor"}, "has monitor_ids, and nothing else"),
    ({"type": "monitor", "query": None, "monitor_ids": [1]}, "monitors not found"),
    ({"type": "time_slice", "query": None, "sli_specification": COUNTS}, "not for an SLO of type 'time_slice'"),
    ({"query": None, "sli_specification": SLICE}, "not for an SLO of type 'metric'"),
    ({"name": " "}, "Required parameter 'name' is missing"),
    ({"query": None, "sli_specification": slice_of(formulas=[{"formula": "other"}])}, "not for an SLO"),
    ({**TIMED, "sli_specification": slice_of(formulas=[{"formula": "other"}])}, "the formulas name ['other']"),
    (
        {**TIMED, "sli_specification": slice_of(queries=[{"data_source": "metrics", "name": "q", "query": "p99:x"}])},
        "unable to parse the query",
    ),
    (
        {**TIMED, "sli_specification": {"time_slice": {**SLICE["time_slice"], "query_interval_seconds": 30}}},
        "fits no model",
    ),
]


def without_none(value: dict[str, Any]) -> dict[str, Any]:
    return {name: item for name, item in value.items() if item is not None}


@pytest.mark.parametrize(("change", "words"), SLO_REFUSALS)
def test_refuses_slos(dd: Standin, change: dict[str, Any], words: str) -> None:
    answer = send(dd, "POST", "/api/v1/slo", without_none({**SLO, **change}))
    assert answer.status_code == 400
    assert words in answer.json()["errors"][0]
    assert not dd.state.slos


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"query": None, "sli_specification": COUNTS},
        {"type": "time_slice", "query": None, "sli_specification": SLICE},
    ],
)
def test_normalises_slos_of_every_form(dd: Standin, change: dict[str, Any]) -> None:
    slo = send(dd, "POST", "/api/v1/slo", without_none({**SLO, **change})).json()["data"][0]
    assert slo["tags"] == ["a:1", "b:2"]
    assert (slo["description"], slo["timeframe"], slo["target_threshold"]) == ("", "30d", 99.0)
    assert slo["thresholds"] == [
        {"timeframe": "30d", "target": 99.0, "target_display": "99.", "warning": 99.5, "warning_display": "99.5"}
    ]
    if change.get("type") == "time_slice":
        assert slo["sli_specification"]["time_slice"]["query_interval_seconds"] == 300


def test_slos_page_and_a_dashboard_keeps_one_from_being_deleted(dd: Standin) -> None:
    ids = [send(dd, "POST", "/api/v1/slo", {**SLO, "name": f"S{n}"}).json()["data"][0]["id"] for n in range(3)]
    page = send(dd, "GET", "/api/v1/slo?limit=2&offset=2&tags_query=a:1").json()
    assert [one["id"] for one in page["data"]] == ids[2:]
    assert page["metadata"]["page"] == {"total_count": 3, "total_filtered_count": 3}
    assert send(dd, "PUT", f"/api/v1/slo/{ids[0]}", {**SLO, "type": "time_slice"}).status_code == 400
    widget = {"definition": {"type": "slo", "slo_id": ids[0], "view_type": "detail"}}
    board = send(dd, "POST", "/api/v1/dashboard", {**BOARD, "widgets": [widget]}).json()
    assert send(dd, "DELETE", f"/api/v1/slo/{ids[0]}").status_code == 409
    checked = send(dd, "GET", f"/api/v1/slo/can_delete?ids={','.join(ids[:2])}")
    assert (checked.status_code, checked.json()["data"]["ok"]) == (409, [ids[1]])
    send(dd, "DELETE", f"/api/v1/dashboard/{board['id']}")
    assert send(dd, "DELETE", f"/api/v1/slo/{ids[0]}").json() == {"data": [ids[0]], "error": None}
    missing = send(dd, "DELETE", f"/api/v1/slo/{ids[0]}")
    assert (missing.status_code, missing.json()["errors"]) == (404, [f"SLO not found: {ids[0]} not found"])


def test_tag_configurations_hide_what_they_do_not_name(dd: Standin) -> None:
    path = f"/api/v2/metrics/{LATENCY}/tags"
    assert send(dd, "GET", path).status_code == 404
    full = configuration(tags=["env"], metric_type="distribution", include_percentiles=True)
    unseen = send(dd, "POST", path, full)
    assert (unseen.status_code, unseen.json()["errors"][0]) == (
        400,
        "Cannot configure tags on a metric that does not exist.",
    )
    dd.state.see(LATENCY, "distribution", ["env:prod", "model_name:m", "model_name:n"])
    assert send(dd, "PATCH", path, configuration(include_percentiles=True)).status_code == 422
    assert send(dd, "POST", path, configuration(tags=[], metric_type="gauge")).status_code == 400
    assert send(dd, "POST", path, full).status_code == 201
    again = send(dd, "POST", path, full)
    assert (again.status_code, "use PATCH to update" in again.json()["errors"][0]) == (409, True)
    hidden = send(dd, "GET", path.replace("/tags", "/all-tags")).json()["data"]["attributes"]
    assert hidden == {"tags": ["env:prod"], "ingested_tags": ["model_name:m", "model_name:n"]}
    assert send(dd, "PATCH", path, configuration(exclude_tags_mode=True)).status_code == 400
    send(dd, "PATCH", path, configuration(tags=[], exclude_tags_mode=True))
    assert dd.state.metrics[LATENCY].queryable() == ["env:prod", "model_name:m", "model_name:n"]
    assert send(dd, "GET", path).json()["data"]["attributes"]["include_percentiles"] is True
    assert send(dd, "GET", path.replace("/tags", "/all-tags?window[seconds]=3600")).status_code == 400
    keys = send(
        dd, "GET", path.replace("/tags", "/all-tags?filter[include_tag_values]=false&filter[match]=model")
    ).json()
    assert keys["data"]["attributes"]["tags"] == ["model_name"]
    assert send(dd, "DELETE", path).status_code == 204


def test_percentiles_are_for_distributions(dd: Standin) -> None:
    dd.state.see(LATENCY, "gauge")
    refused = send(
        dd,
        "POST",
        f"/api/v2/metrics/{LATENCY}/tags",
        configuration(tags=[], metric_type="gauge", include_percentiles=True),
    )
    assert (refused.status_code, refused.json()["errors"]) == (400, ["include_percentiles is only for distributions"])


CONDITION = {"scope": "transition_type:is_alert", "recipients": ["pagerduty-ml"]}
RULE_REFUSALS = [
    ({"recipients": ["@slack-ml"]}, "Invalid recipients: Recipient handle should not start with '@'"),
    ({"recipients": []}, "greater than or equal to `1`"),
    ({"recipients": [f"slack-{number}" for number in range(21)]}, "less than or equal to `20`"),
    ({"recipients": None}, "Either recipients or conditional_recipients"),
    ({"conditional_recipients": {"conditions": [CONDITION]}}, "Either recipients or conditional_recipients"),
    ({"recipients": None, "conditional_recipients": {"conditions": [CONDITION] * 11}}, "less than or equal to `10`"),
    ({"recipients": None, "conditional_recipients": {"conditions": [{**CONDITION, "scope": "now"}]}}, "Invalid scope"),
    ({"name": ""}, "Invalid"),
    ({"filter": None}, "Invalid filter"),
    ({"filter": {"tags": []}}, "Invalid"),
    ({"filter": {"tags": [f"a:{number}" for number in range(21)]}}, "Invalid"),
    ({"filter": {"tags": ["prod"]}}, "key:value"),
    ({"filter": {"scope": "a:b AND"}}, "Invalid scope"),
    ({"filter": {"scope": "(a:b OR c:d"}}, "Invalid scope"),
    ({"filter": {"scope": "a:b c:d"}}, "Invalid scope"),
    ({"filter": {"scope": "prod"}}, "names no tag"),
    ({"filter": {"tags": ["a:b", "a:b"]}}, "must differ"),
    ({"recipients": ["slack-ml", "slack-ml"]}, "must differ"),
    ({"colour": "red"}, "colour"),
]


@pytest.mark.parametrize(("change", "words"), RULE_REFUSALS)
def test_refuses_notification_rules(dd: Standin, change: dict[str, Any], words: str) -> None:
    answer = send(dd, "POST", "/api/v2/monitor/notification_rule", rule(**without_none({**RULE, **change})))
    assert answer.status_code == 400
    assert words in answer.json()["errors"][0]
    assert not dd.state.rules


@pytest.mark.parametrize(
    "change",
    [
        {"filter": {"scope": "service:(foo OR bar) AND team:test NOT environment:staging"}},
        {"filter": {"scope": "NOT (severity:critical AND team:ml)"}},
        {
            "recipients": None,
            "conditional_recipients": {"conditions": [CONDITION], "fallback_recipients": ["slack-ml"]},
        },
    ],
)
def test_takes_every_form_of_notification_rule(dd: Standin, change: dict[str, Any]) -> None:
    answer = send(dd, "POST", "/api/v2/monitor/notification_rule", rule(**without_none({**RULE, **change})))
    assert answer.status_code == 200
    assert answer.json()["data"]["attributes"]["modified_at"].startswith("1970")


def test_notification_rules_page_and_are_limited(dd: Standin) -> None:
    dd.policy.most_rules = 101
    for number in range(101):
        assert send(dd, "POST", "/api/v2/monitor/notification_rule", rule(**{**RULE, "name": f"R{number}"})).ok
    refused = send(dd, "POST", "/api/v2/monitor/notification_rule", rule(**RULE))
    assert "limit of 101" in refused.json()["errors"][0]
    assert len(send(dd, "GET", "/api/v2/monitor/notification_rule").json()["data"]) == 100
    assert len(send(dd, "GET", "/api/v2/monitor/notification_rule?page=1").json()["data"]) == 1
    found = send(dd, "GET", '/api/v2/monitor/notification_rule?filters={"text":"R77"}').json()["data"]
    assert [one["attributes"]["name"] for one in found] == ["R77"]


RECURRENCE = DOWNTIME["schedule"]["recurrences"][0]
DOWNTIME_REFUSALS = [
    ({"scope": "prod"}, "All values must have a key"),
    ({"scope": "a:b OR c:d"}, "Invalid scope"),
    ({"scope": "a:b c:d"}, "Invalid scope"),
    ({"scope": "en&v:prod"}, "Invalid scope"),
    ({"monitor_identifier": {"monitor_tags": []}}, "fits no model"),
    ({"monitor_identifier": {"monitor_tags": [f"a:{number}" for number in range(33)]}}, "at most 32"),
    ({"monitor_identifier": {"monitor_tags": ["a:b"], "monitor_id": 7}}, "fits no model"),
    ({"monitor_identifier": None}, "Required parameter 'monitor_identifier' is missing"),
    ({"colour": "red"}, "colour"),
    ({"notify_end_types": ["ended"]}, "ended"),
    ({"display_timezone": "UTC"}, "timezone must match display_timezone"),
    ({"schedule": {"start": "2026-01-01T00:00:00+00:00"}}, "Scheduled downtime start cannot be in the past"),
    ({"schedule": {"start": "2126-01-01T00:00:00+01:00"}}, "it must include a UTC offset of zero"),
    ({"schedule": {"end": "2026-01-01T00:00:00+00:00"}}, "Downtime cannot be scheduled in the past"),
    ({"schedule": {"recurrences": []}, "display_timezone": "UTC"}, "1 to 5 recurrences"),
    ({"schedule": {**DOWNTIME["schedule"], "recurrences": [RECURRENCE] * 6}}, "1 to 5 recurrences"),
    ({"schedule": {**DOWNTIME["schedule"], "timezone": "Mars/Olympus"}}, "Invalid timezone: Mars/Olympus"),
    *(
        ({"schedule": {**DOWNTIME["schedule"], "recurrences": [{**RECURRENCE, **change}]}}, words)
        for change, words in (
            ({"start": "2026-01-01T22:00:00"}, "Scheduled downtime start cannot be in the past"),
            ({"start": "2126-01-01T22:00:00+01:00"}, "it must not include a UTC offset"),
            ({"duration": "2 h"}, "Invalid duration"),
            ({"duration": "2y"}, "Invalid duration"),
            ({"rrule": "FREQ=SOMETIMES"}, "Invalid rrule"),
            ({"rrule": "DTSTART=20260101;FREQ=DAILY"}, "Invalid rrule"),
        )
    ),
]


@pytest.mark.parametrize(("change", "words"), DOWNTIME_REFUSALS)
def test_refuses_downtimes(dd: Standin, change: dict[str, Any], words: str) -> None:
    answer = send(dd, "POST", "/api/v2/downtime", downtime(**without_none({**DOWNTIME, **change})))
    assert answer.status_code == 400
    assert words in answer.json()["errors"][0]
    assert not dd.state.downtimes


def test_downtimes_are_listed_and_changed_as_long_as_they_are_not_over(dd: Standin) -> None:
    for number in range(31):
        assert send(dd, "POST", "/api/v2/downtime", downtime(**{**DOWNTIME, "scope": f"host:h{number}"})).ok
    assert len(send(dd, "GET", "/api/v2/downtime").json()["data"]) == 30
    assert len(send(dd, "GET", "/api/v2/downtime?page[offset]=30&page[limit]=100").json()["data"]) == 1
    twin = send(dd, "POST", "/api/v2/downtime", downtime(**{**DOWNTIME, "scope": "host:h3"}))
    identity = list(dd.state.downtimes)[3]
    assert twin.json()["errors"] == [
        f"The downtime being created is a duplicate of one or more existing downtimes: ['{identity}']"
    ]
    path = f"/api/v2/downtime/{identity}"
    assert send(dd, "PATCH", path, downtime(identity, message="light speed")).ok
    shown = send(dd, "GET", path).json()["data"]["attributes"]
    assert (shown["message"], shown["scope"], shown["status"]) == ("light speed", "host:h3", "scheduled")
    assert shown["schedule"]["current_downtime"]["start"] == "2126-01-05T21:00:00+00:00"
    assert send(dd, "PATCH", path, downtime("another", message="x")).status_code == 400
    assert send(dd, "PATCH", path, downtime(identity, schedule={"end": None})).status_code == 400
    for _ in range(2):
        assert send(dd, "DELETE", path).status_code == 204
    assert send(dd, "GET", path).json()["data"]["attributes"]["status"] == "canceled"
    assert send(dd, "PATCH", path, downtime(identity, message="x")).status_code == 400
    assert send(dd, "GET", "/api/v2/downtime?current_only=true").json()["data"] == []
    assert send(dd, "DELETE", "/api/v2/downtime/none").status_code == 404


def test_keys_and_permissions_are_demanded(dd: Standin) -> None:
    with connect(dd, api_key="wrong") as client:
        with pytest.raises(ForbiddenException) as refused:
            use(AuthenticationApi, client).validate()
        assert refused.value.body["errors"] == ["Forbidden"]
    with connect(dd, app_key="wrong") as client:
        assert use(AuthenticationApi, client).validate().valid
        with pytest.raises(ForbiddenException):
            use(MonitorsApi, client).list_monitors()
    assert requests.get(f"{dd.url}/api/v1/monitor", headers={"DD-API-KEY": dd.api_key}, timeout=60).status_code == 401
    dd.policy.missing_permissions = {"dashboards_write"}
    with connect(dd) as client:
        with pytest.raises(ForbiddenException) as refused:
            use(DashboardsApi, client).create_dashboard(BOARD)
        assert refused.value.body["errors"] == ["Forbidden", "Failed permission authorization checks"]
        user = use(UsersApi, client).get_current_user()
        own = {one.attributes.name for one in use(UsersApi, client).list_user_permissions(user.data.id).data}
        assert "dashboards_write" not in own
        assert "monitors_write" in own
        dd.policy.scopes = {"dashboards_read"}
        with pytest.raises(ForbiddenException):
            use(MonitorsApi, client).list_monitors()


def test_says_what_it_does_not_know(dd: Standin) -> None:
    assert send(dd, "GET", "/api/v1/nothing").status_code == 404
    assert send(dd, "PATCH", "/api/v1/monitor").status_code == 405
    assert (
        requests.post(
            f"{dd.url}/api/v1/monitor",
            data="{",
            headers={"DD-API-KEY": dd.api_key, "DD-APPLICATION-KEY": dd.app_key},
            timeout=60,
        ).status_code
        == 400
    )


def test_rate_limits_are_told_in_headers_and_end_with_their_period(dd: Standin) -> None:
    limit = dd.limits["ListMonitors"] = Limit(2, 3600.0)
    answers = [send(dd, "GET", "/api/v1/monitor") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].json()["errors"] == ["Rate limit of 2 requests in 3600 seconds reached. Please try again later."]
    names = ("x-ratelimit-limit", "x-ratelimit-period", "x-ratelimit-remaining", "x-ratelimit-reset")
    assert [answers[2].headers[name] for name in names] == ["2", "3600", "0", "3600"]
    limit.begun -= 3600
    assert send(dd, "GET", "/api/v1/monitor").status_code == 200


FAULTS = [
    (Fault("status", "CreateMonitor", status=502), False, ApiException),
    (Fault("status", "CreateMonitor", status=503, worked=True), True, ApiException),
    (Fault("hang", "CreateMonitor"), False, urllib3.exceptions.HTTPError),
    (Fault("hang", "CreateMonitor", worked=True), True, urllib3.exceptions.HTTPError),
    (Fault("close", "CreateMonitor"), False, urllib3.exceptions.HTTPError),
    (Fault("close", "CreateMonitor", worked=True), True, urllib3.exceptions.HTTPError),
    (Fault("cut", "CreateMonitor", worked=True), True, urllib3.exceptions.HTTPError),
    (Fault("garbage", "CreateMonitor", worked=True), True, Exception),
]


@pytest.mark.parametrize(("fault", "worked", "error"), FAULTS, ids=lambda value: getattr(value, "do", None))
def test_a_fault_hits_the_planned_call_before_or_after_its_work(
    dd: Standin, fault: Fault, worked: bool, error: type[Exception]
) -> None:
    """The call fails for the client, and the account holds what the fault says. The next one goes through."""
    planned = Fault(fault.do, fault.where, nth=2, worked=fault.worked, status=fault.status)
    dd.faults.add(planned)
    with connect(dd) as client:
        monitors = use(MonitorsApi, client)
        monitors.create_monitor({**MONITOR, "name": "first"})
        client.configuration.request_timeout = 1
        with pytest.raises(error):
            monitors.create_monitor({**MONITOR, "name": "second"})
        client.configuration.request_timeout = 10
        monitors.create_monitor({**MONITOR, "name": "third"})
    names = [one["name"] for one in dd.state.monitors.values()]
    assert names == (["first", "second", "third"] if worked else ["first", "third"])
    assert [call.number for call in planned.hit] == [2]


def test_a_fault_may_run_a_function_and_pick_its_calls(dd: Standin) -> None:
    seen: list[Call] = []
    dd.faults.add(Fault(seen.append, lambda call: call.method == "POST", times=2))
    send(dd, "GET", "/api/v1/monitor")
    for name in ("a", "b", "c"):
        assert send(dd, "POST", "/api/v1/monitor", {**MONITOR, "name": name}).status_code == 200
    assert [call.body["name"] for call in seen] == ["a", "b"]
    with pytest.raises(ValueError, match="no fault"):
        Fault("explode")


def test_counts_calls_and_how_many_were_in_flight(dd: Standin) -> None:
    together = threading.Barrier(4)
    dd.faults.add(Fault(lambda call: together.wait(60), times=4))
    threads = [threading.Thread(target=send, args=(dd, "GET", "/api/v1/monitor")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (dd.peak, dd.count(), dd.count("ListMonitors"), dd.count("CreateMonitor")) == (4, 4, 4, 0)
    dd.forget()
    assert dd.count() == 0


def test_a_mistake_of_the_stand_in_does_not_pass_for_a_fault() -> None:
    dd = Standin()
    dd.state.monitors[1] = {"no": "monitor"}
    dd.__enter__()
    assert send(dd, "GET", "/api/v1/monitor").status_code == 500
    with pytest.raises(RuntimeError, match="broke down 1 times"):
        dd.__exit__(None, None, None)


def test_stopping_lets_go_of_what_hangs() -> None:
    dd = Standin()
    dd.start()
    dd.faults.add(Fault("hang"))
    failed: list[Exception] = []

    def call() -> None:
        try:
            send(dd, "GET", "/api/v1/monitor")
        except requests.ConnectionError as error:
            failed.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    while not dd.count():
        threading.Event().wait(0.01)
    dd.stop()
    thread.join(60)
    assert len(failed) == 1
    with pytest.raises(RuntimeError, match="isn't started"):
        _ = dd.url


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("type:metric", ["Queue", "Disk"]),
        ("title:disk", ["Disk"]),
        ("id:101334182", ["Queue"]),
        ("status:ok", []),
        ('tag:"team:x" disk', ["Disk"]),
        ('tag:"team:y"', []),
    ],
)
def test_searches_monitors(dd: Standin, query: str, names: list[str]) -> None:
    send(dd, "POST", "/api/v1/monitor", MONITOR)
    send(dd, "POST", "/api/v1/monitor", {**MONITOR, "name": "Disk", "tags": ["team:x"]})
    found = send(dd, "GET", f"/api/v1/monitor/search?query={query}").json()["monitors"]
    assert [one["name"] for one in found] == names


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/api/v1/monitor?page=x", None, 400),
        ("GET", "/api/v1/monitor/can_delete?monitor_ids=x", None, 400),
        ("GET", "/api/v1/slo?ids=none", None, 404),
        ("GET", "/api/v1/slo/none", None, 404),
        ("GET", "/api/v1/slo/can_delete", None, 400),
        ("GET", "/api/v2/monitor/notification_rule?sort=colour:asc", None, 400),
        ("GET", "/api/v2/monitor/notification_rule/none", None, 404),
        ("GET", "/api/v2/users/nobody/permissions", None, 404),
        ("POST", "/api/v2/metrics/other/tags", configuration(tags=[], metric_type="distribution"), 400),
        ("DELETE", f"/api/v2/metrics/{LATENCY}/tags", None, 404),
    ],
)
def test_refuses_what_does_not_fit_together(dd: Standin, method: str, path: str, body: Any, status: int) -> None:
    assert send(dd, method, path, body).status_code == status


def test_slos_of_monitors_need_monitors_that_exist_and_keep_them(dd: Standin) -> None:
    monitor = send(dd, "POST", "/api/v1/monitor", MONITOR).json()["id"]
    change = {"type": "monitor", "query": None, "monitor_ids": [monitor], "groups": ["endpoint_name:a"]}
    slo = send(dd, "POST", "/api/v1/slo", without_none({**SLO, **change})).json()["data"][0]
    assert slo["monitor_tags"] == sorted(MONITOR["tags"])
    assert send(dd, "DELETE", f"/api/v1/monitor/{monitor}").status_code == 400
    grouped = without_none({**SLO, **change, "groups": [f"endpoint_name:{number}" for number in range(101)]})
    assert send(dd, "POST", "/api/v1/slo", grouped).status_code == 400


def test_a_missing_monitor_is_not_found(dd: Standin, client: ApiClient) -> None:
    with pytest.raises(NotFoundException) as refused:
        use(MonitorsApi, client).get_monitor(1)
    assert refused.value.body["errors"] == ["Monitor not found"]


def points(dd: Standin, query: str, start: int = 3600, end: int = 10800) -> dict[str, list[list[float]]]:
    """The points of a query by the scope of each series."""
    answer = send(dd, "GET", "/api/v1/query", params={"from": start, "to": end, "query": query})
    assert answer.status_code == 200, answer.text
    return {series["scope"]: series["pointlist"] for series in answer.json()["series"]}


def test_queries_put_points_into_buckets_of_the_clock(dd: Standin) -> None:
    """Stamped with their start in milliseconds; one that begins before the period is left out, the last one is not."""
    for moment in (3599, 3600, 3700, 7200, 10000):
        dd.state.receive(COUNTED, "count", moment, 2.0, ["model_name:m", "env:prod"])
    dd.state.receive(COUNTED, "count", 3600, 5.0, ["env:prod"])
    dd.state.receive(COUNTED, "count", 3600, 7.0, ["model_name:n", "env:test"])
    query = f"sum:{COUNTED}{{*}} by {{model_name}}.as_count().rollup(sum, 3600)"
    assert points(dd, query) == {
        "model_name:m": [[3600000.0, 4.0], [7200000.0, 4.0]],
        "model_name:N/A": [[3600000.0, 5.0]],
        "model_name:n": [[3600000.0, 7.0]],
    }
    assert points(dd, query, start=3601)["model_name:m"] == [[7200000.0, 4.0]]
    assert points(dd, f"sum:{COUNTED}{{env:prod,!model_name:*}}.as_count().rollup(sum, 3600)") == {
        "*": [[3600000.0, 5.0]]
    }
    assert points(dd, f"max:{COUNTED}{{model_name:*}}.rollup(avg, 3600)") == {"*": [[3600000.0, 7.0], [7200000.0, 2.0]]}


@pytest.mark.parametrize("query", ["", "request.count", "sum:request.count{*} > 1", "p95:request.count{*}"])
def test_queries_that_can_t_be_read_are_refused(dd: Standin, query: str) -> None:
    assert send(dd, "GET", "/api/v1/query", params={"from": 0, "to": 1, "query": query}).status_code == 400


def test_queries_need_a_permission(dd: Standin) -> None:
    dd.policy.missing_permissions.add("timeseries_query")
    answer = send(dd, "GET", "/api/v1/query", params={"from": 0, "to": 1, "query": COUNT})
    assert answer.status_code == 403
