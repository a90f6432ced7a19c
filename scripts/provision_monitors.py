"""Have Datadog watch what the check sends: `model-serving provision`, from a checkout, under a name easily found.

python scripts/provision_monitors.py plan --offline
python scripts/provision_monitors.py apply --values values.yaml --routing routing.yaml

It needs what `pip install '.[cli]'` brings. `python -m datadog_checks.model_serving provision` is the same command.
"""

import sys
from pathlib import Path

# This checkout, whatever else is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datadog_checks.model_serving.workstation.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "provision")
    main()
