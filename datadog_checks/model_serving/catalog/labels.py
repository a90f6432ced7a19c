"""The keys `labels` and `identity` of a catalog file: which labels become which tags, and what a series is about."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import translate
from functools import lru_cache
from pathlib import Path
from typing import Any

from .document import Document
from .model import NAMESPACE, Identity, Labels

CANONICAL = Path(__file__).parent / "canonical.yaml"
"""The vocabulary, and what holds for all systems."""

GENERIC_TAGS = {
    *("cluster", "cluster_id", "cluster_name", "clusterid", "clustername"),
    *("env", "host", "host_name", "hostname", "service", "version"),
}
"""Tags with a meaning of their own in Datadog. A label of such a name, in capitals too, becomes
`model_serving_<name>`: Datadog stores tags in lower case.
"""

PLACEHOLDER = re.compile(r"\{(\w+)\}")
"""In the value of a tag: stands for the tag of that name."""


@lru_cache(maxsize=1)
def dropped_everywhere() -> frozenset[str]:
    """Labels that give no tag, whatever the system, unless its file names them."""
    document = Document(CANONICAL)
    return frozenset(document.strings(document.data.get("drop") or [], "key `drop`"))


def read_labels(document: Document, value: Any) -> Labels:
    """What becomes of the labels of a system."""
    entry = document.keys(value, "labels", "labels")
    absent = document.mapping(entry.get("absent") or {}, "labels.absent")
    rename = document.mapping(entry.get("rename") or {}, "labels.rename")
    lower = frozenset(document.strings(entry.get("lower") or [], "labels.lower"))
    values = document.mapping(entry.get("values") or {}, "labels.values")
    parts = document.mapping(entry.get("parts") or {}, "labels.parts")
    named = {label.lower() for label in (*rename, *lower, *absent, *values, *parts)}
    return Labels(
        rename={
            label: str(document.typed(tag, str, "the name of a tag", f"labels.rename.{label}") or label)
            for label, tag in rename.items()
        },
        drop=frozenset(document.strings(entry.get("drop") or [], "labels.drop")) | (dropped_everywhere() - named),
        lower=lower,
        absent={label: frozenset(document.strings(each, f"labels.absent.{label}")) for label, each in absent.items()},
        values={label: _words(document, words, f"labels.values.{label}") for label, words in values.items()},
        parts={label: _parts(document, pattern, f"labels.parts.{label}") for label, pattern in parts.items()},
    )


def check_templates(document: Document, tags: Mapping[str, str], labels: Labels, where: str) -> None:
    """Refuse a tag that no series could get: its placeholder is broken, or names a tag that can't be.

    That a label is misspelt is not known here, since a file need not name the labels that become tags.
    """
    named = {*labels.rename.values(), *(tag for pattern in labels.parts.values() for tag in pattern.groupindex)}
    for tag, text in tags.items():
        place = f"{where}, tag `{tag}`"
        if tag == "serving_system":
            raise document.fail(place, "is the name of the system on everything: choose another name.")
        if re.search("[{}]", PLACEHOLDER.sub("", text)):
            raise document.fail(place, f"{text!r} has a brace that begins or ends no `{{name}}` of a tag: mend it.")
        for name in PLACEHOLDER.findall(text):
            if name.lower() in GENERIC_TAGS:
                found = f"{NAMESPACE}_{name.lower()}"
            elif name in labels.rename and name not in named:
                found = labels.rename[name]
            elif name == "serving_system":
                raise document.fail(place, f"no `{{{name}}}` is known here: write the name of the system itself.")
            else:
                continue
            raise document.fail(place, f"there is no tag `{name}`, the label becomes `{found}`: write `{{{found}}}`.")


def read_identity(document: Document, value: Any) -> dict[str, Identity]:
    """What tells series apart, by the level at which they are measured; under an empty name at the usual one."""
    if value is None:
        return {}
    entry = document.keys(value, "identity", "identity")
    levels = {
        name: document.strings(labels, f"identity.levels.{name}")
        for name, labels in document.mapping(entry.get("levels"), "identity.levels").items()
    }
    if not levels or not all(levels.values()):
        raise document.fail("identity.levels", "needs at least one level, each with the labels that name it.")
    about = {
        document.choice(name, tuple(levels), "identity.about"): document.strings(labels, f"identity.about.{name}")
        for name, labels in document.mapping(entry.get("about") or {}, "identity.about").items()
    }
    worldwide = frozenset(document.strings(entry.get("worldwide") or [], "identity.worldwide"))
    if foreign := worldwide.difference(*levels.values()):
        raise document.fail("identity.worldwide", f"`{min(foreign)}` names no level: list it under `levels` as well.")
    order = list(levels)
    found = {
        name: Identity(
            levels=tuple((level, levels[level]) for level in order[:number]),
            worldwide=worldwide,
            inside=frozenset(label for level in order[number:] for label in (*levels[level], *about.get(level, ()))),
        )
        for number, name in enumerate(order, 1)
    }
    return {**found, "": found[document.choice(entry.get("default", order[-1]), tuple(order), "identity.default")]}


def _words(document: Document, value: Any, where: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Globs of values, and the word for what matches. The first that does counts."""
    return tuple((re.compile(translate(glob)), word) for glob, word in document.texts(value, where).items())


def _parts(document: Document, value: Any, where: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(document.typed(value, str, "a regular expression", where) or "")
    except re.error as error:
        raise document.fail(where, f"is no regular expression: {error}.") from None
    if not pattern.groupindex:
        raise document.fail(where, "names no part: write `(?P<tag>...)` around what is to become a tag.")
    return pattern
