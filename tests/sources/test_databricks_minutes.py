"""Whatever happens to a workspace, each minute of each healthy endpoint is counted exactly once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from datadog_checks.base.stubs import aggregator, datadog_agent
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from datadog_checks.model_serving import ModelServingCheck
from datadog_checks.model_serving.workstation.demo.workspace import API, TOKEN_PATH

from .databricks_workspace import CLIENT, CRITICAL, HEALTH, OK, SECRET, Clock, Run, World, make_world

FAULTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("status", {"code": 500}),
    ("status", {"code": 403}),
    ("status", {"code": 404}),
    ("cut", {}),
    ("drop", {}),
    ("html", {}),
    ("stall", {}),
    ("stall", {"seconds": 0.05}),
    ("drip", {}),
)
DEADLINE = 20.0
LATE = f"no complete answer within {DEADLINE:g} s"
TOKENLESS = ("no token from", "was just given (HTTP 401)")
WAITS = "times in a row, asked again in"

names = st.integers(0, 9)
steps = st.one_of(
    st.tuples(st.just("minute"), st.integers(1, 3)),
    st.tuples(st.just("minute"), st.just(1)),
    st.tuples(st.just("run"), st.sampled_from([0, 5, 15, 30, 31, 60])),
    st.tuples(st.just("add"), names),
    st.tuples(st.just("remove"), names),
    st.tuples(st.just("rename"), names),
    st.tuples(st.just("begin"), names),
    st.tuples(st.just("finish"), names),
    st.tuples(st.just("expire"), st.integers(0, 6)),
    st.tuples(st.just("rotate"), st.booleans()),
    st.tuples(st.just("disconnect"), st.just(0)),
    st.tuples(st.just("limit"), st.sampled_from([API, f"{API}/*", TOKEN_PATH])),
    st.tuples(
        st.just("fault"), st.tuples(st.sampled_from(FAULTS), st.sampled_from(["list", "detail", "metrics"]), names)
    ),
    st.tuples(st.just("token fault"), st.sampled_from(FAULTS[:6])),
    st.tuples(st.just("restart"), st.just(0)),
)


class Story:
    """Steps that befall a workspace, and after each run a look at what was counted."""

    def __init__(self, world: World, secret: Any) -> None:
        self.world, self.workspace = world, world.workspace
        self.secret_file = secret
        self.number = self.secrets = 0
        self.faulty: set[str] = set()
        self.tokens_fail = False
        """They may have failed since a scrape succeeded: nobody asks for one again at once."""
        self.due: Counter[tuple[str, int]] = Counter()
        for _ in range(4):
            self.add(0)
        self.check = self.start()

    def start(self) -> ModelServingCheck:
        self.secret_file.write_text(self.workspace.clients[CLIENT])
        return self.world.check(
            databricks_token=None,
            databricks_client_id=CLIENT,
            databricks_client_secret_path=str(self.secret_file),
            **self.world.impatient(DEADLINE),
            max_connections=3,
        )

    def name(self, number: int) -> str:
        there = self.workspace.names()
        return there[number % len(there)] if there else ""

    def minute(self, number: int) -> None:
        self.world.settle(self.check)
        self.world.clock.ahead += 60 * number

    def run(self, after: float) -> None:
        begin = len(self.workspace.published)
        run = self.world.run(self.check, after)
        self.judge(run, self.workspace.published[begin:])
        self.workspace.after = lambda call: None
        self.workspace.clear_faults()
        self.faulty.clear()

    def judge(self, run: Run, published: list[tuple[str, int]]) -> None:
        """What was published to a scrape that succeeded is due, once; nothing else is counted."""
        states = run.states(HEALTH)
        assert all(len(each) == 1 for each in states.values())
        well = {name for name, ((status, _),) in states.items() if status == OK}
        for name, ((status, message),) in states.items():
            if status == CRITICAL and WAITS not in message and LATE not in message:
                tokenless = any(words in message for words in TOKENLESS)
                assert name in self.faulty or (self.tokens_fail and tokenless), message
        if well:
            self.tokens_fail = False
        for name, minute in published:
            if name in well:
                self.due[name, minute] = 1
        assert Counter(self.world.counted) == self.due

    def add(self, _: int) -> None:
        self.number += 1
        self.workspace.serving(f"e{self.number}")

    def remove(self, number: int) -> None:
        if name := self.name(number):
            self.workspace.remove(name)

    def rename(self, number: int) -> None:
        if name := self.name(number):
            self.number += 1
            new = f"e{self.number}"
            self.workspace.rename(name, new)
            self.workspace.set_export(new, lambda: self.workspace.page(new))

    def begin(self, number: int) -> None:
        name = self.name(number)
        if name and "pending_config" not in self.workspace.endpoint(name):
            self.number += 1
            self.workspace.begin_update(name, [{"entity_name": "main.model", "entity_version": str(self.number)}])

    def finish(self, number: int) -> None:
        name = self.name(number)
        if name and "pending_config" in self.workspace.endpoint(name):
            self.workspace.finish_update(name)

    def expire(self, after: int) -> None:
        """Let tokens expire after so many answers of the next run."""
        left = [after]

        def count(_: Any) -> None:
            left[0] -= 1
            if left[0] == 0:
                self.workspace.expire_tokens()

        # One that expires before it was ever used is not renewed at once.
        self.tokens_fail = True
        self.workspace.after = count
        if not after:
            self.workspace.expire_tokens()

    def rotate(self, expire: bool) -> None:
        self.secrets += 1
        self.workspace.clients[CLIENT] = f"{SECRET}-{self.secrets}"
        self.secret_file.write_text(self.workspace.clients[CLIENT])
        if expire:
            self.workspace.expire_tokens()

    def disconnect(self, _: int) -> None:
        # Between two requests: amid one nobody could tell whether it arrived.
        self.world.settle(self.check)
        self.world.served.disconnect()

    def limit(self, match: str) -> None:
        if match == TOKEN_PATH:
            self.tokens_fail = True
            self.workspace.expire_tokens()
        self.workspace.fault("rate_limit", match=match, retry_after=50)

    def fault(self, what: tuple[tuple[str, dict[str, Any]], str, int]) -> None:
        (kind, how), where, number = what
        name = self.name(number)
        self.faulty.add(name)
        path = {"list": API, "detail": f"{API}/{name}", "metrics": f"{API}/{name}/metrics"}[where]
        self.workspace.fault(kind, match=path, times=None, **how)

    def token_fault(self, what: tuple[str, dict[str, Any]]) -> None:
        kind, how = what
        self.tokens_fail = True
        self.workspace.expire_tokens()
        self.workspace.fault(kind, match=TOKEN_PATH, times=None, **how)

    def restart(self, _: int) -> None:
        self.check.cancel()
        self.check = self.start()

    def take(self, step: tuple[str, Any]) -> None:
        action: Callable[[Any], None] = getattr(self, step[0].replace(" ", "_"))
        action(step[1])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    clock.install(monkeypatch)
    return clock


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    # Each example takes long enough: to make one smaller takes minutes.
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(story=st.lists(st.one_of(steps, st.tuples(st.just("run"), st.just(15))), min_size=20, max_size=40))
def test_each_minute_once(story: list[tuple[str, Any]], clock: Clock, tmp_path_factory: Any) -> None:
    """Nothing that is served completely is lost, and nothing is counted twice; the end leaves no thread and socket."""
    aggregator.reset()
    datadog_agent.reset()
    clock.ahead = 0.0
    with make_world(aggregator, clock) as world:
        told = Story(world, tmp_path_factory.mktemp("secret") / "secret")
        for step in story:
            told.take(step)
        # Once all trouble is over, everybody who is there is counted again.
        told.run(0)
        for _ in range(8):
            told.minute(1)
            told.run(0)
        last = clock.ahead // 60 + 1
        assert {name for name, minute in told.due if minute == last} == set(world.workspace.names())


@pytest.mark.parametrize("seed", range(3))
def test_quiet_days(seed: int, clock: Clock, tmp_path: Any) -> None:
    """In runs of about 15 seconds, restarts and deployments included, no minute of any endpoint is missed."""
    aggregator.reset()
    datadog_agent.reset()
    chance = random.Random(seed)
    with make_world(aggregator, clock) as world:
        told = Story(world, tmp_path / "secret")
        for _ in range(40):
            told.run(chance.uniform(14, 16))
            if chance.random() < 0.3:
                told.take((chance.choice(["begin", "finish", "restart", "rotate", "disconnect"]), chance.randrange(4)))
        # Of the one that is published now they may not have been asked yet.
        until = int(clock.ahead // 60) + 1
        assert {(name, minute) for name in world.workspace.names() for minute in range(1, until)} <= told.due.keys()
