"""The errors that reach a user: one or two lines, the remedy, the exit code."""

from __future__ import annotations


class TwinError(Exception):
    """The work failed. `message` says what happened, `remedy` what to do about it."""

    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  remedy: {self.remedy}" if self.remedy else self.message


class BadInput(TwinError):
    """What the user gave can't be used: nothing was started, nothing was changed."""

    exit_code = 2


class NotConverged(TwinError):
    """A solver did not reach its tolerance. Its last iterate is not a result."""


class Missing(BadInput):
    """A stage was asked for before the one that feeds it has run."""
