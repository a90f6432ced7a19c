"""A values file: what it changes, and what is refused before anything is sent."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from datadog_checks.model_serving.errors import DocumentError
from datadog_checks.model_serving.workstation.provision.desired import desired, load_values
from datadog_checks.model_serving.workstation.provision.packs import monitor_entries, slo_entries
from datadog_checks.model_serving.workstation.provision.query import check_dashboard, check_monitor, check_slo
from datadog_checks.model_serving.workstation.provision.values import MONITOR, MonitorValues, Values

DOCUMENT = (Path(__file__).parents[3] / "docs" / "provisioning.md").read_text(encoding="utf-8")
EXAMPLE = next(text for text in re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL) if text.startswith("prefix:"))

Load = Callable[[str], Values]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load values from their text."""

    def loaded(text: str) -> Values:
        path = tmp_path / "values.yaml"
        path.write_text(text, encoding="utf-8")
        return load_values(path)

    return loaded


def bodies(values: Values, kind: str = "monitor") -> dict[str, Any]:
    return {one.key: one.body for one in desired(None, values) if one.kind == kind}


REFUSED = {
    # names
    "monitor: {latency.p99: {priority: 1}}": "values.yaml: unknown key `monitor`; did you mean `monitors`?",
    "monitors: {latency.p90: {priority: 1}}": "monitors: unknown monitor `latency.p90`; did you mean `latency.p99`?",
    "monitors: {latency.p99: {treshold: 1}}": "latency.p99: unknown key `treshold`; did you mean `thresholds`?",
    "monitors: {latency.p99: {thresholds: {critcal: 1}}}": (
        "monitors.latency.p99.thresholds: unknown threshold `critcal`; did you mean `critical`?"
    ),
    "packs: [golden_signal]": "packs: unknown pack `golden_signal`; did you mean `golden_signals`?",
    "teams: {gpus: infra}": "teams: unknown pack `gpus`; did you mean `gpu`?",
    "slos: {avalability: {target: 99}}": "slos: unknown SLO `avalability`; did you mean `availability`?",
    "dashboards: {costs: false}": "dashboards: unknown dashboard `costs`; did you mean `cost`?",
    "thresholds: {critical: 1}": "unknown key `thresholds`",
    # forms
    "[1, 2]": "must be a mapping, not a list",
    "packs: gpu\npacks: cost": "`packs` is there twice",
    "prefix: [": "not valid YAML",
    "prefix: 5": "prefix: must be a text, which may be empty, not `5`",
    "monitors: {latency.p99: {thresholds: {critical: 1e-3}}}": "must be a number such as 0.5, not `1e-3`",
    "monitors: {latency.p99: {thresholds: {critical: .nan}}}": "must be a number such as 0.5, not `nan`",
    "monitors: {latency.p99: {thresholds: {critical: null}}}": "thresholds.critical: must be a number",
    "monitors: {latency.p99: {thresholds: {critical: true}}}": "thresholds.critical: must be a number",
    "monitors: {latency.p99: {enabled: maybe}}": "enabled: must be true or false, not `maybe`",
    "monitors: {latency.p99: }": "monitors.latency.p99: must be a mapping, not nothing",
    "priority: 6": "priority: must be a whole number from 1 to 5, not `6`",
    "monitors: {latency.p99: {severity: high}}": "severity: must be one of critical, warning, not `high`",
    "team: ML Platform": "team: must be the value of a tag",
    "tags: [cost]": "tags[0]: must be a tag such as `cost_center:ml`, not `cost`",
    "tags: ['team:ml']": "tags[0]: `team` is set by provisioning: write `team: ml`",
    "tags: ['managed_by:me']": "tags[0]: `managed_by` is set by provisioning: choose another key",
    "runbooks: wiki/runbooks": "runbooks: must be a URL such as https://",
    "renotify: 240": "renotify: must be a duration such as 30m, 4h or 1d, not `240`",
    "renotify: 5m": "renotify: must be from 10 to 1440 minutes long, not 5",
    "auto_resolve: 90m": "auto_resolve: must be whole hours, such as 2h",
    # scopes
    "scope: '{env:prod}'": "scope: leave the braces out: `env:prod`",
    "generative: sdxl": "generative: `sdxl` is no tag: write `endpoint_name:sdxl` or `model_name:sdxl`",
    "scope: 'env:prod AND (x:y'": "scope: `env:prod AND (x:y`, column 14",
    "scope: 'env=prod'": "scope: `env=prod`, column 1: `env=...` is PromQL: write `env:value`",
    "monitors: {slo.availability.fast: {scope: 'env:prod'}}": (
        "scope: is that of the SLO: write it under `slos`, `availability`"
    ),
    "monitors: {slo.latency.fast: {priority: 1}}": (
        "monitors.slo.latency.fast: is there only for endpoints and variants that have an SLO of their own: name them "
        "under `slos`, `latency`, `endpoints` or `variants`"
    ),
    "scope: 'env IN (prod,canary)'": (
        "the service check of endpoint.metrics, endpoint.ready, model.ready, model.version_ready, workspace.health, "
        "gpu.health takes only tags that must all be there or must not, without OR and IN"
    ),
    "scope: 'env:a OR env:b'\nmonitors: {gpu.health: {scope: '*'}, endpoint.metrics: {scope: '*'}}": (
        "the service check of endpoint.ready, model.ready, model.version_ready, workspace.health takes only"
    ),
    "monitors: {gpu.health: {scope: 'env IN (a,b)'}}": "write tags such as `env:prod,!region:eu` alone",
    "monitors: {gpu.health: {scope: '!env:*'}}": "write tags such as `env:prod,!region:eu` alone",
    # stacks
    "stack: none": "and not `none`, which stands for the stack without a name",
    "stack: 'a.b'": "must be a name of small letters, digits and _ -",
    "stack: ''": "stack: is empty: leave the key out for the stack without a name",
    # thresholds that contradict one another
    "monitors: {latency.p99: {thresholds: {critical: 2, warning: 3}}}": (
        "monitors.latency.p99.thresholds.warning: 3 is not below critical, which is 2"
    ),
    "monitors: {latency.p99: {thresholds: {warning: 2}}}": "thresholds.warning: 2 is not below critical, which is 2",
    "monitors: {latency.p99: {thresholds: {critical_recovery: 2.5}}}": (
        "thresholds.critical_recovery: 2.5 is not below critical, which is 2"
    ),
    "monitors: {latency.p99: {thresholds: {warning: 1, warning_recovery: 1.5}}}": (
        "thresholds.warning_recovery: 1.5 is not below warning, which is 1"
    ),
    "monitors: {latency.p99: {thresholds: {warning_recovery: 1}}}": "needs a `warning` to recover from",
    "monitors: {gpu.idle: {thresholds: {warning: 3}}}": (
        "thresholds.warning: 3 is not above critical, which is 5: this monitor alerts below its threshold"
    ),
    "monitors: {accuracy.drop: {thresholds: {critical_recovery: -8}}}": (
        "thresholds.critical_recovery: -8 is not above critical, which is -5"
    ),
    "monitors: {gpu.memory: {thresholds: {critical: 120}}}": "120 can never be reached",
    "monitors: {errors.share: {thresholds: {critical: -1}}}": "-1 can never be reached",
    "monitors: {latency.p99: {thresholds: {ok: 1}}}": "thresholds.ok: is for service checks",
    "monitors: {model.ready: {thresholds: {critical: 2.5}}}": "must be a number of runs from 1 to 99, not 2.5",
    "monitors: {model.ready: {thresholds: {critical_recovery: 2}}}": "the recovery of a service check is `ok`",
    # windows
    "monitors: {latency.p99: {window: 5 minutes}}": "window: `5 minutes` is no window: write `last_5m`",
    "monitors: {latency.p99: {window: 30s}}": "`last_30s` is no window: write `last_1m`",
    "monitors: {latency.p99: {window: 9w}}": "`last_9w` is longer than a month",
    "monitors: {latency.p99: {window: next_1h}}": "`next_1h` is no window",
    "monitors: {prediction.shift: {window: 10m}}": "the query of prediction.shift holds for its window of last_1w",
    "monitors: {model.ready: {window: 5m}}": "window: means nothing to a service check",
    "monitors: {latency.p99: {long_window: 2h}}": "long_window: is for burn rates; write `window`",
    "monitors: {slo.availability.fast: {window: 2h}}": "window: is for metrics; write `long_window` and `short_window`",
    "monitors: {slo.availability.fast: {long_window: 30m}}": "long_window: `30m` must be from 1h to 48h",
    "monitors: {slo.availability.fast: {short_window: 1h}}": (
        "the short window `1h` must be shorter than the long one, `1h`"
    ),
    "monitors: {agent.silent: {no_data: 20m}}": "20 minutes are less than twice the window of agent.silent: write 30m",
    "monitors: {slo.availability.fast: {no_data: 20m}}": "no_data: an SLO has no missing data",
    "monitors: {gpu.xid: {no_data: 3h}}": "no_data: gpu.xid counts what happens: that nothing happens is no missing",
    "monitors: {version.changed: {scope: 'a:b'}}": "scope: is not for monitors of events",
    # least numbers and groups
    "monitors: {latency.p99: {min_errors: 5}}": "is not for latency.p99, which asks for no number of errors",
    "monitors: {traffic.none: {min_errors: 5}}": "min_errors: is not for traffic.none",
    "min_errors: 0": "min_errors: must be a whole number from 1 to 1000000, not `0`",
    "monitors: {latency.p99: {notify_by: [model]}}": (
        "`model` is no group of latency.p99; it has serving_system, endpoint_name, model_name"
    ),
    "monitors: {errors.share: {notify_by: ['*']}}": "errors.share is a composite monitor",
    "notify_by: ['*', model_name]": 'notify_by: write names of tags, or ["*"] alone',
    "notify_by: ['model name']": "notify_by[0]: must be the name of a tag",
    # endpoints with an SLO of their own
    "slos: {availability: {endpoints: ['a b']}}": "endpoints: `a b` is no value of the tag endpoint_name",
    "slos: {availability: {endpoints: [a, A]}}": "endpoints: `a` and `A` are one endpoint to Datadog",
    "slos: {availability: {endpoints: {a: {enabled: false}}}}": "endpoints.a: unknown key `enabled`",
    "slos: {availability: {endpoints: {a: {target: 101}}}}": (
        "slos.availability.endpoints.a.target: must be a percentage between 0 and 100"
    ),
    "slos: {availability: {endpoints: {a: {target: 90}}}}": (
        "slos.availability.endpoints.a.target: a target of 90 % can burn at most 10 times"
    ),
    "generative: 'model_name=x'": "generative: `model_name=x`, column 1",
    # SLOs
    "slos: {availability: {target: 0.999}}": "slos.availability.target: is 0.999 %: for a share of 1 write 99.9",
    "slos: {availability: {target: 100}}": "slos.availability.target: must be a percentage between 0 and 100",
    "slos: {availability: {warning: 99}}": "slos.availability.warning: 99 must lie between the target 99.9 and 100",
    "slos: {availability: {timeframe: 14d}}": "timeframe: must be one of 7d, 30d, 90d, not `14d`",
    "slos: {availability: {threshold: 2}}": "threshold: is for an SLO by time slices",
    "slos: {latency: {threshold: 0}}": "threshold: must be a number of seconds above 0",
    "slos: {latency: {slice: 120}}": "slice: must be one of 60, 300, not `120`",
    "slos: {availability: {target: 90}}": (
        "slos.availability.target: a target of 90 % can burn at most 10 times as fast as allowed, so the threshold 14.4"
    ),
    "monitors: {slo.availability.fast: {thresholds: {critical: 2000}}}": (
        "monitors.slo.availability.fast.thresholds.critical: a target of 99.9 % can burn at most 1000 times"
    ),
    "monitors: {slo.availability.fast: {thresholds: {warning: 20}}}": "20 must lie between 0 and 14.4",
    "monitors: {slo.availability.fast: {thresholds: {ok: 1}}}": "is not for burn rates",
}


