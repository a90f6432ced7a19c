"""Readiness as the catalog file of a system describes it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from math import isfinite, nan
from typing import Any
from urllib.parse import quote

from requests.exceptions import RequestException

from ...catalog.model import System
from ...catalog.probes import MODEL, Keys, Question, ReadinessRules, ToldValue
from ...http.errors import connection_problem
from ...http.redact import without_secrets
from .base import CRITICAL, LATE, OK, UNKNOWN, WARNING, Probe, ProbeAnswer, SystemProbe, mapping, other_port, same_port

NO_VERSION = ("", "None", "default")
READY = "READY"
"""The state of a version of which nothing is told but that it is ready."""

STATUSES = {"ok": OK, "warning": WARNING, "critical": CRITICAL}
MISSING, REFUSED = (404, 405, 501), (401, 403, 407, 429)
"""HTTP statuses that say nothing of the server: there is no such path, or it isn't for us."""


def described(system: System) -> SystemProbe | None:
    """The probe of a system by its catalog file, None where that has no `readiness`."""
    rules = system.readiness
    if rules is None:
        return None
    apart = system.ports.get("api", system.ports.get("metrics")) != system.ports.get("metrics")
    return SystemProbe(
        lambda probe: _Asking(rules, probe).ask(),
        other_port if apart else same_port,
        default_on=rules.by_default,
        models=rules.models is not None or rules.model is not None,
        because=rules.because,
    )


@dataclass(frozen=True, slots=True)
class Entry:
    """What an answer says of one version of a model. An empty `word` is no word for its state."""

    name: str
    version: str
    word: str
    meaning: str
    message: str
    value: Any

    @property
    def status(self) -> int:
        """The status of the service check."""
        return STATUSES.get(self.meaning, UNKNOWN)


