"""What is wrong, or soon will be, with hosts and swarm, and what cures it.

Called by ``swarmops doctor``. ``examine`` asks the hosts; ``findings`` judges what they said and is
pure: the same examinations and time give the same findings.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import Enum

import msgspec

from swarmops.backends import hostside
from swarmops.backends.base import Shell
from swarmops.errors import SwarmopsError
from swarmops.fleet.observation import HostView, Observation
from swarmops.fleet.observe import Looked, Seen
from swarmops.fleet.quorum import is_manager, is_reachable
from swarmops.fleet.target import Target
from swarmops.model.node import NodeState

_CERTIFICATES = (
    "certificates/node.crt",  # ours
    "certificates/swarm-node.crt",  # Docker Engine's
)
_APPLIED, _COMMITTED = "swarmops_raft_applied_index", "swarmops_raft_commit_index"
CLOCK_BAD_S, CLOCK_ODD_S = 30.0, 2.0
DISK_BAD_BYTES, DISK_LOW_BYTES = 200 << 20, 1 << 30
CERTIFICATE_LOW = timedelta(days=10)
LAG_ODD = 1000
"""Entries that a manager may be behind before it is told."""


class Grade(Enum):
    """How bad it is: ``warning`` works for now, ``problem`` doesn't."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing about a host, or about the swarm (``host`` empty); ``cure`` empty: none needed."""

    host: str
    check: str
    grade: Grade
    found: str
    cure: str = ""


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """What a host said besides its facts."""

    expires: datetime | None = None
    """When the node's certificate ends; None: it has none."""
    applied: int | None = None
    committed: int | None = None


def examine(shell: Shell, target: Target) -> Examined:
    """Read the certificate and Raft's position on a host. Raises HostError."""
    values: dict[str, float] = {}
    expires = None
    for name in _CERTIFICATES:
        args = {
            "certificate": f"{target.place.data_dir}/{name}",
            "socket": target.place.socket,
            "metrics": [_APPLIED, _COMMITTED],
        }
        answer = hostside.call(shell, "health", args)
        values = answer["metrics"]
        if answer["certificate"]:
            expires = _end_of(answer["certificate"])
            break
    return Examined(
        expires=expires,
        applied=int(values[_APPLIED]) if _APPLIED in values else None,
        committed=int(values[_COMMITTED]) if _COMMITTED in values else None,
    )


def _end_of(pem: str) -> datetime | None:
    from cryptography import x509  # noqa: PLC0415 - slow to import

    with contextlib.suppress(ValueError):
        return x509.load_pem_x509_certificates(pem.encode())[0].not_valid_after_utc
    return None


def findings(
    seen: Seen, examined: dict[str, Examined | SwarmopsError], now: datetime
) -> list[Finding]:
    """Judge everything; what is well is told too, one finding a check."""
    result = []
    newest = max(
        (e.committed or 0 for e in examined.values() if isinstance(e, Examined)), default=0
    )
    for name, view in seen.observation.hosts.items():
        looked = seen.looked.get(name)
        if view.error or looked is None:
            result.append(_problem(name, "reachable", view.error, "see the reason"))
            continue
        result += _of_facts(view, looked)
        found = examined.get(name)
        if isinstance(found, Examined):
            result += _of_examination(name, found, newest, now)
        elif found is not None:
            result.append(_problem(name, "examined", str(found), "see the reason"))
    return [*result, *_of_swarm(seen.observation)]


