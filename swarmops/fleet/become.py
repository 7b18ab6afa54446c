"""``ansible_become_*``: what swarmops does by ``sudo`` to root, and refuses to do otherwise.

Called by ``host``; pure. Ansible would become somebody else, or in another way: to do it as root
all the same, or to fail at the host, would be no answer.
"""

from __future__ import annotations

from collections.abc import Callable

from swarmops.fleet.entry import Entry

_SUDO = ("sudo", "ansible.builtin.sudo")
_FLAGS = frozenset({"-H", "-S", "-n"})
"""Ansible's own, which are given here too where they are needed."""


def refuse_other_ways(entry: Callable[[str], Entry | None]) -> None:
    """Raise InputError, with file and line, for a way to become root that is not had here.

    ``entry`` returns a host's variable, None where it is not set.
    """
    if (method := entry("ansible_become_method")) and method.value not in _SUDO:
        method.fail(
            f"ansible_become_method is {method.value}, and swarmops knows sudo only: use it"
        )
    if (user := entry("ansible_become_user")) and user.value not in ("root", 0):
        user.fail(
            f"ansible_become_user is {user.value}, and a node is run by root only: write root, or"
            " leave it out"
        )
    if (program := entry("ansible_become_exe")) and program.value != "sudo":
        program.fail(
            f"ansible_become_exe is {program.value}, and swarmops takes the sudo of the PATH: leave"
            " it out"
        )
    if (flags := entry("ansible_become_flags")) and not set(flags.string().split()) <= _FLAGS:
        flags.fail(
            f"ansible_become_flags are {flags.value}, and swarmops gives sudo its own: leave them"
            " out"
        )
