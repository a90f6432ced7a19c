"""What users and their scripts rely on, as it is now: the JSON of `model-serving check`, options and names.

    python -m tests.public

adds to tests/public.yaml what is new. It takes nothing away: what was public stays, until a person edits the file.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import click
import yaml
from pydantic import BaseModel

from datadog_checks.model_serving.config_models.instance import InstanceConfig
from datadog_checks.model_serving.config_models.shared import SharedConfig
from datadog_checks.model_serving.workstation.cli.root import root

ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).with_name("public.yaml")
Names = dict[str, str]
"""Names, or places in a structure, each with its type."""

SERVING = """\
# TYPE model_infer_request_success counter
model_infer_request_success_total{{model="iris",version="v1"}} {scrape}
# TYPE rest_server_requests_in_progress gauge
rest_server_requests_in_progress{{path="/infer",method="POST"}} {scrape}
# TYPE rest_server_request_duration_seconds histogram
rest_server_request_duration_seconds_bucket{{path="/infer",method="POST",status_code="200",le="1"}} {scrape}
rest_server_request_duration_seconds_bucket{{path="/infer",method="POST",status_code="200",le="+Inf"}} {scrape}
rest_server_request_duration_seconds_sum{{path="/infer",method="POST",status_code="200"}} {scrape}
rest_server_request_duration_seconds_count{{path="/infer",method="POST",status_code="200"}} {scrape}
"""
GPU = """\
# TYPE DCGM_FI_DEV_XID_ERRORS gauge
DCGM_FI_DEV_XID_ERRORS{{gpu="0",UUID="GPU-0",modelName="NVIDIA L4"}} {xid}
# TYPE some_gauge_of_ours gauge
some_gauge_of_ours{{gpu="0"}} {scrape}
"""
CONFIGURATION = """\
init_config:
instances:
  - {{openmetrics_endpoint: '{url}/serving', serving_system: mlserver}}
  - {{openmetrics_endpoint: '{url}/gpu', serving_system: dcgm, extra_metrics: [some_gauge_of_ours]}}
  - {{openmetrics_endpoint: '{url}/unknown'}}
  - {{openmetrics_endpoint: '{url}/nothing'}}
"""


@contextmanager
def served() -> Iterator[str]:
    """The URL of a server with a serving system, a GPU that fails from the second scrape on, and names nobody knows."""
    scrapes: dict[str, int] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            scrape = scrapes[self.path] = scrapes.get(self.path, 0) + 1
            pages = {"/serving": SERVING, "/gpu": GPU, "/unknown": "nobody_knows_this 1\n"}
            page = pages.get(self.path, "").format(scrape=scrape, xid=79 if scrape > 1 else 0)
            self.send_response(200 if page else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def check_json() -> Names:
    """The structure of what `model-serving check --json` prints, of every kind of thing that it prints."""
    with served() as url, tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "conf.yaml")
        path.write_text(CONFIGURATION.format(url=url), encoding="utf-8")
        command = [sys.executable, "-m", "datadog_checks.model_serving", "check", "-c", str(path)]
        command += ["--times", "3", "--interval", "0", "--json"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    found: dict[str, set[str]] = {}
    for line in done.stdout.splitlines():
        for place, kind in structure(json.loads(line)):
            found.setdefault(place, set()).add(kind)
    return {place: " or ".join(sorted(kinds)) for place, kinds in found.items()}


def structure(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Every place in a JSON value with its type; metrics of each type are a place of their own."""
    kinds = {dict: "object", list: "list", str: "string", bool: "boolean", int: "number", float: "number"}
    kind = "null" if value is None else kinds[type(value)]
    if place:
        yield place, kind
    if kind == "object":
        # The keys of the metadata are the check's own.
        for key, item in value.items() if not place.endswith(".metadata") else ():
            yield from structure(item, f"{place}.{key}".lstrip("."))
    elif kind == "list":
        for item in value:
            mark = f"type={item['type']}" if place == "metrics" else ""
            yield from structure(item, f"{place}[{mark}]")


def options(model: type[BaseModel], above: str = "") -> Names:
    """The options of a configuration model, those within others included."""
    found: Names = {}
    for name, field in model.model_fields.items():
        place = f"{above}{field.alias or name}"
        kinds: set[str] = set()
        for kind, inner, within in kinds_of(field.annotation):
            kinds.add(kind)
            if inner is not None:
                found |= options(inner, f"{place}{within}.")
        found[place] = " or ".join(sorted(kinds))
    return found


def kinds_of(annotation: Any) -> Iterator[tuple[str, type[BaseModel] | None, str]]:
    """What an option may be, in words of YAML, the model of what is in it, and `[]` where that is in a list."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        for argument in arguments:
            yield from kinds_of(argument) if argument is not NoneType else ()
    elif origin is tuple:
        inner = [one for one in arguments if one is not Ellipsis]
        models = [found for one in inner for _, found, _ in kinds_of(one) if found is not None]
        yield from (("list", model, "[]") for model in models or [None])
    elif origin is Literal:
        yield "choice", None, ""
    elif origin is MappingProxyType or annotation is MappingProxyType:
        yield "mapping", None, ""
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield "mapping", annotation, ""
    else:
        yield {str: "text", bool: "boolean", int: "number", float: "number"}.get(annotation, "any"), None, ""


def command_options(command: click.Command = root, name: str = "") -> Names:
    """The options and arguments of every subcommand."""
    found: Names = {}
    with click.Context(command) as context:
        for parameter in command.params:
            if getattr(parameter, "hidden", False):
                continue
            names = [*parameter.opts, *parameter.secondary_opts] if isinstance(parameter, click.Option) else ()
            kind = "flag" if getattr(parameter, "is_flag", False) else parameter.type.name
            for option in names or [parameter.human_readable_name]:
                found[f"{name} {option}".strip()] = f"{kind}, multiple" if parameter.multiple else kind
        if isinstance(command, click.Group):
            for child in command.list_commands(context):
                inner = command.get_command(context, child)
                assert inner is not None
                found |= command_options(inner, f"{name} {child}".strip())
    return found


def metrics() -> Names:
    """The names of metrics, with their types."""
    with (ROOT / "metadata.csv").open(encoding="utf-8", newline="") as file:
        return {row["metric_name"]: row["metric_type"] for row in csv.DictReader(file)}


def service_checks() -> Names:
    """The names of service checks."""
    entries = json.loads((ROOT / "assets" / "service_checks.json").read_text(encoding="utf-8"))
    return {entry["check"]: "service check" for entry in entries}


def public() -> dict[str, Names]:
    """Everything, section by section."""
    return {
        "check --json": check_json(),
        "instance options": options(InstanceConfig),
        "init_config options": options(SharedConfig),
        "command line": command_options(),
        "metrics": metrics(),
        "service checks": service_checks(),
    }


def golden() -> dict[str, Names]:
    """What has been public so far."""
    found: dict[str, Names] = yaml.safe_load(GOLDEN.read_text(encoding="utf-8"))
    return found


def main() -> None:
    """Add what is new."""
    before = golden() if GOLDEN.exists() else {}
    merged = {section: {**names, **before.get(section, {})} for section, names in public().items()}
    text = yaml.safe_dump(merged, sort_keys=False, width=200, default_flow_style=False)
    note = "# What users rely on. Names may be added: `python -m tests.public`. None may vanish or change its type.\n"
    GOLDEN.write_text(note + text, encoding="utf-8")


if __name__ == "__main__":
    main()
