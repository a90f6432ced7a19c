"""What the intake answers, and what becomes of what was sent: nothing is lost, and nothing counts twice."""

from __future__ import annotations

import math
import os
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datadog_checks.model_serving.errors import DeliveryError
from datadog_checks.model_serving.submit import submitter
from datadog_checks.model_serving.submit.agent_cache import forget_claims
from datadog_checks.model_serving.workstation.bridge.deliverer import SLACK
from datadog_checks.model_serving.workstation.bridge.engine import SpoolingStandIn
from datadog_checks.model_serving.workstation.bridge.intake import Encoder, Intake, Verdict, encoded, thin
from datadog_checks.model_serving.workstation.demo import intake
from datadog_checks.model_serving.workstation.demo.intake import LostAnswer, RefusedRequest, SimulatedIntake
from datadog_checks.model_serving.workstation.provision.credentials import AccountCredentials
from datadog_checks.model_serving.workstation.standin.aggregation import Commit, Context, Distribution, SeriesPoint
from datadog_checks.model_serving.workstation.standin.install import standing_in
from datadog_checks.model_serving.workstation.standin.recorder import Event
from datadog_checks.model_serving.workstation.standin.runner import Round, Run
from datadog_checks.model_serving.workstation.standin.sketch import Sketch

from ...conftest import serving
from .bridges import START, BridgeHost, CountingServer, observations, totals

SERIES, POINTS = "/api/v2/series", "/api/v1/distribution_points"


@pytest.fixture
def server(host: BridgeHost, endpoint: Any) -> CountingServer:
    server = CountingServer(endpoint)
    host.instances = [server.instance]
    host.start()
    host.step()
    server.serve(40)
    return server


class Fault:
    """Answers the first `times` requests to a path with something else, before they are taken or after."""

    def __init__(self, path: str, what: Callable[[], Exception], times: int = 1, after: bool = False) -> None:
        self.path, self.what, self.left, self.after = path, what, times, after
        self.seen = 0

    def __call__(self, path: str, after: bool) -> None:
        if path != self.path or after != self.after:
            return
        self.seen += 1
        if self.left > 0:
            self.left -= 1
            raise self.what()


def refusal(status: int, **headers: str) -> Callable[[], Exception]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda: RefusedRequest(status, "not now", named)


@pytest.mark.parametrize("path", [SERIES, POINTS])
@pytest.mark.parametrize(
    ("what", "after", "again"),
    [
        # what the intake answers, whether it has taken the request all the same, and how often observations come again
        (refusal(429), False, 0),
        (refusal(429, X_Ratelimit_Reset="30"), False, 0),
        (refusal(503), False, 0),
        (refusal(503, Retry_After="7"), False, 0),
        (refusal(408), False, 0),
        (refusal(500), False, 0),
        (refusal(502), False, 0),
        (refusal(504), True, 1),
        (LostAnswer, False, 0),
        (LostAnswer, True, 1),
        (refusal(301), False, 0),
    ],
)
def test_what_is_not_taken_is_sent_again(
    path: str, what: Callable[[], Exception], after: bool, again: int, host: BridgeHost, server: CountingServer
) -> None:
    host.intake.interfere = fault = Fault(path, what, after=after)
    host.step()
    assert fault.seen >= 2 - after
    assert totals(host.intake, "request.count") == totals(host.intake, "request.latency.count") == 40
    twice = 40 * again if path == POINTS else 0
    assert observations(host.intake, "request.latency") == 40 + twice
    resent = host.spool.totals().get("resent distributions", 0)
    assert resent == (40 if path == POINTS and _may_have_been_taken(what) else 0)


def _may_have_been_taken(what: Callable[[], Exception]) -> bool:
    error = what()
    return not isinstance(error, RefusedRequest) or error.status in (502, 504)


@pytest.mark.parametrize(("header", "seconds"), [({"X_Ratelimit_Reset": "42"}, 42), ({"Retry_After": "17"}, 17)])
def test_a_limit_is_waited_for(header: dict[str, str], seconds: int, host: BridgeHost, server: CountingServer) -> None:
    host.intake.interfere = fault = Fault(SERIES, refusal(429, **header))
    host.run()
    assert host.deliverer.deliver() == 0.0
    pause = host.deliverer.deliver()
    assert seconds - 1 < pause <= seconds
    host.now += pause - 0.5
    host.deliverer.deliver()
    assert fault.seen == 1
    host.now += 1
    host.deliverer.deliver()
    assert fault.seen == 2


