"""The key `readiness` of a catalog file: what is wrong with one is told with the place and the mend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from datadog_checks.model_serving.catalog.loader import load_catalog
from datadog_checks.model_serving.errors import CatalogError

from .test_loader import written

FILE = """\
system: gateway
readiness: {}
metrics:
  - {{raw: gateway_active, type: gauge, to: request.in_flight}}
"""

PATH = "must be a path that begins with /, such as /health, not"
WRONG = {
    "health": "readiness: must be a mapping with text keys, not str.",
    "{}": "readiness: needs `server` or `model`, a path that tells what is ready.",
    "{sever: /health}": "readiness: unknown key `sever`; did you mean `server`?",
    "{server: health}": f"readiness.server.path: {PATH} 'health'.",
    "{server: }": "readiness.server: must be a mapping with text keys, not NoneType.",
    "{server: http://gateway/health}": f"readiness.server.path: {PATH} 'http://gateway/health'.",
    "{server: /a b}": f"readiness.server.path: {PATH} '/a b'.",
    "{server: {}}": f"readiness.server.path: {PATH} None.",
    "{server: {path: 8080}}": f"readiness.server.path: {PATH} 8080.",
    "{server: {pth: /health}}": "readiness.server: unknown key `pth`; did you mean `path`?",
    '{server: "/v2/models/{model}/ready"}': ("readiness.server.path: holds no `{model}`: '/v2/models/{model}/ready'."),
    "{model: /v2/models/ready}": (
        "readiness.model.path: must hold `{model}`, the name of the model that is asked for: '/v2/models/ready'."
    ),
    "{server: {path: /health, state: status}}": (
        "readiness.server: `state`, the key of the word, and `states`, what words mean, go together."
    ),
    "{server: {path: /health, states: {UP: ok}}}": (
        "readiness.server: `state`, the key of the word, and `states`, what words mean, go together."
    ),
    "{server: {path: /health, state: status, states: {UP: fine}}}": (
        "readiness.server.states.UP: must be one of ok, warning, critical, absent, not 'fine'."
    ),
    "{server: {path: /health, state: status, states: {true: ok}}}": (
        "readiness.server.states: must be a mapping with text keys, not dict."
    ),
    "{server: {path: /health, state: 'a[]', states: {UP: ok}}}": (
        "readiness.server.state: must be keys of JSON, divided by dots, such as id, not 'a[]'."
    ),
    "{server: /health, by_default: 1}": "readiness.by_default: must be true or false, not 1.",
    "{server: /health, because: 5}": "readiness.because: must be a text, not 5.",
    "{server: /health, by_default: true, because: it costs}": (
        "readiness.because: says why nothing is asked by default: it goes without `by_default`."
    ),
    "{server: /health, models: /v1/models}": (
        "readiness.models: needs `each`, the list of models, or `name`, the key that names the only one."
    ),
    "{server: /health, models: {path: /v1/models, each: data}}": (
        "readiness.models.each: must be keys of JSON, divided by dots, such as data[], not 'data'."
    ),
    "{server: /health, models: {path: /v1/models, each: 'data[].id'}}": (
        "readiness.models.each: must be keys of JSON, divided by dots, such as data[], not 'data[].id'."
    ),
    "{server: /health, models: {path: /m, each: '[]', name: ''}}": (
        "readiness.models.name: must be keys of JSON, divided by dots, such as id, not ''."
    ),
    "{server: /health, models: {path: /m, each: '[]', post: 2026-01-01}}": (
        "readiness.models.post: must be a JSON value, such as {}, not datetime.date(2026, 1, 1)."
    ),
    "{server: /health, models: {path: /m, each: '[]', gauges: {model.context.lenght: n}}}": (
        "readiness.models.gauges: `model.context.lenght` is no metric of the vocabulary; did you mean "
        "`model.context.length`?"
    ),
    "{server: /health, models: {path: /m, each: '[]', gauges: {request.count: n}}}": (
        "readiness.models.gauges: `request.count` is a count: only gauges are read here."
    ),
    "{server: /health, models: {path: /m, each: '[]', gauges: {model.context.length: 'n[]'}}}": (
        "readiness.models.gauges.model.context.length: must be keys of JSON, divided by dots, such as id, not 'n[]'."
    ),
    "{server: /health, version: /info}": "readiness.version: must be a mapping with text keys, not str.",
    "{server: /health, version: {path: /info}}": "readiness.version: needs `key`, that of the value in the answer.",
    "{server: /health, tags: {model_name: {path: info, key: id}}}": (f"readiness.tags.model_name.path: {PATH} 'info'."),
}


@pytest.mark.parametrize("text", WRONG)
def test_refused(text: str, tmp_path: Path) -> None:
    """A mistake is refused, with the place and what to write."""
    path = written(tmp_path, FILE.format(text))
    with pytest.raises(CatalogError) as raised:
        load_catalog([path])
    assert str(raised.value) == f"Catalog file {path}, {WRONG[text]}"


def test_tags_need_series_without_identity(tmp_path: Path) -> None:
    """Series of one thing are put together by their labels, and tags that come later would tell them apart."""
    content = FILE.format("{server: /info, tags: {vendor: {path: /info, key: id}}}")
    path = written(tmp_path, f"{content}identity: {{levels: {{gpu: [gpu]}}}}\n")
    with pytest.raises(CatalogError, match="tags: goes without an `identity` of the system"):
        load_catalog([path])


@pytest.mark.parametrize(
    ("own", "path"),
    [({}, "/v2/health/ready"), ({"readiness": {"server": "/mine"}}, "/mine"), ({"readiness": None}, "")],
)
def test_extended(own: dict[str, Any], path: str, tmp_path: Path) -> None:
    """A file that extends another has its readiness, or one of its own in its place, or none."""
    content = {"system": "gateway", "extends": "mlserver", **own}
    rules = load_catalog([written(tmp_path, yaml.safe_dump(content))]).systems["gateway"].readiness
    assert (rules.server.path if rules is not None and rules.server is not None else "") == path
