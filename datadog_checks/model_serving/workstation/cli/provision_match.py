"""What `--for`, `--system` and `--try`, and a scope of one system, leave out of what is provisioned."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import click

from ...errors import OptionError
from ...http.redact import mask, printable
from ..standin.configuration import load_configuration, written_instances
from ..standin.install import standing_in
from ..standin.profiles import with_profile
from ..standin.runner import label_of
from ..standin.standin import StandIn
from .exit import ExitStatus
from .provision_support import ProvisionOptions, show, terminal_width
from .trial_runs import Schedule, examined, run

if TYPE_CHECKING:
    from ..examine.feeds import InstanceFeed
    from ..provision.values import Values

GPU = "gpu"
SYSTEM_TAG = "serving_system"
NOTHING_LEFT = "so nothing is left out"


def unfed_by(settings: ProvisionOptions, values: Values) -> dict[str, str]:
    """The addresses of what neither the instances nor the systems that are named feed, and why, of what is wanted; and
    of what can have no data within the scope of the values file.

    Without any of them nothing is left out. Raises UserError for a mistake in the options or in the file.
    """
    if settings.tries and settings.instances is None:
        raise OptionError("--try scrapes what --for names: give --for FILE")
    if settings.secrets and not settings.tries:
        raise OptionError("--secret is for --try: without it no secret is needed")
    if not settings.matches and SYSTEM_TAG not in (values.everywhere.scope or ""):
        return {}
    with standing_in(StandIn()) as stand_in:
        # Late: what it is of imports the base package, which has to find the stand-in.
        from ..examine.feeds import unfed, unfed_within_scope
        from ..provision.desired import desired

        reasons = unfed_within_scope(values)
        found = [*_systems(settings.systems), *_instances(settings, stand_in)]
        if settings.matches and None not in found:
            reasons |= unfed([feed for feed in found if feed is not None], values)
        there = {resource.address for resource in desired(settings.packs or None, values)}
        return {address: why for address, why in reasons.items() if address in there}


def show_left_out(left_out: Mapping[str, str], settings: ProvisionOptions, values: Values, *, brief: bool) -> None:
    """Say how many are left out and, unless `brief`, which and why; nothing where nothing was to be."""
    from ..provision.render import left_out_text

    if settings.matches or left_out:
        scope = "" if settings.matches else values.everywhere.scope or ""
        show(left_out_text(left_out, scope, brief=brief, width=terminal_width()), None)


def _systems(names: tuple[str, ...]) -> Iterator[InstanceFeed]:
    from ...catalog.loader import builtin_catalog
    from ..examine.feeds import of_system
    from ..provision.document import suggestion

    known = (*builtin_catalog().systems, GPU)
    for name in names:
        if name not in known:
            raise OptionError(f"--system: there is no serving system `{name}`; {suggestion(name, known)}")
        yield of_system(name)


def _instances(settings: ProvisionOptions, stand_in: StandIn) -> Iterator[InstanceFeed | None]:
    """What each instance feeds, None where that can't be told."""
    from ..examine.feeds import by_catalog, of_trial

    if settings.instances is None:
        return
    if not settings.tries:
        for number, instance in enumerate(written_instances(settings.instances), 1):
            feed = by_catalog(instance, f"{settings.instances}, instance {number}: ")
            if feed is None:
                name = label_of(instance)
                _note(f"instance {number} ({name}) doesn't say its `serving_system`, {NOTHING_LEFT}: name it, or --try")
            yield feed
        return
    configuration = load_configuration(settings.instances, settings.secrets, os.environ)
    configuration, _ = with_profile(configuration, os.environ)
    from ... import ModelServingCheck

    schedule = Schedule(1, 0.0)
    done = run(ModelServingCheck, configuration, stand_in, schedule, as_json=False)
    if done.is_interrupted:
        sys.exit(ExitStatus.FAILED)
    for (number, instance), told in zip(configuration.instances, examined(done, configuration, schedule), strict=True):
        if told.mapped and told.ground is not None:
            yield of_trial(told.ground)
            continue
        feed = by_catalog(instance)
        why = mask(told.error or told.quiet or "nothing of it is mapped", configuration.secrets)
        then = f"{NOTHING_LEFT}: name its `serving_system`" if feed is None else "so it goes by the catalog"
        _note(f"instance {number} ({told.label}) gives nothing, {then}: {why}")
        yield feed


def _note(text: str) -> None:
    click.echo(printable(f"Note: {text}"), err=True)
