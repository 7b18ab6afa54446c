"""Every error that a user may meet: one sentence with the cause and the cure.

Raised all over; the CLI prints the sentence and exits with ``exit_code``, the API answers with
``status``. This module imports nothing of ours.
"""

from __future__ import annotations


class SwarmopsError(Exception):
    """Base of all errors whose text is meant for a user: no traceback is shown for them."""

    exit_code = 1


class InputError(SwarmopsError):
    """A file, flag or value that the user gave is wrong; says where, and the nearest right one."""


class HostError(SwarmopsError):
    """Something failed on one host; the text begins with the host's name."""

    def __init__(self, host: str, reason: str) -> None:
        super().__init__(f"{host}: {reason}")
        self.host = host
        self.reason = reason


class HostTimeoutError(HostError):
    """A command on a host didn't end in its time."""


class Interrupted(SwarmopsError):  # noqa: N818 - it is no error of the program's
    """Ctrl-C: stopped at a safe point; the text says what was done."""

    exit_code = 130


class ApiError(SwarmopsError):
    """An answer of the Docker Engine API that is not a success.

    ``status`` is the HTTP status, the text Docker's own (clients search for it).
    Raised by the API's handlers to answer so, and by the client when it is answered so.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class CannotApply(SwarmopsError):  # noqa: N818 - named after what happened
    """What is agreed can't be done here, where others may have done it: this manager must stop.

    Raised by the store and known to consensus, which import nothing of each other for it.
    """
