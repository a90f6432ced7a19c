"""Options by name, with the types and the defaults that the specification gives them."""

from __future__ import annotations

from typing import Any

from ..config_models import defaults
from ..config_models.instance import InstanceConfig


class Options:
    """The options of an instance, as the generated model has validated them: lists are tuples.

    `options[name]` is what the instance says, else the default of the specification, else None.
    """

    def __init__(self, model: InstanceConfig) -> None:
        self._model = model

    def __getitem__(self, name: str) -> Any:
        value = getattr(self._model, name)
        return getattr(defaults, f"instance_{name}", lambda: None)() if value is None else value

    def given(self, name: str) -> Any:
        """What the instance itself says, None where it says nothing."""
        return getattr(self._model, name) if name in self._model.model_fields_set else None

    # These are read for more than one kind of source.

    @property
    def endpoint_name(self) -> str:
        """The name, empty where none is given."""
        return self["endpoint_name"] or ""

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of everything that the instance sends."""
        return self["tags"] or ()

    @property
    def systems(self) -> tuple[str, ...]:
        """The serving systems that are named, `auto` among them."""
        value = self["serving_system"] or ()
        return (value,) if isinstance(value, str) else value

    @property
    def url(self) -> str:
        """The URL of one endpoint, empty where none is given."""
        return self["openmetrics_endpoint"] or ""

    @property
    def several(self) -> tuple[str, ...] | None:
        """The URLs of several endpoints."""
        return self["openmetrics_endpoints"]  # type: ignore[no-any-return]

    @property
    def urls(self) -> tuple[str, ...]:
        """The URLs of one endpoint or of several."""
        return (self.url,) if self.url else self.several or ()

    @property
    def workspace(self) -> str | None:
        """The Databricks workspace, as it is given."""
        return self["databricks_host"]  # type: ignore[no-any-return]
