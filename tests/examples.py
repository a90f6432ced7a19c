"""Runs an example of the documentation: what an endpoint serves, scrape by scrape, and what comes of it."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest

from datadog_checks.model_serving.scrape import collector
from datadog_checks.model_serving.submit import validate

from .conftest import Endpoint, in_buckets, submissions
from .scrape.generated import Clock

ALWAYS = ("serving_system", "endpoint_name")
SCRAPE = re.compile(r"^# (?:first|second|third|fourth) scrape\n", re.MULTILINE)
AT = re.compile(r"^# at (\d+)$", re.MULTILINE)


def hold(
    check: Any, served: str, said: str, endpoint: Endpoint, aggregator: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Serve each scrape of `served` to the check, and hold it to `said`: that of every scrape, or of the last.

    Both are texts, divided by `# first scrape` and so on where there are several. `# at` gives the time of a scrape.
    """
    scrapes = SCRAPE.split(served)[1:] or [served]
    expected = SCRAPE.split(said)[1:] or [*[None] * (len(scrapes) - 1), said]
    assert len(expected) == len(scrapes)
    caplog.set_level(logging.INFO)
    for payload, lines in zip(scrapes, expected, strict=True):
        aggregator.reset()
        check.warnings.clear()
        caplog.clear()
        endpoint.serve(payload)
        at = AT.search(payload)
        with pytest.MonkeyPatch.context() as patch:
            for module in (collector, validate) if at is not None else ():
                patch.setattr(module, "time", Clock(float(at.group(1))))
            report = check.run()
        assert report == "", report
        if lines is not None:
            due = [line for line in lines.splitlines() if line != "nothing"]
            found = _found(aggregator, check, caplog, due)
            assert found == sorted(due), f"submitted is:\n{chr(10).join(found)}\nand not:\n{lines}"


def _found(aggregator: Any, check: Any, caplog: pytest.LogCaptureFixture, due: list[str]) -> list[str]:
    """What a scrape has led to, as the pages write it. Tags of every metric and the log only where `due` has them."""
    text = "\n".join(due)
    hidden = tuple(tag for tag in ALWAYS if f" {tag}:" not in text)
    found = in_buckets(submissions(aggregator, hidden), due)
    found += [f"event {event['msg_title']}" for event in aggregator.events]
    found += [f"warning {_message(warning)}" for warning in check.warnings]
    if any(line.startswith("log ") for line in due):
        found += [f"log {_message(record.getMessage())}" for record in caplog.records if record.levelno == logging.INFO]
    starts = [line.removesuffix("...") for line in due if line.endswith("...")]
    return sorted(next((f"{start}..." for start in starts if line.startswith(start)), line) for line in found)


def _message(text: str) -> str:
    """A message without the address of the endpoint."""
    return re.sub(r"^(.*\| )?http://\S+: ", "", text)
