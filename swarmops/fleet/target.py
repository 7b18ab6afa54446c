"""How to reach one host: what remains of an inventory's host for the hands that connect to it.

Made by the fleet's commands from the inventory, used by ``ssh``, ``local`` and ``shells``.
Knows nothing of groups, variables or playbooks.
"""

from __future__ import annotations

import msgspec

from swarmops.backends.base import Place


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Ansible's ``ansible_*`` variables, resolved; None means: as ssh_config and defaults say.

    ``host_key_checking``: "accept-new" (record unknown hosts on first use), "yes" (refuse them),
    "ask" (a person decides), "no" (accept changed keys too). ``become_password`` is None where sudo
    asks for none.
    """

    name: str
    address: str
    port: int | None = None
    user: str | None = None
    connection: str = "ssh"
    private_key_files: tuple[str, ...] = ()
    password: str | None = None
    become: bool = False
    become_user: str = "root"
    become_password: str | None = None
    python_interpreter: str | None = None
    connect_timeout_s: int | None = None
    connect_retries: int = 0
    """How often more to try where nothing answers."""
    host_key_checking: str | None = None
    jump: str | None = None
    """As ssh's ProxyJump; None: as ssh_config says."""
    proxy_command: str | None = None
    ssh_config: str | None = None
    """The file that is read instead of the user's and the system's; ``none``: no file."""
    ssh_options: tuple[tuple[str, str], ...] = ()
    """Lines of ssh_config, by lower-case names, that come before it for this host."""
    place: Place

    def __repr__(self) -> str:
        """Without the passwords: a target may end up in a log."""
        return f"Target({self.name!r}, {self.address!r}, {self.connection!r})"
