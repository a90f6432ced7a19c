"""What may be meant in a values or a routing file, and seldom is."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from datadog_checks.model_serving.errors import DocumentError
from datadog_checks.model_serving.workstation.provision.advice import advice, explained, unplanned
from datadog_checks.model_serving.workstation.provision.desired import desired, load_values
from datadog_checks.model_serving.workstation.provision.mistakes import checked
from datadog_checks.model_serving.workstation.provision.routing import load_routing
from datadog_checks.model_serving.workstation.provision.values import Values, read_values


def of_routing(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "routing.yaml"
    path.write_text(text, encoding="utf-8")
    return [line.removeprefix(f"{path}: ") for line in advice(Values(), load_routing(path))]


HANDLES = {
    "slack-ml-alerts": "",
    "slack-acme-ml_alerts": "",
    "pagerduty-ml": "",
    "pagerduty": "",
    "teams-ml": "",
    "webhook-pager": "",
    "opsgenie-ml": "",
    "oncall-ml": "",
    "team-ml": "",
    "case-ml": "",
    "workflow-restart": "",
    "jira-ml": "",
    "all": "",
    "ml@example.com": "",
    "ml-alerts": "write `slack-ml-alerts`, `pagerduty-<service>`, `teams-<channel>`, `webhook-<name>` or an address",
    "alice": "write `slack-alice`",
    "slak-ml": "did you mean `slack-ml`?",
    "pager-duty-ml": "write `slack-pager-duty-ml`",
    "slack": "write `slack-<name>`",
    "slack-": "write `slack-<name>`",
}


@pytest.mark.parametrize(("handle", "said"), HANDLES.items(), ids=HANDLES)
def test_a_handle_of_no_service_is_told(tmp_path: Path, handle: str, said: str) -> None:
    """Datadog takes any text, and nobody hears."""
    told = of_routing(tmp_path, f"{{receiver: a, receivers: {{a: {{to: ['{handle}']}}}}}}")
    if not said:
        assert told == []
        return
    (line,) = told
    assert line.startswith(f"receivers.a.to: `{handle}` is no address and begins with no service")
    assert said in line


def test_a_receiver_that_no_route_names_is_told(tmp_path: Path) -> None:
    """As Alertmanager takes it, this is no error; routes below others count."""
    told = of_routing(
        tmp_path,
        "{receiver: a, routes: [{match: {team: x}, receiver: a, routes: [{match: {pack: gpu}, receiver: b}]}], "
        "receivers: {a: {to: slack-a}, b: {to: slack-b}, c: {to: slack-c}}}",
    )
    assert told == ["receivers.c: no route names this receiver, so it hears of nothing"]


def test_a_word_alone_in_a_scope_is_told(tmp_path: Path) -> None:
    """Wherever the file has a scope. It is a tag without a key, which few mean."""
    path = tmp_path / "values.yaml"
    path.write_text(
        "scope: env:prod,!dev\n"
        "monitors:\n"
        "  latency.p99: {scope: 'prod', variants: {a: {scope: 'chat'}, b: {scope: '*'}}}\n"
        "slos: {latency: {scope: 'mlserver'}}\n",
        encoding="utf-8",
    )
    told = [line.removeprefix(f"{path}: ") for line in advice(read_values(path), None)]
    alone = "is a tag without a key, which few series have;"
    assert told == [
        f"scope: `dev` {alone} did you mean `env:dev`?",
        f"monitors.latency.p99.scope: `prod` {alone} did you mean `env:prod`?",
        f"monitors.latency.p99.variants.a.scope: `chat` {alone} write it as `endpoint_name:chat` or `env:chat`",
        f"slos.latency.scope: `mlserver` {alone} did you mean `serving_system:mlserver`?",
    ]


def test_a_word_alone_that_service_checks_would_have_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_text("scope: prod", encoding="utf-8")
    with pytest.raises(
        DocumentError, match=r"scope: no service check can have this: `prod` is a tag without a key.* `env:prod`"
    ):
        load_values(path)


def warnings(tmp_path: Path, text: str, fed: bool = False) -> list[str]:
    """What a plan warns of, without the path of the values file, of which each begins with the place there."""
    path = tmp_path / "values.yaml"
    path.write_text(text, encoding="utf-8")
    values = load_values(path)
    told: list[str] = []
    checked(desired(None, values), warn=told.append, explain=partial(explained, values, fed))
    return [line.removeprefix(f"{path}: ") for line in told]


OF_VALUES = {
    "monitors: {latency.p99: {thresholds: {critical: 2000}}}": (
        "monitors.latency.p99.thresholds.critical: 2000 s is 33 minutes: for milliseconds write 2"
    ),
    "monitors: {latency.p99.endpoint: {thresholds: {critical: 2000}}}": (
        "monitors.latency.p99.endpoint.thresholds.critical: 2000 s is 33 minutes: for milliseconds write 2"
    ),
    "monitors: {latency.p99: {variants: {a: {scope: 'model_name:x', thresholds: {critical: 400}}}}}": (
        "monitors.latency.p99.variants.a.thresholds.critical: 400 s is 7 minutes: for milliseconds write 0.4"
    ),
    "monitors: {llm.inter_token: {thresholds: {critical: 50}}}": (
        "monitors.llm.inter_token.thresholds.critical: 50 s is long for this: for milliseconds write 0.05"
    ),
    "monitors: {errors.share: {thresholds: {critical: 0.01, critical_recovery: 0.005}}}": (
        "monitors.errors.share.thresholds.critical: 0.01 is 0.01 %: percent run from 0 to 100; write 1 for a share"
    ),
    "slos: {latency: {threshold: 2000}}": ("slos.latency.threshold: 2000 s is 33 minutes: for milliseconds write 2"),
    "slos: {latency: {endpoints: {A: {threshold: 3000}}}}": (
        "slos.latency.endpoints.A.threshold: 3000 s is 50 minutes: for milliseconds write 3"
    ),
    "scope: env:Prod": "scope: `env:Prod` finds nothing: Datadog stores it as `env:prod`, so write that",
    "scope: 'env:prod,!region:EU'": "scope: `region:EU` finds nothing: Datadog stores it as `region:eu`, so write that",
    "generative: model_name:SDXL": (
        "generative: `model_name:SDXL` finds nothing: Datadog stores it as `model_name:sdxl`, so write that"
    ),
    "scope: gpu_uid:x": "scope: what is watched has no tag `gpu_uid` unless you add it; did you mean `gpu_uuid`?",
    "monitors: {latency.p99: {scope: model_nam:x}}": (
        "monitors.latency.p99.scope: `model_serving.request.latency` has no tag `model_nam` unless you add it; "
        "did you mean `model_name`?"
    ),
}


@pytest.mark.parametrize(("text", "said"), OF_VALUES.items(), ids=OF_VALUES)
def test_a_warning_about_a_value_names_its_place_in_the_file(tmp_path: Path, text: str, said: str) -> None:
    """Once, however many monitors it is of, and none of a column in a query that the user has not written."""
    assert warnings(tmp_path, text) == [said]


def test_a_scope_that_selects_nothing_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(DocumentError) as caught:
        warnings(tmp_path, "scope: env:a*b")
    assert str(caught.value).endswith(
        "values.yaml: scope: `a*b` selects nothing: a wildcard stands at the start or the end of a value"
    )


def test_a_variant_of_a_system_that_the_scope_for_all_leaves_out_is_told(tmp_path: Path) -> None:
    """Of a variant by anything else a part of the query is for other systems, as of what it is a variant of."""
    text = """
        scope: serving_system:mlserver
        monitors:
          latency.p99: {variants: {v: {scope: "%s"}}}
          errors.share: {variants: {v: {scope: "%s"}}}
        slos: {latency: {variants: {v: {scope: "%s"}}}}
        """
    (told,) = warnings(tmp_path, text % (("serving_system:vllm",) * 3), fed=True)
    assert all(f"{one}.v" in told for one in ("slo:latency", "monitor:latency.p99", "monitor:errors.share"))
    assert "tags in the scope exclude each other" in told
    assert warnings(tmp_path, text % (("endpoint_name:a",) * 3), fed=True) == []


def test_a_downtime_for_nothing_that_is_provisioned_is_told(tmp_path: Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_text(
        """
        packs: [golden_signals]
        monitors: {latency.mean: {enabled: false}}
        downtimes:
          a: {monitors: [gpu.temperature], starts: 2126-01-05T20:00, lasts: 2h}
          b: {monitors: [latency.mean, latency.p99], starts: 2126-01-05T20:00, lasts: 2h}
          c: {monitors: [latency.mean], starts: 2126-01-05T20:00, lasts: 2h}
          d: {starts: 2126-01-05T20:00, lasts: 2h}
        """,
        encoding="utf-8",
    )
    values = load_values(path)
    told = list(unplanned(values, desired(None, values)))
    assert [line.removeprefix(f"{path}: ").partition(": ")[0] for line in told] == [
        "downtimes.a",
        "downtimes.b.monitors[0]",
        "downtimes.c",
    ]
    assert "so it isn't planned; add their pack to `packs`, switch them on, or take it out" in told[0]
