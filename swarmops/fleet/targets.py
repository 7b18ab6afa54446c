"""The inventory's hosts as the hands see them: how to reach each, and where its node lives.

Called by everything that opens shells. Pure.
"""

from __future__ import annotations

from swarmops.backends.base import Place
from swarmops.fleet.host import Host
from swarmops.fleet.target import Target


def target_of(host: Host) -> Target:
    """Return the target of one host."""
    return Target(
        name=host.name,
        address=host.address,
        port=host.port or host.ssh_args.port,
        user=host.user or host.ssh_args.user,
        connection=host.connection,
        private_key_files=host.private_key_files or host.ssh_args.keys,
        connect_timeout_s=host.connect_timeout_s or host.ssh_args.connect_timeout_s,
        connect_retries=host.connect_retries,
        host_key_checking=host.host_key_checking or host.ssh_args.host_key_checking,
        jump=host.ssh_args.jump,
        proxy_command=host.ssh_args.proxy_command,
        ssh_config=host.ssh_args.config,
        ssh_options=host.ssh_args.options,
        password=host.password,
        become=host.become,
        become_password=host.become_password,
        python_interpreter=host.python,
        place=place_of(host),
    )


def place_of(host: Host) -> Place:
    """Return where the host's node lives."""
    return Place(
        host=host.name,
        local=host.connection == "local",
        hostname=host.hostname,
        data_dir=host.data_dir,
        socket=host.socket,
        port=int(host.listen_addr.rpartition(":")[2]),
        unit=host.unit,
        install_docker=host.install_docker,
    )
