"""What can go wrong while provisioning, each with a message for the person who runs it."""

from __future__ import annotations


class ProvisionError(Exception):
    """A file, an option or an account that provisioning can't go on with: what, where and what to do."""


class ApiError(ProvisionError):
    """A call that didn't succeed. `words` is what the API said, without secrets; `status` its HTTP status, or None
    where no whole answer came."""

    def __init__(self, words: str, status: int | None = None) -> None:
        super().__init__(words if status is None else f"{status}: {words}")
        self.words = words
        self.status = status


class Refused(ApiError):
    """The API said no: nothing was done."""


class Unsure(ApiError):
    """No answer, half of one, or an error of the server: the call may have been carried out or not."""


class Stopped(ProvisionError):
    """The user stopped the run while a call was waiting for its turn."""
