"""``ansible_become``: a command as another user, and how to tell sudo's failures from its own.

Used by ``ssh`` and ``local``. Pure: makes command lines and input, reads results.
"""

from __future__ import annotations

import secrets
import shlex

import msgspec

from swarmops.backends.base import Result
from swarmops.errors import HostError


class Sudo(msgspec.Struct, frozen=True):
    """Wraps a POSIX script. The command says a marker first: without it, sudo refused.

    The password goes to stdin. Whether sudo reads it depends on the host (NOPASSWD), so the script
    skips its input up to the marker, whatever of it sudo has left.
    """

    user: str
    password: str | None = None
    marker: str = msgspec.field(default_factory=lambda: f"swarmops-{secrets.token_hex(8)}")

    def command(self, script: str) -> str:
        """Return the line that runs the script as the user, for the login shell."""
        as_user = f"-u {shlex.quote(self.user)} -- sh -c"
        if self.password is None:
            return f"exec sudo -H -n {as_user} {shlex.quote(f'echo {self.marker} >&2; {script}')}"
        inner = f'while read -r l && [ "$l" != {self.marker} ]; do :; done; {script}'
        sudo = f"sudo -H -S -p '' {as_user}"
        # Tried first where no more than the password can be read: sudo takes three lines for three
        # passwords, and a mistyped one would cost three of the tries after which users are locked.
        tried = f"IFS= read -r p; printf '%s\\n' \"$p\" | {sudo} : || exit"
        run = f"exec {sudo} {shlex.quote(f'echo {self.marker} >&2; {inner}')}"
        return f"exec sh -c {shlex.quote(f'{tried}; {run}')}"

    @property
    def first_input(self) -> bytes:
        """What goes to stdin before the command's own input: the password is tried, then used."""
        if self.password is None:
            return b""
        return f"{self.password}\n{self.password}\n{self.marker}\n".encode()

    def strip(self, result: Result, host: str) -> Result:
        """Return the command's own result. Raises HostError if sudo didn't let it run."""
        before, marker, after = result.stderr.partition(f"{self.marker}\n".encode())
        if marker:
            return Result(result.rc, result.stdout, before + after)
        cure = (
            "check ansible_become_password"
            if self.password is not None
            else "allow it without a password (NOPASSWD) or give ansible_become_password"
        )
        raise HostError(host, f"sudo refused ({result.last_line}): {cure}")