@pytest.mark.parametrize("put_back", [120, 1800, 86400])
def test_a_clock_that_is_put_back_makes_no_pause_longer(
    put_back: int, host: BridgeHost, server: CountingServer
) -> None:
    host.intake.interfere = Fault(SERIES, refusal(503))
    host.run()
    assert host.deliverer.deliver() == 0.0
    assert 0 < host.deliverer.deliver() <= 1
    host.now -= put_back
    host.deliverer.deliver()
    assert not host.spool.oldest("series", 10**6)


def test_pauses_grow_while_nothing_answers(host: BridgeHost, server: CountingServer) -> None:
    host.stop()
    host.intake.close()
    host.start()
    host.run()
    for _ in range(30):
        host.now += host.deliverer.deliver()
    progress = host.deliverer.progress
    assert all(20 < until - host.now + 60 <= 120 for until in progress.not_before.values())
    assert len(progress.not_before) >= 2
    assert "connection failed" in progress.problem


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_key_ends_it_and_loses_nothing(status: int, host: BridgeHost, server: CountingServer) -> None:
    host.intake.interfere = Fault(SERIES, refusal(status), times=10**6)
    host.run()
    with pytest.raises(DeliveryError, match=r"check DD_API_KEY|check the site") as caught:
        host.deliver()
    assert host.intake.api_key not in str(caught.value)
    host.intake.interfere = lambda path, after: None
    host.stop()
    host.start()
    host.deliver()
    assert totals(host.intake, "request.count") == 40
    assert observations(host.intake, "request.latency") == 40


@pytest.mark.parametrize("path", [SERIES, POINTS])
def test_a_body_that_is_too_large_is_divided(path: str, host: BridgeHost, server: CountingServer) -> None:
    """Where a proxy on the way takes less than Datadog does."""
    for _ in range(4):
        host.run()
        host.now += 15
        server.serve(40)
    largest = 0

    def strict(at: str, after: bool) -> None:
        nonlocal largest
        size = host.intake.largest[at]
        host.intake.largest[at] = 0
        if at == path and not after and size > 700:
            raise RefusedRequest(413, "Payload too large")
        largest = max(largest, size if at == path else 0)

    host.intake.interfere = strict
    _measure_first(host)
    host.step()
    assert totals(host.intake, "request.count") == 200
    assert observations(host.intake, "request.latency") == 200
    assert 0 < largest <= 700
    assert not any("dropped" in name for name in host.spool.totals())


def _measure_first(host: BridgeHost) -> None:
    """Have the size of a body known to what interferes before it is taken."""
    take = host.intake._body

    def measured(path: str, headers: Any, sent: bytes) -> Any:
        body = take(path, headers, sent)
        host.intake.interfere(path, False)
        return body

    host.intake._body = measured  # type: ignore[method-assign]


