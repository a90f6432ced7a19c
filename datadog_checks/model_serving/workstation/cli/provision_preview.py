"""`model-serving provision preview`: the dashboards as one page, before there is anything in an account."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from ...errors import OptionError
from .provision_support import PACKS, ProvisionOptions, values_of, wanted, with_options, write_file

LIBRARY = "vl_convert"
INSTALL = (
    "`pip install '.[cli,preview]'` in a checkout, or `pip install 'PATH[cli,preview]'` with the path of the wheel"
)

FILE = click.Path(path_type=Path)


@click.command()
@with_options(
    click.option("--values", metavar="FILE", type=FILE, help="Your thresholds, windows, scopes, teams, prefix."),
    PACKS,
)
@click.option("--out", required=True, metavar="FILE", type=FILE, help="Where to write the page, such as preview.html.")
@click.option(
    "--minutes",
    default=60,
    show_default=True,
    metavar="N",
    type=click.IntRange(2, 240),
    help="How much time to simulate; an hour takes about ten seconds.",
)
@click.option("--seed", default=1, show_default=True, metavar="N", type=int, help="The same seed draws the same page.")
def preview(out: Path, minutes: int, seed: int, **options: Any) -> None:
    """Draw the dashboards as one HTML page, filled with simulated data, without an account.

    The real check reads the simulated serving systems of `model-serving demo`, in simulated time, and its submissions
    are what the queries of the widgets are evaluated over. The page needs no network and no other file. A widget whose
    query or type is not simulated says so, and is left empty.

    \b
    Examples:
      model-serving provision preview --out preview.html
      model-serving provision preview --pack gpu --values values.yaml --out gpu.html

    Exit status: 0 when the page is written; 1 for a failure; 2 for a mistake in the options or the values.
    """
    if find_spec(LIBRARY) is None:
        raise click.ClickException(f"this draws with vl-convert-python, which this Python lacks: {INSTALL}")
    from ..preview.page import render_page
    from ..preview.story import record_story
    from ..provision.packs import builtin_packs

    settings = ProvisionOptions(**options)
    values = values_of(settings)
    scope, notes = values.everywhere.scope, []
    if scope:
        # What is simulated bears no tag of the user's, so that every query would be empty.
        values = replace(values, everywhere=replace(values.everywhere, scope=None))
        notes.append(f"The scope `{scope}` of {settings.values} is not applied: the simulated series lack its tags.")
    resources = wanted(settings, values, marked=False)
    number = sum(one.kind == "dashboard" for one in resources)
    if not number:
        have = ", ".join(name for name, pack in builtin_packs().items() if pack.dashboards)
        raise OptionError(f"there is no dashboard to draw: the packs that were chosen have none; {have} have one")
    write_file(out, render_page(resources, record_story(minutes, seed), notes))
    click.echo(f"{number} {'dashboard' if number == 1 else 'dashboards'} in {out}")
