"""What an XID code means and what to do about it, and the event that says so, whoever reports the code."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

NOT_SPECIFIC = {
    "meaning": "an error without a description of its own",
    "action": "look the code up in NVIDIA's catalog",
}


@lru_cache(maxsize=1)
def codes() -> dict[int, dict[str, str]]:
    """Meaning of the well-known XID codes and what an operator does, from xid.yaml."""
    known: dict[int, dict[str, str]] = yaml.safe_load(Path(__file__).with_name("xid.yaml").read_text(encoding="utf-8"))
    return known


def explain(code: int) -> tuple[str, str]:
    """What an XID code means, and what to do about it."""
    entry = codes().get(code, NOT_SPECIFIC)
    return entry["meaning"], entry["action"]


def xid_event(code: int, gpu: str, device: str, host: str, tags: Iterable[str], when: float) -> dict[str, Any]:
    """The Datadog event for one XID. `gpu` is the index, `device` the UUID where known, `when` epoch seconds."""
    meaning, action = explain(code)
    return {
        "timestamp": int(when),
        "event_type": "gpu_xid",
        "source_type_name": "model_serving",
        "msg_title": f"GPU {gpu}: XID {code}",
        "msg_text": (
            f"The NVIDIA driver reports XID {code} on GPU {device}: {meaning}. What to do: {action}. The driver's own "
            "lines are in the kernel log (`dmesg | grep -i xid`); NVIDIA's catalog is at "
            "https://docs.nvidia.com/deploy/xid-errors/."
        ),
        "alert_type": "error",
        "priority": "normal",
        "aggregation_key": f"gpu-xid-{device}",
        "host": host,
        "tags": list(tags),
    }
