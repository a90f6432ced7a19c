"""Install with the pip of the Python that runs this, and say how far it is: `python tools/install.py [pip's options]`.

A terminal gets one line that is written over. Everything else, such as the log of a CI system, gets a line when
something new begins. What pip says is shown where it fails.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

# pip's words for a package that it has, or that it gets.
FOUND = ("Collecting ", "Processing ", "Obtaining ", "Requirement already satisfied: ")
UNPACKING = "Installing collected packages"
# Lines of pip that are kept for the case that it fails.
KEPT = 30
# From so many packages on it takes long enough to say so.
MANY = 10


class Progress:
    """What is printed while pip runs."""

    def __init__(self, arguments: list[str]) -> None:
        self.packages, self.what = 1, "this checkout" if arguments[-1] == "." else arguments[-1]
        if "-r" in arguments:
            lock = Path(arguments[arguments.index("-r") + 1])
            self.packages = len(re.findall(r"^\S+==", lock.read_text(encoding="utf-8"), re.MULTILINE))
            self.what = f"{self.packages} packages of {lock}"
        self.began = time.monotonic()
        self.found = 0
        self.unpacking = False
        self.terminal = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.columns = shutil.get_terminal_size().columns
        self._say(f"installing {self.what}{', which takes a minute or two' if self.packages >= MANY else ''}")

    @property
    def seconds(self) -> str:
        """How long it has taken so far."""
        return f"{time.monotonic() - self.began:.0f} s"

    def read(self, line: str) -> None:
        """Take a line of pip."""
        self.found += line.startswith(FOUND)
        if line.startswith(UNPACKING):
            self.unpacking = True
            if not self.terminal and self.packages > 1:
                self._say(f"unpacking {self.what}, after {self.seconds}")

    def draw(self) -> None:
        """Write over the line of a terminal."""
        if self.terminal:
            state = "unpacking" if self.unpacking else f"{self.found} found"
            text = f"installing {self.what}: {state}, {self.seconds}"
            sys.stderr.write(f"\r{text[: self.columns - 1]:<{self.columns - 1}}")
            sys.stderr.flush()

    def end(self, text: str) -> None:
        """Say how it ended."""
        if self.terminal:
            sys.stderr.write(f"\r{'':<{self.columns - 1}}\r")
        self._say(text)

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def install(arguments: list[str]) -> int:
    """Run pip and return its exit status."""
    progress = Progress(arguments)
    options = ["--disable-pip-version-check", "--no-color", "install", "--progress-bar", "off"]
    pip = subprocess.Popen(
        [sys.executable, "-m", "pip", *options, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"},
    )
    lines: SimpleQueue[str] = SimpleQueue()
    reader = Thread(target=_read, args=(pip, lines))
    reader.start()
    said: deque[str] = deque(maxlen=KEPT)
    while True:
        try:
            line = lines.get(timeout=1)
        except Empty:
            line = None
        if line == "":
            break
        if line is not None and not line.startswith("WARNING: "):
            said.append(line)
            progress.read(line)
        progress.draw()
    reader.join()
    status = pip.wait()
    if status:
        progress.end(f"pip failed with status {status}. Its last lines:\n{''.join(said).rstrip()}")
    else:
        progress.end(f"installed {progress.what} in {progress.seconds}")
    return status


def _read(pip: subprocess.Popen[str], lines: SimpleQueue[str]) -> None:
    """Hand on the lines of pip, and an empty one at their end."""
    assert pip.stdout is not None
    for line in pip.stdout:
        lines.put(line)
    lines.put("")


if __name__ == "__main__":
    try:
        sys.exit(install(sys.argv[1:]))
    except KeyboardInterrupt:
        # pip, in the same foreground group, has been interrupted as well.
        sys.exit("\ninterrupted; run it again to begin anew")
