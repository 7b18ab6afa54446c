"""The apply lock: one holder at a time, however runs begin, end, die or are cut off."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from swarmops.backends.base import Place
from swarmops.errors import SwarmopsError
from swarmops.fleet import owner
from swarmops.fleet.apply_lock import lock_warning
from swarmops.fleet.keepers import HostKeeper, Keeper, Kept, MovedError, SwarmKeeper, unmoved
from swarmops.fleet.lease import Lease, free, sweep
from swarmops.fleet.local import LocalShell
from swarmops.fleet.lock import LOCK_LABEL, Freed, Lock, LockedError, blocks, decode, encode
from swarmops.fleet.managers import Managers
from swarmops.fleet.observation import Observation, SwarmView
from swarmops.fleet.target import Target
from swarmops.fleet.waiting import Patience

if TYPE_CHECKING:
    from tests.unit.fleet_apply.conftest import FakeSwarm

LOCK = Lock(id="a", owner="ops@laptop", reason="apply", since_s=100, renewed_s=160, process="p")


@pytest.fixture(params=["swarm", "host"])
def keeper(request: pytest.FixtureRequest, fake: FakeSwarm, tmp_path: Path) -> Keeper:
    """Return both places where a lock may be kept; every promise holds in each."""
    if request.param == "swarm":
        fake.add("h1", manager=True)
        return SwarmKeeper(Managers(fake.client, ["h1"], Patience(bound_s=0)))
    place = Place(host="h1", local=True, data_dir=str(tmp_path / "data"))
    shell = LocalShell(Target(name="h1", address="h1", connection="local", place=place))
    return HostKeeper(lambda: shell, place)


def make_lease(who: str = "ops@laptop", *, gone: bool = False, ttl_s: float = 30.0) -> Lease:
    """Return a lease of somebody, whose process others find gone or not."""
    return Lease("a change", who=who, process=who, ttl_s=ttl_s, is_gone=lambda _: gone)


def test_one_holder(keeper: Keeper) -> None:
    """A second run is told who, since when, why and what to do; the first one's end frees it."""
    first, second = make_lease(), make_lease("other@desk")
    first.acquire(keeper)
    with pytest.raises(
        LockedError, match=r"ops@laptop since .* a change: .*unlock-apply"
    ) as caught:
        second.acquire(keeper)
    assert caught.value.exit_code == 4
    first.release()
    second.acquire(keeper)
    assert keeper.read().lock is not None


def test_two_at_once(keeper: Keeper) -> None:
    """Of two that saw it free one gets it: the other's swap fails."""
    seen = keeper.read()
    make_lease().acquire(keeper, seen)
    with pytest.raises(MovedError):
        make_lease().acquire(keeper, seen)


def test_expired(keeper: Keeper) -> None:
    """A lock that nobody renews for its time is taken over, and its former holder learns of it."""
    first, second = make_lease(ttl_s=0), make_lease("other@desk")
    first.acquire(keeper)
    second.acquire(keeper)
    with pytest.raises(LockedError, match="taken over by other@desk"):
        first.check()
    first.release()
    second.check()
    assert keeper.read().lock == second.lock(keeper.read().lock.renewed_s)  # type: ignore[union-attr]


def test_locked_as_of_now(keeper: Keeper) -> None:
    """What was seen an hour ago, before a person said yes, makes a lock that lives from now on."""
    first, second = make_lease(), make_lease("other@desk")
    seen = keeper.read()
    first.acquire(keeper, msgspec.structs.replace(seen, now_s=seen.now_s - 3600))
    with pytest.raises(LockedError, match="locked by ops@laptop"):
        second.acquire(keeper)
    first.check()


def test_killed(keeper: Keeper) -> None:
    """The lock of a run that is known to be dead is taken over at once."""
    make_lease("dead@here").acquire(keeper)
    make_lease("next@here", gone=True).acquire(keeper)


@pytest.mark.parametrize(("gone", "ttl_s"), [(True, 30.0), (False, 0.0), (False, 30.0)])
def test_swept(keeper: Keeper, ttl_s: float, *, gone: bool) -> None:
    """A dead run's lock is taken away, and one without a sign of life; a living one's stays."""
    sweep(keeper)
    lease = make_lease(ttl_s=ttl_s)
    lease.acquire(keeper)
    sweep(keeper, lambda _: gone)
    assert (keeper.read().lock is None) == (gone or not ttl_s)


def test_context(keeper: Keeper) -> None:
    """However a run ends, its lock is free afterwards."""
    with contextlib.suppress(KeyboardInterrupt), make_lease() as lease:
        lease.acquire(keeper)
        raise KeyboardInterrupt
    assert keeper.read().lock is None


