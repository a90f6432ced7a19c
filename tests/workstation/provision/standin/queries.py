"""The grammar of monitor queries, read on its own: what the product believes about queries must not judge itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .account import Refusal

METRIC_TYPES = ("metric alert", "query alert")
MINUTES = {"m": 1, "h": 60, "d": 1440, "w": 10080, "mo": 43200}
SPACE = r"(?:avg|sum|min|max|count|p\d{2}(?:\.\d+)?)"
SUFFIX = r"(?:\.(?:as_count\(\)|as_rate\(\)|(?:rollup|fill|weighted)\([^()]*\)))*"
TERM = re.compile(
    rf"{SPACE}:(?P<metric>[A-Za-z][\w.]*)\{{(?P<scope>[^{{}}]*)\}}(?:\s+by\s+\{{(?P<by>[^{{}}]*)\}})?(?P<suffix>{SUFFIX})"
)
COMPARISON = re.compile(r"^(?P<left>.*?)\s*(?P<operator>>=|<=|==|!=|>|<)\s*(?P<number>-?[\d.eE+-]+)$", re.DOTALL)
HEAD = re.compile(r"^(?P<aggregation>avg|sum|min|max|percentile)\((?P<window>(?:last|current|next)_\w+)\):")
CHANGE = re.compile(
    r"^(?:pct_)?change\((?:avg|sum|min|max)\((?P<window>last_\w+)\),\s*(?P<shift>last_\w+|\d+[mhd]_ago)\):"
)
FORMULA = re.compile(r"""^formula\((["'])(?P<formula>.+)\1\)\.last\((["'])(?P<window>\w+)\3\)$""")
CHECK = re.compile(
    r'^"(?P<check>[\w.]+)"\.over\((?P<over>"[^"]+"(?:\s*,\s*"[^"]+")*)\)'
    r'(?P<exclude>\.exclude\([^()]*\))?\.by\((?P<by>"[^"]+"(?:\s*,\s*"[^"]+")*)\)'
    r"\.last\((?P<last>\d+)\)\.count_by_status\(\)$"
)
BURN = re.compile(
    r'^burn_rate\("(?P<slo>[^"]+)"\)\.over\("(?P<over>7d|30d|90d)"\)'
    r'\.long_window\("(?P<long>\d+[mhd])"\)\.short_window\("(?P<short>\d+[mhd])"\)$'
)
BUDGET = re.compile(r'^error_budget\("(?P<slo>[^"]+)"\)\.over\("(?P<over>7d|30d|90d)"\)$')
COMPOSITE = re.compile(r"\s*(?:(?P<id>\d+)|(?P<word>&&|\|\||!|\(|\)))")
FUNCTION_NAMES = """
abs anomalies autosmooth clamp_max clamp_min count_nonzero count_not_null cumsum cutoff_max cutoff_min day_before
default_zero derivative diff dt ewma_3 ewma_5 ewma_10 ewma_20 exclude_null forecast hour_before integral log10 log2
median_3 median_5 median_7 median_9 month_before monotonic_diff moving_rollup outliers per_hour per_minute per_second
robust_trend timeshift top trend_line week_before
"""
FUNCTIONS = frozenset(FUNCTION_NAMES.split())


@dataclass(frozen=True, slots=True)
class Query:
    """What a query says. `threshold` is the number that it compares with, None where thresholds are in the options;
    `last` the runs that a service check looks at; `simple` a plain aggregate of one metric without groups."""

    threshold: float | None = None
    operator: str | None = None
    groups: tuple[str, ...] = ()
    last: int | None = None
    monitors: tuple[int, ...] = ()
    slo: str | None = None
    over: str | None = None
    simple: bool = False
    anomaly_window: str | None = None


def invalid(detail: str) -> Refusal:
    return Refusal(400, f"The value provided for parameter 'query' is invalid: {detail}")


def read(kind: str, text: str, variables: Sequence[Mapping[str, Any]] = ()) -> Query:
    """Read the query of a monitor of this type. `variables` are those of a formula. Raises Refusal."""
    text = text.strip()
    if kind == "service check":
        return _service_check(text)
    if kind == "composite":
        return _composite(text)
    comparison = COMPARISON.match(text)
    if not comparison:
        raise invalid("invalid operator specified: ")
    left, number = comparison["left"], comparison["number"]
    if not re.fullmatch(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", number):
        raise invalid(f"'{number}' is not a number")
    found = Query(float(number), comparison["operator"])
    if kind in METRIC_TYPES:
        return _metric(left, variables, found)
    if kind == "slo alert":
        match = BURN.match(left) or BUDGET.match(left)
        if not match or comparison["operator"] not in (">", ">="):
            raise invalid("not an SLO alert query")
        groups = match.groupdict()
        if "long" in groups:
            long, short = _minutes(groups["long"]), _minutes(groups["short"])
            if not short < long or not 60 <= long <= 2880:
                raise invalid("the long window is 1h to 48h, and the short window is shorter")
        return replace(found, slo=groups["slo"], over=groups["over"])
    if kind in ("log alert", "event-v2 alert"):
        if not re.match(r"^(logs|events)\(.+\)\.rollup\(.+\)\.last\([\"'][0-9]+[mh][\"']\)$", left):
            raise invalid("not a search query")
        return found
    raise Refusal(400, f"The stand-in offers no monitors of type '{kind}'")


def _metric(left: str, variables: Sequence[Mapping[str, Any]], found: Query) -> Query:
    if formula := FORMULA.match(left):
        _window(f"last_{formula['window']}")
        names = {str(variable.get("name")) for variable in variables}
        if not names:
            raise invalid("a formula needs the queries of options.variables")
        groups: list[str] = []
        for variable in variables:
            groups += _expression(str(variable.get("query")), frozenset())[1]
        _expression(formula["formula"], frozenset(names))
        return replace(found, groups=tuple(dict.fromkeys(groups)))
    head = HEAD.match(left) or CHANGE.match(left)
    if not head:
        raise invalid("unable to parse the time aggregation")
    _window(head["window"])
    expression = left[head.end() :]
    if head["window"].startswith("next_") and "forecast(" not in expression:
        raise invalid("a future window needs forecast()")
    terms, groups = _expression(expression, frozenset())
    anomaly = re.search(r"alert_window='(\w+)'", expression) if "anomalies(" in expression else None
    simple = terms == 1 and not groups and bool(TERM.fullmatch(expression)) and head["window"].startswith("last_")
    return replace(found, groups=tuple(groups), simple=simple, anomaly_window=anomaly[1] if anomaly else None)


def _expression(text: str, names: frozenset[str]) -> tuple[int, list[str]]:
    """Check an arithmetic of metrics. Answers how many metrics it has, and its groups."""
    groups: list[str] = []
    terms = 0

    def term(match: re.Match[str]) -> str:
        nonlocal terms
        terms += 1
        _scope(match["scope"])
        keys = [key.strip() for key in (match["by"] or "").split(",") if key.strip()]
        if match["by"] is not None and not keys:
            raise invalid("empty group")
        groups.extend(key for key in keys if key not in groups)
        return "M_"

    rest = TERM.sub(term, text)
    if re.search(r"(?<![\w.])\.\d", rest):
        raise invalid("a number needs its leading zero")
    if "{" in rest or "}" in rest or (not terms and not names):
        raise invalid("unable to parse the query")
    try:
        tree = ast.parse(rest.strip(), mode="eval")
    except SyntaxError as error:
        raise invalid("unable to parse the query") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
                raise invalid(f"unknown function in {ast.unparse(node)}")
        elif isinstance(node, ast.Name):
            if node.id not in FUNCTIONS and node.id not in names and node.id != "M_":
                raise invalid(f"unknown name '{node.id}'")
        elif not isinstance(
            node,
            ast.Expression
            | ast.BinOp
            | ast.UnaryOp
            | ast.operator
            | ast.unaryop
            | ast.Constant
            | ast.keyword
            | ast.Load,
        ):
            raise invalid(f"unable to parse '{ast.unparse(node)}'")
    return terms, groups


def _scope(text: str) -> None:
    if not text.strip():
        raise invalid("empty scope")
    words = re.search(r"\b(AND|OR|IN|NOT)\b", text)
    commas = re.sub(r"\([^()]*\)", "", text)
    if words and ("," in commas or "!" in text):
        raise invalid("',' and '!' do not mix with AND, OR, IN and NOT IN")
    if text.count("(") != text.count(")"):
        raise invalid("unbalanced parentheses in the scope")


def _window(text: str) -> None:
    match = re.fullmatch(r"(last|current|next)_(\d+)(mo|m|h|d|w)", text)
    if not match or int(match[2]) < 1:
        raise invalid(f"'{text}' is not a window")
    length = int(match[2]) * MINUTES[match[3]]
    if (match[1] == "current" and text not in ("current_1h", "current_1d", "current_1mo")) or length > 43200:
        raise invalid(f"'{text}' is not a window")


def _minutes(text: str) -> int:
    return int(text[:-1]) * MINUTES[text[-1]]


def _service_check(text: str) -> Query:
    match = CHECK.match(text)
    if not match:
        raise invalid("not a service check query")
    if not 1 <= int(match["last"]) <= 100:
        raise invalid("last() is 1 to 100")
    return Query(last=int(match["last"]), groups=tuple(re.findall(r'"([^"]+)"', match["by"])))


def _composite(text: str) -> Query:
    words, position = [], 0
    while position < len(text.rstrip()):
        match = COMPOSITE.match(text, position)
        if not match:
            raise invalid(f"unexpected '{text[position:]}'")
        words.append("M_" if match["id"] else match["word"])
        position = match.end()
    monitors = tuple(int(number) for number in re.findall(r"\d+", text))
    python = " ".join({"&&": "and", "||": "or", "!": "not"}.get(word, word) for word in words)
    try:
        ast.parse(python, mode="eval")
    except SyntaxError as error:
        raise invalid("unable to parse the composite") from error
    if not 1 <= len(monitors) <= 10:
        raise invalid("a composite has 1 to 10 monitors")
    return Query(monitors=monitors)
