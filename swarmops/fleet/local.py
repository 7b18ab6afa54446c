"""``ansible_connection: local``: the same hands on this machine, without SSH.

Opened by ``shells``. The interpreter is the one that runs now, so the node runs the operator's own
packages.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Sequence
from typing import IO, cast

from swarmops.backends import hostside, upload
from swarmops.backends.base import HostSocket, Result
from swarmops.errors import HostError, HostTimeoutError
from swarmops.fleet.sudo import Sudo
from swarmops.fleet.target import Target


class LocalShell:
    """See ``backends.base.Shell``."""

    def __init__(self, target: Target) -> None:
        self._target = target

    @property
    def host(self) -> str:
        """See ``Shell.host``."""
        return self._target.name

    @property
    def interpreter(self) -> str | None:
        """See ``Shell.interpreter``."""
        return self._target.python_interpreter or sys.executable

    def run(
        self,
        command: str | Sequence[str],
        *,
        stdin: bytes | Iterable[bytes] = b"",
        timeout_s: float = 60.0,
    ) -> Result:
        """See ``Shell.run``."""
        script = command if isinstance(command, str) else f"exec {shlex.join(command)}"
        content = stdin if isinstance(stdin, bytes) else b"".join(stdin)
        if (sudo := self._sudo()) is not None:
            script, content = sudo.command(script), sudo.first_input + content
        process = subprocess.Popen(
            ["sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches the operator's program only
        )
        try:
            out, err = process.communicate(content, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise HostTimeoutError(
                self.host, f"a command didn't finish within {timeout_s:g} s: {script[:80]}"
            ) from None
        finally:
            if process.poll() is None:
                _end(process)
        result = Result(process.returncode, out, err)
        return sudo.strip(result, self.host) if sudo else result

    def _sudo(self) -> Sudo | None:
        if not self._target.become or os.geteuid() == 0:
            return None
        return Sudo(self._target.become_user, self._target.become_password)

    def put(self, content: bytes, path: str, mode: int = 0o644) -> None:
        """See ``Shell.put``."""
        upload.put(self, content, path, mode)

    def open_socket(self, path: str, timeout_s: float = 10.0) -> HostSocket:
        """See ``Shell.open_socket``: through sudo where that is who may."""
        if (sudo := self._sudo()) is not None:
            return self._through(sudo, path, timeout_s)
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(timeout_s)
        try:
            sock.connect(path)
        except OSError as error:
            sock.close()
            reason = error.strerror or str(error)
            raise HostError(
                self.host, f"nothing serves {path} ({reason}): is the runtime started?"
            ) from error
        sock.settimeout(None)
        return cast("HostSocket", sock)  # its makefile has overloads that no protocol matches

    def _through(self, sudo: Sudo, path: str, timeout_s: float) -> HostSocket:
        """Return a socket whose other end is root's program that reaches the node's."""
        near, far = socket.socketpair()
        near.settimeout(timeout_s)
        with far, tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                ["sh", "-c", sudo.command(hostside.command(self.interpreter))],
                stdin=far.fileno(),
                stdout=far.fileno(),
                stderr=said,
                start_new_session=True,  # as in ``run``
            )
            far.close()
            threading.Thread(target=process.wait, name="reaper", daemon=True).start()
            try:
                near.sendall(sudo.first_input + hostside.stdin_of("bridge", {"path": path}))
                answer = _line(near)
            except ConnectionError:  # sudo ended, and left unread what was for the program
                answer = b""
            except OSError as error:
                near.close()  # the program ends with it
                reason = "no answer in time" if isinstance(error, TimeoutError) else str(error)
                raise HostError(self.host, f"{path} can't be reached ({reason})") from error
            if answer == b"+":
                near.settimeout(None)
                return cast("HostSocket", near)
            near.close()
            said.seek(0)
            result = sudo.strip(Result(process.wait(), b"", said.read()), self.host)
        if result.rc == hostside.TOO_OLD:
            raise hostside.no_python(self.host, self.interpreter)
        reason = answer.decode(errors="replace") or result.last_line
        raise HostError(self.host, f"nothing serves {path} ({reason}): is the runtime started?")

    def close(self) -> None:
        """See ``Shell.close``: there is nothing open."""


def _line(near: socket.socket) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n") and (byte := near.recv(1)):
        line += byte
    return bytes(line).strip()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a command and all that it started; what is another user's is left to end by itself."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except PermissionError:  # sudo runs as root: it ends when its pipes are gone, or later
        for pipe in (process.stdin, process.stdout, process.stderr):
            with contextlib.suppress(OSError):
                cast("IO[bytes]", pipe).close()
        threading.Thread(target=process.wait, name="reaper", daemon=True).start()
        return
    except ProcessLookupError:
        pass
    process.communicate()
