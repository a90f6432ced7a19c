"""What an instance may say of a Prometheus, and what is wrong with it, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from datadog_checks.base import ConfigurationError

from datadog_checks.model_serving.workstation.bridge.prometheus.entries import (
    QueryEntry,
    ReceiverEntry,
    read_expose,
    read_instance,
)
from datadog_checks.model_serving.workstation.bridge.prometheus.source import BridgeCheck

PROM = {"url": "http://prom:9090", "match": ['{job="a"}']}
HERE = {"listen": "127.0.0.1:9291"}


@pytest.mark.parametrize(
    ("instance", "entry"),
    [
        ({"prometheus": PROM}, QueryEntry("http://prom:9090", ('{job="a"}',), 120.0, 0.0)),
        (
            {"prometheus": {**PROM, "match": "up", "window": "1m30s", "delay": 30}},
            QueryEntry("http://prom:9090", ("up",), 90.0, 30.0),
        ),
        (
            {"prometheus": {**PROM, "url": "https://u:p@thanos/q/api/v1/query?dedup=true"}},
            QueryEntry("https://u:p@thanos/q", ('{job="a"}',), 120.0, 0.0, (("dedup", "true"),)),
        ),
        (
            {"remote_write": {**HERE, "delay": "0s", "max_age": "10m", "max_series": 5}},
            ReceiverEntry("127.0.0.1", 9291, "", 0.0, 600.0, 5),
        ),
        (
            {"remote_write": {"listen": "0.0.0.0:9291", "token_env": "TOKEN"}},
            ReceiverEntry("0.0.0.0", 9291, "secret", 10.0, 300.0, 100_000),
        ),
        ({"remote_write": {"listen": "[::1]:9291"}}, ReceiverEntry("::1", 9291, "", 10.0, 300.0, 100_000)),
        ({"remote_write": {}}, ReceiverEntry("127.0.0.1", 9291, "", 10.0, 300.0, 100_000)),
        ({"openmetrics_endpoint": "http://a/metrics"}, None),
    ],
)
def test_entries(instance: dict[str, Any], entry: QueryEntry | ReceiverEntry | None) -> None:
    assert read_instance(instance, {"TOKEN": " secret\n"}).entry == entry


def test_the_other_options_stay(tmp_path: Path) -> None:
    instance = {"prometheus": PROM, "serving_system": "mlserver", "tags": ["a:b"], "readiness": True}
    assert read_instance(instance, {}).options == {
        "openmetrics_endpoint": "http://prom:9090/api/v1/query?match%5B%5D=%7Bjob%3D%22a%22%7D",
        "serving_system": "mlserver",
        "tags": ["a:b"],
        "readiness": True,
    }


def test_a_token_goes_with_the_requests_of_the_check() -> None:
    instance = {"prometheus": {**PROM, "token_env": "TOKEN"}, "headers": {"X-A": "b"}}
    of_environment = read_instance(instance, {"TOKEN": "t"}).options
    assert of_environment["headers"] == {"X-A": "b", "Authorization": "Bearer t"}
    of_file = read_instance({"prometheus": {**PROM, "token_file": "/run/token"}}, {}).options
    assert of_file["auth_token"]["reader"] == {"type": "file", "path": "/run/token"}


@pytest.mark.parametrize(
    ("instance", "said"),
    [
        ({"prometheus": "http://prom"}, "`prometheus` must be a mapping, as"),
        ({"prometheus": {"match": ["up"]}}, "`prometheus.url`: must be given"),
        (
            {"prometheus": {**PROM, "url": "prom:9090"}},
            "`prometheus.url`: must start with http:// or https://",
        ),
        ({"prometheus": {"url": "http://prom"}}, "`prometheus.match`: must be a list of selectors"),
        ({"prometheus": {**PROM, "match": ["rate(up[5m])"]}}, "'rate(up[5m])' is no selector of series"),
        ({"prometheus": {**PROM, "match": ["up[5m]"]}}, "'up[5m]' is no selector of series"),
        ({"prometheus": {**PROM, "window": "two minutes"}}, "`prometheus.window`: must be a time of 1 s or more"),
        ({"prometheus": {**PROM, "window": 0}}, "`prometheus.window`: must be a time of 1 s or more"),
        ({"prometheus": {**PROM, "delay": True}}, "`prometheus.delay`: must be a time"),
        ({"prometheus": {**PROM, "macht": 1}}, "`prometheus` has no option `macht`: did you mean `match`?"),
        ({"prometheus": {**PROM, "token_env": "GONE"}}, "the variable 'GONE' is not set"),
        ({"prometheus": {**PROM, "token_env": "T", "token_file": "f"}}, "two places of one token"),
        ({"prometheus": {**PROM, "token_file": "f"}, "username": "me"}, "has a token and the instance `username`"),
        ({"prometheus": PROM, "remote_write": HERE}, "`prometheus` and `remote_write` are two sources"),
        ({"prometheus": PROM, "gpu": "nvml"}, "`prometheus` and `gpu` are two sources"),
        ({"remote_write": ["a"]}, "`remote_write` must be a mapping"),
        ({"remote_write": {"listen": "9291"}}, "`remote_write.listen`: must be an address and a port"),
        ({"remote_write": {"listen": "127.0.0.1:99999"}}, "`remote_write.listen`: must be an address and a port"),
        ({"remote_write": {"listen": "0.0.0.0:9291"}}, "0.0.0.0 can be reached from elsewhere: set `token_file`"),
        ({"remote_write": {"listen": "bridge:9291"}}, "bridge can be reached from elsewhere"),
        ({"remote_write": {**HERE, "token_file": "/nowhere/token"}}, "/nowhere/token can't be read: No such file"),
        ({"remote_write": {**HERE, "max_series": 0}}, "`remote_write.max_series`: must be a whole number above 0"),
        ({"remote_write": {**HERE, "port": 1}}, "`remote_write` has no option `port`"),
    ],
)
def test_mistakes(instance: dict[str, Any], said: str) -> None:
    assert any(said in problem for problem in read_instance(instance, {"T": "t"}).problems)


def test_all_mistakes_are_told_at_once_and_no_secret() -> None:
    with pytest.raises(ConfigurationError) as error:
        BridgeCheck(
            "model_serving", {}, [{"prometheus": {"url": "https://me:hidden-word@prom", "macht": [], "window": -1}}]
        )
    message = str(error.value)
    assert message.startswith("instance `prometheus: https://")
    assert "3 problems" in message
    assert "hidden-word" not in message


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (["x"], "`expose` must be a mapping, such as"),
        ({"listen": "x"}, "`expose.listen`: must be an address and a port"),
        ({"port": 1}, "`expose` has no option `port`"),
        ({"token_env": "GONE"}, "`expose.token_env`: the variable 'GONE' is not set"),
    ],
)
def test_mistakes_of_the_exposition(said: Any, problem: str) -> None:
    _, (found,) = read_expose(said, {})
    assert problem in found


def test_the_exposition_is_of_this_machine_alone_unless_it_is_asked_for() -> None:
    assert read_expose(False, {}) == (None, [])
    settings, problems = read_expose(None, {})
    assert settings is not None
    assert (settings.host, problems) == ("127.0.0.1", [])
    settings, problems = read_expose({"listen": "0.0.0.0:80", "token_env": "T"}, {"T": "t"})
    assert settings is not None
    assert (settings.host, settings.port, settings.token, problems) == ("0.0.0.0", 80, "t", [])