def test_one_invalid_series_does_not_take_others_with_it(host: BridgeHost, server: CountingServer) -> None:
    host.run()
    for row in host.spool._database.execute("SELECT id, body FROM batches WHERE kind = 'series'").fetchall():
        _spoil(host, *row)
    host.deliver()
    assert totals(host.intake, "request.count") == 40
    assert totals(host.intake, "request.latency.count") == 40
    assert host.spool.totals()["dropped series invalid"] == 1
    samples = [points for key, points in host.intake.arrived.series.items() if key[0].metric.endswith("scrape.samples")]
    assert [set(points) for points in samples] == [{int(START) // 15 * 15}]


def _spoil(host: BridgeHost, number: int, body: bytes) -> None:
    text = zlib.decompress(body).decode().replace("model_serving.scrape.samples", "0 is no name")
    host.spool._database.execute("UPDATE batches SET body = ? WHERE id = ?", (zlib.compress(text.encode()), number))


def test_what_is_too_old_is_dropped_and_counted(host: BridgeHost, server: CountingServer) -> None:
    host.run()
    host.now += 3600 - SLACK + 16
    host.deliver()
    assert host.intake.arrived.too_old == 0
    assert totals(host.intake, "request.count") == 0
    told = host.spool.totals()
    assert told["dropped series too_old"] > 5
    assert told["dropped distributions too_old"] == 40
    assert told["dropped service_checks too_old"] > 0


def test_a_full_spool_drops_the_oldest(host: BridgeHost, server: CountingServer) -> None:
    host.stop()
    host.spool_options = {"max_bytes": 6000}
    host.start()
    for _ in range(20):
        host.run()
        host.now += 15
        server.serve(10)
    held = host.spool.held()
    assert held.bytes <= 6000
    assert held.oldest is not None
    assert host.now - held.oldest < 150
    dropped = host.spool.totals()["dropped distributions spool_full"]
    host.deliver()
    assert observations(host.intake, "request.latency") == 40 + 190 - dropped


@pytest.mark.parametrize(("status", "sent"), [(202, 40), (413, 0), (400, 0)])
def test_what_is_pushed_out_on_its_way_counts_once(
    status: int, sent: int, host: BridgeHost, server: CountingServer
) -> None:
    host.run()

    def push_out(path: str, after: bool) -> None:
        if path == POINTS and after == (status == 202):
            host.spool.max_bytes = 0
            host.spool.write({})
            host.spool.max_bytes = 10**6
            if not after:
                raise RefusedRequest(status, "no")

    host.intake.interfere = push_out
    host.deliver()
    told = host.spool.totals()
    assert observations(host.intake, "request.latency") == sent
    assert told.get("sent distributions", 0) == sent
    assert sum(value for name, value in told.items() if name.startswith("dropped distributions")) == 40 - sent
    assert host.spool.held().bytes == 0


def test_a_second_unknown_outcome_is_the_last(host: BridgeHost, server: CountingServer) -> None:
    """Observations on their way are sent again once, never twice."""
    came: list[int] = [0]

    def lose(path: str, after: bool) -> None:
        """Each answer to observations, but not those to requests without any."""
        came.append(observations(host.intake, "request.latency"))
        if came[-1] > came[-2]:
            raise LostAnswer

    host.intake.interfere = lose
    host.step()
    assert observations(host.intake, "request.latency") == 80
    told = host.spool.totals()
    assert (told["resent distributions"], told["dropped distributions unsure"]) == (40, 40)


@pytest.mark.parametrize("what", [LostAnswer, refusal(502), refusal(429), refusal(500)])
def test_observations_wait_for_an_intake_that_answers(
    what: Callable[[], Exception], host: BridgeHost, server: CountingServer
) -> None:
    """They are sent a second time only where what takes them has answered since, however long that takes."""
    host.intake.interfere = first = Fault(POINTS, LostAnswer)
    host.run()
    host.deliverer.deliver()
    assert first.seen == 1
    host.intake.interfere = down = Fault(POINTS, what, times=10**6)
    for _ in range(30):
        host.now += host.deliverer.deliver()
    assert down.seen > 10
    assert "resent distributions" not in host.spool.totals()
    host.intake.interfere = lambda path, after: None
    host.deliver()
    assert observations(host.intake, "request.latency") == 40
    assert host.spool.totals()["resent distributions"] == 40
    assert host.spool.totals().get("dropped distributions unsure") is None


def test_what_hinders_one_kind_is_told_while_others_go(
    host: BridgeHost, server: CountingServer, caplog: pytest.LogCaptureFixture
) -> None:
    host.intake.interfere = Fault(SERIES, refusal(503), times=10)
    for _ in range(4):
        host.run()
        while host.deliverer.deliver() == 0.0:
            pass
        host.now += 15
    assert host.deliverer.progress.problem == "503: not now"
    told = [record for record in caplog.records if record.name == "model_serving.bridge"]
    assert [record.getMessage() for record in told] == ["series not delivered yet: 503: not now"]


def test_an_outage_of_days(host: BridgeHost, server: CountingServer) -> None:
    """However often it has been tried."""
    host.deliverer.progress.failures = {"series": 10**6}
    host.intake.interfere = Fault(SERIES, refusal(503))
    host.step()
    assert totals(host.intake, "request.count") == 40


def test_an_outage_of_an_hour(host: BridgeHost, server: CountingServer) -> None:
    """What 55 minutes hold comes late, all of it; what is older than Datadog takes is dropped and counted."""
    host.intake.interfere = lambda path, after: (_ for _ in ()).throw(RefusedRequest(503, "away"))
    for _ in range(240):
        host.run()
        host.deliverer.deliver()
        host.now += 15
        server.serve(10)
    held = host.spool.held()
    assert held.batches > 2 * 230
    # Seven series, a distribution and, for ten minutes, a service check: half a kilobyte for a run.
    assert held.bytes < 240 * 600
    host.intake.interfere = lambda path, after: None
    before = time.perf_counter()
    host.deliver()
    assert time.perf_counter() - before < 60
    told = host.spool.totals()
    lost = told.get("dropped distributions too_old", 0)
    # A minute of slack, and the pause that went on, of up to a minute as well.
    assert lost <= 40 + 8 * 10
    assert observations(host.intake, "request.latency") == 40 + 239 * 10 - lost
    assert totals(host.intake, "request.count") == totals(host.intake, "request.latency.count")
    # Few requests: hours are not made up for run by run.
    assert host.intake.requests[SERIES, 202] < 10
    assert host.intake.requests[POINTS, 202] < 10


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=60), st.integers(100, 10_000))
@settings(max_examples=200)
def test_thinning_keeps_quantiles(counts: list[int], most: int) -> None:
    """Each share of the observations is reached in the same bin, give or take one of the `most`."""
    kept = thin(counts, most)
    total = sum(counts)
    assert sum(kept) <= most + 2
    if total <= most:
        assert kept == counts
        return
    reached = left = 0
    for count, remains in zip(counts, kept, strict=True):
        assert remains <= max(1, count)
        reached += count
        left += remains
        assert abs(left / sum(kept) - reached / total) <= 3 / sum(kept)


