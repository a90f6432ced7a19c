"""What a Pushgateway serves is sent for as long as `stale_after` says, counted from its push."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.model_serving.scrape import collector
from datadog_checks.model_serving.scrape.pushes import Pushes

from ..conftest import Endpoint, make_check, submissions
from .generated import Clock
from .tables import PAYLOADS

NOW = 1_800_000_000.0


def scraped(
    check: Any, aggregator: Any, endpoint: Endpoint, payload: str, monkeypatch: pytest.MonkeyPatch, now: float = NOW
) -> list[str]:
    """What one scrape at a time submits, without the tags that everything has."""
    aggregator.reset()
    endpoint.serve(payload)
    monkeypatch.setattr(collector, "time", Clock(now))
    assert check.run() == ""
    return submissions(aggregator, ("serving_system", "endpoint_name"))


def check_of(endpoint: Endpoint, **options: Any) -> Any:
    instance = {"serving_system": "custom_ml", "tag_by_endpoint": False, "readiness": False, **options}
    return make_check(openmetrics_endpoint=endpoint.url, **instance)


def pushed(ago: float, labels: str = 'instance="",job="train"', value: float = 0.9) -> str:
    return f"model_accuracy{{{labels}}} {value}\npush_time_seconds{{{labels}}} {NOW - ago}\n"


SENT = ["gauge model.accuracy 90 job:train"]
REFUSED = ["count scrape.samples.rejected 1 raw_metric:model_accuracy reason:stale"]
TIMED = f'model_accuracy{{job="train"}} 0.9 {int(NOW - 600) * 1000}\n'
# Options, payload, what is submitted.
CASES: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "just pushed": ({}, pushed(5), SENT),
    "within an hour": ({}, pushed(3600), SENT),
    "longer ago": ({}, pushed(3601), REFUSED),
    "never pushed well": ({}, pushed(NOW), REFUSED),
    "by a clock that is ahead": ({}, pushed(-60), SENT),
    "at no known time": ({}, pushed(0).replace(f"{NOW}", "NaN"), SENT),
    "within the time that is set": ({"stale_after": 86400}, pushed(80000), SENT),
    "longer ago than is set": ({"stale_after": 60}, pushed(61), REFUSED),
    "without an end": ({"stale_after": 0}, pushed(NOW), SENT),
    "not pushed": ({}, pushed(9999).splitlines(True)[0], SENT),
    "of another group": (
        {},
        pushed(9999).replace('push_time_seconds{instance="",job="train"', 'push_time_seconds{job="x"'),
        SENT,
    ),
    "with a timestamp": ({}, TIMED, SENT),
    "with a timestamp, where a time is set": ({"stale_after": 500}, TIMED, REFUSED),
    "with a timestamp that is newer": ({"stale_after": 700}, TIMED, SENT),
    "with a timestamp, without an end": ({"stale_after": 0}, TIMED, SENT),
}


@pytest.mark.parametrize("name", CASES)
def test_age(
    name: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the first scrape, and in one that knows the lines."""
    options, payload, due = CASES[name]
    check = check_of(endpoint, **options)
    for _ in range(3):
        assert scraped(check, aggregator, endpoint, payload, monkeypatch) == due


def test_it_grows_old_and_is_pushed_again(
    endpoint: Endpoint, aggregator: Any, datadog_agent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A counter that was stale meanwhile goes on from where it was."""
    labels = 'instance="",job="train",model="m"'

    def payload(total: int, moment: float) -> str:
        return f'inference_requests_total{{{labels}}} {total}\npush_time_seconds{{instance="",job="train"}} {moment}\n'

    check = check_of(endpoint)
    steps = [
        (payload(100, NOW), NOW, []),
        (payload(104, NOW + 60), NOW + 60, ["count request.count 4 job:train model_name:m"]),
        (payload(104, NOW + 60), NOW + 9000, [REFUSED[0].replace("model_accuracy", "inference_requests_total")]),
        (payload(107, NOW + 9010), NOW + 9010, ["count request.count 3 job:train model_name:m"]),
    ]
    for text, now, due in steps:
        assert scraped(check, aggregator, endpoint, text, monkeypatch, now) == due


@pytest.mark.parametrize("behind", ["", "federated"])
def test_real(
    behind: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real one's answer with two groups, whose time of a push is moved back in turn."""
    text = (PAYLOADS / "foreign" / "pushgateway_1.5.1.prom").read_text(encoding="utf-8")
    if behind:
        text = re.sub("# .*\n", "", text).replace('instance="",', "").replace('job="', 'cluster="lab",job="')
    times = [float(each) for each in re.findall(r"^push_time_seconds\S* (\S+)$", text, re.MULTILINE)]
    assert len(times) == 2
    for moment, jobs in ((0.0, {"nightly", "training"}), (5000.0, set())):
        found = scraped(check_of(endpoint), aggregator, endpoint, text, monkeypatch, max(times) + moment)
        assert {job for line in found for job in re.findall(r"gauge model.accuracy .* job:(\w+)", line)} == jobs
    text = re.sub(r'(push_time_seconds\{[^}]*job="nightly"[^}]*\}) \S+', r"\1 1.79e9", text)
    found = scraped(check_of(endpoint), aggregator, endpoint, text, monkeypatch, max(times))
    assert {job for line in found for job in re.findall(r"gauge model.accuracy .* job:(\w+)", line)} == {"training"}


LABELS = st.dictionaries(st.sampled_from(["job", "instance", "team"]), st.sampled_from(["", "a", "b"]))


@given(groups=st.lists(LABELS, max_size=6), series=LABELS, more=LABELS)
def test_the_group_of_a_series(groups: list[dict[str, str]], series: dict[str, str], more: dict[str, str]) -> None:
    """It is the one with most labels of those that the series has all labels of; empty labels are none.

    What has no job is no group, but another program's metric of that name.
    """

    def filled(labels: dict[str, str]) -> set[tuple[str, str]]:
        return {item for item in labels.items() if item[1]}

    pushes = Pushes()
    for one in (more, series):
        pushes.begin()
        pushes.note((labels, float(number)) for number, labels in enumerate(groups))
        assert pushes.complete() == any(group.get("job") for group in groups)
        found = pushes.time_of(frozenset(one.items()))
        fitting = [filled(group) for group in groups if group.get("job") and filled(group) <= filled(one)]
        if not fitting:
            assert found is None
            continue
        assert found is not None
        chosen = filled(groups[int(found)])
        assert chosen <= filled(one)
        assert len(chosen) == max(map(len, fitting))