@pytest.mark.parametrize(("text", "said"), REFUSED.items(), ids=REFUSED)
def test_what_cannot_be_is_refused(load: Load, text: str, said: str) -> None:
    """With the file, the key and what to write."""
    with pytest.raises(DocumentError) as caught:
        load(text)
    assert str(caught.value).partition("values.yaml: ")[0].endswith("/")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        pytest.param(
            """
            prefx: a
            renotify: 5
            monitors:
              latency.p99:
                thresholds: {critical: x, warnin: 1}
                variants: {a: {}, b: {scope: "model_name:x", windw: 5m}}
              errors.shar: {enabled: false}
            slos: {availability: {target: x, endpoints: {fraud: {targt: 3}}}}
            """,
            [
                "unknown key `prefx`",
                "renotify",
                "monitors.latency.p99.thresholds.critical",
                "monitors.latency.p99.thresholds: unknown threshold `warnin`",
                "monitors.latency.p99.variants.a",
                "monitors.latency.p99.variants.b: unknown key `windw`",
                "monitors: unknown monitor `errors.shar`",
                "slos.availability.target",
                "slos.availability.endpoints.fraud: unknown key `targt`",
            ],
            id="of its form",
        ),
        pytest.param(
            """
            monitors:
              latency.p99: {thresholds: {critical: 1, warning: 2}}
              endpoint.ready: {window: 5m}
              errors.share: {long_window: 1h}
            """,
            [
                # Once, though it is said of the monitor that complements this one, too.
                "monitors.latency.p99.thresholds.warning",
                "monitors.errors.share.long_window",
                "monitors.endpoint.ready.window",
            ],
            id="of what the packs have",
        ),
        pytest.param(
            """
            slos: {availability: {variants: {m: {scope: "model_name:x"}}}}
            monitors:
              gpu.temperature: {variants: {x: {scope: "gpu:0"}, y: {scope: "gpu:0"}}}
              endpoint.ready: {window: 5m}
            """,
            [
                "slos.availability.variants.m.scope",
                "monitors.gpu.temperature.variants.y.scope",
                "monitors.endpoint.ready.window",
            ],
            id="of several parts",
        ),
        pytest.param(
            "slos: {availability: {target: 120}, latency: {threshold: 0}}",
            ["slos.availability.target", "slos.latency.threshold"],
            id="of SLOs",
        ),
    ],
)
def test_all_mistakes_are_told_at_once(load: Load, text: str, places: list[str]) -> None:
    """A line for each, with the file and the place."""
    with pytest.raises(DocumentError) as caught:
        load(dedent(text))
    lines = str(caught.value).splitlines()
    assert len(lines) == len(places)
    for line, place in zip(lines, places, strict=True):
        assert line.partition("values.yaml: ")[2].startswith(place)


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    """No file, or no text."""
    with pytest.raises(DocumentError, match=r"missing\.yaml: the values file can't be read: No such file"):
        load_values(tmp_path / "missing.yaml")
    (tmp_path / "latin.yaml").write_bytes("team: mü".encode("latin-1"))
    with pytest.raises(DocumentError, match="is not UTF-8"):
        load_values(tmp_path / "latin.yaml")


