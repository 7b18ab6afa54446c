"""Passwords and passphrases that a person is asked for: each once a run, kept in memory alone.

Used by ``shells`` and ``connect``, from several threads. What the command line asked for
(``--ask-pass``, ``--ask-become-pass``) is known before the first host is reached; the passphrase of
a key is asked for when a host needs it. Nothing here ever reaches a command line, a file or a log.
"""

from __future__ import annotations

import contextlib
import contextvars
import getpass
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import msgspec

from swarmops.errors import InputError
from swarmops.fleet.target import Target

Ask = Callable[[str], str]


def ask_person(text: str) -> str:
    """Ask on the terminal, without showing the answer."""
    return getpass.getpass(text)


class Credentials:
    """``paused`` leaves the terminal to a question while something is drawn on it."""

    def __init__(self, ask: Ask | None = None) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._passphrases: dict[str, str | None] = {}
        self.password: str | None = None
        self.become_password: str | None = None
        self.paused: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext

    def ask_password(self) -> None:
        """Ask for the SSH password of all hosts that have none. Raises InputError."""
        self.password = self._asked("SSH password: ", "--ask-pass")

    def ask_become_password(self) -> None:
        """Ask for sudo's password on all hosts that have none. Raises InputError."""
        self.become_password = self._asked("sudo password: ", "--ask-become-pass")

    def complete(self, target: Target) -> Target:
        """Return the target with what was asked for, where the inventory says nothing."""
        return msgspec.structs.replace(
            target,
            password=self.password if target.password is None else target.password,
            become_password=(
                self.become_password if target.become_password is None else target.become_password
            ),
        )

    def passphrase(self, key: str) -> str | None:
        """Return the passphrase of a key file, None where nobody can be asked."""
        with self._lock:
            if key not in self._passphrases:
                self._passphrases[key] = self._try(f"Passphrase of {key}: ")
            return self._passphrases[key]

    def confirmed(self, question: str) -> bool:
        """Ask a yes or no; no where nobody can be asked."""
        with self._lock:
            answer = self._try(f"{question} (yes/no) ")
            return answer is not None and answer.strip().lower() in {"y", "yes"}

    def _try(self, text: str) -> str | None:
        if self._ask is None and not sys.stdin.isatty():
            return None
        with self.paused(), contextlib.suppress(EOFError):  # Ctrl-D: nobody wants to answer
            return (self._ask or ask_person)(text)
        return None

    def _asked(self, text: str, option: str) -> str:
        answer = self._try(text)
        if answer is None:
            raise InputError(f"{option} asks, and nobody is here to answer: leave it out")
        return answer


current: contextvars.ContextVar[Credentials | None] = contextvars.ContextVar(
    "credentials", default=None
)
"""The run's own; set by the command line."""


def of_this_run() -> Credentials:
    """Return the run's credentials, made when first needed."""
    found = current.get()
    if found is None:
        found = Credentials()
        current.set(found)
    return found
