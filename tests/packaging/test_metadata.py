"""metadata.csv is what the catalog gives."""

import subprocess
import sys

from .conftest import ROOT


def test_metadata_is_up_to_date():
    """`make generate` would change nothing."""
    script = "import sys; from metadata import render; sys.stdout.write(render())"
    command = [sys.executable, "-c", script]
    rendered = subprocess.run(command, cwd=ROOT / "tools", check=True, capture_output=True, encoding="utf-8").stdout
    assert (ROOT / "metadata.csv").read_text(encoding="utf-8") == rendered
