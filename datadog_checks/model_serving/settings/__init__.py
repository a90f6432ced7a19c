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
from .names import check_option_names, check_option_types, describe
from .problems import Problems
from .reader import read_settings

__all__ = [
    "DatabricksSettings",
    "GpuSettings",
    "ParallelSettings",
    "Problems",
    "ReadinessSettings",
    "ScrapeSettings",
    "Selection",
    "Settings",
    "SeveralSettings",
    "SingleSettings",
    "WorkspaceSettings",
    "check_option_names",
    "check_option_types",
    "describe",
    "read_settings",
    "source_id",
]
