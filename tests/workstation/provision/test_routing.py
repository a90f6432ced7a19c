"""Who hears about what: the same receivers as Alertmanager's, in rules and in handles."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from datadog_checks.model_serving.errors import DocumentError
from datadog_checks.model_serving.workstation.provision.audience import Route
from datadog_checks.model_serving.workstation.provision.describe import SOME, Hearers
from datadog_checks.model_serving.workstation.provision.desired import desired, load_values
from datadog_checks.model_serving.workstation.provision.model import OWNER_TAG, Resource, attributes, mark
from datadog_checks.model_serving.workstation.provision.packs.bodies import INTEGRATION_TAG
from datadog_checks.model_serving.workstation.provision.query import check_monitor
from datadog_checks.model_serving.workstation.provision.routing import (
    Receiver,
    Routing,
    handles,
    load_routing,
    notification_rules,
)
from datadog_checks.model_serving.workstation.provision.values import MonitorValues, Values

DOCUMENT = (Path(__file__).parents[3] / "docs" / "provisioning.md").read_text(encoding="utf-8")
EXAMPLE = next(text for text in re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL) if text.startswith("as:"))
GROUPS = ("serving_system", "model_name")

Load = Callable[[str], Routing]
Tags = Mapping[str, str]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a routing file from its text."""

    def loaded(text: str) -> Routing:
        path = tmp_path / "routing.yaml"
        path.write_text(text, encoding="utf-8")
        return load_routing(path)

    return loaded


def alertmanager(route: Route, tags: Tags) -> list[str]:
    """Receivers as Alertmanager's own dispatcher finds them, from its documentation."""
    found: list[str] = []
    for child in route.routes:
        if all(tags.get(tag) in values for tag, values in child.match.items()):
            found += alertmanager(child, tags)
            if not child.go_on:
                break
    return found or [route.receiver]


def scope_holds(scope: str, tags: Tags) -> bool:
    """Evaluate the scope of a notification rule, as the API documents the language."""
    expanded = re.sub(
        r"([\w.]+):\(([^()]*)\)",
        lambda match: "(" + " OR ".join(f"{match[1]}:{value}" for value in match[2].split(" OR ")) + ")",
        scope,
    )
    python = re.sub(r"([\w.]+):([\w.-]+)", lambda match: str(tags.get(match[1]) == match[2]), expanded)
    python = python.replace("AND", "and").replace("NOT", "not").replace("OR", "or")
    return bool(eval(python, {"__builtins__": {}}))


def shown(message: str, tags: Tags, recovered: bool = False) -> set[str]:
    """Evaluate the blocks of a message, innermost first, and find the handles that are left."""
    block = re.compile(
        r"\{\{([#^])(is_recovery|is_exact_match)((?: \"[^\"]*\")*)\}\}((?:(?!\{\{[#^/]).)*)\{\{/\2\}\}", re.DOTALL
    )

    def text(match: re.Match[str]) -> str:
        sign, name, arguments, inside = match.groups()
        if name == "is_recovery":
            holds = recovered
        else:
            variable, *values = re.findall(r'"([^"]*)"', arguments)
            holds = tags.get(variable.removesuffix(".name")) in values
        return inside if holds == (sign == "#") else ""

    while block.search(message):
        message = block.sub(text, message)
    assert "{{" not in message
    return set(re.findall(r"@([\w.-]+)", message))


def by_rules(routing: Routing, tags: Tags) -> set[str]:
    marked = {**tags, "integration": "model-serving"}
    return {rule.key for rule in notification_rules(routing) if scope_holds(rule.body["filter"]["scope"], marked)}


def by_handles(routing: Routing, tags: Tags) -> set[str]:
    static = [f"{tag}:{value}" for tag, value in tags.items() if tag not in GROUPS]
    return shown(handles(routing, static, GROUPS), tags)


SEVERITY, TEAM = ("critical", "warning"), ("ml-platform", "ml-engineering", "infra")
SYSTEM, MODEL = ("databricks", "mlserver", "dcgm"), ("fraud", "ranking")
EVERY = [
    dict(zip(("severity", "team", "serving_system", "model_name"), values, strict=True))
    for values in product(SEVERITY, TEAM, SYSTEM, MODEL)
]
KEYS = {"severity": SEVERITY, "team": TEAM, "serving_system": SYSTEM, "model_name": MODEL}
NAMES = tuple("abcdef")


