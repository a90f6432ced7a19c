"""A configuration file is read, or refused with the file, the place and the mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from datadog_checks.model_serving.errors import ConfigurationFileError
from datadog_checks.model_serving.workstation.standin.configuration import load_configuration

ENDPOINT = "openmetrics_endpoint: http://localhost:1/metrics"


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "conf.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_file_of_the_agent(tmp_path: Path) -> None:
    path = write(tmp_path, f"init_config:\n  timeout: 3\ninstances:\n  - {ENDPOINT}\n  - {{a: 1}}\n")
    configuration = load_configuration(path)
    assert configuration.init_config == {"timeout": 3}
    assert configuration.instances == ((1, {"openmetrics_endpoint": "http://localhost:1/metrics"}), (2, {"a": 1}))
    assert configuration.only((2, 2)).instances == ((2, {"a": 1}),)


@pytest.mark.parametrize("text", [f"instances: [{{{ENDPOINT}}}]", f"init_config:\ninstances: [{{{ENDPOINT}}}]"])
def test_init_config_may_be_empty(tmp_path: Path, text: str) -> None:
    assert load_configuration(write(tmp_path, text)).init_config == {}


@pytest.mark.parametrize(
    ("instances", "seconds"),
    [
        ("[{a: 1}]", 15),
        ("[{min_collection_interval: 60}]", 60),
        ("[{min_collection_interval: 0.5}]", 0.5),
        ("[{min_collection_interval: 30}, {min_collection_interval: 60}, {a: 1}]", 60),
        ("[{min_collection_interval: 0}]", 15),
        ("[{min_collection_interval: soon}]", 15),
    ],
)
def test_the_interval_is_one_at_which_every_instance_is_due(tmp_path: Path, instances: str, seconds: float) -> None:
    assert load_configuration(write(tmp_path, f"instances: {instances}")).interval() == seconds


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "instances:\n  - a: [1\n  - b: 2\n",
            r"conf.yaml, line 3, column 6: expected ',' or '\]'.* Check indentation",
        ),
        ("instances:\n\t- a: 1\n", r"conf.yaml, line 2, column 1: found character '\\t'"),
        ("a: b: c\n", r"conf.yaml, line 1, column 5: mapping values are not allowed here"),
        ("a: \x01", r"conf.yaml is not valid YAML: unacceptable character #x0001"),
        (b"a: \xff", r"conf.yaml is not text in UTF-8: byte 4 is 0xff"),
        ("", r"conf.yaml holds nothing, not a mapping"),
        ("- a: 1", r"conf.yaml holds a list, not a mapping"),
        ("init_config: {}\n", r"conf.yaml has no `instances`. Add the endpoints"),
        ("instance: [{a: 1}]\n", r"conf.yaml has no `instances`. Did you mean it by `instance`\?"),
        (
            "instances:\n",
            r"conf.yaml: `instances` is empty. Add an endpoint, such as\ninstances:\n  - openmetrics_endp",
        ),
        ("instances: []\n", r"conf.yaml: `instances` is empty"),
        (f"instances:\n  {ENDPOINT}\n", r"conf.yaml: `instances` must be a list, not a mapping: begin each .* `- `"),
        ("instances:\n  - {a: 1}\n  - http://h\n", r"conf.yaml: instance 2 must be a mapping of options, not a text"),
        ("instances: [{}]\n", r"conf.yaml: instance 1 must be a mapping of options, not an empty mapping"),
        (
            "instances: [{a: 1}]\ninit_config: 3\n",
            r"conf.yaml: `init_config` must be a mapping, or empty, not a number",
        ),
    ],
)
def test_a_mistake_is_told(tmp_path: Path, text: str | bytes, complaint: str) -> None:
    with pytest.raises(ConfigurationFileError, match=complaint):
        load_configuration(write(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationFileError, match=r"none.yaml does not exist. Give the path of a conf"):
        load_configuration(tmp_path / "none.yaml")
    with pytest.raises(ConfigurationFileError, match="is a directory: give the path of a file in it"):
        load_configuration(tmp_path)


def test_an_instance_that_is_not_there(tmp_path: Path) -> None:
    configuration = load_configuration(write(tmp_path, "instances: [{a: 1}, {a: 2}]"))
    with pytest.raises(ConfigurationFileError, match="has no instance 3: it has 2, counted from 1"):
        configuration.only((1, 3))
