"""bridge.yaml: what it may say, and that all that is wrong with it is told at once, by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from datadog_checks.model_serving.errors import ConfigurationFileError
from datadog_checks.model_serving.workstation.bridge.prometheus.entries import ExposeSettings
from datadog_checks.model_serving.workstation.bridge.settings import ListenAddress, load_settings

KEY = "0123456789abcdef0123456789abcdef"
INSTANCES = "instances: [{openmetrics_endpoint: 'http://ml:8000/metrics'}]\n"
SPOOL = "spool: {path: bridge.db}\n"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "bridge.yaml"
    path.write_text(text)
    return path


def test_a_whole_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    text = f"""
{INSTANCES}
init_config: {{timeout: 5}}
datadog: {{site: datadoghq.eu, api_key_file: key, max_observations: 5000}}
host: ml-bridge
tags: [env:prod, 'team:ml']
workers: 8
spool: {{path: data/bridge.db, max_bytes: 2000000, max_age: 1800}}
health: 127.0.0.1:9000
"""
    settings = load_settings(written(tmp_path, text), {})
    assert settings.credentials is not None
    assert (settings.credentials.base, settings.credentials.api_key) == ("https://api.datadoghq.eu", KEY)
    assert (settings.host, settings.tags, settings.workers) == ("ml-bridge", ("env:prod", "team:ml"), 8)
    spool = settings.spool
    assert (spool.path, spool.max_bytes, spool.max_age) == (tmp_path / "data/bridge.db", 2_000_000, 1800.0)
    assert settings.max_observations == 5000
    assert settings.health == ListenAddress("127.0.0.1", 9000)
    assert settings.configuration.init_config == {"timeout": 5}


def test_the_shortest_file(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, INSTANCES + SPOOL), {"DD_API_KEY": KEY, "DD_SITE": "us5.datadoghq.com"})
    assert settings.credentials is not None
    assert settings.credentials.site == "us5.datadoghq.com"
    assert settings.host == ""
    assert load_settings(written(tmp_path, INSTANCES + SPOOL), {}, sends=False).credentials is None


@pytest.mark.parametrize(
    ("text", "complaints"),
    [
        ("spol: {path: a}\n" + SPOOL, ["`spol` is not known; did you mean `spool`?"]),
        ("", ["`spool.path` must name a file"]),
        ("spool: {path: a, max_byte: 3}\n", ["did you mean `spool.max_bytes`?"]),
        ("spool: {path: a, max_bytes: 10}\n", ["`spool.max_bytes` must be a whole number from 1048576"]),
        ("spool: {path: a, max_age: 7200}\n", ["`spool.max_age` must be a whole number from 60 to 3600, not 7200"]),
        (SPOOL + "health: 0.0.0.0:8080\n", ["`health` must be of this machine alone, such as 127.0.0.1:8080"]),
        (SPOOL + "health: here\n", ["`health` must be HOST:PORT"]),
        (SPOOL + "tags: env:prod\n", ["`tags` must be a list"]),
        (SPOOL + "tags: [7]\n", ["`tags`: 7 is no tag"]),
        (SPOOL + "host: 5\n", ["`host` must be a text, not 5"]),
        (SPOOL + "workers: true\n", ["`workers` must be a whole number from 1 to 64, not True"]),
        (SPOOL + "expose: [9]\n", ["`expose` must be a mapping, such as `expose: {listen: 127.0.0.1:8688}`, or false"]),
        (SPOOL + "expose: {lisen: a}\n", ["`expose` has no option `lisen`: did you mean `listen`?"]),
        (SPOOL + "datadog: {site: app.datadoghq.com}\n", ["site: 'app.datadoghq.com' is no site", "datadoghq.com?"]),
        (SPOOL + "datadog: {api_key_file: nothing}\n", ["api_key_file", "nothing: can't be read"]),
        (SPOOL + "datadog: {api_key: secret-key-1234}\n", ["did you mean `datadog.api_key_file`?"]),
        ("spool: 3\nworkers: 0\ntags: 1\n", ["4 problems: (1)", "(4)"]),
    ],
)
def test_mistakes_are_told_by_name(text: str, complaints: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationFileError) as caught:
        load_settings(written(tmp_path, INSTANCES + text), {"DD_API_KEY": KEY})
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "bridge.yaml"))
    for complaint in complaints:
        assert complaint in message
    assert "secret-key" not in message


def test_a_missing_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationFileError, match="no API key: set DD_API_KEY, or give api_key_file"):
        load_settings(written(tmp_path, INSTANCES + SPOOL), {})


def test_instances_are_needed(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationFileError, match="no `instances`"):
        load_settings(written(tmp_path, SPOOL), {}, sends=False)


def test_mistakes_of_sources_are_told_with_the_others(tmp_path: Path) -> None:
    text = "instances:\n- prometheus: {url: 'http://p:9090', macht: [up]}\n- remote_write: {listen: '0.0.0.0:9291'}\n"
    with pytest.raises(ConfigurationFileError) as caught:
        load_settings(written(tmp_path, text + SPOOL), {}, sends=False)
    message = str(caught.value)
    for complaint in ("3 problems", "instance 1: `prometheus.match`", "did you mean `match`?", "instance 2: `remote_"):
        assert complaint in message


def test_the_exposition_is_served_on_this_machine_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    def read(text: str) -> ExposeSettings | None:
        return load_settings(written(tmp_path, INSTANCES + SPOOL + text), {"T": "t"}, sends=False).expose

    assert read("") == ExposeSettings("127.0.0.1", 8688)
    assert read("expose: {listen: '0.0.0.0:9100', token_env: T}\n") == ExposeSettings("0.0.0.0", 9100, "t")
    assert read("expose: false\n") is None