def routes(depth: int) -> st.SearchStrategy[Route]:
    match = st.dictionaries(st.sampled_from(sorted(KEYS)), st.just(()), min_size=1, max_size=2).flatmap(
        lambda keys: st.fixed_dictionaries(
            {
                key: st.lists(st.sampled_from(KEYS[key]), min_size=1, max_size=2, unique=True).map(tuple)
                for key in sorted(keys)
            }
        )
    )
    below = st.lists(routes(depth - 1), max_size=2).map(tuple) if depth else st.just(())
    return st.builds(Route, st.just("routes"), st.sampled_from(NAMES), match=match, go_on=st.booleans(), routes=below)


ROOTS = st.builds(Route, st.just(""), st.sampled_from(NAMES), routes=st.lists(routes(1), max_size=4).map(tuple))


@given(ROOTS)
@settings(max_examples=60, deadline=None)
def test_same_receivers_as_alertmanager(root: Route) -> None:
    """For any tree of routes and any tags, rules and handles reach whom Alertmanager reaches."""
    routing = Routing("routing.yaml", "rules", None, root, {name: Receiver((name,)) for name in NAMES})
    for tags in EVERY:
        expected = set(alertmanager(root, tags))
        assert by_rules(routing, tags) == expected, tags
        assert by_handles(routing, tags) == expected, tags


def test_example_of_the_documentation(load: Load) -> None:
    """That of the source: PagerDuty for critical and on, Slack by team, the default for the rest."""
    routing = load(EXAMPLE)
    assert (routing.form, routing.repeat) == ("rules", 240)
    expected = {
        ("critical", "ml-platform"): {"pagerduty-ml", "slack-ml-platform"},
        ("critical", "ml-engineering"): {"pagerduty-ml", "slack-ml-engineering"},
        ("critical", "infra"): {"pagerduty-ml"},
        ("warning", "ml-platform"): {"slack-ml-platform"},
        ("warning", "ml-engineering"): {"slack-ml-engineering"},
        ("warning", "infra"): {"default"},
    }
    for (severity, team), receivers in expected.items():
        assert by_rules(routing, {"severity": severity, "team": team}) == receivers
    bodies = {rule.key: rule.body for rule in notification_rules(routing)}
    assert bodies["pagerduty-ml"] == {
        "name": "notify pagerduty-ml",
        "filter": {"scope": "integration:model-serving AND severity:critical"},
        "recipients": ["pagerduty-ml"],
    }
    assert [one["scope"] for one in bodies["slack-ml-platform"]["conditional_recipients"]["conditions"]] == [
        "transition_type:is_alert",
        "transition_type:is_warning",
        "transition_type:is_no_data",
    ]


def test_rules_are_resources_and_monitors_repeat(load: Load) -> None:
    """The interval is an option of each monitor, unless the values give one of them its own."""
    values = Values(monitors={"gpu.xid": MonitorValues(renotify=30), "gpu.ecc": MonitorValues(renotify=0)})
    resources = desired(["gpu"], values, load(EXAMPLE))
    rules = [one.key for one in resources if one.kind == "notification_rule"]
    assert rules == ["pagerduty-ml", "slack-ml-platform", "slack-ml-engineering", "default"]
    repeats = {one.key: one.body["options"].get("renotify_interval") for one in resources if one.kind == "monitor"}
    assert (repeats["gpu.memory"], repeats["gpu.xid"], repeats["gpu.ecc"]) == (240, 30, None)
    assert not any("@" in str(one.body.get("message")) for one in resources)


def test_group_by_is_that_of_each_monitor(load: Load) -> None:
    """As Alertmanager groups: by those of the tags that an alert has. What the values say of a monitor comes first."""
    text = "receiver: a\nreceivers: {a: {to: x}}\ngroup_by: [alertname, severity, model_name]"
    values = Values(monitors={"gpu.xid": MonitorValues(notify_by=("gpu_uuid",))})

    def groups(routing: Routing) -> dict[str, Any]:
        resources = desired(None, values, routing)
        return {one.key: one.body["options"].get("notify_by") for one in resources if one.kind == "monitor"}

    found = groups(load(text))
    assert found["gpu.temperature"] == ["*"]
    assert found["latency.p99"] == ["model_name"]
    assert found["endpoint.metrics"] == ["*"]
    assert found["gpu.xid"] == ["gpu_uuid"]
    for key in ("errors.share", "errors.share.part", "version.changed", "slo.availability.fast"):
        assert found[key] is None
    assert found["agent.silent"] == ["*"]
    plain = groups(load(text.replace("model_name", "'...'")))
    assert {key: value for key, value in plain.items() if value} == {
        "gpu.xid": ["gpu_uuid"],
        "agent.silent": ["*"],
    }
    usual = groups(load(text.partition("\ngroup_by")[0]))
    assert usual["gpu.temperature"] == ["serving_system", "endpoint_name"]
    assert usual["latency.p99"] is None


