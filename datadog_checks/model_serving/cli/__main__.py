"""`python -m datadog_checks.model_serving.cli` is the command `model-serving`."""

from . import main

main()