def test_empty_file_changes_nothing(load: Load) -> None:
    """A file of comments alone is one."""
    resources = desired(None, load("# nothing yet\n"))
    assert [(one.address, one.body) for one in resources] == [(one.address, one.body) for one in desired(None)]


CHANGED = [
    ("prefix: '[prod] '", "latency.p99", "name", "[prod] p99 latency is high"),
    ("prefix: ''", "latency.p99", "name", "p99 latency is high"),
    ("priority: 4", "errors.share", "priority", 4),
    ("priority: 4\nmonitors: {errors.share: {priority: 2}}", "errors.share", "priority", 2),
    ("renotify: 4h", "model.ready", "options.renotify_interval", 240),
    ("renotify: 4h\nmonitors: {model.ready: {renotify: false}}", "model.ready", "options.renotify_interval", None),
    ("evaluation_delay: 5m", "latency.p99", "options.evaluation_delay", 300),
    ("auto_resolve: 2h", "latency.p99", "options.timeout_h", 2),
    ("auto_resolve: false", "latency.p99", "options.timeout_h", 0),
    ("no_data: false", "workspace.health", "options.notify_no_data", False),
    ("no_data: 1h", "agent.silent", "options.no_data_timeframe", 60),
    ("no_data: 1h", "latency.p99", "options.notify_no_data", False),
    ("monitors: {latency.p99: {no_data: 1h}}", "latency.p99", "options.no_data_timeframe", 60),
    ("monitors: {agent.silent: {window: 1h}}", "agent.silent", "options.no_data_timeframe", 120),
    ("monitors: {errors.share: {window: 10m}}", "errors.share.part", "query", "sum(last_10m):"),
    ("monitors: {errors.share: {window: 10m}}", "errors.share.part.errors", "query", "sum(last_10m):"),
    ("monitors: {errors.share: {window: 10m}}", "errors.share.endpoint", "message", "over the last 10 minutes."),
    ("monitors: {errors.share: {thresholds: {critical: 8}, min_errors: 7}}", "errors.share.rest.part", "query", "> 8"),
    ("monitors: {errors.share: {min_errors: 7}}", "errors.share.grpc.part.errors", "query", ".as_count() >= 7"),
    ("min_errors: 20", "errors.share.part.errors", "query", ".as_count() >= 20"),
    ("min_errors: 20", "errors.client.endpoint.part.errors", "options.thresholds.critical", 20),
    ("monitors: {traffic.none: {min_requests: 50}}", "traffic.none.part.requests", "query", ">= 50"),
    ("scope: env:prod", "errors.share.part.errors", "query",
     "{env:prod,!status_class:4xx,!serving_system:mlserver}"),
    ("monitors: {gpu.throttling: {window: 30m}}", "gpu.throttling", "query", ".as_count() / 1800 * 100 > 20"),
    ("monitors: {gpu.temperature: {notify_by: ['*']}}", "gpu.temperature", "options.notify_by", ["*"]),
    ("notify_by: [endpoint_name]", "gpu.temperature", "options.notify_by", ["endpoint_name"]),
    ("", "gpu.temperature", "options.notify_by", ["serving_system", "endpoint_name"]),
    ("notify_by: [gpu]", "agent.silent", "options.notify_by", ["*"]),
    ("monitors: {gpu.memory: {notify_by: [endpoint_name, gpu_uuid]}}", "gpu.memory.index", "options.notify_by",
     ["endpoint_name"]),
    ("notify_by: [model_name]", "gpu.temperature", "options.notify_by", ["*"]),
    ("notify_by: [model_name, endpoint_name, serving_system]", "latency.p99", "options.notify_by", None),
    ("notify_by: [model_name]", "errors.share", "options.notify_by", None),
    ("generative: 'model_name:sd*'", "latency.p99", "query", "latency{NOT model_name:sd* AND serving_system NOT IN ("),
    ("generative: 'model_name:sd* OR endpoint_name:chat'", "latency.p99.endpoint", "query",
     "{NOT (model_name:sd* OR endpoint_name:chat) AND serving_system NOT IN ("),
    ("generative: 'endpoint_name:chat'", "requests.in_flight", "query",
     "in_flight{endpoint_name:chat AND serving_system NOT IN ("),
    ("scope: env:prod", "endpoint.ready.part", "query", '.over("env:prod").'),
    ("scope: 'env:prod,!region:eu'", "gpu.throttling", "query",
     "{env:prod AND NOT region:eu AND reason IN (thermal,board_limit,reliability)}"),
    ("scope: 'env:prod,!region:eu'", "endpoint.metrics", "query", '.over("env:prod").exclude("region:eu").by('),
    ("scope: 'NOT (region:eu OR zone:a) AND env:prod'", "gpu.health", "query",
     '.over("env:prod").exclude("region:eu","zone:a").by('),
    ("scope: 'region NOT IN (eu,us)'", "endpoint.ready.part", "query",
     '.over("*").exclude("region:eu","region:us").by('),
    ("scope: '!region:eu'", "endpoint.ready.part", "query", '.over("*").exclude("region:eu").by('),
    ("scope: env:prod", "gpu.ecc", "query", "{env:prod,error_type:uncorrected,scope:volatile}"),
    ("monitors: {latency.p99: {scope: 'env:prod OR env:canary'}}", "latency.p99", "query",
     "latency{(env:prod OR env:canary) AND serving_system NOT IN ("),
    ("monitors: {readiness.http: {scope: 'env IN (a,b)'}}", "readiness.http", "query",
     "{env IN (a,b) AND path:*/ready AND NOT status_code:200}"),
    ("scope: env:prod\nmonitors: {latency.p99: {scope: env:canary}}", "latency.p99", "query",
     "{env:canary AND serving_system NOT IN ("),
    ("window: 1h", "latency.p99", "query", "percentile(last_1h):"),
    ("window: 1h\nmonitors: {latency.p99: {window: 10m}}", "latency.p99", "query", "percentile(last_10m):"),
    ("window: 1h", "prediction.shift", "query", "sum(last_1w):"),
    ("monitors: {prediction.shift: {thresholds: {critical: 16}}}", "prediction.shift", "options.thresholds",
     {"critical": 16, "critical_recovery": 7.11}),
    ("monitors: {latency.p99: {window: 10m}}", "latency.p99", "message", "over the last 10 minutes."),
    ("monitors: {gpu.xid: {window: current_1d}}", "gpu.xid", "message", "in the last day;"),
    ("monitors: {latency.p99: {thresholds: {critical: 0.25}}}", "latency.p99", "query", "> 0.25"),
    ("monitors: {model.ready: {thresholds: {critical: 30}}}", "model.ready.part", "query", ".last(31)"),
    ("monitors: {model.ready: {thresholds: {warning: null}}}", "model.ready.part", "query", ".last(6)"),
    ("runbooks: https://wiki.example.com/r", "gpu.xid", "message", "Runbook: https://wiki.example.com/r/gpu.xid"),
    ("runbooks: 'https://wiki.example.com/{monitor}.md'", "gpu.memory.index", "message",
     "Runbook: https://wiki.example.com/gpu.memory.md"),
    ("monitors: {gpu.xid: {runbook: 'https://a.b/c'}}", "gpu.xid", "message", "Runbook: https://a.b/c"),
    ("monitors: {latency.week: {thresholds: {critical: 60}, scope: env:prod}}", "latency.week.endpoint", "query",
     "p95:model_serving.request.latency{env:prod,!model_name:*} by {serving_system,endpoint_name} > 60"),
    ("monitors: {latency.p99: {thresholds: {critical: 1}, window: 10m}}", "latency.p99.endpoint", "query",
     " AND NOT model_name:*} by {serving_system,endpoint_name} > 1"),
    ("monitors: {latency.p99: {priority: 1}, latency.p99.endpoint: {window: 10m}}", "latency.p99.endpoint", "priority",
     1),
    ("monitors: {latency.p99: {priority: 1}, latency.p99.endpoint: {priority: 5}}", "latency.p99.endpoint", "priority",
     5),
    ("scope: env:prod", "errors.share.endpoint.part", "query",
     "{env:prod,!status_class:4xx,!serving_system:mlserver,!model_name:*}"),
    ("scope: 'env IN (a,b)'\nmonitors: {endpoint.metrics: {scope: '*'}, endpoint.ready: {scope: '*'}, "
     "model.ready: {scope: '*'}, model.version_ready: {scope: '*'}, gpu.health: {scope: '*'}, "
     "workspace.health: {scope: '*'}}",
     "latency.week.endpoint", "query", "{env IN (a,b) AND NOT model_name:*}"),
    ("slos: {availability: {timeframe: 7d}}", "slo.availability.fast.part", "query", '.over("7d")'),
    ("slos: {availability: {timeframe: 7d}}", "slo.availability.fast.part", "query", "> 16.8"),
    ("slos: {latency: {endpoints: [Fraud]}}\nmonitors: {slo.latency.slow: {long_window: 48h, short_window: 4h}}",
     "slo.latency.slow.fraud", "query",
     '.long_window("48h").short_window("4h")'),
    ("slos: {availability: {endpoints: {fraud: {timeframe: 7d}}}}", "slo.availability.fast.fraud.part", "query",
     'burn_rate("${slo:availability.fraud}").over("7d").long_window("1h").short_window("5m") > 16.8'),
    ("slos: {availability: {scope: 'env:eu', endpoints: [fraud]}}\nscope: env:prod",
     "slo.availability.fast.fraud.part.errors", "query",
     "sum(last_1h):sum:model_serving.request.error.count{env:eu,endpoint_name:fraud,!status_class:4xx,"),
    ("min_errors: 9", "slo.availability.slow.part.errors", "query", ".as_count() >= 9"),
    ("monitors: {slo.availability.slow: {long_window: 20h}}\nwindow: 10m", "slo.availability.slow.part.errors", "query",
     "sum(last_20h):"),
    ("monitors: {slo.availability.fast: {thresholds: {critical: 10, warning: 5}}}", "slo.availability.fast", "message",
     "{{#is_warning}}"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "key", "path", "expected"), CHANGED)
