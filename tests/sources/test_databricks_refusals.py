"""What is said of a refusal: the reason and a cure, from a table, and nothing that the answer itself said."""

from __future__ import annotations

import json
import logging
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from datadog_checks.base.utils.http import RequestsWrapper
from hypothesis import given, settings
from hypothesis import strategies as st

from datadog_checks.model_serving.errors import AccessError, CredentialsError
from datadog_checks.model_serving.http.transport import Transport
from datadog_checks.model_serving.sources.databricks import refusals
from datadog_checks.model_serving.sources.databricks.access import Access
from datadog_checks.model_serving.sources.databricks.credentials import Login, WorkspaceCredentials

from ..conftest import make_check
from .databricks_http import CLIENT, MARK, SECRET, TOKEN_PATH, Answer, Clock, Server, assert_silent, serve, shown

LIST = "/api/2.0/serving-endpoints"
TENANT = "11112222-3333-4444-5555-666677778888"
PAT = f"dapi-{MARK}-0123"
CASES = yaml.safe_load((Path(__file__).parent / "refusals.yaml").read_text())
EACH = [pytest.param(case, at, id=f"{case['name']}, {at}") for case in CASES for at in case["at"]]


@pytest.fixture
def server() -> Iterator[Server]:
    with serve() as server:
        yield server


def answer_of(case: dict[str, Any]) -> Answer:
    body = case["text"].encode() if "text" in case else case.get("body", b"")
    return Answer(case["status"], body, case.get("headers", {}))


def login(at: str, server: Server, tmp_path: Path) -> tuple[Login, str]:
    """The login whose token is asked for at a place, and the path that it is asked for at."""
    if at == "exchange":
        file = tmp_path / "jwt"
        file.write_text(f"eyJ.{MARK}.sig")
        return Login("file-oidc", "instance", path=str(file), client_id=CLIENT), TOKEN_PATH
    if at == "entra":
        entra = Login("azure-client-secret", "instance", SECRET, client_id=CLIENT, authority=server.url, tenant=TENANT)
        return entra, f"/{TENANT}/oauth2/token"
    if at == "identity":
        return Login("azure-msi", "instance", authority=f"{server.url}/identity"), "/identity"
    return Login("oauth-m2m", "instance", SECRET, client_id=CLIENT), TOKEN_PATH