def _of_facts(view: HostView, looked: Looked) -> Iterable[Finding]:
    name, facts = view.name, looked.facts
    if looked.missing:
        lacks = "; ".join(missing.reason for missing in looked.missing)
        yield _problem(name, "runtime", lacks, "swarmops apply")
    else:
        yield _fine(name, "runtime", view.release or "as wanted")
    if view.unit:
        sound = view.unit in {"active", "supervised"}
        grade = Grade.OK if sound else Grade.PROBLEM
        yield _graded(name, "unit", grade, view.unit, "swarmops apply")
    if view.swarm.error:
        yield _problem(name, "node", view.swarm.error, f"swarmops logs {name}")
    off = facts.clock_offset_s
    grade = _grade(abs(off), CLOCK_ODD_S, CLOCK_BAD_S)
    text = f"{off:+.1f} s from this machine's"
    yield _graded(
        name, "clock", grade, text, "run a time service there (chrony, systemd-timesyncd)"
    )
    free = facts.disk_free_bytes
    grade = _grade(-free, -DISK_LOW_BYTES, -DISK_BAD_BYTES)
    yield _graded(name, "disk", grade, f"{free >> 20} MiB free", "free space there")


def _of_examination(name: str, said: Examined, newest: int, now: datetime) -> Iterable[Finding]:
    if said.expires is not None:
        left = said.expires - now
        text = f"until {said.expires:%Y-%m-%d} ({left.days} days)"
        if left < timedelta(0):
            yield _problem(
                name,
                "certificate",
                f"expired on {said.expires:%Y-%m-%d}",
                f"swarmops node rm {name}, then swarmops apply: it joins anew;"
                f" 'swarmops logs {name}' says why it was not renewed",
            )
        elif left < CERTIFICATE_LOW:
            yield _graded(
                name, "certificate", Grade.WARNING, text, f"see why: swarmops logs {name}"
            )
        else:
            yield _fine(name, "certificate", text)
    if said.applied is not None:
        lag = max(0, newest - said.applied)
        grade = Grade.WARNING if lag > LAG_ODD else Grade.OK
        yield _graded(
            name, "raft", grade, f"{lag} entries behind", "is its disk or its network slow?"
        )


def _of_swarm(observation: Observation) -> Iterable[Finding]:
    swarm = observation.swarm
    if swarm is None:
        said = observation.swarm_error or "no manager tells of a swarm"
        yield _problem(
            "", "swarm", said, "swarmops apply, or bring back more than half of the managers"
        )
        return
    managers = [node for node in swarm.nodes if is_manager(node)]
    silent = [node for node in managers if not is_reachable(node)]
    left = len(managers) - len(silent) - (len(managers) // 2 + 1)
    text = f"{len(managers) - len(silent)} of {len(managers)} reachable, {left} may be lost"
    alone = left == 0 and len(managers) > 1
    cure = "bring the silent ones back, or replace them: swarmops apply"
    yield _graded(
        "",
        "managers",
        Grade.PROBLEM if silent else Grade.WARNING if alone else Grade.OK,
        text,
        cure,
    )
    down = [node for node in swarm.nodes if node.status.state is not NodeState.READY]
    names = ", ".join(sorted(_name(node.id, observation) for node in down))
    if down:
        yield _problem(
            "",
            "nodes",
            f"not ready: {names}",
            "look at those hosts, or 'swarmops node rm' what is gone for good",
        )
    else:
        yield _fine("", "nodes", f"{len(swarm.nodes)} ready")


def _name(node_id: str, observation: Observation) -> str:
    hosts = observation.hosts.values()
    return next((view.name for view in hosts if view.swarm.node_id == node_id), node_id)


def _grade(value: float, odd: float, bad: float) -> Grade:
    if value >= bad:
        return Grade.PROBLEM
    return Grade.WARNING if value >= odd else Grade.OK


def _graded(host: str, check: str, grade: Grade, found: str, cure: str) -> Finding:
    return Finding(
        host=host, check=check, grade=grade, found=found, cure="" if grade is Grade.OK else cure
    )


def _fine(host: str, check: str, found: str) -> Finding:
    return Finding(host=host, check=check, grade=Grade.OK, found=found)


def _problem(host: str, check: str, found: str, cure: str) -> Finding:
    return Finding(host=host, check=check, grade=Grade.PROBLEM, found=found, cure=cure)
