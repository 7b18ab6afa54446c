"""Disaster recovery: a group of one made from whatever one surviving manager has on its disk.

Called with the member stopped. All that its log holds is taken as agreed; what only the lost
managers had is lost, which is why a user has to ask for this.
"""

from __future__ import annotations

import random
from pathlib import Path

from swarmops.raft import commands, membership, storage
from swarmops.raft.disk import DirectoryDisk, Disk
from swarmops.raft.logwriter import Batch
from swarmops.raft.membership import Configuration
from swarmops.raft.seam import Member, Timing
from swarmops.raft.termfile import TermState


def force_new_cluster(
    directory: Path | Disk,
    *,
    me: Member,
    data_key: bytes,
    rng: random.Random | None = None,
    timing: Timing | None = None,
) -> None:
    """Rewrite a stopped member's directory so that it is the only member; then start it as "open".

    ``me`` has the directory's raft id and may have a new address. The others' ids are barred for
    ever. Raises StorageCorrupt, RaftError or OSError; when it fails, nothing was changed.
    """
    disk = DirectoryDisk(directory) if isinstance(directory, Path) else directory
    rng, timing = rng or random.SystemRandom(), timing or Timing()
    opened = storage.open_member(disk, data_key, rng, me.raft_id, timing)
    before = opened.configurations[-1][1]
    others = {m.raft_id for m in (*before.voters, *before.learners)} - {me.raft_id}
    alone = Configuration(voters=(me,), removed=(*before.removed, *sorted(others)))
    last = opened.entries[-1] if opened.entries else opened.sentinel
    term = opened.term.term + 1
    entry = (commands.membership(membership.encode(alone)), last[1] + 1, term)
    state = TermState(me.raft_id, term, me.raft_id)
    opened.writer.commit(Batch(term=state, entries=[entry]))
    opened.writer.close()