def test_value_is_in_the_monitor(load: Load, text: str, key: str, path: str, expected: Any) -> None:
    """Texts hold what is expected, everything else is it; and Datadog would still take the monitor."""
    body = bodies(load(text))[key]
    value: Any = body
    for step in path.split("."):
        value = value.get(step)
    if isinstance(expected, str) and path != "name":
        assert expected in value
    else:
        assert value == expected
    assert [one.message for one in check_monitor(body) if one.severity == "error"] == []


@pytest.mark.parametrize(
    ("key", "said", "expected"),
    [
        ("latency.p99", {"critical": 1}, {"critical": 1, "critical_recovery": 0.8}),
        ("latency.p99", {"critical_recovery": None}, {"critical": 2}),
        ("latency.p99", {"warning": 1.8}, {"critical": 2, "warning": 1.8}),
        (
            "cpu.high",
            {"critical": 99},
            {"critical": 99, "critical_recovery": 93.5, "warning": 88, "warning_recovery": 82.5},
        ),
        ("cpu.high", {"warning": None}, {"critical": 90, "critical_recovery": 85}),
        ("cpu.high", {"warning": 70}, {"critical": 90, "critical_recovery": 85, "warning": 70}),
        ("cpu.high", {"warning": 88}, {"critical": 90, "warning": 88, "warning_recovery": 75}),
        ("accuracy.drop", {"critical": -10}, {"critical": -10, "critical_recovery": -4}),
        # As a person would write them, not 75.5556.
        (
            "cpu.high",
            {"critical": 80},
            {"critical": 80, "critical_recovery": 75.6, "warning": 71.1, "warning_recovery": 66.7},
        ),
        ("gpu.xid", {"critical": 3}, {"critical": 3}),
    ],
)  # fmt: skip
def test_other_thresholds_follow(key: str, said: dict[str, float | None], expected: dict[str, float]) -> None:
    """In proportion, unless they would contradict what the user says."""
    values = Values(monitors={key: MonitorValues(thresholds=said)})
    assert bodies(values)[key]["options"]["thresholds"] == expected


