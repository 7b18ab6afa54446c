"""What ``ansible_ssh_common_args`` says of a connection, as far as swarmops has it too.

Called by ``targets``; pure. Options that only OpenSSH's program has are left alone, as all other
variables of Ansible's are; they are named, so that a reader of the inventory can tell it.
"""

from __future__ import annotations

import re
import shlex

import msgspec

_AS_IN_CONFIG = (
    *("hostkeyalias", "identitiesonly", "identityagent"),
    *("serveraliveinterval", "serveralivecountmax", "userknownhostsfile"),
)
"""Options that are read as the first lines of ssh_config."""
_WITH_VALUE = "BbcDEeFIiJLlmOopQRSWw"
"""ssh's options that take a value, so that it isn't taken for one."""
_READ = frozenset(
    {
        *("identityfile", "proxyjump", "port", "connecttimeout", "proxycommand"),
        *("stricthostkeychecking", "user", *_AS_IN_CONFIG),
        *("J", "i", "p", "l", "F", "o"),
    }
)
_NEEDLESS = frozenset(
    {
        *("batchmode", "controlmaster", "controlpath", "controlpersist", "loglevel"),
        *("q", "n", "T", "t", "v", "S", "E"),
    }
)
"""Of what ssh says, and of sharing a connection, which is done anyway: nobody misses them."""


class SshArgs(msgspec.Struct, frozen=True, kw_only=True):
    """The options found; ``jump`` is ssh's ``user@host:port,…``."""

    jump: str | None = None
    proxy_command: str | None = None
    host_key_checking: str | None = None
    keys: tuple[str, ...] = ()
    user: str | None = None
    port: int | None = None
    connect_timeout_s: int | None = None
    config: str | None = None
    """``-F``: the file that is read instead of the user's and the system's ssh_config."""
    options: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()
    """What has no effect here, as it is written: ``-A``, ``-o Ciphers``."""


def parse_ssh_args(text: str) -> SshArgs:
    """Read ssh's options. Raises ValueError where the quotes are not closed."""
    words = iter(shlex.split(text))
    found: dict[str, str] = {}
    keys: list[str] = []
    ignored: list[str] = []
    for word in words:
        if not word.startswith("-") or len(word) < 2:  # noqa: PLR2004 - a dash and a letter
            continue
        letter, value = word[1], word[2:]
        if letter in _WITH_VALUE and not value:
            value = next(words, "")
        if letter == "o":
            name, value = (*re.split(r"\s*[=\s]\s*", value.strip(), maxsplit=1), "")[:2]
            letter = name.lower()
            if letter not in _READ | _NEEDLESS:
                ignored.append(f"-o {name}")
        elif letter not in _READ | _NEEDLESS:
            ignored.append(f"-{letter}")
        if letter in {"i", "identityfile"}:
            keys.append(value)
        else:
            found.setdefault(letter, value)
    jump = found.get("J") or found.get("proxyjump")
    port = found.get("p") or found.get("port") or ""
    patience = found.get("connecttimeout", "")
    direct = jump is not None and jump.lower() == "none"
    return SshArgs(
        jump=None if direct else jump,
        proxy_command=found.get("proxycommand") or ("none" if direct else None),
        host_key_checking=found.get("stricthostkeychecking"),
        keys=tuple(keys),
        user=found.get("l") or found.get("user"),
        port=int(port) if port.isdigit() else None,
        connect_timeout_s=int(patience) if patience.isdigit() and int(patience) else None,
        config=found.get("F"),
        options=tuple(
            (name, " ".join(found[name].split())) for name in _AS_IN_CONFIG if found.get(name)
        ),
        ignored=tuple(dict.fromkeys(ignored)),
    )
