"""One host of the inventory, and the variables that say how to reach it and what to run there.

Called by ``swarmops.fleet.inventory``. Names that begin with ``ansible_`` mean what they mean in
Ansible; those it has and we don't are left alone. Does no I/O.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from typing import Any, Literal

import msgspec

from swarmops.fleet.become import refuse_other_ways
from swarmops.fleet.entry import Entry
from swarmops.fleet.groups import Vars
from swarmops.fleet.ssh_args import SshArgs, parse_ssh_args
from swarmops.fleet.templates import Scope

DEFAULT_PORT = 2377
OUR_VARS = frozenset(
    {
        "swarmops_advertise_addr",
        "swarmops_backend",
        "swarmops_data_dir",
        "swarmops_hostname",
        "swarmops_install_docker",
        "swarmops_listen_addr",
        "swarmops_playbook",
        "swarmops_socket",
    }
)
ANSIBLE_VARS: dict[str, tuple[str, ...]] = {
    "ansible_host": ("ansible_ssh_host",),
    "ansible_port": ("ansible_ssh_port",),
    "ansible_user": ("ansible_ssh_user",),
    "ansible_connection": (),
    "ansible_ssh_private_key_file": ("ansible_private_key_file",),
    "ansible_password": ("ansible_ssh_pass", "ansible_ssh_password"),
    "ansible_ssh_common_args": (),
    "ansible_ssh_extra_args": (),
    "ansible_ssh_args": (),
    "ansible_host_key_checking": ("ansible_ssh_host_key_checking",),
    "ansible_ssh_timeout": ("ansible_timeout",),
    "ansible_ssh_retries": (),
    "ansible_become": (),
    "ansible_become_password": ("ansible_become_pass", "ansible_sudo_pass"),
    "ansible_python_interpreter": (),
}
"""Those of Ansible's variables that are read here, with their other spellings."""
_SOCKET_BYTES_MAX = 107  # what Linux takes in sun_path
_SSH_WORDS = ("ssh", "smart", "paramiko", "paramiko_ssh", "ansible.builtin.ssh")
_LOCAL_WORDS = ("local", "ansible.builtin.local")


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """A machine: how to reach it, where its runtime lives. Immutable."""

    name: str
    groups: tuple[str, ...] = ()
    """All groups it is in but ``all``, the strongest last."""
    vars: dict[str, Any] = {}
    """Merged variables as they are written: templates are not rendered."""
    origins: dict[str, str] = {}
    """``file:line`` of each variable."""
    connection: Literal["ssh", "local"] = "ssh"
    address: str
    """``ansible_host``, else the name."""
    port: int | None = None
    """None: what ssh_config says, else 22."""
    user: str | None = None
    """None: what ssh_config says, else the operator's own name."""
    password: str | None = None
    private_key_files: tuple[str, ...] = ()
    ssh_args: SshArgs = SshArgs()
    connect_timeout_s: int | None = None
    """None: what ssh_config says, else 10."""
    connect_retries: int = 0
    host_key_checking: str | None = None
    """None: what ssh_config says, else accept-new."""
    become: bool = False
    become_password: str | None = None
    python: str | None = None
    """``ansible_python_interpreter``; None: look for it."""
    data_dir: str = "/var/lib/swarmops"
    socket: str = "/run/swarmops/swarmops.sock"
    listen_addr: str = f"0.0.0.0:{DEFAULT_PORT}"
    advertise_addr: str | None = None
    """``address:port``; None: the node finds its own."""
    hostname: str | None = None
    """The node's name in the swarm; None: the machine's."""
    backend: str | None = None
    """None: the playbook's ``swarm.backend``."""
    unit: str = "swarmops.service"
    """What systemd calls the daemon: the backend's word."""
    install_docker: bool = False
    """The docker backend may install a missing Docker Engine."""

    def __repr__(self) -> str:
        """Leave passwords out of logs and tracebacks."""
        return f"Host({self.name!r}, {self.connection}, {self.address!r})"


def build_host(name: str, groups: tuple[str, ...], variables: Vars, scope: Scope) -> Host:
    """Return the host that its variables describe. Raises InputError for a wrong value.

    ``scope`` renders the variables of this host.
    """
    read = _Reader(variables, scope)
    local = read.connection() == "local"
    become = bool(read("ansible_become", Entry.boolean))
    if become:
        refuse_other_ways(read.entry)
    socket = read("swarmops_socket", path_value) or "/run/swarmops/swarmops.sock"
    if len(socket.encode()) > _SOCKET_BYTES_MAX:
        variables["swarmops_socket"].fail(
            f"the socket path {socket} has {len(socket.encode())} bytes, and Linux takes"
            f" {_SOCKET_BYTES_MAX}: set swarmops_socket to a shorter one"
        )
    return Host(
        name=name,
        groups=groups,
        vars={key: entry.value for key, entry in variables.items()},
        origins={key: entry.where for key, entry in variables.items()},
        connection="local" if local else "ssh",
        address=read("ansible_host", Entry.name) or name,
        port=read("ansible_port", _port_value),
        user=read("ansible_user", Entry.name),
        password=read("ansible_password", Entry.string),
        private_key_files=read("ansible_ssh_private_key_file", _keys_value) or (),
        ssh_args=read.ssh_args(),
        connect_timeout_s=read("ansible_ssh_timeout", _seconds_value),
        connect_retries=read("ansible_ssh_retries", _retries_value) or 0,
        host_key_checking=read("ansible_host_key_checking", _checking_value),
        become=become,
        become_password=read("ansible_become_password", Entry.string),
        python=read.python(),
        data_dir=read("swarmops_data_dir", path_value) or "/var/lib/swarmops",
        socket=socket,
        listen_addr=read("swarmops_listen_addr", _listen_value) or f"0.0.0.0:{DEFAULT_PORT}",
        advertise_addr=read("swarmops_advertise_addr", _advertise_value),
        hostname=read("swarmops_hostname", _hostname_value),
        backend=read("swarmops_backend", Entry.name),
        install_docker=bool(read("swarmops_install_docker", Entry.boolean)),
    )


