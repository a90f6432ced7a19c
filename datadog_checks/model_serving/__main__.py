"""`python -m datadog_checks.model_serving` is the command `model-serving`."""

import sys
from importlib.util import find_spec

if find_spec(f"{__package__}.workstation") is None:
    sys.stderr.write(
        "This copy of model_serving is the drop-in for an Agent, which leaves the command model-serving out. On a "
        "workstation install the whole package: `pip install '.[cli]'` in a checkout.\n"
    )
    sys.exit(1)

from .workstation.cli import main

main()
