"""The modules that a check imports inside an Agent, made of Python and feeding a `Recorder`.

The functions and their arguments are those of the Agent's rtloader (github.com/DataDog/datadog-agent,
rtloader/common/builtins). Where the Agent silently drops what is of a wrong type, such as a tag that is no text, cuts a
text at a null character, or takes a whole number for a float, these raise an exception, so that a mistake shows on the
workstation. `install.standing_in` puts the modules in place.

Without an active stand-in every function does nothing and returns None, as in the Agent before it is ready.
"""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .recorder import Event, MetricType, ServiceCheck, ServiceStatus
from .standin import StandIn, active

TRACE = 7
"""Level below DEBUG that checks log at."""

log_output = logging.getLogger("model_serving.agent")
"""Where `datadog_agent.log` writes. It does not propagate: the root logger's handler leads back into the Agent."""
log_output.propagate = False
log_output.addHandler(logging.NullHandler())

CARDINALITIES = {"LOW": 0, "ORCHESTRATOR": 1, "HIGH": 2}


class SubprocessOutputEmptyError(Exception):
    """A command whose output was required wrote nothing."""


def _refuse(what: str, expected: str, value: object) -> TypeError:
    return TypeError(f"{what} must be {expected}, not {type(value).__name__}")


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise _refuse(what, "str", value)
    if "\0" in value:
        raise ValueError(f"{what} must not contain a null character")
    value.encode()  # lone surrogates cannot cross into the Agent: UnicodeEncodeError, as there
    return value