METRIC = sorted(key for key, entry in monitor_entries().items() if entry.form == "metric" and entry.bounds is None)
THRESHOLD = st.one_of(st.none(), st.floats(-1000, 1000).map(lambda number: round(number, 3)))


@given(
    st.sampled_from(METRIC),
    st.fixed_dictionaries({}, optional=dict.fromkeys(("warning", "critical_recovery", "warning_recovery"), THRESHOLD)),
    st.one_of(st.none(), st.floats(-1000, 1000).map(lambda number: round(number, 3))),
)
@settings(max_examples=60, deadline=None)
def test_thresholds_are_refused_or_right(key: str, beside: dict[str, float | None], critical: float | None) -> None:
    """Whatever is said of thresholds, nothing gets through that the check of monitors would call an error."""
    said = {**beside, **({} if critical is None else {"critical": critical})}
    values = Values(packs=(monitor_entries()[key].pack,), monitors={key: MonitorValues(thresholds=said)})
    try:
        body = bodies(values)[monitor_entries()[key].part]
    except DocumentError as error:
        assert f"monitors.{key}.thresholds" in str(error)  # noqa: PT017
        return
    assert [
        one.message for one in check_monitor(body) if one.id == "monitor/threshold" and one.severity == "error"
    ] == []
    for name, value in said.items():
        assert body["options"]["thresholds"].get(name) == value


