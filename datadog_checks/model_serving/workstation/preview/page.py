"""The page: every dashboard with what it is about, in one file that needs no other and no network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..provision.model import Resource
from .account import SimulatedAccount
from .drawing import draw_dashboard
from .recorded import Recorded
from .text import xml

STYLE = """\
body { margin: 0 auto; max-width: 1240px; padding: 16px; background: #f4f5f7; color: #1f2430;
  font-family: system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; }
nav a { margin-right: 16px; }
p { max-width: 80ch; color: #3a404a; }
svg { width: 100%; height: auto; }
"""


def render_page(
    resources: Sequence[Resource],
    recorded: Recorded,
    notes: Sequence[str] = (),
    tell: Callable[[str], None] = lambda title: None,
) -> str:
    """The HTML of the page with the dashboards among the resources. `notes` say what has to be known about its data.

    `tell` is called with the title of each dashboard before it is drawn.
    """
    account = SimulatedAccount(resources, recorded)
    dashboards = [one for one in resources if one.kind == "dashboard"]
    links = "".join(f'<a href="#{one.key}">{xml(str(one.body["title"]))}</a>' for one in dashboards)
    sections = []
    for one in dashboards:
        title = str(one.body["title"])
        tell(title)
        sections.append(
            f'<section id="{one.key}">\n<h2>{xml(title)}</h2>\n'
            f"<p>{xml(str(one.body.get('description') or ''))}</p>\n{draw_dashboard(one.body, account)}</section>\n"
        )
    about = (
        f"Drawn by model-serving provision preview, not by Datadog. {recorded.about} What is not drawn says why.",
        *notes,
    )
    head = "".join(f"<p>{xml(text)}</p>\n" for text in about)
    if recorded.sources:
        head += f"<ul>{''.join(f'<li>{xml(source)}</li>' for source in recorded.sources)}</ul>\n"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n<title>Dashboards of Model Serving</title>\n'
        f"<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>Dashboards</h1>\n{head}<nav>{links}</nav>\n"
        f"{''.join(sections)}</body>\n</html>\n"
    )