def test_nobody_hears_of_the_parts_of_a_composite(load: Load) -> None:
    """Whatever the routes and the tags of the user, no rule and no handle is for a part; every other monitor has a
    receiver, and rules of exported files match as well."""
    text = (
        "receiver: a\nroutes: [{match: {severity: critical}, receiver: b, continue: true}, "
        "{match: {cost_center: ml}, receiver: b}]\nreceivers: {a: {to: x}, b: {to: y}}\nas: "
    )
    values = Values(everywhere=MonitorValues(tags=("cost_center:ml", "tier:gold")))
    for form in ("rules", "handles"):
        resources = desired(None, values, load(text + form))
        rules = [one.body["filter"]["scope"] for one in resources if one.kind == "notification_rule"]
        marked = [mark(one) for one in resources if one.kind == "notification_rule"]
        assert all(
            attributes(one.body)["filter"]["scope"].startswith("managed_by:model-serving AND integration:model-serving")
            for one in marked
        )
        for one in resources:
            if one.kind != "monitor":
                continue
            tags = dict(tag.split(":", 1) for tag in one.body["tags"])
            heard = any(scope_holds(scope, tags) for scope in rules) or "@" in one.body["message"]
            assert heard is (".part" not in one.key), one.key
            if ".part" in one.key:
                assert one.body["tags"] == ["tier:gold"]


def test_handles_are_in_the_messages(load: Load) -> None:
    """What is known of a monitor is decided at once, what depends on a group is left to the message."""
    routing = load(
        "as: handles\nreceiver: rest\nroutes:\n"
        "  - {match: {severity: critical}, receiver: pager, continue: true}\n"
        "  - {match: {serving_system: [databricks, mlserver]}, receiver: serving}\n"
        "receivers: {rest: {to: slack-rest, send_resolved: false}, pager: {to: '@pagerduty-ml'}, "
        "serving: {to: [slack-serving, oncall@example.com]}}\n"
    )
    resources = desired(["golden_signals", "gpu", "endpoints"], Values(), routing)
    messages = {one.key: one.body["message"].rpartition("\n\n")[2] for one in resources if one.kind == "monitor"}
    assert messages["gpu.xid"] == (
        "@pagerduty-ml\n"
        '{{#is_exact_match "serving_system.name" "databricks" "mlserver"}}@slack-serving @oncall@example.com'
        "{{/is_exact_match}}"
    )
    assert messages["gpu.temperature"].splitlines() == [
        '{{#is_exact_match "serving_system.name" "databricks" "mlserver"}}@slack-serving @oncall@example.com'
        "{{/is_exact_match}}",
        '{{^is_exact_match "serving_system.name" "databricks" "mlserver"}}{{^is_recovery}}@slack-rest{{/is_recovery}}'
        "{{/is_exact_match}}",
    ]
    assert messages["endpoint.metrics"] == "@pagerduty-ml"
    assert [one for one in resources if one.kind == "notification_rule"] == []
    for one in resources:
        if one.kind == "monitor":
            assert [problem.message for problem in check_monitor(one.body) if problem.severity == "error"] == []


def test_recoveries_are_kept_from_who_wants_none(load: Load) -> None:
    """`send_resolved: false` in a message."""
    routing = load("as: handles\nreceiver: a\nreceivers: {a: {to: [slack-a], send_resolved: false}}")
    text = handles(routing, [], ())
    assert shown(text, {}) == {"slack-a"}
    assert shown(text, {}, recovered=True) == set()


