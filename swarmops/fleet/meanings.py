"""What every key of a playbook and every variable of an inventory means, in a sentence.

Data for ``schema``, and through it for editors and the reference. A key is named by its path:
``nodes.*.role``, ``services.*.ports[].mode``. Every key of the schemas is here, and nothing else:
a test sees to both.
"""

from __future__ import annotations

from swarmops.fleet.meanings_service import SERVICE, Meaning

__all__ = ["GROUP", "PLAYBOOK", "VARIABLES", "Meaning"]


_M = Meaning
_TOP = {
    "swarm": _M(
        "The swarm itself. Without it the managers of a swarm that is there stay as they are."
    ),
    "swarm.name": _M(
        "What messages call the swarm; services carry it as a label.", "the file's name"
    ),
    "swarm.backend": _M(
        "What runs the nodes: `native`, `docker`, or a third party's.",
        "the inventory's `swarmops_backend`, else `native`",
    ),
    "swarm.managers": _M(
        "How many managers there shall be.",
        "all of the inventory's group `managers`, else 3, or 1 of fewer than three hosts; never an"
        " even number",
    ),
    "swarm.spread_managers_by": _M(
        "Managers are spread over the values of this: a label under `nodes`, else a variable of the"
        " host.",
        "`zone`",
    ),
    "swarm.replace_dead_after": _M(
        "A manager that is down and out of reach for so long is demoted by the next apply, and"
        " another host takes its place.",
        "never",
    ),
    "nodes": _M("What hosts shall be; keys are hosts, groups or patterns."),
    "nodes.*.role": _M("The host must be this.", "`swarm.managers` decides"),
    "nodes.*.availability": _M(
        "`active` takes tasks, `pause` takes no new ones, `drain` takes none and its tasks move.",
        "stays as it is",
    ),
    "nodes.*.labels": _M("Labels of the node; `null` takes one away.", "stay as they are"),
    "services": _M("Services by name, each as in a Compose file."),
    "stacks": _M("Compose files as they are, by the stack's name."),
    "stacks.*.compose": _M("Compose files, relative to the playbook, merged in order."),
    "stacks.*.env_file": _M("Files of variables for the interpolation."),
    "stacks.*.variables": _M("Variables for the interpolation, stronger than `env_file`."),
    "secrets": _M("Secrets to keep in the swarm, by name; a changed content is a new version."),
    "configs": _M("Configs to keep in the swarm, by name; a changed content is a new version."),
    "configs.*.content": _M("The content itself."),
    "networks": _M("Networks to keep in the swarm, by name; one that is there is never changed."),
    "networks.*.driver": _M("Driver of the network.", "`overlay`"),
    "networks.*.driver_opts": _M("Options of the driver."),
    "networks.*.name": _M("The network's name in the swarm.", "its name here"),
    "networks.*.internal": _M("Nothing outside is reached from it.", "`false`"),
    "networks.*.attachable": _M("Containers that are no tasks may join it.", "`false`"),
    "networks.*.enable_ipv6": _M("It has IPv6 too.", "`false`"),
    "networks.*.external": _M("Somebody else keeps it: it must be there.", "`false`"),
    "networks.*.labels": _M("Labels of the network."),
    "networks.*.ipam": _M("Its addresses.", "the swarm chooses a subnet"),
    "networks.*.ipam.driver": _M("Driver of the addresses.", "`default`"),
    "networks.*.ipam.config": _M("Subnets."),
    "networks.*.ipam.config[].subnet": _M("The subnet, as `10.20.0.0/24`."),
    "networks.*.ipam.config[].ip_range": _M("Part of the subnet that tasks get addresses from."),
    "networks.*.ipam.config[].gateway": _M("The gateway's address."),
    "networks.*.ipam.options": _M("Read and left out: the swarm has no such options."),
    "hooks": _M("Commands around an apply that has something to do."),
    "hooks.before": _M("Run before the first step."),
    "hooks.after": _M("Run when everything runs."),
    "prune": _M(
        "Remove services that an earlier version of this playbook made and that it has no more;"
        " apply asks first.",
        "`false`",
    ),
    "vars": _M("Variables for this playbook's templates, stronger than the inventory's."),
    "defaults": _M("The same, weaker than the inventory's."),
    "include": _M("Playbooks that this one is laid over: mappings are merged, lists are joined."),
}
_HOOK = {
    "command": _M("The command, on the operator's machine in the playbook's folder."),
    "hosts": _M(
        "Run it on these hosts instead, as the inventory's user.", "the operator's machine"
    ),
    "timeout": _M("It fails after this time.", "`60s`"),
    "only": _M(
        "The parts that it belongs to, as `--only` has them: one or a list of `runtime`, `nodes`,"
        " `services`. An apply of other parts leaves it out.",
        "any",
    ),
}
_MATERIAL = {
    "file": _M("Content: a file, relative to the playbook."),
    "template": _M("Content: a file, rendered with Jinja2 and the playbook's variables."),
    "environment": _M("Content: an environment variable of whoever runs swarmops."),
    "command": _M("Content: what a command on the operator's machine prints."),
    "working_dir": _M(
        "Where `command` runs, relative to the playbook.",
        "the folder of the playbook, or of the Compose file",
    ),
    "external": _M("`true`: somebody else keeps it in the swarm."),
    "labels": _M("Labels of the object in the swarm."),
    "name": _M("In a stack with `external`: its name in the swarm."),
}
PLAYBOOK: dict[str, Meaning] = {
    **_TOP,
    **{
        f"hooks.{when}[].{key}": said for when in ("before", "after") for key, said in _HOOK.items()
    },
    **{f"{kind}.*.{key}": m for kind in ("secrets", "configs") for key, m in _MATERIAL.items()},
    **{f"services.*.{key}": meaning for key, meaning in SERVICE.items()},
}
"""By path, of playbooks."""

