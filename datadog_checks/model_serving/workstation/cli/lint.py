"""`model-serving lint`: monitors, dashboards and SLOs checked before they reach Datadog."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.cells import cell_len

from ...catalog.loader import load_catalog
from ...http.redact import printable
from ..provision.query.documents import check_document
from ..provision.query.known import Known
from ..provision.query.problems import ERROR, HINT, IDS, WARNING, Problem
from ..provision.vocabulary import vocabulary
from ..standin.console import is_coloured
from .exit import ExitStatus

WIDTH = 110
"""Characters of a query that are shown around what is wrong."""
COLOURS = {ERROR: "red", WARNING: "yellow", HINT: "cyan"}


@click.command(short_help="Check monitors, dashboards and SLOs.")
@click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="FILE...",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
)
@click.option(
    "--catalog",
    "catalogs",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A catalog file of your own, as in the option `catalog` of an instance: its metrics are known then.",
)
@click.option(
    "--tag",
    "tags",
    multiple=True,
    metavar="NAME",
    help="A tag that your instances or hosts add to everything: it may be grouped by then.",
)
@click.option(
    "--disable", "disabled", multiple=True, metavar="ID", type=click.Choice(IDS), help="Leave out the check of this id."
)
@click.option("--strict", is_flag=True, help="Let warnings fail as well.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per problem, each on a line of its own.")
def lint(
    files: tuple[Path, ...],
    catalogs: tuple[Path, ...],
    tags: tuple[str, ...],
    disabled: tuple[str, ...],
    strict: bool,
    as_json: bool,
) -> None:
    """Check monitors, dashboards and SLOs, as JSON or in a pack, before Datadog refuses it or finds nothing in silence.

    A FILE holds one of them or a list, as the API gives and takes them or as an integration ships them; - is standard
    input. Queries are read by a parser of Datadog's grammar and held against the metrics and tags that the check
    sends. A FILE in YAML is a pack of yours (docs/provisioning.md). docs/lint.md explains every check by its id.

    \b
    Examples:
      model-serving lint monitors.json dashboards/*.json
      model-serving lint --catalog gateway.yaml --tag cost_center monitors.json
      curl ... /api/v1/monitor | model-serving lint -

    Exit status: 0 without errors; 3 with errors, or with --strict warnings; 2 for a mistake in the options. Hints
    never fail.
    """
    known = Known(vocabulary(load_catalog(catalogs)), user_tags=frozenset(tags))
    found = [(file, problem) for file in files for problem in _check(file, known) if problem.id not in disabled]
    for file, problem in found:
        if as_json:
            click.echo(json.dumps({"file": str(file), **asdict(problem)}))
        else:
            _show(file, problem)
    errors, warnings, hints = (sum(one.severity == each for _, one in found) for each in (ERROR, WARNING, HINT))
    if not as_json:
        counts = [_many(errors, "error"), _many(warnings, "warning"), *([_many(hints, "hint")] if hints else ())]
        click.echo(f"{', '.join(counts)} in {_many(len(files), 'file')}")
    if errors or (strict and warnings):
        sys.exit(ExitStatus.FOUND)


def _check(file: Path, known: Known) -> list[Problem]:
    if file.suffix in (".yaml", ".yml"):
        return _check_pack(file, known)
    try:
        data: bytes = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        document: Any = json.loads(data.decode("utf-8-sig"))
    except OSError as error:
        return [_unreadable(f"cannot be read: {error.strerror}; check the path and rights")]
    except UnicodeDecodeError:
        return [_unreadable("is not UTF-8 text: save it as UTF-8")]
    except json.JSONDecodeError as error:
        return [_unreadable(f"is not JSON: {error.msg} in line {error.lineno}, column {error.colno}")]
    except RecursionError:
        return [_unreadable("is nested too deeply to be a monitor or a dashboard")]
    return check_document(document, known)


def _check_pack(file: Path, known: Known) -> list[Problem]:
    from ..provision.mistakes import pack_problems

    return pack_problems(file, known)


def _unreadable(message: str) -> Problem:
    return Problem(ERROR, message, "", None, "file/content")


def _show(file: Path, problem: Problem) -> None:
    column = "" if problem.column is None else f", column {problem.column}"
    place = ": ".join(part for part in (str(file), f"{problem.path}{column}") if part)
    coloured = is_coloured(sys.stdout)
    severity = click.style(problem.severity, fg=COLOURS[problem.severity], bold=True)
    click.echo(f"{printable(place)}: {severity}: {printable(problem.message)} ({problem.id})", color=coloured)
    if problem.column is not None:
        line, indent = excerpt(problem.text, problem.column)
        mark = click.style("^", fg=COLOURS[problem.severity], bold=True)
        click.echo(f"    {line}\n    {' ' * indent}{mark}", color=coloured)


def excerpt(text: str, column: int) -> tuple[str, int]:
    """The line of `text` around `column`, which counts from 1, and how far in the column is on a terminal."""
    at = min(column - 1, len(text))
    start = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    line, at = text[start : len(text) if end < 0 else end], at - start
    if len(line) > WIDTH:
        first = max(0, min(at - WIDTH // 2, len(line) - WIDTH))
        left, right = "..." if first else "", "..." if first + WIDTH < len(line) else ""
        line, at = f"{left}{line[first : first + WIDTH]}{right}", at - first + len(left)
    return printable(line), cell_len(printable(line[:at]))


def _many(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
