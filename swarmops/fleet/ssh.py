"""One host over SSH: one connection for the whole run, a channel for each command or socket.

Opened by ``shells``, connected by ``connect``. Nothing secret is ever on a command line: passwords
go to stdin.
"""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import fabric
import paramiko

from swarmops.backends import hostside, upload
from swarmops.backends.base import HostSocket, Result
from swarmops.errors import HostError, HostTimeoutError
from swarmops.fleet.connect import Ways, connect
from swarmops.fleet.disconnect import disconnect
from swarmops.fleet.ssh_errors import why_lost
from swarmops.fleet.ssh_transport import WINDOW_BYTES
from swarmops.fleet.sudo import Sudo
from swarmops.fleet.target import Target

_CHANNELS_MAX = 8
"""sshd's MaxSessions is 10 for a connection."""
_OPEN_ATTEMPTS = 5
_CHUNK_BYTES = 1 << 18


class SshShell:
    """See ``backends.base.Shell``; safe to use from several threads."""

    def __init__(self, target: Target, ways: Ways) -> None:
        self._target = target
        self._ways = ways
        self._channels = threading.BoundedSemaphore(_CHANNELS_MAX)
        self._connecting = threading.Lock()
        # Guards what follows, never for long: closing must not wait for a silent host.
        self._lock = threading.Lock()
        self._closed_times = 0
        self._connection: fabric.Connection | None = None

    @property
    def host(self) -> str:
        """See ``Shell.host``."""
        return self._target.name

    @property
    def interpreter(self) -> str | None:
        """See ``Shell.interpreter``."""
        return self._target.python_interpreter

    def _connected(self) -> fabric.Connection:
        with self._connecting:
            with self._lock:
                connection, closed_times = self._connection, self._closed_times
            if connection is None or not connection.is_connected:
                if connection is not None:
                    disconnect(connection)
                connection = connect(self._target, self._ways)
                with self._lock:
                    if self._closed_times == closed_times:
                        self._connection = connection
                    else:
                        disconnect(connection)
                        raise HostError(self.host, "it was closed before it was connected")
            return connection

    def _sudo(self) -> Sudo | None:
        target = self._target
        if not target.become:
            return None
        connection = self._connection
        if connection is not None and connection.user == target.become_user:
            return None
        return Sudo(target.become_user, target.become_password)

    def run(
        self,
        command: str | Sequence[str],
        *,
        stdin: bytes | Iterable[bytes] = b"",
        timeout_s: float = 60.0,
    ) -> Result:
        """See ``Shell.run``. After a timeout the command is left to end on its hang-up."""
        script = command if isinstance(command, str) else f"exec {shlex.join(command)}"
        deadline = time.monotonic() + timeout_s
        with self._channels:
            connection, channel, sudo = self._start(script)
            try:
                result = self._converse(channel, sudo, stdin, deadline)
            except TimeoutError:
                raise HostTimeoutError(
                    self.host, f"a command didn't finish within {timeout_s:g} s: {_short(command)}"
                ) from None
            except (OSError, paramiko.SSHException, EOFError) as error:
                raise self._lost(error, connection) from error
            finally:
                channel.close()
        return sudo.strip(result, self.host) if sudo else result

    def _start(self, script: str) -> tuple[fabric.Connection, paramiko.Channel, Sudo | None]:
        connection = self._connected()
        sudo = self._sudo()
        line = sudo.command(script) if sudo else f"exec sh -c {shlex.quote(script)}"
        try:
            channel = _open_session(connection.transport)
            channel.exec_command(line)
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise self._lost(error, connection) from error
        return connection, channel, sudo

    def _converse(
        self,
        channel: paramiko.Channel,
        sudo: Sudo | None,
        stdin: bytes | Iterable[bytes],
        deadline: float,
    ) -> Result:
        parts = [stdin] if isinstance(stdin, bytes) else stdin
        failed: list[Exception] = []
        errors: list[bytes] = []

        def feed_and_read_errors() -> None:
            # Beside stdout: more than a window of either one stops the command.
            _write(channel, sudo.first_input if sudo else b"", parts, failed)
            try:
                errors.append(_read_all(channel, channel.recv_stderr, deadline))
            except Exception as error:  # noqa: BLE001 - the caller raises it
                failed.append(error)

        feeder = threading.Thread(target=feed_and_read_errors)
        feeder.daemon = True
        feeder.start()
        out = _read_all(channel, channel.recv, deadline)
        feeder.join(max(0.01, deadline - time.monotonic()))
        if failed:
            raise failed[0]
        if not errors or not channel.status_event.wait(max(0.01, deadline - time.monotonic())):
            raise TimeoutError
        rc = channel.recv_exit_status()
        if rc == -1 and not channel.get_transport().is_active():
            raise EOFError
        return Result(rc, out, errors[0])

    def _lost(self, error: Exception, connection: fabric.Connection) -> HostError:
        if isinstance(error, EOFError):  # it may look open a moment longer
            with self._lock:
                if self._connection is connection:
                    self._connection = None
            disconnect(connection)
        said = getattr(error, "strerror", None) or str(error)
        reason = why_lost(connection) or said or "the connection was closed"
        return HostError(self.host, f"the SSH connection was lost ({reason}): try again")

    def put(self, content: bytes, path: str, mode: int = 0o644) -> None:
        """See ``Shell.put``."""
        upload.put(self, content, path, mode)

    def open_socket(self, path: str, timeout_s: float = 10.0) -> HostSocket:
        """See ``Shell.open_socket``: through a small program there, so that sudo works as well."""
        self._channels.acquire()
        try:
            _, channel, sudo = self._start(hostside.command(self.interpreter))
            try:
                channel.settimeout(timeout_s)
                channel.sendall(
                    (sudo.first_input if sudo else b"")
                    + hostside.stdin_of("bridge", {"path": path})
                )
                answer = _line(channel)
                if answer != b"+":
                    raise self._no_bridge(channel, sudo, path, answer)
            except (OSError, paramiko.SSHException) as error:
                channel.close()
                reason = "no answer in time" if isinstance(error, TimeoutError) else str(error)
                raise HostError(self.host, f"{path} can't be reached ({reason})") from error
            except HostError:
                channel.close()
                raise
        except BaseException:
            self._channels.release()
            raise
        channel.settimeout(None)
        return _BridgedSocket(channel, self._channels.release)

    def _no_bridge(
        self, channel: paramiko.Channel, sudo: Sudo | None, path: str, answer: bytes
    ) -> HostError:
        if answer:
            reason = answer.decode(errors="replace")
            return HostError(
                self.host, f"nothing serves {path} ({reason}): is the runtime started?"
            )
        err = channel.recv_stderr(_CHUNK_BYTES)
        result = Result(channel.recv_exit_status(), b"", err)
        if sudo:
            result = sudo.strip(result, self.host)
        if result.rc == hostside.TOO_OLD:
            return hostside.no_python(self.host, self.interpreter)
        return HostError(self.host, f"{path} can't be reached: {result.last_line}")

    def close(self) -> None:
        """See ``Shell.close``; what is being connected meanwhile is closed by who connects it."""
        with self._lock:
            self._closed_times += 1
            connection, self._connection = self._connection, None
        if connection is not None:
            disconnect(connection)


