"""Datadog's query grammar, and what can be wrong with monitors, dashboards and SLOs before they are sent."""

from __future__ import annotations

from .dashboards import check_dashboard
from .expressions import parse_metric_expression, parse_metric_expressions
from .known import Known
from .monitors import check_monitor
from .parse import parse_monitor
from .problems import Problem
from .render import render
from .slos import check_slo

__all__ = [
    "Known",
    "Problem",
    "check_dashboard",
    "check_monitor",
    "check_slo",
    "parse_metric_expression",
    "parse_metric_expressions",
    "parse_monitor",
    "render",
]