def test_monitor_that_complements_another_goes_with_it(load: Load) -> None:
    """Unless it is wanted alone."""
    assert not {"latency.p99", "latency.p99.endpoint"} & set(bodies(load("monitors: {latency.p99: {enabled: false}}")))
    alone = bodies(load("monitors: {latency.p99: {enabled: false}, latency.p99.endpoint: {enabled: true}}"))
    assert "latency.p99.endpoint" in alone
    assert "latency.p99" not in alone


def test_teams_by_pack_monitor_and_all(load: Load) -> None:
    """The narrowest wins."""
    found = bodies(load("team: ml\nteams: {gpu: infra}\nmonitors: {gpu.xid: {team: hardware}}"))
    teams = {key: [tag for tag in found[key]["tags"] if tag.startswith("team:")] for key in found}
    assert teams["gpu.xid"] == ["team:hardware"]
    assert teams["gpu.memory"] == ["team:infra"]
    assert teams["accuracy.drop"] == ["team:ml"]


def test_tags_add_up(load: Load) -> None:
    """Those of all monitors and SLOs, and those of one."""
    values = load(
        "tags: ['cost_center:ml']\nmonitors: {gpu.xid: {tags: ['pager:yes']}}\nslos: {latency: {tags: ['a:b']}}"
    )
    assert bodies(values)["gpu.xid"]["tags"][-2:] == ["cost_center:ml", "pager:yes"]
    assert bodies(values)["gpu.ecc"]["tags"][-1] == "cost_center:ml"
    assert bodies(values, "slo")["latency"]["tags"][-2:] == ["cost_center:ml", "a:b"]


