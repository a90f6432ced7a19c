"""Starting real servers on loopback ports, waiting for them, and stopping them by process id."""

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

STOP_SECONDS = 15
REPLY_SECONDS = 30


def fetch(url: str, body: bytes | None = None) -> tuple[int, str]:
    """Status and text of a GET, or of a POST where there is a body; status 0 where nothing answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=REPLY_SECONDS) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode(errors="replace")
    except OSError:
        return 0, ""


def wait_until(holds: Callable[[], bool], what: str, seconds: float, explain: Callable[[], str] = lambda: "") -> None:
    """Polls `holds` until it is true; raises TimeoutError naming `what`, with `explain()`, after `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s. {explain()}".strip())
        time.sleep(0.1)


@contextmanager
def running(
    command: list[str], *, cwd: Path, env: dict[str, str] | None = None, pipes: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """Runs `command` in a process group of its own and stops the whole group at the end, also after a failure.

    With `pipes` the caller talks to standard input and output; otherwise both outputs go to `cwd`/server.log, which
    `log_tail` shows.
    """
    with (cwd / "server.log").open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
            stdout=subprocess.PIPE if pipes else log,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            stop_group(process)


def stop_group(process: subprocess.Popen[str]) -> None:
    """Ends the process group that `process` leads: politely, then after `STOP_SECONDS` for good."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=STOP_SECONDS)
    for stream in (process.stdin, process.stdout):
        if stream:
            with suppress(BrokenPipeError):
                stream.close()


def wait_for_start(
    process: subprocess.Popen[str], answers: Callable[[], bool], what: str, seconds: float, cwd: Path
) -> None:
    """Waits until a server that was started in `cwd` answers. Raises TimeoutError, or RuntimeError where it has ended,
    with the end of what it wrote."""
    wait_until(
        lambda: process.poll() is not None or answers(), f"{what} becoming ready", seconds, lambda: log_tail(cwd)
    )
    if process.poll() is not None:
        raise RuntimeError(f"{what} ended with {process.returncode}. {log_tail(cwd)}")


def log_tail(cwd: Path, lines: int = 25) -> str:
    """The end of what a server started in `cwd` wrote."""
    text = (cwd / "server.log").read_text(encoding="utf-8", errors="replace")
    return "The server's log ends with:\n" + "\n".join(text.splitlines()[-lines:])
