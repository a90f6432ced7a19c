"""What the documentation shows is executed, and its tables are what the catalog gives."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from datadog_checks.model_serving.__about__ import __version__
from datadog_checks.model_serving.catalog.loader import builtin_catalog, load_catalog
from datadog_checks.model_serving.sources.databricks.workspace import DatabricksWorkspace

from .conftest import Endpoint, make_check, submissions
from .examples import hold
from .pages import Block, Page

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^#### (.+?)\n.*?```yaml\n(.*?)```", README, re.MULTILINE | re.DOTALL)
DATABRICKS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "databricks.md").read_text("utf-8"), re.DOTALL)
GATEWAY = next(text for text in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if text.startswith("system: "))


@pytest.mark.parametrize(("title", "text"), BLOCKS, ids=[title for title, _ in BLOCKS])
def test_configuration_is_accepted(title: str, text: str, tmp_path: Path) -> None:
    """Every configuration of the README passes the check of options, as the Agent would see it."""
    catalog = tmp_path / "gateway.yaml"
    catalog.write_text(GATEWAY, encoding="utf-8")
    for instance in _instances(text):
        if "catalog" in instance:
            instance["catalog"] = str(catalog)
        make_check(**instance).run_check_initializations()


@pytest.mark.parametrize("text", DATABRICKS, ids=range(len(DATABRICKS)))
def test_databricks_configuration_is_accepted(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every configuration of the page on Databricks is, also within the values and annotations of a cluster."""
    monkeypatch.setenv("DATABRICKS_HOST", "h.example")
    monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-1")
    if "confd" in text:
        text = yaml.safe_load(text)["clusterAgent"]["confd"]["model_serving.yaml"]
        assert yaml.safe_load(text)["cluster_check"] is True
    if "annotations" in text:
        text = yaml.safe_load(text)["metadata"]["annotations"]["ad.datadoghq.com/service.checks"]
        text = json.dumps(json.loads(text)["model_serving"])
    for instance in _instances(text):
        check = make_check(**instance)
        check.run_check_initializations()
        assert isinstance(check.source, DatabricksWorkspace) == ("openmetrics_endpoint" not in instance)
        check.cancel()


def _instances(text: str) -> list[dict[str, Any]]:
    """The instances of a configuration, with the handles of the secrets backend resolved, as the Agent does."""
    instances: list[dict[str, Any]] = yaml.safe_load(re.sub(r"ENC\[[^\]]*\]", "resolved-secret", text))["instances"]
    return instances


OTHERS = [
    block.text
    for path in ("docs/gpu.md", "docs/how-it-counts.md")
    for block in Page(path).blocks()
    if block.text.startswith("instances:")
]


@pytest.mark.parametrize("text", OTHERS, ids=range(len(OTHERS)))
def test_configuration_of_a_page_is_accepted(text: str) -> None:
    """Every configuration of the other pages is, too."""
    for instance in _instances(text):
        make_check(**instance).run_check_initializations()


@pytest.mark.parametrize("system", builtin_catalog().systems)
def test_every_system_is_in_the_readme(system: str) -> None:
    """A system of the catalog has a row in the table of the README."""
    assert re.search(rf"^\| .* \| `{system}` \| .* \|$", README, re.MULTILINE), f"README.md has no row for `{system}`"


def test_configurations_are_short() -> None:
    """What the README shows for a system is at most five lines of instance."""
    assert len(BLOCKS) >= 10
    assert [title for title, text in BLOCKS if len(text.splitlines()) > 6] == []


def test_catalog_file_of_the_readme_works(endpoint: Endpoint, aggregator: Any, tmp_path: Path) -> None:
    """The README's own system is mapped as the text around it says."""
    path = tmp_path / "gateway.yaml"
    path.write_text(GATEWAY, encoding="utf-8")
    assert "gateway" in load_catalog([path]).systems
    check = make_check(openmetrics_endpoint=endpoint.url, catalog=str(path), serving_system="gateway")
    for total in (10, 14):
        aggregator.reset()
        endpoint.serve(f'gateway_requests_total{{model="m",code="500"}} {total}\ngateway_spend_total {total / 2}\n')
        assert check.run() == ""
    assert submissions(aggregator, ("serving_system", "endpoint_name", "endpoint")) == [
        "count gateway.spend.count 2",
        "count request.count 4 code:500 model_name:m",
        "count request.error.count 4 code:500 error_type:http model_name:m",
    ]


