"""Scenarios as data: what a host's GPUs answer, in the commands of the fake NVML, and what the check then submits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from .fake_nvml.constants import CONSTANTS

FOLDER = Path(__file__).with_name("scenarios")
TYPES = {"f64": 0, "u32": 1, "u64": 3, "i64": 4, "i32": 5, "u16": 6}
ALWAYS = ("endpoint_name:box", "serving_system:nvml", "vendor:nvidia")
"""Tags that every submission carries, which the scenarios leave out."""


def load(path: Path) -> dict[str, Any]:
    """A scenario file."""
    scenario: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return scenario


def named(name: str) -> dict[str, Any]:
    """The scenario file of that name."""
    return load(FOLDER / f"{name}.yaml")


def start(host: dict[str, Any]) -> str:
    """The commands that set a host up.

    `driver` is a version; `gpus` lists GPUs, one with `times: 8` being eight whose `{n}` in texts is the index.
    """
    gpus = list(_spread(host.get("gpus", ())))
    lines = ["reset", f"driver {host.get('driver', '550.54.15')}", f"gpus {len(gpus)}"]
    for index, gpu in enumerate(gpus):
        lines += _device(str(index), gpu)
        for slot, instance in (gpu.get("mig") or {}).items():
            lines += [f"mig {index}/{slot} {instance['instance']}", *_device(f"{index}/{slot}", instance)]
    return "\n".join(map(spelt, lines))


def spelt(command: str) -> str:
    """A command with the names of constants and types as numbers."""

    def number(match: re.Match[str]) -> str:
        word = match.group()
        return str(CONSTANTS.get(word, TYPES.get(word, word)))

    return re.sub(r"\S+", number, command)


def expected(lines: str | None, tags: dict[str, list[str]]) -> list[str]:
    """Lines of submissions, sorted: `@name` spelt out as the tags called so, for `@gpu*` once for each of the names."""
    found = []
    for line in (lines or "").splitlines():
        for each in _each(line.strip(), tags):
            kind, metric, value, *shown = each
            found.append(" ".join([kind, metric, value, *sorted([*shown, *ALWAYS])]))
    return sorted(found)


def _each(line: str, tags: dict[str, list[str]]) -> Iterator[list[str]]:
    words = line.split()
    if not words or words[0].startswith("#"):
        return
    called = next((word for word in words if word.startswith("@")), None)
    if called is None:
        yield words
        return
    names = [name for name in tags if fnmatchcase(name, called[1:])]
    assert names, f"no tags are called {called}"
    for name in names:
        at = words.index(called)
        yield [*words[:at], *tags[name], *words[at + 1 :]]


def tags_of(scenario: dict[str, Any]) -> dict[str, list[str]]:
    """The scenario's names for lists of tags. `gpu{n}` stands for as many as there are GPUs."""
    count = len(list(_spread(scenario["host"].get("gpus", ()))))
    found: dict[str, list[str]] = {}
    for name, tags in (scenario.get("tags") or {}).items():
        for index in range(count) if "{n}" in name else (0,):
            found[name.replace("{n}", str(index))] = [str(tag).replace("{n}", str(index)) for tag in tags]
    return found


def _spread(gpus: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    index = 0
    for gpu in gpus:
        for _ in range(gpu.get("times", 1)):
            yield {**gpu, **{text: gpu[text].replace("{n}", str(index)) for text in ("uuid", "name")}}
            index += 1


def _device(where: str, device: dict[str, Any]) -> Iterator[str]:
    yield f"uuid {where} {device['uuid']}"
    yield f"name {where} {device['name']}"
    for call, answer in (device.get("calls") or {}).items():
        by_argument = answer if isinstance(answer, dict) else {0: answer}
        for argument, values in by_argument.items():
            listed = values if isinstance(values, list) else [values]
            yield f"set {where} nvmlDeviceGet{call}:{argument} {' '.join(map(str, listed))}"
    for field, value in (device.get("fields") or {}).items():
        yield f"field {where} {field} {value}"
    if device.get("events"):
        yield f"set {where} nvmlDeviceRegisterEvents"
    for command in device.get("more") or ():
        verb, _, rest = command.partition(" ")
        yield f"{verb} {where} {rest}"
