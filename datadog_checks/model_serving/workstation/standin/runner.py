"""Runs check instances as the Agent does: constructed the same way, each on its own, each with its own commit."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from ...http.redact import mask, secrets_of, without_secrets
from .aggregation import Aggregation, Commit
from .recorder import Batch, Event, LogLine, ServiceCheck, ServiceStatus
from .standin import StandIn

_CONFIGURATION_ERROR = re.compile(r"^[\w.]*Configuration\w*(?:Error|Exception)\b", re.MULTILINE)


@dataclass(slots=True)
class Run:
    """One run of one instance.

    `error` is the message of the exception that ended it, if one did, and `misconfigured` whether that blames the
    configuration. `warnings` are what the Agent shows on its status page.
    """

    instance: int
    label: str
    check_id: str
    commit: Commit = field(default_factory=Commit)
    error: str | None = None
    misconfigured: bool = False
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Round:
    """One run of every instance, and what came with it. `number` counts from 1, `timestamp` is when it ended."""

    number: int
    timestamp: float
    runs: list[Run] = field(default_factory=list)
    service_checks: list[ServiceCheck] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    metadata: dict[tuple[str, str], str] = field(default_factory=dict)
    logs: list[LogLine] = field(default_factory=list)

    @property
    def misconfigured(self) -> bool:
        """Whether an instance could not run because of its configuration."""
        return any(run.misconfigured for run in self.runs)

    @property
    def healthy(self) -> bool:
        """Whether every instance ran and no service check is CRITICAL."""
        failed = any(run.error is not None for run in self.runs)
        return not failed and all(check.status != ServiceStatus.CRITICAL for check in self.service_checks)


@dataclass(slots=True)
class _Instance:
    number: int
    label: str
    check_id: str
    secrets: tuple[str, ...]
    check: Any = None
    error: str | None = None
    misconfigured: bool = False


class Runner:
    """Check instances in an active stand-in.

    `instances` come with their numbers, which name them in reports. `check_class` is the class itself, or makes
    one of it; it is imported while standing in. `hold_back` is that of `Aggregation`. An instance whose constructor
    raises is reported by every round, and leaves the others alone.

    `secrets` are left out of what is reported, besides those that the options are known to hold. `names` are what
    URLs are called there.
    """

    def __init__(
        self,
        check_class: Callable[..., Any],
        name: str,
        init_config: Mapping[str, Any],
        instances: Iterable[tuple[int, Mapping[str, Any]]],
        stand_in: StandIn,
        *,
        hold_back: bool = False,
        secrets: Sequence[str] = (),
        names: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._stand_in = stand_in
        self._names = names
        self._aggregation = Aggregation(hold_back)
        self._rounds = 0
        self._instances: list[_Instance] = []
        taken: set[str] = set()
        file = list(instances)
        configuration = [init_config, [instance for _, instance in file]]
        for number, instance in file:
            check_id = _check_id(name, configuration, instance)
            if check_id in taken:
                check_id = f"{check_id}-{number}"
            taken.add(check_id)
            hidden = tuple(sorted({*secrets, *secrets_of([init_config, instance])}, key=len, reverse=True))
            label = self._shown(label_of(instance), hidden) or f"instance {number}"
            made = _Instance(number, label, check_id, hidden)
            self._construct(made, check_class, name, init_config, instance)
            self._instances.append(made)

    @property
    def checks(self) -> Mapping[int, Any]:
        """The checks by the numbers of their instances, without those that could not be made."""
        return {one.number: one.check for one in self._instances if one.check is not None}

    def run(self, before: Callable[[str], None] = lambda label: None) -> Round:
        """Run every instance once, in order. `before` is called with the label of each before it runs."""
        self._rounds += 1
        round_ = Round(self._rounds, 0.0)
        for instance in self._instances:
            before(instance.label)
            run = Run(instance.number, instance.label, instance.check_id, error=instance.error)
            run.misconfigured = instance.misconfigured
            if instance.check is not None:
                self._run_check(instance, run)
            # Taken for all instances: threads of one may submit while another runs.
            self._collect(round_, self._stand_in.recorder.take())
            run.commit = self._aggregation.commit(instance.check_id, self._stand_in.recorder.clock())
            round_.runs.append(run)
        round_.timestamp = self._stand_in.recorder.clock()
        return round_

    def run_one(self, number: int) -> Round:
        """Run the instance of that number. Others may run meanwhile in other threads: what they submit stays theirs."""
        instance = self._instance(number)
        round_ = Round(0, 0.0)
        run = Run(instance.number, instance.label, instance.check_id, error=instance.error)
        run.misconfigured = instance.misconfigured
        if instance.check is not None:
            self._run_check(instance, run)
        self._collect(round_, self._stand_in.recorder.take_of(instance.check_id))
        round_.timestamp = self._stand_in.recorder.clock()
        run.commit = self._aggregation.commit(instance.check_id, round_.timestamp)
        round_.runs.append(run)
        return round_

    def readings(self, number: int) -> list[Any]:
        """What the Agent's own counting of an instance goes on from, see `Aggregation.readings`."""
        return self._aggregation.readings(self._instance(number).check_id)

    def recall(self, number: int, readings: Iterable[Any]) -> None:
        """Let it go on from what another process told."""
        self._aggregation.recall(self._instance(number).check_id, readings)

    def _instance(self, number: int) -> _Instance:
        return next(instance for instance in self._instances if instance.number == number)

    @property
    def labels(self) -> dict[int, str]:
        """What a person calls each instance, by its number."""
        return {one.number: one.label for one in self._instances}

    def close(self) -> None:
        """Tell every instance that it will not run again, as the Agent does when it unschedules a check."""
        for instance in self._instances:
            if instance.check is not None:
                instance.check.cancel()

    def _construct(
        self,
        instance: _Instance,
        check_class: Callable[..., Any],
        name: str,
        init_config: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> None:
        try:
            check = check_class(name=name, init_config=copy.deepcopy(init_config), instances=(copy.deepcopy(options),))
            check.check_id = instance.check_id
        except Exception as error:  # as the Agent does: whatever a constructor raises concerns this instance only
            instance.error = self._shown(str(error) or type(error).__name__, instance.secrets)
            instance.misconfigured = any("Configuration" in kind.__name__ for kind in type(error).__mro__)
        else:
            instance.check = check

    def _run_check(self, instance: _Instance, run: Run) -> None:
        report = instance.check.run()
        if report:
            failure = json.loads(report)[0]
            run.error = self._shown(str(failure["message"]), instance.secrets)
            run.misconfigured = _CONFIGURATION_ERROR.search(str(failure.get("traceback", ""))) is not None
        run.warnings = [self._shown(str(text), instance.secrets) for text in instance.check.get_warnings()]

    def _collect(self, round_: Round, batch: Batch) -> None:
        self._aggregation.add(batch)
        # What one instance submits may quote another: an id or URL in a log line has no owner.
        found = {secret for instance in self._instances for secret in instance.secrets}
        secrets = sorted(found, key=len, reverse=True)
        round_.service_checks += [
            replace(one, message=self._shown(one.message, secrets)) for one in batch.service_checks
        ]
        round_.events += [replace(one, fields=self._shown_fields(one.fields, secrets)) for one in batch.events]
        round_.metadata.update(batch.metadata)
        round_.logs += [LogLine(line.level, self._shown(line.message, secrets)) for line in batch.logs]

    def _shown_fields(self, fields: Mapping[str, Any], secrets: Iterable[str]) -> dict[str, Any]:
        return {key: self._shown(value, secrets) if isinstance(value, str) else value for key, value in fields.items()}

    def _shown(self, text: str, secrets: Iterable[str]) -> str:
        for url, name in self._names.items():
            text = text.replace(url, name)
        return mask(text, secrets)


def label_of(options: Mapping[str, Any]) -> str:
    """What a person calls an instance: its URL without user and query, Databricks host and endpoint name, or `gpu`.

    That of a source of the bridge is the URL of its Prometheus, or where it listens.
    """
    if options.get("gpu"):
        return f"gpu: {options['gpu']}"
    url = options.get("openmetrics_endpoint")
    for source, place in (("prometheus", "url"), ("remote_write", "listen")):
        if isinstance(said := options.get(source), Mapping):
            url = said.get(place)
    if not isinstance(url, str):
        parts = [str(options[key]) for key in ("databricks_host", "endpoint_name") if options.get(key)]
        return " ".join(parts)
    return without_secrets(url)


def _check_id(name: str, configuration: Sequence[Any], instance: Mapping[str, Any]) -> str:
    """Like the Agent's: the name of the check, that of the instance if it has one, and a digest.

    The digest is also of all other instances of the file: an edit of one gives all of them other ids.
    """
    text = repr([configuration, instance])
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    own_name = instance.get("name")
    return f"{name}:{own_name}:{digest}" if own_name else f"{name}:{digest}"
