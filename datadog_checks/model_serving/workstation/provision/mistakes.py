"""What is wrong with resources, told before anything is asked of the API."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from ...errors import DocumentError, ProvisionError
from .desired import desired, vocabulary_of
from .document import Node
from .model import KINDS, Resource, mark
from .packs import builtin_packs
from .packs.files import read_pack
from .query import Known, Problem, check_dashboard, check_monitor, check_slo
from .query.filters import CONTRADICTION
from .query.problems import ERROR, HINT
from .state import metric_of
from .values import Values
from .vocabulary import Vocabulary, builtin_vocabulary

CHECKS: Mapping[str, Callable[[Mapping[str, Any], Known], list[Problem]]] = {
    "monitor": check_monitor,
    "dashboard": check_dashboard,
    "slo": check_slo,
}


def checked(
    resources: Iterable[Resource],
    stack: str = "",
    vocabulary: Vocabulary | None = None,
    warn: Callable[[str], None] = lambda _: None,
    explain: Callable[[str, Problem], str | None] = lambda address, problem: None,
) -> list[Resource]:
    """The resources, marked as those of a stack, in the order of creation. `vocabulary` is what a check with the user's
    catalogs sends, None for one without. `warn` takes what may be meant, such as a threshold in another unit than the
    metric's. `explain` says of a problem of a resource what it is in a file of the user's: empty where there is nothing
    to say, None where it is of no such file.

    Raises DocumentError that lists what the checks of queries find wrong in packs and values of the user's own, each
    with its place in the file, and ProvisionError that lists every other mistake: two with one address, a reference to
    nothing, and whatever the checks find. None of this asks the API.
    """
    ordered = sorted(resources, key=lambda one: KINDS.index(one.kind))
    words = Known(
        vocabulary or builtin_vocabulary(),
        percentiles=frozenset(metric_of(one) for one in ordered if one.kind == "percentiles"),
    )
    known: set[str] = set()
    mistakes: list[str] = []
    contradictory: list[str] = []
    # What several resources come of is told of once.
    in_files: dict[str, bool] = {}
    for resource in ordered:
        if resource.address in known:
            mistakes.append(f"{resource.address}: defined twice; every resource needs a key of its own")
        known.add(resource.address)
    for resource in ordered:
        missing = sorted(resource.references() - known)
        if missing:
            mistakes.append(f"{resource.address}: needs {', '.join(missing)}, which none of the chosen packs has")
        for problem in problems_of(resource, words):
            if problem.severity == HINT:
                continue
            is_error = problem.severity == ERROR
            told = explain(resource.address, problem)
            if resource.written is not None:
                told = str(Node(resource.written.file, problem.path, None).fail(problem.message))
            elif told is None and problem.id == CONTRADICTION:
                contradictory.append(resource.address)
                continue
            if told is not None:
                in_files |= {told: is_error} if told else {}
                continue
            place = f" at {problem.path}" if problem.path else ""
            column = f", column {problem.column}" if problem.column is not None else ""
            tell = mistakes.append if is_error else warn
            tell(f"{resource.address}{place}{column}: {problem.message}")
    if contradictory:
        # One scope of the values file may be at odds with those of many.
        which = ", ".join(dict.fromkeys(contradictory))
        warn(
            f"{which}: tags in the scope exclude each other, so all or a part of the query selects nothing: write "
            "another `scope`, or leave out what is not for it with `enabled: false`, `packs` or --system"
        )
    try:
        TopologicalSorter({one.address: one.references() for one in ordered}).prepare()
    except CycleError as error:
        mistakes.append(f"{' needs '.join(error.args[1])}: a circle, so none of them can come first")
    for told, is_error in in_files.items():
        if not is_error:
            warn(told)
    if any(in_files.values()):
        raise DocumentError("\n".join(told for told, is_error in in_files.items() if is_error))
    if mistakes:
        raise ProvisionError("nothing was sent:\n" + "\n".join(f"  {mistake}" for mistake in mistakes))
    return [mark(resource, stack) for resource in ordered]


def problems_of(resource: Resource, words: Known) -> list[Problem]:
    """What the checks of queries find in a resource. The path of each leads to its place in the body, or, of what a
    user's own pack has, in the file of the pack."""
    check = CHECKS.get(resource.kind)
    found = check(resource.body, words) if check else []
    if resource.written is None:
        return found
    return [replace(problem, path=resource.written.place(problem.path)) for problem in found]


def pack_problems(path: Path, known: Known) -> list[Problem]:
    """What the checks of queries find in a pack that a user wrote, with metrics of its own catalog files or of those
    that are known. What is wrong with its form comes alone."""
    try:
        pack = read_pack(path, builtin_packs())
    except DocumentError as error:
        said = [line.removeprefix(f"{path}: ") for line in str(error).splitlines()]
        return [Problem(ERROR, one, "", None, "file/content") for one in said]
    # With a price, also the widgets that need one are there.
    values = Values(available={**builtin_packs(), pack.name: pack}, gpu_hour_price=1)
    resources = desired([pack.name], values, optional=True)
    percentile = frozenset(one.key for one in resources if one.kind == "percentiles")
    words = replace(known, percentiles=percentile)
    words = replace(words, vocabulary=vocabulary_of(values)) if pack.catalogs else words
    return [problem for one in resources for problem in problems_of(one, words)]
