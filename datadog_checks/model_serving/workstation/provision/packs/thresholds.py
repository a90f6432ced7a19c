"""The thresholds of a monitor of metrics, from its pack and from the user's values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from .queries import number_text

if TYPE_CHECKING:
    from ..values import Values
    from . import MonitorEntry

BESIDE_CRITICAL = ("warning", "critical_recovery", "warning_recovery")


def settle_thresholds(entry: MonitorEntry, values: Values, operator: str, default: float) -> dict[str, float]:
    """The thresholds in force. Those that the user does not give keep their proportion to the critical one, unless
    they would contradict one that the user gives."""
    found_values, path = values.own(entry, "thresholds")
    said: Mapping[str, float | None] = found_values or {}
    if "ok" in said:
        raise values.fail(f"{path}.ok", "is for service checks; write `critical_recovery`")
    given = {name: value for name, value in said.items() if value is not None}
    _within_bounds(entry, values, given, path)
    found = {"critical": default, **given}
    sign = 1 if operator.startswith(">") else -1
    for name, beyond in misplaced(found, sign):
        side, verb = ("below", "above") if sign > 0 else ("above", "below")
        raise values.fail(
            f"{path}.{name}",
            f"{number_text(found[name])} is not {side} {beyond}, which is {number_text(found[beyond])}: this monitor "
            f"alerts {verb} its threshold, so write a number {side} it",
        )
    scale = found["critical"] / default if default and found["critical"] != default else 1
    for name in BESIDE_CRITICAL:
        if name in entry.thresholds and name not in said:
            exact = float(entry.thresholds[name] * scale)
            # Three digits are what a person would write; more only where these would be another side.
            for number in (exact,) if scale == 1 else (float(f"{exact:.3g}"), float(f"{exact:.6g}")):
                tried = {**found, name: number}
                if not any(misplaced(tried, sign)) and not _outlasts(tried, sign):
                    found = tried
                    break
    if "warning_recovery" in found and "warning" not in found:
        if "warning_recovery" in given:
            raise values.fail(f"{path}.warning_recovery", "needs a `warning` to recover from")
        del found["warning_recovery"]
    return found


def misplaced(found: Mapping[str, float], sign: int) -> Iterator[tuple[str, str]]:
    """Pairs of which the first has to be reached before the second on the way to the alert, and is not."""
    for name, beyond in (("warning", "critical"), ("critical_recovery", "critical"), ("warning_recovery", "warning")):
        if name in found and beyond in found and (found[beyond] - found[name]) * sign <= 0:
            yield name, beyond


def _outlasts(found: Mapping[str, float], sign: int) -> bool:
    """Whether the alert would go on below the warning."""
    both = "critical_recovery" in found and "warning" in found
    return both and (found["critical_recovery"] - found["warning"]) * sign < 0


def _within_bounds(entry: MonitorEntry, values: Values, said: Mapping[str, float], path: str) -> None:
    if entry.bounds is None:
        return
    low, high = entry.bounds
    for name, value in said.items():
        if not low <= value <= high:
            raise values.fail(
                f"{path}.{name}",
                f"{number_text(value)} can never be reached: {entry.subject} is from {number_text(low)} to "
                f"{number_text(high)} {entry.unit}".rstrip(),
            )