class _Asking:
    """One round of questions. No path is asked twice."""

    def __init__(self, rules: ReadinessRules, probe: Probe) -> None:
        self.rules = rules
        self.probe = probe
        self._answers: dict[tuple[str, Any], tuple[ProbeAnswer | None, str]] = {}

    def ask(self) -> None:
        """Report the server, then each model: those configured, else those listed, else those seen."""
        rules, probe = self.rules, self.probe
        status = OK
        if rules.server is not None:
            answer, problem = self._get(rules.server.path)
            if answer is None:
                probe.endpoint(CRITICAL, problem)
                return
            status, message = self._server(rules.server, answer)
            probe.endpoint(status, message)
        if rules.version is not None and probe.wants_metadata() and (version := self._value(rules.version)):
            probe.server_version(version)
        for tag, place in rules.tags:
            if value := self._value(place):
                probe.told[tag] = value
        if rules.model is not None:
            self._ask_each(rules.model)
        elif rules.models is not None and status != CRITICAL:
            # Of a server that isn't ready its list says nothing.
            self._ask_list(rules.models)

    def _server(self, question: Question, answer: ProbeAnswer) -> tuple[int, str]:
        if problem := self._no_answer(question.path, answer):
            return UNKNOWN, problem
        if answer.status_code >= 400:
            return CRITICAL, f"the server is not ready: HTTP {answer.status_code}"
        if not question.state:
            return OK, ""
        word = _text(_at(answer.value, question.state))
        if not word:
            key = ".".join(question.state)
            return UNKNOWN, f"{self._shown(question.path)}: no JSON with a `{key}`: check `readiness_url`"
        status = STATUSES.get(question.meaning(word), UNKNOWN)
        return status, "" if status == OK else f"the server is not ready: {word}"

    def _ask_list(self, question: Question) -> None:
        """Report the models that are listed, or those of them that are configured."""
        probe = self.probe
        entries = self._listed(question)
        found = [entry for entry in entries or () if entry.meaning != "absent"]
        for entry in found:
            if not probe.models or entry.name in probe.models:
                probe.model(entry.name, entry.status, _why(entry), entry.version)
            self._has(entry, entry.meaning)
        self._gauges(question, found)
        names = {entry.name for entry in found}
        for name in probe.models:
            if entries is None:
                probe.model(name, UNKNOWN, probe.unanswered[-1])
            elif name not in names:
                probe.model(name, CRITICAL, f"{self._shown(question.path)} doesn't list this model")

    def _ask_each(self, question: Question) -> None:
        """Report each model by its own answer."""
        probe, rules = self.probe, self.rules
        listed = [] if probe.models or rules.models is None else self._listed(rules.models) or []
        known = [entry for entry in listed if entry.meaning != "absent"]
        names = probe.models or tuple(dict.fromkeys(entry.name for entry in known)) or probe.seen_models
        found = {name: self._ask_one(question, name) for name in names}
        if rules.models is not None and rules.models.state and known:
            # The list says which versions there are, or else the answer says it of its model.
            ready = {name for name, entries in found.items() if any(entry.meaning == "ok" for entry in entries or ())}
            for entry in known:
                self._has(entry, entry.meaning if entry.word else "ok" if entry.name in ready else "critical")
        else:
            for entry in chain.from_iterable(filter(None, found.values())):
                self._has(entry, entry.meaning)
        if rules.models is not None:
            self._gauges(rules.models, known)
        if rules.server is None and found:
            answered = any(entries is not None for entries in found.values())
            probe.endpoint(OK if answered else CRITICAL, "" if answered else probe.problem)

    def _ask_one(self, question: Question, name: str) -> list[Entry] | None:
        """Report one model, and give what its answer says of its versions. None where no answer came."""
        probe = self.probe
        if probe.over():
            probe.model(name, UNKNOWN, LATE)
            return None
        path = question.path.replace(MODEL, quote(name, safe=""))
        answer, problem = self._get(path)
        if answer is None:
            probe.model(name, CRITICAL, problem)
            return None
        problem = self._no_answer(path, answer)
        if problem and answer.status_code not in MISSING:
            probe.model(name, UNKNOWN, problem)
            return []
        if answer.status_code >= 400 or _each(question, answer.value) is None:
            said = "no status of this model" if question.each else "the model is not ready"
            probe.model(name, CRITICAL, f"{said}: HTTP {answer.status_code}")
            return []
        entries = [entry for entry in _entries(question, answer, name) if entry.meaning != "absent"]
        for entry in entries:
            probe.model(name, entry.status, _why(entry), entry.version)
        self._gauges(question, entries)
        return entries

    def _has(self, entry: Entry, meaning: str) -> None:
        """Take note of what is there. In any other state a version is only known."""
        if meaning in ("ok", "warning"):
            state = READY if entry.word.lower() in ("", "true") else entry.word
            self.probe.has(entry.name, entry.version, state, serving=meaning == "ok")

    def _gauges(self, question: Question, entries: Iterable[Entry]) -> None:
        for entry in entries:
            for metric, key in question.gauges:
                value = _number(_at(entry.value, key))
                if value is not None and not metric.excludes(value):
                    self.probe.gauge(metric.full_name, value, entry.name, entry.version)

    def _listed(self, question: Question) -> list[Entry] | None:
        """What the list holds, None where there is no list, which `unanswered` then explains."""
        answer, problem = self._get(question.path, question.post)
        if answer is not None:
            problem = self._no_answer(question.path, answer)
            if not problem and answer.status_code < 400 and _each(question, answer.value) is not None:
                found = {(entry.name, entry.version): entry for entry in _entries(question, answer, "")}
                return list(found.values())
        if not problem and answer is not None and answer.status_code >= 400:
            problem = f"{self._shown(question.path)}: HTTP {answer.status_code}"
        self.probe.unanswered.append(
            f"no list of models: {problem or f'{self._shown(question.path)}: not the JSON that it should be'}"
            + (
                ""
                if "check" in problem or problem.endswith(LATE)
                else ": check `readiness_url`, or name them in `models`"
            )
        )
        return None

    def _value(self, place: ToldValue) -> str:
        answer, _ = self._get(place.path)
        return _text(_at(answer.value, place.key)) if answer is not None and answer.status_code < 400 else ""

    def _get(self, path: str, post: Any = None) -> tuple[ProbeAnswer | None, str]:
        """The answer, or None and why none came."""
        key = (path, json.dumps(post))
        if key not in self._answers:
            answer = self.probe.get(path) if post is None else self.probe.post(path, post)
            self._answers[key] = answer, self.probe.problem if answer is None else ""
        return self._answers[key]

    def _shown(self, path: str) -> str:
        return without_secrets(self.probe.base + path)

    def _no_answer(self, path: str, answer: ProbeAnswer) -> str:
        """Why an answer says nothing of the server, empty where it does."""
        kind = str(answer.response.headers.get("Content-Type", ""))
        if answer.value is None and answer.response.content and ("version=0.0.4" in kind or "openmetrics-text" in kind):
            return f"{self._shown(path)} answers with metrics: set `readiness_url` to where the API is"
        if answer.status_code in MISSING:
            status = answer.status_code
            return f"{self._shown(path)}: there is nothing at this path (HTTP {status}): check `readiness_url`"
        if answer.status_code in REFUSED:
            return f"{self._shown(path)}: {connection_problem(RequestException(), answer.status_code)}"
        return ""


def _why(entry: Entry) -> str:
    return "" if entry.status == OK else entry.message or f"state {entry.word or 'UNKNOWN'}"


def _each(question: Question, document: Any) -> list[Any] | None:
    if question.each is None:
        return [document]
    found = _at(document, question.each)
    return found if isinstance(found, list) else None


def _entries(question: Question, answer: ProbeAnswer, model: str) -> Iterator[Entry]:
    """The entries of an answer, of a `model` or of those that it names."""
    for each in _each(question, answer.value) or ():
        name = model or _text(_at(each, question.name))
        if not name:
            continue
        word = _text(_at(each, question.state)) if question.state else ""
        version = _text(_at(each, question.version)) if question.version else ""
        yield Entry(
            name,
            "" if version in NO_VERSION else version,
            word,
            question.meaning(word) if question.state else "ok",
            _text(_at(each, question.message)) if question.message else "",
            each,
        )


def _at(value: Any, keys: Keys) -> Any:
    for key in keys:
        value = mapping(value).get(key)
    return value


def _number(value: Any) -> float | None:
    """A JSON number, None for anything else, and what is too large for one."""
    try:
        found = float(value) if type(value) in (int, float) else nan
    except OverflowError:
        return None
    return found if isfinite(found) else None


def _text(value: Any) -> str:
    """A JSON value in words, empty where it is none that names something."""
    if isinstance(value, str):
        return value
    return json.dumps(value) if type(value) in (int, float, bool) else ""
