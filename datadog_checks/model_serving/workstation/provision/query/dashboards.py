"""Checks the body of a dashboard: every metric query and formula in its widgets, its variables and tags."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ....errors import QueryError
from .catalog import check_service_check
from .expressions import parse_metric_expression, parse_metric_expressions
from .known import Known
from .problems import Place, Problem, mappings, nearest
from .rules import check_expression
from .tree import Text

MOST_TAGS = 5


def check_dashboard(body: Mapping[str, Any], known: Known | None = None, path: str = "") -> list[Problem]:
    """What is wrong with the body of a dashboard, as the API takes it. Queries of logs, traces and other sources
    than metrics are left alone. `path` leads to the body in its file."""
    return list(_dashboard(body, Place(path, known or Known(), use="widget")))


def _dashboard(body: Mapping[str, Any], place: Place) -> Iterator[Problem]:
    yield from _tags(body.get("tags"), place.within("tags"))
    names = variables_of(body, place)
    for variable, at in mappings(body.get("template_variables"), place.within("template_variables")):
        if variable.get("default") is not None and variable.get("defaults") is not None:
            yield at.error("dashboard/variable", "has both `default` and `defaults`: write `defaults` alone")
        defaults = variable.get("defaults")
        if isinstance(defaults, list) and "" in defaults:
            yield at.within("defaults").error("dashboard/variable", 'an empty text is refused: write `["*"]` for all')
    for preset, at in mappings(body.get("template_variable_presets"), place.within("template_variable_presets")):
        yield from _preset(preset, at, names)
    place = replace(place, variables=names)
    for widget, at in mappings(body.get("widgets"), place.within("widgets")):
        yield from check_widget(widget, at)


def variables_of(body: Mapping[str, Any], place: Place) -> dict[str, str | None]:
    """The template variables that a dashboard, or the asset of an integration around a monitor, has: each with the
    tag that it stands for, None for a variable of bare values."""
    names: dict[str, str | None] = {}
    for variable, _ in mappings(body.get("template_variables"), place):
        if isinstance(variable.get("name"), str):
            prefix = variable.get("prefix")
            names[variable["name"]] = prefix if isinstance(prefix, str) and prefix else None
    return names


def _preset(preset: Mapping[str, Any], place: Place, names: Mapping[str, str | None]) -> Iterator[Problem]:
    """A saved choice of values: each variable has `values`, which are not empty."""
    variables = place.within("template_variables")
    for variable, at in mappings(preset.get("template_variables"), variables):
        name = variable.get("name")
        if isinstance(name, str) and name not in names:
            yield at.within("name").warning(
                "dashboard/variable", f"the dashboard has no template variable `{name}`{nearest(name, names)}"
            )
        if variable.get("value") is not None and variable.get("values") is not None:
            yield at.error("dashboard/variable", "has both `value` and `values`: write `values` alone")
        elif variable.get("values") == []:
            yield at.within("values").error("dashboard/variable", 'an empty list is refused: write `["*"]` for all')


def _tags(tags: Any, place: Place) -> Iterator[Problem]:
    if not isinstance(tags, list):
        return
    for index, tag in enumerate(tags):
        if not str(tag).startswith("team:"):
            yield place.within(index).error(
                "dashboard/tags", f"`{tag}` is refused: tags of a dashboard are `team:...`; put it into `description`"
            )
    if len(tags) > MOST_TAGS:
        yield place.error("dashboard/tags", f"{len(tags)} tags; at most {MOST_TAGS} are allowed")


def check_widget(widget: Mapping[str, Any], place: Place) -> Iterator[Problem]:
    """A widget and those within it. `place.variables` are the template variables that there are."""
    definition = widget.get("definition")
    if not isinstance(definition, Mapping):
        return
    at = place.within("definition")
    for inner, where in mappings(definition.get("widgets"), at.within("widgets")):
        yield from check_widget(inner, where)
    source = definition.get("source_widget_definition")
    if isinstance(source, Mapping):
        yield from _requests(source.get("requests"), at.within("source_widget_definition", "requests"))
    if definition.get("type") == "check_status":
        yield from _check_status(definition, at)
    yield from _requests(definition.get("requests"), at.within("requests"))


def _check_status(definition: Mapping[str, Any], place: Place) -> Iterator[Problem]:
    name = definition.get("check")
    if not isinstance(name, str):
        return
    over, by = (
        [Text(tag) for tag in definition.get(key) or () if isinstance(tag, str)] for key in ("tags", "group_by")
    )
    for problem in check_service_check(name, 0, over, by, place.within("check", text=name)):
        yield replace(problem, column=None, text="")


def _requests(part: Any, place: Place) -> Iterator[Problem]:
    if isinstance(part, list):
        for index, item in enumerate(part):
            yield from _requests(item, place.within(index))
    if not isinstance(part, Mapping):
        return
    source, text = part.get("data_source"), part.get("query")
    if source == "metrics" and isinstance(text, str):
        yield from _query(text, place.within("query", text=text))
    if isinstance(part.get("q"), str):
        yield from _query(part["q"], place.within("q", text=part["q"]))
    yield from check_formulas(part, place)
    for key, below in part.items():
        # What another source than metrics calls its query is no business of ours.
        if source is None or key != "query":
            yield from _requests(below, place.within(key))


def _query(text: str, place: Place) -> Iterator[Problem]:
    try:
        expressions = parse_metric_expressions(text)
    except QueryError as error:
        yield place.unreadable(error)
        return
    for expression in expressions:
        yield from check_expression(expression, place)


def check_formulas(part: Mapping[str, Any], place: Place) -> Iterator[Problem]:
    """The formulas beside a list of named queries."""
    names = frozenset(name_of(query, index) for index, (query, _) in enumerate(mappings(part.get("queries"), place)))
    for formula, at in mappings(part.get("formulas"), place.within("formulas")):
        text = formula.get("formula")
        if isinstance(text, str):
            yield from check_formula(text, names, at.within("formula", text=text))


def name_of(query: Mapping[str, Any], index: int) -> str:
    """The name of a query in a list: the API gives one to those that have none, by their place."""
    name = query.get("name")
    return name if isinstance(name, str) else f"query{index + 1}"


def check_formula(text: str, names: frozenset[str], place: Place) -> Iterator[Problem]:
    """One formula over the queries of these names."""
    try:
        expression = parse_metric_expression(text)
    except QueryError as error:
        yield place.unreadable(error)
        return
    yield from check_expression(expression, place, names=names)
