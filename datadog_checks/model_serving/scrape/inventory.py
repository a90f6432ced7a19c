"""What has become of each family of a payload, for a person who asks: nothing of this runs with an ordinary scrape."""

from __future__ import annotations

from dataclasses import dataclass

MAPPED, NAMED, UNKNOWN, UNPROVEN, AMBIGUOUS, IGNORED, WRONG_TYPE, REFUSED, EXCLUDED, UNUSED = (
    *("mapped", "named", "unknown", "unproven", "ambiguous", "ignored", "wrong_type", "refused", "excluded", "unused"),
)
"""What becomes of a family: it is mapped by the catalog; named by the instance alone; nobody knows it; a system that is
not sure to be there has it; several systems do; the catalog leaves it out; it comes in a shape that it can't have; all
its samples are refused; an option leaves it out; it is known, but none of its series is meant."""


@dataclass(frozen=True, slots=True)
class FamilyState:
    """One family: its state, what it is sent as without the namespace, how many series it has.

    `refused` are (reason, samples) of the last scrape, `why` says what the state alone does not.
    """

    name: str
    state: str
    metrics: tuple[str, ...] = ()
    series: int = 0
    refused: tuple[tuple[str, int], ...] = ()
    why: str = ""