class _Reader:
    def __init__(self, variables: Vars, scope: Scope) -> None:
        self.variables = variables
        self.scope = scope

    def __call__(self, name: str, convert: Any) -> Any:
        """Return a variable's value, or that of another spelling; None if none is set."""
        entry = self.entry(name, *ANSIBLE_VARS.get(name, ()))
        return None if entry is None else convert(entry)

    def entry(self, *names: str) -> Entry | None:
        for name in names:
            if name in self.variables:
                entry = msgspec.structs.replace(self.variables[name], value=self.scope[name])
                return None if entry.value is None else entry
        return None

    def connection(self) -> str:
        entry = self.entry("ansible_connection")
        if entry is None or entry.value in _SSH_WORDS:
            return "ssh"
        return "local" if entry.value in _LOCAL_WORDS else entry.choice("ssh", "local")

    def ssh_args(self) -> SshArgs:
        """Return what Ansible's variables say together, in the order in which it gives them."""
        texts = []
        for name in ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args"):
            if (entry := self.entry(name)) is not None:
                entry.parsed(parse_ssh_args, "options of ssh whose quotes are closed")
                texts.append(entry.string())
        return parse_ssh_args(" ".join(texts))

    def python(self) -> str | None:
        """Return the interpreter's path; Ansible's words for "find one" (auto…) mean None.

        ``/usr/bin/env python3`` is the name alone, which is looked for on the host's PATH.
        """
        entry = self.entry("ansible_python_interpreter")
        if entry is None or entry.string().startswith("auto"):
            return None
        return entry.name().removeprefix("/usr/bin/env ").strip()


def path_value(entry: Entry) -> str:
    """Return an absolute path without ``..``; a relative one is refused."""
    text = entry.name()
    if not text.startswith("/"):
        entry.fail(
            f"{entry.key} must be an absolute path, not '{text}': begin it with '/' or with"
            " {{ inventory_dir }}"
        )
    return "/" + posixpath.normpath(text).lstrip("/")


def _keys_value(entry: Entry) -> tuple[str, ...]:
    """Return key files: one, or a list of them."""
    return tuple(entry.strings()) or (entry.name(),)


def _seconds_value(entry: Entry) -> int:
    return entry.integer(1, 3600)


def _retries_value(entry: Entry) -> int:
    return entry.integer(0, 100)


def _checking_value(entry: Entry) -> str:
    """Return a mode: Ansible's yes or no, or one of ssh's."""
    word = str(entry.value).lower()
    if word in {"accept-new", "ask"}:
        return word
    return "yes" if entry.boolean() else "no"


def _port_value(entry: Entry) -> int:
    return entry.integer(1, 65535)


def _listen_value(entry: Entry) -> str:
    return entry.parsed(address_port, "an address like 0.0.0.0:2377")


def _advertise_value(entry: Entry) -> str:
    value = entry.parsed(address_port, "an address like 192.0.2.7:2377")
    if value.rpartition(":")[0] in {"0.0.0.0", "[::]"}:
        entry.fail(f"{entry.key} must be one address that other hosts reach, not '{value}'")
    return value


def _hostname_value(entry: Entry) -> str:
    name = entry.name()
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,253}[A-Za-z0-9])?", name):
        entry.expected("a host name of letters, digits, '-' and '.'")
    return name


def address_port(text: str) -> str:
    """Return ``host:port`` of ``host``, ``host:port`` or ``[IPv6]:port``; else ValueError."""
    try:
        if ipaddress.ip_address(text).version == 6:  # noqa: PLR2004 - IPv6
            return f"[{text}]:{DEFAULT_PORT}"
    except ValueError:
        pass
    found = re.fullmatch(r"(\[[0-9a-fA-F:.%]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?", text)
    if found is None:
        raise ValueError(text)
    port = int(found[2] or DEFAULT_PORT)
    if not 0 < port <= 65535:  # noqa: PLR2004 - the highest port
        raise ValueError(text)
    return f"{found[1]}:{port}"
