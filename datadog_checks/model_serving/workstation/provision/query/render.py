"""Writes a tree back as a query, in one canonical form: `parse(render(tree)) == tree`."""

from __future__ import annotations

from .tree import (
    And,
    Argument,
    By,
    Chain,
    Comparison,
    CompositeMonitor,
    Condition,
    EventMonitor,
    Everything,
    FormulaMonitor,
    FunctionCall,
    In,
    Method,
    Metric,
    MetricMonitor,
    Monitor,
    MonitorQuery,
    Name,
    Negative,
    Not,
    Number,
    Operation,
    Or,
    Regrouping,
    ServiceCheckMonitor,
    Setting,
    SloMonitor,
    Tag,
    Text,
    Variable,
)

PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}


def render(query: MonitorQuery | Argument) -> str:
    """The text of a monitor's query, or of an expression."""
    match query:
        case MetricMonitor():
            window = f"{query.aggregator}({query.window.text})"
            if query.change:
                window = f"{query.change}({window},{query.shift.text if query.shift else ''})"
            return f"{window}:{_expression(query.expression)} {_comparison(query.comparison)}"
        case FormulaMonitor():
            rollup = f'.rollup("{query.rollup}")' if query.rollup else ""
            formula = _quoted(_expression(query.expression), '"')
            return f'formula({formula}){rollup}.last("{query.window.text}") {_comparison(query.comparison)}'
        case ServiceCheckMonitor():
            return _service_check(query)
        case EventMonitor():
            groups = ",".join(tag.value for tag in query.by)
            by = f'.by("{groups}")' if groups else ""
            text = f'events("{query.search}").rollup("{query.rollup}"){by}.last("{query.window.text[5:]}")'
            return f"{text} {_comparison(query.comparison)}"
        case SloMonitor():
            windows = (("over", query.over), ("long_window", query.long_window), ("short_window", query.short_window))
            methods = "".join(f'.{name}("{text.value}")' for name, text in windows if text)
            return f'{query.kind}("{query.slo.value}"){methods} {_comparison(query.comparison)}'
        case CompositeMonitor():
            return _condition(query.condition, "&&", " || ")
        case _:
            return _expression(query)


def render_scope(condition: Condition) -> str:
    """The text of a scope, as it stands between the braces of a metric."""
    return _condition(condition, ",", " OR ")


def _comparison(comparison: Comparison) -> str:
    return f"{comparison.operator} {comparison.threshold}"


def _service_check(query: ServiceCheckMonitor) -> str:
    text = f'"{query.check}"'
    for name, tags in (("over", query.over), ("exclude", query.exclude), ("by", query.by)):
        if tags:
            quoted = ",".join(f'"{tag.value}"' for tag in tags)
            text += f".{name}({quoted})"
    last = "" if query.last is None else f".last({query.last})"
    return f"{text}{last}.{query.status}()"


def _quoted(text: str, quote: str = "'") -> str:
    other = '"' if quote == "'" else "'"
    return f"{other}{text}{other}" if quote in text else f"{quote}{text}{quote}"


def _expression(part: Argument, outer: int = 0) -> str:
    """`outer` is the precedence of what is around: anything looser gets parentheses."""
    match part:
        case Number():
            return part.text
        case Name():
            return part.name
        case Text():
            return _quoted(part.value)
        case Regrouping():
            return _braces(part.by)
        case Setting():
            return f"{part.name}={_expression(part.value)}"
        case Metric():
            return _metric(part)
        case FunctionCall():
            return f"{part.name}({_list(part.arguments)})"
        case Chain():
            return _expression(part.operand, 4) + _methods(part.methods)
        case Negative():
            text, precedence = f"-{_expression(part.operand, 3)}", 3
        case Operation():
            precedence = PRECEDENCE[part.operator]
            left, right = _expression(part.left, precedence), _expression(part.right, precedence + 1)
            text = f"{left} {part.operator} {right}"
    return f"({text})" if precedence < outer else text


def _list(arguments: tuple[Argument, ...]) -> str:
    return ", ".join(_expression(argument) for argument in arguments)


def _methods(methods: tuple[Method, ...]) -> str:
    return "".join(f".{method.name}({_list(method.arguments)})" for method in methods)


def _metric(metric: Metric) -> str:
    condition = f"(v: v{metric.condition})" if metric.condition else ""
    head = f"{metric.aggregator}{condition}:" if metric.aggregator else ""
    scope = "" if metric.scope is None else "{" + render_scope(metric.scope) + "}"
    by = f" by {_braces(metric.by)}" if metric.by else ""
    return f"{head}{metric.name}{scope}{by}{_methods(metric.methods)}"


def _braces(groups: tuple[By, ...]) -> str:
    return "{" + ",".join(group.tag for group in groups) + "}"


def _condition(condition: Condition, both: str, either: str, outer: int = 0) -> str:
    match condition:
        case Everything():
            return "" if condition.empty else "*"
        case Variable():
            return f"${condition.name}"
        case Monitor():
            return condition.id
        case Tag():
            return condition.key if condition.value is None else f"{condition.key}:{condition.value}"
        case In():
            return f"{condition.key} {'NOT IN' if condition.negated else 'IN'} ({','.join(condition.values)})"
        case Not():
            return ("!" if condition.symbol else "NOT ") + _condition(condition.operand, both, either, 3)
        case And():
            # A comma binds most loosely of all, && as AND does.
            precedence = 0 if condition.symbol and both == "," else 2
            joint = f" {both} " if both == "&&" else both if condition.symbol else " AND "
            text = joint.join(_condition(each, both, either, precedence + 1) for each in condition.operands)
        case Or():
            precedence = 1
            text = either.join(_condition(each, both, either, precedence + 1) for each in condition.operands)
    return f"({text})" if precedence < outer else text
