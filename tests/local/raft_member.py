"""One raft member as a process of its own, for ``test_raft_processes``; not a test.

``python raft_member.py DIRECTORY NUMBER PORT,PORT,PORT MODE``. It speaks to the others over the
product's own TLS, with the certificate in DIRECTORY.tls. It proposes one command after the other,
reads in between, and writes a line for each answer, with the machine's time before and after; and
one whenever its office or its disk's state changes. Lines on its standard input: ``remove N`` takes
another out of the group; of all others the first makes it stop proposing, the second write its
state.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from swarmops.pki.tls import NodeTLS
from swarmops.raft import BootClock, Member, Raft, RaftError, Stopped, StreamTransport, Timing
from swarmops.runtime.dial import dial_raft
from swarmops.runtime.port import NodePort

CLUSTER = "c1"


class Log:
    """A state machine that keeps all commands in order."""

    def __init__(self) -> None:
        self.applied: list[bytes] = []

    def apply(self, index: int, data: bytes) -> int:
        """Append."""
        del index
        self.applied.append(data)
        return len(self.applied)

    def snapshot(self) -> Iterable[bytes]:
        """Freeze."""
        return iter([msgspec.msgpack.encode(list(self.applied))])

    def restore(self, chunks: Iterator[bytes]) -> None:
        """Replace."""
        self.applied = msgspec.msgpack.decode(b"".join(chunks), type=list[bytes])


def say(line: str) -> None:
    """Write a line at once, in one system call."""
    os.write(1, line.encode() + b"\n")


async def current(raft: Raft) -> None:
    """Wait until this member has applied all that was acknowledged anywhere."""
    while True:
        try:
            await raft.read_barrier(timeout_s=10)
        except RaftError:
            await asyncio.sleep(0.1)
        else:
            return


async def main(directory: str, number: int, ports: list[int], mode: Any) -> None:
    """Run until killed."""
    members = [
        Member(f"{n:016x}", f"node{n}", f"127.0.0.1:{port}") for n, port in enumerate(ports, 1)
    ]
    me, log = members[number - 1], Log()

    tls = NodeTLS(Path(f"{directory}.tls"))
    transport = StreamTransport(lambda addr: dial_raft(addr, tls))
    port = NodePort(tls, CLUSTER, web.Application(), transport.accept)
    await port.listen("127.0.0.1", ports[number - 1])
    raft = Raft(
        directory=Path(directory),
        me=me,
        state_machine=log,
        data_key=bytes(32),
        transport=transport,
        timing=Timing(snapshot_entries=100, trailing_entries=20, segment_bytes=4000),
        clock=BootClock(),
    )
    raft.on_removed(lambda: removed(raft))
    await raft.start(mode, members if mode == "join" else ())
    if mode == "bootstrap":
        await raft.wait_for_leader(timeout_s=10)
        for member in members[1:]:
            await raft.add_member(member)
    orders = [asyncio.Event(), asyncio.Event()]
    tasks = [asyncio.ensure_future(obey(raft, members, orders)), asyncio.ensure_future(tell(raft))]
    await work(raft, log, number, orders[0])
    say("stopped")
    await orders[1].wait()
    await current(raft)
    say("state " + " ".join(item.decode() for item in log.applied))
    await asyncio.gather(*tasks)


async def work(raft: Raft, log: Log, number: int, is_over: asyncio.Event) -> None:
    """Propose a command, read how many there are, and again."""
    run, count = time.monotonic_ns(), 0
    while not is_over.is_set():
        command = f"{number}-{run}-{count}"
        count += 1
        began = time.monotonic_ns()
        try:
            await raft.propose(command.encode(), timeout_s=10)
            say(f"ack {command} {began} {time.monotonic_ns()}")
        except Stopped:
            return
        except RaftError as error:
            say(f"unknown {command} {type(error).__name__}")
        began = time.monotonic_ns()
        try:
            await raft.read_barrier(timeout_s=10)
            say(f"read {len(log.applied)} {began} {time.monotonic_ns()}")
        except RaftError as error:
            say(f"unread {type(error).__name__}")


async def obey(raft: Raft, members: list[Member], orders: list[asyncio.Event]) -> None:
    """Do what the lines on the standard input say."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode().split():
        if line[0] == "remove":
            await raft.remove_member(members[int(line[1]) - 1].raft_id, timeout_s=30)
            say(f"removed {line[1]}")
        else:
            next(order for order in orders if not order.is_set()).set()


async def tell(raft: Raft) -> None:
    """Write a line when the office or the disk's state changes."""
    before = ""
    while True:
        status = raft.status()
        now = f"{'leads' if status.is_leader else 'follows'} {status.disk_error or 'disk ok'}"
        if now != before:
            before = now
            say(f"now {now}")
        await asyncio.sleep(0.02)


def removed(raft: Raft) -> None:
    """End, as the product's manager part does."""
    say("gone")
    asyncio.ensure_future(raft.stop()).add_done_callback(lambda _: os._exit(0))


if __name__ == "__main__":
    _, directory_, number_, ports_, mode_ = sys.argv
    asyncio.run(main(directory_, int(number_), [int(p) for p in ports_.split(",")], mode_))