REFUSED = {
    "receivers: {a: {to: x}}": "the key `receiver` is missing",
    "receiver: a": "the key `receivers` is missing",
    "receiver: b\nreceivers: {a: {to: x}}": "receiver: there is no receiver `b`; known are a",
    "receiver: slack\nreceivers: {slackk: {to: x}}": "there is no receiver `slack`; did you mean `slackk`?",
    "as: rule\nreceiver: a\nreceivers: {a: {to: x}}": "as: must be one of rules, handles, not `rule`",
    "receiver: a\nreceivers: {a: {too: x}}": "receivers.a: unknown key `too`; did you mean `to`?",
    "receiver: a\nreceivers: {a: {}}": "receivers.a: the key `to` is missing",
    "receiver: a\nreceivers: {a: {to: x}}\ngroup_by: [alertname, model]": (
        "group_by[1]: no monitor is grouped by `model`; did you mean `model_name`?"
    ),
    "receiver: a\nreceivers: {a: {to: []}}": "a receiver has 1 to 20 handles, not 0",
    "receiver: a\nreceivers: {a: {to: '#ml-alerts'}}": "`#ml-alerts` is no handle: write `slack-ml-alerts`",
    "receiver: a\nreceivers: {a: {to: 'a b'}}": "`a b` is no handle",
    "receiver: A\nreceivers: {A: {to: x}}": "`A` is no name of a receiver",
    "receiver: a\nreceivers: {a: {slack_configs: []}}": "unknown key `slack_configs`; write `to: [slack-<channel>]`",
    "receiver: a\nreceivers: {a: {to: x}}\ngroup_wait: 30s": "unknown key `group_wait`; Datadog notifies at once",
    "receiver: a\nreceivers: {a: {to: x}}\ninhibit_rules: []": "write a composite monitor `A && !B`, or a downtime",
    "receiver: a\nreceivers: {a: {to: x}}\ntime_intervals: []": (
        "unknown key `time_intervals`; write these times under `downtimes` in the values file"
    ),
    "receiver: a\nreceivers: {a: {to: x}}\nroutes: [{match: {team: x}, receiver: a, mute_time_intervals: [night]}]": (
        "routes[0]: unknown key `mute_time_intervals`; write these times under `downtimes` in the values file"
    ),
    "receiver: a\nreceivers: {a: {to: x}}\nmatch: {team: x}": "the top level takes everything",
    "receiver: a\nreceivers: {a: {to: x}}\nrepeat_interval: 5m": "repeat_interval: must be from 10 to 1440 minutes",
    "receiver: a\nreceivers: {a: {to: x}}\nroutes: [{receiver: a}]": "routes[0]: a route needs `match`",
    "receiver: a\nreceivers: {a: {to: x}}\nroutes: [{match: {team: x}}]": "routes[0]: the key `receiver` is missing",
    "receiver: a\nreceivers: {a: {to: x}}\nroutes: [{match: {team: x}, receiver: a, repeat_interval: 1h}]": (
        "routes[0]: unknown key `repeat_interval`; Datadog repeats per monitor"
    ),
    "receiver: a\nreceivers: {a: {to: x}}\nroutes: [{match_re: {team: x}, receiver: a}]": (
        "routes[0]: unknown key `match_re`; write `match` with a list of values"
    ),
    "receiver: a\nreceivers: {a: {to: x}}\nroutes: [{match: {severity: page}, receiver: a}]": (
        "routes[0].match.severity: no monitor has the severity `page`; known are critical, warning"
    ),
    "receiver: a\nreceivers: {a: {to: x}}\nroutes: [{match: {team: 'ml*'}, receiver: a}]": "without wildcards",
    "receiver: a\nreceivers: {a: {to: x}}\nroutes: [{match: {team: []}, receiver: a}]": "names no value",
}


@pytest.mark.parametrize(("text", "said"), REFUSED.items(), ids=REFUSED)
def test_what_cannot_be_is_refused(load: Load, text: str, said: str) -> None:
    """With the file, the key and what to write."""
    with pytest.raises(DocumentError) as caught:
        load(text)
    assert "routing.yaml: " in str(caught.value)
    assert said in str(caught.value)


def test_all_mistakes_are_told_at_once(load: Load) -> None:
    """A line for each, with the place."""
    with pytest.raises(DocumentError) as caught:
        load("{group_wait: 30s, receiver: a, receivers: {a: {to: ['#x']}, b: {too: [x]}}}")
    assert [line.partition("routing.yaml: ")[2].partition(" ")[0] for line in str(caught.value).splitlines()] == [
        "unknown",
        "receivers.a.to:",
        "receivers.b:",
    ]
    routes = "[{match: {severity: bad}, receiver: a}, {match: {severity: critical}, receiver: b}]"
    with pytest.raises(DocumentError) as caught:
        load(f"{{receiver: a, routes: {routes}, receivers: {{a: {{to: x}}}}}}")
    assert [line.partition("routing.yaml: ")[2].partition(":")[0] for line in str(caught.value).splitlines()] == [
        "routes[0].match.severity",
        "routes[1].receiver",
    ]


