"""Version of the model_serving check; the packaging metadata reads it from here."""

__version__ = "0.1.0"