def test_what_is_thinned_is_told(host: BridgeHost, server: CountingServer) -> None:
    host.stop()
    host.options = {"max_observations": 100}
    host.start()
    host.step()
    server.serve(100_000)
    host.step()
    assert totals(host.intake, "request.latency.count") == 100_040
    # The smallest and the largest stay in any case.
    came = observations(host.intake, "request.latency") - 40
    assert 100 <= came <= 102
    assert host.spool.totals()["thinned model_serving.request.latency"] == 100_000 - came


class Storm:
    """Requests end as a list says, one after the other, and well where it has come to its end."""

    def __init__(self, outcomes: list[str]) -> None:
        self.outcomes = outcomes

    def __call__(self, path: str, after: bool) -> None:
        outcome = self.outcomes[0] if self.outcomes else "taken"
        if outcome == "taken" or (outcome == "answer lost" and not after):
            if after:
                del self.outcomes[:1]
            return
        del self.outcomes[:1]
        if outcome.isdigit():
            raise RefusedRequest(int(outcome), "not now", {"X-Ratelimit-Reset": "3"} if outcome == "429" else {})
        raise LostAnswer


OUTCOMES = st.lists(st.sampled_from(["taken", "taken", "answer lost", "cut", "429", "500", "503", "504"]), max_size=12)
STEPS = st.lists(st.tuples(st.integers(0, 20), st.sampled_from(["step", "run", "kill"]), OUTCOMES), max_size=6)


@given(STEPS)
@settings(max_examples=15, suppress_health_check=list(HealthCheck))
def test_whatever_happens_sums_are_equal(steps: list[tuple[int, str, list[str]]]) -> None:
    """Requests that are lost, refused and limited, processes that are killed: each count arrives once."""
    stand_in = SpoolingStandIn(hostname="")
    with (
        TemporaryDirectory() as folder,
        SimulatedIntake() as intake,
        serving() as endpoint,
        standing_in(stand_in),
        pytest.MonkeyPatch.context() as patch,
    ):
        host = BridgeHost(Path(folder), intake, stand_in)
        intake.clock = stand_in.recorder.clock = host.time
        patch.setattr(submitter, "time", host)
        server = CountingServer(endpoint)
        host.instances = [server.instance]
        host.start()
        host.step()
        for more, what, outcomes in [*steps, (1, "kill", []), (1, "step", [])]:
            server.serve(more)
            intake.interfere = Storm(list(outcomes))
            if what == "kill":
                host.run()
                host.deliverer.deliver()
                host.kill()
                host.now += 15
                host.start()
            elif what == "run":
                host.run()
                host.now += 15
            else:
                host.step()
        assert totals(intake, "request.count") == totals(intake, "request.latency.count") == server.counted
        told = host.spool.totals()
        came = observations(intake, "request.latency")
        resent, unsure = told.get("resent distributions", 0), told.get("dropped distributions unsure", 0)
        assert server.counted - unsure <= came <= server.counted + resent
        host.stop()
    forget_claims()


