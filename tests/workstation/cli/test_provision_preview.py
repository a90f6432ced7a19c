"""`model-serving provision preview` on endpoints of a user's own: their numbers before there is an account."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from datadog_checks.model_serving.workstation.cli import trial_runs
from datadog_checks.model_serving.workstation.cli.root import root
from datadog_checks.model_serving.workstation.standin.runner import Round, Runner

from .conftest import PAYLOAD, Endpoint

Conf = Callable[..., str]
FIRST = 1_700_000_447.0


def preview(*arguments: str) -> Result:
    """Run it in this process, in the folder of the page."""
    done = CliRunner(env={"LOGIN": "hunter2"}).invoke(root, ["provision", "preview", *arguments, "--out", "page.html"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def page() -> str:
    """What a reader sees of it, and what only shows where the mouse rests."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", Path("page.html").read_text(encoding="utf-8"))).split())


class Clock:
    """Stands for the clock of the runs: nobody waits, and each run is over when it was due."""

    def __init__(self) -> None:
        self.now = FIRST
        self.interrupts_at = float("inf")

    def sleep(self, seconds: float) -> None:
        """Let it go on, or have somebody press Ctrl-C."""
        self.now += seconds
        if self.now >= self.interrupts_at:
            raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.chdir(tmp_path)
    found, run = Clock(), Runner.run

    def timed(self: Runner, before: Callable[[str], None]) -> Round:
        done = run(self, before)
        done.timestamp = found.now
        return done

    monkeypatch.setattr(Runner, "run", timed)
    monkeypatch.setattr(trial_runs, "time", SimpleNamespace(monotonic=lambda: found.now, sleep=found.sleep))
    return found


def test_the_page_has_the_numbers_of_the_endpoints(endpoint: Endpoint, conf: Conf, clock: Clock) -> None:
    """100 requests came between two scrapes. One that can't be read is told, and no secret is."""
    path = conf(
        f"openmetrics_endpoint: '{endpoint.url}', endpoint_name: reco, password: 'ENC[login]', username: me",
        "openmetrics_endpoint: 'http://me:hunter2@127.0.0.1:1/metrics'",
    )
    done = preview("-c", path, "--secret", "login=env:LOGIN")
    assert (done.exit_code, done.stdout) == (0, "1 dashboard in page.html\n"), done.output
    assert (endpoint.scrapes, clock.now) == (5, FIRST + 60)
    text = page()
    about = "in 5 runs of the instances below, 15 s apart, from 2023-11-14 22:20:47 to 2023-11-14 22:21:47 UTC"
    assert about in text
    assert f"{endpoint.url}: 9 series" in text
    assert "http://127.0.0.1:1/metrics: " in text
    assert "Note: http://127.0.0.1:1/metrics: no connection: check that the server runs" in done.stderr
    assert "hunter2" not in done.output + text
    # The values, the graph per second and its legend, and the list of requests.
    assert text.count("6.67") == 3
    assert "reco, iris, mlserver 400" in text
    assert "no data in these runs: request.error.count was not sent" in text
    assert "Model serving: GPU (none of its 18 metrics comes)" in text
    assert "Note: Left out, unless --pack names their pack: " in done.stderr


def test_a_url_and_a_pack_by_name(endpoint: Endpoint, clock: Clock) -> None:
    """What is asked for by name is drawn, even if there is nothing in it."""
    done = preview(endpoint.url, "--times", "2", "--pack", "gpu", "--serving-system", "mlserver")
    assert (done.exit_code, done.stderr) == (0, "")
    assert clock.now == FIRST + 15
    assert "no data in these runs: gpu.temperature was not sent" in page()


def test_saved_payloads_are_successive_answers(clock: Clock) -> None:
    for name, scrape in (("before.txt", 1), ("after.txt", 3)):
        Path(name).write_text(PAYLOAD.format(scrape=scrape, tens=10 * scrape, hundreds=100 * scrape), encoding="utf-8")
    done = preview("before.txt", "after.txt", "--interval", "100")
    assert (done.exit_code, clock.now) == (0, FIRST)
    text = page()
    assert "of 2 saved answers of one endpoint, taken to be 100 s apart" in text
    assert "before.txt, after.txt: 9 series" in text
    assert "127.0.0.1" not in text
    assert "Requests per second 2 " in text


def test_ctrl_c_leaves_a_page_of_what_there_is(endpoint: Endpoint, clock: Clock) -> None:
    clock.interrupts_at = FIRST + 20
    done = preview(endpoint.url)
    assert done.exit_code == 1
    assert "Interrupted in run 3 of 5: what is shown is of 2.\n" in done.stderr
    assert "in 2 runs of the instances below, 15 s apart" in page()


def test_a_scope_is_taken_as_met(endpoint: Endpoint) -> None:
    """A tag that the Agent's host would add is on nothing here."""
    Path("values.yaml").write_text("scope: env:prod\n", encoding="utf-8")
    done = preview(endpoint.url, "--times", "2", "--values", "values.yaml")
    told = "In scopes of values.yaml, `env:prod` is taken as met: these runs lack tags that an Agent adds."
    assert told in page()
    assert f"Note: {told}\n" in done.stderr


MISTAKES = {
    "no run would be seen": (["--times", "3"], 2, "--times is for endpoints of yours: give a target or -c FILE"),
    "nothing is simulated": (["x.txt", "--minutes", "3"], 2, "--minutes is for simulated data"),
    "points of Datadog": (["-c", "conf.yaml", "--interval", "0.5"], 2, "0.5 is not in the range x>=1"),
    "of a file, too": (["-c", "conf.yaml"], 2, "0.5 s apart, as the instances ask for, can't be drawn"),
    "an option of the check": (["-c", "wrong.yaml"], 2, "unknown option `serving_sistem`; did you mean"),
    "a server that is not there": (["http://127.0.0.1:1/metrics"], 1, "there is nothing to draw"),
}


@pytest.mark.parametrize(("arguments", "status", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_write_no_page(arguments: list[str], status: int, message: str) -> None:
    for name, option in (("conf.yaml", "min_collection_interval: 0.5"), ("wrong.yaml", "serving_sistem: vllm")):
        instance = f"{{openmetrics_endpoint: 'http://127.0.0.1:1/metrics', {option}}}"
        Path(name).write_text(f"instances: [{instance}]\n", encoding="utf-8")
    done = preview(*arguments)
    assert (done.exit_code, message in done.stderr) == (status, True), done.output
    assert not Path("page.html").exists()
