from .__about__ import __version__
from .check import ModelServingCheck

__all__ = ["ModelServingCheck", "__version__"]
