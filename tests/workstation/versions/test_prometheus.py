"""What is said to a server that speaks Prometheus' HTTP API, and what is made of its answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from datadog_checks.model_serving.catalog.loader import builtin_catalog
from datadog_checks.model_serving.errors import TrafficError
from datadog_checks.model_serving.workstation.versions.call_metrics import BY_VERSION, CallMetric, call_metrics_of
from datadog_checks.model_serving.workstation.versions.prometheus import PrometheusApi
from datadog_checks.model_serving.workstation.versions.promql import named, questions, quoted

from ...conftest import Answer, Endpoint, reply
from .fleet import MODELS, fleet, versions

SYSTEMS = builtin_catalog().systems
Handler = Callable[[BaseHTTPRequestHandler], None]
SECRET = "t0p-s3cret-token"


class Api:
    """Answers every query with the same, at `/api/v1/`, and keeps what was asked."""

    def __init__(self, endpoint: Endpoint, answer: Any, status: int = 200, **headers: str) -> None:
        self.url = f"http://127.0.0.1:{endpoint.port}"
        self.asked: list[dict[str, list[str]]] = []
        self.logins: list[str | None] = []
        body = answer if isinstance(answer, str) else json.dumps(answer)

        class Answers(dict[str, Any]):
            def get(answers, path: str, default: Any = None) -> Any:
                def answered(handler: BaseHTTPRequestHandler) -> None:
                    self.asked.append(parse_qs(urlsplit(path).query))
                    self.logins.append(handler.headers.get("Authorization"))
                    reply(handler, Answer(body.encode(), "application/json", status, headers))

                return answered

        endpoint.answers = Answers()


def success(*result: Any, **more: Any) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": "vector", "result": list(result)}, **more}


PROBLEMS: dict[str, tuple[Any, int, str]] = {
    "an error in Prometheus' words": (
        {"status": "error", "errorType": "bad_data", "error": "parse error: unclosed"},
        400,
        "bad_data: parse error: unclosed",
    ),
    "a part is missing": (
        success(warnings=["store 10.0.0.1 is unavailable", "PromQL info: no counter"]),
        200,
        "the answer isn't whole: store 10.0.0.1 is unavailable",
    ),
    "a page": ("<html>Please log in</html>", 200, "the answer is none of Prometheus' HTTP API: check the URL"),
    "nothing there": ("404 page not found", 404, "HTTP 404: check the URL, without /api/v1"),
    "a login that is refused": ("Unauthorized", 401, "it refuses the login (HTTP 401): give --prometheus-token-file"),
    "another form": (success({"metric": {}, "value": 5}), 200, "another form than Prometheus' HTTP API gives"),
    "a list": ([], 200, "the answer is none of Prometheus' HTTP API"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_an_answer_that_may_hide_a_call_is_none(name: str, endpoint: Endpoint) -> None:
    """What is wrong, where, and what to do; and never the login."""
    answer, status, words = PROBLEMS[name]
    url = Api(endpoint, answer, status).url.replace("http://", "http://me:hush-hush@")
    api = PrometheusApi(url, SECRET)
    with pytest.raises(TrafficError) as raised:
        list(api.query("up", 0))
    api.close()
    assert words in str(raised.value)
    assert str(raised.value).startswith(f"http://127.0.0.1:{endpoint.port}: ")
    assert "hush" not in str(raised.value)


def test_remarks_about_the_expression_are_no_trouble(endpoint: Endpoint) -> None:
    """Newer servers remark that a name doesn't end as that of a counter should. Values that are no numbers are left
    out."""
    series = [
        {"metric": {"a": text}, "value": [5, value]} for text, value in (("b", "7.5"), ("c", "NaN"), ("d", "+Inf"))
    ]
    Api(endpoint, success(*series, warnings=["PromQL info: metric might not be a counter"]))
    api = PrometheusApi(f"http://127.0.0.1:{endpoint.port}/")
    assert list(api.query("up", 0)) == [({"a": "b"}, 7.5)]
    api.close()


def test_a_redirect_is_not_followed(endpoint: Endpoint) -> None:
    """It would take the login along."""
    endpoint.answers = {}
    Api(endpoint, "", 302, Location="http://elsewhere.example/login?code=hush")
    api = PrometheusApi(f"http://127.0.0.1:{endpoint.port}", SECRET)
    with pytest.raises(TrafficError, match=r"redirects to http://elsewhere\.example/login") as raised:
        list(api.query("up", 0))
    api.close()
    assert "hush" not in str(raised.value)


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with fleet() as server:
        done = versions(server.url, "--model", MODELS[0], "--prometheus", "http://127.0.0.1:9")
    assert done.exit_code == 1
    assert "Error: http://127.0.0.1:9: no connection" in done.stderr


def test_the_token_is_sent_and_not_shown(endpoint: Endpoint, tmp_path: Path) -> None:
    """From a file, and what is wrong with the file is wrong usage."""
    path = tmp_path / "token"
    path.write_text(f"{SECRET}\n", "utf-8")
    api = Api(endpoint, success())
    with fleet() as server:
        arguments = (server.url, "--model", MODELS[0], "--prometheus", api.url, "--prometheus-token-file", str(path))
        done = versions(*arguments)
        assert set(api.logins) == {f"Bearer {SECRET}"}
        assert SECRET not in done.output
        assert "only 0 of 24 hours seen: no target of Prometheus is 127.0.0.1:" in done.stdout
        assert done.exit_code == 0
        for text in ("", "two words", "häßlich"):
            path.write_text(text, "utf-8")
            assert versions(*arguments).exit_code == 2
        path.unlink()
        done = versions(*arguments)
    assert done.exit_code == 2
    assert f"--prometheus-token-file {path}: can't be read" in done.stderr


def test_what_is_asked_is_the_known_query() -> None:
    """The mean of each hour, and the highest of them in a day, by model and version in whatever spelling."""
    (asked,) = questions(SYSTEMS["tensorflow_serving"], CallMetric(BY_VERSION), 'job="tfs"')
    name = ":tensorflow:serving:model_call_count"
    assert {"model_name", "model_nane", "model_version"} <= set(asked.labels)
    assert f'max_over_time(sum(rate({name}{{job="tfs"}}[60m])' in asked.busiest(24)
    assert asked.busiest(24).endswith(f"by ({','.join(asked.labels)})[24h:1h])")


SELECTORS = {
    "tensorflow_serving": [
        ":tensorflow:serving:model_call_count",
        ":tensorflow:serving:model_call_count_total",
        ':tensorflow:serving:request_latency_count{API=~"(?s:..*)"}',
        ':tensorflow:serving:request_count{status!~"(?s:OK)"}',
        ':tensorflow:serving:request_count_total{status!~"(?s:OK)"}',
        ":tensorflow:serving:request_count",
        ":tensorflow:serving:request_count_total",
        ":tensorflow:serving:runtime_latency_count",
        ":tensorflow:serving:request_example_count_total",
        ":tensorflow:serving:request_example_count",
    ],
    "mlserver": [
        '{__name__=~"(.+[_:])?(model_infer_request_success|model_infer_request_success_total)"}',
        '{__name__=~"(.+[_:])?(model_infer_request_failure|model_infer_request_failure_total)"}',
        '{__name__=~"(.+[_:])?(rest_server_requests|rest_server_requests_total)",app_name=~"(?s:)|(?s:mlserver)",'
        'path=~"(?s:.*/infer)|(?s:.*/generate)|(?s:.*/infer_stream)|(?s:.*/generate_stream)",status_code=~"(?s:422)"}',
    ],
    "databricks": ["request_count_total", "request_count"],
}


@pytest.mark.parametrize("name", SELECTORS)
def test_names_and_conditions_are_those_of_the_catalog(name: str) -> None:
    """Every name under which what shows calls is known, behind a prefix where there may be one."""
    system = SYSTEMS[name]
    asked = [one for metric in call_metrics_of(system) for one in questions(system, metric, "")]
    assert [selector for one in asked for selector in one.selectors] == SELECTORS[name]


@pytest.mark.parametrize(
    ("system", "labels", "tags"),
    [
        ("tensorflow_serving", {"model_nane": "m", "model_version": "1"}, {"model_name": "m", "model_version": "1"}),
        ("tensorflow_serving", {"model_name": "m", "model_nane": "n"}, {"model_name": "m"}),
        ("mlserver", {"model": "m", "version": "None"}, {"model_name": "m"}),
        ("databricks", {"endpoint": "e", "served_model": "s"}, {"endpoint_name": "e", "served_entity": "s"}),
        ("mlserver", {"model": "", "pod": "p"}, {}),
    ],
)
def test_labels_are_read_as_the_check_reads_them(system: str, labels: dict[str, str], tags: dict[str, str]) -> None:
    assert named(SYSTEMS[system], labels) == tags


def test_texts_are_quoted() -> None:
    assert quoted('a"b\\c\nd') == '"a\\"b\\\\c\\nd"'
