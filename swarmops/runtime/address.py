"""Which address a node listens on and which it tells others, from what the client asked for.

Follows ``docker swarm init --listen-addr --advertise-addr``: an address, or an interface's name,
each with or without a port; nothing said means this machine's address on its default route.
"""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import socket
import struct

from swarmops.errors import ApiError
from swarmops.model.defaults import DEFAULT_PORT
from swarmops.runtime.dial import split_address

_SIOCGIFADDR = 0x8915  # linux/sockios.h
_INTERFACE_NAME_MAX = 15
_ANYWHERE = "192.0.2.1"
"""An address of RFC 5737: asking for the route to it sends nothing."""


def listen_address(wanted: str) -> tuple[str, int]:
    """Return the IP and port to listen on; ApiError with Docker's text if it is neither."""
    host, port = split_address(wanted or "0.0.0.0", DEFAULT_PORT)
    ip = _ip(host) or _interface_ip(host)
    if ip is None:
        raise ApiError(
            400, "listen address must be an IP address or network interface (with optional port)"
        )
    return ip, port


def advertise_address(wanted: str, listen: tuple[str, int], towards: str = _ANYWHERE) -> str:
    """Return ``ip:port`` that others reach this node at.

    ``towards`` is a host of the swarm: what this machine calls itself on the way there is chosen
    where the client said nothing. ApiError with Docker's text if there is no such address.
    """
    if wanted:
        host, port = split_address(wanted, listen[1])
        ip = _ip(host) or _interface_ip(host)
    else:
        ip, port = listen
        if ipaddress.ip_address(ip).is_unspecified:
            ip = _source_ip(towards)
    if ip is None or ipaddress.ip_address(ip).is_unspecified:
        raise ApiError(
            400,
            "advertise address must be a non-zero IP address or network interface "
            "(with optional port number)",
        )
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def why_not_listen(host: str, port: int) -> str:
    """Return why this address can't be listened on, in Docker's words; empty if it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            return listen_refusal(host, port, exc)
    return ""


def listen_refusal(host: str, port: int, exc: OSError) -> str:
    """Say in Docker's words, and with the cure, why an address can't be listened on."""
    why = "address already in use" if exc.errno == errno.EADDRINUSE else exc.strerror
    return (
        f"listen tcp {host}:{port}: bind: {why}: stop what uses the port, "
        "or choose another listen address"
    )


def own_address(advertised: str) -> str | None:
    """Return the IP of ``ip:port`` if this machine has it itself, None behind a translation."""
    ip, _ = split_address(advertised)
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((ip, 0))
        except OSError:
            return None
    return ip


def _ip(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def _interface_ip(name: str) -> str | None:
    """Return the IPv4 address of a network interface, None if there is no such."""
    if len(name) > _INTERFACE_NAME_MAX:
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", name.encode()))
        except OSError:
            return None
    return socket.inet_ntoa(answer[20:24])


def _source_ip(towards: str) -> str | None:
    """Return the address that this machine would send from to reach a host."""
    try:
        family, _, _, _, target = socket.getaddrinfo(towards, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(target)
            source: str = probe.getsockname()[0]
    except OSError:
        return None
    return source