def test_a_routing_file_is_for_every_choice_of_packs(load: Load) -> None:
    """What only packs have that are not chosen is no mistake; what no pack has is one, whatever is chosen."""
    text = "receiver: a\nreceivers: {a: {to: x}}\nroutes: [{match: {team: TEAM, severity: critical}, receiver: a}]"
    assert desired(["cost"], Values(), load(text.replace("TEAM", "ml-engineering")))
    with pytest.raises(DocumentError, match="did you mean `ml-platform`"):
        desired(["cost"], Values(), load(text.replace("TEAM", "ml-plattform")))


def test_tag_that_nothing_has_is_refused(load: Load, tmp_path: Path) -> None:
    """A misspelt tag would never match; tags of the user's own are known from the values."""
    text = "receiver: a\nreceivers: {a: {to: x}}\nroutes: [{match: {TAG: x}, receiver: a}]"
    with pytest.raises(DocumentError, match=r"routes\[0\].match.sevrity: no monitor .* did you mean `severity`"):
        desired(None, Values(), load(text.replace("TAG", "sevrity")))
    with pytest.raises(DocumentError, match="`cost_center`, so this never matches"):
        desired(None, Values(), load(text.replace("TAG", "cost_center")))
    (tmp_path / "values.yaml").write_text("tags: ['cost_center:x']", encoding="utf-8")
    values = load_values(tmp_path / "values.yaml")
    desired(None, values, load(text.replace("TAG", "cost_center")))
    for tag in ("severity: critical", "team: ml-platform", "pack: gpu", "serving_system: x", "model_name: x"):
        desired(None, Values(), load(text.replace("TAG: x", tag)))


def test_a_route_for_a_value_that_no_monitor_has(load: Load, tmp_path: Path) -> None:
    """It would leave that team's alerts to the default receiver, and nobody would notice."""
    text = (
        "receiver: a\nreceivers: {a: {to: x}}\nroutes: [{match: {team: [ml-engineering, ml-plattform]}, receiver: a}]"
    )
    with pytest.raises(DocumentError, match=r"match.team: no monitor has `team:ml-plattform`.* `ml-platform`"):
        desired(None, Values(), load(text))
    (tmp_path / "values.yaml").write_text("team: ml-plattform", encoding="utf-8")
    with pytest.raises(DocumentError, match="`team:ml-engineering`"):
        desired(None, load_values(tmp_path / "values.yaml"), load(text))


def test_too_long_a_scope_is_refused(load: Load) -> None:
    """Datadog takes 3000 characters."""
    many: Any = {
        "receiver": "a",
        "receivers": {"a": {"to": "x"}, "b": {"to": "y"}},
        "routes": [{"match": {"team": f"team-{number:04}"}, "receiver": "b"} for number in range(300)],
    }
    with pytest.raises(DocumentError, match=r"receivers\.b: .* characters, of which Datadog takes 3000"):
        notification_rules(load(yaml.safe_dump(many)))


@given(ROOTS)
@settings(max_examples=30, deadline=None)
def test_a_plan_tells_everybody_who_hears(root: Route) -> None:
    """Nobody who hears of a monitor is missing in a plan, and who is said to hear of all its groups does."""
    routing = Routing("routing.yaml", "rules", None, root, {name: Receiver((name,)) for name in NAMES})
    rules = [mark(one) for one in notification_rules(routing)]
    query = "avg(last_5m):avg:model_serving.request.latency{*} by {serving_system,model_name} > 1"
    for severity, team in product(SEVERITY, TEAM):
        tags = [f"severity:{severity}", f"team:{team}", INTEGRATION_TAG, OWNER_TAG]
        heard = [set(alertmanager(root, one)) for one in EVERY if (one["severity"], one["team"]) == (severity, team)]
        message = handles(routing, tags, ["serving_system", "model_name"])
        for others, text in ((rules, ""), ([], message)):
            monitor = Resource("monitor", "x", {"query": query, "tags": tags, "message": text})
            told = Hearers([monitor, *others]).of(monitor.body)
            assert {one.removesuffix(f" ({SOME})") for one in told} >= set.union(*heard)
            assert {one for one in told if not one.endswith(f"({SOME})")} <= set.intersection(*heard)