def test_an_event_that_is_too_long_is_cut(host: BridgeHost, server: CountingServer) -> None:
    """As the intake takes it: its limits are those of the API's description."""
    fields = {"msg_title": "t" * 900, "msg_text": "x" * 9000, "aggregation_key": "a" * 200, "alert_type": "error"}
    round_ = Round(1, host.now, events=[Event("", {**fields, "tags": ["xid:79"], "priority": None})])
    batches, _ = Encoder(replace(host.settings(), host="h", tags=("env:prod",))).encode(round_, int(host.now), 15)
    host.spool.write({}, batches)
    host.deliver()
    (event,) = host.intake.arrived.events
    assert (len(event["title"]), len(event["text"]), len(event["aggregation_key"])) == (500, 4000, 100)
    assert (event["tags"], event["host"], event["alert_type"]) == (["xid:79", "env:prod"], "h", "error")


@pytest.mark.parametrize("trusted", [True, False])
def test_tls_that_breaks_on_the_way(trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that is refused took nothing. What fails once the request is on its way may have taken it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def garble() -> None:
            raw, _ = listener.accept()
            with raw, suppress(OSError):
                secure = context.wrap_socket(raw, server_side=True)
                secure.recv(65536)
                os.write(secure.fileno(), b"no record of TLS" * 10)
                secure.recv(65536)
                secure.close()

        thread = threading.Thread(target=garble)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        client = Intake(AccountCredentials("0" * 32, "", url=url), timeout=20.0)
        outcome = client.send("distributions", encoded("distributions", '{"series":[]}'))
        client.close()
        thread.join()
    assert "SSL" in outcome.words or "certificate" in outcome.words.lower(), outcome.words
    assert outcome.verdict is (Verdict.UNSURE if trusted else Verdict.NOT_TAKEN)


def test_errors_of_what_is_taken_are_told(
    host: BridgeHost, server: CountingServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(intake._TAKE, SERIES, lambda self, body: {"errors": ["one point was dropped"]})
        host.step()
    assert "one point was dropped" in host.deliverer.progress.problem
    assert "Datadog has taken series, but says: one point was dropped" in caplog.text
    host.step()
    assert host.deliverer.progress.problem == ""


def test_a_sum_that_is_no_number_takes_nothing_with_it(host: BridgeHost, server: CountingServer) -> None:
    """JSON has no infinity: one of it in the spool would stop delivery for good."""
    values = {"a": math.inf, "b": -math.inf, "c": math.nan, "d": 1e308}
    points = [SeriesPoint(Context(f"model_serving.{name}", (), ""), "count", value) for name, value in values.items()]
    commit = Commit(series=points)
    batches, told = Encoder(host.settings()).encode(Round(1, host.now, [Run(1, "", "", commit)]), int(host.now), 15)
    assert told == {"dropped series invalid": 3}
    host.spool.write({}, batches)
    host.deliver()
    assert totals(host.intake, "d") == 1e308


def test_what_no_number_can_tell_is_left_out(host: BridgeHost, server: CountingServer) -> None:
    """A bucket that reaches to infinity has a key that stands for it, and JSON has no such number."""
    sketch = Sketch()
    sketch.insert_bucket(1.0, 1.0, 2)
    sketch.insert_bucket(1e300, 1e300, 3)
    commit = Commit(distributions=[Distribution(Context("model_serving.odd", (), ""), sketch)])
    batches, _ = Encoder(host.settings()).encode(Round(1, host.now, [Run(1, "", "", commit)]), int(host.now), 15)
    host.spool.write({}, batches)
    host.deliver()
    assert observations(host.intake, "odd") == 2
