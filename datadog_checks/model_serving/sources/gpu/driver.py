"""NVML as a service that comes and goes: found, initialised once, lost with the driver, found again.

Function and constant names are those of nvml.h, reached through the module pynvml (package nvidia-ml-py).
"""

from __future__ import annotations

import importlib
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...errors import DriverError, InternalSignal

AGENT = "/opt/datadog-agent/embedded"
"""Where an Agent's Python is, but on Windows."""

LOST = ("GpuIsLost", "GpuNotFound", "ResetRequired")
"""Errors after which one GPU is gone and the others go on."""

GONE = ("Uninitialized", "DriverNotLoaded", "LibRmVersionMismatch", "LibraryNotFound")
"""Errors after which NVML as a whole has to be initialised again: no driver, or another one than before."""

LACKING = (
    "NotSupported",
    "FunctionNotFound",
    "InvalidArgument",
    "NoPermission",
    "ArgumentVersionMismatch",
    "Deprecated",
    "VgpuEccNotSupported",
    "NVMLLibraryMismatchError",
)
"""Errors that say that this card, driver or user doesn't have this reading, now and later.

The last one is no error of NVML: nvidia-ml-py raises it where the driver is older than the function.
"""

DRIVER_FILES = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg")
"""One of these exists where a driver for NVIDIA GPUs is loaded, in containers and WSL too."""


class DeviceLost(InternalSignal):
    """A GPU doesn't answer any more: it fell off the bus, or needs a reset."""


class DriverLost(InternalSignal):
    """NVML has to be initialised again."""


class Unsupported(InternalSignal):
    """This GPU, driver or user can't read this."""


class Unreadable(InternalSignal):
    """A reading failed this time; the next one may succeed."""


class Driver:
    """One use of NVML. `calls` counts the calls into the library since it was opened."""

    def __init__(self) -> None:
        self.library: Any = None
        self.version = ""
        self.calls = 0

    @property
    def is_open(self) -> bool:
        return self.library is not None

    def open(self) -> None:
        """Load the library and initialise NVML, unless that was done.

        Raises DriverError with what is missing and how to get it.
        """
        if self.library is not None:
            return
        try:
            library = importlib.import_module("pynvml")
        except ImportError:
            raise DriverError(
                f"the Python package nvidia-ml-py (module pynvml) is not installed for {_how_to_install()}",
                absent=not any(Path(path).exists() for path in DRIVER_FILES),
            ) from None
        try:
            library.nvmlInit()
        except library.NVMLError as error:
            raise DriverError(*_why_closed(kind_of(error), error)) from None
        self.library = library
        self.calls = 1
        self.version = self._text("nvmlSystemGetDriverVersion")

    def close(self) -> None:
        """Leave NVML, whatever state it is in."""
        library, self.library = self.library, None
        if library is not None:
            with suppress(library.NVMLError):
                library.nvmlShutdown()

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function of NVML.

        Raises Unsupported, DeviceLost, DriverLost or Unreadable instead of NVML's many errors.
        """
        library = self.library
        if library is None:
            raise DriverLost("NVML is closed")
        function = getattr(library, name, None)
        if function is None:
            raise Unsupported(f"{name} is not in this version of nvidia-ml-py")
        mismatch = getattr(library, "NVMLLibraryMismatchError", library.NVMLError)
        self.calls += 1
        try:
            return function(*arguments)
        except (library.NVMLError, mismatch) as error:
            raise self.translated(error, name) from None

    def translated(self, error: Exception, name: str) -> Exception:
        """What an error of NVML means for the caller of `name`."""
        kind = kind_of(error)
        text = f"{name}: {error}"
        if kind in LACKING:
            return Unsupported(text)
        if kind in LOST:
            return DeviceLost(text)
        if kind in GONE:
            return DriverLost(text)
        return Unreadable(text)

    def constant(self, name: str) -> Any:
        """A constant of nvml.h, or None where this version of nvidia-ml-py lacks it."""
        return getattr(self.library, name, None)

    def text(self, name: str, *arguments: Any) -> str:
        """The answer of a function that gives a text; older versions of the module give bytes."""
        value = self.call(name, *arguments)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

    def _text(self, name: str) -> str:
        try:
            return self.text(name)
        except (Unsupported, Unreadable, DeviceLost, DriverLost):
            return ""


def kind_of(error: Exception) -> str:
    """The name of an NVML error without its prefix, such as `NotSupported`."""
    return type(error).__name__.removeprefix("NVMLError_")


def _how_to_install() -> str:
    """Which Python lacks the package, and how to give it to that one."""
    if Path(sys.prefix) == Path(AGENT):
        return f"the Agent: run `sudo -u dd-agent {AGENT}/bin/pip install nvidia-ml-py` and restart the Agent"
    return f"this Python: run `{sys.executable} -m pip install nvidia-ml-py`"


def _why_closed(kind: str, error: Exception) -> tuple[str, bool]:
    if kind == "LibraryNotFound":
        return (
            "libnvidia-ml.so.1 is not on this host: install the NVIDIA driver, or in a container give it the GPUs "
            "(NVIDIA container toolkit, NVIDIA_DRIVER_CAPABILITIES including `utility`)",
            True,
        )
    if kind == "DriverNotLoaded":
        return "the NVIDIA kernel driver is not loaded: `modprobe nvidia`, or see `nvidia-smi`", True
    if kind == "LibRmVersionMismatch":
        return (
            "the NVIDIA driver was upgraded while the old one is still loaded: reboot, or reload the kernel module; if "
            "`nvidia-smi` works again, it is the Agent that holds the old library: restart it",
            False,
        )
    if kind == "NoPermission":
        return "the Agent's user may not open /dev/nvidia*: give it the rights, or the group that has them", False
    return f"NVML can't be initialised: {error}", False
