"""`model-serving check` on a URL or a saved payload: what a person types first."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from datadog_checks.model_serving.workstation.cli import trial_runs
from datadog_checks.model_serving.workstation.cli.check import check as check_command
from datadog_checks.model_serving.workstation.cli.root import root
from datadog_checks.model_serving.workstation.standin.runner import Round, Runner

from .conftest import COMMAND, PAYLOAD, ROOT, Endpoint, model_serving

Conf = Callable[..., str]
BEFORE, AFTER = (PAYLOAD.format(scrape=scrape, tens=10 * scrape, hundreds=100 * scrape) for scrape in (1, 3))


def check(*arguments: str, given: str | None = None, **environment: str) -> Result:
    """Run it in this process."""
    done = CliRunner(env=environment).invoke(root, ["check", *arguments], input=given)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def lines(done: Result) -> list[str]:
    return [" ".join(line.split()) for line in done.stdout.splitlines()]


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two answers of one endpoint, 200 requests apart, in the folder that the command runs in."""
    monkeypatch.chdir(tmp_path)
    for name, text in (("before.txt", BEFORE), ("after.txt", AFTER)):
        Path(name).write_text(text, encoding="utf-8")
    return ["before.txt", "after.txt"]


def test_a_url(endpoint: Endpoint) -> None:
    """Two runs, of which the second has the counts; the tags of the trial are on everything."""
    done = check(endpoint.url, "--interval", "0", "--endpoint-name", "reco", "--serving-system", "mlserver")
    assert (done.exit_code, done.stderr) == (0, "")
    found = lines(done)
    assert "model_serving.request.count 100 request" in found
    assert any(line.startswith("All metrics are tagged:") and "endpoint_name:reco" in line for line in found)
    assert endpoint.scrapes == 2


def test_an_address_without_a_scheme(endpoint: Endpoint) -> None:
    address = endpoint.url.removeprefix("http://").removesuffix("/metrics")
    done = check(address, "--interval", "0")
    assert done.exit_code == 0
    assert done.stderr == f"{address} is taken as {endpoint.url}\n"


def test_several_urls_are_several_instances(endpoint: Endpoint) -> None:
    done = check(endpoint.url, f"{endpoint.url}/2", "--interval", "0", "--json")
    first, second = map(json.loads, done.stdout.splitlines())
    assert [instance["label"] for instance in first["instances"]] == [endpoint.url, f"{endpoint.url}/2"]
    assert {metric["instance"] for metric in second["metrics"] if metric["type"] == "count"} == {1, 2}


def test_saved_payloads_are_successive_answers_of_one_endpoint(saved: list[str]) -> None:
    """They are called by their names, and nothing tells of the server that replays them."""
    done = check(*saved)
    assert (done.exit_code, done.stderr) == (0, "")
    assert lines(done)[0] == "before.txt, after.txt"
    assert "model_serving.request.count 200 request" in lines(done)
    assert "127.0.0.1" not in done.stdout
    done = check(*saved, "--json")
    assert len(done.stdout.splitlines()) == 2
    assert "127.0.0.1" not in done.stdout


@pytest.mark.parametrize("target", ["before.txt", "-"])
def test_one_payload_says_what_it_can_not_show(target: str, saved: list[str]) -> None:
    done = check(target, given=BEFORE)
    assert done.exit_code == 0
    assert "model_serving.request.in_flight 1 request" in lines(done)
    assert not any(re.match(r"model_serving.request.count \d", line) for line in lines(done))
    assert "One scrape has no counts and no distributions: those are what changed between two." in done.stdout


def test_a_payload_goes_past_proxies(saved: list[str]) -> None:
    proxy = "http://127.0.0.1:9"
    assert check("before.txt", HTTP_PROXY=proxy, http_proxy=proxy, NO_PROXY="", no_proxy="").exit_code == 0


def test_a_payload_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check's own words, with the name of the file."""
    monkeypatch.chdir(tmp_path)
    Path("page.txt").write_text("<html><body>Sign in</body></html>", encoding="utf-8")
    done = check("page.txt")
    assert done.exit_code == 1
    assert "Failed page.txt: the answer is an HTML page" in "\n".join(lines(done))
    assert "127.0.0.1" not in done.stdout


@pytest.mark.parametrize(
    ("given", "message"),
    [(b"", "standard input is empty"), (b" \n", "is empty"), (b"\x1f\x8b\x08\x00", "is compressed: decompress it")],
)
def test_a_file_that_holds_no_payload_is_wrong_usage(given: bytes, message: str) -> None:
    """No server is blamed for it."""
    done = CliRunner().invoke(root, ["check", "-"], input=given)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr


def test_a_url_given_as_a_file() -> None:
    done = check("-c", "http://127.0.0.1:1/metrics")
    assert done.exit_code == 2
    assert "is a URL and no file: write it without `-c`" in done.stderr


