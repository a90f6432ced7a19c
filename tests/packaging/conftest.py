"""A Python like the Agent's, with datadog-checks-base but without this source tree, and an endpoint for it to read."""

import json
import shutil
import subprocess
import sys
import threading
import venv
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import datadog_checks.base
import pytest

ROOT = Path(__file__).resolve().parents[2]
LOADER = Path(__file__).with_name("agent_loader.py")
PAYLOAD = b"""\
# HELP DCGM_FI_DEV_GPU_TEMP GPU temperature (in C).
# TYPE DCGM_FI_DEV_GPU_TEMP gauge
DCGM_FI_DEV_GPU_TEMP{gpu="0",UUID="GPU-00000000-0000-0000-0000-000000000001",modelName="NVIDIA L4"} 41
# HELP DCGM_FI_DEV_FB_USED Framebuffer memory used (in MiB).
# TYPE DCGM_FI_DEV_FB_USED gauge
DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-00000000-0000-0000-0000-000000000001",modelName="NVIDIA L4"} 512
"""


class Agent:
    """A virtual environment with the base package copied in: what is installed lies beside it, as in the Agent."""

    def __init__(self, folder):
        venv.create(folder, with_pip=False)
        self.python = folder / "bin" / "python"
        script = "import sysconfig; print(sysconfig.get_path('purelib'))"
        found = subprocess.run([self.python, "-c", script], check=True, capture_output=True, encoding="utf-8")
        self.site_packages = Path(found.stdout.strip())
        self._add_base_package()

    def _add_base_package(self):
        base = Path(datadog_checks.base.__file__).parent
        installed = base.parents[1]
        target = self.site_packages / "datadog_checks"
        shutil.copytree(base, target / "base", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copyfile(base.parent / "__init__.py", target / "__init__.py")
        # What the base package imports is read where it is. A path in a .pth file is not searched for further .pth
        # files, so an editable install of this source tree stays out of sight.
        (self.site_packages / "dependencies.pth").write_text(f"{installed}\n", encoding="utf-8")

    def install(self, wheel):
        """Install a wheel as `datadog-agent integration install -w` does."""
        pip = [sys.executable, "-m", "pip", "--python", self.python, "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", "--no-index", "--no-deps", wheel], check=True)

    def run_check(self, instance, checks_d=None):
        """Load and run the check in this environment; return what `agent_loader.py` printed."""
        job = {"instance": instance, "checks_d": str(checks_d) if checks_d else None}
        # -I: neither the working directory nor PYTHONPATH may lend the source tree.
        command = [self.python, "-I", LOADER, json.dumps(job)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def agent(tmp_path):
    return Agent(tmp_path / "agent")


@pytest.fixture
def metrics_url():
    """The URL of a real endpoint that serves one GPU in the words of the DCGM exporter."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(PAYLOAD)))
            self.end_headers()
            self.wfile.write(PAYLOAD)

        def log_message(self, format, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/metrics"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def assert_gpu_was_read():
    """Assert that a result of `run_check` holds what the endpoint serves, under the common vocabulary."""

    def check(result):
        assert result["error"] is None
        values = {metric["name"]: metric["value"] for metric in result["metrics"]}
        assert values["model_serving.gpu.temperature"] == 41
        assert values["model_serving.gpu.memory.used"] == 512 * 1024**2
        [tags] = [metric["tags"] for metric in result["metrics"] if metric["name"] == "model_serving.gpu.temperature"]
        assert {"serving_system:dcgm", "gpu:0", "gpu_model:NVIDIA L4"} <= set(tags)
        assert result["service_checks"]["model_serving.openmetrics.health"] == [0]

    return check


@pytest.fixture
def assert_workstation_stayed_out():
    """Assert that nothing of the workstation side was imported until a result of `run_check` was there."""

    def check(result):
        rooms = {name.split(".")[2] for name in result["modules"]}
        assert {"check", "scrape", "submit"} <= rooms
        assert "workstation" not in rooms

    return check
