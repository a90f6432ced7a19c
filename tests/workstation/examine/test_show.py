"""The summary in a terminal: whole names at any width, plain words, nothing that steers the terminal."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.model_serving.catalog.loader import builtin_catalog, golden_signals
from datadog_checks.model_serving.catalog.model import Verification
from datadog_checks.model_serving.scrape.inventory import FamilyState
from datadog_checks.model_serving.workstation.examine import Examination, RecognisedSystem, SignalState, SignalValue
from datadog_checks.model_serving.workstation.examine.show import (
    GROUPS,
    LABEL,
    LABELLED,
    show,
    show_configuration,
)
from datadog_checks.model_serving.workstation.standin.console import PrintableConsole

from ...conftest import Endpoint
from .trial import examined

PAYLOADS = Path(__file__).parents[2] / "fixtures" / "payloads"
SAVED: list[tuple[str, dict[str, Any]]] = [
    ("real/mlserver.txt", {}),
    ("real/exporter.txt", {"serving_system": "custom_ml"}),
    ("real/exporter.txt", {}),
    ("real/triton.txt", {}),
    ("dcgm/mig.txt", {}),
    ("tensorflow_serving/batching.txt", {}),
    ("mlserver/cold.txt", {}),
]


def shown(examination: Examination, width: int, all_: bool = False) -> list[str]:
    """The lines that a terminal of so many columns gets."""
    stream = io.StringIO()
    console = PrintableConsole(file=stream, width=width, highlight=False)
    show(examination, console, all_)
    show_configuration(examination, console)
    return stream.getvalue().splitlines()


def label_of(line: str) -> str:
    return line[:LABEL].strip()


@pytest.mark.parametrize(("name", "options"), SAVED, ids=[f"{name} {options}" for name, options in SAVED])
def test_names_are_whole_at_any_width(name: str, options: dict[str, Any], endpoint: Endpoint) -> None:
    """No word is broken or cut: at each width the same words, in lines that fit unless they are a single word."""
    endpoint.serve((PAYLOADS / name).read_text(encoding="utf-8"))
    examination = examined({"openmetrics_endpoint": endpoint.url, **options})
    for all_ in (False, True):
        wide = shown(examination, 400, all_)
        for width in (40, 80, 120):
            narrow = shown(examination, width, all_)
            assert " ".join(narrow).split() == " ".join(wide).split()
            pasted = set(examination.configuration.splitlines())
            long = [line for line in narrow if len(line) >= width and line not in pasted]
            assert [line for line in long if len(line[LABEL:].split()) > 1 and width > 40] == []
    words = " ".join(shown(examination, 80, True))
    assert [family.name for family in examination.families if family.name not in words] == []
    if examination.mapped:
        assert [monitor.key for monitor in examination.monitors if f"({monitor.key})" not in words] == []
        assert [metric.name for metric in examination.cost.metrics if metric.name not in words] == []


@pytest.mark.parametrize("width", [80, 120])
def test_the_first_lines(width: int, endpoint: Endpoint) -> None:
    """What a person wants to know comes first, and fits a screen."""
    endpoint.serve((PAYLOADS / "real/mlserver.txt").read_text(encoding="utf-8"))
    lines = shown(examined({"openmetrics_endpoint": endpoint.url}), width)
    labels = [label for label in map(label_of, lines) if label and not label.startswith(("http", "-", "#"))]
    assert labels[:5] == ["System", "Traffic", "Errors", "Latency", "Saturation"]
    assert labels[5:10] == ["By model", "Readiness", "Verified", "Mapped", "Cost"]
    text = "\n".join(lines)
    assert "Traffic        188 requests counted so far" in text
    assert "Errors         14.9 %" in text
    assert "Latency        p50 41.7 ms, p99 163 ms, mean 44.6 ms" in text


def test_gpus_are_a_line_each(endpoint: Endpoint) -> None:
    endpoint.serve((PAYLOADS / "dcgm/default_4.8.2.txt").read_text(encoding="utf-8"))
    lines = shown(examined({"openmetrics_endpoint": endpoint.url}), 120)
    first = "gpu:0 pod_name:llm-0  utilization 97 %, memory.utilization 87.3 %, temperature 54 °C"
    assert "GPUs           GPU errors (XID): 0 errors counted so far" in lines
    assert f"               {first}" in lines


def test_tokens_are_lines_of_one_block(endpoint: Endpoint) -> None:
    """No line of theirs reads as one of the models above, or of the prompts."""
    endpoint.serve((PAYLOADS / "litellm/1.106.txt").read_text(encoding="utf-8"))
    lines = shown(examined({"openmetrics_endpoint": endpoint.url}), 120)
    start = next(number for number, line in enumerate(lines) if label_of(line) == "Tokens")
    assert lines[start : start + 3] == [
        "Tokens         generated tokens: 1,050 tokens counted so far",
        "               prompt tokens: 1,680 tokens counted so far",
        "               time to first token: p50 137 ms, p99 768 ms, mean 167 ms",
    ]
    assert label_of(lines[start + 3]) == "Readiness"


def test_tokens_of_several_models_say_what_they_are() -> None:
    def counted(metric: str, *numbers: int) -> tuple[SignalValue, ...]:
        subjects = ("", "model_name:a", "model_name:b")
        return tuple(
            SignalValue(subject, metric, "token", {"total": number})
            for subject, number in zip(subjects, numbers, strict=True)
        )

    generated = SignalState(
        "tokens", "generated tokens", "tokens", "rate", counted("token.generation.count", 30, 10, 20)
    )
    prompts = SignalState("prompts", "prompt tokens", "tokens", "rate", counted("token.prompt.count", 7, 3, 4))
    assert shown(Examination("x", None, signals=(generated, prompts)), 120)[1:] == [
        "Tokens         generated tokens: 30 tokens counted so far",
        "               prompt tokens: 7 tokens counted so far",
        "               model_name:a  generated tokens 10 tokens counted so far, prompt tokens 3 tokens counted so far",
        "               model_name:b  generated tokens 20 tokens counted so far, prompt tokens 4 tokens counted so far",
    ]


def test_labels_fit_their_column() -> None:
    """A signal with a label of its own whose title were longer would read as a line of the block above it."""
    titles = [signal.title for signal in golden_signals() if signal.group == LABELLED]
    assert [title for title in (*titles, *GROUPS.values()) if len(title) >= LABEL] == []


def test_what_is_pasted_is_what_is_shown(endpoint: Endpoint) -> None:
    """At any width, it is valid YAML and of one instance."""
    endpoint.serve((PAYLOADS / "real/mlserver.txt").read_text(encoding="utf-8"))
    options = {"openmetrics_endpoint": endpoint.url, "tags": ["team:a-long-tag-that-is-longer-than-forty-columns"]}
    examination = examined(options)
    lines = shown(examination, 40)
    start = lines.index("Configuration to paste:") + 1
    assert yaml.safe_load("\n".join(lines[start:])) == {"instances": [options]}


def test_nothing_to_paste(endpoint: Endpoint) -> None:
    """Of which nothing would be sent, nothing is to be configured."""
    endpoint.serve((PAYLOADS / "foreign/kong.prom").read_text(encoding="utf-8"))
    lines = shown(examined({"openmetrics_endpoint": endpoint.url}), 80)
    assert "Configuration to paste:" not in lines
    assert "System         none that the catalog knows" in lines
    assert "Mapped         0 of 5 metrics of the payload" in lines


def test_quiet_by_design() -> None:
    lines = shown(Examination("gpu", None, quiet="no NVIDIA driver here"), 80)
    assert lines == ["gpu", "Quiet          no NVIDIA driver here"]


def test_a_failure_says_why_and_what_to_do() -> None:
    examination = Examination("x", None, error="no connection", advice=("Say where it is.",), warnings=("It is old.",))
    assert shown(examination, 80)[1:] == [
        "Failed         no connection",
        "Warning        It is old.",
        "To do          Say where it is.",
    ]


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@given(texts, texts, texts, st.sampled_from([40, 80, 120]))
def test_what_a_payload_brings_steers_no_terminal(name: str, subject: str, label: str, width: int) -> None:
    """Nor does it pass for markup, or break the layout with lines of its own."""
    value = SignalValue(f"model_name:{subject}", "request.count", "request", {"total": 1.0})
    others = SignalValue("model_name:other", "request.count", "request", {"total": 1.0})
    examination = Examination(
        label,
        None,
        systems=(RecognisedSystem("mlserver", "MLServer", "names", (name,)),),
        families=(FamilyState(name, "unknown"), FamilyState(name, "refused", refused=(("non_finite", 2),))),
        signals=(SignalState("traffic", "traffic", "requests", "rate", (value, others)),),
        error=name,
    )
    for line in shown(examination, width, True):
        assert line.isprintable()


def test_what_systems_rest_on() -> None:
    """Of each system what its catalog file says, with its name where there are several."""
    live = RecognisedSystem("a", "A", "names", ("x",), verified=Verification("live", "a 1.0", "queues: the manual"))
    untried = RecognisedSystem("b", "B", "names", ("y",), verified=Verification("documentation", "the manual"))
    own = RecognisedSystem("c", "C", "option")
    assert shown(Examination("x", None, systems=(live, own, untried)), 120)[4:7] == [
        "Verified       A: against a real server: a 1.0",
        "                 from documentation only: queues: the manual",
        "               B: by documentation only: the manual",
    ]
    assert (
        shown(Examination("x", None, systems=(untried,)), 120)[2] == "Verified       by documentation only: the manual"
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (SignalValue("", "request.count", "request", {"per_second": 1 / 3, "total": 5}), "0.333 requests/s"),
        (SignalValue("", "request.count", "request", {"total": 1234567}), "1,234,567 requests counted so far"),
        (SignalValue("", "request.error.count", "request", {"per_second": 0, "total": 0}), "0 errors"),
        (SignalValue("", "request.error.count", "request", {"total": 1, "share": 12.3456}), "12.3 % errors"),
        (SignalValue("", "request.latency", "second", {"p50": 0.0421, "p99": 1.5}), "p50 42.1 ms, p99 1.5 s"),
        (SignalValue("", "request.latency", "second", {"p50": 1e-5, "p99": 0.0}, True), "p50 10 µs, p99 0 µs so far"),
        (SignalValue("", "gpu.temperature", "degree celsius", {"value": 54}), "temperature 54 °C"),
        (SignalValue("", "gpu.process.memory.used", "byte", {"value": 3 * 2**30}), "process.memory.used 3 GiB"),
        (SignalValue("", "token.generation.count", "token", {"per_second": 31, "total": 310}), "31 tokens/s"),
    ],
)
def test_numbers_in_words(value: SignalValue, words: str) -> None:
    signal = SignalState("traffic", "traffic", "requests", "rate", (value,))
    lines = shown(Examination("x", None, signals=(signal,)), 120)
    assert lines[1].removeprefix("Traffic").strip() == words.removesuffix(" errors" if "%" in words else "")


EVERY = sorted(path for path in PAYLOADS.rglob("*") if path.suffix in (".txt", ".prom"))


@pytest.mark.parametrize(
    ("systems", "paths"),
    [("auto", EVERY), ([*builtin_catalog().systems], [path for path in EVERY if path.parent.name == "real"])],
    ids=["auto", "all"],
)
def test_every_answer_that_is_kept(systems: Any, paths: list[Path], endpoint: Endpoint) -> None:
    """Whatever is scraped, the summary says something of it, and every family is told of once."""
    for path in paths:
        endpoint.serve(path.read_bytes())
        examination = examined({"openmetrics_endpoint": endpoint.url, "serving_system": systems, "readiness": False})
        assert not examination.error, path
        names = [family.name for family in examination.families]
        assert names, path
        assert len(set(names)) == len(names), path
        assert len(shown(examination, 80)) > 3, path
        assert examination.mapped == bool(examination.cost.metrics), path


def test_what_is_left_out_unasked(endpoint: Endpoint, tmp_path: Path) -> None:
    """Quantiles of summaries, and targets for labels that no series has."""
    file = tmp_path / "gateway.yaml"
    target = "{metric: request.error.count, when: {status: 5*}}"
    entry = f"{{raw: gateway_requests, type: counter, to: [request.count, {target}]}}"
    file.write_text(
        f"system: gateway\nmetrics:\n  - {entry}\n  - {{raw: wait, type: summary, to: request.queue.time}}\n"
    )
    endpoint.serve(
        'gateway_requests_total{code="5"} 4\n# TYPE wait summary\nwait{quantile="0.9"} 1\nwait_sum 1\nwait_count 1\n'
    )
    lines = shown(examined({"openmetrics_endpoint": endpoint.url, "catalog": str(file)}), 200)
    asked = "no series so far has the label `status`, which `when` or `unless` asks for; they have code"
    assert f"               gateway_requests_total: {asked}" in lines
    assert "               without their quantiles, which cannot be aggregated (1): wait" in lines


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0.0, "0"), (0.126, "0.126"), (8.444, "8.44"), (999.6, "1,000"), (1750.2, "1,750"), (2.5e6, "2,500,000")],
)
def test_a_large_number_has_no_exponent(number: float, shown: str) -> None:
    value = SignalValue("", "request.count", "request", {"per_second": number, "total": number})
    signal = SignalState("traffic", "traffic", "requests", "rate", (value,))
    assert f"Traffic        {shown} requests/s" in shown_of(signal)


def shown_of(signal: SignalState) -> list[str]:
    return shown(Examination("x", 1.0, signals=(signal,)), 80)
