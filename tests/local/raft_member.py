"""One raft member as a process of its own, for ``test_raft_processes``; not a test.

``python raft_member.py DIRECTORY NUMBER PORT,PORT,PORT MODE``. It proposes one command after the
other and writes a line for each answer. The first line on its standard input makes it stop that,
the second one write its state.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from swarmops.raft import Member, Raft, RaftError, StreamTransport, Timing


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

    async def dial(addr: str) -> Any:
        host, port = addr.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(me.node_id.encode() + b"\n")
        return reader, writer, (await reader.readline()).decode().strip()

    transport = StreamTransport(dial)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        node_id = (await reader.readline()).decode().strip()
        writer.write(me.node_id.encode() + b"\n")
        await transport.accept(reader, writer, node_id)

    await asyncio.start_server(accept, "127.0.0.1", ports[number - 1])
    raft = Raft(
        directory=Path(directory),
        me=me,
        state_machine=log,
        data_key=bytes(32),
        transport=transport,
        timing=Timing(snapshot_entries=100, trailing_entries=20, segment_bytes=4000),
    )
    await raft.start(mode, members if mode == "join" else ())
    if mode == "bootstrap":
        await raft.wait_for_leader(timeout_s=10)
        for member in members[1:]:
            await raft.add_member(member)
    loop = asyncio.get_running_loop()
    orders = [asyncio.Event(), asyncio.Event()]

    def told() -> None:
        (orders[0] if not orders[0].is_set() else orders[1]).set()
        os.read(0, 100)
        if orders[1].is_set():
            loop.remove_reader(0)

    loop.add_reader(0, told)
    run = int(loop.time() * 1000)
    count = 0
    while not orders[0].is_set():
        command = f"{number}-{run}-{count}"
        count += 1
        try:
            await raft.propose(command.encode(), timeout_s=10)
            say(f"ack {command}")
        except RaftError as error:
            say(f"unknown {command} {type(error).__name__}")
    say("stopped")
    await orders[1].wait()
    await current(raft)
    say("state " + " ".join(item.decode() for item in log.applied))
    await asyncio.Event().wait()


if __name__ == "__main__":
    _, directory_, number_, ports_, mode_ = sys.argv
    asyncio.run(main(directory_, int(number_), [int(p) for p in ports_.split(",")], mode_))
