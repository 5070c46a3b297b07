"""How a command ends when it does not succeed.

CliError
├── Refused      the server said no, or what was asked for failed (1)
├── Unreachable  nobody answered (1)
└── Usage        the command was given something it can't use (2)
"""

from __future__ import annotations


class CliError(Exception):
    """Ends the command with one line on stderr."""

    exit_code = 1


class Refused(CliError):
    """The server said no, or what was asked for failed."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Unreachable(CliError):
    """Nobody answered."""


class Usage(CliError):
    """The command was given something it can't use."""

    exit_code = 2
