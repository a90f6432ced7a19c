"""Time series of the past for a real Prometheus: written as text, and put into its storage by promtool."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..ports import free_ports
from .servers.environments import Unavailable, prometheus_binary
from .servers.processes import fetch, log_tail, running, wait_until

STEP = 180
"""Seconds between samples."""

START_SECONDS = 120
Value = Callable[[float], float | None]
"""The value of a series so many hours ago, None where there is no sample."""


@dataclass
class History:
    """Series by name and labels, over the hours before `end`, in epoch seconds."""

    end: int
    hours: int
    series: dict[str, list[tuple[dict[str, str], Value]]] = field(default_factory=dict)

    def add(self, name: str, value: Value | float, **labels: str) -> None:
        """A series, by a function of the hours ago or with the same value all along."""
        known = value if callable(value) else (lambda _, number=float(value): number)
        self.series.setdefault(name, []).append((labels, known))

    def text(self) -> Iterator[str]:
        """The history in OpenMetrics."""
        start = self.end - self.hours * 3600
        for name, some in self.series.items():
            yield f"# TYPE {name} unknown\n"
            for labels, value in some:
                shown = ",".join(f'{label}="{text}"' for label, text in labels.items())
                for moment in range(start, self.end + 1, STEP):
                    number = value((self.end - moment) / 3600)
                    if number is not None:
                        yield f"{name}{{{shown}}} {number:g} {moment}\n"
        yield "# EOF\n"


@contextmanager
def prometheus_with(history: History, folder: Path) -> Iterator[str]:
    """The URL of a Prometheus that has this history and scrapes nothing; raises Unavailable where it can't be had."""
    binary = prometheus_binary()
    promtool = shutil.which("promtool") or str(binary.with_name("promtool"))
    if not Path(promtool).is_file():
        raise Unavailable(f"There is a prometheus, but no promtool beside it or on PATH: {promtool}")
    with (folder / "history.txt").open("w", encoding="utf-8") as file:
        file.writelines(history.text())
    command = [promtool, "tsdb", "create-blocks-from", "openmetrics", "history.txt", "data"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=START_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    (folder / "prometheus.yml").write_text("{}\n", encoding="utf-8")
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    arguments = [str(binary), "--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{port}"]
    with running([*arguments, "--storage.tsdb.path=data"], cwd=folder) as process:
        wait_until(
            lambda: process.poll() is not None or fetch(f"{url}/-/ready")[0] == 200,
            "Prometheus becoming ready",
            START_SECONDS,
            lambda: log_tail(folder),
        )
        if process.poll() is not None:
            raise RuntimeError(f"Prometheus ended with {process.returncode}. {log_tail(folder)}")
        yield url
