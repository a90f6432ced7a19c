"""Servers as data: how to install one, start it, ask it, and what the check must count of that.

`tests/real/systems/recipes/NAME/recipe.yaml`, beside the files that the server needs; `worker.py` is
what routers and gateways send to:

- `system`: what `serving_system` is then; `instance`: more options. `auto: false`: it is not recognised by itself.
- `python`: versions that it runs on; `install`: the packages of one `pip install` after the other, each a list.
- `needs`: programs on PATH. `isolated`: it opens ports to everyone, so it gets a network of its own.
- `ports`: names of ports. In all texts below `{name}` is the port, `{bin}` the environment's programs, `{libpython}`
  the folder of its interpreter's shared library, `{here}` the folder that it runs in, `{short}` one with a short name,
  for sockets.
- `before`: commands that end. `processes`: `run`, `env`, and `ready`, URLs that answer 200 when it is,
  with the text that follows a space. `stop`: a command that ends what these leave behind.
- `metrics`: the URL. `settled`: `lines` that begin with this stand still for `seconds` once all is counted.
- `requests`: `send` (method and path), `body` (JSON), `headers`, `times`, `status`, `delay` (seconds that the model is
  told to take), and `counts`: how much of which metric one of them is. A metric can have tags: `a.count{x:y,z:w}`.
- `latency`: `metric`, and the family `raw` that its buckets come from, in which `second` is one second.
  `estimated`: its sum is the server's own estimate.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from ...ports import free_ports
from .environments import Unavailable, environment, without_ours
from .processes import fetch, running, wait_for_start, wait_until

FOLDER = Path(__file__).resolve().parents[1] / "systems" / "recipes"
CHOICE = "SERVERS"
INSIDE = "MODEL_SERVING_TEST_INSIDE"
"""Names the server for which this process is in a network of its own."""

CLIENTS = 8
ANSWER_SECONDS = 60
START_SECONDS = 180
SETTLE_SECONDS = 90
COMMAND_SECONDS = 120


@dataclass(frozen=True)
class Row:
    """Requests that are alike, and what one of them counts as."""

    method: str
    path: str
    body: bytes | None
    headers: dict[str, str]
    times: int
    status: int
    delay: float
    counts: dict[str, float]


@dataclass(frozen=True)
class Reply:
    row: Row
    status: int
    seconds: float


@dataclass(frozen=True, repr=False)
class Recipe:
    name: str
    given: dict[str, Any]

    @property
    def system(self) -> str:
        return str(self.given["system"])

    @property
    def isolated(self) -> bool:
        return bool(self.given.get("isolated"))

    def rows(self) -> list[Row]:
        found = []
        for row in self.given["requests"]:
            method, path = row["send"].split(" ", 1)
            body = json.dumps(row["body"]).encode() if "body" in row else None
            headers = {"Content-Type": "application/json", **row.get("headers", {})}
            counts = {name: float(value) for name, value in row.get("counts", {}).items()}
            status, delay = row.get("status", 200), row.get("delay", 0.0)
            found.append(Row(method, path, body, headers, row.get("times", 1), status, delay, counts))
        return found

    def environment(self) -> Path:
        """The environment that it runs in; raises Unavailable."""
        missing = [program for program in self.given.get("needs", ()) if not shutil.which(program)]
        if missing:
            raise Unavailable(f"{self.name} needs {' and '.join(missing)} on PATH")
        return environment(self.name, self.given["install"], self.given["python"])


def recipe(name: str) -> Recipe:
    return Recipe(name, yaml.safe_load((FOLDER / name / "recipe.yaml").read_text(encoding="utf-8")))


def names() -> list[str]:
    return sorted(path.parent.name for path in FOLDER.glob("*/recipe.yaml"))


def chosen() -> list[str]:
    """Those that the environment variable SERVERS asks for; `all` is every one. Raises for a name without a recipe."""
    asked = os.environ.get(CHOICE, "").replace(",", " ").split()
    unknown = set(asked) - set(names()) - {"all"}
    if unknown:
        raise ValueError(f"{CHOICE}: no recipe for {', '.join(sorted(unknown))}. There are: {', '.join(names())}")
    return names() if "all" in asked else asked


def here() -> list[str]:
    """Those of them that this process can start."""
    return [name for name in chosen() if not recipe(name).isolated or os.environ.get(INSIDE) == name]


def apart() -> list[str]:
    """The others, which want a network of their own."""
    return [name for name in chosen() if name not in here()]


@dataclass(frozen=True)
class Server:
    """A running one."""

    recipe: Recipe
    api: str
    metrics: str

    def payload(self) -> str:
        return fetch(self.metrics)[1]

    def settle(self, before: str | None = None) -> str:
        """Waits until its counters stand still, and are no longer those of `before`: they follow the answers by a
        moment, in some servers by many seconds. Returns their lines."""
        settled = self.recipe.given["settled"]
        lines = tuple(settled["lines"])
        seen = ["", 0.0]

        def still() -> bool:
            text = "\n".join(sorted(line for line in self.payload().splitlines() if line.startswith(lines)))
            if text != seen[0]:
                seen[:] = text, time.monotonic()
            return text != before and time.monotonic() - float(seen[1]) > settled["seconds"]

        wait_until(still, f"{self.recipe.name}'s metrics standing still", SETTLE_SECONDS)
        return str(seen[0])

    def send(self) -> list[Reply]:
        """Sends the requests in an order that is the same each time, from several clients at once."""
        order = [row for row in self.recipe.rows() for _ in range(row.times)]
        random.Random(7).shuffle(order)
        host = urllib.parse.urlsplit(self.api).netloc
        own = threading.local()

        def one(row: Row) -> Reply:
            if not hasattr(own, "connection"):
                own.connection = http.client.HTTPConnection(host, timeout=ANSWER_SECONDS)
            begun = time.perf_counter()
            own.connection.request(row.method, row.path, row.body, row.headers)
            reply = own.connection.getresponse()
            reply.read()
            if reply.status >= 400:
                # Some servers hang up after an error without saying so beforehand.
                own.connection.close()
            return Reply(row, reply.status, time.perf_counter() - begun)

        with ThreadPoolExecutor(CLIENTS) as pool:
            return list(pool.map(one, order))


@contextmanager
def started(recipe: Recipe, folder: Path) -> Iterator[Server]:
    """The server, in `folder`, on ports of its own; raises Unavailable where it cannot be installed."""
    venv = recipe.environment()
    here = folder / recipe.name
    shutil.copytree(FOLDER / recipe.name, here, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(FOLDER / "worker.py", here)
    ports = recipe.given["ports"]
    words = dict(zip(ports, map(str, free_ports(len(ports))), strict=True))
    short = tempfile.mkdtemp(prefix="server")
    words |= {
        "short": short,
        "bin": str(venv / "bin"),
        "here": str(here),
        "libpython": _library_of(venv),
    }

    def fill(text: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda found: words.get(found[1], found[0]), text)

    # Configuration files name ports too.
    for path in here.rglob("*"):
        if path.suffix in (".yaml", ".properties", ".sh") and path.name != "recipe.yaml":
            path.write_text(fill(path.read_text(encoding="utf-8")), encoding="utf-8")

    def variables(step: dict[str, Any]) -> dict[str, str]:
        return without_ours(venv) | {key: fill(str(value)) for key, value in step.get("env", {}).items()}

    def command(step: dict[str, Any]) -> None:
        subprocess.run(
            [fill(word) for word in step["run"]],
            cwd=here,
            env=variables(step),
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_SECONDS,
        )

    with ExitStack() as stack:
        stack.callback(shutil.rmtree, short, ignore_errors=True)
        for step in recipe.given.get("before", ()):
            command(step)
        if "stop" in recipe.given:
            stack.callback(command, recipe.given["stop"])
        for step in recipe.given["processes"]:
            words_of_step = [fill(word) for word in step["run"]]
            process = stack.enter_context(running(words_of_step, cwd=here, env=variables(step)))
            urls = [fill(url) for url in step["ready"]]
            wait_for_start(process, partial(_all_answer, urls), recipe.name, START_SECONDS, here)
        yield Server(recipe, f"http://127.0.0.1:{words['api']}", fill(recipe.given["metrics"]))


def _all_answer(urls: list[str]) -> bool:
    return all(map(_answers, urls))


def _answers(url: str) -> bool:
    address, _, text = url.partition(" ")
    status, body = fetch(address)
    return status == 200 and text in body


def _library_of(venv: Path) -> str:
    ask = "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"
    return subprocess.run(
        [venv / "bin" / "python", "-c", ask], check=True, capture_output=True, text=True
    ).stdout.strip()


def expected(replies: list[Reply]) -> dict[str, float]:
    """What the requests come to, by metric with its tags."""
    total: Counter[str] = Counter()
    for row in {id(reply.row): reply.row for reply in replies}.values():
        total.update(dict.fromkeys(row.counts, 0))
    for reply in replies:
        for name, value in reply.row.counts.items():
            total[name] += value  # type: ignore[assignment]
    return dict(total)


def series_of(name: str) -> tuple[str, tuple[str, ...]]:
    """The metric and the tags of a name in `counts`."""
    metric, _, tags = name.rstrip("}").partition("{")
    return f"model_serving.{metric}", tuple(filter(None, tags.split(",")))


def bounds_of(payload: str, raw: str) -> list[float]:
    """The upper bounds of a histogram in a payload, without the infinite one."""
    found = re.findall(rf'^{re.escape(raw)}_bucket\{{.*?\ble="([^"]+)"', payload, re.MULTILINE)
    return sorted({float(bound) for bound in found} - {float("inf")})