def test_what_is_not_sure_can_be_said_on_the_command_line() -> None:
    done = check("-", given="model_accuracy 0.9\nfeature_drift_score 0.1\n")
    assert done.exit_code == 1
    assert "add `--serving-system custom_ml`" in done.stderr
    assert "--serving-system" not in check("-", "--serving-system", "custom_ml", given="model_accuracy 0.9\n").stderr


def test_the_interval_begins_after_a_run_and_each_instance_has_its_own_time(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first run that takes longer than the interval, or another instance that does, changes no rate."""
    slept: list[float] = []
    now = [1000.0]
    run = Runner.run

    def slow(self: Runner, before: Callable[[str], None]) -> Round:
        done = run(self, before)
        for each, seconds in zip(done.runs, (20.0, 60.0), strict=True):
            now[0] += seconds
            each.ended = now[0]
        return done

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(Runner, "run", slow)
    monkeypatch.setattr(trial_runs, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    done = check(endpoint.url, f"{endpoint.url}/2", "--interval", "20")
    # 200 requests in 20 + 60 + 20 seconds of each instance.
    assert [line for line in lines(done) if line.startswith("Traffic")] == ["Traffic 2 requests/s"] * 2
    assert sum(slept) == 20


def test_runs_keep_their_pace(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the Agent's do, however long one takes; one that takes longer than the interval is followed at once."""
    begun: list[float] = []
    now = [0.0]
    run, lengths = Runner.run, iter((9.0, 5.0, 30.0, 1.0, 1.0))

    def slow(self: Runner, before: Callable[[str], None]) -> Round:
        begun.append(now[0])
        now[0] += next(lengths)
        return run(self, before)

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(Runner, "run", slow)
    monkeypatch.setattr(trial_runs, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    assert check(endpoint.url, "--interval", "20", "--times", "5").exit_code == 0
    # The second waits from the end of the first.
    assert begun == [0, 29, 49, 79, 99]


@pytest.mark.parametrize("option", ["--all", "--json"])
def test_nothing_mapped_is_no_success(option: str, endpoint: Endpoint) -> None:
    """It is said, also beside the JSON, which stays what it is."""
    done = check("-", option, given="nobody_knows_this 1\n")
    assert done.exit_code == 1
    assert done.stderr == "standard input: none of its metrics is mapped, so none of them would reach Datadog.\n"
    done = check("-", option, "--serving-system", "dcgm", given=BEFORE)
    assert done.exit_code == 1
    assert "these look like MLServer" in done.stdout


def test_counters_alone_are_mapped_in_one_scrape() -> None:
    """Though nothing is sent of them before the second one."""
    done = check("-", given='model_infer_request_success_total{model="iris",version="v1"} 7\n')
    assert (done.exit_code, done.stderr) == (0, "")


def test_a_host_without_gpus(conf: Conf, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is quiet by design, which is said at once; where GPUs were asked for, it is a failure."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setattr("datadog_checks.model_serving.sources.gpu.driver.DRIVER_FILES", ())
    done = check("-c", conf("gpu: auto"), "--interval", "600")
    assert (done.exit_code, done.stderr) == (0, "")
    assert lines(done)[:2] == [
        "gpu: auto",
        "Quiet no NVIDIA driver here: with `gpu: auto` the check is quiet by design",
    ]
    done = check("-c", conf("gpu: nvml"), "--interval", "600")
    assert done.exit_code == 1
    assert f"run `{sys.executable} -m pip install nvidia-ml-py`" in done.stdout


def test_a_catalog_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(
        "system: gateway\ntitle: Gateway\nmetrics:\n"
        "  - {raw: gw_active, type: gauge, to: {metric: request.in_flight}}\n",
        encoding="utf-8",
    )
    done = check("-", "--catalog", str(tmp_path / "gateway.yaml"), "--serving-system", "gateway", given="gw_active 7\n")
    assert "model_serving.request.in_flight 7 request" in lines(done), done.output
    assert done.exit_code == 0


def test_a_name_that_only_lacks_a_prefix_is_told(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "system: vllm\nextends: vllm\nmetrics:\n  - {raw: gw_active, type: gauge, to: request.in_flight}\n",
        encoding="utf-8",
    )
    done = check("-", "--catalog", str(tmp_path / "own.yaml"), given="gw_active 7\nvllm:num_requests_waiting 1\n")
    told = "gw_active: your `catalog` file has it behind the prefixes of vLLM and its family alone, such as `vllm:`"
    assert f"{told}: write `prefixed: false` in its entry" in " ".join(done.stdout.split())


def test_a_url_that_fails_ends_at_once(conf: Conf) -> None:
    """There is no second run to wait for, unless it is asked for."""
    done = check("http://127.0.0.1:1/metrics", "--interval", "600")
    assert done.exit_code == 1
    assert lines(done)[1].startswith("Failed http://127.0.0.1:1/metrics: no connection: check that the server runs")
    assert done.stdout.splitlines()[-1].startswith("1 run: 1 series")
    done = check("-c", conf("openmetrics_endpoint: http://127.0.0.1:1/metrics"), "--interval", "600", "--json")
    assert (done.exit_code, len(done.stdout.splitlines())) == (1, 1)
    done = check("http://127.0.0.1:1/metrics", "--interval", "0", "--json", "-n", "3")
    assert (done.exit_code, len(done.stdout.splitlines())) == (1, 3)


def test_secrets_of_a_trial_are_sent_and_never_printed(endpoint: Endpoint, conf: Conf, tmp_path: Path) -> None:
    (tmp_path / "login").write_text("Bearer hush-in-a-file\n", encoding="utf-8")
    header = ["--header", "Authorization: ENC[login]", "--log-level", "trace", "--times", "1"]
    written = conf(f"openmetrics_endpoint: '{endpoint.url}', headers: {{Authorization: 'ENC[login]'}}")
    refused = endpoint.url.replace("/metrics", "/refuse")
    shown = ""
    for arguments, environment in (
        ([endpoint.url, *header, "--secret", f"login={tmp_path}/login"], {}),
        ([refused, *header, "--secret", "login=env:LOGIN"], {"LOGIN": "Bearer hush-in-a-variable"}),
        (["-c", written, "--times", "1"], {"MODEL_SERVING_SECRET_LOGIN": "Bearer hush-usual"}),
    ):
        shown += check(*arguments, **environment).output
    assert endpoint.authorization == [f"Bearer hush-{source}" for source in ("in-a-file", "in-a-variable", "usual")]
    assert "hush" not in shown


def test_a_configuration_on_standard_input(endpoint: Endpoint) -> None:
    done = check("-c", "-", "--interval", "0", given=f"instances: [{{openmetrics_endpoint: '{endpoint.url}'}}]")
    assert done.exit_code == 0
    assert "model_serving.request.count 100 request" in lines(done)
    assert "Error: standard input has no `instances`" in check("-c", "-", given="a: 1").stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["before.txt", "-n", "2"], "--times is not for saved payloads"),
        (["before.txt", "-i", "1"], "--instance chooses among the instances of a configuration"),
        (["before.txt", "http://h/metrics"], "URLs and saved payloads can't be checked in one call"),
        (["http://h/metrics", "--header", "Authorization: Bearer x"], "its value is a secret"),
        (["http://h/metrics", "--header", "Authorization: ENC[a]"], "Give it here with `--secret a=FILE`"),
        (
            ["http://h/metrics", "--secret", "a=env:HOME"],
            "the command line has no ENC[a]; there is no ENC[...] at all.",
        ),
        (["http://h/metrics", "--serving-system", "nope"], "nope"),
    ],
)
def test_a_mistake_is_one_message(arguments: list[str], complaint: str, saved: list[str]) -> None:
    done = check(*arguments)
    assert done.exit_code == 2
    assert complaint in done.output


