"""What is said of a configuration that is Alertmanager's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from datadog_checks.model_serving.errors import DocumentError
from datadog_checks.model_serving.workstation.provision.alertmanager import NOT_DATADOG
from datadog_checks.model_serving.workstation.provision.routing import load_routing


def told(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "alertmanager.yml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DocumentError) as caught:
        load_routing(path)
    return [line.removeprefix(f"{path}: ") for line in str(caught.value).splitlines()]


FIRST = "this is a configuration of Alertmanager; a routing file has its form"

SMALL_TEAM = """
global: {resolve_timeout: 5m, slack_api_url: https://hooks.slack.example.com/x}
route:
  receiver: slack
  group_by: [alertname]
  group_wait: 30s
  group_interval: 5m
  repeat_interval: 4h
receivers:
  - name: slack
    slack_configs: [{channel: '#ml', send_resolved: true}]
"""

PLATFORM = """
global: {smtp_smarthost: 'smtp.example.com:587', smtp_from: alerts@example.com}
templates: ['/etc/alertmanager/*.tmpl']
route:
  receiver: mail
  routes:
    - matchers: ['severity="critical"', 'team=~"ml-.*"']
      receiver: pager
      group_wait: 10s
      routes:
        - {match_re: {serving_system: vllm|sglang}, receiver: slack, repeat_interval: 1h, group_by: [model_name]}
    - {matchers: [severity="warning"], receiver: slack, mute_time_intervals: [weekends]}
    - {matchers: [team="infra"], active_time_intervals: [office]}
    - {receiver: 'null'}
inhibit_rules:
  - {source_matchers: [severity="critical"], target_matchers: [severity="warning"], equal: [model_name]}
time_intervals:
  - {name: weekends, time_intervals: [{weekdays: ['saturday:sunday']}]}
receivers:
  - {name: mail, email_configs: [{to: ml@example.com}]}
  - {name: 'null'}
  - {name: pager, pagerduty_configs: [{routing_key: x}]}
  - {name: slack, slack_configs: [{channel: '#ml'}]}
"""

HALF_WAY = """
receiver: ops
match: {team: infra}
routes:
  - {match: {severity: critical}, receiver: ops}
receivers:
  - {name: Ops Team, webhook_configs: [{url: http://pager.example.com}]}
"""

FILES = {
    "small team": (
        SMALL_TEAM,
        [
            "global",
            "route",
            "receivers",
            "receivers[0].slack_configs",
            "receivers[0].slack_configs[0].send_resolved",
            "route.group_wait",
            "route.group_interval",
        ],
    ),
    "platform": (
        PLATFORM,
        [
            "global",
            "templates",
            "route",
            "inhibit_rules",
            "time_intervals, route.routes[1].mute_time_intervals",
            "receivers",
            "receivers[0].email_configs",
            "receivers[1]",
            "receivers[2].pagerduty_configs",
            "receivers[3].slack_configs",
            "route.routes[0].matchers, route.routes[1].matchers, route.routes[2].matchers",
            "route.routes[0].group_wait",
            "route.routes[0].routes[0].match_re",
            "route.routes[0].routes[0].repeat_interval",
            "route.routes[0].routes[0].group_by",
            "route.routes[2].active_time_intervals",
            "route.routes[2]",
            "route.routes[3]",
        ],
    ),
    "half way": (HALF_WAY, ["match", "receivers", "receivers[0].name", "receivers[0].webhook_configs"]),
}


@pytest.mark.parametrize(("text", "places"), FILES.values(), ids=FILES)
def test_all_of_it_is_told_at_once(tmp_path: Path, text: str, places: list[str]) -> None:
    """What the file is, and a line for all that has to be written otherwise, with its places."""
    first, *lines = told(tmp_path, text)
    assert first.startswith(FIRST)
    assert [line.partition(": ")[0] for line in lines] == places
    assert not any("unknown key" in line for line in lines)


TOP = ("global", "templates", "route", "inhibit_rules", "time_intervals", "mute_time_intervals", "tracing", "receivers")
ROUTE = (
    *("receiver", "group_by", "continue", "match", "match_re", "matchers", "group_wait", "group_interval"),
    *("repeat_interval", "mute_time_intervals", "active_time_intervals", "routes"),
)
INTEGRATIONS = (
    *("discord", "email", "incidentio", "jira", "mattermost", "msteams", "msteamsv2", "opsgenie", "pagerduty"),
    *("pushover", "rocketchat", "slack", "sns", "telegram", "victorops", "webex", "webhook", "wechat"),
)


def test_no_key_of_alertmanager_is_unknown(tmp_path: Path) -> None:
    """By the reference of its configuration, at every place where a key may stand."""
    values = {"receiver": "a", "routes": "[]"}
    keys = ", ".join(f"{key}: {values.get(key, '{}')}" for key in ROUTE)
    top = "\n".join(f"{key}: {{}}" for key in TOP if key not in ("route", "receivers"))
    integrations = ", ".join(f"{name}_configs: []" for name in INTEGRATIONS)
    lines = told(
        tmp_path,
        f"{top}\nroute: {{{keys.replace('routes: []', f'routes: [{{{keys}}}]')}}}\n"
        f"receivers: [{{name: a, {integrations}}}]",
    )
    assert [line for line in lines if "unknown key" in line] == []
    assert {f"{name}_configs" for name in INTEGRATIONS} <= NOT_DATADOG.keys()


def test_many_places_are_counted(tmp_path: Path) -> None:
    routes = ", ".join(["{matchers: [severity=critical], receiver: a}"] * 5)
    lines = told(tmp_path, f"route: {{receiver: a, routes: [{routes}]}}")
    told_of = "route.routes[0].matchers, route.routes[1].matchers, route.routes[2].matchers and 2 more: write `match`"
    assert any(line.startswith(told_of) for line in lines)