def test_dashboards_follow(load: Load) -> None:
    """Scope, prefix, markers and teams; tags of a dashboard are teams or nothing."""
    plain = bodies(Values(), "dashboard")
    assert all("tags" not in body for body in plain.values())
    values = load("scope: env:prod\nprefix: 'P '\nteam: ml\ndashboards: {cost: false}\n"
                  "monitors: {latency.p99: {thresholds: {critical: 7}}, errors.share: {enabled: false}}")  # fmt: skip
    found = bodies(values, "dashboard")
    assert set(found) == set(plain) - {"cost"}
    overview = found["overview"]
    assert (overview["title"], overview["tags"]) == ("P Overview", ["team:ml"])
    text = str(overview)
    assert "{env:prod,$system,$endpoint,$model,$version}" in text
    assert "'value': 'y = 7'" in text
    assert "'y = 5'" not in text
    assert [one for body in found.values() for one in check_dashboard(body) if one.severity == "error"] == []


def test_slo_values(load: Load) -> None:
    """Target, warning in the middle of what is left, timeframe, threshold, slice, scope."""
    values = load("scope: env:prod\nslos: {availability: {target: 99, scope: 'env:canary'}, "
                  "latency: {threshold: 0.5, slice: 60, warning: 99.9, timeframe: 90d}}")  # fmt: skip
    found = bodies(values, "slo")
    assert found["availability"]["thresholds"] == [{"timeframe": "30d", "target": 99, "warning": 99.5}]
    assert "count{env:canary}" in found["availability"]["query"]["denominator"]
    assert "{env:canary,!status_class:4xx,!serving_system:mlserver}" in found["availability"]["query"]["numerator"]
    slices = found["latency"]["sli_specification"]["time_slice"]
    assert (slices["threshold"], slices["query_interval_seconds"]) == (0.5, 60)
    query = slices["query"]["queries"][0]["query"]
    assert query.startswith("p99:model_serving.request.latency{env:prod AND serving_system NOT IN (")
    assert found["latency"]["thresholds"] == [{"timeframe": "90d", "target": 99, "warning": 99.9}]
    assert [one for body in found.values() for one in check_slo(body)] == []


def test_slo_that_is_left_out_takes_its_alerts_along(load: Load) -> None:
    """Nothing may refer to it."""
    resources = desired(None, load("slos: {latency: {enabled: false}}"))
    assert {one.key for one in resources if one.kind == "slo"} == set(slo_entries()) - {"latency"}
    assert not any("${slo:latency}" in str(one.body) for one in resources)


def test_an_endpoint_has_an_slo_of_its_own(load: Load) -> None:
    """With its own target, and alerts that take the place of those over all endpoints."""
    values = load(
        "scope: env:prod\nslos: {availability: {target: 99.5, endpoints: {Fraud-EU: {target: 99}, chat: }}, "
        "latency: {endpoints: [chat]}}"
    )
    found = bodies(values, "slo")
    named = {"availability.fraud-eu", "availability.chat", "latency.chat"}
    assert set(found) == {*slo_entries(), *named}
    # One that the user names has an SLO on its latency whatever serves it.
    query = found["latency.chat"]["sli_specification"]["time_slice"]["query"]["queries"][0]["query"]
    assert query == "p99:model_serving.request.latency{env:prod,endpoint_name:chat}"
    assert found["availability.fraud-eu"]["thresholds"] == [{"timeframe": "30d", "target": 99, "warning": 99.5}]
    assert found["availability.chat"]["thresholds"][0]["target"] == 99.5
    assert found["availability.fraud-eu"]["query"] == {
        "numerator": "sum:model_serving.request.count{env:prod,endpoint_name:fraud-eu}.as_count() - "
        "sum:model_serving.request.error.count{env:prod,endpoint_name:fraud-eu,!status_class:4xx,"
        "!serving_system:mlserver}.as_count() - "
        "sum:model_serving.mlserver.rest.request.count{env:prod,endpoint_name:fraud-eu,status_class:5xx}.as_count() - "
        "sum:model_serving.mlserver.grpc.request.count{env:prod,endpoint_name:fraud-eu,status_class:5xx}.as_count()",
        "denominator": "sum:model_serving.request.count{env:prod,endpoint_name:fraud-eu}.as_count()",
    }
    assert "endpoint_name:chat" in found["latency.chat"]["tags"]
    assert [one for body in found.values() for one in check_slo(body)] == []
    alerts = {key: body for key, body in bodies(values).items() if key.startswith("slo.") and ".part" not in key}
    assert {key.rpartition(".")[2] for key in alerts} == {"fraud-eu", "chat"}
    assert len(alerts) == 9
    assert "For: endpoint chat\n" in alerts["slo.latency.fast.chat"]["message"]
    assert "endpoint_name:chat" in alerts["slo.latency.fast.chat"]["tags"]