GROUP: dict[str, Meaning] = {
    "hosts": _M("Hosts of the group with their variables; `web[1:5]` is a range."),
    "vars": _M("Variables of all hosts of the group."),
    "children": _M("Groups that belong to this group."),
}
"""What a group of an inventory has."""

VARIABLES: dict[str, Meaning] = {
    "ansible_host": _M("Address to connect to.", "the host's name"),
    "ansible_port": _M("SSH port.", "ssh_config's, else 22"),
    "ansible_user": _M("SSH user.", "ssh_config's, else your own name"),
    "ansible_connection": _M("How to reach it: `local` is this machine.", "`ssh`"),
    "ansible_ssh_private_key_file": _M(
        "Private key, or a list of them; a passphrase is asked for once.",
        "the agent's keys and the usual files",
    ),
    "ansible_password": _M("SSH password; `--ask-pass` asks for it, a key is better."),
    "ansible_ssh_common_args": _M(
        "Of ssh's options `-F`, `-J`, `-i`, `-p`, `-l` and `-o` with `ProxyJump`, `ProxyCommand`,"
        " `IdentityFile`, `User`, `Port`, `StrictHostKeyChecking`, `ConnectTimeout`,"
        " `ServerAliveInterval`, `ServerAliveCountMax`, `UserKnownHostsFile`, `HostKeyAlias`,"
        " `IdentitiesOnly`, `IdentityAgent`; a warning names others, which have no effect."
    ),
    "ansible_ssh_extra_args": _M("More of the same."),
    "ansible_ssh_args": _M("More of the same, which comes first."),
    "ansible_host_key_checking": _M(
        "`accept-new` records an unknown host and refuses a changed key, `yes` refuses unknown ones"
        " too, `ask` asks you, `no` checks nothing, but sends no password where a key has changed.",
        "ssh_config's `StrictHostKeyChecking`, else `accept-new`",
    ),
    "ansible_ssh_timeout": _M("Seconds to wait for a connection.", "10"),
    "ansible_ssh_retries": _M("How often more to try where nothing answers.", "0"),
    "ansible_become": _M("Become root with sudo.", "`false`"),
    "ansible_become_password": _M("Sudo's password; `--ask-become-pass` asks for it."),
    "ansible_python_interpreter": _M(
        "Python 3.11 or newer on the host.", "found on the host's `PATH`"
    ),
    "swarmops_playbook": _M(
        "The playbook, relative to this file, or several that are laid over each other in order;"
        " only in `all.vars`; `-p` overrides it."
    ),
    "swarmops_backend": _M(
        "What runs the nodes; the playbook's `swarm.backend` overrides it.", "`native`"
    ),
    "swarmops_install_docker": _M(
        "The `docker` backend may install the distribution's Docker Engine.", "`false`"
    ),
    "swarmops_data_dir": _M(
        "Where a node keeps its state; an absolute path.", "the backend's: `/var/lib/swarmops`"
    ),
    "swarmops_socket": _M(
        "The node's API; at most 107 bytes.",
        "the backend's: `/run/swarmops/swarmops.sock`, `/var/run/docker.sock`",
    ),
    "swarmops_listen_addr": _M(
        "Where the node listens for others; the port may be left out.", "`0.0.0.0:2377`"
    ),
    "swarmops_advertise_addr": _M("Where others reach the node.", "found by the node"),
    "swarmops_hostname": _M("The node's name in the swarm.", "the machine's"),
}
"""By name, of inventories."""
