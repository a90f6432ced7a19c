"""Which operation a method and a path mean, by the operation ids of the published description."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from .account import Account, Request

Work = Callable[[Account, Request], Any]
AnyWork = TypeVar("AnyWork", bound=Work)


@dataclass(frozen=True, slots=True)
class Operation:
    """`permission` is what the call needs, None where any user may make it. `body` is the model of the request.
    `keys` says whether the application key is needed too."""

    name: str
    method: str
    path: re.Pattern[str]
    permission: str | None
    body: str | None
    keys: bool
    work: Work


OPERATIONS: list[Operation] = []


def operation(
    method: str, path: str, name: str, permission: str | None, body: str | None = None, keys: bool = True
) -> Callable[[AnyWork], AnyWork]:
    """Make a function the work of an operation. Paths without variables go before those with."""
    pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path) + "/?")

    def keep(work: AnyWork) -> AnyWork:
        OPERATIONS.append(Operation(name, method, pattern, permission, body, keys, work))
        OPERATIONS.sort(key=lambda one: one.path.groups)
        return work

    return keep


def find(method: str, path: str) -> tuple[Operation, dict[str, str]] | bool:
    """The operation and the variables of the path; True where the path exists with another method, else False."""
    known = False
    for one in OPERATIONS:
        if match := one.path.fullmatch(path):
            if one.method == method:
                return one, match.groupdict()
            known = True
    return known
