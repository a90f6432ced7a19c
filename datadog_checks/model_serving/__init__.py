"""The check `model_serving`. Importing this loads nothing; its class is loaded when somebody asks for it.

The Agent asks at once: it goes through `dir()` of this module. The command `model-serving` may never.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from .__about__ import __version__

if TYPE_CHECKING:
    from .check import ModelServingCheck

__all__ = ["ModelServingCheck", "__version__"]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name != "ModelServingCheck":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from .check import ModelServingCheck
    except Exception:
        # The Agent takes an attribute that raises for none, and reports no more than that there is no such check.
        logging.getLogger(__name__).exception("The check model_serving could not be loaded")
        raise
    globals()[name] = ModelServingCheck
    return ModelServingCheck
