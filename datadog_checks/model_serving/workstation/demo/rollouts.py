"""New versions of models, as the story has them, in the simulated Databricks workspace."""

from __future__ import annotations

from collections.abc import Callable

from .dialects.databricks import Databricks
from .workspace import SimulatedWorkspace
from .world import World


def rollouts(
    workspace: SimulatedWorkspace, world: World, dialect: Databricks, serving: tuple[str, ...]
) -> Callable[[], None]:
    """Return what lets the configuration of an endpoint follow the story: call it when time has passed.

    `serving` are the versions of its models that serve at the start. What a phase names serves when the phase ends.
    """
    name, models = dialect.service.endpoint, dialect.service.models
    pending: tuple[str, ...] | None = None

    def finish() -> None:
        nonlocal serving, pending
        if pending is not None:
            workspace.finish_update(name)
            serving, pending = pending, None

    def follow() -> None:
        nonlocal pending
        at = world.timeline.percent(world.now)
        reached, wanted = zip(*(world.scenario.versions(model, at) for model in models), strict=True)
        if pending != wanted:
            # Whatever is under way: the story has gone on, or begun again.
            finish()
        if pending is None and wanted != serving:
            workspace.begin_update(name, dialect.entities(wanted))
            pending = wanted
        if pending == reached:
            finish()

    return follow
