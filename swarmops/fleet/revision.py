"""Which revision of the playbook is applied, and by whom: kept in the swarm's own labels.

Called by apply, which writes it, and by status, which shows it. Works on any backend: labels of the
swarm are part of Docker's API.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from swarmops.client import Client
from swarmops.errors import ApiError
from swarmops.fleet.managers import Managers
from swarmops.fleet.owner import owner
from swarmops.model.base import given
from swarmops.model.swarm import SwarmSpec

REVISION, BY, AT, PLAYBOOK = (
    "swarmops.revision",
    "swarmops.applied-by",
    "swarmops.applied-at",
    "swarmops.applied-playbook",
)
_GIT_WITHIN_S = 10.0
_TRIES = 5


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """What was applied last. ``commit`` is git's, with ``+`` where files differed from it."""

    commit: str = ""
    by: str = ""
    at: str = ""
    playbook: str = ""

    def same_as(self, other: Revision | None) -> bool:
        """Whether it is the same playbook at the same commit, whoever applied it when."""
        return other is not None and (self.commit, self.playbook) == (other.commit, other.playbook)

    @property
    def text(self) -> str:
        """One line for people."""
        commit = f" at {self.commit}" if self.commit else ""
        return f"{self.playbook}{commit}, by {self.by} on {self.at}"


def commits_of(playbooks: Iterable[Path]) -> str:
    """Return the commit of several playbooks, those of all that have another one."""
    return ",".join(dict.fromkeys(filter(None, map(commit_of, playbooks))))


def commit_of(playbook: Path) -> str:
    """Return a playbook's commit, with ``+`` if its folder has changes; '' outside of git."""
    path = playbook.absolute()
    folder = str(path if path.is_dir() else path.parent)

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", folder, *words],
                capture_output=True,
                text=True,
                check=False,
                timeout=_GIT_WITHIN_S,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "--short=12", "HEAD")
    if not commit:
        return ""
    return commit + ("+" if git("status", "--porcelain", "--", ".") else "")


def read_revision(labels: Mapping[str, str]) -> Revision | None:
    """Return what the swarm's labels say."""
    if PLAYBOOK not in labels:
        return None
    return Revision(
        commit=labels.get(REVISION, ""),
        by=labels.get(BY, ""),
        at=labels.get(AT, ""),
        playbook=labels[PLAYBOOK],
    )


def revision_now(playbooks: Sequence[str], now: datetime) -> Revision:
    """Return what an apply of these playbooks by this user is."""
    paths = list(map(Path, playbooks))
    return Revision(
        commit=commits_of(paths),
        by=owner(),
        at=now.isoformat(timespec="seconds"),
        playbook=", ".join(path.name for path in paths),
    )


def record_revision(managers: Managers, wanted: Revision) -> None:
    """Write it into the swarm's labels. Raises SwarmopsError."""

    def write(manager: Client) -> bool:
        cluster = manager.swarm()
        labels = dict[str, str](given(cluster.spec.labels, {}) or {})
        labels |= {REVISION: wanted.commit, BY: wanted.by, AT: wanted.at, PLAYBOOK: wanted.playbook}
        spec: SwarmSpec = msgspec.structs.replace(cluster.spec, labels=labels)
        try:
            manager.update_swarm(cluster.version.index, spec)
        except ApiError as error:
            if "out of sequence" not in error.message:
                raise
            return False
        return True

    for _ in range(_TRIES):
        if managers.ask(write):
            return
