"""Nothing is logged twice, and a log does not grow with what comes from outside."""

from __future__ import annotations

import logging

import pytest

from datadog_checks.model_serving.log_once import MAX_KEYS, LogOnce

LOG = logging.getLogger("tests.log_once")


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> LogOnce:
    caplog.set_level(logging.DEBUG, LOG.name)
    return LogOnce(LOG)


def test_a_message_is_logged_once(log: LogOnce, caplog: pytest.LogCaptureFixture) -> None:
    """The same text, or another with the same key, is not logged again; a `%` in it is a `%`."""
    for text in ("50% is missing", "50% is missing", "something else"):
        log.log(text)
    log.log("3 samples refused", key="refused", level=logging.INFO)
    log.log("4 samples refused", key="refused")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "50% is missing"),
        ("WARNING", "something else"),
        ("INFO", "3 samples refused"),
    ]


def test_what_is_over_is_logged_when_it_comes_again(log: LogOnce, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        log.log("no connection", key="connection")
        log.log("no connection", key="connection")
        log.forget("connection")
    log.forget("never heard of")
    assert len(caplog.records) == 2


def test_the_number_of_messages_is_bounded(log: LogOnce, caplog: pytest.LogCaptureFixture) -> None:
    """Beyond it a key is not the first of its kind, for whoever asks."""
    for number in range(2 * MAX_KEYS):
        log.log(f"series {number} is odd")
    assert len(caplog.records) == MAX_KEYS
    assert not log.first("another")
    log.forget("series 0 is odd")
    assert log.first("another")
