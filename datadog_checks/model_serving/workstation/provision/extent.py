"""What of a stack a plan is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .packs import pack_of
from .state import Found

OTHER_PACK = "no pack that --pack names brings them"
UNROUTED = "no --routing says whether they are wanted"
UNFED = "nothing that --for or --system names feeds them"


@dataclass(frozen=True, slots=True)
class Extent:
    """What of a stack a plan is about: of the rest it says nothing, neither that it is wanted nor that it isn't.

    `packs` are the names of those that were chosen for this once, empty for all, `homes` the names of packs by the
    addresses of what they have, and `unfed` the addresses of what would be wanted without `--for` and `--system`.
    `routed` says whether a routing file tells the notification rules. Downtimes are of no pack: with `packs` those that
    are not wanted may be for monitors of others.
    """

    packs: tuple[str, ...] = ()
    homes: Mapping[str, str] = field(default_factory=dict)
    unfed: tuple[str, ...] = ()
    routed: bool = True

    @classmethod
    def of_json(cls, data: Mapping[str, Any]) -> Extent:
        """From its fields as JSON has them."""
        return cls(tuple(data["packs"]), data["homes"], tuple(data["unfed"]), data["routed"])

    def leaves(self, found: Found) -> str:
        """Why the plan is not about what the account has; empty where it is."""
        if found.kind == "notification_rule":
            return "" if self.routed else UNROUTED
        if self.packs and pack_of(found.kind, found.key, found.body.get("tags") or (), self.homes) not in self.packs:
            return OTHER_PACK
        return UNFED if found.address in self.unfed else ""

    def has(self, found: Found) -> bool:
        """Whether the plan is about what the account has."""
        return not self.leaves(found)
