"""The contract of a backend, and the two things that it is given: a shell and facts.

``fleet`` gathers the facts, opens the shells and calls the backend; a backend decides and acts
through them and never imports ``fleet``. Third parties register theirs in the entry-point group
``swarmops.backends``.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from importlib import metadata
from typing import Any, Protocol, runtime_checkable

import msgspec

from swarmops.backends.facts import ApiFacts, Facts, PythonFacts, UnitFacts
from swarmops.errors import HostError, InputError

__all__ = [
    "ApiFacts",
    "Artifact",
    "Backend",
    "Facts",
    "Home",
    "HostSocket",
    "Missing",
    "Place",
    "PythonFacts",
    "Result",
    "Shell",
    "UnitFacts",
    "known_backends",
    "load_backend",
    "require",
]

GROUP = "swarmops.backends"
_BUILT_IN = {
    "native": "swarmops.backends.native:NativeBackend",
    "docker": "swarmops.backends.docker:DockerBackend",
}
"""Also found when the package runs from a checkout that nobody installed."""


class Result(msgspec.Struct, frozen=True):
    """How a command on a host ended; ``rc`` is its exit status."""

    rc: int
    stdout: bytes = b""
    stderr: bytes = b""

    @property
    def ok(self) -> bool:
        """Exit status 0."""
        return self.rc == 0

    @property
    def last_line(self) -> str:
        """The last line that it said, errors first: usually the reason."""
        for stream in (self.stderr, self.stdout):
            lines = stream.decode(errors="replace").strip().splitlines()
            if lines:
                return lines[-1].strip()
        return f"exit status {self.rc}"


class HostSocket(Protocol):
    """The part of ``socket.socket`` that an HTTP client needs, over any transport."""

    def sendall(self, data: bytes, /) -> None:
        """Send everything or raise OSError."""

    def recv(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes, b'' at the end; TimeoutError after the timeout."""

    def makefile(self, mode: str = "rb", buffering: int = -1) -> Any:
        """Return a file over the socket, as ``http.client`` wants it."""

    def settimeout(self, timeout_s: float | None, /) -> None:
        """Bound the next calls, in seconds."""

    def close(self) -> None:
        """Close both directions."""


class Shell(Protocol):
    """One host's hands: over SSH or on this machine; everything as root where ``become`` says so.

    Every method raises HostError, whose text begins with the host's name.
    """

    @property
    def host(self) -> str:
        """The name in the inventory."""

    @property
    def interpreter(self) -> str | None:
        """``ansible_python_interpreter``, or None: found on the host's PATH."""

    def run(
        self,
        command: str | Sequence[str],
        *,
        stdin: bytes | Iterable[bytes] = b"",
        timeout_s: float = 60.0,
    ) -> Result:
        """Run an argument list, or a text as a POSIX script; a bad exit status is no error."""

    def put(self, content: bytes, path: str, mode: int = 0o644) -> None:
        """Write a file atomically: a reader sees the old content or the new, never a part."""

    def open_socket(self, path: str, timeout_s: float = 10.0) -> HostSocket:
        """Connect to a unix socket on the host."""

    def close(self) -> None:
        """Close the connection; the next call opens it again."""


class Home(msgspec.Struct, frozen=True, kw_only=True):
    """Where a backend's nodes live on their hosts, unless the inventory says otherwise.

    ``socket`` serves the Docker Engine API. ``data_dir`` holds what a node remembers: a host that
    has it may be a member of a swarm while nothing runs. ``unit`` is systemd's name for the daemon.
    ``answers_within_s`` is for how long a node that is well may let the socket wait for an answer.
    """

    socket: str
    data_dir: str
    unit: str
    answers_within_s: float = 5.0


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a node lives on its host; several may share one machine."""

    host: str
    local: bool = False
    hostname: str | None = None
    data_dir: str = "/var/lib/swarmops"
    socket: str = "/run/swarmops/swarmops.sock"
    root_dir: str = "/opt/swarmops"
    unit: str = "swarmops.service"
    port: int = 2377
    log_level: str = "info"
    install_docker: bool = False
    """``swarmops_install_docker``: a missing Docker Engine may be installed."""

    @property
    def lock_file(self) -> str:
        """Where an apply locks the host before there is a swarm: beside the data directory."""
        folder, _, name = self.data_dir.rstrip("/").rpartition("/")
        return f"{folder}/.{name}.apply-lock"


class Missing(msgspec.Struct, frozen=True):
    """Something that a host lacks: ``what`` for programs, ``reason`` a phrase for people.

    ``what`` is "runtime" (the release), "unit" (how it is supervised) or "process" (it runs).
    """

    what: str
    reason: str
    backward: bool = False
    """What is there is newer than what would come: a person is asked first."""


class Artifact(msgspec.Struct, frozen=True):
    """What has to be on the host; ``release`` names its content ('' when nothing is sent)."""

    release: str
    target: str = ""


@runtime_checkable
class Backend(Protocol):
    """Turns a host into something that serves the Docker Engine API on ``place.socket``."""

    name: str
    home: Home

    def artifact(self, facts: Facts, place: Place) -> Artifact:
        """Say what the host needs. Pure but for reading this machine's own packages."""

    def missing(self, facts: Facts, place: Place, artifact: Artifact) -> tuple[Missing, ...]:
        """Say what the host lacks, in the order of doing; nothing: it is as it should be.

        Raises HostError if the host can never be made so.
        """

    def install(self, shell: Shell, facts: Facts, place: Place, artifact: Artifact) -> None:
        """Bring files and supervision; a second time changes nothing; starts nothing."""

    def start(self, shell: Shell, facts: Facts, place: Place) -> None:
        """Start, or restart into the installed release; return when the socket answers.

        A node that was well before must be well again; else it goes back to the release that it
        ran before, and HostError says so. ``facts`` are from before the installation.
        """

    def stop(self, shell: Shell, facts: Facts, place: Place) -> None:
        """Stop the runtime; the tasks go on."""

    def remove(self, shell: Shell, facts: Facts, place: Place) -> None:
        """Leave nothing behind: processes, tasks, unit, files, group."""


def known_backends() -> dict[str, str]:
    """Return name → ``module:class`` of all backends, installed ones over built-in ones."""
    installed = {entry.name: entry.value for entry in metadata.entry_points(group=GROUP)}
    return _BUILT_IN | installed


def load_backend(name: str) -> Backend:
    """Make the backend of that name; InputError names the known ones."""
    known = known_backends()
    if name not in known:
        raise InputError(
            f"no backend is called {name!r}: known are {', '.join(sorted(known))}; "
            "a package that brings another must be installed beside swarmops"
        )
    module, _, attribute = known[name].partition(":")
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"backend {name!r} can't be loaded from {known[name]} ({error}): "
            "reinstall the package that brings it"
        ) from error
    backend = factory()
    if not isinstance(backend, Backend):
        raise InputError(
            f"backend {name!r} ({known[name]}) lacks a method of swarmops.backends.base.Backend"
        )
    return backend


def require(result: Result, host: str, doing: str) -> Result:
    """Return the result if it is a success, else raise HostError with its last words."""
    if not result.ok:
        raise HostError(host, f"{doing} failed: {result.last_line}")
    return result
