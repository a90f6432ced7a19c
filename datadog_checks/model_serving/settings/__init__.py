"""What an instance says, checked before its first run: the one reader of options, and the typed values it gives."""

from __future__ import annotations

from .identity import source_id
from .model import (
    DatabricksSettings,
    GpuSettings,
    ParallelSettings,
    ReadinessSettings,
    ScrapeSettings,
    Selection,
    Settings,
    SeveralSettings,
    SingleSettings,
    WorkspaceSettings,
)
from .names import check_option_names, describe, one_line
from .reader import read_settings

__all__ = [
    "DatabricksSettings",
    "GpuSettings",
    "ParallelSettings",
    "ReadinessSettings",
    "ScrapeSettings",
    "Selection",
    "Settings",
    "SeveralSettings",
    "SingleSettings",
    "WorkspaceSettings",
    "check_option_names",
    "describe",
    "one_line",
    "read_settings",
    "source_id",
]
