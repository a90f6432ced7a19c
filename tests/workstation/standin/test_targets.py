"""What a person points the command at: a URL, a file, or a mistake that is told."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.model_serving.errors import OptionError
from datadog_checks.model_serving.workstation.standin.targets import ScrapeTargets, instance_of, read_targets


@pytest.mark.parametrize(
    ("texts", "urls"),
    [
        (["http://h:1/metrics"], ["http://h:1/metrics"]),
        (["https://h/a?x=1", "unix:///run/s.sock/metrics"], ["https://h/a?x=1", "unix:///run/s.sock/metrics"]),
        (["HTTP://h"], ["HTTP://h"]),
        (["localhost:8082"], ["http://localhost:8082/metrics"]),
        (["10.0.0.1:8082/a/b?c"], ["http://10.0.0.1:8082/a/b?c"]),
        (["[::1]:8082"], ["http://[::1]:8082/metrics"]),
        ([], []),
    ],
)
def test_urls(texts: list[str], urls: list[str]) -> None:
    found = read_targets(texts)
    assert (list(found.urls), found.payloads) == (urls, ())
    completed = [url for text, url in zip(texts, urls, strict=True) if text != url]
    assert [note.rpartition(" is taken as ")[2] for note in found.notes] == completed


def test_payloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is there is one, also where its name looks like an address."""
    monkeypatch.chdir(tmp_path)
    Path("host:80").write_bytes(b"a 1\n")
    Path("b.txt").write_bytes(b"a 2\n")
    found = read_targets(["host:80", "b.txt"])
    assert found.urls == ()
    assert [(one.name, one.data) for one in found.payloads] == [("host:80", b"a 1\n"), ("b.txt", b"a 2\n")]
    assert read_targets([]) == ScrapeTargets()


@pytest.mark.parametrize(
    ("texts", "complaint"),
    [
        (
            ["localhost"],
            "localhost is neither a file here nor a URL. For an endpoint write all of its URL, such as http",
        ),
        (["./none"], "./none: there is no such file. Give a saved payload, or the URL"),
        (["saved.txt"], "saved.txt: there is no such file."),
        (["ftp://h/metrics"], "only http://, https:// and unix:// can be read"),
        (["{folder}"], "is a directory: give the path of a saved payload in it"),
        (["{folder}/conf.yaml"], "conf.yaml seems to be a configuration: write `-c "),
        (["{folder}/a", "http://h/metrics"], "URLs and saved payloads can't be checked in one call"),
        (["-", "-"], "`-` is standard input, which can be read but once"),
        (["http://me:hush-hush@h/metrics"], "can read the command line. Write it into a configuration"),
        (["http://h/metrics?token=hush-hush"], "can read the command line. Write it into a configuration"),
        (["h:80/metrics?token=hush-hush"], "can read the command line. Write it into a configuration"),
        (["http://hush@h/metrics"], "can read the command line. Write it into a configuration"),
    ],
)
def test_a_mistake_is_told(texts: list[str], complaint: str, tmp_path: Path) -> None:
    for name in ("conf.yaml", "a"):
        (tmp_path / name).write_text("a 1\n", encoding="utf-8")
    with pytest.raises(OptionError) as raised:
        read_targets([text.replace("{folder}", str(tmp_path)) for text in texts])
    assert complaint in str(raised.value)
    assert "hush" not in str(raised.value)


@given(st.lists(st.one_of(st.text(max_size=20), st.text(min_size=300), st.just("http://[::"), st.just("a\0b"))))
def test_whatever_is_written_is_a_target_or_a_mistake(texts: list[str]) -> None:
    """`.` and `/` are folders, `-` waits for a person."""
    with suppress(OptionError):
        read_targets([text for text in texts if text != "-"])


def test_the_options_of_a_trial() -> None:
    assert instance_of("http://h/m") == {"openmetrics_endpoint": "http://h/m"}
    assert instance_of("http://h/m", "dcgm", "e", ("a.yaml",), ("X-Scope: a:b", "Authorization: ENC[login]")) == {
        "openmetrics_endpoint": "http://h/m",
        "serving_system": "dcgm",
        "endpoint_name": "e",
        "catalog": ["a.yaml"],
        "headers": {"X-Scope": "a:b", "Authorization": "ENC[login]"},
    }


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        ("Authorization: Bearer hush-hush", "write `--header 'Authorization: ENC[login]'` with `--secret login=FILE`"),
        ("X-Api-Key:hush-hush", "--header X-Api-Key: its value is a secret"),
        ("hush-hush", "--header takes 'NAME: VALUE', as in"),
        ("hush-hush:", "--header takes 'NAME: VALUE', as in"),
        (": hush-hush", "--header takes 'NAME: VALUE', as in"),
    ],
)
def test_a_secret_does_not_belong_on_the_command_line(header: str, complaint: str) -> None:
    with pytest.raises(OptionError) as raised:
        instance_of("http://h/m", headers=(header,))
    assert complaint in str(raised.value)
    assert "hush" not in str(raised.value)
