"""The fake NVML as a shared library, which pynvml calls over ctypes exactly as it calls the driver's."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("nvml.c")
FILE = "libnvidia-ml.so.1"


class Unavailable(Exception):
    """The library can't be had here, and why."""


def build(folder: Path) -> Path:
    """Compile the library into a folder. Raises Unavailable where there is no C compiler."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise Unavailable("no C compiler (cc) to build the fake NVML with")
    path = folder / FILE
    options = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-fPIC", "-fvisibility=hidden", "-shared"]
    command = [compiler, *options, f"-Wl,-soname,{FILE}", "-o", str(path), str(SOURCE), "-lpthread"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if done.returncode != 0:
        raise Unavailable(f"the fake NVML does not compile:\n{done.stderr}")
    return path


class Library:
    """The library, loaded so that a later `CDLL("libnvidia-ml.so.1")` in this process finds it."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
        self._library.fake_nvml_control.argtypes = [ctypes.c_char_p]
        self._library.fake_nvml_calls.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
        self._library.fake_nvml_calls.restype = ctypes.c_ulong
        self._library.fake_nvml_held.argtypes = [ctypes.c_int]

    def control(self, text: str) -> None:
        """Carry out commands, one per line. Raises ValueError with the line that is wrong."""
        bad = self._library.fake_nvml_control(text.encode())
        if bad:
            raise ValueError(f"not a command of the fake NVML: {text.splitlines()[bad - 1]!r}")

    def calls(self, function: str | None = None, device: str | None = None) -> int:
        """Calls since the last reset: of a function of the library or of all, for a device (`0`, `0/1`) or for any."""
        count = self._library.fake_nvml_calls(device and device.encode(), function and function.encode())
        return int(count)

    def settled(self) -> bool:
        """Whether every event was taken, and its taker came back for more."""
        return bool(self._library.fake_nvml_settled())

    def event_sets(self) -> int:
        """Event sets that were not given back, before NVML was left at the latest."""
        return int(self._library.fake_nvml_held(0))

    def initialised(self) -> int:
        """How many times NVML is initialised and not yet shut down."""
        return int(self._library.fake_nvml_held(1))

    def registered_twice(self) -> int:
        """GPUs that were registered with an event set that had them already."""
        return int(self._library.fake_nvml_held(2))
