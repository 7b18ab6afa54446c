"""Whether a host's key is accepted, by what is known of it and by how strict the user is.

Given to paramiko by ``connect``, for every hop of every connection.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import paramiko

from swarmops.fleet.credentials import Credentials
from swarmops.fleet.known_hosts import KnownHosts, Verdict, forgotten, judge
from swarmops.fleet.ssh_transport import Transport


class KeyRefusedError(Exception):
    """The host key is not one that we accept; the text is the reason."""


class KeyPolicy(paramiko.MissingHostKeyPolicy):
    """Judges every host key: we give paramiko none, so that all come here.

    ``alias`` is ssh_config's HostKeyAlias, ``files`` its UserKnownHostsFile.
    """

    def __init__(
        self,
        known: KnownHosts,
        credentials: Credentials,
        mode: str,
        alias: str | None = None,
        files: tuple[Path, ...] = (),
    ) -> None:
        self.known = known
        self.credentials = credentials
        self.mode = mode
        self.alias = alias
        self.files = files

    def missing_host_key(
        self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey
    ) -> None:
        """Accept the key by returning; KeyRefusedError says why not."""
        blob = key.asbytes()
        hostname = self.alias or hostname
        verdict = judge(self.known.entries(hostname, self.files), blob)
        if verdict.state == "changed" and self.mode == "no":
            _withhold_password(client, verdict)
            return
        if verdict.state == "unknown" and (
            self.mode in {"accept-new", "no"} or (self.mode == "ask" and self._asked(hostname, key))
        ):
            if forgotten(self.files):
                return
            try:
                verdict = self.known.record(hostname, key.get_name(), blob)
            except OSError as error:
                raise KeyRefusedError(
                    f"its host key can't be recorded in {self.known.own} ({error.strerror}): "
                    "make the file writable"
                ) from error
            if verdict.state == "unknown":
                return
        if verdict.state != "known":
            raise KeyRefusedError(_refusal(verdict, hostname, key, self.known.own, self.mode))

    def _asked(self, hostname: str, key: paramiko.PKey) -> bool:
        offered = f"{key.get_name()} {key.fingerprint}"
        return self.credentials.confirmed(f"The key of {hostname} is {offered}: trust it?")


def _withhold_password(client: paramiko.SSHClient, verdict: Verdict) -> None:
    transport = client.get_transport()
    if isinstance(transport, Transport) and verdict.entry is not None:
        transport.withheld = (
            f"its host key is not the one in {verdict.entry.path} line {verdict.entry.line}, and to"
            " such a host no password is sent: remove that line if the host was reinstalled, or"
            " log in with a key"
        )


def _refusal(verdict: Verdict, hostname: str, key: paramiko.PKey, own: Path, mode: str) -> str:
    offered = f"{key.get_name()} {key.fingerprint}"
    if verdict.entry is None:
        return (
            f"its host key ({offered}) is not known and host_key_checking is {mode}: compare it on "
            f"the host, then add it to {own}"
        )
    where = f"{verdict.entry.path} line {verdict.entry.line}"
    if verdict.state == "revoked":
        return f"its host key ({offered}) is revoked in {where}: do not trust this host"
    return (
        f"its host key has changed to {offered} from the one in {where}: if the host was "
        f"reinstalled, remove that line (ssh-keygen -f {shlex.quote(verdict.entry.path)} "
        f"-R {shlex.quote(hostname)}); else somebody may be in between"
    )
