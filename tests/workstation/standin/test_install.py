"""The stand-in takes the Agent's place for checks, and leaves it again."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from datadog_checks.base import AgentCheck
from datadog_checks.base import agent as base_agent
from datadog_checks.base.checks import base as checks_base
from datadog_checks.base.stubs import aggregator as stub

from datadog_checks.model_serving.errors import RealAgentError
from datadog_checks.model_serving.workstation.standin.install import MODULES, standing_in
from datadog_checks.model_serving.workstation.standin.standin import StandIn

ROOT = Path(__file__).parents[3]


class Greeter(AgentCheck):  # type: ignore[misc]
    """Uses one function of every kind."""

    __NAMESPACE__ = "greeter"

    def check(self, instance: Any) -> None:
        self.gauge("value", 4, tags=["a:1"])
        self.service_check("up", AgentCheck.WARNING, message="so so")
        self.event({"msg_title": "hello", "msg_text": "world"})
        self.set_metadata("version", "1.2.3")
        self.write_persistent_cache("key", "kept")
        self.warning("be careful")
        self.log.info("not kept")
        self.submit_histogram_bucket("spread", 3, 0.0, 1.0, False, None, ["a:1"])


def run_greeter() -> Any:
    check = Greeter("greeter", {}, [{}])
    check.check_id = "greeter:1"
    return check, check.run()


def test_a_check_submits_to_the_stand_in_and_later_to_the_stubs_again() -> None:
    stub.reset()
    level, handlers = logging.getLogger().level, list(logging.getLogger().handlers)
    with standing_in() as stand_in:
        check, failure = run_greeter()
        assert failure == ""
        assert base_agent.AGENT_RUNNING is True
        assert check.read_persistent_cache("key") == "kept"
    batch = stand_in.recorder.take()
    assert [(sample.name, sample.value, sample.tags) for sample in batch.samples] == [("greeter.value", 4.0, ("a:1",))]
    assert [(check.name, check.status, check.message) for check in batch.service_checks] == [("greeter.up", 1, "so so")]
    assert [event.fields["msg_title"] for event in batch.events] == ["hello"]
    assert batch.metadata["greeter:1", "version.raw"] == "1.2.3"
    assert [bucket.name for bucket in batch.buckets] == ["greeter.spread"]
    assert [line.message.endswith("be careful") for line in batch.logs] == [True]
    assert stub.metrics("greeter.value") == []

    assert "aggregator" not in sys.modules
    assert base_agent.AGENT_RUNNING is False
    assert checks_base.aggregator is stub
    assert (logging.getLogger().level, logging.getLogger().handlers) == (level, handlers)
    run_greeter()
    assert [metric.value for metric in stub.metrics("greeter.value")] == [4]
    assert stand_in.recorder.take().samples == []


def test_a_check_logs_as_in_the_agent() -> None:
    """The stubs' logger refuses the level that the Agent only discourages."""
    with standing_in() as stand_in:
        run_greeter()[0].log.critical("on fire")
    assert [line.level for line in stand_in.recorder.take().logs] == [logging.WARNING, logging.CRITICAL]
    with pytest.raises(NotImplementedError):
        run_greeter()[0].log.critical("on fire")


def test_contexts_nest_and_the_innermost_gets_the_submissions() -> None:
    with standing_in() as outer:
        with standing_in() as inner:
            run_greeter()
        run_greeter()
        run_greeter()
    assert len(inner.recorder.take().samples) == 1
    assert len(outer.recorder.take().samples) == 2


def test_modules_that_were_hidden_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "util", logging)
    with standing_in():
        assert sys.modules["util"] is MODULES["util"]
    assert sys.modules["util"] is logging


def test_a_module_of_the_agent_keeps_the_stand_in_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datadog_agent", logging)
    with pytest.raises(RealAgentError, match=r"found a module `datadog_agent`.*datadog-agent check"), standing_in():
        pass
    assert sys.modules["datadog_agent"] is logging
    assert "aggregator" not in sys.modules


def python(code: str, *path: Path) -> str:
    """Run code in a fresh interpreter and return what it prints."""
    paths = [str(ROOT), *(str(entry) for entry in path)]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}\n{code}"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# The package's own __init__ imports the base package: it is bypassed here, to see what happens where it does not.
BYPASS = """
import types
import datadog_checks  # the namespace of datadog_checks.base
package = types.ModuleType("datadog_checks.model_serving")
package.__path__ = [next(iter(datadog_checks.__path__)) + "/model_serving"]
sys.modules[package.__name__] = package
from datadog_checks.model_serving.workstation.standin.install import standing_in
from datadog_checks.model_serving.workstation.standin.standin import StandIn
"""


def test_entered_before_the_base_package_it_is_the_agent() -> None:
    """The base package then takes the paths that it takes inside the Agent, logging included."""
    printed = python(
        BYPASS
        + """
import logging
assert "datadog_checks.base" not in sys.modules
with standing_in(StandIn(hostname="there", config={"log_level": "warning"})) as stand_in:
    from datadog_checks.base import AgentCheck
    from datadog_checks.base.agent import AGENT_RUNNING, aggregator
    from datadog_checks.base.log import AgentLogHandler
    class Check(AgentCheck):
        def check(self, instance):
            self.gauge("m", "not a number")
            self.gauge("host", 1, hostname=self.hostname)
            self.log.info("unseen")
            logging.getLogger("other").warning("seen")
    check = Check("c", {}, [{}])
    check.check_id = "c:1"
    failure = check.run()
    batch = stand_in.recorder.take()
    print(AGENT_RUNNING, sum(isinstance(h, AgentLogHandler) for h in logging.getLogger().handlers), repr(failure))
    print([(s.name, s.host) for s in batch.samples], [line.message.rpartition("| ")[2] for line in batch.logs])
    print(check.get_warnings())
check.run()
print(stand_in.recorder.take().samples, "aggregator" in sys.modules)
with standing_in() as other:
    check.run()
print(len(other.recorder.take().samples))
"""
    )
    complaint = "Metric: 'm' has non float value: 'not a number'. Only float values can be submitted as metrics."
    assert printed.splitlines() == [
        "True 1 ''",
        f"[('host', 'there')] {[complaint, 'seen']}",
        str([complaint]),
        "[] True",
        "1",
    ]


def test_importing_the_workstation_side_installs_nothing() -> None:
    """Neither without an Agent nor, where a check would find it, beside one."""
    names = ("builtins", "install", "runner", "sinks", "configuration", "units")
    code = "".join(f"import datadog_checks.model_serving.workstation.standin.{name}\n" for name in names)
    assert python(code + f"print([name for name in {sorted(MODULES)} if name in sys.modules])") == "[]"


def test_a_real_agent_is_left_alone(tmp_path: Path) -> None:
    """A module of that name in the path is enough: the Agent's are found the same way before they are imported."""
    (tmp_path / "aggregator.py").write_text("REAL = True\n")
    printed = python(
        BYPASS
        + """
from datadog_checks.model_serving.errors import RealAgentError
try:
    with standing_in():
        print("installed")
except RealAgentError as error:
    print(error)
import aggregator
print(aggregator.REAL, "datadog_agent" in sys.modules)
""",
        tmp_path,
    )
    assert printed.splitlines()[0].startswith("The stand-in for the Agent found a module `aggregator`")
    assert printed.splitlines()[1:] == ["True False"]


def test_the_log_level_follows_the_configuration() -> None:
    with standing_in(StandIn(config={"log_level": "error"})) as stand_in:
        run_greeter()
    assert stand_in.recorder.take().logs == []
