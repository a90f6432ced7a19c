"""YAML as every file here is read: what is no mistake of syntax, yet can't be meant, is refused with its place.

That is a key that is there twice, of which YAML keeps the last in silence; a date or number that there is not; an alias
within itself; and what is too long, too deep or unfolds to too much to be a file that a person wrote.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import yaml

from .errors import InternalSignal

MAX_BYTES = 2 * 1024 * 1024
MAX_DEPTH = 100
MAX_VALUES = 100_000
"""Values of a file, those that an alias repeats counted each time: whoever walks through them meets so many."""

MAX_DIGITS = 64
"""Characters of a number. YAML 1.1 has numbers to the base of 60, which take quadratic time."""

_STANDARD = "tag:yaml.org,2002:"
_TAGS = {f"{_STANDARD}{name}" for name in ("bool", "float", "int", "map", "merge", "null", "seq", "str", "timestamp")}
_NUMBERS = (f"{_STANDARD}int", f"{_STANDARD}float")


class UnreadableYaml(InternalSignal):
    """What is wrong with a text, and where. `syntax` says whether it is no YAML; `place` is empty where none is known.

    `problem` is without the place, and the text of the exception with it.
    """

    def __init__(self, problem: str, mark: Any = None, syntax: bool = False) -> None:
        self.problem = problem
        self.syntax = syntax
        self.place = f"line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        super().__init__(f"{problem} ({self.place})" if self.place else problem)


def read_yaml(path: str | Path) -> Any:
    """What a file holds, None where it is empty. Raises OSError, UnicodeDecodeError or UnreadableYaml."""
    with Path(path).open("rb") as file:
        return decode_yaml(file)


def read_shipped(path: str | Path) -> Any:
    """What a file of this package holds. Tests read it strictly, so that here it may be read quickly: libyaml takes a
    tenth of the time, where PyYAML has it, as that of the Agent does.
    """
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(Path(path).read_bytes(), Loader=loader)


def decode_yaml(file: BinaryIO) -> Any:
    """What an open file holds. Raises as `read_yaml` does."""
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UnreadableYaml(f"the file is larger than {MAX_BYTES // 1024 // 1024} MiB: is it the right one?")
    return parse_yaml(data.decode("utf-8"))


def parse_yaml(text: str) -> Any:
    """What a text holds: mappings, lists, texts, numbers, flags, dates and None. Raises UnreadableYaml."""
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        problem = error.problem or error.context or "it can't be read"
        if error.context and problem.startswith("but "):
            problem = f"{error.context}, {problem}"
        raise UnreadableYaml(problem, error.problem_mark or error.context_mark, syntax=True) from None
    except yaml.YAMLError as error:
        raise UnreadableYaml(str(error).splitlines()[0], syntax=True) from None
    except RecursionError:
        raise UnreadableYaml(_TOO_DEEP) from None


_TOO_DEEP = f"it is nested more than {MAX_DEPTH} levels deep"
_TOO_MUCH = f"it unfolds to more than {MAX_VALUES:,} values: use fewer aliases, or several files"


class _Loader(yaml.SafeLoader):
    """Checks the nodes before anything is made of them."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._depth += 1
        self._nodes += 1
        if self._depth > MAX_DEPTH:
            raise UnreadableYaml(_TOO_DEEP, self.get_mark())
        if self._nodes > MAX_VALUES:
            raise UnreadableYaml(_TOO_MUCH)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_document(self, node: Any) -> Any:
        _check_all(node)
        return super().construct_document(node)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
        except (yaml.YAMLError, UnreadableYaml, RecursionError):
            raise
        except Exception:
            # Of the constructors of PyYAML, each raises something else for a text that it can't take.
            kind = node.tag.removeprefix(_STANDARD)
            raise UnreadableYaml(f"{_shown(node)} is no {kind} that there is", node.start_mark) from None
        if type(value) is int and not -(2**63) <= value < 2**64:
            raise UnreadableYaml(f"{_shown(node)} is too large a number", node.start_mark)
        return value


def _check_all(root: Any) -> None:
    """Check every node, each once, in whatever way aliases connect them, and how much they unfold to."""
    sizes: dict[int, tuple[int, int]] = {}
    """Values in a node and its depth, by its id."""
    above: set[int] = set()
    stack = [(root, False)]
    while stack:
        node, done = stack.pop()
        children = _children(node)
        if done:
            below = [sizes[id(child)] for child in children]
            size = 1 + sum(values for values, _ in below)
            depth = 1 + max((depth for _, depth in below), default=0)
            if size > MAX_VALUES:
                raise UnreadableYaml(_TOO_MUCH, node.start_mark)
            if depth > MAX_DEPTH:
                raise UnreadableYaml(_TOO_DEEP, node.start_mark)
            sizes[id(node)] = size, depth
            above.discard(id(node))
        elif id(node) in above:
            raise UnreadableYaml("it holds itself, by an alias", node.start_mark)
        elif id(node) not in sizes:
            _check(node)
            above.add(id(node))
            stack.append((node, True))
            stack += [(child, False) for child in children]


def _children(node: Any) -> list[Any]:
    if isinstance(node, yaml.MappingNode):
        return [one for pair in node.value for one in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _check(node: Any) -> None:
    if node.tag == f"{_STANDARD}value":
        # A lone `=`, which means nothing special any more.
        node.tag = f"{_STANDARD}str"
    if node.tag not in _TAGS:
        raise UnreadableYaml(f"the tag {node.tag!r} is not used here", node.start_mark, syntax=True)
    if isinstance(node, yaml.ScalarNode):
        if any("\ud800" <= character <= "\udfff" for character in node.value):
            raise UnreadableYaml("it holds half of a character (a lone surrogate)", node.start_mark)
        if node.tag in _NUMBERS and len(node.value) > MAX_DIGITS:
            raise UnreadableYaml(f"{_shown(node)} is too long a number", node.start_mark)
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != f"{_STANDARD}merge":
                if key.value in seen:
                    raise UnreadableYaml(f"`{key.value}` is there twice", key.start_mark)
                seen.add(key.value)


def _shown(node: Any) -> str:
    text = node.value if isinstance(node, yaml.ScalarNode) else "a collection"
    return f"`{text[:40]}{'...' if len(text) > 40 else ''}`"