class _BridgedSocket:
    """A channel that looks like a socket; gives its place among the channels back when closed."""

    def __init__(self, channel: paramiko.Channel, on_close: Callable[[], None]) -> None:
        self._channel = channel
        self._on_close: Callable[[], None] | None = on_close

    def sendall(self, data: bytes, /) -> None:
        self._channel.sendall(data)

    def recv(self, size: int, /) -> bytes:
        return self._channel.recv(size)

    def makefile(self, mode: str = "rb", buffering: int = -1) -> Any:
        return self._channel.makefile(mode, buffering)

    def settimeout(self, timeout_s: float | None, /) -> None:
        self._channel.settimeout(timeout_s)

    def shutdown(self, how: int, /) -> None:
        self._channel.shutdown(how)

    def close(self) -> None:
        self._channel.close()
        release, self._on_close = self._on_close, None
        if release:
            release()


def _open_session(transport: paramiko.Transport) -> paramiko.Channel:
    """Open a channel; sshd may still hold the session of one that was just closed."""
    for attempt in range(1, _OPEN_ATTEMPTS + 1):
        try:
            return transport.open_session(window_size=WINDOW_BYTES)
        except paramiko.ChannelException:
            if attempt == _OPEN_ATTEMPTS:
                raise
            time.sleep(0.02 * 2**attempt)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _read_all(channel: paramiko.Channel, take: Callable[[int], bytes], deadline: float) -> bytes:
    """Read a stream to its end."""
    into = bytearray()
    while True:
        channel.settimeout(max(0.01, deadline - time.monotonic()))
        part = take(_CHUNK_BYTES)
        if not part:
            return bytes(into)
        into += part


def _write(
    channel: paramiko.Channel, first: bytes, parts: Iterable[bytes], failed: list[Exception]
) -> None:
    """Feed stdin; a command that ends early and reads no more is judged by its exit status."""
    try:
        if first:
            channel.sendall(first)
        for part in parts:
            channel.sendall(part)
        channel.shutdown_write()
    except OSError:
        return
    except (EOFError, paramiko.SSHException) as error:  # the connection is lost: nothing to close
        failed.append(error)
    except Exception as error:  # noqa: BLE001 - the source of the parts failed: the caller raises it
        failed.append(error)
        channel.close()


def _line(channel: paramiko.Channel) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = channel.recv(1)
        if not byte:
            break
        line += byte
    return bytes(line).strip()


def _short(command: str | Sequence[str]) -> str:
    text = command if isinstance(command, str) else shlex.join(command)
    first = text.strip().splitlines()[0] if text.strip() else ""
    return first if len(first) <= 80 else f"{first[:77]}…"  # noqa: PLR2004 - a terminal's line
