"""The key `readiness` of a catalog file: which paths of an API tell what is ready, and what else they tell."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import translate
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .loader import _Reader
    from .model import CanonicalMetric

MEANINGS = ("ok", "warning", "critical", "absent")
"""What a word of a system for a state means: a status of the service check, or that there is nothing to watch."""

KEYS = {
    "readiness": ("by_default", "because", "server", "models", "model", "version", "tags"),
    "server": ("path", "state", "states"),
    "models": ("path", "post", "each", "name", "version", "state", "states", "message", "gauges"),
    "model": ("path", "each", "version", "state", "states", "message", "gauges"),
    "answer": ("path", "key"),
}
"""Every key below `readiness`, by the mapping that holds it."""

MODEL = "{model}"
"""What stands for the name of a model in a path."""

KEY = r"[^.\[\]]+(\.[^.\[\]]+)*"
LIST = rf"({KEY})?\[\]"

Keys = tuple[str, ...]
"""Keys that lead into a JSON document, one within the other."""


@dataclass(frozen=True, slots=True)
class ToldValue:
    """A value in the answer to a GET."""

    path: str
    key: Keys


@dataclass(frozen=True, slots=True)
class Question:
    """A path, and what its answer says of the server, of a model, or of several.

    `post` is the JSON body that it is asked with, None for a GET. `each` leads to a list of entries, None where the
    answer is the only one. The other keys start in an entry: an empty `name` is the entry itself, and without `state`
    an answer that is no failure means that it is ready. `states` are patterns of words, the first that matches counts;
    another word is critical. `gauges` are metrics and where their values are.
    """

    path: str
    post: Any = None
    each: Keys | None = None
    name: Keys = ()
    version: Keys = ()
    state: Keys = ()
    states: tuple[tuple[re.Pattern[str], str], ...] = ()
    message: Keys = ()
    gauges: tuple[tuple[CanonicalMetric, Keys], ...] = ()

    def meaning(self, word: str) -> str:
        """What a word for a state means."""
        return next((meaning for pattern, meaning in self.states if pattern.match(word)), "critical")


@dataclass(frozen=True, slots=True)
class ReadinessRules:
    """How the API of a system is asked. Without `server` the endpoint is ready where it answers about a model.

    `by_default` says whether it is asked where the instance says nothing of it, and `because` why it isn't.
    """

    by_default: bool
    because: str
    server: Question | None
    models: Question | None
    model: Question | None
    version: ToldValue | None
    tags: tuple[tuple[str, ToldValue], ...]

    def gauges(self) -> Iterator[CanonicalMetric]:
        """The metrics that answers about models become."""
        for question in (self.models, self.model):
            if question is not None:
                yield from (metric for metric, _ in question.gauges)


def read_readiness(reader: _Reader, value: Any) -> ReadinessRules | None:
    """What the key says. Raises CatalogError."""
    if value is None:
        return None
    where = "readiness"
    entry = reader.keys(value, "readiness", where)
    because = reader.typed(entry.get("because"), str, "a text", f"{where}.because") or ""
    by_default = reader.typed(entry.get("by_default"), bool, "true or false", f"{where}.by_default") is True
    if by_default and because:
        raise reader.fail(f"{where}.because", "says why nothing is asked by default: it goes without `by_default`.")
    if "server" not in entry and "model" not in entry:
        raise reader.fail(where, "needs `server` or `model`, a path that tells what is ready.")
    tags = reader.mapping(entry.get("tags") or {}, f"{where}.tags")
    if tags and reader.things:
        raise reader.fail(f"{where}.tags", "goes without an `identity` of the system.")
    return ReadinessRules(
        by_default=by_default,
        because=because.strip(),
        server=_question(reader, entry, "server", model=False),
        models=_question(reader, entry, "models", model=False),
        model=_question(reader, entry, "model", model=True),
        version=_place(reader, entry["version"], f"{where}.version") if "version" in entry else None,
        tags=tuple((tag, _place(reader, each, f"{where}.tags.{tag}")) for tag, each in tags.items()),
    )


def _question(reader: _Reader, entry: Mapping[str, Any], kind: str, *, model: bool) -> Question | None:
    if kind not in entry:
        return None
    where = f"readiness.{kind}"
    value = entry[kind]
    said = reader.keys({"path": value} if isinstance(value, str) else value, kind, where)
    each = _keys(reader, said, "each", where)
    if kind == "models" and each is None and "name" not in said:
        raise reader.fail(where, "needs `each`, the list of models, or `name`, the key that names the only one.")
    states = reader.texts(said.get("states") or {}, f"{where}.states")
    for word, meaning in states.items():
        reader.choice(meaning, MEANINGS, f"{where}.states.{word}")
    if ("state" in said) != bool(states):
        raise reader.fail(where, "`state`, the key of the word, and `states`, what words mean, go together.")
    gauges = reader.texts(said.get("gauges") or {}, f"{where}.gauges")
    found = [(reader.lookup(name, f"{where}.gauges"), key) for name, key in gauges.items()]
    for metric, key in found:
        if not re.fullmatch(KEY, key):
            raise reader.fail(
                f"{where}.gauges.{metric.name}", f"must be keys of JSON, divided by dots, such as id, not {key!r}."
            )
        if metric.type != "gauge":
            raise reader.fail(f"{where}.gauges", f"`{metric.name}` is a {metric.type}: only gauges are read here.")
    return Question(
        path=_path(reader, said.get("path"), f"{where}.path", model=model),
        post=_body(reader, said, f"{where}.post"),
        each=each,
        name=_keys(reader, said, "name", where) or (),
        version=_keys(reader, said, "version", where) or (),
        state=_keys(reader, said, "state", where) or (),
        states=tuple((re.compile(translate(glob)), meaning) for glob, meaning in states.items()),
        message=_keys(reader, said, "message", where) or (),
        gauges=tuple((metric, tuple(key.split("."))) for metric, key in found),
    )


def _body(reader: _Reader, said: Mapping[str, Any], where: str) -> Any:
    body = said.get("post")
    try:
        json.dumps(body)
    except TypeError:
        raise reader.fail(where, f"must be a JSON value, such as {{}}, not {body!r}.") from None
    return body


def _place(reader: _Reader, value: Any, where: str) -> ToldValue:
    said = reader.keys(value, "answer", where)
    key = _keys(reader, said, "key", where)
    if key is None:
        raise reader.fail(where, "needs `key`, that of the value in the answer.")
    return ToldValue(_path(reader, said.get("path"), f"{where}.path", model=False), key)


def _path(reader: _Reader, value: Any, where: str, *, model: bool) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"/[!-~]*", value):
        raise reader.fail(where, f"must be a path that begins with /, such as /health, not {value!r}.")
    if model != (MODEL in value):
        holds = f"must hold `{MODEL}`, the name of the model that is asked for" if model else f"holds no `{MODEL}`"
        raise reader.fail(where, f"{holds}: {value!r}.")
    return value


def _keys(reader: _Reader, said: Mapping[str, Any], key: str, where: str) -> Keys | None:
    """Where a value is. A list of entries ends in `[]`."""
    text = said.get(key)
    if text is None:
        return None
    form, example = (LIST, "data[]") if key == "each" else (KEY, "id")
    if not isinstance(text, str) or not re.fullmatch(form, text):
        raise reader.fail(f"{where}.{key}", f"must be keys of JSON, divided by dots, such as {example}, not {text!r}.")
    return tuple(filter(None, text.removesuffix("[]").split(".")))
