"""One raft member as a process of its own, as the product runs it; for ``bench.raft``.

``python -m bench.raft_member CONFIG``: TLS 1.3 with a certificate of the swarm's, the node port and
its framing, encryption at rest, a real folder, default timing. Takes orders as lines of JSON on
standard input and answers each with one line.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from bench.raft_load import load, now_s
from bench.raft_state import fill
from swarmops.model.node import Node, NodeDescription
from swarmops.pki.tls import NodeTLS
from swarmops.raft import BootClock, Member, Raft, RaftError, StreamTransport
from swarmops.runtime.dial import dial_raft, split_address
from swarmops.runtime.port import NodePort
from swarmops.store import Store, Transaction

KEYS = 1000


class Config(msgspec.Struct):
    """What the conductor tells a member."""

    number: int
    addresses: list[str]
    folder: str
    cluster_id: str
    mode: Any
    state: str
    """``keys``: a dict of the last commands, as stock's; ``store``: the swarm's store."""

    def member(self, number: int) -> Member:
        """Say who the member with a number is."""
        return Member(f"{number:016x}", f"node{number}", self.addresses[number - 1])


class Keys:
    """As simple a state as the stock members have: the last command under each of some keys."""

    def __init__(self) -> None:
        self.kept: dict[int, bytes] = {}

    def apply(self, index: int, data: bytes) -> int:
        """Keep."""
        self.kept[index % KEYS] = data
        return index

    def snapshot(self) -> Iterable[bytes]:
        """Freeze."""
        return iter([msgspec.msgpack.encode(dict(self.kept))])

    def restore(self, chunks: Iterator[bytes]) -> None:
        """Replace."""
        self.kept = msgspec.msgpack.decode(b"".join(chunks), type=dict[int, bytes])


class Process:
    """The member, its port, and what the conductor may order: each method named ``do_…``."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.me = config.member(config.number)
        folder = Path(config.folder)
        tls = NodeTLS(folder / "certificates")
        self.transport = StreamTransport(lambda addr: dial_raft(addr, tls))
        self.store = Store(propose=self._propose)
        self.raft = Raft(
            directory=folder / "raft",
            me=self.me,
            state_machine=self.store if config.state == "store" else Keys(),
            data_key=bytes(32),
            transport=self.transport,
            clock=BootClock(),
        )
        self.port = NodePort(tls, config.cluster_id, web.Application(), self.transport.accept)
        self.leaderships = 0
        self._writer: asyncio.Task[None] | None = None
        self._answers: list[tuple[float, float]] = []
        self._answered = asyncio.Event()
        self._late_s = 0.0
        self._beat: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Listen, join, say so."""
        await self.port.listen(*split_address(self.me.addr))
        self.raft.on_leadership(self._led)
        peers = [self.config.member(n) for n in range(1, len(self.config.addresses) + 1)]
        await self.raft.start(self.config.mode, peers if self.config.mode == "join" else ())

    def _led(self, leading: object) -> None:
        self.leaderships += bool(leading)

    async def _propose(self, data: bytes) -> object:
        return await self.raft.propose(data, timeout_s=30)

    def _watch(self) -> None:
        """Begin to watch the event loop; not before there is a load, for an idle member's sake."""
        if self._beat is None:
            self._beat = asyncio.create_task(self._watch_loop())

    async def _watch_loop(self) -> None:
        """Note how late the event loop is: what holds it delays heartbeats."""
        while True:
            due_s = now_s() + 0.05
            await asyncio.sleep(0.05)
            self._late_s = max(self._late_s, now_s() - due_s)

    # Orders.

    async def do_status(self, _order: Any) -> dict[str, Any]:
        """Tell who leads, and how long the loop was held since the last time."""
        status = self.raft.status()
        late_s, self._late_s = self._late_s, 0.0
        return {
            "raft_id": status.raft_id,
            "leader": status.leader,
            "is_leader": status.is_leader,
            "term": status.term,
            "applied": status.applied_index,
            "voters": len(status.voters),
            "leaderships": self.leaderships,
            "loop_late_ms": 1000 * late_s,
        }

    async def do_add(self, order: Any) -> dict[str, Any]:
        """Take a member into the group; it votes once it has caught up."""
        members = await self.raft.add_member(self.config.member(order["number"]), timeout_s=30)
        return {"members": len(members)}

    async def do_load(self, order: Any) -> dict[str, Any]:
        """Keep so many commands in flight; tell the numbers."""
        self._watch()
        return await load(lambda data: self.raft.propose(data, timeout_s=30), order)

    async def do_write(self, order: Any) -> dict[str, Any]:
        """Begin to write one small command after the other; ``written`` tells and goes on."""
        self._watch()
        self._writer = asyncio.create_task(self._write_on(order["pause_s"]))
        return {}

    async def _write_on(self, pause_s: float) -> None:
        count = 0
        while True:
            sent_s = now_s()
            count += 1
            # Nothing but the member's own patience ends a proposal whose leader died.
            with contextlib.suppress(RaftError):
                await self._small_write(count)
                self._answers.append((sent_s, now_s()))
                self._answered.set()
            await asyncio.sleep(pause_s)

    async def _small_write(self, count: int) -> None:
        if self.config.state == "store":
            description = NodeDescription(hostname=f"host-{count}")
            tx = Transaction()
            tx.put(Node(id=f"{self.config.number}-{count}", description=description))
            await self.store.commit(tx)
        else:
            await self.raft.propose(b"small" * 40, timeout_s=30)

    async def do_written(self, order: Any) -> dict[str, Any]:
        """Tell the (sent, answered) times since the last time, once one was sent after a moment."""
        while order.get("after_s") and not any(s > order["after_s"] for s, _ in self._answers):
            self._answered.clear()
            await self._answered.wait()
        answers, self._answers = self._answers, []
        return {"answers": answers}

    async def do_fill(self, order: Any) -> dict[str, Any]:
        """Put objects into the store until a snapshot of it has so many bytes."""
        return await fill(self.store, datetime.now(UTC), order["tasks"], order["bytes"])

    async def do_snapshot(self, _order: Any) -> dict[str, Any]:
        """Take a snapshot; tell how long that took until its file was whole."""
        began_s = now_s()
        folder = Path(self.config.folder) / "raft"
        before = set(_snapshots(folder))
        self.raft.snapshot_now()
        while not (new := set(_snapshots(folder)) - before):  # noqa: ASYNC110 - files have no event
            await asyncio.sleep(0.01)
        took_s = now_s() - began_s
        return {"took_s": took_s, "bytes": max(path.stat().st_size for path in new)}


def _snapshots(folder: Path) -> list[Path]:
    return [path for path in folder.glob("snapshot-*") if not path.suffix]


async def _orders() -> AsyncIterator[dict[str, Any]]:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield json.loads(line)


async def main(config: Config) -> None:
    """Run until killed, or until the conductor is gone."""
    process = Process(config)
    await process.begin()
    print(json.dumps({"started": process.config.number}), flush=True)
    running = set()

    async def obey(order: dict[str, Any]) -> None:
        try:
            answer = await getattr(process, f"do_{order['do']}")(order)
        except RaftError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)

    async for order in _orders():
        running.add(asyncio.create_task(obey(order)))


if __name__ == "__main__":
    asyncio.run(main(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Config)))
