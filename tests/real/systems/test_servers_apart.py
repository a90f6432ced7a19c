"""Real servers that open ports to everyone, in a network of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..servers.environments import ROOT, Unavailable
from ..servers.recipe import CHOICE, INSIDE, apart, recipe

pytestmark = pytest.mark.real

SECONDS = 600


@pytest.mark.parametrize("name", apart())
def test_in_a_network_of_its_own(name: str) -> None:
    """The tests of test_servers.py, for a server that opens ports to everyone, where nobody can reach them."""
    try:
        recipe(name).environment()
    except Unavailable as reason:
        pytest.skip(str(reason))
    # What is started in there ends with it.
    alone = ["unshare", "--net", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]
    try:
        subprocess.run([*alone, "ip", "link", "set", "lo", "up"], check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"{name} opens ports on every interface, and a network of its own is not permitted here: {error}")
    tests = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n0",
        "-rs",
        "--tb=short",
        "-p",
        "no:cacheprovider",
        str(Path(__file__).parent),
    ]
    done = subprocess.run(
        [*alone, "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *tests],
        cwd=ROOT,
        env={**os.environ, CHOICE: name, INSIDE: name},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout, done.stdout[-2000:]
