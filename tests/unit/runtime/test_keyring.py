"""A manager's keys on disk: wrapped and in clear, and at every point in between."""

from __future__ import annotations

import asyncio
import errno
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from swarmops.model.node import Role
from swarmops.model.swarm import Cluster, ClusterInternal
from swarmops.pki.identity import Credentials, load_credentials
from swarmops.pki.root import issue, new_request, new_root
from swarmops.pki.unlock_key import new_unlock_key, parse_unlock_key
from swarmops.runtime import lock
from swarmops.runtime.certificate import NodeCertificate
from swarmops.runtime.keyring import Keyring, WrongKeyError
from swarmops.runtime.lock import protect
from swarmops.store import Store

KEY, OTHER = b"k" * 32, b"o" * 32


class Node:
    """A manager's folder, opened anew as after a restart."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.open()

    def open(self) -> None:
        """Begin with what is on disk."""
        self.keyring = Keyring(self.folder)
        self.certificate = NodeCertificate(self.folder / "certificates", self.keyring)

    def protect(self, unlock_key: bytes | None) -> None:
        """Follow the swarm's setting."""
        protect(self.keyring, self.certificate, unlock_key)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """Return a manager with a certificate and a data key."""
    now = datetime.now(UTC)
    root = new_root(now)
    key, csr = new_request()
    cert = issue(
        root, csr, node_id="n", role=Role.MANAGER, cluster_id="c", now=now, lifetime_s=3600
    )
    made = Node(tmp_path)
    made.keyring.data_key()
    made.certificate.adopt(Credentials(key_pem=key, cert_pem=cert, root_pem=root.cert_pem))
    return made


def test_wrapped_keys_open_with_the_unlock_key_alone(node: Node):
    """The data key is the same one; a wrong key changes nothing."""
    data_key = node.keyring.data_key()
    node.protect(KEY)
    assert data_key not in node.keyring.path.read_bytes()
    assert "ENCRYPTED" in load_credentials(node.certificate.folder).key_pem
    node.open()
    assert node.keyring.locked
    with pytest.raises(WrongKeyError):
        node.keyring.data_key()
    with pytest.raises(WrongKeyError):
        node.keyring.unlock(OTHER)
    assert node.keyring.locked
    node.keyring.unlock(KEY)
    assert node.keyring.data_key() == data_key
    node.certificate.use()


def test_rotating_the_unlock_key_rewraps_the_data_key_alone(node: Node):
    """The old key opens nothing any more."""
    node.protect(KEY)
    certificate = (node.certificate.folder / "node.crt").read_bytes()
    node.protect(OTHER)
    assert (node.certificate.folder / "node.crt").read_bytes() == certificate
    node.open()
    with pytest.raises(WrongKeyError):
        node.keyring.unlock(KEY)
    node.keyring.unlock(OTHER)
    node.certificate.use()


def test_without_autolock_everything_is_in_clear_again(node: Node):
    """And needs no key after a restart."""
    node.protect(KEY)
    node.protect(None)
    node.open()
    assert not node.keyring.locked
    assert "ENCRYPTED" not in load_credentials(node.certificate.folder).key_pem
    node.certificate.use()


def test_a_certificate_that_is_renewed_meanwhile_is_encrypted_too(node: Node):
    """Its new key never lies on disk in clear."""
    clear = load_credentials(node.certificate.folder)
    node.protect(KEY)
    node.certificate.adopt(clear)
    assert "ENCRYPTED" in load_credentials(node.certificate.folder).key_pem


@pytest.mark.parametrize("step", ["encrypted first", "unwrapped first"])
def test_a_crash_between_the_two_files_locks_nobody_out(node: Node, step: str):
    """Both orders leave the data key in clear, which opens the other."""
    if step == "encrypted first":
        node.certificate.rewrite(protected=True)
    else:
        node.protect(KEY)
        node.keyring.unwrap()
    node.open()
    assert not node.keyring.locked
    assert "ENCRYPTED" in load_credentials(node.certificate.folder).key_pem
    node.certificate.use()


async def test_a_full_disk_is_tried_again_until_the_keys_are_as_the_swarm_wants_them(
    node: Node, monkeypatch: pytest.MonkeyPatch
):
    """Without an end of the task that follows the swarm's setting."""
    key, tries, store = new_unlock_key(random.Random(1)), 0, Store()
    wanted = Cluster(id="c1", internal=ClusterInternal(unlock_key=key))
    monkeypatch.setattr(Store, "cluster", wanted)
    monkeypatch.setattr(lock, "RETRY_S", 0.0)
    wrap = node.keyring.wrap

    def refuse_twice(unlock_key: bytes) -> None:
        nonlocal tries
        tries += 1
        if tries <= 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        wrap(unlock_key)

    monkeypatch.setattr(node.keyring, "wrap", refuse_twice)
    following = asyncio.ensure_future(lock.follow(store, node.keyring, node.certificate))
    async with asyncio.timeout(60):
        while not node.keyring.is_wrapped_by(parse_unlock_key(key)):
            assert not following.done(), "it gave up"
            await asyncio.sleep(0)
    assert tries == 3
    following.cancel()