def test_packs_of_the_file_give_way_to_those_of_the_command(load: Load) -> None:
    """`--pack` is said last."""
    values = load("packs: [gpu]")
    assert {one.key for one in desired(None, values) if one.kind == "dashboard"} == {"gpu"}
    assert {one.key for one in desired(["cost"], values) if one.kind == "dashboard"} == {"cost"}


def test_price_of_a_gpu(load: Load) -> None:
    """What tokens cost is on the dashboard once the file says what an hour of a GPU costs. GPUs and language models are
    endpoints of their own, so no choice of an endpoint narrows it."""
    without = json.dumps(bodies(load("prefix: ''"), "dashboard"))
    assert "GPUs, per million tokens" not in without
    assert "gpu_hour_price}" not in without
    board = bodies(load("gpu_hour_price: 2.5"), "dashboard")["llm"]
    queries = [
        one["definition"]["requests"][0]["q"]
        for group in board["widgets"]
        for one in group["definition"]["widgets"]
        if one["definition"].get("title", "").startswith("GPUs, per million tokens")
    ]
    assert len(queries) == 2
    for query in queries:
        assert query.startswith("2.5 * count_nonzero(avg:model_serving.gpu.temperature{$env,$host} by {gpu_uuid}")
        assert "$endpoint" not in query
    assert [one for one in check_dashboard(board) if one.severity == "error"] == []
    assert "dollars" not in json.dumps(bodies(load("prefix: ''"), "dashboard")["cost"])
    board = bodies(load("gpu_hour_price: 2.5"), "dashboard")["cost"]
    costs = re.findall(r'"q": "(2\.5 [^"]*)"', json.dumps(board))
    # Each GPU once, however many series it has.
    hours = "2.5 * count_nonzero(avg:model_serving.gpu.temperature{$env,$host} by {gpu_uuid}.rollup(avg, 3600))"
    assert [query.startswith(hours) for query in costs] == [True, True]
    assert [one for one in check_dashboard(board) if one.severity == "error"] == []
    with pytest.raises(DocumentError, match="gpu_hour_price: must be a number of dollars above 0"):
        load("gpu_hour_price: 0")


def test_monitors_that_are_not_chosen_are_checked_too(load: Load) -> None:
    """A mistake does not wait until somebody chooses the pack."""
    with pytest.raises(DocumentError, match="120 can never be reached"):
        load("packs: [cost]\nmonitors: {gpu.memory: {thresholds: {critical: 120}}}")


def test_example_of_the_documentation(load: Load) -> None:
    """It loads, and does what its comments say."""
    values = load(EXAMPLE)
    found = bodies(values)
    assert found["latency.p99"]["name"] == "[prod] p99 latency is high"
    assert found["gpu.temperature"]["options"]["thresholds"] == {"critical": 80, "critical_recovery": 75.3}
    assert "traffic.none" not in found
    assert "slo.availability.fast" not in found
    for name in ("fraud", "ranking"):
        assert found[f"slo.availability.fast.{name}.part"]["query"].endswith('.short_window("5m") > 16.8')
    assert bodies(values, "slo")["availability.fraud"]["target_threshold"] == 99.9
    assert "\nRunbook: https://git.example.com/ml/docs/runbooks/gpu.xid.md" in found["gpu.xid"]["message"]
    assert "notify_by" not in found["gpu.temperature"]["options"]
    assert found["gpu.throttling"]["options"]["notify_by"] == ["serving_system", "endpoint_name"]
    assert found["errors.share.part.errors"]["query"].endswith(">= 10")
    assert set(bodies(values, "dashboard")) == {"overview", "gpu"}
    problems = [one for body in found.values() for one in check_monitor(body) if one.severity == "error"]
    assert problems == []


def test_every_key_is_documented() -> None:
    """The table of keys is complete, and so is the example's top level."""
    table = DOCUMENT.partition("| key of a monitor |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", "\n".join(line.split("|")[1] for line in table.splitlines()[2:]))) == set(MONITOR)
    assert {"prefix", "packs", "runbooks", "teams", "monitors", "slos", "dashboards"} <= set(yaml.safe_load(EXAMPLE))