def test_renewed(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that goes on keeps its lock: it is renewed without anybody's doing."""
    with make_lease(ttl_s=0.03) as lease:
        lease.acquire(keeper)
        renewed = threading.Event()
        swap = keeper.swap

        def heard(kept: Kept, lock: Lock | None, freed: Freed | None = None) -> None:
            swap(kept, lock, freed)
            renewed.set()

        monkeypatch.setattr(keeper, "swap", heard)
        assert renewed.wait(60)


def test_freed_by_hand(keeper: Keeper) -> None:
    """Freeing it says whose lock it was; that one stops, and in a swarm it is told why."""
    lease = make_lease()
    lease.acquire(keeper)
    note = Freed(owner="boss@desk", reason="it hangs", at_s=0, lock_id="")
    lock = free(keeper, None, note)
    assert lock is not None
    assert lock.id == lease.id
    assert free(keeper, None, note) is None
    lease.renew()
    said = "boss@desk .*it hangs" if isinstance(keeper, SwarmKeeper) else "the swarm's lock is gone"
    with pytest.raises(LockedError, match=said):
        lease.check()


def test_not_renewed_in_time(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that couldn't renew for the lock's time does nothing more until it could."""
    lease = make_lease(ttl_s=0)
    lease.acquire(keeper)
    lease.check()

    def lost() -> None:
        raise SwarmopsError("no manager answers")

    monkeypatch.setattr(keeper, "read", lost)
    with pytest.raises(SwarmopsError, match="no manager answers"):
        lease.check()


def test_rest_of_the_spec_stays(fake: FakeSwarm) -> None:
    """The lock changes one label of the swarm and nothing else; freed, the label is empty."""
    fake.add("h1", manager=True)
    spec = msgspec.structs.replace(fake.cluster.spec, name="default", labels={"team": "x"})
    fake.cluster = msgspec.structs.replace(fake.cluster, spec=spec)
    lease = make_lease()
    lease.acquire(SwarmKeeper(Managers(fake.client, ["h1"])))
    lease.release()
    labels = {"team": "x", LOCK_LABEL: ""}
    assert fake.cluster.spec == msgspec.structs.replace(spec, labels=labels)


def test_lock_is_warned_of(fake: FakeSwarm) -> None:
    """Who only looks is told that somebody is at work, once it is so and as long as it is."""
    fake.add("h1", manager=True)

    def seen() -> Observation:
        view = SwarmView(
            id="s",
            seen_from="h1",
            spec=fake.cluster.spec,
            version=fake.cluster.version.index,
            now_s=fake.now.timestamp(),
        )
        return Observation(hosts={}, swarm=view)

    assert lock_warning(Observation(hosts={})) == ""
    assert lock_warning(seen()) == ""
    lease = make_lease()
    lease.acquire(SwarmKeeper(Managers(fake.client, ["h1"])))
    assert lock_warning(seen()).startswith("ops@laptop is changing the swarm (a change)")
    lease.release()
    assert lock_warning(seen()) == ""


def test_file_goes(tmp_path: Path) -> None:
    """A host keeps no file when nobody has the lock, also after it was only looked at."""
    place = Place(host="h1", local=True, data_dir=str(tmp_path / "data"))
    shell = LocalShell(Target(name="h1", address="h1", connection="local", place=place))
    keeper = HostKeeper(lambda: shell, place)
    assert keeper.read().lock is None
    lease = make_lease()
    lease.acquire(keeper)
    assert [path.name for path in tmp_path.iterdir()] == [".data.apply-lock"]
    lease.release()
    assert list(tmp_path.iterdir()) == []


def test_moved_for_ever() -> None:
    """Somebody who always comes between is borne with, bounded."""

    def moved() -> None:
        raise MovedError("moved")

    with pytest.raises(MovedError):
        unmoved(moved)


@pytest.mark.parametrize(
    ("lock", "now_s", "gone", "blocked"),
    [
        (None, 0, False, False),
        (LOCK, 161, False, True),
        (LOCK, 190, False, False),
        (LOCK, 161, True, False),
        (msgspec.structs.replace(LOCK, id="me"), 161, False, False),
        (decode("a newer format"), 1e9, True, True),
    ],
)
def test_blocks(lock: Lock | None, now_s: float, blocked: object, *, gone: bool) -> None:
    """Nobody's, an old, a dead run's and one's own lock stop nobody; an unreadable one does."""
    assert blocks(lock, "me", now_s, lambda _: gone) is blocked


def test_kept_as_text() -> None:
    """What is written is read back."""
    assert decode(encode(LOCK)) == LOCK
    assert decode(encode(None)) is None


def test_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipeline may say who it is; else it is the user and the machine."""
    assert "@" in owner.owner()
    monkeypatch.setenv("SWARMOPS_OWNER", "ci job 5")
    assert owner.owner() == "ci job 5"


def test_is_gone() -> None:
    """Only a process of this machine that has ended is said to be gone."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        living = owner.fingerprint(process.pid)
        assert not owner.is_gone(living)
    assert owner.is_gone(living)
    assert not owner.is_gone(owner.fingerprint(os.getpid()))
    assert not owner.is_gone(living.replace(living[:8], "another-", 1))
    assert not owner.is_gone("")


def test_a_hidden_process_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where ``/proc`` hides other users' processes (``hidepid``), they may live; a zombie not."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        living = owner.fingerprint(process.pid)
        with monkeypatch.context() as hiding:
            hiding.setattr(owner, "_started", lambda _: "")
            assert not owner.is_gone(living)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert owner.is_gone(living)
