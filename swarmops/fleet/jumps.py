"""The hosts on the way that ``ProxyJump`` names, in the order in which ``ssh`` visits them.

Used by ``connect``. fabric visits several in the opposite order, takes ``none``, which switches the
jump off, for a host, and knows neither ``ssh://`` nor an IPv6 address with a port.
"""

from __future__ import annotations

from typing import Any

import fabric

NONE = "none"


class Hop(fabric.Connection):  # type: ignore[misc]  # fabric ships no types
    """A connection that goes the way that ssh_config's ProxyJump says, unless it was given one."""

    def get_gateway(self) -> Any:
        """Return the last host on the way, or a proxy's command. Called by fabric."""
        said = self.ssh_config.get("proxyjump")
        if said is None:
            return super().get_gateway()
        # One that would be on the way to itself: wildcards in ssh_config lead there.
        if said.lower() == NONE or any(_place(one)[1] == self.host for one in said.split(",")):
            return None
        return way_through(said, self.config)

    def open_gateway(self) -> Any:
        """Return what leads here from the last host on the way. Called by fabric.

        Which would open that one anew if it was lost meanwhile, in several threads at once.
        """
        if not isinstance(self.gateway, fabric.Connection):
            return super().open_gateway()
        place = (self.host, int(self.port))
        return self.gateway.transport.open_channel("direct-tcpip", place, ("", 0))


def way_through(jump: str, config: fabric.Config) -> Hop:
    """Return the last of the hosts that ProxyJump's value names; ValueError for a wrong port."""
    gateway: Hop | None = None
    for hop in jump.split(","):
        user, host, port = _place(hop)
        gateway = Hop(host, user=user, port=port, config=config.clone(), gateway=gateway)
    if gateway is None:
        raise AssertionError("a text has at least one part")
    return gateway


def _place(hop: str) -> tuple[str | None, str, int | None]:
    """Return user, host and port of ``user@host:port``, ``[address]:port`` or ``ssh://…``."""
    user, _, place = hop.strip().removeprefix("ssh://").rstrip("/").rpartition("@")
    if place.startswith("["):
        host, _, port = place[1:].partition("]")
    elif place.count(":") == 1:
        host, _, port = place.partition(":")
    else:
        host, port = place, ""  # an IPv6 address as it is, or no port
    port = port.removeprefix(":")
    return user or None, host, int(port) if port else None