def _whole(value: Any, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _refuse(what, "int", value)
    return value


def _count(value: Any, what: str) -> int:
    if not -(2**63) <= _whole(value, what) < 2**63:
        raise OverflowError("int too big to convert")
    return int(value)


def _number(value: Any, what: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _refuse(what, "float", value)
    return float(value)


def _tags(value: Any) -> tuple[str, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise _refuse("tags", "list", value)
    return tuple(_text(tag, "a tag") for tag in value)


def submit_metric(
    check: Any,
    check_id: str,
    mtype: int,
    name: str,
    value: float,
    tags: list[str],
    hostname: str,
    flush_first_value: bool = False,
) -> None:
    """`aggregator.submit_metric`: one sample, `mtype` as in `MetricType`."""
    if (stand_in := active()) is None:
        return
    if not isinstance(value, float):
        raise _refuse(f"the value of {name}", "float", value)
    stand_in.recorder.sample(
        _text(check_id, "check_id"),
        MetricType(_whole(mtype, "mtype")),
        _text(name, "name"),
        value,
        _tags(tags),
        _text(hostname, "hostname"),
        bool(flush_first_value),
    )


def submit_histogram_bucket(
    check: Any,
    check_id: str,
    name: str,
    value: int,
    lower_bound: float,
    upper_bound: float,
    monotonic: bool,
    hostname: str,
    tags: list[str],
    flush_first_value: bool = False,
    *,
    by_bound: bool = False,
) -> None:
    """`aggregator.submit_histogram_bucket`: a bucket of a distribution, `value` counts between two bounds."""
    if (stand_in := active()) is None:
        return
    stand_in.recorder.bucket(
        _text(check_id, "check_id"),
        _text(name, "name"),
        _count(value, f"the count of a bucket of {name}"),
        _number(lower_bound, "lower_bound"),
        _number(upper_bound, "upper_bound"),
        bool(monotonic),
        _tags(tags),
        _text(hostname, "hostname"),
        bool(flush_first_value),
        by_bound,
    )


def submit_histogram_bucket_multi(*arguments: Any) -> None:
    """`aggregator.submit_histogram_bucket_multi` of the newest Agents: buckets are told apart by their bounds, too."""
    submit_histogram_bucket(*arguments, by_bound=True)


def submit_service_check(
    check: Any, check_id: str, name: str, status: int, tags: list[str], hostname: str, message: str
) -> None:
    """`aggregator.submit_service_check`: the state of a service, `status` as in `ServiceStatus`."""
    if (stand_in := active()) is None:
        return
    stand_in.recorder.service_check(
        ServiceCheck(
            _text(check_id, "check_id"),
            _text(name, "name"),
            ServiceStatus(_whole(status, "status")),
            _tags(tags),
            _text(hostname, "hostname"),
            _text(message, "message"),
        )
    )


def submit_event(check: Any, check_id: str, event: dict[str, Any]) -> None:
    """`aggregator.submit_event`: a dictionary with `msg_title`, `msg_text` and the like."""
    if (stand_in := active()) is None:
        return
    if not isinstance(event, dict):
        raise _refuse("an event", "dict", event)
    fields: dict[str, Any] = {}
    for key, value in event.items():
        if key == "tags":
            fields[key] = list(_tags(value))
        elif key == "timestamp":
            fields[key] = _whole(value, "the timestamp of an event")
        elif value is not None:
            fields[key] = _text(value, f"the {key} of an event")
    stand_in.recorder.event(Event(_text(check_id, "check_id"), fields))


def _keep(kind: str) -> Callable[..., None]:
    """A function that only keeps its arguments, for submissions that are no metric."""

    def keep(*arguments: Any, **named: Any) -> None:
        if (stand_in := active()) is not None:
            stand_in.recorder.other(kind, *arguments, *named.values())

    return keep


def log(message: str, level: int) -> None:
    """`datadog_agent.log`: a line of the Agent's log."""
    _text(message, "message")
    if (stand_in := active()) is not None:
        if level >= logging.WARNING:
            stand_in.recorder.log(level, message)
        log_output.log(level, "%s", message)


def set_check_metadata(check_id: str, name: str, value: str) -> None:
    """`datadog_agent.set_check_metadata`: such as a part of the version of what is monitored."""
    if (stand_in := active()) is not None:
        stand_in.recorder.metadata(_text(check_id, "check_id"), _text(name, "name"), _text(value, "value"))


def subprocess_output(command: list[str], raise_on_empty: bool = False, **named: Any) -> tuple[str, str, int] | None:
    """`_util.get_subprocess_output`: run a command and return what it wrote, and its exit status.

    Raises SubprocessOutputEmptyError when output is required and there is none. The environment that the base
    package passes along is ignored, as the Agent does.
    """
    if not isinstance(command, list) or not command:
        raise TypeError("command args must be a list with at least one str")
    words = [_text(word, "a command argument") for word in command]
    if active() is None:
        return None
    done = subprocess.run(words, capture_output=True, check=False)
    if raise_on_empty and not done.stdout:
        raise SubprocessOutputEmptyError("get_subprocess_output expected output but had none.")
    return done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"), done.returncode


def tag(entity: str, cardinality: int) -> list[str] | None:
    """`tagger.tag`: tags of an entity such as `container_id://...`, from the stand-in's settings."""
    _text(entity, "entity")
    if cardinality not in CARDINALITIES.values():
        raise TypeError("Invalid cardinality")
    stand_in = active()
    return None if stand_in is None else list(stand_in.entity_tags.get(entity, ()))


def _ask(answer: Callable[[StandIn], Any]) -> Callable[[], Any]:
    """A function without arguments that answers from the active stand-in."""

    def ask() -> Any:
        stand_in = active()
        return None if stand_in is None else answer(stand_in)

    return ask


def get_config(key: str) -> Any:
    """`datadog_agent.get_config`: a setting of `datadog.yaml`, None where it is not set."""
    _text(key, "key")
    stand_in = active()
    return None if stand_in is None else stand_in.config.get(key)


def read_persistent_cache(key: str) -> str | None:
    """`datadog_agent.read_persistent_cache`: what was last written under a key, empty where nothing was.

    Raises RuntimeError where there is something that can't be read.
    """
    stand_in = active()
    return None if stand_in is None else stand_in.read_cache(_text(key, "key"))


def write_persistent_cache(key: str, value: str) -> None:
    """`datadog_agent.write_persistent_cache`: keep a value over restarts of the Agent."""
    if (stand_in := active()) is not None:
        stand_in.write_cache(_text(key, "key"), _text(value, "value"))


def headers(agent_config: Any = None, **named: Any) -> dict[str, str] | None:
    """`util.headers`: HTTP headers that a check sends along."""
    stand_in = active()
    if stand_in is None:
        return None
    result = {
        "User-Agent": f"Datadog Agent/{stand_in.version}",
        "Content-Type": "application/x-www-form-urlencoded",
        "Accept": "text/html, */*",
    }
    return result | {"Host": named["http_host"]} if "http_host" in named else result


def _unchanged(text: str, *options: Any, **named: Any) -> str:
    """Obfuscation happens in the Agent's own code; the stand-in hands the text back."""
    return text


CONTENTS: Mapping[str, Mapping[str, Any]] = {
    "aggregator": {
        **{kind.name: kind.value for kind in MetricType},
        "submit_metric": submit_metric,
        "submit_histogram_bucket": submit_histogram_bucket,
        "submit_histogram_bucket_multi": submit_histogram_bucket_multi,
        "submit_service_check": submit_service_check,
        "submit_event": submit_event,
        "submit_event_platform_event": _keep("event_platform"),
    },
    "datadog_agent": {
        "get_clustername": _ask(lambda _: ""),
        "get_config": get_config,
        "get_hostname": _ask(lambda stand_in: stand_in.hostname),
        "get_host_tags": _ask(lambda stand_in: json.dumps({"system": list(stand_in.host_tags)})),
        "get_process_start_time": _ask(lambda stand_in: stand_in.start_time),
        "get_version": _ask(lambda stand_in: stand_in.version),
        "headers": headers,
        "log": log,
        "set_check_metadata": set_check_metadata,
        "read_persistent_cache": read_persistent_cache,
        "write_persistent_cache": write_persistent_cache,
        "tracemalloc_enabled": lambda *_: False,
        "send_log": _keep("log"),
        "set_external_tags": _keep("external_tags"),
        "emit_agent_telemetry": _keep("telemetry"),
        "report_issue": _keep("issue"),
        "resolve_issue": _keep("issue"),
        "obfuscate_sql": _unchanged,
        "obfuscate_sql_exec_plan": _unchanged,
        "obfuscate_mongodb_string": _unchanged,
    },
    "tagger": {
        **CARDINALITIES,
        "tag": tag,
        "get_tags": lambda entity, high: tag(entity, CARDINALITIES["HIGH" if high else "LOW"]),
    },
    "_util": {
        "subprocess_output": subprocess_output,
        "get_subprocess_output": subprocess_output,
        "SubprocessOutputEmptyError": SubprocessOutputEmptyError,
    },
    "util": {"headers": headers},
    "containers": {"is_excluded": lambda name, image, namespace="": False},
    "kubeutil": {"get_connection_info": _ask(lambda _: {})},
}
"""The builtin modules by name, with everything that they hold."""
