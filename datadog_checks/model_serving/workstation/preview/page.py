"""The page: every dashboard with what it is about, in one file that needs no other and no network."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from ..provision.model import Resource
from ..provision.simulate.observations import Observations
from .account import SimulatedAccount
from .drawing import draw_dashboard
from .text import xml

STYLE = """\
body { margin: 0 auto; max-width: 1240px; padding: 16px; background: #f4f5f7; color: #1f2430;
  font-family: system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; }
nav a { margin-right: 16px; }
p { max-width: 80ch; color: #3a404a; }
svg { width: 100%; height: auto; }
"""


def render_page(resources: Sequence[Resource], seen: Observations, notes: Sequence[str] = ()) -> str:
    """The HTML of the page with the dashboards among the resources. `notes` say what has to be known about its data."""
    account = SimulatedAccount(resources, seen)
    dashboards = [one for one in resources if one.kind == "dashboard"]
    links = "".join(f'<a href="#{one.key}">{xml(str(one.body["title"]))}</a>' for one in dashboards)
    sections = [
        f'<section id="{one.key}">\n<h2>{xml(str(one.body["title"]))}</h2>\n'
        f"<p>{xml(str(one.body.get('description') or ''))}</p>\n{draw_dashboard(one.body, account)}</section>\n"
        for one in dashboards
    ]
    start, end = (datetime.fromtimestamp(at, UTC).strftime("%H:%M") for at in (seen.start, seen.end))
    about = (
        "Drawn by model-serving provision preview, not by Datadog. The numbers are what the check submits about "
        f"simulated serving systems from {start} to {end}, one point a minute. What is not drawn says why."
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n<title>Dashboards of Model Serving</title>\n'
        f"<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>Dashboards</h1>\n<p>{xml(about)}</p>\n"
        f"{''.join(f'<p>{xml(note)}</p>' for note in notes)}<nav>{links}</nav>\n{''.join(sections)}</body>\n</html>\n"
    )