def test_metric_tables_are_up_to_date() -> None:
    """`make generate` would not change docs/metrics.md."""
    script = "import sys; from metric_tables import render; sys.stdout.write(render())"
    command = [sys.executable, "-c", script]
    rendered = subprocess.run(command, cwd=ROOT / "tools", check=True, capture_output=True, encoding="utf-8").stdout
    assert (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8") == rendered


def test_readme_is_ascii() -> None:
    """Datadog's validation of integrations takes nothing else."""
    assert README.isascii()


# -- docs/how-it-counts.md

COUNTS = Page("docs/how-it-counts.md").blocks()


def counted() -> Iterator[tuple[dict[str, Any], Block, Block]]:
    """What is served and what is submitted, with the page's first instance, or one that stands right before."""
    [first], *_ = (_instances(block.text) for block in COUNTS if block.language == "yaml")
    texts: list[Block] = []
    instance = first
    for block in COUNTS:
        if block.language == "yaml":
            [instance] = _instances(block.text)
        elif block.language == "text":
            texts.append(block)
        if len(texts) == 2:
            yield instance, texts[0], texts[1]
            texts, instance = [], first
    assert not texts


@pytest.mark.parametrize(
    ("instance", "served", "said"), [pytest.param(*each, id=each[1].headings[-1]) for each in counted()]
)
def test_counts_as_the_page_says(
    instance: dict[str, Any],
    served: Block,
    said: Block,
    endpoint: Endpoint,
    aggregator: Any,
    datadog_agent: Any,
    caplog: Any,
) -> None:
    """What an endpoint serves is submitted exactly as the page has it."""
    options = {"openmetrics_endpoint": endpoint.url, "tag_by_endpoint": False, "readiness": False}
    hold(make_check(**{**instance, **options}), served.text, said.text, endpoint, aggregator, caplog)


# -- docs/kubernetes.md

KUBERNETES = Page("docs/kubernetes.md")
MANIFESTS = [
    (block, document)
    for block in KUBERNETES.blocks()
    if block.language == "yaml"
    for document in yaml.safe_load_all(block.text)
]
CHECKS = re.compile(r"(?:ad\.datadoghq\.com/(?P<container>[\w-]+)|com\.datadoghq\.ad)\.checks")
"""The key of an annotation on a pod, and that of a label in Docker."""

CHART_CONTAINERS = {"podAnnotations": "exporter", "daemonsets": "nvidia-dcgm-exporter"}
"""The container in the charts of dcgm-exporter and of NVIDIA's GPU Operator, by a key of their values."""


def inside(value: Any, *above: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every value of a document, itself included, with the keys that lead to it."""
    yield above, value
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from inside(part, *above, key)


def configurations(document: Any) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """What the Agent would take for a configuration of the check, with the keys that lead to it."""
    for keys, value in inside(document):
        if keys and keys[-1] == "model_serving.yaml":
            yield keys, yaml.safe_load(value)
        elif keys and CHECKS.fullmatch(str(keys[-1])):
            # Nothing but this check, and valid JSON.
            [configuration] = [found for name, found in json.loads(value).items() if name == "model_serving"]
            yield keys, configuration


CONFIGURED = [
    pytest.param(document, keys, configuration, id=f"{block.headings[-1]}-{number}")
    for number, (block, document) in enumerate(MANIFESTS)
    for keys, configuration in configurations(document)
]


def test_kubernetes_page_has_what_it_is_about() -> None:
    assert len(CONFIGURED) >= 13
    instances = [one for each in CONFIGURED for one in each.values[2]["instances"]]
    assert {one.get("serving_system") for one in instances if isinstance(one.get("serving_system"), str)} >= {
        "tensorflow_serving",
        "dcgm",
        "custom_ml",
    }
    for heading in ("Servers in pods", "Once per cluster", "Secrets", "GPUs, through NVML", "Docker"):
        assert any(heading in block.headings for block, _ in MANIFESTS), heading


@pytest.mark.parametrize(("document", "keys", "configuration"), CONFIGURED)
def test_kubernetes_configuration_is_accepted(
    document: dict[str, Any], keys: tuple[Any, ...], configuration: dict[str, Any]
) -> None:
    """As the Agent resolves it, the check takes every instance; one for the Cluster Agent is for one runner alone."""
    assert configuration.keys() <= {"ad_identifiers", "cluster_check", "init_config", "instances"}
    clustered = "clusterAgent" in keys
    assert configuration.get("cluster_check", False) is clustered
    discovered = "ad_identifiers" in configuration or CHECKS.fullmatch(str(keys[-1])) is not None
    text = json.dumps(configuration["instances"])
    assert set(re.findall(r"%%\w+%%", text)) == ({"%%host%%"} if discovered else set())
    resolved = re.sub(r"ENC\[[^\]]*\]", "resolved-secret", text.replace("%%host%%", "10.0.0.7"))
    for instance in json.loads(resolved):
        assert instance.get("empty_default_hostname", False) is clustered
        check = make_check(**instance)
        check.run_check_initializations()
        check.cancel()


@pytest.mark.parametrize(("document", "keys", "configuration"), CONFIGURED)
def test_annotations_are_of_a_container_of_the_pod(
    document: dict[str, Any], keys: tuple[Any, ...], configuration: dict[str, Any]
) -> None:
    found = CHECKS.fullmatch(str(keys[-1]))
    if found is None or found["container"] is None:
        return
    if keys[0] in CHART_CONTAINERS:
        assert found["container"] == CHART_CONTAINERS[keys[0]]
        return
    pod = document
    for key in keys[:-3]:
        pod = pod[key]
    assert keys[-3:-1] == ("metadata", "annotations")
    [container] = [one for one in pod["spec"]["containers"] if one["name"] == found["container"]]
    ports = {port["containerPort"] for port in container["ports"]}
    assert {urlsplit(one["openmetrics_endpoint"]).port for one in configuration["instances"]} <= ports


def test_secrets_of_the_kubernetes_page_may_be_read() -> None:
    """Every Secret that an instance names is one that the roles let the Agents read, and each one is named."""
    named = {tuple(one.split("/")[:2]) for one in re.findall(r"ENC\[k8s_secret@([^\]]+)\]", KUBERNETES.text)}
    documents = [document for block, document in MANIFESTS if "Secrets" in block.headings]
    backends = [value for document in documents for keys, value in inside(document) if keys[-1:] == ("secretBackend",)]
    assert len(backends) == 2
    for backend in backends:
        assert backend["command"] == "/readsecret_multiple_providers.sh"
        assert {(role["namespace"], name) for role in backend["roles"] for name in role["secrets"]} == named
    kinds = {document["kind"]: document for document in documents if "kind" in document}
    role, binding = kinds["Role"], kinds["RoleBinding"]
    [rule] = role["rules"]
    assert {(role["metadata"]["namespace"], name) for name in rule["resourceNames"]} == named
    assert (rule["resources"], rule["verbs"]) == (["secrets"], ["get"])
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    for namespace, name in named:
        assert f"kubectl -n {namespace} create secret generic {name} " in KUBERNETES.text


def test_image_of_the_kubernetes_page_is_that_of_this_version() -> None:
    """The Dockerfile installs the wheel that `make wheel` builds, and the package that `gpu` asks for."""
    [dockerfile] = [block.text for block in KUBERNETES.blocks() if block.language == "dockerfile"]
    wheel = f"datadog_model_serving-{__version__}-py3-none-any.whl"
    assert f"COPY dist/{wheel} /tmp/\n" in dockerfile
    assert f"agent integration install -r -w /tmp/{wheel}\n" in dockerfile
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [gpu] = project["optional-dependencies"]["gpu"]
    assert f"'{gpu}'" in dockerfile
    assert f"/tmp/{wheel}" in README
    # One image, wherever it is named.
    tags = set(re.findall(r"agent-model-serving:(\S+)", KUBERNETES.text))
    images = [value for _, document in MANIFESTS for keys, value in inside(document) if keys[-1:] == ("image",)]
    tags |= {image["tag"] for image in images if isinstance(image, dict) and "tag" in image}
    assert tags == {re.search(r"^FROM \S+:(\S+)$", dockerfile, re.MULTILINE)[1]}  # type: ignore[index]


# -- docs/architecture.md

PACKAGE = ROOT / "datadog_checks" / "model_serving"
ARCHITECTURE = Page("docs/architecture.md")
ROOMS = re.findall(r"^\| `(\S+)` \|", ARCHITECTURE.section("Rooms"), re.MULTILINE)


def test_every_room_is_on_the_page() -> None:
    """Every folder of code, on the two upper levels of the package, has a line; each line is a folder or a file."""
    folders = {path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("__init__.py")} - {"."}
    rooms = {f"{folder}/" for folder in folders if folder.count("/") < 2}
    assert rooms <= set(ROOMS)
    assert [room for room in ROOMS if not (PACKAGE / room).exists()] == []


def test_rooms_import_only_from_below() -> None:
    """No module imports a room that stands above its own in the table, but what is known."""
    order = list(dict.fromkeys(room.split("/")[0].removesuffix(".py") for room in ROOMS))
    found = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        package = ".".join(("package", *parts[:-1]))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                module = resolve_name("." * node.level + (node.module or ""), package)
                names = [f"{module}.{alias.name}" for alias in node.names]
                rooms = {name.split(".")[1] for name in names if "." in name}
                found |= {(parts[0], room) for room in rooms if room in order and parts[0] in order}
    assert {(own, other) for own, other in found if order.index(other) < order.index(own)} == set()


# -- paths and links of all pages

PAGES = [Page(path.relative_to(ROOT).as_posix()) for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])]
MADE = {
    *("build/", "dist/", "bridge.yaml", "conf.yaml", "NUMBER.TYPE.md", "conf.d/model_serving.d/conf.yaml"),
    *(
        "gateway.yaml",
        "relay.yaml",
        "datadog_checks/model_serving/catalog/systems/relay.yaml",
        "tests/tables/relay.yaml",
    ),
    *("tests/fixtures/payloads/relay/0.9.txt", "auto_conf.yaml", "datadog.yaml"),
    # Of others.
    *("tensorflow/serving", "nvidia.com/gpu"),
}
"""What readers of the pages make, and what is not of this repository."""


def of(pages: list[Page]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", pages, ids=[page.path for page in pages])


def prose(page: Page) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", page.text, flags=re.MULTILINE | re.DOTALL)


@of(PAGES)
def test_every_path_exists(page: Page) -> None:
    """A path in backticks leads to a file or folder of the repository or of the package; a bare name is a file's."""
    folders = [ROOT / name for name in ("assets", "conf.d", "datadog_checks", "docs", "tests")]
    files = {path.name for path in [*ROOT.iterdir(), *(path for folder in folders for path in folder.rglob("*.*"))]}
    named = set(re.findall(r"`([\w.-]+(?:/[\w.-]+)*/?)`", prose(page))) - MADE
    paths = {name for name in named if "/" in name}
    assert {name for name in paths if not any((folder / name).exists() for folder in (ROOT, PACKAGE))} == set()
    assert {name for name in named - paths if name.endswith((".py", ".yaml", ".md"))} <= files


@of(PAGES)
def test_every_link_leads_somewhere(page: Page) -> None:
    """A relative link leads to a file, and to a heading of it where it names one."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        path = (ROOT / page.path).parent / name if name else ROOT / page.path
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(link)
    assert broken == []


def anchors(path: Path) -> set[str]:
    """What the headings of a page are called in links to them."""
    titles = [headings[-1] for headings in Page(path.resolve().relative_to(ROOT).as_posix()).headings()]
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
