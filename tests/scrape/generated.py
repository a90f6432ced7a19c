"""What generated payloads are made of, and an aggregator that takes what a check submits."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

TEXT, STRICT = "text/plain; version=0.0.4", "application/openmetrics-text; version=1.0.0"

Line = tuple[str, str, str]
"""A text up to its value, what decides on a sound value, and the text behind it."""

ODD_LINES = [
    "",
    "   ",
    "#",
    "# a comment",
    "# TYPE",
    "# TYPE a",
    "# TYPE a gauge",
    "# TYPE b counter",
    "# TYPE a_b histogram",
    "  # TYPE b gauge",
    "#TYPE a gauge",
    "#  TYPE a gauge",
    "# TYPE a  gauge",
    "#\tTYPE\ta\tgauge",
    "# HELP a",
    "# HELP b some text",
    '# HELP b "quoted',
    "# UNIT c_seconds seconds",
    '# TYPE "a.b" gauge',
    "# TYPE 1a gauge",
    "# EOF",
    '# TYPE "a" counter',
    "# UNIT a seconds",
    '{"a.b"} 4',
    '{"a.b",l="1"} 5',
    '{"a",l="1"} 6',
    '{l="1","a"} 7',
    '{"ours","zone-id"="5"} 8',
    '{"model_infer_request_success_total",model="a"} 9',
    'a{"l"="1"} 10',
    'a{"b"} 11',
    "a {count:1,sum:2}",
    'batch_request_queue{model="a"} {count:1,sum:2,schema:0}',
    '{__name__="a",l="1"} 4',
    "5",
    "5 6",
    "nan",
    "a",
    "a{",
    'a{l="1"',
    'a{l="1"}',
    'a{l="1"}3',
    'a{l="1"}34',
    'a{l="1"}  35',
    'a{l="1"}\t36',
    "a{l=1} 2",
    "a{l=1 3 } 5",
    'a{l="1" 3',
    'a{l="1",l="2"} 3',
    'a{__x="1"} 3',
    "a\t4",
    "a\t4 5",
    "a \t4",
    " a 5",
    "a  6",
    "a 7 ",
    "a 8 1700000000000",
    "a 9 1 2",
    "a 9 x",
    'a{l="1"} 1 # {x="y"} 2',
    'a{l="1"} 1 # {} 2',
    "a 1 # {x} 2",
    "a 3 # c",
    "é 1",
    "a 1\x1f",
    "\x1fa 1",
    'a{l="\x85"} 1',
    'a{l="\u2028"} 1',
]
ODD_VALUES = [
    "NaN",
    "nan",
    "+Inf",
    "-Inf",
    "Inf",
    "-0",
    "-0.0",
    "-1",
    "0",
    "1_0",
    "1e3",
    "1e-05",
    "1e999",
    "9" * 400,
    "9007199254740993",
    "123456789012345678901234567890",
    "0.1234567890123456789",
    "0x1",
    "",
    "x",
    "\N{ARABIC-INDIC DIGIT ONE}",
    "1,5",
    "2.5",
    "1 2",
    "1 1700000000000",
    "1 17000000.5",
    " 1",
    "1 ",
    "1\t2",
]


class Aggregator:
    """Takes what a check submits, all of it, in order. Only the Agent itself could be the real thing."""

    GAUGE, RATE, COUNT, MONOTONIC_COUNT, COUNTER, HISTOGRAM, HISTORATE = range(7)

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def take(self, method: str, *args: Any) -> None:
        self.calls.append((method, *(tuple(arg) if isinstance(arg, list) else repr(arg) for arg in args)))

    def submit_metric(self, check: Any, *args: Any) -> None:
        self.take("metric", *args)

    def submit_histogram_bucket(self, check: Any, *args: Any) -> None:
        self.take("bucket", *args)

    def submit_histogram_bucket_multi(self, check: Any, *args: Any) -> None:
        self.take("multi", *args)

    def submit_service_check(self, check: Any, *args: Any) -> None:
        self.take("service check", *args)


def values(lines: Sequence[Line], seed: int, odd: int) -> list[str]:
    """Lines with sound values, but for `odd` of them."""
    chance = random.Random(seed)
    base, step, out = chance.randint(0, 50), 0, []
    dotted = chance.choice(["", "", ".0"])
    strange = {chance.randrange(len(lines)) for _ in range(odd)} if lines else set()
    for number, (start, kind, end) in enumerate(lines):
        step = step + chance.randint(0, 2) if kind == "bucket" else 0
        value = {
            "": "",
            "bucket": f"{base + step}{dotted}",
            "last": f"{base + 20}{dotted}",
            "sum": f"{base * 1.37}",
            "one": "1",
            "quantile": chance.choice(["NaN", "0.25", f"{base / 7}", "0"]),
            "any": chance.choice([f"{base}", f"-{base / 3}", "1e-05", "12345678901", f"{base}.5", "0", "1"]),
        }[kind]
        if kind and number in strange:
            value = chance.choice(ODD_VALUES)
        out.append(f"{start}{value}{end}")
    return out


class Clock:
    """Stands in for the module `time`, with a clock that the test sets."""

    monotonic = staticmethod(time.monotonic)

    def __init__(self, now: float) -> None:
        self.now = now

    def time(self) -> float:
        return self.now