@pytest.mark.parametrize(("case", "at"), [each for each in EACH if each.values[1] not in ("metrics", "endpoint")])
def test_sentence(
    case: dict[str, Any], at: str, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of the list, and of each way to get a token."""
    caplog.set_level(logging.DEBUG)
    one, path = login(at, server, tmp_path)
    # As everything is asked of a workspace: over connections that read a refusal to the end.
    transport, clock = Transport(RequestsWrapper({"timeout": 10}, {}), size=1), Clock()
    http = transport.wrapper()
    credentials = WorkspaceCredentials(one, server.url, lambda: http, [].append, clock)
    if at == "list":
        server.script(LIST, *[answer_of(case)] * 2)
        access = Access(credentials, clock=clock, wait=clock.wait)
        with pytest.raises(AccessError) as caught:
            access.get_json(http, f"{server.url}{LIST}")
    else:
        # An identity is asked for with a query.
        given = server.answer
        server.answer = lambda asked: answer_of(case) if asked.path.startswith(path) else given(asked)  # type: ignore[method-assign]
        with pytest.raises(CredentialsError) as caught:  # type: ignore[assignment]
            credentials.header()
    assert case["says"] in str(caught.value), str(caught.value)
    assert re.search(r"\(HTTP \d{3}(, [\w]+)?\): \S", str(caught.value))
    assert_silent(shown(caught.value, credentials) + caplog.text)
    transport.close()


@pytest.mark.parametrize(
    ("case", "at", "own"),
    [
        pytest.param(*each.values, own, id=f"{each.id}, {own}")
        for each in EACH
        for own in ("login", "header")
        # Without a login of the check redirects are followed.
        if each.values[1] in ("metrics", "endpoint") and (own == "login" or each.values[0]["status"] >= 400)
    ],
)
def test_sentence_of_one_endpoint(
    case: dict[str, Any],
    at: str,
    own: str,
    server: Server,
    aggregator: Any,
    datadog_agent: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Of its metrics and of its description, with a login of the check and with a header of the user's."""
    caplog.set_level(logging.DEBUG)
    refused = f"{LIST}/fraud/metrics" if at == "metrics" else f"{LIST}/fraud"
    page = b"# TYPE cpu_usage_percentage gauge\ncpu_usage_percentage 7\n"
    good = {f"{LIST}/fraud/metrics": page, f"{LIST}/fraud": {"name": "fraud", "state": {"ready": "READY"}}}
    server.answer = lambda asked: answer_of(case) if asked.path == refused else Answer(200, good[asked.path])  # type: ignore[method-assign]
    options: dict[str, Any] = {"databricks_host": server.url, "endpoint_name": "fraud", "databricks_token": PAT}
    if own == "header":
        url, bearer = f"{server.url}{LIST}/fraud/metrics", {"Authorization": f"Bearer {PAT}"}
        options = {"openmetrics_endpoint": url, "headers": bearer}
    check = make_check(**options)
    error = check.run()
    told = [error] if at == "metrics" else []
    told += [found.message for found in aggregator.service_checks("model_serving.endpoint.ready") if found.message]
    assert told
    says = case["says"].replace("grant it", "grant its owner")
    assert all(says in text for text in told), told
    assert_silent(error + repr(told) + caplog.text)
    check.cancel()


def test_every_row_is_shown() -> None:
    """No row is hidden behind another, and each cure is one."""
    kinds = {"list": "api", "metrics": "api", "exchange": "token"}
    met = set()
    for case in CASES:
        for at in case["at"]:
            response = response_of(case["status"], answer_of(case).encoded(), case.get("headers", {}))
            met.add(id(refusals.refusal(response, kinds.get(at, at))[0]))
    missed = [row.name for row in refusals.REFUSALS if id(row) not in met and row.name not in ("other", "rate limit")]
    assert missed == []
    assert all(len(row.cure) > 10 or row.cure.startswith("{") for row in refusals.REFUSALS)


def test_documentation_names_what_is_said() -> None:
    """Each sentence of the page on Databricks is one of the table's."""
    page = (Path(__file__).parents[2] / "docs" / "databricks.md").read_text()
    section = page.partition("### What a refusal means")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| ") and "`" in line]
    said = [text for cell in cells for text in re.findall("`([^`]+)`", cell)]
    assert len(said) > 15
    sentences = [re.sub(r"\{\w+\}", "...", row.sentence) for row in refusals.REFUSALS]
    sentences += [row.sentence.format_map(defaultdict(str, refusals.WITHOUT_LOGIN)) for row in refusals.REFUSALS]
    sentences += [row.sentence.replace("{credential}", each) for row in refusals.REFUSALS for each in CREDENTIALS]
    for text in said:
        assert any(text.removesuffix(" ...") in sentence for sentence in sentences), text


CREDENTIALS = ("the client id or the secret", "the OIDC token in ...")


def response_of(status: int, body: bytes, headers: dict[str, str]) -> requests.Response:
    response = requests.Response()
    response.status_code = status
    response._content = body
    response.headers.update(headers)
    return response


# Text that can't be part of any sentence of the table.
FREE = st.text(st.sampled_from('qzäß@0123456789-=._/ \n"{}<>'), min_size=1, max_size=30).map(
    lambda text: f"Qz9{text}zQ9"
)
PHRASES = [
    "is blocked by Databricks IP ACL", "Unauthorized access to workspace", "does not have required scopes",
    "Invalid access token.", "FEATURE_DISABLED", "Credential was not sent", "",
]  # fmt: skip
CODES = st.one_of(
    FREE, st.integers(), st.none(), st.lists(FREE), st.sampled_from(["PERMISSION_DENIED", "invalid_grant"])
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    text = draw(FREE) + draw(st.sampled_from(PHRASES)) + draw(FREE)
    body = {"error_code": draw(CODES), "message": text, "error": draw(CODES), "error_codes": draw(st.lists(CODES))}
    forms = [
        json.dumps(body),
        json.dumps([body]),
        text,
        f"{draw(FREE)}: {text}",
        f"<pre>{text}</pre>",
        json.dumps(body)[:40],
    ]
    return draw(st.sampled_from(forms)).encode()


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from([300, 302, 400, 401, 403, 404, 409, 418, 429, 499, 500, 503, 599]),
    bodies(),
    FREE.filter(lambda text: "\n" not in text),
    st.sampled_from(["api", "endpoint", "token", "entra", "identity"]),
)
def test_nothing_of_the_answer_is_shown(status: int, body: bytes, header: str, place: str) -> None:
    """Whatever stands in the body, in its codes, in the reason phrase, or behind the host of a redirect."""
    headers = {"X-Databricks-Reason-Phrase": header, "Location": f"https://u:{header[:3]}@h.example.com/{header}"}
    response = response_of(status, body, headers)
    one = Login("oauth-m2m", "instance", SECRET, client_id=CLIENT)
    words = WorkspaceCredentials(one, "http://127.0.0.1:1", dict, [].append).words()
    texts = [refusals.explain(response, words, place)]
    if place in ("api", "endpoint"):
        texts.append(refusals.explain(response, place=place))
    for text in texts:
        assert "Qz9" not in text
        assert "zQ9" not in text
        assert f"(HTTP {status}" in text
        assert_silent(text)