def test_ctrl_c_keeps_what_was_found(endpoint: Endpoint) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "check", endpoint.url, "--interval", "600"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", "TERM": "xterm"},
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        encoding="utf-8",
    )
    os.close(theirs)
    shown = b""
    while b"run 2 of 2 follows" not in shown:
        shown += os.read(ours, 4096)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    shown += os.read(ours, 4096)
    os.close(ours)
    assert process.returncode == 1
    assert "model_serving.request.in_flight" in output
    assert "1 run: " in output
    assert b"Interrupted in run 2 of 2: what is shown is of 1." in shown
    assert b"Traceback" not in shown


@pytest.mark.parametrize("option", ["--all", "--json"])
def test_a_reader_that_has_gone_makes_no_noise(option: str, saved: list[str]) -> None:
    """As `head` does it, once it has what it wants."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, "check", *saved, option],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=120,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_completion() -> None:
    """As docs/command.md says how to switch it on."""
    done = subprocess.run(
        [*COMMAND], env={**os.environ, "_MODEL_SERVING_COMPLETE": "bash_source"}, capture_output=True, check=False
    )
    assert b"complete -o nosort -F _model_serving_completion model-serving" in done.stdout
    done = model_serving(
        environment={"_MODEL_SERVING_COMPLETE": "bash_complete", "COMP_WORDS": "model-serving che", "COMP_CWORD": "1"}
    )
    assert done.stdout == "plain,check\n"


@pytest.mark.parametrize("path", ["README.md", "docs/command.md"])
def test_examples_have_options_that_there_are(path: str) -> None:
    """Every call of the pages, and of the help."""
    text = (ROOT / path).read_text(encoding="utf-8") + check("--help").output
    calls = re.findall(r"^.*?\bmodel-serving check ([^|\n]*)", "\n".join(_code(text)), re.MULTILINE)
    assert len(calls) >= 7
    for call in calls:
        check_command.make_context("check", shlex.split(call))


def _code(text: str) -> list[str]:
    """The lines of fenced blocks, and those of the help, which are indented."""
    found = re.split(r"^```.*$", text, flags=re.MULTILINE)
    return [line for block in found[1::2] for line in block.splitlines()] + re.findall(r"^    .*", text, re.MULTILINE)
