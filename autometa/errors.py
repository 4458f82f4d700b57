"""Errors meant for the person at the keyboard: one sentence that says what was wrong and what to do.

The command line prints the message and leaves with `exit_code`; anything else that is raised is a
defect of ours and leaves with 1.
"""

from __future__ import annotations

from autometa.printable import printable_text


class AutometaError(Exception):
    """Base of all errors that a user can cause or put right; its text is printable whatever names it holds."""

    exit_code = 1

    def __str__(self) -> str:
        return printable_text(super().__str__())


class InputError(AutometaError, ValueError):
    """An argument, a configuration or a file of the user cannot be used."""

    exit_code = 2


class DiskError(AutometaError, OSError):
    """A file could not be written or read: disk full, no permission, vanished folder."""

    exit_code = 2


class DivergedError(AutometaError):
    """Training produced too many values that are not finite."""

    exit_code = 3


class Interrupted(AutometaError):
    """The user or the system asked the run to stop; the message says how to go on."""

    exit_code = 130
